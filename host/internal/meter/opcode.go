package meter

// An opcode is the byte of an instruction, or for the prefixed ones the prefix with the second number beneath it.
// https://webassembly.github.io/spec/core/binary/instructions.html
type opcode uint16

const (
	opUnreachable  opcode = 0x00
	opNop          opcode = 0x01
	opBlock        opcode = 0x02
	opLoop         opcode = 0x03
	opIf           opcode = 0x04
	opElse         opcode = 0x05
	opThrow        opcode = 0x08
	opThrowRef     opcode = 0x0a
	opEnd          opcode = 0x0b
	opBr           opcode = 0x0c
	opBrIf         opcode = 0x0d
	opBrTable      opcode = 0x0e
	opReturn       opcode = 0x0f
	opCall         opcode = 0x10
	opCallIndirect opcode = 0x11
	opTailCall     opcode = 0x12
	opTailIndirect opcode = 0x13
	opDrop         opcode = 0x1a
	opSelect       opcode = 0x1b
	opSelectTyped  opcode = 0x1c
	opTryTable     opcode = 0x1f
	opLocalGet     opcode = 0x20
	opLocalSet     opcode = 0x21
	opLocalTee     opcode = 0x22
	opGlobalGet    opcode = 0x23
	opGlobalSet    opcode = 0x24
	opTableGet     opcode = 0x25
	opTableSet     opcode = 0x26
	opI32Load      opcode = 0x28
	opI64Store32   opcode = 0x3e
	opMemorySize   opcode = 0x3f
	opMemoryGrow   opcode = 0x40
	opI32Const     opcode = 0x41
	opI64Const     opcode = 0x42
	opF32Const     opcode = 0x43
	opF64Const     opcode = 0x44
	opI32Eqz       opcode = 0x45
	opI32LtU       opcode = 0x49
	opI32GtU       opcode = 0x4b
	opI32LeU       opcode = 0x4d
	opI32GeS       opcode = 0x4e
	opI64Eqz       opcode = 0x50
	opI64GtU       opcode = 0x56
	opI32Add       opcode = 0x6a
	opI32Sub       opcode = 0x6b
	opI32Mul       opcode = 0x6c
	opI32Or        opcode = 0x72
	opI64Add       opcode = 0x7c
	opI64Sub       opcode = 0x7d
	opI64Mul       opcode = 0x7e
	opI64And       opcode = 0x83
	opI64Shl       opcode = 0x86
	opI64ShrS      opcode = 0x87
	opI64ShrU      opcode = 0x88
	opI32WrapI64   opcode = 0xa7
	opI64ExtendU   opcode = 0xad
	opI64Extend32  opcode = 0xc4 // the last of the numeric instructions
	opRefNull      opcode = 0xd0
	opRefIsNull    opcode = 0xd1
	opRefFunc      opcode = 0xd2

	prefixGC     opcode = 0xfb
	prefixMisc   opcode = 0xfc
	prefixVector opcode = 0xfd
	prefixAtomic opcode = 0xfe

	opTruncSatLast opcode = 0xfc07
	opMemoryInit   opcode = 0xfc08
	opDataDrop     opcode = 0xfc09
	opMemoryCopy   opcode = 0xfc0a
	opMemoryFill   opcode = 0xfc0b
	opTableInit    opcode = 0xfc0c
	opElemDrop     opcode = 0xfc0d
	opTableCopy    opcode = 0xfc0e
	opTableGrow    opcode = 0xfc0f
	opTableSize    opcode = 0xfc10
	opTableFill    opcode = 0xfc11

	opV128Const opcode = 0xfd0c
	opShuffle   opcode = 0xfd0d
)

// append writes the opcode with its second number in the fewest bytes.
func (op opcode) append(b []byte) []byte {
	if op < 0x100 {
		return append(b, byte(op))
	}
	return appendUnsigned(append(b, byte(op>>8)), uint64(op&0xff))
}

// opcode reads an opcode. One of SIMD whose second number is written in more bytes than it needs is refused: wazero takes
// the first byte only. It would be written anew in one byte, but the module that was validated would have been another.
func (r *reader) opcode() opcode {
	b := opcode(r.byte())
	switch b {
	case prefixMisc, prefixVector:
	case prefixGC, prefixAtomic:
		r.refuse(b, r.u32())
		return 0
	default:
		return b
	}
	from := r.pos
	sub := r.u32()
	if n := r.pos - from; b == prefixVector && n > 1 && sub>>(7*(n-1)) == 0 {
		r.unsupported("an opcode in more bytes than it needs (0xfd %d)", sub)
		return 0
	}
	if b == prefixMisc && sub > uint32(opTableFill&0xff) || b == prefixVector && (sub > 0xff || !vectorOpcode(byte(sub))) {
		r.refuse(b, sub)
		return 0
	}
	return b<<8 | opcode(sub)
}

// vectorOpcode reports whether the number is one of SIMD's, which has holes.
func vectorOpcode(sub byte) bool {
	switch sub {
	case 0x9a, 0xa2, 0xa5, 0xa6, 0xaf, 0xb0, 0xb2, 0xb3, 0xb4, 0xbb, 0xc2, 0xc5, 0xc6, 0xcf, 0xd0, 0xd2, 0xd3, 0xd4, 0xe2, 0xee:
		return false
	}
	return true
}

// refuse names an instruction that is not metered, as exactly as it is known.
func (r *reader) refuse(op opcode, sub uint32) {
	switch op {
	case 0x06, 0x07, 0x09, 0x18, 0x19:
		r.unsupported("legacy exception handling (opcode 0x%02x); build with exnref, or translate with wasm-opt --translate-to-exnref", byte(op))
	case 0x14, 0x15, 0xd4, 0xd5, 0xd6:
		r.unsupported("typed function references (opcode 0x%02x)", byte(op))
	case 0xd3:
		r.unsupported("garbage collection (ref.eq)")
	case prefixGC:
		r.unsupported("garbage collection (opcode 0xfb %d)", sub)
	case prefixAtomic:
		switch sub {
		case 0:
			r.unsupported("threads (memory.atomic.notify)")
		case 1:
			r.unsupported("threads (memory.atomic.wait32)")
		case 2:
			r.unsupported("threads (memory.atomic.wait64)")
		default:
			r.unsupported("threads (opcode 0xfe %d)", sub)
		}
	case prefixVector:
		if sub >= 0x100 && sub <= 0x12f {
			r.unsupported("relaxed SIMD (opcode 0xfd %d)", sub)
		} else {
			r.unsupported("opcode 0xfd %d", sub)
		}
	case prefixMisc:
		if sub >= 19 && sub <= 22 {
			r.unsupported("wide arithmetic (opcode 0xfc %d)", sub)
		} else {
			r.unsupported("opcode 0xfc %d", sub)
		}
	default:
		r.unsupported("opcode 0x%02x", byte(op))
	}
}
