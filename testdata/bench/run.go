package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
)

// request is what guests find on stdin; agenthost writes its own around it.
const request = `{"query":{"topic":"docs"}}`

// A runs runs a verb of a guest to its end, in a fresh instance.
type runs func(verb string, n int) error

// args are those of a verb. None is what hello needs.
func args(verb string, n int) []string {
	if n == 0 {
		return []string{verb}
	}
	return []string{verb, strconv.Itoa(n)}
}

// checkAnswer finds a guest that did not do its work.
func checkAnswer(out []byte) error {
	if !bytes.HasPrefix(out, []byte(`{"answer":`)) {
		return fmt.Errorf("the guest answered %.200q", out)
	}
	return nil
}

// governed returns a function that runs turns of a guest, one after the other in
// one session, whose root is a new folder in the folder root.
func (l *lab) governed(wasm []byte, root string) (runs, error) {
	runner, err := l.runner()
	if err != nil {
		return nil, err
	}
	workspace, err := l.workspace()
	if err != nil {
		return nil, err
	}
	return l.turns(runner, wasm, root, workspace, capability.Grants{Read: []string{"docs/**/*.txt", "*.bin"}})
}

// turns is governed with a runner, a workspace and what is granted in it.
func (l *lab) turns(runner *host.Runner, wasm []byte, root, workspace string, granted capability.Grants) (runs, error) {
	folder, err := os.MkdirTemp(root, "root-")
	if err != nil {
		return nil, err
	}
	pkg, err := l.pack(wasm, granted)
	if err != nil {
		return nil, err
	}
	turn := func(args []string) (*host.Prepared, error) {
		return runner.Prepare(l.ctx, pkg, host.Turn{
			Workspace: workspace, Query: json.RawMessage(`{"topic":"docs"}`), Args: args, Protected: []string{folder},
			Narrow: policy.Narrow{Accepted: true},
		})
	}
	first, err := turn(nil) // compiles
	if err != nil {
		return nil, err
	}
	defer first.Close()
	at, err := session.OpenRoot(session.Options{Workspace: workspace, Root: filepath.Join(folder, "root"), Key: l.hostKey})
	if err != nil {
		return nil, err
	}
	id, err := session.NewID(time.Now(), rand.Reader)
	if err != nil {
		return nil, err
	}
	s, err := at.Create(l.ctx, session.Opening{ID: id, Plane: "ho1", Open: first.Opening(), Seed: make([]byte, 32)})
	if err != nil {
		return nil, err
	}
	return func(verb string, n int) error {
		p, err := turn(args(verb, n))
		if err != nil {
			return err
		}
		result, err := p.Run(l.ctx, s)
		if err != nil {
			return err
		}
		if result.Status != record.StatusOK {
			return fmt.Errorf("the turn ended as %s %s: %s", result.Status, result.Code, result.Message)
		}
		return checkAnswer(result.Output)
	}, nil
}

// pack makes the package of a guest.
func (l *lab) pack(wasm []byte, asks capability.Grants) (*archive.Package, error) {
	dir, err := os.MkdirTemp(l.dir, "package-")
	if err != nil {
		return nil, err
	}
	manifest, err := archive.Manifest{
		Schema: archive.ManifestSchema, ID: "PKG-BENCH-001", Version: "0.1.0",
		Entry:        &archive.Entry{Module: "agent.wasm"},
		Capabilities: asks,
	}.Encode()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o644),
		os.WriteFile(filepath.Join(dir, "agent.wasm"), wasm, 0o644),
	); err != nil {
		return nil, err
	}
	return archive.FromFolder(dir)
}

// plain returns a function that runs a guest in wazero as it is, with the
// workspace as its root, read-only.
func (l *lab) plain(wasm []byte) (runs, error) {
	workspace, err := l.workspace()
	if err != nil {
		return nil, err
	}
	cache, err := l.plainCache()
	if err != nil {
		return nil, err
	}
	r := wazero.NewRuntimeWithConfig(l.ctx, wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache))
	if _, err := wasi_snapshot_preview1.Instantiate(l.ctx, r); err != nil {
		return nil, err
	}
	l.say("compiling for wazero")
	module, err := r.CompileModule(l.ctx, wasm)
	if err != nil {
		return nil, err
	}
	return func(verb string, n int) error {
		var out bytes.Buffer
		instance, err := r.InstantiateModule(l.ctx, module, plainConfig(&out).
			WithArgs(append([]string{"agent"}, args(verb, n)...)...).
			WithFSConfig(wazero.NewFSConfig().WithReadOnlyDirMount(workspace, "/")))
		var exit *sys.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 0 {
			err = nil
		}
		if instance != nil {
			err = errors.Join(err, instance.Close(l.ctx))
		}
		if err != nil {
			return err
		}
		return checkAnswer(out.Bytes())
	}, nil
}

func plainConfig(out *bytes.Buffer) wazero.ModuleConfig {
	return wazero.NewModuleConfig().WithName("").WithStdin(strings.NewReader(request)).WithStdout(out).WithRandSource(rand.Reader)
}

// A guest is one guest under both hosts.
type guest struct {
	name            string
	governed, plain runs
}

// both makes a guest of a module.
func (l *lab) both(name string, wasm []byte, root string) (g guest, err error) {
	g.name = name
	if g.plain, err = l.plain(wasm); err != nil {
		return g, err
	}
	g.governed, err = l.governed(wasm, root)
	return g, err
}

// goIn is the Go guest, with sessions in root.
func (l *lab) goIn(root string) (guest, error) {
	wasm, err := l.goGuest()
	if err != nil {
		return guest{}, err
	}
	return l.both("Go guest", wasm, root)
}

// assembled is a guest of which each n is a module of its own.
func (l *lab) assembled(name, root string, build func(n int) program) guest {
	made := map[int]guest{}
	of := func(n int) (guest, error) {
		g, ok := made[n]
		if !ok {
			var err error
			if g, err = l.both(name, build(n).assemble(), root); err != nil {
				return g, err
			}
			made[n] = g
		}
		return g, nil
	}
	return guest{
		name: name,
		governed: func(verb string, n int) error {
			g, err := of(n)
			if err != nil {
				return err
			}
			return g.governed(verb, n)
		},
		plain: func(verb string, n int) error {
			g, err := of(n)
			if err != nil {
				return err
			}
			return g.plain(verb, n)
		},
	}
}

// smallIn is the small guest: C where that can be built, else assembled.
func (l *lab) smallIn(root, verb string) (guest, error) {
	c, err := l.cGuest()
	if err != nil {
		return guest{}, err
	}
	if c.wasm != nil {
		return l.both("C guest", c.wasm, root)
	}
	return l.assembled("guest assembled by hand", root, func(n int) program {
		switch verb {
		case "reads":
			return readFiles(n)
		case "big":
			return readBig()
		}
		return hello()
	}), nil
}

// measured gives samplers of a guest's verb under one host, each the best of
// several runs.
func measured(times int, r runs, verb string) func(n int) sampler {
	return func(n int) sampler {
		return best(times, inProcess(1, func() error { return r(verb, n) }))
	}
}
