package host

import (
	"context"
	"time"

	"github.com/agenthost/agenthost/host/archive"
)

// A ClaimError says that the work order of a turn did not let it begin. Nothing of
// the turn is in its session.
type ClaimError struct{ Err error }

func (e *ClaimError) Error() string { return e.Err.Error() }

// Unwrap returns what [Turn.Claim] said, or a *[policy.WorkOrderError].
func (e *ClaimError) Unwrap() error { return e.Err }

// claim makes the turn count, if it has a work order, and holds its time within
// that.
func (r *run) claim(ctx context.Context) error {
	order := r.turn.Narrow.WorkOrder
	if order == nil {
		return nil
	}
	if err := r.turn.Claim(ctx, string(r.session.ID), r.result.Number); err != nil {
		return &ClaimError{err}
	}
	now := r.runner.cfg.Now()
	if err := order.Check(r.pkg.Manifest.ID, r.pkg.Digest, now); err != nil { // claiming took its time
		return &ClaimError{err}
	}
	left, ends := order.Left(now)
	if left = max(left.Truncate(time.Millisecond), time.Millisecond); ends && left < time.Duration(r.limits.Time) {
		r.limits.Time, r.expiresFirst = archive.Duration(left), true
	}
	return nil
}

// whenExpired calls end when the work order expires, whatever the turn waits for,
// until it is stopped.
func (r *run) whenExpired(end func()) (stop func()) {
	order := r.turn.Narrow.WorkOrder
	if order == nil {
		return func() {}
	}
	left, ends := order.Left(r.runner.cfg.Now())
	if !ends {
		return func() {}
	}
	timer := time.AfterFunc(max(left, 0), func() {
		r.expired.Store(true)
		end()
	})
	return func() { timer.Stop() }
}

// expires is the work order that expired before any other limit of time, or will;
// empty if there is none.
func (r *run) expires() string {
	if r.expired.Load() || r.expiresFirst {
		return r.turn.Narrow.WorkOrder.ID
	}
	return ""
}
