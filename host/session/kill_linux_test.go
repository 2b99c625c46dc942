package session

import (
	"context"
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

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// A child of the test is this program again, told by this variable what to do:
// "turn|recover|create KILL WORKSPACE ROOT"; it kills itself before step KILL.
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
	r, err := OpenRoot(Options{Workspace: args[2], Root: args[3], Step: func(step string) {
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
	s, err := r.Create(ctx, opening(id1))
	if err != nil {
		return err
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
	r, err := OpenRoot(Options{Workspace: ws, Root: root})
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
			if strings.HasPrefix(base, ".agenthost-") || strings.HasPrefix(base, newPrefix) || strings.Contains(name, "staging") || strings.Contains(name, "pending/SES") {
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
		for _, at := range []string{"append_turn.end", "rename", "sync_folders", "remove_marker"} {
			if apart && at == "sync_folders" {
				continue // as on one filesystem
			}
			first := slices.Index(steps, at) + 1
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

// TestChangedAfterCommit: a target that somebody changes between turn.end and
// its rename is left, the file is kept, and that is said once.
func TestChangedAfterCommit(t *testing.T) {
	ws, root := places(t, false)
	steps := run(t, "turn", 0, ws, root)
	for name, c := range map[string]struct {
		change func(path string)
		why    string
	}{
		"changed": {func(p string) { write(t, p, "mine") }, "it was changed since the turn first saw it"},
		"removed": {func(p string) { os.Remove(p) }, "it was removed since the turn first saw it"},
		"link":    {func(p string) { os.Remove(p); os.Symlink("/etc/hostname", p) }, "a symbolic link"},
		"folder":  {func(p string) { os.Remove(p); os.Mkdir(p, 0o755) }, "a folder"},
		"linked":  {func(p string) { os.Link(p, p+".2") }, "a file with 2 names (hard links)"},
		"parent": {func(p string) {
			os.Rename(filepath.Dir(p), filepath.Dir(p)+".2")
			os.Symlink(filepath.Base(filepath.Dir(p))+".2", filepath.Dir(p))
		}, "a symbolic link is in the way: docs"},
	} {
		t.Run(name, func(t *testing.T) {
			ws, root := places(t, false)
			run(t, "turn", slices.Index(steps, "rename")+1, ws, root)
			target := filepath.Join(ws, "docs/old.md")
			c.change(target)
			before := snapshot(t, ws+"/docs")
			r := openRoot(t, Options{Workspace: ws})
			findings, err := r.Recover(t.Context())
			if err != nil || len(findings) != 1 {
				t.Fatal(findings, err)
			}
			if got, want := findings[0].String(), "SES-1: docs/old.md: not published: the target was changed after the turn was committed: "+c.why+
				"; the file of turn 1 is kept in its blocked folder (conflict)"; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if after := snapshot(t, ws+"/docs"); !slices.Equal(before, after) {
				t.Errorf("the target was touched: %q to %q", before, after)
			}
			want(t, filepath.Join(ws, "a/b/c.md"), "c")
			want(t, filepath.Join(root, "output/SES-1/r/report.md"), "report")
			want(t, filepath.Join(root, "planes/ho1/sessions/SES-1/blocked/1/workspace/docs/old.md"), "new")
			if got := names(t, filepath.Join(root, "planes/ho1/sessions/SES-1/blocked")); len(got) != 4 {
				t.Errorf("kept %q", got)
			}
			if findings, err := r.Recover(t.Context()); err != nil || len(findings) != 0 {
				t.Errorf("again: %v, %v", findings, err)
			}
			verify(t, r, id1)
		})
	}
}

// TestLostCopy: a copy that is gone or damaged is never published.
func TestLostCopy(t *testing.T) {
	ws, root := places(t, false)
	steps := run(t, "turn", 0, ws, root)
	for name, damage := range map[string]func(path string){
		"gone":    func(p string) { os.Remove(p) },
		"damaged": func(p string) { os.WriteFile(p, []byte("bad"), 0o644) },
		"a link":  func(p string) { os.Remove(p); os.Symlink("/etc/hostname", p) },
	} {
		t.Run(name, func(t *testing.T) {
			ws, root := places(t, false)
			run(t, "turn", slices.Index(steps, "rename")+1, ws, root)
			damage(filepath.Join(root, "planes/ho1/sessions/SES-1/staging/1/publish/0"))
			r := openRoot(t, Options{Workspace: ws})
			findings, err := r.Recover(t.Context())
			if err != nil || len(findings) != 1 || findings[0].Code != FindingLost {
				t.Fatal(findings, err)
			}
			want(t, filepath.Join(ws, "docs/old.md"), "old")
			want(t, filepath.Join(ws, "a/b/c.md"), "c")
			if findings, err := r.Recover(t.Context()); err != nil || len(findings) != 0 {
				t.Errorf("again: %v, %v", findings, err)
			}
		})
	}
}

// TestRecoveryLeavesTheLiving: a session whose process lives is not touched.
func TestRecoveryLeavesTheLiving(t *testing.T) {
	ws, root := places(t, false)
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, id1)
	st, realized, err := stage(s, killed())
	if err != nil {
		t.Fatal(err)
	}
	other := openRoot(t, Options{Workspace: ws})
	before := snapshot(t, ws, root)
	for range 2 {
		if findings, err := other.Recover(t.Context()); err != nil || len(findings) > 0 {
			t.Fatal(findings, err)
		}
	}
	if after := snapshot(t, ws, root); !slices.Equal(before, after) {
		t.Errorf("a living session was touched:\n%s\nto\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	publications, _, err := st.Copy(t.Context(), realized)
	if err != nil {
		t.Fatal(err)
	}
	if err := evidence(s); err != nil {
		t.Fatal(err)
	}
	if _, _, err := commit(t.Context(), s, st, publications); err != nil {
		t.Fatal(err)
	}
	s.Leave()
	settled(t, ws, root)
}

// TestConcurrentRecovery: several processes recover one root at once.
func TestConcurrentRecovery(t *testing.T) {
	ws, root := places(t, false)
	steps := run(t, "turn", 0, ws, root)
	for _, at := range []string{"append_turn.end", "rename", "sync_folders"} {
		ws, root := places(t, false)
		run(t, "turn", slices.Index(steps, at)+1, ws, root)
		errs := make(chan error, 4)
		for range cap(errs) {
			go func() {
				r, err := OpenRoot(Options{Workspace: ws})
				if err == nil {
					var findings []Finding
					if findings, err = r.Recover(context.Background()); len(findings) > 0 {
						err = fmt.Errorf("%v", findings)
					}
					r.Close()
				}
				errs <- err
			}()
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		settled(t, ws, root)
	}
}

// TestTornTail: the end of a ledger that a crash cut is set aside and noted in
// that ledger, and the turn ends as aborted.
func TestTornTail(t *testing.T) {
	for _, file := range []string{record.ExecFile, record.EvidenceFile} {
		t.Run(file, func(t *testing.T) {
			ws, root := places(t, false)
			r := openRoot(t, Options{Workspace: ws})
			s := create(t, r, id1)
			if _, _, err := stage(s, killed()); err != nil {
				t.Fatal(err)
			}
			if file == record.EvidenceFile {
				if err := evidence(s); err != nil {
					t.Fatal(err)
				}
			}
			s.Leave()
			path := r.LedgerPath("ho1", id1, file)
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteString(`{"v":1,"seq":`)
			f.Close()
			if findings, err := r.Recover(t.Context()); err != nil || len(findings) > 0 {
				t.Fatal(findings, err)
			}
			var noted []record.Recovered
			for e, err := range ledger.Read(path) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Kind == record.KindRecovered {
					var b record.Recovered
					if err := e.Decode(&b); err != nil {
						t.Error(err)
					}
					noted = append(noted, b)
				}
			}
			if len(noted) != 1 || noted[0].Length != 13 {
				t.Errorf("noted %+v", noted)
			}
			if report := verify(t, r, id1); len(report.Turns) != 1 || report.Turns[0].Status != record.StatusAborted {
				t.Errorf("got %+v", report)
			}
			want(t, filepath.Join(root, "planes/ho1/sessions/SES-1/blocked/1/workspace/docs/old.md"), "new")
		})
	}
}

// TestViolationOfAbortedTurn: what a crash kept from evidence.jsonl is there
// after recovery.
func TestViolationOfAbortedTurn(t *testing.T) {
	ws, _ := places(t, false)
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, id1)
	if _, _, err := stage(s, nil); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"x", "y"} {
		op := record.Op{Op: record.OpOpen, Via: record.ViaWASI, Path: path, Flags: "write", Decision: record.Violated, Rule: "no grant of write", Errno: "perm"}
		if _, err := s.Exec.Append(1, op); err != nil {
			t.Fatal(err)
		}
		if v, _ := op.Violation(); path == "x" {
			if _, err := s.Evidence.Append(1, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Leave()
	if findings, err := r.Recover(t.Context()); err != nil || len(findings) > 0 {
		t.Fatal(findings, err)
	}
	var got []string
	for e, err := range ledger.Read(r.LedgerPath("ho1", id1, record.EvidenceFile)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Kind)
	}
	if want := "violation violation turn.evidence"; strings.Join(got, " ") != want {
		t.Errorf("evidence holds %q, want %q", got, want)
	}
	verify(t, r, id1)
}

// TestBrokenSessionHindersNoOther: one whose ledger was changed is a finding.
func TestBrokenSessionHindersNoOther(t *testing.T) {
	ws, root := places(t, false)
	steps := run(t, "turn", 0, ws, root)
	ws, root = places(t, false)
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, "SES-0")
	if _, _, err := stage(s, nil); err != nil {
		t.Fatal(err)
	}
	s.Leave()
	path := r.LedgerPath("ho1", "SES-0", record.ExecFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(string(b), "PKG-A", "PKG-B", 1)
	write(t, path, broken)
	run(t, "turn", slices.Index(steps, "rename")+1, ws, root)
	write(t, filepath.Join(root, "planes/pending/SES-gone"), "{}\n")
	write(t, filepath.Join(root, "planes/pending/no id"), "{}\n")
	for range 2 {
		findings, err := r.Recover(t.Context())
		if err != nil || len(findings) != 2 {
			t.Fatal(findings, err)
		}
		for i, want := range []string{
			"SES-gone: a commit of it is pending, but the session is gone (unreadable)",
			"SES-0: exec.jsonl line 1 (seq 0, byte 0): hash does not match: the line was changed after it was written (unreadable)",
		} {
			if got := findings[i].String(); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
	}
	want(t, path, broken)
	want(t, filepath.Join(ws, "docs/old.md"), "new")
}

// TestForgedMarker: a marker can only name copies of its own session.
func TestForgedMarker(t *testing.T) {
	ws, root := places(t, false)
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, id1)
	if _, _, err := stage(s, nil); err != nil {
		t.Fatal(err)
	}
	s.Leave()
	marker := filepath.Join(root, "planes/pending/SES-1")
	for _, beside := range []string{"docs/old.md", "../x", "/etc/passwd", "docs/.agenthost-SES-2-1-0"} {
		write(t, marker, fmt.Sprintf(`{"v":1,"plane":"ho1","workspace":".agenthost","turn":1,"beside":[%q]}`, beside))
		findings, err := r.Recover(t.Context())
		if err != nil || len(findings) != 1 || findings[0].Code != FindingUnreadable {
			t.Errorf("%s: %v, %v", beside, findings, err)
		}
	}
	want(t, filepath.Join(ws, "docs/old.md"), "old")
	if _, err := os.Stat(marker); err == nil {
		t.Error("the marker is still there")
	}
}

// TestOtherWorkspace: a commit is finished in its own workspace only, wherever
// both were moved to.
func TestOtherWorkspace(t *testing.T) {
	ws, root := places(t, true)
	steps := run(t, "turn", 0, ws, root)
	ws, root = places(t, true)
	run(t, "turn", slices.Index(steps, "rename")+1, ws, root)
	other := t.TempDir()
	write(t, filepath.Join(other, "docs/old.md"), "old")
	before := snapshot(t, other)
	r := openRoot(t, Options{Workspace: other, Root: root})
	for range 2 {
		findings, err := r.Recover(t.Context())
		if want := "SES-1: what was committed is not in its place yet: turn 1 belongs to another workspace, " + ws + " (unfinished)"; err != nil || len(findings) != 1 || findings[0].String() != want {
			t.Errorf("got %v, %v, want %s", findings, err, want)
		}
	}
	s, _, err := r.Open(t.Context(), id1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(2); err == nil {
		t.Error("the next turn began before the one before was in its place")
	}
	s.Leave()
	if after := snapshot(t, other); !slices.Equal(before, after) {
		t.Errorf("another workspace was written to: %q", after)
	}
	settled(t, ws, root)

	from, inside := places(t, false)
	steps = run(t, "turn", 0, from, inside)
	from, inside = places(t, false)
	run(t, "turn", slices.Index(steps, "rename")+1, from, inside)
	to := from + ".moved"
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(to) })
	settled(t, to, filepath.Join(to, DefaultRoot))
}

// TestHalfMadeSession: a folder that a crash left while a session was made is
// removed.
func TestHalfMadeSession(t *testing.T) {
	ws, root := places(t, false)
	r := openRoot(t, Options{Workspace: ws})
	create(t, r, id1).Leave()
	half := filepath.Join(root, "planes/ho1/sessions/.new-SES-2")
	write(t, filepath.Join(half, "ledger/exec.jsonl"), "")
	if findings, err := r.Recover(t.Context()); err != nil || len(findings) > 0 {
		t.Error(findings, err)
	}
	if _, err := os.Stat(half); err == nil {
		t.Error("it is still there")
	}
	write(t, filepath.Join(half, "ledger/exec.jsonl"), "")
	create(t, r, id2).Leave()
	verify(t, r, id2)
}
