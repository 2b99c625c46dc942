package meter

// append writes an instruction of the input, in the only way this package writes it.
func (c *code) append(b []byte, in *instr) []byte {
	b = in.op.append(b)
	switch op := in.op; {
	case op >= opI32Eqz && op <= opI64Extend32:
	case op >= opI32Load && op <= opI64Store32:
		b = appendUnsigned(appendUnsigned(b, in.a), in.b)
	case op >= opLocalGet && op <= opTableSet, op == opBr, op == opBrIf, op == opThrow:
		b = appendUnsigned(b, in.a)
	case op == opI32Const, op == opI64Const:
		b = appendSigned(b, int64(in.a))
	case op == opF32Const, op == opF64Const, op == opV128Const, op == opShuffle:
		b = append(b, c.file[in.a:in.a+in.b]...)
	case op == opBlock, op == opLoop, op == opIf:
		b = c.labels[in.label].block.append(b)
	case op == opTryTable:
		b = c.appendTry(b, in)
	case op == opBrTable:
		b = appendUnsigned(b, in.a)
		for _, depth := range c.depths[in.b : in.b+in.a+1] {
			b = appendUnsigned(b, uint64(depth))
		}
	case op == opCall, op == opTailCall, op == opRefFunc:
		b = appendUnsigned(b, uint64(c.m.outIndex(uint32(in.a))))
	case op == opCallIndirect, op == opTailIndirect:
		b = appendUnsigned(appendUnsigned(b, in.a), in.b)
	case op == opSelectTyped:
		b = append(b, 1, byte(in.a))
	case op == opRefNull:
		b = append(b, byte(in.a))
	case op == opMemorySize, op == opMemoryGrow:
		b = append(b, 0)
	case op == opMemoryInit:
		b = append(appendUnsigned(b, in.a), 0)
	case op == opTableInit, op == opTableCopy:
		b = appendUnsigned(appendUnsigned(b, in.a), in.b)
	case op == opMemoryCopy:
		b = append(b, 0, 0)
	case op >= opDataDrop && op <= opTableFill:
		b = appendUnsigned(b, in.a)
	case op>>8 == prefixVector:
		b = appendVector(b, in)
	}
	return b
}

func appendVector(b []byte, in *instr) []byte {
	switch sub := byte(in.op); {
	case sub <= 0x0b, sub == 0x5c, sub == 0x5d:
		b = appendUnsigned(appendUnsigned(b, in.a), in.b)
	case sub >= 0x54 && sub <= 0x5b:
		b = appendUnsigned(appendUnsigned(b, in.a&0xff), in.b)
		b = append(b, byte(in.a>>8))
	case sub >= 0x15 && sub <= 0x22:
		b = append(b, byte(in.a))
	}
	return b
}

func (c *code) appendTry(b []byte, in *instr) []byte {
	l := &c.labels[in.label]
	b = l.block.append(b)
	b = appendUnsigned(b, uint64(l.clauses))
	for i := range uint64(l.clauses) {
		k := c.catches[in.a+i]
		b = append(b, k.kind)
		if k.kind <= catchTagRef {
			b = appendUnsigned(b, uint64(k.tag))
		}
		b = appendUnsigned(b, uint64(c.depths[in.b+i]))
	}
	return b
}

// An emitter writes one decoded and planned function after the other.
type emitter struct {
	*code
	at       added
	blockFor func(results []valueType) blockType
	report   *Report

	out    asm
	weight int64  // of the depth, or 0 when it is not counted
	keeps  bool   // there is a local of the meter's own
	saves  bool   // the depth is kept in a local, to be put back where an exception lands
	wrap   bool   // the body is a block of its own, so that every return passes its end
	mirror uint32 // a local with the counter's value, where there is one
	quiet  int32  // the loop without calls around the place, or 0
	nest   uint32
}

// function writes the body of function fn, which was decoded last.
//
// A function whose depth is counted subtracts its weight on entry and adds it on every way out: its code becomes a block,
// whose end all returns go to. An exception takes another way. So a function with a try_table keeps the depth it runs at
// in a local of its own, and puts it back where an exception may land.
func (e *emitter) function(fn uint32) []byte {
	f := &e.m.flow[fn-e.m.importedFuncs]
	e.weight, e.nest, e.mirror, e.quiet = 0, 0, noMirror, 0
	if f.counted {
		e.weight = e.m.bodies[fn-e.m.importedFuncs].weight()
		e.report.Counted++
	}
	e.saves = e.hasTry
	e.wrap = e.weight > 0 || e.saves && e.labels[0].caught
	e.keeps = e.saves || e.hasQuiet

	e.out = e.out[:0]
	e.writeLocals()
	if f.free < 0 {
		entry := e.plan()
		e.pay(entry + e.weight<<32)
		e.check(e.weight > 0)
	} else {
		e.report.Free++
	}
	if e.saves {
		e.save()
	}
	if e.wrap {
		e.out.op(opBlock)
		e.out = e.blockFor(e.m.typeOf(fn).results).append(e.out)
	}
	for i := range e.instrs {
		e.instr(&e.instrs[i])
	}
	if e.wrap {
		if e.saves && e.labels[0].caught {
			e.restore()
		}
		if e.weight > 0 {
			e.pay(-e.weight << 32)
		}
		e.out.op(opEnd)
	}
	return e.out
}

func (e *emitter) writeLocals() {
	groups := e.locals
	if e.keeps {
		groups = append(groups, localGroup{1, typeI64})
	}
	e.out = appendUnsigned(e.out, uint64(len(groups)))
	for _, g := range groups {
		e.out = g.typ.append(appendUnsigned(e.out, uint64(g.count)))
	}
}

func (e *emitter) pay(units int64) {
	if units != 0 {
		e.report.Payments++
		e.at.pay(&e.out, units, e.mirror)
	}
}

func (e *emitter) check(depth bool) {
	e.report.Checks++
	e.at.check(&e.out, depth, e.mirror)
}

// hold has the counter's value in the local from here on, until mirror says otherwise. In a function with a try_table the
// local is the depth's.
func (e *emitter) hold() {
	if !e.saves {
		e.mirror = e.nLocals
		e.at.hold(&e.out, e.mirror)
	}
}

// loops gives a loop without calls its mirror, in front of it, and takes it back behind.
func (e *emitter) loops(in *instr) {
	switch {
	case in.kind == kindLoop && e.quiet == 0 && e.labels[in.label].quiet():
		e.quiet = in.label
		e.hold()
	case in.kind == kindEnd && in.label == e.quiet && e.quiet > 0:
		e.quiet, e.mirror = 0, noMirror
	}
}

// save keeps (counter - fuel) >> 32, the depth left, where fuel is the lower half with its sign.
func (e *emitter) save() {
	e.out.with(opGlobalGet, e.at.global)
	e.out.with(opGlobalGet, e.at.global)
	e.out.op(opI64Extend32, opI64Sub)
	e.out.i64(32)
	e.out.op(opI64ShrS)
	e.out.set(e.nLocals)
}

// restore makes the counter the depth kept << 32 + fuel.
func (e *emitter) restore() {
	e.out.get(e.nLocals)
	e.out.i64(32)
	e.out.op(opI64Shl)
	e.out.with(opGlobalGet, e.at.global)
	e.out.op(opI64Extend32, opI64Add)
	e.out.with(opGlobalSet, e.at.global)
}

func (e *emitter) instr(in *instr) {
	e.loops(in)
	switch in.kind {
	case kindBlock, kindLoop, kindIf, kindTry:
		e.nest++
	case kindEnd:
		e.nest--
	case kindReturn:
		if e.wrap {
			e.out.with(opBr, e.nest)
			return
		}
	case kindTailCall, kindTailIndirect: // the frame goes before the callee's comes
		e.pay(-e.weight << 32)
	case kindByBytes:
		e.out.call(e.at.byBytes)
	case kindByElements:
		e.out.call(e.at.byElements)
	case kindByPages:
		e.out.call(e.at.byPages)
	case kindFill:
		e.out.call(e.at.fill)
	case kindCopy:
		e.out.call(e.at.copy)
	}
	if in.kind != kindFill && in.kind != kindCopy {
		e.out = e.append(e.out, in)
	}
	if l := &e.labels[in.label]; l.caught && in.label > 0 {
		// An exception lands on the end of a block, but on the beginning of a loop.
		if in.kind == kindEnd && l.kind != kindLoop || in.kind == kindLoop {
			e.restore()
		}
	}
	e.pay(int64(in.pay))
	if in.check {
		e.check(false)
	}
}
