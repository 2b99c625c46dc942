package main

import (
	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) ledgerCommand() *cli.Command {
	return &cli.Command{
		Name:  "ledger",
		Usage: "read what happened",
		Subcommands: []*cli.Command{{
			Name:      "show",
			Usage:     "print a ledger as a timeline",
			ArgsUsage: "SESSION|FILE",
			Description: `A SESSION is an id, the beginning of one, or @last, the one in which something
happened last. Each line says when something happened since the session was
opened, what it was, how it was decided, and on which name. The ledger is verified
while it is read; the first bad line ends it with status 4. With --json the lines
are printed as they are stored.`,
			Action: p.ledgerShow,
		}},
	}
}

func (p *program) ledgerShow(c *cli.Context) error {
	given, err := p.operands(c, 1, 1)
	if err != nil {
		return err
	}
	path := given[0]
	if !isPath(path) {
		root, err := p.openRoot()
		if err != nil {
			return err
		}
		defer root.Close()
		id, plane, err := findSession(root, given[0])
		if err != nil {
			return err
		}
		path = root.LedgerPath(plane, id, record.ExecFile)
	}
	var lines timeline
	for e, err := range ledger.Scan(path, record.EvidenceOptions("")) {
		if err != nil {
			return openError(path, err)
		}
		if p.json {
			p.term.stored(e.Line)
			continue
		}
		for _, row := range lines.rows(e) {
			p.term.line("%s", row)
		}
	}
	return nil
}
