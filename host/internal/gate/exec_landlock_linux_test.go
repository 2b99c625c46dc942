package gate

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/confine"
)

// lowerFence has commands run in the fence for machines without namespaces. What
// it says of the machine is the canary's.
func lowerFence(c *Commands) {
	c.Fence = func(context.Context) (*confine.Report, error) {
		r, err := theFence()
		if err != nil {
			return nil, err
		}
		lower := *r
		lower.Tier = confine.Landlock
		return &lower, nil
	}
}

// Where there is no view commands find the same files, by the names that their
// words say, and no others; and nobody is told where they lie.
func TestExecLandlock(t *testing.T) {
	y := newYard(t, setup{
		outputs: []string{"docs/*"},
		grants: capability.Grants{Read: []string{"docs/**"}, Write: []string{"docs/*"}, Execute: rules(
			"cat docs/a /w/docs/a", "cat secret", "sh pkg:make.sh /tmp/x --out=/out/y", "cat /tmp/x", "pkg:bin/pwd",
		)},
		files: map[string]string{"docs/a": "a", "secret": "s"},
	}, map[string]string{
		"make.sh": "echo scratch > $1; echo made > ${2#--out=}; echo $TMPDIR\n",
		"bin/pwd": "#!/bin/sh\npwd\n",
	}, lowerFence)
	equal(t, "cat", y.does("cat", "docs/a", "/w/docs/a"), "0 aa")
	if got := y.does("cat", "secret"); !strings.HasPrefix(got, "1 ! ") || !strings.Contains(got, "Permission denied") {
		t.Errorf("got %s", got)
	}
	equal(t, "make", y.does("sh", "pkg:make.sh", "/tmp/x", "--out=/out/y"), "0 "+filepath.Join(y.stages, AreaTmp))
	equal(t, "what the guest reads", y.content("/tmp/x")+y.content("/out/y"), "scratch\nmade\n")
	equal(t, "what a command reads", y.does("cat", "/tmp/x"), "0 scratch")
	equal(t, "pwd", y.does("pkg:bin/pwd"), "0 "+y.dir)
	y.make("docs/b", "staged")
	equal(t, "after a write to the workspace", y.does("cat", "/tmp/x"), "unsupported: the turn wrote to the workspace, and without namespaces no command can see that in its place; let it write to /out or /tmp until its commands have run")
	ends := y.ends()
	if ends[0].Fence.Tier != "landlock" || y.starts()[0].Fence.Tier != "landlock" {
		t.Errorf("recorded %+v", ends[0].Fence)
	}
	text, err := os.ReadFile(filepath.Join(y.ledger, "exec.jsonl"))
	if err != nil || strings.Contains(string(text), filepath.Dir(y.stages)) {
		t.Errorf("a place of this machine is recorded (%v): %s", err, text)
	}
}
