package meter

// An asm is code being written. Its methods append one instruction each.
type asm []byte

func (a *asm) op(ops ...opcode) {
	for _, op := range ops {
		*a = op.append(*a)
	}
}

func (a *asm) with(op opcode, index uint32) {
	a.op(op)
	*a = appendUnsigned(*a, uint64(index))
}

func (a *asm) get(local uint32)     { a.with(opLocalGet, local) }
func (a *asm) set(local uint32)     { a.with(opLocalSet, local) }
func (a *asm) call(function uint32) { a.with(opCall, function) }

func (a *asm) i32(v int32) {
	a.op(opI32Const)
	*a = appendSigned(*a, int64(v))
}

func (a *asm) i64(v int64) {
	a.op(opI64Const)
	*a = appendSigned(*a, v)
}

// begin opens a block, loop or if without operands.
func (a *asm) begin(op opcode) {
	a.op(op)
	*a = appendSigned(*a, blockEmpty)
}

// fill and copy are the bulk instructions themselves, on memory 0.
func (a *asm) fill() {
	a.op(opMemoryFill)
	*a = append(*a, 0)
}

func (a *asm) copy() {
	a.op(opMemoryCopy)
	*a = append(*a, 0, 0)
}

// memorySize leaves the size of memory 0 in bytes as an i64.
func (a *asm) memorySize() {
	a.op(opMemorySize)
	*a = append(*a, 0)
	a.op(opI64ExtendU)
	a.i64(16)
	a.op(opI64Shl)
}

// added says where in the output the meter's own things are.
type added struct {
	global uint32 // the counter

	refill uint32 // the import
	slow   uint32 // calls refill and puts its answer into the counter
	// Of a length, these pay and return it: see the shifts.
	byBytes, byElements, byPages uint32
	// These replace the instructions, when there is a memory.
	fill, copy uint32
}

// noMirror says that the counter's value is in the global alone.
const noMirror = ^uint32(0)

// hold begins a stretch of code that keeps the counter's value in a local, too, its mirror. There the global is written
// as everywhere, so that it is right for whatever comes next, but not read: the next payment need not wait for what the
// last one wrote to memory. Nothing else may pay in such a stretch.
func (at added) hold(a *asm, mirror uint32) {
	a.with(opGlobalGet, at.global)
	a.set(mirror)
}

// value puts the counter on the operand stack.
func (at added) value(a *asm, mirror uint32) {
	if mirror == noMirror {
		a.with(opGlobalGet, at.global)
	} else {
		a.get(mirror)
	}
}

// pay emits counter -= units, which leaves the operand stack alone.
func (at added) pay(a *asm, units int64, mirror uint32) {
	at.value(a, mirror)
	a.i64(units)
	a.op(opI64Sub)
	if mirror != noMirror {
		a.with(opLocalTee, mirror)
	}
	a.with(opGlobalSet, at.global)
}

// check emits a call of the host for when the fuel, or with depth either half of the counter, is below zero.
//
// The empty arm comes first, and must: wazero's register allocator begins the join with the state of its first
// predecessor. With the call in that place every value would live in memory after it, and a tight loop take 1.9 times as
// long; so it takes as long as without a check.
func (at added) check(a *asm, depth bool, mirror uint32) {
	at.value(a, mirror)
	if depth {
		a.i64(-1<<63 | 1<<31) // both signs
		a.op(opI64And, opI64Eqz)
	} else {
		a.op(opI32WrapI64)
		a.i32(0)
		a.op(opI32GeS)
	}
	a.begin(opIf)
	a.op(opElse)
	a.call(at.slow)
	if mirror != noMirror {
		at.hold(a, mirror)
	}
	a.op(opEnd)
}

// payLength pays the unsigned number in a local, shifted right (or left when the shift is negative), and checks.
func (at added) payLength(a *asm, local uint32, shift int64) {
	a.with(opGlobalGet, at.global)
	a.get(local)
	a.op(opI64ExtendU)
	switch {
	case shift > 0:
		a.i64(shift)
		a.op(opI64ShrU)
	case shift < 0:
		a.i64(-shift)
		a.op(opI64Shl)
	}
	a.op(opI64Sub)
	a.with(opGlobalSet, at.global)
	at.check(a, false, noMirror)
}

// An addedFunc is a function of the meter's own.
type addedFunc struct {
	name            string
	params, results []valueType
	code            asm
}

// functions returns the added ones in the order of their indices, and sets these.
func (at *added) functions(first uint32, config Config, memory bool) []addedFunc {
	var (
		length = []valueType{typeI32}
		three  = []valueType{typeI32, typeI32, typeI32}
		list   []addedFunc
	)
	add := func(index *uint32, f addedFunc) {
		*index = first + uint32(len(list))
		list = append(list, f)
	}
	// The bodies call slow, so its index must be known before they are written.
	add(&at.slow, addedFunc{name: "slow", code: at.slowCode()})
	add(&at.byBytes, addedFunc{"pay_bytes", length, length, at.lengthCode(bytesShift, 0)})
	add(&at.byElements, addedFunc{"pay_elements", length, length, at.lengthCode(elementShift, config.TableElements)})
	add(&at.byPages, addedFunc{"pay_pages", length, length, at.lengthCode(pageShift, maxPages)})
	if memory {
		add(&at.fill, addedFunc{"fill", three, nil, at.fillCode()})
		add(&at.copy, addedFunc{"copy", three, nil, at.copyCode()})
	}
	return list
}

func (at *added) slowCode() asm {
	a := asm{0} // no locals
	a.with(opGlobalGet, at.global)
	a.call(at.refill)
	a.with(opGlobalSet, at.global)
	a.op(opEnd)
	return a
}

// lengthCode is (n) -> n, paying for n or, when there is a limit, for at most that: an instruction asked for more fails
// without doing anything.
func (at *added) lengthCode(shift int64, limit uint32) asm {
	a := asm{1, 1, byte(typeI32)} // one local
	const n, paid = 0, 1
	a.get(n)
	a.set(paid)
	if limit > 0 {
		a.get(n)
		a.i32(int32(limit))
		a.get(n)
		a.i32(int32(limit))
		a.op(opI32LtU, opSelect)
		a.set(paid)
	}
	at.payLength(&a, paid, shift)
	a.get(n)
	a.op(opEnd)
	return a
}

// Operands of memory.fill and memory.copy as locals of what replaces them.
const (
	dst    = 0
	val    = 1 // of fill
	src    = 1 // of copy
	length = 2
)

// fillCode is memory.fill: paid for as a whole, then done chunk by chunk with the host called in between, since no one
// can interrupt the instruction. It traps as the instruction does, before anything is written.
func (at *added) fillCode() asm {
	a := asm{0}
	rest := func() {
		a.get(dst)
		a.get(val)
		a.get(length)
		a.fill()
	}
	at.payLength(&a, length, bytesShift)
	at.unlessChunked(&a, rest, dst)
	a.begin(opLoop)
	a.get(dst)
	a.get(val)
	a.i32(chunk)
	a.fill()
	a.call(at.slow)
	advance(&a, dst, opI32Add)
	advance(&a, length, opI32Sub)
	whileChunked(&a)
	a.op(opEnd)
	rest()
	a.op(opEnd)
	return a
}

// copyCode is memory.copy in the same way: upwards when the destination lies below the source, else downwards, so that
// no chunk overwrites what a later one reads.
func (at *added) copyCode() asm {
	a := asm{0}
	rest := func() {
		a.get(dst)
		a.get(src)
		a.get(length)
		a.copy()
	}
	at.payLength(&a, length, bytesShift)
	at.unlessChunked(&a, rest, dst, src)

	a.get(dst)
	a.get(src)
	a.op(opI32LeU)
	a.begin(opIf)
	a.begin(opLoop)
	a.get(dst)
	a.get(src)
	a.i32(chunk)
	a.copy()
	a.call(at.slow)
	advance(&a, dst, opI32Add)
	advance(&a, src, opI32Add)
	advance(&a, length, opI32Sub)
	whileChunked(&a)
	a.op(opEnd, opElse)
	a.begin(opLoop)
	advance(&a, length, opI32Sub)
	for _, from := range []uint32{dst, src} {
		a.get(from)
		a.get(length)
		a.op(opI32Add)
	}
	a.i32(chunk)
	a.copy()
	a.call(at.slow)
	whileChunked(&a)
	a.op(opEnd, opEnd)
	rest()
	a.op(opEnd)
	return a
}

// unlessChunked does all at once and returns, when it is no more than a chunk or when one of the ranges beginning at the
// given locals is not within the memory: then the instruction itself traps.
func (at *added) unlessChunked(a *asm, all func(), ranges ...uint32) {
	a.get(length)
	a.i32(chunk)
	a.op(opI32LeU)
	for _, from := range ranges {
		a.get(from)
		a.op(opI64ExtendU)
		a.get(length)
		a.op(opI64ExtendU, opI64Add)
		a.memorySize()
		a.op(opI64GtU, opI32Or)
	}
	a.begin(opIf)
	all()
	a.op(opReturn, opEnd)
}

// advance moves a local by one chunk.
func advance(a *asm, local uint32, op opcode) {
	a.get(local)
	a.i32(chunk)
	a.op(op)
	a.set(local)
}

// whileChunked goes back to the loop while more than a chunk is left.
func whileChunked(a *asm) {
	a.get(length)
	a.i32(chunk)
	a.op(opI32GtU)
	a.with(opBrIf, 0)
}
