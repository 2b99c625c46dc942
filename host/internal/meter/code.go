package meter

// What an instruction does to the flow of control or to the counting; most are plain.
type kind uint8

const (
	plain kind = iota
	kindBlock
	kindLoop
	kindIf
	kindElse
	kindEnd
	kindTry
	kindBr
	kindBrIf
	kindBrTable
	kindReturn
	kindStop // unreachable, throw, throw_ref
	kindCall
	kindCallIndirect
	kindTailCall
	kindTailIndirect
	kindRefFunc
	kindByBytes    // memory.init: paid by the bytes it moves
	kindByElements // table.init, copy, fill, grow: by the elements
	kindByPages    // memory.grow: by the pages
	kindFill       // memory.fill and copy: by the bytes, and done in chunks
	kindCopy
)

// An instr is one decoded instruction. It is written anew from these fields (see instr.append), so that the output
// holds no byte whose meaning engines might see differently.
type instr struct {
	op   opcode
	kind kind

	// What planning decides: units to pay right after this instruction, and whether to look at the fuel there.
	check bool
	pay   int32

	cost  int32
	label int32  // the construct opened, closed or branched to; for a try_table the one it opens
	a, b  uint64 // immediates: indices, numbers, or where in the file the raw bytes stand
}

// A label is a construct: the function itself (number 0), a block, loop, if or try_table.
type label struct {
	kind  kind
	block blockType

	loops   int32 // loops around the label
	reach   int32 // the outermost place in open that a branch within goes to
	joined  bool  // a branch goes to it
	deep    bool  // and comes from within an inner loop, or by an exception
	caught  bool  // an exception lands on it
	repeats bool  // a loop with a branch back
	escapes bool  // a branch within goes further out
	calls   bool  // something within runs code that pays by itself
	hasElse bool
	clauses uint32 // of a try_table

	planned
}

// quiet reports whether nothing but the function itself pays while the loop runs.
func (l *label) quiet() bool { return l.kind == kindLoop && l.repeats && !l.calls }

// A code is one function's body, decoded. It is used again for the next one.
type code struct {
	m    *module
	file []byte
	fn   uint32 // index of the function in the input

	locals  []localGroup
	nLocals uint32 // parameters included
	instrs  []instr
	labels  []label
	targets []int32  // labels of br_table and of catch clauses, by instruction in order
	depths  []uint32 // the same as they are written
	catches []catch

	open  []int32 // constructs around the current instruction
	loops int32

	hasTry, hasLoop, hasCall bool
	hasQuiet                 bool // there is a loop without calls
}

type localGroup struct {
	count uint32
	typ   valueType
}

// A catch is a clause of a try_table; its label is among the depths.
type catch struct {
	kind byte
	tag  uint32
}

const (
	catchTag    = 0 // and catch_ref
	catchTagRef = 1
	catchAllRef = 3 // after catch_all
)

// decode reads the body of function fn, an index of the input.
func (c *code) decode(fn uint32) error {
	m := c.m
	*c = code{
		m: m, file: c.file, fn: fn,
		locals: c.locals[:0], instrs: c.instrs[:0], labels: c.labels[:0], targets: c.targets[:0], depths: c.depths[:0],
		catches: c.catches[:0], open: c.open[:0],
	}
	b := m.bodies[fn-m.importedFuncs]
	r := &reader{b: c.file[:b.end:b.end], pos: b.start}

	total := uint64(len(m.typeOf(fn).params))
	for n := r.count("groups of locals", maxLocals); n > 0 && r.err == nil; n-- {
		g := localGroup{r.u32(), r.valueType()}
		if total += uint64(g.count); total > maxLocals {
			r.unsupported("a function of %d locals, more than %d", total, maxLocals)
		}
		c.locals = append(c.locals, g)
	}
	c.nLocals = uint32(total)

	c.enter(kindBlock, blockType{})
	for len(c.open) > 0 && r.err == nil {
		c.instr(r)
	}
	r.end()
	return r.err
}

func (c *code) enter(k kind, t blockType) int32 {
	n := int32(len(c.labels))
	c.labels = append(c.labels, label{kind: k, block: t, loops: c.loops, reach: n})
	c.open = append(c.open, n)
	return n
}

// branch notes a branch to the label at the given depth.
func (c *code) branch(r *reader, depth uint32) int32 {
	if uint64(depth) >= uint64(len(c.open)) {
		r.malformed("branch to label %d of %d", depth, len(c.open))
		return 0
	}
	at := len(c.open) - 1 - int(depth)
	l := &c.labels[c.open[at]]
	l.joined = true
	l.repeats = l.kind == kindLoop
	l.deep = l.deep || c.loops > l.loops
	c.leave(at)
	return c.open[at]
}

// leave notes a way out to the construct at the given place in open; -1 is out of the function.
func (c *code) leave(to int) {
	l := &c.labels[c.open[len(c.open)-1]]
	l.reach = min(l.reach, int32(to))
}

// exit closes the innermost construct. What leaves it further than to its own end leaves the one around it, too: noting
// that here, once per construct, keeps deep nests with many branches linear.
func (c *code) exit() int32 {
	place := int32(len(c.open) - 1)
	n := c.open[place]
	c.open = c.open[:place]
	l := &c.labels[n]
	l.escapes = l.reach < place
	if place > 0 {
		outer := &c.labels[c.open[place-1]]
		outer.reach = min(outer.reach, l.reach)
		outer.calls = outer.calls || l.calls
	}
	if l.kind == kindLoop {
		c.hasQuiet = c.hasQuiet || l.quiet()
		c.loops--
	}
	return n
}

func (c *code) instr(r *reader) {
	m := c.m
	in := instr{op: r.opcode(), cost: costPlain}
	switch op := in.op; {
	case op > opTryTable && op <= opI64Extend32: // most of all code
		c.simple(r, &in)
	case op == opBlock || op == opLoop || op == opIf || op == opTryTable:
		c.construct(r, &in)
	case op == opElse:
		in.kind, in.cost = kindElse, 0
		in.label = c.open[len(c.open)-1]
		if l := &c.labels[in.label]; l.kind != kindIf || l.hasElse {
			r.malformed("else without if")
		} else {
			l.hasElse = true
		}
	case op == opEnd:
		in.kind, in.cost = kindEnd, 0
		in.label = c.exit()
	case op == opBr || op == opBrIf:
		in.kind = kindBr
		if op == opBrIf {
			in.kind = kindBrIf
		}
		in.a = uint64(r.u32())
		in.label = c.branch(r, uint32(in.a))
	case op == opBrTable:
		in.kind, in.cost = kindBrTable, costBrTable
		in.a = uint64(r.count("labels", maxBody))
		in.b = uint64(len(c.targets))
		for n := in.a + 1; n > 0 && r.err == nil; n-- {
			c.target(r)
		}
	case op == opUnreachable:
		in.kind = kindStop
	case op == opThrow || op == opThrowRef:
		in.kind, in.cost = kindStop, costThrow
		if op == opThrow {
			in.a = uint64(r.index("tag", m.tagCount))
		}
		c.leave(-1)
	case op == opReturn:
		in.kind = kindReturn
		c.leave(-1)
	case op == opCall || op == opTailCall:
		in.kind, in.cost = kindCall, costCall
		in.a = uint64(r.index("function", uint32(len(m.funcTypes))))
		c.call(&in, op == opTailCall)
	case op == opCallIndirect || op == opTailIndirect:
		in.kind, in.cost = kindCallIndirect, costCallIndirect
		in.a = uint64(r.index("type", uint32(len(m.types))))
		in.b = uint64(r.index("table", uint32(len(m.tableTypes))))
		c.call(&in, op == opTailIndirect)
	case op == opRefFunc:
		in.kind = kindRefFunc
		in.a = uint64(r.index("function", uint32(len(m.funcTypes))))
	case op == opNop:
		in.cost = 0
	default:
		c.simple(r, &in)
	}
	if in.kind >= kindCall && in.kind != kindRefFunc {
		c.labels[c.open[len(c.open)-1]].calls = true
	}
	c.instrs = append(c.instrs, in)
}

func (c *code) call(in *instr, tail bool) {
	c.hasCall = true
	if tail {
		in.kind += kindTailCall - kindCall
		c.leave(-1)
	}
}

// construct reads the head of a block, loop, if or try_table.
func (c *code) construct(r *reader, in *instr) {
	t := r.blockType(uint32(len(c.m.types)))
	switch in.op {
	case opBlock:
		in.kind, in.cost = kindBlock, 0
	case opLoop:
		in.kind, in.cost = kindLoop, 0
		c.hasLoop = true
	case opIf:
		in.kind = kindIf
	case opTryTable:
		in.kind, in.cost = kindTry, costTry
		c.hasTry = true
		c.clauses(r, in)
	}
	in.label = c.enter(in.kind, t)
	c.labels[in.label].clauses = uint32(len(c.catches)) - uint32(in.a)
	if in.kind == kindLoop {
		c.loops++
		c.labels[in.label].loops = c.loops
	}
}

// clauses reads the catch clauses of a try_table. Their labels are counted outside of it.
func (c *code) clauses(r *reader, in *instr) {
	in.a, in.b = uint64(len(c.catches)), uint64(len(c.targets))
	for n := r.count("catch clauses", maxBody); n > 0 && r.err == nil; n-- {
		k := catch{kind: r.byte()}
		switch {
		case k.kind <= catchTagRef:
			k.tag = r.index("tag", c.m.tagCount)
		case k.kind > catchAllRef:
			r.malformed("catch clause of kind %d", k.kind)
		}
		c.catches = append(c.catches, k)
		l := &c.labels[c.target(r)]
		l.deep, l.caught = true, true
	}
}

func (c *code) target(r *reader) int32 {
	depth := r.u32()
	n := c.branch(r, depth)
	c.targets = append(c.targets, n)
	c.depths = append(c.depths, depth)
	return n
}

// simple reads the immediates of an instruction that only computes.
func (c *code) simple(r *reader, in *instr) {
	m := c.m
	switch op := in.op; {
	case op >= opLocalGet && op <= opLocalTee:
		in.a = uint64(r.index("local", c.nLocals))
	case op == opI32Const:
		in.a = uint64(r.signed(32))
	case op == opI64Const:
		in.a = uint64(r.signed(64))
	case op >= opI32Eqz && op <= opI64Extend32, op == opDrop, op == opSelect, op == opRefIsNull:
	case op >= opI32Load && op <= opI64Store32:
		c.memArg(r, in)
	case op == opSelectTyped:
		if n := r.u32(); n != 1 {
			r.malformed("select of %d types", n)
		}
		if t := r.valueType(); t > 0xff {
			r.unsupported("select of %s (typed function references)", t)
		} else {
			in.a = uint64(t)
		}
	case op == opGlobalGet || op == opGlobalSet:
		in.a = uint64(r.index("global", uint32(len(m.globalTypes))))
	case op == opTableGet || op == opTableSet || op == opTableSize:
		in.a = uint64(r.index("table", uint32(len(m.tableTypes))))
	case op == opMemorySize || op == opMemoryGrow:
		c.memory(r)
		if op == opMemoryGrow {
			in.kind, in.cost = kindByPages, costGrow
		}
	case op == opF32Const:
		in.a, in.b = uint64(r.pos), 4
		r.bytes(4)
	case op == opF64Const:
		in.a, in.b = uint64(r.pos), 8
		r.bytes(8)
	case op == opRefNull:
		in.a = uint64(r.heapType())
	case op>>8 == prefixMisc:
		c.misc(r, in)
	case op>>8 == prefixVector:
		c.vector(r, in)
	default:
		if r.err == nil {
			r.refuse(op, 0)
		}
	}
}

// misc reads the immediates of saturating conversions and of bulk memory and table instructions.
func (c *code) misc(r *reader, in *instr) {
	m := c.m
	table := func() uint64 { return uint64(r.index("table", uint32(len(m.tableTypes)))) }
	switch op := in.op; op {
	case opMemoryInit:
		in.kind, in.cost = kindByBytes, costBulk
		in.a = c.dataIndex(r)
		c.memory(r)
	case opDataDrop:
		in.a = c.dataIndex(r)
	case opMemoryCopy:
		in.kind, in.cost = kindCopy, costBulk
		c.memory(r)
		c.memory(r)
	case opMemoryFill:
		in.kind, in.cost = kindFill, costBulk
		c.memory(r)
	case opTableInit:
		in.kind, in.cost = kindByElements, costBulk
		in.a = uint64(r.index("element segment", uint32(len(m.elems))))
		in.b = table()
	case opElemDrop:
		in.a = uint64(r.index("element segment", uint32(len(m.elems))))
	case opTableCopy:
		in.kind, in.cost = kindByElements, costBulk
		in.a, in.b = table(), table()
	case opTableGrow:
		in.kind, in.cost = kindByElements, costGrow
		in.a = table()
	case opTableFill:
		in.kind, in.cost = kindByElements, costBulk
		in.a = table()
	case opTableSize:
		in.a = table()
	}
}

func (c *code) dataIndex(r *reader) uint64 {
	if !c.m.dataCount {
		r.malformed("no data count section")
	}
	return uint64(r.index("data segment", uint32(len(c.m.data))))
}

// vector reads the immediates of a SIMD instruction.
// https://webassembly.github.io/spec/core/binary/instructions.html#vector-instructions
func (c *code) vector(r *reader, in *instr) {
	switch sub := byte(in.op); {
	case in.op == opV128Const, in.op == opShuffle:
		in.a, in.b = uint64(r.pos), 16
		r.bytes(16)
	case sub <= 0x0b, sub == 0x5c, sub == 0x5d: // loads and stores
		c.memArg(r, in)
	case sub >= 0x54 && sub <= 0x5b: // of one lane
		c.memArg(r, in)
		in.a |= uint64(r.byte()) << 8
	case sub >= 0x15 && sub <= 0x22: // extract and replace a lane
		in.a = uint64(r.byte())
	}
}

// memArg reads alignment (into the low byte of a) and offset (into b).
func (c *code) memArg(r *reader, in *instr) {
	align := r.u32()
	switch {
	case r.err != nil:
	case align >= 64 && align < 128:
		r.unsupported("an access that names its memory (multi-memory)")
	case align > 4:
		r.malformed("alignment 2^%d", align)
	}
	in.a, in.b = uint64(align), uint64(r.u32())
}

// memory reads the number of a memory, which is the one byte 0.
func (c *code) memory(r *reader) {
	if b := r.byte(); b != 0 && r.err == nil {
		r.unsupported("memory %d (multi-memory)", b)
	}
}
