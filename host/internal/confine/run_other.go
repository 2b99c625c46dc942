//go:build !linux

package confine

import (
	"context"
	"io"
)

// Run is for Linux: elsewhere no fence can be put up, and the command is not run.
func Run(context.Context, Spec, io.Reader, io.Writer, io.Writer) (*Result, error) {
	return nil, errPlatform
}

var errPlatform = &MissingError{"platform", "this system has no fence for commands", "run agenthost on Linux, on amd64 or arm64"}

// Child is the body of a child process that nothing starts here.
func Child([]string) int { return 126 }

// Probe says that there is no fence here.
func Probe(context.Context) []Mechanism {
	return []Mechanism{{Name: "fence", Detail: errPlatform.Reason, Remedy: errPlatform.Remedy}}
}

// Canary says that there is no fence here.
func Canary(context.Context, Tier) (*Report, error) { return nil, errPlatform }
