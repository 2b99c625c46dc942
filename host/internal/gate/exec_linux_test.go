package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
	"github.com/agenthost/agenthost/host/record"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == confine.Command {
		os.Exit(confine.Child(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// theFence is what the canary says of this machine.
var theFence = sync.OnceValues(func() (*confine.Report, error) { return confine.Canary(context.Background(), confine.Full) })

// A yard is a world in which commands are run.
type yard struct {
	*world
	waits, resumed int // how often the turn's clock was stopped, and went on
}

// newYard makes a world that runs the commands that are granted; pkg are files of
// its package. Tune may be nil.
func newYard(t *testing.T, s setup, pkg map[string]string, tune func(*Commands)) *yard {
	t.Helper()
	confinetest.Needs(t)
	y := &yard{}
	s.commands = &Commands{
		Fence:   func(context.Context) (*confine.Report, error) { return theFence() },
		Path:    []string{"/usr/bin", "/bin"},
		Time:    10 * time.Minute,
		Digests: NewDigests(time.Now),
		Limits: confine.Limits{
			Time: 30 * time.Second, CPU: time.Minute, Memory: 512 << 20, Processes: 128, OpenFiles: 256, FileSize: 1 << 30, Output: 15 << 20,
		},
		Wait: func() func() time.Duration {
			y.waits++
			began := time.Now()
			return func() time.Duration {
				y.resumed++
				return time.Since(began)
			}
		},
	}
	if tune != nil {
		tune(s.commands)
	}
	if pkg != nil {
		old := s.tune
		s.tune = func(cfg *Config) {
			if cfg.Package = filesPackage(t, pkg); old != nil {
				old(cfg)
			}
		}
	}
	y.world = newWorld(t, s)
	return y
}

func filesPackage(t *testing.T, files map[string]string) *archive.Package {
	t.Helper()
	dir := t.TempDir()
	files["manifest.json"] = `{"schema":"agenthost/package/v1","id":"PKG-T3-MAIN-001","version":"0.1.0"}`
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	pkg, err := archive.FromFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}

// rules are commands, word by word.
func rules(commands ...string) (list []capability.Command) {
	for _, c := range commands {
		list = append(list, strings.Fields(c))
	}
	return list
}

// runs runs a command and says what the guest was told: its exit status and what
// it wrote, or the code and the message.
func (y *yard) runs(c Command) string {
	y.t.Helper()
	e, no := y.Exec(ABI, c)
	if no != nil {
		return no.Code + ": " + no.Message
	}
	said := fmt.Sprintf("%d %s", e.Exit, e.Stdout)
	if len(e.Stderr) > 0 {
		said += "! " + string(e.Stderr)
	}
	if e.Truncated {
		said += " truncated"
	}
	return strings.TrimSpace(said)
}

func (y *yard) does(words ...string) string { y.t.Helper(); return y.runs(Command{Argv: words}) }

// starts and ends are what was recorded of the commands.
func (y *yard) starts() []record.ExecStart { return recorded[record.ExecStart](y) }
func (y *yard) ends() []record.ExecEnd     { return recorded[record.ExecEnd](y) }

func recorded[B any](y *yard) (list []B) {
	y.t.Helper()
	y.mark = y.begin
	for _, body := range y.bodies(y.begin.Seq) {
		if b, ok := body.(B); ok {
			list = append(list, b)
		}
	}
	return list
}

// An ordinary user's commands run in the same fence as root's.
func TestExecAsUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this is an ordinary user")
	}
	if testing.Short() {
		t.Skip("-short: the same tests again")
	}
	confinetest.Needs(t)
	const nobody = 65534
	dir, err := os.MkdirTemp("", "gate-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		// Where go test puts it, this user cannot reach it.
		err = errors.Join(os.WriteFile(filepath.Join(dir, "tests"), self, 0o555), os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "tmp"), 0o777), os.Chmod(filepath.Join(dir, "tmp"), 0o777))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "tests"), "-test.run=^TestExec", "-test.v", "-test.timeout=3m")
	cmd.Dir = filepath.Join(dir, "tmp")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=" + cmd.Dir, "HOME=" + cmd.Dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if passed := strings.Count(string(out), "--- PASS: TestExec"); err != nil || passed < 12 {
		t.Errorf("as user %d %d tests pass: %v\n%s", nobody, passed, err, out)
	}
}

func TestExecRuns(t *testing.T) {
	y := newYard(t, setup{grants: capability.Grants{Execute: rules(
		"true", "false", "echo **", "env", "pwd", "cat", "pkg:bin/hello *", "python3 pkg:crash.py", "ls -A /w /out /tmp /.agenthost/pkg", "python3 pkg:p.py *",
	)}}, map[string]string{
		"bin/hello": "#!/bin/sh -e\necho hello $0 $1\n",
		"crash.py":  "import ctypes; ctypes.string_at(0)\n",
		"p.py":      "import sys; print(sys.argv, file=sys.stderr); sys.exit(3)\n",
	}, nil)
	for _, c := range []struct {
		command Command
		want    string
	}{
		{Command{Argv: []string{"true"}}, "0"},
		{Command{Argv: []string{"false"}}, "1"},
		{Command{Argv: []string{"cat"}, Stdin: []byte("in")}, "0 in"},
		{Command{Argv: []string{"pwd"}}, "0 /w"},
		{Command{Argv: []string{"pwd"}, Dir: "/.agenthost/pkg"}, "0 /.agenthost/pkg"},
		{Command{Argv: []string{"pkg:bin/hello", "you"}}, "0 hello /.agenthost/pkg/bin/hello you"},
		{Command{Argv: []string{"python3", "pkg:crash.py"}}, "139"},
		{Command{Argv: []string{"ls", "-A", "/w", "/out", "/tmp", "/.agenthost/pkg"}}, ""},
		{Command{Argv: []string{"env"}}, ""},
		{Command{Argv: []string{"python3", "pkg:p.py", "a"}}, "3 ! ['/.agenthost/pkg/p.py', 'a']"},
	} {
		got := y.runs(c.command)
		if c.want == "" {
			t.Log(got)
		} else if got != c.want {
			t.Errorf("%v: got %s, want %s", c.command.Argv, got, c.want)
		}
	}
}
