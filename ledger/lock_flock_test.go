//go:build linux || darwin

package ledger

import (
	"path/filepath"
	"syscall"
	"testing"
)

// TestReleasedAtOnce: a copy of the descriptor, as a child has it that has not
// executed its program yet, does not keep a ledger that was closed.
func TestReleasedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l.jsonl")
	l, err := Create(path, Options{Session: "SES-1"})
	if err != nil {
		t.Fatal(err)
	}
	child, err := syscall.Dup(int(l.f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(child)
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = Open(path, Options{Session: "SES-1"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
