package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/ledger"
)

// ErrRegister says that a session cannot be repaired before the register of its
// plane is ([Root.RepairRegister]).
var ErrRegister = errors.New("the register")

// A Loss is a part of a ledger that is given up: it is set aside, not deleted.
type Loss struct {
	File   string `json:"file"` // in the session's ledger folder
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
}

// Damage is what is wrong with the record of a session, and what is lost if it is
// repaired.
type Damage struct {
	Plane string
	Fault error  // nil: nothing is wrong
	Lost  []Loss // none if the register alone has something else
	Turns int    // that have ended in what is kept
	Anew  int    // the last of them, whose evidence is computed anew
	// Registered are entries of exec.jsonl that the register knows of; Kept are those
	// that are kept.
	Registered, Kept uint64
}

// Examine finds out what is wrong with the record of a session, and what
// [Root.Repair] would give up. It changes nothing, and waits for no lock. Errors wrap
// [ErrNotFound], an *[record.UnknownHostError] or, if it cannot be repaired, an
// *[ledger.IntegrityError].
func (r *Root) Examine(ctx context.Context, id ID) (Damage, error) {
	x, err := r.examine(ctx, id)
	if err != nil {
		return x.Damage, fmt.Errorf("session %s: %w", id, err)
	}
	return x.Damage, nil
}

// examination is what Repair goes by.
type examination struct {
	Damage
	known  *register.Head // to the register; nil: nothing
	proven record.Proven
	cut    [2]bool // exec.jsonl, evidence.jsonl
}

func (r *Root) examine(ctx context.Context, id ID) (x examination, err error) {
	if x.Plane, err = r.planeOf(id); err != nil {
		return x, err
	}
	state, found, err := r.Register(x.Plane).Find(ctx, string(id))
	if err != nil {
		return x, fmt.Errorf("%w of %s: %w", ErrRegister, x.Plane, err)
	}
	if found {
		x.known, x.Registered = &state.Head, state.Size
	}
	dir := r.join(sessionsOf(x.Plane) + "/" + string(id) + "/ledger")
	if x.Fault, err = r.fault(dir, x.Plane, id, x.known); err != nil || x.Fault == nil {
		return x, err
	}
	trusted, err := r.Hosts()
	if err != nil {
		return x, err
	}
	if x.proven, err = record.Prove(dir, trusted); err != nil {
		return x, err
	}
	if x.proven.Exec == 0 {
		return x, fmt.Errorf("nothing of it is proven, so that nothing can be kept; take it from a backup: %w", x.Fault)
	}
	return x, x.plan(dir)
}

// fault says what is wrong with a record, by itself or by what the register knows.
func (r *Root) fault(dir, plane string, id ID, known *register.Head) (fault, err error) {
	var (
		o     record.VerifyOptions
		ahead int
	)
	if known != nil {
		o.Anchors = []ledger.Anchor{{Size: known.Size, Root: known.Root, Source: record.RegisterSource}}
	}
	o.Observe = func(file string, e ledger.Entry, body ledger.Body) {
		if seal, ok := body.(ledger.Seal); ok && file == record.ExecFile && known != nil && seal.Size > known.Size {
			ahead++
		}
	}
	report, err := record.ObserveSession(dir, o)
	bad := func(format string, args ...any) (error, error) {
		return &ledger.IntegrityError{File: record.ExecFile, Reason: fmt.Sprintf(format, args...)}, nil
	}
	var broken *ledger.IntegrityError
	switch {
	case errors.As(err, &broken):
		return err, nil
	case err != nil:
		return nil, err
	case report.Session != string(id) || report.Plane != plane:
		return nil, &ledger.IntegrityError{File: record.ExecFile, Line: 1, Reason: fmt.Sprintf("it is the ledger of %s in %s: put it back there", report.Session, report.Plane)}
	case known == nil && len(report.Turns) > 0:
		return bad("%s does not know the session, which has %d turns: it was taken out there, or the session comes from elsewhere", record.RegisterSource, len(report.Turns))
	case ahead > 1:
		return bad("%s knows %d entries of it, which %d commits follow: it was rolled back", record.RegisterSource, known.Size, ahead)
	}
	hosts, err := r.Hosts()
	if err != nil {
		return nil, err
	}
	return nil, record.CheckHosts("the session", report.Hosts, hosts)
}

// plan decides what is cut.
func (x *examination) plan(dir string) error {
	x.Turns, x.Kept = len(x.proven.Turns), x.proven.Head.Size
	_, err := record.VerifySession(dir)
	var bad *ledger.IntegrityError
	if err != nil && !errors.As(err, &bad) {
		return err
	}
	ends := [2]int64{x.proven.Exec, x.proven.Evidence}
	for i, file := range []string{record.ExecFile, record.EvidenceFile} {
		info, err := os.Stat(dir + "/" + file)
		if err != nil && (i == 0 || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
		var size int64
		if err == nil {
			size = info.Size()
		}
		switch {
		case size == ends[i]:
			continue
		case i == 0:
			// What was not sealed yet stays, unless something is wrong with it, or the
			// register has something else there.
			x.cut[0] = x.proven.Fault != nil || x.known != nil && x.known.Size >= x.proven.Head.Size ||
				bad != nil && bad.File == dir+"/"+file && bad.Offset >= ends[0]
		default:
			x.cut[1] = x.cut[0] || bad != nil && (bad.File == dir+"/"+file || x.proven.Evident < x.Turns)
		}
		if x.cut[i] {
			x.Lost = append(x.Lost, Loss{file, ends[i], size - ends[i]})
		}
	}
	if x.proven.Evident < x.Turns {
		x.Anew = x.Turns
	}
	if bad != nil && len(x.Lost) == 0 && x.Anew == 0 {
		return fmt.Errorf("its ledgers prove themselves, and what they name does not fit; take it from a backup, or erase a blob that is lost with agenthost ledger erase: %w", bad)
	}
	return nil
}

// Repair makes the record of a session one that verifies and can be gone on with,
// for an operator who accepts what [Root.Examine] says is lost; where nothing is wrong
// it does nothing. Of both ledgers is kept what is proven, the rest is set aside in
// files beside them; entries that say so, under a seal, are counted as accepted losses
// from then on, and the register takes the session as it is. Evidence that was lost
// is computed anew. What is cut short is finished by the next Repair.
//
// Errors are those of Examine, or wrap [ErrInUse].
func (r *Root) Repair(ctx context.Context, id ID) (Damage, error) {
	x, err := r.repair(ctx, id)
	if err != nil {
		return x.Damage, fmt.Errorf("session %s: %w", id, err)
	}
	return x.Damage, nil
}

func (r *Root) repair(ctx context.Context, id ID) (examination, error) {
	x, err := r.examine(ctx, id)
	if err != nil || x.Fault == nil {
		return x, err
	}
	s := &Session{ID: id, Plane: x.Plane, root: r, resume: new(record.ProcessKey), repairs: true}
	if s.process, *s.resume, err = r.processKey(x.Plane, id); err != nil {
		return x, err
	}
	if err := s.cut(x); err != nil {
		return x, err
	}
	if err := s.holdAt(register.Head{}, false); err != nil {
		return x, err
	}
	return x, errors.Join(s.mend(ctx, x), s.Leave())
}

// cut sets aside what is not kept.
func (s *Session) cut(x examination) error {
	ends := [2]int64{x.proven.Exec, x.proven.Evidence}
	for i, file := range []string{record.ExecFile, record.EvidenceFile} {
		path := s.root.join(s.name() + "/ledger/" + file)
		o := record.EvidenceOptions(string(s.ID))
		_, err := os.Lstat(path)
		switch {
		case i == 1 && errors.Is(err, fs.ErrNotExist):
			s.root.opts.Step("make " + file)
			var log *ledger.Log
			if log, err = ledger.Create(path, o); err == nil {
				err = log.Close()
			}
		case x.cut[i]:
			s.root.opts.Step("cut " + file)
			err = ledger.Cut(path, ends[i], o)
		}
		if errors.Is(err, ledger.ErrLocked) {
			return s.inUse()
		}
		if err != nil {
			return s.root.unwritable(err)
		}
	}
	return nil
}

// mend records what was given up, and what follows from it.
func (s *Session) mend(ctx context.Context, x examination) error {
	s.registered = x.known
	exec := given(s.Exec, 0)
	if len(exec) == 0 {
		exec = []ledger.Body{nothing(record.ExecFile, x.proven.Exec, 0)}
	}
	s.root.opts.Step("record loss")
	if err := s.introduce(exec...); err != nil {
		return err
	}
	s.repairs = false
	if err := s.mendEvidence(x); err != nil {
		return err
	}
	if s.state.progress.Closed {
		c, _ := s.Exec.Sealed()
		if err := s.register(ctx, record.KindSessionClose, register.Head{Size: c.Size, Root: c.Root}); err != nil {
			return err
		}
	}
	_, err := s.tidyUp(ctx)
	return err
}

// mendEvidence computes the evidence of turns that have none.
func (s *Session) mendEvidence(x examination) error {
	evidence := given(s.Evidence, int64(x.Turns))
	if len(evidence) == 0 && x.Anew > x.proven.Rebuilt {
		evidence = []ledger.Body{nothing(record.EvidenceFile, x.proven.Evidence, int64(x.Turns))}
	}
	s.root.opts.Step("record loss of evidence")
	if len(evidence) > 0 {
		if _, err := s.Evidence.Commit(0, evidence...); err != nil {
			return err
		}
	}
	for _, begin := range x.proven.Turns[min(x.proven.Evident, len(x.proven.Turns)):] {
		s.root.opts.Step("compute evidence")
		proof, err := s.proveTurn(begin)
		if err != nil {
			return fmt.Errorf("turn %d: %w", begin.Turn, err)
		}
		for _, v := range proof.Violations {
			if _, err := s.Evidence.Append(begin.Turn, v); err != nil {
				return err
			}
		}
		if _, err := s.Evidence.Commit(begin.Turn, proof); err != nil {
			return err
		}
	}
	if s.state.progress.Closed {
		_, err := s.Evidence.Finish(0)
		return err
	}
	return nil
}

// proveTurn computes the evidence of a turn that has ended.
func (s *Session) proveTurn(begin ledger.Entry) (record.TurnEvidence, error) {
	var failed error
	proof, err := record.Evidence(func(yield func(ledger.Entry) bool) {
		for e, err := range s.Exec.Since(begin) {
			if failed = err; err != nil || e.Kind == record.KindTurnEnd || !yield(e) {
				return
			}
		}
	})
	return proof, errors.Join(failed, err)
}

// given are the entries about what was set aside from a ledger.
func given(l *ledger.Log, turns int64) []ledger.Body {
	var bodies []ledger.Body
	for _, d := range l.Recovered() {
		bodies = append(bodies, record.Recovered{File: d.File, Offset: d.Offset, Length: d.Length, SHA256: d.SHA256, Accepted: true, Turns: turns})
	}
	return bodies
}

// nothing is the entry of a loss of which nothing is left.
func nothing(file string, offset, turns int64) ledger.Body {
	return record.Recovered{File: file, Offset: offset, SHA256: ledger.Sum(nil), Accepted: true, Turns: turns}
}
