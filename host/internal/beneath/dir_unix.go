//go:build linux || darwin

package beneath

import (
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A Dir is a folder held open. It is safe for concurrent use; after Close every
// call fails.
type Dir struct {
	mu   sync.RWMutex // held for writing by Close alone, so that no call meets a reused descriptor
	fd   int          // -1 when closed
	walk bool         // names are resolved element by element
}

// Open opens the folder at path. Path is the operator's spelling: it may be
// absolute, and links in it are followed. It must be readable.
func Open(path string) (*Dir, error) {
	return open(path, false)
}

// open is Open; walk asks for the resolution that does without openat2.
func open(path string, walk bool) (*Dir, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fail("open", path, err)
	}
	return &Dir{fd: fd, walk: walk || !hasOpenat2(fd)}, nil
}

// Close closes the folder. Files and folders opened through it stay open.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return fail("close", ".", fs.ErrClosed)
	}
	err := unix.Close(d.fd)
	d.fd = -1
	if err != nil {
		return fail("close", ".", err)
	}
	return nil
}

// Sub opens the folder name. It must be readable.
func (d *Dir) Sub(name string) (*Dir, error) {
	fd, err := d.resolve(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fail("open", name, err)
	}
	return &Dir{fd: fd, walk: d.walk}, nil
}

// OpenFile opens name with the flags of package os, and O_DIRECTORY where a
// folder is meant. A file it makes has the permission bits of perm that the
// umask leaves.
func (d *Dir) OpenFile(name string, flags int, perm fs.FileMode) (*os.File, error) {
	fd, err := d.resolve(name, flags, uint32(perm.Perm()))
	if err != nil {
		return nil, fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Unnamed makes a file that has no name, open for reading and writing, in the
// filesystem of name's folder: by O_TMPFILE, or where there is none by making
// name, which must not exist, and removing it at once.
func (d *Dir) Unnamed(name string) (*os.File, error) {
	if err := CheckName(name); err != nil {
		return nil, fail("create", name, err)
	}
	folder, _ := split(name)
	if fd, err := d.resolve(folder, unix.O_RDWR|tmpfile, 0o600); tmpfile != 0 && err == nil {
		return os.NewFile(uintptr(fd), name), nil
	}
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := d.Remove(name); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Stat describes name. The last element may be a link, which is described.
func (d *Dir) Stat(name string) (Info, error) {
	info, err := d.stat(name)
	if err != nil {
		return Info{}, fail("stat", name, err)
	}
	return info, nil
}

func (d *Dir) stat(name string) (Info, error) {
	var st unix.Stat_t
	err := d.at(name, func(fd int, base string) error {
		if base == "." {
			return unix.Fstat(fd, &st)
		}
		return unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return Info{}, err
	}
	return infoOf(&st), nil
}

// Mkdir makes the folder name.
func (d *Dir) Mkdir(name string, perm fs.FileMode) error {
	err := d.at(name, func(fd int, base string) error { return unix.Mkdirat(fd, base, uint32(perm.Perm())) })
	if err != nil {
		return fail("mkdir", name, err)
	}
	return nil
}

// MkdirAll makes the folder name and those it is in, where they are missing,
// and returns the names of the ones it made, the outermost first, also when it
// fails half way. What exists and is not a folder is an error.
func (d *Dir) MkdirAll(name string, perm fs.FileMode) (made []string, err error) {
	if err := CheckName(name); err != nil {
		return nil, fail("mkdir", name, err)
	}
	if info, err := d.stat(name); err == nil && info.Mode.IsDir() {
		return nil, nil
	}
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		prefix := name[:i]
		err := d.at(prefix, func(fd int, base string) error { return unix.Mkdirat(fd, base, uint32(perm.Perm())) })
		if err == nil {
			made = append(made, prefix)
			continue
		}
		if err != unix.EEXIST {
			return made, fail("mkdir", prefix, err)
		}
		info, err := d.stat(prefix)
		switch {
		case err != nil:
		case info.Mode&fs.ModeSymlink != 0:
			err = ErrLink
		case !info.Mode.IsDir():
			err = unix.ENOTDIR
		}
		if err != nil {
			return made, fail("mkdir", prefix, err)
		}
	}
	return made, nil
}

// Remove removes the file, link or empty folder name.
func (d *Dir) Remove(name string) error {
	if name == "." {
		return fail("remove", name, ErrName)
	}
	err := d.at(name, func(fd int, base string) error {
		err := unix.Unlinkat(fd, base, 0)
		// POSIX says EPERM for a folder, Linux EISDIR.
		if err == unix.EISDIR || err == unix.EPERM {
			if e := unix.Unlinkat(fd, base, unix.AT_REMOVEDIR); e != unix.ENOTDIR {
				return e
			}
		}
		return err
	})
	if err != nil {
		return fail("remove", name, err)
	}
	return nil
}

// Rename moves the entry from/old to to/new, replacing what is there as
// rename(2) does. Across filesystems it fails with syscall.EXDEV.
func Rename(from *Dir, old string, to *Dir, new string) error {
	return rename(from, old, to, new, unix.Renameat)
}

// RenameNoReplace is Rename, but fails with an error that wraps fs.ErrExist
// when new exists, and with one that wraps [errors.ErrUnsupported] where the
// filesystem cannot promise that.
func RenameNoReplace(from *Dir, old string, to *Dir, new string) error {
	return rename(from, old, to, new, renameNoReplace)
}

// Link gives the file d/old the further name d/new, which must not exist: else it
// fails with an error that wraps [fs.ErrExist]. Of several who do this at once with
// the same new name one succeeds, on every filesystem that has links.
func (d *Dir) Link(old, new string) error {
	if old == "." || new == "." {
		return fail("link", old, ErrName)
	}
	target, newBase, err := d.parent(new)
	if err != nil {
		return fail("link", new, err)
	}
	defer unix.Close(target)
	err = d.at(old, func(fd int, base string) error { return unix.Linkat(fd, base, target, newBase, 0) })
	if err != nil {
		return fail("link", old, fmt.Errorf("to %s: %w", new, err))
	}
	return nil
}

func rename(from *Dir, old string, to *Dir, new string, call func(int, string, int, string) error) error {
	if old == "." || new == "." {
		return fail("rename", old, ErrName)
	}
	target, newBase, err := to.parent(new)
	if err != nil {
		return fail("rename", new, err)
	}
	defer unix.Close(target)
	err = from.at(old, func(fd int, base string) error { return call(fd, base, target, newBase) })
	if err != nil {
		return fail("rename", old, fmt.Errorf("to %s: %w", new, err))
	}
	return nil
}

// ReadDir lists the folder name, sorted by bytes. More than 1,048,576 names are
// an error.
func (d *Dir) ReadDir(name string) ([]Entry, error) {
	fd, err := d.resolve(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fail("list", name, err)
	}
	defer unix.Close(fd)
	entries, err := list(fd, maxEntries+1)
	if err != nil {
		return nil, fail("list", name, err)
	}
	if len(entries) > maxEntries {
		return nil, fail("list", name, fmt.Errorf("more than %d names", maxEntries))
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	return entries, nil
}

// Sync makes the names in the folder durable.
func (d *Dir) Sync() error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	err := error(fs.ErrClosed)
	if d.fd >= 0 {
		err = retry(func() error { return unix.Fsync(d.fd) })
	}
	if err != nil {
		return fail("sync", ".", err)
	}
	return nil
}

// resolve opens name with flags. The descriptor does not reach subprocesses, no
// terminal becomes ours, and a FIFO without a writer does not block.
func (d *Dir) resolve(name string, flags int, perm uint32) (int, error) {
	if err := CheckName(name); err != nil {
		return -1, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.fd < 0 {
		return -1, fs.ErrClosed
	}
	// openat2 refuses flags and modes it has no use for.
	if pathOnly == 0 || flags&pathOnly == 0 {
		flags |= unix.O_NOCTTY | unix.O_NONBLOCK
	}
	if flags&unix.O_CREAT == 0 && flags&tmpfile != tmpfile {
		perm = 0
	}
	flags |= unix.O_CLOEXEC | unix.O_NOFOLLOW
	var fd int
	var err error
	if d.walk {
		fd, err = d.resolveByElement(name, flags, perm)
	} else {
		fd, err = openat2(d.fd, name, flags, perm)
	}
	switch err {
	case nil:
		return fd, nil
	case unix.ELOOP:
		return -1, ErrLink
	case unix.EXDEV:
		return -1, ErrEscapes
	case unix.ENOTDIR:
		// With O_DIRECTORY Linux says ENOTDIR of a link. Only the kind of error
		// depends on this second look, so it may lose a race.
		if d.linked(name) {
			return -1, ErrLink
		}
	}
	return -1, err
}

// resolveByElement opens name without openat2: the folders on the way one by
// one, none of which may be a link, then the last element.
func (d *Dir) resolveByElement(name string, flags int, perm uint32) (int, error) {
	at := d.fd
	for {
		i := strings.IndexByte(name, '/')
		if i < 0 {
			break
		}
		next, err := openat(at, name[:i], pathOnly|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if at != d.fd {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at, name = next, name[i+1:]
	}
	fd, err := openat(at, name, flags, perm)
	if at != d.fd {
		unix.Close(at)
	}
	return fd, err
}

// linked reports whether an element of name is a link. The lock is held.
func (d *Dir) linked(name string) bool {
	at := d.fd
	defer func() {
		if at != d.fd {
			unix.Close(at)
		}
	}()
	for {
		element, rest, more := strings.Cut(name, "/")
		var st unix.Stat_t
		if unix.Fstatat(at, element, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return false
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return true
		}
		if !more {
			return false
		}
		next, err := openat(at, element, pathOnly|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		if at != d.fd {
			unix.Close(at)
		}
		at, name = next, rest
	}
}

// parent opens the folder name is in, as a starting point only, and returns it
// with the name's last element. The caller closes it.
func (d *Dir) parent(name string) (fd int, base string, err error) {
	if err := CheckName(name); err != nil {
		return -1, "", err
	}
	folder, base := split(name)
	fd, err = d.resolve(folder, pathOnly|unix.O_DIRECTORY, 0)
	return fd, base, err
}

// at calls f with the folder name is in and its last element. Nothing f does
// with a single element can leave that folder, unless it follows a link.
func (d *Dir) at(name string, f func(fd int, base string) error) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if strings.IndexByte(name, '/') < 0 {
		d.mu.RLock()
		defer d.mu.RUnlock()
		if d.fd < 0 {
			return fs.ErrClosed
		}
		return retry(func() error { return f(d.fd, name) })
	}
	fd, base, err := d.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return retry(func() error { return f(fd, base) })
}

func openat(at int, name string, flags int, perm uint32) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(at, name, flags, perm)
		return err
	})
	return fd, err
}

// retry repeats a call that a signal interrupted, within bounds.
func retry(call func() error) (err error) {
	for range maxRetries {
		if err = call(); err != unix.EINTR {
			return err
		}
	}
	return err
}
