package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/audit"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) cacheCommand() *cli.Command {
	return &cli.Command{
		Name:  "cache",
		Usage: "see to what is kept so that agents start fast",
		Subcommands: []*cli.Command{
			{
				Name:  "dir",
				Usage: "print the folder of the cache",
				Description: `The cache holds packages, unpacked and checked, and their modules as native code.
Both are found by digest, never by name or time, so a changed file is a new entry.
The folder is trusted like the program itself: it must be yours, with mode 0700,
and is refused otherwise. XDG_CACHE_HOME moves it. It can be deleted at any time:
what is missing is made again.`,
				Action: p.cacheDir,
			},
			{
				Name:      "warm",
				Usage:     "unpack and compile packages, so that their first run is fast",
				ArgsUsage: "PKG…",
				Description: `A PKG is a packed package, a folder with a manifest.json, a WebAssembly module, or
the id of an installed package.
Compiling a module takes seconds, once: run does it too where it was not done
before. Nothing of the package is run, and no rights are needed.`,
				Flags:  []cli.Flag{planeFlag()},
				Action: p.cacheWarm,
			},
			{
				Name:      "clean",
				Usage:     "remove what is in the cache",
				ArgsUsage: "[PKG…]",
				Description: `Removes everything, or the packages named and their modules; a PKG is an id, or
what run takes. What an earlier version or a killed process left goes too, and
where no PKG is named the indexes that trace keeps of sessions and ledger prove of
ledgers. Agents that run meanwhile are not disturbed.`,
				Flags: []cli.Flag{
					olderThanFlag("only what was last used"),
				},
				Action: p.cacheClean,
			},
		},
	}
}

// openCache opens the user's cache.
func openCache() (*host.Cache, error) {
	dir, err := host.CacheDir()
	if err != nil {
		return nil, err
	}
	cache, err := host.OpenCache(dir)
	return cache, cacheError(err)
}

// cacheError gives the user a way out where the cache cannot be used; nil if err
// is.
func cacheError(err error) error {
	return rootError(err, "compiled modules are kept in the user's cache folder, which must be yours alone (chmod 700); XDG_CACHE_HOME names another one")
}

// newRunner is what compiles and runs modules, with progress on a terminal.
func (p *program) newRunner(ctx context.Context, cache *host.Cache, least host.Fence) (*host.Runner, error) {
	runner, err := host.NewRunner(ctx, host.Config{CacheDir: cache.Dir(), MinFence: least, Compiling: func(id string, done bool) {
		if !done {
			p.term.progress("compiling %s, once …", id)
		}
	}})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, err
	}
	return runner, cacheError(err)
}

func (p *program) cacheDir(c *cli.Context) error {
	if err := p.noOperands(c); err != nil {
		return err
	}
	dir, err := host.CacheDir()
	if err != nil {
		return err
	}
	if p.json {
		return p.term.value(map[string]string{"dir": dir})
	}
	p.term.line("%s", dir)
	return nil
}

// warmed is a package in cache warm --json.
type warmed struct {
	ID       string      `json:"id"`
	Version  string      `json:"version"`
	SHA256   ledger.Hash `json:"sha256"`
	Module   ledger.Hash `json:"module_sha256,omitzero"` // none of a library
	Compiled bool        `json:"compiled"`               // now; false: it was before
}

func (p *program) cacheWarm(c *cli.Context) error {
	names, err := p.operands(c, 1, -1)
	if err != nil {
		return err
	}
	cache, err := openCache()
	if err != nil {
		return err
	}
	runner, err := p.newRunner(c.Context, cache, host.FenceFull) // nothing is run
	if err != nil {
		return err
	}
	defer runner.Close(context.WithoutCancel(c.Context))
	list := []warmed{}
	for _, name := range names {
		w, err := p.warm(c, cache, runner, name)
		if err != nil {
			return err
		}
		list = append(list, w)
		switch {
		case p.json:
		case w.Compiled:
			p.term.line("%s %s is ready: compiled", w.ID, w.Version)
		default:
			p.term.line("%s %s is ready", w.ID, w.Version)
		}
	}
	if p.json {
		return p.term.value(map[string]any{"packages": list})
	}
	return nil
}

// warm has the cache keep a package and its module.
func (p *program) warm(c *cli.Context, cache *host.Cache, runner *host.Runner, name string) (w warmed, err error) {
	pkg, err := p.namedPackage(c, cache, name)
	if err != nil {
		return w, err
	}
	defer pkg.Close()
	const room = "make room in the cache folder, agenthost cache clean does, or name another one with XDG_CACHE_HOME"
	if err := pkg.NotKept(); err != nil {
		return w, &failure{message: fmt.Sprintf("%s cannot be kept: %v", pkg.Manifest.ID, err), hint: room, code: exitHost, err: err}
	}
	w = warmed{ID: pkg.Manifest.ID, Version: pkg.Manifest.Version, SHA256: pkg.Digest}
	if pkg.Guest != nil {
		w.Module = pkg.Guest.Module
	}
	w.Compiled, err = runner.Warm(c.Context, pkg.Package)
	var module *host.ModuleError
	if errors.As(err, &module) {
		return w, err
	}
	return w, rootError(err, room)
}

func (p *program) cacheClean(c *cli.Context) error {
	names, err := p.operands(c, 0, -1)
	if err != nil {
		return err
	}
	var what host.Cleaning
	if what.Unused, err = olderThan(c); err != nil {
		return err
	}
	for _, name := range names {
		if err := chooseEntries(&what, name); err != nil {
			return err
		}
	}
	cache, err := openCache()
	if err != nil {
		return err
	}
	done, err := cache.Clean(what)
	if err == nil && len(names) == 0 {
		old := func(used time.Time) bool { return what.Unused == 0 || time.Since(used) > what.Unused }
		var sessions, proofs int64
		if sessions, err = audit.CleanIndexes(cache.Dir(), old); err == nil {
			proofs, err = cleanProofs(cache.Dir(), old)
		}
		done.Bytes += sessions + proofs
	}
	if err != nil {
		return rootError(err, "make the cache folder writable, or delete it: agenthost cache dir prints its name")
	}
	if p.json {
		return p.term.value(done)
	}
	if len(names) > 0 && done.Packages == 0 {
		p.term.note("the cache holds nothing of %s", strings.Join(names, ", "))
	}
	p.term.line("removed %s and %s: %s", count(done.Packages, "package"), count(done.Modules, "compiled module"), bytesText(done.Bytes))
	return nil
}

// chooseEntries adds a package to what is removed: by its id, or by what it is.
func chooseEntries(what *host.Cleaning, name string) error {
	_, missing := os.Stat(name)
	if errors.Is(missing, fs.ErrNotExist) && archive.CheckID("PKG", name) == nil {
		what.Packages = append(what.Packages, name)
		return nil
	}
	pkg, err := archive.OpenPath(name)
	if err != nil {
		return openError(name, err)
	}
	what.Digests = append(what.Digests, pkg.Digest)
	return pkg.Close()
}
