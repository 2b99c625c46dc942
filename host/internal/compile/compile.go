// Package compile makes a module ready for the engine: it is validated, metered
// and compiled in a child process with bounded memory and time, and kept in a
// cache by its digest.
//
// A small module can take minutes to compile or exhaust memory while it is
// decoded, and neither can be interrupted from within the process. So the host
// itself only ever decodes what a child survived.
//
// The cache holds native code that will be executed. It is trusted, belongs to
// the user alone, and is refused otherwise.
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
	"strconv"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

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

// A Cache keeps metered modules and their native code in a folder. It is safe
// for concurrent use, also by several processes.
type Cache struct {
	dir    string
	engine string // what native code depends on beside the module: see engineOf
	bounds Bounds

	mu   sync.Mutex
	busy map[string]chan struct{} // by key: closed when its compilation ended
}

// Parts of a cache.
const (
	modulesDir = "modules" // an entry for each module: see entry
	nativeDir  = "native"  // wazero's own cache
	newPrefix  = ".new-"   // what is being made, in either
)

// OpenCache opens the cache in a folder, which is made if it is absent. It
// fails if the folder is not the user's own or others may enter it
// (*[UnsafeCacheError]).
func OpenCache(ctx context.Context, dir string, bounds Bounds) (*Cache, error) {
	for _, d := range []string{dir, filepath.Join(dir, modulesDir), filepath.Join(dir, nativeDir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the cache: %w", err)
		}
		if err := private(d); err != nil {
			return nil, err
		}
	}
	c := &Cache{dir: dir, bounds: bounds, busy: map[string]chan struct{}{}}
	var err error
	c.engine, err = c.engineOf(ctx)
	return c, err
}

// engineOf returns a name for everything that wazero's native code depends on
// besides the module: its version, the architecture, the features of this
// processor. wazero does not tell them, but files code under a digest of them
// and the module: for the empty module, which is the same everywhere, the file's
// name stands for the rest.
func (c *Cache) engineOf(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("/dev/shm", "agenthost-") // wazero syncs what it files, which takes long on a disk
	if err != nil {
		dir, err = os.MkdirTemp(filepath.Join(c.dir, nativeDir), newPrefix)
	}
	if err != nil {
		return "", fmt.Errorf("write the cache: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := compileInto(ctx, dir, []byte("\x00asm\x01\x00\x00\x00")); err != nil {
		return "", fmt.Errorf("start the compiler: %w", err)
	}
	names, err := filesIn(dir)
	if err != nil || len(names) != 1 {
		return "", fmt.Errorf("start the compiler: it filed %d modules of 1: %w", len(names), err)
	}
	sum := sha256.Sum256([]byte(names[0]))
	return hex.EncodeToString(sum[:8]), nil
}

// An UnsafeCacheError says why a folder cannot hold trusted code.
type UnsafeCacheError struct{ Dir, Why string }

func (e *UnsafeCacheError) Error() string {
	return fmt.Sprintf("the cache folder %s %s; it holds code that is executed", e.Dir, e.Why)
}

func private(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("examine the cache: %w", err)
	}
	switch {
	case !info.IsDir():
		return &UnsafeCacheError{dir, "is not a folder"}
	case !ownedByUser(info):
		return &UnsafeCacheError{dir, "belongs to another user"}
	case info.Mode().Perm()&0o077 != 0:
		return &UnsafeCacheError{dir, fmt.Sprintf("can be entered by others (mode %04o)", info.Mode().Perm())}
	}
	return nil
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

// Module returns the metered form of a module, whose native code is in the
// cache. Where it is not, started is called and a child makes both. The error is
// a *[ModuleError] where the module is at fault, or the context's.
func (c *Cache) Module(ctx context.Context, wasm []byte, started func()) ([]byte, error) {
	if int64(len(wasm)) > c.bounds.Module {
		return nil, &ModuleError{StageBounds, fmt.Sprintf("it has %d bytes, more than the %d this host takes", len(wasm), c.bounds.Module)}
	}
	key := c.key(wasm)
	release, err := c.acquire(ctx, key)
	if err != nil {
		return nil, err
	}
	defer release()
	e, err := c.load(key)
	if err != nil || e != nil {
		return e, err
	}
	if started != nil {
		started()
	}
	return c.inChild(ctx, key, wasm)
}

// Forget drops what the cache has of a module: the engine could not load it, as
// after a crash that left a file half written.
func (c *Cache) Forget(wasm []byte) error {
	err := os.Remove(c.entryPath(c.key(wasm)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (c *Cache) key(wasm []byte) string {
	sum := sha256.Sum256(wasm)
	return hex.EncodeToString(sum[:]) + "-m" + strconv.Itoa(meter.Version) + "-" + c.engine
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
