//go:build !linux && !darwin

package ledger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestWritingIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "exec.jsonl")
	_, err := Create(path, Options{Session: "SES-1"})
	want := "creating " + path + ": " + path + ": writing a ledger on " + runtime.GOOS + ": unsupported operation"
	if !errors.Is(err, errors.ErrUnsupported) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file is left")
	}
}
