package beneath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pathOnly    = unix.O_PATH
	tmpfile     = unix.O_TMPFILE
	noAttribute = unix.ENODATA

	caseFolded = 0x40000000 // FS_CASEFOLD_FL of FS_IOC_GETFLAGS
)

// openat2 opens name beneath the folder at, without following links.
func openat2(at int, name string, flags int, perm uint32) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   uint64(flags),
		Mode:    uint64(perm),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range maxRetries {
		fd, err = unix.Openat2(at, name, &how)
		// EAGAIN: something was renamed meanwhile and the kernel could not tell
		// whether the name stayed beneath.
		if err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	return fd, err
}

// hasOpenat2 reports whether openat2 can be used; old kernels answer ENOSYS,
// seccomp filters that do not know it ENOSYS or EPERM.
func hasOpenat2(fd int) bool {
	probe, err := openat2(fd, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(probe)
	return true
}

func renameNoReplace(from int, old string, to int, new string) error {
	err := unix.Renameat2(from, old, to, new, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		return fmt.Errorf("%w (%w)", errors.ErrUnsupported, err)
	}
	return err
}

// list returns up to max entries of the folder fd from its beginning, in the
// order of the filesystem.
func list(fd, max int) ([]Entry, error) {
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return nil, err
	}
	var entries []Entry
	buf := make([]byte, 32<<10)
	for {
		var n int
		err := retry(func() (err error) {
			n, err = unix.Getdents(fd, buf)
			return err
		})
		if err != nil || n == 0 {
			return entries, err
		}
		// struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name, NUL
		for b := buf[:n]; len(b) >= 19; {
			size := int(binary.NativeEndian.Uint16(b[16:]))
			if size < 19 || size > len(b) {
				return nil, unix.EIO
			}
			name := b[19:size]
			if i := bytes.IndexByte(name, 0); i >= 0 {
				name = name[:i]
			}
			kind := b[18]
			b = b[size:]
			if string(name) == "." || string(name) == ".." {
				continue
			}
			e := Entry{Name: string(name)}
			if kind == unix.DT_UNKNOWN {
				var st unix.Stat_t
				err := unix.Fstatat(fd, e.Name, &st, unix.AT_SYMLINK_NOFOLLOW)
				if err == unix.ENOENT {
					continue
				}
				if err != nil {
					return nil, err
				}
				e.Type = modeOf(st.Mode).Type()
			} else {
				e.Type = modeOf(uint32(kind) << 12).Type() // DT_* are the type bits of a mode
			}
			if entries = append(entries, e); len(entries) == max {
				return entries, nil
			}
		}
	}
}

// mountID asks for the id of a mount: from Linux 6.8 on one that no other mount has
// had since the machine was started.
const mountID = unix.STATX_MNT_ID | unix.STATX_MNT_ID_UNIQUE

// mountOf returns the id of the mount an entry is on, or before Linux 5.8 that of
// its filesystem, which several mounts share.
func mountOf(fd int, name string) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, mountID, &st)
	if err != nil {
		return 0, err
	}
	if st.Mask&mountID == 0 {
		return unix.Mkdev(st.Dev_major, st.Dev_minor), nil
	}
	return st.Mnt_id, nil
}

// statMount describes an entry of the folder fd, and returns the id of the mount it
// is on, as mountOf does.
func statMount(fd int, name string) (Info, uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS|mountID, &st)
	if err != nil {
		return Info{}, 0, err
	}
	info := Info{
		Mode: modeOf(uint32(st.Mode)), Size: int64(st.Size), Nlink: uint64(st.Nlink), //nolint:gosec // no file has 2⁶³ bytes
		Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino, UID: st.Uid,
		Mtime: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)), Ctime: time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec)),
	}
	if st.Mask&mountID == 0 {
		return info, info.Dev, nil
	}
	return info, st.Mnt_id, nil
}

// frozen returns EPERM for an entry that is immutable or append-only, which
// access(2) does not say of the superuser.
func frozen(fd int, name string) error {
	var st unix.Statx_t
	if err := unix.Statx(fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st); err != nil {
		return err
	}
	if st.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0 {
		return unix.EPERM
	}
	return nil
}

// clone makes the empty file dst share the blocks of src, where the filesystem
// can.
func clone(dst, src *os.File) bool {
	return control(dst, func(to int) error {
		return control(src, func(from int) error { return unix.IoctlFileClone(to, from) })
	}) == nil
}

// unfit names the filesystems that hold no files of people: reading or writing
// there changes or shows the machine.
var unfit = map[uint32]string{
	unix.AAFS_MAGIC:            "apparmorfs",
	unix.ANON_INODE_FS_MAGIC:   "anon_inodefs",
	unix.AUTOFS_SUPER_MAGIC:    "autofs",
	unix.BDEVFS_MAGIC:          "bdev",
	unix.BINDERFS_SUPER_MAGIC:  "binder",
	unix.BINFMTFS_MAGIC:        "binfmt_misc",
	unix.BPF_FS_MAGIC:          "bpf",
	unix.CGROUP2_SUPER_MAGIC:   "cgroup2",
	unix.CGROUP_SUPER_MAGIC:    "cgroup",
	unix.DAXFS_MAGIC:           "dax",
	unix.DEBUGFS_MAGIC:         "debugfs",
	unix.DEVMEM_MAGIC:          "devmem",
	unix.DEVPTS_SUPER_MAGIC:    "devpts",
	unix.DMA_BUF_MAGIC:         "dmabuf",
	unix.EFIVARFS_MAGIC:        "efivarfs",
	unix.FUTEXFS_SUPER_MAGIC:   "futexfs",
	unix.GUEST_MEMFD_MAGIC:     "guest_memfd",
	unix.HUGETLBFS_MAGIC:       "hugetlbfs",
	unix.MTD_INODE_FS_MAGIC:    "mtd",
	unix.NSFS_MAGIC:            "nsfs",
	unix.OPENPROM_SUPER_MAGIC:  "openpromfs",
	unix.PID_FS_MAGIC:          "pidfs",
	unix.PIPEFS_MAGIC:          "pipefs",
	unix.PROC_SUPER_MAGIC:      "proc",
	unix.PSTOREFS_MAGIC:        "pstore",
	unix.RDTGROUP_SUPER_MAGIC:  "resctrl",
	unix.SECRETMEM_MAGIC:       "secretmem",
	unix.SECURITYFS_MAGIC:      "securityfs",
	unix.SELINUX_MAGIC:         "selinuxfs",
	unix.SMACK_MAGIC:           "smackfs",
	unix.SOCKFS_MAGIC:          "sockfs",
	unix.SYSFS_MAGIC:           "sysfs",
	unix.TRACEFS_MAGIC:         "tracefs",
	unix.USBDEVICE_SUPER_MAGIC: "usbdevfs",
	unix.XENFS_SUPER_MAGIC:     "xenfs",
	0x19800202:                 "mqueue",
	0x62656570:                 "configfs",
	0x65735543:                 "fusectl",
	0x67596969:                 "rpc_pipefs",
	0x6e667364:                 "nfsd",
	0x6d6f6472:                 "functionfs",
}

// folding names the filesystems on which two spellings can be one file.
var folding = map[uint32]string{
	unix.ADFS_SUPER_MAGIC:  "adfs",
	unix.AFFS_SUPER_MAGIC:  "affs",
	unix.CIFS_SUPER_MAGIC:  "cifs",
	unix.EXFAT_SUPER_MAGIC: "exfat",
	unix.HPFS_SUPER_MAGIC:  "hpfs",
	unix.MSDOS_SUPER_MAGIC: "vfat",
	unix.NCP_SUPER_MAGIC:   "ncpfs",
	unix.SMB2_SUPER_MAGIC:  "smb2",
	unix.SMB_SUPER_MAGIC:   "smb",
	0x4244:                 "hfs",
	0x482b:                 "hfsplus",
	0x5346544e:             "ntfs",
	0x7366746e:             "ntfs3",
	0x786f4256:             "vboxsf",
	0x7c7c6673:             "prl_fs",
}

// Storage returns an error that names the filesystem of an open file unless it
// is one that stores files under names that are told apart by their bytes. All
// files of one Info.Dev have the same answer.
func Storage(f *os.File) error {
	var st unix.Statfs_t
	if err := control(f, func(fd int) error { return unix.Fstatfs(fd, &st) }); err != nil {
		return fail("statfs", f.Name(), err)
	}
	return judge(&st)
}

func judge(st *unix.Statfs_t) error {
	return judgeMagic(uint32(st.Type)) //nolint:gosec // magic numbers have 32 bits; some systems sign-extend them
}

func judgeMagic(magic uint32) error {
	if name, ok := unfit[magic]; ok {
		return fmt.Errorf("%s is not a filesystem that stores files", name)
	}
	if name, ok := folding[magic]; ok {
		return fmt.Errorf("%s does not tell names apart by their bytes", name)
	}
	return nil
}

// flagged reports whether the folder fd is marked as case-folded, as ext4 and
// f2fs can do folder by folder.
func flagged(f *os.File) (bool, error) {
	var flags int
	err := control(f, func(fd int) (err error) {
		flags, err = unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
		return err
	})
	switch {
	case err == nil:
		return flags&caseFolded != 0, nil
	case errors.Is(err, errors.ErrUnsupported), err == unix.ENOTTY, err == unix.EINVAL, err == unix.EPERM, err == unix.EACCES:
		return false, nil // this filesystem has no flags
	}
	return false, fmt.Errorf("reading flags: %w", err)
}
