package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// place is where a turn runs: the root, and the session in it.
type place struct {
	root       *session.Root
	session    *session.Session // to continue; nil: a new one is opened
	plane      string           // of the session
	seed       []byte           // of a new one; nil: made for it
	open       bool             // a new one is not closed after the turn
	output     string           // -o
	checkpoint string           // --checkpoint-out
	receipt    *newFile         // the file of that; nil without one
	again      string           // PKG as it was given
	least      host.Fence       // that its commands may run in
}

// stays reports whether the session is open after the turn.
func (in *place) stays() bool { return in.open || in.session != nil }

// checkSessionFlags refuses flags that contradict each other.
func checkSessionFlags(c *cli.Context) error {
	if c.String("session") == "" {
		return nil
	}
	switch {
	case c.Bool("open"):
		return usageError("run got --session and --open", "leave --open out to continue a session, which stays open; or leave --session out to open a new one")
	case c.String("seed") != "":
		return usageError("run got --session and --seed", "leave --seed out: a session keeps the seed it was opened with")
	}
	return nil
}

// continued takes up the session that the flags name, for a turn of pkg.
func (p *program) continued(ctx context.Context, root *session.Root, name, plane string, pkg *archive.Package) (*session.Session, error) {
	id, _, err := findOpen(root, name)
	if err != nil {
		return nil, err
	}
	s, err := p.takeUp(ctx, root, id)
	if err != nil {
		return nil, err
	}
	open, _ := s.Opened()
	err = host.Continues(string(id), open, pkg)
	if err == nil && plane != "" && plane != s.Plane {
		err = usageError(fmt.Sprintf("session %s runs in plane %s, not in %s", id, s.Plane, plane), "leave --plane out: a session stays in its plane; or open a new session there")
	}
	if err != nil {
		return nil, errors.Join(err, s.Leave())
	}
	return s, nil
}

// takeUp opens an open session, and tells what recovery found to do in it.
func (p *program) takeUp(ctx context.Context, root *session.Root, id session.ID) (*session.Session, error) {
	s, findings, err := root.Open(ctx, id)
	p.tellRecovery(root, findings)
	if err != nil {
		return nil, sessionError(id, err, notRun)
	}
	return s, nil
}

// notRun is the way out where the root cannot be written.
const notRun = "nothing was run; make room there and the folder writable, or name another one with --root"

// sessionError gives the user a way out where a session cannot be worked on, hint
// where only the disk is in the way.
func sessionError(id session.ID, err error, hint string) error {
	var used *session.InUseError
	var broken *ledger.IntegrityError
	switch {
	case errors.As(err, &used):
		hint := "wait until it has ended, then try again"
		if used.Holder != nil {
			hint += fmt.Sprintf("; or interrupt it with kill %d, and nothing of its turn is published", used.Holder.PID)
		}
		return &failure{message: fmt.Sprintf("session %s: %v", id, used), hint: hint, code: exitUsage, err: err}
	case errors.Is(err, session.ErrClosed):
		return &failure{message: fmt.Sprintf("session %s is closed and takes no more turns", id), hint: "open a new one with agenthost run PKG --open", code: exitUsage, err: err}
	case errors.Is(err, session.ErrNotFound):
		return &failure{message: fmt.Sprintf("session %s is not there any more", id), hint: "agenthost session list shows those of this root", code: exitUsage, err: err}
	case errors.As(err, &broken):
		f := explain(err)
		f.hint = "take it from a backup; else agenthost ledger repair " + string(id) + " says what would be lost"
		return f
	}
	return rootError(err, hint)
}

// enter opens a new session for the turn, unless there is one to continue.
func (in *place) enter(ctx context.Context, turn host.Turn, open record.SessionOpen) (*session.Session, error) {
	if in.session != nil {
		in.plane = in.session.Plane
		return in.session, nil
	}
	id, seed, err := identify(turn.AsOf, in.seed)
	if err != nil {
		return nil, err
	}
	if err := host.Redactable(string(id), turn.Redact); err != nil {
		return nil, err
	}
	s, err := in.root.Create(ctx, session.Opening{ID: id, Plane: in.plane, Open: open, Seed: seed})
	if errors.Is(err, session.ErrExists) {
		return nil, usageError(fmt.Sprintf("session %s exists: this turn was run in this root already", id), "--as-of and --seed together name the session: change one of them, or use another --root")
	}
	if err == nil && !in.open {
		s.CloseWithTurn()
	}
	return s, rootError(err, notRun)
}

// leave gives the session up after the turn.
func (in *place) leave(s *session.Session) error {
	if in.stays() {
		return s.Leave()
	}
	return s.Close()
}

// notEnded tells of a turn of which it is not known whether it ended: the host
// failed, and its record with it.
func (p *program) notEnded(s *session.Session, err error) error {
	turn := s.Turns() + 1
	err = rootError(errors.Join(err, s.Leave()), "the next run in this root finds out how the turn ended, and finishes or takes back what it began")
	var f *failure
	if !p.json || !errors.As(err, &f) {
		return err
	}
	return p.envelope(host.Envelope{
		Status: record.StatusError, Code: record.CodeHost, SessionID: string(s.ID), TurnNumber: turn, Published: []host.Published{},
		Error: &host.EnvelopeError{Message: f.message, Hint: f.hint},
	}, f)
}

// identify makes the id and the seed of a new session. Where both its clock and
// its seed are given they are what the session is, and its id is derived.
func identify(asOf time.Time, seed []byte) (session.ID, []byte, error) {
	if seed != nil && !asOf.IsZero() {
		return session.Derive(asOf, seed), seed, nil
	}
	if seed == nil {
		seed = make([]byte, 32)
		if _, err := rand.Read(seed); err != nil {
			return "", nil, fmt.Errorf("make a seed: %w", err)
		}
	}
	id, err := session.NewID(time.Now(), rand.Reader)
	return id, seed, err
}

// cutShort is a turn that was found without its end.
type cutShort struct {
	session string
	turn    int
}

// watch sees each entry that this process appends, and remembers the turns that
// recovery ended.
func (p *program) watch(e ledger.Entry) {
	var end record.TurnEnd
	if e.Kind == record.KindTurnEnd && e.Decode(&end) == nil && end.Code == record.CodeCrash {
		p.cutShort = append(p.cutShort, cutShort{e.Session, e.Turn})
	}
}

// recover finishes what an earlier process began in the root.
func (p *program) recover(ctx context.Context, root *session.Root) error {
	findings, err := root.Recover(ctx)
	p.tellRecovery(root, findings)
	return rootError(err, notRun)
}

// tellRecovery tells what recovery did, and what it could not mend.
func (p *program) tellRecovery(root *session.Root, findings []session.Finding) {
	for _, c := range p.cutShort {
		p.term.note("recovered: turn %d of session %s was cut short when its process ended; it is recorded as aborted, and nothing of it is published", c.turn, c.session)
		if id, plane, err := root.Find(c.session); err == nil {
			if turns, err := root.KeptTurns(plane, id); err == nil && slices.Contains(turns, c.turn) {
				p.term.note("what it wrote is kept (%s)", p.command("blocked", "diff", fmt.Sprintf("%s:%d", id, c.turn)))
			}
		}
	}
	p.cutShort = nil
	for _, f := range findings {
		p.term.failure(&failure{
			message: "recovery: " + f.String(),
			hint:    fmt.Sprintf("agenthost session show %s tells what the turn was to publish", f.Session),
		})
	}
}

// command is a line for the user's shell that does words in the same root.
func (p *program) command(words ...string) string {
	line := []string{"agenthost"}
	for _, w := range words {
		line = append(line, shellWord(w))
	}
	for _, flag := range [][2]string{{"--workspace", p.workspace}, {"--root", p.root}} {
		if flag[1] != "" {
			line = append(line, flag[0], shellWord(flag[1]))
		}
	}
	return strings.Join(line, " ")
}

// shellWord quotes a word so that a POSIX shell takes it as it is.
func shellWord(w string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-"
	if w != "" && strings.Trim(w, plain) == "" {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}
