package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) ledgerEraseCommand() *cli.Command {
	return &cli.Command{
		Name:      "erase",
		Usage:     "delete a query, a result or another blob of a session for good",
		ArgsUsage: "SESSION [DIGEST…]",
		Description: `What a turn was asked, its arguments and its result, what the agent and its commands
said, the words of a command and the list of what it could see are blobs: files of
their own, of which the ledger has a digest that nobody can guess back. Without a
DIGEST the blobs of the session are listed. A DIGEST is that of one of them, as it is
listed or as ledger show --json prints it, 12 digits or more of it: the blob is
deleted. An entry says which it was and why, under a seal, before it goes; all else
stays provable, and agenthost verify counts it as erased. Texts and names that stand in
entries cannot be erased; agenthost run --redact keeps values out of them.

A SESSION is an id, the beginning of one, or @last, the one in which something
happened last; it may be closed. Its seed goes only with --force, after it was closed.
What was published, copied or backed up, and what the disk keeps of deleted files, is
out of reach. In a control plane this needs the admin token, and who had it done is
recorded in ledger/governance.jsonl.`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "why", Usage: "why they are erased, as a `TEXT` for the record; needed with a DIGEST"},
			&cli.BoolFlag{Name: "force", Usage: "erase the seed of a closed session too: none of its turns can be run again"},
			&cli.BoolFlag{Name: "dry-run", Usage: "erase nothing; say what would be"},
			yesFlag(),
		}, tokenFlags()...),
		Action: p.inRoot(1, -1, p.ledgerErase),
	}
}

// erased is what ledger erase --json prints.
type erased struct {
	Session string        `json:"session_id"`
	DryRun  bool          `json:"dry_run,omitempty"`
	Erased  []ledger.Hash `json:"erased"`
	Already []ledger.Hash `json:"already_erased"`
	Freed   session.Freed `json:"freed"`
}

func (p *program) ledgerErase(c *cli.Context, root *session.Root, given []string) error {
	id, in, err := findSession(root, given[0])
	switch {
	case err != nil:
		return err
	case len(given) == 1:
		return p.listBlobs(root.LedgerPath(in, id, record.ExecFile))
	case strings.TrimSpace(c.String("why")) == "":
		return usageError("ledger erase needs --why", "it goes on record, as --why 'the customer asked for it'")
	}
	e := session.Erasure{Blobs: given[1:], Why: c.String("why"), Seed: c.Bool("force"), Dry: true}
	if err := p.recover(c.Context, root); err != nil {
		return err
	}
	would, err := root.Erase(c.Context, id, e)
	if err != nil {
		return eraseError(id, err)
	}
	left := len(would.Blobs) - len(would.Already)
	if c.Bool("dry-run") || left == 0 {
		return p.showErased(id, would, c.Bool("dry-run"))
	}
	if err := p.sure(c, "erase "+count(left, "blob")+" of "+string(id), "say --yes, or --dry-run to see what it would be"); err != nil {
		return err
	}
	e.Dry = false
	erase := func() error {
		done, err := root.Erase(c.Context, id, e)
		if err != nil {
			return eraseError(id, err)
		}
		return p.showErased(id, done, false)
	}
	if !root.Control() {
		return erase()
	}
	pl, err := p.controlPlane(root)
	if err != nil {
		return err
	}
	return p.changed(c, pl, record.KindSessionErase, string(id), func(ch *plane.Change) error {
		e.Before = func(found session.Erased) error {
			return ch.Erase(record.SessionErase{SessionID: string(id), Plane: found.Plane, Blobs: found.Fresh(), Why: e.Why})
		}
		return erase()
	})
}

// listedBlob is a blob in what ledger erase lists.
type listedBlob struct {
	Blob   ledger.Hash `json:"blob"`
	Turn   int         `json:"turn,omitempty"` // of which it is; none of the seed
	What   string      `json:"what"`
	Size   int64       `json:"size,omitempty"` // of its content; not known of the seed
	Erased bool        `json:"erased,omitempty"`
}

// listBlobs lists the blobs that the entries of a ledger name.
func (p *program) listBlobs(path string) error {
	list := []listedBlob{}
	at := map[ledger.Hash]int{}
	for e, err := range ledger.Scan(path, record.ExecOptions("")) {
		if err != nil {
			return openError(path, err)
		}
		body, err := record.Decode(e)
		if err != nil {
			return err
		}
		add := func(what string, b *record.Blob) {
			if b == nil {
				return
			}
			if _, known := at[b.Blob]; !known {
				at[b.Blob] = len(list)
				list = append(list, listedBlob{b.Blob, e.Turn, what, b.Size, false})
			}
		}
		switch b := body.(type) {
		case record.SessionOpen:
			add("seed", &record.Blob{Blob: b.Seed})
		case record.TurnBegin:
			add("query", b.Query)
			add("arguments", b.Args)
		case record.ExecStart:
			add("words of a command", &b.Argv)
			add("what a command could see", &b.View.Blob)
		case record.ExecEnd:
			add("standard output of a command", b.Stdout)
			add("standard error of a command", b.Stderr)
		case record.Stderr:
			add("messages", &b.Blob)
		case record.TurnEnd:
			add("result", b.Result)
		case record.Erased:
			if i, known := at[b.Blob]; known {
				list[i].Erased = true
			}
		}
	}
	if p.json {
		return p.term.value(map[string]any{"blobs": list})
	}
	for _, b := range list {
		text := fmt.Sprintf("%s  %s", b.Blob, b.What)
		if b.Turn > 0 {
			text += fmt.Sprintf(" of turn %d, %s", b.Turn, bytesText(b.Size))
		}
		if b.Erased {
			text += ", erased"
		}
		p.term.line("%s", text)
	}
	return nil
}

// eraseError gives the user a way out where blobs cannot be erased.
func eraseError(id session.ID, err error) error {
	var wrong *session.BlobError
	if errors.As(err, &wrong) {
		return usageError("nothing was erased: "+wrong.Error(), wrong.Hint)
	}
	return sessionError(id, err, "whether it is erased is not known; erase it again, which finishes it")
}

func (p *program) showErased(id session.ID, done session.Erased, dry bool) error {
	fresh := done.Fresh()
	if p.json {
		return p.term.value(erased{string(id), dry, asList(fresh), asList(done.Already), done.Freed})
	}
	did := "erased"
	if dry {
		did = "would erase"
	}
	for _, h := range fresh {
		p.term.line("%s %s of %s", did, h, id)
	}
	for _, h := range done.Already {
		p.term.line("%s of %s was erased before", h, id)
	}
	return nil
}

// asList is a list that JSON shows as [] where it is empty.
func asList(list []ledger.Hash) []ledger.Hash { return append([]ledger.Hash{}, list...) }
