package ledger

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// A source gives the lines of a part of a ledger in order, each checked by itself.
type source interface {
	// next gives an entry, with its offset. A fault is about the line there: what
	// is behind it is not given. Err is io.EOF, or one of reading. The entry's Line
	// stands until the next call.
	next() (e Entry, at int64, fault, err error)
	// close ends what the source still does.
	close()
}

// serial reads one line after the other.
type serial struct {
	lines
	names interned
}

func (s *serial) next() (e Entry, at int64, fault, err error) {
	line, at, err := s.lines.next()
	switch {
	case errors.Is(err, errNoEnd), errors.Is(err, errTooLong):
		return Entry{}, at, err, nil
	case err != nil:
		return Entry{}, at, nil, err
	}
	e, fault = intact(line, &s.names)
	e.Offset = at
	return e, at, fault, nil
}

func (*serial) close() {}

const (
	chunkSize  = 128 << 10
	maxWorkers = 4
	// A chunk has room for the end of its last line, if it is not longer.
	chunkSpare = 4 << 10
)

// parallel has chunks read and checked by goroutines of its own, ahead of who asks.
// There are two more chunks than goroutines; that is all the memory it needs.
type parallel struct {
	r        io.ReaderAt
	from, to int64
	size     int64 // of the range whose lines a chunk has
	max      int   // longest line

	claimed atomic.Int64 // chunks that were begun
	free    chan *chunk
	ready   []chan *chunk // of chunk n it is n modulo their number
	stop    chan struct{}
	workers sync.WaitGroup

	n   int64 // of the next chunk to give
	now *chunk
}

// chunk has the lines that begin in a part of the file.
type chunk struct {
	lines   lines
	probe   [4 << 10]byte
	entries []Entry
	given   int
	at      int64 // of what ended it
	fault   error
	err     error // nil: the next chunk goes on
}

func newParallel(r io.ReaderAt, from, to, size int64, limit, workers int) *parallel {
	p := &parallel{r: r, from: from, to: to, size: size, max: limit, stop: make(chan struct{})}
	p.free = make(chan *chunk, workers+2)
	p.ready = make([]chan *chunk, workers+2)
	for i := range p.ready {
		p.ready[i] = make(chan *chunk, 1)
		p.free <- &chunk{}
	}
	for range workers {
		p.workers.Go(p.work)
	}
	return p
}

// work checks chunks. One is claimed with the memory for it in hand, so those in
// hand follow each other, and the first of them is never waited for in vain.
func (p *parallel) work() {
	names := interned{}
	for {
		select {
		case <-p.stop:
			return
		case c := <-p.free:
			n := p.claimed.Add(1) - 1
			c.check(p, n, &names)
			last := c.err != nil || c.fault != nil
			p.ready[n%int64(len(p.ready))] <- c // which is not this goroutine's any more
			if last {
				return
			}
		}
	}
}

// check reads the lines that begin in part n of the file.
func (c *chunk) check(p *parallel, n int64, names *interned) {
	c.entries, c.given, c.fault, c.err = c.entries[:0], 0, nil, nil
	begin := p.from + n*p.size
	end := min(begin+p.size, p.to)
	if begin >= p.to {
		c.at, c.err = p.to, io.EOF
		return
	}
	first := begin
	if n > 0 {
		if first, c.err = p.lineFrom(begin, end, c.probe[:]); c.err != nil || first < 0 {
			return
		}
	}
	c.lines.again(p.r, first, p.to, p.max, int(p.size)+chunkSpare)
	for c.lines.at < end {
		line, at, err := c.lines.next()
		c.at = at
		switch {
		case err == nil:
		case errors.Is(err, errNoEnd), errors.Is(err, errTooLong):
			c.fault = err
			return
		default:
			c.err = err
			return
		}
		e, fault := intact(line, names)
		if fault != nil {
			c.fault = fault
			return
		}
		e.Offset = at
		c.entries = append(c.entries, e)
	}
}

// lineFrom is where the first line begins that does so in a part of the file, -1
// if none does.
func (p *parallel) lineFrom(begin, end int64, buf []byte) (int64, error) {
	for at := begin - 1; at < end-1; {
		b := buf[:min(int64(len(buf)), end-1-at)]
		if n, err := p.r.ReadAt(b, at); n < len(b) {
			return 0, err
		}
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			return at + int64(i) + 1, nil
		}
		at += int64(len(b))
	}
	return -1, nil
}

func (p *parallel) next() (e Entry, at int64, fault, err error) {
	for {
		if p.now == nil {
			p.now = <-p.ready[p.n%int64(len(p.ready))]
		}
		c := p.now
		switch {
		case c.given < len(c.entries):
			c.given++
			e = c.entries[c.given-1]
			return e, e.Offset, nil, nil
		case c.fault != nil || c.err != nil:
			return Entry{}, c.at, c.fault, c.err
		}
		p.n++
		p.now = nil
		p.free <- c
	}
}

func (p *parallel) close() {
	close(p.stop)
	p.workers.Wait()
}

// source is where the lines of a part of a ledger come from. It is parallel where
// that is large enough.
func (v *verifier) source(r io.ReaderAt, from, to int64) source {
	if v.workers > 1 && to-from > 2*v.chunk {
		return newParallel(r, from, to, v.chunk, v.max, v.workers)
	}
	return &serial{newLines(r, from, to, v.max), interned{}}
}
