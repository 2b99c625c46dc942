package confine

import (
	"strings"
	"testing"
)

// TestProbe is for a machine on which the other tests pass: then all works.
func TestProbe(t *testing.T) {
	var names []string
	for _, m := range Probe(t.Context()) {
		t.Logf("%-18s %v %s %s", m.Name, m.Works, m.Detail, m.Remedy)
		if !m.Works {
			t.Errorf("%s does not work: %s; remedy: %s", m.Name, m.Detail, m.Remedy)
		}
		names = append(names, m.Name)
	}
	const want = "user namespaces, mnt namespaces, pid namespaces, net namespaces, ipc namespaces, uts namespaces, cgroup namespaces, " +
		"mounts, landlock, seccomp, openat2, fence, process limit, memory limit"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestNested probes inside a fence: there is nothing to build one with, and each
// of the mechanisms says so.
func TestNested(t *testing.T) {
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
	if _, err := Canary(t.Context()); err != errNoChild {
		t.Errorf("got %v", err)
	}
}
