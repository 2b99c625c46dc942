//go:build linux

package gate

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/ledger"
)

func later() time.Time { return time.Now().Add(time.Hour) }

// TestDigestsKept: what one process learned the next one knows.
func TestDigestsKept(t *testing.T) {
	s := newShelf(t, map[string]string{"a": "aaa", "b": "", "c": "ccc"})
	first := NewDigests(later)
	if first.Changed() {
		t.Error("there is something to keep before anything was learned")
	}
	first.take(context.Background(), []*subject{s.subject("a"), s.subject("b")})
	if !first.Changed() {
		t.Error("there is nothing to keep")
	}
	var kept bytes.Buffer
	must(t, first.Encode(&kept))
	if first.Changed() {
		t.Error("what was kept is to be kept again")
	}
	second := NewDigests(later)
	if !second.Decode(kept.Bytes()) || second.Changed() {
		t.Error("what was kept cannot be read")
	}
	for name, want := range map[string]string{"a": "aaa", "b": "", "c": "?"} {
		sum, known := second.find(s.subject(name).info, oneMount)
		if known != (want != "?") || known && sum != sumOf(want) {
			t.Errorf("%s: known %v, %s", name, known, sum)
		}
	}
	if second.Changed() {
		t.Error("what is only asked for is to be kept")
	}
	s.put("a", "AAA")
	if _, known := second.find(s.subject("a").info, oneMount); known {
		t.Error("a file that was changed is known")
	}
	var again bytes.Buffer
	must(t, second.Encode(&again))
	if again.Len() != kept.Len() {
		t.Errorf("%d bytes are kept, want %d", again.Len(), kept.Len())
	}
}

// TestDigestsOfMounts: an image mounted in the place of another has the same numbers
// and times, and is another; and numbers that are used again are not kept.
func TestDigestsOfMounts(t *testing.T) {
	s := newShelf(t, map[string]string{"a": "aaa"})
	const again = 1<<31 - 1
	here, elsewhere := s.subject("a"), s.subject("a")
	elsewhere.mount = again
	d := NewDigests(later)
	d.take(context.Background(), []*subject{here, elsewhere})
	for _, mount := range []uint64{0, again - 1, oneMount + 1} {
		if _, known := d.find(here.info, mount); known {
			t.Errorf("it is known on mount %d", mount)
		}
	}
	var kept bytes.Buffer
	must(t, d.Encode(&kept))
	next := NewDigests(later)
	if !next.Decode(kept.Bytes()) {
		t.Fatal("what was kept cannot be read")
	}
	for mount, want := range map[uint64]bool{oneMount: true, oneMount + 1: false, again: false} {
		if _, known := next.find(here.info, mount); known != want {
			t.Errorf("on mount %d it is known: %v, want %v", mount, known, want)
		}
	}
}

// TestDigestsMalformed: what is not whole, to the bit, is not known.
func TestDigestsMalformed(t *testing.T) {
	s := newShelf(t, map[string]string{"a": "aaa", "b": "b"})
	d := NewDigests(later)
	d.take(context.Background(), []*subject{s.subject("a"), s.subject("b")})
	var kept bytes.Buffer
	must(t, d.Encode(&kept))
	whole := kept.Bytes()
	r := rand.New(rand.NewPCG(1, 1))
	bad := [][]byte{nil, []byte("x"), append(bytes.Clone(whole), 0), append(bytes.Clone(whole), whole[len(whole)-keptRecord:]...), whole[keptRecord:]}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1 << r.IntN(8)
		bad = append(bad, flipped, whole[:i])
	}
	for _, data := range bad {
		d := NewDigests(later)
		if d.Decode(data) || len(d.old) != 0 {
			t.Fatalf("%d digests of %d bytes are known:\n%x", len(d.old), len(data), data)
		}
	}
	var none bytes.Buffer
	must(t, NewDigests(later).Encode(&none))
	if d := NewDigests(later); !d.Decode(none.Bytes()) || len(d.old) != 0 {
		t.Error("nothing, kept, is not nothing")
	}
	if err := d.Encode(broken{}); err == nil {
		t.Error("what cannot be written is kept")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no room") }

// TestDigestsKeptBounded: what is kept does not grow for ever.
func TestDigestsKeptBounded(t *testing.T) {
	var kept bytes.Buffer
	for round := range 5 {
		d := NewDigests(later)
		d.most = 10
		if round > 0 && !d.Decode(kept.Bytes()) {
			t.Fatal("it cannot be read")
		}
		for i := range 15 {
			info := beneath.Info{Ino: uint64(100*round + i), Mtime: time.Unix(1, 0), Ctime: time.Unix(1, 0)}
			d.keep(info, oneMount, ledger.Hash{byte(i)}, later())
		}
		kept.Reset()
		must(t, d.Encode(&kept))
		if n := (kept.Len() - len(keptHeader) - 32) / keptRecord; n > 20 {
			t.Fatalf("%d digests are kept", n)
		}
	}
}
