package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
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
	as.Goal = 0
	for _, peer := range []struct {
		name string
		sampler
	}{
		{"by hand + SHA-256, never written", compute},
		{"json.Marshal + SHA-256, never written", inProcess(n, marshaled())},
	} {
		as.Peer = peer.name
		if p, err = pair(l.rounds, us, peer.sampler); err != nil {
			return nil, err
		}
		lines = append(lines, p.line(cpu, as))
	}
	each := testing.AllocsPerRun(1000, func() { _, err = log.Append(1, call) })
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(filepath.Join(dir, "exec.jsonl"))
	if err != nil {
		return nil, err
	}
	bytesEach := float64(info.Size()) / float64(log.Head().Size)
	lines = append(lines,
		counted(line{Row: "G10", What: "allocations of an entry"}, each, 0),
		counted(line{Row: "G10", What: "bytes of an entry of a file that was opened"}, bytesEach, 500))
	sealed, err := seal(l, dir)
	return append(lines, sealed), err
}

// marshaled makes the same line with encoding/json, and hashes it.
func marshaled() func() error {
	type entry struct {
		V        int    `json:"v"`
		Seq      uint64 `json:"seq"`
		TS       string `json:"ts"`
		MonoNS   int64  `json:"mono_ns"`
		Kind     string `json:"kind"`
		SID      string `json:"sid"`
		Turn     int    `json:"turn"`
		Op       string `json:"op"`
		Via      string `json:"via"`
		Path     string `json:"path"`
		Flags    string `json:"flags"`
		Decision string `json:"decision"`
		Errno    string `json:"errno"`
		Size     int64  `json:"size"`
		SHA256   string `json:"sha256"`
		Prev     string `json:"prev"`
	}
	e := entry{V: 1, MonoNS: 1234567890, Kind: "op", SID: "SES-1", Turn: 1, Op: "open", Via: "wasi", Path: "docs/some/folder/file.md", Flags: "read", Decision: "granted", Errno: "success", Size: 12345}
	var prev [32]byte
	return func() error {
		e.TS, e.Prev = time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z"), hex.EncodeToString(prev[:])
		e.SHA256 = "sha256:" + e.Prev
		b, err := json.Marshal(e)
		prev = sha256.Sum256(b)
		e.Seq++
		return err
	}
}

// seal is what signing adds to the flush that a commit waits for.
func seal(l *lab, dir string) (line, error) {
	key, err := ledger.NewKey("agenthost/bench", rand.Reader)
	if err != nil {
		return line{}, err
	}
	f, err := os.Create(filepath.Join(dir, "flush"))
	if err != nil {
		return line{}, err
	}
	defer f.Close()
	var tree ledger.Tree
	block := bytes.Repeat([]byte{'x'}, 1024)
	const n = 20
	us := inProcess(n, func() error {
		tree.Add(ledger.Hash{1})
		c := ledger.Checkpoint{Origin: "agenthost/bench/exec", Size: tree.Size(), Root: tree.Root()}
		return c.Sign(key)
	})
	flush := inProcess(n, func() error {
		_, err := f.Write(block)
		return errors.Join(err, f.Sync())
	})
	if err := discard(us, flush); err != nil {
		return line{}, err
	}
	p, err := pair(l.rounds, us, flush)
	return p.line(wall, line{Row: "G10", What: "root and signature of a seal", Peer: "one write and fsync", Goal: 0.15}), err
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
	// By one goroutine, as far as threads are measured.
	cores := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(cores)
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
			seconds := p.line(cpu, c.as).Ours.Median * (1_000_000 / entries) / 1e9
			lines = append(lines, counted(line{Row: "G12", What: "seconds of one core for 1,000,000 entries"}, seconds, 1))
		}
	}
	runtime.GOMAXPROCS(cores)
	p, err := pair(l.rounds, two, three)
	if err != nil {
		return nil, err
	}
	beside := line{Row: "G12", What: fmt.Sprintf("with the Merkle tree, by %d goroutines", min(cores, 4)), Peer: "SHA-256 of the lines, by one"}
	lines = append(lines, p.line(wall, beside), p.line(allCPUs, beside))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = merkle()
	runtime.ReadMemStats(&after)
	if err != nil {
		return nil, err
	}
	mib := float64(after.TotalAlloc-before.TotalAlloc) / (1 << 20)
	lines = append(lines, counted(line{Row: "G12", What: fmt.Sprintf("MiB allocated in all, for %.0f MiB", float64(len(data))/(1<<20))}, mib, 8))
	proved, err := proofs(l)
	return append(lines, proved...), err
}
