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
	// Durable marks the entries that are on disk before Append returns, and all
	// before them likewise. Damage in front of one cannot come from a crash. It
	// must depend on Kind and Turn alone. Nil marks none when writing, and all
	// when judging damage.
	Durable func(Entry) bool
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

// Head is the state of a ledger.
type Head struct {
	Size uint64 // entries
	Hash Hash   // of the last entry; zero if there is none
	Root Hash   // RFC 6962 Merkle root over the hashes of all entries
}

// Log is a ledger open for appending. It holds the file's lock until Close, and
// is safe for concurrent use.
type Log struct {
	path      string
	opts      Options
	disk      disk
	recovered []Recovery

	mu      sync.Mutex
	f       file
	members Members // buf is the line being made, after one 0x00
	size    int64   // of the file
	tree    Tree
	last    Entry
	opened  time.Time
	dirty   bool  // written, or made, and not synced
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
	if v.session == "" {
		return fmt.Errorf("opening %s: it is empty, and no session was named", l.path)
	}
	l.opts.Session = v.session
	return l.recover(size)
}

// add takes over a verified or written entry.
func (l *Log) add(e Entry) {
	l.tree.Add(e.Hash)
	if l.opts.Observe != nil {
		l.opts.Observe(e)
	}
	e.Line = nil
	l.last = e
}

// Append writes one entry with a single write and returns it, without Line. If
// Options.Durable marks it, everything written is synced before it is written
// and again before Append returns. An entry that cannot be encoded or is too
// large ([ErrTooLarge]) leaves the log as it was; a failed write or sync makes
// this and every later call return [ErrPoisoned], whatever reached the disk.
// With a pointer to a body that is used again nothing is allocated.
func (l *Log) Append(turn int, b Body) (Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return Entry{}, err
	}
	e, err := l.encode(turn, b)
	if err != nil {
		return Entry{}, fmt.Errorf("%s: entry %s: %w", l.path, b.Kind(), err)
	}
	durable := l.opts.Durable != nil && l.opts.Durable(e)
	if durable && l.size > 0 { // in an empty ledger nothing has to be there before it
		if err := l.sync(); err != nil {
			return Entry{}, err
		}
	}
	line := l.members.buf[1:]
	l.dirty = true
	n, err := l.f.Write(line)
	if err == nil && n != len(line) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return Entry{}, l.poison(err)
	}
	l.size += int64(n)
	if durable {
		if err := l.sync(); err != nil {
			return Entry{}, err
		}
	}
	l.add(e)
	return l.last, nil
}

// encode makes the line of the next entry in l.members.buf.
func (l *Log) encode(turn int, b Body) (Entry, error) {
	now := l.opts.Now()
	e := Entry{
		Seq:     l.tree.Size(),
		Time:    now.Round(0).UTC(),
		MonoNS:  min(max(int64(now.Sub(l.opened)), 0), maxInt),
		Kind:    b.Kind(),
		Session: l.opts.Session,
		Turn:    turn,
		Prev:    l.last.Hash,
		Offset:  l.size,
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
	*m = Members{buf: e.appendHead(m.buf[:1]), comma: true}
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
	l.dirty = false
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
		v.seq, v.prev = first.Seq, first.Prev
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
