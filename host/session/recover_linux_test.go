package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

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
			run(t, "turn", stepOf(t, steps, "rename"), ws, root)
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
			run(t, "turn", stepOf(t, steps, "rename"), ws, root)
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

// TestRecoveryTakesTheLock: targets are replaced under the publish lock only.
func TestRecoveryTakesTheLock(t *testing.T) {
	ws, root := places(t, false)
	steps := run(t, "turn", 0, ws, root)
	ws, root = places(t, false)
	run(t, "turn", stepOf(t, steps, "rename"), ws, root)
	r := openRoot(t, Options{Workspace: ws})
	lock, err := r.lockPublish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Recover(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	want(t, filepath.Join(ws, "docs/old.md"), "old")
	lock.Close()
	settled(t, ws, root)
}

// TestUnknownEnd: where it is not known whether turn.end is durable, nothing is
// taken back; recovery decides by what it finds.
func TestUnknownEnd(t *testing.T) {
	for _, written := range []bool{false, true} {
		for _, apart := range []bool{false, true} {
			ws, root := places(t, apart)
			r := openRoot(t, Options{Workspace: ws, Root: root})
			s := create(t, r, id1)
			st, realized, err := stage(s, killed())
			if err != nil {
				t.Fatal(err)
			}
			publications, _, err := st.Copy(t.Context(), realized)
			if err != nil {
				t.Fatal(err)
			}
			if err := evidence(s); err != nil {
				t.Fatal(err)
			}
			c, err := st.Lock(t.Context(), publications)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			if written {
				if _, err := s.end(record.TurnEnd{Status: record.StatusOK, Publish: publications}); err != nil {
					t.Fatal(err)
				}
			}
			c.sealed = true // as after a failed sync
			if err := c.Release(); err != nil {
				t.Error(err)
			}
			s.Leave()
			if _, err := os.Stat(filepath.Join(root, "planes/pending/SES-1")); err != nil {
				t.Errorf("the marker is gone: %v", err)
			}
			settled(t, ws, root)
			if report := verify(t, r, id1); (report.Turns[0].Status == record.StatusOK) != written {
				t.Errorf("got %+v", report)
			}
		}
	}
}

// TestConcurrentRecovery: several processes recover one root at once.
func TestConcurrentRecovery(t *testing.T) {
	ws, root := places(t, false)
	steps := run(t, "turn", 0, ws, root)
	for _, at := range []string{"commit_turn.end", "rename", "sync_folders"} {
		ws, root := places(t, false)
		run(t, "turn", stepOf(t, steps, at), ws, root)
		errs := make(chan error, 4)
		for range cap(errs) {
			go func() {
				r, err := OpenRoot(Options{Key: ledgertest.Host, Workspace: ws})
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
	if want := "violation violation turn.evidence seal"; strings.Join(got, " ") != want {
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
	run(t, "turn", stepOf(t, steps, "rename"), ws, root)
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
	run(t, "turn", stepOf(t, steps, "rename"), ws, root)
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
	run(t, "turn", stepOf(t, steps, "rename"), from, inside)
	to := from + ".moved"
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(to) })
	settled(t, to, filepath.Join(to, DefaultRoot))
}

// TestHalfMadeMarker: one that a crash left while it was written is removed.
func TestHalfMadeMarker(t *testing.T) {
	ws, root := places(t, false)
	steps := run(t, "turn", 0, ws, root)
	ws, root = places(t, false)
	run(t, "turn", stepOf(t, steps, "write_marker"), ws, root)
	write(t, filepath.Join(root, "planes/pending/.new-SES-1"), `{"v":1,`)
	settled(t, ws, root)
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
