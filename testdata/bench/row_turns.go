package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	extism "github.com/extism/go-sdk"
	"github.com/tetratelabs/wazero"

	"github.com/agenthost/agenthost/ledger"
)

// coldGo is G1: a whole run of a Go guest, from the start of the process to its
// end, with everything compiled.
func coldGo(l *lab) ([]line, error) {
	wasm, err := l.goGuest()
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("cold run, Go guest of %.1f MB", float64(len(wasm))/1e6)
	return l.cold(line{Row: "G1", What: what, Goal: 1.1}, wasm, 3)
}

// coldSmall is G2: the same with a small guest.
func coldSmall(l *lab) ([]line, error) {
	c, err := l.cGuest()
	if err != nil {
		return nil, err
	}
	wasm, what := c.wasm, "C guest"
	if wasm == nil {
		wasm, what = hello().assemble(), "guest assembled by hand ("+c.reason+")"
	}
	what = fmt.Sprintf("cold run, %s of %.1f kB", what, float64(len(wasm))/1e3)
	return l.cold(line{Row: "G2", What: what, Goal: 1.5}, wasm, 10)
}

// cold measures whole runs of a guest, each the best of n.
func (l *lab) cold(as line, wasm []byte, n int) ([]line, error) {
	dir, err := os.MkdirTemp(l.dir, "cold-")
	if err != nil {
		return nil, err
	}
	module := filepath.Join(dir, "guest.wasm")
	if err := os.WriteFile(module, wasm, 0o644); err != nil {
		return nil, err
	}
	ours, err := l.agenthost()
	if err != nil {
		return nil, err
	}
	us := best(n, process(command{
		name: ours, args: []string{"run", module, "--workspace", dir, "--query", `{"topic":"docs"}`, "--", "hello"},
		env: []string{"XDG_CACHE_HOME=" + l.cache(), "AGENTHOST_CONFIG=" + l.config()}, want: "answer",
	}))
	l.say("compiling for agenthost")
	if err := discard(us); err != nil {
		return nil, err
	}
	peers, err := l.coldPeers(module)
	if err != nil {
		return nil, err
	}
	var lines []line
	for i, peer := range peers {
		as := as
		if i > 0 {
			as.Goal = 0 // only the first is what the goal is about
		}
		as.Peer, as.Version = peer.name, peer.version
		if peer.absent != "" {
			lines = append(lines, as.said(peer.absent))
			continue
		}
		l.say("%s beside %s", as.Row, as.Peer)
		them := best(n, process(peer.run))
		if err := discard(them, us); err != nil && i > 0 {
			lines = append(lines, as.said("does not run it"))
			continue
		} else if err != nil {
			return nil, err
		}
		p, err := pair(l.rounds, us, them)
		if err != nil {
			return nil, err
		}
		lines = append(lines, p.line(wall, as), p.line(userSys, as))
	}
	return lines, nil
}

// freshTurn is G3: a turn in a running host, in an instance of its own.
func freshTurn(l *lab) ([]line, error) {
	as := line{Row: "G3", What: "fresh turn, Go guest, ledger in memory", Goal: 1.1}
	root, ok := l.memory()
	if !ok {
		as.What, root = "fresh turn, Go guest (waiting for the flush is no CPU time)", l.dir
	}
	g, err := l.goIn(root)
	if err != nil {
		return nil, err
	}
	const turns = 10
	us := inProcess(turns, func() error { return g.governed("hello", 0) })
	plain := inProcess(turns, func() error { return g.plain("hello", 0) })
	fresh, err := l.extism()
	if err != nil {
		return nil, err
	}
	theirs := inProcess(turns, func() error { return fresh("hello", 0) })
	if err := discard(us, plain, theirs); err != nil {
		return nil, err
	}
	as.Peer, as.Version = "wazero, fresh instance", versionOf("github.com/tetratelabs/wazero")
	l.say("G3 beside wazero")
	p, err := pair(l.rounds, us, plain)
	if err != nil {
		return nil, err
	}
	lines := []line{p.line(cpu, as), p.line(wall, as)}
	as.Peer, as.Version, as.Goal = "extism, fresh plugin", versionOf("github.com/extism/go-sdk"), 0
	l.say("G3 beside extism")
	p, err = pair(l.rounds, us, theirs)
	return append(lines, p.line(cpu, as)), err
}

// extism returns a function that runs the Go guest in a fresh plugin.
func (l *lab) extism() (runs, error) {
	wasm, err := l.goGuest()
	if err != nil {
		return nil, err
	}
	cache, err := l.plainCache()
	if err != nil {
		return nil, err
	}
	l.say("compiling for extism")
	compiled, err := extism.NewCompiledPlugin(l.ctx,
		extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: wasm}}},
		extism.PluginConfig{EnableWasi: true, RuntimeConfig: wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache)}, nil)
	if err != nil {
		return nil, err
	}
	return func(verb string, n int) error {
		var out bytes.Buffer
		plugin, err := compiled.Instance(l.ctx, extism.PluginInstanceConfig{
			ModuleConfig: plainConfig(&out).WithArgs(append([]string{"agent"}, args(verb, n)...)...),
		})
		if err != nil {
			return err
		}
		status, _, err := plugin.Call("_start", nil)
		if err := errors.Join(err, plugin.Close(l.ctx)); err != nil || status != 0 {
			return fmt.Errorf("extism: status %d: %w", status, err)
		}
		return checkAnswer(out.Bytes())
	}, nil
}

// ledgerCall is what most entries are like.
type ledgerCall struct {
	path string
	size int64
	sum  ledger.Hash
}

func (*ledgerCall) Kind() string { return "op" }

func (c *ledgerCall) AppendMembers(m *ledger.Members) {
	m.Str("op", "open")
	m.Str("via", "wasi")
	m.Str("path", c.path)
	m.Str("flags", "read")
	m.Str("decision", "granted")
	m.Str("errno", "success")
	m.Int("size", c.size)
	m.Hash("sha256", c.sum)
}
