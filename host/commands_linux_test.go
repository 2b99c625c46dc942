package host

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
	"github.com/agenthost/agenthost/host/policy"
)

// execute are capabilities that grant commands, one by string.
func execute(commands ...string) members {
	return members{"capabilities": members{"read": []string{"**"}, "write": []string{"**"}, "execute": commands}}
}

// command is the step that runs a command through the contract.
func command(words ...string) string {
	argv, err := json.Marshal(words)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`call {"op":"exec","argv":%s}`, argv)
}

// commanding is an ask whose package was accepted.
func commanding(manifest members, steps ...string) ask {
	return ask{manifest: manifest, steps: steps, turn: Turn{Narrow: policy.Narrow{Accepted: true}}}
}

func TestCommands(t *testing.T) {
	confinetest.Needs(t)
	b := newBench(t, map[string]string{"docs/a.md": "hello\n"})
	a := commanding(with(execute("cat docs/a.md", "sh pkg:make.sh", "cat /tmp/note"), writes("out/**?")),
		command("cat", "docs/a.md"), command("sh", "pkg:make.sh"), "read /out/made", command("cat", "/tmp/note"))
	a.files = map[string]string{"make.sh": "echo made > /out/made; echo note > /tmp/note; echo done\n"}
	r := b.run(a)
	t.Log(r.Status, r.Message, string(r.Output))
	t.Logf("%+v", r.Evidence)
	if r.Commands != 3 || r.Fence != FenceFull || r.NoFence != nil {
		t.Errorf("got %d commands, fence %q, %+v", r.Commands, r.Fence, r.NoFence)
	}
	if !strings.Contains(string(r.Output), "made") {
		t.Errorf("got %s", r.Output)
	}
}
