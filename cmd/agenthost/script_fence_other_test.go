//go:build !linux

package main

import (
	"fmt"
	"os"
)

// fenceHere: only Linux has what the fence is made of.
func fenceHere() bool { return false }

// mainFenceless is for scripts that want [fence].
func mainFenceless() {
	fmt.Fprintln(os.Stderr, "fenceless: this system has no user namespaces")
	os.Exit(125)
}
