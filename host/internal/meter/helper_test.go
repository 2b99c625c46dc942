package meter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// features is the list of the package comment.
const features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst |
	experimental.CoreFeaturesExceptionHandling

// A testFunc is a function of a module made for a test.
type testFunc struct {
	typ    uint32 // index into testTypes
	locals []localGroup
	code   func(a *asm)
	export string
}

// testTypes are the types of all modules made here.
var testTypes = []funcType{
	newFuncType([]valueType{typeI32}, []valueType{typeI64}), // 0: of "run"
	newFuncType(nil, nil), // 1
	newFuncType([]valueType{typeI32, typeI32, typeI32}, nil), // 2
	newFuncType([]valueType{typeI32}, nil),                   // 3
	newFuncType([]valueType{typeI32}, []valueType{typeI32}),  // 4
}

// build makes a module with the functions given, a memory of 1 to 100 pages, a table of 10 with the functions in it, an i64
// global of 1000 and a tag without operands.
func build(funcs ...testFunc) []byte {
	m := &module{
		types:   testTypes,
		tables:  []tableType{{typeFuncref, limits{min: 10}}},
		memory:  &limits{min: 1, max: 100, hasMax: true},
		tags:    []uint32{1},
		globals: []globalEntry{{globalType{typeI64, true}, asm.constant(nil, 1000)}},
	}
	elem := elemSegment{head: []byte{0, byte(opI32Const), 0, byte(opEnd)}}
	var indices, code []byte
	for i, f := range funcs {
		indices = appendUnsigned(indices, uint64(f.typ))
		b := asm(vector(f.locals, func(g localGroup, b []byte) []byte { return g.typ.append(appendUnsigned(b, uint64(g.count))) }))
		f.code(&b)
		b.op(opEnd)
		code = append(appendUnsigned(code, uint64(len(b))), b...)
		if f.export != "" {
			m.exports = append(m.exports, exportEntry{f.export, externFunc, uint32(i)})
		}
		elem.count++
		elem.init = appendUnsigned(elem.init, uint64(i))
	}
	m.exports = append(m.exports, exportEntry{"memory", externMemory, 0})
	n := appendUnsigned(nil, uint64(len(funcs)))
	w := &writer{module: m, out: []byte(magic)}
	w.section(sectionType, w.typeSection())
	w.section(sectionFunction, append(n, indices...))
	w.section(sectionTable, vector(m.tables, tableType.append))
	w.section(sectionMemory, m.memory.append([]byte{1}))
	w.section(sectionTag, vector(m.tags, appendTag))
	w.section(sectionGlobal, vector(m.globals, globalEntry.append))
	w.section(sectionExport, vector(m.exports, func(e exportEntry, b []byte) []byte {
		return appendUnsigned(append(appendName(b, e.name), e.kind), uint64(e.index))
	}))
	w.section(sectionElement, vector([]elemSegment{elem}, elemSegment.append))
	w.section(sectionCode, append(n, code...))
	return w.out
}

// constant appends an i64 as a constant expression.
func (a asm) constant(v int64) []byte {
	a.i64(v)
	a.op(opEnd)
	return a
}

// run makes a module of one function "run" of type (i32) -> i64.
func run(code func(a *asm), locals ...localGroup) []byte {
	return build(testFunc{code: code, locals: locals, export: "run"})
}

// sections makes a module of raw sections: a number, then the content.
func sections(pairs ...any) []byte {
	w := &writer{out: []byte(magic)}
	for i := 0; i < len(pairs); i += 2 {
		w.section(byte(pairs[i].(int)), []byte(pairs[i+1].(string)))
	}
	return w.out
}

func inject(t testing.TB, wasm []byte) []byte {
	t.Helper()
	out, _, err := Inject(wasm, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// engines are the two of wazero. Its interpreter allows 2,000 frames and no more, whatever the meter says.
var engines = []string{"compiler", "interpreter"}

// A host is a runtime that offers refill: to each module the account of its name, or a new one of the default.
type host struct {
	wazero.Runtime
	ctx      context.Context
	config   AccountConfig
	accounts map[string]*Account
	lowest   int64 // fuel that refill was called with
}

func newHost(t testing.TB, engine string, config AccountConfig) *host {
	t.Helper()
	c := wazero.NewRuntimeConfigCompiler()
	if engine == "interpreter" {
		c = wazero.NewRuntimeConfigInterpreter()
	}
	h := &host{ctx: context.Background(), config: config, accounts: map[string]*Account{}}
	h.Runtime = wazero.NewRuntimeWithConfig(h.ctx, c.WithCoreFeatures(features).WithMemoryLimitPages(128))
	t.Cleanup(func() { h.Close(h.ctx) })
	i64 := []api.ValueType{api.ValueTypeI64}
	refill := func(_ context.Context, m api.Module, stack []uint64) {
		_, fuel := split(int64(stack[0]))
		h.lowest = min(h.lowest, fuel)
		next, err := h.account(m.Name()).Refill(int64(stack[0]))
		if err != nil {
			panic(err)
		}
		stack[0] = uint64(next)
	}
	_, err := h.NewHostModuleBuilder(ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(refill), i64, i64).Export(ImportName).Instantiate(h.ctx)
	if err != nil {
		t.Fatal(err)
	}
	wasi_snapshot_preview1.MustInstantiate(h.ctx, h.Runtime)
	return h
}

func (h *host) account(name string) *Account {
	if h.accounts[name] == nil {
		h.accounts[name] = NewAccount(h.config)
	}
	return h.accounts[name]
}

// instance makes an instance; each has a name of its own.
func (h *host) instance(t testing.TB, wasm []byte) api.Module {
	t.Helper()
	m, err := h.InstantiateWithConfig(h.ctx, wasm, wazero.NewModuleConfig().WithName(fmt.Sprint("m", len(h.accounts))))
	if err != nil {
		t.Fatal(err)
	}
	h.account(m.Name())
	return m
}

// used reads the counter, which is the last global.
func (h *host) used(m api.Module) int64 {
	return h.account(m.Name()).Used(h.lastGlobal(m))
}

func (h *host) lastGlobal(m api.Module) int64 {
	im := m.(experimental.InternalModule)
	if im.NumGlobal() == 0 {
		return 0
	}
	return int64(im.Global(im.NumGlobal() - 1).Get())
}

func (h *host) call(m api.Module, name string, args ...uint64) ([]uint64, error) {
	return m.ExportedFunction(name).Call(h.ctx, args...)
}

// stopped demands that the error is a Stop for the reason.
func stopped(t testing.TB, err error, reason string) {
	t.Helper()
	var s *Stop
	if !errors.As(err, &s) || s.Reason != reason {
		t.Fatalf("got %v, want a stop for %s", err, reason)
	}
}

func firstLine(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
