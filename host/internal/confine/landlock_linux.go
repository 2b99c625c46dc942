package confine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights of Landlock, in the combinations that are granted.
const (
	landlockRead    = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockExecute = landlockRead | unix.LANDLOCK_ACCESS_FS_EXECUTE
	landlockWrite   = landlockRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_REFER
	landlockScratch = landlockWrite | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	landlockDevice  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE

	// onFiles are the rights that a rule about a file can grant.
	onFiles = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// rights of Landlock for each access.
var rights = map[Access]uint64{
	Read: landlockRead, Execute: landlockExecute, Write: landlockWrite, Scratch: landlockScratch,
}

// leastLandlock is the first version that governs truncation (Linux 6.2): before,
// a file that can be opened could be emptied.
const leastLandlock = 3

// scopedLandlock is the first version with scopes (Linux 6.12): before, what is in a
// domain can signal what is not.
const scopedLandlock = 6

// handled is what a version of Landlock can be asked to refuse
// (https://docs.kernel.org/userspace-api/landlock.html, Previous limitations).
func handled(version int) unix.LandlockRulesetAttr {
	a := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_TRUNCATE<<1 - 1}
	if version >= 4 {
		a.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if version >= 5 {
		a.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if version >= scopedLandlock {
		a.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	if version >= 9 {
		a.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
	}
	return a
}

// landlockVersion is the version of Landlock, if it is one that will do.
func landlockVersion() (int, error) {
	version, err := askLandlockVersion()
	if err == nil && version < leastLandlock {
		err = fmt.Errorf("version %d is older than %d", version, leastLandlock)
	}
	if err != nil {
		return 0, &MissingError{"landlock", err.Error(), landlockRemedy}
	}
	return version, nil
}

// A ruleset is what a Landlock domain grants, before it is in force. Nil is for
// who wants none.
type ruleset struct {
	fd, version int
	fs          uint64 // the rights it governs
}

func newRuleset() (*ruleset, error) {
	version, err := landlockVersion()
	if err != nil {
		return nil, err
	}
	attr := handled(version)
	fd, err := createRuleset(&attr)
	if err != nil {
		return nil, fmt.Errorf("confine: landlock: %w", err)
	}
	return &ruleset{fd, version, attr.Handled_access_fs}, nil
}

// restrict puts this thread under the ruleset, for good.
func (r *ruleset) restrict() error {
	if err := restrictSelf(r.fd); err != nil {
		return fmt.Errorf("confine: landlock: %w", err)
	}
	return nil
}

// grantView grants what a view has of its own.
func (r *ruleset) grantView() error {
	for _, own := range []struct {
		name   string
		rights uint64
	}{
		// Folders of the view itself hold nothing but what was put there.
		{"/", unix.LANDLOCK_ACCESS_FS_READ_DIR},
		{"/proc", landlockRead},
		{"/dev/shm", landlockWrite},
	} {
		if err := r.grant(own.name, own.rights); err != nil {
			return err
		}
	}
	return nil
}

// grant grants rights to a file or folder and all beneath it.
func (r *ruleset) grant(name string, rights uint64) error {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("confine: landlock: open %s: %w", name, err)
	}
	defer unix.Close(fd)
	return r.add(fd, name, rights)
}

// add grants rights to what is open as fd, which is called name in errors.
func (r *ruleset) add(fd int, name string, rights uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("confine: landlock: stat %s: %w", name, err)
	}
	return r.addKind(fd, name, rights, st.Mode&unix.S_IFMT == unix.S_IFDIR)
}

// addKind is add of what is known to be a folder or not.
func (r *ruleset) addKind(fd int, name string, rights uint64, dir bool) error {
	if r == nil {
		return nil
	}
	if !dir {
		rights &= onFiles
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights & r.fs, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("confine: landlock: grant %s: %w", name, errno)
	}
	return nil
}

// askLandlockVersion is landlock_create_ruleset(2) with a flag that has it return
// the version of its interface.
func askLandlockVersion() (int, error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(version), nil
}

// createRuleset returns a descriptor, closed on exec, for rules about what a has.
// A kernel that knows less of the struct takes it if the rest is zero.
func createRuleset(a *unix.LandlockRulesetAttr) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(a)), unsafe.Sizeof(*a), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// restrictSelf puts this thread, and what it starts, under a ruleset for good.
func restrictSelf(ruleset int) error {
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return errno
	}
	return nil
}
