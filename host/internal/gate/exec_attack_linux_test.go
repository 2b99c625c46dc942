package gate

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A full disk is no end of a command's: what it said is not all there, and the
// turn ends. The command ran, and the ledger does not say otherwise.
func TestExecFullDisk(t *testing.T) {
	const flood = "head -c 8000000 /dev/zero"
	for _, command := range []string{flood, "sh pkg:flood.sh"} {
		y := newYard(t, setup{grants: all(flood, "sh pkg:flood.sh")}, map[string]string{"flood.sh": flood + "\nexit 0\n"}, nil)
		small := filepath.Join(y.stages, AreaTmp)
		switch err := syscall.Mount("small", small, "tmpfs", 0, "size=1m"); {
		case errors.Is(err, syscall.EPERM):
			t.Skipf("a full disk needs a mount of its own: %v", err)
		case err != nil:
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
		y.cfg.Staged.Tmp = y.folder(small)
		err := caught(func() { y.runs(Command{Argv: rules(command)[0], StdoutTo: "/tmp/x"}) })
		var host *HostError
		if !errors.As(err, &host) || !errors.Is(err, syscall.ENOSPC) || host.Doing != "keep what a command said" {
			t.Errorf("%s: got %v", command, err)
		}
		end := y.ends()[0]
		if end.Failed != "" || end.Exit != 0 || end.StdoutTo != "tmp/x" || end.Usage.Output != 8_000_000 {
			t.Errorf("%s: recorded %+v", command, end)
		}
		writes, _, err := y.Finish()
		if err != nil || len(writes) != 1 || !writes[0].Known || !writes[0].Regular {
			t.Errorf("%s: got %+v, %v", command, writes, err)
		}
	}
}

// What commands say and could see is kept with the session. That has an end.
func TestExecKept(t *testing.T) {
	y := newYard(t, setup{grants: all("cat", "true")}, nil, func(c *Commands) { c.Kept = 1000 })
	said := strings.Repeat("x", 300)
	for range 2 {
		equal(t, "cat", y.runs(Command{Argv: []string{"cat"}, Stdin: []byte(said)}), "0 "+said)
	}
	// There is room for less than it says, and it is cut there.
	rest := int(1000 - y.kept)
	e, no := y.Exec(ABI, Command{Argv: []string{"cat"}, Stdin: []byte(strings.Repeat(said, 4))})
	if no != nil || !e.Truncated || len(e.Stdout) != rest {
		t.Errorf("got %d bytes of %d, %v", len(e.Stdout), rest, no)
	}
	equal(t, "after it", y.does("true"), "limit: of what the commands of this turn say and could see, the session keeps no more than 1000")
	if n := len(y.ends()); n != 3 {
		t.Errorf("%d commands ran", n)
	}
}
