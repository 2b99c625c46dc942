package gate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/confine"
)

// Programs that cannot be run, and why the guest is told they are not.
func TestExecPrograms(t *testing.T) {
	tools, elsewhere := operatorsFolder(t), operatorsFolder(t)
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
	}{
		"plain": {"text", 0o644}, "nothing": {"text", 0o755}, "nested": {"#!" + tools + "/greet\n", 0o755}, "greet": {"#!/bin/sh\necho $0 $@\n", 0o755},
		"crlf": {"#!/bin/sh\r\n", 0o755}, "lost": {"#!/usr/bin/no-such-interpreter -x\n", 0o755}, "outside": {"#!" + elsewhere + "/tool\n", 0o755},
		"search": {"#!/usr/bin/env sh\necho $0 $@\n", 0o755}, "options": {"#!/usr/bin/env -S sh -x\n", 0o755}, "unknown": {"#!/usr/bin/env no-such-program\n", 0o755},
	} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte(c.content), c.mode); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"away": elsewhere + "/tool", "here": "greet", "dangling": "no-such-file", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(tools, from)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(tools, "folder"), 0o755), os.WriteFile(filepath.Join(elsewhere, "tool"), []byte("#!/bin/sh\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	words := []string{
		"plain", "nothing", "nested", "greet a", "crlf", "lost", "outside", "search a", "options", "unknown", "away", "here", "dangling", "loop", "folder", "no-such-program",
		"pkg:plain", "pkg:script a", "pkg:crlf", "pkg:lost", "pkg:tools", "pkg:no-such-file", "pkg:long", "pkg:relative", "pkg:to-package", "pkg:empty",
		"echo pkg:no-such-file", "echo pkg:script", "echo pkg:tools",
	}
	y := newYard(t, setup{grants: all(words...)}, map[string]string{
		"plain": "text", "script": "#!/bin/sh\necho $0 $@\n", "crlf": "#!/bin/sh\r\n", "lost": "#!/usr/bin/no-such-interpreter\n", "tools/x": "", "empty": "",
		"long": "#!/bin/" + strings.Repeat("x", 300) + "\n", "relative": "#!sh\n", "to-package": "#!/.agenthost/pkg/script\n",
	}, func(c *Commands) { c.Path = append(c.Path, tools) })
	path := "/usr/bin:/bin:" + tools
	const remedy = "; the operator can install it, or name its folder in path of the policy"
	for _, c := range []struct{ words, want string }{
		{"plain", "failed: " + tools + "/plain is not an executable file"},
		{"nothing", "failed: nothing did not start: exec format error"},
		{"nested", "failed: nested cannot be run: its interpreter " + tools + "/greet is a script itself; name a program in its first line"},
		{"greet a", "0 " + tools + "/greet a"},
		{"crlf", "failed: crlf cannot be run: its first line ends in CR LF; save it with the line ends of Unix"},
		{"lost", "not_found: the interpreter of lost: there is no /usr/bin/no-such-interpreter"},
		{"outside", "failed: the interpreter of outside: " + elsewhere + "/tool does not lie in a folder that commands see; the operator can name its folder in path of the policy"},
		{"search a", "0 " + tools + "/search a"},
		{"options", "failed: options cannot be run: its first line has options for env, which are not read; name the interpreter, as in #!/usr/bin/env python3"},
		{"unknown", "not_found: the interpreter of unknown: no-such-program is in none of the folders " + path + remedy},
		{"away", "failed: " + tools + "/away does not lie in a folder that commands see; the operator can name its folder in path of the policy"},
		{"here", "0 " + tools + "/greet"},
		{"dangling", "not_found: dangling is in none of the folders " + path + remedy},
		{"loop", "failed: " + tools + "/loop cannot be examined"},
		{"folder", "failed: " + tools + "/folder is not an executable file"},
		{"no-such-program", "not_found: no-such-program is in none of the folders " + path + remedy},
		{"pkg:plain", "failed: pkg:plain did not start: exec format error"},
		{"pkg:script a", "0 /.agenthost/pkg/script a"},
		{"pkg:crlf", "failed: pkg:crlf cannot be run: its first line ends in CR LF; save it with the line ends of Unix"},
		{"pkg:lost", "not_found: the interpreter of pkg:lost: there is no /usr/bin/no-such-interpreter"},
		{"pkg:tools", "failed: pkg:tools is a folder"},
		{"pkg:no-such-file", "not_found: pkg:no-such-file is not in the package"},
		{"pkg:long", "failed: pkg:long cannot be run: its first line has more than 256 bytes"},
		{"pkg:relative", "failed: pkg:relative cannot be run: its first line does not name the interpreter with an absolute path"},
		{"pkg:to-package", "not_found: the interpreter of pkg:to-package: there is no /.agenthost/pkg/script"},
		{"pkg:empty", "failed: pkg:empty did not start: exec format error"},
		{"echo pkg:no-such-file", "not_found: pkg:no-such-file is not in the package"},
		{"echo pkg:script", "0 /.agenthost/pkg/script"},
		{"echo pkg:tools", "0 /.agenthost/pkg/tools"},
	} {
		got := y.does(strings.Fields(c.words)...)
		equal(t, c.words, got, c.want)
		ops := y.ops(0)
		last := ops[len(ops)-1]
		switch code, message, _ := strings.Cut(got, ": "); {
		case code == "not_found" && (last.Decision != "granted" || last.Errno != "noent" || last.Rule != message):
			t.Errorf("%s: recorded %+v", c.words, last)
		case code == "failed" && !strings.Contains(message, "did not start") && (last.Decision != "refused" || last.Errno != "perm" || last.Rule != message):
			t.Errorf("%s: recorded %+v", c.words, last)
		}
	}
	for i, s := range y.starts() {
		if s.Interpreter != nil && s.Interpreter.Path != "/usr/bin/dash" && s.Interpreter.Path != "/usr/bin/bash" {
			t.Errorf("start %d: interpreter %+v", i, s.Interpreter)
		}
	}
	if len(y.starts()) != len(y.ends()) {
		t.Errorf("%d starts, %d ends", len(y.starts()), len(y.ends()))
	}
}

// A command starts where its rule says, and never where the agent writes.
func TestExecFolders(t *testing.T) {
	rule := []capability.Command{{"pwd"}, {"sh", "-c", "pwd", "docs", "/w/deep/er", "pkg:lib", "secret", "p*"}, {"sh", "-c", "pwd", "out", "/tmp", "none"}}
	y := newYard(t, setup{
		grants: capability.Grants{Read: []string{"docs/**", "deep/**", "plain"}, Write: []string{"docs/*"}, Execute: rule},
		files:  map[string]string{"docs/a": "", "deep/er/b": "", "secret/c": "", "plain": "", "other/d": ""},
	}, map[string]string{"lib/x": ""}, nil)
	second := []string{"sh", "-c", "pwd", "docs", "/w/deep/er", "pkg:lib", "secret", "plain"}
	third := []string{"sh", "-c", "pwd", "out", "/tmp", "none"}
	refused := func(dir string) string {
		return "failed: no command starts in " + dir + ": only in the workspace, in /.agenthost/pkg, or in a folder that its rule names"
	}
	for _, c := range []struct {
		argv      []string
		dir, want string
	}{
		{[]string{"pwd"}, "", "0 /w"},
		{[]string{"pwd"}, "/", "0 /w"},
		{[]string{"pwd"}, ".", "0 /w"},
		{[]string{"pwd"}, "docs/..", "0 /w"},
		{[]string{"pwd"}, "/.agenthost/pkg/", "0 /.agenthost/pkg"},
		{[]string{"pwd"}, "docs", refused("docs")},
		{[]string{"pwd"}, "/.agenthost/pkg/lib", refused("/.agenthost/pkg/lib")},
		{[]string{"pwd"}, "/tmp", refused("/tmp")},
		{[]string{"pwd"}, "/out", refused("/out")},
		{[]string{"pwd"}, "/.agenthost", refused("/.agenthost")},
		{[]string{"pwd"}, "..", refused("..")},
		{[]string{"pwd"}, "/../etc", refused("/../etc")},
		{[]string{"pwd"}, "output/" + sid, refused("output/" + sid)},
		{second, "docs", "0 /w/docs"},
		{second, "/docs/", "0 /w/docs"},
		{second, "deep/er", "0 /w/deep/er"},
		{second, "/.agenthost/pkg/lib", "0 /.agenthost/pkg/lib"},
		{second, "plain", refused("plain")}, // the guest's word, not the rule's
		{second, "deep", refused("deep")},
		{second, "secret", "not_found: there is no folder secret"},
		{third, "/out", refused("/out")},
		{third, "/tmp", refused("/tmp")},
		{third, "none", "not_found: there is no folder none"},
	} {
		equal(t, fmt.Sprint(c.argv, " in ", c.dir), y.runs(Command{Argv: c.argv, Dir: c.dir}), c.want)
	}
	starts := y.starts()
	equal(t, "the first folder", starts[0].Dir, ".")
	equal(t, "the last folder", starts[len(starts)-1].Dir, "pkg:lib")
}

// Nothing a guest passes is without bound, and programs never see half of it.
func TestExecArguments(t *testing.T) {
	pattern := capability.Command{"echo", "**"}
	y := newYard(t, setup{grants: capability.Grants{Execute: []capability.Command{pattern, {"cat"}, {"true"}, {"readlink", "/proc/self/fd/0"}}}}, nil, nil)
	many := make([]string, 2000)
	for i := range many {
		many[i] = strings.Repeat("x", 1000)
	}
	for name, c := range map[string]struct {
		words []string
		want  string
	}{
		"longest":  {[]string{strings.Repeat("x", 255)}, "0 " + strings.Repeat("x", 255)},
		"many":     {many, "0 " + strings.Join(many, " ")},
		"too many": {append(many, many...), "failed: the words of the command have more than 2097152 bytes together; pass them on standard input or in a file"},
		"unicode":  {[]string{"ö", "日本"}, "0 ö 日本"},
		"a space":  {[]string{"a b", "c"}, "0 a b c"},
	} {
		if got := y.does(append([]string{"echo"}, c.words...)...); got != c.want {
			t.Errorf("%s: got %.200s, want %.200s", name, got, c.want)
		}
	}
	// Words so long, and such that hold NUL, no rule grants and no door lets in.
	for word, want := range map[string]string{
		strings.Repeat("x", 128<<10): "a word of the command has 131072 bytes, and programs take fewer than 131072; pass long text on standard input or in a file",
		"a\x00b":                     "a word of the command holds NUL",
	} {
		x := &execution{g: y.Gate, fence: &confine.Report{}, program: &runnable{argv: []string{"echo"}}}
		if no := x.arguments([]string{word}); no == nil || no.Code != "failed" || no.Message != want {
			t.Errorf("got %v, want %s", no, want)
		}
	}
	big := strings.Repeat("0123456789abcdef", 15<<16) // all of a body
	e, no := y.Exec(ABI, Command{Argv: []string{"cat"}, Stdin: []byte(big)})
	if no != nil || e.Exit != 0 || string(e.Stdout) != big || e.Truncated {
		t.Errorf("got %d bytes, %v", len(e.Stdout), no)
	}
	equal(t, "nobody reads", y.runs(Command{Argv: []string{"true"}, Stdin: []byte(big)}), "0")
	equal(t, "nothing to read", y.runs(Command{Argv: []string{"readlink", "/proc/self/fd/0"}}), "0 /dev/null")
	if got := y.runs(Command{Argv: []string{"cat"}, Stdin: []byte(big + "x")}); got != "failed: standard input has more than 15728640 bytes" {
		t.Errorf("got %.200s", got)
	}
	if s := y.starts(); s[len(s)-2].Stdin.Size != 15<<20 {
		t.Errorf("recorded %+v", s[len(s)-2].Stdin)
	}
}

// The environment is the same for every command, whatever the host's own is.
func TestExecEnvironment(t *testing.T) {
	for name, value := range map[string]string{"LD_PRELOAD": "/out/x.so", "PYTHONPATH": "/out", "SECRET": "s", "PATH": os.Getenv("PATH") + ":/out", "IFS": "x"} {
		t.Setenv(name, value)
	}
	y := newYard(t, setup{grants: all("env")}, nil, func(c *Commands) { c.Env = []string{"EXTRA=one=two", "EMPTY="} })
	equal(t, "the environment", y.does("env"), `0 PATH=/usr/bin:/bin
TMPDIR=/tmp
TEMP=/tmp
TMP=/tmp
HOME=/home
XDG_CONFIG_HOME=/home
XDG_DATA_HOME=/home
XDG_CACHE_HOME=/home
XDG_STATE_HOME=/home
XDG_RUNTIME_DIR=/home
LANG=C.UTF-8
TZ=UTC
PYTHONNOUSERSITE=1
GIT_CONFIG_NOSYSTEM=1
GIT_CONFIG_GLOBAL=/dev/null
GIT_OPTIONAL_LOCKS=0
GIT_TERMINAL_PROMPT=0
GIT_DISCOVERY_ACROSS_FILESYSTEM=1
GIT_CONFIG_COUNT=2
GIT_CONFIG_KEY_0=safe.directory
GIT_CONFIG_VALUE_0=*
GIT_CONFIG_KEY_1=core.checkStat
GIT_CONFIG_VALUE_1=minimal
EXTRA=one=two
EMPTY=`)
}

func TestProgramFolders(t *testing.T) {
	tools := operatorsFolder(t)
	if err := os.Symlink(tools, tools+"/link"); err != nil {
		t.Fatal(err)
	}
	workspace := operatorsFolder(t) + "/ws"
	inWorkspace := workspace + "/bin"
	if err := os.MkdirAll(inWorkspace, 0o755); err != nil {
		t.Fatal(err)
	}
	const taken = " cannot be shown to commands: they have one of their own in its place"
	for _, c := range []struct {
		path []string
		want string
	}{
		{[]string{"/usr/bin", "/bin", "/usr/bin"}, "[/usr/bin /bin]"},
		{[]string{"/usr/local/no-such-folder", "/opt/no-such-folder/bin", "/usr/bin"}, "[/usr/local/no-such-folder /usr/bin]"},
		{[]string{tools, tools + "/link"}, "[" + tools + "]"},
		{[]string{"/"}, `"/"` + taken},
		{[]string{"/etc/alternatives"}, `"/etc/alternatives"` + taken},
		{[]string{"/tmp"}, `"/tmp"` + taken},
		{[]string{"/home"}, `"/home"` + taken},
		{[]string{"/proc/self/cwd"}, ""},
		{[]string{inWorkspace}, `"` + inWorkspace + `" is where agents write: its programs would not be the operator's`},
		{[]string{filepath.Dir(workspace)}, `"` + filepath.Dir(workspace) + `" is where agents write: its programs would not be the operator's`},
	} {
		folders, err := ProgramFolders(c.path, []string{workspace, workspace + "/absent"})
		got := fmt.Sprint(folders)
		if err != nil {
			got = err.Error()
		}
		if c.want != "" && got != c.want {
			t.Errorf("%v: got %s, want %s", c.path, got, c.want)
		}
	}
}
