// Package ledger keeps a record that shows whether it was changed: a file of
// JSON lines, each holding the hash of the one before, all of them the leaves
// of a Merkle tree, and a folder of blobs that lines name by digest. README.md
// beside this file is the format.
//
// A ledger knows nothing of guests, turns or sessions beyond the number and the
// name that each line carries, and does not know what its entries mean. What it
// cannot see by itself is a file that was cut at the end of a line or written
// anew as a whole: only a head kept elsewhere shows that.
package ledger

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"
)

var (
	// ErrLocked means that another [Log], of this process or another, has the
	// ledger open.
	ErrLocked = errors.New("the ledger is in use by another process")
	// ErrPoisoned means that a write or sync failed: what is on disk is not
	// known, so nothing more is written. Only opening the ledger again helps.
	ErrPoisoned = errors.New("the ledger takes no more entries after a failed write")
	// ErrTooLarge means that an entry is longer than Options.MaxEntry. Nothing
	// was written, and the log goes on.
	ErrTooLarge = errors.New("the entry is too large")
	// ErrClosed means that the log was closed.
	ErrClosed = errors.New("the ledger is closed")
)

// DefaultMaxEntry is the limit of a line where Options do not say.
const DefaultMaxEntry = 1 << 20

// Options say how a ledger is written and read. The zero value is valid for all
// but [Create] and the opening of an empty file, which need Session.
type Options struct {
	// Session is the sid of every entry: 1 to 128 letters, digits, '-', '_' and
	// '.'. If it is "", that of the first entry counts.
	Session string
	// Now is the writer's clock; nil is [time.Now].
	Now func() time.Time
	// MaxEntry bounds a line, newline included, in bytes; 0 is DefaultMaxEntry.
	MaxEntry int
	// Durable marks the entries that are on disk before Append returns, with all
	// before them; seals always are. Damage in front of one that another follows
	// cannot come from a crash. It must depend on Kind and Turn alone. Nil marks
	// none when writing, and all when judging damage.
	Durable func(Entry) bool
	// Sealed marks the entries that count only with the seal that [Log.Commit]
	// writes behind them. It must depend on Kind and Turn alone. Nil marks none.
	Sealed func(Entry) bool
	// Key signs the seals that are written, as those of the ledger called Origin.
	Key    *Key
	Origin string
	// Keys, if set, makes readers check each seal. One Keys is for one reading.
	Keys Keys
	// Anchors are heads that the ledger must contain.
	Anchors []Anchor
	// Observe, if set, sees every entry in order: the ones Open and Verify
	// read, and each one appended, before Append returns. It runs under the
	// log's lock and must not call the log.
	Observe func(Entry)
	// SyncLater makes [Create] sync nothing. Its caller syncs the log, by
	// [Log.Sync] or [Log.Close], even if nothing was appended, and then the
	// folder, which may hold more that is new.
	SyncLater bool

	faults disk // of tests
}

func (o *Options) sealed(e Entry) bool {
	return e.Kind != KindSeal && o.Sealed != nil && o.Sealed(e)
}

// durable reports whether the writer waited until e was on disk, for who judges
// damage.
func (o *Options) durable(e Entry) bool {
	return e.Kind == KindSeal || o.Durable == nil || o.Durable(e)
}

func (o *Options) disk() disk {
	if o.faults != nil {
		return o.faults
	}
	return osDisk{}
}

func (o *Options) maxEntry() int {
	if o.MaxEntry == 0 {
		return DefaultMaxEntry
	}
	return o.MaxEntry
}

// Head is the state of a ledger: what a checkpoint signs is one, without Hash.
type Head struct {
	Size uint64 // entries
	Hash Hash   // of the last entry; zero if there is none
	Root Hash   // RFC 6962 Merkle root over the hashes of all entries
}

// Log is a ledger open for appending. It holds the file's lock until Close, but
// between [Log.Pause] and [Log.Resume], and is safe for concurrent use.
type Log struct {
	path      string
	opts      Options
	disk      disk
	recovered []Recovery

	mu      sync.Mutex
	f       file
	members Members // buf is the line being made, after one 0x00
	redact  func(string) string
	size    int64 // of the file
	tree    Tree
	seals   seals
	last    Entry
	opened  time.Time
	dirty   bool  // written, or made, and not synced
	owed    bool  // a seal is, or may be, among it: it is synced before more is written
	paused  bool  // without the lock
	failed  error // the first failed write or sync
	closed  bool
}

// Create makes a new, empty ledger that only its owner can read, and makes its
// name durable, unless Options.SyncLater is set. It is an [io/fs.ErrExist] error if there is a file of that
// name, and [errors.ErrUnsupported] where files cannot be locked.
func Create(path string, o Options) (*Log, error) {
	if !fits(o.Session, maxSession, isSessionByte) {
		return nil, fmt.Errorf("creating %s: session %.80q is not a name of 1 to %d letters, digits, '-', '_' and '.'", path, o.Session, maxSession)
	}
	l := newLog(path, o)
	f, err := l.disk.openFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l.f = f
	err = lock(f)
	if l.dirty = o.SyncLater; !l.dirty {
		if err == nil {
			err = f.Sync()
		}
		if err == nil {
			err = l.disk.syncFolder(filepath.Dir(path))
		}
	}
	if err != nil {
		release(f)
		return nil, errors.Join(fmt.Errorf("creating %s: %w", path, err), l.disk.remove(path))
	}
	return l, nil
}

// Open locks the ledger at path, verifies all of it, sets debris of a crash
// aside (see [Log.Recovered]), and makes ready to append. Errors: [ErrLocked],
// an [*IntegrityError], or one of the file system; after each of them the
// ledger is as it was.
func Open(path string, o Options) (*Log, error) {
	if o.Session != "" && !fits(o.Session, maxSession, isSessionByte) {
		return nil, fmt.Errorf("opening %s: session %.80q is not a name of 1 to %d letters, digits, '-', '_' and '.'", path, o.Session, maxSession)
	}
	l := newLog(path, o)
	f, err := l.disk.openFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	l.f = f
	err = lock(f)
	if err == nil {
		err = l.load()
	}
	if err != nil {
		release(f)
		return nil, err
	}
	return l, nil
}

func newLog(path string, o Options) *Log {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Log{path: path, opts: o, disk: o.disk(), opened: o.Now(), members: Members{buf: make([]byte, 1, 1024)}}
}

// load verifies the file and sets its state.
func (l *Log) load() error {
	info, err := l.f.Stat()
	if err != nil {
		return err
	}
	v := newVerifier(l.path, &l.opts)
	v.treed = true
	size := info.Size()
	l.size = size
	for e, err := range v.entries(l.f, 0, size) {
		var bad *IntegrityError
		if errors.As(err, &bad) && bad.Torn {
			l.size = bad.Offset
			break
		}
		if err != nil {
			return err
		}
		l.add(e)
	}
	l.tree, l.seals = *v.given(), *v.seals
	if v.session == "" {
		return fmt.Errorf("opening %s: it is empty, and no session was named", l.path)
	}
	l.opts.Session = v.session
	return l.recover(size)
}

// add takes over a verified or written entry.
func (l *Log) add(e Entry) {
	if l.opts.Observe != nil {
		l.opts.Observe(e)
	}
	e.Line = nil
	l.last = e
}

// Append writes one entry with a single write and returns it, without Line. If
// Options.Durable marks it, it is synced before Append returns, and all before
// it. An entry that cannot be encoded, is too large ([ErrTooLarge]) or is to be
// committed leaves the log as it was; a failed write or sync makes this and every
// later call return [ErrPoisoned], whatever reached the disk. With a pointer to a
// body that is used again nothing is allocated.
func (l *Log) Append(turn int, b Body) (Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return Entry{}, err
	}
	e, err := l.encode(turn, b, place{l.tree.Size(), l.last.Hash, l.size})
	if err == nil && (e.Kind == KindSeal || l.opts.sealed(e)) {
		err = errors.New("it counts only with a seal: it is to be committed")
	}
	if err != nil {
		return Entry{}, fmt.Errorf("%s: entry %s: %w", l.path, b.Kind(), err)
	}
	if err := l.write(l.members.buf[1:]); err != nil {
		return Entry{}, err
	}
	if l.opts.Durable != nil && l.opts.Durable(e) {
		if err := l.sync(); err != nil {
			return Entry{}, err
		}
	}
	l.tree.Add(e.Hash)
	l.add(e)
	return l.last, nil
}

func (l *Log) write(lines []byte) error {
	if l.owed {
		if err := l.sync(); err != nil {
			return err
		}
	}
	l.dirty = true
	n, err := l.f.Write(lines)
	if err == nil && n != len(lines) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return l.poison(err)
	}
	l.size += int64(n)
	return nil
}

// place is where an entry comes to stand.
type place struct {
	seq    uint64
	prev   Hash
	offset int64
}

// encode makes the line of the next entry in l.members.buf.
func (l *Log) encode(turn int, b Body, at place) (Entry, error) {
	now := l.opts.Now()
	e := Entry{
		Seq:     at.seq,
		Time:    now.Round(0).UTC(),
		MonoNS:  min(max(int64(now.Sub(l.opened)), 0), maxInt),
		Kind:    b.Kind(),
		Session: l.opts.Session,
		Turn:    turn,
		Prev:    at.prev,
		Offset:  at.offset,
	}
	switch year := e.Time.Year(); {
	case turn < 0 || turn > maxTurn:
		return Entry{}, fmt.Errorf("turn is %d, want 0 to %d", turn, maxTurn)
	case !fits(e.Kind, maxKind, isKindByte):
		return Entry{}, fmt.Errorf("kind %.80q is not a name of lower-case letters, '.' and '_'", e.Kind)
	case year < 0 || year > 9999:
		return Entry{}, fmt.Errorf("the clock says year %d", year)
	}
	m := &l.members
	*m = Members{buf: e.appendHead(m.buf[:1]), comma: true, redact: l.redact}
	b.AppendMembers(m)
	if m.err != nil {
		return Entry{}, m.err
	}
	m.buf = append(e.appendTail(m.buf), '\n')
	if size := len(m.buf) - 1; size > l.opts.maxEntry() {
		m.buf = make([]byte, 1, 1024)
		return Entry{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, l.opts.maxEntry())
	}
	e.Line = m.buf[1 : len(m.buf)-1]
	return e, nil
}

// Sync returns when everything appended is on disk. It does nothing if nothing
// was appended, or made with Options.SyncLater, since the last. A failure poisons the log.
func (l *Log) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	return l.sync()
}

func (l *Log) sync() error {
	if !l.dirty {
		return nil
	}
	if err := l.f.Sync(); err != nil {
		return l.poison(err)
	}
	l.dirty, l.owed = false, false
	return nil
}

// poison keeps the first failure. A sync that failed is never tried again: the
// system may have dropped the pages and would answer that all is well.
func (l *Log) poison(cause error) error {
	l.failed = fmt.Errorf("%s: %w: %w", l.path, ErrPoisoned, cause)
	return l.failed
}

func (l *Log) usable() error {
	if l.closed {
		return fmt.Errorf("%s: %w", l.path, ErrClosed)
	}
	return l.failed
}

// Head returns the state after the last entry appended.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Head{Size: l.tree.Size(), Hash: l.last.Hash, Root: l.tree.Root()}
}

// Since reads the entries from first to the last one appended back from the
// file, verified as [Read] does. First must come from this log; its Line is not
// needed.
func (l *Log) Since(first Entry) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		l.mu.Lock()
		err, size, f := l.usable(), l.size, l.f
		l.mu.Unlock()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		v := newVerifier(l.path, &l.opts)
		v.seq, v.prev, v.seals = first.Seq, first.Prev, nil
		for e, err := range v.entries(f, first.Offset, size) {
			if !yield(e, err) {
				return
			}
		}
	}
}

// Close syncs what is not, unless the log is poisoned, closes the file and
// drops its lock. Further calls do nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var err error
	if l.failed == nil {
		err = l.sync()
	}
	if closed := release(l.f); err == nil {
		err = closed
	}
	return err
}
