package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/sys"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/internal/govfs"
	"github.com/agenthost/agenthost/host/internal/hostcall"
	"github.com/agenthost/agenthost/host/record"
)

// An ending is how a guest ended and what it left.
type ending struct {
	err    error  // why it did not end by itself
	exit   *int64 // its exit status, where it did
	stdout []byte
	stderr *stderr
	fuel   int64 // units used
	memory int64 // most bytes its linear memory had
	grown  bool  // memory it asked for was refused
	writes []gate.Realized
}

// output is the result of a turn that ended well: not nil, though maybe empty.
func (e ending) output() []byte { return append([]byte{}, e.stdout...) }

// A start is what a fresh instance begins with.
type start struct {
	session string
	turn    int
	asOf    time.Time
	seed    []byte
	stdin   []byte
	header  []byte // what stdin is, where the manifest does not say otherwise
	rights  []byte
}

// runGuest runs a fresh instance of the guest to its end. Nothing of it is left
// when runGuest returns.
func (p *Prepared) runGuest(ctx context.Context, r *running, s start) (e ending) {
	out := &stdout{limit: int64(p.limits.ResultBytes), name: record.LimitResultBytes, charge: r.charge}
	e.stderr = &stderr{keep: keptStderr, limit: maxStderr, name: record.LimitStderr, show: p.turn.Stderr, charge: r.charge}
	r.calls = hostcall.New(hostcall.Config{
		Gate: r.gate, Request: s.header, Rights: s.rights, Limits: contractLimits(p.limits),
		Charge: r.charge, Result: out.replace, Log: func(line []byte) { e.stderr.Write(line) },
	})
	mem := &memory{limit: uint64(p.limits.Memory)}
	defer mem.Free()

	ctx = experimental.WithMemoryAllocator(r.within(ctx), mem)
	ctx = experimental.WithImportResolver(ctx, func(name string) api.Module {
		if name == abi.WASIModule {
			return p.guest.wasi
		}
		return nil
	})
	instance, err := p.instantiate(ctx, p.moduleConfig(r, s, out, e.stderr))
	if err == nil {
		_, err = instance.ExportedFunction(abi.ExportStart).Call(ctx)
	}
	counter := int64(-1) // as it begins: what the module's start function left of it cannot be seen
	if internal, ok := instance.(experimental.InternalModule); ok && internal.NumGlobal() > 0 {
		counter = int64(internal.Global(internal.NumGlobal() - 1).Get())
	}
	e.fuel = r.account.Used(counter)
	r.gate.End()
	if instance != nil {
		if closing := instance.Close(ctx); err == nil && closing != nil {
			err = &gate.HostError{Doing: "close the guest", Err: closing}
		}
	}
	e.exit, e.err = exitOf(err)
	e.stdout, e.memory, e.grown = out.result(), int64(mem.peak), mem.refused
	return e
}

// instantiate makes the instance and runs the module's start function, if it has
// one. wazero panics where memory cannot be had.
func (p *Prepared) instantiate(ctx context.Context, config wazero.ModuleConfig) (instance api.Module, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			cause, ok := fault.(error)
			if !ok {
				cause = fmt.Errorf("%v", fault)
			}
			instance, err = nil, &gate.HostError{Doing: "make an instance", Err: cause}
		}
	}()
	return p.runner.runtime.InstantiateModule(ctx, p.guest.module, config)
}

// contractLimits are what a guest is told of its limits.
func contractLimits(l archive.Limits) abi.Limits {
	return abi.Limits{
		Path: abi.MaxPath, Request: abi.MaxRequest, Body: abi.MaxBody, Reply: abi.MaxReply,
		Memory: int64(l.Memory), TimeMS: time.Duration(l.Time).Milliseconds(), Fuel: l.Fuel,
		OutputBytes: int64(l.OutputBytes), OutputFiles: l.OutputFiles, ResultBytes: int64(l.ResultBytes),
		Entries: l.Entries, CallDepth: l.CallDepth,
	}
}

func (p *Prepared) moduleConfig(r *running, s start, out, errs interface{ Write([]byte) (int, error) }) wazero.ModuleConfig {
	entry := p.pkg.Manifest.Entry
	tick := newClock(s.asOf)
	files := wazero.NewFSConfig().(sysfs.FSConfig).WithSysFSMount(govfs.New(r.gate, r.calls, s.asOf.UnixNano()), "/")
	args := slices.Concat([]string{path.Base(entry.Module)}, entry.Args, p.turn.Args)
	config := wazero.NewModuleConfig().
		WithName("").
		WithStartFunctions().
		WithFSConfig(files).
		WithArgs(args...).
		WithStdin(bytes.NewReader(s.stdin)).
		WithStdout(out).
		WithStderr(errs).
		WithWalltime(tick.walltime, sys.ClockResolution(time.Millisecond)).
		WithNanotime(tick.nanotime, sys.ClockResolution(time.Millisecond)).
		WithNanosleep(tick.sleep).
		WithRandSource(randomness(s.seed, s.turn))
	for _, kv := range abi.Environ(s.session, s.turn) {
		name, value, _ := strings.Cut(kv, "=")
		config = config.WithEnv(name, value)
	}
	for _, name := range slices.Sorted(maps.Keys(entry.Env)) {
		config = config.WithEnv(name, entry.Env[name])
	}
	return config
}

// exitOf takes the exit status out of the error a guest ended with.
func exitOf(err error) (*int64, error) {
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		code := int64(exit.ExitCode())
		return &code, nil
	}
	if err == nil {
		return new(int64), nil
	}
	return nil, err
}
