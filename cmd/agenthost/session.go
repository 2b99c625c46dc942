package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) sessionCommand() *cli.Command {
	return &cli.Command{
		Name:  "session",
		Usage: "see, close and remove sessions",
		Subcommands: []*cli.Command{
			{
				Name:  "list",
				Usage: "list the sessions of the root",
				Description: `The oldest first: when it was opened, its package, how many turns it had, how the
last one ended, and whether it is still open; unfinished if a turn has not ended,
because it runs or its process died. Ledgers are verified for this; a session that
cannot be read is listed too, and the status is 4 then.`,
				Action: p.inRoot(0, 0, p.sessionList),
			},
			{
				Name:      "show",
				Usage:     "say what a session did, turn by turn",
				ArgsUsage: "SESSION",
				Description: `A SESSION is an id, the beginning of one, or @last, the one in which something
happened last. ledger show prints every single operation; verify checks the whole
record.`,
				Action: p.inRoot(1, 1, p.sessionShow),
			},
			p.sessionCloseCommand(),
			p.sessionPruneCommand(),
		},
	}
}

// findSession is the session that was named by id, by the beginning of one, or
// as @last.
func findSession(root *session.Root, name string) (session.ID, string, error) {
	return found(root.Find(name))
}

// findOpen is findSession for who continues or closes one: @last is the open
// session in which something happened last.
func findOpen(root *session.Root, name string) (session.ID, string, error) {
	return found(root.FindOpen(name))
}

// found gives the user a way out where a session was not found.
func found(id session.ID, plane string, err error) (session.ID, string, error) {
	var path *fs.PathError
	switch {
	case err == nil:
		return id, plane, nil
	case errors.Is(err, session.ErrNotFound):
		return "", "", &failure{message: err.Error(), hint: "agenthost session list shows those of this root", code: exitUsage, err: err}
	case errors.As(err, &path):
		return "", "", err
	}
	return "", "", &failure{message: err.Error(), hint: "write more of it", code: exitUsage, err: err}
}

// listed is a session in session list --json.
type listed struct {
	Session string         `json:"session_id"`
	Plane   string         `json:"plane"`
	Package record.Package `json:"package,omitzero"`
	Opened  time.Time      `json:"opened,omitzero"`
	Turns   int            `json:"turns"`
	Status  string         `json:"status,omitempty"` // of the last turn
	Code    string         `json:"code,omitempty"`
	State   string         `json:"state"` // open, unfinished, closed, broken
	Error   string         `json:"error,omitempty"`
	Lost    int            `json:"accepted_losses,omitempty"`
}

func (p *program) sessionList(_ *cli.Context, root *session.Root, _ []string) error {
	if err := p.there(root, "listed"); err != nil {
		return err
	}
	list, err := root.List()
	if err != nil {
		return err
	}
	var bad error
	rows := []listed{}
	for _, s := range list {
		row := listed{string(s.ID), s.Plane, s.Package, s.Opened, s.Turns, s.Status, s.Code, state(s), "", s.Accepted}
		if s.Err != nil {
			row.Error = s.Err.Error()
			if bad == nil {
				bad = fmt.Errorf("%s: %w", s.ID, s.Err)
			}
		}
		rows = append(rows, row)
	}
	if p.json {
		if err := p.term.value(map[string]any{"sessions": rows}); err != nil {
			return err
		}
		return bad
	}
	for _, r := range rows {
		if r.Error != "" {
			p.term.line("%s  %s  %s", r.Session, r.Plane, r.State)
			continue
		}
		if r.Lost > 0 {
			r.State += "  " + acceptedLosses(r.Lost)
		}
		p.term.line("%s  %s  %s %s  %s  %s  %s", r.Session, r.Plane, r.Package.ID, r.Package.Version,
			count(r.Turns, "turn"), strings.TrimSpace(r.Status+" "+r.Code), r.State)
	}
	if len(rows) == 0 {
		p.term.note("no sessions in %s", root.Path())
	}
	return bad
}

// state says how a session stands. Whether a turn without an end runs or its
// process died cannot be told: a reader takes no locks.
func state(s session.Summary) string {
	switch {
	case s.Err != nil:
		return "broken"
	case s.Closed:
		return "closed"
	case s.Running:
		return "unfinished"
	}
	return "open"
}

// shown is a session in session show --json.
type shown struct {
	Session string             `json:"session_id"`
	Plane   string             `json:"plane"`
	Opened  time.Time          `json:"opened"`
	Open    record.SessionOpen `json:"open"`
	State   string             `json:"state"` // open, unfinished, closed
	Turns   []*shownTurn       `json:"turns"`
	Lost    int                `json:"accepted_losses,omitempty"`
}

// shownTurn is one turn of a session. Without Status it has not ended.
type shownTurn struct {
	Number    int                  `json:"turn_number"`
	WorkOrder string               `json:"work_order_id,omitempty"`
	AsOf      string               `json:"as_of"`
	Granted   capability.Grants    `json:"granted"`
	Withheld  []string             `json:"withheld"`
	Calls     int                  `json:"calls"`
	Commands  int                  `json:"commands"` // that were started
	Fence     string               `json:"fence"`    // the weakest that held one of them, or none
	Refused   []string             `json:"refused"`  // what ended the turn or kept it from publishing
	Status    string               `json:"status,omitempty"`
	Code      string               `json:"code,omitempty"`
	Limit     string               `json:"limit,omitempty"`
	Message   string               `json:"message,omitempty"`
	Exit      *int64               `json:"exit,omitempty"`
	Published []record.Publication `json:"published"`
	Fuel      int64                `json:"fuel"`
	Duration  int64                `json:"duration_ms"`
}

func (p *program) sessionShow(c *cli.Context, root *session.Root, given []string) error {
	id, plane, err := findSession(root, given[0])
	if err != nil {
		return err
	}
	s, err := readSession(root.LedgerPath(plane, id, record.ExecFile))
	if err != nil {
		return err
	}
	s.Session, s.Plane = string(id), plane
	if p.json {
		return p.term.value(s)
	}
	p.showSession(s)
	return nil
}

func readSession(path string) (shown, error) {
	s := shown{Turns: []*shownTurn{}}
	var turn *shownTurn
	closed := false
	for e, err := range ledger.Scan(path, record.ExecOptions("")) {
		var at *ledger.IntegrityError
		if errors.As(err, &at) && at.Torn {
			break // a line that is being written, or debris
		}
		if err != nil {
			return s, err
		}
		body, err := record.Decode(e)
		if err != nil {
			return s, fmt.Errorf("%s: entry %d: %w", path, e.Seq, err)
		}
		switch b := body.(type) {
		case record.SessionOpen:
			s.Open, s.Opened = b, e.Time
		case record.Recovered:
			if b.Accepted {
				s.Lost++
			}
		case record.SessionClose:
			closed = true
		case record.TurnBegin:
			turn = &shownTurn{
				Number: e.Turn, WorkOrder: b.WorkOrder, AsOf: b.AsOf, Granted: b.Granted, Withheld: b.Withheld,
				Fence: record.FenceNone, Refused: []string{}, Published: []record.Publication{},
			}
			s.Turns = append(s.Turns, turn)
		case record.Op:
			if turn != nil {
				turn.add(e.Session, b)
			}
		case record.ExecStart:
			if turn != nil {
				turn.held(b.Fence)
				turn.Commands++
			}
		case record.ExecEnd:
			if turn != nil && b.Fence != nil {
				turn.held(*b.Fence)
			}
		case record.TurnEnd:
			if turn != nil {
				turn.Status, turn.Code, turn.Limit, turn.Message, turn.Exit = b.Status, b.Code, b.Limit, b.Message, b.Exit
				turn.Fuel, turn.Duration = b.Fuel, time.Duration(b.WallNS).Milliseconds()
				turn.Published = append(turn.Published, b.Publish...)
			}
		}
	}
	switch {
	case closed:
		s.State = "closed"
	case turn != nil && turn.Status == "":
		s.State = "unfinished"
	default:
		s.State = "open"
	}
	return s, nil
}

func (t *shownTurn) add(session string, op record.Op) {
	if op.Via != record.ViaHost {
		t.Calls += 1 + int(op.Count)
	}
	if op.Decision == record.Violated {
		t.Refused = append(t.Refused, refusal(session, op))
	}
}

// held says that a command of the turn was held by a fence.
func (t *shownTurn) held(f record.Fence) { t.Fence = record.WeakerFence(t.Fence, f.Tier) }

// refusal says what was refused, with the name as the agent knows it.
func refusal(session string, op record.Op) string {
	return fmt.Sprintf("%s %s: %s", op.Op, host.GuestName(session, op.Path), op.Rule)
}

// commandsInWords is what follows where commands ran.
func commandsInWords(n int, fence string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %s in the %s fence", count(n, "command"), fence)
}

func (p *program) showSession(s shown) {
	p.term.line("session %s, plane %s, %s", s.Session, s.Plane, s.State)
	p.term.line("opened %s", s.Opened.Format(time.RFC3339))
	p.term.line("package %s %s %s", s.Open.Package.ID, s.Open.Package.Version, s.Open.Package.SHA256)
	if s.Lost > 0 {
		p.term.line("not all that was written is there: %s", acceptedLosses(s.Lost))
	}
	for _, t := range s.Turns {
		if t.Status == "" {
			p.term.line("turn %d has not ended: it runs, or its process died%s", t.Number, commandsInWords(t.Commands, t.Fence))
			continue
		}
		p.term.line("turn %d %s", t.Number, strings.TrimSpace(strings.Join([]string{t.Status, t.Code, t.Limit}, " ")))
		if t.WorkOrder != "" {
			p.term.line("  work order %s", t.WorkOrder)
		}
		p.term.line("  %s%s, fuel %d, %.3fs", count(t.Calls, "call"), commandsInWords(t.Commands, t.Fence), t.Fuel, float64(t.Duration)/1000)
		for _, r := range t.Refused {
			p.term.line("  refused %s", r)
		}
		if t.Message != "" && len(t.Refused) == 0 {
			p.term.line("  %s", t.Message)
		}
		for _, f := range t.Published {
			p.term.line("  published %s", content(f.Path, f.SHA256, f.Size))
		}
	}
}
