package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
)

// A Fence says how much of the operating system's fence holds a command.
type Fence string

const (
	// FenceFull is all of it: a view of its own, no network, no other processes.
	FenceFull = Fence(confine.Full)
	// FenceLandlock is what can be had without user namespaces: files are held back
	// by Landlock, and system calls by a filter, but names can be guessed.
	FenceLandlock = Fence(confine.Landlock)
	// FenceNone is no fence: where there is no other, no command runs.
	FenceNone = Fence(record.FenceNone)
)

// Fences returns those that commands run in, the strongest first.
func Fences() []Fence { return []Fence{FenceFull, FenceLandlock} }

// Holds reports whether commands run in f where least is the least that will do.
func (f Fence) Holds(least Fence) bool {
	n, m := slices.Index(Fences(), f), slices.Index(Fences(), least)
	return n >= 0 && n <= m
}

// CommandCeilings bound the commands of a turn. What a command may leave in /out
// and /tmp is bounded by what its turn may. The zero value of a member is its
// default, stated beside it.
type CommandCeilings struct {
	Together  time.Duration // of all commands of one turn, on the wall: 10 minutes
	Time      time.Duration // of one command, on the wall: one minute
	CPU       time.Duration // processor time of one with its descendants: one minute
	Memory    int64         // bytes, of all its processes together: 512 MiB
	Processes int           // and threads, at once: 128
	OpenFiles int           // of each process: 256
	FileSize  int64         // bytes of the largest file it can write: 1 GiB
	Output    int64         // bytes of stdout and stderr that a guest gets: 15 MiB, and no more
	Kept      int64         // bytes that a session keeps of what a turn's commands say and could see: 1 GiB
}

func (c CommandCeilings) filled() CommandCeilings {
	or(&c.Together, 10*time.Minute)
	or(&c.Time, time.Minute)
	or(&c.CPU, time.Minute)
	or(&c.Memory, 512<<20)
	or(&c.Processes, 128)
	or(&c.OpenFiles, 256)
	or(&c.FileSize, 1<<30)
	or(&c.Output, abi.MaxBody)
	or(&c.Kept, 1<<30)
	return c
}

func or[N int | int64 | time.Duration](n *N, otherwise N) {
	if *n <= 0 {
		*n = otherwise
	}
}

// NoFence is why commands that were granted did not run: this machine, as it is
// set up, cannot hold them.
type NoFence struct {
	Reason string
	Remedy string // as sentences for an operator; may be empty
}

// fence is what the canary found out, once for a Runner.
type fence struct {
	mu     sync.Mutex
	known  bool
	report *confine.Report
	err    error
}

// of asks the canary, unless it is known what it says. What kept it from saying
// anything may pass.
func (f *fence) of(ctx context.Context, least Fence) (*confine.Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known {
		return f.report, f.err
	}
	report, err := confine.Canary(ctx, confine.Tier(cmp.Or(least, FenceFull)))
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var missing *confine.MissingError
	if err == nil || errors.As(err, &missing) {
		f.known, f.report, f.err = true, report, err
	}
	return report, err
}

// commands is what the turn's commands stand on: nil where none is granted.
func (r *run) commands(now *timer) (*gate.Commands, error) {
	if len(r.granted.Execute) == 0 {
		return nil, nil
	}
	if err := r.staging.MakePackage(); err != nil {
		return nil, err
	}
	workspace, err := realPath(r.turn.Workspace)
	if err != nil {
		return nil, err
	}
	hidden, err := r.runner.cfg.hidden(r.turn)
	if err != nil {
		return nil, err
	}
	digests, err := r.runner.seenDigests()
	if err != nil {
		return nil, err
	}
	c := r.runner.cfg.Commands.filled()
	return &gate.Commands{
		Fence: func(ctx context.Context) (*confine.Report, error) {
			report, err := r.runner.fence.of(ctx, r.runner.cfg.MinFence)
			r.fenced(report, err)
			return report, err
		},
		Path: r.programs, Env: r.environment,
		Limits: confine.Limits{
			Time: c.Time, CPU: c.CPU, Memory: c.Memory, Processes: c.Processes,
			OpenFiles: c.OpenFiles, FileSize: c.FileSize, Output: c.Output,
		},
		Kept: c.Kept, Time: c.Together, Wait: now.pause, Blob: r.session.Blob, Listing: r.session.Listing, Digests: digests, Hidden: hidden,
		Places: gate.Places{
			Workspace: workspace, Published: r.session.OutputPath(),
			Staged: r.staging.Path(session.AreaWorkspace), Out: r.staging.Path(session.AreaOut), Tmp: r.staging.Path(session.AreaTmp),
			Package: r.staging.Path(session.PackageFolder),
		},
	}, nil
}

// fenced notes what the result says of the fence.
func (r *run) fenced(report *confine.Report, err error) {
	var missing *confine.MissingError
	switch {
	case err == nil:
		r.result.Fence = Fence(report.Tier)
	case errors.As(err, &missing):
		r.result.NoFence = &NoFence{missing.Layer + ": " + inWords(missing.Reason), missing.Remedy}
	default:
		r.result.NoFence = &NoFence{Reason: strings.TrimPrefix(err.Error(), "confine: ")}
	}
}

// hidden are the folders of the host that no command may see, whatever lies in
// what it does see.
func (c Config) hidden(t Turn) ([]string, error) {
	cache, err := c.cacheDir()
	if err != nil {
		return nil, err
	}
	own := append([]string{cache}, t.Protected...)
	if t.Policy.Source != policy.BuiltIn {
		own = append(own, t.Policy.Source)
	}
	var hidden []string
	for _, name := range own {
		real, err := realPath(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find %s, which no command may see: %w", name, err)
		}
		hidden = append(hidden, real)
	}
	return hidden, nil
}

// checkPlaces refuses a workspace, or a folder of the host, that every command would
// see: it lies in a folder of the system.
func (p *Prepared) checkPlaces() error {
	if len(p.granted.Execute) == 0 {
		return nil
	}
	for _, own := range append([]string{p.turn.Workspace}, p.turn.Protected...) {
		place, err := placeOf(own)
		if err != nil {
			return fmt.Errorf("find %s: %w", own, err)
		}
		for _, folder := range confine.System() {
			if _, inside := within(folder, place); inside {
				return &RequestError{fmt.Sprintf("%s lies in %s, which every command sees", own, folder), "keep it elsewhere, or run without commands (--without execute)"}
			}
		}
	}
	return nil
}

// environmentOf is the variables that commands get, beside those they always have,
// from the operator's own. Their names were checked.
func environmentOf(pol *policy.Policy) []string {
	var environment []string
	for _, name := range slices.Compact(slices.Sorted(slices.Values(pol.Env))) {
		if value, set := os.LookupEnv(name); set {
			environment = append(environment, name+"="+value)
		}
	}
	return environment
}
