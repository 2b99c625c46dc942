package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/audit"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// hostLedger makes a ledger that a host seals, of commits of n entries each.
func hostLedger(t *testing.T, commits, n int) (path string, host ledger.Verifier) {
	t.Helper()
	key, err := ledger.NewKey("agenthost/host", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), record.ContextFile)
	o := record.ContextOptions()
	o.Key, o.Origin = key, "agenthost/context/0123456789abcdef"
	log, err := ledger.Create(path, o)
	if err != nil {
		t.Fatal(err)
	}
	bodies := []ledger.Body{record.HostKey{Origin: o.Origin, Key: key.Verifier().String()}}
	for range commits {
		for len(bodies) < n {
			bodies = append(bodies, record.Recovered{File: "x", Offset: 1, Length: 1})
		}
		if _, err := log.Commit(0, bodies...); err != nil {
			t.Fatal(err)
		}
		bodies = nil
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return path, key.Verifier()
}

// TestProofFlips: no change of one bit leaves a proof, or a line, that is verified.
func TestProofFlips(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	path, host := hostLedger(t, 3, 4)
	proof, line, _, err := prove(path, 6)
	if err != nil {
		t.Fatal(err)
	}
	trusted := []ledger.Verifier{host}
	if v := checkProof(proof, line, trusted); v.Verdict != audit.Verified {
		t.Fatalf("%s: %s", v.Verdict, v.Error)
	}
	text := []byte(proof.String())
	for i := range text {
		for bit := range 8 {
			text[i] ^= 1 << bit
			if p, err := ledger.ParseProof(text); err == nil && checkProof(p, line, trusted).Verdict == audit.Verified {
				t.Errorf("byte %d, bit %d of the proof: it is verified", i, bit)
			}
			text[i] ^= 1 << bit
		}
	}
	for i := range line {
		for bit := range 8 {
			line[i] ^= 1 << bit
			if checkProof(proof, line, trusted).Verdict != audit.Broken {
				t.Errorf("byte %d, bit %d of the line: it is not broken", i, bit)
			}
			line[i] ^= 1 << bit
		}
	}
}

// TestProveLarge: of a large ledger an index is kept in the user's cache, which may
// be damaged or removed at any time.
func TestProveLarge(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	path, key := hostLedger(t, 5, 2001)
	cache, err := host.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	check := func(seq uint64) {
		t.Helper()
		proof, line, s, err := prove(path, seq)
		if err != nil {
			t.Fatal(err)
		}
		if h, ok := s.host(proof.Checkpoint); !ok || h.String() != key.String() {
			t.Errorf("entry %d: the host is %s, want %s", seq, h, key)
		}
		if v := checkProof(proof, line, []ledger.Verifier{key}); v.Verdict != audit.Verified || v.Host != key.String() {
			t.Errorf("entry %d: %s: %s", seq, v.Verdict, v.Error)
		}
	}
	check(7)
	indexes, err := filepath.Glob(filepath.Join(cache, proofFolder, "*"))
	if err != nil || len(indexes) != 1 || !strings.HasSuffix(indexes[0], proofSuffix) {
		t.Fatalf("indexes in the cache: %q, %v; want one of %s", indexes, err, proofSuffix)
	}
	check(9_999)
	if err := os.WriteFile(indexes[0], []byte("no index"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(0)
	if err := os.WriteFile(filepath.Join(cache, proofFolder, "else"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		drop bool
		left int
	}{{false, 2}, {true, 1}, {true, 1}} {
		if _, err := cleanProofs(cache, func(time.Time) bool { return tt.drop }); err != nil {
			t.Fatal(err)
		}
		if list, err := os.ReadDir(filepath.Join(cache, proofFolder)); err != nil || len(list) != tt.left {
			t.Errorf("dropping %t leaves %d files, %v; want %d", tt.drop, len(list), err, tt.left)
		}
	}
	check(10_001)
	if freed, err := cleanProofs(t.TempDir(), func(time.Time) bool { return true }); freed != 0 || err != nil {
		t.Errorf("cleaning no cache: %d, %v", freed, err)
	}
}
