package confine

import (
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// argSupervise starts the process between the host and a command of the tier
// Landlock, where no namespace ends with its first process.
const argSupervise = "supervise"

// Descriptors of the supervisor, beside those that it hands on to the command's
// process.
const (
	lifeFd = 5 // its end is the host's, or of what the host wants to run
	endFd  = 6 // what becomes of the command
)

// ended is what a supervisor says: first of the process it started, then how that
// and all its descendants ended.
type ended struct {
	Pid    int
	Mark   uint64
	Status syscall.WaitStatus
	CPU    time.Duration // of all that were waited for
	Failed string        `json:",omitempty"`
}

// supervise starts the process that becomes the command, and returns when it and
// all its descendants are gone: those whose parent is gone become its own children
// (PR_SET_CHILD_SUBREAPER), so that the kernel tells it when there are none. As
// soon as the command, the host or the host's interest in it has ended it kills
// what there is. Nothing in the fence can signal it.
func supervise() int {
	// What it starts is tied to this thread.
	runtime.LockOSThread()
	unix.CloseOnExec(lifeFd)
	unix.CloseOnExec(endFd)
	says := json.NewEncoder(os.NewFile(endFd, "end"))
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	first, err := startSupervised()
	if err != nil {
		_ = says.Encode(ended{Failed: err.Error()}) // or nobody is left to tell
		return 126
	}
	stop := make(chan struct{}, 1)
	go func() {
		_, _ = os.NewFile(lifeFd, "life").Read(make([]byte, 1))
		stop <- struct{}{}
	}()
	go func() {
		select {
		case <-asked:
		case <-stop:
		}
		for ; ; time.Sleep(time.Millisecond) {
			_ = killMarked(first.Mark) // it looks again until none is left
		}
	}()
	_ = says.Encode(first) // a host that is gone is noticed by its end of the pipe
	last := ended{Pid: first.Pid}
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
		case err == syscall.EINTR:
			continue
		case err != nil: // ECHILD: all are gone
			var used syscall.Rusage
			if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &used); err == nil {
				last.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano())
			}
			_ = says.Encode(last)
			return 0
		case pid == first.Pid:
			last.Status = status
			select {
			case stop <- struct{}{}:
			default:
			}
		}
	}
}

func startSupervised() (ended, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return ended{}, err
	}
	mark := markOf(os.Getpid())
	if mark == 0 {
		return ended{}, errors.New("read /proc/self/stat")
	}
	pid, err := syscall.ForkExec(thisProgram, []string{"agenthost", Command}, &syscall.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []uintptr{0, 1, 2, orderFd, replyFd},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return ended{}, err
	}
	return ended{Pid: pid, Mark: mark}, errors.Join(unix.Close(orderFd), unix.Close(replyFd))
}

// markOf is a number that no other supervisor has while this machine is up, of its
// process number and when it started; 0 if there is no such process. All that it
// starts have it as their limit of file locks, which means nothing to kernels since
// 2.4.25, is inherited, and which the filter has stay as it is. Who looks for what
// a dead supervisor left finds it by that.
func markOf(pid int) uint64 {
	started, err := strconv.ParseUint(readProcess(strconv.Itoa(pid)).started, 10, 40)
	if err != nil {
		return 0
	}
	return 1<<62 | started<<22 | uint64(pid)
}

// setMark gives this process its mark, and reads it back.
func setMark(mark uint64) error {
	if err := unix.Setrlimit(unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: mark, Max: mark}); err != nil {
		return err
	}
	var got unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_LOCKS, &got); err != nil {
		return err
	}
	if got.Cur != mark || got.Max != mark {
		return errors.New("it does not stay")
	}
	return nil
}

// killMarked kills every process with a mark and returns how many there were.
func killMarked(mark uint64) int {
	names, _ := filepath.Glob("/proc/[0-9]*/limits")
	found := 0
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			continue
		}
		// A handle first: what is killed is what was looked at, or gone.
		p, err := os.FindProcess(pid)
		if err != nil {
			continue
		}
		if hasMark(name, mark) && !strings.HasPrefix(readProcess(strconv.Itoa(pid)).state, "Z") {
			found++
			_ = p.Kill()
		}
		_ = p.Release()
	}
	return found
}

// hasMark reports whether proc_pid_limits(5) has a mark.
func hasMark(name string, mark uint64) bool {
	data, err := os.ReadFile(name)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Max file locks"); ok {
			f := strings.Fields(rest)
			return len(f) > 1 && f[1] == strconv.FormatUint(mark, 10)
		}
	}
	return false
}

// tasksOf counts the processes and threads of a user that can be seen.
func tasksOf(uid int) int {
	names, _ := filepath.Glob("/proc/[0-9]*")
	sum := 0
	for _, name := range names {
		var st unix.Stat_t
		if unix.Stat(name, &st) == nil && int(st.Uid) == uid {
			sum += readProcess(filepath.Base(name)).threads
		}
	}
	return sum
}
