package confine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What bounds processes and memory.
const (
	boundV1     = "cgroup v1"
	boundV2     = "cgroup v2"
	boundPidMax = "pid_max"
	boundRlimit = "rlimit"
	boundPolled = "polled"
)

// A group is the control groups of one command: none, one of version 2, or one of
// version 1 for each controller that there is. A nil group has nothing in it.
type group struct {
	dirs  []string // all, to be removed
	locks []int    // descriptors of them: whose lock is free belongs to a host that is gone
	pids  string   // the one that counts processes, "" if none
	mem   string   // the one that counts memory
	cpu   string   // the one that counts processor time
	v2    bool

	processes, memory string // what bounds them, "" if no group does
	processLimit      int
	memoryLimit       int64
}

// hierarchy is a mounted controller and this process's group in it.
type hierarchy struct {
	dir string
	v2  bool
}

// hierarchies finds where groups of each controller could be made: "" is the key
// of version 2's. They are this thread's: others may be in a command's just now.
func hierarchies() (map[string]hierarchy, error) {
	own, err := os.ReadFile("/proc/thread-self/cgroup")
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseHierarchies(string(own), string(mounts)), nil
}

// parseHierarchies reads /proc/PID/cgroup (cgroups(7)) and mountinfo.
func parseHierarchies(own, mounts string) map[string]hierarchy {
	paths := map[string]string{}
	for line := range strings.Lines(own) {
		// hierarchy-ID:controller-list:cgroup-path
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(f) == 3 {
			for controller := range strings.SplitSeq(f[1], ",") {
				paths[controller] = f[2]
			}
		}
	}
	found := map[string]hierarchy{}
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		f, kind := strings.Fields(before), strings.Fields(after)
		if len(f) < 6 || len(kind) < 3 {
			continue
		}
		root, at := unescape(f[3]), unescape(f[4])
		add := func(controller string, v2 bool) {
			// In a container the mount may show only what is beneath some group.
			own, ok := paths[controller]
			if rel, err := filepath.Rel(root, own); ok && err == nil && filepath.IsLocal(rel) && filepath.Clean(own) == own {
				found[controller] = hierarchy{filepath.Join(at, rel), v2}
			}
		}
		switch kind[0] {
		case "cgroup2":
			add("", true)
		case "cgroup":
			for option := range strings.SplitSeq(kind[2], ",") {
				if _, ok := paths[option]; ok {
					add(option, false)
				}
			}
		}
	}
	return found
}

// newGroup makes groups beneath this process's own, sets the limits and reads them
// back. What cannot be had is left out: the fields say what was.
func newGroup(l Limits) *group {
	g := &group{}
	found, err := hierarchies()
	if err != nil {
		return g
	}
	if h, ok := found[""]; ok {
		if parent := place2(h.dir, delegated); parent != "" {
			if dir := g.makeDir(parent); dir != "" {
				g.bound2(dir, l)
				return g
			}
		}
	}
	g.make1(found, l)
	return g
}

// startIn calls start, which starts a process, on a thread that is in the groups,
// and reports whether it was: then the process is in them from its beginning. Of
// version 1 a thread may go into a group by itself and come back, for which the
// kernel waits for nothing. The thread must be locked. The first of a process does
// not go: with it memory of the whole process would be the group's.
func (g *group) startIn(start func() error) (entered bool, err error) {
	move := func(dirs []string) error {
		for _, dir := range dirs {
			if err := write(dir, "tasks", 0); err != nil {
				return err
			}
		}
		return nil
	}
	var outside []string
	for _, dir := range g.dirs {
		outside = append(outside, filepath.Dir(dir))
	}
	// It must be able to come back: it is where it is told to go first.
	if g.v2 || unix.Gettid() == unix.Getpid() || move(outside) != nil {
		return false, start()
	}
	inside := move(g.dirs)
	if inside == nil {
		err = start()
	}
	if failed := move(outside); failed != nil {
		runtime.LockOSThread() // for good: nothing else may run on it
		return false, errors.Join(err, fmt.Errorf("confine: leave the control group: %w", failed))
	}
	if inside != nil {
		return false, start()
	}
	return true, err
}

// enter puts a process into the groups. It takes the kernel milliseconds, for it
// waits until nothing on the machine forks.
func (g *group) enter(pid int) error {
	for _, dir := range g.dirs {
		if err := write(dir, "cgroup.procs", int64(pid)); err != nil {
			return fmt.Errorf("confine: enter the control group: %w", err)
		}
	}
	return nil
}

// place2 is where groups of version 2 that bound processes and memory can be made
// by a process whose own group is own, "" if nowhere. In a group that has processes
// none can, but for the hierarchy's root: a manager that delegates one puts the
// processes into a group beneath it (systemd's DelegateSubgroup=), and they make
// others beside theirs. isDelegated says whether that is so.
func place2(own string, isDelegated func(dir string) bool) string {
	if bounds(own) {
		return own
	}
	above := filepath.Dir(own)
	if !isDelegated(above) {
		return ""
	}
	if !bounds(above) {
		// Whom it is delegated to hands the controllers on.
		f, err := os.OpenFile(filepath.Join(above, "cgroup.subtree_control"), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return ""
		}
		_, err = f.WriteString("+pids +memory")
		if errors.Join(err, f.Close()) != nil || !bounds(above) {
			return ""
		}
	}
	return above
}

// bounds reports whether groups beneath a group of version 2 can bound processes
// and memory.
func bounds(dir string) bool {
	data, _ := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	has := strings.Fields(string(data))
	return slices.Contains(has, "pids") && slices.Contains(has, "memory")
}

// delegated reports whether systemd says that a group is its processes' to divide.
func delegated(dir string) bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		value := make([]byte, 8)
		if n, err := unix.Getxattr(dir, name, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// bound2 sets the limits of a group of version 2. The last write of memory says that
// what is killed for want of it is the whole group.
func (g *group) bound2(dir string, l Limits) {
	g.v2, g.cpu = true, dir
	if g.bound(dir, "pids.max", int64(l.Processes)) {
		g.pids, g.processes, g.processLimit = dir, boundV2, l.Processes
	}
	memory := l.Memory / pageSize * pageSize // the kernel keeps whole pages
	if g.bound(dir, "memory.max", memory) && g.bound(dir, "memory.oom.group", 1) {
		// Without swap accounting the file is not there, nor what it would bound.
		_ = write(dir, "memory.swap.max", 0)
		g.mem, g.memory, g.memoryLimit = dir, boundV2, memory
	}
}

func (g *group) make1(found map[string]hierarchy, l Limits) {
	enter := func(controller string) string {
		h, ok := found[controller]
		if !ok || h.v2 {
			return ""
		}
		return g.makeDir(h.dir)
	}
	if dir := enter("pids"); dir != "" && g.bound(dir, "pids.max", int64(l.Processes)) {
		g.pids, g.processes, g.processLimit = dir, boundV1, l.Processes
	}
	memory := l.Memory / pageSize * pageSize
	if dir := enter("memory"); dir != "" && g.bound(dir, "memory.limit_in_bytes", memory) {
		_ = write(dir, "memory.memsw.limit_in_bytes", memory) // as memory.swap.max above
		g.mem, g.memory, g.memoryLimit = dir, boundV1, memory
	}
	g.cpu = enter("cpuacct")
}

// groupPrefix is how names of groups begin.
const groupPrefix = "agenthost-"

// makeDir makes a folder in a hierarchy and locks it, and removes those that hosts
// left there which were killed. It returns "" if it cannot.
func (g *group) makeDir(parent string) string {
	left, _ := filepath.Glob(filepath.Join(parent, groupPrefix+"*"))
	for _, dir := range left {
		if fd, ok := lockDir(dir, unix.LOCK_EX); ok {
			_ = unix.Rmdir(dir) // not while a process is in it
			unix.Close(fd)
		}
	}
	// Between making and locking one, another host may take it for left.
	for range 3 {
		dir, err := os.MkdirTemp(parent, groupPrefix)
		if err != nil {
			return ""
		}
		fd, ok := lockDir(dir, unix.LOCK_SH)
		if !ok {
			continue
		}
		var opened, named unix.Stat_t
		if unix.Fstat(fd, &opened) != nil || unix.Stat(dir, &named) != nil || opened.Ino != named.Ino {
			unix.Close(fd)
			continue
		}
		g.dirs, g.locks = append(g.dirs, dir), append(g.locks, fd)
		return dir
	}
	return ""
}

func lockDir(dir string, how int) (fd int, ok bool) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, false
	}
	if err := unix.Flock(fd, how|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return -1, false
	}
	return fd, true
}

var pageSize = int64(os.Getpagesize())

// bound sets a limit and reports whether the kernel says it stands.
func (g *group) bound(dir, name string, limit int64) bool {
	if err := write(dir, name, limit); err != nil {
		return false
	}
	got, err := number(dir, name)
	return err == nil && got == limit
}

// usage takes over what the groups counted, where they did.
func (g *group) usage(u *Usage) {
	if g == nil {
		return
	}
	peak, cpu := "memory.max_usage_in_bytes", "cpuacct.usage"
	if g.v2 {
		peak = "memory.peak"
	}
	if g.mem != "" {
		if n, err := number(g.mem, peak); err == nil {
			u.Memory = n
		}
	}
	if g.cpu == "" {
		return
	}
	if n, err := number(g.cpu, cpu); err == nil && !g.v2 {
		u.CPU = time.Duration(n)
	} else if n, ok := keyed(g.cpu, "cpu.stat", "usage_usec"); ok && g.v2 {
		u.CPU = time.Duration(n) * time.Microsecond
	}
}

// outOfMemory reports whether the kernel killed something of it for memory.
func (g *group) outOfMemory() bool {
	if g == nil || g.mem == "" {
		return false
	}
	file := "memory.oom_control"
	if g.v2 {
		file = "memory.events"
	}
	n, _ := keyed(g.mem, file, "oom_kill")
	return n > 0
}

// left counts the processes that are still in it.
func (g *group) left() (int, error) {
	if g == nil || g.pids == "" {
		return 0, nil
	}
	data, err := os.ReadFile(filepath.Join(g.pids, "cgroup.procs"))
	return len(bytes.Fields(data)), err
}

// close removes the groups. The kernel may take a moment to let go of the last
// process.
func (g *group) close() {
	if g == nil {
		return
	}
	for _, dir := range g.dirs {
		for range 100 {
			if err := unix.Rmdir(dir); err != unix.EBUSY {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	for _, fd := range g.locks {
		unix.Close(fd)
	}
	g.dirs, g.locks = nil, nil
}

func write(dir, name string, n int64) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.FormatInt(n, 10))
	return errors.Join(err, f.Close())
}

// number reads a file that holds one number.
func number(dir, name string) (int64, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return n, nil
}

// keyed reads a number from a file of lines of a key and a number.
func keyed(dir, name, key string) (int64, bool) {
	data, _ := os.ReadFile(filepath.Join(dir, name))
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == key {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// pidMax is what to bound the numbers of a namespace's processes by where no group
// counts them: 0 if the user's own limit does. The kernel does not give the first
// 300 numbers out again, so that they come on top.
func pidMax(l Limits) (int, error) {
	if os.Getuid() != 0 {
		return 0, nil
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return 0, fmt.Errorf("confine: uname: %w", err)
	}
	// Before, there is one for the whole machine, and it would be that one.
	if release := unix.ByteSliceToString(name.Release[:]); !atLeast(release, 6, 14) {
		return 0, &MissingError{"process limit", "no cgroup can be made, and Linux " + release + " has one pid_max for all", processRemedy}
	}
	return 300 + l.Processes, nil
}

// atLeast compares a kernel's release.
func atLeast(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
}
