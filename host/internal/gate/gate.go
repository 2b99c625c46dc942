// Package gate is the one place where a guest's wish becomes an effect. Every
// door (WASI, the guest contract) turns what a guest asked for into a call here, and
// every call goes the same way: check the name with the enforcer, perform on
// the name that was judged, record the entry, and only then answer.
//
// The package does not know WebAssembly, and it publishes nothing: what a guest
// writes lands in the turn's staging folders, and [Gate.Finish] says what they
// hold.
//
// An operation ends in one of three ways: an answer, an [Errno] the guest may
// see, or a panic with the error that ends the turn: a *[capability.Violation],
// a *[Limit] or a *[HostError], or what the runner itself stops a turn with: the
// cause of its context, or what its Charge panics with. A panic unwinds the
// guest's instance, which must not run again; the runner recovers it as the
// error of the guest's call.
package gate

import (
	"context"
	"fmt"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// A Ceiling bounds what one turn can make the host do. Each is reached with a
// *[Limit], never with an errno.
type Ceiling struct {
	Entries      int64 // lines in exec.jsonl
	Evidence     int64 // bytes that the operations can come to in the turn's evidence
	OpenFiles    int   // descriptors open at once
	OutputBytes  int64 // apparent size of everything staged for publication
	OutputFiles  int64 // staged files and folders that could be published
	ScratchBytes int64 // apparent size of everything in /tmp
	ScratchFiles int64 // files and folders in /tmp
	CopyBytes    int64 // bytes of small files held in memory for open descriptors
	ListNames    int   // names in one listing, hidden ones included
}

// A Config is everything a turn's gate stands on. All of it is required, except
// Deps, Recorded and Commands. The gate does not close the folders.
type Config struct {
	Session  string
	Turn     int
	Enforcer *capability.Enforcer
	Strict   bool // hidden opens and undeclared reads are violations

	Workspace *beneath.Dir // what the guest sees as /
	Published *beneath.Dir // output/<session>, nil while it does not exist
	Staged    Areas        // where writes land

	Rights  []byte // what the guest reads of them in /.agenthost/policy.json
	Package *archive.Package
	Deps    map[string]*archive.Package // by id

	Inputs  []Input          // declared, already hashed
	Outputs []archive.Output // declared, as the manifest spells them

	Exec     *ledger.Log
	Evidence *ledger.Log
	Recorded func(ledger.Entry, ledger.Body) // told of each entry of exec.jsonl, if set; the body is the gate's
	Charge   func(units int64)               // takes fuel for bytes the host works on; panics when there is none left
	Ceiling  Ceiling

	Commands *Commands // nil: none are run
}

// Areas are the three staging folders of a turn.
type Areas struct {
	Workspace, Out, Tmp *beneath.Dir
}

// A Gate serves one turn. It is not safe for concurrent use: a guest has one
// thread.
type Gate struct {
	ctx context.Context
	cfg Config

	outputs outputs
	inputs  map[string]Input

	entry   record.Op // being recorded: kept here, operations need no memory of their own
	entries int64
	weight  int64              // of the entries, in the turn's evidence
	files   map[*File]struct{} // open
	copied  int64              // bytes of small files in memory
	spare   []byte             // what the last small file that was closed was read into
	hidden  map[probe]*seen    // equal hidden probes
	order   []probe            // of hidden, as they came first

	reads    map[string]*read  // regular files of the workspace and /out that were opened
	pending  []*source         // large files whose digest is still to be taken
	staged   map[string]*node  // by ledger name
	staging  quota             // what is staged for publication
	scratch  quota             // what lies in /tmp
	storage  map[uint64]error  // by device: may it be served?
	folders  map[area]*folders // what is served of the workspace, and of /out
	ended    bool
	calls    int64 // mediated operations
	refused  int64 // of these, hidden, refused or violations
	problems map[string]Problem

	commands  int                      // that were started
	commanded time.Duration            // what they took on the wall
	kept      int64                    // bytes of blobs of theirs
	endings   map[uint64]bool          // seqs of their exec.end
	listings  map[[32]byte]record.Blob // of what they saw, by digest
	unpacked  *beneath.Dir             // the files of the package, once a command needed them

	asked *Answer // where the answer goes of a gate that is only asked
}

// A probe is what equal hidden operations have in common.
type probe struct{ op, via, path, flags string }

type seen struct {
	entry  record.Op
	more   int64
	byName bool // the name alone decided, not what is on disk
}

// A Problem is a reason found by the gate not to publish: an input that changed
// while the turn ran.
type Problem struct {
	Path string
	Code string // record.InputChanged
	What string
}

// New returns the gate of one turn. ctx bounds every effect.
func New(ctx context.Context, cfg Config) (*Gate, error) {
	outs, err := compileOutputs(cfg.Outputs, cfg.Session)
	if err != nil {
		return nil, err
	}
	g := &Gate{
		ctx: ctx, cfg: cfg, outputs: outs,
		inputs:   make(map[string]Input, len(cfg.Inputs)),
		files:    map[*File]struct{}{},
		hidden:   map[probe]*seen{},
		reads:    map[string]*read{},
		staged:   map[string]*node{},
		storage:  map[uint64]error{},
		folders:  map[area]*folders{workspace: newFolders(cfg.Workspace)},
		problems: map[string]Problem{},
		endings:  map[uint64]bool{},
		listings: map[[32]byte]record.Blob{},
	}
	if cfg.Published != nil {
		g.folders[out] = newFolders(cfg.Published)
	}
	g.staging, g.scratch = quotas(cfg.Ceiling)
	for _, in := range cfg.Inputs {
		g.inputs[in.Path] = in
	}
	for _, dir := range []*beneath.Dir{cfg.Workspace, cfg.Published} {
		if dir == nil {
			continue
		}
		if err := g.knowStorage(dir); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// knowStorage asks for the filesystem of a folder that was given. Others are
// asked for when something on them is met.
func (g *Gate) knowStorage(dir *beneath.Dir) error {
	f, err := dir.OpenRead(".")
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return g.storageOf(info.Dev, f)
}

// A Limit is a bound of the turn that was reached. It ends the turn with code
// limit.
type Limit struct {
	Name string // record's limit names, such as "entries"
	Max  int64
}

func (l *Limit) Error() string {
	return fmt.Sprintf("the limit on %s was reached (%d)", l.Name, l.Max)
}

// A HostError is a failure of the host's own machinery. The guest learns
// nothing of it: the turn ends.
type HostError struct {
	Doing string
	Err   error
}

func (e *HostError) Error() string { return e.Doing + ": " + e.Err.Error() }

// Unwrap returns the underlying error.
func (e *HostError) Unwrap() error { return e.Err }

func hostFailure(doing string, err error) {
	panic(&HostError{Doing: doing, Err: err})
}

// append writes one entry of the turn to exec.jsonl and counts it. An entry that
// cannot be written ends the turn.
func (g *Gate) append(body ledger.Body) ledger.Entry {
	g.admit(1, 0)
	g.entries++
	return g.appendFinal(body)
}

// appendFinal is append for the entries that close a turn, which no ceiling may
// keep out of the ledger.
func (g *Gate) appendFinal(body ledger.Body) ledger.Entry {
	e, err := g.cfg.Exec.Append(g.cfg.Turn, body)
	if err != nil {
		hostFailure("record "+body.Kind(), err)
	}
	if g.cfg.Recorded != nil {
		g.cfg.Recorded(e, body)
	}
	return e
}

// answer records op with errno and returns errno: the last step of every
// operation that has no content.
func (g *Gate) answer(op record.Op, errno Errno) Errno {
	op.Errno = errno.String()
	g.record(&op)
	return errno
}

// record counts and records an operation, before it is answered.
func (g *Gate) record(op *record.Op) ledger.Entry {
	if g.asked != nil {
		g.tell(*op)
	}
	g.admit(0, weight(op))
	g.weight += weight(op)
	g.calls++
	if op.Decision == record.Refused || op.Decision == record.Hidden {
		g.refused++
	}
	g.entry = *op
	return g.append(&g.entry)
}

// admit ends the turn if so many more entries, or what they come to in its
// evidence, are more than it may have.
func (g *Gate) admit(entries, weight int64) {
	if g.entries+entries > g.cfg.Ceiling.Entries {
		panic(&Limit{Name: record.LimitEntries, Max: g.cfg.Ceiling.Entries})
	}
	if g.weight+weight > g.cfg.Ceiling.Evidence {
		panic(&Limit{Name: record.LimitEvidence, Max: g.cfg.Ceiling.Evidence})
	}
}

// weight bounds what an operation comes to in the turn's evidence, in bytes. A
// name can stand there twice: as a read, and as one that was not declared.
func weight(op *record.Op) int64 {
	const rest = 160 // a digest, a size, the names of members
	return rest + 2*encoded(op.Path) + encoded(op.To)
}

// encoded is how many bytes a text has as a string of JSON, without quotes.
func encoded(text string) (size int64) {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c < 0x20:
			size += 6
		case c == '"' || c == '\\':
			size += 2
		default:
			size++
		}
	}
	return size
}

// hide records a probe of a name that is not shown, once for equal probes, and
// answers that the name does not exist.
func (g *Gate) hide(op record.Op, rule string) Errno {
	op.Decision, op.Rule, op.Errno = record.Hidden, rule, NoEnt.String()
	if g.asked != nil {
		g.tell(op)
	}
	key := probe{op.Op, op.Via, op.Path, op.Flags}
	if s := g.hidden[key]; s != nil {
		return g.hideAgain(s)
	}
	g.record(&op)
	g.hidden[key] = &seen{entry: op}
	g.order = append(g.order, key)
	return NoEnt
}

// hideAgain counts a probe that is equal to one before.
func (g *Gate) hideAgain(s *seen) Errno {
	s.more++
	g.calls++
	g.refused++
	return NoEnt
}

// refuse records an operation that version 1 does not have, with the errno that
// says so.
func (g *Gate) refuse(op record.Op, rule string, errno Errno) Errno {
	op.Decision, op.Rule = record.Refused, rule
	return g.answer(op, errno)
}

// violate records a violation in both ledgers, makes it durable, and ends the
// turn. It does not return.
func (g *Gate) violate(op record.Op, v *capability.Violation) {
	v.Turn = g.cfg.Turn
	op.Decision, op.Rule, op.SmallestGrant, op.Errno = record.Violated, v.Rule, v.SmallestGrant, Perm.String()
	op.Right = string(v.Op)
	if v.Subject != op.Path {
		op.Subject = v.Subject
	}
	if g.asked != nil {
		g.asked.forbidden = v.Forbidden
		g.tell(op)
	}
	g.calls++
	g.refused++
	g.recordViolation(op)
	panic(v)
}

// recordViolation is the barrier of a violation: the op is durable in exec.jsonl
// before evidence.jsonl speaks of it, and that is durable when it returns.
func (g *Gate) recordViolation(op record.Op) {
	g.appendFinal(&op)
	if err := g.cfg.Exec.Sync(); err != nil {
		hostFailure("make the violation durable", err)
	}
	v, _ := op.Violation()
	if _, err := g.cfg.Evidence.Append(g.cfg.Turn, &v); err != nil {
		hostFailure("record the violation", err)
	}
	if err := g.cfg.Evidence.Sync(); err != nil {
		hostFailure("make the violation durable", err)
	}
}

// Mismatch records that what the turn realized is not what it declared, for the
// reason that code names: an op of the host in exec.jsonl and a violation in
// evidence.jsonl. It does not panic: it is called when the guest is gone.
func (g *Gate) Mismatch(path, code string) (err error) {
	defer recoverHost(&err)
	g.recordViolation(record.Op{
		Op: record.OpPublish, Via: record.ViaHost, Path: path,
		Decision: record.Violated, Rule: code, Errno: Perm.String(),
	})
	return nil
}

// recoverHost turns the panic of a host failure into *err. Operations of a
// guest panic through its frames; what the runner calls itself returns errors.
func recoverHost(err *error) {
	switch p := recover().(type) {
	case nil:
	case *HostError:
		*err = p
	default:
		panic(p)
	}
}

// End says that the guest is gone. It closes what the guest left open, which the
// engine does not do where an instance did not come to be; [Gate.Finish] settles
// it.
func (g *Gate) End() {
	g.ended = true
	for f := range g.files {
		f.Close()
	}
	if g.unpacked != nil {
		g.unpacked.Close()
	}
}

// Commands returns how many commands were started.
func (g *Gate) Commands() int { return g.commands }

// Counts returns how many operations were mediated, and how many of them were
// hidden or refused.
func (g *Gate) Counts() (calls, refused int64) { return g.calls, g.refused }

// checkContext ends an operation that was cancelled: the panic is the context's
// error, which the runner knows as its own.
func (g *Gate) checkContext() {
	if err := g.ctx.Err(); err != nil {
		panic(context.Cause(g.ctx))
	}
}
