// Package confinetest tells tests whether the machine they run on can put up the
// fence. It asks the kernel itself, not package confine: that the fence does not
// hold where it could is a failure, and no reason to skip.
package confinetest

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Needs skips a test where the kernel, or what it runs in, withholds what the
// fence is made of: it says which.
func Needs(t *testing.T) {
	t.Helper()
	if err := lacks(); err != nil {
		t.Skipf("this machine cannot put up the fence: %v", err)
	}
}

// NeedsLandlock skips a test where the kernel has no Landlock that would do for the
// lower fence.
func NeedsLandlock(t *testing.T) {
	t.Helper()
	if err := lacksLandlock(); err != nil {
		t.Skipf("this machine cannot put up the lower fence: %v", err)
	}
}

func lacks() error {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		// With it all mounts are made private first, which is one of the things that
		// are refused where user namespaces are for show.
		Unshareflags: syscall.CLONE_NEWNS,
		UidMappings:  []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getuid(), Size: 1}},
		GidMappings:  []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("no namespaces, or none in which to mount: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("a child in its own namespaces: %w", err)
	}
	return lacksLandlock()
}

func lacksLandlock() error {
	const landlockCreateRuleset, versionFlag = 444, 1
	if version, _, errno := syscall.Syscall(landlockCreateRuleset, 0, 0, versionFlag); errno != 0 || version < 3 {
		return fmt.Errorf("no Landlock of version 3 or later: %w", errno)
	}
	return nil
}
