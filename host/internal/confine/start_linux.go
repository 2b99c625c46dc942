package confine

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// childEnv is the environment of children. What becomes the command has its own.
func childEnv() []string { return []string{envChild + "=1", "GOMAXPROCS=1", "GOGC=off"} }

// attributesFor starts a child in new namespaces, tied to this thread's life, in a
// session without a terminal.
func attributesFor(flags uintptr) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getgid(), Size: 1}}
		a.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP, unix.CAP_SYS_RESOURCE}
	}
	return a
}

// mapUser makes the user of this process the one that a command knows itself by in
// the user namespace of a child: user_namespaces(7).
func mapUser(pid int) error {
	proc := "/proc/" + strconv.Itoa(pid)
	for _, f := range []struct{ name, text string }{
		{"/setgroups", "deny"},
		{"/gid_map", fmt.Sprintf("%d %d 1\n", user, os.Getgid())},
		{"/uid_map", fmt.Sprintf("%d %d 1\n", user, os.Getuid())},
	} {
		if err := os.WriteFile(proc+f.name, []byte(f.text), 0); err != nil {
			return err
		}
	}
	return nil
}

// onThread calls f on a thread that runs nothing else meanwhile, and is not the
// first of the process: that stands for all of it, so that groups it is in count,
// and could kill, the host.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onThread(f) // while this one is kept
		} else {
			f()
		}
	}()
	<-done
}
