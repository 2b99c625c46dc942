package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// openRedirected makes the file that is to get the standard output of the command, or
// empties it.
func (x *execution) openRedirected() {
	n := x.intoName
	if n.ledger == "" {
		return
	}
	node, flags := x.g.staged[n.ledger], os.O_RDWR
	if node == nil {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := x.g.stagingOf(tmp).OpenFile(n.rel, flags, 0o600)
	if err != nil {
		hostFailure("stage "+n.ledger, err)
	}
	x.into = f
	if err := f.Truncate(0); err != nil {
		hostFailure("truncate staged "+n.ledger, err)
	}
	if node != nil {
		x.g.grow(node, 0)
	}
}

// unstage removes that file where the command never ran and it was not there
// before: no entry says who made it.
func (x *execution) unstage() {
	if n := x.intoName; n.ledger != "" && x.g.staged[n.ledger] == nil {
		if err := x.g.stagingOf(tmp).Remove(n.rel); err != nil {
			hostFailure("remove "+n.ledger, err)
		}
	}
}

func (x *execution) close() {
	if x.into != nil {
		x.into.Close()
	}
}

// run runs the command and answers. From exec.start on, exec.end is recorded
// whatever happens, but where nobody can say how the command ended: then the turn
// ends without it.
func (x *execution) run() (Ended, *ExecError) {
	g := x.g
	before := g.survey()
	x.openRedirected()
	end := &record.ExecEnd{Of: x.begin(), Exit: -1, Failed: "the host failed"}
	recorded := false
	defer func() {
		if !recorded {
			g.appendFinal(end)
		}
	}()
	g.commands++
	result, took, err := x.confined()
	if lost := (*confine.LostError)(nil); errors.As(err, &lost) {
		recorded = true
		hostFailure("run "+brief(x.argv[0]), err)
	}
	x.ended(end, result, took, err)
	recorded = true // where it cannot be, nothing can
	of := g.appendFinal(end).Seq
	g.endings[of] = true
	if err == nil {
		g.regardless(func() { g.adopt(before, of) })
	} else {
		x.unstage()
	}
	g.lookAfter(x.view)
	g.lookAtPrograms(x.program)
	if x.lost != nil {
		hostFailure("keep what a command said", x.lost)
	}
	g.checkContext()
	if err != nil {
		return Ended{}, x.notStarted(err, took)
	}
	g.cfg.Charge(int64(len(x.stdout.data) + len(x.stderr.data)))
	return x.reply(result)
}

// regardless does what evidence needs of a turn that is over, too: f neither ends
// with the turn's context nor takes fuel, which is asked for with that.
func (g *Gate) regardless(f func()) {
	if g.ctx.Err() == nil {
		f()
		return
	}
	ctx, charge := g.ctx, g.cfg.Charge
	g.ctx, g.cfg.Charge = context.WithoutCancel(ctx), func(int64) {}
	defer func() { g.ctx, g.cfg.Charge = ctx, charge }()
	f()
}

// confined runs the command in its fence, while the turn's clock stands.
func (x *execution) confined() (result *confine.Result, took time.Duration, err error) {
	resume := x.g.cfg.Commands.Wait()
	defer func() {
		took = resume()
		x.g.commanded += took
	}()
	var stdout io.Writer = &x.stdout
	if x.into != nil {
		stdout = &keeping{f: x.into, lost: &x.lost}
	}
	var stdin io.Reader // nil is nothing: some programs wait for a pipe, or prefer it to files
	if len(x.stdin) > 0 {
		stdin = bytes.NewReader(x.stdin)
	}
	result, err = confine.Run(x.g.ctx, x.spec, stdin, stdout, &x.stderr)
	return result, took, err
}

// begin records that the command is about to run. It is durable when begin
// returns.
func (x *execution) begin() (seq uint64) {
	g := x.g
	argv, err := json.Marshal(x.argv)
	if err != nil {
		hostFailure("record a command", err)
	}
	start := &record.ExecStart{
		Argv: x.blob(argv), Dir: x.dir,
		Program: x.program.file, Interpreter: x.program.interpreter,
		Stdin: record.Content{SHA256: ledger.Sum(x.stdin), Size: int64(len(x.stdin))},
		View:  record.View{Blob: x.listing(), Files: x.view.files, Bytes: x.view.bytes},
		Fence: fenceOf(x.fence),
	}
	start.Fence.Limits = limitsOf(x.spec.Limits)
	seq = g.append(start).Seq
	if err := g.cfg.Exec.Sync(); err != nil {
		hostFailure("make the start of a command durable", err)
	}
	return seq
}

func (x *execution) blob(data []byte) record.Blob { return x.put(x.g.cfg.Commands.Blob, data) }

func (x *execution) put(keep func([]byte) (record.Blob, error), data []byte) record.Blob {
	b, err := keep(data)
	if err != nil {
		hostFailure("record a command", err)
	}
	x.g.kept += b.Size
	return b
}

// listing is the blob of what the command can see. Most of a turn's commands see
// the same.
func (x *execution) listing() record.Blob {
	g := x.g
	if b, known := g.listings[x.view.digest]; known {
		return b
	}
	keep := g.cfg.Commands.Listing
	if keep == nil {
		keep = g.cfg.Commands.Blob
	}
	b := x.put(keep, x.view.listing)
	g.listings[x.view.digest] = b
	return b
}

// ended says what became of a command.
func (x *execution) ended(end *record.ExecEnd, r *confine.Result, took time.Duration, err error) {
	if err != nil {
		end.Failed = x.failure(err)
		return
	}
	fence := fenceOf(&r.Report)
	end.Failed, end.Exit, end.Signal, end.Killed = "", int64(r.Status), int64(r.Signal), r.Stopped
	end.Truncated, end.Fence, end.StdoutTo = x.truncated(r), &fence, x.intoName.ledger
	end.Usage = &record.Usage{
		WallNS: took.Nanoseconds(), CPUNS: r.Usage.CPU.Nanoseconds(), Memory: r.Usage.Memory,
		Processes: int64(r.Usage.Processes), Output: r.Usage.Output,
	}
	for _, said := range []struct {
		*capture
		as **record.Blob
	}{{&x.stdout, &end.Stdout}, {&x.stderr, &end.Stderr}} {
		if len(said.data) == 0 {
			continue
		}
		b, err := x.g.cfg.Commands.Blob(said.data)
		if err != nil {
			x.lost = err
			continue
		}
		x.g.kept += b.Size
		*said.as = &b
	}
}

// failure is why a command did not run, for the ledger, which says the same
// wherever the folders of the turn lie.
func (x *execution) failure(err error) string {
	var missing *confine.MissingError
	var start *confine.StartError
	switch {
	case errors.As(err, &missing):
		return missing.Layer + ": " + missing.Reason
	case errors.As(err, &start):
		return x.startReason(start)
	case x.g.ctx.Err() != nil:
		return confine.StoppedCancelled
	}
	return "the fence could not be put up"
}

func (x *execution) startReason(e *confine.StartError) string {
	return brief(x.argv[0]) + " did not start: " + x.asInView(e.Reason)
}

// notStarted answers for a command that never ran.
func (x *execution) notStarted(err error, took time.Duration) *ExecError {
	var missing *confine.MissingError
	var start *confine.StartError
	switch {
	case errors.As(err, &missing):
		return &ExecError{abi.CodeUnsupported, missing.Layer + ": " + firstSentence(missing.Remedy)}
	case errors.As(err, &start):
		return failedTo("%s", x.startReason(start))
	case took >= x.spec.Limits.Time:
		return &ExecError{abi.CodeTimeout, fmt.Sprintf("the command did not start within its limit of %v", x.spec.Limits.Time)}
	case len(x.g.problems) > 0:
		return failedTo("what the command was to see was changed meanwhile")
	}
	hostFailure("run "+brief(x.argv[0]), err)
	return nil
}
