package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/audit"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) sessionCloseCommand() *cli.Command {
	return &cli.Command{
		Name:      "close",
		Usage:     "close an open session: it takes no more turns",
		ArgsUsage: "SESSION",
		Description: `A SESSION is an id, the beginning of one, or @last, the open session in which
something happened last. That it was closed is recorded as the last entry of its
ledger. A session that is closed already is left as it is.`,
		Action: p.inRoot(1, 1, p.sessionClose),
	}
}

func (p *program) sessionPruneCommand() *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove the record of closed sessions",
		Description: `Removes whole sessions for good: ledgers, queries, results, messages, and what was
kept of turns that were blocked. A ledger is there to prove what an agent did:
what was pruned can be proved no more. The heads that are printed can be kept.

Only closed sessions are removed, of these the ones closed longer ago than
--older-than, and never the --keep newest; at least one of the two is needed.
Sessions that are open, run, were not finished or cannot be read stay. What was
published to the workspace is never touched.

In a control plane this needs the admin token, and each removal is recorded in
ledger/governance.jsonl, with the heads, before it happens.`,
		Flags: append([]cli.Flag{
			olderThanFlag("only sessions that were closed"),
			&cli.StringFlag{Name: "keep", Usage: "leave the `N` closed sessions that were closed last"},
			&cli.BoolFlag{Name: "published", Usage: "remove what they published under out/ too"},
			&cli.BoolFlag{Name: "dry-run", Usage: "remove nothing; say what would be"},
			yesFlag(),
		}, tokenFlags()...),
		Action: p.inRoot(0, 0, p.sessionPrune),
	}
}

func (p *program) sessionClose(c *cli.Context, root *session.Root, given []string) error {
	id, _, err := findOpen(root, given[0])
	if err != nil {
		return err
	}
	s, findings, err := root.Open(c.Context, id)
	p.tellRecovery(root, findings)
	already := errors.Is(err, session.ErrClosed)
	turns := 0
	switch {
	case already:
	case err != nil:
		return sessionError(id, err, "nothing was closed; make room there and the folder writable")
	default:
		turns = s.Turns()
		if err := s.Close(); err != nil {
			return rootError(err, "it is not known whether the session is closed; close it again")
		}
	}
	if p.json {
		return p.term.value(struct {
			Session string `json:"session_id"`
			Already bool   `json:"already_closed"`
		}{string(id), already})
	}
	if already {
		p.term.line("session %s was closed already", id)
	} else {
		p.term.line("closed session %s, %s", id, count(turns, "turn"))
	}
	return nil
}

// pruned is a session in session prune --json.
type pruned struct {
	Session   string        `json:"session_id"`
	Plane     string        `json:"plane"`
	Closed    time.Time     `json:"closed"`
	Turns     int           `json:"turns"`
	Exec      head          `json:"exec"` // the ledgers' ends, which nothing else remembers
	Evidence  head          `json:"evidence"`
	Freed     session.Freed `json:"freed"`
	Published session.Freed `json:"published"` // removed of output/; zero without --published
}

type head struct {
	Entries uint64      `json:"entries"`
	Root    ledger.Hash `json:"root"`
}

// left is a session that prune was asked to look at and did not remove.
type left struct {
	Session string `json:"session_id"`
	Why     string `json:"why"`
}

func (p *program) sessionPrune(c *cli.Context, root *session.Root, _ []string) error {
	age, keep, err := pruneFlags(c)
	if err != nil {
		return err
	}
	if err := p.recover(c.Context, root); err != nil {
		return err
	}
	list, err := root.List()
	if err != nil {
		return err
	}
	chosen, skipped := choose(list, age, keep, time.Now())
	dry, published := c.Bool("dry-run"), c.Bool("published")
	if len(chosen) > 0 && !dry {
		what := "remove the record of " + count(len(chosen), "closed session")
		if published {
			what += map[bool]string{true: " and what it", false: " and what they"}[len(chosen) == 1] + " published under out/"
		}
		if err := p.sure(c, what, "say --yes, or --dry-run to see what it would be"); err != nil {
			return err
		}
	}
	if !dry {
		defer forget(root)
	}
	job := &pruning{root: root, published: published, dry: dry, left: skipped}
	if !root.Control() || dry || len(chosen) == 0 {
		return errors.Join(p.prune(c.Context, job, chosen), p.showPruned(job))
	}
	pl, err := p.controlPlane(root)
	if err != nil {
		return err
	}
	return p.changed(c, pl, record.KindSessionPrune, "", func(ch *plane.Change) error {
		job.change = ch
		return errors.Join(p.prune(c.Context, job, chosen), p.showPruned(job))
	})
}

// A pruning is what session prune does, and what came of it.
type pruning struct {
	root           *session.Root
	change         *plane.Change // of a control plane, where each removal is one; else nil
	published, dry bool
	removed        []pruned
	left           []left
}

// prune removes the sessions that were chosen.
func (p *program) prune(ctx context.Context, job *pruning, chosen []session.Summary) error {
	for _, s := range chosen {
		p.term.progress("removing %s", s.ID)
		if err := job.record(ctx, s); err != nil {
			return err
		}
		done, err := job.root.Prune(ctx, s.ID, job.published, job.dry)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, session.ErrNotFound): // somebody else removed it
		case err != nil:
			job.left = append(job.left, left{string(s.ID), errors.Unwrap(err).Error()})
		default:
			job.removed = append(job.removed, pruned{
				string(s.ID), s.Plane, s.Changed, s.Turns,
				head{done.Exec.Size, done.Exec.Root},
				head{done.Evidence.Size, done.Evidence.Root},
				done.Files, done.Published,
			})
			if err := p.forget(job, s.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget removes the snapshots of the context of a session that is gone. What a
// crash in between leaves is found by integrity-check.
func (p *program) forget(job *pruning, id session.ID) error {
	if job.dry {
		return nil
	}
	return rootError(plane.NewSnapshots(job.root, nil).Forget(string(id)), "the session is removed; only snapshots of its context are still there, in planes/ho2/context")
}

// record says in the ledger of a control plane that a session is removed and how
// it ended, before it is. One that cannot be removed is none of its business.
func (j *pruning) record(ctx context.Context, s session.Summary) error {
	if j.change == nil {
		return nil
	}
	ends, err := j.root.Prune(ctx, s.ID, j.published, true)
	if err != nil {
		return nil //nolint:nilerr // the removal says so
	}
	return j.change.Prune(record.SessionPrune{
		SessionID: string(s.ID), Plane: s.Plane, Published: j.published,
		Exec:     record.EvidenceHead{Size: ends.Exec.Size, Root: ends.Exec.Root},
		Evidence: record.EvidenceHead{Size: ends.Evidence.Size, Root: ends.Evidence.Root},
	})
}

// forget takes what was removed out of the index that trace keeps. Where that
// cannot be written the next trace does it.
func forget(root *session.Root) {
	if folder, err := host.CacheDir(); err == nil {
		_ = audit.New(root, nil, folder).Forget()
	}
}

// pruneFlags says how long ago a session must have been closed, and how many are
// left.
func pruneFlags(c *cli.Context) (age time.Duration, keep int, err error) {
	if c.String("older-than") == "" && c.String("keep") == "" {
		return 0, 0, usageError("session prune needs --older-than or --keep", "as --older-than 30d; --keep 0 removes every closed session")
	}
	if age, err = olderThan(c); err != nil {
		return 0, 0, err
	}
	if text := c.String("keep"); text != "" {
		if keep, err = strconv.Atoi(text); err != nil || keep < 0 {
			return 0, 0, usageError(fmt.Sprintf("--keep %q is not a number of sessions", text), "as --keep 20")
		}
	}
	return age, keep, nil
}

// choose picks the sessions to remove, the oldest first, and names those that
// cannot be read.
func choose(list []session.Summary, age time.Duration, keep int, now time.Time) ([]session.Summary, []left) {
	var closed []session.Summary
	skipped := []left{}
	for _, s := range list {
		switch {
		case s.Err != nil:
			skipped = append(skipped, left{string(s.ID), "it cannot be read: " + s.Err.Error()})
		case s.Closed:
			closed = append(closed, s)
		}
	}
	slices.SortStableFunc(closed, func(a, b session.Summary) int {
		return cmp.Or(a.Changed.Compare(b.Changed), strings.Compare(string(a.ID), string(b.ID)))
	})
	closed = closed[:max(0, len(closed)-keep)]
	return slices.DeleteFunc(closed, func(s session.Summary) bool { return now.Sub(s.Changed) < age }), skipped
}

func (p *program) showPruned(job *pruning) error {
	removed, skipped, dry := job.removed, job.left, job.dry
	if p.json {
		if removed == nil {
			removed = []pruned{}
		}
		return p.term.value(struct {
			DryRun bool     `json:"dry_run,omitempty"`
			Pruned []pruned `json:"pruned"`
			Left   []left   `json:"left"`
		}{dry, removed, skipped})
	}
	did, freed := "removed", "freed"
	if dry {
		did, freed = "would remove", "would free"
	}
	var files, published session.Freed
	for _, r := range removed {
		p.term.line("%s %s, closed %s, %s, %s", did, r.Session, r.Closed.Format(time.RFC3339), count(r.Turns, "turn"), bytesText(r.Freed.Bytes+r.Published.Bytes))
		p.term.line("  exec.jsonl: head %d %s", r.Exec.Entries, r.Exec.Root)
		p.term.line("  evidence.jsonl: head %d %s", r.Evidence.Entries, r.Evidence.Root)
		files.Bytes += r.Freed.Bytes
		files.Files += r.Freed.Files
		published.Bytes += r.Published.Bytes
		published.Files += r.Published.Files
	}
	for _, s := range skipped {
		p.term.note("left %s: %s", s.Session, s.Why)
	}
	if len(removed) == 0 {
		p.term.line("nothing to remove")
		return nil
	}
	all := fmt.Sprintf("%s %s in %s", freed, bytesText(files.Bytes+published.Bytes), count(files.Files+published.Files, "file"))
	if published.Files > 0 {
		all += fmt.Sprintf(", %d of them published", published.Files)
	}
	p.term.line("%s", all)
	return nil
}
