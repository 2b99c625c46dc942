// Package compile makes a module ready for the engine: it is validated, metered
// and compiled in a child process with bounded memory and time, and kept in a
// cache by its digest.
//
// A small module can take minutes to compile or exhaust memory while it is
// decoded, and neither can be interrupted from within the process. So the host
// itself only ever decodes what a child survived.
//
// The cache holds native code that will be executed. It is trusted, belongs to
// the user alone, and is refused otherwise. So what a child found out is not
// found out again: see outlineOf.
package compile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/cpu"

	"github.com/agenthost/agenthost/host/internal/cache"
	"github.com/agenthost/agenthost/host/internal/meter"
)

// Features are what a module may use. What is not among them, and what the
// meter does not know, is refused by name.
const Features = api.CoreFeaturesV2 |
	experimental.CoreFeaturesTailCall |
	experimental.CoreFeaturesExtendedConst |
	experimental.CoreFeaturesExceptionHandling

// Runtime returns the configuration of the engine that modules are compiled
// for.
func Runtime() wazero.RuntimeConfig {
	return wazero.NewRuntimeConfigCompiler().WithCoreFeatures(Features).WithDebugInfoEnabled(false)
}

// Bounds limit one compilation.
type Bounds struct {
	Time   time.Duration // wall clock, and CPU time rounded up to seconds
	Memory int64         // bytes of the child's data
	Module int64         // bytes of the module
}

// A Cache keeps the outlines of metered modules and their native code in a folder. It is safe
// for concurrent use, also by several processes.
type Cache struct {
	dir    string
	engine string // what native code depends on beside the module: see engineName
	bounds Bounds

	mu   sync.Mutex
	busy map[string]chan struct{} // by key: closed when its compilation ended
}

// Parts of a cache.
const (
	modulesDir = "modules" // an entry for each module: see entry
	nativeDir  = "native"  // wazero's own cache
)

// OpenCache opens the cache in a folder, which is made if it is absent. It
// fails if the folder is not the user's own or others may enter it
// (*[cache.UnsafeError]).
func OpenCache(dir string, bounds Bounds) (*Cache, error) {
	if err := cache.Open(dir, modulesDir, nativeDir); err != nil {
		return nil, err
	}
	return &Cache{dir: dir, engine: engineName(), bounds: bounds, busy: map[string]chan struct{}{}}, nil
}

// engineName returns a name for everything that wazero's native code depends on
// besides the module: its version, the architecture, and what this processor can
// do, where it looks at a few of the features that are named here.
func engineName() string {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/tetratelabs/wazero" {
				version = d.Version
			}
		}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %+v %+v", version, runtime.GOARCH, cpu.X86, cpu.ARM64))
	return hex.EncodeToString(sum[:8])
}

// Native returns wazero's cache of native code, which lies in c.
func (c *Cache) Native() (wazero.CompilationCache, error) {
	native, err := wazero.NewCompilationCacheWithDir(filepath.Join(c.dir, nativeDir))
	if err != nil {
		return nil, fmt.Errorf("open the cache of native code: %w", err)
	}
	return native, nil
}

// A ModuleError says why a module cannot be run at all.
type ModuleError struct {
	Stage  string // one of the stages below
	Reason string
}

// Stages in which a module is found unfit.
const (
	StageValidate = "validate" // it is not valid, or uses what the engine does not have
	StageMeter    = "meter"    // it uses what cannot be metered
	StageCompile  = "compile"
	StageBounds   = "bounds" // it takes more time or memory than a module may
)

func (e *ModuleError) Error() string { return "the module cannot be run: " + e.Reason }

// errReplaced is why a module that was loaded is not used.
var errReplaced = errors.New("its native code was replaced meanwhile")

// Load gives the engine a module, which is known by its digest and whose native
// code is in the cache. Where it is not, started is called and a child makes it
// of what read returns. Where the engine cannot take what it finds there, as
// after a crash of the machine, it is made once more. The error is a
// *[ModuleError] where the module is at fault, or the context's.
//
// engine must have the cache's own [Cache.Native].
func (c *Cache) Load(ctx context.Context, engine wazero.Runtime, sum [sha256.Size]byte, read func() ([]byte, error), started func()) (wazero.CompiledModule, error) {
	key := c.key(sum)
	release, err := c.acquire(ctx, key)
	if err != nil {
		return nil, err
	}
	defer release()
	var failed error
	for range 2 {
		e, err := c.load(key)
		if err == nil && e == nil {
			e, err = c.make(ctx, key, sum, read, started)
		}
		if err != nil {
			return nil, err
		}
		module, err := c.give(ctx, engine, e)
		if err == nil {
			return module, nil
		}
		failed = fmt.Errorf("load the compiled module: %w", err)
		if err := c.forget(key, e); err != nil {
			return nil, errors.Join(failed, err)
		}
	}
	return nil, failed
}

// make compiles a module in a child.
func (c *Cache) make(ctx context.Context, key string, sum [sha256.Size]byte, read func() ([]byte, error), started func()) (*entry, error) {
	wasm, err := read()
	if err != nil {
		return nil, err
	}
	if int64(len(wasm)) > c.bounds.Module {
		return nil, &ModuleError{StageBounds, fmt.Sprintf("it has %d bytes, more than the %d this host takes", len(wasm), c.bounds.Module)}
	}
	if sha256.Sum256(wasm) != sum {
		return nil, errors.New("compile the module: it is not the one its digest names")
	}
	if started != nil {
		started()
	}
	return c.inChild(ctx, key, wasm)
}

// give has the engine load an entry. Should the native code be gone by then, or
// the engine look for it elsewhere, it compiles the outline in its place and
// files that: it is quick and harmless, but no agent. So the file must be the
// same one after as before, and none may have come beside it but by others.
func (c *Cache) give(ctx context.Context, engine wazero.Runtime, e *entry) (wazero.CompiledModule, error) {
	native := filepath.Join(c.dir, nativeDir, e.Native)
	before, err1 := os.Lstat(native)
	folder, err2 := os.Lstat(filepath.Dir(native))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	module, err := engine.CompileModule(ctx, e.outline)
	if err != nil {
		return nil, err
	}
	after, err := os.Lstat(native)
	if err != nil || !os.SameFile(before, after) || before.Size() != e.NativeSize || after.Size() != e.NativeSize {
		return nil, errors.Join(errReplaced, module.Close(ctx))
	}
	now, err := os.Lstat(filepath.Dir(native))
	if err != nil || !now.ModTime().Equal(folder.ModTime()) {
		name, err := c.nameOf(ctx, e.outline)
		if err != nil || name != e.Native {
			return nil, errors.Join(errReplaced, err, module.Close(ctx))
		}
	}
	return module, nil
}

// nameOf is the file in which the engine looks for the native code of an
// outline.
func (c *Cache) nameOf(ctx context.Context, outline []byte) (string, error) {
	dir, err := os.MkdirTemp(filepath.Join(c.dir, nativeDir), cache.NewPrefix)
	if err != nil {
		return "", fmt.Errorf("write the cache: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := compileInto(ctx, dir, outline); err != nil {
		return "", fmt.Errorf("start the compiler: %w", err)
	}
	return onlyFile(dir)
}

// forget drops an entry and its native code.
func (c *Cache) forget(key string, e *entry) error {
	for _, path := range []string{c.entryPath(key), filepath.Join(c.dir, nativeDir, e.Native)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// key names an entry: the module, what the meter makes of it, what an entry is,
// and the engine.
func (c *Cache) key(sum [sha256.Size]byte) string {
	return fmt.Sprintf("%x-m%d.%d-%s", sum, meter.Version, entryVersion, c.engine)
}

// acquire waits until no other goroutine compiles the module of that key.
// Several processes may: each does the whole work, and the last one's files,
// equal to the others', stay.
func (c *Cache) acquire(ctx context.Context, key string) (release func(), err error) {
	for {
		c.mu.Lock()
		busy := c.busy[key]
		if busy == nil {
			done := make(chan struct{})
			c.busy[key] = done
			c.mu.Unlock()
			return func() {
				c.mu.Lock()
				delete(c.busy, key)
				c.mu.Unlock()
				close(done)
			}, nil
		}
		c.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
