package meter

import "strings"

// A valueType is the byte of a number, vector or reference type, or for a reference type in its long form the byte of
// its heap type with the prefix above it. https://webassembly.github.io/spec/core/binary/types.html#value-types
type valueType uint16

const (
	typeI32       valueType = 0x7f
	typeI64       valueType = 0x7e
	typeF32       valueType = 0x7d
	typeF64       valueType = 0x7c
	typeV128      valueType = 0x7b
	typeFuncref   valueType = 0x70
	typeExternref valueType = 0x6f
	typeExnref    valueType = 0x69

	refPrefix     = 0x64 // (ref heap)
	refNullPrefix = 0x63 // (ref null heap)
)

func (t valueType) append(b []byte) []byte {
	if prefix := byte(t >> 8); prefix != 0 {
		b = append(b, prefix)
	}
	return append(b, byte(t))
}

func (t valueType) String() string {
	switch t {
	case typeI32:
		return "i32"
	case typeI64:
		return "i64"
	case typeF32:
		return "f32"
	case typeF64:
		return "f64"
	case typeV128:
		return "v128"
	case typeFuncref:
		return "funcref"
	case typeExternref:
		return "externref"
	case typeExnref:
		return "exnref"
	}
	heap := strings.TrimSuffix(valueType(byte(t)).String(), "ref")
	if t>>8 == refNullPrefix {
		return "(ref null " + heap + ")"
	}
	return "(ref " + heap + ")"
}

func (r *reader) valueType() valueType {
	switch b := r.byte(); valueType(b) {
	case typeI32, typeI64, typeF32, typeF64, typeV128, typeFuncref, typeExternref, typeExnref:
		return valueType(b)
	case refPrefix, refNullPrefix:
		return valueType(b)<<8 | r.heapType()
	default:
		if r.err == nil {
			r.unknownType(b)
		}
		return 0
	}
}

// heapType reads one of the three heap types there are without garbage collection and typed function references. They
// are signed numbers; written in one byte they look like the reference types.
func (r *reader) heapType() valueType {
	switch h := r.signed(33); h {
	case -0x10:
		return typeFuncref
	case -0x11:
		return typeExternref
	case -0x17:
		return typeExnref
	default:
		if r.err == nil {
			if h >= 0 {
				r.unsupported("typed function references (a reference to type %d)", h)
			} else {
				r.unknownType(byte(h & 0x7f))
			}
		}
		return 0
	}
}

func (r *reader) unknownType(b byte) {
	switch {
	case b == 0x78 || b == 0x77:
		r.unsupported("packed types (garbage collection)")
	case b >= 0x65 && b <= 0x74:
		r.unsupported("reference type 0x%02x (garbage collection)", b)
	default:
		r.malformed("value type 0x%02x", b)
	}
}

// A blockType is what block, loop, if and try_table say of their operands: the index of a function type, or one of the
// negative numbers that stand for nothing or for one result.
// https://webassembly.github.io/spec/core/binary/instructions.html#control-instructions
type blockType struct {
	code int64
	heap valueType // for the two prefixes
}

const blockEmpty = -0x40

func (t blockType) append(b []byte) []byte {
	b = appendSigned(b, t.code)
	if t.heap != 0 {
		b = append(b, byte(t.heap))
	}
	return b
}

func (r *reader) blockType(types uint32) blockType {
	t := blockType{code: r.signed(33)}
	switch {
	case r.err != nil || t.code == blockEmpty:
	case t.code >= int64(types):
		r.malformed("type %d of %d", t.code, types)
	case t.code >= 0:
	default:
		b := byte(t.code & 0x7f)
		switch valueType(b) {
		case typeI32, typeI64, typeF32, typeF64, typeV128, typeFuncref, typeExternref, typeExnref:
			if t.code < -0x40 {
				r.malformed("block type %d", t.code)
			}
		case refPrefix, refNullPrefix:
			if t.code < -0x40 {
				r.malformed("block type %d", t.code)
			}
			t.heap = r.heapType()
		default:
			r.unknownType(b)
		}
	}
	return t
}

// A funcType keeps the canonical encoding of a function type: types are equal when their encodings are.
type funcType struct {
	params, results []valueType
	key             string
}

func newFuncType(params, results []valueType) funcType {
	var b []byte
	for _, list := range [][]valueType{params, results} {
		b = appendUnsigned(b, uint64(len(list)))
		for _, t := range list {
			b = t.append(b)
		}
	}
	return funcType{params: params, results: results, key: string(b)}
}

// String gives "(i32, i64) -> i32", "() -> ()" or "() -> (i32, i32)".
func (t funcType) String() string {
	var s strings.Builder
	list := func(types []valueType) {
		for i, t := range types {
			if i > 0 {
				s.WriteString(", ")
			}
			s.WriteString(t.String())
		}
	}
	s.WriteString("(")
	list(t.params)
	s.WriteString(") -> ")
	if len(t.results) == 1 {
		list(t.results)
		return s.String()
	}
	s.WriteString("(")
	list(t.results)
	s.WriteString(")")
	return s.String()
}

func (r *reader) funcType() funcType {
	switch form := r.byte(); form {
	case 0x60:
	case 0x4e:
		r.unsupported("recursive types (garbage collection)")
	case 0x4f, 0x50, 0x5e, 0x5f:
		r.unsupported("struct, array and sub types (garbage collection)")
	default:
		r.malformed("type form 0x%02x", form)
	}
	var lists [2][]valueType
	for i, what := range []string{"parameters", "results"} {
		n := r.count(what, maxParams)
		list := make([]valueType, 0, n)
		for ; n > 0 && r.err == nil; n-- {
			list = append(list, r.valueType())
		}
		lists[i] = list
	}
	if r.err != nil {
		return funcType{}
	}
	return newFuncType(lists[0], lists[1])
}
