package confine

import (
	"fmt"

	landlock "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Rights of Landlock, in the combinations that are granted.
const (
	landlockRead    = landlock.AccessFSReadFile | landlock.AccessFSReadDir
	landlockExecute = landlockRead | landlock.AccessFSExecute
	landlockWrite   = landlockRead | landlock.AccessFSWriteFile | landlock.AccessFSTruncate |
		landlock.AccessFSRemoveDir | landlock.AccessFSRemoveFile | landlock.AccessFSMakeDir |
		landlock.AccessFSMakeReg | landlock.AccessFSRefer
	landlockScratch = landlockWrite | landlock.AccessFSMakeSym

	// onFiles are the rights that a rule about a file can grant.
	onFiles = landlock.AccessFSExecute | landlock.AccessFSWriteFile | landlock.AccessFSReadFile |
		landlock.AccessFSTruncate | landlock.AccessFSIoctlDev
)

// rights of Landlock for each access.
var rights = map[Access]uint64{
	Read: landlockRead, Execute: landlockExecute, Write: landlockWrite, Scratch: landlockScratch,
}

// leastLandlock is the first version that governs truncation (Linux 6.2): before,
// a file that can be opened could be emptied.
const leastLandlock = 3

// handled is what a version of Landlock can be asked to refuse
// (https://docs.kernel.org/userspace-api/landlock.html, Previous limitations).
func handled(version int) landlock.RulesetAttr {
	a := landlock.RulesetAttr{HandledAccessFS: landlock.AccessFSTruncate<<1 - 1}
	if version >= 4 {
		a.HandledAccessNet = landlock.AccessNetBindTCP | landlock.AccessNetConnectTCP
	}
	if version >= 5 {
		a.HandledAccessFS |= landlock.AccessFSIoctlDev
	}
	if version >= 6 {
		a.Scoped = landlock.ScopeAbstractUnixSocket | landlock.ScopeSignal
	}
	if version >= 9 {
		a.HandledAccessFS |= landlock.AccessFSResolveUnix
	}
	return a
}

// landlockVersion is the version of Landlock, if it is one that will do.
func landlockVersion() (int, error) {
	version, err := landlock.LandlockGetABIVersion()
	if err == nil && version < leastLandlock {
		err = fmt.Errorf("version %d is older than %d", version, leastLandlock)
	}
	if err != nil {
		return 0, &MissingError{"landlock", err.Error(), landlockRemedy}
	}
	return version, nil
}

// restrict puts this thread under a Landlock domain that grants what the view is
// for, and returns the version of Landlock. The view must stand: a domain refuses
// mounts.
func (s *Spec) restrict() (int, error) {
	version, err := landlockVersion()
	if err != nil {
		return 0, err
	}
	attr := handled(version)
	ruleset, err := landlock.LandlockCreateRuleset(&attr, 0)
	if err != nil {
		return 0, fmt.Errorf("confine: landlock: %w", err)
	}
	defer unix.Close(ruleset)
	grant := func(name string, rights uint64) error {
		return addRule(ruleset, name, rights&attr.HandledAccessFS)
	}
	// Folders of the view itself hold nothing but what was put there.
	if err := grant("/", landlock.AccessFSReadDir); err != nil {
		return 0, err
	}
	if err := grant("/proc", landlockRead); err != nil {
		return 0, err
	}
	if err := grant("/dev/shm", landlockWrite); err != nil {
		return 0, err
	}
	for _, d := range devices {
		if err := grant(d, landlock.AccessFSReadFile|landlock.AccessFSWriteFile); err != nil {
			return 0, err
		}
	}
	for _, name := range s.System {
		if err := grant(name, landlockExecute); err != nil && !isAbsent(err) {
			return 0, err
		}
	}
	for _, name := range s.Etc {
		if err := grant(name, landlockRead); err != nil && !isAbsent(err) {
			return 0, err
		}
	}
	for _, b := range s.Binds {
		if err := grant(b.Target, rights[b.Access]); err != nil {
			return 0, err
		}
	}
	if err := landlock.LandlockRestrictSelf(ruleset, 0); err != nil {
		return 0, fmt.Errorf("confine: landlock: %w", err)
	}
	return version, nil
}

// addRule grants rights to a file or folder of the view and all beneath it.
func addRule(ruleset int, name string, rights uint64) error {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("confine: landlock: open %s: %w", name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("confine: landlock: stat %s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= onFiles
	}
	rule := landlock.PathBeneathAttr{AllowedAccess: rights, ParentFd: fd}
	if err := landlock.LandlockAddPathBeneathRule(ruleset, &rule, 0); err != nil {
		return fmt.Errorf("confine: landlock: grant %s: %w", name, err)
	}
	return nil
}
