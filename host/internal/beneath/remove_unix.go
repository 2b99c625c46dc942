//go:build linux || darwin

package beneath

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	maxDepth   = 32      // folders held open at once while a tree is removed
	maxRemoved = 1 << 24 // calls one RemoveAll may spend
	batch      = 4096    // names read at a time
)

// errEndless says that a tree did not become empty within maxRemoved calls.
var errEndless = errors.New("the folder does not become empty")

// RemoveAll removes name and, if it is a folder, all that is in it. No link is
// followed. That there is no such name is no error. However deep the tree is, a
// fixed number of descriptors is used; somebody who keeps adding to it makes
// RemoveAll fail, not go on for ever.
func (d *Dir) RemoveAll(name string) error {
	if name == "." {
		return fail("remove", name, ErrName)
	}
	err := d.at(name, func(fd int, base string) error {
		r := remover{calls: maxRemoved}
		return r.remove(fd, base, false, 0)
	})
	if err != nil && err != unix.ENOENT {
		return fail("remove", name, err)
	}
	return nil
}

// A remover is one RemoveAll.
type remover struct {
	top   int // the folder to be removed
	calls int // that are left
	moved int // folders moved to the top
}

// remove removes an entry of the folder fd. Folder says that it was one when it
// was listed, which saves a call and is not relied upon.
func (r *remover) remove(fd int, name string, folder bool, depth int) error {
	if r.calls--; r.calls < 0 {
		return errEndless
	}
	err := error(unix.EISDIR)
	if !folder {
		err = unix.Unlinkat(fd, name, 0)
	}
	if err != unix.EISDIR && err != unix.EPERM {
		return err
	}
	if e := unix.Unlinkat(fd, name, unix.AT_REMOVEDIR); e != unix.ENOTEMPTY && e != unix.EEXIST && e != unix.EACCES {
		switch {
		case e == unix.ENOTDIR && folder: // replaced meanwhile
			return r.remove(fd, name, false, depth)
		case e == unix.ENOTDIR:
			return err
		}
		return e
	}
	if depth == maxDepth {
		return r.lift(fd, name)
	}
	sub, err := openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.EACCES {
		if err = chmod(fd, name, 0o700); err == nil {
			sub, err = openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		}
	}
	if err != nil {
		return err
	}
	defer unix.Close(sub)
	if depth == 0 {
		r.top = sub
	}
	if err := r.empty(sub, depth+1); err != nil {
		return err
	}
	return unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
}

// empty removes all entries of the folder fd.
func (r *remover) empty(fd, depth int) error {
	for {
		entries, err := list(fd, batch)
		if err != nil || len(entries) == 0 {
			return err
		}
		writable := false
		for _, e := range entries {
			err := r.remove(fd, e.Name, e.Type.IsDir(), depth)
			if err == unix.EACCES && !writable {
				// A folder its owner may not write in: ours to change.
				writable = true
				if err = unix.Fchmod(fd, 0o700); err == nil {
					err = r.remove(fd, e.Name, e.Type.IsDir(), depth)
				}
			}
			if err != nil && err != unix.ENOENT {
				return err
			}
		}
	}
}

// lift moves a folder that lies too deep to the top of the tree, where a later
// round of empty meets it.
func (r *remover) lift(fd int, name string) error {
	opened := false
	for {
		if r.calls--; r.calls < 0 {
			return errEndless
		}
		r.moved++
		switch err := unix.Renameat(fd, name, r.top, ".deep-"+strconv.Itoa(r.moved)); err {
		case unix.EEXIST, unix.ENOTEMPTY, unix.ENOTDIR, unix.EISDIR: // the new name is taken
		case unix.EACCES:
			if opened {
				return err
			}
			opened = true // a folder its owner may not write in cannot be moved
			if err := chmod(fd, name, 0o700); err != nil {
				return err
			}
		default:
			return err
		}
	}
}
