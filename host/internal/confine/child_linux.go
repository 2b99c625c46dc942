package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Descriptors the child is started with, beside the command's own three.
const (
	orderFd = 3 // the order comes here, and then, once the child is in its cgroup, that it may go on
	replyFd = 4 // replies go here; closed by the start of the program
)

// An order is what the child gets.
type order struct {
	Spec Spec
	// PidMax bounds the process numbers of the namespace; 0 leaves them.
	PidMax int
	// Tasks bounds the processes and threads of the user, of the namespace where
	// there is one; 0 leaves them.
	Tasks int
	// Mark is what its supervisor knows it and its descendants by, where it has one.
	Mark uint64
}

// A reply is what the child says: its report before it starts the program, or why
// it did not. End of file after a report means that the program runs.
type reply struct {
	Report  *Report       `json:",omitempty"`
	Missing *MissingError `json:",omitempty"`
	Start   *StartError   `json:",omitempty"`
	Errno   string        `json:",omitempty"` // of starting the program, in digits
	Failed  string        `json:",omitempty"`
}

// Child is the body of the child process, whose arguments after [Command] are
// args: it puts up the fence around itself and becomes the command. It returns,
// with an exit status, only if it could not, or was only to try something.
func Child(args []string) int {
	switch {
	case len(args) == 2 && args[0] == argTry:
		return tryMain(args[1])
	case len(args) == 3 && args[0] == argCanary:
		return canaryMain(Tier(args[1]), args[2])
	case len(args) == 1 && args[0] == argSupervise:
		return supervise()
	case len(args) != 0:
		return 126
	}
	return enter(func(*Spec) layers { return layers{landlock: true, seccomp: true} })
}

// layers are those of the fence that can be left out by a test, to see what each
// of them stops.
type layers struct{ landlock, seccomp bool }

// enter puts up those layers of the fence that choose wants, and becomes the
// command.
func enter(choose func(*Spec) layers) int {
	// Landlock, seccomp and Linux capabilities belong to a thread.
	runtime.LockOSThread()
	unix.CloseOnExec(orderFd)
	unix.CloseOnExec(replyFd)
	answers := json.NewEncoder(os.NewFile(replyFd, "reply"))
	var r reply
	err := becomeCommand(answers, choose)
	if err == errNotTold {
		return 126
	}
	switch e := err.(type) {
	case *MissingError:
		r.Missing = e
	case *StartError:
		r.Start = e
	default:
		r.Failed = err.Error()
	}
	_ = answers.Encode(r) // nobody is left to tell
	return 126
}

// errNotTold is that the host gave its child up, and knows why.
var errNotTold = errors.New("confine: the host did not say to go on")

// becomeCommand returns only with an error.
func becomeCommand(answers *json.Encoder, choose func(*Spec) layers) error {
	orders := json.NewDecoder(os.NewFile(orderFd, "order"))
	var o order
	if err := orders.Decode(&o); err != nil {
		return fmt.Errorf("confine: read the order: %w", err)
	}
	s := &o.Spec
	arch, ok := architectureOf(runtime.GOARCH)
	if !ok {
		return &MissingError{"platform", runtime.GOARCH + " has no reviewed system calls", platformRemedy}
	}
	with := choose(s)
	start, err := newStart(s, o.Tasks)
	if err != nil {
		return err
	}
	report := Report{Tier: s.Tier, Limits: s.Limits}

	unix.Umask(0o022)
	// Where the machine runs out of memory, what runs in the fence goes first.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	rules, err := newRuleset()
	if err != nil {
		return err
	}
	rule := inFull
	if s.Tier == Landlock {
		rule = inLandlock(rules.version)
		if err := setMark(o.Mark); err != nil {
			return fmt.Errorf("confine: mark the process: %w", err)
		}
		if err := rules.grantPaths(s); err != nil {
			return err
		}
	} else {
		if err := boundNamespaces(o.PidMax, &report); err != nil {
			return err
		}
		// A domain refuses mounts, so that the view comes first.
		if err := s.makeView(rules); err != nil {
			return err
		}
		if err := rules.grantView(); err != nil {
			return err
		}
	}
	program := arch.filter(rule)
	if err := unix.Chdir(s.Dir); err != nil {
		return &StartError{s.Program, fmt.Sprintf("enter %s: %v", s.Dir, err)}
	}
	if err := s.checkProgram(); err != nil {
		return err
	}
	if err := setLimits(s.Limits); err != nil {
		return err
	}
	// From here on it must be in its control group.
	var entered bool
	if err := orders.Decode(&entered); err != nil || !entered {
		return errNotTold
	}
	if err := unix.CloseRange(orderFd, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("confine: close_range: %w", err)
	}
	own, err := openStatus() // in the tier Landlock it is out of reach when it is needed
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("confine: no_new_privs: %w", err)
	}
	if err := dropCapabilities(s.Tier == Landlock && os.Getuid() != 0); err != nil {
		return fmt.Errorf("confine: drop Linux capabilities: %w", err)
	}
	// It is open to the process before, and no grant opens it after.
	if err := tryOpen(canary, unix.O_WRONLY); err != nil {
		return fmt.Errorf("confine: open %s: %w", canary, err)
	}
	if with.landlock {
		if err := rules.restrict(); err != nil {
			return err
		}
		report.Landlock = rules.version
	}
	if with.seccomp {
		if err := filterOnce(own, program); err != nil {
			return &MissingError{"seccomp", err.Error(), seccompRemedy}
		}
	}
	if err := s.readBack(own, &report, with); err != nil {
		return err
	}
	if err := answers.Encode(reply{Report: &report}); err != nil {
		return fmt.Errorf("confine: report: %w", err)
	}
	start.exec()
	panic("unreachable")
}

// boundNamespaces has this process make no user namespace, whatever the filter
// says, and bounds the numbers of processes. Both belong to the namespaces it is
// in. The first is a second lock on a door that the filter holds shut; machines
// that mount /proc/sys read-only do without it.
func boundNamespaces(pidMax int, r *Report) error {
	_ = os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0)
	if pidMax == 0 {
		return nil
	}
	const name = "/proc/sys/kernel/pid_max"
	var got int
	err := os.WriteFile(name, fmt.Append(nil, pidMax), 0)
	if err == nil {
		got, err = readNumber(name)
	}
	if err == nil && got != pidMax {
		err = fmt.Errorf("%s is %d after %d was written", name, got, pidMax)
	}
	if err != nil {
		return &MissingError{"process limit", err.Error(), processRemedy}
	}
	r.Processes, r.Limits.Processes = boundPidMax, got-1
	return nil
}

// setLimits sets those limits of the process that the rest of the child can live
// with. Hard and soft are the same: to a namespace's first process the kernel
// gives no warning.
func setLimits(l Limits) error {
	for _, x := range []struct {
		name     string
		resource int
		most     uint64
	}{
		{"cpu", unix.RLIMIT_CPU, seconds(l.CPU) + 1},
		{"file size", unix.RLIMIT_FSIZE, uint64(l.FileSize)},
		{"open files", unix.RLIMIT_NOFILE, uint64(l.OpenFiles)},
		// Not 0: with that the kernel still hands the core of a process, which can hold
		// anything, to the handler that the machine may have for them; 1 is for none at
		// all (fs/coredump.c). The filter has it stay so.
		{"core", unix.RLIMIT_CORE, 1},
		{"message queues", unix.RLIMIT_MSGQUEUE, 0},
		{"locked memory", unix.RLIMIT_MEMLOCK, 64 << 10},
	} {
		var now unix.Rlimit
		if err := unix.Getrlimit(x.resource, &now); err != nil {
			return fmt.Errorf("confine: limit %s: %w", x.name, err)
		}
		most := min(x.most, now.Max)
		if err := unix.Setrlimit(x.resource, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("confine: limit %s: %w", x.name, err)
		}
	}
	return nil
}

// dropCapabilities gives up every Linux capability of this thread, and every way
// to get one. An ordinary user who is in no user namespace has none, and no right
// to give up more: ordinary says that no_new_privs will do.
func dropCapabilities(ordinary bool) error {
	// capabilities(7): SECBIT_NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, and
	// the locks of these and of KEEP_CAPS.
	const locked = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<6 | 1<<7
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	for c := uintptr(0); c < 64 && !ordinary; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL {
			break // the kernel has no more
		} else if err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, locked, 0, 0, 0); err != nil && !ordinary {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&header, &none[0])
}

// checkProgram sees that the program is the file that was judged. Nothing that can
// be written can be executed, so that it stays it.
func (s *Spec) checkProgram() error {
	if s.Inode == 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(s.Program, &st); err != nil {
		return &StartError{s.Program, err.Error()}
	}
	if st.Dev != s.Device || st.Ino != s.Inode {
		return &StartError{s.Program, "it is not the file that was judged any more"}
	}
	return nil
}

// filterOnce installs the filter and sees that there is one more than before: the
// host may run under others.
func filterOnce(own *os.File, program []unix.SockFilter) error {
	before, err := readStatus(own)
	if err != nil {
		return err
	}
	if err := install(program); err != nil {
		return err
	}
	after, err := readStatus(own)
	if err != nil {
		return err
	}
	if after.filters != before.filters+1 {
		return errors.New("it says that the filter is installed, and it is not")
	}
	return nil
}

// A start is what becoming the program needs, made before memory is bounded: from
// then on nothing may be allocated, not even to say that it failed.
type start struct {
	path        *byte
	argv, env   []*byte
	data, tasks unix.Rlimit
	failed      []byte
}

func newStart(s *Spec, tasks int) (*start, error) {
	path, err1 := syscall.BytePtrFromString(s.Program)
	argv, err2 := syscall.SlicePtrFromStrings(s.Argv)
	env, err3 := syscall.SlicePtrFromStrings(s.Env)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, &StartError{s.Program, "a word of argv or of the environment has a NUL byte"}
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &now); err != nil {
		return nil, fmt.Errorf("confine: read the limit of processes: %w", err)
	}
	if tasks != 0 {
		now.Max = min(now.Max, uint64(tasks))
	}
	memory := uint64(s.Limits.Memory)
	return &start{
		path, argv, env,
		unix.Rlimit{Cur: memory, Max: memory},
		unix.Rlimit{Cur: now.Max, Max: now.Max},
		[]byte(`{"Errno":"0000"}`),
	}, nil
}

// exec sets the last limits, which this process itself could not live with, and
// becomes the program; or says why not and ends.
func (x *start) exec() {
	_, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NPROC, uintptr(unsafe.Pointer(&x.tasks)), 0, 0, 0)
	if errno == 0 {
		_, _, errno = unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_DATA, uintptr(unsafe.Pointer(&x.data)), 0, 0, 0)
	}
	if errno == 0 {
		_, _, errno = unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(x.path)), uintptr(unsafe.Pointer(&x.argv[0])), uintptr(unsafe.Pointer(&x.env[0])))
	}
	for i, n := len(x.failed)-3, errno; n > 0; i, n = i-1, n/10 {
		x.failed[i] = '0' + byte(n%10)
	}
	unix.RawSyscall(unix.SYS_WRITE, replyFd, uintptr(unsafe.Pointer(&x.failed[0])), uintptr(len(x.failed)))
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 126, 0, 0)
	}
}

func tryOpen(name string, flags int) error {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return unix.Close(fd)
}
