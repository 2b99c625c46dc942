package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/ledger"
)

func (p *program) ledgerFollowCommand() *cli.Command {
	return &cli.Command{
		Name:      "follow",
		Usage:     "print what happens in a session as it happens",
		ArgsUsage: "SESSION|FILE|FOLDER",
		Description: `Prints the timeline that ledger show prints, and goes on with each entry that comes,
verified, until the session is closed, or you interrupt it. It disturbs nobody: the
process that works on the session, this one or the next, does not wait for it. The
end of a turn, and whatever else counts only with its seal, is shown once it is
sealed. A ledger that turns out to be broken, or from which something disappears
that was shown, ends it with status 4.`,
		Flags:  append(filterFlags(), evidenceFlag()),
		Action: p.ledgerFollow,
	}
}

func (p *program) ledgerFollow(c *cli.Context) error {
	v, s, path, err := p.viewed(c)
	if err != nil {
		return err
	}
	for e, err := range ledger.Follow(c.Context, path, 0, s.options) {
		if err == nil {
			p.term.measure(os.Getenv) // it may have become wider since
			err = v.see(e)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &failure{
				message: path + " was removed while it was followed", code: exitIntegrity, err: err,
				hint: "agenthost session prune removes what was closed, and says so in ledger/governance.jsonl of a control plane",
			}
		case err != nil:
			return openError(path, err)
		case p.term.err != nil: // nobody reads on
			return nil
		case v.final:
			v.end()
			return nil
		}
	}
	if v.entries > v.sealed {
		p.term.note("%s so far, the last %d of them not sealed yet", entries(v.entries), v.entries-v.sealed)
	}
	return &failure{code: exitHost} // of which a signal makes its own status
}
