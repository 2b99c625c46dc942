package meter

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/sys"
)

// bulk exports fill, copy and init as the instructions are, on 80 pages.
var bulk = func() []byte {
	operands := func(a *asm) {
		a.get(0)
		a.get(1)
		a.get(2)
	}
	return build(
		testFunc{typ: 2, export: "fill", code: func(a *asm) {
			operands(a)
			a.fill()
		}},
		testFunc{typ: 2, export: "copy", code: func(a *asm) {
			operands(a)
			a.copy()
		}},
		testFunc{typ: 4, export: "grow", code: func(a *asm) {
			a.get(0)
			a.op(opMemoryGrow)
			*a = append(*a, 0)
		}},
	)
}()

// TestBulkIsTheSame: fill and copy, done in chunks, leave the same memory, trap alike, and do not touch memory when they
// do.
func TestBulkIsTheSame(t *testing.T) {
	const pages = 80
	const size = pages << 16
	h := newHost(t, "compiler", AccountConfig{})
	plain, metered := h.instance(t, bulk), h.instance(t, inject(t, bulk))
	rng := rand.New(rand.NewPCG(1, 2))
	for _, f := range []uint64{pages - 1, 1000, 1 << 31, 0} { // the second and third fail
		want, err1 := h.call(plain, "grow", f)
		got, err2 := h.call(metered, "grow", f)
		if err1 != nil || err2 != nil || got[0] != want[0] {
			t.Fatal("grow", f, want, err1, got, err2)
		}
	}
	before, _ := plain.Memory().Read(0, size)
	for i := range before {
		before[i] = byte(rng.Uint32())
	}
	if !metered.Memory().Write(0, before) {
		t.Fatal("the memories differ in size")
	}
	place := func() uint64 {
		switch rng.IntN(5) {
		case 0:
			return uint64(rng.Uint32())
		case 1:
			return size - uint64(rng.IntN(3))
		case 2:
			return uint64(rng.IntN(6)) << 20
		}
		return uint64(rng.IntN(size))
	}
	traps := 0
	for range 400 {
		name := []string{"fill", "copy"}[rng.IntN(2)]
		d, s, n := place(), place(), place()
		if rng.IntN(3) > 0 {
			n = uint64(rng.IntN(3 << 20))
		}
		_, err1 := h.call(plain, name, d, s, n)
		_, err2 := h.call(metered, name, d, s, n)
		if firstLine(err1) != firstLine(err2) {
			t.Fatalf("%s(%d, %d, %d): %v, metered %v", name, d, s, n, err1, err2)
		}
		if err1 != nil {
			traps++
		}
		want, _ := plain.Memory().Read(0, size)
		got, _ := metered.Memory().Read(0, size)
		if !bytes.Equal(got, want) {
			t.Fatalf("%s(%d, %d, %d): the memories differ", name, d, s, n)
		}
	}
	if traps == 0 {
		t.Error("nothing was out of bounds")
	}
}

// TestBulkCallsTheHost: between two chunks the host is called.
func TestBulkCallsTheHost(t *testing.T) {
	for _, name := range []string{"fill", "copy"} {
		refills := 0
		h := newHost(t, "compiler", AccountConfig{Slice: MaxSlice, Check: func() error { refills++; return nil }})
		m := h.instance(t, inject(t, bulk))
		if _, err := h.call(m, "grow", 99); err != nil {
			t.Fatal(err)
		}
		refills = 0
		if _, err := h.call(m, name, 0, 1, 5<<20); err != nil || refills != 4 {
			t.Errorf("%s of 5 MiB called the host %d times with %v, want 4", name, refills, err)
		}
		if used := h.used(m); used < 5<<20>>bytesShift {
			t.Errorf("%s of 5 MiB cost %d", name, used)
		}
	}
}

// guest builds the Go program of the name for WASI.
func guest(t testing.TB, name string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), name+".wasm")
	cmd := exec.Command("go", "build", "-o", out, "main.go")
	cmd.Dir = filepath.Join("testdata", "guests", name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// program runs a WASI program to its end and returns what it printed and the units it used.
func (h *host) program(t testing.TB, program wazero.CompiledModule, args ...string) (string, int64) {
	t.Helper()
	var stdout bytes.Buffer
	config := wazero.NewModuleConfig().WithName("program").WithArgs(append([]string{"program"}, args...)...).WithStdout(&stdout).WithStartFunctions()
	h.accounts["program"] = nil
	m, err := h.InstantiateModule(h.ctx, program, config)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(h.ctx)
	_, err = h.call(m, "_start")
	if exit := new(sys.ExitError); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 0) {
		t.Fatal(err, stdout.String())
	}
	if h.accounts["program"] == nil {
		return stdout.String(), 0
	}
	return stdout.String(), h.used(m)
}

func (h *host) compile(t testing.TB, wasm []byte) wazero.CompiledModule {
	t.Helper()
	c, err := h.CompileModule(h.ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGoProgramIsTheSame(t *testing.T) {
	wasm := guest(t, "compute")
	out := inject(t, wasm)
	t.Logf("%d bytes, metered %d", len(wasm), len(out))
	h := newHost(t, "compiler", AccountConfig{})
	const rounds = "20"
	want, _ := h.program(t, h.compile(t, wasm), rounds)
	counted := h.compile(t, exact(t, wasm))
	m, err := h.InstantiateModule(h.ctx, counted, wazero.NewModuleConfig().WithName("counted").WithArgs("program", rounds).WithStartFunctions())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = h.call(m, "_start") // ends by an exit
	least := h.lastGlobal(m) + 1
	counts := map[int64]bool{}
	for _, run := range []struct {
		engine string
		slice  int64
	}{{"compiler", 0}, {"compiler", 0}, {"compiler", 1000}, {"interpreter", 0}} {
		h := newHost(t, run.engine, AccountConfig{Slice: run.slice})
		got, used := h.program(t, h.compile(t, out), rounds)
		if got != want {
			t.Errorf("%s: got %q, want %q", run.engine, got, want)
		}
		counts[used] = true
	}
	if len(counts) != 1 {
		t.Errorf("counts differ between runs, slices or engines: %v", counts)
	}
	for used := range counts {
		t.Logf("paid %d for %d units: %.2f", used, least, float64(used)/float64(least))
		if used < least || used > 2*least {
			t.Error("too little or too much")
		}
	}
	again := inject(t, wasm)
	if !bytes.Equal(out, again) {
		t.Error("Inject does not give the same bytes twice")
	}
}

// TestMirror: loops without calls keep the counter in a local. However such a loop is left, and however often the host
// was called in between, the global is what it would be without.
func TestMirror(t *testing.T) {
	loop := func(leave func(a *asm)) []byte { // counts local 0 down to 0 in turns of two loops, one in the other
		return build(testFunc{typ: 0, locals: []localGroup{{1, typeI64}}, export: "run", code: func(a *asm) {
			a.begin(opBlock)
			a.begin(opLoop)
			a.begin(opLoop)
			a.get(0)
			a.i32(1)
			a.op(opI32Sub)
			a.with(opLocalTee, 0)
			a.op(opI32Eqz)
			a.begin(opIf)
			leave(a)
			a.op(opEnd)
			a.get(0)
			a.i32(3)
			a.op(0x71) // i32.and
			a.with(opBrIf, 0)
			a.op(opEnd)
			a.with(opBr, 0)
			a.op(opEnd)
			a.op(opEnd)
			a.get(1)
		}})
	}
	for name, leave := range map[string]func(a *asm){
		"branch": func(a *asm) { a.with(opBr, 3) },
		"return": func(a *asm) { a.get(1); a.op(opReturn) },
		"trap":   func(a *asm) { a.op(opUnreachable) },
		"table":  func(a *asm) { a.i32(7); a.op(opBrTable); *a = append(*a, 1, 2, 3) },
	} {
		wasm := loop(leave)
		out := inject(t, wasm)
		if !bytes.Contains(out, []byte{byte(opLocalTee), 2, byte(opGlobalSet)}) {
			t.Errorf("%s: there is no mirror", name)
		}
		counts := map[int64]bool{}
		for _, engine := range engines {
			for _, slice := range []int64{100, 1000, 0} {
				h := newHost(t, engine, AccountConfig{Slice: slice})
				m := h.instance(t, out)
				h.call(m, "run", 10_000)
				counts[h.used(m)] = true
			}
			h := newHost(t, engine, AccountConfig{})
			counted := h.instance(t, exact(t, wasm))
			h.call(counted, "run", 10_000)
			least := h.lastGlobal(counted) + 1
			for used := range counts {
				if used < least || used > 2*least {
					t.Errorf("%s: paid %d for %d units", name, used, least)
				}
			}
		}
		if len(counts) != 1 {
			t.Errorf("%s: counts differ between slices or engines: %v", name, counts)
		}
		h := newHost(t, "compiler", AccountConfig{Slice: 100, Fuel: 5000})
		var stop *Stop
		if _, err := h.call(h.instance(t, out), "run", 10_000); !errors.As(err, &stop) || stop.Reason != StopFuel {
			t.Errorf("%s: got %v, want it stopped", name, err)
		}
	}
}

// TestSameCountsOnBothEngines, for what ends.
func TestSameCountsOnBothEngines(t *testing.T) {
	var counts []int64
	for _, engine := range engines {
		h := newHost(t, engine, AccountConfig{})
		m := h.instance(t, inject(t, countdown))
		if _, err := h.call(m, "run", 1500); err != nil {
			t.Fatal(err)
		}
		counts = append(counts, h.used(m))
	}
	if counts[0] != counts[1] || counts[0] == 0 {
		t.Errorf("got %v units", counts)
	}
}

// BenchmarkCompute compares plain with metered: the quotient is what metering costs.
func BenchmarkCompute(b *testing.B) {
	loop := run(func(a *asm) { // a sum over 100,000 numbers
		a.i32(100_000)
		a.set(0)
		a.begin(opLoop)
		a.get(1)
		a.get(0)
		a.op(opI64ExtendU, opI64Add)
		a.set(1)
		a.get(0)
		a.i32(1)
		a.op(opI32Sub)
		a.with(opLocalTee, 0)
		a.with(opBrIf, 0)
		a.op(opEnd)
		a.get(1)
	}, localGroup{1, typeI64})
	fib := run(func(a *asm) {
		a.get(0)
		a.i32(2)
		a.op(opI32LtU)
		a.begin(opIf)
		a.i64(1)
		a.op(opReturn, opEnd)
		for i := range int32(2) {
			a.get(0)
			a.i32(i + 1)
			a.op(opI32Sub)
			a.call(0)
		}
		a.op(opI64Add)
	})
	for _, p := range []struct {
		name string
		wasm []byte
		arg  uint64
	}{{"loop", loop, 0}, {"fib", fib, 22}} {
		for _, v := range []struct {
			name string
			wasm []byte
		}{{"plain", p.wasm}, {"metered", inject(b, p.wasm)}} {
			b.Run(p.name+"/"+v.name, func(b *testing.B) {
				h := newHost(b, "compiler", AccountConfig{Check: context.Background().Err})
				f := h.instance(b, v.wasm).ExportedFunction("run")
				for b.Loop() {
					if _, err := f.Call(h.ctx, p.arg); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	wasm := guest(b, "compute")
	for _, v := range []struct {
		name string
		wasm []byte
	}{{"plain", wasm}, {"metered", inject(b, wasm)}} {
		b.Run("go/"+v.name, func(b *testing.B) {
			h := newHost(b, "compiler", AccountConfig{Check: context.Background().Err})
			c := h.compile(b, v.wasm)
			for b.Loop() {
				h.program(b, c, "5000")
			}
		})
	}
}

// BenchmarkInject measures injection by the size of the module.
func BenchmarkInject(b *testing.B) {
	wasm := guest(b, "compute")
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		inject(b, wasm)
	}
}
