package confine

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// canary is what this process could write were it not for Landlock.
const canary = "/proc/thread-self/comm"

// readBack fills in what the kernel says of this thread, and fails where that is
// not what was asked for.
func (s *Spec) readBack(own *os.File, r *Report, with layers) error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("confine: uname: %w", err)
	}
	r.Kernel = unix.ByteSliceToString(name.Release[:])
	now, err := readStatus(own)
	if err != nil {
		return err
	}
	r.NoNewPrivileges, r.Seccomp, r.Capabilities = now.noNewPrivileges, now.seccomp, now.capabilities
	if s.Tier == Full || os.Getuid() == 0 {
		r.Capabilities |= now.bounding
	}
	if r.NoNewPrivileges != 1 || r.Capabilities != 0 || with.seccomp && r.Seccomp != unix.SECCOMP_MODE_FILTER {
		return fmt.Errorf("confine: the fence is not what was asked for: no_new_privs %d, seccomp %d, Linux capabilities %#x",
			r.NoNewPrivileges, r.Seccomp, r.Capabilities)
	}
	if with.seccomp {
		if fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); err == nil {
			unix.Close(fd)
			return errors.New("confine: the fence does not hold: a socket could be made")
		}
	}
	if with.landlock {
		if err := tryOpen(canary, unix.O_WRONLY); !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("confine: the fence does not hold: opening %s for writing: %v", canary, err)
		}
	}
	if s.Tier == Landlock {
		if err := unix.Kill(os.Getppid(), 0); with.landlock && err != unix.EPERM {
			return fmt.Errorf("confine: the fence does not hold: a signal to another process: %v", err)
		}
	} else if r.Mounts, err = s.readMounts(); err != nil {
		return err
	}
	l := &r.Limits
	for _, x := range []struct {
		resource int
		most     uint64
	}{
		{unix.RLIMIT_CPU, seconds(l.CPU) + 1},
		{unix.RLIMIT_FSIZE, uint64(l.FileSize)},
		{unix.RLIMIT_NOFILE, uint64(l.OpenFiles)},
	} {
		var got unix.Rlimit
		if err := unix.Getrlimit(x.resource, &got); err != nil {
			return fmt.Errorf("confine: read limit %d: %w", x.resource, err)
		}
		if got.Max > x.most || got.Cur > x.most {
			return fmt.Errorf("confine: limit %d is %d, not %d", x.resource, got.Max, x.most)
		}
	}
	return nil
}

// A status is what proc_pid_status(5) says of a thread.
type status struct {
	noNewPrivileges int
	seccomp         int
	filters         int    // of seccomp
	capabilities    uint64 // in any set but the bounding one
	bounding        uint64
}

// openStatus opens that of this thread.
func openStatus() (*os.File, error) {
	f, err := os.Open("/proc/thread-self/status")
	if err != nil {
		return nil, fmt.Errorf("confine: %w", err)
	}
	return f, nil
}

// readStatus reads it as it is now, as Linux 5.9 and later have it.
func readStatus(own *os.File) (status, error) {
	var s status
	text := make([]byte, 1<<14)
	n, err := own.ReadAt(text, 0)
	if err != io.EOF {
		return s, fmt.Errorf("confine: read /proc/thread-self/status: %w", cmp.Or(err, io.ErrShortBuffer))
	}
	seen := 0
	for line := range strings.Lines(string(text[:n])) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		var err error
		switch key {
		case "NoNewPrivs":
			s.noNewPrivileges, err = strconv.Atoi(value)
		case "Seccomp":
			s.seccomp, err = strconv.Atoi(value)
		case "Seccomp_filters":
			s.filters, err = strconv.Atoi(value)
		case "CapInh", "CapPrm", "CapEff", "CapAmb":
			var set uint64
			set, err = strconv.ParseUint(value, 16, 64)
			s.capabilities |= set
		case "CapBnd":
			s.bounding, err = strconv.ParseUint(value, 16, 64)
		default:
			continue
		}
		if err != nil {
			return s, fmt.Errorf("confine: read %s: %w", key, err)
		}
		seen++
	}
	if seen != 8 {
		return s, fmt.Errorf("confine: %d of 8 lines in /proc/thread-self/status", seen)
	}
	return s, nil
}

// readMounts counts the mounts of this namespace. Each must be one that was asked
// for, with the flags it must have.
func (s *Spec) readMounts() (int, error) {
	table, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return 0, fmt.Errorf("confine: %w", err)
	}
	want := map[string]string{"/": "ro,nosuid,nodev,noexec", "/proc": "nosuid,nodev,noexec", "/dev/shm": "nosuid,nodev,noexec"}
	for _, d := range devices {
		want[d] = "ro,nosuid,noexec"
	}
	for _, p := range s.Etc {
		want[p] = "ro,nosuid,nodev,noexec"
	}
	for _, b := range s.Binds {
		switch {
		case b.Access.writes():
			want[b.Target] = "nosuid,nodev,noexec"
		case b.Access == Execute:
			want[b.Target] = "ro,nosuid,nodev"
		default:
			want[b.Target] = "ro,nosuid,nodev,noexec"
		}
	}
	system := slices.Concat(s.System, s.Etc)
	count := 0
	for line := range strings.Lines(string(table)) {
		// proc_pid_mountinfo(5): the fifth field is the place, the sixth the flags.
		rest, place := line, ""
		for range 5 {
			place, rest, _ = strings.Cut(rest, " ")
		}
		flags, _, ok := strings.Cut(rest, " ")
		if !ok {
			return 0, fmt.Errorf("confine: /proc/thread-self/mountinfo: %q", line)
		}
		place = unescape(place)
		must, ok := want[place]
		if !ok && slices.ContainsFunc(system, func(p string) bool { return within(place, p) }) {
			must, ok = "ro,nosuid,nodev", true
		}
		if !ok {
			return 0, fmt.Errorf("confine: the fence does not hold: %s is mounted, which nobody asked for", place)
		}
		count++
		if strings.HasPrefix(flags, must+",") || flags == must {
			continue // as the kernel writes them: what comes on top is of no matter
		}
		has := strings.Split(flags, ",")
		for flag := range strings.SplitSeq(must, ",") {
			if !slices.Contains(has, flag) {
				return 0, fmt.Errorf("confine: the fence does not hold: %s is mounted %s, without %s", place, flags, flag)
			}
		}
	}
	if least := 3 + len(devices) + len(s.Binds); count < least {
		return 0, fmt.Errorf("confine: %d mounts in the view, at least %d were made", count, least)
	}
	return count, nil
}

// unescape resolves the octal escapes of mountinfo: of space, tab, newline and
// backslash.
func unescape(field string) string {
	if !strings.Contains(field, `\`) {
		return field
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(field)
}
