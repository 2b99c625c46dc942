package record

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/agenthost/agenthost/ledger"
)

// VerifySession is [ObserveSession] without options.
func VerifySession(ledgerDir string) (Report, error) {
	return ObserveSession(ledgerDir, VerifyOptions{})
}

// ObserveSession checks the whole record in a session's ledger folder: both
// chains; that every seal is over what is before it, and by a key of the session
// that a host signed; that every entry can be decoded and stands where it may; that
// the evidence of each turn is what its entries say, that it is sealed, and that
// turn.end names that seal; that each violation was written at once; that what was
// published was written; that each command was granted, and ended unless the host
// failed; that each blob is there and matches, unless it was erased, and a command's
// words and view are what its entry says; that a session which was closed ends with
// final seals and has nothing behind them.
//
// The error is an [*ledger.IntegrityError] that names the first bad line, or
// one of the file system. A session that is open may have entries that are not
// sealed, an unfinished turn, and a torn tail: they are reported, not errors.
//
// Seals do not see a file that was cut behind one of them. If it is exec.jsonl,
// evidence.jsonl tells it from one that a crash cut. A crash can take the entries
// of exec.jsonl that were not synced. All of a turn are before the next one begins,
// and all up to a refused operation before its violation is recorded. Evidence is
// recorded without such a sync, so that of the turn after the last turn.end may be
// left without that turn's entries, its turn.begin included, and more than once if
// a crash came again. That is counted as Uncommitted. No crash leaves evidence of a
// later turn, nor a violation without its operation: these are an error. If both
// files were cut, only Anchors tell.
//
// It needs no lock, and memory for the names of one turn. Beside a live writer it
// does not judge what was added to evidence.jsonl meanwhile.
func ObserveSession(ledgerDir string, o VerifyOptions) (Report, error) {
	s := &session{dir: ledgerDir, opts: o, missing: map[ledger.Hash]*ledger.IntegrityError{}}
	s.before, _ = os.Stat(filepath.Join(ledgerDir, ExecFile))
	for _, name := range []string{ExecFile, EvidenceFile} {
		path := filepath.Join(ledgerDir, name)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return Report{}, &ledger.IntegrityError{File: path, Reason: "the file is missing: a session without both ledgers is invalid"}
		}
	}
	err := s.verify()
	return s.report, err
}

// session is the state of a check.
type session struct {
	dir      string
	opts     VerifyOptions
	report   Report
	progress Progress
	keys     SessionKeys
	sealed   uint64 // entries of exec.jsonl up to the last seal so far
	turn     turn
	err      error // the first fault in what the entries say

	before   fs.FileInfo                        // of exec.jsonl, before it was read; nil if that failed
	evidence func() (ledger.Entry, error, bool) // the next entry of evidence.jsonl
	tree     ledger.Tree                        // over the entries of evidence.jsonl so far
	last     time.Time                          // of the last of them
	missing  map[ledger.Hash]*ledger.IntegrityError
	rebuilt  int // evidence of turns up to this one may have been computed anew
}

func (s *session) verify() error {
	execFile, evidenceFile := filepath.Join(s.dir, ExecFile), filepath.Join(s.dir, EvidenceFile)
	options := ExecOptions("")
	options.Keys, options.Anchors = s.keys.Exec(), s.opts.Anchors
	s.keys.later = sync.OnceValue(func() []ledger.Verifier { return introduced(execFile) })
	stop := func() {}
	defer func() { stop() }()
	options.Observe = func(e ledger.Entry) {
		if s.evidence == nil {
			// Opened after exec.jsonl: beside a live writer it then holds all
			// that the entries of that name.
			o := EvidenceOptions(e.Session)
			o.Keys = s.keys.Evidence()
			s.evidence, stop = iter.Pull2(ledger.Scan(evidenceFile, o))
		}
		if s.err == nil {
			s.err = s.exec(e)
		}
	}
	var err error
	s.report.Exec, err = ledger.Verify(execFile, options)
	s.report.Session, s.report.Closed = s.progress.Session, s.progress.Closed
	s.report.Plane, s.report.Hosts = s.keys.Plane(), s.keys.Hosts()
	if s.progress.InTurn {
		s.report.Unfinished = s.progress.Turns
	}
	switch {
	case s.err != nil:
		return earlier(s.err, err)
	case err != nil:
		return err
	case s.report.Exec.Entries == 0:
		return &ledger.IntegrityError{File: execFile, Reason: "it has no entries: a session begins with session.open"}
	}
	err = s.rest()
	s.report.Evidence.Entries, s.report.Evidence.Head.Size, s.report.Evidence.Head.Root = s.tree.Size(), s.tree.Size(), s.tree.Root()
	if err == nil {
		err = s.closed()
	}
	if err != nil {
		return err
	}
	var first *ledger.IntegrityError
	for _, missing := range s.missing {
		if first == nil || missing.Seq < first.Seq {
			first = missing
		}
	}
	if first != nil {
		return first
	}
	return nil
}

// ErrFinal is about a final seal in exec.jsonl that closes nothing: session.close is
// written with the first one.
var ErrFinal = errors.New("the seal says that nothing is to follow, and the session was not closed: it was changed")

// earlier is the error about the earlier line: said is about what entries say, read
// about exec.jsonl, further on but for a seal whose signature is looked at late.
func earlier(said, read error) error {
	var a, b *ledger.IntegrityError
	if errors.As(said, &a) && errors.As(read, &b) && a.File == b.File && b.Seq < a.Seq {
		return read
	}
	return said
}

// closed checks that a session which was closed is sealed to its end.
func (s *session) closed() error {
	if !s.progress.Closed || s.grown() {
		return nil
	}
	for _, f := range []struct {
		name string
		ledger.Report
	}{{ExecFile, s.report.Exec}, {EvidenceFile, s.report.Evidence}} {
		bad := &ledger.IntegrityError{File: filepath.Join(s.dir, f.name)}
		switch {
		case f.Torn != nil:
			*bad = *f.Torn
			bad.Torn, bad.Reason = false, "the session was closed, and this lies behind its last seal: "+f.Torn.Reason
		case !f.Final:
			bad.Reason = "the session was closed, and no final seal ends the file: its end was cut off"
		case f.Sealed < f.Entries:
			bad.Reason = fmt.Sprintf("the session was closed, and only %d of %d entries are sealed", f.Sealed, f.Entries)
		default:
			continue
		}
		return bad
	}
	return nil
}

// exec checks an entry of exec.jsonl.
func (s *session) exec(e ledger.Entry) error {
	if err := s.progress.Add(e); err != nil {
		return s.bad(ExecFile, e, "%w", err)
	}
	body, err := Decode(e)
	if err != nil {
		return s.bad(ExecFile, e, "%w", err)
	}
	s.saw(ExecFile, e, body)
	if e.Kind == KindTurnBegin {
		s.turn = turn{}
	}
	if s.progress.InTurn {
		if err := s.turn.add(e, body); err != nil {
			return s.bad(ExecFile, e, "%w", err)
		}
	}
	switch b := body.(type) {
	case SessionOpen:
		return s.blob(e, b.Seed, -1)
	case TurnBegin:
		if b.Query != nil {
			err = s.blob(e, b.Query.Blob, b.Query.Size)
		}
		if err == nil && b.Args != nil {
			err = s.blob(e, b.Args.Blob, b.Args.Size)
		}
		return err
	case ExecStart:
		return s.start(e, b)
	case ExecEnd:
		return s.ran(e, b)
	case Stderr:
		return s.blob(e, b.Blob.Blob, b.Size)
	case TurnEnd:
		return s.end(e, b)
	case Erased:
		s.report.Erased++
		delete(s.missing, b.Blob)
	case Recovered:
		if b.Accepted {
			s.report.Accepted++
		} else {
			s.report.Recovered++
		}
	case SessionResume:
		s.report.Inherited += e.Seq - s.sealed
	case ledger.Seal:
		if b.Final && !s.progress.Closed { // which no signature covers
			return s.bad(ExecFile, e, "%w", ErrFinal)
		}
		s.sealed = e.Seq + 1
	case SessionClose:
		if b.Turns != int64(s.progress.Turns) {
			return s.bad(ExecFile, e, "session.close counts %d turns, there are %d", b.Turns, s.progress.Turns)
		}
	}
	return nil
}

// end checks turn.end and the evidence that it commits.
func (s *session) end(e ledger.Entry, end TurnEnd) error {
	if err := cmp.Or(end.check(), s.turn.unended(end)); err != nil {
		return s.bad(ExecFile, e, "%w", err)
	}
	if end.Result != nil {
		if err := s.blob(e, end.Result.Blob, end.Result.Size); err != nil {
			return err
		}
	}
	want := s.turn.evidence()
	anew := e.Turn <= s.rebuilt
	if !anew && end.Evidence.Size <= s.tree.Size() {
		return s.bad(ExecFile, e, "turn %d names %d entries of %s, of which the turns before have %d", e.Turn, end.Evidence.Size, EvidenceFile, s.tree.Size())
	}
	var (
		last       ledger.Entry // of the turn's own, not of a recovery
		got        []byte
		violations []Violation
	)
	for anew && got == nil || !anew && s.tree.Size() < end.Evidence.Size {
		next, body, err := s.next()
		if err != nil {
			return err
		}
		if next.Line == nil {
			return s.bad(ExecFile, e, "turn %d was committed with %d entries of %s, which has %d: its end was cut off", e.Turn, end.Evidence.Size, EvidenceFile, s.tree.Size())
		}
		if next.Kind == KindRecovered && !anew && e.Turn <= s.rebuilt {
			anew, got, violations = true, nil, nil
		}
		if next.Kind == KindRecovered || next.Kind == ledger.KindSeal {
			continue
		}
		if last = next; last.Turn != e.Turn {
			return s.bad(EvidenceFile, last, "%s of turn %d, want %d", last.Kind, last.Turn, e.Turn)
		}
		switch b := body.(type) {
		case Violation:
			violations = append(violations, b)
		case TurnEvidence:
			if got != nil {
				s.report.Superseded++
			}
			if got, err = ledger.Encode(b); err != nil {
				return s.bad(EvidenceFile, last, "%w", err)
			}
		}
	}
	if anew { // turn.end names what was given up
		end.Evidence = EvidenceHead{Size: s.tree.Size(), Root: s.tree.Root()}
	}
	if root := s.tree.Root(); root != end.Evidence.Root {
		return s.bad(ExecFile, e, "turn %d was committed with another %s: its root is %v, not %v", e.Turn, EvidenceFile, root, end.Evidence.Root)
	}
	if last.Kind != KindTurnEvidence || last.Seq+1 != end.Evidence.Size {
		return s.bad(ExecFile, e, "turn %d was committed with an %s that does not end with its evidence", e.Turn, EvidenceFile)
	}
	// Evidence counts only with what was committed behind it.
	seal, body, err := s.next()
	if err != nil {
		return err
	}
	if b, ok := body.(ledger.Seal); !ok || b.Size != end.Evidence.Size {
		return s.bad(ExecFile, e, "turn %d was committed with a head of %s that is not sealed: seq %d there is %s", e.Turn, EvidenceFile, seal.Seq, seal.Kind)
	}
	wanted, err := ledger.Encode(want)
	if err != nil {
		return s.bad(ExecFile, e, "%w", err)
	}
	if !bytes.Equal(got, wanted) {
		return s.bad(EvidenceFile, last, "%s of turn %d is not what %s says", difference(got, wanted), e.Turn, ExecFile)
	}
	if err := matchViolations(violations, want.Violations, end.Status == StatusAborted); err != nil {
		return s.bad(EvidenceFile, last, "turn %d: %w", e.Turn, err)
	}
	for _, p := range end.Publish {
		if !slices.Contains(want.RealizedWrites, File{p.Path, p.SHA256, p.Size}) {
			return s.bad(ExecFile, e, "turn %d published %s, which it did not write with that content", e.Turn, p.Path)
		}
	}
	s.report.Turns = append(s.report.Turns, Turn{e.Turn, end.Status, end.Code, want.From, e.Seq})
	return nil
}

// next returns the next entry of evidence.jsonl; at the end one without a line.
func (s *session) next() (ledger.Entry, ledger.Body, error) {
	e, err, ok := s.evidence()
	report := &s.report.Evidence
	var bad *ledger.IntegrityError
	switch {
	case !ok:
		return ledger.Entry{}, nil, nil
	case errors.As(err, &bad) && bad.Torn:
		report.Torn = bad
		return ledger.Entry{}, nil, nil
	case err != nil:
		return ledger.Entry{}, nil, err
	}
	if e.Seq > 0 && e.Time.Before(s.last) {
		report.ClockSteps++
	}
	s.tree.Add(e.Hash)
	s.last, report.Session, report.Head.Hash = e.Time, e.Session, e.Hash
	switch e.Kind {
	case KindViolation, KindTurnEvidence, KindRecovered, ledger.KindSeal:
	default:
		return ledger.Entry{}, nil, s.bad(EvidenceFile, e, "%s does not belong in %s", e.Kind, EvidenceFile)
	}
	body, err := Decode(e)
	if err != nil {
		return ledger.Entry{}, nil, s.bad(EvidenceFile, e, "%w", err)
	}
	switch b := body.(type) {
	case Recovered:
		if !b.Accepted { // else exec.jsonl says so, too
			s.report.Recovered++
		}
		s.rebuilt = max(s.rebuilt, int(b.Turns))
	case ledger.Seal:
		if s.keys.early && s.rebuilt == 0 {
			return ledger.Entry{}, nil, s.bad(EvidenceFile, e, "the seal is by a key that %s introduces later", ExecFile)
		}
		s.keys.early = false
		report.Sealed, report.Final = e.Seq+1, b.Final
		report.Checkpoint = ledger.Checkpoint{
			Origin: EvidenceOrigin(s.keys.Plane(), e.Session), Size: b.Size, Root: b.Root,
			Signatures: []ledger.Signature{{Name: keyName(s.keys.Plane(), e.Session), Value: b.Sig}},
		}
	}
	s.saw(EvidenceFile, e, body)
	return e, body, nil
}

// introduced are the keys that the entries of an exec.jsonl introduce, as far as it
// can be read.
func introduced(path string) []ledger.Verifier {
	var keys SessionKeys
	for e, err := range ledger.Scan(path, ledger.Options{MaxEntry: MaxEvidence}) {
		if err != nil || keys.Exec().Saw(e) != nil {
			break
		}
	}
	return keys.keys
}

func (s *session) saw(file string, e ledger.Entry, body ledger.Body) {
	if s.opts.Observe != nil {
		s.opts.Observe(file, e, body)
	}
}

// check looks for what no turn ends with.
func (t TurnEnd) check() error {
	switch t.Status {
	case StatusOK, StatusDryRun:
		if t.Code != "" {
			return fmt.Errorf("turn.end: status %s has the code %q", t.Status, t.Code)
		}
	case StatusError, StatusBlocked, StatusRefused, StatusAborted:
		if t.Code == "" {
			return fmt.Errorf("turn.end: status %s has no code", t.Status)
		}
	default:
		return fmt.Errorf("turn.end: unknown status %q", t.Status)
	}
	if t.Status != StatusOK && len(t.Publish) > 0 {
		return fmt.Errorf("turn.end: status %s publishes %d files", t.Status, len(t.Publish))
	}
	return nil
}

// matchViolations compares the entries written at once with the refused
// operations. A crash can come between the two, so the last ones of an aborted
// turn may lack their entries.
func matchViolations(entries, ops []Violation, aborted bool) error {
	for i := range max(len(entries), len(ops)) {
		switch {
		case i >= len(ops):
			return fmt.Errorf("violation of %s of %s has no op in %s", entries[i].Operation, entries[i].Subject, ExecFile)
		case i >= len(entries):
			if aborted {
				return nil
			}
			return fmt.Errorf("refused %s of %s has no violation entry", ops[i].Operation, ops[i].Subject)
		case entries[i] != ops[i]:
			return fmt.Errorf("violation entry is %s of %s by %q, the op in %s says %s of %s by %q",
				entries[i].Operation, entries[i].Subject, entries[i].Rule, ExecFile, ops[i].Operation, ops[i].Subject, ops[i].Rule)
		}
	}
	return nil
}

// difference names the first member in which two encoded evidences differ.
func difference(got, want []byte) string {
	var a, b map[string]json.RawMessage
	if json.Unmarshal(got, &a) != nil || json.Unmarshal(want, &b) != nil {
		return "the evidence"
	}
	for _, name := range []string{
		"session_id", "turn_number", "work_order_id", "declared_reads", "declared_writes", "realized_reads", "realized_writes",
		"undeclared_reads", "external_calls", "violations", "hidden", "discarded", "granted", "withheld", "fence", "from", "to", "head",
	} {
		if !bytes.Equal(a[name], b[name]) {
			return name
		}
	}
	return "the evidence"
}

// blob checks a blob that e names. A missing one is kept until it is known
// whether it was erased. Size -1 is not checked.
func (s *session) blob(e ledger.Entry, h ledger.Hash, size int64) error {
	_, err := s.content(e, h, size)
	return err
}

// content is blob for who looks into it: nil if it is missing.
func (s *session) content(e ledger.Entry, h ledger.Hash, size int64) ([]byte, error) {
	content, err := ledger.GetBlob(filepath.Join(s.dir, BlobFolder), h)
	var bad *ledger.IntegrityError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if s.missing[h] == nil {
			errors.As(s.bad(ExecFile, e, "blob %v is missing and was not erased", h), &bad)
			s.missing[h] = bad
		}
		return nil, nil
	case errors.As(err, &bad):
		return nil, s.bad(ExecFile, e, "blob %v: its content does not match: it was changed after it was written", h)
	case err != nil:
		return nil, err
	case size >= 0 && int64(len(content)) != size:
		return nil, s.bad(ExecFile, e, "blob %v has %d bytes, want %d", h, len(content), size)
	}
	return content, nil
}

func (s *session) bad(file string, e ledger.Entry, format string, args ...any) error {
	return &ledger.IntegrityError{
		File: filepath.Join(s.dir, file), Line: int(e.Seq) + 1, Seq: e.Seq, Offset: e.Offset,
		Reason: fmt.Errorf(format, args...).Error(),
	}
}
