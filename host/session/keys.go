package session

import (
	"errors"
	"fmt"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// key is the host's key.
func (r *Root) key() (*ledger.Key, error) {
	if r.opts.Key == nil {
		return nil, errors.New("no host key was given")
	}
	k, err := r.opts.Key()
	if err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	return k, nil
}

// Hosts are the verifier keys of the hosts that are trusted.
func (r *Root) Hosts() ([]ledger.Verifier, error) {
	if r.opts.Hosts == nil {
		k, err := r.key()
		if err != nil {
			return nil, err
		}
		return []ledger.Verifier{k.Verifier()}, nil
	}
	hosts, err := r.opts.Hosts()
	if err != nil {
		return nil, fmt.Errorf("trusted hosts: %w", err)
	}
	return hosts, nil
}

// processKey makes the key of this process for a session.
func (r *Root) processKey(plane string, id ID) (*ledger.Key, record.ProcessKey, error) {
	host, err := r.key()
	if err != nil {
		return nil, record.ProcessKey{}, err
	}
	return record.NewProcessKey(plane, string(id), host, r.opts.Random)
}

// trust refuses a session of a host that is not trusted, or of another plane.
func (s *Session) trust(keys *record.SessionKeys) error {
	if plane := keys.Plane(); plane != "" && plane != s.Plane {
		return &ledger.IntegrityError{File: record.ExecFile, Line: 1, Reason: fmt.Sprintf("it is of a session of plane %s, and lies in %s", plane, s.Plane)}
	}
	hosts, err := s.root.Hosts()
	if err != nil {
		return err
	}
	return record.CheckHosts("the session", keys.Hosts(), hosts)
}

// introduce makes the key of this process known in exec.jsonl, with what else is
// to be committed there, if anything. It comes before any other entry that this
// process commits.
func (s *Session) introduce(bodies ...ledger.Body) error {
	if s.resume != nil {
		bodies = append([]ledger.Body{record.SessionResume{ProcessKey: *s.resume}}, bodies...)
	}
	if len(bodies) == 0 {
		return nil
	}
	_, err := s.commit(0, bodies...)
	if err == nil {
		s.resume = nil
	}
	return err
}

// Checkpoint is that of exec.jsonl as the last commit left it, signed by this
// process and by the host: who keeps it elsewhere notices whatever is changed or
// cut before it later.
func (s *Session) Checkpoint() (ledger.Checkpoint, error) {
	c, ok := s.Exec.Sealed()
	if !ok {
		return ledger.Checkpoint{}, fmt.Errorf("session %s: nothing is sealed", s.ID)
	}
	host, err := s.root.key()
	if err != nil {
		return ledger.Checkpoint{}, err
	}
	return c, c.Sign(host)
}
