package capability

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// automaton matches names with all patterns of all layers at once, in the time
// it takes to read the name. Its states are made when a name first comes to
// them, and kept up to maxTable bytes; beyond, the patterns are simulated, which
// costs the number of places where the name may be, for each rune, and no memory.
//
// An automaton is safe for concurrent use, and the answers do not depend on what
// it was asked before. The session's id is not part of it, so all sessions share
// its states.
type automaton struct {
	layers []*layer
	once   sync.Once
	table  atomic.Pointer[table]
}

const (
	maxTable   = 4 << 20 // bytes of states that are kept, but for the first
	stateBytes = 768     // of a state, without its key, and what points to it
	edgeBytes  = 16
	maxEdges   = 256 // of a state, for symbols that have no slot: each new one copies them

	// A table that is full is begun anew after simulating this many times as
	// much as making it took: what filled it may not be what is asked now.
	maxMissed = 16
)

// table is the states there are.
type table struct {
	*program
	start  *state
	missed atomic.Int64 // places that were simulated

	mu     sync.Mutex
	states map[string]*state // by key
	bytes  int
	made   int64 // places of all states, and something for each
}

// state is a list of places, and where each symbol leads from there.
type state struct {
	next    [dense]atomic.Pointer[state] // by symbol; nil is not known yet
	more    atomic.Pointer[[]edge]       // ascending; what leads elsewhere by other symbols
	verdict atomic.Pointer[verdict]
	key     string
	places  int32
	id      uint32
}

type edge struct {
	by uint32 // a symbol, or one of the following
	to *state
}

const (
	byHeld uint32 = 1 << 30 // leads to what the placeholder leads to
	byJoin uint32 = 1 << 31 // with the id of a state: leads to the places of both
)

// current returns the table, which the first call makes.
func (a *automaton) current() *table {
	if t := a.table.Load(); t != nil {
		return t
	}
	a.once.Do(func() { a.table.Store(newTable(newProgram(a.layers))) })
	return a.table.Load()
}

func newTable(p *program) *table {
	t := &table{program: p, states: map[string]*state{}}
	sc := p.take()
	p.start(sc)
	sc.encode()
	t.start = t.add(sc)
	t.bytes = 0
	p.give(sc)
	return t
}

// add makes a state of sc.
func (t *table) add(sc *scratch) *state {
	s := &state{key: string(sc.key), places: int32(len(sc.list)), id: uint32(len(t.states))}
	t.states[s.key] = s
	t.bytes += stateBytes + len(s.key)
	t.made += int64(s.places) + dense
	return s
}

// intern returns the state that is the list of sc, or nil if there is no room.
func (t *table) intern(sc *scratch) *state {
	sc.encode()
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.states[string(sc.key)]; s != nil {
		return s
	}
	if t.bytes+stateBytes+len(sc.key) > maxTable {
		return nil
	}
	return t.add(sc)
}

// link notes where by leads from s, if there is room.
func (t *table) link(from *state, by uint32, to *state) {
	if by < dense {
		from.next[by].Store(to)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var edges []edge
	if old := from.more.Load(); old != nil {
		edges = *old
	}
	i, found := findEdge(edges, by)
	if found || len(edges) == maxEdges || t.bytes+edgeBytes > maxTable {
		return
	}
	t.bytes += edgeBytes
	edges = slices.Insert(slices.Clip(edges), i, edge{by, to})
	from.more.Store(&edges)
}

func findEdge(edges []edge, by uint32) (int, bool) {
	return slices.BinarySearchFunc(edges, by, func(e edge, by uint32) int { return cmp.Compare(e.by, by) })
}

// leads returns the state that by leads to from s: by a symbol, for which the
// rune c stands, by the placeholder, or by joining with. It is nil where that
// state is not known and there is no room for it.
func (t *table) leads(s *state, by uint32, c rune, with *state) *state {
	if by < dense {
		if to := s.next[by].Load(); to != nil {
			return to
		}
	} else if edges := s.more.Load(); edges != nil {
		if i, found := findEdge(*edges, by); found {
			return (*edges)[i].to
		}
	}
	sc := t.take()
	defer t.give(sc)
	sc.decode(s.key)
	switch {
	case with != nil:
		sc.markAll(with.key)
		t.join(sc)
	case by == byHeld:
		t.stepHeld(sc)
	default:
		t.step(sc, c)
	}
	to := t.intern(sc)
	if to != nil {
		t.link(s, by, to)
	}
	return to
}

// weight is what it takes to simulate one rune: the places, and what is looked
// at however few they are.
func (p *program) weight(places int) int64 { return int64(places + len(p.nodes)>>11 + 1) }

// rule returns the rule that a verdict names.
func (a *automaton) rule(id uint32) *rule { return &a.current().rules[id-1] }

// first returns the text of the rule that comes first; either may be none.
func (a *automaton) first(one, other uint32) string {
	if one == 0 || other != 0 && other < one {
		one = other
	}
	if one == 0 {
		return ""
	}
	return a.rule(one).text
}

// renew replaces the table if it was full for long.
func (a *automaton) renew(t *table) {
	t.mu.Lock()
	made := t.made
	t.mu.Unlock()
	if t.missed.Load() > maxMissed*made {
		a.table.CompareAndSwap(t, newTable(t.program))
	}
}
