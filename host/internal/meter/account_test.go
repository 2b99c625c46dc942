package meter

import (
	"errors"
	"math"
	"testing"
	"time"
)

// counter puts one together.
func counter(depth, fuel int64) int64 { return depth<<32 + fuel }

func TestAccount(t *testing.T) {
	a := NewAccount(AccountConfig{Fuel: 2500, Slice: 1000, Depth: 10})
	if got := a.Used(-1); got != 0 {
		t.Errorf("used %d before anything ran", got)
	}
	// The first function cost 40 and weighed 1 before it could ask.
	g, err := a.Refill(-1 - 40 - 1<<32)
	if err != nil || g != counter(9, 1000) {
		t.Fatalf("got %#x, %v", g, err)
	}
	if a.Used(g) != 40 {
		t.Errorf("used %d, want 40", a.Used(g))
	}
	g, err = a.Refill(g - 1003) // used 1043
	if err != nil || g != counter(9, 1000) {
		t.Fatalf("got %#x, %v", g, err)
	}
	g, err = a.Refill(g - 1003) // used 2046: the last 454
	if err != nil || g != counter(9, 454) {
		t.Fatalf("got %#x, %v", g, err)
	}
	if a.Used(g-454) != 2500 {
		t.Errorf("used %d, want 2500", a.Used(g-454))
	}
	_, err = a.Refill(g - 455)
	if got, want := firstLine(err), "fuel of 2500 units used up"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	stopped(t, err, StopFuel)
}

func TestAccountDepth(t *testing.T) {
	a := NewAccount(AccountConfig{Depth: 2})
	g, err := a.Refill(-1 - 2<<32 - 7)
	if err != nil || g != counter(0, DefaultSlice) {
		t.Fatalf("got %#x, %v", g, err)
	}
	_, err = a.Refill(g - 1<<32)
	stopped(t, err, StopDepth)
	if got, want := firstLine(err), "calls nested deeper than 2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAccountFarBelow: the lowest fuel that the bounds of cost.go allow is still a debt.
func TestAccountFarBelow(t *testing.T) {
	a := NewAccount(AccountConfig{})
	g, err := a.Refill(-1)
	if err != nil {
		t.Fatal(err)
	}
	const lowest = deepest
	next, err := a.Refill(g - DefaultSlice + lowest)
	if err != nil || next != counter(MaxDepth, DefaultSlice) {
		t.Fatalf("got %#x, %v", next, err)
	}
	if got := a.Used(next); got != DefaultSlice-lowest {
		t.Errorf("used %d", got)
	}
}

func TestAccountCharge(t *testing.T) {
	a := NewAccount(AccountConfig{Fuel: 10_000, Slice: 1000})
	g, err := a.Refill(-1)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Charge(4000); err != nil {
		t.Fatal(err)
	}
	if a.Used(g) != 4000 {
		t.Errorf("used %d", a.Used(g))
	}
	g, err = a.Refill(g)
	if err != nil || g != counter(MaxDepth, 1000) || a.Used(g) != 4000 {
		t.Fatalf("got %#x, %v, used %d", g, err, a.Used(g))
	}
	// A guest that only calls the host never asks for more fuel, but ends.
	for range 10_000 {
		if err = a.Charge(10); err != nil {
			break
		}
	}
	stopped(t, err, StopFuel)
	if used := a.Used(g); used < 10_000 || used > 11_010 {
		t.Errorf("stopped after %d", used)
	}
	for _, units := range []int64{-5, math.MinInt64} {
		before := a.Used(g)
		_ = a.Charge(units)
		if a.Used(g) != before {
			t.Errorf("charging %d changed the account", units)
		}
	}
	for range 3 {
		err = a.Charge(math.MaxInt64)
	}
	stopped(t, err, StopFuel)
	_, err = a.Refill(g)
	stopped(t, err, StopFuel)
}

func TestAccountCheck(t *testing.T) {
	reason := errors.New("time is over")
	a := NewAccount(AccountConfig{Check: func() error { return reason }})
	if _, err := a.Refill(-1); !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
}

// TestAccountWithoutLimit never stops, whatever was used.
func TestAccountWithoutLimit(t *testing.T) {
	now := time.Unix(0, 0)
	a := NewAccount(AccountConfig{Now: func() time.Time { now = now.Add(yieldAfter / 2); return now }})
	g, err := a.Refill(-1)
	for range 10_000 {
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Charge(1 << 40); err != nil {
			t.Fatal(err)
		}
		g, err = a.Refill(g - DefaultSlice - 1)
	}
	if want := int64(10_000) * (1<<40 + DefaultSlice + 1); a.Used(g) != want {
		t.Errorf("used %d, want %d", a.Used(g), want)
	}
}

func TestAccountBounds(t *testing.T) {
	for _, c := range []AccountConfig{{Slice: 1 << 40, Depth: 1 << 40}, {Slice: -1, Depth: -1, Fuel: -1}} {
		a := NewAccount(c)
		if a.config.Slice > MaxSlice || a.config.Slice < 1 || a.config.Depth > MaxDepth || a.config.Depth < 1 || a.config.Fuel != 0 {
			t.Errorf("%+v became %+v", c, a.config)
		}
	}
}
