package main

import (
	"github.com/urfave/cli/v2"
)

func (p *program) ledgerCommand() *cli.Command {
	return &cli.Command{
		Name:  "ledger",
		Usage: "read what happened, prove it, and say whose record counts",
		Subcommands: []*cli.Command{
			p.ledgerShowCommand(),
			p.ledgerFollowCommand(),
			p.ledgerCheckpointCommand(),
			p.ledgerProveCommand(),
			p.ledgerCheckProofCommand(),
			p.ledgerRepairCommand(),
			p.ledgerEraseCommand(),
			p.ledgerKeyCommand(),
			p.ledgerTrustCommand(),
		},
	}
}
