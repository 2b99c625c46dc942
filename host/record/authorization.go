package record

import "github.com/agenthost/agenthost/ledger"

// Kinds of entries of the ledgers of plane ho2: of a work order, and of the
// snapshots of contexts. [KindRecovered] stands in both, too.
const (
	KindWorkOrderTurn   = "work_order.turn"
	KindContextSnapshot = "context.snapshot"
)

// ContextFile is the ledger of snapshots, in the folder of a plane's ledgers, and
// ContextSession what stands in its lines for a session. A work order's ledger is
// called by its id, which stands in its lines.
const (
	ContextFile    = "context.jsonl"
	ContextSession = "context"
)

// WorkOrderOptions are the options under which the ledger of a work order is
// written and read: a turn is claimed for good before it begins.
func WorkOrderOptions(id string) ledger.Options {
	return hostedOptions(id)
}

// ContextOptions are the options under which context.jsonl is written and read.
func ContextOptions() ledger.Options {
	return hostedOptions(ContextSession)
}

// DecodeWorkOrder returns the body of an entry of a work order's ledger, as
// [Decode] does of a session's.
func DecodeWorkOrder(e ledger.Entry) (ledger.Body, error) {
	switch e.Kind {
	case KindWorkOrderTurn:
		return decode[WorkOrderTurn](e)
	}
	return decodeHosted(e, "it does not belong in the ledger of a work order")
}

// DecodeContext returns the body of an entry of context.jsonl.
func DecodeContext(e ledger.Entry) (ledger.Body, error) {
	switch e.Kind {
	case KindContextSnapshot:
		return decode[ContextSnapshot](e)
	}
	return decodeHosted(e, "it does not belong in "+ContextFile)
}

// WorkOrderTurn claims one turn of a work order. It is there before the turn
// begins, and counts whatever becomes of it.
type WorkOrderTurn struct {
	WorkOrder  string      `json:"work_order"`
	SHA256     ledger.Hash `json:"sha256"` // of the work order's file, as it governs the turn
	Package    Package     `json:"package"`
	SessionID  string      `json:"session_id"`
	TurnNumber int64       `json:"turn_number"`
}

// Kind implements [ledger.Body].
func (WorkOrderTurn) Kind() string { return KindWorkOrderTurn }

// AppendMembers implements [ledger.Body].
func (w WorkOrderTurn) AppendMembers(m *ledger.Members) {
	m.Str("work_order", w.WorkOrder)
	m.Hash("sha256", w.SHA256)
	m.Object("package", w.Package.appendMembers)
	m.Str("session_id", w.SessionID)
	m.Int("turn_number", w.TurnNumber)
}

// ContextSnapshot says that the context of a session was kept: what the first
// Size entries of its exec.jsonl come to.
type ContextSnapshot struct {
	SessionID string      `json:"session_id"`
	Plane     string      `json:"plane"`
	Size      uint64      `json:"size"`   // entries
	Head      ledger.Hash `json:"head"`   // of the last of them
	SHA256    ledger.Hash `json:"sha256"` // of the file that keeps it
	Bytes     int64       `json:"bytes"`  // of that file
}

// Kind implements [ledger.Body].
func (ContextSnapshot) Kind() string { return KindContextSnapshot }

// AppendMembers implements [ledger.Body].
func (c ContextSnapshot) AppendMembers(m *ledger.Members) {
	m.Str("session_id", c.SessionID)
	m.Str("plane", c.Plane)
	m.Uint("size", c.Size)
	m.Hash("head", c.Head)
	m.Hash("sha256", c.SHA256)
	m.Int("bytes", c.Bytes)
}
