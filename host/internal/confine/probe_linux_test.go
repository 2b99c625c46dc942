package confine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
)

// TestProbe is for a machine on which the other tests pass: then all works.
func TestProbe(t *testing.T) {
	confinetest.Needs(t)
	var names []string
	for _, m := range Probe(t.Context()) {
		t.Logf("%-18s %v %s %s", m.Name, m.Works, m.Detail, m.Remedy)
		if !m.Works {
			t.Errorf("%s does not work: %s; remedy: %s", m.Name, m.Detail, m.Remedy)
		}
		names = append(names, m.Name)
	}
	const want = "user namespaces, mnt namespaces, pid namespaces, net namespaces, ipc namespaces, uts namespaces, cgroup namespaces, " +
		"mounts, landlock, seccomp, openat2, fence, lower fence, process limit, memory limit"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestNested probes inside a fence: there is nothing to build one with, and each
// of the mechanisms says so.
func TestNested(t *testing.T) {
	confinetest.Needs(t)
	s := newScene(t)
	s.spec.Argv = []string{"attack", attackCommand, "probe"}
	got := run(t, s.spec, "")
	want := "user namespaces: fork/exec /proc/self/exe: operation not permitted"
	if !strings.HasPrefix(got.stdout, want) || !strings.Contains(got.stdout, "\nseccomp: operation not permitted\n") ||
		!strings.Contains(got.stdout, "\nfence: fork/exec /proc/self/exe: operation not permitted\n") {
		t.Errorf("got:\n%s%s", got.stdout, got.stderr)
	}
	if !strings.Contains(got.stdout, "remedy: in Docker: docker run --security-opt seccomp=unconfined") {
		t.Errorf("the remedy does not name what holds it:\n%s", got.stdout)
	}
}

// TestNoChild is a program that forgot to hand over.
func TestNoChild(t *testing.T) {
	t.Setenv(envChild, "1")
	if _, err := Canary(t.Context(), Full); err != errNoChild {
		t.Errorf("got %v", err)
	}
}

// TestOwn is a program whose name leads nowhere, to another file, or through a
// folder that its user cannot enter: the fence can be tried all the same.
func TestOwn(t *testing.T) {
	confinetest.Needs(t)
	for _, state := range []string{"named", "renamed", "removed", "replaced", "out of reach"} {
		t.Run(state, func(t *testing.T) {
			dir := place(t)
			program := filepath.Join(dir, "folder", "program")
			if err := os.Mkdir(filepath.Dir(program), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(filepath.Dir(program), 0o755) }) // or it stays
			if err := copyOwn(program); err != nil {
				t.Fatal(err)
			}
			temp := place(t)
			cmd := exec.CommandContext(t.Context(), program, attackCommand, "canary")
			cmd.Env = []string{"TMPDIR=" + temp, noSleep}
			if os.Getuid() == 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
				for _, name := range []string{filepath.Dir(dir), dir, program, temp} {
					if err := os.Chown(name, nobody, nobody); err != nil {
						t.Fatal(err)
					}
				}
			}
			in, err := cmd.StdinPipe() // its end lets it go on
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			want := "full, from a copy\n"
			switch state {
			case "named":
				want = "full\n"
			case "renamed":
				want, err = "full\n", os.Rename(program, program+".old")
			case "removed":
				err = os.Remove(program)
			case "replaced":
				if err = os.WriteFile(program+".new", nil, 0o755); err == nil {
					err = os.Rename(program+".new", program)
				}
			case "out of reach":
				err = os.Chmod(filepath.Dir(program), 0)
			}
			if err != nil {
				t.Fatal(err)
			}
			in.Close()
			err = cmd.Wait()
			if err != nil || out.String() != want {
				t.Errorf("got %v, %q, want %q", err, out.String(), want)
			}
		})
	}
}
