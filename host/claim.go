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
		r.limits.Time, r.expires = archive.Duration(left), order.ID
	}
	return nil
}

// untilExpired is limit, or less where the work order expires before.
func (r *run) untilExpired(limit time.Duration) time.Duration {
	if r.expires == "" {
		return limit
	}
	left, _ := r.turn.Narrow.WorkOrder.Left(r.runner.cfg.Now())
	return min(limit, max(left, 0))
}
