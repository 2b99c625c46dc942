package record

import (
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/ledger"
)

// Blob names a blob by its digest, with the size of its content in bytes.
type Blob struct {
	Blob ledger.Hash `json:"blob"`
	Size int64       `json:"size"`
}

func (b Blob) appendMembers(m *ledger.Members) {
	m.Hash("blob", b.Blob)
	m.Int("size", b.Size)
}

// File is a file with its content: name, SHA-256, size in bytes. Names are
// those of the ledger: "docs/a.md" of the workspace, "output/SID/x", "tmp/x",
// "pkg:x", "deps:ID/x".
type File struct {
	Path   string      `json:"path"`
	SHA256 ledger.Hash `json:"sha256,omitzero"` // zero: the turn ended before it was known
	Size   int64       `json:"size"`
}

func (f File) appendMembers(m *ledger.Members) {
	path(m, "path", f.Path)
	if !f.SHA256.IsZero() {
		m.Hash("sha256", f.SHA256)
	}
	m.Int("size", f.Size)
}

// Output is a declared output: a name or pattern, and the role of what matches.
type Output struct {
	Path       string `json:"path"`
	Role       string `json:"role"`
	Optional   bool   `json:"optional,omitempty"`
	Executable bool   `json:"executable,omitempty"`
}

func (o Output) appendMembers(m *ledger.Members) {
	path(m, "path", o.Path)
	m.Str("role", o.Role)
	isTrue(m, "optional", o.Optional)
	isTrue(m, "executable", o.Executable)
}

// Package says which package a session runs.
type Package struct {
	ID      string      `json:"id"`
	Version string      `json:"version"`
	SHA256  ledger.Hash `json:"sha256"` // of the uncompressed tar
}

func (p Package) appendMembers(m *ledger.Members) {
	m.Word("id", p.ID)
	m.Word("version", p.Version)
	m.Hash("sha256", p.SHA256)
}

// SessionOpen is the first entry of exec.jsonl.
type SessionOpen struct {
	Agenthost    string      `json:"agenthost"` // version of the program
	Package      Package     `json:"package"`
	ModuleSHA256 ledger.Hash `json:"module_sha256"`
	Plane        string      `json:"plane"`
	Engine       string      `json:"engine"`
	Arch         string      `json:"arch"`
	Seed         ledger.Hash `json:"seed"` // blob
	ProcessKey
}

// Kind implements [ledger.Body].
func (SessionOpen) Kind() string { return KindSessionOpen }

// AppendMembers implements [ledger.Body].
func (s SessionOpen) AppendMembers(m *ledger.Members) {
	m.Word("agenthost", s.Agenthost)
	m.Object("package", s.Package.appendMembers)
	m.Hash("module_sha256", s.ModuleSHA256)
	m.Word("plane", s.Plane)
	m.Word("engine", s.Engine)
	m.Word("arch", s.Arch)
	m.Hash("seed", s.Seed)
	s.ProcessKey.appendMembers(m)
}

// SessionResume is written by a process that continues a session, or recovers it.
type SessionResume struct{ ProcessKey }

// Kind implements [ledger.Body].
func (SessionResume) Kind() string { return KindSessionResume }

// AppendMembers implements [ledger.Body].
func (s SessionResume) AppendMembers(m *ledger.Members) { s.appendMembers(m) }

// Limits are those of one turn: bytes, milliseconds, units of fuel, counts.
type Limits struct {
	Memory      int64 `json:"memory"`
	TimeMS      int64 `json:"time_ms"`
	Fuel        int64 `json:"fuel"`
	OutputBytes int64 `json:"output_bytes"`
	OutputFiles int64 `json:"output_files"`
	ResultBytes int64 `json:"result_bytes"`
	Entries     int64 `json:"entries"`
	CallDepth   int64 `json:"call_depth"`
}

func (l Limits) appendMembers(m *ledger.Members) {
	m.Int("memory", l.Memory)
	m.Int("time_ms", l.TimeMS)
	m.Int("fuel", l.Fuel)
	m.Int("output_bytes", l.OutputBytes)
	m.Int("output_files", l.OutputFiles)
	m.Int("result_bytes", l.ResultBytes)
	m.Int("entries", l.Entries)
	m.Int("call_depth", l.CallDepth)
}

// TurnBegin opens a turn. What was granted and withheld stands here so that
// evidence follows from the chain alone.
type TurnBegin struct {
	RightsSHA256 ledger.Hash       `json:"rights_sha256"`
	PolicySHA256 ledger.Hash       `json:"policy_sha256"`
	Granted      capability.Grants `json:"granted"`
	Withheld     []string          `json:"withheld"`
	Accepted     string            `json:"accepted,omitempty"` // how the package's execute right was accepted
	WorkOrder    string            `json:"work_order,omitempty"`
	AsOf         string            `json:"as_of"`
	Query        *Blob             `json:"query,omitempty"`
	Args         *Blob             `json:"args,omitempty"`
	Inputs       []File            `json:"inputs"`
	Outputs      []Output          `json:"outputs"`
	Limits       Limits            `json:"limits"`
	DryRun       bool              `json:"dry_run,omitempty"`
	Strict       bool              `json:"strict,omitempty"`
	Redacted     int64             `json:"redacted,omitempty"` // so many values were kept out of entries and blobs
}

// Kind implements [ledger.Body].
func (TurnBegin) Kind() string { return KindTurnBegin }

// AppendMembers implements [ledger.Body].
func (t TurnBegin) AppendMembers(m *ledger.Members) {
	m.Hash("rights_sha256", t.RightsSHA256)
	m.Hash("policy_sha256", t.PolicySHA256)
	grants(m, "granted", t.Granted)
	words(m, "withheld", t.Withheld)
	text(m, "accepted", t.Accepted)
	word(m, "work_order", t.WorkOrder)
	m.Word("as_of", t.AsOf)
	blob(m, "query", t.Query)
	blob(m, "args", t.Args)
	list(m, "inputs", t.Inputs)
	list(m, "outputs", t.Outputs)
	m.Object("limits", t.Limits.appendMembers)
	isTrue(m, "dry_run", t.DryRun)
	isTrue(m, "strict", t.Strict)
	if t.Redacted != 0 {
		m.Int("redacted", t.Redacted)
	}
}

// Op is one mediated operation, written before the guest gets the answer.
type Op struct {
	Op            string       `json:"op"`
	Via           string       `json:"via"`
	Path          string       `json:"path,omitempty"`
	To            string       `json:"to,omitempty"`
	Flags         string       `json:"flags,omitempty"` // of open and write: read, write, create, excl, trunc, append, joined by ','
	Decision      string       `json:"decision"`
	Right         string       `json:"right,omitempty"`   // of a violation, what was not granted, where the op does not tell; of a check, what was asked
	Subject       string       `json:"subject,omitempty"` // of a violation: what was judged, if not path
	Rule          string       `json:"rule,omitempty"`
	SmallestGrant string       `json:"smallest_grant,omitempty"`
	Errno         string       `json:"errno"`            // WASI's names: success, noent, perm …
	Size          *int64       `json:"size,omitempty"`   // of the whole file as it was
	SHA256        *ledger.Hash `json:"sha256,omitempty"` // of the whole file as it was
	Count         int64        `json:"count,omitempty"`  // stands for that many further operations equal to one before
}

// Kind implements [ledger.Body].
func (Op) Kind() string { return KindOp }

// AppendMembers implements [ledger.Body].
func (o Op) AppendMembers(m *ledger.Members) {
	m.Word("op", o.Op)
	m.Word("via", o.Via)
	name(m, "path", o.Path)
	name(m, "to", o.To)
	word(m, "flags", o.Flags)
	m.Word("decision", o.Decision)
	word(m, "right", o.Right)
	text(m, "subject", o.Subject)
	text(m, "rule", o.Rule)
	text(m, "smallest_grant", o.SmallestGrant)
	m.Word("errno", o.Errno)
	if o.Size != nil {
		m.Int("size", *o.Size)
	}
	if o.SHA256 != nil {
		m.Hash("sha256", *o.SHA256)
	}
	if o.Count != 0 {
		m.Int("count", o.Count)
	}
}

// Range is a part of a file, in bytes.
type Range struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

func (r Range) appendMembers(m *ledger.Members) {
	m.Int("offset", r.Offset)
	m.Int("length", r.Length)
}

// Digest tells the content of a file after the operation that named it: of a
// large file that was read, and at the end of the turn of every staged file, Of
// being the open, write or rename that gave it its final name. (The rename of a
// folder is followed by one of each file beneath it.) Where a command made or
// changed the file last, Of is its exec.end, and Path says which file it is.
type Digest struct {
	Of     uint64      `json:"of"`             // seq of the op, or of exec.end
	Path   string      `json:"path,omitempty"` // the name that Of gave the file; must be given of exec.end, may be of an op
	SHA256 ledger.Hash `json:"sha256"`
	Size   int64       `json:"size"`
	Ranges []Range     `json:"ranges,omitempty"`
}

// Kind implements [ledger.Body].
func (Digest) Kind() string { return KindDigest }

// AppendMembers implements [ledger.Body].
func (d Digest) AppendMembers(m *ledger.Members) {
	m.Uint("of", d.Of)
	name(m, "path", d.Path)
	m.Hash("sha256", d.SHA256)
	m.Int("size", d.Size)
	if len(d.Ranges) > 0 {
		list(m, "ranges", d.Ranges)
	}
}

// Stderr is what the guest wrote for people.
type Stderr struct {
	Blob
	Truncated bool `json:"truncated"`
}

// Kind implements [ledger.Body].
func (Stderr) Kind() string { return KindStderr }

// AppendMembers implements [ledger.Body].
func (s Stderr) AppendMembers(m *ledger.Members) {
	s.appendMembers(m)
	m.Bool("truncated", s.Truncated)
}

// Publication is one file that a committed turn publishes.
type Publication struct {
	Path       string       `json:"path"`
	Role       string       `json:"role"`
	SHA256     ledger.Hash  `json:"sha256"`
	Size       int64        `json:"size"`
	Base       *ledger.Hash `json:"base"` // what it replaces; null: absent before
	Executable bool         `json:"executable,omitempty"`
}

func (p Publication) appendMembers(m *ledger.Members) {
	m.Name("path", p.Path, len(p.Path))
	m.Name("role", p.Role, len(p.Role))
	m.Hash("sha256", p.SHA256)
	m.Int("size", p.Size)
	if p.Base != nil {
		m.Hash("base", *p.Base)
	} else {
		m.Null("base")
	}
	isTrue(m, "executable", p.Executable)
}

// EvidenceHead is the state of evidence.jsonl when a turn was committed; its
// last entry then is that turn's evidence.
type EvidenceHead struct {
	Size uint64      `json:"size"`
	Root ledger.Hash `json:"root"`
}

func (h EvidenceHead) appendMembers(m *ledger.Members) {
	m.Uint("size", h.Size)
	m.Hash("root", h.Root)
}

// TurnEnd commits a turn: a turn exists if and only if this entry is durable.
type TurnEnd struct {
	Status      string        `json:"status"`
	Code        string        `json:"code,omitempty"`
	Limit       string        `json:"limit,omitempty"`
	Message     string        `json:"message,omitempty"`
	Exit        *int64        `json:"exit,omitempty"`
	Result      *Blob         `json:"result,omitempty"`
	Evidence    EvidenceHead  `json:"evidence"`
	Publish     []Publication `json:"publish"`
	Fuel        int64         `json:"fuel"`
	MemoryBytes int64         `json:"memory_bytes"`
	WallNS      int64         `json:"wall_ns"`
}

// Kind implements [ledger.Body].
func (TurnEnd) Kind() string { return KindTurnEnd }

// AppendMembers implements [ledger.Body].
func (t TurnEnd) AppendMembers(m *ledger.Members) {
	m.Word("status", t.Status)
	word(m, "code", t.Code)
	word(m, "limit", t.Limit)
	text(m, "message", t.Message)
	if t.Exit != nil {
		m.Int("exit", *t.Exit)
	}
	blob(m, "result", t.Result)
	m.Object("evidence", t.Evidence.appendMembers)
	list(m, "publish", t.Publish)
	m.Int("fuel", t.Fuel)
	m.Int("memory_bytes", t.MemoryBytes)
	m.Int("wall_ns", t.WallNS)
}

// Recovered notes debris of a crash that was set aside ([ledger.Recovery]), or, if
// it is Accepted, what an operator gave up.
type Recovered struct {
	File   string      `json:"file"` // the ledger itself if nothing was set aside
	Offset int64       `json:"offset"`
	Length int64       `json:"length"`
	SHA256 ledger.Hash `json:"sha256"`
	// Accepted says that it was no debris: the ledger was damaged or cut, and a loss
	// was accepted so that it could be gone on with.
	Accepted bool `json:"accepted,omitempty"`
	// Turns, in evidence.jsonl: the evidence of turns up to this one that is not in
	// front of the entry was computed anew and follows it.
	Turns int64 `json:"turns,omitempty"`
}

// Kind implements [ledger.Body].
func (Recovered) Kind() string { return KindRecovered }

// AppendMembers implements [ledger.Body].
func (r Recovered) AppendMembers(m *ledger.Members) {
	m.Word("file", r.File)
	m.Int("offset", r.Offset)
	m.Int("length", r.Length)
	m.Hash("sha256", r.SHA256)
	isTrue(m, "accepted", r.Accepted)
	if r.Turns > 0 {
		m.Int("turns", r.Turns)
	}
}

// Erased says that a blob was deleted, and why. It is durable before the blob
// goes.
type Erased struct {
	Blob ledger.Hash `json:"blob"`
	Why  string      `json:"why"`
}

// Kind implements [ledger.Body].
func (Erased) Kind() string { return KindErased }

// AppendMembers implements [ledger.Body].
func (e Erased) AppendMembers(m *ledger.Members) {
	m.Hash("blob", e.Blob)
	m.Str("why", e.Why)
}

// SessionClose ends exec.jsonl; only Recovered and Erased may follow.
type SessionClose struct {
	Turns int64 `json:"turns"`
}

// Kind implements [ledger.Body].
func (SessionClose) Kind() string { return KindSessionClose }

// AppendMembers implements [ledger.Body].
func (s SessionClose) AppendMembers(m *ledger.Members) { m.Int("turns", s.Turns) }

// Violation is a refused operation: an entry of evidence.jsonl, written at
// once, and an element of a turn's evidence. It follows from the op that was
// refused; see [Op.Violation].
type Violation struct {
	Operation     string `json:"operation"` // read, write, execute, publish
	Subject       string `json:"subject"`
	Rule          string `json:"rule"`
	SmallestGrant string `json:"smallest_grant,omitempty"`
}

// Kind implements [ledger.Body].
func (Violation) Kind() string { return KindViolation }

// AppendMembers implements [ledger.Body].
func (v Violation) AppendMembers(m *ledger.Members) {
	m.Word("operation", v.Operation)
	m.Str("subject", v.Subject)
	m.Str("rule", v.Rule)
	text(m, "smallest_grant", v.SmallestGrant)
}

// Probe counts the operations on a name that was hidden.
type Probe struct {
	Path  string `json:"path"`
	Count int64  `json:"count"`
}

func (p Probe) appendMembers(m *ledger.Members) {
	path(m, "path", p.Path)
	m.Int("count", p.Count)
}

// ExternalCall names an effect that left the root.
type ExternalCall struct {
	Seq uint64 `json:"seq"` // of the entry that says what was intended
}

func (c ExternalCall) appendMembers(m *ledger.Members) { m.Uint("seq", c.Seq) }

// TurnEvidence is what can be proved of one turn; [Evidence] computes it.
type TurnEvidence struct {
	SessionID       string            `json:"session_id"`
	TurnNumber      int64             `json:"turn_number"`
	WorkOrderID     string            `json:"work_order_id,omitempty"`
	DeclaredReads   []File            `json:"declared_reads"`
	DeclaredWrites  []Output          `json:"declared_writes"`
	RealizedReads   []File            `json:"realized_reads"`
	RealizedWrites  []File            `json:"realized_writes"`
	UndeclaredReads []string          `json:"undeclared_reads"`
	ExternalCalls   []ExternalCall    `json:"external_calls"`
	Violations      []Violation       `json:"violations"`
	Hidden          []Probe           `json:"hidden"`
	Discarded       []File            `json:"discarded"`
	Granted         capability.Grants `json:"granted"`
	Withheld        []string          `json:"withheld"`
	Fence           string            `json:"fence"` // none: no command was run
	From            uint64            `json:"from"`  // seq of turn.begin
	To              uint64            `json:"to"`    // seq of the last entry it stands on
	Head            ledger.Hash       `json:"head"`  // hash of that entry
}

// Kind implements [ledger.Body].
func (TurnEvidence) Kind() string { return KindTurnEvidence }

// AppendMembers implements [ledger.Body].
func (t TurnEvidence) AppendMembers(m *ledger.Members) {
	m.Redacted() // it is computed from what was
	m.Word("session_id", t.SessionID)
	m.Int("turn_number", t.TurnNumber)
	word(m, "work_order_id", t.WorkOrderID)
	list(m, "declared_reads", t.DeclaredReads)
	list(m, "declared_writes", t.DeclaredWrites)
	list(m, "realized_reads", t.RealizedReads)
	list(m, "realized_writes", t.RealizedWrites)
	words(m, "undeclared_reads", t.UndeclaredReads)
	list(m, "external_calls", t.ExternalCalls)
	m.Array("violations", func(m *ledger.Members) {
		for _, v := range t.Violations {
			m.Object("", v.AppendMembers)
		}
	})
	list(m, "hidden", t.Hidden)
	list(m, "discarded", t.Discarded)
	grants(m, "granted", t.Granted)
	words(m, "withheld", t.Withheld)
	m.Word("fence", t.Fence)
	m.Uint("from", t.From)
	m.Uint("to", t.To)
	m.Hash("head", t.Head)
}
