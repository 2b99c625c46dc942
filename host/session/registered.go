package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/ledger"
)

// patience is how long a commit waits for others who write to the register. None
// holds it for longer than two syncs.
const patience = time.Minute

// Register is the register of a plane, in a root that is there. It belongs to the
// root.
func (r *Root) Register(plane string) *register.Register {
	r.mu.Lock()
	defer r.mu.Unlock()
	reg := r.registers[plane]
	if reg == nil {
		reg = register.New(r.dir, r.path, plane, register.Options{Now: r.opts.Now, Random: r.opts.Random, Key: r.key, Hosts: r.Hosts})
		if r.registers == nil {
			r.registers = make(map[string]*register.Register)
		}
		r.registers[plane] = reg
	}
	return reg
}

// find is what the register knows of the session.
func (s *Session) find(ctx context.Context) (register.Head, bool, error) {
	state, found, err := s.root.Register(s.Plane).Find(ctx, string(s.ID))
	return state.Head, found, err
}

// agree has the register know what exec.jsonl ends with. A crash leaves it one
// commit behind; of more than that, or of a session with turns that it does not
// know, somebody took something out of it.
func (s *Session) agree(ctx context.Context, known register.Head, found bool) error {
	c, ok := s.Exec.Sealed()
	if !ok {
		return &ledger.IntegrityError{File: record.ExecFile, Reason: "nothing in it is sealed"}
	}
	now := register.Head{Size: c.Size, Root: c.Root}
	switch {
	case !found && s.state.ended == 0 && s.state.ahead <= 1:
		s.registered = nil
		return s.register(ctx, record.KindSessionOpen, now)
	case !found:
		return &ledger.IntegrityError{File: record.ExecFile, Reason: fmt.Sprintf("%s does not know the session, which has %d turns: it was taken out there, or the session comes from elsewhere", record.RegisterSource, s.state.ended)}
	case s.state.ahead > 1:
		return &ledger.IntegrityError{File: record.ExecFile, Reason: fmt.Sprintf("%s knows %d entries of it, which %d commits follow: it was rolled back", record.RegisterSource, known.Size, s.state.ahead)}
	}
	s.registered = &known
	if now == known {
		return nil
	}
	return s.register(ctx, s.kind(), now)
}

// kind is that of the entry in the register for the session as it is now.
func (s *Session) kind() string {
	if s.repairs {
		return record.KindSessionRepair
	}
	if s.state.progress.Closed {
		return record.KindSessionClose
	}
	return record.KindSessionHead
}

// register moves the register on to a head.
func (s *Session) register(ctx context.Context, kind string, now register.Head) error {
	err := s.root.Register(s.Plane).Record(ctx, register.Change{Kind: kind, Session: string(s.ID), Was: s.registered, Is: now})
	if err == nil {
		s.registered = &now
	}
	return err
}

// commit commits bodies to exec.jsonl, and then the new head to the register,
// which has the one before on disk by then. The seal is final if the session is,
// or becomes, closed. After an error that wraps [ledger.ErrPoisoned] it is not
// known whether it happened.
func (s *Session) commit(turn int, bodies ...ledger.Body) (ledger.Commitment, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reg := s.root.Register(s.Plane)
	if err := reg.Wait(ctx, string(s.ID)); err != nil {
		return ledger.Commitment{}, err
	}
	defer reg.Expect()()
	seal := s.Exec.Commit
	for _, b := range bodies {
		if b.Kind() == record.KindSessionClose {
			seal = s.Exec.Finish
		}
	}
	c, err := seal(turn, bodies...)
	if err != nil {
		return c, err
	}
	if err := s.register(ctx, s.kind(), register.Head{Size: c.Checkpoint.Size, Root: c.Checkpoint.Root}); err != nil {
		// It is on disk, and counts if the register takes it later.
		return c, fmt.Errorf("%w: it could not be registered: %w", ledger.ErrPoisoned, err)
	}
	return c, nil
}

// proven is what evidence.jsonl must contain: it is on disk before the turn.end that
// names it is written, so that no crash takes it. Nothing, if the operator accepts its
// loss now, or did so before and it was computed anew.
func (s *Session) proven() ([]ledger.Anchor, error) {
	if s.state.ended == 0 || s.state.err != nil || s.repairs {
		return nil, nil
	}
	if s.state.accepted > 0 {
		anew, err := s.rebuilt()
		if err != nil || anew >= s.state.ended {
			return nil, err
		}
	}
	head := s.state.end.Evidence
	return []ledger.Anchor{{Size: head.Size, Root: head.Root, Source: fmt.Sprintf("turn %d in %s", s.state.ended, record.ExecFile)}}, nil
}

// rebuilt is the last turn whose evidence was computed anew, as far as evidence.jsonl
// can be read.
func (s *Session) rebuilt() (last int, err error) {
	for e, err := range ledger.Scan(s.root.join(s.name()+"/ledger/"+record.EvidenceFile), record.EvidenceOptions(string(s.ID))) {
		var bad *ledger.IntegrityError
		if errors.As(err, &bad) {
			break // who opens it says so
		}
		if err != nil {
			return 0, err
		}
		var b record.Recovered
		if e.Kind == record.KindRecovered && e.Decode(&b) == nil {
			last = max(last, int(b.Turns))
		}
	}
	return last, nil
}
