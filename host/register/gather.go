package register

import (
	"time"
)

// patience bounds how long a batch waits for those who said that they come: a few
// syncs of a quick disk.
const patience = 2 * time.Millisecond

// Expect says that a head is about to be recorded. A batch that could be written
// waits for it, but no longer than a sync took last, nor where anybody else waits:
// so that the turns of many sessions, which end at the same time, share a flush
// instead of following each other. The caller calls done when it was recorded, or
// will not be.
func (r *Register) Expect() (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.expected--
		r.tell()
	}
}

// tell wakes gather, with the mutex held.
func (r *Register) tell() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// gather waits for those who are expected.
func (r *Register) gather() {
	if r.took <= 0 {
		return
	}
	timer := time.NewTimer(min(r.took, r.gatherLimit))
	defer timer.Stop()
	for r.lacks() {
		select {
		case <-r.news:
		case <-timer.C:
			return
		}
	}
}

// lacks reports whether only heads are queued, and more are expected.
func (r *Register) lacks() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.queue {
		if q.change == nil || q.change.durable() {
			return false
		}
	}
	return len(r.queue) < r.expected
}
