// Package register keeps the heads of the sessions of one plane in a ledger of its
// own, so that a session which was rolled back, rewritten or deleted is noticed,
// and of two who go on with one session, or with copies of it, one only can.
//
// It does not read sessions and does not know what a head stands for: that the
// file of a session agrees with what is registered is for its caller, and so is
// a session that is on the disk and unknown here.
//
// # Files
//
//	planes/PLANE/ledger/sessions.jsonl          what is written now
//	planes/PLANE/ledger/sessions-000001.jsonl   what was before, oldest first
//
// A segment that has passed 1 MiB ends with a final seal and gets its number; the
// next one names it with size and root. Each has an origin of its own, as two
// logs have. The folder's lock, flock(2), is held while the register is looked
// at or written, and not in between.
//
// # Durability
//
// What several goroutines record at a time is one write with one seal and one
// sync. Nothing is written before all in front of it is on disk; so a head that
// was recorded is on disk before the next of its session is written.
package register

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Options say with what a register is written and read.
type Options struct {
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
	// Random is where the origins of segments come from; nil is [rand.Reader].
	Random io.Reader
	// Key is the host's key, asked for before the first write and not before.
	Key func() (*ledger.Key, error)
	// Hosts are the keys whose seals count: the host's own, if it has one yet, and
	// those that it trusts.
	Hosts func() ([]ledger.Verifier, error)
	// Step, if set, is called with the name of each step of an update before it.
	// It is there for tests, which end the process in it or hold it up.
	Step func(step string)
}

// A Head is where a session stands: size and root of exec.jsonl's checkpoint.
type Head struct {
	Size uint64
	Root ledger.Hash
}

// String is the head for people.
func (h Head) String() string { return fmt.Sprintf("%d entries with the root %v", h.Size, h.Root) }

func (h *Head) describe() string {
	if h == nil {
		return "no such session"
	}
	return h.String()
}

// State is what the register knows of a session.
type State struct {
	Head
	Closed   bool // the last entry is a session.close
	Pruned   bool // the last entry is a session.prune: Head is that of what was removed
	Repaired bool // there was a session.repair
}

// A Change is one entry. Kind is one of session.open, session.head, session.close,
// session.prune and session.repair. Was is the head that the caller found or
// recorded before, nil if the session is unknown or was pruned; Is the one from
// now on, Was itself for a session that is pruned.
type Change struct {
	Kind    string
	Session string
	Was     *Head
	Is      Head
}

// durable reports whether Record waits until the change is on disk.
func (c Change) durable() bool { return c.Kind != record.KindSessionHead }

// A ConflictError says that the register knows another head than the one that the
// caller goes on from: somebody else went on with the session, or it was rolled
// back. Nothing was written.
type ConflictError struct {
	Session    string
	Was        *Head // as the caller has it
	Registered *Head // nil: unknown, or pruned
}

// Error is one line for people.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("session %s: the register knows %s, and it was to go on from %s", e.Session, e.Registered.describe(), e.Was.describe())
}

// A Register is the register of a plane. It is safe for concurrent use, and
// beside others of the same plane, in this process or another.
type Register struct {
	dir  *beneath.Dir // the root
	root string       // its absolute path
	opts Options
	place
	limit       int64         // segmentLimit, or less in tests
	gatherLimit time.Duration // patience, or more in tests

	mu       sync.Mutex
	queue    []*request
	working  bool
	idle     chan struct{}       // closed when the worker ends
	release  context.CancelFunc  // lets the worker stop waiting for the lock
	unsynced map[string]struct{} // sessions of the batch that is not on disk yet
	synced   chan struct{}       // closed when it is, or cannot be
	expected int                 // heads that are about to be recorded
	failed   error               // nothing works after it
	closed   bool

	news chan struct{} // that another came, or does not
	took time.Duration // the last sync; the worker's alone
	disk current       // the worker's alone, and of Close when there is no worker
}

// New makes a register of a plane in the root that dir is, whose absolute path is
// rootPath. Nothing is read or created yet.
func New(dir *beneath.Dir, rootPath, plane string, o Options) *Register {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Step == nil {
		o.Step = func(string) {}
	}
	r := &Register{dir: dir, root: rootPath, opts: o, place: placeOf(plane), limit: segmentLimit, gatherLimit: patience, news: make(chan struct{}, 1)}
	r.disk.register = r
	return r
}

// place is where a register lies.
type place struct {
	plane  string
	folder string // in the root
}

func placeOf(plane string) place { return place{plane, "planes/" + plane + "/ledger"} }

func (p place) in(file string) string { return p.folder + "/" + file }

// path is the absolute path of a file, for package ledger and for errors.
func (r *Register) path(file string) string {
	return filepath.Join(r.root, filepath.FromSlash(r.in(file)))
}

// Record writes a change if Change.Was is the head that the register has. A
// session.head may not be on disk when Record returns (see [Register.Wait]); it is
// before the next one of the session is written. Others are on disk.
//
// Errors: a *[ConflictError]; one of ctx, if it is done before the write has begun;
// a *[ledger.IntegrityError], if the register is not what was written, then and
// from then on; a *[record.UnknownHostError], if another host sealed it;
// [ledger.ErrPoisoned], if a write or sync failed, then and from then on;
// [ledger.ErrClosed]. After any of them but ErrPoisoned nothing was written.
func (r *Register) Record(ctx context.Context, c Change) error {
	if err := c.check(); err != nil {
		return err
	}
	return r.submit(ctx, &request{session: c.Session, change: &c, done: make(chan struct{})})
}

// Find returns what the register knows of a session, and false if it is unknown or
// pruned. Nothing is created. Errors are those of [Register.Record].
func (r *Register) Find(ctx context.Context, session string) (State, bool, error) {
	q := &request{session: session, done: make(chan struct{})}
	err := r.submit(ctx, q)
	return q.state, q.found && !q.state.Pruned, err
}

// Wait returns when all that this Register recorded of a session is on disk. The
// error is [ledger.ErrPoisoned] if it may never be, or ctx's.
func (r *Register) Wait(ctx context.Context, session string) error {
	r.mu.Lock()
	_, pending := r.unsynced[session]
	synced := r.synced
	r.mu.Unlock()
	return r.await(ctx, pending, synced)
}

// Sync returns when all that was recorded before is on disk. Errors are those of
// [Register.Wait].
func (r *Register) Sync(ctx context.Context) error {
	r.mu.Lock()
	pending, synced := len(r.unsynced) > 0, r.synced
	r.mu.Unlock()
	return r.await(ctx, pending, synced)
}

func (r *Register) await(ctx context.Context, pending bool, synced chan struct{}) error {
	if !pending {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-synced:
		return r.failure()
	}
}

// Close waits for what is being recorded, until it is on disk, and closes the
// files. A second call does nothing. The error is that of a write or sync that
// failed, now or before.
func (r *Register) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	working, idle := r.working, r.idle
	r.mu.Unlock()
	if working {
		<-idle
	}
	err := r.disk.close()
	if failed := r.failure(); failed != nil {
		return failed
	}
	return err
}

// request is a change or, without one, the wish to know a session's state.
type request struct {
	session string
	change  *Change
	done    chan struct{} // closed when what follows is set
	err     error
	state   State
	found   bool
}

func (q *request) end(err error) {
	q.err = err
	close(q.done)
}

// submit hands a request to the worker and waits for its end.
func (r *Register) submit(ctx context.Context, q *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.enqueue(q); err != nil {
		return err
	}
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
	}
	r.mu.Lock()
	if i := slices.Index(r.queue, q); i >= 0 {
		r.queue = slices.Delete(r.queue, i, i+1)
		if len(r.queue) == 0 {
			r.release()
		}
		r.mu.Unlock()
		return ctx.Err()
	}
	r.mu.Unlock()
	<-q.done
	return q.err
}

func (r *Register) enqueue(q *request) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return fmt.Errorf("%s: %w", r.path(record.RegisterFile), ledger.ErrClosed)
	case r.failed != nil:
		return r.failed
	}
	r.queue = append(r.queue, q)
	r.tell()
	if !r.working {
		r.working, r.idle, r.release = true, make(chan struct{}), func() {}
		go r.work()
	}
	return nil
}
