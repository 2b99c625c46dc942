package audit

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// A Context is what a session has come to: what it was asked, read, answered and
// published, turn by turn. It is a function of the first Entries entries of its
// exec.jsonl and of nothing else. Texts and names in it came from guests and
// packages: whoever shows them escapes them.
type Context struct {
	SessionID  string         `json:"session_id"`
	Plane      string         `json:"plane"`
	Package    record.Package `json:"package"`
	Opened     time.Time      `json:"opened"`
	Closed     time.Time      `json:"closed,omitzero"`
	Turns      []ContextTurn  `json:"turns"`
	Published  []Standing     `json:"published"`  // sorted by path
	Violations int            `json:"violations"` // of all turns

	// What it stands on: the entries with a time up to AsOf, before the first
	// with a later one, and the hash of the last of them.
	AsOf    time.Time   `json:"as_of"`
	Entries uint64      `json:"entries"`
	Head    ledger.Hash `json:"head"`
}

// A ContextTurn is one turn of a [Context]. Without Status it has not ended, and
// says what is known so far.
type ContextTurn struct {
	Number        int                  `json:"turn_number"`
	AsOf          string               `json:"as_of"` // the clock its guest was given
	WorkOrder     string               `json:"work_order_id,omitempty"`
	Status        string               `json:"status,omitempty"`
	Code          string               `json:"code,omitempty"`
	Query         *record.Blob         `json:"query,omitempty"`
	Result        *record.Blob         `json:"result,omitempty"`
	DeclaredReads []record.File        `json:"declared_reads"`
	RealizedReads []record.File        `json:"realized_reads"`
	Published     []record.Publication `json:"published"`
	Violations    int                  `json:"violations"`
}

// Standing is a file as a session left it: the last of its turns that published
// the name is Turn. Whether somebody changed it since is not asked.
type Standing struct {
	Path   string      `json:"path"`
	SHA256 ledger.Hash `json:"sha256"`
	Size   int64       `json:"size"`
	Role   string      `json:"role"`
	Turn   int         `json:"turn_number"`
}

// fold makes a context of entries, one after the other. The zero value is one of
// none.
type fold struct {
	c        Context         // of the turns that have ended, as of the entry after which the last one had
	progress record.Progress // after all entries
	open     *ContextTurn    // the turn that has not ended
	reads    record.Collector
	last     ledger.Entry // without its line
	latest   time.Time    // of all entries
}

// skip takes an entry whose meaning is in the context already.
func (f *fold) skip(e ledger.Entry) error {
	if err := f.progress.Add(e); err != nil {
		return err
	}
	f.last, f.last.Line = e, nil
	if e.Time.After(f.latest) {
		f.latest = e.Time
	}
	return nil
}

// add takes the next entry.
func (f *fold) add(e ledger.Entry) error {
	body, err := record.Decode(e)
	if err != nil {
		return err
	}
	return f.take(e, body)
}

// take is add of an entry whose body was decoded.
func (f *fold) take(e ledger.Entry, body ledger.Body) error {
	if err := f.skip(e); err != nil {
		return err
	}
	switch b := body.(type) {
	case record.SessionOpen:
		f.c = Context{SessionID: e.Session, Plane: b.Plane, Package: b.Package, Opened: e.Time, Turns: []ContextTurn{}, Published: []Standing{}}
	case record.SessionClose:
		f.c.Closed = e.Time
	case record.TurnBegin:
		f.reads = record.Collector{}
		f.open = &ContextTurn{
			Number: e.Turn, AsOf: b.AsOf, WorkOrder: b.WorkOrder, Query: b.Query,
			DeclaredReads: b.Inputs, RealizedReads: []record.File{}, Published: []record.Publication{},
		}
	case record.TurnEnd:
		if err := f.sumUp(e.Prev); err != nil {
			return err
		}
		f.end(b)
	}
	if f.progress.InTurn {
		f.reads.Add(e, body)
		return nil
	}
	f.c.AsOf, f.c.Entries, f.c.Head = f.latest, e.Seq+1, e.Hash
	return nil
}

// end takes the end of the turn in, whose reads were summed up.
func (f *fold) end(b record.TurnEnd) {
	t := *f.open
	t.Status, t.Code, t.Result, t.Published = b.Status, b.Code, b.Result, b.Publish
	f.open = nil
	f.c.Turns = append(f.c.Turns, t)
	f.c.Violations += t.Violations
	for _, p := range b.Publish {
		standing := Standing{p.Path, p.SHA256, p.Size, p.Role, t.Number}
		i, found := slices.BinarySearchFunc(f.c.Published, p.Path, func(s Standing, path string) int { return cmp.Compare(s.Path, path) })
		if found {
			f.c.Published[i] = standing
		} else {
			f.c.Published = slices.Insert(f.c.Published, i, standing)
		}
	}
}

// sumUp says what the turn that has not ended read up to the entry of that hash,
// the last that was added to it.
func (f *fold) sumUp(head ledger.Hash) error {
	evidence, ok := f.reads.Evidence(ledger.Head{Hash: head})
	if !ok {
		return fmt.Errorf("the entries of turn %d do not say what it did", f.progress.Turns)
	}
	f.open.RealizedReads = append([]record.File{}, evidence.RealizedReads...)
	f.open.Violations = len(evidence.Violations)
	return nil
}

// context is what all entries come to. It shares nothing with f that a later
// entry changes.
func (f *fold) context() (*Context, error) {
	c := f.c
	c.Turns, c.Published = slices.Clone(c.Turns), slices.Clone(c.Published)
	c.AsOf, c.Entries, c.Head = f.latest, f.last.Seq+1, f.last.Hash
	if f.open == nil {
		return &c, nil
	}
	if err := f.sumUp(f.last.Hash); err != nil {
		return nil, err
	}
	c.Turns = append(c.Turns, *f.open)
	c.Violations += f.open.Violations
	return &c, nil
}

// contextSchema is what a snapshot is written by.
const contextSchema = "agenthost/context/v1"

// keptContext is the file of a snapshot: the context after an entry outside any
// turn. What a turn has done is not settled before its end is on the disk, so
// there is none within one.
type keptContext struct {
	Schema  string  `json:"schema"`
	Context Context `json:"context"`
}

// snapshot returns the context after the last entry outside any turn, as it is
// kept.
func (f *fold) snapshot() (record.ContextSnapshot, []byte, error) {
	data, err := json.Marshal(keptContext{contextSchema, f.c})
	if err != nil {
		return record.ContextSnapshot{}, nil, fmt.Errorf("snapshot: %w", err)
	}
	data = append(data, '\n')
	return record.ContextSnapshot{
		SessionID: f.c.SessionID, Plane: f.c.Plane, Size: f.c.Entries, Head: f.c.Head,
		SHA256: ledger.Sum(data), Bytes: int64(len(data)),
	}, data, nil
}

// parseSnapshot reads what snapshot wrote.
func parseSnapshot(s record.ContextSnapshot, data []byte) (Context, error) {
	var k keptContext
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return Context{}, err
	}
	c := k.Context
	switch {
	case k.Schema != contextSchema:
		return Context{}, fmt.Errorf("it was written by another version: %.80q", k.Schema)
	case c.SessionID != s.SessionID || c.Plane != s.Plane || c.Entries != s.Size || c.Head != s.Head:
		return Context{}, errors.New("it is of something else than its record says")
	}
	return c, nil
}

// goOn makes f, which has skipped the entries a snapshot is of, go on from it. It
// reports whether the snapshot is of these entries.
func (f *fold) goOn(c Context) bool {
	p := f.progress
	if c.Entries != f.last.Seq+1 || c.Head != f.last.Hash || c.SessionID != f.last.Session || p.InTurn ||
		len(c.Turns) != p.Turns || c.Closed.IsZero() == p.Closed || !c.AsOf.Equal(f.latest) {
		return false
	}
	f.c = c
	return true
}
