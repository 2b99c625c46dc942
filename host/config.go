// Package host runs agents: one guest, one turn at a time, behind one gate.
//
// A [Runner] compiles guests and is shared. [Runner.Prepare] checks everything
// that can be wrong with a request before anything is created; [Prepared.Run]
// executes the turn in a session and publishes every declared output or none.
// The package does not know the control plane: it is handed a package and a
// session.
//
// A program that embeds it must call [Helper] before anything else in main:
// modules are compiled in a child, and commands are put in their fence by one,
// which is the program itself.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/compile"
	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/internal/meter"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Version is the version of agenthost, as ledgers have it.
const Version = "0.1.0"

// Engine names what executes guests, as ledgers have it: the same engine on the
// same architecture computes the same.
const Engine = "wazero-compiler"

// A Config configures a [Runner]. The zero Config is valid and strict.
type Config struct {
	// CacheDir is the folder of compiled modules, as [Cache.Dir]. It holds
	// code that is executed, must belong to the user alone, and is made if
	// absent. Empty means that of [CacheDir].
	CacheDir string

	// Ceilings bound every turn. A manifest only lowers them. Zero members
	// mean the defaults of [DefaultCeilings].
	Ceilings archive.Limits

	// MinFence is the weakest fence that commands may run in. Empty means FenceFull.
	// It is for operators of machines without user namespaces, and nobody else.
	MinFence Fence

	// Commands bound the commands of a turn.
	Commands CommandCeilings

	// Compiling, if set, is called when a module must be compiled, which
	// can take seconds, and once more when it was.
	Compiling func(packageID string, done bool)

	// Now is the clock by which a turn begins. Nil means [time.Now].
	Now func() time.Time
}

// DefaultCeilings returns what a host grants a turn at most when nothing else is
// said.
func DefaultCeilings() archive.Limits {
	return archive.Limits{
		Memory:      1 << 30,
		Time:        archive.Duration(10 * time.Minute),
		Fuel:        2_000_000_000_000,
		OutputBytes: 1 << 30,
		OutputFiles: 10_000,
		ResultBytes: 16 << 20,
		Entries:     1_000_000,
		CallDepth:   meter.MaxDepth,
	}
}

// defaultLimits are the limits of a turn whose manifest does not say.
func defaultLimits() archive.Limits {
	return archive.Limits{
		Memory:      256 << 20,
		Time:        archive.Duration(time.Minute),
		Fuel:        50_000_000_000,
		OutputBytes: 64 << 20,
		OutputFiles: 256,
		ResultBytes: 16 << 20,
		Entries:     100_000,
		CallDepth:   10_000,
	}
}

// What a turn can make the host hold, whatever a manifest says.
const (
	keptStderr    = 1 << 20
	maxStderr     = 64 << 20
	maxModule     = 256 << 20
	compileTime   = 3 * time.Minute
	compileMemory = 4 << 30
)

func fixedCeiling() gate.Ceiling {
	return gate.Ceiling{
		Evidence:     record.MaxEvidence - record.MaxExecEntry - 1<<20, // besides what turn.begin brings
		OpenFiles:    1024,
		CopyBytes:    64 << 20,
		ListNames:    100_000,
		ScratchBytes: 1 << 30,
		ScratchFiles: 10_000,
	}
}

// A Runner runs turns. It is safe for concurrent use, if each session is used by
// one goroutine at a time.
type Runner struct {
	cfg     Config
	limits  archive.Limits // the ceilings that a manifest can lower
	ceiling gate.Ceiling   // those that it cannot
	cache   *compile.Cache
	native  wazero.CompilationCache
	runtime wazero.Runtime
	wasi    map[string]api.FunctionDefinition // wazero's own functions
	fence   fence

	mu       sync.Mutex
	digests  *gate.Digests          // of what commands see and are made of; nil before the first
	compiled map[ledger.Hash]*guest // by digest of the original module
}

// NewRunner returns a Runner. Call [Runner.Close] when done with it. It fails
// where the cache cannot be trusted, and on systems where guests cannot be
// governed.
func NewRunner(ctx context.Context, cfg Config) (*Runner, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("run agents on %s: %w: agenthost governs guests on Linux only", runtime.GOOS, errors.ErrUnsupported)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	dir, err := cfg.cacheDir()
	if err != nil {
		return nil, err
	}
	cache, err := compile.OpenCache(dir, compile.Bounds{Time: compileTime, Memory: compileMemory, Module: maxModule})
	if err != nil {
		return nil, err
	}
	native, err := cache.Native()
	if err != nil {
		return nil, err
	}
	limits := fill(cfg.Ceilings, DefaultCeilings())
	limits.CallDepth = min(limits.CallDepth, meter.MaxDepth)
	r := &Runner{
		cfg: cfg, limits: limits, ceiling: fixedCeiling(), cache: cache, native: native,
		runtime:  wazero.NewRuntimeWithConfig(ctx, compile.Runtime().WithCompilationCache(native)),
		compiled: map[ledger.Hash]*guest{},
	}
	if err := r.offer(ctx); err != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	return r, nil
}

// offer instantiates the host modules that all guests share, and finds out what
// wazero's WASI is, of which each guest gets what it imports.
func (r *Runner) offer(ctx context.Context) error {
	if err := errors.Join(instantiateMeter(ctx, r.runtime), instantiateABI(ctx, r.runtime)); err != nil {
		return err
	}
	// An interpreter makes no native code of functions that are only looked at.
	interpreter := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	theirs, err := wasi_snapshot_preview1.NewBuilder(interpreter).Compile(ctx)
	if err != nil {
		return fmt.Errorf("build WASI: %w", err)
	}
	r.wasi = theirs.ExportedFunctions()
	return interpreter.Close(ctx)
}

// Close releases compiled guests, and keeps the digests of what commands could
// see. No turn may be running.
func (r *Runner) Close(ctx context.Context) error {
	r.keepDigests()
	return errors.Join(r.runtime.Close(ctx), r.native.Close(ctx))
}

func (c Config) cacheDir() (string, error) {
	if c.CacheDir != "" {
		return c.CacheDir, nil
	}
	return CacheDir()
}

// Helper does the work of a child if this process was started as one: to compile a
// module, or to become a command in its fence. It must be the first statement of
// main: where ok is true, exit with code.
func Helper(args []string, stdin io.Reader, stdout io.Writer) (code int, ok bool) {
	if len(args) < 2 {
		return 0, false
	}
	switch args[1] {
	case confine.Command:
		return confine.Child(args[2:]), true
	case compile.Command:
		return compile.Child(args[2:], stdin, stdout), true
	}
	return 0, false
}

// fill returns l with the members that are zero taken from other.
func fill(l, other archive.Limits) archive.Limits {
	pick := func(a, b int64) int64 {
		if a == 0 {
			return b
		}
		return a
	}
	return combine(l, other, pick)
}

// lower returns the smaller of each member.
func lower(l, ceiling archive.Limits) archive.Limits {
	return combine(l, ceiling, func(a, b int64) int64 { return min(a, b) })
}

func combine(a, b archive.Limits, f func(a, b int64) int64) archive.Limits {
	return archive.Limits{
		Memory:      archive.Size(f(int64(a.Memory), int64(b.Memory))),
		Time:        archive.Duration(f(int64(a.Time), int64(b.Time))),
		Fuel:        f(a.Fuel, b.Fuel),
		OutputBytes: archive.Size(f(int64(a.OutputBytes), int64(b.OutputBytes))),
		OutputFiles: f(a.OutputFiles, b.OutputFiles),
		ResultBytes: archive.Size(f(int64(a.ResultBytes), int64(b.ResultBytes))),
		Entries:     f(a.Entries, b.Entries),
		CallDepth:   f(a.CallDepth, b.CallDepth),
	}
}

func recordLimits(l archive.Limits) record.Limits {
	return record.Limits{
		Memory: int64(l.Memory), TimeMS: time.Duration(l.Time).Milliseconds(), Fuel: l.Fuel,
		OutputBytes: int64(l.OutputBytes), OutputFiles: l.OutputFiles, ResultBytes: int64(l.ResultBytes),
		Entries: l.Entries, CallDepth: l.CallDepth,
	}
}

// ceilingOf is all that bounds a turn at its gate.
func (r *Runner) ceilingOf(l archive.Limits) gate.Ceiling {
	c := r.ceiling
	c.Entries, c.OutputBytes, c.OutputFiles = l.Entries, int64(l.OutputBytes), l.OutputFiles
	return c
}
