package meter

// readElements reads one segment in any of its eight forms.
// https://webassembly.github.io/spec/core/binary/modules.html#element-section
func (m *module) readElements(r *reader) {
	const (
		notActive   = 1 // passive, or with the next bit declarative
		explicit    = 2 // of an active one: the table is given
		expressions = 4 // expressions instead of function indices
	)
	flags := r.u32()
	if flags > 7 {
		r.malformed("element segment of form %d", flags)
		return
	}
	s := elemSegment{head: appendUnsigned(nil, uint64(flags))}
	if flags&notActive == 0 {
		if flags&explicit != 0 {
			s.head = appendUnsigned(s.head, uint64(r.index("table", uint32(len(m.tableTypes)))))
		}
		s.head = m.constant(r, s.head)
	}
	if flags&(notActive|explicit) != 0 {
		if flags&expressions != 0 {
			s.head = r.valueType().append(s.head)
		} else {
			if b := r.byte(); b != 0 {
				r.malformed("element kind %d", b)
			}
			s.head = append(s.head, 0)
		}
	}
	s.count = r.count("elements", maxInit)
	for n := s.count; n > 0 && r.err == nil; n-- {
		if flags&expressions != 0 {
			s.init = m.constant(r, s.init)
			continue
		}
		f := r.index("function", uint32(len(m.funcTypes)))
		m.taken[f] = true
		s.init = appendUnsigned(s.init, uint64(m.outIndex(f)))
	}
	m.elems = append(m.elems, s)
}

func (m *module) readData(r *reader) {
	var s dataSegment
	switch flags := r.u32(); flags {
	case 0:
		s.head = m.constant(r, []byte{0})
	case 1:
		s.head = []byte{1}
	case 2:
		if i := r.u32(); i != 0 {
			r.unsupported("memory %d (multi-memory)", i)
		}
		s.head = m.constant(r, []byte{2, 0})
	default:
		r.malformed("data segment of form %d", flags)
	}
	s.init = r.bytes(r.u32())
	m.data = append(m.data, s)
}

// constant appends a constant expression, written anew. https://webassembly.github.io/spec/core/valid/instructions.html#constant-expressions
func (m *module) constant(r *reader, b []byte) []byte {
	for r.err == nil {
		op := opcode(r.byte())
		b = append(b, byte(op))
		switch op {
		case opEnd:
			return b
		case opI32Const:
			b = appendSigned(b, r.signed(32))
		case opI64Const:
			b = appendSigned(b, r.signed(64))
		case opF32Const:
			b = append(b, r.bytes(4)...)
		case opF64Const:
			b = append(b, r.bytes(8)...)
		case opGlobalGet:
			b = appendUnsigned(b, uint64(r.index("global", uint32(len(m.globalTypes)))))
		case opRefNull:
			b = append(b, byte(r.heapType()))
		case opRefFunc:
			f := r.index("function", uint32(len(m.funcTypes)))
			m.taken[f] = true
			b = appendUnsigned(b, uint64(m.outIndex(f)))
		case prefixVector:
			if sub := r.u32(); sub != uint32(opV128Const&0xff) {
				r.malformed("vector instruction %d in a constant expression", sub)
			}
			b = append(append(b, byte(opV128Const&0xff)), r.bytes(16)...)
		case opI32Add, opI32Sub, opI32Mul, opI64Add, opI64Sub, opI64Mul: // the extended-const proposal
		case prefixGC:
			r.unsupported("garbage collection (opcode 0xfb %d)", r.u32())
		default:
			r.malformed("opcode 0x%02x in a constant expression", byte(op))
		}
	}
	return b
}

// custom keeps the names of the module and its functions, for traces of traps. Other custom sections are dropped:
// nothing runs by them, and what they say of offsets is no longer true.
func (m *module) custom(r *reader) {
	name := r.name()
	if rest := r.part(uint32(len(r.b) - r.pos)); name == "name" && m.names == nil {
		m.names = readNames(rest, uint32(len(m.funcTypes)))
	}
}

// readNames reads what it can: nobody promised that this section is in order, and a broken one is no reason to refuse.
// https://webassembly.github.io/spec/core/appendix/custom.html#name-section
func readNames(r *reader, funcs uint32) *nameSection {
	var s nameSection
	for r.more() {
		id := r.byte()
		p := r.part(r.u32())
		switch id {
		case 0:
			s.module = p.name()
		case 1:
			for n := p.count("names", maxEntries); n > 0; n-- {
				f := funcName{p.index("function", funcs), p.name()}
				if k := len(s.funcs); k > 0 && f.index <= s.funcs[k-1].index {
					p.malformed("names out of order")
				}
				if p.err != nil {
					break
				}
				s.funcs = append(s.funcs, f)
			}
		}
		if p.err != nil {
			return nil
		}
	}
	if r.err != nil {
		return nil
	}
	return &s
}
