package main

import "bytes"

const (
	guestPrefix = "guest| "
	maxGuest    = 1 << 20 // bytes of a guest's messages shown in one run
	maxGuestRow = 4096    // bytes of one row of them
)

// guestWriter shows what a guest says on standard error: each of its lines
// escaped and behind "guest| ", so that it cannot pass for ours, at most 1 MiB in
// all. What it keeps back is in the ledger. Writes never fail.
type guestWriter struct {
	term  *terminal
	line  []byte
	shown int
}

func (t *terminal) guest() *guestWriter { return &guestWriter{term: t} }

func (g *guestWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 && g.shown <= maxGuest {
		part, rest, ended := bytes.Cut(b, []byte("\n"))
		if room := maxGuestRow - len(g.line); len(part) > room {
			part, rest, ended = b[:room], b[room:], true
		}
		g.line = append(g.line, part...)
		if b = rest; ended {
			g.flush()
		}
	}
	return n, nil
}

// Close shows a last line that was not ended.
func (g *guestWriter) Close() error {
	if len(g.line) > 0 {
		g.flush()
	}
	return nil
}

func (g *guestWriter) flush() {
	row := string(g.line)
	g.line = g.line[:0]
	if g.shown > maxGuest {
		return
	}
	if g.shown += len(row) + 1; g.shown > maxGuest {
		g.term.note("agenthost: the guest's messages go on; 1 MiB of them was shown")
		return
	}
	if !g.term.quiet {
		g.term.diagnostic("2", guestPrefix, escape(row))
	}
}
