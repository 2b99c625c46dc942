package plane

import (
	"errors"
	"fmt"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// ErrRegister says that a ledger is what was sealed, and that the register which
// knows how far it goes could not be asked.
var ErrRegister = errors.New("the register that knows how far it goes cannot be read")

// Look reads governance.jsonl for who judges the plane, waits for no lock and changes
// nothing: what [Open] would finish stays as it is. It calls observe with each entry.
// With an error, which is that of reading the ledger, or the register of ho3 that
// knows it, or an *[ledger.IntegrityError], state and report are of the entries
// before the bad one, which nobody vouches for; with an *[record.UnknownHostError],
// or one that wraps [ErrRegister], of all.
func Look(root *session.Root, observe func(ledger.Entry, ledger.Body)) (state State, report ledger.Report, err error) {
	b := governanceBook(root)
	heads, unread := readHeads(b)
	report, err = b.look(heads, record.DecodeGovernance, func(e ledger.Entry, body ledger.Body) error {
		if err := state.add(e); err != nil {
			return err
		}
		observe(e, body)
		return nil
	})
	if err == nil && unread != nil {
		err = fmt.Errorf("%w: %w", ErrRegister, unread)
	}
	return state, report, err
}

// LookAtClaims reads the ledger of the turns of a work order as [Look] reads
// governance.jsonl, and compares it with heads unless they are nil. An error of observe is one of the entry.
func LookAtClaims(root *session.Root, heads *Heads, id string, observe func(ledger.Entry, ledger.Body) error) (ledger.Report, error) {
	return claimsBook(root, id).look(heads, record.DecodeWorkOrder, observe)
}

// LookAtSnapshots reads the ledger of the snapshots of contexts as [Look] reads
// governance.jsonl.
func LookAtSnapshots(root *session.Root, heads *Heads, observe func(ledger.Entry, ledger.Body) error) (ledger.Report, error) {
	return snapshotBook(root).look(heads, record.DecodeContext, observe)
}

func (b book) look(heads *Heads, decode func(ledger.Entry) (ledger.Body, error), observe func(ledger.Entry, ledger.Body) error) (ledger.Report, error) {
	var fault error
	see := func(e ledger.Entry) {
		if fault != nil {
			return
		}
		body, err := decode(e)
		if err == nil {
			err = observe(e, body)
		}
		if err != nil {
			fault = badEntry(b.path, e, err)
		}
	}
	var report ledger.Report
	var err error
	if heads == nil {
		_, report, err = b.readAlone(nil, see)
	} else {
		report, err = b.readFrom(heads.head(b), func() (*register.Head, error) {
			now, err := readHeads(b)
			if now == nil {
				return nil, err
			}
			return now.head(b), nil
		}, see)
	}
	if fault != nil {
		err = fault // it is about a line before the one that err is about
	}
	return report, err
}

// CheckMark reports whether what stands where a change leaves its mark can be one:
// a *[MismatchError] if not, on which [Open] fails. One that is not there can.
func CheckMark(root *session.Root) error {
	_, _, err := readMarker(root.Folder())
	return err
}
