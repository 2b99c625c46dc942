package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Recover finishes what crashed processes left in the root. It is to be called
// at the start of every command that uses the root, and does nothing, and
// writes nothing, where nothing was left.
//
//   - Debris at the end of a ledger is noted (recovered).
//   - A turn without turn.end gets one, aborted, with its evidence; what it
//     staged goes to blocked/TURN.
//   - A turn whose turn.end lists publications is finished: a target that is
//     what the turn replaces is replaced, one that is what it publishes is
//     done, any other is left and becomes a finding.
//   - Blobs that are recorded as erased are removed.
//   - Markers and temporary files are removed.
//
// A session on which a living process works is not touched. A session that
// cannot be read becomes a finding and hinders no other. Recover can run in
// several processes at once, and again after it was cut short itself.
func (r *Root) Recover(ctx context.Context) ([]Finding, error) {
	dir := r.Folder()
	if dir == nil {
		return nil, nil
	}
	left := make(map[ID]bool)
	var ids []ID
	add := func(id ID) {
		if !left[id] {
			left[id] = true
			ids = append(ids, id)
		}
	}
	markers, err := dir.ReadDir(pendingDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("root %s: %w", r.path, err)
	}
	for _, e := range markers {
		if id, err := ParseID(e.Name); err == nil {
			add(id)
		}
	}
	halfMade := false
	for _, plane := range Planes() {
		sessions, err := dir.ReadDir(sessionsOf(plane))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("root %s: %w", r.path, err)
		}
		for _, e := range sessions {
			halfMade = halfMade || strings.HasPrefix(e.Name, durable.Prefix)
			id, err := ParseID(e.Name)
			if err != nil {
				continue
			}
			if _, err := dir.Stat(sessionsOf(plane) + "/" + e.Name + "/" + stagingDir); err == nil {
				add(id)
			}
		}
	}
	if halfMade {
		if err := r.removeHalfMade(ctx); err != nil {
			return nil, err
		}
	}
	var findings []Finding
	for _, id := range ids {
		s, found, err := r.open(ctx, id)
		findings = append(findings, found...)
		switch {
		case err == nil:
			err = s.Leave()
		case errors.Is(err, ErrInUse):
			err = nil
		case errors.Is(err, ErrNotFound):
			err = errors.New("a commit of it is pending, but the session is gone")
		case ctx.Err() != nil:
			return findings, ctx.Err()
		}
		if err != nil {
			findings = append(findings, Finding{id, "", FindingUnreadable, err.Error()})
		}
	}
	return findings, nil
}

// removeHalfMade removes the folders of sessions that were never opened. Making
// one holds the lock.
func (r *Root) removeHalfMade(ctx context.Context) error {
	lock, err := r.lockPublish(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	dir := r.Folder()
	for _, plane := range Planes() {
		sessions, err := dir.ReadDir(sessionsOf(plane))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range sessions {
			if strings.HasPrefix(e.Name, durable.Prefix) {
				if err := dir.RemoveAll(sessionsOf(plane) + "/" + e.Name); err != nil {
					return r.unwritable(err)
				}
			}
		}
	}
	return nil
}

// recover brings a session that was just opened to where a turn can begin.
func (s *Session) recover(ctx context.Context) ([]Finding, error) {
	noted := func(l *ledger.Log) []ledger.Body {
		var bodies []ledger.Body
		for _, d := range l.Recovered() {
			bodies = append(bodies, record.Recovered{File: d.File, Offset: d.Offset, Length: d.Length, SHA256: d.SHA256})
		}
		return bodies
	}
	exec, evidence := noted(s.Exec), noted(s.Evidence)
	if s.state.progress.InTurn {
		// Nothing is sealed behind what somebody else put there.
		if err := s.endable(); err != nil {
			return nil, err
		}
	}
	if len(exec)+len(evidence) > 0 || s.state.progress.InTurn {
		if err := s.introduce(exec...); err != nil {
			return nil, err
		}
	}
	if len(evidence) > 0 {
		if _, err := s.Evidence.Commit(0, evidence...); err != nil {
			return nil, err
		}
	}
	return s.tidyUp(ctx)
}

// endable reports whether the turn in progress is one that a crash cut short: its
// entries fit, and what was recorded of it in evidence.jsonl is among them.
func (s *Session) endable() error {
	turn, begin := s.state.progress.Turns, s.state.progress.Begin
	bad := func(reason string) error {
		return &ledger.IntegrityError{File: record.ExecFile, Line: int(begin.Seq) + 1, Seq: begin.Seq, Offset: begin.Offset, Reason: reason} //nolint:gosec // a line number
	}
	proof, err := s.prove()
	var read *proveError
	switch {
	case errors.As(err, &read):
		return read.err
	case err != nil:
		return bad(fmt.Sprintf("turn %d, which has not ended: %v", turn, err))
	case s.state.violations > len(proof.Violations):
		return bad(fmt.Sprintf("turn %d has %d violations in %s, and %d operations that were refused here: it was cut", turn, s.state.violations, record.EvidenceFile, len(proof.Violations)))
	}
	return nil
}

// A proveError is one of reading the entries of a turn.
type proveError struct{ err error }

func (e *proveError) Error() string { return e.err.Error() }
func (e *proveError) Unwrap() error { return e.err }

// tidyUp is recover once it is noted what was set aside.
func (s *Session) tidyUp(ctx context.Context) ([]Finding, error) {
	if s.state.progress.InTurn {
		if err := s.abort(); err != nil {
			return nil, err
		}
	}
	// The crash may have come between the entry and the removal.
	if len(s.state.erased) > 0 {
		if err := ledger.EraseBlobs(s.BlobDir(), s.state.erased...); err != nil {
			return nil, s.root.unwritable(err)
		}
	}
	findings, settled, err := s.settle(ctx)
	if err != nil {
		return findings, err
	}
	s.unsettled = !settled
	return findings, s.clear(settled)
}

// abort ends a turn that a crash cut short, with all that its entries prove.
func (s *Session) abort() error {
	turn := s.state.progress.Turns
	proof, err := s.prove()
	if err != nil {
		return fmt.Errorf("turn %d: %w", turn, err)
	}
	// The crash may have come between an op and its violation, or between the
	// evidence and turn.end.
	for _, v := range proof.Violations[min(s.state.violations, len(proof.Violations)):] {
		if _, err := s.Evidence.Append(turn, v); err != nil {
			return err
		}
	}
	if !s.proved(proof) {
		if err := s.Prove(&proof); err != nil {
			return err
		}
	}
	_, err = s.End(record.TurnEnd{
		Status: record.StatusAborted, Code: record.CodeCrash,
		Message: "the turn was cut short: its process ended before the turn did",
	})
	return err
}

// prove computes the evidence of the turn in progress.
func (s *Session) prove() (record.TurnEvidence, error) {
	var failed error
	proof, err := record.Evidence(func(yield func(ledger.Entry) bool) {
		for e, err := range s.Exec.Since(s.state.progress.Begin) {
			if failed = err; err != nil || !yield(e) {
				return
			}
		}
	})
	if failed != nil {
		return proof, &proveError{failed}
	}
	return proof, err
}

// proved reports whether evidence.jsonl ends with that evidence.
func (s *Session) proved(proof record.TurnEvidence) bool {
	if s.state.proof.Line == nil {
		return false
	}
	var last record.TurnEvidence
	if s.state.proof.Decode(&last) != nil {
		return false
	}
	a, errA := ledger.Encode(last)
	b, errB := ledger.Encode(proof)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// settle finishes or takes back the commit that a marker speaks of.
func (s *Session) settle(ctx context.Context) (findings []Finding, settled bool, err error) {
	// A crash may have come while the marker was written.
	if err := s.root.Folder().Remove(pendingDir + "/" + durable.Prefix + string(s.ID)); err != nil && !gone(err) {
		return nil, false, err
	}
	m, found, err := s.readMarker()
	if err != nil {
		findings = append(findings, Finding{s.ID, "", FindingUnreadable, err.Error()})
		m = marker{Turn: s.state.ended, Workspace: s.root.home()}
	}
	if !found {
		return findings, true, nil
	}
	if m.Workspace != s.root.home() {
		err := fmt.Errorf("turn %d belongs to another workspace, %s", m.Turn, m.Workspace)
		return append(findings, unfinished(s.ID, "", err)), false, nil
	}
	lock, err := s.root.lockPublish(ctx)
	if err != nil {
		return findings, false, err
	}
	defer lock.Close()
	if m.Turn != s.state.ended || len(s.state.end.Publish) == 0 {
		err := s.removeBeside(nil, m)
		return findings, true, errors.Join(err, s.removeMarker())
	}
	// What was read may not have reached the disk before the crash.
	if err := s.syncExec(); err != nil {
		return findings, false, err
	}
	f := finish{s: s, turn: m.Turn, publications: s.state.end.Publish, beside: m.Beside}
	more, err := f.run(ctx)
	if err != nil {
		more = append(more, unfinished(s.ID, "", err))
	}
	return append(findings, more...), f.settled, nil
}

// syncExec makes exec.jsonl durable as it was found.
func (s *Session) syncExec() error {
	f, err := s.dir.OpenFile("ledger/"+record.ExecFile, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// readMarker reads the session's marker, if there is one.
func (s *Session) readMarker() (m marker, found bool, err error) {
	b, err := durable.Read(s.root.Folder(), s.pendingName(), 64<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, true, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, true, fmt.Errorf("%s: %w", s.pendingName(), err)
	}
	if m.V != 1 || m.Plane != s.Plane || m.Turn < 1 {
		return m, true, fmt.Errorf("%s is not the marker of a commit of this session", s.pendingName())
	}
	for _, name := range m.Beside {
		if name != "" && (beneath.CheckName(name) != nil || !strings.HasPrefix(durable.Base(name), s.besidePrefix(m.Turn))) {
			return m, true, fmt.Errorf("%s names %q, which is no copy of this session", s.pendingName(), name)
		}
	}
	return m, true, nil
}

// clear puts away what is in staging. The staging of a commit that is not
// settled stays.
func (s *Session) clear(settled bool) error {
	entries, err := s.dir.ReadDir(stagingDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		turn, ok := turnOf(e.Name)
		if !ok {
			continue // not made by this package
		}
		last := turn == s.state.ended
		switch {
		case last && !settled:
		case last && s.state.end.Status != record.StatusBlocked && s.state.end.Status != record.StatusAborted:
			err = s.discard(turn)
		default:
			_, err = s.block(turn)
		}
		if err != nil {
			return err
		}
	}
	return s.tidy()
}
