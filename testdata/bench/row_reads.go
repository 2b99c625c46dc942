package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

// smallReads is G6: what one more file of 1 KiB costs a guest, checked, hashed
// and recorded, beside wazero's folder of the system.
func smallReads(l *lab) ([]line, error) {
	of, err := l.goIn(l.dir)
	if err != nil {
		return nil, err
	}
	lines, err := l.reads(of, 1.3)
	if err != nil {
		return nil, err
	}
	if of, err = l.smallIn(l.dir, "reads"); err != nil {
		return nil, err
	}
	more, err := l.reads(of, 1.7)
	return append(lines, more...), err
}

func (l *lab) reads(g guest, goal float64) ([]line, error) {
	us, them := slope(files/2, measured(1, g.governed, "reads")), slope(files/2, measured(1, g.plain, "reads"))
	if err := discard(us, them); err != nil {
		return nil, err
	}
	l.say("G6 with the %s", g.name)
	p, err := pair(l.rounds, us, them)
	if err != nil {
		return nil, err
	}
	as := line{
		Row: "G6", What: fmt.Sprintf("one of %d reads of 1 KiB, %s", files, g.name),
		Peer: "wazero, folder of the system", Version: versionOf("github.com/tetratelabs/wazero"), Goal: goal,
	}
	lines := []line{p.line(cpu, as)}
	as.Goal = 0
	return append(lines, p.line(allCPUs, as), p.line(wall, as)), nil
}

// bigRead is G7: one file of 256 MiB, beside reading it and hashing as much,
// whichever takes longer.
func bigRead(l *lab) ([]line, error) {
	path, err := l.bigFile()
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	g, err := l.smallIn(l.dir, "big")
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<20)
	read := inProcess(1, func() error { return readWhole(path, buf) })
	hash := inProcess(1, func() error {
		sum := sha256.New()
		for range bigSize / len(buf) {
			sum.Write(buf)
		}
		sum.Sum(nil)
		return nil
	})
	slower := func() (cost, error) {
		r, err := read()
		if err != nil {
			return r, err
		}
		h, err := hash()
		return cost{max(r.CPU, h.CPU), max(r.Process, h.Process), max(r.Wall, h.Wall)}, err
	}
	us := inProcess(1, func() error { return g.governed("big", 0) })
	if err := discard(us, slower); err != nil {
		return nil, err
	}
	l.say("G7")
	p, err := pair(l.rounds, us, slower)
	as := line{Row: "G7", What: "256 MiB read at once, " + g.name, Peer: "native read or SHA-256, the slower", Goal: 1.15}
	return []line{p.line(allCPUs, as), p.line(wall, as)}, err
}

func readWhole(path string, buf []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		_, err := f.Read(buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
