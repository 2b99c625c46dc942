package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) packageCommand() *cli.Command {
	return &cli.Command{
		Name:  "package",
		Usage: "make packages and look into them",
		Subcommands: []*cli.Command{
			{
				Name:  "pack",
				Usage: "make a package of a folder",
				Description: `The folder holds a manifest.json, the module it names, and any other files; all
of it is packed. Equal folders give equal packages: the digest that is printed
is what an operator accepts. A manifest that asks for something it cannot get is
refused here, with every mistake in it.`,
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "src", Usage: "the folder `DIR` to pack"},
					&cli.StringFlag{Name: "id", Usage: "the package's `ID`, PKG-…; needed if the manifest has none"},
					&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "the `FILE` to write (default: ID.tar.gz)"},
				},
				Action: p.packagePack,
			},
			{
				Name:      "inspect",
				Usage:     "say what a package is and what it asks for",
				ArgsUsage: "PKG",
				Description: `PKG is a packed package, a folder with a manifest.json, or a WebAssembly module.
It is checked whole; nothing of it is run. What it may really do is for the
operator to say: see policy check.`,
				Action: p.packageInspect,
			},
		},
	}
}

func (p *program) packagePack(c *cli.Context) error {
	src := c.String("src")
	if given := c.Args().First(); given != "" && src == "" {
		return usageError(fmt.Sprintf("package pack does not take %q", given), "name the folder to pack with --src "+shellWord(given))
	}
	if err := p.noOperands(c); err != nil {
		return err
	}
	if src == "" {
		return usageError("package pack needs the folder to pack", "name it with --src DIR")
	}
	id := c.String("id")
	target := c.String("output")
	if target == "" {
		if id == "" {
			pkg, err := archive.FromFolder(src)
			if err != nil {
				return openError(src, err)
			}
			id = pkg.Manifest.ID
			if err := pkg.Close(); err != nil {
				return err
			}
		}
		target = id + ".tar.gz"
	}
	if id != "" {
		if err := archive.CheckID("PKG", id); err != nil {
			return usageError("--id: "+err.Error(), "as PKG-T3-REPORT-001")
		}
	}
	if info, err := os.Stat(filepath.Dir(target)); err != nil || !info.IsDir() {
		return usageError(fmt.Sprintf("-o %s: there is no folder %s", target, filepath.Dir(target)), "make it first, or name another file with -o FILE")
	}
	pkg, err := archive.PackFile(target, src, archive.PackOptions{ID: id})
	if err != nil {
		return openError(src, err)
	}
	defer pkg.Close()
	if p.json {
		return p.term.value(packed{pkg.Manifest.ID, pkg.Manifest.Version, pkg.Digest, len(pkg.Manifest.Files), target})
	}
	p.term.line("%s", pkg.Digest)
	p.term.note("packed %s %s with %s into %s", pkg.Manifest.ID, pkg.Manifest.Version, count(len(pkg.Manifest.Files), "file"), target)
	return nil
}

// packed is the answer of package pack --json.
type packed struct {
	ID      string      `json:"id"`
	Version string      `json:"version"`
	SHA256  ledger.Hash `json:"sha256"`
	Files   int         `json:"files"`
	Output  string      `json:"output"`
}

func (p *program) packageInspect(c *cli.Context) error {
	pkg, err := p.openPackage(c)
	if err != nil {
		return err
	}
	defer pkg.Close()
	if p.json {
		return p.term.value(inspected{pkg.Digest, pkg.Size, archive.Describe(pkg.Manifest), archive.Warnings(pkg.Manifest), pkg.Manifest})
	}
	m := pkg.Manifest
	p.term.line("%s %s", m.ID, m.Version)
	for _, about := range []string{m.Name, m.Description, m.License} {
		if about != "" {
			p.term.line("  %s", about)
		}
	}
	p.term.line("digest %s", pkg.Digest)
	p.list("rights", archive.Describe(m))
	p.list("beware", archive.Warnings(m))
	p.term.line("files")
	for _, f := range m.Files {
		p.term.line("  %s", content(f.Path, f.SHA256, f.Size))
	}
	return nil
}

// inspected is the answer of package inspect --json.
type inspected struct {
	SHA256   ledger.Hash      `json:"sha256"`
	Size     int64            `json:"size"`
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
