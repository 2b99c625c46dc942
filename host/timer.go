package host

import "time"

// A timer ends a turn that took its time. It is for one goroutine.
type timer struct {
	timer *time.Timer
	left  time.Duration
	since time.Time // it runs
}

// newTimer calls end when it ran for limit.
func newTimer(limit time.Duration, end func()) *timer {
	return &timer{time.AfterFunc(limit, end), limit, time.Now()}
}

// pause stops the timer until it is resumed, which says how long that was.
func (t *timer) pause() (resume func() time.Duration) {
	stopped := time.Now()
	ended := !t.timer.Stop()
	t.left -= stopped.Sub(t.since)
	return func() time.Duration {
		t.since = time.Now()
		if !ended {
			t.timer.Reset(max(t.left, 0))
		}
		return t.since.Sub(stopped)
	}
}

func (t *timer) stop() { t.timer.Stop() }
