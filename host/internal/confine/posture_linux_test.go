package confine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// posture prints what this process finds itself to be.
func posture() int {
	words := func(label string, w []string) {
		slices.Sort(w)
		fmt.Println(label, strings.Join(w, " "))
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	first, _ := os.ReadFile("/proc/1/environ")
	fmt.Println("pid", os.Getpid())
	fmt.Println("uid", os.Getuid(), "gid", os.Getgid())
	words("descriptors", descriptors())
	words("environment", os.Environ())
	words("first process's environment", strings.Split(strings.TrimSuffix(string(first), "\x00"), "\x00"))
	processes, _ := filepath.Glob("/proc/[0-9]*")
	fmt.Println("processes", len(processes))
	fmt.Printf("umask %04o\n", unix.Umask(0))
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		if strings.HasPrefix(key, "Cap") || key == "NoNewPrivs" || key == "Seccomp" {
			fmt.Println(key, value)
		}
	}
	bits, _ := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	fmt.Printf("securebits %#x\n", bits)
	fmt.Println("interfaces", interfaces())
	table, _ := os.ReadFile("/proc/self/mountinfo")
	var mounts []string
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		// What the machine has at its own places differs from one to the next.
		if strings.HasPrefix(f[4], "/usr") || strings.HasPrefix(f[4], "/etc/") || strings.HasPrefix(f[4], "/lib") || strings.HasPrefix(f[4], "/bin") || strings.HasPrefix(f[4], "/sbin") {
			continue
		}
		flags := slices.DeleteFunc(strings.Split(f[5], ","), func(s string) bool { return s == "rw" || strings.HasSuffix(s, "atime") })
		mounts = append(mounts, "mount "+f[4]+" "+strings.Join(flags, ","))
	}
	slices.Sort(mounts)
	fmt.Println(strings.Join(mounts, "\n"))
	for _, x := range []struct {
		name     string
		resource int
	}{{"core", unix.RLIMIT_CORE}, {"data", unix.RLIMIT_DATA}, {"files", unix.RLIMIT_NOFILE}, {"processes", unix.RLIMIT_NPROC}} {
		var l unix.Rlimit
		if err := unix.Getrlimit(x.resource, &l); err != nil {
			fmt.Println(err)
		}
		fmt.Println(x.name, l.Max)
	}
	return 0
}

// descriptors that are open.
func descriptors() (open []string) {
	for fd := range 1000 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil {
			continue
		}
		// Go's runtime makes some of its own, to wait with.
		if at, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); !strings.HasPrefix(at, "anon_inode:[event") {
			open = append(open, strconv.Itoa(fd))
		}
	}
	return open
}

// lowerPosture is what can be known of that without /proc.
func lowerPosture() int {
	fmt.Println("descriptors", strings.Join(descriptors(), " "))
	variables := os.Environ()
	slices.Sort(variables)
	fmt.Println("environment", strings.Join(variables, " "))
	fmt.Printf("umask %04o\n", unix.Umask(0))
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var has [2]unix.CapUserData
	err := unix.Capget(&header, &has[0])
	fmt.Println("capabilities", has, err)
	privileges, err1 := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	mode, err2 := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	fmt.Println("no_new_privs", privileges, err1, "seccomp", mode, err2)
	session, _ := unix.Getsid(0)
	fmt.Println("leads its session", session == os.Getpid())
	for _, x := range []struct {
		name     string
		resource int
	}{{"core", unix.RLIMIT_CORE}, {"data", unix.RLIMIT_DATA}, {"files", unix.RLIMIT_NOFILE}} {
		var l unix.Rlimit
		_ = unix.Getrlimit(x.resource, &l)
		fmt.Println(x.name, l.Max)
	}
	var mark unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_LOCKS, &mark)
	fmt.Println("mark", mark.Max>>62 == 1 && int(mark.Max&(1<<22-1)) == os.Getppid())
	return 0
}

// interfaces of the network, as far as a process without sockets can see them.
func interfaces() string {
	data, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return err.Error()
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return strings.Join(names, " ")
}
