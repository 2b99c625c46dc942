package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// A child of the test is this program again, told by this variable what to do:
// "turn|quiet|recover|erase:DIGEST KILL WORKSPACE ROOT"; it kills itself before step KILL. A
// quiet turn publishes nothing, and its session is closed.
const childVariable = "AGENTHOST_TEST_CHILD"

func TestMain(m *testing.M) {
	if what := os.Getenv(childVariable); what != "" {
		if err := child(strings.Split(what, " ")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(args []string) error {
	kill, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	steps := 0
	r, err := OpenRoot(Options{Key: ledgertest.Host, Workspace: args[2], Root: args[3], Step: func(step string) {
		steps++
		fmt.Println(step)
		if steps == kill {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if args[0] == "recover" {
		_, err := r.Recover(ctx)
		return err
	}
	if blob, ok := strings.CutPrefix(args[0], "erase:"); ok {
		_, err := r.Erase(ctx, id1, Erasure{Blobs: []string{blob}, Why: "asked"})
		return err
	}
	s, err := r.Create(ctx, opening(id1))
	if err != nil {
		return err
	}
	if args[0] == "quiet" {
		_, _, err := publish(ctx, s, nil)
		return errors.Join(err, s.Close())
	}
	findings, conflicts, err := publish(ctx, s, killed())
	if err != nil || len(findings)+len(conflicts) > 0 {
		return fmt.Errorf("%v %v %v", findings, conflicts, err)
	}
	return s.Leave()
}

// killed is what the turn that is killed publishes.
func killed() []out {
	return []out{
		{path: "docs/old.md", content: "new", base: "old"},
		{path: "same.md", content: "the same", base: "the same", executable: true},
		{path: "a/b/c.md", content: "c"},
		{path: "output/SES-1/r/report.md", content: "report"},
	}
}

// run runs a child and returns the steps it began; killed at step kill, if that
// is not 0.
func run(t *testing.T, what string, kill int, ws, root string) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s %s", childVariable, what, kill, ws, root))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	steps := strings.Fields(strings.ReplaceAll(string(b), " ", "_"))
	if died := err != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL; died != (kill > 0 && len(steps) == kill) || err != nil && !died {
		t.Fatalf("child %s %d: %v after %q: %s", what, kill, err, steps, stderr.String())
	}
	return steps
}

// stepOf is the number of a step, for run to kill the child in front of it.
func stepOf(t *testing.T, steps []string, name string) int {
	t.Helper()
	i := slices.Index(steps, name)
	if i < 0 {
		t.Fatalf("there is no step %s among %q", name, steps)
	}
	return i + 1
}

// places makes a workspace and a root; on another filesystem if apart.
func places(t *testing.T, apart bool) (ws, root string) {
	t.Helper()
	ws, root = memory(t), DefaultRoot
	if apart {
		ws, root = t.TempDir(), otherFilesystem(t, t.TempDir())
	}
	if root == DefaultRoot {
		root = filepath.Join(ws, DefaultRoot)
	}
	write(t, filepath.Join(ws, "docs/old.md"), "old")
	write(t, filepath.Join(ws, "same.md"), "the same")
	return ws, root
}

// memory makes a folder that is fast to sync, if there is a place for it. A
// killed process loses nothing it wrote, so that is good enough to kill in.
func memory(t *testing.T) string {
	t.Helper()
	top, err := os.MkdirTemp("/dev/shm", "agenthost-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	return top
}

// otherFilesystem makes a folder on another filesystem than that of path.
func otherFilesystem(t *testing.T, path string) string {
	t.Helper()
	top := memory(t)
	a, errA := os.Stat(path)
	b, errB := os.Stat(top)
	if errA != nil || errB != nil || a.Sys().(*syscall.Stat_t).Dev == b.Sys().(*syscall.Stat_t).Dev {
		t.Skip("there is no second filesystem to write to: /dev/shm is not one")
	}
	return top
}

// settled checks that a root in which a turn was killed is whole again: all or
// none was published, the record verifies, nothing is left over.
func settled(t *testing.T, ws, root string) {
	t.Helper()
	r, err := OpenRoot(Options{Key: ledgertest.Host, Workspace: ws, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	findings, err := r.Recover(t.Context())
	if err != nil || len(findings) > 0 {
		t.Fatalf("recovery: %v, %v", findings, err)
	}
	list, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	files := killed()
	all := false
	switch {
	case len(list) == 0: // killed before the session was there
	case len(list) > 1 || list[0].Err != nil || list[0].Running:
		t.Fatalf("sessions: %+v", list)
	default:
		all = list[0].Status == record.StatusOK
		report := verify(t, r, id1)
		if all && (len(report.Turns) != 1 || report.Superseded > 0) || report.Unfinished > 0 {
			t.Errorf("got %+v", report)
		}
		if !all && len(report.Turns) == 1 && (list[0].Status != record.StatusAborted || list[0].Code != record.CodeCrash) {
			t.Errorf("the turn ended as %s %s", list[0].Status, list[0].Code)
		}
	}
	for _, f := range files {
		path := filepath.Join(ws, f.path)
		if strings.HasPrefix(f.path, "output/") {
			path = filepath.Join(root, f.path)
		}
		if all {
			want(t, path, f.content)
		} else {
			want(t, path, f.base)
		}
	}
	if info, err := os.Stat(filepath.Join(ws, "same.md")); err != nil || (info.Mode() == 0o755) != all {
		t.Errorf("same.md: %v, %v, published: %v", info.Mode(), err, all)
	}
	for _, top := range []string{ws, root} {
		for _, name := range names(t, top) {
			base := filepath.Base(name)
			if strings.HasPrefix(base, ".agenthost-") || strings.HasPrefix(base, durable.Prefix) || strings.Contains(name, "staging") || strings.Contains(name, "pending/SES") {
				t.Errorf("left over: %s", name)
			}
		}
	}
	blocked := filepath.Join(root, "planes/ho1/sessions/SES-1/blocked/1")
	if kept := names(t, blocked); all == (len(kept) > 0) && len(list) > 0 && list[0].Status != "" {
		t.Errorf("published: %v, blocked: %q", all, kept)
	} else if len(kept) > 0 {
		want(t, filepath.Join(blocked, "workspace/a/b/c.md"), "c")
		want(t, filepath.Join(blocked, "out/r/report.md"), "report")
	}
	before := snapshot(t, ws, root)
	if findings, err := r.Recover(t.Context()); err != nil || len(findings) > 0 {
		t.Errorf("second recovery: %v, %v", findings, err)
	}
	if after := snapshot(t, ws, root); !slices.Equal(before, after) {
		t.Errorf("a second recovery changed\n%s\nto\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	// The session goes on.
	if len(list) == 1 {
		s, findings, err := r.Open(t.Context(), id1)
		if err != nil || len(findings) > 0 {
			t.Fatal(findings, err)
		}
		mustPublish(t, s, []out{{path: "next.md", content: "next"}})
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		verify(t, r, id1)
	}
}

// snapshot describes every file below some folders.
func snapshot(t *testing.T, tops ...string) []string {
	t.Helper()
	var all []string
	for _, top := range tops {
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			var h ledger.Hash
			if d.Type().IsRegular() {
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				h = ledger.Sum(b)
			}
			all = append(all, fmt.Sprint(path, info.Mode(), h, info.ModTime()))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestKilledCommit kills a process before each step of a commit.
func TestKilledCommit(t *testing.T) {
	for _, apart := range []bool{false, true} {
		t.Run(fmt.Sprintf("other filesystem %v", apart), func(t *testing.T) {
			ws, root := places(t, apart)
			steps := run(t, "turn", 0, ws, root)
			settled(t, ws, root)
			t.Logf("%d steps: %s", len(steps), strings.Join(steps, ", "))
			if want := map[bool]int{false: 16, true: 19}[apart]; len(steps) != want {
				t.Errorf("%d steps, want %d", len(steps), want)
			}
			for kill := range steps {
				t.Run(fmt.Sprint(kill+1, steps[kill]), func(t *testing.T) {
					ws, root := places(t, apart)
					run(t, "turn", kill+1, ws, root)
					settled(t, ws, root)
				})
			}
		})
	}
}

// TestKilledRecovery kills the recovery of a killed commit before each of its
// steps.
func TestKilledRecovery(t *testing.T) {
	for _, apart := range []bool{false, true} {
		ws, root := places(t, apart)
		steps := run(t, "turn", 0, ws, root)
		for _, at := range []string{"commit_turn.end", "rename", "sync_folders", "remove_marker"} {
			if apart && at == "sync_folders" {
				continue // as on one filesystem
			}
			first := stepOf(t, steps, at)
			if at == "rename" {
				first += 2 // two files are in their places
			}
			ws, root := places(t, apart)
			run(t, "turn", first, ws, root)
			recovering := run(t, "recover", 0, ws, root)
			settled(t, ws, root)
			for kill := range recovering {
				t.Run(fmt.Sprintf("other filesystem %v, killed at %s, recovery at %d %s", apart, at, kill+1, recovering[kill]), func(t *testing.T) {
					ws, root := places(t, apart)
					run(t, "turn", first, ws, root)
					run(t, "recover", kill+1, ws, root)
					settled(t, ws, root)
				})
			}
		}
	}
}
