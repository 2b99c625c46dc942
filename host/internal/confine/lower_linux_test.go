package confine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
)

// lower is the spec of a scene in the tier Landlock: the same at its real paths.
func (s *scene) lower() Spec {
	l := s.spec
	l.Tier, l.Program, l.Dir = Landlock, s.program, s.workspace
	l.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + Home, "TMPDIR=" + s.scratch, "LANG=C.UTF-8", "GOMAXPROCS=2", noSleep}
	return l
}

// shLower runs a script in it, with the folders it can write as its arguments.
func (s *scene) shLower(t *testing.T, script string, l Limits) said {
	t.Helper()
	spec := s.lower()
	spec.Program, spec.Argv, spec.Limits = "/bin/sh", []string{"sh", "-c", script, "sh", s.scratch, s.out}, l
	return run(t, spec, "input")
}

// lowerHolds skips a test where nothing bounds this user's processes without
// namespaces; it is the only reason there may be.
func lowerHolds(t *testing.T) {
	t.Helper()
	confinetest.NeedsLandlock(t)
	_, err := canaryIn(t.Context(), Landlock)
	var missing *MissingError
	switch {
	case errors.As(err, &missing) && missing.Layer == "process limit" && os.Getuid() == 0:
		t.Skipf("the lower fence cannot be had: %v", err)
	case err != nil:
		t.Fatal(err)
	}
}

// shortened skips what the race detector only takes long for.
func shortened(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("short: other commands take the same way through the host")
	}
}

func TestLowerRun(t *testing.T) {
	shortened(t)
	lowerHolds(t)
	s := newScene(t)
	for _, tt := range []struct {
		script, stdout string
		status         int
	}{
		{"cat granted docs/a", "granted\na\n", 0},
		{"cat", "input", 0},
		{"pwd", s.workspace + "\n", 0},
		{"echo made >$1/x; cat $1/x; echo out >$2/y; mkdir $2/d; mv $2/y $2/d/y; rm $2/d/y; rmdir $2/d", "made\n", 0},
		{"exit 3", "", 3},
		{"cat secret", "", 1},
		{"ls .", "", 2},
		{"ls docs", "a\n", 0},
		{"ls /proc/self/", "", 2},
		{"echo >/dev/null && head -c 3 /dev/zero | wc -c", "3\n", 0},
		{"cat /dev/stdin </dev/null; echo x | cat /dev/stdin", "x\n", 0},
		{"ln -s x $1/link; readlink $1/link", "x\n", 0},
		{"ln -s x $2/link", "", 1},
		{"cp /usr/bin/true $1/true; $1/true", "", 126},
		{"id -u", fmt.Sprintln(os.Getuid()), 0},
		{"sort -o $1/sorted docs/a granted; cat $1/sorted", "a\ngranted\n", 0},
	} {
		got := s.shLower(t, tt.script, Limits{})
		if got.stdout != tt.stdout || got.Status != tt.status || got.Stopped != "" {
			t.Errorf("%s: got %q, %q, status %d, stopped %q; want %q, status %d",
				tt.script, got.stdout, got.stderr, got.Status, got.Stopped, tt.stdout, tt.status)
		}
	}
	got := s.shLower(t, "kill -9 $$", Limits{})
	if got.Signal != 9 || got.Status != -1 {
		t.Errorf("got %+v", got.Result)
	}
	r := got.Report
	t.Logf("%+v", r)
	if r.Tier != Landlock || len(r.Namespaces) != 0 || r.Mounts != 0 || r.Landlock < leastLandlock ||
		r.NoNewPrivileges != 1 || r.Seccomp != 2 || r.Capabilities != 0 {
		t.Errorf("got %+v", r)
	}
	if os.Getuid() != 0 && r.Processes != boundRlimit && !strings.HasPrefix(r.Processes, "cgroup") || os.Getuid() == 0 && !strings.HasPrefix(r.Processes, "cgroup") {
		t.Errorf("processes of user %d are bounded by %s", os.Getuid(), r.Processes)
	}
}

// TestLowerPosture is what a command finds itself to be.
func TestLowerPosture(t *testing.T) {
	lowerHolds(t)
	forgotten, err := unix.Open("/dev/null", unix.O_RDONLY, 0) // on exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(forgotten)
	t.Setenv("AGENTHOST_SECRET", "secret")
	s := newScene(t)
	spec := s.lower()
	spec.Argv = []string{"attack", attackCommand, "lower posture"}
	got := run(t, spec, "")
	want := `descriptors 0 1 2
environment GOMAXPROCS=2 GORACE=atexit_sleep_ms=0 HOME=/home LANG=C.UTF-8 PATH=/usr/bin:/bin TMPDIR=` + s.scratch + `
umask 0022
capabilities [{0 0 0} {0 0 0}] <nil>
no_new_privs 1 <nil> seccomp 2 <nil>
leads its session true
core 1
data 536870912
files 256
mark true
`
	if got.stdout != want || got.Status != 0 {
		t.Errorf("got:\n%s%swant:\n%s", got.stdout, got.stderr, want)
	}
}

// TestLowerPrograms is what needs no more than this tier gives, where the machine
// has it.
func TestLowerPrograms(t *testing.T) {
	shortened(t)
	lowerHolds(t)
	s := newScene(t)
	if exists("/usr/bin/git") {
		for _, args := range [][]string{{"init", "-q"}, {"add", "granted"}, {"-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "first"}} {
			cmd := exec.CommandContext(t.Context(), "/usr/bin/git", args...)
			cmd.Dir, cmd.Env = s.workspace, []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("git %q: %v: %s", args, err, out)
			}
		}
		s.spec.Binds = append(s.spec.Binds, Bind{Root: s.workspace, Name: ".git", Access: Read})
	}
	if err := os.WriteFile(filepath.Join(s.workspace, "docs/main.c"), []byte("int main(void) { return 0; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ program, script, want string }{
		{"/usr/bin/git", "git log --format='%s by %an' && git status --porcelain granted", "first by A\n"},
		{"/usr/bin/python3", `python3 -c 'import json, ssl, sqlite3, tempfile, subprocess; print(subprocess.run(["echo", "hi"], capture_output=True).stdout)'`, "b'hi\\n'\n"},
		{"/usr/bin/jq", "echo '[1]' | jq -c .", "[1]\n"},
		{"/usr/bin/gcc", "gcc -o $1/compiled docs/main.c && echo compiled", "compiled\n"},
		{"/usr/bin/tar", "tar -cf $1/a.tar granted && tar -tf $1/a.tar", "granted\n"},
		{"/bin/bash", "bash -c 'cat <(echo x) <<<y -'", "x\ny\n"},
	} {
		t.Run(tt.program, func(t *testing.T) {
			if !exists(tt.program) {
				t.Skipf("this machine has no %s", tt.program)
			}
			spec := s.lower()
			spec.Program, spec.Argv = "/bin/sh", []string{"sh", "-c", tt.script, "sh", s.scratch}
			spec.Env = append(spec.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_OPTIONAL_LOCKS=0")
			if got := run(t, spec, ""); got.stdout != tt.want || got.Status != 0 {
				t.Errorf("status %d, got %q, want %q\n%s", got.Status, got.stdout, tt.want, got.stderr)
			}
		})
	}
}

// TestLowerSpecs is what is not granted without a view.
func TestLowerSpecs(t *testing.T) {
	s := newScene(t)
	for name, target := range map[string]string{"link": "secret", "away": s.dir} {
		if err := os.Symlink(target, filepath.Join(s.workspace, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		bind Bind
		want string
	}{
		{Bind{Root: s.workspace, Name: "link", Access: Read}, "open link of " + s.workspace + ": too many levels of symbolic links"},
		{Bind{Root: s.workspace, Name: "away/workspace/secret", Access: Read}, "open away/workspace/secret of " + s.workspace + ": too many levels of symbolic links"},
		{Bind{Root: s.workspace, Name: "../out", Access: Read}, `bind "../out" of ` + s.workspace + ": not a relative path in its shortest form"},
		{Bind{Root: s.workspace, Name: "secret", Access: Read, Device: 1, Inode: 1}, "secret of " + s.workspace + " is not the file that was judged any more"},
		{Bind{Root: s.workspace, Name: "secret", Access: Write}, "secret of " + s.workspace + " is a file: what can be written is a folder"},
		{Bind{Root: s.out, Name: "x", Access: Execute}, s.out + "/x lies in " + s.out + ", which can be written"},
		{Bind{Root: s.out, Name: "x", Access: Read}, s.out + "/x lies in " + s.out + ", which can be written"},
		{Bind{Root: s.dir, Name: ".", Access: Execute}, s.scratch + " lies in " + s.dir + ", which can be executed"},
		{Bind{Root: s.dir, Name: "out", Access: Scratch}, s.out + " is bound twice"},
		{Bind{Root: s.dir, Name: ".", Access: Write}, s.workspace + "/granted lies in " + s.dir + ", which can be written"},
	} {
		spec := s.lower()
		spec.Binds = append(slices.Clone(spec.Binds), tt.bind)
		spec.Argv = []string{"attack"}
		_, err := Run(t.Context(), spec, nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %s", tt.bind, err, tt.want)
		}
	}
	spec := s.lower()
	spec.Tier, spec.Argv = "none", []string{"x"}
	if _, err := Run(t.Context(), spec, nil, io.Discard, io.Discard); err == nil || err.Error() != `confine: there is no tier "none"` {
		t.Errorf("got %v", err)
	}
}

// TestLowerLimits is what ends a tree without a namespace to end it.
func TestLowerLimits(t *testing.T) {
	shortened(t)
	lowerHolds(t)
	const bomb = `b() { b | b & }; (b); exec sleep 60`
	for _, tt := range []struct {
		name, script string
		limits       Limits
		want         string
	}{
		{"time", "sleep 60", Limits{Time: 200 * time.Millisecond}, StoppedTime},
		{"time, in other sessions", "setsid sleep 60 & setsid setsid -f sh -c 'trap \"\" TERM HUP INT; sleep 60' & sleep 60", Limits{Time: 300 * time.Millisecond}, StoppedTime},
		{"time, of many that make more", bomb, Limits{Time: 500 * time.Millisecond, Processes: 60}, StoppedTime},
		{"cpu", "while :; do :; done", Limits{CPU: time.Second}, StoppedCPU},
		{"cpu of a child that was left", "setsid -f sh -c 'while :; do :; done'; sleep 60", Limits{CPU: time.Second}, StoppedCPU},
		{"output", "yes", Limits{Output: 1000}, StoppedOutput},
		{"files", "cd $1; i=0; while :; do : >$i; i=$((i+1)); done", Limits{Files: 100}, StoppedFiles},
		{"bytes without a name", "exec 3>$1/x; rm $1/x; head -c 2000000 /dev/zero >&3; sleep 60", Limits{Bytes: 1 << 20}, StoppedBytes},
		{"something left running", "(trap '' HUP TERM INT; exec setsid sleep 60) </dev/null >/dev/null 2>&1 & sleep 0.05", Limits{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			got := s.shLower(t, tt.script, tt.limits)
			if got.Stopped != tt.want {
				t.Errorf("stopped: got %q, want %q (%+v, %q)", got.Stopped, tt.want, got.Result, got.stderr)
			}
			noneMarked(t, s)
		})
	}
	t.Run("processes", func(t *testing.T) {
		s := newScene(t)
		spec := s.lower()
		spec.Argv, spec.Limits = []string{"attack", attackCommand, "processes"}, Limits{Processes: 60}
		got := run(t, spec, "")
		var n int
		most := 60
		if got.Report.Processes == boundRlimit {
			most += tasksOf(os.Getuid()) + 100 // what else this user had then may have gone
		}
		if _, err := fmt.Sscan(got.stdout, &n); err != nil || n < 1 || n > most {
			t.Errorf("got %q processes of at most %d\n%s", got.stdout, most, got.stderr)
		}
		noneMarked(t, s)
	})
	t.Run("memory", func(t *testing.T) {
		if testing.Short() {
			t.Skip("short: the race detector takes more memory than this bounds")
		}
		s := newScene(t)
		spec := s.lower()
		spec.Argv, spec.Limits = []string{"attack", attackCommand, "shared memory"}, Limits{Memory: 256 << 20}
		if got := run(t, spec, ""); got.Stopped != StoppedMemory {
			t.Errorf("got %+v", got.Result)
		}
		noneMarked(t, s)
	})
}

// marked are the processes of a scene's folder that have any supervisor's mark.
func marked(s *scene) (left []string) {
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range names {
		limits, _ := os.ReadFile(name + "/limits")
		cwd, _ := os.Readlink(name + "/cwd")
		if strings.Contains(string(limits), "Max file locks            46") && strings.HasPrefix(cwd, s.dir) {
			left = append(left, name)
		}
	}
	return left
}

func noneMarked(t *testing.T, s *scene) {
	t.Helper()
	if left := marked(s); left != nil {
		t.Errorf("left of the command: %q", left)
	}
}

// TestLowerLifecycle ends the host, the turn and the supervisor while a command
// runs that does what it can to stay.
func TestLowerLifecycle(t *testing.T) {
	lowerHolds(t)
	const script = "setsid -f sh -c 'trap \"\" TERM HUP INT; sleep 60; :' </dev/null >/dev/null 2>&1; setsid sleep 60 & echo ready; sleep 60"
	t.Run("cancelled", func(t *testing.T) {
		s := newScene(t)
		ctx, cancel := context.WithCancel(t.Context())
		spec := s.lower()
		spec.Program, spec.Argv = "/bin/sh", []string{"sh", "-c", script}
		r, err := Run(ctx, spec, nil, writer(func() { cancel() }), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if r.Stopped != StoppedCancelled || r.Signal != int(syscall.SIGKILL) {
			t.Errorf("got %+v", r)
		}
		noneMarked(t, s)
	})
	for victim, want := range map[string]string{"supervisor": "confine: after the command: its supervisor was ended, and the command with it", "supervisor, kindly": "<nil>"} {
		t.Run(victim+" killed", func(t *testing.T) {
			s := newScene(t)
			spec := s.lower()
			spec.Program, spec.Argv = "/bin/sh", []string{"sh", "-c", script}
			end := syscall.SIGKILL
			if victim != "supervisor" {
				end = syscall.SIGTERM
			}
			_, err := Run(t.Context(), spec, nil, writer(func() {
				for _, name := range marked(s) {
					p := readProcess(filepath.Base(name))
					parent := readProcess(p.parent)
					line, _ := os.ReadFile("/proc/" + parent.id + "/cmdline")
					if strings.Contains(string(line), Command+"\x00"+argSupervise) {
						var pid int
						_, _ = fmt.Sscan(parent.id, &pid)
						_ = syscall.Kill(pid, end)
						return
					}
				}
			}), io.Discard)
			if got := fmt.Sprint(err); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			noneMarked(t, s)
		})
	}
	t.Run("host killed", func(t *testing.T) {
		s := newScene(t)
		spec := s.lower()
		spec.Program, spec.Argv = "/bin/sh", []string{"sh", "-c", script}
		out, host := s.host(t, spec)
		if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
			t.Fatal(err)
		}
		if len(marked(s)) < 3 {
			t.Errorf("before: %q", marked(s))
		}
		if err := host.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(out); err != nil { // its end comes when all are gone that have it
			t.Fatal(err)
		}
		_ = host.Wait()
		for len(marked(s)) > 0 { // those that do not have it go a moment later
			time.Sleep(time.Millisecond)
		}
		newScene(t).shLower(t, ":", Limits{}) // removes the groups that the host left
	})
}

// TestNoNamespaces is a machine on which nobody can make any, as it is in a
// container: the whole fence is missing, and the lower one is had only by who asks
// for it.
func TestNoNamespaces(t *testing.T) {
	lowerHolds(t)
	for least, want := range map[Tier]string{
		Full:     "user namespaces: fork/exec /proc/self/exe: operation not permitted\n",
		Landlock: "landlock\n",
	} {
		cmd := exec.CommandContext(t.Context(), thisProgram, attackCommand, "no namespaces", string(least))
		cmd.Env = append(os.Environ(), noSleep)
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s: got %v, %q, want %q", least, err, out, want)
		}
	}
}

// noNamespacesMain is the canary where clone(2) and unshare(2) make no namespaces.
func noNamespacesMain(least Tier) int {
	runtime.LockOSThread()
	arch, _ := architectureOf(runtime.GOARCH)
	deny := map[string]ruling{"clone": clone, "clone3": absent, "unshare": refuse, "setns": refuse}
	err := underFilterOf(arch.filter(func(c call) ruling {
		if r, ok := deny[c.name]; ok {
			return r
		}
		return allow
	}))
	if err != nil {
		fmt.Println(err)
		return 2
	}
	r, err := Canary(context.Background(), least)
	var missing *MissingError
	switch {
	case errors.As(err, &missing):
		fmt.Println(missing.Layer + ": " + missing.Reason)
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(r.Tier)
	}
	return 0
}

// TestLowerFilter asks the filter of the tier Landlock, with scopes and without.
func TestLowerFilter(t *testing.T) {
	for _, tt := range []struct {
		call        string
		args        []uint64
		old, scoped uint32
	}{
		{"chmod", []uint64{0, 0o644}, answerRefuse, answerRefuse},
		{"fchmod", []uint64{3, 0o644}, answerRefuse, answerRefuse},
		{"fchmodat2", []uint64{3, 0, 0o644}, answerRefuse, answerRefuse},
		{"fchown", []uint64{3, 0, 0}, answerRefuse, answerRefuse},
		{"utimensat", []uint64{3, 0, 0, 0}, answerRefuse, answerRefuse},
		{"fsetxattr", []uint64{3}, answerNo, answerNo},
		{"listxattr", []uint64{3}, answerNo, answerNo},
		{"removexattrat", []uint64{3}, answerNo, answerNo},
		{"inotify_add_watch", []uint64{3}, answerRefuse, answerRefuse},
		{"file_getattr", []uint64{3}, answerAbsent, answerAbsent},
		{"ioctl", []uint64{1, unix.TCGETS}, answerAllow, answerAllow},
		{"ioctl", []uint64{1, unix.TIOCINQ}, answerAllow, answerAllow},
		{"ioctl", []uint64{1, fionclex}, answerAllow, answerAllow},
		{"ioctl", []uint64{1, unix.TIOCSTI}, answerNoTTY, answerNoTTY},
		{"ioctl", []uint64{1, unix.FS_IOC_SETFLAGS}, answerNoTTY, answerNoTTY},
		{"ioctl", []uint64{1, unix.FS_IOC_ENABLE_VERITY}, answerNoTTY, answerNoTTY},
		{"ioctl", []uint64{1, unix.SIOCSPGRP}, answerNoTTY, answerNoTTY},
		{"prlimit64", []uint64{0, unix.RLIMIT_NOFILE, 1, 0}, answerAllow, answerAllow},
		{"prlimit64", []uint64{0, unix.RLIMIT_LOCKS, 1, 0}, answerRefuse, answerRefuse},
		{"prlimit64", []uint64{0, unix.RLIMIT_LOCKS, 0, 1}, answerAllow, answerAllow},
		{"prlimit64", []uint64{77, unix.RLIMIT_NOFILE, 1, 0}, answerRefuse, answerRefuse},
		{"setrlimit", []uint64{unix.RLIMIT_LOCKS}, answerRefuse, answerRefuse},
		{"setrlimit", []uint64{unix.RLIMIT_NOFILE}, answerAllow, answerAllow},
		{"setpriority", []uint64{unix.PRIO_PROCESS, 0}, answerAllow, answerAllow},
		{"setpriority", []uint64{unix.PRIO_PROCESS, 77}, answerRefuse, answerRefuse},
		{"setpriority", []uint64{unix.PRIO_USER, 0}, answerRefuse, answerRefuse},
		{"ioprio_set", []uint64{1, 0}, answerAllow, answerAllow},
		{"ioprio_set", []uint64{3, 0}, answerRefuse, answerRefuse},
		{"sched_setaffinity", []uint64{0}, answerAllow, answerAllow},
		{"sched_setaffinity", []uint64{77}, answerRefuse, answerRefuse},
		{"sched_setscheduler", []uint64{77}, answerRefuse, answerRefuse},
		{"prctl", []uint64{unix.PR_SET_NAME}, answerAllow, answerAllow},
		{"prctl", []uint64{unix.PR_SET_PDEATHSIG, 0}, answerRefuse, answerRefuse},
		{"kill", []uint64{77, 9}, answerRefuse, answerAllow},
		{"kill", []uint64{0, 15}, answerAllow, answerAllow},
		{"tgkill", []uint64{77, 77, 9}, answerRefuse, answerAllow},
		{"pidfd_send_signal", []uint64{3}, answerRefuse, answerAllow},
		{"fcntl", []uint64{3, unix.F_SETOWN, 77}, answerRefuse, answerAllow},
		{"fcntl", []uint64{3, unix.F_SETOWN_EX, 77}, answerRefuse, answerAllow},
		{"fcntl", []uint64{3, unix.F_SETFD, 77}, answerAllow, answerAllow},
		{"socket", nil, answerRefuse, answerRefuse},
		{"ptrace", nil, answerRefuse, answerRefuse},
	} {
		for _, a := range architectures {
			i := slices.IndexFunc(calls, func(c call) bool { return c.name == tt.call })
			if i < 0 {
				t.Fatalf("no call %s", tt.call)
			}
			n := a.number(calls[i])
			if n < 0 {
				continue // arm64 has no chmod
			}
			for version, want := range map[int]uint32{leastLandlock: tt.old, scopedLandlock: tt.scoped} {
				program := a.filter(inLandlock(version))
				if len(program) > 4096 {
					t.Fatalf("%s: %d instructions, more than the kernel takes", a.name, len(program))
				}
				if got := answer(t, program, requestOf(a.audit, n, tt.args...)); got != want {
					t.Errorf("%s, version %d: %s%x: got %#x, want %#x", a.name, version, tt.call, tt.args, got, want)
				}
			}
		}
	}
}
