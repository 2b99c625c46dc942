package capability

import "slices"

type kind uint8

const (
	end     kind = iota // the pattern ends
	jump                // reads nothing, goes on at out
	split               // reads nothing, goes on at out and at alt
	one                 // reads the rune r
	anyOne              // reads one rune but '/'
	class               // reads one rune of the set alt
	star                // reads runes but '/', and goes on at out at any time
	folders             // reads runes; behind each '/' goes on at out
	rest                // reads everything
	held                // reads the session's id, all of it
)

// node is one state of a pattern. Those that read nothing lead to higher states
// only, so one ascending pass over a set of states follows all of them.
type node struct {
	kind  kind
	ends  bool // a name may end where reading led here
	live  bool // some further runes lead to a match
	r     rune
	out   uint32
	alt   uint32
	owner uint32 // which of the compiled patterns it is of
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

// compiler makes the nodes of patterns, one after the other. Its zero value is
// ready for use.
type compiler struct {
	nodes []node
	sets  [][]span
	held  bool // the placeholder occurs

	wanted []bool   // by index of a place: it is reached
	first  []uint32 // by index of a place: its first node
	to     []int    // by node, from the pattern's first: index of the place that is its out, or nowhere
}

// nowhere is the index of no place: a node's own out is right.
const nowhere = -1

// add compiles g, which validate accepted, and returns its first node. Where
// names may end in also, of which g is a continuation, they may end in g.
//
// Nodes are numbered in the order of their places, so that what reads nothing
// leads upwards.
func (c *compiler) add(g, also *glob, owner uint32) uint32 {
	base := uint32(len(c.nodes))
	from := place{0, true}.index()
	places := 2*len(g.text) + 2
	c.wanted = append(c.wanted[:0], make([]bool, places)...)
	c.first = append(c.first[:0], make([]uint32, places)...)
	c.to = c.to[:0]
	c.wanted[from] = true
	ends := func(at int) bool {
		return g.mayEnd(at, false) || also != nil && at <= len(also.text) && also.mayEnd(at, false)
	}
	to := func(at int, fresh bool) int { return place{g.at(at), fresh}.index() }

	for index := from; index < places; index++ {
		if !c.wanted[index] {
			continue
		}
		p := place{index / 2, index%2 == 1}
		self := uint32(len(c.nodes))
		c.first[index] = self
		n := node{owner: owner, ends: ends(p.at)}
		if p.at == len(g.text) {
			c.put(n, nowhere)
			continue
		}
		if alts := g.alts[p.at]; alts != nil {
			c.putAlternatives(n, alts, func(alt int) int { return to(alt, p.fresh) })
			continue
		}
		if stars, next := g.stars(p.at); stars > 0 {
			switch {
			case stars == 2 && p.fresh && next == len(g.text):
				n.kind = rest
				c.put(n, nowhere)
			case stars == 2 && p.fresh && g.text[next] == '/':
				n.kind, n.alt = split, self+1
				c.put(n, to(next+1, true))
				c.put(node{kind: folders, owner: owner, out: self}, nowhere)
			default:
				n.kind, n.out = jump, self+1
				c.put(n, nowhere)
				c.put(node{kind: star, owner: owner, ends: ends(next)}, to(next, false))
			}
			continue
		}
		e, next := g.element(p.at)
		n.kind, n.r = e.kind, e.r
		switch e.kind {
		case class:
			n.alt = uint32(len(c.sets))
			c.sets = append(c.sets, e.set)
		case held:
			c.held = true
		}
		c.put(n, to(next, e.r == '/'))
	}
	c.settle(base)
	return base
}

// put appends a node that goes on at the place with the index to.
func (c *compiler) put(n node, to int) {
	c.nodes = append(c.nodes, n)
	c.to = append(c.to, to)
	if to != nowhere {
		c.wanted[to] = true
	}
}

// putAlternatives appends what leads from n to each place once.
func (c *compiler) putAlternatives(n node, alts []int, to func(alt int) int) {
	var places []int
	for _, alt := range alts {
		if at := to(alt); !slices.Contains(places, at) {
			places = append(places, at)
		}
	}
	last := len(places) - 1
	for _, at := range places[:last] {
		n.kind, n.alt = split, uint32(len(c.nodes)+1)
		c.put(n, at)
	}
	n.kind, n.alt = jump, 0
	c.put(n, places[last])
}

// settle completes the nodes from base on: where they lead, past nodes that do
// nothing, and from which of them some further runes lead to a match.
func (c *compiler) settle(base uint32) {
	past := func(i uint32) uint32 {
		if n := &c.nodes[i]; n.kind == jump && n.ends == c.nodes[n.out].ends {
			return n.out
		}
		return i
	}
	for i := len(c.nodes) - 1; i >= int(base); i-- {
		n := &c.nodes[i]
		if to := c.to[i-int(base)]; to != nowhere {
			n.out = c.first[to]
		}
		switch n.kind {
		case end:
		case jump:
			n.out = past(n.out)
			n.live = c.nodes[n.out].live
		case split:
			n.out, n.alt = past(n.out), past(n.alt)
			n.live = c.nodes[n.out].live || c.nodes[n.alt].live
		case one, anyOne, class, held:
			n.out = past(n.out)
			n.live = c.nodes[n.out].live || c.nodes[n.out].ends
		case star:
			n.out = past(n.out)
			n.live = c.nodes[n.out].live || n.ends
		case folders: // its out is the split before it, whose own out is above both
			n.live = c.nodes[c.first[c.to[n.out-base]]].live
		case rest:
			n.live = true
		}
	}
}
