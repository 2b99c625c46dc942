package session

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// state is what the entries of the ledgers add up to.
type state struct {
	mu       sync.Mutex // the two ledgers are written side by side
	progress record.Progress
	opened   time.Time
	last     time.Time // of the last entry of exec.jsonl, up to session.close
	open     record.SessionOpen
	end      record.TurnEnd // the last
	ended    int            // its turn
	erased   []ledger.Hash  // blobs
	accepted int            // losses
	err      error          // the first entry that cannot be where it is, or be decoded

	ahead  int    // seals in exec.jsonl behind what the register knows
	behind uint64 // size of that

	// Of evidence.jsonl: the violations of the turn in progress, and its last
	// entry if that is evidence.
	violations int
	proof      ledger.Entry
	live       bool // entries are what this process appends
}

// sawExec takes an entry of exec.jsonl in.
func (st *state) sawExec(e ledger.Entry) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.progress.Closed {
		st.last = e.Time
	}
	err := st.progress.Add(e)
	switch e.Kind {
	case ledger.KindSeal:
		if e.Seq > st.behind {
			st.ahead++
		}
		if !st.live && !st.progress.Closed {
			var b ledger.Seal
			if err = errors.Join(err, e.Decode(&b)); err == nil && b.Final {
				err = record.ErrFinal
			}
		}
	case record.KindSessionOpen:
		st.opened = e.Time
		err = errors.Join(err, e.Decode(&st.open))
	case record.KindTurnBegin:
		st.violations = 0
	case record.KindTurnEnd:
		st.ended, st.end = e.Turn, record.TurnEnd{}
		err = errors.Join(err, e.Decode(&st.end))
	case record.KindErased:
		var b record.Erased
		err = errors.Join(err, e.Decode(&b))
		st.erased = append(st.erased, b.Blob)
	case record.KindRecovered:
		var b record.Recovered
		err = errors.Join(err, e.Decode(&b))
		if b.Accepted {
			st.accepted++
		}
	}
	st.fault(record.ExecFile, e, err)
}

// sawEvidence takes an entry of evidence.jsonl in; exec.jsonl was read before.
func (st *state) sawEvidence(e ledger.Entry) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if e.Kind == ledger.KindSeal {
		return
	}
	st.proof = ledger.Entry{}
	switch e.Kind {
	case record.KindViolation:
		if st.progress.InTurn && e.Turn == st.progress.Turns {
			st.violations++
		}
		if e.Turn > st.progress.Turns {
			// Its operation was on disk before it.
			st.fault(record.EvidenceFile, e, fmt.Errorf("violation in turn %d was recorded, and %s does not have this turn: it was cut", e.Turn, record.ExecFile))
		}
	case record.KindTurnEvidence:
		st.proof = e
		st.proof.Line = bytes.Clone(e.Line)
		if !st.live { // what is appended was encoded just now, and is large
			st.fault(record.EvidenceFile, e, e.Decode(new(record.TurnEvidence)))
			if e.Turn > st.ended+1 {
				st.fault(record.EvidenceFile, e, fmt.Errorf("evidence of turn %d was recorded, and %s has %d turns that ended: it was cut", e.Turn, record.ExecFile, st.ended))
			}
		}
	}
}

func (st *state) fault(file string, e ledger.Entry, err error) {
	if err != nil && st.err == nil {
		st.err = &ledger.IntegrityError{File: file, Line: int(e.Seq) + 1, Seq: e.Seq, Offset: e.Offset, Reason: err.Error()} //nolint:gosec // a line number
	}
}
