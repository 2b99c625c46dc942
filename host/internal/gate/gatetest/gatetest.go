// Package gatetest makes what tests of the gate and of its doors stand on. It is
// for tests alone.
package gatetest

import (
	"os"
	"testing"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// Folder makes a folder, with those above it, and opens it until the test ends.
func Folder(t testing.TB, path string) *beneath.Dir {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := beneath.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

// Log makes a ledger that is open until the test ends.
func Log(t testing.TB, path string, o ledger.Options) *ledger.Log {
	t.Helper()
	if o.Key == nil {
		key, err := ledgertest.Host()
		if err != nil {
			t.Fatal(err)
		}
		o.Key, o.Origin = key, "test"
	}
	log, err := ledger.Create(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}
