package audit

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Words of verdicts.
const (
	Verified      = "VERIFIED"                  // all of it is what was written, as hosts that are trusted signed it
	SignerUnknown = "INTACT BUT SIGNER UNKNOWN" // it agrees with itself, and anybody may have made it
	Broken        = "BROKEN"                    // it is not what was written, or not all of it
	NotReadable   = "UNREADABLE"                // it could not be looked at
	Pruned        = "PRUNED"                    // its record was removed, and the register says so
)

// How the ledger of a session can differ from its register.
const (
	RolledBack   = "rolled back"  // it has less
	Diverged     = "diverged"     // it has something else, or more than a crash explains
	Unregistered = "unregistered" // it has turns, and is unknown
)

// A Verdict is what is known of one session, or of one ledger.
type Verdict struct {
	Word    string
	Single  bool   // it is on one ledger, not on a session
	Session string // "" if it is not known
	Plane   string
	File    string        // of a ledger, from the root or as it was named
	Record  record.Report // of a session
	Ledger  ledger.Report // of a ledger
	// Hosts signed it, and Unknown are those of them that are not trusted.
	Hosts, Unknown []ledger.Verifier
	// Registered is set if a register was asked and agrees.
	Registered bool
	// Against is how a session that is whole by itself differs from what the register
	// of its plane has of it, one of RolledBack, Diverged and Unregistered; "" if it does not, or is broken.
	Against  string
	Receipts []Receipt // it contains what they say
	Lost     int       // segments of a register whose loss was accepted
	// Err is why the word is not Verified: an [*ledger.IntegrityError] or a
	// [*plane.MismatchError] if it is Broken, a [*record.UnknownHostError], [ErrNoSigner] or [ErrNoSeal] if the signer is unknown, one of the file
	// system if it is NotReadable.
	Err error
}

// Anchored reports whether something outside of the root vouches for it.
func (v *Verdict) Anchored() bool { return len(v.Receipts) > 0 }

// Trusts reports whether a host that signed it is trusted.
func (v *Verdict) Trusts(host ledger.Verifier) bool {
	return !slices.ContainsFunc(v.Unknown, func(h ledger.Verifier) bool { return h.Equal(host) })
}

// Known is what is known of a session from outside its folder.
type Known struct {
	Session, Plane string            // where it lies; "" is anywhere
	Trusted        []ledger.Verifier // hosts
	Receipts       []Receipt         // of this session
	Registered     *Registered       // nil: there is no register to ask
	// Observe, if set, is that of [record.VerifyOptions].
	Observe func(file string, e ledger.Entry, body ledger.Body)
}

// Registered is what the register of a plane says of a session: the checkpoint of
// its last commit that the register took. The zero value is of a session that it
// does not know.
type Registered struct {
	Size uint64
	Root ledger.Hash
}

// VerifySession judges the record in a session's ledger folder by all that is
// known of it: by itself, as [record.ObserveSession] does; by the receipts, all of
// which it must contain; by the register, than which it may be one commit further,
// since a crash can come between the two, and no more; and by who is trusted. It
// needs no lock, and memory for the names of one turn.
func VerifySession(ledgerDir string, k Known) Verdict {
	v := Verdict{Session: k.Session, Plane: k.Plane, Receipts: k.Receipts}
	s := registerCheck{known: k.Registered}
	o := record.VerifyOptions{Observe: func(file string, e ledger.Entry, body ledger.Body) {
		s.saw(file, e, body)
		if k.Observe != nil {
			k.Observe(file, e, body)
		}
	}}
	if k.Registered != nil && k.Registered.Size > 0 {
		o.Anchors = append(o.Anchors, ledger.Anchor{Size: k.Registered.Size, Root: k.Registered.Root, Source: record.RegisterSource})
	}
	for _, r := range k.Receipts {
		o.Anchors = append(o.Anchors, r.anchor())
	}
	v.Record, v.Err = record.ObserveSession(ledgerDir, o)
	v.Hosts = v.Record.Hosts
	if v.Err == nil {
		v.Err = misplaced(ledgerDir, v.Record, k)
	}
	if v.Err == nil {
		v.Against, v.Err = s.fault(ledgerDir)
	} else if len(o.Anchors) > 0 && k.Registered != nil && k.Registered.Size > 0 {
		v.Against = against(ledgerDir, *k.Registered)
	}
	v.Session, v.Plane = cmp.Or(v.Session, v.Record.Session), cmp.Or(v.Plane, v.Record.Plane)
	v.Registered = v.Err == nil && k.Registered != nil && k.Registered.Size > 0
	v.judge("the session", k.Trusted)
	return v
}

// against is how a record that is broken differs from the register, if it is whole
// without it.
func against(ledgerDir string, known Registered) string {
	switch alone, err := record.VerifySession(ledgerDir); {
	case err != nil:
		return ""
	case alone.Exec.Entries < known.Size:
		return RolledBack
	}
	anchored := record.VerifyOptions{Anchors: []ledger.Anchor{{Size: known.Size, Root: known.Root}}}
	if _, err := record.ObserveSession(ledgerDir, anchored); err != nil {
		return Diverged
	}
	return ""
}

// judge finds the word.
func (v *Verdict) judge(name string, trusted []ledger.Verifier) {
	var (
		bad      *ledger.IntegrityError
		mismatch *plane.MismatchError
	)
	v.Unknown = slices.DeleteFunc(slices.Clone(v.Hosts), func(h ledger.Verifier) bool {
		return record.CheckHosts(name, []ledger.Verifier{h}, trusted) == nil
	})
	if v.Err == nil {
		v.Err = record.CheckHosts(name, v.Hosts, trusted)
	}
	switch unknown := (*record.UnknownHostError)(nil); {
	case v.Err == nil:
		v.Word = Verified
	case errors.As(v.Err, &bad), errors.As(v.Err, &mismatch):
		v.Word = Broken
	case errors.As(v.Err, &unknown), errors.Is(v.Err, ErrNoSigner), errors.Is(v.Err, ErrNoSeal):
		v.Word = SignerUnknown
	default:
		v.Word = NotReadable
	}
	if v.Word == Broken || v.Word == NotReadable {
		v.Receipts = nil
	}
}

// misplaced checks that the record is of the session whose folder it is in.
func misplaced(ledgerDir string, r record.Report, k Known) error {
	why := ""
	switch {
	case k.Session != "" && r.Session != k.Session:
		why = "it is the ledger of " + r.Session
	case k.Plane != "" && r.Plane != k.Plane:
		why = fmt.Sprintf("it was opened in plane %s, and lies in %s", r.Plane, k.Plane)
	default:
		return nil
	}
	return &ledger.IntegrityError{File: filepath.Join(ledgerDir, record.ExecFile), Line: 1, Reason: why}
}

// registerCheck compares exec.jsonl with what the register knows, beyond the head
// that it must contain.
type registerCheck struct {
	known   *Registered
	turn    ledger.Entry // the first turn.end
	commits int          // behind what the register knows
	ahead   ledger.Entry // the second of them
}

func (s *registerCheck) saw(file string, e ledger.Entry, body ledger.Body) {
	if s.known == nil || file != record.ExecFile {
		return
	}
	if e.Kind == record.KindTurnEnd && s.turn.Kind == "" {
		s.turn = e
	}
	if seal, ok := body.(ledger.Seal); ok && seal.Size > s.known.Size {
		if s.commits++; s.commits == 2 {
			s.ahead = e
		}
	}
}

// fault says what a record that is whole has in it and the register has not.
func (s *registerCheck) fault(ledgerDir string) (against string, err error) {
	if s.known == nil {
		return "", nil
	}
	bad := func(e ledger.Entry, format string, args ...any) error {
		return &ledger.IntegrityError{
			File: filepath.Join(ledgerDir, record.ExecFile), Line: int(e.Seq) + 1, Seq: e.Seq, Offset: e.Offset, //nolint:gosec // a line number
			Reason: fmt.Sprintf(format, args...),
		}
	}
	switch {
	case s.known.Size == 0 && s.turn.Kind != "":
		return Unregistered, bad(s.turn, "the session has turns, and the register does not know it: the register was rolled back, or the session was put here")
	case s.known.Size > 0 && s.commits > 1:
		return Diverged, bad(s.ahead, "the register knows %d entries, and %d commits follow them: the register was rolled back, or the session went on elsewhere", s.known.Size, s.commits)
	}
	return "", nil
}
