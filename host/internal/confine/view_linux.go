package confine

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// devices are the nodes of /dev that a view has.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

const (
	// old is where the machine's own root is while the view is made.
	old = "/.old"
	// shared is bytes of /dev/shm.
	shared = "16m"

	attrSafe   = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	attrRead   = attrSafe | unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOEXEC
	attrSystem = attrSafe | unix.MOUNT_ATTR_RDONLY
	attrWrite  = attrSafe | unix.MOUNT_ATTR_NOEXEC
	// A device of a read-only mount can be written all the same, but its mode, owner
	// and times are the machine's, and to a host that is root it owns the node.
	attrDevice = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_RDONLY
)

// attributes of the mount for each access.
var attributes = map[Access]uint64{Read: attrRead, Execute: attrSystem, Write: attrWrite, Scratch: attrWrite}

// A view is one while it is made.
type view struct {
	rules     *ruleset
	made      map[string]bool // folders of it
	top, root int             // descriptors of the machine's root and of the folder rootName, -1 if none
	rootName  string
}

func (v *view) close() {
	for _, fd := range []int{v.top, v.root} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// makeView makes the file system that the command sees, and leaves the machine's.
// This process is in a mount namespace of its own; nothing in here reaches the
// host's.
//
// What the command may do in it goes into rules, by the descriptors that are open
// for it anyway.
func (s *Spec) makeView(rules *ruleset) error {
	v := view{rules: rules, made: map[string]bool{}, top: -1, root: -1}
	defer v.close()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return missingMounts("make mounts private", err)
	}
	// Any folder that every machine has will do to mount the new root on: the old
	// one is seen without it again as soon as the roots are exchanged.
	if err := unix.Mount("view", "/proc", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64m,nr_inodes=131072"); err != nil {
		return missingMounts("mount a tmpfs", err)
	}
	if err := os.Mkdir("/proc"+old, 0o700); err != nil {
		return fmt.Errorf("confine: %w", err)
	}
	if err := unix.PivotRoot("/proc", "/proc"+old); err != nil {
		return missingMounts("pivot_root", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("confine: %w", err)
	}
	if err := v.bindSystem(s); err != nil {
		return err
	}
	if err := makeDevices(); err != nil {
		return err
	}
	for _, b := range s.Binds {
		if err := v.bind(b); err != nil {
			return err
		}
	}
	if err := unix.Unmount(old, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("confine: leave the machine's root: %w", err)
	}
	if err := os.Remove(old); err != nil {
		return fmt.Errorf("confine: %w", err)
	}
	if err := unix.Sethostname([]byte("confined")); err != nil {
		return fmt.Errorf("confine: name the host: %w", err)
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_set: attrRead}); err != nil {
		return fmt.Errorf("confine: make the view read-only: %w", err)
	}
	return nil
}

// bindSystem puts into the view what of the machine is seen at its own place.
func (v *view) bindSystem(s *Spec) error {
	if err := v.makeFolder(Home); err != nil {
		return err
	}
	root, err := v.open("/")
	if err != nil {
		return err
	}
	for _, p := range s.System {
		link, err := os.Readlink(old + p)
		if err == nil {
			if err := v.makeFolder(path.Dir(p)); err != nil {
				return err
			}
			if err := os.Symlink(link, p); err != nil {
				return fmt.Errorf("confine: %w", err)
			}
			continue
		}
		if err := v.bindFrom(root, p[1:], p, attrSystem, landlockExecute, true, nil); err != nil && !isAbsent(err) {
			return err
		}
	}
	if err := v.makeFolder("/etc"); err != nil {
		return err
	}
	for _, p := range s.Etc {
		err := v.bindFrom(root, p[1:], p, attrRead, landlockRead, true, nil)
		if err != nil && !isAbsent(err) && !errors.Is(err, unix.ELOOP) {
			return err
		}
	}
	for _, d := range devices {
		if err := v.bindFrom(root, d[1:], d, attrDevice, landlockDevice, false, nil); err != nil {
			return err
		}
	}
	return nil
}

// makeDevices completes /dev, and makes /proc: of this namespace's processes,
// nothing of the kernel.
func makeDevices() error {
	for name, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, name); err != nil {
			return fmt.Errorf("confine: %w", err)
		}
	}
	for _, dir := range []string{"/dev/shm", "/proc"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("confine: %w", err)
		}
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("shm", "/dev/shm", "tmpfs", flags, "mode=0700,nr_inodes=1024,size="+shared); err != nil {
		return missingMounts("mount /dev/shm", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", flags, "subset=pid,hidepid=invisible"); err != nil {
		return missingMounts("mount /proc", err)
	}
	return nil
}

// bind puts b into the view.
func (v *view) bind(b Bind) error {
	root, err := v.open(b.Root)
	if err != nil {
		return err
	}
	return v.bindFrom(root, b.Name, b.Target, attributes[b.Access], rights[b.Access], false, b.check)
}

// check sees that what was opened for b is what was judged, and of a kind that is
// bound.
func (b Bind) check(st *unix.Stat_t) error {
	switch kind := st.Mode & unix.S_IFMT; {
	case b.Inode != 0 && (b.Inode != st.Ino || b.Device != st.Dev):
		return fmt.Errorf("confine: %s of %s is not the file that was judged any more", b.Name, b.Root)
	case kind == unix.S_IFDIR:
		return nil
	case kind != unix.S_IFREG:
		return fmt.Errorf("confine: %s of %s is neither a regular file nor a folder", b.Name, b.Root)
	case b.Access.writes():
		return fmt.Errorf("confine: %s of %s is a file: what can be written is a folder", b.Name, b.Root)
	}
	return nil
}

// openBeneath opens, for no more than to name it, what is beneath a folder without
// a link on the way.
func openBeneath(root int, name string) (int, error) {
	return unix.Openat2(root, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// open opens a folder of the machine, whose links it follows as the machine would.
// The descriptor is the view's, until it opens another: binds of one folder come
// one after the other.
func (v *view) open(name string) (int, error) {
	if v.root >= 0 && v.rootName == name {
		return v.root, nil
	}
	if v.top < 0 {
		top, err := unix.Open(old, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, fmt.Errorf("confine: open %s: %w", old, err)
		}
		v.top = top
	}
	fd, err := unix.Openat2(v.top, strings.TrimPrefix(name, "/")+"/.", &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, missingMounts("open "+name, err)
	}
	if v.root >= 0 {
		unix.Close(v.root)
	}
	v.root, v.rootName = fd, name
	return fd, nil
}

// bindFrom attaches a copy of the mount of name, which is beneath the folder root
// and has no link in it, at target, and grants rights to it. All of the mounts
// beneath come along, if deep; else there must be none.
func (v *view) bindFrom(root int, name, target string, attr, rights uint64, deep bool, check func(*unix.Stat_t) error) error {
	fd, err := openBeneath(root, name)
	if err != nil {
		return fmt.Errorf("confine: open what is to be seen as %s: %w", target, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("confine: stat what is to be seen as %s: %w", target, err)
	}
	if check != nil {
		if err := check(&st); err != nil {
			return err
		}
	}
	var recursive uint
	if deep {
		recursive = unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|recursive)
	if err == unix.EINVAL && !deep {
		return fmt.Errorf("confine: what is to be seen as %s has another file system mounted beneath it", target)
	} else if err != nil {
		return missingMounts("open_tree "+target, err)
	}
	defer unix.Close(tree)
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|recursive, &unix.MountAttr{Attr_set: attr, Propagation: unix.MS_PRIVATE})
	if err != nil {
		return missingMounts("mount_setattr "+target, err)
	}
	dir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if err := v.makePoint(target, dir); err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return missingMounts("move_mount "+target, err)
	}
	return v.rules.addKind(fd, target, rights, dir)
}

// makePoint makes the folder or file that is mounted on. It is in the view's own
// tmpfs: no target is beneath another.
func (v *view) makePoint(target string, dir bool) error {
	if dir {
		return v.makeFolder(target)
	}
	if err := v.makeFolder(path.Dir(target)); err != nil {
		return err
	}
	if err := unix.Mknod(target, unix.S_IFREG|0o444, 0); err != nil {
		return fmt.Errorf("confine: make %s: %w", target, err)
	}
	return nil
}

// makeFolder makes a folder of the view with all above it.
func (v *view) makeFolder(name string) error {
	if v.made[name] {
		return nil
	}
	if err := os.MkdirAll(name, 0o755); err != nil {
		return fmt.Errorf("confine: %w", err)
	}
	v.made[name] = true
	return nil
}

func isAbsent(err error) bool { return errors.Is(err, unix.ENOENT) }

// missingMounts says that a step of making the view failed. Where it is for want
// of rights, the machine hands out user namespaces that can do nothing.
func missingMounts(step string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSYS) {
		return &MissingError{"mounts", step + ": " + err.Error(), ""}
	}
	return fmt.Errorf("confine: %s: %w", step, err)
}
