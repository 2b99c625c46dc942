package confine

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
)

// pretended is an answer that says a call was done which was not.
const pretended = 0

// TestTakenAway takes one system call after the other away from a host, or has it
// say that it did what it did not. There must be no command then, and the reason
// must be named.
func TestTakenAway(t *testing.T) {
	confinetest.Needs(t)
	for _, tt := range []struct {
		call  string
		errno unix.Errno
		want  string // the layer, or the beginning of the error
	}{
		{"mount", unix.EPERM, "mounts: make mounts private: operation not permitted"},
		{"pivot_root", unix.EPERM, "mounts: pivot_root: operation not permitted"},
		{"openat2", unix.ENOSYS, "mounts: open /: function not implemented"},
		{"open_tree", unix.ENOSYS, "mounts: open_tree /usr: function not implemented"},
		{"mount_setattr", unix.ENOSYS, "mounts: mount_setattr /usr: function not implemented"},
		{"move_mount", unix.EPERM, "mounts: move_mount /usr: operation not permitted"},
		{"landlock_create_ruleset", unix.ENOSYS, "landlock: function not implemented"},
		{"landlock_create_ruleset", unix.EOPNOTSUPP, "landlock: operation not supported"},
		{"landlock_restrict_self", unix.EPERM, "confine: landlock: operation not permitted"},
		{"seccomp", unix.EPERM, "seccomp: operation not permitted"},
		{"capset", unix.EPERM, "user namespaces: fork/exec /proc/self/exe: operation not permitted"},
		{"close_range", unix.ENOSYS, "confine: close_range: function not implemented"},
		{"umount2", unix.EPERM, "confine: leave the machine's root: operation not permitted"},

		{"landlock_restrict_self", pretended, "confine: the fence does not hold: opening /proc/thread-self/comm for writing: <nil>"},
		{"seccomp", pretended, "seccomp: it says that the filter is installed, and it is not"},
		{"capset", pretended, "user namespaces: fork/exec /proc/self/exe: operation not permitted"},
		{"mount_setattr", pretended, "confine: the fence does not hold: /"},
		{"umount2", pretended, "confine: "},
		{"pivot_root", pretended, "confine: "},
	} {
		name := fmt.Sprintf("%s answers %d", tt.call, int(tt.errno))
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), thisProgram, attackCommand, "without", tt.call, strconv.Itoa(int(tt.errno)))
			out, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := strings.TrimSpace(string(out)); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// withoutMain answers a system call with errno, for this process and its children,
// and says what becomes of the canary then.
func withoutMain(name, errno string) int {
	runtime.LockOSThread()
	e, err := strconv.Atoi(errno)
	if err != nil {
		return 2
	}
	arch, _ := architectureOf(runtime.GOARCH)
	program := []unix.SockFilter{do(opLoad, 0)}
	for _, c := range calls {
		if c.name == name {
			program = append(program, jump(opEq, uint32(arch.number(c)), 0, 1), do(opRet, unix.SECCOMP_RET_ERRNO|uint32(e)))
		}
	}
	program = append(program, do(opRet, answerAllow))
	if err := underFilterOf(program); err != nil {
		return 2
	}
	_, err = Canary(context.Background(), Full)
	var missing *MissingError
	switch {
	case err == nil:
		fmt.Println("it ran")
	case errors.As(err, &missing) && missing.Remedy == "":
		fmt.Println("no remedy:", err)
	case errors.As(err, &missing):
		fmt.Println(missing.Layer + ": " + missing.Reason)
	default:
		fmt.Println(err)
	}
	return 0
}

// underFilterOf puts all threads of this process under a filter.
func underFilterOf(program []unix.SockFilter) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p))); errno != 0 {
		return errno
	}
	return nil
}
