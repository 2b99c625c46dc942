package hostcall

import (
	"bytes"

	"github.com/tetratelabs/wazero/api"

	"github.com/agenthost/agenthost/abi"
)

// Call is [abi.FuncCall] on wazero's stack: it performs the message in memory
// and writes as much of the reply as there is room for. Only the low halves of
// the parameters count.
func (d *Dispatcher) Call(module api.Module, stack []uint64) {
	stack[0] = uint64(uint32(d.call(module.Memory(), uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3]))))
}

// More is [abi.FuncMore]: it copies what there is of the last reply from an
// offset on. It returns the length of all of it.
func (d *Dispatcher) More(module api.Module, stack []uint64) {
	offset, out, room := uint32(stack[0]), uint32(stack[1]), uint32(stack[2])
	n := abi.ResultBadPointer
	if to, ok := module.Memory().Read(out, room); ok {
		n = d.give(to, offset)
	}
	stack[0] = uint64(uint32(n))
}

// call checks both ranges before anything happens. What it reads is the guest's
// memory itself, which does not change before the reply is written: it is copied
// where it is kept.
func (d *Dispatcher) call(memory api.Memory, at, size, out, room uint32) int32 {
	d.last = nil
	text, ok := memory.Read(at, size)
	if !ok {
		return abi.ResultBadPointer
	}
	to, ok := memory.Read(out, room)
	if !ok {
		return abi.ResultBadPointer
	}
	// A line is looked for no further than it may reach: all of memory may be
	// given for one.
	line, body := text[:min(len(text), abi.MaxRequest+1)], []byte(nil)
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line, body = text[:end], text[end+1:]
	}
	r, _, no := d.parse(line, int64(len(body)))
	if no != nil {
		return no.result
	}
	d.last = r.do(body)
	return d.give(to, 0)
}

// give copies the last reply from offset on to memory, and returns its length.
func (d *Dispatcher) give(to []byte, offset uint32) int32 {
	if int64(offset) < int64(len(d.last)) {
		d.cfg.Charge(int64(copy(to, d.last[offset:])))
	}
	return int32(len(d.last))
}
