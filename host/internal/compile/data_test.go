package compile

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// A segment of a data section made for a test.
type segment struct {
	at   uint32
	data []byte
}

func dataSection(list ...segment) []byte {
	out := binary.AppendUvarint(nil, uint64(len(list)))
	for _, s := range list {
		out = append(appendSigned(append(out, 0, 0x41), int64(int32(s.at))), 0x0b)
		out = append(binary.AppendUvarint(out, uint64(len(s.data))), s.data...)
	}
	return out
}

// memoryOf is what a memory of zeroes holds after a section, and how many
// segments that had.
func memoryOf(t *testing.T, content []byte) (memory []byte, segments uint64) {
	t.Helper()
	r := dataReader{content, true}
	segments = r.unsigned()
	for range segments {
		at, data := r.segment()
		if !r.ok || at > 1<<20 {
			t.Fatalf("not a section: %x", content)
		}
		if need := int(at) + len(data); need > len(memory) {
			memory = append(memory, make([]byte, need-len(memory))...)
		}
		copy(memory[at:], data)
	}
	if !r.ok || len(r.rest) > 0 {
		t.Fatalf("not a section: %x", content)
	}
	return memory, segments
}

func TestMergeData(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var list []segment
		at := uint32(random.IntN(1000))
		for range random.IntN(40) {
			data := make([]byte, random.IntN(30))
			for i := range data {
				data[i] = byte(random.IntN(256))
			}
			list = append(list, segment{at, data})
			at += uint32(len(data)) + uint32(random.IntN(2*maxGap))
		}
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		before := dataSection(list...)
		want, _ := memoryOf(t, before)
		after := mergeData(before)
		if got, _ := memoryOf(t, after); !bytes.Equal(got, want) {
			t.Fatalf("%x became %x: another memory", before, after)
		}
	}
	many := dataSection(segment{8, []byte("a")}, segment{9 + maxGap, []byte("b")}, segment{11 + 2*maxGap, []byte("c")})
	if _, n := memoryOf(t, mergeData(many)); n != 2 {
		t.Errorf("got %d segments, want that the first two are one", n)
	}
	if got, want := mergeData(dataSection(segment{1 << 31, []byte("a")}, segment{1<<31 + 2, []byte("b")})), dataSection(segment{1 << 31, []byte("a\x00b")}); !bytes.Equal(got, want) {
		t.Errorf("beyond 2 GiB: got %x, want %x", got, want)
	}
}

// What overlaps, is passive, or lies where a global says stays as it
// is; so does what is no section.
func TestMergeDataLeaves(t *testing.T) {
	good := dataSection(segment{0, []byte("abc")}, segment{5, []byte("de")})
	for name, content := range map[string][]byte{
		"overlap": dataSection(segment{0, []byte("abc")}, segment{2, []byte("de")}),
		"within":  dataSection(segment{10, []byte("abc")}, segment{2, []byte("de")}, segment{11, []byte("x")}),
		"passive": {2, 0, 0x41, 0, 0x0b, 1, 'a', 1, 1, 'b'},
		"global":  {2, 0, 0x41, 0, 0x0b, 1, 'a', 0, 0x23, 0, 0x0b, 1, 'b'},
		"longer":  append(bytes.Clone(good), 0),
		"none":    {0},
	} {
		if got := mergeData(content); !bytes.Equal(got, content) {
			t.Errorf("%s: got %x, want %x", name, got, content)
		}
	}
	for i := range good {
		if got := mergeData(good[:i]); !bytes.Equal(got, good[:i]) {
			t.Errorf("cut at %d: got %x, want %x", i, got, good[:i])
		}
	}
}
