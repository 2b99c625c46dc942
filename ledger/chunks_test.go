//go:build linux || darwin

package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

// readAs gives all that is said about b when so many goroutines read it in chunks
// of that size.
func readAs(o Options, b []byte, workers int, size int64) string {
	var out strings.Builder
	o.Keys = &ring{keys: o.Keys.(*ring).keys}
	v := newVerifier("f", &o)
	v.treed, v.workers, v.chunk = true, workers, size
	for e, err := range v.entries(bytes.NewReader(b), 0, int64(len(b))) {
		var bad *IntegrityError
		if errors.As(err, &bad) {
			fmt.Fprintf(&out, "%+v", *bad)
		} else {
			fmt.Fprintf(&out, "%d %d %s %x %s %v\n", e.Seq, e.Offset, e.Kind, e.Hash, e.Line, err)
		}
	}
	fmt.Fprint(&out, v.seq, v.prev, v.session, v.tree.Size(), v.tree.Root(), v.seals.checkpoint, v.seals.signed)
	return out.String()
}

// sameAnswer fails unless b is read the same way, in chunks or not.
func sameAnswer(t *testing.T, o Options, b []byte, sizes ...int64) {
	t.Helper()
	want := readAs(o, b, 1, chunkSize)
	for _, size := range sizes {
		for workers := 2; workers <= maxWorkers; workers += 2 {
			if got := readAs(o, b, workers, size); got != want {
				t.Fatalf("%d goroutines, chunks of %d bytes: got\n%s\nwant\n%s", workers, size, got, want)
			}
		}
	}
}

// However a ledger is damaged, reading it in chunks finds the same entries and
// the same fault.
func TestChunksGiveTheSameAnswer(t *testing.T) {
	t.Parallel()
	l, _ := sealedLedger(t)
	o := l.opts
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, o, whole, 1)
	sizes := []int64{300, 64, 1000, int64(len(whole))/2 - 1}
	sameAnswer(t, o, whole, sizes...)
	sameAnswer(t, o, nil, sizes...)
	for i := range whole {
		flip := []byte{1, whole[i] ^ '\n', 0x80}[i%3]
		whole[i] ^= flip
		sameAnswer(t, o, whole, sizes[i%len(sizes)])
		whole[i] ^= flip
		if i%4 == 0 || whole[i] == '\n' {
			sameAnswer(t, o, whole[:i], sizes[i/4%len(sizes)])
		}
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	lines = lines[:len(lines)-1]
	for i := range lines {
		without := append(append([][]byte{}, lines[:i]...), lines[i+1:]...)
		sameAnswer(t, o, bytes.Join(without, nil), sizes...)
		for j := range i {
			swapped := append([][]byte{}, lines...)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			sameAnswer(t, o, bytes.Join(swapped, nil), 64, 300)
		}
	}
	zeros := append(bytes.Clone(whole), make([]byte, 1500)...)
	sameAnswer(t, o, zeros, sizes...)
	clear(zeros[512:1024])
	sameAnswer(t, o, zeros, sizes...)
	clear(zeros[:1024])
	sameAnswer(t, o, zeros[:1024], sizes...)
	o.MaxEntry = 400
	sameAnswer(t, o, append(bytes.Clone(whole), strings.Repeat("x", 3000)...), sizes...)
	sameAnswer(t, o, append(bytes.Clone(whole), strings.Repeat("x", 3000)+"\n"...), sizes...)
	o.MaxEntry = len(lines[0])
	sameAnswer(t, o, whole, sizes...)
}

// The same of a file of some chunks as they are in use, damaged around where one
// begins, with lines longer than a chunk.
func TestLargeChunksGiveTheSameAnswer(t *testing.T) {
	t.Parallel()
	o := sealing(t)
	l := mustCreate(t, o)
	l.f = &quick{l.f}
	mustCommit(t, l, "key")
	for i := 0; l.size < 5*chunkSize; i++ {
		switch {
		case i%400 == 399:
			mustAppend(t, l, "note", strings.Repeat("long ", chunkSize/4))
		case i%50 == 49:
			mustCommit(t, l, "end")
		default:
			mustAppend(t, l, "note", fmt.Sprint("x", strings.Repeat("y", i%300)))
		}
	}
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, o, whole, chunkSize, 32<<10)
	for border := chunkSize; border < len(whole); border += chunkSize {
		line := bytes.LastIndexByte(whole[:border], '\n')
		for _, at := range []int{line - 1, line, line + 1, border - 1, border, border + 1} {
			whole[at] ^= 1
			sameAnswer(t, o, whole, chunkSize)
			whole[at] ^= 1
			sameAnswer(t, o, whole[:at], chunkSize)
		}
		next := border + bytes.IndexByte(whole[border:], '\n')
		sameAnswer(t, o, append(bytes.Clone(whole[:line+1]), whole[next+1:]...), chunkSize)
	}
}

// failing is a file that cannot be read from an offset on.
type failing struct {
	io.ReaderAt
	from int64
}

func (f failing) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > f.from {
		return 0, io.ErrUnexpectedEOF
	}
	return f.ReaderAt.ReadAt(b, at)
}

// Readers that stop early, and files that cannot be read, leave no goroutine.
func TestChunksEnd(t *testing.T) {
	l, _ := sealedLedger(t)
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	read := func(r io.ReaderAt, most int) (n int, err error) {
		o := l.opts
		o.Keys = nil
		v := newVerifier("f", &o)
		v.workers, v.chunk = 4, 64
		for _, failed := range v.entries(r, 0, int64(len(whole))) {
			if failed != nil {
				return n, failed
			}
			if n++; n == most {
				break
			}
		}
		return n, nil
	}
	before := runtime.NumGoroutine()
	for most := 1; most < 8; most++ {
		if n, err := read(bytes.NewReader(whole), most); n != most || err != nil {
			t.Errorf("got %d entries, %v, want %d", n, err, most)
		}
	}
	for from := range int64(len(whole)) {
		if _, err := read(failing{bytes.NewReader(whole), from}, 100); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("unreadable from %d: got %v", from, err)
		}
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, before %d", after, before)
	}
}
