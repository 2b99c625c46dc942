package confine

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
)

// TestPrograms runs what agents are for, where the machine has it in its system
// folders.
func TestPrograms(t *testing.T) {
	confinetest.Needs(t)
	s := newScene(t)
	for name, text := range map[string]string{
		"docs/script.sh": "#!/bin/sh\necho \"script $1\" | sed s/script/ran/\n",
		"docs/script.py": "import json, ssl, sqlite3, multiprocessing, tempfile, sys\nwith tempfile.TemporaryFile() as f: f.write(b'x')\nprint(json.dumps({'argv': sys.argv[1:]}))\n",
		"docs/main.c":    "#include <stdio.h>\nint main(void) { puts(\"compiled\"); return 0; }\n",
		"docs/data.json": `{"a": [1, 2]}`,
	} {
		if err := os.WriteFile(filepath.Join(s.workspace, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "/usr/bin/git", args...)
		cmd.Dir = s.workspace
		cmd.Env = []string{"PATH=/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	hasGit := exists("/usr/bin/git")
	if hasGit {
		git("init", "-q")
		git("add", "granted", "docs")
		git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "first")
		s.spec.Binds = append(s.spec.Binds, Bind{Root: s.workspace, Name: ".git", Target: "/w/.git", Access: Read})
		if os.Getuid() == 0 { // somebody else's, as a repository that was mounted is
			if err := os.Lchown(filepath.Join(s.workspace, ".git"), 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.spec.Binds = append(s.spec.Binds, Bind{Root: filepath.Join(s.workspace, "docs"), Name: "script.sh", Target: "/pkg/script.sh", Access: Execute})
	var err error
	if s.spec.Env, err = Environment([]string{"/usr/bin", "/bin"}, "/tmp", nil); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		argv []string
		want string
	}{
		{[]string{"/usr/bin/git", "log", "--format=%s by %an"}, "first by A\n"},
		{[]string{"/usr/bin/git", "status", "--porcelain"}, ""},
		{[]string{"/usr/bin/git", "-C", "docs", "log", "--format=%s"}, "first\n"},
		{[]string{"/usr/bin/python3", "docs/script.py", "x"}, "{\"argv\": [\"x\"]}\n"},
		{[]string{"/pkg/script.sh", "it"}, "ran it\n"},
		{[]string{"/bin/sh", "docs/script.sh", "that"}, "ran that\n"},
		{[]string{"/usr/bin/jq", "-c", ".a", "docs/data.json"}, "[1,2]\n"},
		{[]string{"/usr/bin/gcc", "-o", "/tmp/compiled", "docs/main.c"}, ""},
		{[]string{"/usr/bin/find", "docs", "-name", "*.py"}, "docs/script.py\n"},
		{[]string{"/usr/bin/sort", "-r", "granted", "docs/a"}, "granted\na\n"},
	} {
		t.Run(strings.Join(tt.argv, " "), func(t *testing.T) {
			if !exists(tt.argv[0]) && strings.HasPrefix(tt.argv[0], "/usr/") || !hasGit && strings.HasSuffix(tt.argv[0], "git") {
				t.Skipf("this machine has no %s", tt.argv[0])
			}
			spec := s.spec
			spec.Program, spec.Argv = tt.argv[0], slices.Clone(tt.argv)
			spec.Argv[0] = filepath.Base(tt.argv[0])
			got := run(t, spec, "")
			if got.stdout != tt.want || got.Status != 0 {
				t.Errorf("status %d, stopped %q, got %q, want %q\n%s", got.Status, got.Stopped, got.stdout, tt.want, got.stderr)
			}
		})
	}
	if exists("/usr/bin/gcc") {
		if out, err := exec.CommandContext(t.Context(), filepath.Join(s.scratch, "compiled")).Output(); err != nil || string(out) != "compiled\n" {
			t.Errorf("what was compiled: %q, %v", out, err)
		}
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// BenchmarkRun is what the fence costs around a program that does nothing.
func BenchmarkRun(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 4096} {
		dir := b.TempDir()
		spec := Spec{Program: "/usr/bin/true", Argv: []string{"true"}, Dir: "/"}
		for i := range n {
			name := strconv.Itoa(i)
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				b.Fatal(err)
			}
			spec.Binds = append(spec.Binds, Bind{Root: dir, Name: name, Target: "/w/" + name, Access: Read})
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Run(b.Context(), spec, nil, os.Stderr, os.Stderr); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
