//go:build linux || darwin

package beneath

import (
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// StatFile describes an open file.
func StatFile(f *os.File) (Info, error) {
	var st unix.Stat_t
	err := control(f, func(fd int) error { return unix.Fstat(fd, &st) })
	if err != nil {
		return Info{}, fail("stat", f.Name(), err)
	}
	return infoOf(&st), nil
}

// TryLock takes the exclusive lock of an open file (see [Lock]), or fails with
// an error that wraps [ErrLocked].
func TryLock(f *os.File) error {
	err := control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		err = ErrLocked
	}
	if err != nil {
		return fail("lock", f.Name(), err)
	}
	return nil
}

// Locked reports whether somebody holds the lock of an open file (see [Lock]). It
// shares the lock for the moment it takes to ask: whoever then tries to take it
// without waiting fails.
func Locked(f *os.File) (bool, error) {
	err := control(f, func(fd int) error {
		if err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != nil {
			return err
		}
		return unix.Flock(fd, unix.LOCK_UN)
	})
	switch err {
	case nil:
		return false, nil
	case unix.EWOULDBLOCK:
		return true, nil
	}
	return false, fail("look at the lock of", f.Name(), err)
}

// HasXattr reports whether an open file has an extended attribute. A
// filesystem without such attributes has none.
func HasXattr(f *os.File, name string) (bool, error) {
	err := control(f, func(fd int) error {
		_, err := unix.Fgetxattr(fd, name, nil)
		return err
	})
	switch err {
	case nil:
		return true, nil
	case noAttribute, unix.ENOTSUP:
		return false, nil
	}
	return false, fail("read attribute "+name+" of", f.Name(), err)
}

// RemoveXattr removes an extended attribute; that there is none is no error.
func RemoveXattr(f *os.File, name string) error {
	err := control(f, func(fd int) error { return unix.Fremovexattr(fd, name) })
	switch err {
	case nil, noAttribute, unix.ENOTSUP:
		return nil
	case unix.EPERM: // said of what is not there, too
		if has, e := HasXattr(f, name); e == nil && !has {
			return nil
		}
	}
	return fail("remove attribute "+name+" of", f.Name(), err)
}

func infoOf(st *unix.Stat_t) Info {
	return Info{
		Mode: modeOf(uint32(st.Mode)), Size: st.Size, Nlink: uint64(st.Nlink), //nolint:unconvert // types differ between systems
		Dev: uint64(st.Dev), Ino: st.Ino, UID: st.Uid, //nolint:unconvert
		Mtime: time.Unix(st.Mtim.Unix()), Ctime: time.Unix(st.Ctim.Unix()),
	}
}

func modeOf(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFREG:
	default:
		mode |= fs.ModeIrregular
	}
	if m&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if m&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if m&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// control calls f with the descriptor of an open file, which stays open
// meanwhile.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = retry(func() error { return f(int(fd)) }) }); e != nil {
		return e
	}
	return err
}
