package meter

import (
	"fmt"
	"unicode/utf8"
)

// A reader walks over a part of a module. Positions are offsets in the whole file, so that errors can name them.
//
// The first error sticks: from then on there is nothing more to read and every number is zero. A count never exceeds
// the bytes that follow it, so loops over one end soon after an error, and nothing is allocated that the file has not
// paid for in bytes.
type reader struct {
	b   []byte // the file up to the end of this part
	pos int
	err error
}

func (r *reader) more() bool { return r.err == nil && r.pos < len(r.b) }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
		r.pos = len(r.b)
	}
}

func (r *reader) malformed(format string, args ...any) {
	r.fail(&MalformedError{Offset: r.pos, Reason: fmt.Sprintf(format, args...)})
}

func (r *reader) unsupported(format string, args ...any) {
	r.fail(&UnsupportedError{Offset: r.pos, Feature: fmt.Sprintf(format, args...)})
}

func (r *reader) byte() byte {
	if r.pos >= len(r.b) {
		r.malformed("unexpected end")
		return 0
	}
	r.pos++
	return r.b[r.pos-1]
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)-r.pos) {
		r.malformed("unexpected end")
		return nil
	}
	r.pos += int(n)
	return r.b[r.pos-int(n) : r.pos : r.pos]
}

// part cuts off the next n bytes for a reader of their own. Its errors are its own, too.
func (r *reader) part(n uint32) *reader {
	from := r.pos
	r.bytes(n)
	return &reader{b: r.b[:r.pos:r.pos], pos: from, err: r.err}
}

// end demands that all was read.
func (r *reader) end() {
	if r.more() {
		r.malformed("%d bytes too many", len(r.b)-r.pos)
	}
}

// u32 reads an unsigned number in LEB128, as https://webassembly.github.io/spec/core/binary/values.html#integers.
func (r *reader) u32() uint32 {
	if r.pos < len(r.b) && r.b[r.pos] < 0x80 { // nearly always
		r.pos++
		return uint32(r.b[r.pos-1])
	}
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if v>>32 != 0 {
				r.malformed("number of more than 32 bits")
				return 0
			}
			return uint32(v)
		}
	}
	r.malformed("number in more than 5 bytes")
	return 0
}

// signed reads a signed number of the given width in LEB128. Widths are 32, 33 and 64.
func (r *reader) signed(bits int) int64 {
	if r.pos < len(r.b) && r.b[r.pos] < 0x80 { // nearly always
		r.pos++
		return int64(int8(r.b[r.pos-1]<<1)) >> 1
	}
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if c >= 0x80 {
			continue
		}
		if shift+7 < 64 {
			unused := 64 - 7 - shift
			v = v << unused >> unused
		} else if c != 0 && c != 0x7f { // the tenth byte holds one bit and its copies
			r.malformed("number of more than %d bits", bits)
			return 0
		}
		if limit := int64(1) << (bits - 1); bits < 64 && (v < -limit || v >= limit) {
			r.malformed("number of more than %d bits", bits)
			return 0
		}
		return v
	}
	r.malformed("number of %d bits in too many bytes", bits)
	return 0
}

// count reads the length of a vector whose elements have at least one byte each.
func (r *reader) count(what string, limit uint32) uint32 {
	n := r.u32()
	switch {
	case uint64(n) > uint64(len(r.b)-r.pos):
		r.malformed("%d %s in %d bytes", n, what, len(r.b)-r.pos)
		return 0
	case n > limit:
		r.unsupported("%d %s, more than %d", n, what, limit)
		return 0
	}
	return n
}

func (r *reader) name() string {
	b := r.bytes(r.u32())
	if !utf8.Valid(b) {
		r.malformed("a name that is not UTF-8")
		return ""
	}
	return string(b)
}

// index reads the index of something of which there are n.
func (r *reader) index(what string, n uint32) uint32 {
	i := r.u32()
	if i >= n && r.err == nil {
		r.malformed("%s %d of %d", what, i, n)
		return 0
	}
	return i
}

func appendUnsigned(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendSigned(b []byte, v int64) []byte {
	for v < -0x40 || v >= 0x40 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v&0x7f))
}

func appendName(b []byte, name string) []byte {
	return append(appendUnsigned(b, uint64(len(name))), name...)
}
