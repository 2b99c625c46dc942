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
	// a reader beside a live writer may meet it too.
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
}

// Read gives the entries of the ledger at path in order, each verified: form,
// hash, seq, prev, one session. It stops at the first error, which it gives
// last: an [*IntegrityError], or one of the file system.
//
// Read needs no lock, sees the file as long as it was at the start, and uses
// memory for one line only. The own members of an entry are not parsed;
// [Entry.Decode] does that.
func Read(path string) iter.Seq2[Entry, error] { return Scan(path, Options{}) }

// Scan is [Read] under the Session, MaxEntry and Durable of o.
func Scan(path string, o Options) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		f, err := o.disk().openFile(path, os.O_RDONLY, 0)
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
		v := newVerifier(path, &o)
		for e, err := range v.entries(f, 0, info.Size()) {
			if !yield(e, err) {
				return
			}
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
		tree   Tree
		last   time.Time
	)
	err := func() error {
		for e, err := range Scan(path, o) {
			if err != nil {
				return err
			}
			if e.Seq > 0 && e.Time.Before(last) {
				report.ClockSteps++
			}
			last = e.Time
			tree.Add(e.Hash)
			report.Session, report.Head.Hash = e.Session, e.Hash
			if o.Observe != nil {
				o.Observe(e)
			}
		}
		return nil
	}()
	report.Entries, report.Head.Size, report.Head.Root = tree.Size(), tree.Size(), tree.Root()
	var bad *IntegrityError
	if errors.As(err, &bad) && bad.Torn {
		report.Torn, err = bad, nil
	}
	return report, err
}

// verifier checks lines one after another.
type verifier struct {
	path    string
	session string // "" until the first entry says it
	max     int    // longest line with its newline
	durable func(Entry) bool
	seq     uint64 // that the next line must have
	prev    Hash
	names   interned
}

func newVerifier(path string, o *Options) *verifier {
	return &verifier{path: path, session: o.Session, max: o.maxEntry(), durable: o.Durable, names: interned{}}
}

// entries gives the entries between two offsets of r; the verifier must know
// what comes before the first.
func (v *verifier) entries(r io.ReaderAt, from, to int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		lines := newLines(r, from, to, v.max)
		for {
			line, at, err := lines.next()
			if err == io.EOF {
				return
			}
			if err != nil && !errors.Is(err, errNoEnd) && !errors.Is(err, errTooLong) {
				yield(Entry{}, fmt.Errorf("reading %s: %w", v.path, err))
				return
			}
			var e Entry
			if err == nil {
				e, err = v.check(line, at)
			}
			if err != nil {
				bad := &IntegrityError{File: v.path, Line: int(v.seq) + 1, Seq: v.seq, Offset: at, Reason: err.Error()}
				if why, torn, failed := v.classify(r, at, to); failed != nil {
					yield(Entry{}, fmt.Errorf("reading %s: %w", v.path, failed))
					return
				} else if why != "" {
					bad.Reason, bad.Torn = why, torn
				}
				yield(Entry{}, bad)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// check verifies line, which lies at offset at and has a byte before it that
// may be overwritten for a moment.
func (v *verifier) check(line padded, at int64) (Entry, error) {
	e, err := v.intact(line)
	if err != nil {
		return Entry{}, err
	}
	switch {
	case e.Seq != v.seq:
		return Entry{}, fmt.Errorf("seq is %d, want %d: a line was removed, repeated or moved", e.Seq, v.seq)
	case e.Prev != v.prev:
		return Entry{}, errPrev
	case v.session != "" && e.Session != v.session:
		return Entry{}, fmt.Errorf("session is %s, want %s", e.Session, v.session)
	}
	v.session = e.Session
	v.seq++
	v.prev = e.Hash
	e.Offset = at
	return e, nil
}

var (
	errHash    = errors.New("hash does not match: the line was changed after it was written")
	errPrev    = errors.New("prev is not the hash of the line before: a line was exchanged, or all before it rewritten")
	errTooLong = errors.New("the line is longer than an entry may be")
	errNoEnd   = errors.New("the last line has no end: a write was cut short")
)

// intact checks a line by itself: its form, and that its hash is right.
func (v *verifier) intact(line padded) (Entry, error) {
	e, _, err := parseLine(line.bytes(), &v.names)
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
}

const readSize = 128 << 10

func newLines(r io.ReaderAt, from, to int64, limit int) *lines {
	return &lines{
		r: io.NewSectionReader(r, from, to-from), at: from, max: limit,
		buf: make([]byte, 1+min(readSize, to-from)), start: 1, seen: 1, end: 1,
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
	if l.end == len(l.buf) {
		if l.start > 1 {
			copy(l.buf[1:], l.buf[l.start:l.end])
		} else {
			l.buf = append(l.buf, make([]byte, min(len(l.buf), l.max))...)
		}
		l.end -= l.start - 1
		l.seen -= l.start - 1
		l.start = 1
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
