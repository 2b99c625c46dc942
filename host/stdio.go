package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"time"

	"github.com/agenthost/agenthost/host/internal/gate"
)

// A stdout keeps what the guest wrote until the commit, and the result it gave by
// the contract, which stands in its place.
type stdout struct {
	bytes.Buffer
	given   []byte
	isGiven bool
	limit   int64
	name    string
	charge  func(int64)
}

// replace keeps a result. The last one counts.
func (w *stdout) replace(data []byte) {
	if int64(len(data)) > w.limit {
		panic(&gate.Limit{Name: w.name, Max: w.limit})
	}
	w.given, w.isGiven = append(w.given[:0], data...), true
}

// result is what the turn answers.
func (w *stdout) result() []byte {
	if w.isGiven {
		return w.given
	}
	return w.Bytes()
}

func (w *stdout) Write(p []byte) (int, error) {
	w.charge(int64(len(p)))
	if int64(w.Len())+int64(len(p)) > w.limit {
		panic(&gate.Limit{Name: w.name, Max: w.limit})
	}
	return w.Buffer.Write(p)
}

// A stderr keeps the beginning of what the guest wrote and shows all of it.
type stderr struct {
	kept   bytes.Buffer
	size   int64
	keep   int64
	limit  int64
	name   string
	show   io.Writer // may be nil
	charge func(int64)
}

func (w *stderr) Write(p []byte) (int, error) {
	w.charge(int64(len(p)))
	w.size += int64(len(p))
	if w.size > w.limit {
		panic(&gate.Limit{Name: w.name, Max: w.limit})
	}
	if room := w.keep - int64(w.kept.Len()); room > 0 {
		w.kept.Write(p[:min(int64(len(p)), room)])
	}
	if w.show != nil {
		w.show.Write(p) // the terminal is for people: what it cannot take is in the ledger
	}
	return len(p), nil
}

// A clock is the guest's: it starts at the turn's time and moves a millisecond
// with every reading, and by as much as the guest sleeps, which takes no time: a
// program that sleeps until its clock has moved would ask for ever otherwise.
type clock struct {
	next time.Time
	base time.Time
}

// lastTime is where a guest's clock stops: a little later it cannot be told in
// nanoseconds.
var lastTime = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)

func newClock(asOf time.Time) *clock { return &clock{next: asOf, base: asOf} }

func (c *clock) read() time.Time {
	now := c.next
	c.sleep(int64(time.Millisecond))
	return now
}

func (c *clock) sleep(ns int64) {
	if left := lastTime.Sub(c.next); ns > 0 {
		c.next = c.next.Add(min(time.Duration(ns), left))
	}
}

func (c *clock) walltime() (sec int64, nsec int32) {
	now := c.read()
	return now.Unix(), int32(now.Nanosecond())
}

func (c *clock) nanotime() int64 { return c.read().Sub(c.base).Nanoseconds() }

// randomness returns the guest's source of random bytes: ChaCha8 keyed by
// SHA-256(seed || turn number as 8 bytes, big-endian).
func randomness(seed []byte, turn int) io.Reader {
	h := sha256.New()
	h.Write(seed)
	binary.Write(h, binary.BigEndian, uint64(turn))
	return rand.NewChaCha8([32]byte(h.Sum(nil)))
}
