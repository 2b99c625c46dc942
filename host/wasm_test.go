package host

import (
	"encoding/binary"

	"github.com/agenthost/agenthost/abi"
)

// A wasm is a module made by hand, for what compilers do not make. Its memory is
// exported and its function 'start', if there is one, runs as _start.
type wasm struct {
	types   [][]byte
	imports [][]byte
	funcs   []int // indices into types
	bodies  [][]byte
	globals [][]byte
	tags    [][]byte
	tables  [][]byte
	exports [][]byte
	data    [][]byte
	pages   int // of memory
	most    int // pages it may grow to; 0 is without bound
	init    int // function that instantiation runs, -1 for none
}

func newWasm(pages int) *wasm { return &wasm{pages: pages, init: -1} }

// Value types and some opcodes.
const (
	i32 = 0x7f
	i64 = 0x7e

	opUnreachable = 0x00
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opThrow       = 0x08
	opEnd         = 0x0b
	opBr          = 0x0c
	opBrIf        = 0x0d
	opCall        = 0x10
	opDrop        = 0x1a
	opTryTable    = 0x1f
	opGet         = 0x20
	opSet         = 0x21
	opTee         = 0x22
	opGlobalGet   = 0x23
	opGlobalSet   = 0x24
	opMemoryGrow  = 0x40
	opAdd         = 0x6a
	opEmpty       = 0x40 // block type
)

// uleb and sleb are numbers as the binary format has them.
func uleb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

func sleb(n int64) (b []byte) {
	for {
		c := byte(n & 0x7f)
		n >>= 7
		if n == 0 && c&0x40 == 0 || n == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// code joins instructions: numbers are bytes, lists are themselves.
func code(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case []byte:
			b = append(b, p...)
		case string:
			b = append(b, p...)
		}
	}
	return b
}

func c32(n int64) []byte   { return code(0x41, sleb(int64(int32(n)))) }
func c64(n int64) []byte   { return code(0x42, sleb(n)) }
func call(f int) []byte    { return code(opCall, uleb(uint64(f))) }
func get(local int) []byte { return code(opGet, uleb(uint64(local))) }
func set(local int) []byte { return code(opSet, uleb(uint64(local))) }

// memoryFill is memory.fill of what stands on the stack.
func memoryFill() []byte { return code(0xfc, 11, 0) }

// forever repeats its body.
func forever(body ...any) []byte {
	return code(opLoop, opEmpty, code(body...), opBr, 0, opEnd)
}

func (w *wasm) typ(params, results string) int {
	t := code(0x60, uleb(uint64(len(params))), params, uleb(uint64(len(results))), results)
	for i, other := range w.types {
		if string(other) == string(t) {
			return i
		}
	}
	w.types = append(w.types, t)
	return len(w.types) - 1
}

func name(s string) []byte { return code(uleb(uint64(len(s))), s) }

// imp imports a function of any type and returns its index. It comes before fn.
func (w *wasm) imp(module, function, params, results string) int {
	w.imports = append(w.imports, code(name(module), name(function), 0, uleb(uint64(w.typ(params, results)))))
	return len(w.imports) - 1
}

// wasi imports a function of WASI.
func (w *wasm) wasi(function string) int {
	s, ok := abi.Lookup(abi.WASIModule, function)
	if !ok {
		panic("no such function: " + function)
	}
	return w.imp(abi.WASIModule, function, s.Params, s.Results)
}

// fn adds a function with locals of type i32 and returns its index.
func (w *wasm) fn(params, results string, locals int, body ...any) int {
	w.funcs = append(w.funcs, w.typ(params, results))
	w.bodies = append(w.bodies, code(1, uleb(uint64(locals)), i32, code(body...), opEnd))
	return len(w.imports) + len(w.funcs) - 1
}

// start adds the function that is _start.
func (w *wasm) start(locals int, body ...any) *wasm {
	w.exports = append(w.exports, code(name(abi.ExportStart), 0, uleb(uint64(w.fn("", "", locals, body...)))))
	return w
}

// global adds a mutable i64.
func (w *wasm) global(value int64) int {
	w.globals = append(w.globals, code(i64, 1, c64(value), opEnd))
	return len(w.globals) - 1
}

// put has memory begin with a text at an address.
func (w *wasm) put(at int64, text string) {
	w.data = append(w.data, code(0, c32(at), opEnd, name(text)))
}

func (w *wasm) bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id int, items [][]byte) {
		if len(items) == 0 {
			return
		}
		body := uleb(uint64(len(items)))
		for _, item := range items {
			body = append(body, item...)
		}
		out = code(out, id, uleb(uint64(len(body))), body)
	}
	funcs := make([][]byte, len(w.funcs))
	for i, t := range w.funcs {
		funcs[i] = uleb(uint64(t))
	}
	bodies := make([][]byte, len(w.bodies))
	for i, b := range w.bodies {
		bodies[i] = code(uleb(uint64(len(b))), b)
	}
	memory := code(0, uleb(uint64(w.pages)))
	if w.most > 0 {
		memory = code(1, uleb(uint64(w.pages)), uleb(uint64(w.most)))
	}
	exports := append([][]byte{code(name(abi.ExportMemory), 2, 0)}, w.exports...)
	section(1, w.types)
	section(2, w.imports)
	section(3, funcs)
	section(4, w.tables)
	section(5, [][]byte{memory})
	section(13, w.tags)
	section(6, w.globals)
	section(7, exports)
	if w.init >= 0 {
		start := uleb(uint64(w.init))
		out = code(out, 8, uleb(uint64(len(start))), start)
	}
	section(10, bodies)
	section(11, w.data)
	return out
}
