package synctest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of runs a command under ptrace(2) and returns the files and folders that
// it synced, in order. Where no process can be traced the test is skipped.
func Of(t testing.TB, cmd *exec.Cmd) (names []string) {
	t.Helper()
	runtime.LockOSThread() // all requests must come from the thread that began
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &unix.SysProcAttr{Ptrace: true}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); errors.Is(err, unix.EPERM) {
		t.Skip("no process can be traced here: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	const children = unix.WALL | 0x20000000 // and __WNOTHREAD: of this thread only
	// A call is 88 bytes: op, then at 24 its number and at 32 its first argument;
	// see ptrace(2), struct ptrace_syscall_info.
	var call [11]uint64
	var status unix.WaitStatus
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	begun := false
	for {
		thread, err := unix.Wait4(-1, &status, children, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if status.Exited() || status.Signaled() {
			if thread != cmd.Process.Pid {
				continue
			}
			if status.ExitStatus() != 0 {
				t.Fatalf("the child ended with %d", status.ExitStatus())
			}
			return names
		}
		signal := 0
		switch stop := status.StopSignal(); {
		case !begun:
			begun = true
			if err := unix.PtraceSetOptions(thread, options); err != nil {
				t.Fatal(err)
			}
		case stop == unix.SIGTRAP|0x80:
			_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(thread),
				unsafe.Sizeof(call), uintptr(unsafe.Pointer(&call)), 0, 0)
			switch {
			case errno == unix.EIO:
				cmd.Process.Kill() //nolint:errcheck // it goes with the thread that traces it
				t.Skip("this system does not tell what a traced process calls: ", errno)
			case errno == unix.ESRCH: // the process ended meanwhile, and this thread with it
				continue
			case errno != 0:
				t.Fatal(errno)
			}
			const entry = 1 // PTRACE_SYSCALL_INFO_ENTRY
			if nr := call[3]; byte(call[0]) == entry && (nr == unix.SYS_FSYNC || nr == unix.SYS_FDATASYNC || nr == unix.SYS_SYNCFS) {
				name, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", cmd.Process.Pid, call[4]))
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, name)
			}
		case stop != unix.SIGTRAP && stop != unix.SIGSTOP:
			signal = int(stop)
		}
		if err := unix.PtraceSyscall(thread, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
}
