package audit

import (
	"errors"
	"fmt"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// A Session is what the ledger of one session tells, turn by turn. Texts and
// names in it came from guests and packages: whoever shows them escapes them.
type Session struct {
	ID        session.ID     `json:"session_id"`
	Plane     string         `json:"plane"`
	Package   record.Package `json:"package"`
	Module    ledger.Hash    `json:"module_sha256"`
	Agenthost string         `json:"agenthost"` // version of the program that opened it
	Opened    time.Time      `json:"opened"`
	Changed   time.Time      `json:"changed"` // when its last entry was written
	State     string         `json:"state"`   // open, unfinished, closed
	Turns     []Turn         `json:"turns"`

	uses map[ledger.Hash][]use // by digest; made when it is decoded
}

// A Turn is one turn of a [Session]. Without Status it has not ended: it runs, or
// its process died.
type Turn struct {
	Number     int           `json:"turn_number"`
	WorkOrder  string        `json:"work_order_id,omitempty"`
	Begun      time.Time     `json:"begun"`
	Last       time.Time     `json:"last"` // when its last entry was written
	Status     string        `json:"status,omitempty"`
	Code       string        `json:"code,omitempty"`
	Limit      string        `json:"limit,omitempty"`
	Violations int           `json:"violations"`
	Reads      []record.File `json:"reads"`  // what the guest could see, files of packages (pkg:, deps:) too
	Writes     []Write       `json:"writes"` // what it made, without /tmp
	Commands   []Command     `json:"commands"`
}

// A Command is one that a turn started. What it read is not known: View says what
// it could see, by a blob in the session's ledger.
type Command struct {
	Seq         uint64       `json:"seq"`   // of its exec.start
	Words       string       `json:"words"` // as the guest passed them
	Program     record.File  `json:"program"`
	Interpreter *record.File `json:"interpreter,omitempty"`
	Fence       string       `json:"fence"`
	View        record.View  `json:"view"`
	Ended       bool         `json:"ended"`            // false: its turn ended before that was recorded
	Failed      string       `json:"failed,omitempty"` // why it never ran
	Exit        int64        `json:"exit"`             // -1 if a signal ended it
	Signal      int64        `json:"signal,omitempty"`
	Killed      string       `json:"killed,omitempty"` // the limit for which it was ended
}

// A Write is a file that a turn made.
type Write struct {
	Path       string       `json:"path"`
	Role       string       `json:"role,omitempty"`
	SHA256     ledger.Hash  `json:"sha256"`
	Size       int64        `json:"size"`
	Base       *ledger.Hash `json:"base,omitempty"` // what it replaced
	Executable bool         `json:"executable,omitempty"`
	Published  bool         `json:"published"` // false: the turn was blocked, or ended otherwise without publishing
}

// readSession reads what a session did from its exec.jsonl, which is verified
// while it is read.
func readSession(path string, id session.ID) (*Session, error) {
	r := reader{s: &Session{Turns: []Turn{}}}
	for e, err := range ledger.Scan(path, record.ExecOptions(string(id))) {
		var bad *ledger.IntegrityError
		if errors.As(err, &bad) && bad.Torn {
			break // a line that is being written, or debris
		}
		if err == nil {
			if err = r.add(e); err != nil {
				err = &ledger.IntegrityError{File: path, Line: int(e.Seq) + 1, Seq: e.Seq, Offset: e.Offset, Reason: err.Error()}
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if r.progress.Session == "" {
		return nil, fmt.Errorf("%s has no session.open", record.ExecFile)
	}
	r.s.State = "open"
	switch {
	case r.progress.Closed:
		r.s.State = "closed"
	case r.progress.InTurn:
		r.s.State = "unfinished"
		if err := r.sumUp(r.last); err != nil {
			return nil, err
		}
	}
	return r.s, nil
}

// reader collects the entries of one exec.jsonl.
type reader struct {
	s        *Session
	progress record.Progress
	evidence record.Collector // of the turn
	library  []record.File    // files of packages that the turn read
	known    map[record.File]bool
	words    string      // of the command that was granted last
	last     ledger.Hash // of the last entry of the turn
}

func (r *reader) add(e ledger.Entry) error {
	if err := r.progress.Add(e); err != nil {
		return err
	}
	body, err := record.Decode(e)
	if err != nil {
		return err
	}
	r.s.Changed = e.Time
	switch b := body.(type) {
	case record.SessionOpen:
		r.s.Package, r.s.Module, r.s.Agenthost, r.s.Opened = b.Package, b.ModuleSHA256, b.Agenthost, e.Time
	case record.TurnBegin:
		r.evidence, r.library, r.known = record.Collector{}, nil, map[record.File]bool{}
		r.s.Turns = append(r.s.Turns, Turn{Number: e.Turn, WorkOrder: b.WorkOrder, Begun: e.Time, Reads: []record.File{}, Writes: []Write{}, Commands: []Command{}})
	case record.Op:
		r.fromPackage(b)
		if b.Op == record.OpExec && b.Decision == record.Granted {
			r.words = b.Path
		}
	case record.ExecStart:
		t := r.turn()
		t.Commands = append(t.Commands, Command{
			Seq: e.Seq, Words: r.words, Program: b.Program, Interpreter: b.Interpreter, Fence: b.Fence.Tier, View: b.View,
		})
	case record.ExecEnd:
		if all := r.turn().Commands; len(all) > 0 && all[len(all)-1].Seq == b.Of {
			c := &all[len(all)-1]
			c.Ended, c.Failed, c.Exit, c.Signal, c.Killed = true, b.Failed, b.Exit, b.Signal, b.Killed
		}
	case record.TurnEnd:
		r.turn().Last = e.Time
		return r.end(e, b)
	}
	if r.progress.InTurn {
		r.evidence.Add(e, body)
		r.turn().Last, r.last = e.Time, e.Hash
	}
	return nil
}

func (r *reader) turn() *Turn { return &r.s.Turns[len(r.s.Turns)-1] }

// fromPackage notes what was read of the session's package and of those it
// depends on, which evidence does not list: a library, too, can be poisoned.
func (r *reader) fromPackage(o record.Op) {
	if o.Decision != record.InPkg || o.Errno != record.ErrnoSuccess || o.SHA256 == nil {
		return
	}
	f := record.File{Path: o.Path, SHA256: *o.SHA256}
	if o.Size != nil {
		f.Size = *o.Size
	}
	if !r.known[f] {
		r.known[f] = true
		r.library = append(r.library, f)
	}
}

// sumUp says what the turn read and wrote up to the entry with that hash.
func (r *reader) sumUp(head ledger.Hash) error {
	found, ok := r.evidence.Evidence(ledger.Head{Hash: head})
	if !ok {
		return fmt.Errorf("the entries of turn %d do not say what it did", r.progress.Turns)
	}
	t := r.turn()
	t.Violations = len(found.Violations)
	t.Reads = append(append(t.Reads, found.RealizedReads...), r.library...)
	for _, f := range found.RealizedWrites {
		t.Writes = append(t.Writes, Write{Path: f.Path, SHA256: f.SHA256, Size: f.Size})
	}
	return nil
}

func (r *reader) end(e ledger.Entry, end record.TurnEnd) error {
	if err := r.sumUp(e.Prev); err != nil {
		return err
	}
	t := r.turn()
	t.Status, t.Code, t.Limit = end.Status, end.Code, end.Limit
	at := map[record.File]int{}
	for i, w := range t.Writes {
		at[record.File{Path: w.Path, SHA256: w.SHA256, Size: w.Size}] = i
	}
	for _, p := range end.Publish {
		i, ok := at[record.File{Path: p.Path, SHA256: p.SHA256, Size: p.Size}]
		if !ok {
			return fmt.Errorf("turn %d published %s, which it did not write with that content", e.Turn, p.Path)
		}
		w := &t.Writes[i]
		w.Role, w.Base, w.Executable, w.Published = p.Role, p.Base, p.Executable, true
	}
	return nil
}
