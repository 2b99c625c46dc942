package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// A Receipt is the checkpoint of a session's exec.jsonl that was kept outside of
// the root, and that a trusted host signed: what lay before it then must lie there
// now.
type Receipt struct {
	Name       string // of the file it is in, for people
	Plane      string
	Session    string
	Host       ledger.Verifier // who signed it
	Checkpoint ledger.Checkpoint
}

// MaxReceipt bounds a receipt, in bytes.
const MaxReceipt = 64 << 10

// ErrReceiptSigner says that a receipt does not count.
var ErrReceiptSigner = errors.New("no host that is trusted here signed it")

// ParseReceipt reads a receipt: a checkpoint as a signed note, as [session.Session.Checkpoint]
// makes it. It is an error if it is of anything but a session's exec.jsonl, or if
// none of the trusted hosts signed it ([ErrReceiptSigner]): anybody can write one
// that nobody signed.
func ParseReceipt(name string, text []byte, trusted []ledger.Verifier) (Receipt, error) {
	c, err := ledger.ParseCheckpoint(text)
	if err != nil {
		return Receipt{}, fmt.Errorf("receipt %s: %w", name, err)
	}
	r := Receipt{Name: name, Checkpoint: c}
	var ok bool
	if r.Plane, r.Session, ok = splitOrigin(c.Origin); !ok {
		return Receipt{}, fmt.Errorf("receipt %s: it is of %.200q, and not of the exec.jsonl of a session", name, c.Origin)
	}
	for _, host := range trusted {
		if c.Check(host) == nil {
			r.Host = host
			return r, nil
		}
	}
	return Receipt{}, fmt.Errorf("receipt %s: %w", name, ErrReceiptSigner)
}

// splitOrigin takes the origin of a session's exec.jsonl apart.
func splitOrigin(origin string) (plane, id string, ok bool) {
	parts := strings.Split(origin, "/")
	if len(parts) != 4 || !slices.Contains(session.Planes(), parts[1]) || record.ExecOrigin(parts[1], parts[2]) != origin {
		return "", "", false
	}
	_, err := session.ParseID(parts[2])
	return parts[1], parts[2], err == nil
}

// CheckReceipts returns an error if one of receipts is of another session than the
// one whose exec.jsonl is named, or that is no exec.jsonl: it says nothing about it. A
// file that cannot be read so far is none.
func CheckReceipts(execFile string, receipts []Receipt) error {
	if len(receipts) == 0 {
		return nil
	}
	for e, err := range ledger.Scan(execFile, ledger.Options{MaxEntry: record.MaxExecEntry}) {
		if err != nil {
			return nil
		}
		if e.Kind != record.KindSessionOpen {
			return fmt.Errorf("receipt %s: it is of the %s of %s, and %s is another ledger", receipts[0].Name, record.ExecFile, receipts[0].Session, execFile)
		}
		var open record.SessionOpen
		if e.Decode(&open) != nil {
			return nil
		}
		for _, r := range receipts {
			if r.Session != e.Session || r.Plane != open.Plane {
				return fmt.Errorf("receipt %s: it is of %s in plane %s, and %s is of %s in plane %s", r.Name, r.Session, r.Plane, execFile, e.Session, open.Plane)
			}
		}
		return nil
	}
	return nil
}

func (r Receipt) anchor() ledger.Anchor {
	return ledger.Anchor{Size: r.Checkpoint.Size, Root: r.Checkpoint.Root, Source: "the receipt " + r.Name}
}
