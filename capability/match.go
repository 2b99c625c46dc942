package capability

import (
	"math/bits"
	"strings"
)

// matcher answers for one pattern whether a name matches, with doublestar's
// answers. It is a nondeterministic automaton, simulated: the time is the
// length of the pattern times the length of the name, and never more.
//
// A matcher is immutable and safe for concurrent use.
type matcher struct {
	prefix string // every match begins with this; nodes describe what follows
	suffix string // every match ends with this, apart from the prefix
	within string // every match contains this
	nodes  []node // nodes[0] is the start
}

type kind uint8

const (
	end     kind = iota // the pattern ends
	jump                // reads nothing, goes on at out
	split               // reads nothing, goes on at out and at alt
	one                 // reads the rune r
	anyOne              // reads one rune but '/'
	class               // reads one rune of set
	star                // reads runes but '/', and goes on at out at any time
	folders             // reads runes; behind each '/' goes on at out
	rest                // reads everything
	held                // the placeholder; only in an element, never in a node
)

// node is one state. Those that read nothing lead to higher states only, so one
// ascending pass over a set of states follows all of them.
type node struct {
	kind kind
	ends bool // a name may end on arriving here
	live bool // some further runes lead to a match
	r    rune
	out  uint16
	alt  uint16
	set  []span
}

// maxWords bounds the states of a pattern, in words of 64: the worst is
// maxPattern bytes of placeholders, each replaced by an id of up to
// maxSession bytes and reached in both ways a place can be.
const (
	fewWords = 8
	maxWords = 144
)

// newMatcher compiles g, which validate accepted, with session in place of the
// placeholder.
func newMatcher(g *glob, session string) *matcher {
	m := &matcher{}
	at, prefix := 0, []byte(nil)
	for at < len(g.text) && !g.braced(at) && !g.mayEnd(at, false) {
		e, next := g.element(at)
		if e.kind == held {
			prefix = append(prefix, session...)
		} else if e.kind == one {
			prefix = append(prefix, string(e.r)...)
		} else {
			break
		}
		at = next
	}
	m.prefix = string(prefix)
	if at < len(g.text) {
		m.suffix, m.within = literals(g, session)
	}
	m.nodes = compile(g, session, place{at, at == 0 || g.text[at-1] == '/'})
	return m
}

// literals returns the run of literal runes at the end of the pattern, and the
// longest such run within one segment, both outside braces.
func literals(g *glob, session string) (suffix, within string) {
	var run, segment []byte
	for i := 0; i < len(g.text); {
		if g.braced(i) {
			i, run, segment = g.past[i], nil, nil
			continue
		}
		e, next := g.element(i)
		switch {
		case e.kind == held:
			run, segment = append(run, session...), append(segment, session...)
		case e.kind == one && e.r == '/':
			// `**/` may stand for nothing, and so take this slash with it.
			if segment = nil; i > 0 && g.text[i-1] != '*' && g.text[i-1] != '}' {
				run = append(run, '/')
			}
		case e.kind == one:
			run, segment = append(run, string(e.r)...), append(segment, string(e.r)...)
		default:
			run, segment = nil, nil
		}
		if len(segment) > len(within) {
			within = string(segment)
		}
		i = next
	}
	return string(run), within
}

// place is a position in a pattern, and whether a segment begins there: only
// there does `**` cross folders.
type place struct {
	at    int
	fresh bool
}

func (p place) index() int {
	if p.fresh {
		return 2*p.at + 1
	}
	return 2 * p.at
}

// compile makes the states from a place on. States are numbered in the order of
// their places, so that what reads nothing leads upwards.
func compile(g *glob, session string, from place) []node {
	const nowhere = -1
	type draft struct {
		node
		to int // index of the place that is its out, or nowhere: its own is right
	}
	var drafts []draft
	wanted := make([]bool, 2*len(g.text)+2)
	first := make([]uint16, len(wanted))
	put := func(n node, to int) {
		drafts = append(drafts, draft{n, to})
		if to != nowhere {
			wanted[to] = true
		}
	}
	to := func(at int, fresh bool) int { return place{g.at(at), fresh}.index() }

	wanted[from.index()] = true
	for index := range wanted {
		if !wanted[index] {
			continue
		}
		p := place{index / 2, index%2 == 1}
		self := len(drafts)
		first[index] = uint16(self)
		ends := g.mayEnd(p.at, false)
		if p.at == len(g.text) {
			put(node{kind: end, ends: ends}, nowhere)
			continue
		}
		if alts := g.alts[p.at]; alts != nil {
			last := len(alts) - 1
			for i, alt := range alts[:last] {
				put(node{kind: split, ends: ends, alt: uint16(self + i + 1)}, to(alt, p.fresh))
			}
			put(node{kind: jump, ends: ends}, to(alts[last], p.fresh))
			continue
		}
		if n, next := g.stars(p.at); n > 0 {
			switch {
			case n == 2 && p.fresh && next == len(g.text):
				put(node{kind: rest, ends: ends}, nowhere)
			case n == 2 && p.fresh && g.text[next] == '/':
				put(node{kind: split, ends: ends, alt: uint16(self + 1)}, to(next+1, true))
				put(node{kind: folders, out: uint16(self)}, nowhere)
			default:
				put(node{kind: jump, ends: ends, out: uint16(self + 1)}, nowhere)
				put(node{kind: star, ends: g.mayEnd(next, false)}, to(next, false))
			}
			continue
		}
		e, next := g.element(p.at)
		if e.kind == held {
			for i, r := range session[:len(session)-1] {
				put(node{kind: one, r: r, out: uint16(self + i + 1)}, nowhere)
			}
			e = element{kind: one, r: rune(session[len(session)-1])}
		}
		put(node{kind: e.kind, r: e.r, set: e.set, ends: ends}, to(next, e.r == '/'))
	}

	nodes := make([]node, len(drafts))
	for i, d := range drafts {
		nodes[i] = d.node
		if d.to != nowhere {
			nodes[i].out = first[d.to]
		}
	}
	setLive(nodes)
	return nodes
}

// setLive marks the nodes from which some further runes lead to a match.
func setLive(nodes []node) {
	for i := len(nodes) - 1; i >= 0; i-- {
		n := &nodes[i]
		switch n.kind {
		case end:
		case jump:
			n.live = nodes[n.out].live
		case split:
			n.live = nodes[n.out].live || nodes[n.alt].live
		case one, anyOne, class:
			n.live = nodes[n.out].live || nodes[n.out].ends
		case star:
			n.live = nodes[n.out].live || n.ends
		case folders: // its out is the split before it, whose own out is above both
			n.live = nodes[nodes[n.out].out].live
		case rest:
			n.live = true
		}
	}
}

// match reports whether the pattern matches name, which nameFault accepted.
func (m *matcher) match(name string) bool {
	if len(name) < len(m.prefix)+len(m.suffix) || !strings.HasPrefix(name, m.prefix) ||
		!strings.HasSuffix(name, m.suffix) || !strings.Contains(name, m.within) {
		return false
	}
	name = name[len(m.prefix):]
	n := m.words()
	if n > fewWords {
		return m.matchLong(name)
	}
	var space [2][fewWords]uint64
	s := simulation{nodes: m.nodes, cur: space[0][:n], next: space[1][:n]}
	return s.match(name)
}

// matchLong is the last step of match for a pattern of many states. It is apart
// so that the usual one does not clear that much of the stack.
func (m *matcher) matchLong(name string) bool {
	var space [2][maxWords]uint64
	n := m.words()
	s := simulation{nodes: m.nodes, cur: space[0][:n], next: space[1][:n]}
	return s.match(name)
}

// beneath reports whether the pattern matches some name, and whether it is known
// to match every name, beneath folder ("." is the top).
func (m *matcher) beneath(folder string) (some, all bool) {
	slash := 0
	if folder == "." {
		folder = ""
	} else {
		slash = 1
	}
	start := &m.nodes[0]
	switch n := len(folder); {
	case n+slash < len(m.prefix):
		return m.prefix[:n] == folder && (slash == 0 || m.prefix[n] == '/') && (start.live || start.ends), false
	case n < len(m.prefix): // the prefix ends with the slash behind folder
		if m.prefix[:n] != folder || m.prefix[n] != '/' {
			return false, false
		}
		folder, slash = "", 0
	case folder[:len(m.prefix)] != m.prefix:
		return false, false
	default:
		folder = folder[len(m.prefix):]
	}
	n := m.words()
	if n > fewWords {
		return m.beneathLong(folder, slash == 1)
	}
	var space [2][fewWords]uint64
	s := simulation{nodes: m.nodes, cur: space[0][:n], next: space[1][:n]}
	return s.beneath(folder, slash == 1)
}

func (m *matcher) beneathLong(folder string, slash bool) (some, all bool) {
	var space [2][maxWords]uint64
	n := m.words()
	s := simulation{nodes: m.nodes, cur: space[0][:n], next: space[1][:n]}
	return s.beneath(folder, slash)
}

func (m *matcher) words() int { return (len(m.nodes) + 63) / 64 }

// simulation is the set of the states in which a matcher can be after what was
// read so far.
type simulation struct {
	nodes     []node
	cur, next []uint64
}

func add(set []uint64, i uint16) { set[i>>6] |= 1 << (i & 63) }

func (s *simulation) match(name string) bool {
	add(s.cur, 0)
	for _, r := range name {
		all, some := s.step(r)
		if all || !some {
			return all
		}
	}
	for w, x := range s.cur {
		for ; x != 0; x &= x - 1 {
			if s.nodes[w<<6|bits.TrailingZeros64(x)].ends {
				return true
			}
		}
	}
	return false
}

// step reads r. It says whether everything that begins so matches, and whether
// any state is left.
func (s *simulation) step(r rune) (all, some bool) {
	clear(s.next)
	for w := range s.cur {
		for x := s.cur[w]; x != 0; {
			i := bits.TrailingZeros64(x)
			self := uint16(w<<6 | i)
			n := &s.nodes[self]
			switch n.kind {
			case end:
			case jump:
				add(s.cur, n.out)
			case split:
				add(s.cur, n.out)
				add(s.cur, n.alt)
			case one:
				if n.r == r {
					add(s.next, n.out)
					some = true
				}
			case anyOne:
				if r != '/' {
					add(s.next, n.out)
					some = true
				}
			case class:
				if inClass(n.set, r) {
					add(s.next, n.out)
					some = true
				}
			case star:
				add(s.cur, n.out)
				if r != '/' {
					add(s.next, self)
					some = true
				}
			case folders:
				if r == '/' {
					self = n.out
				}
				add(s.next, self)
				some = true
			case rest:
				return true, true
			}
			x = s.cur[w] & (^uint64(1) << i) // what reads nothing may have added higher ones
		}
	}
	s.cur, s.next = s.next, s.cur
	return false, some
}

// beneath reads folder, and a slash behind it.
func (s *simulation) beneath(folder string, slash bool) (some, all bool) {
	add(s.cur, 0)
	for _, r := range folder {
		if all, some := s.step(r); all || !some {
			return some, all
		}
	}
	if slash {
		if all, some := s.step('/'); all || !some {
			return some, all
		}
	}
	for w := range s.cur {
		for x := s.cur[w]; x != 0; {
			i := bits.TrailingZeros64(x)
			n := &s.nodes[w<<6|i]
			switch n.kind {
			case jump, star:
				add(s.cur, n.out)
			case split:
				add(s.cur, n.out)
				add(s.cur, n.alt)
			case rest:
				all = true
			}
			some = some || n.live
			x = s.cur[w] & (^uint64(1) << i)
		}
	}
	return some, all
}
