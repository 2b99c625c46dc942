package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
)

func (p *program) packageDiffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "say what differs between two packages, and which rights one gains",
		ArgsUsage: "OLD NEW",
		Description: `Each is named as for package inspect. What the new one may do and the old one might
not is gained; so is what is not certain, as where a pattern is spelled in another
way. Of files it says which changed, not what changed in them. Status 0 whether the
packages differ or not.`,
		Flags:  []cli.Flag{planeFlag()},
		Action: p.packageDiff,
	}
}

// difference is the answer of package diff --json.
type difference struct {
	Old record.Package `json:"old"`
	New record.Package `json:"new"`
	archive.Difference
}

func (p *program) packageDiff(c *cli.Context) error {
	given, err := p.operands(c, 2, 2)
	if err != nil {
		return err
	}
	var both [2]named
	for i, name := range given {
		if archive.CheckID("PKG", name) == nil {
			both[i], err = p.namedPackage(c, nil, name)
		} else {
			both[i], err = openFile(nil, name) // --plane is not about it
		}
		if err != nil {
			return err
		}
		defer both[i].Close()
	}
	d := difference{packageOf(both[0].Package), packageOf(both[1].Package), archive.Compare(both[0].Manifest, both[1].Manifest)}
	if p.json {
		return p.term.value(d)
	}
	if d.Old.SHA256 == d.New.SHA256 {
		p.term.line("the same package: %s %s, %s", d.New.ID, d.New.Version, d.New.SHA256)
		return nil
	}
	p.term.line("old %s %s, %s", d.Old.ID, d.Old.Version, d.Old.SHA256)
	p.term.line("new %s %s, %s", d.New.ID, d.New.Version, d.New.SHA256)
	p.showDifference(d.Difference)
	return nil
}

func packageOf(pkg *archive.Package) record.Package {
	return record.Package{ID: pkg.Manifest.ID, Version: pkg.Manifest.Version, SHA256: pkg.Digest}
}

// showDifference prints what differs between two packages.
func (p *program) showDifference(d archive.Difference) {
	if !d.Grows() {
		p.term.line("gains no rights")
	}
	p.list("gains", d.Gained)
	p.list("loses", d.Lost)
	var changes, files []string
	for _, c := range d.Changes {
		switch {
		case c.Old == "":
			changes = append(changes, fmt.Sprintf("%s: %s", c.Where, c.New))
		case c.New == "":
			changes = append(changes, fmt.Sprintf("%s: no more (was %s)", c.Where, c.Old))
		default:
			changes = append(changes, fmt.Sprintf("%s: %s (was %s)", c.Where, c.New, c.Old))
		}
	}
	p.list("says", changes)
	for _, f := range d.Files {
		switch {
		case f.Old.IsZero():
			files = append(files, "new      "+content(f.Path, f.New, f.NewSize))
		case f.New.IsZero():
			files = append(files, "gone     "+content(f.Path, f.Old, f.OldSize))
		default:
			files = append(files, fmt.Sprintf("changed  %s  (was %s  %s)", content(f.Path, f.New, f.NewSize), short(f.Old), bytesText(f.OldSize)))
		}
	}
	p.list("files", files)
	if d.Same() {
		p.term.line("says the same")
	}
}
