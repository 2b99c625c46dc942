package host

import (
	"context"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/ledger"
)

// A guest is a compiled module, shared by the turns that run it.
type guest struct {
	ready  chan struct{} // closed when the rest is set
	gaveUp bool          // err is about the turn that compiled it
	module wazero.CompiledModule
	wasi   api.Module // what it imports of WASI
	err    error
}

// guest returns the compiled module of a package, compiling it if it must.
// Whoever comes first compiles; others wait for it.
func (r *Runner) guest(ctx context.Context, pkg *archive.Package, missing map[string]signature) (*guest, ledger.Hash, error) {
	sum := pkg.Guest.Module
	for {
		g, first := r.find(sum)
		if first {
			g.module, g.wasi, g.err = r.compile(ctx, pkg, missing)
			g.gaveUp = ctx.Err() != nil
			r.publish(sum, g)
			return g, sum, g.err
		}
		select {
		case <-g.ready:
		case <-ctx.Done():
			return nil, sum, context.Cause(ctx)
		}
		if g.err == nil || !g.gaveUp {
			return g, sum, g.err
		}
	}
}

// find returns the guest of a module, and whether the caller is to make it.
func (r *Runner) find(sum ledger.Hash) (g *guest, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g := r.compiled[sum]; g != nil {
		return g, false
	}
	g = &guest{ready: make(chan struct{})}
	r.compiled[sum] = g
	return g, true
}

// publish lets others have a guest. One that could not be made is forgotten: the
// next turn tries again.
func (r *Runner) publish(sum ledger.Hash, g *guest) {
	if g.err != nil {
		r.mu.Lock()
		delete(r.compiled, sum)
		r.mu.Unlock()
	}
	close(g.ready)
}

func (r *Runner) compile(ctx context.Context, pkg *archive.Package, missing map[string]signature) (wazero.CompiledModule, api.Module, error) {
	module, _, err := r.load(ctx, pkg)
	if err != nil {
		return nil, nil, err
	}
	// The name is one that no guest can import: packages that do are refused.
	wasi, err := r.instantiateWASI(ctx, abi.WASIModule+" of "+pkg.Guest.Module.String(), pkg.Guest.Imports, missing)
	return module, wasi, err
}

// load gives the engine the module of a package, and reports whether it had to be
// compiled.
func (r *Runner) load(ctx context.Context, pkg *archive.Package) (module wazero.CompiledModule, compiled bool, err error) {
	started := func() {
		compiled = true
		if r.cfg.Compiling != nil {
			r.cfg.Compiling(pkg.Manifest.ID, false)
		}
	}
	module, err = r.cache.Load(ctx, r.runtime, pkg.Guest.Module, pkg.Module, started)
	if compiled && r.cfg.Compiling != nil {
		r.cfg.Compiling(pkg.Manifest.ID, true)
	}
	return module, compiled, err
}
