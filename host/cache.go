package host

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/cache"
	"github.com/agenthost/agenthost/host/internal/compile"
	"github.com/agenthost/agenthost/ledger"
)

// An UnsafeCacheError says why a folder cannot hold code that is executed.
type UnsafeCacheError = cache.UnsafeError

// CacheDir is where the cache of the user lies: agenthost in the user's cache
// folder. The error is a *[RequestError].
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", &RequestError{"there is no folder for compiled modules: " + err.Error(), "set XDG_CACHE_HOME or HOME to a folder of yours"}
	}
	return filepath.Join(dir, "agenthost"), nil
}

// A Cache keeps what need not be found out twice: packages, unpacked and checked,
// by the digest of what they were read from, compiled modules by their own, and
// the digests of files that commands could see.
// It belongs to the user alone, is trusted, and is refused otherwise. All in it
// is made again where it is missing. A Cache is safe for concurrent use, also by
// several processes.
type Cache struct {
	dir      string
	packages *archive.Cache
}

// OpenCache opens the cache in a folder, which it makes if it is absent. Errors
// are an *[UnsafeCacheError], or those of the system.
func OpenCache(dir string) (*Cache, error) {
	packages, err := archive.OpenCache(dir)
	if err != nil {
		return nil, err
	}
	return &Cache{dir, packages}, nil
}

// Dir is the folder, as a [Config] takes it.
func (c *Cache) Dir() string { return c.dir }

// Packages is the part of the cache that keeps packages.
func (c *Cache) Packages() *archive.Cache { return c.packages }

// OpenPackage is [archive.OpenPath] with the cache.
func (c *Cache) OpenPackage(path string) (*archive.Package, error) { return c.packages.OpenPath(path) }

// Cleaning says what to remove from a cache. The zero value is everything.
type Cleaning struct {
	Unused   time.Duration // only what was of no use for so long; zero: whatever its age
	Packages []string      // only the packages with these ids, and their modules; nil: all
	Digests  []ledger.Hash // and those with these digests
}

// Cleaned is what was removed.
type Cleaned struct {
	Packages int   `json:"packages"`
	Modules  int   `json:"modules"`
	Bytes    int64 `json:"bytes"` // on disk
}

// Clean removes what it is asked to, what this version cannot read, and what
// processes that were killed left half made. Beside processes that use the cache
// it does no harm: what they have open stays, the rest is made again.
func (c *Cache) Clean(w Cleaning) (Cleaned, error) {
	before := time.Now().Add(-w.Unused)
	unused := func(used time.Time) bool { return w.Unused == 0 || used.Before(before) }
	chosen := w.Packages != nil || w.Digests != nil
	stay := map[ledger.Hash]bool{} // modules of packages that stay
	packages, freed, err := c.packages.Clean(func(k archive.Kept) bool {
		drop := unused(k.Used) &&
			(!chosen || slices.Contains(w.Packages, k.ID) || slices.Contains(w.Digests, k.SHA256))
		stay[k.Module] = stay[k.Module] || !drop
		return drop
	})
	done := Cleaned{Packages: len(packages), Bytes: freed}
	if err != nil {
		return done, err
	}
	if !chosen {
		freed, err := cleanDigests(c.dir, unused, time.Now())
		if done.Bytes += freed; err != nil {
			return done, err
		}
	}
	gone := map[ledger.Hash]bool{}
	for _, k := range packages {
		gone[k.Module] = !stay[k.Module]
	}
	done.Modules, freed, err = compile.Clean(c.dir, func(sum [32]byte, used time.Time) bool {
		if chosen {
			return gone[sum]
		}
		return unused(used)
	})
	done.Bytes += freed
	return done, err
}

// Warm has the module of a package compiled, if that is still to do, and reports
// whether it was. A library has none. Errors are a *[RequestError], a
// *[ModuleError], or an error of the host.
func (r *Runner) Warm(ctx context.Context, pkg *archive.Package) (compiled bool, err error) {
	if pkg.Guest == nil {
		return false, nil
	}
	module, compiled, err := r.load(ctx, pkg)
	if err != nil {
		return compiled, err
	}
	return compiled, module.Close(ctx)
}
