package record

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/agenthost/agenthost/ledger"
)

// rest checks the entries of evidence.jsonl that no turn has committed: of a
// turn that runs, of one whose end a crash took, of turns that were cut off
// exec.jsonl, or of later ones if a writer went on meanwhile.
func (s *session) rest() error {
	var (
		open     = len(s.report.Turns) + 1
		absent   ledger.Entry // the first of a turn that has no turn.begin
		last     int          // the highest number of such a turn
		violated bool         // one of them is a violation
		fault    error        // the first violation that is not what the unfinished turn has next
		refused  []Violation  // what that turn has and is not recorded yet
		unread   error        // why no more could be read
	)
	if s.progress.InTurn {
		refused = s.turn.evidence().Violations
	}
	for {
		e, body, err := s.next()
		if unread = err; err != nil || e.Line == nil {
			break
		}
		if e.Kind == KindRecovered || e.Kind == ledger.KindSeal {
			continue
		}
		if s.progress.Closed {
			return s.bad(EvidenceFile, e, "%s after the session was closed", e.Kind)
		}
		if e.Turn < open {
			return s.bad(EvidenceFile, e, "%s of turn %d, which has ended", e.Kind, e.Turn)
		}
		if e.Turn == open {
			s.report.Uncommitted++
		}
		v, isViolation := body.(Violation)
		switch {
		case e.Turn > s.progress.Turns:
			if absent.Line == nil {
				absent = e
			}
			last, violated = max(last, e.Turn), violated || isViolation
		case isViolation && fault == nil:
			fault = s.recorded(e, v, refused)
			refused = refused[min(1, len(refused)):]
		}
	}
	switch {
	case s.grown(): // perhaps by a process whose key was not read
		return nil
	case fault != nil:
		return fault
	case violated, last > open:
		return s.bad(EvidenceFile, absent, "%s", lacking(absent.Turn, last))
	}
	return unread
}

// recorded checks a violation of the unfinished turn against the operations
// that have none yet.
func (s *session) recorded(e ledger.Entry, v Violation, refused []Violation) error {
	if len(refused) == 0 {
		return s.bad(EvidenceFile, e, "violation of %s of %s in turn %d was recorded, and %s does not have its op: it was cut", v.Operation, v.Subject, e.Turn, ExecFile)
	}
	if err := matchViolations([]Violation{v}, refused[:1], false); err != nil {
		return s.bad(EvidenceFile, e, "turn %d: %w", e.Turn, err)
	}
	return nil
}

func lacking(first, last int) string {
	if first == last {
		return fmt.Sprintf("evidence of turn %d was recorded, and %s does not have this turn: it was cut", first, ExecFile)
	}
	return fmt.Sprintf("evidence of turns %d to %d was recorded, and %s does not have these turns: it was cut", first, last, ExecFile)
}

// grown reports whether exec.jsonl was written since the check began. An entry
// is there before the evidence of it, so that a live writer is always noticed.
func (s *session) grown() bool {
	now, err := os.Stat(filepath.Join(s.dir, ExecFile))
	return err != nil || s.before == nil || now.Size() != s.before.Size() || !now.ModTime().Equal(s.before.ModTime())
}
