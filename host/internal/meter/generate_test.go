package meter

// A generator makes valid modules that always end, out of any bytes: each byte is a choice, and when none are left the
// smallest is taken. Gas is a global of the module's own, taken at every loop and function; without it the module traps.
type generator struct {
	choices []byte
	funcs   int
	fn      testFunc
	*asm
	labels int // void labels around, without the function's own
}

// Locals of every generated function: the parameter or an i32 in its place, two i32, two i64.
const (
	genI32 = 3
	genI64 = 2
)

var genTypes = []uint32{0, 1, 3, 4} // of testTypes

func generate(choices []byte) []byte {
	g := &generator{choices: choices}
	g.funcs = 1 + g.choose(4)
	var funcs []testFunc
	for i := range g.funcs {
		f := testFunc{typ: genTypes[i%len(genTypes)], locals: []localGroup{{2, typeI32}, {2, typeI64}}}
		if i == 0 {
			f.export = "run"
		}
		if f.typ == 1 {
			f.locals[0].count = 3
		}
		share := g.choices
		if i < g.funcs-1 {
			share = g.choices[:len(g.choices)/2]
		}
		g.choices = g.choices[len(share):]
		f.code = func(a *asm) {
			g.choices, g.fn, g.asm, g.labels = share, f, a, 0
			g.gas()
			for len(g.choices) > 0 {
				g.statement(0)
			}
			g.results()
		}
		funcs = append(funcs, f)
	}
	return build(funcs...)
}

func (g *generator) choose(n int) int {
	if len(g.choices) == 0 {
		return 0
	}
	c := g.choices[0]
	g.choices = g.choices[1:]
	return int(c) % n
}

func (g *generator) gas() {
	g.with(opGlobalGet, 0)
	g.asm.i64(1)
	g.op(opI64Sub)
	g.with(opGlobalSet, 0)
	g.with(opGlobalGet, 0)
	g.op(opI64Eqz)
	g.begin(opIf)
	g.op(opUnreachable, opEnd)
}

func (g *generator) results() {
	for _, t := range testTypes[g.fn.typ].results {
		if t == typeI64 {
			g.long(0)
		} else {
			g.number(0)
		}
	}
}

func (g *generator) body(depth int) {
	g.labels++
	for range 1 + g.choose(3) {
		g.statement(depth + 1)
	}
	g.labels--
}

func (g *generator) statement(depth int) {
	c := g.choose(24)
	if depth > 6 {
		c %= 2
	}
	switch c {
	case 0:
		g.number(depth)
		g.set(uint32(g.choose(genI32)))
	case 1:
		g.long(depth)
		g.set(uint32(genI32 + g.choose(genI64)))
	case 2:
		g.begin(opBlock)
		g.body(depth)
		g.op(opEnd)
	case 3, 4:
		g.begin(opLoop)
		g.gas()
		g.body(depth)
		g.number(depth)
		g.with(opBrIf, 0)
		g.op(opEnd)
	case 5, 6:
		g.number(depth)
		g.begin(opIf)
		g.body(depth)
		if c == 6 {
			g.op(opElse)
			g.body(depth)
		}
		g.op(opEnd)
	case 7, 8, 9:
		if g.labels > 0 {
			g.jump(c, depth)
		}
	case 10, 11:
		g.drops(g.callOf(g.choose(g.funcs), depth))
	case 12:
		typ := genTypes[g.choose(len(genTypes))]
		g.arguments(typ, depth)
		g.number(depth)
		g.with(opCallIndirect, typ)
		*g.asm = append(*g.asm, 0)
		g.drops(typ)
	case 13:
		g.results()
		g.op(opReturn)
	case 14:
		g.address()
		g.long(depth)
		g.with(0x37, 3) // i64.store
		*g.asm = append(*g.asm, 0)
	case 15, 16:
		g.address()
		g.number(depth)
		g.asm.i32(int32(g.choose(200)))
		if c == 15 {
			g.fill()
		} else {
			g.copy()
		}
	case 17, 18, 19:
		g.try(c, depth)
	case 20:
		g.with(opThrow, 0)
	case 21:
		g.asm.i32(int32(g.choose(3)))
		g.op(opMemoryGrow)
		*g.asm = append(*g.asm, 0)
		g.op(opDrop)
	case 22:
		g.op(opRefNull)
		*g.asm = append(*g.asm, byte(typeFuncref))
		g.asm.i32(int32(g.choose(5)))
		g.with(opTableGrow, 0)
		g.op(opDrop)
	case 23: // a tail call of the function's own type
		for f := range g.funcs {
			if genTypes[f] == g.fn.typ {
				g.arguments(g.fn.typ, depth)
				g.with(opTailCall, uint32(f))
				return
			}
		}
	}
}

func (g *generator) jump(c, depth int) {
	switch c {
	case 7:
		g.number(depth)
		g.with(opBrIf, uint32(g.choose(g.labels)))
	case 8:
		g.with(opBr, uint32(g.choose(g.labels)))
	case 9:
		g.number(depth)
		n := g.choose(4)
		g.with(opBrTable, uint32(n))
		for range n + 1 {
			*g.asm = appendUnsigned(*g.asm, uint64(g.choose(g.labels)))
		}
	}
}

// try is a try_table in a block that its clause goes to: catch_all, the tag, or both with the latter to a loop outside.
func (g *generator) try(c, depth int) {
	if c == 19 {
		g.begin(opLoop)
		g.gas()
		g.labels++
	}
	g.begin(opBlock)
	g.labels++
	switch c {
	case 17:
		tryTable(g.asm, catchAllRef-1, 0)
	case 18:
		tryTable(g.asm, catchTag, 0, 0)
	case 19:
		g.begin(opTryTable)
		*g.asm = append(*g.asm, 2, catchTag, 0, 1, catchAllRef-1, 0)
	}
	g.body(depth)
	g.op(opEnd, opEnd)
	g.labels--
	if c == 19 {
		g.op(opEnd)
		g.labels--
	}
}

func (g *generator) address() {
	g.get(uint32(g.choose(genI32)))
	g.asm.i32(0xffff)
	g.op(0x71) // i32.and
}

func (g *generator) arguments(typ uint32, depth int) {
	for range testTypes[typ].params {
		g.number(depth + 1)
	}
}

func (g *generator) callOf(f, depth int) uint32 {
	typ := genTypes[f]
	g.arguments(typ, depth)
	g.call(uint32(f))
	return typ
}

func (g *generator) drops(typ uint32) {
	for range testTypes[typ].results {
		g.op(opDrop)
	}
}

// number leaves an i32.
func (g *generator) number(depth int) {
	c := g.choose(8)
	if depth > 6 {
		c %= 2
	}
	switch c {
	case 0:
		g.asm.i32(int32(g.choose(256)) - 100)
	case 1:
		g.get(uint32(g.choose(genI32)))
	case 2, 3:
		g.number(depth + 1)
		g.number(depth + 1)
		g.op(opI32Add + opcode(g.choose(15))) // all of i32's arithmetic, division too
	case 4:
		g.op(opBlock)
		*g.asm = append(*g.asm, byte(typeI32))
		g.number(depth + 1)
		g.number(depth + 1)
		g.with(opBrIf, 0)
		g.op(opEnd)
	case 5:
		g.number(depth + 1)
		g.op(opIf)
		*g.asm = append(*g.asm, byte(typeI32))
		g.number(depth + 1)
		g.op(opElse)
		g.number(depth + 1)
		g.op(opEnd)
	case 6:
		g.address()
		g.with(opI32Load, 2)
		*g.asm = appendUnsigned(*g.asm, uint64(g.choose(64)))
	case 7:
		if g.funcs < len(genTypes) {
			g.asm.i32(7)
			return
		}
		g.callOf(len(genTypes)-1, depth)
	}
}

// long leaves an i64.
func (g *generator) long(depth int) {
	c := g.choose(5)
	if depth > 6 {
		c %= 2
	}
	switch c {
	case 0:
		g.asm.i64(int64(g.choose(256)) << 30)
	case 1:
		g.get(uint32(genI32 + g.choose(genI64)))
	case 2:
		g.long(depth + 1)
		g.long(depth + 1)
		g.op(opI64Add)
	case 3:
		g.number(depth + 1)
		g.op(opI64ExtendU)
	case 4:
		g.callOf(0, depth)
	}
}
