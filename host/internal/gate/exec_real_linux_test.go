package gate

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
)

// needs skips a test where this machine does not have a program.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath("/usr/bin/" + p); err != nil {
			t.Skipf("this machine has no /usr/bin/%s", p)
		}
	}
}

// all are the files of a workspace that may all be read.
func all(execute ...string) capability.Grants {
	return capability.Grants{Read: []string{"**"}, Execute: rules(execute...)}
}

// Git shows what a repository holds, and changes nothing in it.
func TestExecGit(t *testing.T) {
	needs(t, "git")
	y := newYard(t, setup{grants: all("git status --porcelain", "git log --oneline", "git log --format=%s **"), files: map[string]string{"a.txt": "a\n", "docs/b.txt": "b\n"}}, nil, nil)
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("/usr/bin/git", append([]string{"-C", y.dir, "-c", "user.name=A", "-c", "user.email=a@b"}, args...)...)
		cmd.Env = []string{"HOME=/nonexistent", "PATH=/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM=1"}
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, said)
		}
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-qm", "First")
	y.write(y.at("new.txt"), "new\n")
	before := snapshot(t, y.dir)
	equal(t, "status", y.does("git", "status", "--porcelain"), "0 ?? new.txt")
	if got := y.does("git", "log", "--oneline"); !strings.HasPrefix(got, "0 ") || !strings.HasSuffix(got, " First") {
		t.Errorf("log: %s", got)
	}
	equal(t, "log of a path", y.does("git", "log", "--format=%s", "docs/b.txt"), "0 First")
	equal(t, "the workspace", fmt.Sprint(snapshot(t, y.dir)), fmt.Sprint(before))
	if _, problems, err := y.Finish(); err != nil || len(problems) > 0 {
		t.Errorf("got %v, %v", problems, err)
	}
}

func TestExecJq(t *testing.T) {
	needs(t, "jq")
	y := newYard(t, setup{grants: all("jq -c .a data.json", "jq -r .b.c *"), files: map[string]string{"data.json": `{"a": [1, 2]}`, "list.json": `{"b":{"c":"x"}}`}}, nil, nil)
	equal(t, "jq", y.does("jq", "-c", ".a", "data.json"), "0 [1,2]")
	equal(t, "jq", y.does("jq", "-r", ".b.c", "list.json"), "0 x")
}

// What a compiler makes lands in scratch, where nothing is executed.
func TestExecGcc(t *testing.T) {
	needs(t, "gcc")
	y := newYard(t, setup{grants: all("gcc -o /tmp/hello hello.c", "sh -c /tmp/hello"), files: map[string]string{"hello.c": "int main(void) { return 7; }\n"}}, nil, nil)
	equal(t, "gcc", y.does("gcc", "-o", "/tmp/hello", "hello.c"), "0")
	made, err := os.ReadFile(filepath.Join(y.stages, AreaTmp, "hello"))
	if err != nil || !strings.HasPrefix(string(made), "\x7fELF") {
		t.Fatalf("got %.10q: %v", made, err)
	}
	if got := y.does("sh", "-c", "/tmp/hello"); !strings.HasPrefix(got, "126 ! ") || !strings.Contains(got, "Permission denied") {
		t.Errorf("what it made was executed: %s", got)
	}
}

// goProgram builds a program of one file, without anything of C.
func goProgram(t *testing.T, source string) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go to build a program with")
	}
	dir := t.TempDir()
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module x\n\ngo 1.24\n"), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", "x", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=mod")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	program, err := os.ReadFile(filepath.Join(dir, "x"))
	if err != nil {
		t.Fatal(err)
	}
	return string(program)
}

// A program of the package runs as it is in the manifest. Nobody can change it,
// and no other file of the package is executed.
func TestExecPackageProgram(t *testing.T) {
	program := goProgram(t, `package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	self, err := os.Executable()
	fmt.Println(strings.Join(os.Args, " "), self, err)
	for _, name := range os.Args[1:] {
		_, err := os.OpenFile(name, os.O_WRONLY, 0)
		fmt.Println(err)
		fmt.Println(os.Chmod(name, 0o777))
	}
}
`)
	y := newYard(t, setup{grants: all("pkg:bin/tool **", "pkg:bin/tool pkg:bin/tool pkg:bin/other", "pkg:bin/other")}, map[string]string{"bin/tool": program, "bin/other": program}, nil)
	const at = "/.agenthost/pkg/bin/"
	equal(t, "tool", y.does("pkg:bin/tool", "x"), "0 "+at+"tool x "+at+"tool <nil>\nopen x: no such file or directory\nchmod x: no such file or directory")
	equal(t, "tool", y.does("pkg:bin/tool", "pkg:bin/tool", "pkg:bin/other"), "0 "+strings.Join([]string{at + "tool", at + "tool", at + "other", at + "tool", "<nil>"}, " ")+
		"\nopen "+at+"tool: permission denied\nchmod "+at+"tool: read-only file system\nopen "+at+"other: permission denied\nchmod "+at+"other: read-only file system")
	unpacked := filepath.Join(y.stages, "package")
	for name, want := range map[string]os.FileMode{"bin/tool": 0o555, "bin/other": 0o444, "manifest.json": 0o444} {
		if info, err := os.Stat(filepath.Join(unpacked, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	equal(t, "other", y.does("pkg:bin/other"), "0 "+at+"other "+at+"other <nil>")
	starts := y.starts()
	if f := starts[0].Program; f.Path != "pkg:bin/tool" || f.Size != int64(len(program)) || starts[0].Interpreter != nil {
		t.Errorf("recorded %+v, %+v", f, starts[0].Interpreter)
	}
}

// operatorsFolder is a folder for programs. It is not beneath /tmp, which commands
// have of their own.
func operatorsFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "gate-tools-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A program that is another one by the time it is started is not.
func TestExecReplacedProgram(t *testing.T) {
	tools := operatorsFolder(t)
	tool := filepath.Join(tools, "tool")
	program := goProgram(t, "package main\n\nfunc main() { println(1) }\n")
	replace := func() {
		t.Helper()
		if err := errors.Join(os.WriteFile(tool+".new", []byte(program), 0o755), os.Rename(tool+".new", tool)); err != nil {
			t.Fatal(err)
		}
	}
	replace()
	y := newYard(t, setup{grants: all("tool")}, nil, func(c *Commands) {
		c.Path = append(c.Path, tools)
		wait := c.Wait
		c.Wait = func() func() time.Duration {
			replace()
			return wait()
		}
	})
	equal(t, "tool", y.does("tool"), "failed: tool did not start: it is not the file that was judged any more")
	ends := y.ends()
	if len(ends) != 1 || ends[0].Failed != "tool did not start: it is not the file that was judged any more" {
		t.Errorf("recorded %+v", ends)
	}
	_, problems, err := y.Finish()
	if err != nil || len(problems) != 1 || problems[0].Path != tool || problems[0].Code != "input_changed" {
		t.Errorf("got %v, %v", problems, err)
	}
}

// A program of the operator's own folder runs, is shown to the command, and is
// changed in place.
func TestExecChangedProgram(t *testing.T) {
	tools := operatorsFolder(t)
	tool := filepath.Join(tools, "tool")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho $0; ls "+tools+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	y := newYard(t, setup{grants: all("tool")}, nil, func(c *Commands) { c.Path = append(c.Path, tools) })
	equal(t, "tool", y.does("tool"), "0 "+tool+"\ntool")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho changed\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	equal(t, "tool", y.does("tool"), "0 changed")
	if starts := y.starts(); starts[0].Program.SHA256 == starts[1].Program.SHA256 {
		t.Errorf("recorded %+v twice", starts[0].Program)
	}
	if _, problems, err := y.Finish(); err != nil || len(problems) > 0 {
		t.Errorf("got %v, %v", problems, err)
	}
}
