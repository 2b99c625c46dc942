package meter

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// endless are programs that never end by themselves.
var endless = map[string][]byte{
	"loop": run(func(a *asm) {
		a.begin(opLoop)
		a.with(opBr, 0)
		a.op(opEnd, opUnreachable)
	}),
	"loop without a unit of its own": run(func(a *asm) {
		a.begin(opLoop)
		a.begin(opLoop)
		a.op(opEnd, opNop)
		a.with(opBr, 0)
		a.op(opEnd, opUnreachable)
	}),
	"tree": run(func(a *asm) { // run(n-1) + run(n-1): shallow, but 2^60 calls
		a.get(0)
		a.op(opI32Eqz)
		a.begin(opIf)
		a.i64(0)
		a.op(opReturn, opEnd)
		for range 2 {
			a.get(0)
			a.i32(1)
			a.op(opI32Sub)
			a.call(0)
		}
		a.op(opI64Add)
	}),
	"tail call": run(func(a *asm) {
		a.get(0)
		a.with(opTailCall, 0)
	}),
	"tail call by reference": run(func(a *asm) {
		a.get(0)
		a.i32(0)
		a.with(opTailIndirect, 0)
		*a = append(*a, 0)
	}),
	"call by reference": build(
		testFunc{export: "run", code: func(a *asm) {
			a.begin(opLoop)
			a.i32(1)
			a.with(opCallIndirect, 1)
			*a = append(*a, 0)
			a.with(opBr, 0)
			a.op(opEnd, opUnreachable)
		}},
		testFunc{typ: 1, code: func(*asm) {}},
	),
	"br_table": run(func(a *asm) {
		a.begin(opLoop)
		a.get(0)
		a.op(opBrTable)
		*a = append(*a, 2, 0, 0, 0)
		a.op(opEnd, opUnreachable)
	}),
	"fill": run(func(a *asm) {
		a.begin(opLoop)
		a.i32(0)
		a.i32(1)
		a.i32(1 << 16)
		a.fill()
		a.with(opBr, 0)
		a.op(opEnd, opUnreachable)
	}),
	"table.fill": run(func(a *asm) {
		a.begin(opLoop)
		a.i32(0)
		a.op(opRefNull)
		*a = append(*a, byte(typeFuncref))
		a.i32(10)
		a.with(opTableFill, 0)
		a.with(opBr, 0)
		a.op(opEnd, opUnreachable)
	}),
	"memory.grow": run(func(a *asm) {
		a.begin(opLoop)
		a.i32(-1)
		a.op(opMemoryGrow)
		*a = append(*a, 0)
		a.op(opDrop)
		a.with(opBr, 0)
		a.op(opEnd, opUnreachable)
	}),
	"throw and catch": run(func(a *asm) {
		a.begin(opLoop)
		a.begin(opBlock)
		tryTable(a, 0, 0, 0) // catch tag 0: label 0
		a.with(opThrow, 0)
		a.op(opEnd, opEnd)
		a.with(opBr, 0)
		a.op(opEnd, opUnreachable)
	}),
	"throw to the loop": run(func(a *asm) {
		a.begin(opLoop)
		tryTable(a, 2, 0) // catch_all: label 0
		a.with(opThrow, 0)
		a.op(opEnd, opEnd, opUnreachable)
	}),
	"catch_all around the loop": run(func(a *asm) {
		a.begin(opLoop)
		a.begin(opBlock)
		tryTable(a, 2, 0)
		a.begin(opLoop)
		a.with(opBr, 0)
		a.op(opEnd, opEnd, opEnd)
		a.with(opBr, 0)
		a.op(opEnd, opUnreachable)
	}),
}

// recursion never ends by itself either, but by depth before fuel or time.
var recursion = run(func(a *asm) {
	a.get(0)
	a.call(0)
})

// tryTable opens a try_table without operands and with one clause.
func tryTable(a *asm, clause ...byte) {
	a.begin(opTryTable)
	*a = append(append(*a, 1), clause...)
}

func TestEndlessStopsByFuel(t *testing.T) {
	for name, wasm := range endless {
		for _, engine := range engines {
			t.Run(name+"/"+engine, func(t *testing.T) {
				h := newHost(t, engine, AccountConfig{Fuel: 3 << 20, Slice: 1 << 16})
				m := h.instance(t, inject(t, wasm))
				_, err := h.call(m, "run", 60)
				stopped(t, err, StopFuel)
				if used := h.used(m); used <= 3<<20 || used > 3<<20+costThrow+1<<16 {
					t.Errorf("used %d units, want little more than %d", used, 3<<20)
				}
			})
		}
	}
}

func TestEndlessStopsByCheck(t *testing.T) {
	for name, wasm := range endless {
		for _, engine := range engines {
			t.Run(name+"/"+engine, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
				defer cancel()
				h := newHost(t, engine, AccountConfig{Check: ctx.Err, Now: time.Now})
				_, err := h.call(h.instance(t, inject(t, wasm)), "run", 60)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("got %v, want the error of Check", err)
				}
			})
		}
	}
}

// countdown is n == 0 ? 0 : run(n-1) + 1.
var countdown = run(func(a *asm) {
	a.get(0)
	a.op(opI32Eqz)
	a.begin(opIf)
	a.i64(0)
	a.op(opReturn, opEnd)
	a.get(0)
	a.i32(1)
	a.op(opI32Sub)
	a.call(0)
	a.i64(1)
	a.op(opI64Add)
})

func TestDepth(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			h := newHost(t, engine, AccountConfig{Depth: 1000})
			m := h.instance(t, inject(t, countdown))
			for range 3 { // returning gives the depth back
				if got, err := h.call(m, "run", 999); err != nil || got[0] != 999 {
					t.Fatal(got, err)
				}
			}
			_, err := h.call(m, "run", 1000)
			stopped(t, err, StopDepth)
			_, err = h.call(h.instance(t, inject(t, recursion)), "run", 0)
			stopped(t, err, StopDepth)
		})
	}
}

// TestDepthOfEngine: the meter's largest depth ends before the compiler's own stack does, with wide frames too. (The
// interpreter has a limit of 2,000 frames of its own, with an error of its own.)
func TestDepthOfEngine(t *testing.T) {
	wide := run(func(a *asm) { // 200 values live across the call
		for i := range int64(200) {
			a.i64(i)
			a.get(0)
			a.op(opI64ExtendU, opI64Add)
		}
		a.get(0)
		a.call(0)
		for range 200 {
			a.op(opI64Add)
		}
	})
	for name, wasm := range map[string][]byte{"thin": recursion, "wide": wide} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, "compiler", AccountConfig{})
			_, err := h.call(h.instance(t, inject(t, wasm)), "run", 1)
			stopped(t, err, StopDepth)
		})
	}
	h := newHost(t, "interpreter", AccountConfig{})
	_, err := h.call(h.instance(t, inject(t, recursion)), "run", 1)
	if got, want := firstLine(err), "wasm error: stack overflow"; got != want {
		t.Errorf("interpreter: got %q, want %q", got, want)
	}
}

// TestDepthWithoutRecursion: a long chain of functions, each calling the next, is deep without a cycle.
func TestDepthWithoutRecursion(t *testing.T) {
	const n = 2000
	funcs := []testFunc{{typ: 0, export: "run", code: func(a *asm) {
		a.call(1)
		a.i64(0)
	}}}
	for i := 1; i < n; i++ {
		funcs = append(funcs, testFunc{typ: 1, code: func(a *asm) {
			for range freeCost {
				a.i32(0)
				a.op(opDrop)
			}
			if i+1 < n {
				a.call(uint32(i) + 1)
			}
		}})
	}
	_, report, err := Inject(build(funcs...), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := report.Counted, n/(maxChain+1); got != want {
		t.Errorf("%d functions are counted, want %d", got, want)
	}
	h := newHost(t, "compiler", AccountConfig{Depth: 10})
	_, err = h.call(h.instance(t, inject(t, build(funcs...))), "run", 1)
	stopped(t, err, StopDepth)
}

// TestThrowRestoresDepth: f(n) throws from n frames deep; run catches that k times.
func TestThrowRestoresDepth(t *testing.T) {
	f := testFunc{typ: 3, code: func(a *asm) {
		a.get(0)
		a.op(opI32Eqz)
		a.begin(opIf)
		a.with(opThrow, 0)
		a.op(opEnd)
		a.get(0)
		a.i32(1)
		a.op(opI32Sub)
		a.call(1)
	}}
	again := func(a *asm) { // if --k != 0, go to label 0
		a.get(0)
		a.i32(1)
		a.op(opI32Sub)
		a.with(opLocalTee, 0)
		a.with(opBrIf, 0)
	}
	catchers := map[string]func(a *asm){
		"block": func(a *asm) {
			a.begin(opLoop)
			a.begin(opBlock)
			tryTable(a, 0, 0, 0)
			a.i32(100)
			a.call(1)
			a.op(opEnd, opEnd)
			again(a)
			a.op(opEnd)
			a.i64(7)
		},
		"loop": func(a *asm) { // the exception goes to the beginning of the loop
			a.begin(opLoop)
			a.get(0)
			a.op(opI32Eqz)
			a.begin(opIf)
			a.i64(7)
			a.op(opReturn, opEnd)
			a.get(0)
			a.i32(1)
			a.op(opI32Sub)
			a.set(0)
			tryTable(a, 2, 0)
			a.i32(100)
			a.call(1)
			a.op(opEnd, opEnd)
			a.i64(7)
		},
		"try_table": func(a *asm) { // to the end of an outer try_table, then thrown again as exnref
			a.begin(opLoop)
			a.begin(opBlock)
			tryTable(a, 2, 0)
			a.op(opBlock)
			*a = append(*a, byte(typeExnref))
			tryTable(a, 3, 0)
			a.i32(100)
			a.call(1)
			a.op(opEnd)
			a.op(opRefNull)
			*a = append(*a, byte(typeExnref))
			a.op(opEnd, opThrowRef, opEnd, opEnd)
			again(a)
			a.op(opEnd)
			a.i64(7)
		},
	}
	for name, code := range catchers {
		out := inject(t, build(testFunc{code: code, export: "run"}, f))
		counts := map[string]int64{}
		for _, engine := range engines {
			h := newHost(t, engine, AccountConfig{Depth: 500})
			m := h.instance(t, out)
			got, err := h.call(m, "run", 1000)
			if err != nil || got[0] != 7 {
				t.Fatal(name, engine, got, err)
			}
			counts[engine] = h.used(m)
			if counts[engine] < 1000*costThrow {
				t.Errorf("%s: %d units for 1000 throws", name, counts[engine])
			}
		}
		if counts["compiler"] != counts["interpreter"] {
			t.Errorf("%s: counts differ: %v", name, counts)
		}
	}
	// A function whose own result is where the exception lands.
	whole := testFunc{typ: 4, code: func(a *asm) {
		tryTable(a, 2, 0)
		a.i32(100)
		a.call(1)
		a.op(opEnd)
	}}
	whole.typ = 1
	out := inject(t, build(testFunc{export: "run", code: func(a *asm) {
		a.begin(opLoop)
		a.call(2)
		again(a)
		a.op(opEnd)
		a.i64(7)
	}}, f, whole))
	for _, engine := range engines {
		h := newHost(t, engine, AccountConfig{Depth: 500})
		if got, err := h.call(h.instance(t, out), "run", 1000); err != nil || got[0] != 7 {
			t.Fatal("function", engine, got, err)
		}
	}
}

// TestCollectorGetsThrough: Go's collector stops the world only between instructions of Go. Guests that compute for ever
// must let it.
func TestCollectorGetsThrough(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h := newHost(t, "compiler", AccountConfig{Check: ctx.Err, Now: time.Now})
	out := inject(t, endless["loop"])
	done := make(chan error)
	const guests = 2
	var functions []api.Function
	for range guests {
		functions = append(functions, h.instance(t, out).ExportedFunction("run"))
	}
	for _, f := range functions {
		go func() {
			_, err := f.Call(h.ctx, 1)
			done <- err
		}()
	}
	collected := make(chan struct{})
	go func() {
		for range 5 {
			runtime.GC()
		}
		close(collected)
	}()
	select {
	case <-collected:
	case <-time.After(time.Minute): // a guard against hanging, not a measure
		t.Fatal("five collections took more than a minute")
	}
	cancel()
	for range guests {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that Check's error ends the guest", err)
		}
	}
}
