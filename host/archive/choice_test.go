package archive

import (
	"testing"

	"github.com/agenthost/agenthost/capability"
)

// TestChoice: who accepts a rule is told where it lets the agent run what it
// likes, and is not told so of rules that say what runs.
func TestChoice(t *testing.T) {
	type c = capability.Command
	code := func(name string) string { return "the agent chooses the code that " + name + " runs" }
	input := func(name string) string { return code(name) + ", on its standard input" }
	start := func(name string) string { return "the agent chooses what " + name + " starts" }
	read := func(name string) string {
		return name + " starts what the files or the input that it reads tell it to"
	}
	workspace := func(name, script string) string {
		return name + " runs " + script + " of the workspace, as the agent may have left it there"
	}
	for _, test := range []struct {
		rule c
		want string
	}{
		{nil, ""},
		{c{"git", "status"}, ""},
		{c{"cat", "**"}, ""},
		{c{"jq", "*", "a.json"}, ""},
		{c{"gcc", "-o", "/tmp/a", "*.c"}, ""},

		// Interpreters: code, a script, or standard input.
		{c{"sh", "-c", "*"}, code("sh")},
		{c{"sh", "-c", "git log"}, ""},
		{c{"bash", "-ec", "*"}, code("bash")},
		{c{"bash", "-e", "pkg:run.sh"}, ""},
		{c{"bash", "-c", "**"}, code("bash")},
		{c{"sh"}, input("sh")},
		{c{"sh", "-s"}, input("sh")},
		{c{"sh", "-s", "pkg:a.sh"}, input("sh")},
		{c{"sh", "pkg:run.sh", "*"}, ""},
		{c{"sh", "pkg:scripts/*.sh", "**"}, ""},
		{c{"sh", "**"}, code("sh")},
		{c{"sh", "run.sh"}, workspace("sh", "run.sh")},
		{c{"python3", "-c", "*"}, code("python3")},
		{c{"python3.11", "-"}, input("python3.11")},
		{c{"python3", "-I", "-S"}, input("python3")},
		{c{"python3", "-m", "*"}, code("python3")},
		{c{"python3", "pkg:scripts/trace.py", "--explain", "*"}, ""},
		{c{"python3", "*"}, code("python3")},
		{c{"python3", "tools/a.py", "*"}, workspace("python3", "tools/a.py")},
		{c{"perl", "-ne", "*"}, code("perl")},
		{c{"perl", "-pe", "s/a/b/", "*"}, ""},
		{c{"node", "-e", "*"}, code("node")},
		{c{"node", "--eval", "*"}, code("node")},
		{c{"php", "-r", "*"}, code("php")},
		{c{"pkg:bin/python3", "-c", "*"}, code("python3")},
		{c{"awk", "*", "a"}, code("awk")},
		{c{"awk", "{print $1}", "*"}, code("awk")}, // braces are a pattern
		{c{"awk", `\{print $1\}`, "*"}, ""},
		{c{"awk", "-f", "pkg:a.awk", "*"}, ""},
		{c{"awk", "-f", "*"}, code("awk")},
		{c{"sed", "-n", "*"}, code("sed")},
		{c{"sed", "s/a/b/", "*"}, ""},

		// Launchers: what they start, and what that leaves open in turn.
		{c{"env", "*"}, start("env")},
		{c{"env", "git", "log", "**"}, ""},
		{c{"env", "LC_ALL=C", "sh"}, input("sh")},
		{c{"timeout", "5", "*"}, start("timeout")},
		{c{"timeout", "5", "git", "log"}, ""},
		{c{"timeout", "5", "nice", "python3", "-c", "*"}, code("python3")},
		{c{"nohup", "pkg:run"}, ""},
		{c{"busybox", "sh", "-c", "*"}, code("sh")},
		{c{"busybox", "*"}, start("busybox")},
		{c{"pkg:busybox", "*"}, start("busybox")},
		{c{"ld-linux-x86-64.so.2", "*"}, start("ld-linux-x86-64.so.2")},
		{c{"xargs", "rm"}, read("xargs")},
		{c{"make"}, read("make")},
		{c{"find", "**"}, ""}, // no pattern is an option
		{c{"find", ".", "-exec", "*", ";"}, start("find")},
		{c{"find", ".", "-exec", "cat", "*", ";"}, ""},
		{c{"tar", "-xf", "*"}, ""},
		{c{"tar", "-I", "*", "-xf", "a"}, start("tar")},
		{c{"git", "*"}, start("git")},
		{c{"git", "log", "**"}, ""},
		{c{"git", "-C", "sub", "log"}, ""},
		{c{"git", "bisect", "run", "*"}, start("git")},
		{c{"git", "submodule", "foreach", "git log"}, ""},
	} {
		if got := Choice(test.rule); got != test.want {
			t.Errorf("%s: got %q, want %q", test.rule, got, test.want)
		}
	}
}
