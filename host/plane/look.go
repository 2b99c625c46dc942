package plane

import (
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Look reads governance.jsonl for who judges the plane and changes nothing in it:
// what [Open] would finish stays as it is. It calls observe with each entry. With
// an error, which is that of reading the ledger or an *[ledger.IntegrityError],
// state and report are of the entries before the bad one.
func Look(root *session.Root, observe func(ledger.Entry, ledger.Body)) (state State, report ledger.Report, err error) {
	p := &Plane{path: root.Path()}
	o := record.GovernanceOptions()
	var bad error
	o.Observe = func(e ledger.Entry) {
		if bad != nil {
			return
		}
		body, err := record.DecodeGovernance(e)
		if err == nil {
			err = state.add(e)
		}
		if err != nil {
			bad = badEntry(p.governance(), e, err)
			return
		}
		observe(e, body)
	}
	report, err = ledger.Verify(p.governance(), o)
	if bad != nil {
		err = bad // it is about a line before the one that err is about
	}
	return state, report, err
}

// CheckMark reports whether what stands where a change leaves its mark can be one:
// a *[MismatchError] if not, on which [Open] fails. One that is not there can.
func CheckMark(root *session.Root) error {
	_, _, err := readMarker(root.Folder())
	return err
}
