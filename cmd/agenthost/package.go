package main

import (
	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) packageCommand() *cli.Command {
	return &cli.Command{
		Name:  "package",
		Usage: "make packages, look into them, and install them",
		Subcommands: []*cli.Command{
			p.packagePackCommand(),
			{
				Name:      "inspect",
				Usage:     "say what a package is and what it asks for",
				ArgsUsage: "PKG",
				Description: `PKG is a packed package, a folder with a manifest.json, a WebAssembly module, or
the id of an installed package. It is checked whole; nothing of it is run. What it
may really do is for the operator to say: see policy check. A signature beside a
packed package, PKG.sig, is checked with the keys of --signer, else with those that
the control plane trusts. If --signer is given and none of its keys signed the
package, the status is 6.`,
				Flags:  []cli.Flag{planeFlag(), signerFlag()},
				Action: p.packageInspect,
			},
			p.packageDiffCommand(),
			p.packageSignCommand(),
			p.packageKeygenCommand(),
			p.packageInstallCommand(),
			p.packageUninstallCommand(),
			p.packageListCommand(),
		},
	}
}

func (p *program) packageInspect(c *cli.Context) error {
	given, err := p.operands(c, 1, 1)
	if err != nil {
		return err
	}
	pkg, err := p.namedPackage(c, nil, given[0])
	if err != nil {
		return err
	}
	defer pkg.Close()
	signed, refused, err := p.signature(c, pkg)
	if err != nil {
		return err
	}
	if p.json {
		if err := p.term.value(inspected{pkg.Digest, pkg.Size, signed, archive.Describe(pkg.Manifest), archive.Warnings(pkg.Manifest), pkg.Manifest}); err != nil {
			return err
		}
		return orNil(refused)
	}
	m := pkg.Manifest
	p.term.line("%s %s", m.ID, m.Version)
	for _, about := range []string{m.Name, m.Description, m.License} {
		if about != "" {
			p.term.line("  %s", about)
		}
	}
	p.term.line("digest %s", pkg.Digest)
	p.showSigned(signed)
	p.list("rights", archive.Describe(m))
	p.list("beware", archive.Warnings(m))
	p.term.line("files")
	for _, f := range m.Files {
		p.term.line("  %s", content(f.Path, f.SHA256, f.Size))
	}
	return orNil(refused)
}

// inspected is the answer of package inspect --json.
type inspected struct {
	SHA256   ledger.Hash      `json:"sha256"`
	Size     int64            `json:"size"`
	Signed   *signed          `json:"signature,omitempty"`
	Rights   []string         `json:"rights"`
	Warnings []string         `json:"warnings,omitempty"`
	Manifest archive.Manifest `json:"manifest"`
}

func (p *program) list(title string, items []string) {
	if len(items) == 0 {
		return
	}
	p.term.line("%s", title)
	for _, i := range items {
		p.term.line("  %s", i)
	}
}
