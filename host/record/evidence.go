package record

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/ledger"
)

// Evidence computes what can be proved of one turn from its entries in
// exec.jsonl: turn.begin and all that follow it before turn.end. It is a pure
// function of them.
//
//   - declared_reads and declared_writes are the inputs and outputs of
//     turn.begin, in its order.
//   - realized_reads are the files whose content the guest could see, by
//     distinct (path, sha256, size): open for reading, read and hash that
//     succeeded, and an open or write that kept what was there before. Files of
//     packages are not listed: the session's package is named by one digest for
//     all of them, and each op has its own. What the turn staged itself, and
//     tmp/, is not listed either: it came from nowhere else. Nor is what a
//     command could see: nobody knows what it read. The view of its exec.start
//     is all that it can have been.
//   - undeclared_reads are those by a grant whose path is no input.
//   - realized_writes are the staged files with a digest, by final name;
//     discarded are those of them beneath tmp/. A staged file that was deleted,
//     by the guest or by a command, is neither: of a file beneath tmp/ or the
//     session's output only a digest that stands behind the last command counts.
//   - external_calls are the commands that were started, by exec.start; fence is
//     the weakest that held one of them, "none" without any.
//   - hidden counts the operations on each name that was hidden.
//   - violations are the operations that were refused, in the order of refusal.
//
// A command makes, changes and removes files beneath tmp/ and the session's
// output, and only the digests of what is there in the end tell of it. Until one
// does, a name of the session's output can hold what the turn staged, or what an
// earlier turn published. What the guest reads of it is listed, unless an entry
// shows that it was staged: a digest whose operation or command comes before the
// read, or that the guest deletes, renames or goes on writing it before the next
// command ends.
//
// Commands do not overlap. One that was started must have been granted by an op
// in front, and has one exec.end, or none: then the host failed, or a crash took
// the turn.
//
// Lists without another order are sorted by the bytes of the path, and then in
// order of appearance.
func Evidence(entries iter.Seq[ledger.Entry]) (TurnEvidence, error) {
	var t turn
	for e := range entries {
		body, err := Decode(e)
		if err == nil {
			err = t.add(e, body)
		}
		if err != nil {
			return TurnEvidence{}, fmt.Errorf("evidence: seq %d: %w", e.Seq, err)
		}
	}
	if !t.begun {
		return TurnEvidence{}, errors.New("evidence: there are no entries")
	}
	return t.evidence(), nil
}

// A Collector computes the evidence of a turn from its entries as they are
// appended, by the rules of [Evidence], so that the end of the turn need not read
// them back. Evidence of the file remains what counts: it is what verifying
// computes. The zero value is ready. Not safe for concurrent use.
type Collector struct {
	turn turn
	err  error // the first entry that was not the next of the turn
}

// Add takes an entry that was appended, and the body it was made of, which it
// does not keep.
func (c *Collector) Add(e ledger.Entry, body ledger.Body) {
	if c.err == nil && c.turn.begun && e.Prev != c.turn.out.Head {
		c.err = errors.New("an entry of the turn was not seen")
	}
	if c.err == nil {
		c.err = c.turn.add(e, body)
	}
}

// Evidence returns what was computed, if it is of all entries from turn.begin to
// head, the last of the ledger. It is false where the Collector missed one: then
// the file knows.
func (c *Collector) Evidence(head ledger.Head) (TurnEvidence, bool) {
	if c.err != nil || !c.turn.begun || c.turn.out.Head != head.Hash {
		return TurnEvidence{}, false
	}
	return c.turn.evidence(), true
}

// turn collects the entries of one turn.
type turn struct {
	begun  bool
	number int
	out    TurnEvidence
	inputs map[string]bool
	reads  []read
	named  []named               // by seq, from the one after turn.begin: what a digest can be of
	staged map[string]stagedFile // by present name
	hidden map[string]int64
	commands
}

type read struct {
	file       File
	undeclared bool
	own        bool // it turned out to be of what the turn staged
}

// A stagedFile is known by the entries of that seq.
type stagedFile struct {
	since uint64 // the last one that shows that it is there
	seen  uint64 // the digest of its content, 0 if there is none yet
	sum   ledger.Hash
	size  int64
}

// named is an operation that a digest can be of. The zero value is an entry that
// none can.
type named struct {
	path string // the name the file has after it
	as   int32  // what it is, or from listed on which of reads, counted from there
}

// What a named file is.
const (
	notNamed  int32 = iota
	staged          // a file that the turn made
	byCommand       // any that a command made: the digest names it
	unlisted        // one whose reading is not listed
	listed
)

// add takes the next entry of the turn and its body.
func (t *turn) add(e ledger.Entry, body ledger.Body) error {
	if !t.begun {
		switch b := body.(type) {
		case TurnBegin:
			t.begin(e, b)
			return nil
		case *TurnBegin:
			t.begin(e, *b)
			return nil
		}
		return fmt.Errorf("%s, want turn.begin", e.Kind)
	}
	switch e.Kind {
	case KindRecovered, KindSessionResume, KindErased, ledger.KindSeal:
		if e.Turn != 0 && e.Turn != t.number {
			return fmt.Errorf("it belongs to turn %d, want %d", e.Turn, t.number)
		}
	case KindOp, KindDigest, KindExecStart, KindExecEnd, KindStderr:
		if e.Turn != t.number {
			return fmt.Errorf("it belongs to turn %d, want %d", e.Turn, t.number)
		}
	default:
		return fmt.Errorf("%s within a turn", e.Kind)
	}
	t.out.To, t.out.Head = e.Seq, e.Hash
	t.named = append(t.named, named{})
	switch b := body.(type) {
	case Op:
		return t.op(&b)
	case *Op:
		return t.op(b)
	case Digest:
		return t.digest(b)
	case *Digest:
		return t.digest(*b)
	case ExecStart:
		return t.start(&b)
	case *ExecStart:
		return t.start(b)
	case ExecEnd:
		return t.end(&b)
	case *ExecEnd:
		return t.end(b)
	}
	return nil
}

func (t *turn) begin(e ledger.Entry, b TurnBegin) {
	*t = turn{
		begun:  true,
		number: e.Turn,
		out: TurnEvidence{
			SessionID:      e.Session,
			TurnNumber:     int64(e.Turn),
			WorkOrderID:    b.WorkOrder,
			DeclaredReads:  b.Inputs,
			DeclaredWrites: b.Outputs,
			Granted:        b.Granted,
			Withheld:       b.Withheld,
			Fence:          FenceNone,
			From:           e.Seq,
			To:             e.Seq,
			Head:           e.Hash,
		},
		inputs: map[string]bool{},
		staged: map[string]stagedFile{},
		hidden: map[string]int64{},
	}
	t.output = "output/" + e.Session + "/"
	for _, f := range b.Inputs {
		t.inputs[f.Path] = true
	}
}

func (t *turn) op(o *Op) error {
	if o.Count < 0 || o.Count > 0 && o.Decision != Hidden {
		return fmt.Errorf("an op with the decision %s has the count %d", o.Decision, o.Count)
	}
	switch o.Decision {
	case Hidden:
		t.hidden[o.Path] += max(o.Count, 1)
	case Violated:
		v, _ := o.Violation()
		t.out.Violations = append(t.out.Violations, v)
	case Granted, Own:
		if o.Errno == ErrnoSuccess {
			t.done(o)
		}
	case InPkg, Refused:
	default:
		return fmt.Errorf("unknown decision %q", o.Decision)
	}
	return nil
}

// done takes an operation that was permitted and succeeded.
func (t *turn) done(o *Op) {
	switch o.Op {
	case OpOpen, OpWrite:
		stages := o.Op == OpWrite || o.writes()
		if !stages || o.SHA256 != nil && !o.has("trunc") {
			t.read(o)
		}
		if stages {
			if o.SHA256 == nil && !o.has("trunc") && !o.has("excl") {
				t.wasStaged(o.Path) // of another file it would have kept the content
			}
			t.name(o.Path, staged)
			t.stands(o.Path)
		}
	case OpRead, OpHash:
		if o.Path != "" {
			t.read(o)
		}
	case OpDelete:
		t.wasStaged(o.Path)
		delete(t.staged, o.Path)
	case OpRename:
		f, ok := t.staged[o.Path]
		if ok || t.ended > 0 && t.commandWrites(o.Path) {
			t.wasStaged(o.Path)
			delete(t.staged, o.Path)
			t.staged[o.To] = f
			t.stands(o.To)
			t.name(o.To, staged)
		}
	case OpExec:
		t.granted = true
	}
}

// stands says that the entry that was added last shows a staged file under a
// name.
func (t *turn) stands(name string) {
	f := t.staged[name]
	f.since = t.out.To
	t.staged[name] = f
}

func (t *turn) read(o *Op) {
	if t.owns(o.Path) || inScratch(o.Path) {
		t.name(o.Path, unlisted)
		return
	}
	r := read{file: File{Path: o.Path}, undeclared: o.Decision == Granted && !t.inputs[o.Path]}
	if o.SHA256 != nil {
		r.file.SHA256 = *o.SHA256
	}
	if o.Size != nil {
		r.file.Size = *o.Size
	}
	t.doubt(o.Path)
	t.name(o.Path, listed+int32(len(t.reads))) //nolint:gosec // entries are counted in millions
	t.reads = append(t.reads, r)
}

// name says that the entry that was added last is one that a digest can be of.
func (t *turn) name(path string, as int32) { t.named[len(t.named)-1] = named{path, as} }

func (t *turn) digest(d Digest) error {
	var of named
	if at := d.Of - t.out.From - 1; d.Of > t.out.From && at < uint64(len(t.named)) {
		of = t.named[at]
	}
	if of.as == notNamed {
		return fmt.Errorf("digest of seq %d, which did not open, read, write or rename a file of this turn", d.Of)
	}
	path := of.path
	switch {
	case of.as == byCommand && d.Path == "":
		return fmt.Errorf("digest of seq %d, which is the end of a command, names no file", d.Of)
	case of.as == byCommand && !t.commandWrites(d.Path):
		return fmt.Errorf("digest of %s by seq %d, which is the end of a command: it writes beneath tmp/ and %s only", d.Path, d.Of, t.output)
	case of.as == byCommand:
		path = d.Path
	case d.Path != "" && d.Path != of.path:
		return fmt.Errorf("digest of %s by seq %d, which is about %s", d.Path, d.Of, of.path)
	}
	switch {
	case of.as == staged || of.as == byCommand:
		t.staged[path] = stagedFile{t.out.To, t.out.To, d.SHA256, d.Size}
		t.wasOwn(path, d.Of)
	case of.as >= listed:
		f := &t.reads[of.as-listed].file
		f.SHA256, f.Size = d.SHA256, d.Size
	}
	return nil
}

// evidence sums up what was added.
func (t *turn) evidence() TurnEvidence {
	out := t.out
	byPath := func(a, b File) int { return cmp.Compare(a.Path, b.Path) }
	t.sumReads(&out)
	for name, f := range t.staged {
		switch {
		case f.seen == 0, f.seen < t.ended && t.commandWrites(name):
		case inScratch(name):
			out.Discarded = append(out.Discarded, File{name, f.sum, f.size})
		default:
			out.RealizedWrites = append(out.RealizedWrites, File{name, f.sum, f.size})
		}
	}
	slices.SortFunc(out.RealizedWrites, byPath)
	slices.SortFunc(out.Discarded, byPath)
	for _, name := range slices.Sorted(maps.Keys(t.hidden)) {
		out.Hidden = append(out.Hidden, Probe{name, t.hidden[name]})
	}
	return out
}

// sumReads lists the reads by path, and equal ones of a path once, in the order
// in which they came.
func (t *turn) sumReads(out *TurnEvidence) {
	reads := slices.DeleteFunc(slices.Clone(t.reads), func(r read) bool { return r.own })
	slices.SortStableFunc(reads, func(a, b read) int { return cmp.Compare(a.file.Path, b.file.Path) })
	for len(reads) > 0 {
		path, n := reads[0].file.Path, 1
		for n < len(reads) && reads[n].file.Path == path {
			n++
		}
		of := reads[:n]
		reads = reads[n:]
		out.RealizedReads = append(out.RealizedReads, of[0].file)
		if n > 1 {
			seen := map[File]bool{of[0].file: true}
			for _, r := range of[1:] {
				if !seen[r.file] {
					seen[r.file] = true
					out.RealizedReads = append(out.RealizedReads, r.file)
				}
			}
		}
		if slices.ContainsFunc(of, func(r read) bool { return r.undeclared }) {
			out.UndeclaredReads = append(out.UndeclaredReads, path)
		}
	}
}

func inScratch(name string) bool { return strings.HasPrefix(name, "tmp/") }

// has reports whether flag is among the flags of an open.
func (o Op) has(flag string) bool {
	for f := range strings.SplitSeq(o.Flags, ",") {
		if f == flag {
			return true
		}
	}
	return false
}

func (o Op) writes() bool {
	return o.has("write") || o.has("create") || o.has("trunc") || o.has("append")
}

// Violation returns the entry that evidence.jsonl has for a refused operation;
// ok is false for all others. The op is in exec.jsonl, and synced, before that
// entry is appended: then no violation lacks its op after a crash.
func (o Op) Violation() (v Violation, ok bool) {
	if o.Decision != Violated {
		return Violation{}, false
	}
	return Violation{
		Operation:     cmp.Or(o.Right, o.right()),
		Subject:       cmp.Or(o.Subject, o.Path),
		Rule:          o.Rule,
		SmallestGrant: o.SmallestGrant,
	}, true
}

// right is what an operation needs a grant of.
func (o Op) right() string {
	switch o.Op {
	case OpOpen:
		if o.writes() {
			return "write"
		}
		return "read"
	case OpStat, OpList, OpRead, OpHash, OpReadlink:
		return "read"
	case OpExec:
		return "execute"
	case OpPublish:
		return "publish"
	}
	return "write"
}
