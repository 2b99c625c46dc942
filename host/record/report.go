package record

import "github.com/agenthost/agenthost/ledger"

// Report is what [VerifySession] found in a session whose record is whole.
type Report struct {
	Session  string
	Plane    string // that session.open names
	Exec     ledger.Report
	Evidence ledger.Report
	// Hosts signed the keys that the seals are by, each once, in order. Whether they
	// are to be trusted is for the caller: without that anybody may have made all of
	// it.
	Hosts []ledger.Verifier
	Turns []Turn // those that have ended
	// Unfinished is the number of a turn without turn.end, else 0: the session
	// runs at this moment, or its process died.
	Unfinished int
	Closed     bool
	Erased     int // blobs that were erased
	Recovered  int // times that debris of a crash was set aside
	Accepted   int // losses that an operator accepted: each stands in exec.jsonl, whatever was lost
	// Inherited counts the entries of exec.jsonl that a process left without a seal
	// when it died: the next one found them, and sealed them with its own.
	Inherited uint64
	// Superseded counts evidence that was recorded and then computed again: a
	// process died between it and turn.end, or exec.jsonl was cut there and the
	// session continued.
	Superseded int
	// Uncommitted counts the violations and evidence that no turn.end names, all
	// of turn len(Turns)+1: it runs, a crash took its end, or exec.jsonl was cut.
	Uncommitted int
}

// Turn is one turn of a [Report].
type Turn struct {
	Number       int
	Status, Code string
	From, To     uint64 // seq of turn.begin and turn.end
}

// VerifyOptions say with what a record is compared, and who wants to know what
// it says.
type VerifyOptions struct {
	// Anchors are heads that exec.jsonl must contain.
	Anchors []ledger.Anchor
	// Observe, if set, gets each entry as soon as it is known to be what it can be,
	// with its body and the file it stands in, [ExecFile] or [EvidenceFile]; both
	// files are read once, side by side. Whether all of it is whole the error says,
	// later. The entry's line stands until Observe returns.
	Observe func(file string, e ledger.Entry, body ledger.Body)
}
