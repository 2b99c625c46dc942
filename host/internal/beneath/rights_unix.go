//go:build linux || darwin

package beneath

import (
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Writable returns nil if this process may make names in the folder name, as
// far as rights and the kind of mount tell.
func (d *Dir) Writable(name string) error {
	fd, err := d.resolve(name, pathOnly|unix.O_DIRECTORY, 0)
	if err != nil {
		return fail("write", name, err)
	}
	defer unix.Close(fd)
	if err := change(fd); err != nil {
		return fail("write", name, err)
	}
	return nil
}

// Replaceable returns nil if this process may rename another file over name,
// as far as rights tell: the folder's, its sticky bit, and the flags that make
// files immutable. That the file itself cannot be written does not matter.
func (d *Dir) Replaceable(name string) error {
	err := d.at(name, func(fd int, base string) error {
		if err := change(fd); err != nil {
			return err
		}
		var folder, file unix.Stat_t
		if err := unix.Fstat(fd, &folder); err != nil {
			return err
		}
		if err := unix.Fstatat(fd, base, &file, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if !owns(uint32(os.Geteuid()), folder.Mode&unix.S_ISVTX != 0, folder.Uid, file.Uid) { //nolint:gosec // ids are not negative here
			return unix.EPERM
		}
		return frozen(fd, base)
	})
	if err != nil {
		return fail("replace", name, err)
	}
	return nil
}

// owns reports whether a user may replace a file, as far as owners tell.
func owns(uid uint32, sticky bool, folder, file uint32) bool {
	return !sticky || uid == 0 || uid == folder || uid == file
}

// change returns nil if names in the folder fd can be made and replaced.
func change(fd int) error {
	err := retry(func() error { return unix.Faccessat(fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS) })
	if err != nil {
		return err
	}
	return frozen(fd, ".")
}

// Chmod sets the permission bits of name, and takes away its other bits. A link is
// [ErrLink].
func (d *Dir) Chmod(name string, perm fs.FileMode) error {
	err := d.at(name, func(fd int, base string) error {
		if base == "." {
			return unix.Fchmod(fd, uint32(perm.Perm()))
		}
		return chmod(fd, base, uint32(perm.Perm()))
	})
	if err != nil {
		return fail("chmod", name, err)
	}
	return nil
}

// chmod sets the mode of an entry of the folder fd, which may not be a link.
func chmod(fd int, name string, mode uint32) error {
	err := unix.Fchmodat(fd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.EOPNOTSUPP { // it is a link, or Linux before 6.6
		return chmodHeld(fd, name, mode)
	}
	return err
}

// chmodHeld is chmod where the kernel has no call for it: the entry is held, and
// found by its descriptor.
func chmodHeld(fd int, name string, mode uint32) error {
	held, err := openat(fd, name, pathOnly|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == unix.ELOOP {
		return ErrLink
	}
	if err != nil {
		return err
	}
	defer unix.Close(held)
	var st unix.Stat_t
	if err := unix.Fstat(held, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return ErrLink
	}
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(held), mode)
}

// Mount tells mounts apart: a file can be renamed between two names of one
// mount, and never between two. The number means nothing else; see [Unique].
func (d *Dir) Mount(name string) (mount uint64, err error) {
	err = d.at(name, func(fd int, base string) error {
		mount, err = mountOf(fd, base)
		return err
	})
	if err != nil {
		return 0, fail("stat", name, err)
	}
	return mount, nil
}
