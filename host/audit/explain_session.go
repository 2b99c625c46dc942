package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// ExplainedSession is what a session did, and with which others it is connected
// by what it read and published.
type ExplainedSession struct {
	*Session
	Rights  []string  `json:"rights,omitempty"` // of its last turn, in words
	Sources []Meeting `json:"sources"`          // what it read, or ran as a command, that was published here
	Readers []Meeting `json:"readers"`          // what it published that was read here
}

// A Meeting is a content that a turn read or published, and what other turns had
// to do with it: published it before, or read it. They are sorted by time.
type Meeting struct {
	Turn   int         `json:"turn_number"`
	Path   string      `json:"path"`
	SHA256 ledger.Hash `json:"sha256"`
	With   []Use       `json:"with"`
}

func (q *question) aboutSession() error {
	asked := q.out.ID
	id, plane, err := q.audit.root.Find(asked)
	var path *fs.PathError
	switch {
	case err == nil:
	case errors.Is(err, session.ErrNotFound):
		return q.pruned()
	case errors.As(err, &path):
		return err
	default:
		return &RequestError{err.Error(), "write more of it"}
	}
	q.out.ID = string(id)
	n := slices.IndexFunc(q.index.lines, func(l line) bool { return l.id == id && l.plane == plane })
	if n < 0 {
		for _, u := range q.index.unreadable {
			if u.Session == string(id) && u.Plane == plane {
				return &UnreadableError{u}
			}
		}
		return q.unknown(q.sessions()) // it was pruned a moment ago
	}
	s, err := q.index.session(n)
	if err != nil {
		return err
	}
	out := &ExplainedSession{Session: s, Sources: []Meeting{}, Readers: []Meeting{}}
	q.out.Session = out
	if out.Rights, err = q.granted(plane, id); err != nil {
		return &UnreadableError{Unreadable{string(id), plane, err.Error()}}
	}
	for i, t := range s.Turns {
		into := slices.Clone(t.Reads)
		t.programs(func(_ int, _ useKind, f *record.File) { into = append(into, *f) })
		for _, f := range into {
			with, err := q.others(f.SHA256, turnKey{s, i}, AsPublished)
			if err != nil {
				return err
			}
			if len(with) > 0 {
				out.Sources = append(out.Sources, Meeting{t.Number, f.Path, f.SHA256, with})
			}
		}
		for _, w := range t.Writes {
			if !w.Published {
				continue
			}
			with, err := q.others(w.SHA256, turnKey{s, i}, AsRead)
			if err != nil {
				return err
			}
			if len(with) > 0 {
				out.Readers = append(out.Readers, Meeting{t.Number, w.Path, w.SHA256, with})
			}
		}
	}
	return nil
}

// An UnreadableError says that what was asked for is a session that cannot be
// read.
type UnreadableError struct{ Unreadable }

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("session %s cannot be read: %s", e.Session, e.Unreadable.Error)
}

// others are the turns but one that published a content, or read it.
func (q *question) others(h ledger.Hash, but turnKey, as string) ([]Use, error) {
	if h.IsZero() || h == emptyContent {
		return nil, nil
	}
	uses, err := q.index.uses(h)
	if err != nil {
		return nil, err
	}
	var found []Use
	for _, u := range uses {
		if u.session == but.session && u.turn == but.turn {
			continue
		}
		said := u.say()
		if said.As == as || as == AsRead && slices.Contains([]string{AsModule, AsPackage, AsProgram, AsInterpreter}, said.As) {
			found = append(found, said)
		}
	}
	slices.SortFunc(found, byTime)
	return found, nil
}

// pruned tells of a session that is no longer there what governance.jsonl says.
func (q *question) pruned() error {
	for _, c := range q.changes {
		if c.session != "" && c.session == q.out.ID {
			q.out.Pruned = &c.Change
			return nil
		}
	}
	return q.unknown(q.sessions())
}

func (q *question) sessions() []string {
	var ids []string
	for _, l := range q.index.lines {
		ids = append(ids, string(l.id))
	}
	for _, u := range q.index.unreadable {
		ids = append(ids, u.Session)
	}
	for _, c := range q.changes {
		if c.session != "" {
			ids = append(ids, c.session)
		}
	}
	return ids
}

// ExplainedWorkOrder is a work order and what was done under it.
type ExplainedWorkOrder struct {
	ID string `json:"id"`
	// Order is planes/ho2/work_orders/ID.json as it is now, if it is there, unless
	// FileFault says why nothing can run under it.
	Order     *policy.WorkOrder `json:"file,omitempty"`
	FileFault string            `json:"file_fault,omitempty"`
	SHA256    ledger.Hash       `json:"sha256,omitzero"`  // of that file
	Rights    []string          `json:"rights,omitempty"` // what is granted at most, in words
	Turns     []OrderedTurn     `json:"turns"`            // under it that are on record here, by time
	// Claimed is how many turns were claimed of it, ever: also those that never
	// began, and those whose sessions were removed. ClaimsFault is why that cannot
	// be told.
	Claimed     int    `json:"claimed"`
	ClaimsFault string `json:"claims_fault,omitempty"`
}

// OrderedTurn is a turn under a work order.
type OrderedTurn struct {
	Session session.ID `json:"session_id"`
	Plane   string     `json:"plane"`
	Package string     `json:"package"` // its id
	Version string     `json:"version"`
	Turn
}

func (q *question) aboutWorkOrder() error {
	w := &ExplainedWorkOrder{ID: q.out.ID, Turns: []OrderedTurn{}}
	q.out.WorkOrder = w
	orders := plane.NewWorkOrders(q.audit.root, q.audit.now)
	there := q.workOrderFile(w, orders)
	sessions, err := q.index.mention("work_order_id", w.ID)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		for _, t := range s.Turns {
			if t.WorkOrder == w.ID {
				w.Turns = append(w.Turns, OrderedTurn{s.ID, s.Plane, s.Package.ID, s.Package.Version, t})
			}
		}
	}
	slices.SortStableFunc(w.Turns, func(a, b OrderedTurn) int { return a.Begun.Compare(b.Begun) })
	claims, err := orders.Claims(w.ID)
	w.Claimed = len(claims)
	if err != nil {
		w.ClaimsFault = err.Error()
	}
	if !there && len(w.Turns) == 0 && w.Claimed == 0 && err == nil {
		return q.unknown(q.workOrders())
	}
	return nil
}

// workOrderFile reads the file of a work order, and reports whether there is one.
func (q *question) workOrderFile(w *ExplainedWorkOrder, orders *plane.WorkOrders) bool {
	dir := q.audit.root.Folder()
	if dir == nil {
		return false
	}
	if _, err := dir.Stat(ordersTop + "/" + w.ID + ".json"); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	order, err := orders.Read(w.ID)
	if err != nil {
		w.FileFault = err.Error()
		return true
	}
	w.Order, w.SHA256 = order, order.SHA256
	if order.Capabilities != nil {
		w.Rights = inWords(*order.Capabilities, nil)
	}
	return true
}

// workOrders are the ids of all work orders that the root knows.
func (q *question) workOrders() []string {
	var ids []string
	if dir := q.audit.root.Folder(); dir != nil {
		entries, _ := dir.ReadDir(ordersTop) // for a suggestion only
		for _, e := range entries {
			if id, ok := strings.CutSuffix(e.Name, ".json"); ok {
				ids = append(ids, id)
			}
		}
	}
	for n := range q.index.lines {
		s, err := q.index.session(n)
		if err != nil {
			continue
		}
		for _, t := range s.Turns {
			if t.WorkOrder != "" {
				ids = append(ids, t.WorkOrder)
			}
		}
	}
	return ids
}
