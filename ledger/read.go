package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// IntegrityError says that a ledger or a blob is not what was written. The
// entries before Line are intact.
type IntegrityError struct {
	File   string // path
	Line   int    // from 1; 0 if the error is about the whole file
	Seq    uint64 // that an entry in this place has
	Offset int64  // of the line's first byte
	Reason string
	// Torn is set if all from Offset on has the look of a write that a crash
	// cut short, beyond everything known to be durable. [Open] sets that aside;
	// a reader beside a live writer may meet it too. So is what counts only with a
	// seal that is not there.
	Torn bool
}

// Error is one line for people, such as
// exec.jsonl line 5 (seq 4, byte 1234): hash does not match: the line was
// changed after it was written.
func (e *IntegrityError) Error() string {
	name := filepath.Base(e.File)
	if e.Line == 0 {
		return name + ": " + e.Reason
	}
	return fmt.Sprintf("%s line %d (seq %d, byte %d): %s", name, e.Line, e.Seq, e.Offset, e.Reason)
}

// Report is what [Verify] found.
type Report struct {
	Entries    uint64
	Session    string // of every entry; "" in an empty ledger
	Head       Head
	Torn       *IntegrityError // debris of a crash behind the last entry, or nil
	ClockSteps int             // entries whose time is before that of the entry before

	Sealed uint64 // entries up to the last seal, that included
	Final  bool   // the last seal says that nothing is to follow
	// Checkpoint is that of the last seal, with its signature, which was checked. It
	// is zero where there is no seal, or there were no Options.Keys.
	Checkpoint Checkpoint
}

// Read gives the entries of the ledger at path in order, each verified: form,
// hash, seq, prev, one session. It stops at the first error, which it gives
// last: an [*IntegrityError], or one of the file system.
//
// Read needs no lock, sees the file as long as it was at the start, and uses
// memory for one line only. The own members of an entry are not parsed;
// [Entry.Decode] does that.
func Read(path string) iter.Seq2[Entry, error] { return Scan(path, Options{}) }

// Scan is [Read] under the Session, MaxEntry, Durable, Sealed, Keys and Anchors of
// o. An entry that Sealed marks is given once its seal was read. What was given
// before an error about a seal or an anchor may be what somebody made up.
func Scan(path string, o Options) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) { newVerifier(path, &o).file(yield) }
}

// file gives the entries of the whole file.
func (v *verifier) file(yield func(Entry, error) bool) {
	f, err := v.opts.disk().openFile(v.path, os.O_RDONLY, 0)
	if err != nil {
		yield(Entry{}, err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		yield(Entry{}, err)
		return
	}
	for e, err := range v.entries(f, 0, info.Size()) {
		if !yield(e, err) {
			return
		}
	}
}

// Verify reads the whole ledger at path as [Scan] does, with the Merkle tree,
// and calls o.Observe for each entry. A torn tail is reported, not an error;
// so is a clock that stepped back. With an error the report tells of what comes
// before it.
func Verify(path string, o Options) (Report, error) {
	var (
		report Report
		last   time.Time
	)
	v := newVerifier(path, &o)
	v.treed = true
	err := func() error {
		for e, err := range v.file {
			if err != nil {
				return err
			}
			if e.Seq > 0 && e.Time.Before(last) {
				report.ClockSteps++
			}
			last = e.Time
			report.Session, report.Head.Hash = e.Session, e.Hash
			if o.Observe != nil {
				o.Observe(e)
			}
		}
		return nil
	}()
	tree := v.given()
	report.Entries, report.Head.Size, report.Head.Root = tree.Size(), tree.Size(), tree.Root()
	report.Sealed, report.Final = v.seals.end, v.seals.final
	if v.seals.signed {
		report.Checkpoint = v.seals.checkpoint
	}
	var bad *IntegrityError
	if errors.As(err, &bad) && bad.Torn {
		report.Torn, err = bad, nil
	}
	return report, err
}

// verifier checks lines one after another.
type verifier struct {
	path    string
	opts    *Options
	session string // "" until the first entry says it
	max     int    // longest line with its newline
	seq     uint64 // that the next line must have
	prev    Hash
	chunk   int64 // the part of a large file that is checked at once
	workers int   // that do so

	seals  *seals // nil: not followed, for the part of a ledger
	treed  bool   // tree is wanted
	tree   Tree   // over the entries read, if treed
	before Tree   // tree before the first held entry
	held   []Entry
	bytes  int    // of the lines held
	known  uint64 // entries that were on disk as an anchor says
}

func newVerifier(path string, o *Options) *verifier {
	v := &verifier{
		path: path, opts: o, session: o.Session, max: o.maxEntry(), chunk: chunkSize, workers: min(runtime.GOMAXPROCS(0), maxWorkers),
		seals: &seals{keys: o.Keys}, treed: o.Keys != nil || len(o.Anchors) > 0,
	}
	for _, a := range o.Anchors {
		v.known = max(v.known, a.Size)
	}
	return v
}

// given is the tree over the entries that were given, not those that are held.
func (v *verifier) given() *Tree {
	if len(v.held) > 0 {
		return &v.before
	}
	return &v.tree
}

// entries gives the entries between two offsets of r; the verifier must know
// what comes before the first.
func (v *verifier) entries(r io.ReaderAt, from, to int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		lines := v.source(r, from, to)
		defer lines.close()
		for {
			e, at, fault, err := lines.next()
			if err == io.EOF {
				if err := v.end(); err != nil {
					yield(Entry{}, err)
				}
				return
			}
			if err != nil {
				yield(Entry{}, fmt.Errorf("reading %s: %w", v.path, err))
				return
			}
			if fault == nil {
				fault = v.check(e)
			}
			if fault != nil {
				yield(Entry{}, v.fault(r, at, to, fault))
				return
			}
			if err := v.follow(e); err != nil {
				yield(Entry{}, v.bad(e, err))
				return
			}
			if v.hold(e) {
				continue
			}
			if !v.release(yield) || !yield(e, nil) {
				return
			}
		}
	}
}

// bad is an error about an entry whose line is intact.
func (v *verifier) bad(e Entry, err error) error {
	var earlier *earlierError
	if errors.As(err, &earlier) {
		e = earlier.at
	}
	return &IntegrityError{File: v.path, Line: int(e.Seq) + 1, Seq: e.Seq, Offset: e.Offset, Reason: err.Error()} //nolint:gosec // a line number
}

// fault is the error about a line at offset at that is not intact.
func (v *verifier) fault(r io.ReaderAt, at, to int64, cause error) error {
	if err := v.verifySeals(); err != nil {
		return err
	}
	bad := &IntegrityError{File: v.path, Line: int(v.seq) + 1, Seq: v.seq, Offset: at, Reason: cause.Error()} //nolint:gosec // a line number
	why, torn, err := v.classify(r, at, to)
	switch {
	case err != nil:
		return fmt.Errorf("reading %s: %w", v.path, err)
	case why != "":
		bad.Reason, bad.Torn = why, torn
	}
	if !bad.Torn {
		return bad
	}
	// What is held was written with it.
	if len(v.held) > 0 {
		first := v.held[0]
		bad.Line, bad.Seq, bad.Offset = int(first.Seq)+1, first.Seq, first.Offset //nolint:gosec // a line number
	}
	if bad.Seq < v.known {
		bad.Torn = false
		bad.Reason = v.opts.lost(bad.Seq, bad.Reason)
	}
	return bad
}

// end checks what the end of the file tells.
func (v *verifier) end() error {
	if err := v.verifySeals(); err != nil {
		return err
	}
	if len(v.held) > 0 {
		first := v.held[0]
		bad := &IntegrityError{
			File: v.path, Line: int(first.Seq) + 1, Seq: first.Seq, Offset: first.Offset, //nolint:gosec // a line number
			Reason: first.Kind + ": " + errUnsealed.Error(), Torn: first.Seq >= v.known,
		}
		if !bad.Torn {
			bad.Reason = v.opts.lost(first.Seq, bad.Reason)
		}
		return bad
	}
	if v.seq < v.known {
		return &IntegrityError{
			File: v.path, Line: int(v.seq) + 1, Seq: v.seq, //nolint:gosec // a line number
			Reason: v.opts.lost(v.seq, fmt.Sprintf("the file ends after %d entries", v.seq)),
		}
	}
	return nil
}

func (v *verifier) verifySeals() error {
	if v.seals == nil {
		return nil
	}
	if err := v.seals.verify(); err != nil {
		return v.bad(Entry{}, err)
	}
	return nil
}

// lost says that the entry seq is not what an anchor knows was there.
func (o *Options) lost(seq uint64, why string) string {
	for _, a := range o.Anchors {
		if a.Size > seq {
			return fmt.Sprintf("%s, and %s knows %d: it was cut, or rolled back", why, a.Source, a.Size)
		}
	}
	return why
}

// follow takes an intact entry into seals, tree and anchors.
func (v *verifier) follow(e Entry) error {
	if v.seals == nil {
		return nil
	}
	commits := v.opts.sealed(e)
	if len(v.held) > 0 && !commits && e.Kind != KindSeal {
		return &earlierError{v.held[0], fmt.Errorf("%s counts only with a seal behind it, and there is %s", v.held[0].Kind, e.Kind)}
	}
	if v.bytes+len(e.Line) >= v.max && len(v.held) > 0 {
		return &earlierError{v.held[0], errTooLong}
	}
	switch {
	case e.Kind == KindSeal:
		if err := v.seals.commit(v.held, e, &v.tree); err != nil {
			return err
		}
	case v.seals.keys != nil && !commits:
		if err := v.seals.keys.Saw(e); err != nil {
			return err
		}
	}
	if !v.treed {
		return nil
	}
	if commits && len(v.held) == 0 {
		v.before = v.tree
	}
	v.tree.Add(e.Hash)
	for _, a := range v.opts.Anchors {
		if a.Size == v.tree.Size() && a.Root != v.tree.Root() {
			return fmt.Errorf("the %d entries up to here have the root %v, and %s knows %v: they were written anew", a.Size, v.tree.Root(), a.Source, a.Root)
		}
	}
	return nil
}

// hold keeps an entry back that counts only with its seal.
func (v *verifier) hold(e Entry) bool {
	if v.seals == nil || !v.opts.sealed(e) {
		return false
	}
	v.bytes += len(e.Line) + 1
	e.Line = bytes.Clone(e.Line)
	v.held = append(v.held, e)
	return true
}

// release gives what is held.
func (v *verifier) release(yield func(Entry, error) bool) bool {
	held := v.held
	v.held, v.bytes = v.held[:0], 0
	for _, e := range held {
		if !yield(e, nil) {
			return false
		}
	}
	return true
}

// check verifies that an intact entry is the next one.
func (v *verifier) check(e Entry) error {
	switch {
	case e.Seq != v.seq:
		return fmt.Errorf("seq is %d, want %d: a line was removed, repeated or moved", e.Seq, v.seq)
	case e.Prev != v.prev:
		return errPrev
	case v.session != "" && e.Session != v.session:
		return fmt.Errorf("session is %s, want %s", e.Session, v.session)
	}
	v.session = e.Session
	v.seq++
	v.prev = e.Hash
	return nil
}

var (
	errHash    = errors.New("hash does not match: the line was changed after it was written")
	errPrev    = errors.New("prev is not the hash of the line before: a line was exchanged, or all before it rewritten")
	errTooLong = errors.New("the line is longer than an entry may be")
	errNoEnd   = errors.New("the last line has no end: a write was cut short")
)

// intact checks a line by itself: its form, and that its hash is right. The byte
// before the line is overwritten for a moment.
func intact(line padded, names *interned) (Entry, error) {
	e, _, err := parseLine(line.bytes(), names)
	if err != nil {
		return Entry{}, err
	}
	if line.leafHash() != e.Hash {
		return Entry{}, errHash
	}
	return e, nil
}

// padded is a line with one byte before it, so that its leaf hash is computed
// where it lies.
type padded []byte

func (p padded) bytes() []byte { return p[1:len(p):len(p)] }

// leafHash is RFC 6962's MTH({d}) = SHA-256(0x00 || d), d being the line before
// its member hash.
func (p padded) leafHash() Hash {
	before := p[0]
	p[0] = 0
	h := sha256.Sum256(p[:len(p)-hashSize])
	p[0] = before
	return h
}

// lines cuts a part of a file into lines, with memory for the longest.
type lines struct {
	r     io.Reader
	buf   []byte // buf[0] pads the first line
	start int    // of the next line in buf
	seen  int    // no newline before it
	end   int
	at    int64 // offset in the file of buf[start]
	max   int
	eof   bool
	keep  bool // every line stands until again is called
}

const readSize = 128 << 10

func newLines(r io.ReaderAt, from, to int64, limit int) lines {
	return lines{
		r: io.NewSectionReader(r, from, to-from), at: from, max: limit,
		buf: make([]byte, 1+min(readSize, to-from)), start: 1, seen: 1, end: 1,
	}
}

// again makes l one that keeps its lines, of another part of a file, with memory
// for so many bytes unless a line is longer.
func (l *lines) again(r io.ReaderAt, from, to int64, limit, size int) {
	buf := l.buf
	if cap(buf) < 1+size || cap(buf) > 4*(1+size) { // the latter after a long line
		buf = make([]byte, 1+size)
	}
	*l = lines{
		r: io.NewSectionReader(r, from, to-from), at: from, max: limit,
		buf: buf[:1+size], start: 1, seen: 1, end: 1, keep: true,
	}
}

// next returns the next line without its newline, and its offset. At the end
// err is io.EOF, or errNoEnd if a line was begun; errTooLong is given after
// max bytes without a newline. What it returns stands until the next call.
func (l *lines) next() (line padded, at int64, err error) {
	for {
		if i := bytes.IndexByte(l.buf[l.seen:l.end], '\n'); i >= 0 {
			line = padded(l.buf[l.start-1 : l.seen+i])
			at = l.at
			l.at += int64(len(line)) // the padding makes up for the newline
			l.start = l.seen + i + 1
			l.seen = l.start
			if len(line) > l.max {
				return nil, at, errTooLong
			}
			return line, at, nil
		}
		l.seen = l.end
		switch {
		case l.end-l.start >= l.max:
			return nil, l.at, errTooLong
		case l.eof && l.start == l.end:
			return nil, l.at, io.EOF
		case l.eof:
			return padded(l.buf[l.start-1 : l.end]), l.at, errNoEnd
		}
		if err := l.fill(); err != nil {
			return nil, l.at, err
		}
	}
}

// fill reads more, after making room for it.
func (l *lines) fill() error {
	switch {
	case l.end < len(l.buf):
	case l.start > 1 && !l.keep:
		copy(l.buf[1:], l.buf[l.start:l.end])
		l.end -= l.start - 1
		l.seen -= l.start - 1
		l.start = 1
	default:
		l.buf = append(l.buf, make([]byte, min(len(l.buf), l.max))...)
	}
	n, err := l.r.Read(l.buf[l.end:])
	l.end += n
	if err == io.EOF {
		l.eof = true
		err = nil
	}
	return err
}

// tornName is the path of the k-th file, from 1, that holds debris found at
// offset.
func tornName(path string, offset int64, k int) string {
	if k == 1 {
		return fmt.Sprintf("%s.torn-%d", path, offset)
	}
	return fmt.Sprintf("%s.torn-%d-%d", path, offset, k)
}
