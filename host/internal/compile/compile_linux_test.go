package compile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/agenthost/agenthost/host/internal/cache"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		os.Exit(Child(os.Args[2:], os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

var roomy = Bounds{Time: time.Minute, Memory: 2 << 30, Module: 1 << 20}

func open(t *testing.T, b Bounds) *Cache {
	t.Helper()
	c, err := OpenCache(filepath.Join(t.TempDir(), "cache"), b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// loader is a cache with an engine to load its modules into.
func loader(t *testing.T, c *Cache) func(ctx context.Context, wasm []byte, started func()) error {
	t.Helper()
	native, err := c.Native()
	if err != nil {
		t.Fatal(err)
	}
	engine := wazero.NewRuntimeWithConfig(t.Context(), Runtime().WithCompilationCache(native))
	t.Cleanup(func() { engine.Close(context.Background()); native.Close(context.Background()) })
	return func(ctx context.Context, wasm []byte, started func()) error {
		read := func() ([]byte, error) { return wasm, nil }
		module, err := c.Load(ctx, engine, sha256.Sum256(wasm), read, started)
		if err == nil {
			err = module.Close(ctx)
		}
		return err
	}
}

func uleb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// section is one of a module: its number, and its content.
func section(id byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	return bytes.Join([][]byte{{id}, uleb(uint64(len(body))), body}, nil)
}

func module(sections ...[]byte) []byte {
	return append([]byte("\x00asm\x01\x00\x00\x00"), bytes.Join(sections, nil)...)
}

// function is a module of one function without parameters or results.
func function(body ...[]byte) []byte {
	code := bytes.Join(body, nil)
	return module(
		section(1, []byte{1, 0x60, 0, 0}), section(3, []byte{1, 0}), section(5, []byte{1, 0, 1}),
		section(10, []byte{1}, uleb(uint64(len(code))), code),
	)
}

// slow is a module of a few KiB that takes a compiler of n³ steps: n loops, one in
// the other, around n locals that each of them must hand on.
func slow(n int) []byte {
	body := [][]byte{{1}, uleb(uint64(n)), {0x7f}, bytes.Repeat([]byte{0x03, 0x40}, n)}
	for i := range n {
		local := uleb(uint64(i))
		body = append(body, []byte{0x20}, local, []byte{0x41, 1, 0x6a, 0x21}, local)
	}
	return function(append(body, bytes.Repeat([]byte{0x20, 0, 0x0d, 0, 0x0b}, n), []byte{0x0b})...)
}

func stage(t *testing.T, err error, want, reason string) {
	t.Helper()
	var m *ModuleError
	if !errors.As(err, &m) || m.Stage != want || !strings.HasPrefix(m.Reason, reason) {
		t.Errorf("got %v, want stage %s: %s", err, want, reason)
	}
}

// left lists what a compilation left in the cache.
func left(t *testing.T, c *Cache) []string {
	t.Helper()
	names, err := filesIn(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	half, err := filepath.Glob(filepath.Join(c.dir, "*", cache.NewPrefix+"*"))
	if err != nil || len(half) > 0 {
		t.Errorf("half made: %q %v", half, err)
	}
	return names
}

func TestModuleIsMadeOnce(t *testing.T) {
	c := open(t, roomy)
	load := loader(t, c)
	wasm := function([]byte{0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b})
	started := 0
	for range 2 {
		if err := load(t.Context(), wasm, func() { started++ }); err != nil {
			t.Fatal(err)
		}
	}
	if started != 1 {
		t.Errorf("made %d times, want once", started)
	}
	if names := left(t, c); len(names) != 2 {
		t.Errorf("got %q, want an entry and native code", names)
	}
}

// Any number of goroutines and processes may want the same module at once.
func TestModuleAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	wasm := slow(100)
	var all sync.WaitGroup
	for range 3 {
		c, err := OpenCache(dir, roomy)
		if err != nil {
			t.Fatal(err)
		}
		load := loader(t, c)
		var mu sync.Mutex
		made := 0
		var mine sync.WaitGroup
		for range 3 {
			mine.Go(func() {
				if err := load(t.Context(), wasm, func() { mu.Lock(); made++; mu.Unlock() }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			mine.Wait()
			if made > 1 {
				t.Errorf("one cache made it %d times", made)
			}
		})
	}
	all.Wait()
	if names := left(t, &Cache{dir: dir}); len(names) != 2 {
		t.Errorf("got %q, want an entry and native code", names)
	}
}

func TestBadModules(t *testing.T) {
	c := open(t, Bounds{Time: time.Minute, Memory: 512 << 20, Module: 1 << 20})
	big := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	for _, m := range []struct {
		name          string
		wasm          []byte
		stage, reason string
	}{
		{"no module", []byte("\x7fELF"), StageValidate, "it is not valid: "},
		{"a global that is not there", function([]byte{0, 0x23, 0, 0x1a, 0x0b}), StageValidate, "it is not valid: "},
		{"a function that is not there", function([]byte{0, 0x10, 1, 0x0b}), StageValidate, "it is not valid: "},
		{"atomics", function([]byte{0, 0x41, 0, 0x41, 0, 0xfe, 0, 2, 0, 0x1a, 0x0b}), StageValidate, "it is not valid: "},
		{"too large", make([]byte, 1<<20+1), StageBounds, "it has 1048577 bytes, more than the 1048576 this host takes"},
		{"four billion locals", function([]byte{1}, big, []byte{0x7f, 0x0b}), StageBounds, "the compiler ended while it worked on it: out of memory (512 MiB), or by a fault of the module"},
		{"four billion types", module(section(1, big)), "", ""},
		{"four billion imports", module(section(2, big)), "", ""},
		{"four billion functions", module(section(3, big)), "", ""},
		{"four billion tables", module(section(4, big)), "", ""},
		{"four billion globals", module(section(6, big)), "", ""},
		{"four billion exports", module(section(7, big)), "", ""},
		{"four billion elements", module(section(9, big)), "", ""},
		{"four billion bodies", module(section(1, []byte{1, 0x60, 0, 0}), section(3, []byte{1, 0}), section(10, big)), "", ""},
		{"four billion data", module(section(5, []byte{1, 0, 1}), section(11, big)), "", ""},
		{"four billion names", module(section(0, []byte{4}, []byte("name"), []byte{1, 6}, big)), "", ""},
		{"a table of four billion", module(section(4, []byte{1, 0x70, 0}, big)), "", ""},
	} {
		t.Run(m.name, func(t *testing.T) {
			started := time.Now()
			err := loader(t, c)(t.Context(), m.wasm, nil)
			t.Logf("%v: %.150v", time.Since(started), err)
			if m.stage != "" {
				stage(t, err, m.stage, m.reason)
				return
			}
			var fault *ModuleError
			if err != nil && !errors.As(err, &fault) {
				t.Errorf("got %v", err)
			}
		})
	}
	left(t, c)
}

// A module that takes too long to compile ends with its child.
func TestSlowModule(t *testing.T) {
	c := open(t, Bounds{Time: time.Second, Memory: 2 << 30, Module: 1 << 20})
	wasm := slow(900)
	started := time.Now()
	err := loader(t, c)(t.Context(), wasm, nil)
	t.Logf("a module of %d bytes was given up after %v", len(wasm), time.Since(started))
	stage(t, err, StageBounds, "compiling it takes longer than 1s")
	if names := left(t, c); len(names) != 0 {
		t.Errorf("left %q", names)
	}
	noChildren(t)
}

// Cancelling ends the child, and what waits for it goes on by itself.
func TestCancelled(t *testing.T) {
	c := open(t, roomy)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no more")
	load := loader(t, c)
	started := time.Now()
	err := load(ctx, slow(900), func() { cancel(why) })
	t.Logf("took %v", time.Since(started))
	if !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	waiting, stop := context.WithCancelCause(t.Context())
	began := make(chan struct{})
	first := make(chan error)
	ctx, cancel = context.WithCancelCause(t.Context())
	go func() {
		first <- load(ctx, slow(900), func() { close(began) })
	}()
	<-began
	stop(why)
	if err := load(waiting, slow(900), nil); !errors.Is(err, why) {
		t.Errorf("who waits got %v, want %v", err, why)
	}
	cancel(why)
	if err := <-first; !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	noChildren(t)
	left(t, c)
}
