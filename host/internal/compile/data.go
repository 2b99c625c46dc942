package compile

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// maxGap is how many bytes between two segments are rather written as zeroes
// than left out: the engine takes longer over one more segment.
const maxGap = 256

// mergeData joins data segments that lie close together, and gives the content of
// a data section. Go's linker writes thousands, wherever there are some zeroes,
// and the engine evaluates an expression for each, every time it makes an
// instance: half of the time that takes.
//
// What an instance's memory begins with stays the same byte for byte, as memory
// is zero before: only sections whose segments all are active and do not overlap
// are changed. The module must have a memory of its own, and no section that
// counts its segments: then no code of it can name them.
func mergeData(content []byte) []byte {
	r := dataReader{content, true}
	count := r.unsigned()
	if !r.ok || count > uint64(len(content)) {
		return content
	}
	list := make([]placed, count)
	for i := range list {
		list[i].at, list[i].data = r.segment()
	}
	if !r.ok || len(r.rest) > 0 {
		return content
	}
	slices.SortStableFunc(list, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	merged := list[:0]
	end := uint64(0)
	for _, s := range list {
		last := len(merged) - 1
		switch {
		case s.at < end:
			return content
		case last >= 0 && s.at-end <= maxGap:
			data := merged[last].data
			merged[last].data = append(append(data, make([]byte, s.at-end)...), s.data...)
		default:
			merged = append(merged, placed{s.at, bytes.Clone(s.data)})
		}
		end = s.at + uint64(len(s.data))
	}
	out := binary.AppendUvarint(nil, uint64(len(merged)))
	for _, s := range merged {
		out = append(appendSigned(append(out, 0, 0x41), int64(int32(uint32(s.at)))), 0x0b)
		out = append(binary.AppendUvarint(out, uint64(len(s.data))), s.data...)
	}
	return out
}

// placed is a segment: bytes, and where they go.
type placed struct {
	at   uint64
	data []byte
}

// A dataReader takes a data section apart. Once it is not ok it stays so.
type dataReader struct {
	rest []byte
	ok   bool
}

// segment reads an active segment of memory 0 whose place is a constant.
func (r *dataReader) segment() (at uint64, data []byte) {
	r.ok = r.ok && len(r.rest) > 2 && r.rest[0] == 0 && r.rest[1] == 0x41 // i32.const
	if !r.ok {
		return 0, nil
	}
	r.rest = r.rest[2:]
	at = uint64(uint32(r.signed()))
	r.ok = r.ok && len(r.rest) > 0 && r.rest[0] == 0x0b // end
	if !r.ok {
		return 0, nil
	}
	r.rest = r.rest[1:]
	size := r.unsigned()
	if r.ok = r.ok && size <= uint64(len(r.rest)); !r.ok {
		return 0, nil
	}
	data, r.rest = r.rest[:size], r.rest[size:]
	return at, data
}

func (r *dataReader) unsigned() uint64 {
	n, size := binary.Uvarint(r.rest)
	if r.ok = r.ok && size > 0; !r.ok {
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// signed reads an LEB128 number of at most 32 bits.
func (r *dataReader) signed() int32 {
	var n int64
	for i, b := range r.rest[:min(len(r.rest), 5)] {
		n |= int64(b&0x7f) << (7 * i)
		if b < 0x80 {
			r.rest = r.rest[i+1:]
			if shift := 64 - 7*(i+1); b&0x40 != 0 {
				n = n << shift >> shift
			}
			return int32(n)
		}
	}
	r.ok = false
	return 0
}

func appendSigned(out []byte, n int64) []byte {
	for n < -64 || n > 63 {
		out = append(out, byte(n)&0x7f|0x80)
		n >>= 7
	}
	return append(out, byte(n)&0x7f)
}
