package confine

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// inFull is what the filter of the tier Full answers to a call.
func inFull(c call) ruling { return c.ruling }

// inLandlock is what it answers in the tier Landlock, of a version. There is no
// namespace in which nothing else can be named and no mount that is read-only:
// what both kept out of reach is refused here. Calls that change a file's mode,
// owner, times or attributes work on a file that is open for reading, so that
// those of a descriptor are no better than those of a path.
func inLandlock(version int) func(call) ruling {
	changed := map[string]ruling{
		"chmod": refuse, "fchmod": refuse, "fchmodat": refuse, "fchmodat2": refuse,
		"chown": refuse, "fchown": refuse, "lchown": refuse, "fchownat": refuse,
		"utime": refuse, "utimes": refuse, "futimesat": refuse, "utimensat": refuse,
		"file_getattr": absent, "ioctl": controls,
		// It tells of folders that were never opened.
		"inotify_add_watch": refuse,

		"prlimit64": limitOwn, "setpriority": selves, "ioprio_set": selves,
		"sched_setparam": self, "sched_setscheduler": self, "sched_setaffinity": self, "sched_setattr": self,
		"prctl": orphan,
	}
	for _, xattr := range []string{"get", "set", "list", "remove"} {
		for _, form := range []string{xattr, "l" + xattr, "f" + xattr} {
			changed[form+"xattr"] = without
		}
		changed[xattr+"xattrat"] = without
	}
	if version < scopedLandlock {
		for _, name := range []string{"tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"} {
			changed[name] = refuse
		}
		changed["kill"], changed["fcntl"] = self, owner
	}
	return func(c call) ruling {
		if r, ok := changed[c.name]; ok {
			return r
		}
		return c.ruling
	}
}

// apart checks what no mount sees to in the tier Landlock, where what is granted
// for a folder is granted for all beneath it: that nothing that can be written can
// be executed, or is there for reading only.
func (s *Spec) apart() error {
	reals := map[string]string{}
	real := func(b Bind) (string, error) {
		root, ok := reals[b.Root]
		if !ok {
			var err error
			if root, err = filepath.EvalSymlinks(b.Root); err != nil {
				return "", fmt.Errorf("confine: %w", err)
			}
			reals[b.Root] = root
		}
		return filepath.Join(root, b.Name), nil
	}
	places := make([]string, len(s.Binds))
	var written []int // of few
	for i, b := range s.Binds {
		p, err := real(b)
		if err != nil {
			return err
		}
		places[i] = p
		if b.Access.writes() {
			written = append(written, i)
		}
	}
	for i, p := range places {
		for _, j := range written {
			switch w := places[j]; {
			case i == j:
			case p == w:
				return fmt.Errorf("confine: %s is bound twice", p)
			case within(p, w):
				return fmt.Errorf("confine: %s lies in %s, which can be written", p, w)
			case s.Binds[i].Access == Execute && within(w, p):
				return fmt.Errorf("confine: %s lies in %s, which can be executed", w, p)
			}
		}
	}
	return nil
}

// grantPaths grants, for the tier Landlock, what is bound at its real path.
func (r *ruleset) grantPaths(s *Spec) error {
	for _, d := range devices {
		if err := r.grant(d, landlockDevice); err != nil {
			return err
		}
	}
	for _, name := range s.System {
		if err := r.grant(name, landlockExecute); err != nil && !isAbsent(err) {
			return err
		}
	}
	top, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("confine: open /: %w", err)
	}
	defer unix.Close(top)
	for _, name := range s.Etc {
		fd, err := openBeneath(top, strings.TrimPrefix(name, "/"))
		if err == unix.ENOENT || err == unix.ELOOP {
			continue
		} else if err != nil {
			return fmt.Errorf("confine: open %s: %w", name, err)
		}
		err = r.add(fd, name, landlockRead)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	for _, b := range s.Binds {
		if err := r.addBind(b); err != nil {
			return err
		}
	}
	return nil
}

// addBind grants b, if it is what was judged.
func (r *ruleset) addBind(b Bind) error {
	root, err := unix.Open(b.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("confine: open %s: %w", b.Root, err)
	}
	defer unix.Close(root)
	fd, err := openBeneath(root, b.Name)
	if err != nil {
		return fmt.Errorf("confine: open %s of %s: %w", b.Name, b.Root, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("confine: stat %s of %s: %w", b.Name, b.Root, err)
	}
	if err := b.check(&st); err != nil {
		return err
	}
	return r.add(fd, filepath.Join(b.Root, b.Name), rights[b.Access])
}
