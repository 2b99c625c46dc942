package host

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// finish compares what the turn realized with what it declared, commits or
// blocks it, and records how it ended.
func (r *run) finish(ctx context.Context, e ending) error {
	publications, err := r.realize(ctx, e)
	if err != nil {
		return err
	}
	if err := r.keepMessages(e.stderr); err != nil {
		return err
	}
	if r.result.Status != record.StatusOK || r.turn.DryRun {
		if r.result.Status == record.StatusOK {
			r.result.Status = record.StatusDryRun
		}
		r.result.Withheld = publications
		return r.end(e)
	}
	return r.publish(ctx, e, publications)
}

// realize lists what was staged, with its digests, and blocks a turn that wrote
// anything but what it declared. Only what the host copied is returned.
func (r *run) realize(ctx context.Context, e ending) ([]record.Publication, error) {
	var publish []session.Realized
	of := map[string]uint64{}
	compared := r.result.Status == record.StatusOK || r.result.Code == record.CodeInputChanged
	for _, w := range e.writes {
		of[w.Path] = w.Of
		declared, ok := r.gate.Declared(w.Path)
		switch {
		case !compared, w.Area == gate.AreaTmp && w.Regular:
			if err := r.digest(w); err != nil {
				return nil, err
			}
		case w.Area == gate.AreaTmp:
		case !w.Regular || !w.Known:
			if err := r.mismatch(w.Path, record.CodeUnsafeFile, "it is not a file that a recorded operation made"); err != nil {
				return nil, err
			}
		case r.turn.Redact.Number(w.Path) != 0:
			what := fmt.Sprintf("value %d to redact stands in its name, by which it must be found again", r.turn.Redact.Number(w.Path))
			if err := errors.Join(r.digest(w), r.mismatch(w.Path, record.CodeUnsafeFile, what)); err != nil {
				return nil, err
			}
		default:
			if !ok {
				if err := r.mismatch(w.Path, record.CodeUndeclaredWrite, "it was written and not declared"); err != nil {
					return nil, err
				}
			}
			publish = append(publish, session.Realized{
				Path: w.Path, Area: w.Area, Staged: w.Name, Base: w.Base, Role: declared.Role, Executable: declared.Executable,
			})
		}
	}
	publications, problems, err := r.staging.Copy(ctx, publish)
	if err != nil {
		return nil, r.hostFailed(err)
	}
	for _, p := range publications {
		if err := r.gate.Digest(p.Path, of[p.Path], p.SHA256, p.Size); err != nil {
			return nil, err
		}
	}
	for _, p := range problems {
		if err := r.mismatch(p.Path, p.Code, p.Message); err != nil {
			return nil, err
		}
	}
	return publications, r.missingOutputs(e)
}

// digest records the content of a staged file that is not published.
func (r *run) digest(w gate.Realized) error {
	if !w.Regular || !w.Known {
		return nil
	}
	dir := r.staging.Workspace
	switch w.Area {
	case gate.AreaOut:
		dir = r.staging.Out
	case gate.AreaTmp:
		dir = r.staging.Tmp
	}
	f, err := dir.OpenFile(w.Name, os.O_RDONLY, 0)
	if err != nil {
		return r.hostFailed(err)
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return r.hostFailed(err)
	}
	return r.gate.Digest(w.Path, w.Of, ledger.Hash(sum.Sum(nil)), size)
}

// missingOutputs blocks a turn that did not write a literal output it declared.
func (r *run) missingOutputs(e ending) error {
	if r.result.Status != record.StatusOK && r.result.Status != record.StatusBlocked || r.result.Violation != nil {
		return nil
	}
	for _, o := range r.recordOutputs(string(r.session.ID)) {
		name, literal := capability.Literal(o.Path)
		realized := slices.ContainsFunc(e.writes, func(w gate.Realized) bool { return w.Path == name })
		if realized || o.Optional || !literal {
			continue
		}
		if err := r.mismatch(name, record.CodeMissingOutput, "it was declared and not written"); err != nil {
			return err
		}
	}
	return nil
}

// mismatch blocks the turn for what was found at its end. The first finding
// names the code.
func (r *run) mismatch(path, code, what string) error {
	if err := r.gate.Mismatch(path, code); err != nil {
		return err
	}
	if r.result.Status == record.StatusBlocked {
		return nil
	}
	r.result.Status, r.result.Code = record.StatusBlocked, code
	subject := fmt.Sprintf("%q", GuestName(string(r.session.ID), path))
	if rest, sentence := strings.CutPrefix(what, "it "); sentence {
		r.result.Message = fmt.Sprintf("the turn was blocked: %s %s", subject, rest)
	} else {
		r.result.Message = fmt.Sprintf("the turn was blocked: %s: %s", subject, what)
	}
	r.result.Hint = mismatchHint(code)
	return nil
}

func mismatchHint(code string) string {
	switch code {
	case record.CodeUndeclaredWrite:
		return "declare it in outputs, or with --declare; nothing was published"
	case record.CodeMissingOutput:
		return "let the agent write it, or mark it optional in outputs; nothing was published"
	case record.CodeInputChanged, record.CodeConflict:
		return "nothing was published; run it again on files that stay as they are"
	}
	return "nothing was published"
}

// hostFailed turns the turn into one that the host could not finish, unless it
// ended badly before: then it keeps its reason. It returns an error only if the
// ledger takes no more entries.
func (r *run) hostFailed(err error) error {
	if errors.Is(err, ledger.ErrPoisoned) {
		return err
	}
	switch {
	case r.result.Status != record.StatusOK:
		r.result.Message += "; and then the host failed: " + err.Error()
	case errors.Is(err, context.Canceled):
		r.result.Status, r.result.Code = record.StatusAborted, record.CodeInterrupted
		r.result.Message, r.result.Hint = "the turn was interrupted", "nothing was published; run it again"
	default:
		r.result.Status, r.result.Code = record.StatusError, record.CodeHost
		r.result.Message, r.result.Hint = err.Error(), "nothing was published; mend the cause and run it again"
	}
	return nil
}

// keepMessages keeps what the guest wrote to stderr.
func (r *run) keepMessages(messages *stderr) error {
	if messages == nil || messages.size == 0 {
		return nil
	}
	b, err := r.session.Blob(messages.kept.Bytes())
	if err != nil {
		return r.hostFailed(err)
	}
	said := &record.Stderr{Blob: b, Truncated: messages.size > int64(messages.kept.Len())}
	e, err := r.session.Exec.Append(r.result.Number, said)
	if err == nil {
		r.collected.Add(e, said)
	}
	return err
}

// publish commits the turn: from its one durable line on, what it declared is
// published.
func (r *run) publish(ctx context.Context, e ending, publications []record.Publication) error {
	commit, err := r.staging.Lock(ctx, publications)
	if err != nil {
		if err := r.hostFailed(err); err != nil {
			return err
		}
		return r.end(e)
	}
	defer commit.Release()
	conflicts, err := commit.Check(ctx)
	if err != nil {
		if err := r.hostFailed(err); err != nil {
			return err
		}
	}
	for _, c := range conflicts {
		if err := r.mismatch(c.Path, c.Code, c.Message); err != nil {
			return err
		}
	}
	if r.result.Status == record.StatusOK {
		if err := r.evidence(); err != nil {
			return err
		}
		if err := errors.Join(commit.Prepare(ctx), ctx.Err()); err != nil {
			if err := r.hostFailed(err); err != nil {
				return err
			}
		}
	}
	if r.result.Status != record.StatusOK {
		r.result.Withheld = publications
		if err := commit.Release(); err != nil {
			return err
		}
		return r.end(e)
	}
	end, err := r.endEntry(e)
	if err != nil {
		return err
	}
	_, findings, err := commit.Commit(ctx, end)
	if err != nil {
		return err
	}
	r.result.Published, r.result.Output = publications, e.output()
	if r.result.Checkpoint, err = r.session.Checkpoint(); err != nil {
		return err
	}
	for _, f := range findings {
		r.result.Message, r.result.Hint = f.String(), "the turn is committed; agenthost session show tells what it was to publish"
	}
	return nil
}

// end ends a turn that publishes nothing.
func (r *run) end(e ending) error {
	if err := r.evidence(); err != nil {
		return err
	}
	end, err := r.endEntry(e)
	if err != nil {
		return err
	}
	if _, err := r.session.End(end); err != nil {
		return err
	}
	if r.result.Checkpoint, err = r.session.Checkpoint(); err != nil {
		return err
	}
	switch r.result.Status {
	case record.StatusDryRun:
		r.result.Output = e.output()
		return r.staging.Discard()
	case record.StatusBlocked, record.StatusAborted:
		_, err := r.staging.Block()
		return err
	}
	return r.staging.Discard()
}

// evidence records what was computed from the turn's entries as they were
// appended.
func (r *run) evidence() error {
	if r.result.Evidence.TurnNumber != 0 {
		return nil // the commit failed after it was recorded: what it says still holds
	}
	evidence, ok := r.collected.Evidence(r.session.Exec.Head())
	if !ok { // somebody else appended, too
		var err error
		if evidence, err = r.readEvidence(); err != nil {
			return fmt.Errorf("compute the evidence: %w", err)
		}
	}
	r.result.Evidence = evidence
	return r.session.Prove(&evidence)
}

// readEvidence computes the turn's evidence from the file.
func (r *run) readEvidence() (record.TurnEvidence, error) {
	var failed error
	entries := func(yield func(ledger.Entry) bool) {
		for entry, err := range r.session.Exec.Since(r.begin) {
			if err != nil {
				failed = err
				return
			}
			if !yield(entry) {
				return
			}
		}
	}
	evidence, err := record.Evidence(entries)
	return evidence, errors.Join(failed, err)
}

func (r *run) endEntry(e ending) (record.TurnEnd, error) {
	r.result.Message = r.session.WithoutPaths(r.result.Message)
	end := record.TurnEnd{
		Status: r.result.Status, Code: r.result.Code, Limit: r.result.Limit, Message: r.result.Message, Exit: r.result.Exit,
		Fuel: e.fuel, MemoryBytes: e.memory, WallNS: r.result.Duration.Nanoseconds(),
	}
	if len(e.stdout) > 0 {
		b, err := r.blob(e.stdout)
		if err != nil {
			return end, err
		}
		end.Result, r.result.Answer = b, b
	}
	return end, nil
}
