// Package cache is a folder of the user's own with what can be made again, but is
// trusted as if it just had been: every file in it is whole or absent, and none
// was written by anyone else. It knows neither what the files hold nor whether
// they are still wanted.
package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// NewPrefix begins the names of what is being made.
const NewPrefix = ".new-"

// debrisAge is how old what is being made must be to have been given up: nothing
// takes so long.
const debrisAge = time.Hour

// An UnsafeError says why a folder cannot hold what is trusted.
type UnsafeError struct{ Dir, Why string }

func (e *UnsafeError) Error() string {
	return fmt.Sprintf("the cache folder %s %s; it holds code that is executed", e.Dir, e.Why)
}

// Open makes the cache in a folder, and its parts, as far as they are absent. It
// fails if one of them is not the user's own or others may enter it
// (*[UnsafeError]).
func Open(dir string, parts ...string) error {
	for _, d := range append([]string{dir}, paths(dir, parts)...) {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("make the cache: %w", err)
		}
		if err := private(d); err != nil {
			return err
		}
	}
	return nil
}

func paths(dir string, parts []string) []string {
	var list []string
	for _, p := range parts {
		list = append(list, filepath.Join(dir, p))
	}
	return list
}

func private(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("examine the cache: %w", err)
	}
	switch {
	case !info.IsDir():
		return &UnsafeError{dir, "is not a folder"}
	case !ownedByUser(info):
		return &UnsafeError{dir, "belongs to another user"}
	case info.Mode().Perm()&0o077 != 0:
		return &UnsafeError{dir, fmt.Sprintf("can be entered by others (mode %04o)", info.Mode().Perm())}
	}
	return nil
}

// Store makes a file with what write writes. It has its name only once it is
// whole and on the disk, so that no crash leaves half of it under that name.
func Store(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), NewPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return unnamed(err)
	}
	return os.Rename(f.Name(), path)
}

// unnamed is an error without the name of a file that was never to be seen.
func unnamed(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// Used notes that a file was of use, to the hour.
func Used(path string, info fs.FileInfo, now time.Time) {
	if now.Sub(info.ModTime()) > time.Hour {
		// A cache that cannot be written still serves.
		_ = os.Chtimes(path, now, now)
	}
}

// Sweep removes from a folder what was being made when its maker was killed, and
// returns how many bytes that freed.
func Sweep(dir string, now time.Time) (freed int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("read the cache: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), NewPrefix) || now.Sub(info.ModTime()) < debrisAge {
			continue // gone meanwhile, or not debris
		}
		path := filepath.Join(dir, e.Name())
		size := SizeOf(path)
		if err := os.RemoveAll(path); err != nil {
			return freed, fmt.Errorf("clean the cache: %w", err)
		}
		freed += size
	}
	return freed, nil
}

// SizeOf is how many bytes the files at or beneath a path have.
func SizeOf(path string) (size int64) {
	filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // gone meanwhile
		}
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return size
}
