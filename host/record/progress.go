package record

import (
	"fmt"

	"github.com/agenthost/agenthost/ledger"
)

// Progress is where a session stands after the entries of exec.jsonl that were
// added. The zero value is a session without entries. Not safe for concurrent
// use.
type Progress struct {
	Session string
	Turns   int          // begun; they are numbered from 1
	InTurn  bool         // the last of them has no turn.end
	Begin   ledger.Entry // turn.begin of the last, without its line
	Closed  bool
}

// Add takes the next entry, or says why it cannot be the next: a session is
// opened once, its turns are numbered from 1 and end before the next begins,
// and after session.close only recovered, erased, session.resume and seals follow. Members are not
// looked at.
func (p *Progress) Add(e ledger.Entry) error {
	if e.Seq == 0 != (e.Kind == KindSessionOpen) {
		return fmt.Errorf("%s: a session begins with session.open, once", e.Kind)
	}
	if p.Closed && e.Kind != KindRecovered && e.Kind != KindErased && e.Kind != KindSessionResume && e.Kind != ledger.KindSeal {
		return fmt.Errorf("%s after session.close", e.Kind)
	}
	want := 0
	switch e.Kind {
	case KindSessionOpen:
		p.Session = e.Session
	case ledger.KindSeal: // of what it commits
		want = e.Turn
	case KindRecovered, KindErased, KindSessionResume:
		if p.InTurn && e.Turn != 0 {
			want = p.Turns
		}
	case KindTurnBegin:
		if p.InTurn {
			return fmt.Errorf("turn.begin before turn %d has ended", p.Turns)
		}
		want = p.Turns + 1
	case KindOp, KindDigest, KindExecStart, KindExecEnd, KindStderr, KindTurnEnd:
		if !p.InTurn {
			return fmt.Errorf("%s outside a turn", e.Kind)
		}
		want = p.Turns
	case KindSessionClose:
		if p.InTurn {
			return fmt.Errorf("session.close before turn %d has ended", p.Turns)
		}
		if e.Turn != 0 { // committed with the end of the last turn
			want = p.Turns
		}
	default:
		return fmt.Errorf("%s does not belong in %s", e.Kind, ExecFile)
	}
	if e.Turn != want {
		return fmt.Errorf("%s of turn %d, want %d", e.Kind, e.Turn, want)
	}
	switch e.Kind {
	case KindTurnBegin:
		p.Turns++
		p.InTurn, p.Begin = true, e
		p.Begin.Line = nil
	case KindTurnEnd:
		p.InTurn = false
	case KindSessionClose:
		p.Closed = true
	}
	return nil
}
