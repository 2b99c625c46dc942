package meter

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// exact returns the module with every instruction counted where it stands, by another way than Inject's: the oracle for
// what must be paid at least. The count is in the last global, from -1 on.
func exact(t testing.TB, wasm []byte) []byte {
	t.Helper()
	m, err := parse(wasm)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{module: m, config: Config{TableElements: DefaultTableElements}}
	if err := m.clampTables(DefaultTableElements); err != nil {
		t.Fatal(err)
	}
	w.prepare()
	c := &code{m: m, file: wasm}
	code := appendUnsigned(nil, uint64(len(m.bodies)+len(w.funcs)))
	for i := range m.bodies {
		fn := uint32(i) + m.importedFuncs
		if err := c.decode(fn); err != nil {
			t.Fatal(err)
		}
		b := asm(vector(c.locals, func(g localGroup, b []byte) []byte { return g.typ.append(appendUnsigned(b, uint64(g.count))) }))
		for i := range c.instrs {
			in := &c.instrs[i]
			cost := int64(in.cost)
			if (in.kind == kindCall || in.kind == kindTailCall) && in.a < uint64(m.importedFuncs) {
				cost += costImport
			}
			if cost > 0 {
				w.at.pay(&b, -cost, noMirror)
			}
			b = c.append(b, in)
		}
		code = append(appendUnsigned(code, uint64(len(b))), b...)
	}
	for _, f := range w.funcs {
		code = append(appendUnsigned(code, uint64(len(f.code))), f.code...)
	}
	return w.assemble(code)
}

// A result is what can be seen of a run.
type result struct {
	values []uint64
	err    string
	memory []byte
	ran    bool
	count  int64 // the last global
}

// outcome runs "run", and reads "memory" and the last global; it may be that the module cannot be instantiated.
func (h *host) outcome(compiled wazero.CompiledModule, account *Account) (res result, err error) {
	h.accounts["fuzz"] = account
	m, err := h.InstantiateModule(h.ctx, compiled, wazero.NewModuleConfig().WithName("fuzz").WithStartFunctions())
	if err != nil {
		return result{err: firstLine(err)}, err
	}
	defer m.Close(h.ctx)
	if f := m.ExportedFunction("run"); f != nil {
		if d := f.Definition(); len(d.ParamTypes()) == 1 && d.ParamTypes()[0] == api.ValueTypeI32 {
			res.values, err = f.Call(h.ctx, 3)
			res.err = firstLine(err)
		}
	}
	if mem := m.ExportedMemory("memory"); mem != nil {
		b, _ := mem.Read(0, mem.Size())
		res.memory = bytes.Clone(b)
	}
	res.ran, res.count = true, h.lastGlobal(m)
	return res, err
}

// compare runs a valid module plain, metered and counted, and reports whether it did not stop first.
func (h *host) compare(t *testing.T, wasm []byte, plain wazero.CompiledModule) bool {
	t.Helper()
	defer plain.Close(h.ctx)
	out, _, err := Inject(wasm, Config{})
	if err != nil {
		var u *UnsupportedError
		if !errors.As(err, &u) {
			t.Fatalf("valid, but %v\n%x", err, wasm)
		}
		return false
	}
	metered, err := h.CompileModule(h.ctx, out)
	if err != nil {
		t.Fatalf("does not validate: %v\n%x", err, wasm)
	}
	defer metered.Close(h.ctx)
	// The metered one first: when it ends, so does the plain one.
	account := NewAccount(AccountConfig{Fuel: 1 << 20, Slice: 1 << 10, Depth: 500})
	got, err := h.outcome(metered, account)
	var stop *Stop
	if errors.As(err, &stop) {
		return false
	}
	want, _ := h.outcome(plain, nil)
	if !got.ran && !want.ran {
		return false // neither can be instantiated; the texts name functions by indices, and modules in no order
	}
	if got.ran != want.ran || !slices.Equal(got.values, want.values) || got.err != want.err || !bytes.Equal(got.memory, want.memory) {
		t.Fatalf("got %v %q, plain %v %q; memories equal: %v\n%x", got.values, got.err, want.values, want.err,
			bytes.Equal(got.memory, want.memory), wasm)
	}
	counted, err := h.CompileModule(h.ctx, exact(t, wasm))
	if err != nil {
		t.Fatalf("counted, it does not validate: %v\n%x", err, wasm)
	}
	defer counted.Close(h.ctx)
	if res, _ := h.outcome(counted, nil); res.ran && account.Used(got.count) < res.count+1 {
		t.Fatalf("paid %d for %d units\n%x", account.Used(got.count), res.count+1, wasm)
	}
	return true
}

// FuzzInject: the first byte chooses. Even: a module generated from the rest must compute the same when metered, and pay
// for all it does. Odd: such a module with some bytes changed must never panic, and if it is still valid the same holds.
func FuzzInject(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 60 {
		seed := make([]byte, 20+rng.IntN(150))
		for j := range seed {
			seed[j] = byte(rng.Uint32())
		}
		seed[0] = byte(i)
		f.Add(seed)
	}
	compiler, interpreter := newHost(f, "compiler", AccountConfig{}), newHost(f, "interpreter", AccountConfig{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2 || len(data) > 1000 {
			return
		}
		h := interpreter
		if data[0]>>4&7 == 0 { // it is slow
			h = compiler
		}
		if data[0]&1 == 0 {
			wasm := generate(data[1:])
			plain, err := h.CompileModule(h.ctx, wasm)
			if err != nil {
				t.Fatalf("the generated module is not valid: %v\n%x", err, wasm)
			}
			h.compare(t, wasm, plain)
			return
		}
		h.compareMutant(t, mutant(data[0]>>2&3, data[1:]))
	})
}

// mutant is a generated module with up to four edits, each taken from three bytes.
func mutant(edits byte, choices []byte) []byte {
	script := choices[:min(len(choices), 3*(1+int(edits)))]
	wasm := generate(choices[len(script):])
	for ; len(script) >= 3; script = script[3:] {
		at := len(magic) + (int(script[0])|int(script[1])<<8)%(len(wasm)-len(magic))
		switch script[2] % 3 {
		case 0:
			wasm[at] = script[2] / 3
		case 1:
			wasm = slices.Delete(wasm, at, at+1)
		case 2:
			wasm = slices.Insert(wasm, at, script[2])
		}
	}
	return wasm
}

// compareMutant compares what may not be valid.
func (h *host) compareMutant(t *testing.T, wasm []byte) {
	t.Helper()
	_, _, injected := Inject(wasm, Config{})
	if _, err := Inspect(wasm); err != nil && injected == nil {
		t.Fatalf("refused by Inspect only: %v\n%x", err, wasm)
	}
	// What is refused is not shown to wazero, which allocates what a count promises: it would end the process.
	if injected != nil {
		return
	}
	if plain, err := h.CompileModule(h.ctx, wasm); err == nil {
		h.compare(t, wasm, plain)
	}
}

// FuzzInspect: any bytes at all. What Inspect takes, Inject must at least not stumble over, and writing the parts
// outside of functions must give what can be read again.
func FuzzInspect(f *testing.F) {
	f.Add([]byte(magic))
	f.Add(countdown)
	f.Add(generate([]byte("inspect")))
	f.Add(inject(f, countdown))
	f.Add(sections(0, "\x04name\x00\x02\x01m\x01\x04\x01\x00\x01f", 1, "\x01\x60\x00\x00"))
	f.Fuzz(func(t *testing.T, wasm []byte) {
		before, err := Inspect(wasm)
		out, _, injected := Inject(wasm, Config{})
		if err != nil || injected != nil {
			if err != nil && injected == nil {
				t.Fatal("injected what Inspect refuses")
			}
			return
		}
		after, err := Inspect(out)
		if err != nil {
			t.Fatalf("%v\n%x", err, out)
		}
		if !slices.Equal(after.Exports, before.Exports) || len(after.Imports) != len(before.Imports)+1 ||
			after.Start != before.Start || len(after.Tables) != len(before.Tables) {
			t.Fatalf("%+v became %+v", before, after)
		}
	})
}

// TestGeneratedEnd: most generated modules run to their end, so that FuzzInject compares something.
func TestGeneratedEnd(t *testing.T) {
	h := newHost(t, "compiler", AccountConfig{})
	rng := rand.New(rand.NewPCG(5, 6))
	compared, values := 0, 0
	for range 100 {
		choices := make([]byte, 30+rng.IntN(300))
		for i := range choices {
			choices[i] = byte(rng.Uint32())
		}
		wasm := generate(choices)
		plain, err := h.CompileModule(h.ctx, wasm)
		if err != nil {
			t.Fatalf("%v\n%x", err, wasm)
		}
		if h.compare(t, wasm, plain) {
			compared++
		}
		again, _ := h.CompileModule(h.ctx, wasm)
		if res, _ := h.outcome(again, nil); res.err == "" {
			values++
		}
	}
	t.Logf("%d compared, %d return", compared, values)
	if compared < 60 || values < 10 {
		t.Error("too few")
	}
}
