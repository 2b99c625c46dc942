package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// Failures that no script can bring about on every machine.
func TestFailures(t *testing.T) {
	other, err := ledgertest.Other(2)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := ledger.NewKey("$(reboot)", strings.NewReader(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
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
		{
			fmt.Errorf("root: %w", &record.UnknownHostError{Ledger: "a.jsonl", Host: other.Verifier()}), "root: a.jsonl was sealed by a host that is not trusted here, " + other.Verifier().String(),
			"if you know whose it is, and that this came from there: agenthost ledger trust " + other.Verifier().String(), exitRefused,
		},
		{
			&record.UnknownHostError{Ledger: "a.jsonl", Host: odd.Verifier()}, "a.jsonl was sealed by a host that is not trusted here, " + odd.Verifier().String(),
			"its key is none that agenthost makes: do not trust it", exitRefused,
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
