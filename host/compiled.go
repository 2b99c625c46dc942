package host

import (
	"context"
	"errors"
	"fmt"

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
	wasi   api.Module // its own WASI, where it imports functions WASI does not have
	err    error
}

// guest returns the compiled module of a package, compiling it if it must.
// Whoever comes first compiles; others wait for it.
func (r *Runner) guest(ctx context.Context, pkg *archive.Package, missing map[string]signature) (*guest, ledger.Hash, error) {
	wasm, err := pkg.Module()
	if err != nil {
		return nil, ledger.Hash{}, err
	}
	sum := ledger.Sum(wasm)
	for {
		g, first := r.find(sum)
		if first {
			g.module, g.wasi, g.err = r.compile(ctx, pkg.Manifest.ID, wasm, missing)
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

func (r *Runner) compile(ctx context.Context, id string, wasm []byte, missing map[string]signature) (wazero.CompiledModule, api.Module, error) {
	started := func() {}
	if tell := r.cfg.Compiling; tell != nil {
		told := false
		started = func() { told = true; tell(id, false) }
		defer func() {
			if told {
				tell(id, true)
			}
		}()
	}
	module, err := r.load(ctx, wasm, started)
	if err != nil || len(missing) == 0 {
		return module, nil, err
	}
	// The name is one that no guest can import: packages that do are refused.
	wasi, err := r.instantiateWASI(ctx, abi.WASIModule+" of "+ledger.Sum(wasm).String(), missing)
	return module, wasi, err
}

// load gives the engine a module whose native code is in the cache. Where the
// engine cannot take what it finds there, as after a crash of the machine, it is
// made once more.
func (r *Runner) load(ctx context.Context, wasm []byte, started func()) (wazero.CompiledModule, error) {
	var failed error
	for range 2 {
		metered, err := r.cache.Module(ctx, wasm, started)
		if err != nil {
			return nil, err
		}
		module, err := r.runtime.CompileModule(ctx, metered)
		if err == nil {
			return module, nil
		}
		failed = fmt.Errorf("load the compiled module: %w", err)
		if err := r.cache.Forget(wasm); err != nil {
			return nil, errors.Join(failed, err)
		}
	}
	return nil, failed
}
