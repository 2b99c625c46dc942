package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/agenthost/agenthost/ledger"
)

// entry is G10: one entry written and not flushed.
func entry(l *lab) ([]line, error) {
	dir, err := os.MkdirTemp(l.dir, "ledger-")
	if err != nil {
		return nil, err
	}
	log, err := ledger.Create(filepath.Join(dir, "exec.jsonl"), ledger.Options{Session: "SES-1"})
	if err != nil {
		return nil, err
	}
	defer log.Close()
	call := &ledgerCall{path: "docs/some/folder/file.md", size: 12345}
	const n = 20_000
	us := inProcess(n, func() error {
		_, err := log.Append(1, call)
		return err
	})
	f, err := os.OpenFile(filepath.Join(dir, "by-hand.jsonl"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	writing, computing := byHand(f.Write), byHand(func(b []byte) (int, error) { return len(b), nil })
	write, compute := inProcess(n, writing), inProcess(n, computing)
	if err := discard(us, write, compute); err != nil {
		return nil, err
	}
	l.say("G10")
	as := line{Row: "G10", What: "entry of the ledger, not flushed", Peer: "by hand + SHA-256 + write(2)", Goal: 1.5}
	p, err := pair(l.rounds, us, write)
	if err != nil {
		return nil, err
	}
	lines := []line{p.line(cpu, as)}
	as.Peer, as.Goal = "by hand + SHA-256, never written", 0
	if p, err = pair(l.rounds, us, compute); err != nil {
		return nil, err
	}
	each := testing.AllocsPerRun(1000, func() { _, err = log.Append(1, call) })
	return append(lines, p.line(cpu, as), counted(line{Row: "G10", What: "allocations of an entry"}, each, 0)), err
}

// byHand puts the same line together without any check, and hashes it.
func byHand(write func([]byte) (int, error)) func() error {
	var (
		prev [32]byte
		buf  []byte
		seq  uint64
	)
	return func() error {
		buf = append(buf[:0], "\x00{\"v\":1,\"seq\":"...)
		buf = strconv.AppendUint(buf, seq, 10)
		buf = append(buf, `,"ts":"`...)
		buf = time.Now().UTC().AppendFormat(buf, "2006-01-02T15:04:05.000000000Z")
		buf = append(buf, `","mono_ns":`...)
		buf = strconv.AppendInt(buf, 1234567890, 10)
		buf = append(buf, `,"kind":"op","sid":"SES-1","turn":1,"op":"open","via":"wasi","path":"docs/some/folder/file.md"`...)
		buf = append(buf, `,"flags":"read","decision":"granted","errno":"success","size":`...)
		buf = strconv.AppendInt(buf, 12345, 10)
		buf = append(buf, `,"sha256":"sha256:`...)
		buf = hex.AppendEncode(buf, prev[:])
		buf = append(buf, `","prev":"`...)
		buf = hex.AppendEncode(buf, prev[:])
		buf = append(buf, '"')
		prev = sha256.Sum256(buf)
		buf = append(buf, `,"hash":"`...)
		buf = hex.AppendEncode(buf, prev[:])
		buf = append(buf, "\"}\n"...)
		seq++
		_, err := write(buf[1:])
		return err
	}
}

// verify is G12: reading a ledger back.
func verify(l *lab) ([]line, error) {
	const entries = 200_000
	l.say("writing a ledger of %d entries", entries)
	dir, err := os.MkdirTemp(l.dir, "ledger-")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "exec.jsonl")
	log, err := ledger.Create(path, ledger.Options{Session: "SES-1"})
	if err != nil {
		return nil, err
	}
	call := &ledgerCall{path: "docs/some/folder/file.md", size: 12345}
	for range entries {
		if _, err := log.Append(1, call); err != nil {
			return nil, err
		}
	}
	if err := log.Close(); err != nil {
		return nil, err
	}
	chain := func() error {
		n := 0
		for _, err := range ledger.Read(path) {
			if err != nil {
				return err
			}
			n++
		}
		if n != entries {
			return fmt.Errorf("read %d entries", n)
		}
		return nil
	}
	merkle := func() error {
		report, err := ledger.Verify(path, ledger.Options{})
		if err == nil && report.Entries != entries {
			err = fmt.Errorf("verified %d entries", report.Entries)
		}
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text := bytes.SplitAfter(data, []byte("\n"))
	bare := func() error {
		for _, line := range text {
			sha256.Sum256(line)
		}
		return nil
	}
	reading := func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			sha256.Sum256(lines.Bytes())
		}
		return lines.Err()
	}
	one, two, three, four := inProcess(1, chain), inProcess(1, merkle), inProcess(1, bare), inProcess(1, reading)
	if err := discard(one, two, three, four); err != nil {
		return nil, err
	}
	l.say("G12")
	var lines []line
	for _, c := range []struct {
		as   line
		a, b sampler
	}{
		{line{What: "chain of 200,000 entries", Peer: "SHA-256 of the lines, held in memory", Goal: 1.5}, one, three},
		{line{What: "chain of 200,000 entries", Peer: "read by lines + SHA-256"}, one, four},
		{line{What: "with the Merkle tree", Peer: "the chain alone", Goal: 1.35}, two, one},
	} {
		p, err := pair(l.rounds, c.a, c.b)
		if err != nil {
			return nil, err
		}
		c.as.Row = "G12"
		lines = append(lines, p.line(cpu, c.as))
		if c.as.Goal == 1.35 {
			seconds := spreadOf(walls(p.ours)).Median * (1_000_000 / entries) / 1e9
			lines = append(lines, counted(line{Row: "G12", What: "seconds for 1,000,000 entries"}, seconds, 1))
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = merkle()
	runtime.ReadMemStats(&after)
	mib := float64(after.TotalAlloc-before.TotalAlloc) / (1 << 20)
	return append(lines, counted(line{Row: "G12", What: fmt.Sprintf("MiB allocated in all, for %.0f MiB", float64(len(data))/(1<<20))}, mib, 8)), err
}

func walls(costs []cost) (values []float64) {
	for _, c := range costs {
		values = append(values, c.Wall)
	}
	return values
}
