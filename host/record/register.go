package record

import "github.com/agenthost/agenthost/ledger"

// Kinds of entries of sessions.jsonl, beside session.open, session.close and
// session.prune: each but the last two is the head of a session.
const (
	KindSessionHead      = "session.head"
	KindSessionRepair    = "session.repair"
	KindRegisterContinue = "register.continue"
	KindRegisterLost     = "register.lost"
)

// RegisterFile is the register of a plane, in the folder ledger of the plane, and
// RegisterSession what stands in its lines for a session.
const (
	RegisterFile    = "sessions.jsonl"
	RegisterSession = "register"
)

// RegisterSource is the [ledger.Anchor.Source] of what a register says.
const RegisterSource = "the register"

// RegisterOptions are the options under which sessions.jsonl is written and read:
// every entry counts with its seal, and none is waited for without one.
func RegisterOptions() ledger.Options {
	return hostedOptions(RegisterSession)
}

// DecodeRegister returns the body of an entry of sessions.jsonl, as [Decode] does
// of a session's.
func DecodeRegister(e ledger.Entry) (ledger.Body, error) {
	switch e.Kind {
	case KindSessionOpen:
		return decode[RegisterOpen](e)
	case KindSessionHead:
		return decode[RegisterHead](e)
	case KindSessionClose:
		return decode[RegisterClose](e)
	case KindSessionPrune:
		return decode[RegisterPrune](e)
	case KindSessionRepair:
		return decode[RegisterRepair](e)
	case KindRegisterContinue:
		return decode[RegisterContinue](e)
	case KindRegisterLost:
		return decode[RegisterLost](e)
	}
	return decodeHosted(e, "this version does not know the kind")
}

// Registered is what the register says of a session: size and root of
// exec.jsonl up to its last seal, and the size that the register had before.
type Registered struct {
	Session  string      `json:"session"`
	Size     uint64      `json:"size"`
	Root     ledger.Hash `json:"root"`
	WasSize  uint64      `json:"was_size,omitempty"` // 0: the session was unknown, or pruned
	Repaired bool        `json:"repaired,omitempty"` // there was a session.repair before
}

func (r Registered) appendMembers(m *ledger.Members) {
	m.Str("session", r.Session)
	m.Uint("size", r.Size)
	m.Hash("root", r.Root)
	if r.WasSize > 0 {
		m.Uint("was_size", r.WasSize)
	}
	isTrue(m, "repaired", r.Repaired)
}

// RegisterOpen is written before the first turn of a session.
type RegisterOpen struct{ Registered }

// Kind implements [ledger.Body].
func (RegisterOpen) Kind() string { return KindSessionOpen }

// AppendMembers implements [ledger.Body].
func (r RegisterOpen) AppendMembers(m *ledger.Members) { r.appendMembers(m) }

// RegisterHead is written at each later commit.
type RegisterHead struct{ Registered }

// Kind implements [ledger.Body].
func (RegisterHead) Kind() string { return KindSessionHead }

// AppendMembers implements [ledger.Body].
func (r RegisterHead) AppendMembers(m *ledger.Members) { r.appendMembers(m) }

// RegisterClose is written when a session has its final seal, and again for every
// commit after that.
type RegisterClose struct{ Registered }

// Kind implements [ledger.Body].
func (RegisterClose) Kind() string { return KindSessionClose }

// AppendMembers implements [ledger.Body].
func (r RegisterClose) AppendMembers(m *ledger.Members) { r.appendMembers(m) }

// RegisterPrune is written before the record of a session is removed.
type RegisterPrune struct{ Registered }

// Kind implements [ledger.Body].
func (RegisterPrune) Kind() string { return KindSessionPrune }

// AppendMembers implements [ledger.Body].
func (r RegisterPrune) AppendMembers(m *ledger.Members) { r.appendMembers(m) }

// RegisterRepair sets the head of a session to what an operator accepted.
type RegisterRepair struct{ Registered }

// Kind implements [ledger.Body].
func (RegisterRepair) Kind() string { return KindSessionRepair }

// AppendMembers implements [ledger.Body].
func (r RegisterRepair) AppendMembers(m *ledger.Members) { r.appendMembers(m) }

// RegisterContinue is the second entry of a segment that follows another one:
// the name of that, and its head.
type RegisterContinue struct {
	File string      `json:"file"`
	Size uint64      `json:"size"` // entries
	Root ledger.Hash `json:"root"` // over them
}

// Kind implements [ledger.Body].
func (RegisterContinue) Kind() string { return KindRegisterContinue }

// AppendMembers implements [ledger.Body].
func (r RegisterContinue) AppendMembers(m *ledger.Members) {
	m.Str("file", r.File)
	m.Uint("size", r.Size)
	m.Hash("root", r.Root)
}

// RegisterLost says that an operator accepted the loss of a segment: nothing is
// read of it, or of those before it.
type RegisterLost struct {
	File   string `json:"file"`
	Reason string `json:"reason"` // what was wrong with it
}

// Kind implements [ledger.Body].
func (RegisterLost) Kind() string { return KindRegisterLost }

// AppendMembers implements [ledger.Body].
func (r RegisterLost) AppendMembers(m *ledger.Members) {
	m.Str("file", r.File)
	m.Str("reason", r.Reason)
}
