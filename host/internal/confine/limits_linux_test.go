package confine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
)

// TestLimits is what a command cannot use up.
func TestLimits(t *testing.T) {
	confinetest.Needs(t)
	for _, tt := range []struct {
		name, script string
		limits       Limits
		want         string // Stopped
		check        func(*testing.T, said)
	}{
		{"time", "sleep 60", Limits{Time: 200 * time.Millisecond}, StoppedTime, nil},
		{"time, in another session", "setsid sleep 60 & setsid sh -c 'trap \"\" TERM HUP; sleep 60' & wait", Limits{Time: 200 * time.Millisecond}, StoppedTime, nil},
		{"cpu", "while :; do :; done", Limits{CPU: time.Second}, StoppedCPU, nil},
		{"output", "yes", Limits{Output: 1000}, StoppedOutput, func(t *testing.T, r said) {
			if len(r.stdout) != 1000 || r.Usage.Output != 1000 {
				t.Errorf("got %d bytes, %d counted", len(r.stdout), r.Usage.Output)
			}
		}},
		{"files", "cd /tmp; i=0; while :; do : >$i; i=$((i+1)); done", Limits{Files: 100}, StoppedFiles, nil},
		{"bytes", "cd /out; i=0; while :; do head -c 100000 /dev/zero >$i; i=$((i+1)); done", Limits{Bytes: 1 << 20}, StoppedBytes, nil},
		{"bytes at the end", "head -c 2000000 /dev/zero >/out/x", Limits{Bytes: 1 << 20}, StoppedBytes, nil},
		{"files that cannot be listed", "mkdir /tmp/d; cd /tmp/d; chmod 0300 .; i=0; while :; do : >$i; i=$((i+1)); done", Limits{Files: 100}, StoppedFiles, nil},
		{"files in a top that cannot be listed", "cd /tmp; chmod 0300 .; i=0; while :; do : >$i; i=$((i+1)); done", Limits{Files: 100}, StoppedFiles, nil},
		{"folders as deep as they can be counted", "cd /tmp; i=1; while [ $i -lt 256 ]; do mkdir a; cd a; i=$((i+1)); done; : >a", Limits{}, "", nil},
		{"folders too deep to be counted", "cd /tmp; i=0; while [ $i -lt 256 ]; do mkdir a; cd a; i=$((i+1)); done", Limits{}, StoppedFiles, nil},
		{"bytes without a name", "exec 3>/tmp/x; rm /tmp/x; head -c 2000000 /dev/zero >&3; sleep 60", Limits{Bytes: 1 << 20}, StoppedBytes, nil},
		{"file size", "head -c 100000 /dev/zero >/tmp/x; stat -c %s /tmp/x", Limits{FileSize: 5000}, "", func(t *testing.T, r said) {
			if r.stdout != "5000\n" {
				t.Errorf("got %q", r.stdout)
			}
		}},
		{"shared memory as files", "head -c 100000000 /dev/zero >/dev/shm/x; stat -c %s /dev/shm/x", Limits{}, "", func(t *testing.T, r said) {
			if r.stdout != "16777216\n" {
				t.Errorf("got %q", r.stdout)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			s.spec.Limits = tt.limits
			t.Cleanup(func() { // or it stays
				_ = os.Chmod(s.scratch, 0o755)
				_ = os.Chmod(filepath.Join(s.scratch, "d"), 0o755)
			})
			got := s.sh(t, tt.script)
			if got.Stopped != tt.want {
				t.Errorf("stopped: got %q, want %q (%+v, %q, %q)", got.Stopped, tt.want, got.Result, got.stdout, got.stderr)
			}
			if tt.check != nil {
				tt.check(t, got)
			}
			noSurvivors(t, s)
		})
	}
	for attack, want := range map[string]string{"memory": "", "shared memory": StoppedMemory, "memory of many": StoppedMemory} {
		t.Run(attack, func(t *testing.T) {
			if testing.Short() {
				t.Skip("short: the race detector takes more memory than this bounds")
			}
			s := newScene(t)
			s.spec.Argv = []string{"attack", attackCommand, attack}
			s.spec.Limits = Limits{Memory: 256 << 20}
			got := run(t, s.spec, "")
			if got.Status == 0 || got.Stopped != want {
				t.Errorf("of %d bytes: got %+v\n%s", s.spec.Limits.Memory, got.Result, got.stderr)
			}
			t.Logf("stopped %q, status %d, signal %d, %d MiB", got.Stopped, got.Status, got.Signal, got.Usage.Memory>>20)
			noSurvivors(t, s)
		})
	}
	t.Run("processes", func(t *testing.T) {
		s := newScene(t)
		s.spec.Argv = []string{"attack", attackCommand, "processes"}
		s.spec.Limits = Limits{Processes: 60}
		got := run(t, s.spec, "")
		n, err := strconv.Atoi(strings.TrimSpace(got.stdout))
		if most := got.Report.Limits.Processes; err != nil || n == 0 || n > most {
			t.Errorf("got %q processes, want at most %d (%s)\n%s", got.stdout, most, got.Report.Processes, got.stderr)
		}
		t.Logf("%d processes, bounded by %s", n, got.Report.Processes)
		noSurvivors(t, s)
	})
}

// survivors are the processes in a scene's view, and groups.
func survivors(t *testing.T, s *scene) (left []string) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(filepath.Base(filepath.Dir(s.dir)), filepath.Base(s.dir), "scratch") + " /tmp "
	for _, n := range names {
		if data, err := os.ReadFile(n); err == nil && bytes.Contains(data, []byte(mark)) {
			left = append(left, filepath.Dir(n))
		}
	}
	found, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range found {
		groups, _ := filepath.Glob(filepath.Join(h.dir, groupPrefix+"*"))
		for _, dir := range groups {
			// One that is locked belongs to another host that runs now.
			if fd, ok := lockDir(dir, unix.LOCK_EX); ok {
				unix.Close(fd)
				left = append(left, dir)
			}
		}
	}
	return left
}

func noSurvivors(t *testing.T, s *scene) {
	t.Helper()
	if left := survivors(t, s); left != nil {
		t.Errorf("left of the command: %q", left)
	}
}

// TestLifecycle ends hosts and turns while a command runs.
func TestLifecycle(t *testing.T) {
	confinetest.Needs(t)
	t.Run("cancelled", func(t *testing.T) {
		s := newScene(t)
		ctx, cancel := context.WithCancel(t.Context())
		spec := s.spec
		spec.Program, spec.Argv = "/bin/sh", []string{"sh", "-c", "echo ready; setsid sleep 60 & sleep 60"}
		r, err := Run(ctx, spec, nil, writer(func() { cancel() }), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if r.Stopped != StoppedCancelled || r.Signal != int(syscall.SIGKILL) {
			t.Errorf("got %+v", r)
		}
		noSurvivors(t, s)
	})
	t.Run("something left running", func(t *testing.T) {
		s := newScene(t)
		// It keeps none of the command's pipes, and ignores what it can.
		got := s.sh(t, "(trap '' HUP TERM INT; exec setsid sleep 60) </dev/null >/dev/null 2>&1 & sleep 0.05; exit 7")
		if got.Status != 7 || got.Stopped != "" {
			t.Errorf("got %+v", got.Result)
		}
		noSurvivors(t, s)
	})
	t.Run("host killed", func(t *testing.T) {
		s := newScene(t)
		s.spec.Program, s.spec.Argv = "/bin/sh", []string{"sh", "-c", "echo ready; setsid sleep 60 & sleep 60"}
		out, host := s.host(t, s.spec)
		if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
			t.Fatal(err)
		}
		if err := host.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		// The end of the pipe comes when the last that has it closes it, which is
		// before it is gone. Its groups the next command removes.
		if _, err := io.ReadAll(out); err != nil {
			t.Fatal(err)
		}
		_ = host.Wait()
		for {
			next := newScene(t)
			next.sh(t, ":")
			if len(survivors(t, s)) == 0 {
				break
			}
		}
	})
}

// host starts a host that runs a command, and returns what it writes.
func (s *scene) host(t *testing.T, spec Spec) (io.Reader, *exec.Cmd) {
	t.Helper()
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	host := exec.CommandContext(t.Context(), thisProgram, attackCommand, "host", string(data))
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	return out, host
}

// A writer calls a function at what it gets.
type writer func()

func (w writer) Write(p []byte) (int, error) { w(); return len(p), nil }

// A reader that fails does not make a command one that never ran.
func TestLost(t *testing.T) {
	confinetest.Needs(t)
	s := newScene(t)
	s.spec.Program, s.spec.Argv = "/bin/sh", []string{"sh", "-c", "echo x; exit 0"}
	closed, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	result, err := Run(context.Background(), s.spec, nil, closed, io.Discard)
	var lost *LostError
	if !errors.As(err, &lost) || !errors.Is(err, os.ErrClosed) || result != nil {
		t.Errorf("got %+v, %v", result, err)
	}
}
