package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/compile"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/internal/meter"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// A ModuleError says why a module cannot be run at all.
type ModuleError = compile.ModuleError

// A Result is a turn that ended, well or not.
type Result struct {
	Session string
	Number  int // of the turn, from 1
	Status  string
	Code    string // empty where Status says all
	Limit   string // which limit, with code limit
	Exit    *int64 // the guest's exit status, where it ended by itself
	Message string // why, for people; empty where all went well
	Hint    string // the way out; may be empty

	Output    []byte               // the result, maybe empty; nil unless Status is ok or dry_run
	Published []record.Publication // what this turn published
	Withheld  []record.Publication // what it would have published: a dry run, or blocked
	Violation *capability.Violation
	Evidence  record.TurnEvidence
	Query     *record.Blob
	Answer    *record.Blob

	Commands int      // that were started
	Fence    Fence    // what held them; empty where none was started
	NoFence  *NoFence // why others were not

	Calls    int64 // mediated
	Refused  int64 // of these, hidden or refused
	Fuel     int64 // units
	Memory   int64 // most bytes of linear memory
	Began    time.Time
	Duration time.Duration
	// Checkpoint is that of exec.jsonl after the turn, signed by process and host.
	Checkpoint ledger.Checkpoint
}

// Envelope is the result of a run as JSON: plain values, with nothing in them
// that depends on where the root lies.
type Envelope struct {
	Status       string          `json:"status"`
	Code         string          `json:"code,omitempty"`
	Limit        string          `json:"limit,omitempty"`
	Exit         *int64          `json:"exit,omitempty"`
	Result       json.RawMessage `json:"result,omitempty"`
	ResultText   *string         `json:"result_text,omitempty"`
	ResultBase64 []byte          `json:"result_base64,omitempty"`
	SessionID    string          `json:"session_id,omitempty"`
	TurnNumber   int             `json:"turn_number,omitempty"`
	Published    []Published     `json:"published"`
	Evidence     *Evidence       `json:"evidence,omitempty"`
	Error        *EnvelopeError  `json:"error,omitempty"`
}

// Published is a file that was published, or that would have been.
type Published struct {
	Path   string      `json:"path"`
	Role   string      `json:"role"`
	SHA256 ledger.Hash `json:"sha256"`
	Size   int64       `json:"size"`
}

// Evidence is what the envelope says of the turn's evidence.
type Evidence struct {
	SessionID       string                `json:"session_id"`
	TurnNumber      int                   `json:"turn_number"`
	WorkOrderID     string                `json:"work_order_id,omitempty"`
	InputHash       *ledger.Hash          `json:"input_hash,omitempty"`  // blob of the query
	OutputHash      *ledger.Hash          `json:"output_hash,omitempty"` // blob of the result
	Timestamp       string                `json:"timestamp"`
	DurationMS      int64                 `json:"duration_ms"`
	Fuel            int64                 `json:"fuel"`
	DeclaredReads   []record.File         `json:"declared_reads"`
	DeclaredWrites  []record.Output       `json:"declared_writes"`
	UndeclaredReads []string              `json:"undeclared_reads"`
	ExternalCalls   []record.ExternalCall `json:"external_calls"`
	Violations      []record.Violation    `json:"violations"`
	Hidden          []record.Probe        `json:"hidden"`
	Discarded       []record.File         `json:"discarded"`
	Checkpoint      string                `json:"checkpoint,omitempty"` // a signed note
}

// EnvelopeError says what went wrong and what to do.
type EnvelopeError struct {
	Message       string `json:"message"`
	Hint          string `json:"hint,omitempty"`
	Operation     string `json:"operation,omitempty"`
	Subject       string `json:"subject,omitempty"`
	Rule          string `json:"rule,omitempty"`
	SmallestGrant string `json:"smallest_grant,omitempty"`
}

// Envelope returns r as JSON shows it.
func (r *Result) Envelope() Envelope {
	e := Envelope{
		Status: r.Status, Code: r.Code, Limit: r.Limit, Exit: r.Exit,
		SessionID: r.Session, TurnNumber: r.Number, Published: []Published{},
		Evidence: &Evidence{
			SessionID: r.Session, TurnNumber: r.Number, WorkOrderID: r.Evidence.WorkOrderID,
			Timestamp: r.Began.UTC().Format(time.RFC3339Nano), DurationMS: r.Duration.Milliseconds(), Fuel: r.Fuel,
			DeclaredReads: list(r.Evidence.DeclaredReads), DeclaredWrites: list(r.Evidence.DeclaredWrites),
			UndeclaredReads: list(r.Evidence.UndeclaredReads), ExternalCalls: list(r.Evidence.ExternalCalls),
			Violations: list(r.Evidence.Violations), Hidden: list(r.Evidence.Hidden), Discarded: list(r.Evidence.Discarded),
		},
	}
	if r.Checkpoint.Origin != "" {
		e.Evidence.Checkpoint = r.Checkpoint.String()
	}
	for _, p := range r.Published {
		e.Published = append(e.Published, Published{p.Path, p.Role, p.SHA256, p.Size})
	}
	if r.Query != nil {
		e.Evidence.InputHash = &r.Query.Blob
	}
	if r.Answer != nil {
		e.Evidence.OutputHash = &r.Answer.Blob
	}
	if r.Status == record.StatusOK || r.Status == record.StatusDryRun {
		e.setResult(r.Output)
	}
	if r.Message != "" {
		e.Error = &EnvelopeError{Message: r.Message, Hint: r.Hint}
		if v := r.Violation; v != nil {
			e.Error.Operation, e.Error.Subject, e.Error.Rule, e.Error.SmallestGrant = string(v.Op), v.Subject, v.Rule, v.SmallestGrant
		}
	}
	return e
}

// list makes an empty list of none, so that JSON has [] and not null.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func (e *Envelope) setResult(out []byte) {
	switch {
	case utf8.Valid(out) && json.Valid(out):
		e.Result = out
	case utf8.Valid(out):
		text := string(out)
		e.ResultText = &text
	default:
		e.ResultBase64 = out
	}
}

// judge says how a turn ended, by why its guest did.
func (r *Result) judge(e ending, bounds bounds) {
	r.Exit = e.exit
	var (
		violation *capability.Violation
		limit     *gate.Limit
		stop      *meter.Stop
		host      *gate.HostError
		fault     runtime.Error
	)
	switch {
	case e.err == nil && *e.exit == 0:
		r.Status = record.StatusOK
	case errors.As(e.err, &violation):
		r.Status, r.Code, r.Violation = record.StatusBlocked, record.CodeViolation, violation
		if violation.Rule == record.CodeUndeclaredWrite {
			r.Code = record.CodeUndeclaredWrite
		}
		r.Message, r.Hint = violationInWords(violation, GuestName(r.Session, violation.Subject))
	case errors.As(e.err, &limit):
		r.limited(limit.Name, limit.Max, bounds)
	case errors.As(e.err, &stop):
		name := record.LimitFuel
		if stop.Reason == meter.StopDepth {
			name = record.LimitCallDepth
		}
		r.limited(name, stop.Limit, bounds)
	case errors.Is(e.err, errInterrupted):
		r.Status, r.Code, r.Message = record.StatusAborted, record.CodeInterrupted, "the turn was interrupted"
		r.Hint = "nothing was published; run it again"
	case errors.As(e.err, &host):
		r.Status, r.Code, r.Message = record.StatusError, record.CodeHost, host.Error()
		r.Hint = "nothing was published; mend the cause and run it again"
	case errors.As(e.err, &fault):
		r.Status, r.Code, r.Message = record.StatusError, record.CodeHost, "the host failed while it served the agent: "+fault.Error()
		r.Hint = "nothing was published; this is a fault of agenthost, please report it"
	case e.grown:
		r.limited(record.LimitMemory, int64(bounds.limits.Memory), bounds)
	case e.err != nil && trap(e.err) == stackOverflow:
		r.limited(record.LimitCallDepth, bounds.limits.CallDepth, bounds)
	case e.err == nil:
		r.Status, r.Code, r.Message = record.StatusError, record.CodeExit, fmt.Sprintf("the agent ended with exit status %d", *e.exit)
		r.Hint = "nothing was published; what the agent said is in the ledger"
	default:
		r.Status, r.Code, r.Message = record.StatusError, record.CodeTrap, "the agent trapped: "+trap(e.err)
		r.Hint = "nothing was published; this is a fault of the agent's program"
	}
}

// stackOverflow is what wazero says when the calls of a guest take more of its
// stack than there is, before the meter's depth was reached: its frames are
// large. It has no exported error.
const stackOverflow = "stack overflow"

func (r *Result) limited(name string, most int64, b bounds) {
	r.Status, r.Code, r.Limit = record.StatusError, record.CodeLimit, name
	r.Message, r.Hint = limitInWords(name, most), b.hint(name)
}

// violationInWords says what an agent may not do, and what would let it. Name is
// the violation's subject as the agent spells it.
func violationInWords(v *capability.Violation, name string) (message, hint string) {
	name = brief(name)
	switch {
	case v.Rule == record.CodeUndeclaredWrite:
		return fmt.Sprintf("the turn was blocked: the agent may write %q, but the turn did not declare it", name),
			mismatchHint(record.CodeUndeclaredWrite)
	case v.Rule == gate.RuleUndeclaredRead:
		return fmt.Sprintf("the turn was blocked: the agent may read %q, but a strict turn reads only what it declared", name),
			"declare it in inputs, or with --input; nothing was published"
	}
	message = fmt.Sprintf("the turn was blocked: the agent may not %s %q (%s)", v.Op, name, v.Rule)
	if v.SmallestGrant != "" {
		return message, "the smallest grant that would allow it: " + brief(v.SmallestGrant)
	}
	return message, "no grant allows it while that rule stands; nothing was published"
}

// brief cuts what an agent chose down to what a person reads. All of it is in the
// ledger.
func brief(text string) string {
	const most = 500
	if len(text) <= most {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:most], ""), len(text))
}

// trap is the first line of wazero's error, without the stack of the guest.
func trap(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	first = strings.TrimPrefix(first, "wasm error: ")
	return strings.TrimSuffix(first, " (recovered by wazero)")
}

// GuestName spells a path of the session's ledger as the agent and its manifest
// do: what was published under output/SESSION/ begins with out/.
func GuestName(session, path string) string {
	if rest, ok := strings.CutPrefix(path, "output/"+session+"/"); ok {
		return "out/" + rest
	}
	return path
}
