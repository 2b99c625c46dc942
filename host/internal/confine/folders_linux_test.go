package confine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
)

// TestLateNames is what appears in a folder that is bound whole, or is in it
// against all expectations: links lead nowhere but where the command may go, and
// through a pipe or socket that another process made there it can say nothing.
func TestLateNames(t *testing.T) {
	confinetest.Needs(t)
	for _, tier := range []Tier{Full, Landlock} {
		t.Run(string(tier), func(t *testing.T) {
			if tier == Landlock {
				lowerHolds(t)
			}
			s := newScene(t)
			docs := filepath.Join(s.workspace, "docs")
			for name, target := range map[string]string{
				"relative": "../secret", "absolute": filepath.Join(s.workspace, "secret"), "process": "/proc/self/root" + filepath.Join(s.workspace, "secret"),
				"folder": s.dir, "up": "..", "inside": "a",
			} {
				if err := os.Symlink(target, filepath.Join(docs, name)); err != nil {
					t.Fatal(err)
				}
			}
			for _, dir := range []string{docs, s.scratch} {
				if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			sh := func(script string, l Limits) said {
				if tier == Landlock {
					return s.shLower(t, script, l)
				}
				spec := s.spec
				spec.Program, spec.Argv, spec.Limits = "/bin/sh", []string{"sh", "-c", script, "sh", "/tmp", "/out"}, l
				return run(t, spec, "input")
			}
			got := sh("cat docs/inside; cat docs/relative docs/absolute docs/process docs/folder/workspace/secret docs/up/secret; ls docs/up/ docs/folder/", Limits{})
			if got.stdout != "a\n" && !(tier == Full && got.stdout == "a\ndocs/up/:\ndocs\ngranted\n") || strings.Contains(got.stderr, "secret\n") {
				t.Errorf("got %q, %q", got.stdout, got.stderr)
			}
			// A reader that is there before, so that a write would succeed at once.
			reader, err := unix.Open(filepath.Join(docs, "pipe"), unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(reader)
			if got := sh("echo x >docs/pipe; echo x 1<>docs/pipe", Limits{}); got.Status == 0 || !strings.Contains(strings.ToLower(got.stderr), "permission denied") {
				t.Errorf("writing to a pipe: got %+v, %q", got.Result, got.stderr)
			}
			unix.Close(reader)
			// Nobody writes: who reads waits for the end of its time, and no longer.
			for _, name := range []string{"docs/pipe", "$1/pipe"} {
				got := sh("cat "+name, Limits{Time: 300 * time.Millisecond})
				if got.Stopped != StoppedTime || got.stdout != "" {
					t.Errorf("reading %s: got %+v, %q", name, got.Result, got.stdout)
				}
			}
		})
	}
}
