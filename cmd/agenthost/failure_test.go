package main

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/plane"
)

// Failures that no script can bring about on every machine.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		err           error
		message, hint string
		code          int
	}{
		{flagValueError(errors.New("flag: bad")), "flag: bad", "correct the value of the flag", exitUsage},
		{
			fmt.Errorf("compile: %w", &host.ModuleError{Reason: "too many"}), (&host.ModuleError{Reason: "too many"}).Error(),
			"build the agent with an ordinary toolchain for WASI preview 1", exitUsage,
		},
		{
			openError("a", &fs.PathError{Op: "open", Path: "a", Err: fs.ErrPermission}), "open a: permission denied",
			"agenthost runs as you and needs your right to read and write it", exitUsage,
		},
		{
			fmt.Errorf("x: %w", plane.ErrChanged), "x: the package was changed while it was read", "nothing was done; do it again", exitHost,
		},
		{
			&plane.UnfinishedError{Err: fs.ErrPermission}, "the change is recorded, but its files are not in their places: permission denied",
			"the next command in this control plane puts them there; make room and the folder writable", exitHost,
		},
		{&plane.RefusedError{Code: plane.CodeTier, What: "a", Hint: "b"}, "a", "b", exitRefused},
		{&plane.RefusedError{Code: plane.CodeIntegrity, What: "a"}, "a", "", exitIntegrity},
		{&plane.MismatchError{Path: "a", What: "is gone", Hint: "b"}, "a is gone", "b", exitIntegrity},
	} {
		if f := explain(c.err); f.message != c.message || f.hint != c.hint || f.code != c.code {
			t.Errorf("got  %q, %q, %d\nwant %q, %q, %d", f.message, f.hint, f.code, c.message, c.hint, c.code)
		}
	}
}
