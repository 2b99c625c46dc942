// Package record is the meaning of a session's ledgers: the bodies of their
// entries, the evidence computed from them, and the check of a whole session.
// It appends nothing itself and decides nothing; the format of lines, hashes
// and blobs is package ledger's.
package record

import (
	"fmt"

	"github.com/agenthost/agenthost/ledger"
)

// Kinds of entries. The first group stands in exec.jsonl, the second in
// evidence.jsonl, Recovered in both.
const (
	KindSessionOpen   = "session.open"
	KindSessionResume = "session.resume"
	KindTurnBegin     = "turn.begin"
	KindOp            = "op"
	KindDigest        = "digest"
	KindExecStart     = "exec.start"
	KindExecEnd       = "exec.end"
	KindStderr        = "stderr"
	KindTurnEnd       = "turn.end"
	KindErased        = "erased"
	KindSessionClose  = "session.close"

	KindViolation    = "violation"
	KindTurnEvidence = "turn.evidence"

	KindRecovered = "recovered"
)

// Files and folders of a session's ledger folder.
const (
	ExecFile     = "exec.jsonl"
	EvidenceFile = "evidence.jsonl"
	BlobFolder   = "blobs"
)

// Statuses of a turn.
const (
	StatusOK      = "ok"
	StatusDryRun  = "dry_run"
	StatusError   = "error"
	StatusBlocked = "blocked"
	StatusRefused = "refused"
	StatusAborted = "aborted"
)

// Codes say more about a status that is neither ok nor dry_run.
const (
	CodeExit  = "exit"
	CodeTrap  = "trap"
	CodeLimit = "limit"
	CodeHost  = "host"

	CodeViolation       = "violation"
	CodeUndeclaredWrite = "undeclared_write"
	CodeMissingOutput   = "missing_output"
	CodeInputChanged    = "input_changed"
	CodeConflict        = "conflict"
	CodeUnsafeFile      = "unsafe_file"

	CodeNotAccepted   = "not_accepted"
	CodeNotTrusted    = "not_trusted"
	CodeSignerUnknown = "signer_unknown"
	CodeWorkOrder     = "work_order" // it is not for this package, expired, or has no turn left

	CodeInterrupted = "interrupted"
	CodeCrash       = "crash"
)

// Names of the limit that ended a turn with CodeLimit.
const (
	LimitMemory      = "memory"
	LimitTime        = "time"
	LimitFuel        = "fuel"
	LimitOutputBytes = "output_bytes"
	LimitOutputFiles = "output_files"
	LimitResultBytes = "result_bytes"
	LimitEntries     = "entries"
	LimitCallDepth   = "call_depth"

	// The host's own ceilings.
	LimitOpenFiles = "open_files" // descriptors open at once
	LimitListing   = "listing"    // names in one folder
	LimitScratch   = "scratch"    // bytes or files in /tmp
	LimitEvidence  = "evidence"   // bytes that a turn's evidence can come to
	LimitStderr    = "stderr"     // bytes the guest wrote there
	LimitMessages  = "messages"   // bytes of messages that are not finished or not read
)

// Ways by which an operation reaches the gate.
const (
	ViaWASI = "wasi"
	ViaABI  = "abi"
	ViaHost = "host" // the host's own finding at the end of the turn
)

// Operations.
const (
	OpOpen     = "open"
	OpList     = "list"
	OpStat     = "stat"
	OpMkdir    = "mkdir"
	OpDelete   = "delete"
	OpRename   = "rename"
	OpSetTimes = "set_times"
	OpSymlink  = "symlink"
	OpLink     = "link"
	OpReadlink = "readlink"
	OpRead     = "read"    // ABI
	OpWrite    = "write"   // ABI
	OpHash     = "hash"    // ABI
	OpExec     = "exec"    // ABI
	OpCheck    = "check"   // ABI: what would be answered; its right says of what operation
	OpRequest  = "request" // ABI: the header again
	OpResult   = "result"  // ABI
	OpLog      = "log"     // ABI
	OpInfo     = "info"    // ABI
	OpCall     = "call"    // of an imported function that the host does not have
	OpPublish  = "publish" // host
)

// Decisions of the gate.
const (
	Granted  = "granted"   // by a rule of the manifest
	Own      = "own"       // the session's own output, scratch and staged files
	InPkg    = "package"   // beneath /.agenthost
	Hidden   = "hidden"    // answered as if it did not exist
	Refused  = "refused"   // what version 1 does not have, such as links: an errno, and the turn goes on
	Violated = "violation" // refused, and the turn ends
)

// ErrnoSuccess is the errno of an operation that was performed.
const ErrnoSuccess = "success"

// Bounds in bytes. Evidence names what was read, written and hidden, so a host
// bounds what a turn's operations come to there and ends the turn with CodeLimit
// before they are more than MaxEvidence: every turn can be ended.
const (
	MaxEvidence  = 96 << 20 // one entry of evidence.jsonl
	MaxExecEntry = 8 << 20  // one entry of exec.jsonl
)

// ExecOptions are the options under which exec.jsonl is written and read. Who
// writes adds key and origin, who checks seals the keys.
func ExecOptions(session string) ledger.Options {
	return ledger.Options{Session: session, MaxEntry: MaxExecEntry, Durable: durable, Sealed: sealed}
}

// EvidenceOptions are the options under which evidence.jsonl is written and
// read.
func EvidenceOptions(session string) ledger.Options {
	return ledger.Options{Session: session, MaxEntry: MaxEvidence, Durable: durable, Sealed: sealed}
}

// durable names the entries that are on disk before the host goes on, without a
// seal. Damage in front of one that another entry follows is not from a crash.
func durable(e ledger.Entry) bool {
	return e.Kind == KindExecStart || e.Kind == KindViolation
}

// sealed names the entries that count only with the seal behind them.
func sealed(e ledger.Entry) bool {
	switch e.Kind {
	case KindSessionOpen, KindSessionResume, KindTurnEnd, KindSessionClose, KindRecovered, KindErased, KindTurnEvidence:
		return true
	}
	return false
}

// Decode returns the body of e, strictly: unknown members, a missing one, and
// any other spelling than this package's own are errors.
func Decode(e ledger.Entry) (ledger.Body, error) {
	switch e.Kind {
	case KindSessionOpen:
		return decode[SessionOpen](e)
	case KindSessionResume:
		return decode[SessionResume](e)
	case KindTurnBegin:
		return decode[TurnBegin](e)
	case KindOp:
		return decode[Op](e)
	case KindDigest:
		return decode[Digest](e)
	case KindExecStart:
		return decode[ExecStart](e)
	case KindExecEnd:
		return decode[ExecEnd](e)
	case KindStderr:
		return decode[Stderr](e)
	case KindTurnEnd:
		return decode[TurnEnd](e)
	case KindErased:
		return decode[Erased](e)
	case KindSessionClose:
		return decode[SessionClose](e)
	case KindViolation:
		return decode[Violation](e)
	case KindTurnEvidence:
		return decode[TurnEvidence](e)
	case KindRecovered:
		return decode[Recovered](e)
	case ledger.KindSeal:
		return decode[ledger.Seal](e)
	}
	return nil, fmt.Errorf("entry %s: this version does not know the kind", e.Kind)
}

func decode[B ledger.Body](e ledger.Entry) (ledger.Body, error) {
	var b B
	if err := e.Decode(&b); err != nil {
		return nil, err
	}
	return b, nil
}
