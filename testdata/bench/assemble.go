package main

import "encoding/binary"

// code is the body of a WebAssembly function that is being written.
type code []byte

// Instructions without operands that the guests below need.
const (
	unreachable = 0x00
	end         = 0x0b
	i32Eqz      = 0x45
	i32Ne       = 0x47
	i32LtU      = 0x49
	i64LtS      = 0x53
	i32Add      = 0x6a
	i32DivU     = 0x6e
	i32RemU     = 0x70
	i64Add      = 0x7c
	i64Sub      = 0x7d
	i64Mul      = 0x7e
	i64Xor      = 0x85
	i64ShrU     = 0x88
	i32WrapI64  = 0xa7
	drop        = 0x1a

	typeI32 = 0x7f
	typeI64 = 0x7e
)

func (c *code) op(ops ...byte) { *c = append(*c, ops...) }
func (c *code) i32(v int)      { *c = appendSigned(append(*c, 0x41), int64(v)) }
func (c *code) i64(v int64)    { *c = appendSigned(append(*c, 0x42), v) }
func (c *code) get(local int)  { *c = appendUnsigned(append(*c, 0x20), local) }
func (c *code) set(local int)  { *c = appendUnsigned(append(*c, 0x21), local) }
func (c *code) call(f int)     { *c = appendUnsigned(append(*c, 0x10), f) }
func (c *code) loop()          { c.op(0x03, 0x40) }
func (c *code) repeatIf()      { c.op(0x0d, 0) } // the innermost loop
func (c *code) load32(at int)  { c.i32(at); c.op(0x28, 2, 0) }
func (c *code) store8(at int)  { *c = appendUnsigned(append(*c, 0x3a, 0), at) }
func (c *code) trapIf()        { c.op(0x04, 0x40, unreachable, end) }
func (c *code) next(local int) { c.get(local); c.i32(1); c.op(i32Add); c.set(local) }
func (c *code) digit(local, by int) { // the digit of a local that counts by, as ASCII
	c.get(local)
	c.i32(by)
	c.op(i32DivU)
	c.i32(10)
	c.op(i32RemU)
	c.i32('0')
	c.op(i32Add)
}

// Functions a guest imports, by their index.
const (
	fdRead = iota
	fdWrite
	fdClose
	pathOpen
	_ // _start
	more
)

// Places in a guest's memory.
const (
	atVector = 0 // of buffers: address, size
	atCount  = 8
	atFile   = 12
	atAnswer = 16 // a vector for the answer
	atText   = 32
	atName   = 64
	atBuffer = 65536
)

const answer = "{\"answer\":0}\n"

// A program is a command assembled by hand, for where there is no C compiler and
// for what no compiler leaves as it is written.
type program struct {
	start  code     // of _start
	locals [][2]int // how many of which type
	more   code     // of a second function, i64 -> i64
	name   string   // a path in memory
	buffer int      // bytes to read at once
}

// hello only answers.
func hello() program { return program{} }

// readFiles opens, reads and closes n files, as the other guests do.
func readFiles(n int) program {
	const i = 0
	var c code
	c.loop()
	for _, d := range []struct{ at, by int }{{5, 10}, {6, 1}, {9, 10000}, {10, 1000}, {11, 100}, {12, 10}, {13, 1}} {
		c.i32(atName)
		c.digit(i, d.by)
		c.store8(d.at)
	}
	c.open("docs/00/f00000.txt")
	for range 2 { // what there is, and its end
		c.read()
	}
	c.load32(atCount)
	c.trapIf()
	c.load32(atFile)
	c.call(fdClose)
	c.trapIf()
	c.next(i)
	c.get(i)
	c.i32(n)
	c.op(i32LtU)
	c.repeatIf()
	c.op(end)
	return program{start: c, locals: [][2]int{{1, typeI32}}, name: "docs/00/f00000.txt", buffer: 2048}
}

// readBig reads one file in pieces of 1 MiB.
func readBig() program {
	var c code
	c.open("big.bin")
	c.loop()
	c.read()
	c.load32(atCount)
	c.repeatIf()
	c.op(end)
	return program{start: c, name: "big.bin", buffer: 1 << 20}
}

func (c *code) open(name string) {
	for _, v := range []int{3, 0, atName, len(name), 0} {
		c.i32(v)
	}
	c.i64(1 << 1) // fd_read
	c.i64(0)
	c.i32(0)
	c.i32(atFile)
	c.call(pathOpen)
	c.trapIf()
}

func (c *code) read() {
	c.load32(atFile)
	c.i32(atVector)
	c.i32(1)
	c.i32(atCount)
	c.call(fdRead)
	c.trapIf()
}

// fib computes a Fibonacci number by recursion that does nothing else.
func fib(n int) program {
	var c, f code
	c.i64(int64(n))
	c.call(more)
	c.op(drop)
	f.get(0)
	f.i64(2)
	f.op(i64LtS, 0x04, typeI64)
	f.get(0)
	f.op(0x05)
	for _, less := range []int64{1, 2} {
		f.get(0)
		f.i64(less)
		f.op(i64Sub)
		f.call(more)
	}
	f.op(i64Add, end)
	return program{start: c, more: f}
}

// tight runs the shortest useful loop n times.
func tight(n int) program {
	const i, state = 0, 1
	var c code
	c.loop()
	c.get(state)
	c.i64(6364136223846793005)
	c.op(i64Mul)
	c.i64(1442695040888963407)
	c.op(i64Add)
	c.set(state)
	c.next(i)
	c.get(i)
	c.i32(n)
	c.op(i32LtU)
	c.repeatIf()
	c.op(end)
	c.get(state) // it is used, so that no engine leaves it out
	c.op(i32WrapI64)
	c.i32(0x12345678)
	c.op(i32Ne, i32Eqz)
	c.trapIf()
	return program{start: c, locals: [][2]int{{1, typeI32}, {1, typeI64}}}
}

// assemble returns the module.
func (p program) assemble() []byte {
	first := p.start
	for _, v := range []int{1, atAnswer, 1, atCount} {
		first.i32(v)
	}
	first.call(fdWrite)
	first.trapIf()
	i32s := func(n int) (types []byte) {
		for range n {
			types = append(types, typeI32)
		}
		return types
	}
	function := func(params, results []byte) []byte {
		return append(vector([]byte{0x60}, params), vector(nil, results)...)
	}
	imported := func(name string, index byte) []byte {
		return append(append(text("wasi_snapshot_preview1"), text(name)...), 0, index)
	}
	m := []byte("\x00asm\x01\x00\x00\x00")
	m = section(m, 1, 5,
		function(nil, nil),
		function(i32s(4), i32s(1)),
		function(i32s(1), i32s(1)),
		function([]byte{typeI32, typeI32, typeI32, typeI32, typeI32, typeI64, typeI64, typeI32, typeI32}, i32s(1)),
		function([]byte{typeI64}, []byte{typeI64}))
	m = section(m, 2, 4, imported("fd_read", 1), imported("fd_write", 1), imported("fd_close", 2), imported("path_open", 3))
	m = section(m, 3, 2, []byte{0}, []byte{4})
	m = section(m, 5, 1, []byte{0, 64}) // 4 MiB
	m = section(m, 7, 2, append(text("_start"), 0, 4), append(text("memory"), 2, 0))
	second := p.more
	if second == nil {
		second.get(0)
	}
	m = section(m, 10, 2, body(p.locals, first), body(nil, second))
	return section(m, 11, 1, append([]byte{0, 0x41, 0, end}, vector(nil, p.memory())...))
}

// memory is what a guest finds there.
func (p program) memory() []byte {
	data := make([]byte, atName+len(p.name))
	put := binary.LittleEndian.PutUint32
	put(data[atVector:], atBuffer)
	put(data[atVector+4:], uint32(p.buffer)) //nolint:gosec // at most 1 MiB
	put(data[atAnswer:], atText)
	put(data[atAnswer+4:], uint32(len(answer)))
	copy(data[atText:], answer)
	copy(data[atName:], p.name)
	return data
}

func body(locals [][2]int, c code) []byte {
	f := appendUnsigned(nil, len(locals))
	for _, l := range locals {
		f = append(appendUnsigned(f, l[0]), byte(l[1]))
	}
	return vector(nil, append(append(f, c...), end))
}

func section(m []byte, id byte, count int, items ...[]byte) []byte {
	content := appendUnsigned(nil, count)
	for _, item := range items {
		content = append(content, item...)
	}
	return vector(append(m, id), content)
}

// vector appends what, after its length.
func vector(to, what []byte) []byte { return append(appendUnsigned(to, len(what)), what...) }

func text(s string) []byte { return vector(nil, []byte(s)) }

func appendUnsigned(b []byte, v int) []byte { return binary.AppendUvarint(b, uint64(v)) } //nolint:gosec // never negative

func appendSigned(b []byte, v int64) []byte {
	for {
		low := byte(v & 0x7f)
		if v >>= 7; v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}
