package meter

import "testing"

// deepest is a bound on how far below zero the fuel may ever be: see the bounds in cost.go.
const deepest = -(1<<29 + 1<<27)

// TestFuelDoesNotWrap: programs that try to pay as much as possible between two checks, so that the lower half of the
// counter wraps and the debt becomes fuel.
func TestFuelDoesNotWrap(t *testing.T) {
	dear := func(a *asm, n int) { // n try_tables that are paid for where ways join
		a.begin(opBlock)
		a.get(0)
		a.with(opBrIf, 0)
		a.op(opNop, opEnd)
		for range n {
			a.begin(opTryTable)
			*a = append(*a, 0)
			a.op(opEnd)
		}
	}
	cheap := func(a *asm) { // what is just not checked
		a.begin(opBlock)
		a.get(0)
		a.with(opBrIf, 0)
		a.op(opNop, opEnd)
		for range 80 {
			a.i32(0)
			a.op(opDrop)
		}
	}
	recurse := func(then func(a *asm)) []byte {
		return run(func(a *asm) { // to the bottom, and on the way back up each frame pays
			a.get(0)
			a.begin(opIf)
			a.get(0)
			a.i32(1)
			a.op(opI32Sub)
			a.call(0)
			a.op(opDrop)
			then(a)
			a.op(opEnd)
			a.i64(9)
		})
	}
	for _, c := range []struct {
		name   string
		wasm   []byte
		arg    uint64
		engine string
	}{
		{"payments on the way out", recurse(cheap), 15_000, "compiler"},
		{"dear ones, which are checked", recurse(func(a *asm) { dear(a, 1) }), 30_000, "compiler"},
		{"many of them", recurse(func(a *asm) { dear(a, 9) }), 30_000, "compiler"},
		{"a long way straight on", run(func(a *asm) {
			for range 10 {
				dear(a, 2000)
			}
			a.i64(9)
		}), 3, "interpreter"},
		{"a fill of 4 GiB", run(func(a *asm) {
			a.i64(9)
			a.i32(0)
			a.i32(0)
			a.i32(-1)
			a.fill()
		}), 3, "compiler"},
		{"a chain of functions", chain(3000, func(a *asm) { dear(a, 1) }), 3, "compiler"},
		{"a chain of cheap ones", chain(3000, cheap), 3, "compiler"},
		{"a long chain of dear ones", chain(3000, func(a *asm) { dear(a, 9) }), 3, "compiler"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, c.engine, AccountConfig{})
			m := h.instance(t, inject(t, c.wasm))
			got, err := h.call(m, "run", c.arg)
			if firstLine(err) != "wasm error: out of bounds memory access" && (err != nil || got[0] != 9) {
				t.Fatal(got, err)
			}
			counted := h.instance(t, exact(t, c.wasm))
			_, _ = h.call(counted, "run", c.arg)
			if used, least := h.used(m), h.lastGlobal(counted)+1; used < least {
				t.Errorf("paid %d for %d units", used, least)
			}
			_, last := split(h.lastGlobal(m)) // nobody may have asked since
			lowest := min(h.lowest, last)
			t.Logf("paid %d, lowest fuel %d", h.used(m), lowest)
			if lowest < deepest {
				t.Errorf("the fuel was at %d", lowest)
			}
		})
	}
}

// chain makes n functions, each calling the next and then doing something; run is the first and returns 9.
func chain(n int, then func(a *asm)) []byte {
	funcs := []testFunc{{typ: 0, export: "run", code: func(a *asm) {
		a.get(0)
		a.call(1)
		a.i64(9)
	}}}
	for i := 1; i < n; i++ {
		funcs = append(funcs, testFunc{typ: 3, code: func(a *asm) {
			if i+1 < n {
				a.get(0)
				a.call(uint32(i) + 1)
			}
			then(a)
		}})
	}
	return build(funcs...)
}

// TestPaymentsAreSmall: no payment in front of a check is larger than a throw, and none without a check larger than the
// bound for its function.
func TestPaymentsAreSmall(t *testing.T) {
	for name, wasm := range map[string][]byte{
		"throws": run(func(a *asm) {
			for range 100 {
				a.get(0)
				a.begin(opIf)
				a.with(opThrow, 0)
				a.op(opEnd)
			}
			a.i64(0)
		}),
		"long": run(func(a *asm) {
			for range 200_000 {
				a.i32(1)
				a.op(opDrop)
			}
			a.i64(0)
		}),
		"calls": run(func(a *asm) {
			for range 50_000 {
				a.get(0)
				a.call(0)
				a.op(opDrop)
			}
			a.i64(0)
		}),
	} {
		m, err := parse(wasm)
		if err != nil {
			t.Fatal(err)
		}
		c := &code{m: m, file: wasm}
		if err := m.analyse(c); err != nil {
			t.Fatal(err)
		}
		if err := c.decode(0); err != nil {
			t.Fatal(err)
		}
		entry := c.plan()
		most := entry
		for _, in := range c.instrs {
			most = max(most, int64(in.pay))
			if !in.check && in.pay > maxRun {
				t.Errorf("%s: %d units are paid without a check", name, in.pay)
			}
		}
		if most > maxPay+costThrow {
			t.Errorf("%s: %d units at once", name, most)
		}
	}
}

// TestNamesInTraces: functions keep their names although their indices change.
func TestNamesInTraces(t *testing.T) {
	wasm := sections(
		1, "\x01\x60\x00\x00",
		3, "\x02\x00\x00",
		7, "\x01\x03run\x00\x00",
		10, "\x02\x04\x00\x10\x01\x0b\x03\x00\x00\x0b",
		0, "\x04name\x00\x04\x03mod\x01\x0f\x02\x00\x05outer\x01\x05inner",
	)
	h := newHost(t, "interpreter", AccountConfig{})
	_, err := h.call(h.instance(t, inject(t, wasm)), "run")
	want := "wasm error: unreachable\nwasm stack trace:\n\tmod.inner()\n\tmod.outer()"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
