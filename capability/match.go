package capability

import "math/bits"

// matcher answers for one pattern whether a name matches, with doublestar's
// answers. It is a nondeterministic automaton, simulated: the time is the
// length of the pattern times the length of the name, and never more. Operands
// of commands are matched so; names are matched by the automaton.
//
// A matcher is immutable and safe for concurrent use.
type matcher struct {
	nodes []node // nodes[0] is the start
	sets  [][]span
}

// fewWords is the states, in words of 64, of a pattern that is matched without
// allocating.
const fewWords = 8

// newMatcher compiles g, which validate accepted and which has no placeholder.
func newMatcher(g *glob) *matcher {
	var c compiler
	c.add(g, nil, 0)
	return &matcher{c.nodes, c.sets}
}

// match reports whether the pattern matches name, which nameFault accepted.
func (m *matcher) match(name string) bool {
	var space [2][fewWords]uint64
	if n := m.words(); n <= fewWords {
		return m.simulation(space[0][:n], space[1][:n]).match(name)
	}
	return m.matchLong(name)
}

// matchLong is match for a pattern of many states.
func (m *matcher) matchLong(name string) bool {
	n := m.words()
	return m.simulation(make([]uint64, n), make([]uint64, n)).match(name)
}

func (m *matcher) words() int { return (len(m.nodes) + 63) / 64 }

func (m *matcher) simulation(cur, next []uint64) simulation {
	add(cur, 0)
	return simulation{m, cur, next}
}

// simulation is the set of the states in which a matcher can be after what was
// read so far.
type simulation struct {
	*matcher
	cur, next []uint64
}

func add(set []uint64, i uint32) { set[i>>6] |= 1 << (i & 63) }

func (s simulation) match(name string) bool {
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
			self := uint32(w<<6 | i)
			n := &s.nodes[self]
			switch n.kind {
			case end, held:
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
				if inClass(s.sets[n.alt], r) {
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
