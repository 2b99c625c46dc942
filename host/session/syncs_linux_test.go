package session

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestSyncsOfARun holds what a session of one turn without outputs waits for the
// disk for, in this order: each is what some promise needs, and there is no
// other.
func TestSyncsOfARun(t *testing.T) {
	ws := t.TempDir()
	if err := create(t, openRoot(t, Options{Workspace: ws}), id2).Leave(); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(ws, DefaultRoot)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=quiet 0 "+ws+" "+root)
	got := syncsOf(t, cmd)
	variable := regexp.MustCompile(`[0-9a-f]{2}/\.new-[0-9]+$|blobs/[0-9a-f]{2}$`)
	for i, path := range got {
		name := strings.TrimPrefix(path, root+"/planes/ho1/")
		got[i] = variable.ReplaceAllStringFunc(name, func(s string) string {
			if strings.HasPrefix(s, "blobs/") {
				return "blobs/XX"
			}
			return "XX/BLOB"
		})
	}
	want := []string{
		// The seed; the ledgers, of which exec.jsonl holds session.open.
		"sessions/.new-SES-1/ledger/blobs",
		"sessions/.new-SES-1/ledger/blobs/XX/BLOB",
		"sessions/.new-SES-1/ledger/blobs/XX",
		"sessions/.new-SES-1/ledger/evidence.jsonl",
		"sessions/.new-SES-1/ledger/exec.jsonl",
		"sessions/.new-SES-1/ledger",
		"sessions/.new-SES-1",
		"sessions", // from here on the session is there
		// The turn: its evidence, all that came before its end, its end.
		"sessions/SES-1/ledger/evidence.jsonl",
		"sessions/SES-1/ledger/exec.jsonl",
		"sessions/SES-1/ledger/exec.jsonl",
		// session.close
		"sessions/SES-1/ledger/exec.jsonl",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d syncs:\n%s\nwant %d:\n%s", len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
	}
}

// syncsOf runs a command under ptrace(2) and returns the files and folders that
// it synced, in order.
func syncsOf(t *testing.T, cmd *exec.Cmd) (names []string) {
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
			if errno != 0 {
				t.Skip("this system does not tell what a traced process calls: ", errno)
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
