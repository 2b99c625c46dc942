// Package durable makes small files and folders that are on the disk when the
// call returns, and reads them back without following a link. It knows nothing
// of what they hold.
//
// # What is promised
//
// A file is written under another name in the same folder ([Prefix] and its own
// name), synced with fsync(2), renamed with renameat(2), and then its folder is
// synced: whatever happens, the name stands for the old content or the new, whole.
// A folder is made with mkdirat(2), and the folder it is in is synced. A crash can
// leave a file that begins with [Prefix]; the next write of that name takes its
// place.
//
// Nothing here waits for another process: who writes the same name at the same
// time holds a lock.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
)

// Prefix begins the names of what is not finished.
const Prefix = ".new-"

// ErrNotPlain says that a name is not a regular file of the size expected.
var ErrNotPlain = errors.New("not a regular file of the expected size")

// Read reads a regular file of at most limit bytes. A link and anything else that
// is no such file is an error that wraps [ErrNotPlain].
func Read(dir *beneath.Dir, name string, limit int64) ([]byte, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, beneath.ErrLink) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotPlain)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := beneath.StatFile(f); err != nil || !info.Mode.IsRegular() || info.Size > limit {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, ErrNotPlain), err)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// MakeAll makes a folder and those it is in, where they are missing, and makes
// their names durable. What exists and is not a folder is an error.
func MakeAll(dir *beneath.Dir, name string, perm fs.FileMode) error {
	made, err := dir.MkdirAll(name, perm)
	if err != nil {
		return err
	}
	for _, m := range made {
		if err := SyncFolder(dir, Parent(m)); err != nil {
			return err
		}
	}
	return nil
}

// Parent is the folder a name is in, "." at the top.
func Parent(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return "."
}

// Base is the last element of a name.
func Base(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// Temp is the name under which a file is written before it gets its own.
func Temp(name string) string {
	if folder := Parent(name); folder != "." {
		return folder + "/" + Prefix + Base(name)
	}
	return Prefix + name
}

// SyncFolder makes the names in a folder durable.
func SyncFolder(dir *beneath.Dir, name string) error {
	d, err := dir.Sub(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Put makes a file of that content in one step, if there is none of that name,
// readable for all as far as the umask allows.
func Put(dir *beneath.Dir, name string, content []byte) error {
	if _, err := dir.Stat(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return Replace(dir, name, content, 0o644)
}

// Replace makes a file of that content in one step, in the place of what was
// there. If it fails what was there is there, unless it was the sync of the
// folder that failed: then only a crash shows which of the two it is.
func Replace(dir *beneath.Dir, name string, content []byte, perm fs.FileMode) error {
	temp := Temp(name)
	err := Write(dir, temp, content, perm)
	if err == nil {
		err = beneath.Rename(dir, temp, dir, name)
	}
	if err != nil {
		return errors.Join(err, Remove(dir, temp))
	}
	return SyncFolder(dir, Parent(name))
}

// Remove removes a file that may not be there. That it is gone is not synced.
func Remove(dir *beneath.Dir, name string) error {
	if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Write writes a file and syncs it, under its own name and not in one step: for
// what nobody looks at before it is renamed. Its name is not synced.
func Write(dir *beneath.Dir, name string, content []byte, perm fs.FileMode) error {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// Move renames a file or folder and syncs the folder its new name is in; both
// names are of one folder.
func Move(dir *beneath.Dir, from, to string) error {
	if err := beneath.Rename(dir, from, dir, to); err != nil {
		return err
	}
	return SyncFolder(dir, Parent(to))
}
