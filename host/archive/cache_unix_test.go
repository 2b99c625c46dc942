//go:build unix

package archive

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What somebody put in the place of a package is neither followed nor waited
// for: the package is read again, and cleaning removes what was put there.
func TestCacheForeign(t *testing.T) {
	path := file(t, "pkg.tar.gz", library())
	want, err := OpenPath(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(at string) error{
		"FIFO":   func(at string) error { return syscall.Mkfifo(at, 0o600) },
		"link":   func(at string) error { return os.Symlink("/dev/zero", at) },
		"folder": func(at string) error { return os.MkdirAll(filepath.Join(at, "x"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t)
			for range 2 {
				p, err := c.OpenPath(path)
				if err != nil {
					t.Fatal(err)
				}
				same(t, p, want)
				if err := p.Close(); err != nil {
					t.Fatal(err)
				}
				for _, entry := range keptIn(t, c) {
					if err := os.RemoveAll(entry); err != nil {
						t.Fatal(err)
					}
					if err := put(entry); err != nil {
						t.Fatal(err)
					}
				}
			}
			if removed, _, err := c.Clean(func(Kept) bool { return false }); err != nil || len(removed) != 1 {
				t.Errorf("got %v %v, want what was put there", removed, err)
			}
			if left := keptIn(t, c); len(left) != 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}
