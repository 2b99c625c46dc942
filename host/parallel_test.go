package host

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/record"
)

// hang is how long a test waits for what takes milliseconds before it calls it a
// hang. No test fails because a machine is slow.
const hang = 10 * time.Second

// within waits for f and reports how long it took.
func (b *bench) within(what string, f func()) time.Duration {
	b.t.Helper()
	started := time.Now()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(hang):
		b.t.Fatalf("%s takes longer than %v", what, hang)
	}
	return time.Since(started)
}

// computing starts guests that compute until stop is called, which waits for
// them and returns how long the slowest took to end.
func computing(t *testing.T, n int, module []byte) (stop func() time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	ready := make(chan struct{}, n)
	for range n {
		b := newBench(t, nil)
		a := ask{module: module, manifest: limits(members{"fuel": int64(1) << 50, "time": "10m"})}
		a.turn.Stderr = &hook{do: func() { ready <- struct{}{} }}
		p := b.prepare(a)
		s := b.open(p, a)
		done.Go(func() {
			defer s.Leave()
			r, err := p.Run(ctx, s)
			if err != nil {
				t.Error(err)
			} else if r.Code != record.CodeInterrupted {
				t.Errorf("got %s %s", r.Code, r.Message)
			}
		})
	}
	for range n {
		select {
		case <-ready:
		case <-time.After(hang):
			t.Fatal("the guests do not start")
		}
	}
	return func() time.Duration {
		started := time.Now()
		cancel()
		done.Wait()
		return time.Since(started)
	}
}

// speak and then loop: Stderr is the sign that the guest runs.
func busyGuest() []byte {
	w := newWasm(1)
	write := w.wasi("fd_write")
	w.put(0, string([]byte{64, 0, 0, 0, 1, 0, 0, 0}))
	return w.start(1, c32(2), c32(0), c32(1), c32(16), call(write), opDrop, forever(get(0), c32(3), opAdd, set(0))).bytes()
}

// While guests compute, the collector of the host gets its way, other turns run,
// and an interruption stops them.
func TestComputingGuestsHinderNobody(t *testing.T) {
	for _, guests := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(guests), func(t *testing.T) {
			b := newBench(t, nil)
			quick := ask{module: newWasm(1).start(0).bytes()}
			alone := b.within("a turn", func() { b.run(quick) })
			b = newBench(t, nil)
			idle := b.within("collecting", runtime.GC)
			stop := computing(t, guests, busyGuest())
			var collected, stopping []time.Duration
			for range 10 {
				collected = append(collected, b.within("collecting", runtime.GC))
				var stats runtime.MemStats // reading them stops the world, and does nothing else that takes time
				stopping = append(stopping, b.within("stopping the world", func() { runtime.ReadMemStats(&stats) }))
			}
			beside := b.within("a turn beside them", func() { b.run(quick) })
			stopped := stop()
			slices.Sort(collected)
			slices.Sort(stopping)
			t.Logf("with %d guests that compute: the world stops in %v, worst %v; GC median %v, worst %v (idle %v); another turn %v (alone %v); cancel to end %v",
				guests, stopping[5], stopping[9], collected[5], collected[9], idle, beside, alone, stopped)
			if stopped > hang {
				t.Errorf("the guests ran on for %v", stopped)
			}
		})
	}
}

// From the cancellation to the answer: the guest stopped, the turn recorded.
func TestCancelToAnswer(t *testing.T) {
	b := newBench(t, nil)
	var took []time.Duration
	for range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		var cancelled time.Time
		a := ask{module: busyGuest(), manifest: limits(members{"fuel": int64(1) << 50}), ctx: ctx}
		a.turn.Stderr = &hook{do: func() {
			go func() {
				time.Sleep(20 * time.Millisecond)
				cancelled = time.Now()
				cancel()
			}()
		}}
		p := b.prepare(a)
		s := b.open(p, a)
		r := must(p.Run(ctx, s))(t)
		took = append(took, time.Since(cancelled))
		if r.Code != record.CodeInterrupted {
			t.Fatalf("got %s %s", r.Code, r.Message)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(took)
	t.Logf("cancel to answer: median %v, worst %v", took[5], took[9])
}

// Sessions run side by side in one Runner, and each is its own.
func TestSessionsSideBySide(t *testing.T) {
	const sessions, turns = 8, 3
	var all sync.WaitGroup
	manifest := with(grants([]string{"**"}, []string{"docs/**"}, []string{"secret"}), writes("out/**", "docs/own?"))
	for i := range sessions {
		b := newBench(t, map[string]string{"docs/a": fmt.Sprint("a", i), "secret": "s"})
		a := ask{manifest: manifest, steps: []string{"read /docs/a", "write /out/n " + fmt.Sprint(i), "write /docs/own " + fmt.Sprint(i), "env"}}
		a.turn.Stderr = io.Discard
		bad := ask{manifest: manifest, steps: a.steps}
		bad.steps = append(slices.Clone(a.steps), "read /secret")
		all.Go(func() {
			for n := range turns {
				r := b.run(a)
				if r.Status != "ok" || b.read("docs/own") != fmt.Sprint(i) {
					t.Errorf("session %d, turn %d: %s %s", i, n, r.Status, r.Message)
				}
				if r := b.run(bad); r.Code != "violation" {
					t.Errorf("session %d: got %s %s", i, r.Code, r.Message)
				}
			}
		})
	}
	all.Wait()
}
