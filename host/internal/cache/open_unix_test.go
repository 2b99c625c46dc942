//go:build unix

package cache

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What was stored is read; what somebody else put in its place is neither
// followed nor waited for.
func TestOpenEntry(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadEntry(file); err != nil || string(got) != "one" {
		t.Errorf("got %q %v", got, err)
	}
	if _, err := OpenEntry(filepath.Join(dir, "absent")); !os.IsNotExist(err) || IsForeign(err) {
		t.Errorf("absent: got %v, want that it does not exist", err)
	}
	for name, put := range map[string]func(path string) error{
		"link":        func(path string) error { return os.Symlink(file, path) },
		"device link": func(path string) error { return os.Symlink("/dev/zero", path) },
		"FIFO":        func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"folder":      func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := filepath.Join(dir, name)
		if err := put(path); err != nil {
			t.Fatal(err)
		}
		if f, err := OpenEntry(path); !IsForeign(err) {
			t.Errorf("%s: got %v %v, want that it is no file", name, f, err)
		}
	}
}
