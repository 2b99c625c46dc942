package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// durableTurn is G11: the end of a turn on disk, beside one flush.
func durableTurn(l *lab) ([]line, error) {
	root, err := l.durableRoot()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	t, err := openTurns(root, 0)
	if err != nil {
		return nil, err
	}
	defer t.s.Leave()
	f, err := os.CreateTemp(l.dir, "fsync-")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	block := bytes.Repeat([]byte{'x'}, 1024)
	const times = 20
	flush := inProcess(times, func() error {
		_, err := f.Write(block)
		return errors.Join(err, f.Sync())
	})
	answered := t.sampler(times, func() error { return nil })
	flushed := t.sampler(times, func() error { return root.Register("ho1").Sync(l.ctx) })
	if err := discard(flush, answered, flushed); err != nil {
		return nil, err
	}
	l.say("G11")
	var lines []line
	for _, c := range []struct {
		what string
		ours sampler
	}{
		{"end of a turn without outputs, until it is answered", answered},
		{"the same, until the register is on disk, too", flushed},
	} {
		p, err := pair(l.rounds, c.ours, flush)
		if err != nil {
			return nil, err
		}
		lines = append(lines, p.line(wall, line{Row: "G11", What: c.what, Peer: "one write and fsync", Goal: 2.5}))
	}
	whole, err := l.wholeTurn(flush)
	if err != nil {
		return nil, err
	}
	flushes, err := l.together(root)
	return append(lines, whole, flushes, l.sealShare(t, flush)), err
}

// durableRoot is a root on the disk of the lab.
func (l *lab) durableRoot() (*session.Root, error) {
	dir, err := os.MkdirTemp(l.dir, "durable-")
	if err != nil {
		return nil, err
	}
	return session.OpenRoot(session.Options{Workspace: dir, Key: ledgertest.Host, Hosts: ledgertest.Hosts})
}

// turns are those of one session, in which nothing happens.
type turns struct{ s *session.Session }

func openTurns(root *session.Root, n int) (*turns, error) {
	s, err := root.Create(context.Background(), session.Opening{
		ID: session.ID(fmt.Sprintf("SES-DURABLE-%02d", n)), Plane: "ho1", Seed: make([]byte, 32),
		Open: record.SessionOpen{Agenthost: "bench", Engine: "none", Arch: "none"},
	})
	return &turns{s}, err
}

// sampler measures the end of n turns, and what comes behind each.
func (t *turns) sampler(n int, behind func() error) sampler {
	return func() (cost, error) {
		var took time.Duration
		for range n {
			d, err := t.turn(behind)
			if err != nil {
				return cost{}, err
			}
			took += d
		}
		return cost{Wall: float64(took)}.over(n), nil
	}
}

// turn runs a turn and returns how long its end took.
func (t *turns) turn(behind func() error) (time.Duration, error) {
	n := t.s.Turns() + 1
	staging, err := t.s.Begin(n)
	if err != nil {
		return 0, err
	}
	begin := &record.TurnBegin{AsOf: "2026-01-01T00:00:00Z"}
	e, err := t.s.Exec.Append(n, begin)
	if err != nil {
		return 0, err
	}
	var collected record.Collector
	collected.Add(e, begin)
	evidence, ok := collected.Evidence(t.s.Exec.Head())
	if !ok {
		return 0, errors.New("the entries are not those of the turn")
	}
	began := time.Now()
	if err := t.s.Prove(&evidence); err != nil {
		return 0, err
	}
	if _, err := t.s.End(record.TurnEnd{Status: record.StatusOK}); err != nil {
		return 0, err
	}
	if err := behind(); err != nil {
		return 0, err
	}
	return time.Since(began), staging.Discard()
}

// wholeTurn is all of a turn of the small guest in an open session.
func (l *lab) wholeTurn(flush sampler) (line, error) {
	g, err := l.smallIn(l.dir, "hello")
	if err != nil {
		return line{}, err
	}
	us := inProcess(20, func() error { return g.governed("hello", 0) })
	if err := discard(us); err != nil {
		return line{}, err
	}
	p, err := pair(l.rounds, us, flush)
	return p.line(wall, line{Row: "G11", What: "a whole turn of the small guest, with its session", Peer: "one write and fsync"}), err
}

// together runs turns of 16 sessions at once, and counts how often the register
// was flushed for 16 of them: each of its seals is one flush.
func (l *lab) together(root *session.Root) (line, error) {
	const sessions, each = 16, 40
	var wg sync.WaitGroup
	errs := make([]error, sessions)
	all := make([]*turns, sessions)
	for i := range all {
		var err error
		if all[i], err = openTurns(root, i+1); err != nil {
			return line{}, err
		}
		defer all[i].s.Leave()
	}
	before, err := registerCounts(root)
	if err != nil {
		return line{}, err
	}
	for i, t := range all {
		wg.Go(func() {
			for n := 0; n < each && errs[i] == nil; n++ {
				_, errs[i] = t.turn(func() error { return nil })
			}
		})
	}
	wg.Wait()
	if err := errors.Join(append(errs, root.Register("ho1").Sync(l.ctx))...); err != nil {
		return line{}, err
	}
	after, err := registerCounts(root)
	entries := after.entries - before.entries
	if err == nil && entries != sessions*each {
		err = fmt.Errorf("the register has %d entries of %d turns", entries, sessions*each)
	}
	flushes := float64(after.seals-before.seals) / (sessions * each) * 16
	return counted(line{Row: "G11", What: "flushes of the register for 16 turns at once"}, flushes, 1.6), err
}

type counts struct{ entries, seals int }

// registerCounts counts the heads in the register, and its seals.
func registerCounts(root *session.Root) (c counts, err error) {
	files, err := filepath.Glob(filepath.Join(root.Path(), "planes/ho1/ledger/sessions*.jsonl"))
	for _, file := range files {
		for e, err := range ledger.Read(file) {
			if err != nil {
				return c, err
			}
			switch e.Kind {
			case record.KindSessionHead:
				c.entries++
			case ledger.KindSeal:
				c.seals++
			}
		}
	}
	return c, err
}

// sealShare is what making a seal costs beside a flush.
func (l *lab) sealShare(_ *turns, flush sampler) line {
	as := line{Row: "G11", What: "signing a checkpoint", Peer: "one write and fsync", Goal: 0.15}
	key, err := ledgertest.Host()
	if err != nil {
		return as.said(err.Error())
	}
	c := ledger.Checkpoint{Origin: record.ExecOrigin("ho1", "SES-DURABLE-00"), Size: 1}
	p, err := pair(l.rounds, inProcess(200, func() error { c.Size++; return c.Sign(key) }), flush)
	if err != nil {
		return as.said(err.Error())
	}
	return p.line(wall, as)
}
