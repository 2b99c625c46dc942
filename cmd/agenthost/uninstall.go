package main

import (
	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) packageUninstallCommand() *cli.Command {
	return &cli.Command{
		Name:  "uninstall",
		Usage: "take an installed package out of its planes",
		Description: `Removes every file that was installed, its row of the registry, and its archive in
packages_store if that is the one that was installed. What was recorded of it
stays. It is refused while other packages depend on it, and says which.`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "id", Usage: "the `PKG-ID` of the package"},
			&cli.StringFlag{Name: "plane", Usage: "take it out of this `PLANE` only: ho1, ho2 or ho3 (default: of every one it is in)"},
			&cli.BoolFlag{Name: "keep-archive", Usage: "leave its archive in packages_store"},
		}, tokenFlags()...),
		Action: p.inPlane(0, 0, p.packageUninstall),
	}
}

// uninstalled is an answer of package uninstall --json.
type uninstalled struct {
	ID      string      `json:"id"`
	Version string      `json:"version"`
	SHA256  ledger.Hash `json:"sha256"`
	Plane   string      `json:"plane"`
}

func (p *program) packageUninstall(c *cli.Context, pl controlled, _ []string) error {
	id := c.String("id")
	if id == "" {
		return usageError("package uninstall needs the id of the package", "say --id PKG-ID; agenthost package list shows what is installed")
	}
	if err := archive.CheckID("PKG", id); err != nil {
		return usageError("--id: "+err.Error(), "as PKG-T3-REPORT-001")
	}
	if err := checkPlane(c.String("plane")); err != nil {
		return err
	}
	return p.changed(c, pl.Plane, record.KindPackageUninstall, id, func(ch *plane.Change) error {
		_, stored := ch.State().Stored[id]
		removed, err := ch.Uninstall(id, c.String("plane"), c.Bool("keep-archive"))
		if err != nil {
			return err
		}
		_, kept := ch.State().Stored[id]
		return p.showUninstalled(removed, stored, kept)
	})
}

func (p *program) showUninstalled(removed []plane.Installed, stored, kept bool) error {
	rows := []uninstalled{}
	for _, i := range removed {
		rows = append(rows, uninstalled{i.Package.ID, i.Package.Version, i.Package.SHA256, i.Plane})
		if !p.json {
			p.term.line("uninstalled %s %s from %s", i.Package.ID, i.Package.Version, i.Plane)
		}
	}
	if p.json {
		return p.term.value(struct {
			Uninstalled []uninstalled `json:"uninstalled"`
			Kept        bool          `json:"archive_kept"`
		}{rows, kept})
	}
	switch id := removed[0].Package.ID; {
	case kept:
		p.term.note("%s stays", storeFile(id))
	case stored:
		p.term.note("removed %s", storeFile(id))
	}
	return nil
}
