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
	bounds Bounds

	mu   sync.Mutex
	busy map[string]*sync.Mutex // by digest: one compilation at a time
}

// OpenCache opens the cache in a folder, which is made if it is absent. It
// fails if the folder is not the user's own or others may enter it.
func OpenCache(dir string, bounds Bounds) (*Cache, error) {
	for _, d := range []string{dir, filepath.Join(dir, modulesDir), filepath.Join(dir, nativeDir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the cache: %w", err)
		}
		if err := private(d); err != nil {
			return nil, err
		}
	}
	return &Cache{dir: dir, bounds: bounds, busy: map[string]*sync.Mutex{}}, nil
}

const (
	modulesDir = "modules" // metered modules by the digest of the original
	nativeDir  = "native"  // wazero's own cache
)

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

// Dir returns the folder of the cache.
func (c *Cache) Dir() string { return c.dir }

// A ModuleError says why a module cannot be run at all.
type ModuleError struct {
	Stage  string // "validate", "meter", "compile" or "bounds"
	Reason string
}

func (e *ModuleError) Error() string { return "the module cannot be run: " + e.Reason }

// Module returns the metered form of a module, ready for the engine. Where it is
// not cached, started is called and a child makes it. The error is a
// *[ModuleError] where the module is at fault.
func (c *Cache) Module(ctx context.Context, wasm []byte, started func()) ([]byte, error) {
	if int64(len(wasm)) > c.bounds.Module {
		return nil, &ModuleError{"bounds", fmt.Sprintf("it has %d bytes, more than the %d this host takes", len(wasm), c.bounds.Module)}
	}
	sum := sha256.Sum256(wasm)
	key := hex.EncodeToString(sum[:]) + "-m" + strconv.Itoa(meter.Version)
	lock := c.lock(key)
	lock.Lock()
	defer lock.Unlock()

	path := filepath.Join(c.dir, modulesDir, key+".wasm")
	metered, err := os.ReadFile(path)
	if err == nil {
		return metered, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	if started != nil {
		started()
	}
	metered, err = c.inChild(ctx, wasm)
	if err != nil {
		return nil, err
	}
	if err := store(path, metered); err != nil {
		return nil, fmt.Errorf("write the cache: %w", err)
	}
	return metered, nil
}

func (c *Cache) lock(key string) *sync.Mutex {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy[key] == nil {
		c.busy[key] = &sync.Mutex{}
	}
	return c.busy[key]
}

// store writes a file whole or not at all.
func store(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
