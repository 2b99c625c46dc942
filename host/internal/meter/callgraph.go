package meter

import "slices"

// A flow is what the meter must know of one of the module's own functions to pay for a call of it.
type flow struct {
	counted bool  // its depth is counted: it can be on the stack more often than the code shows
	free    int64 // what a caller pays for it, or -1 when it pays itself
}

// weight is a function's share of the call depth: frames grow with the code.
func (b body) weight() int64 { return 1 + int64(b.end-b.start)/256 }

// A callGraph has a node for each of the module's own functions, and one for each type that is called by reference,
// which stands for every function such a reference may hold.
type callGraph struct {
	calls [][]uint32
	funcs int

	entry []bool // functions that the host may call
	byRef []bool // functions that call by reference
	loops []bool // functions with a loop or a try_table
}

// analyse decodes all functions once and finds out which ones can recur and which ones their callers can pay for.
func (m *module) analyse(c *code) error {
	m.flow = make([]flow, len(m.bodies))
	for i := range m.flow {
		m.flow[i].free = -1
	}
	g, err := m.callGraph(c)
	if err != nil {
		return err
	}
	order, recurs := g.components()
	height := make([]int, len(g.calls)) // of the highest stack of frames that are not counted
	for _, n := range order {           // callees before callers
		for _, callee := range g.calls[n] {
			height[n] = max(height[n], height[callee])
		}
		if int(n) >= g.funcs {
			continue
		}
		f := &m.flow[n]
		height[n]++
		if f.counted = recurs[n] || height[n] > maxChain; f.counted {
			height[n] = 0
			continue
		}
		if g.entry[n] || g.byRef[n] || g.loops[n] || m.bodies[n].end-m.bodies[n].start > 32*freeCost ||
			slices.ContainsFunc(g.calls[n], func(callee uint32) bool { return m.flow[callee].free < 0 }) {
			continue
		}
		if err := c.decode(n + m.importedFuncs); err != nil {
			return err
		}
		cost := c.plan()
		if cost <= freeCost && !slices.ContainsFunc(c.instrs, func(in instr) bool { return in.pay > 0 || in.check }) {
			f.free = cost
			m.maxFree = max(m.maxFree, cost)
		}
	}
	return nil
}

// callCost is the price of a call with what its callee does not pay itself.
func (m *module) callCost(in *instr) int64 {
	switch {
	case in.kind == kindCallIndirect || in.kind == kindTailIndirect:
		return int64(in.cost) + m.maxFree
	case in.a < uint64(m.importedFuncs):
		return int64(in.cost) + costImport
	default:
		return int64(in.cost) + max(0, m.flow[in.a-uint64(m.importedFuncs)].free)
	}
}

func (m *module) callGraph(c *code) (*callGraph, error) {
	n := len(m.bodies)
	g := &callGraph{
		funcs: n, calls: make([][]uint32, n), entry: make([]bool, n), byRef: make([]bool, n), loops: make([]bool, n),
	}
	// Types are told apart by what they say, not by their index: call_indirect takes any function of an equal type.
	nodes := map[string]uint32{}
	node := func(typ uint32) uint32 {
		key := m.types[typ].key
		if _, ok := nodes[key]; !ok {
			nodes[key] = uint32(len(g.calls))
			g.calls = append(g.calls, nil)
		}
		return nodes[key]
	}
	for i := range n {
		if err := c.decode(uint32(i) + m.importedFuncs); err != nil {
			return nil, err
		}
		g.loops[i] = c.hasLoop || c.hasTry
		var calls []uint32
		for _, in := range c.instrs {
			switch in.kind {
			case kindCall, kindTailCall:
				if in.a >= uint64(m.importedFuncs) {
					calls = append(calls, uint32(in.a)-m.importedFuncs)
				}
			case kindCallIndirect, kindTailIndirect:
				g.byRef[i] = true
				calls = append(calls, node(uint32(in.a)))
			case kindRefFunc:
				m.taken[uint32(in.a)] = true
			}
		}
		slices.Sort(calls)
		g.calls[i] = slices.Clone(slices.Compact(calls))
	}
	// A reference may hold what the module took a reference of, and what it exports: others may put that in a table.
	for _, e := range m.exports {
		if e.kind == externFunc {
			m.taken[e.index] = true
			if e.index >= m.importedFuncs {
				g.entry[e.index-m.importedFuncs] = true
			}
		}
	}
	if m.start != nil && *m.start >= m.importedFuncs {
		g.entry[*m.start-m.importedFuncs] = true
	}
	for f := range m.taken {
		if f >= m.importedFuncs {
			if t, ok := nodes[m.typeOf(f).key]; ok {
				g.calls[t] = append(g.calls[t], f-m.importedFuncs)
			}
		}
	}
	for _, t := range nodes {
		slices.Sort(g.calls[t]) // so that the output depends on the input only
	}
	return g, nil
}

// components is Tarjan's algorithm without recursion, since modules are large. It returns the nodes with callees before
// their callers, and which nodes are on a cycle.
func (g *callGraph) components() (order []uint32, recurs []bool) {
	type visit struct {
		node uint32
		next int // call to follow
	}
	var (
		n       = len(g.calls)
		number  = make([]int32, n) // order of discovery from 1
		low     = make([]int32, n) // lowest number reachable
		pending = make([]bool, n)  // found, not yet in a component
		stack   []uint32
		visits  []visit
		found   int32
	)
	recurs = make([]bool, n)
	discover := func(v uint32) {
		found++
		number[v], low[v], pending[v] = found, found, true
		stack = append(stack, v)
		visits = append(visits, visit{node: v})
	}
	for root := range g.calls {
		if number[root] == 0 {
			discover(uint32(root))
		}
		for len(visits) > 0 {
			top := &visits[len(visits)-1]
			v := top.node
			if top.next < len(g.calls[v]) {
				callee := g.calls[v][top.next]
				top.next++
				switch {
				case callee == v:
					recurs[v] = true
				case number[callee] == 0:
					discover(callee)
				case pending[callee]:
					low[v] = min(low[v], number[callee])
				}
				continue
			}
			visits = visits[:len(visits)-1]
			if len(visits) > 0 {
				caller := visits[len(visits)-1].node
				low[caller] = min(low[caller], low[v])
			}
			if low[v] != number[v] {
				continue
			}
			from := len(stack) - 1
			for stack[from] != v {
				from--
			}
			component := stack[from:]
			for _, member := range component {
				pending[member] = false
				recurs[member] = recurs[member] || len(component) > 1
			}
			order = append(order, component...)
			stack = stack[:from]
		}
	}
	return order, recurs
}
