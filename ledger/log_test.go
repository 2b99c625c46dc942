//go:build linux || darwin

package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ticker is a clock that starts at a fixed time and moves 1 ms per reading.
func ticker() func() time.Time {
	var mu sync.Mutex
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Millisecond)
		return now
	}
}

// note is an entry of one text member. Kind "end" is durable under options.
type remark struct {
	kind string
	text string
}

func (n *remark) Kind() string             { return n.kind }
func (n *remark) AppendMembers(m *Members) { m.Str("text", n.text) }

func isEnd(e Entry) bool { return e.Kind == "end" }

func options() Options { return Options{Session: "SES-1", Now: ticker(), Durable: isEnd} }

func mustCreate(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Create(filepath.Join(t.TempDir(), "exec.jsonl"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustAppend(t testing.TB, l *Log, kind, text string) Entry {
	t.Helper()
	e, err := l.Append(1, &remark{kind, text})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// reopen closes the log and opens its file again.
func reopen(t testing.TB, l *Log, o Options) *Log {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(l.path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

func TestAppendedEntriesReadBack(t *testing.T) {
	var seen []Entry
	o := options()
	o.Observe = func(e Entry) {
		e.Line = append([]byte(nil), e.Line...)
		seen = append(seen, e)
	}
	l := mustCreate(t, o)
	var tree Tree
	for i := range 300 {
		e, err := l.Append(i, &remark{"note", strings.Repeat("é", i*20)})
		if err != nil {
			t.Fatal(err)
		}
		tree.Add(e.Hash)
		if got, want := l.Head(), (Head{uint64(i + 1), e.Hash, tree.Root()}); got != want {
			t.Fatalf("head: got %v, want %v", got, want)
		}
	}
	// The same through a log opened again, by another session's name or none.
	o.Session = ""
	head := l.Head()
	appended := seen
	seen = nil
	l = reopen(t, l, o)
	if l.Head() != head {
		t.Errorf("head after opening: got %v, want %v", l.Head(), head)
	}
	mustAppend(t, l, "note", "more")
	appended = append(appended, seen[len(seen)-1])

	n := 0
	for e, err := range Read(l.path) {
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []Entry{appended[n], seen[n]} {
			if e.Seq != want.Seq || !e.Time.Equal(want.Time) || e.MonoNS != want.MonoNS || e.Kind != want.Kind || e.Session != "SES-1" ||
				e.Turn != want.Turn || e.Prev != want.Prev || e.Hash != want.Hash || e.Offset != want.Offset || string(e.Line) != string(want.Line) {
				t.Fatalf("seq %d:\n got %+v\nwant %+v", n, e, want)
			}
		}
		var body struct{ Text string }
		if err := e.Decode(&body); err != nil || n < 300 && body.Text != strings.Repeat("é", n*20) {
			t.Fatalf("seq %d: text %q, %v", n, body.Text, err)
		}
		n++
	}
	if n != 301 {
		t.Errorf("got %d entries, want 301", n)
	}
	report, err := Verify(l.path, Options{})
	if err != nil || report.Entries != 301 || report.Head != l.Head() || report.Torn != nil || report.ClockSteps != 0 || report.Session != "SES-1" {
		t.Errorf("got %+v, %v", report, err)
	}
}

func TestSince(t *testing.T) {
	l := mustCreate(t, options())
	var from Entry
	for i := range 20 {
		e := mustAppend(t, l, "note", fmt.Sprint(i))
		if i == 7 {
			from = e
		}
	}
	want := uint64(7)
	for e, err := range l.Since(from) {
		if err != nil || e.Seq != want || e.Offset == 0 {
			t.Fatalf("got %+v, %v, want seq %d", e, err, want)
		}
		want++
		if want == 15 { // entries written meanwhile are not part of it
			mustAppend(t, l, "note", "late")
		}
	}
	if want != 20 {
		t.Errorf("stopped before seq %d, want 20", want)
	}
	l.Close()
	for _, err := range l.Since(from) {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
}

func TestCreateAndOpenRefuse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "exec.jsonl")
	for _, name := range []string{"", "a b", "a/b", `a"`, strings.Repeat("a", 129), "é"} {
		if _, err := Create(path, Options{Session: name}); err == nil {
			t.Errorf("a session called %q was created", name)
		}
		if _, err := Open(path, Options{Session: name + "\n"}); err == nil {
			t.Errorf("a session called %q was opened", name+"\n")
		}
	}
	if _, err := Open(path, options()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: got %v", err)
	}
	l, err := Create(path, options())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode: got %v, %v, want 0600", info.Mode(), err)
	}
	if _, err := Create(path, options()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: got %v", err)
	}
	l.Close()
	if _, err := Open(path, Options{}); err == nil || err.Error() != "opening "+path+": it is empty, and no session was named" {
		t.Errorf("empty: got %v", err)
	}
	for range 2 { // the first must not have kept the lock
		l, err = Open(path, options())
		if err != nil {
			t.Fatal(err)
		}
		if l.Head() != (Head{Root: Sum(nil)}) {
			t.Errorf("head of an empty ledger: got %v", l.Head())
		}
		l.Close()
	}
	link := filepath.Join(dir, "link.jsonl")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, options()); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("link: got %v", err)
	}
	pipe := filepath.Join(dir, "pipe.jsonl")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, dir} {
		for _, err := range Read(name) {
			if err == nil || err.Error() != name+": not a regular file" {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
}

func TestLock(t *testing.T) {
	l := mustCreate(t, options())
	mustAppend(t, l, "note", "x")
	_, err := Open(l.path, options())
	if want := l.path + ": the ledger is in use by another process"; !errors.Is(err, ErrLocked) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := Verify(l.path, Options{}); err != nil {
		t.Errorf("a reader needs the lock: %v", err)
	}
	reopen(t, l, options())
}

func TestAppendRefusesBeforeAnythingIsWritten(t *testing.T) {
	o := options()
	o.MaxEntry = 400
	now := o.Now()
	o.Now = func() time.Time { return now }
	l := mustCreate(t, o)
	mustAppend(t, l, "note", "x")
	before := l.Head()
	for _, c := range []struct {
		turn int
		body Body
		want string
	}{
		{1, &remark{"note", "\xff"}, `entry note: member "text" is not UTF-8`},
		{-1, &remark{"note", "x"}, "entry note: turn is -1, want 0 to 2147483647"},
		{1, &remark{"", "x"}, `entry : kind "" is not a name of lower-case letters, '.' and '_'`},
		{1, &remark{"a b", "x"}, `entry a b: kind "a b" is not a name of lower-case letters, '.' and '_'`},
		{1, &remark{"note", strings.Repeat("x", 400)}, "entry note: the entry is too large: 661 bytes, at most 400"},
	} {
		_, err := l.Append(c.turn, c.body)
		if want := l.path + ": " + c.want; err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
		if errors.Is(err, ErrTooLarge) != strings.Contains(c.want, "too large") {
			t.Errorf("%v: ErrTooLarge is wrong", err)
		}
	}
	now = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := l.Append(1, &remark{"note", "x"}); err == nil || !strings.HasSuffix(err.Error(), "the clock says year 10000") {
		t.Errorf("got %v", err)
	}
	now = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	if l.Head() != before {
		t.Error("a refused entry changed the log")
	}
	// Exactly the limit is fine, for the writer and for a reader.
	e := mustAppend(t, l, "note", strings.Repeat("x", 139))
	if _, err := Verify(l.path, o); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(l.path); err != nil || info.Size()-e.Offset != 400 {
		t.Errorf("line of %d bytes, want 400; %v", info.Size()-e.Offset, err)
	}
	o.MaxEntry = 399
	_, err := Verify(l.path, o)
	if want := fmt.Sprintf("exec.jsonl line 2 (seq 1, byte %d): the line is longer than an entry may be", e.Offset); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestClock(t *testing.T) {
	times := []time.Time{
		{}, // of Create
		time.Date(2026, 7, 1, 1, 0, 0, 999999999, time.FixedZone("", 7200)),
		time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), // a step back
		time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), // none
		time.Date(2024, 2, 29, 23, 59, 59, 1, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	i := -1
	o := options()
	o.Now = func() time.Time { i++; return times[i] }
	l := mustCreate(t, o)
	for range 5 {
		mustAppend(t, l, "note", "x")
	}
	for e, err := range Read(l.path) {
		if want := times[e.Seq+1].UTC(); err != nil || e.Time != want {
			t.Errorf("got %v, %v, want %v", e.Time, err, want)
		}
		if want := int64(maxInt); e.MonoNS != want { // since year 1
			t.Errorf("mono_ns: got %d, want %d", e.MonoNS, want)
		}
	}
	if report, err := Verify(l.path, o); err != nil || report.ClockSteps != 2 {
		t.Errorf("got %+v, %v, want 2 steps of the clock", report, err)
	}
}

func TestClose(t *testing.T) {
	l := mustCreate(t, options())
	mustAppend(t, l, "note", "x")
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := l.Append(1, &remark{"note", "x"})
	if want := l.path + ": the ledger is closed"; !errors.Is(err, ErrClosed) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := l.Sync(); !errors.Is(err, ErrClosed) {
		t.Errorf("sync: got %v", err)
	}
}

func TestConcurrentAppends(t *testing.T) {
	l := mustCreate(t, options())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 50 {
				kind := "note"
				if i%25 == 0 {
					kind = "end"
				}
				if _, err := l.Append(1, &remark{kind, "x"}); err != nil {
					t.Error(err)
				}
				l.Head()
			}
			if err := l.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if report, err := Verify(l.path, Options{}); err != nil || report.Entries != 400 || report.Head != l.Head() {
		t.Errorf("got %+v, %v", report, err)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	l := mustCreate(t, options())
	b := &remark{"note", strings.Repeat("path/", 20)}
	if n := testing.AllocsPerRun(500, func() {
		if _, err := l.Append(1, b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("got %v allocations per entry, want 0", n)
	}
}

func TestReadingDoesNotAllocatePerEntry(t *testing.T) {
	l := mustCreate(t, options())
	for range 20000 {
		mustAppend(t, l, "note", strings.Repeat("x", 200))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Verify(l.path, Options{}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > 1000 {
		t.Errorf("got %d allocations for 20000 entries", n)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 3<<20 {
		t.Errorf("got %d bytes allocated for 9 MB of ledger", n)
	}
}
