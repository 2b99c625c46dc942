package register

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/ledger"
)

// maxBatch bounds what is written at once: far less than a line may be long.
const maxBatch = 256

// work does what is queued until nothing is.
func (r *Register) work() {
	for {
		r.mu.Lock()
		if len(r.queue) == 0 {
			r.working = false
			close(r.idle)
			r.mu.Unlock()
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		r.release = cancel
		r.mu.Unlock()
		r.gather()
		r.round(ctx)
		cancel()
	}
}

// round is one update: it answers one batch of the queue, and all of it if it
// fails before.
func (r *Register) round(ctx context.Context) {
	if err := r.failure(); err != nil {
		r.fail(err)
		return
	}
	r.opts.Step("lock")
	lock, err := r.lock(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.fail(err)
		}
		return
	}
	if err := r.disk.enter(lock != nil); err != nil {
		r.fail(errors.Join(err, r.leave(lock)))
		return
	}
	taken := r.take()
	batch, err := r.write(taken)
	if left := r.leave(lock); left != nil {
		err = errors.Join(err, r.broken(left))
	}
	for _, q := range taken {
		if !slices.Contains(batch, q) {
			q.end(q.err)
		}
	}
	if len(batch) == 0 {
		return
	}
	if err != nil {
		r.settled(err)
		for _, q := range batch {
			q.end(err)
		}
		return
	}
	for _, q := range batch {
		if !q.change.durable() {
			q.end(nil)
		}
	}
	r.opts.Step("sync")
	began := r.opts.Now()
	if err = r.disk.log.Sync(); err != nil {
		err = r.broken(err)
	}
	r.took = r.opts.Now().Sub(began)
	r.settled(err)
	for _, q := range batch {
		if q.change.durable() {
			q.end(err)
		}
	}
}

// settled tells who waits for the batch that was written what became of it.
func (r *Register) settled(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || r.failed == nil {
		r.unsynced = nil
	}
	close(r.synced)
}

func (r *Register) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// lock waits for the lock of the folder, which is made if something is to be
// written. It is nil if there is no folder and need not be.
func (r *Register) lock(ctx context.Context) (*os.File, error) {
	f, err := r.dir.OpenFile(r.folder, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		if !r.writes() {
			return nil, nil
		}
		if err := durable.MakeAll(r.dir, r.folder, 0o700); err != nil {
			return nil, err
		}
		f, err = r.dir.OpenFile(r.folder, os.O_RDONLY, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := beneath.Lock(ctx, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// writes reports whether a change is queued.
func (r *Register) writes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.queue {
		if q.change != nil {
			return true
		}
	}
	return false
}

// leave gives the locks up.
func (r *Register) leave(lock *os.File) error {
	err := r.disk.pause()
	if lock != nil {
		err = errors.Join(err, lock.Close())
	}
	return err
}

// fail ends all that is queued with an error.
func (r *Register) fail(err error) {
	if sticks(err) {
		err = r.broken(err)
	}
	r.mu.Lock()
	queue := r.queue
	r.queue = nil
	r.mu.Unlock()
	for _, q := range queue {
		q.end(err)
	}
}

// broken makes every later call fail.
func (r *Register) broken(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
	return err
}

// take removes a batch from the queue: one request of each session, so that a
// head is on disk before the next is looked at.
func (r *Register) take() []*request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var batch, rest []*request
	seen := map[string]bool{}
	for _, q := range r.queue {
		if seen[q.session] || len(batch) == maxBatch {
			rest = append(rest, q)
			continue
		}
		seen[q.session] = true
		batch = append(batch, q)
	}
	r.queue = rest
	return batch
}

// write finds the answers of the batch, and writes what is to be written for it:
// the requests that is for are returned.
func (r *Register) write(batch []*request) (left []*request, err error) {
	var bodies []ledger.Body
	sessions := map[string]struct{}{}
	for _, q := range batch {
		var b ledger.Body
		if b, q.err = r.answer(q); b == nil {
			continue
		}
		left, bodies = append(left, q), append(bodies, b)
		sessions[q.session] = struct{}{}
	}
	if len(left) == 0 {
		return nil, nil
	}
	r.mu.Lock()
	r.unsynced, r.synced = sessions, make(chan struct{})
	r.mu.Unlock()
	err = r.disk.append(bodies)
	if sticks(err) {
		err = r.broken(err)
	}
	return left, err
}

// answer finds the state that a request is about, and what is to be written for
// it, nil for nothing.
func (r *Register) answer(q *request) (ledger.Body, error) {
	var err error
	if q.state, q.found, err = r.disk.find(q.session); err != nil {
		return nil, err
	}
	if q.change == nil {
		if q.found {
			err = r.disk.sync()
		}
		return nil, err
	}
	return q.change.body(q.state, q.found)
}

// sticks reports whether an error is one after which nothing more is written.
func sticks(err error) bool {
	var bad *ledger.IntegrityError
	return errors.Is(err, ledger.ErrPoisoned) || errors.As(err, &bad)
}
