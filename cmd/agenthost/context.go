package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/audit"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
)

func (p *program) contextCommand() *cli.Command {
	return &cli.Command{
		Name:      "context",
		Usage:     "rebuild what a session has come to, as of any time",
		ArgsUsage: "SESSION",
		Description: `What it was asked, what each turn declared and read, how it ended, and the files it
published that stand: all from the session's ledger, and from nothing else. The
entries it stands on are told, with the hash of the last. A SESSION is an id, the
beginning of one, or @last, the one in which something happened last.

--snapshot keeps the context as of then in planes/ho2/context, so that later ones
are rebuilt faster. The answer is the same without: a snapshot counts only if it is
what was recorded of it and the ledger still has the entries it was made of. One
that is not is ignored, and named.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "as-of", Usage: "the context at this `TIME`, as 2026-01-02T15:04:05Z"},
			&cli.BoolFlag{Name: "snapshot", Usage: "keep a snapshot of it"},
			&cli.BoolFlag{Name: "full", Usage: "read every entry, and no snapshot"},
		},
		Action: p.inRoot(1, 1, p.context),
	}
}

func (p *program) context(c *cli.Context, root *session.Root, given []string) error {
	o := audit.ContextOptions{Full: c.Bool("full")}
	if text := c.String("as-of"); text != "" {
		var err error
		if o.AsOf, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return usageError(fmt.Sprintf("--as-of %q is not a time", text), "as 2026-01-02T15:04:05Z")
		}
	}
	id, in, err := findSession(root, given[0])
	if err != nil {
		return err
	}
	a := audit.New(root, nil, "")
	found, err := a.Context(c.Context, id, in, o)
	if err != nil {
		return contextError(err)
	}
	for _, why := range found.Ignored {
		p.term.note("ignored %s", why)
	}
	if found.From > 0 {
		p.term.note("from the snapshot after %s", entries(found.From))
	}
	if p.json {
		err = p.term.value(found.Context)
	} else {
		p.showContext(found.Context)
	}
	if err != nil || !c.Bool("snapshot") {
		return err
	}
	return p.keepSnapshot(c, root, a, id, in, o.AsOf)
}

func (p *program) keepSnapshot(c *cli.Context, root *session.Root, a *audit.Audit, id session.ID, in string, asOf time.Time) error {
	of, data, err := a.Snapshot(c.Context, id, in, asOf)
	if err != nil {
		return contextError(err)
	}
	added, err := plane.NewSnapshots(root, time.Now).Keep(c.Context, of, data)
	if err != nil {
		return contextError(err)
	}
	how := "kept a snapshot"
	if !added {
		how = "there is a snapshot already"
	}
	p.term.note("%s after %s, %s", how, entries(of.Size), bytesText(of.Bytes))
	return nil
}

// contextError gives the user a way out where there is no context.
func contextError(err error) error {
	var request *audit.RequestError
	if errors.As(err, &request) {
		return usageError(request.What, request.Hint)
	}
	return err
}

func (p *program) showContext(c *audit.Context) {
	state := "open"
	switch {
	case !c.Closed.IsZero():
		state = "closed " + c.Closed.Format(time.RFC3339)
	case len(c.Turns) > 0 && c.Turns[len(c.Turns)-1].Status == "":
		state = "unfinished"
	}
	p.term.line("session %s, plane %s, opened %s, %s", c.SessionID, c.Plane, c.Opened.Format(time.RFC3339), state)
	p.term.line("package %s %s %s", c.Package.ID, c.Package.Version, c.Package.SHA256)
	p.term.line("as of %s: %s, head %s", c.AsOf.Format(time.RFC3339Nano), entries(c.Entries), c.Head)
	for _, t := range c.Turns {
		p.showContextTurn(t)
	}
	p.term.line("%s in all", count(c.Violations, "violation"))
	for _, f := range c.Published {
		p.term.line("stands %s  %s, of turn %d", content(f.Path, f.SHA256, f.Size), f.Role, f.Turn)
	}
}

func (p *program) showContextTurn(t audit.ContextTurn) {
	how := strings.TrimSpace(t.Status + " " + t.Code)
	if t.Status == "" {
		how = "has not ended"
	}
	p.term.line("turn %d %s", t.Number, how)
	as := "as of " + t.AsOf
	if t.WorkOrder != "" {
		as += ", work order " + t.WorkOrder
	}
	p.term.line("  %s", as)
	for _, b := range []struct {
		name string
		blob *record.Blob
	}{{"query", t.Query}, {"result", t.Result}} {
		if b.blob != nil {
			p.term.line("  %s %s, %s", b.name, bytesText(b.blob.Size), b.blob.Blob)
		}
	}
	read := map[record.File]bool{}
	for _, f := range t.RealizedReads {
		read[f] = true
	}
	declared := map[record.File]bool{}
	for _, f := range t.DeclaredReads {
		declared[f] = true
		if !read[f] {
			p.term.line("  declared, not read  %s", content(f.Path, f.SHA256, f.Size))
		}
	}
	for _, f := range t.RealizedReads {
		how := "read, not declared "
		if declared[f] {
			how = "read as declared   "
		}
		p.term.line("  %s %s", how, content(f.Path, f.SHA256, f.Size))
	}
	for _, f := range t.Published {
		p.term.line("  published           %s", content(f.Path, f.SHA256, f.Size))
	}
	if t.Violations > 0 {
		p.term.line("  %s", count(t.Violations, "violation"))
	}
}
