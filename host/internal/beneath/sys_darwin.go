package beneath

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	pathOnly    = 0 // a folder on the way is opened for reading
	tmpfile     = 0
	noAttribute = unix.ENOATTR
)

func openat2(int, string, int, uint32) (int, error) { return -1, unix.ENOSYS }

func hasOpenat2(int) bool { return false }

func renameNoReplace(from int, old string, to int, new string) error {
	return unix.RenameatxNp(from, old, to, new, unix.RENAME_EXCL)
}

// list returns up to max entries of the folder fd from its beginning, in the
// order of the filesystem.
func list(fd, max int) ([]Entry, error) {
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(copied), ".")
	defer f.Close()
	if _, err := f.Seek(0, 0); err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(max)
	if err != nil && len(names) == 0 {
		return nil, nil // io.EOF: an empty folder
	}
	entries := make([]Entry, 0, len(names))
	for _, name := range names {
		var st unix.Stat_t
		err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, Entry{Name: name, Type: modeOf(uint32(st.Mode)).Type()})
	}
	return entries, nil
}

// statMount describes an entry, and returns the filesystem it is on.
func statMount(fd int, name string) (Info, uint64, error) {
	var st unix.Stat_t
	err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return infoOf(&st), uint64(st.Dev), err
}

// mountOf returns the filesystem an entry is on.
func mountOf(fd int, name string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return uint64(st.Dev), err
}

// frozen returns EPERM for an entry that is immutable or append-only.
func frozen(fd int, name string) error {
	const flags = 0x2 | 0x4 | 0x20000 | 0x40000 // UF_IMMUTABLE, UF_APPEND, SF_IMMUTABLE, SF_APPEND
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Flags&flags != 0 {
		return unix.EPERM
	}
	return nil
}

func clone(_, _ *os.File) bool { return false }

// Storage returns an error that names the filesystem of an open file unless it
// is one that stores files. That it tells names apart by their bytes cannot be
// seen here; [CaseFolded] looks.
func Storage(f *os.File) error {
	var st unix.Statfs_t
	if err := control(f, func(fd int) error { return unix.Fstatfs(fd, &st) }); err != nil {
		return fail("statfs", f.Name(), err)
	}
	return judge(&st)
}

func judge(st *unix.Statfs_t) error {
	switch name := unix.ByteSliceToString(st.Fstypename[:]); name {
	case "devfs", "fdesc", "autofs", "volfs":
		return fmt.Errorf("%s is not a filesystem that stores files", name)
	case "msdos", "exfat", "ntfs", "smbfs", "hfs", "afpfs", "cifs":
		return fmt.Errorf("%s does not tell names apart by their bytes", name)
	}
	return nil
}

func flagged(*os.File) (bool, error) { return false, nil }
