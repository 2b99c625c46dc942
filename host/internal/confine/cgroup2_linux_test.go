package confine

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// files makes a folder of them, as a control group of version 2 has.
func files(t *testing.T, dir string, texts map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestGroup2 sets limits in a folder that looks like a control group, and reads
// what one would count.
func TestGroup2(t *testing.T) {
	limits := Limits{Processes: 40, Memory: 100<<20 + 1}
	all := []string{"pids.max", "memory.max", "memory.oom.group", "memory.swap.max"}
	for _, tt := range []struct {
		name              string
		absent            []string
		refuses           string // which file takes nothing
		forgets           string // which file does not keep what it takes
		processes, memory string
	}{
		{"all", nil, "", "", boundV2, boundV2},
		{"no swap", []string{"memory.swap.max"}, "", "", boundV2, boundV2},
		{"no memory", []string{"memory.max"}, "", "", boundV2, ""},
		{"no killing of all", []string{"memory.oom.group"}, "", "", boundV2, ""},
		{"no processes", []string{"pids.max"}, "", "", "", boundV2},
		{"processes refused", nil, "pids.max", "", "", boundV2},
		{"memory refused", nil, "memory.max", "", boundV2, ""},
		{"processes forgotten", nil, "", "pids.max", "", boundV2},
		{"memory forgotten", nil, "", "memory.max", boundV2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range all {
				to := map[string]string{tt.refuses: "/dev/full", tt.forgets: "/dev/null"}[name]
				switch {
				case slices.Contains(tt.absent, name):
				case to != "":
					if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
				default:
					files(t, dir, map[string]string{name: ""})
				}
			}
			var g group
			g.bound2(dir, limits)
			if g.processes != tt.processes || g.memory != tt.memory || !g.v2 {
				t.Errorf("got %+v", g)
			}
			if tt.processes != "" && (g.processLimit != 40 || read(t, filepath.Join(dir, "pids.max")) != "40") {
				t.Errorf("processes: got %d", g.processLimit)
			}
			if tt.memory != "" && (g.memoryLimit != 100<<20 || read(t, filepath.Join(dir, "memory.max")) != "104857600" || read(t, filepath.Join(dir, "memory.oom.group")) != "1") {
				t.Errorf("memory: got %d", g.memoryLimit)
			}
			if tt.name == "all" && read(t, filepath.Join(dir, "memory.swap.max")) != "0" {
				t.Error("there may be swap")
			}
		})
	}

	dir := t.TempDir()
	files(t, dir, map[string]string{
		"cgroup.procs": "", "memory.peak": "4096\n", "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 0\noom_group_kill 0\n",
		"cpu.stat": "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n",
	})
	g := &group{dirs: []string{dir}, pids: dir, mem: dir, cpu: dir, v2: true}
	if err := g.enter(77); err != nil || read(t, filepath.Join(dir, "cgroup.procs")) != "77" {
		t.Errorf("entered: %v", err)
	}
	if n, err := g.left(); n != 1 || err != nil {
		t.Errorf("left: %d, %v", n, err)
	}
	var u Usage
	if g.usage(&u); u.Memory != 4096 || u.CPU != 1500*time.Microsecond {
		t.Errorf("got %+v", u)
	}
	if g.outOfMemory() {
		t.Error("nothing was killed")
	}
	files(t, dir, map[string]string{"memory.events": "oom 1\noom_kill 2\n"})
	if !g.outOfMemory() {
		t.Error("it was killed for memory")
	}
	if err := os.Remove(filepath.Join(dir, "cgroup.procs")); err != nil {
		t.Fatal(err)
	}
	if err := g.enter(77); err == nil {
		t.Error("it entered a group that is gone")
	}
}

// TestPlace2 is where groups can be made.
func TestPlace2(t *testing.T) {
	const both = "cpu memory pids\n"
	for _, tt := range []struct {
		name        string
		own, above  string // what they hand on
		isDelegated bool
		want        string
	}{
		{"the own group hands on", both, "", false, "own"},
		{"not memory", "cpu pids\n", "", false, ""},
		{"the one above does, and is another's", "", both, false, ""},
		{"the one above does, and is delegated", "", both, true, "above"},
	} {
		above := t.TempDir()
		own := filepath.Join(above, "own")
		files(t, above, map[string]string{"cgroup.subtree_control": tt.above})
		files(t, own, map[string]string{"cgroup.subtree_control": tt.own})
		got := place2(own, func(dir string) bool { return tt.isDelegated && dir == above })
		if want := map[string]string{"own": own, "above": above, "": ""}[tt.want]; got != want {
			t.Errorf("%s: got %q, want %q", tt.name, got, want)
		}
	}
	// A file keeps what is written; a group lists it once it hands it on.
	above := t.TempDir()
	files(t, above, map[string]string{"cgroup.subtree_control": ""})
	if got := place2(filepath.Join(above, "own"), func(string) bool { return true }); got != "" || read(t, filepath.Join(above, "cgroup.subtree_control")) != "+pids +memory" {
		t.Errorf("what does not hand on though it was told: got %q", got)
	}
	if delegated(above) {
		t.Error("nobody delegated it")
	}
	if err := unix.Setxattr(above, "user.delegate", []byte("1"), 0); err == nil && !delegated(above) {
		t.Error("it was delegated")
	}
}

// TestHierarchy2 makes a group in the hierarchy of version 2, where there is one to
// be written, and moves a process in and out, with what needs no controller.
func TestHierarchy2(t *testing.T) {
	found, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	h, ok := found[""]
	if !ok || !h.v2 {
		t.Skipf("no hierarchy of version 2 among %v", slices.Sorted(maps.Keys(found)))
	}
	var g group
	dir := g.makeDir(h.dir)
	if dir == "" {
		t.Skipf("no group can be made in %s", h.dir)
	}
	defer g.close()
	g.pids, g.v2 = dir, true
	sleep := exec.CommandContext(t.Context(), "/usr/bin/sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.enter(sleep.Process.Pid); err != nil {
		t.Error(err)
	}
	if n, err := g.left(); err != nil || n != 1 {
		t.Errorf("left: %d, %v", n, err)
	}
	_ = sleep.Process.Kill()
	_ = sleep.Wait()
	if n, err := g.left(); err != nil || n != 0 {
		t.Errorf("left: %d, %v", n, err)
	}
}
