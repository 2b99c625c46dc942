package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/audit"
)

func (p *program) integrityCommand() *cli.Command {
	return &cli.Command{
		Name:  "integrity-check",
		Usage: "compare all that lies in the root with its records",
		Description: `Every ledger is verified, and the evidence of each turn computed again; what is
installed, kept and published is compared with what ledgers say of it; files that
nobody accounts for, what crashes left, and rights that are too wide are found.
Each finding has a code, a place and a remedy. Nothing is written and nothing
waited for: turns and installations can go on meanwhile.

Status 4 if there is an error, 0 if there are warnings only: a published file that
somebody edited since is a warning, a file in output/ that no session published
is an error.`,
		Action: p.integrity,
	}
}

func (p *program) integrity(c *cli.Context) error {
	if err := p.noOperands(c); err != nil {
		return err
	}
	root, err := p.openRoot()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := p.there(root, "checked"); err != nil {
		return err
	}
	found, err := audit.CheckIntegrity(c.Context, root, audit.IntegrityOptions{Progress: p.percent()})
	if err != nil {
		return err
	}
	if p.json {
		if err := p.term.value(found); err != nil {
			return err
		}
	} else {
		p.showIntegrity(found)
	}
	if n := found.Errors(); n > 0 {
		return &failure{
			message: fmt.Sprintf("the root is not what its records say: %s, %s", count(n, "error"), count(found.Warnings(), "warning")),
			hint:    "each finding says what to do",
			code:    exitIntegrity,
		}
	}
	return nil
}

// percent shows how far something is, in steps that a person sees.
func (p *program) percent() func(what string, done, of int) {
	shown := ""
	return func(what string, done, of int) {
		if now := fmt.Sprintf("checking %s: %d%%", what, done*100/of); now != shown {
			shown = now
			p.term.progress("%s", now)
		}
	}
}

func (p *program) showIntegrity(found audit.Integrity) {
	area := ""
	for n, f := range found.Findings {
		if a := audit.Area(f.Code); a != area {
			area = a
			p.term.line("%s", area)
		}
		at := f.Path
		if f.Line > 0 {
			at += fmt.Sprintf(":%d", f.Line)
		}
		p.term.line("  %s: %s: %s (%s)", f.Severity, at, f.Message, f.Code)
		// A remedy is said once for all that follow one another and have it.
		if next := n + 1; next == len(found.Findings) || found.Findings[next].Remedy != f.Remedy || audit.Area(found.Findings[next].Code) != area {
			p.term.line("    remedy: %s", f.Remedy)
		}
	}
	verdict := "no findings"
	if len(found.Findings) > 0 {
		verdict = count(found.Errors(), "error") + ", " + count(found.Warnings(), "warning")
	}
	n := found.Checked
	if n.Accepted > 0 {
		verdict += ", " + acceptedLosses(n.Accepted)
	}
	p.term.line("checked %s, %s, %s, %s: %s",
		count(n.Sessions, "session"), entries(uint64(n.Entries)), count(n.Packages, "package"), count(n.Files, "file"), verdict) //nolint:gosec // a number of entries
}
