package meter

import (
	"fmt"
	"runtime"
	"time"
)

// Bounds of an AccountConfig, on which the meter's own arithmetic rests.
const (
	DefaultSlice = 1 << 20
	MaxSlice     = 1 << 30
	MaxDepth     = 1 << 15
)

// yieldAfter is how long a guest may compute before the goroutine yields. Without yielding, two guests on two cores delay
// Go's collector by some 120 ms, with it by 5 to 10; yielding at every refill would cost the guest a fifth of its speed.
const yieldAfter = time.Millisecond

// Reasons of a Stop.
const (
	StopFuel  = "fuel"
	StopDepth = "depth"
)

// A Stop is why the guest has to end: it used up what it was given. It cannot be caught by the guest.
type Stop struct {
	Reason string // StopFuel or StopDepth
	Limit  int64
}

func (s *Stop) Error() string {
	if s.Reason == StopDepth {
		return fmt.Sprintf("calls nested deeper than %d", s.Limit)
	}
	return fmt.Sprintf("fuel of %d units used up", s.Limit)
}

// An AccountConfig is what one instance is given. Values out of their bounds are brought within them.
type AccountConfig struct {
	// Fuel is how many units the instance may use in all. 0: no limit.
	Fuel int64
	// Depth bounds how deep counted calls may nest, each weighing 1 and 1 more for each 256 bytes of its code, up to
	// MaxDepth. 0: MaxDepth.
	Depth int64
	// Slice is the number of units between two refills, up to MaxSlice. 0: DefaultSlice, below which refilling is felt.
	Slice int64
	// Check is called at each refill; its error ends the guest. It is the place for contexts and deadlines. May be nil.
	Check func() error
	// Now is the clock by which the goroutine yields to others, at most once in a millisecond. It has no influence on
	// what the guest computes or is charged. nil: yields at every refill.
	Now func() time.Time
}

// An Account is the host's side of one instance's meter. It is not safe for concurrent use, and belongs to one instance
// only; after a trap or a Stop the instance must not be called again, since the depth is not put back.
//
// The counter it speaks of is the value of the injected global, which the import refill is handed.
type Account struct {
	config  AccountConfig
	started bool
	granted int64 // units the guest was given so far
	debt    int64 // units charged by the host since the last refill
	yielded time.Time
}

// NewAccount returns the account of a new instance.
func NewAccount(config AccountConfig) *Account {
	if config.Slice <= 0 {
		config.Slice = DefaultSlice
	}
	if config.Depth <= 0 {
		config.Depth = MaxDepth
	}
	config.Slice = min(config.Slice, MaxSlice)
	config.Depth = min(config.Depth, MaxDepth)
	config.Fuel = max(config.Fuel, 0)
	return &Account{config: config}
}

// split takes a counter apart.
func split(counter int64) (depth, fuel int64) {
	fuel = int64(int32(counter))
	return (counter - fuel) >> 32, fuel
}

// Refill is what the import of that name does: given the counter it returns the next one. The error is a *Stop or that of
// Check; the caller must then end the guest by a panic in the host function.
func (a *Account) Refill(counter int64) (next int64, err error) {
	depth, fuel := split(counter)
	if !a.started { // the global began at fuel -1 and depth 0
		a.started = true
		fuel++
		depth += a.config.Depth
	}
	fuel -= a.debt
	a.debt = 0
	if a.config.Check != nil {
		if err := a.config.Check(); err != nil {
			return 0, err
		}
	}
	a.yield()
	if depth < 0 {
		return 0, &Stop{StopDepth, a.config.Depth}
	}
	more := a.config.Slice - fuel
	if a.config.Fuel > 0 {
		used := a.granted - fuel
		if used > a.config.Fuel {
			return 0, &Stop{StopFuel, a.config.Fuel}
		}
		more = min(more, a.config.Fuel-a.granted)
	}
	a.granted += more
	return depth<<32 + fuel + more, nil
}

func (a *Account) yield() {
	if a.config.Now != nil {
		now := a.config.Now()
		if a.yielded.IsZero() {
			a.yielded = now
		}
		if now.Sub(a.yielded) < yieldAfter {
			return
		}
		a.yielded = now
	}
	runtime.Gosched()
}

// Charge adds units for what a host function did on the guest's behalf. They are settled at the next refill. The error is
// a *Stop when they exceed the fuel even if nothing of the current slice was used, so that a guest which only calls the
// host is stopped, too; the caller must then end the guest. Negative units are not charged.
func (a *Account) Charge(units int64) error {
	const most = 1 << 60 // so that sums do not overflow
	a.debt = min(a.debt+min(max(units, 0), most), most)
	if a.config.Fuel > 0 && a.granted-a.config.Slice+a.debt > a.config.Fuel {
		return &Stop{StopFuel, a.config.Fuel}
	}
	return nil
}

// Used returns the units used so far, when the counter has the given value.
func (a *Account) Used(counter int64) int64 {
	_, fuel := split(counter)
	if !a.started {
		return a.debt - (fuel + 1)
	}
	return a.granted - fuel + a.debt
}
