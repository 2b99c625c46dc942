package main

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// fenceHere reports whether this machine has what the full fence is made of: it
// asks the kernel itself, so that a fence that does not hold where it could is a
// failure of the scripts that want [fence].
var fenceHere = sync.OnceValue(func() bool {
	cmd := inUserNamespace(exec.Command("true"))
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWPID | syscall.CLONE_NEWNET
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS // makes all mounts private first
	return cmd.Run() == nil && landlockHere()
})

// landlockHere reports whether there is Landlock of a version that will do.
func landlockHere() bool {
	const createRuleset, versionFlag = 444, 1
	version, _, errno := syscall.Syscall(createRuleset, 0, 0, versionFlag)
	return errno == 0 && version >= 3
}

func inUserNamespace(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd
}

// mainFenceless runs its arguments as on a machine without user namespaces: in one
// that says that there may be no more.
func mainFenceless() {
	cmd := inUserNamespace(exec.Command("sh", append([]string{"-ec", `echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"`, "sh"}, os.Args[1:]...)...))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	os.Exit(exitStatus(cmd.ProcessState))
}
