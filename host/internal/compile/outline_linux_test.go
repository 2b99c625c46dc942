package compile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/agenthost/agenthost/host/internal/cache"
	"github.com/agenthost/agenthost/host/internal/meter"
)

// answering is a module whose function f returns n.
func answering(n byte) []byte {
	body := []byte{0, 0x41, n, 0x0b}
	return module(
		section(1, []byte{1, 0x60, 0, 1, 0x7f}), section(3, []byte{1, 0}), section(5, []byte{1, 0, 1}),
		section(7, []byte{1, 1, 'f', 0, 0}),
		section(10, []byte{1}, uleb(uint64(len(body))), body),
	)
}

// An engine is what a process has: modules are loaded and run in it.
type engine struct {
	t       *testing.T
	cache   *Cache
	runtime wazero.Runtime
	made    int
}

func newEngine(t *testing.T, dir string) *engine {
	t.Helper()
	c, err := OpenCache(dir, roomy)
	if err != nil {
		t.Fatal(err)
	}
	native, err := c.Native()
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, cache: c, runtime: wazero.NewRuntimeWithConfig(t.Context(), Runtime().WithCompilationCache(native))}
	t.Cleanup(func() { e.runtime.Close(context.Background()); native.Close(context.Background()) })
	_, err = e.runtime.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithFunc(func(int64) int64 { return 1<<32*1000 + 1000 }).Export(meter.ImportName).Instantiate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *engine) load(wasm []byte) (wazero.CompiledModule, error) {
	return e.cache.Load(e.t.Context(), e.runtime, sha256.Sum256(wasm), func() ([]byte, error) { return wasm, nil }, func() { e.made++ })
}

// filed loads a module, and returns the key of its entry, the entry, and the path
// of its native code.
func (e *engine) filed(wasm []byte) (key string, found *entry, native string) {
	e.t.Helper()
	m, err := e.load(wasm)
	if err != nil {
		e.t.Fatal(err)
	}
	m.Close(e.t.Context())
	key = e.cache.key(sha256.Sum256(wasm))
	if found, err = e.cache.load(key); err != nil || found == nil {
		e.t.Fatal(found, err)
	}
	return key, found, filepath.Join(e.cache.dir, nativeDir, found.Native)
}

// answer is what f of a module returns.
func (e *engine) answer(m wazero.CompiledModule) uint64 {
	e.t.Helper()
	instance, err := e.runtime.InstantiateModule(e.t.Context(), m, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		e.t.Fatal(err)
	}
	defer instance.Close(e.t.Context())
	results, err := instance.ExportedFunction("f").Call(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return results[0]
}

// What runs is the code of the module, whether it was compiled just now or came
// from the cache: modules that differ in code alone have outlines that differ.
func TestOutlinesRunTheirCode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	for round := range 2 {
		e := newEngine(t, dir)
		for n := range byte(3) {
			m, err := e.load(answering(n))
			if err != nil {
				t.Fatal(err)
			}
			if got := e.answer(m); got != uint64(n) {
				t.Errorf("round %d: got %d, want %d", round, got, n)
			}
			m.Close(t.Context())
		}
		if want := 3 - 3*round; e.made != want {
			t.Errorf("round %d: %d were compiled, want %d", round, e.made, want)
		}
	}
}

// What is loaded holds everything but code.
func TestOutline(t *testing.T) {
	long := function([]byte{0}, bytes.Repeat([]byte{0x41, 1, 0x1a}, 10_000), []byte{0x0b})
	metered, _, err := meter.Inject(long, meter.Config{})
	if err != nil {
		t.Fatal(err)
	}
	outline, err := outlineOf(metered)
	if err != nil || len(outline) > 300 {
		t.Errorf("the outline of %d bytes has %d, %v", len(metered), len(outline), err)
	}
	again, err := outlineOf(metered)
	if err != nil || !bytes.Equal(again, outline) {
		t.Errorf("it is not the same twice: %v", err)
	}
	whole := 0
	for i := range metered[:len(metered)-1] {
		if _, err := outlineOf(metered[:i]); err == nil {
			whole++ // cut between two sections
		}
	}
	if whole > 12 {
		t.Errorf("%d cut modules have an outline", whole)
	}
}

// Should the native code go between looking and loading, the engine compiles the
// outline: that is found, nothing of it stays, and the module is made again.
func TestNativeCodeGone(t *testing.T) {
	e := newEngine(t, filepath.Join(t.TempDir(), "cache"))
	wasm := answering(7)
	key, found, native := e.filed(wasm)
	code, err := os.ReadFile(native)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"gone":     func() error { return os.Remove(native) },
		"outline":  func() error { return compileInto(t.Context(), filepath.Join(e.cache.dir, nativeDir), found.outline) },
		"cut":      func() error { return os.Truncate(native, 100) },
		"empty":    func() error { return os.Truncate(native, 0) },
		"zeroes":   func() error { return os.WriteFile(native, make([]byte, len(code)), 0o600) },
		"no entry": func() error { return os.Remove(e.cache.entryPath(key)) },
		"half an entry": func() error {
			return os.Truncate(e.cache.entryPath(key), 100)
		},
	} {
		if name == "outline" {
			if err := os.Remove(native); err != nil {
				t.Fatal(err)
			}
		}
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if name != "zeroes" && !strings.HasSuffix(name, "entry") {
			if m, err := e.cache.give(t.Context(), e.runtime, found); err == nil {
				t.Errorf("%s: it was loaded", name)
				m.Close(t.Context())
			} else if name == "gone" && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		e.made = 0
		m, err := e.load(wasm)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := e.answer(m); got != 7 || e.made != 1 {
			t.Errorf("%s: got %d, want 7; made %d times, want once", name, got, e.made)
		}
		m.Close(t.Context())
		if names := left(t, e.cache); len(names) != 2 {
			t.Errorf("%s: left %q", name, names)
		}
	}
}

// Should the engine look for the native code under another name than it was filed
// by, it is not taken for loaded.
func TestNativeCodeElsewhere(t *testing.T) {
	e := newEngine(t, filepath.Join(t.TempDir(), "cache"))
	wasm := answering(7)
	_, found, native := e.filed(wasm)
	found.Native += "x"
	if err := os.Rename(native, native+"x"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // times of folders are told in steps
	if m, err := e.cache.give(t.Context(), e.runtime, found); !errors.Is(err, errReplaced) {
		t.Errorf("got %v, want that it was replaced", err)
		m.Close(t.Context())
	}
	m, err := e.load(wasm)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.answer(m); got != 7 {
		t.Errorf("got %d, want 7", got)
	}
	m.Close(t.Context())
}

// A bit that flipped in an entry leads to the same code, or to none.
func TestEntryDamage(t *testing.T) {
	e := newEngine(t, filepath.Join(t.TempDir(), "cache"))
	wasm := answering(9)
	m, err := e.load(wasm)
	if err != nil {
		t.Fatal(err)
	}
	m.Close(t.Context())
	path := e.cache.entryPath(e.cache.key(sha256.Sum256(wasm)))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		data := bytes.Clone(whole)
		data[i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := e.cache.load(e.cache.key(sha256.Sum256(wasm)))
		if err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
		if found == nil {
			continue
		}
		if m, err := e.cache.give(t.Context(), e.runtime, found); err == nil {
			if got := e.answer(m); got != 9 {
				t.Errorf("byte %d: got %d, want 9", i, got)
			}
			m.Close(t.Context())
		}
	}
}

// What is read is what the digest names.
func TestOtherModule(t *testing.T) {
	e := newEngine(t, filepath.Join(t.TempDir(), "cache"))
	_, err := e.cache.Load(t.Context(), e.runtime, sha256.Sum256(answering(1)), func() ([]byte, error) { return answering(2), nil }, nil)
	if err == nil || err.Error() != "compile the module: it is not the one its digest names" {
		t.Errorf("got %v", err)
	}
	left(t, e.cache)
}

func TestClean(t *testing.T) {
	e := newEngine(t, filepath.Join(t.TempDir(), "cache"))
	old := time.Now().Add(-2 * time.Hour)
	for n := range byte(3) {
		m, err := e.load(answering(n))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if got := e.answer(m); got != uint64(n) {
				t.Errorf("after cleaning: got %d, want %d", got, n)
			}
		}()
	}
	mods, native := filepath.Join(e.cache.dir, modulesDir), filepath.Join(e.cache.dir, nativeDir)
	debris := []string{filepath.Join(mods, cache.NewPrefix+"1"), filepath.Join(native, cache.NewPrefix+"2")}
	if err := errors.Join(os.WriteFile(debris[0], nil, 0o600), os.Mkdir(debris[1], 0o700), os.WriteFile(filepath.Join(native, "wazero-old"), make([]byte, 50), 0o600),
		os.Chtimes(debris[0], old, old), os.Chtimes(debris[1], old, old), os.Chtimes(filepath.Join(native, "wazero-old"), old, old),
		os.WriteFile(filepath.Join(mods, strings.Repeat("ab", 32)+"-m0"), []byte("{}\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	n, freed, err := Clean(e.cache.dir, func(sum [32]byte, _ time.Time) bool { return sum == sha256.Sum256(answering(1)) })
	if err != nil || n != 2 || freed < 50 {
		t.Errorf("removed %d modules and %d bytes, %v; want the one that was named and the one nobody can read", n, freed, err)
	}
	if names := left(t, e.cache); len(names) != 4 {
		t.Errorf("left %q, want two modules", names)
	}
	if n, _, err := Clean(e.cache.dir, func(_ [32]byte, used time.Time) bool { return used.Before(old) }); err != nil || n != 0 {
		t.Errorf("removed %d modules %v, want none that old", n, err)
	}
	if n, _, err := Clean(e.cache.dir, func([32]byte, time.Time) bool { return true }); err != nil || n != 2 {
		t.Errorf("removed %d modules %v, want both", n, err)
	}
	if names := left(t, e.cache); len(names) != 0 {
		t.Errorf("left %q", names)
	}
}
