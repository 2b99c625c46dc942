//go:build !linux && !darwin

package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
)

func unsupported() error {
	return fmt.Errorf("files cannot be governed on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// A Dir cannot be had on this system.
type Dir struct{}

// Open fails, as every operation on this system does.
func Open(path string) (*Dir, error) { return nil, fail("open", path, unsupported()) }

// Close fails.
func (*Dir) Close() error { return unsupported() }

// Sub fails.
func (*Dir) Sub(name string) (*Dir, error) { return nil, fail("open", name, unsupported()) }

// OpenFile fails.
func (*Dir) OpenFile(name string, _ int, _ fs.FileMode) (*os.File, error) {
	return nil, fail("open", name, unsupported())
}

// Unnamed fails.
func (*Dir) Unnamed(name string) (*os.File, error) { return nil, fail("create", name, unsupported()) }

// OpenRead fails.
func (*Dir) OpenRead(name string) (*Handle, error) {
	return nil, fail("open", name, unsupported())
}

// A Handle cannot be had on this system.
type Handle struct{}

// Stat fails.
func (*Handle) Stat() (Info, error) { return Info{}, unsupported() }

// Storage fails.
func (*Handle) Storage() error { return unsupported() }

// Read fails.
func (*Handle) Read([]byte) (int, error) { return 0, unsupported() }

// ReadAt fails.
func (*Handle) ReadAt([]byte, int64) (int, error) { return 0, unsupported() }

// File returns nil, which is a file that fails.
func (*Handle) File(string) *os.File { return nil }

// Close fails.
func (*Handle) Close() error { return unsupported() }

// StatEach fails for each name.
func (*Dir) StatEach(names []string, found func(i int, info Info, err error)) {
	for i, name := range names {
		found(i, Info{}, fail("stat", name, unsupported()))
	}
}

// MountEach fails for each.
func (*Dir) MountEach(names []string, found func(i int, info Info, mount uint64, err error)) {
	for i, name := range names {
		found(i, Info{}, 0, fail("stat", name, unsupported()))
	}
}

// Stat fails.
func (*Dir) Stat(name string) (Info, error) { return Info{}, fail("stat", name, unsupported()) }

// StatFile fails.
func StatFile(f *os.File) (Info, error) { return Info{}, fail("stat", f.Name(), unsupported()) }

// Mkdir fails.
func (*Dir) Mkdir(name string, _ fs.FileMode) error { return fail("mkdir", name, unsupported()) }

// MkdirAll fails.
func (*Dir) MkdirAll(name string, _ fs.FileMode) ([]string, error) {
	return nil, fail("mkdir", name, unsupported())
}

// Remove fails.
func (*Dir) Remove(name string) error { return fail("remove", name, unsupported()) }

// RemoveAll fails.
func (*Dir) RemoveAll(name string) error { return fail("remove", name, unsupported()) }

// Rename fails.
func Rename(_ *Dir, old string, _ *Dir, _ string) error { return fail("rename", old, unsupported()) }

// RenameNoReplace fails.
func RenameNoReplace(_ *Dir, old string, _ *Dir, _ string) error {
	return fail("rename", old, unsupported())
}

// Link fails.
func (*Dir) Link(old, _ string) error { return fail("link", old, unsupported()) }

// ReadDir fails.
func (*Dir) ReadDir(name string) ([]Entry, error) { return nil, fail("list", name, unsupported()) }

// Writable fails.
func (*Dir) Writable(name string) error { return fail("write", name, unsupported()) }

// Replaceable fails.
func (*Dir) Replaceable(name string) error { return fail("replace", name, unsupported()) }

// Chmod fails.
func (*Dir) Chmod(name string, _ fs.FileMode) error { return fail("chmod", name, unsupported()) }

// Mount fails.
func (*Dir) Mount(name string) (uint64, error) { return 0, fail("stat", name, unsupported()) }

// Sync fails.
func (*Dir) Sync() error { return unsupported() }

// TryLock fails.
func TryLock(f *os.File) error { return fail("lock", f.Name(), unsupported()) }

// Locked fails.
func Locked(f *os.File) (bool, error) {
	return false, fail("look at the lock of", f.Name(), unsupported())
}

// HasXattr fails.
func HasXattr(f *os.File, _ string) (bool, error) {
	return false, fail("read attributes of", f.Name(), unsupported())
}

// RemoveXattr fails.
func RemoveXattr(f *os.File, _ string) error {
	return fail("remove an attribute of", f.Name(), unsupported())
}

// Storage fails.
func Storage(f *os.File) error { return fail("statfs", f.Name(), unsupported()) }

// CaseFolded fails.
func CaseFolded(*Dir) (bool, error) { return false, unsupported() }

func clone(_, _ *os.File) bool { return false }
