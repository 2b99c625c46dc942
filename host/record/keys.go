package record

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/agenthost/agenthost/ledger"
)

// KindHostKey is the kind of the entry that says by which host's key the seals
// behind it are, in ledgers that are no session's: of a register, of a control
// plane, of a work order, of contexts.
const KindHostKey = "host.key"

// HostKey is the first entry of a ledger that a host seals, and the first that
// another host writes when it goes on with it.
type HostKey struct {
	Origin string `json:"origin"` // of the ledger's checkpoints; the same in all of them
	Key    string `json:"key"`    // the host's verifier key
}

// Kind implements [ledger.Body].
func (HostKey) Kind() string { return KindHostKey }

// AppendMembers implements [ledger.Body].
func (h HostKey) AppendMembers(m *ledger.Members) {
	m.Word("origin", h.Origin)
	m.Word("key", h.Key)
}

// hostedOptions are the options of a ledger that hosts seal: every entry counts with
// its seal, and none is waited for without one.
func hostedOptions(session string) ledger.Options {
	return ledger.Options{
		Session: session,
		Durable: func(ledger.Entry) bool { return false },
		Sealed:  func(ledger.Entry) bool { return true },
	}
}

// decodeHosted decodes what may stand in every ledger that hosts seal. Of any other
// entry it says why it is none of this one's.
func decodeHosted(e ledger.Entry, why string) (ledger.Body, error) {
	switch e.Kind {
	case KindRecovered:
		return decode[Recovered](e)
	case KindHostKey:
		return decode[HostKey](e)
	case ledger.KindSeal:
		return decode[ledger.Seal](e)
	}
	return nil, fmt.Errorf("entry %s: %s", e.Kind, why)
}

// HostKeys are the keys of a ledger that hosts seal, as its entries introduce
// them. It implements [ledger.Keys] for one reading; the zero value is ready.
type HostKeys struct {
	origin string
	keys   []ledger.Verifier
}

// Saw implements [ledger.Keys].
func (h *HostKeys) Saw(e ledger.Entry) error {
	if e.Kind != KindHostKey {
		if len(h.keys) == 0 {
			return fmt.Errorf("%s: a ledger of a host begins with %s", e.Kind, KindHostKey)
		}
		return nil
	}
	var b HostKey
	if err := e.Decode(&b); err != nil {
		return err
	}
	v, err := ledger.ParseVerifier(b.Key)
	switch {
	case err != nil:
		return err
	case h.origin != "" && b.Origin != h.origin:
		return fmt.Errorf("%s: the origin is %q, and was %q", e.Kind, b.Origin, h.origin)
	}
	h.origin = b.Origin
	h.keys = append(h.keys, v)
	return nil
}

// Signer implements [ledger.Keys].
func (h *HostKeys) Signer(string) (string, ledger.Verifier, error) {
	if len(h.keys) == 0 {
		return "", ledger.Verifier{}, errors.New("no host's key was introduced")
	}
	return h.origin, h.keys[len(h.keys)-1], nil
}

// Origin is that of the ledger's checkpoints, "" before its first entry.
func (h *HostKeys) Origin() string { return h.origin }

// Hosts are the keys that were introduced, in order. Whether they are to be
// trusted is for the caller.
func (h *HostKeys) Hosts() []ledger.Verifier { return slices.Clone(h.keys) }

// An UnknownHostError says that a ledger was sealed by a host that is not among
// those that are trusted: it may be what anybody made up.
type UnknownHostError struct {
	Ledger string // which, for people
	Host   ledger.Verifier
}

// Error is one line for people.
func (e *UnknownHostError) Error() string {
	return fmt.Sprintf("%s was sealed by a host that is not trusted here, %s", e.Ledger, e.Host)
}

// CheckHosts returns an *[UnknownHostError] for the first of hosts, who sealed
// the ledger called name, that is not among those trusted.
func CheckHosts(name string, hosts, trusted []ledger.Verifier) error {
	for _, h := range hosts {
		if !slices.ContainsFunc(trusted, func(t ledger.Verifier) bool { return t.Equal(h) }) {
			return &UnknownHostError{name, h}
		}
	}
	return nil
}

// ProcessKey introduces the key of a process that opens or continues a session.
// Only that process has it, in memory, so that nobody can sign for it later.
type ProcessKey struct {
	Key    string `json:"key"`     // verifier key
	Host   string `json:"host"`    // verifier key of the host
	KeySig string `json:"key_sig"` // by the host, over plane, session and key
}

func (p ProcessKey) appendMembers(m *ledger.Members) {
	m.Word("key", p.Key)
	m.Word("host", p.Host)
	m.Word("key_sig", p.KeySig)
}

// NewProcessKey makes a key for a session, from 32 bytes of random, and what
// introduces it.
func NewProcessKey(plane, session string, host *ledger.Key, random io.Reader) (*ledger.Key, ProcessKey, error) {
	key, err := ledger.NewKey(keyName(plane, session), random)
	if err != nil {
		return nil, ProcessKey{}, err
	}
	p := ProcessKey{Key: key.Verifier().String(), Host: host.Verifier().String()}
	p.KeySig, err = host.Sign(p.statement(plane, session))
	return key, p, err
}

// statement is what the host signs.
func (p ProcessKey) statement(plane, session string) string {
	return "agenthost process key v1\n" + plane + "\n" + session + "\n" + p.Key + "\n"
}

// keyName is the name of the keys of a session's processes.
func keyName(plane, session string) string { return "agenthost/" + plane + "/" + session }

// ExecOrigin and EvidenceOrigin are the origins of the checkpoints of a session's
// ledgers.
func ExecOrigin(plane, session string) string { return keyName(plane, session) + "/exec" }

// EvidenceOrigin is ExecOrigin of evidence.jsonl.
func EvidenceOrigin(plane, session string) string {
	return keyName(plane, session) + "/evidence"
}

// SessionKeys are the keys of a session, as the entries of exec.jsonl introduce
// them. They are for one reading of both ledgers, exec.jsonl at least as far as
// evidence.jsonl; the zero value is ready.
type SessionKeys struct {
	plane, session string
	keys           []ledger.Verifier
	signers        []ledger.Verifier // who signed the key in the same place
	hosts          []ledger.Verifier
	known          map[string]bool // keys, as text
	knownHosts     map[string]bool
	evidence       int // index of the key of the last seal of evidence.jsonl
	// later, if set, gives the keys that exec.jsonl introduces further on, and early
	// is set once a seal was found to be by one of them.
	later func() []ledger.Verifier
	early bool
}

// Hosts are those who signed the keys, each once, in order. Whether they are to
// be trusted is for the caller.
func (k *SessionKeys) Hosts() []ledger.Verifier { return slices.Clone(k.hosts) }

// SignedBy returns the key that signed a checkpoint, and the host that signed the
// key; false if none of the keys that were introduced did.
func (k *SessionKeys) SignedBy(c ledger.Checkpoint) (key, host ledger.Verifier, ok bool) {
	for i, key := range k.keys {
		if c.Check(key) == nil {
			return key, k.signers[i], true
		}
	}
	return ledger.Verifier{}, ledger.Verifier{}, false
}

// Plane is the one that session.open names, "" before that.
func (k *SessionKeys) Plane() string { return k.plane }

// Exec are the keys of exec.jsonl: a seal there is by the key that was introduced
// last.
func (k *SessionKeys) Exec() ledger.Keys { return execKeys{k} }

// Evidence are the keys of evidence.jsonl: a seal there is by the key of the seal
// before it, or by one that was introduced later.
func (k *SessionKeys) Evidence() ledger.Keys { return evidenceKeys{k} }

func (k *SessionKeys) add(p ProcessKey) error {
	key, err := ledger.ParseVerifier(p.Key)
	if err != nil {
		return err
	}
	host, err := ledger.ParseVerifier(p.Host)
	if err != nil {
		return err
	}
	if want := keyName(k.plane, k.session); key.Name() != want {
		return fmt.Errorf("the key is called %.120q, want %s", key.Name(), want)
	}
	if err := host.Check(p.statement(k.plane, k.session), p.KeySig); err != nil {
		return fmt.Errorf("key_sig is not one of %s: %w", host, err)
	}
	if k.known[key.String()] {
		return errors.New("the key was introduced before")
	}
	k.keys, k.signers = append(k.keys, key), append(k.signers, host)
	if k.known == nil {
		k.known, k.knownHosts = map[string]bool{}, map[string]bool{}
	}
	k.known[key.String()] = true
	if !k.knownHosts[host.String()] {
		k.knownHosts[host.String()] = true
		k.hosts = append(k.hosts, host)
	}
	return nil
}

type execKeys struct{ *SessionKeys }

// Saw implements [ledger.Keys].
func (k execKeys) Saw(e ledger.Entry) error {
	switch e.Kind {
	case KindSessionOpen:
		var b SessionOpen
		if err := e.Decode(&b); err != nil {
			return err
		}
		k.plane, k.session = b.Plane, e.Session
		return k.add(b.ProcessKey)
	case KindSessionResume:
		var b SessionResume
		if err := e.Decode(&b); err != nil {
			return err
		}
		return k.add(b.ProcessKey)
	}
	return nil
}

// Signer implements [ledger.Keys].
func (k execKeys) Signer(string) (string, ledger.Verifier, error) {
	if len(k.keys) == 0 {
		return "", ledger.Verifier{}, errors.New("no key was introduced")
	}
	return ExecOrigin(k.plane, k.session), k.keys[len(k.keys)-1], nil
}

type evidenceKeys struct{ *SessionKeys }

// Saw implements [ledger.Keys].
func (evidenceKeys) Saw(ledger.Entry) error { return nil }

// Signer implements [ledger.Keys].
func (k evidenceKeys) Signer(sig string) (string, ledger.Verifier, error) {
	for i := k.SessionKeys.evidence; i < len(k.keys); i++ {
		if k.keys[i].Made(sig) {
			k.SessionKeys.evidence = i
			return EvidenceOrigin(k.plane, k.session), k.keys[i], nil
		}
	}
	if k.later != nil {
		for _, key := range k.later() {
			if key.Made(sig) {
				k.early = true
				return EvidenceOrigin(k.plane, k.session), key, nil
			}
		}
	}
	return "", ledger.Verifier{}, fmt.Errorf("it is by no key that %s introduces, or by one that was followed by another", ExecFile)
}
