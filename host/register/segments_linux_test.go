package register

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// small is a register whose segments end after a few entries.
func small(t testing.TB, root string, o Options) *Register {
	t.Helper()
	r := at(t, root, o)
	r.limit = 4000
	return r
}

// segmented makes a register of three finished segments and one that is written.
// SES-old has entries in the first one only, SES-closed is closed there and
// SES-pruned pruned, and SES-live has entries in all.
func segmented(t testing.TB, root string) {
	t.Helper()
	r := small(t, root, options())
	closing, pruned := step("SES-closed", 2, 3), step("SES-pruned", 2, 2)
	closing.Kind, pruned.Kind = record.KindSessionClose, record.KindSessionPrune
	must(t, r, opened("SES-old"), opened("SES-closed"), closing, opened("SES-pruned"), pruned, opened("SES-live"))
	for n, count := uint64(2), 0; count < 3; n++ {
		must(t, r, step("SES-live", n, n+1))
		var err error
		if count, err = r.segments(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if report := verified(t, root); report.Segments != 4 {
		t.Fatalf("%d segments", report.Segments)
	}
}

func TestSegments(t *testing.T) {
	root := t.TempDir()
	segmented(t, root)
	report := verified(t, root)
	live := report.Sessions["SES-live"]
	r := small(t, root, options())
	for session, want := range map[string]State{
		"SES-old":    {Head: head(2, "")},
		"SES-closed": {Head: head(3, ""), Closed: true},
		"SES-pruned": {Head: head(2, ""), Pruned: true},
		"SES-live":   live,
		"SES-none":   {},
	} {
		if got := found(t, r, session); got != want || got != report.Sessions[session] {
			t.Errorf("%s is %+v, want %+v, verified as %+v", session, got, want, report.Sessions[session])
		}
	}
	var conflict *ConflictError
	if err := r.Record(ctx, opened("SES-old")); !errors.As(err, &conflict) {
		t.Errorf("got %v", err)
	}
	must(t, r, opened("SES-pruned"), step("SES-old", 2, 3), step("SES-live", live.Size, live.Size+1))
	again := step("SES-closed", 3, 5)
	if err := r.Record(ctx, again); err == nil || !strings.Contains(err.Error(), "the session is closed") {
		t.Errorf("got %v", err)
	}
	verified(t, root)
}

// TestOpeningReadsTheCurrentSegmentAlone, until a session is asked about that is
// in none but an older one.
func TestOpeningReadsTheCurrentSegmentAlone(t *testing.T) {
	root := t.TempDir()
	segmented(t, root)
	live := verified(t, root).Sessions["SES-live"]
	for n := 1; n <= 3; n++ {
		if err := os.WriteFile(file(root, segmentName(n)), []byte("broken\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := small(t, root, options())
	must(t, r, step("SES-live", live.Size, live.Size+1))
	if _, err := verify(t, root); err == nil || !strings.HasPrefix(err.Error(), "sessions-000001.jsonl line 1") {
		t.Errorf("got %v", err)
	}
}

func TestTwoProcessesAndSegments(t *testing.T) {
	root := t.TempDir()
	a, b := small(t, root, options()), small(t, root, options())
	must(t, a, opened("SES-1"), opened("SES-2"))
	for n := uint64(2); n < 60; n++ {
		must(t, a, step("SES-1", n, n+1))
		if n%7 == 0 { // so that segments come and go between its updates
			was := found(t, b, "SES-2").Size
			must(t, b, step("SES-2", was, n))
		}
	}
	if n, err := a.segments(); err != nil || n < 8 {
		t.Errorf("%d segments, %v", n, err)
	}
	if got := found(t, b, "SES-1"); got.Size != 60 {
		t.Errorf("got %v", got)
	}
	verified(t, root)
}

// TestVerifyBesideAWriter: segments come and go, and nothing is taken for damage.
func TestVerifyBesideAWriter(t *testing.T) {
	root := t.TempDir()
	r := small(t, root, options())
	must(t, r, opened("SES-1"))
	done := make(chan error, 1)
	go func() {
		for n := uint64(2); n < 150; n++ {
			if err := r.Record(ctx, step("SES-1", n, n+1)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for last := uint64(2); ; {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
		report, err := verify(t, root)
		if s := report.Sessions["SES-1"]; err != nil || s.Size < last {
			t.Fatalf("%d segments, %v, was %d, %v", report.Segments, s, last, err)
		} else {
			last = s.Size
		}
	}
}

// copyOf copies the register of a root into a new one.
func copyOf(t testing.TB, root string) string {
	t.Helper()
	to := t.TempDir()
	if _, err := os.Stat(file(root, ".")); errors.Is(err, os.ErrNotExist) {
		return to
	}
	if err := os.CopyFS(file(to, "."), os.DirFS(file(root, "."))); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestEndsAtEveryStep: a process that ends at any step of an update leaves a
// register that the next one goes on with, and nothing that was answered is lost.
func TestEndsAtEveryStep(t *testing.T) {
	root := t.TempDir()
	type moment struct {
		step     string
		root     string
		answered uint64 // the head of SES-1 that was
	}
	var (
		moments  []moment
		answered atomic.Uint64
		steps    = map[string]bool{}
	)
	o := options()
	o.Step = func(name string) {
		moments = append(moments, moment{name, copyOf(t, root), answered.Load()})
		steps[name] = true
	}
	r := small(t, root, o)
	must(t, r, opened("SES-1"))
	answered.Store(2)
	for n := uint64(2); n < 16; n++ {
		must(t, r, step("SES-1", n, n+1))
		answered.Store(n + 1)
		if err := r.Sync(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"lock", "create", "write", "sync", "finish", "move debris", "move segment"} {
		if !steps[name] {
			t.Errorf("no step %q", name)
		}
	}
	for i, m := range moments {
		before := verified(t, m.root).Sessions["SES-1"]
		r := small(t, m.root, options())
		was := found(t, r, "SES-1")
		if was != before || was.Size != m.answered && was.Size != m.answered+1 && was.Size != 2 {
			t.Fatalf("moment %d, %s: verified %v, found %v, answered %d", i, m.step, before, was, m.answered)
		}
		if was.Size == 0 {
			must(t, r, opened("SES-1"))
			was.Head = head(2, "")
		}
		must(t, r, step("SES-1", was.Size, was.Size+1), opened("SES-2"), step("SES-2", 2, 3), step("SES-2", 3, 4))
		if report := verified(t, m.root); report.Sessions["SES-1"].Size != was.Size+1 || report.Torn != nil {
			t.Errorf("moment %d, %s: got %+v", i, m.step, report)
		}
	}
}

// TestFailsAtEveryStep: the disk is full from any step on.
func TestFailsAtEveryStep(t *testing.T) {
	for n := 1; ; n++ {
		root := t.TempDir()
		o := options()
		steps, failed := 0, false
		o.Step = func(name string) {
			if steps++; steps == n {
				// At the lock the log is paused, and opens the file anew.
				failed = full(t, file(root, record.RegisterFile)) && name != "lock"
			}
		}
		r := small(t, root, o)
		var (
			err      error
			durable  uint64
			answered uint64
		)
		if err = r.Record(ctx, opened("SES-1")); err == nil {
			durable, answered = 2, 2
		}
		for n := uint64(2); n < 9 && err == nil; n++ {
			if err = r.Record(ctx, step("SES-1", n, n+1)); err != nil {
				break
			}
			answered = n + 1
			if err = r.Wait(ctx, "SES-1"); err == nil {
				durable = n + 1
			}
		}
		done := n > steps
		if failed && err == nil {
			t.Fatalf("step %d: nobody was told", n)
		}
		var bad *ledger.IntegrityError
		if failed && !errors.Is(err, ledger.ErrPoisoned) && !errors.Is(err, ledger.ErrReplaced) && !errors.As(err, &bad) {
			t.Errorf("step %d: %v", n, err)
		}
		if again := r.Record(ctx, opened("SES-9")); failed && again == nil {
			t.Errorf("step %d: went on after %v", n, err)
		}
		r.Close() //nolint:errcheck // it says what was said
		next := small(t, root, options())
		s := found(t, next, "SES-1")
		if s.Size < durable || s.Size > answered+1 && s.Size != 2 {
			t.Fatalf("step %d: found %v, durable %d, answered %d", n, s, durable, answered)
		}
		if s.Size == 0 {
			must(t, next, opened("SES-1"))
			s.Size = 2
		}
		must(t, next, step("SES-1", s.Size, s.Size+1))
		verified(t, root)
		if done {
			return
		}
	}
}

// TestDebrisGoesWithItsSegment: what was set aside at some offset is not taken for
// debris of the next segment when that gets as long.
func TestDebrisGoesWithItsSegment(t *testing.T) {
	root := t.TempDir()
	r := small(t, root, options())
	must(t, r, opened("SES-1"))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file(root, record.RegisterFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"v":1,"seq":`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	r = small(t, root, options())
	for n := uint64(2); n < 20; n++ {
		must(t, r, step("SES-1", n, n+1))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	report := verified(t, root)
	if report.Recovered != 1 || report.Segments < 3 {
		t.Errorf("got %+v", report)
	}
	names, err := filepath.Glob(file(root, "*.torn-*"))
	if err != nil || len(names) != 1 || !strings.HasPrefix(filepath.Base(names[0]), "sessions-000001.jsonl.torn-") {
		t.Errorf("got %v, %v", names, err)
	}
}

func TestSegmentNames(t *testing.T) {
	for name, want := range map[string]int{
		"sessions-000001.jsonl": 1, "sessions-123456.jsonl": 123456, "sessions.jsonl": 0, "sessions-1.jsonl": 0,
		"sessions-0000001.jsonl": 0, "sessions-000001.jsonl.torn-5": 0, ".new-sessions-000001.jsonl": 0,
	} {
		if got := numberOf(name); got != want || got > 0 && segmentName(got) != name {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	if got := fmt.Sprint(segmentName(7)); got != "sessions-000007.jsonl" {
		t.Error(got)
	}
}
