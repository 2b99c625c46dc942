package confine

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
)

func TestHierarchies(t *testing.T) {
	for _, tt := range []struct {
		name, own, mounts string
		want              map[string]hierarchy
	}{
		{
			"version 2", "0::/user.slice/a.scope\n",
			"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
			map[string]hierarchy{"": {"/sys/fs/cgroup/user.slice/a.scope", true}},
		},
		{
			"version 1", "9:name=systemd:/\n8:pids:/x\n4:memory:/y/z\n2:cpuacct,cpu:/\n",
			"31 24 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
				"32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
				"33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
				"34 24 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n",
			map[string]hierarchy{
				"pids": {"/sys/fs/cgroup/pids/x", false}, "memory": {"/sys/fs/cgroup/memory/y/z", false},
				"cpu": {"/sys/fs/cgroup/cpu,cpuacct", false}, "cpuacct": {"/sys/fs/cgroup/cpu,cpuacct", false},
				"name=systemd": {"/sys/fs/cgroup/systemd", false},
			},
		},
		{
			"a container's mount of what is beneath", "4:memory:/docker/ID/sub\n",
			"32 24 0:28 /docker/ID /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			map[string]hierarchy{"memory": {"/sys/fs/cgroup/memory/sub", false}},
		},
		{
			"a mount that does not show it", "4:memory:/docker/OTHER\n",
			"32 24 0:28 /docker/ID /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			map[string]hierarchy{},
		},
		{
			"outside of this namespace", "0::/../other\n",
			"30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			map[string]hierarchy{},
		},
		{
			"escapes, and nonsense", "0::/a b\nnonsense\n",
			"nonsense\n30 24 0:26 / /sys/fs/c\\040group rw - cgroup2 cgroup2 rw\n",
			map[string]hierarchy{"": {"/sys/fs/c group/a b", true}},
		},
	} {
		if got := parseHierarchies(tt.own, tt.mounts); !maps.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAtLeast(t *testing.T) {
	for release, want := range map[string]bool{
		"6.14.0": true, "6.18.44-fc": true, "7.0": true, "10.1-rc1": true, "6.13.9": false, "5.15.0-91-generic": false, "": false, "six": false,
	} {
		if got := atLeast(release, 6, 14); got != want {
			t.Errorf("%q: got %v", release, got)
		}
	}
}

// TestPidMax is a host that is root and can make no cgroup: the namespace's own
// bound holds, and leaves the machine's as it was.
func TestPidMax(t *testing.T) {
	confinetest.Needs(t)
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	if release := unix.ByteSliceToString(u.Release[:]); !atLeast(release, 6, 14) {
		t.Skipf("Linux %s has one pid_max for the whole machine", release)
	}
	const name = "/proc/sys/kernel/pid_max"
	before, err := readNumber(name)
	if err != nil {
		t.Fatal(err)
	}
	got := try(t.Context(), everyNamespace, "pid_max")
	after, err := readNumber(name)
	if err != nil || before != after {
		t.Errorf("the machine's went from %d to %d, %v", before, after, err)
	}
	if got != nil {
		t.Errorf("got %v", got)
	}
	if os.Getuid() != 0 {
		return
	}
	s := newScene(t)
	s.spec.Argv = []string{"attack", attackCommand, "processes"}
	s.spec.Limits = Limits{Processes: 60}
	data, err := json.Marshal(s.spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), thisProgram, attackCommand, "host without groups", string(data))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	out, err := cmd.Output()
	var n, most int
	if _, scan := fmt.Sscanf(string(out), "%d\nprocesses pid_max %d memory polled\n", &n, &most); err != nil || scan != nil {
		t.Fatalf("%v, %v: %q", err, scan, out)
	}
	if most != 359 || n > most || n < 60 {
		t.Errorf("%d processes of at most %d", n, most)
	}
}

// TestConcurrent runs commands from several goroutines.
func TestConcurrent(t *testing.T) {
	confinetest.Needs(t)
	s := newScene(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			spec := s.spec
			spec.Program, spec.Argv = "/bin/cat", []string{"cat", "granted"}
			if got := run(t, spec, ""); got.stdout != "granted\n" {
				t.Errorf("got %q, %q", got.stdout, got.stderr)
			}
		})
	}
	wg.Wait()
	noSurvivors(t, s)
}
