//go:build linux || darwin

package beneath

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// CaseFolded reports whether names in the folder itself are found in another
// spelling: by its flag, and by looking for an entry under the name with the
// case of its letters swapped. Nothing is written, so an empty folder of a
// filesystem that has no flag passes.
func CaseFolded(d *Dir) (bool, error) {
	f, err := d.OpenFile(".", os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if folded, err := flagged(f); folded || err != nil {
		return folded, err
	}
	var entries []Entry
	if err := control(f, func(fd int) (err error) { entries, err = list(fd, batch); return err }); err != nil {
		return false, fail("list", ".", err)
	}
	stored := make(map[string]bool, len(entries))
	for _, e := range entries {
		stored[e.Name] = true
	}
	for _, e := range entries {
		other := swapCase(e.Name)
		if other == e.Name || stored[other] {
			continue
		}
		here, err := d.Stat(e.Name)
		if err != nil {
			continue // gone meanwhile: the next one tells
		}
		there, err := d.Stat(other)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return false, nil
		case err == nil && here.Dev == there.Dev && here.Ino == there.Ino && len(entries) < batch:
			return true, nil
		}
	}
	return false, nil
}

// swapCase exchanges upper and lower case of the ASCII letters.
func swapCase(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}
