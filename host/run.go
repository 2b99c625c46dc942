package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/internal/meter"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/redact"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Opening returns what the first entry of a session for this turn says. The
// caller adds nothing: plane and seed are the session's.
func (p *Prepared) Opening() record.SessionOpen {
	m := p.pkg.Manifest
	return record.SessionOpen{
		Agenthost:    Version,
		Package:      record.Package{ID: m.ID, Version: m.Version, SHA256: p.pkg.Digest},
		ModuleSHA256: p.module,
		Engine:       Engine,
		Arch:         runtime.GOARCH,
	}
}

// errInterrupted is why the guest ends when the caller cancelled the turn.
var errInterrupted = errors.New("the turn was interrupted")

// A run is one turn on its way from turn.begin to turn.end.
type run struct {
	*Prepared
	session   *session.Session
	published *beneath.Dir // what earlier turns published, nil if nothing
	staging   *session.Staging
	gate      *gate.Gate
	begin     ledger.Entry
	collected record.Collector // of the entries of the turn
	asOf      time.Time
	seed      []byte
	header    []byte // for the guest
	stdin     []byte
	rights    []byte // for the guest
	result    Result

	expiresFirst bool // the work order does, before any other limit of time
	expired      atomic.Bool
}

// Run executes the turn in s, as its next one, and closes p.
//
// A turn that ends badly is a Result too: nothing of it is published, and the
// reason is in the ledger. The error is a *[RequestError] if the session is not
// one of this package and workspace, and a *[ClaimError] if the turn's work order
// did not let it begin; then the session is as it was. Any other is of the host,
// and then it is not known whether the turn ended: recovery finds out when the
// session is opened again.
func (p *Prepared) Run(ctx context.Context, s *session.Session) (*Result, error) {
	defer p.Close()
	r := &run{Prepared: p, session: s}
	if err := r.fits(); err != nil {
		return nil, err
	}
	s.Redact(p.turn.Redact)
	defer s.Redact(nil)
	defer func() {
		if r.published != nil {
			r.published.Close()
		}
	}()
	if err := r.open(ctx); err != nil {
		return nil, fmt.Errorf("begin turn: %w", err)
	}
	ending, err := r.execute(ctx)
	if err != nil {
		return nil, fmt.Errorf("turn %d: %w", r.result.Number, err)
	}
	if err := r.finish(ctx, ending); err != nil {
		return nil, fmt.Errorf("end turn %d: %w", r.result.Number, err)
	}
	return &r.result, nil
}

// fits refuses a session that was opened for something else: what was judged in
// one workspace must not be published to another.
func (r *run) fits() error {
	open, _ := r.session.Opened()
	if err := Continues(string(r.session.ID), open, r.pkg); err != nil {
		return err
	}
	if err := Redactable(string(r.session.ID), r.turn.Redact); err != nil {
		return err
	}
	judged, err := r.workspace.Stat(".")
	if err != nil {
		return fmt.Errorf("examine the workspace: %w", err)
	}
	target, err := r.session.Workspace().Stat(".")
	if err != nil {
		return fmt.Errorf("examine the workspace of session %s: %w", r.session.ID, err)
	}
	if judged.Dev != target.Dev || judged.Ino != target.Ino {
		return &RequestError{
			fmt.Sprintf("session %s publishes to another workspace than %s", r.session.ID, r.turn.Workspace),
			"use the workspace the session was opened in",
		}
	}
	return nil
}

// Redactable refuses values that stand in what this host itself calls the folders
// of a session: nothing would be found again. The error is a *[RequestError].
func Redactable(session string, values *redact.Values) error {
	if n := values.Number("output/" + session + "/ tmp/ pkg: deps:"); n != 0 {
		return &RequestError{
			fmt.Sprintf("value %d to redact stands in the names that agenthost gives, such as output/%s", n, session),
			"leave it out; if it is in the id of the session only, another session has another",
		}
	}
	return nil
}

// open gathers what the turn begins with, makes its staging, claims it of its work
// order, and records that it began. What can fail comes before the claim; the blobs
// that the entry names come after it, so that a turn that is refused leaves none.
func (r *run) open(ctx context.Context) (err error) {
	now := r.runner.cfg.Now()
	r.asOf = r.turn.AsOf
	if r.asOf.IsZero() {
		r.asOf = now
	}
	r.asOf = r.asOf.UTC().Truncate(time.Millisecond)
	r.result = Result{Session: string(r.session.ID), Number: r.session.Turns() + 1, Began: now}
	if r.seed, err = r.session.Seed(); err != nil {
		return err
	}
	if r.header, err = r.request(string(r.session.ID), r.result.Number, r.asOf).Encode(); err != nil {
		return err
	}
	if r.rights, err = r.guestRights().Encode(); err != nil {
		return err
	}
	r.stdin = r.standardInput(r.header)
	r.published, err = r.session.Output()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if r.staging, err = r.session.Begin(r.result.Number); err != nil {
		return err
	}
	var begin *record.TurnBegin
	if err = r.claim(ctx); err == nil {
		begin, err = r.beginEntry()
	}
	if err == nil {
		r.begin, err = r.session.Exec.Append(r.result.Number, begin)
	}
	if err == nil {
		r.collected.Add(r.begin, begin)
	}
	if err != nil && !errors.Is(err, ledger.ErrPoisoned) {
		return errors.Join(err, r.staging.Discard())
	}
	return err
}

func (r *run) beginEntry() (*record.TurnBegin, error) {
	rights, err := json.Marshal(struct {
		Granted  any
		Withheld []string
	}{r.granted, r.withheld})
	if err != nil {
		return nil, err
	}
	begin := &record.TurnBegin{
		RightsSHA256: ledger.Sum(rights), PolicySHA256: r.turn.Policy.SHA256,
		Granted: r.granted, Withheld: r.withheld, Accepted: r.turn.Accepted,
		WorkOrder: r.workOrder(), AsOf: r.asOf.UTC().Format(time.RFC3339Nano),
		Inputs: r.recordInputs(), Outputs: r.recordOutputs(string(r.session.ID)),
		Limits: recordLimits(r.limits), DryRun: r.turn.DryRun, Strict: r.turn.Strict,
		Redacted: int64(r.turn.Redact.Count()),
	}
	if query := r.query(); query != nil {
		if begin.Query, err = r.blob(query); err != nil {
			return nil, err
		}
		r.result.Query = begin.Query
	}
	if len(r.turn.Args) > 0 {
		args, err := json.Marshal(r.turn.Args)
		if err != nil {
			return nil, err
		}
		if begin.Args, err = r.blob(args); err != nil {
			return nil, err
		}
	}
	return begin, nil
}

func (r *run) blob(data []byte) (*record.Blob, error) {
	b, err := r.session.Blob(data)
	return &b, err
}

// execute runs the guest behind a gate of its own, under the turn's clock.
func (r *run) execute(outer context.Context) (ending, error) {
	id := string(r.session.ID)
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(outer))
	defer cancel(nil)
	defer context.AfterFunc(outer, func() { cancel(errInterrupted) })()
	limit := time.Duration(r.limits.Time)
	overdue := func() { cancel(&gate.Limit{Name: record.LimitTime, Max: limit.Milliseconds()}) }
	timer := newTimer(limit, overdue)
	defer timer.stop()
	defer r.whenExpired(overdue)()
	commands, err := r.commands(timer)
	if err != nil {
		return ending{}, err
	}

	now := &running{ctx: ctx, account: meter.NewAccount(meter.AccountConfig{
		Fuel: r.limits.Fuel, Depth: r.limits.CallDepth, Now: time.Now,
		Check: func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return nil
		},
	})}
	r.gate, err = gate.New(ctx, gate.Config{
		Session: id, Turn: r.result.Number, Enforcer: r.enforcer.Bind(id), Strict: r.turn.Strict,
		Workspace: r.workspace, Published: r.published,
		Staged: gate.Areas{Workspace: r.staging.Workspace, Out: r.staging.Out, Tmp: r.staging.Tmp},
		Rights: r.rights, Package: r.pkg, Deps: r.libraries,
		Inputs: r.inputs, Outputs: r.outputs,
		Exec: r.session.Exec, Evidence: r.session.Evidence, Recorded: r.collected.Add,
		Charge: now.charge, Ceiling: r.ceiling(), Commands: commands,
	})
	if err != nil {
		return ending{}, err
	}
	now.gate = r.gate
	started := time.Now()
	e := r.runGuest(ctx, now, start{session: id, turn: r.result.Number, asOf: r.asOf, seed: r.seed, stdin: r.stdin, header: r.header, rights: r.rights})
	err = r.settle(ctx, &e)
	r.result.Duration = time.Since(started)
	r.result.Fuel, r.result.Memory = e.fuel, e.memory
	return e, err
}

// ceiling is all that bounds the turn at its gate. A mark is up to four times as
// long as what it stands for.
func (r *run) ceiling() gate.Ceiling {
	c := r.runner.ceilingOf(r.limits)
	if r.turn.Redact != nil {
		c.Evidence /= 4
	}
	return c
}

// settle ends the gate, which may find that the host failed or that an input
// changed, and says how the turn ended so far.
func (r *run) settle(ctx context.Context, e *ending) error {
	writes, problems, err := r.gate.Finish()
	var host *gate.HostError
	switch {
	case errors.Is(err, ledger.ErrPoisoned):
		return err
	case err != nil && !errors.As(err, &host):
		return err
	case e.err != nil: // what ended the guest counts
	case err != nil:
		e.err = host
	case ctx.Err() != nil:
		e.err = context.Cause(ctx)
	}
	e.writes = writes
	r.result.judge(*e, bounds{r.limits, fill(r.pkg.Manifest.Limits, defaultLimits()), r.expires()})
	r.result.Calls, r.result.Refused = r.gate.Counts()
	if r.result.Commands = r.gate.Commands(); r.result.Commands == 0 {
		r.result.Fence = ""
	}
	if r.result.Status == record.StatusOK {
		for _, p := range problems {
			if err := r.mismatch(p.Path, p.Code, p.What); err != nil {
				return err
			}
		}
	}
	return nil
}
