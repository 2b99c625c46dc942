//go:build linux || darwin

package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// watcher is a follower of a file that a test writes.
type watcher struct {
	follower
	path  string
	given []Hash
	err   error
}

func newWatcher(t *testing.T, o Options) *watcher {
	t.Helper()
	path := filepath.Join(t.TempDir(), "exec.jsonl")
	o = provable(o)
	v := newVerifier(path, &o)
	v.treed = true
	return &watcher{follower: follower{v: v}, path: path}
}

// holds makes b the content of the file, and looks. It reports whether to look on.
func (w *watcher) holds(t *testing.T, b []byte) bool {
	t.Helper()
	if err := os.WriteFile(w.path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	w.seen = nil // the grain of the file system's clock is no matter of these tests
	return w.sees()
}

func (w *watcher) sees() bool {
	return w.look(context.Background(), func(e Entry, err error) bool {
		if err != nil {
			w.err = err
			return false
		}
		w.given = append(w.given, e.Hash)
		return true
	})
}

// hashesOf are the entries of a ledger.
func hashesOf(t *testing.T, path string, o Options) (hashes []Hash) {
	t.Helper()
	o = provable(o)
	o.Observe = func(e Entry) { hashes = append(hashes, e.Hash) }
	if _, err := Verify(path, o); err != nil {
		t.Fatal(err)
	}
	return hashes
}

// After every byte that is written, what counts was given, and nothing else.
func TestFollowGivesWhatCounts(t *testing.T) {
	t.Parallel()
	l, _ := sealedLedger(t)
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	w := newWatcher(t, l.opts)
	for i := range len(whole) + 1 {
		if i%7 > 0 && i < len(whole)-1 && whole[i] != '\n' && whole[i-1] != '\n' {
			continue
		}
		if !w.holds(t, whole[:i]) {
			t.Fatalf("%d bytes: %v", i, w.err)
		}
		if want := hashesOf(t, w.path, l.opts); !slices.Equal(w.given, want) {
			t.Fatalf("%d bytes: got %d entries, want %d", i, len(w.given), len(want))
		}
	}
	if len(w.given) != int(l.Head().Size) {
		t.Errorf("got %d entries of %d", len(w.given), l.Head().Size)
	}
	// All at once, and with zeros behind.
	again := newWatcher(t, l.opts)
	if !again.holds(t, append(slices.Clone(whole), make([]byte, 2000)...)) || !slices.Equal(again.given, w.given) {
		t.Errorf("got %d entries, %v", len(again.given), again.err)
	}
}

// What was torn is set aside by the next writer, and what that writes is given.
func TestFollowBesideRecovery(t *testing.T) {
	l, _ := sealedLedger(t)
	o := l.opts
	mustAppend(t, l, "note", "last")
	given := int(l.Head().Size)
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, l, "end")
	more, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(whole); cut < len(more); cut += 37 {
		w := newWatcher(t, o)
		if !w.holds(t, more[:cut]) || len(w.given) != given {
			t.Fatalf("cut at %d: got %d entries, want %d, %v", cut, len(w.given), given, w.err)
		}
		reopened := provable(o)
		reopened.Key = o.Key
		again, err := Open(w.path, reopened)
		if err != nil {
			t.Fatal(err)
		}
		if w.seen = nil; !w.sees() {
			t.Fatal(w.err)
		}
		mustAppend(t, again, "note", "other")
		mustCommit(t, again, "end")
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		if w.seen = nil; !w.sees() || !slices.Equal(w.given, hashesOf(t, w.path, o)) || len(w.given) != given+3 {
			t.Fatalf("cut at %d: got %d entries, %v", cut, len(w.given), w.err)
		}
	}
}

func TestFollowSeesWhatIsTakenBack(t *testing.T) {
	l, _ := sealedLedger(t)
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	last := l.Head().Size - 1
	at := len(whole) - 1 - slices.Index(reversed(whole[:len(whole)-1]), '\n')
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"cut":       {whole[:len(whole)-1], "it was read before, and now the file ends in front of its end: the file was cut"},
		"cut more":  {whole[:300], "it was read before, and now the file ends in front of its end: the file was cut"},
		"empty":     {nil, "it was read before, and now the file ends in front of its end: the file was cut"},
		"changed":   {append(append(slices.Clone(whole[:at+30]), '9'), whole[at+31:]...), "it was read before, and is another one now: the file was changed or exchanged"},
		"moved":     {append([]byte(" "), whole...), "it was read before, and is another one now: the file was changed or exchanged"},
		"and grows": {append(append(slices.Clone(whole[:at+30]), '9'), append(slices.Clone(whole[at+31:]), whole...)...), "it was read before, and is another one now: the file was changed or exchanged"},
	} {
		w := newWatcher(t, l.opts)
		if !w.holds(t, whole) {
			t.Fatal(w.err)
		}
		var bad *IntegrityError
		if w.holds(t, c.b) || !errors.As(w.err, &bad) || bad.Reason != c.want || bad.Seq != last {
			t.Errorf("%s: got %v\nwant seq %d: %s", name, w.err, last, c.want)
		}
	}
	// Damage behind what was given is the ledger's.
	w := newWatcher(t, l.opts)
	if !w.holds(t, whole[:at]) {
		t.Fatal(w.err)
	}
	bad := slices.Clone(whole)
	bad[at+30] ^= 1
	var broken *IntegrityError
	if w.holds(t, bad) || !errors.As(w.err, &broken) || broken.Seq != last || broken.Offset != int64(at) {
		t.Errorf("got %v", w.err)
	}
	// One that counts only with its seal, and has something else behind it.
	w = newWatcher(t, l.opts)
	o := options()
	o.Durable = nil
	unsealed := mustCreate(t, o)
	mustAppend(t, unsealed, "key", "x")
	mustAppend(t, unsealed, "note", "x")
	b, err := os.ReadFile(unsealed.path)
	if err != nil {
		t.Fatal(err)
	}
	if w.holds(t, b) || w.err == nil || w.err.Error() != "exec.jsonl line 1 (seq 0, byte 0): key counts only with a seal behind it, and there is note" {
		t.Errorf("got %v", w.err)
	}
}

func reversed(b []byte) []byte {
	b = slices.Clone(b)
	slices.Reverse(b)
	return b
}

// Beside a writer, until its last seal.
func TestFollow(t *testing.T) {
	o := sealing(t)
	l := mustCreate(t, o)
	mustCommit(t, l, "key")
	wrote := make(chan error, 1)
	go func() {
		for i := range 300 {
			var err error
			if i%10 == 9 {
				_, err = l.Commit(1, &remark{"end", "x"})
			} else {
				_, err = l.Append(1, &remark{"note", fmt.Sprint(i)})
			}
			if err != nil {
				wrote <- err
				return
			}
		}
		_, err := l.Finish(1, &remark{"end", "the last"})
		wrote <- err
	}()
	var given []Hash
	for e, err := range Follow(t.Context(), l.path, time.Microsecond, provable(o)) {
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, e.Hash)
		var s Seal
		if e.Kind == KindSeal && e.Decode(&s) == nil && s.Final {
			break
		}
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if want := hashesOf(t, l.path, o); !slices.Equal(given, want) {
		t.Errorf("got %d entries, want %d", len(given), len(want))
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	for _, err := range Follow(ctx, l.path, 0, provable(o)) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == len(given) {
			cancel()
		}
	}
	if n != len(given) {
		t.Errorf("got %d entries, want %d", n, len(given))
	}
	cancel()
	for range Follow(ctx, l.path, 0, provable(o)) {
		t.Error("an entry after the end")
	}
	n = 0
	for _, err := range Follow(t.Context(), l.path, time.Microsecond, provable(o)) {
		if n++; n == 1 {
			if err := os.Remove(l.path); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil && (!errors.Is(err, fs.ErrNotExist) || n != len(given)+1) {
			t.Errorf("after %d entries: %v", n, err)
		}
	}
}
