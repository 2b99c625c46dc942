package capability

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync/atomic"
	"unicode/utf8"
)

// program is the nodes of all patterns of all layers, in order. It is immutable
// apart from spare, and safe for concurrent use.
//
// The places where a name may be at once are a list of nodes, ascending, each as
// its index times two, plus one where the name may end: where reading led to a
// node that says so. Nodes that read nothing are not in the list unless the name
// may end there, nor are those that cannot change an answer any more. Equal lists
// are equal states of the automaton.
type program struct {
	nodes  []node
	sets   [][]span
	rules  []rule   // by node.owner
	starts []uint32 // the first node of each rule
	held   bool     // the placeholder occurs
	later  int      // layers behind the manifest's

	symbols
	spare atomic.Pointer[scratch] // one that nobody uses
}

// rule is one compiled pattern, and what it is asked for.
type rule struct {
	*pattern
	use   use
	layer int    // of the layers; 0 is the manifest's
	slot  int    // rules of a slot stand for each other: only the first that matches counts
	past  uint32 // the first node behind the slot's
}

type use uint8

const (
	forbids use = iota
	withholds
	reads         // of the manifest
	writes        // of the manifest
	readsSession  // of the manifest, expanded: beneath the folder of a session
	readsNarrowed // of a later layer
	writesNarrowed
)

func newProgram(layers []*layer) *program {
	p := &program{later: len(layers) - 1}
	var c compiler
	slot, opened, from := 0, 0, 0
	add := func(use use, pattern *pattern, g, also *glob) {
		owner := uint32(len(p.rules))
		p.rules = append(p.rules, rule{pattern: pattern, use: use, layer: from, slot: slot})
		p.starts = append(p.starts, c.add(g, also, owner))
	}
	closeSlot := func() {
		for ; opened < len(p.rules); opened++ {
			p.rules[opened].past = uint32(len(c.nodes))
		}
		slot++
	}
	narrows := func(use use, patterns func(*layer) []pattern) {
		for _, l := range layers {
			for i := range patterns(l) {
				narrow := &patterns(l)[i]
				if narrow.beneath != nil {
					add(use, narrow, narrow.beneath, narrow.glob)
				} else {
					add(use, narrow, narrow.glob, nil)
				}
			}
		}
		closeSlot()
	}
	grants := func(use use, patterns []pattern) {
		for i := range patterns {
			add(use, &patterns[i], patterns[i].glob, nil)
		}
		closeSlot()
	}
	narrows(forbids, func(l *layer) []pattern { return l.forbidden })
	narrows(withholds, func(l *layer) []pattern { return l.withheld })
	grants(reads, layers[0].read)
	grants(writes, layers[0].write)
	for i := range layers[0].read {
		for _, g := range layers[0].read[i].bySession {
			add(readsSession, &layers[0].read[i], g, nil)
		}
	}
	closeSlot()
	for _, l := range layers[1:] {
		from++
		grants(readsNarrowed, l.read)
		grants(writesNarrowed, l.write)
	}
	p.nodes, p.sets, p.held = c.nodes, c.sets, c.held
	p.symbols = newSymbols(p.nodes, p.sets)
	return p
}

// scratch is what one goroutine needs to follow a program.
type scratch struct {
	list []uint32 // where the name may be
	key  []byte   // the list, encoded

	marks []uint64 // two bits for each node: to be visited
	sum   []uint64 // one bit for each word of marks

	pending []uint32 // places that are reached when ids of the session were read in full
}

// take returns a scratch for the caller alone.
func (p *program) take() *scratch {
	if sc := p.spare.Swap(nil); sc != nil {
		return sc
	}
	words := (2*len(p.nodes) + 63) / 64
	return &scratch{marks: make([]uint64, words), sum: make([]uint64, (words+63)/64)}
}

func (p *program) give(sc *scratch) {
	sc.pending = sc.pending[:0]
	p.spare.Store(sc)
}

// mark adds a place, as in a list, to those of the next one.
func (sc *scratch) mark(place uint32) {
	sc.marks[place>>6] |= 1 << (place & 63)
	sc.sum[place>>12] |= 1 << (place >> 6 & 63)
}

// arrive marks a node that reading led to.
func (sc *scratch) arrive(node uint32) { sc.mark(node<<1 | 1) }

// start makes the list of the places before anything is read.
func (p *program) start(sc *scratch) {
	for _, i := range p.starts {
		sc.mark(i << 1)
	}
	p.follow(sc)
}

// step makes the list of the places behind r.
func (p *program) step(sc *scratch, r rune) {
	for _, at := range sc.list {
		i := at >> 1
		n := &p.nodes[i]
		switch n.kind {
		case one:
			if n.r == r {
				sc.arrive(n.out)
			}
		case anyOne:
			if r != '/' {
				sc.arrive(n.out)
			}
		case class:
			if inClass(p.sets[n.alt], r) {
				sc.arrive(n.out)
			}
		case star:
			if r != '/' {
				sc.arrive(i)
			}
		case folders:
			if r == '/' {
				i = n.out
			}
			sc.arrive(i)
		case rest:
			sc.arrive(i)
		case end, jump, split, held:
		}
	}
	p.follow(sc)
}

// stepHeld makes the list of the places behind the session's id, of those alone
// that a placeholder leads to.
func (p *program) stepHeld(sc *scratch) {
	for _, at := range sc.list {
		if n := &p.nodes[at>>1]; n.kind == held {
			sc.arrive(n.out)
		}
	}
	p.follow(sc)
}

// join adds what is marked to the list.
func (p *program) join(sc *scratch) {
	for _, at := range sc.list {
		sc.mark(at)
	}
	p.follow(sc)
}

// follow makes the list of what is marked and of what that leads to without
// reading, and clears the marks. A pattern that matches whatever follows hides
// the later ones of its slot, and its own other nodes.
func (p *program) follow(sc *scratch) {
	list, from := sc.list[:0], uint32(0)
	for s := range sc.sum {
		for sc.sum[s] != 0 {
			w := s<<6 | bits.TrailingZeros64(sc.sum[s])
			for sc.marks[w] != 0 {
				at := uint32(w<<6 | bits.TrailingZeros64(sc.marks[w]))
				sc.marks[w] &= sc.marks[w] - 1
				i := at >> 1
				if i < from || at&1 == 0 && sc.marks[w]>>(at&63)>>1&1 != 0 {
					continue // the same node follows, as one that reading led to
				}
				n := &p.nodes[i]
				ends := at&1 != 0 && n.ends
				switch n.kind {
				case jump:
					sc.mark(n.out << 1)
				case split:
					sc.mark(n.out << 1)
					sc.mark(n.alt << 1)
				case star:
					sc.mark(n.out << 1)
				case rest:
					for len(list) > 0 && p.nodes[list[len(list)-1]>>1].owner == n.owner {
						list = list[:len(list)-1]
					}
					from = p.rules[n.owner].past
				case end, one, anyOne, class, folders, held:
				}
				switch {
				case ends:
					list = append(list, i<<1|1)
				case n.kind != end && n.kind != jump && n.kind != split:
					list = append(list, i<<1)
				}
			}
			sc.sum[s] &^= 1 << (w & 63)
		}
	}
	sc.list = list
}

// encode writes the list of sc to its key.
func (sc *scratch) encode() {
	key, last := sc.key[:0], uint32(0)
	for _, at := range sc.list {
		key = binary.AppendUvarint(key, uint64(at-last))
		last = at
	}
	sc.key = key
}

// decode reads the list of sc from a key.
func (sc *scratch) decode(key string) {
	sc.list = sc.list[:0]
	eachPlace(key, func(at uint32) { sc.list = append(sc.list, at) })
}

// markAll marks what a key lists.
func (sc *scratch) markAll(key string) { eachPlace(key, sc.mark) }

func eachPlace(key string, yield func(at uint32)) {
	at, d, shift := uint32(0), uint32(0), 0
	for i := 0; i < len(key); i++ {
		d |= uint32(key[i]&0x7f) << shift
		if shift += 7; key[i] < 0x80 {
			at += d
			yield(at)
			d, shift = 0, 0
		}
	}
}

// dense is how many symbols each state of the automaton has a slot for.
const dense = 64

// symbols are what names are read as: runes that no node tells apart are one
// symbol. Symbol 0 is all runes that no pattern names. The ASCII runes that are
// named most are the others below dense; from dense on are those of rare.
type symbols struct {
	first [256]uint8  // by the first byte of a rune: its symbol, or dense: look into rare
	runes [dense]rune // a rune for each symbol, or -1
	rare  []span      // ascending; symbol dense+i is the runes of rare[i]
}

func newSymbols(nodes []node, sets [][]span) symbols {
	var s symbols
	var named [utf8.RuneSelf]int
	named['/'] = len(nodes) + 1
	var spans []span
	for i := range nodes {
		if r := nodes[i].r; nodes[i].kind != one {
			continue
		} else if r < utf8.RuneSelf {
			named[r]++
		} else {
			spans = append(spans, span{r, r})
		}
	}
	for _, set := range sets {
		for _, in := range set {
			for r := in.lo; r <= in.hi && r < utf8.RuneSelf; r++ {
				named[r]++
			}
			if in.lo <= in.hi && in.hi >= utf8.RuneSelf {
				spans = append(spans, span{max(in.lo, utf8.RuneSelf), in.hi})
			}
		}
	}
	var order []rune
	for r, n := range named {
		if n > 0 {
			order = append(order, rune(r))
		}
	}
	slices.SortStableFunc(order, func(a, b rune) int { return named[b] - named[a] })
	for b := utf8.RuneSelf; b < len(s.first); b++ {
		s.first[b] = dense
	}
	s.runes[0] = -1
	for i, r := range order {
		if symbol := i + 1; symbol < dense {
			s.first[r], s.runes[symbol] = uint8(symbol), r
		} else {
			s.first[r] = dense
			spans = append(spans, span{r, r})
		}
	}
	s.rare = apart(spans)
	return s
}

// apart splits spans where one of them begins or ends, so that none overlap.
func apart(spans []span) []span {
	type edge struct {
		at   rune
		more int
	}
	var edges []edge
	for _, s := range spans {
		edges = append(edges, edge{s.lo, 1}, edge{s.hi + 1, -1})
	}
	slices.SortFunc(edges, func(a, b edge) int { return int(a.at - b.at) })
	var all []span
	depth := 0
	for i, e := range edges {
		if depth += e.more; depth > 0 && edges[i+1].at > e.at {
			all = append(all, span{e.at, edges[i+1].at - 1})
		}
	}
	return all
}

// symbol returns the symbol of r, and a rune that stands for it.
func (s *symbols) symbol(r rune) (uint32, rune) {
	if r < utf8.RuneSelf && s.first[r] < dense {
		return uint32(s.first[r]), s.runes[s.first[r]]
	}
	i, found := slices.BinarySearchFunc(s.rare, r, func(in span, r rune) int {
		switch {
		case in.hi < r:
			return -1
		case in.lo > r:
			return 1
		}
		return 0
	})
	if !found {
		return 0, -1
	}
	return uint32(dense + i), r
}
