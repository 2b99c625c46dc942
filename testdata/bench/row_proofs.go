package main

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/agenthost/agenthost/ledger"
)

// signer is who signs the ledger of proofs.
type signer struct{ key *ledger.Key }

func (signer) Saw(ledger.Entry) error { return nil }

func (s signer) Signer(string) (string, ledger.Verifier, error) {
	return "agenthost/bench/exec", s.key.Verifier(), nil
}

// proofs is the part of G12 that reads one entry of many.
func proofs(l *lab) ([]line, error) {
	const entries = 1_000_000
	l.say("writing a ledger of %d entries", entries)
	dir, err := os.MkdirTemp(l.dir, "proofs-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	key, err := ledger.NewKey("agenthost/bench", rand.Reader)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "exec.jsonl")
	keys := signer{key}
	log, err := ledger.Create(path, ledger.Options{Session: "SES-1", Key: key, Origin: "agenthost/bench/exec"})
	if err != nil {
		return nil, err
	}
	// The first seal of a session comes with its first entry.
	call := &ledgerCall{path: "docs/some/folder/file.md", size: 12345}
	if _, err := log.Commit(1, call); err != nil {
		return nil, err
	}
	for range entries {
		if _, err := log.Append(1, call); err != nil {
			return nil, err
		}
	}
	if _, err := log.Commit(1); err != nil {
		return nil, err
	}
	if err := log.Close(); err != nil {
		return nil, err
	}
	index := filepath.Join(dir, "index")
	open := func() (*ledger.Prover, error) { return ledger.OpenProver(path, index, ledger.Options{Keys: keys}) }
	l.say("making its index")
	prover, err := open()
	if err != nil {
		return nil, err
	}
	defer prover.Close()
	seq := uint64(0)
	next := func() uint64 {
		seq = (seq + 611_953) % entries
		return seq
	}
	prove := func() error {
		_, _, err := prover.Prove(next())
		return err
	}
	cold := func() error {
		p, err := open()
		if err != nil {
			return err
		}
		if _, _, err = p.Prove(next()); err != nil {
			return err
		}
		return p.Close()
	}
	proof, e, err := prover.Prove(next())
	if err != nil {
		return nil, err
	}
	check := func() error { return proof.Includes(e.Line) }
	signed := func() error { return ledger.CheckProof(proof, e.Line, key.Verifier()) }
	// What no proof can do without: the hash of the line, and of each node above it.
	var node [1 + 2*sha256.Size]byte
	bare := func() error {
		sum := sha256.Sum256(e.Line)
		for range proof.Path {
			copy(node[1:], sum[:])
			sum = sha256.Sum256(node[:])
		}
		return nil
	}
	const n = 2000
	samplers := []sampler{inProcess(n, prove), inProcess(n, check), inProcess(n, bare), inProcess(n/10, signed), inProcess(n/10, cold)}
	if err := discard(samplers...); err != nil {
		return nil, err
	}
	l.say("G12")
	floor := fmt.Sprintf("SHA-256 of the line and of %d nodes", len(proof.Path))
	var lines []line
	for _, c := range []struct {
		as   line
		goal float64 // in µs
		of   sampler
	}{
		{line{What: "proof of an entry of 1,000,000", Peer: floor}, 50, samplers[0]},
		{line{What: "the same, with files to open", Peer: floor}, 0, samplers[4]},
		{line{What: "check of a proof, without its signature", Peer: floor}, 10, samplers[1]},
		{line{What: "check of a proof", Peer: floor}, 0, samplers[3]},
	} {
		p, err := pair(l.rounds, c.of, samplers[2])
		if err != nil {
			return nil, err
		}
		c.as.Row = "G12"
		as := p.line(cpu, c.as)
		lines = append(lines, as)
		if c.goal > 0 {
			lines = append(lines, counted(line{Row: "G12", What: "µs of that"}, as.Ours.Median/1000, c.goal))
		}
	}
	return lines, nil
}
