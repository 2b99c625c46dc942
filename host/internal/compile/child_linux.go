package compile

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"syscall"
)

// thisProgram is the file that runs, even if another one has its name by now.
const thisProgram = "/proc/self/exe"

// rlimitData bounds private writable memory (setrlimit(2), RLIMIT_DATA). Address
// space is not bounded: Go reserves much more of it than it uses.
const rlimitData = 2

// runChild runs cmd and ties its life to ours. The tie is to the thread that
// started it, hence the lock. Its process group is its own, so that an interrupt
// at the terminal reaches it through us and is not taken for a fault of the
// module.
func runChild(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return cmd.Run()
}

// confineSelf bounds what this process can use.
func confineSelf(memory int64, cpuSeconds int) error {
	debug.SetMemoryLimit(memory / 4 * 3)
	for resource, most := range map[int]uint64{
		rlimitData:           uint64(memory),
		syscall.RLIMIT_CPU:   uint64(cpuSeconds),
		syscall.RLIMIT_CORE:  0,
		syscall.RLIMIT_FSIZE: 4 << 30,
	} {
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("bound the compiler: %w", err)
		}
	}
	// Where the machine runs out of memory first, it is this process that goes.
	// Without /proc being writable the bound above is all there is.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	return nil
}
