//go:build linux || darwin

package ledger

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// two are logs of one ledger, both paused.
func two(t testing.TB) (a, b *Log) {
	t.Helper()
	a = mustCreate(t, sealing(t))
	mustCommit(t, a, "key")
	pause(t, a)
	b, err := Open(a.path, sealing(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	pause(t, b)
	return a, b
}

func pause(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Pause(); err != nil {
		t.Fatal(err)
	}
}

func resume(t testing.TB, l *Log, want bool) {
	t.Helper()
	if grown, err := l.Resume(); err != nil || grown != want {
		t.Fatalf("resumed: %v, %v, want %v", grown, err, want)
	}
}

func TestTwoTakeTurns(t *testing.T) {
	a, b := two(t)
	if _, err := a.Append(1, &remark{"note", "x"}); err == nil || !strings.HasSuffix(err.Error(), "the ledger is paused") {
		t.Errorf("got %v", err)
	}
	if _, err := a.Commit(1, &remark{"end", "x"}); !errors.Is(err, errPaused) {
		t.Errorf("got %v", err)
	}
	for i, l := range []*Log{a, b, a, a, b, b, a} {
		resume(t, l, map[int]bool{1: true, 2: true, 4: true, 6: true}[i])
		if l == a {
			if _, err := b.Resume(); !errors.Is(err, ErrLocked) {
				t.Errorf("got %v", err)
			}
		}
		mustAppend(t, l, "note", "x")
		if _, err := l.CommitLater(1, &remark{"end", "x"}); err != nil {
			t.Fatal(err)
		}
		pause(t, l)
	}
	resume(t, b, true)
	if a.Head() != b.Head() {
		t.Errorf("got %v and %v", a.Head(), b.Head())
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	if report, err := Verify(a.path, sealing(t)); err != nil || report.Entries != 23 || report.Sealed != 23 {
		t.Errorf("got %+v, %v", report, err)
	}
}

// TestResumeObserves: what others wrote is seen once, and when it counts.
func TestResumeObserves(t *testing.T) {
	a, b := two(t)
	var seen []string
	b.opts.Observe = func(e Entry) { seen = append(seen, fmt.Sprint(e.Seq, e.Kind)) }
	resume(t, a, false)
	mustAppend(t, a, "note", "x")
	mustCommit(t, a, "end")
	pause(t, a)
	resume(t, b, true)
	pause(t, b)
	resume(t, b, false)
	if got := strings.Join(seen, ","); got != "2note,3end,4seal" {
		t.Errorf("saw %s", got)
	}
}

func TestResumeRefuses(t *testing.T) {
	change := func(f func(text string) string) func(*testing.T, *Log) {
		return func(t *testing.T, l *Log) {
			text, err := os.ReadFile(l.path)
			if err != nil {
				t.Fatal(err)
			}
			g, err := os.OpenFile(l.path, os.O_WRONLY|os.O_TRUNC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if _, err := g.WriteString(f(string(text))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		attack func(*testing.T, *Log)
		want   string
	}{
		{"cut", change(func(s string) string { return s[:len(s)-1] }), "was cut"},
		{"emptied", change(func(string) string { return "" }), "it has 0 bytes"},
		{"last entry changed", change(func(s string) string {
			return s[:len(s)-200] + "x" + s[len(s)-199:]
		}), "line 2 (seq 1, byte "},
		{"newline changed", change(func(s string) string { return s[:len(s)-1] + " " }), "it is not the entry that was there"},
		{"garbage behind", change(func(s string) string { return s + "garbage\n" }), "line 3 (seq 2, byte "},
		{"repeated", change(func(s string) string { return s + s }), "seq is 0, want 2"},
		{"replaced", func(t *testing.T, l *Log) {
			if err := os.Rename(l.path, l.path+".old"); err != nil {
				t.Fatal(err)
			}
			change := os.WriteFile(l.path, nil, 0o600)
			if change != nil {
				t.Fatal(change)
			}
		}, ErrReplaced.Error()},
		{"removed", func(t *testing.T, l *Log) {
			if err := os.Remove(l.path); err != nil {
				t.Fatal(err)
			}
		}, ErrReplaced.Error()},
		{"sealed by another key", func(t *testing.T, l *Log) {
			o := sealing(t)
			o.Key = testKey(t, "two", 2)
			other, err := Open(l.path, o)
			if err != nil {
				t.Fatal(err)
			}
			mustCommit(t, other, "end")
			if err := other.Close(); err != nil {
				t.Fatal(err)
			}
		}, "the seal does not count"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, l := two(t)
			c.attack(t, l)
			head := l.Head()
			for range 2 {
				_, err := l.Resume()
				var bad *IntegrityError
				if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrReplaced) && !errors.As(err, &bad) {
					t.Fatalf("got %v, want %s", err, c.want)
				}
			}
			if l.Head() != head {
				t.Errorf("head is %v, was %v", l.Head(), head)
			}
			if _, err := l.Append(1, &remark{"note", "x"}); !errors.Is(err, errPaused) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestResumeSetsAside: a writer that died leaves debris, which the next one takes
// off and tells of until it is noted.
func TestResumeSetsAside(t *testing.T) {
	a, b := two(t)
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"v":1,"seq`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	resume(t, a, false)
	pause(t, a)
	resume(t, b, false)
	for _, l := range []*Log{a, b} {
		if got := l.Recovered(); len(got) != 1 || got[0].Length != 11 || got[0].Offset != b.size {
			t.Errorf("got %+v", got)
		}
	}
	mustCommit(t, b, "end")
	pause(t, b)
	resume(t, a, true)
	if got := a.Recovered(); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

// TestSealIsOnDiskBeforeMore: what follows a seal shows that its writer waited.
func TestSealIsOnDiskBeforeMore(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(l *Log) error
		syncs int
	}{
		{"nothing", func(*Log) error { return nil }, 0},
		{"sync", func(l *Log) error { return l.Sync() }, 1},
		{"sync twice", func(l *Log) error { return errors.Join(l.Sync(), l.Sync()) }, 1},
		{"append", func(l *Log) error { _, err := l.Append(1, &remark{"note", "x"}); return err }, 1},
		{"commit later", func(l *Log) error { _, err := l.CommitLater(1, &remark{"end", "x"}); return err }, 1},
		{"sync and commit later", func(l *Log) error {
			err := l.Sync()
			_, later := l.CommitLater(1, &remark{"end", "x"})
			return errors.Join(err, later)
		}, 1},
		{"commit", func(l *Log) error { _, err := l.Commit(1, &remark{"end", "x"}); return err }, 2},
	} {
		d := &faultyDisk{only: "sync"}
		o := sealing(t)
		o.faults = d
		l := mustCreate(t, o)
		d.calls = 0
		if _, err := l.CommitLater(1, &remark{"key", "x"}); err != nil {
			t.Fatal(err)
		}
		if err := c.do(l); err != nil {
			t.Fatal(err)
		}
		if d.calls != c.syncs {
			t.Errorf("%s: %d syncs, want %d", c.name, d.calls, c.syncs)
		}
	}
}

// TestWhatOthersWroteIsSynced before anything is written behind it.
func TestWhatOthersWroteIsSynced(t *testing.T) {
	a, b := two(t)
	d := &faultyDisk{only: "sync"}
	b.f = &faultyFile{b.f.(*os.File), d}
	resume(t, a, false)
	if _, err := a.CommitLater(1, &remark{"end", "x"}); err != nil {
		t.Fatal(err)
	}
	pause(t, a)
	resume(t, b, true)
	if d.calls != 0 {
		t.Errorf("%d syncs", d.calls)
	}
	if _, err := b.CommitLater(1, &remark{"end", "x"}); err != nil || d.calls != 1 {
		t.Errorf("%d syncs, %v", d.calls, err)
	}
}

func TestFailedSyncOfLaterPoisons(t *testing.T) {
	d := &faultyDisk{only: "sync", failAt: 2, err: syscall.EIO} // the first is Create's
	o := sealing(t)
	o.faults = d
	l := mustCreate(t, o)
	if _, err := l.CommitLater(1, &remark{"key", "x"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Sync(); !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := l.CommitLater(1, &remark{"end", "x"}); !errors.Is(err, ErrPoisoned) || d.calls != 2 {
		t.Errorf("got %v after %d syncs", err, d.calls)
	}
	pause(t, l)
	if _, err := l.Resume(); !errors.Is(err, ErrPoisoned) {
		t.Errorf("got %v", err)
	}
}

func TestCut(t *testing.T) {
	l, _ := sealedLedger(t)
	end := l.size
	var second int64 // where the second turn begins
	for e, err := range Read(l.path) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq == 7 {
			second = e.Offset
		}
	}
	if err := Cut(l.path, second, sealing(t)); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Cut(l.path, end+1, sealing(t)); err == nil || !strings.Contains(err.Error(), "cannot be cut at") {
		t.Errorf("got %v", err)
	}
	for range 2 {
		if err := Cut(l.path, second, sealing(t)); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(l.path, sealing(t))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := again.Recovered(); len(got) != 1 || got[0].Offset != second || got[0].Length != end-second || again.Head().Size != 7 {
		t.Errorf("got %+v, size %d", got, again.Head().Size)
	}
}
