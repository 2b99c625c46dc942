//go:build linux || darwin

package ledger

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// ring is the keys of a ledger of tests: an entry of kind "key" introduces the
// next of them.
type ring struct {
	keys []*Key
	n    int
}

func (r *ring) Saw(e Entry) error {
	if e.Kind == "key" {
		r.n++
	}
	return nil
}

func (r *ring) Signer(string) (string, Verifier, error) {
	if r.n == 0 {
		return "", Verifier{}, errors.New("no key was introduced")
	}
	return "test", r.keys[r.n-1].Verifier(), nil
}

// committed marks the kinds that are committed in a ledger of tests.
func committed(e Entry) bool { return e.Kind == "key" || e.Kind == "end" }

// sealing are options of a ledger in which kinds "key" and "end" are committed.
func sealing(t testing.TB, keys ...*Key) Options {
	o := options()
	o.Sealed = committed
	o.Origin = "test"
	if len(keys) == 0 {
		keys = []*Key{testKey(t, "one", 1)}
	}
	o.Key = keys[len(keys)-1]
	o.Keys = &ring{keys: keys}
	return o
}

func mustCommit(t testing.TB, l *Log, kinds ...string) Commitment {
	t.Helper()
	var bodies []Body
	for _, kind := range kinds {
		bodies = append(bodies, &remark{kind, "x"})
	}
	c, err := l.Commit(1, bodies...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sealedLedger has two turns of three notes each, one seal of each, and one of
// its key.
func sealedLedger(t testing.TB) (*Log, []Checkpoint) {
	l := mustCreate(t, sealing(t))
	points := []Checkpoint{mustCommit(t, l, "key").Checkpoint}
	for range 2 {
		for range 3 {
			mustAppend(t, l, "note", "x")
		}
		points = append(points, mustCommit(t, l, "end").Checkpoint)
	}
	return l, points
}

func TestSealsAreRead(t *testing.T) {
	l, points := sealedLedger(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var sizes []uint64
	for _, c := range points {
		sizes = append(sizes, c.Size)
		if err := c.Check(testKey(t, "one", 1).Verifier()); err != nil {
			t.Error(err)
		}
	}
	if got := fmt.Sprint(sizes); got != "[1 6 11]" {
		t.Errorf("sizes %s", got)
	}
	o := sealing(t)
	for _, c := range points {
		o.Anchors = append(o.Anchors, Anchor{c.Size, c.Root, "a receipt"})
	}
	report, err := Verify(l.path, o)
	if err != nil || report.Sealed != 12 || report.Entries != 12 || report.Final || report.Checkpoint.String() != points[2].String() {
		t.Errorf("got %+v, %v", report, err)
	}
	again, err := Open(l.path, sealing(t))
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := again.Sealed(); !ok || c.String() != points[2].String() {
		t.Errorf("opened with the checkpoint %v, %v", c, ok)
	}
	c, err := again.Finish(1, &remark{"end", "x"})
	if err != nil || c.Checkpoint.Size != 13 || len(c.Entries) != 1 || c.Entries[0].Seq != 12 {
		t.Errorf("got %+v, %v", c, err)
	}
	mustCommit(t, again, "end") // final too
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if report, err := Verify(l.path, sealing(t)); err != nil || report.Sealed != 16 || !report.Final {
		t.Errorf("got %+v, %v", report, err)
	}
}

func TestWhatIsCommittedIsNotAppended(t *testing.T) {
	l := mustCreate(t, sealing(t))
	for _, kind := range []string{"end", KindSeal} {
		if _, err := l.Append(1, &remark{kind, "x"}); err == nil || !strings.Contains(err.Error(), "it is to be committed") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	l.opts.Key = nil
	if _, err := l.Commit(1, &remark{"end", "x"}); err == nil || !strings.Contains(err.Error(), "no key to sign") {
		t.Errorf("without a key: %v", err)
	}
	if l.Head().Size != 0 {
		t.Errorf("%d entries", l.Head().Size)
	}
}

// A commit that a crash cut anywhere is debris as a whole; what a receipt knows
// never is.
func TestCutCommitIsDebrisAsAWhole(t *testing.T) {
	l, points := sealedLedger(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	from := len(strings.Join(lines[:10], "")) // of the last end
	for size := from + 1; size < len(whole); size++ {
		if err := os.WriteFile(l.path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		o := sealing(t)
		report, err := Verify(l.path, o)
		if err != nil || report.Torn == nil || report.Torn.Offset != int64(from) || report.Entries != 10 || report.Sealed != 7 {
			t.Fatalf("cut at %d: %+v, %v", size, report, err)
		}
		o = sealing(t)
		o.Anchors = []Anchor{{points[2].Size, points[2].Root, "a receipt"}}
		if _, err := Open(l.path, o); err == nil || !strings.Contains(err.Error(), "a receipt knows 11: it was cut, or rolled back") {
			t.Fatalf("cut at %d: %v", size, err)
		}
		again, err := Open(l.path, sealing(t))
		if err != nil {
			t.Fatalf("cut at %d: %v", size, err)
		}
		r := again.Recovered()
		if len(r) != 1 || r[0].Offset != int64(from) || r[0].Length != int64(size-from) || again.Head().Size != 10 {
			t.Fatalf("cut at %d: %+v, %d entries", size, r, again.Head().Size)
		}
		mustCommit(t, again, "end")
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		if report, err := Verify(l.path, sealing(t)); err != nil || report.Sealed != 12 {
			t.Fatalf("cut at %d: %+v, %v", size, report, err)
		}
		if err := os.Remove(l.path + fmt.Sprintf(".torn-%d", from)); err != nil {
			t.Fatal(err)
		}
	}
}
