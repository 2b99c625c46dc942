package register

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// gate holds a register up at a step until it is opened, and counts the steps.
type gate struct {
	mu      sync.Mutex
	counts  map[string]int
	at      string
	reached chan struct{} // gets one for each time the step is reached
	pass    chan struct{} // takes one to go on
}

func newGate(at string) *gate {
	return &gate{counts: map[string]int{}, at: at, reached: make(chan struct{}, 100), pass: make(chan struct{}, 100)}
}

func (g *gate) step(name string) {
	g.mu.Lock()
	g.counts[name]++
	g.mu.Unlock()
	if name == g.at {
		g.reached <- struct{}{}
		<-g.pass
	}
}

func (g *gate) count(name string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.counts[name]
}

// queued waits until n requests are queued.
func queued(r *Register, n int) {
	for {
		r.mu.Lock()
		got := len(r.queue)
		r.mu.Unlock()
		if got == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// all records changes at the same time and returns their errors, in order.
func all(r *Register, changes ...Change) func() []error {
	errs := make([]error, len(changes))
	var wg sync.WaitGroup
	for i, c := range changes {
		wg.Go(func() { errs[i] = r.Record(ctx, c) })
	}
	return func() []error {
		wg.Wait()
		return errs
	}
}

// TestGroupCommit: what comes while a sync runs is written, sealed and synced at
// once, and 16 turns at a time share a sync.
func TestGroupCommit(t *testing.T) {
	root := t.TempDir()
	var opening []Change
	for i := range 16 {
		opening = append(opening, opened(fmt.Sprintf("SES-%d", i)))
	}
	first := at(t, root, options())
	for _, err := range all(first, opening...)() {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	before := verified(t, root).Entries

	o, g := options(), newGate("sync")
	o.Step = g.step
	r := at(t, root, o)
	const rounds = 4
	must(t, r, step("SES-0", 2, 3))
	<-g.reached // its sync is held up
	var conflicts []*ConflictError
	for n := uint64(2); n < 2+rounds; n++ {
		var changes []Change
		for i := range 16 {
			at := n
			if i == 0 {
				at++
			}
			changes = append(changes, step(fmt.Sprintf("SES-%d", i), at, at+1))
		}
		changes = append(changes, opened("SES-lost-1"), step("SES-lost-2", 5, 6))
		changes[16] = step("SES-late", n, n+1) // unknown: fails alone
		end := all(r, changes...)
		queued(r, 18)
		g.pass <- struct{}{}
		for i, err := range end() {
			var conflict *ConflictError
			if i < 16 && err != nil || i >= 16 && !errors.As(err, &conflict) {
				t.Errorf("%s: %v", changes[i].Session, err)
			}
			if conflict != nil {
				conflicts = append(conflicts, conflict)
			}
		}
		<-g.reached
	}
	g.pass <- struct{}{}
	if err := r.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	report := verified(t, root)
	entries, syncs := int(report.Entries-before), g.count("sync") //nolint:gosec // few
	if entries != 1+1+rounds*(16+1) || syncs != 1+rounds || len(conflicts) != 2*rounds {
		t.Errorf("%d entries, %d syncs, %d conflicts", entries, syncs, len(conflicts))
	}
	if changes := 1 + rounds*16; changes < 10*syncs {
		t.Errorf("%d changes with %d syncs", changes, syncs)
	}
}

// A batch waits for the heads that are expected, and is one flush; not for those
// that do not come, nor where somebody asks.
func TestExpectedHeadsShareAFlush(t *testing.T) {
	root := t.TempDir()
	o, syncs := options(), 0
	o.Step = func(step string) {
		if step == "sync" {
			syncs++
		}
	}
	r := at(t, root, o)
	var changes []Change
	for i := range 16 {
		must(t, r, opened(fmt.Sprintf("SES-%d", i)))
		changes = append(changes, step(fmt.Sprintf("SES-%d", i), 2, 3))
	}
	if err := r.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	r.took, r.gatherLimit = time.Hour, time.Hour
	before := syncs
	var done []func()
	for range 17 {
		done = append(done, r.Expect())
	}
	end := all(r, changes...)
	queued(r, 16)
	done[16]() // the last does not come
	for _, err := range end() {
		if err != nil {
			t.Error(err)
		}
	}
	if err := r.Sync(ctx); err != nil || syncs != before+1 {
		t.Errorf("%d flushes, want 1: %v", syncs-before, err)
	}
	if s := found(t, r, "SES-3"); s.Head != head(3, "") { // although 16 are expected
		t.Errorf("found %v", s)
	}
}

// TestSecondOfASessionWaits: a session's entry is written when the one before it
// is on disk, even if both come at once.
func TestSecondOfASessionWaits(t *testing.T) {
	root := t.TempDir()
	first := at(t, root, options())
	must(t, first, opened("SES-1"), opened("SES-2"))
	o, g := options(), newGate("sync")
	o.Step = g.step
	r := at(t, root, o)
	must(t, r, step("SES-1", 2, 3))
	<-g.reached
	one := all(r, step("SES-1", 3, 4))
	queued(r, 1)
	two := all(r, step("SES-2", 2, 3), step("SES-2", 2, 3))
	queued(r, 3)
	three := all(r, step("SES-1", 4, 5))
	queued(r, 4)
	if g.count("write") != 1 {
		t.Error("written before the sync")
	}
	g.pass <- struct{}{}
	<-g.reached // 4 of SES-1 and one of SES-2
	queued(r, 2)
	if got := g.count("write"); got != 2 {
		t.Errorf("%d writes, want 2", got)
	}
	g.pass <- struct{}{}
	<-g.reached
	g.pass <- struct{}{}
	conflicts := 0
	for _, err := range append(append(one(), two()...), three()...) {
		var conflict *ConflictError
		if errors.As(err, &conflict) && conflict.Session == "SES-2" {
			conflicts++
		} else if err != nil {
			t.Error(err)
		}
	}
	if got := g.count("write"); conflicts != 1 || got != 3 {
		t.Errorf("%d conflicts, %d writes", conflicts, got)
	}
}

// TestWhoWaitsForTheDisk: a head does not, everything else does, and Wait and Sync.
func TestWhoWaitsForTheDisk(t *testing.T) {
	o, g := options(), newGate("sync")
	o.Step = g.step
	r := at(t, t.TempDir(), o)
	isDone := func(done chan error) bool {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return true
		case <-time.After(20 * time.Millisecond): // a test that is too slow here passes
			return false
		}
	}
	begin := func(f func() error) chan error {
		done := make(chan error, 1)
		go func() { done <- f() }()
		return done
	}
	closing, pruned := step("SES-1", 3, 4), step("SES-1", 4, 4)
	closing.Kind, pruned.Kind = record.KindSessionClose, record.KindSessionPrune
	repaired := Change{Kind: record.KindSessionRepair, Session: "SES-1", Is: head(9, "")}
	for _, c := range []Change{opened("SES-1"), step("SES-1", 2, 3), closing, pruned, repaired} {
		done := begin(func() error { return r.Record(ctx, c) })
		<-g.reached
		if c.Kind == record.KindSessionHead {
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := r.Wait(ctx, "SES-2"); err != nil {
				t.Error(err)
			}
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			if err := r.Wait(cancelled, "SES-1"); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			wait, sync := begin(func() error { return r.Wait(ctx, "SES-1") }), begin(func() error { return r.Sync(ctx) })
			if isDone(wait) || isDone(sync) {
				t.Error("waited for nothing")
			}
			g.pass <- struct{}{}
			for _, done := range []chan error{wait, sync} {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			continue
		}
		if isDone(done) {
			t.Errorf("%s did not wait", c.Kind)
		}
		g.pass <- struct{}{}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// What a process finds and goes on from is on disk, also if its writer died before
// the sync; once is enough.
func TestWhatIsFoundIsOnDisk(t *testing.T) {
	root := t.TempDir()
	r := at(t, root, options())
	must(t, r, opened("SES-1"), step("SES-1", 2, 4))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	syncs := 0
	o := options()
	o.Step = func(step string) {
		if step == "sync what was found" {
			syncs++
		}
	}
	again := at(t, root, o)
	if _, known, err := again.Find(ctx, "SES-2"); err != nil || known || syncs != 0 {
		t.Errorf("an unknown session: %v, %v, %d syncs", known, err, syncs)
	}
	for range 2 {
		if s := found(t, again, "SES-1"); s.Head != head(4, "") || syncs != 1 {
			t.Errorf("found %v, with %d syncs", s.Head, syncs)
		}
	}
}

// TestContextEndsTheWaitForTheLock, and nothing is written then.
func TestContextEndsTheWaitForTheLock(t *testing.T) {
	root := t.TempDir()
	r := at(t, root, options())
	must(t, r, opened("SES-1"))
	before := verified(t, root)
	f, err := os.Open(file(root, "."))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := beneath.TryLock(f); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		short, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- r.Record(short, step("SES-1", 2, 3)) }()
		queued(r, 1)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	if err := r.Record(canceled(), opened("SES-2")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	f.Close()
	if _, ok, err := r.Find(ctx, "SES-2"); ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if got := verified(t, root); got.Entries != before.Entries {
		t.Errorf("%d entries, were %d", got.Entries, before.Entries)
	}
	must(t, r, step("SES-1", 2, 3))
}

func canceled() context.Context {
	c, cancel := context.WithCancel(ctx)
	cancel()
	return c
}

// full makes every write of the open file at path fail with ENOSPC and every sync
// with EINVAL. It reports whether the file is open.
func full(t testing.TB, path string) bool {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	dev, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	done := false
	for _, e := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err != nil || to != path {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Dup3(int(dev.Fd()), fd, syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		done = true
	}
	return done
}

// TestFailedSyncIsFinal: the sync of a head that was answered fails, is not tried
// again, and nothing is written any more.
func TestFailedSyncIsFinal(t *testing.T) {
	root := t.TempDir()
	o, g := options(), newGate("sync")
	o.Step = g.step
	r := at(t, root, o)
	g.pass <- struct{}{}
	must(t, r, opened("SES-1"))
	<-g.reached
	must(t, r, step("SES-1", 2, 3))
	<-g.reached
	end := all(r, step("SES-1", 3, 4), opened("SES-2"))
	queued(r, 2)
	if !full(t, file(root, record.RegisterFile)) {
		t.Fatal("the register is not open")
	}
	g.pass <- struct{}{}
	for _, err := range append(end(), r.Wait(ctx, "SES-1"), r.Sync(ctx), r.Record(ctx, opened("SES-3"))) {
		if !errors.Is(err, ledger.ErrPoisoned) || !errors.Is(err, syscall.EINVAL) {
			t.Errorf("got %v", err)
		}
	}
	if err := r.Wait(ctx, "SES-2"); err != nil {
		t.Errorf("got %v", err)
	}
	if err := r.Close(); !errors.Is(err, ledger.ErrPoisoned) {
		t.Errorf("got %v", err)
	}
	if got := g.count("sync"); got != 2 {
		t.Errorf("%d syncs", got)
	}
	if s := found(t, at(t, root, options()), "SES-1"); s.Size != 3 {
		t.Errorf("got %v", s)
	}
}

// TestFullDisk: a write that fails poisons, and what it left is set aside by who
// comes next.
func TestFullDisk(t *testing.T) {
	root := t.TempDir()
	r := at(t, root, options())
	must(t, r, opened("SES-1"))
	info, err := os.Stat(file(root, record.RegisterFile))
	if err != nil {
		t.Fatal(err)
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	limit := was
	limit.Cur = uint64(info.Size()) + 700 //nolint:gosec // it is small
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	failed := r.Record(ctx, step("SES-1", 2, 3))
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(failed, ledger.ErrPoisoned) {
		t.Fatalf("got %v", failed)
	}
	if err := r.Record(ctx, step("SES-1", 2, 3)); !errors.Is(err, ledger.ErrPoisoned) {
		t.Errorf("got %v", err)
	}
	next := at(t, root, options())
	if s := found(t, next, "SES-1"); s.Size != 2 {
		t.Errorf("got %v", s)
	}
	must(t, next, step("SES-1", 2, 3))
	if report := verified(t, root); report.Recovered != 1 || report.Torn != nil {
		t.Errorf("got %+v", report)
	}
	names, err := os.ReadDir(file(root, "."))
	if err != nil || len(names) != 2 || !strings.HasPrefix(names[1].Name(), record.RegisterFile+".torn-") {
		t.Errorf("got %v, %v", names, err)
	}
}
