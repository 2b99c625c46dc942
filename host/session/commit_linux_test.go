package session

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// TestUnsafeFiles: nothing but plain files with one name is published.
func TestUnsafeFiles(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, id1)
	staged := filepath.Join(r.Path(), "planes/ho1/sessions/SES-1/staging/1/workspace")
	st, err := s.Begin(1)
	if err != nil {
		t.Fatal(err)
	}
	do := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct {
		name, why string
		make      func(t *testing.T, path string)
	}{
		{"good", "", func(t *testing.T, p string) {}},
		{"suid", "a set-uid file", func(t *testing.T, p string) { do(syscall.Chmod(p, 0o4755)) }},
		{"sgid", "a set-gid file", func(t *testing.T, p string) { do(syscall.Chmod(p, 0o2755)) }},
		{"sticky", "a file with the sticky bit", func(t *testing.T, p string) { do(syscall.Chmod(p, 0o1755)) }},
		{"hard", "a file with 2 names (hard links)", func(t *testing.T, p string) { do(os.Link(p, p+".2")) }},
		{"link", "a symbolic link", func(t *testing.T, p string) { do(os.Remove(p)); do(os.Symlink("/etc/hostname", p)) }},
		{"fifo", "a FIFO", func(t *testing.T, p string) { do(os.Remove(p)); do(syscall.Mkfifo(p, 0o644)) }},
		{"socket", "a socket", func(t *testing.T, p string) {
			do(os.Remove(p))
			fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			do(err)
			do(syscall.Bind(fd, &syscall.SockaddrUnix{Name: p}))
			do(syscall.Close(fd))
		}},
		{"folder", "a folder", func(t *testing.T, p string) { do(os.Remove(p)); do(os.Mkdir(p, 0o755)) }},
		{"gone", "it is gone", func(t *testing.T, p string) { do(os.Remove(p)) }},
		{"capable", "a file with Linux capabilities", func(t *testing.T, p string) {
			// cap_net_raw+ep, version 2
			err := syscall.Setxattr(p, beneath.XattrCapability, []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0)
			if err != nil {
				t.Skip("file capabilities cannot be set here: ", err)
			}
		}},
		{"listed", "a file with an access control list", func(t *testing.T, p string) {
			// user::rw-, user:1:rwx, group::r--, mask::rwx, other::r--
			acl := "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x07\x00\x01\x00\x00\x00" +
				"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"
			if err := syscall.Setxattr(p, beneath.XattrACLAccess, []byte(acl), 0); err != nil {
				t.Skip("access control lists cannot be set here: ", err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(staged, c.name)
			write(t, path, c.name)
			c.make(t, path)
			files := []Realized{{Path: "z", Area: AreaWorkspace, Staged: c.name}}
			publications, problems, err := st.Copy(t.Context(), files)
			if err != nil {
				t.Fatal(err)
			}
			if c.why == "" {
				if len(problems) > 0 || len(publications) != 1 || publications[0].SHA256 != ledger.Sum([]byte(c.name)) {
					t.Errorf("got %v, %v", publications, problems)
				}
				do(st.copies.Remove("0"))
				return
			}
			if want := (Problem{"z", record.CodeUnsafeFile, c.why}); len(publications) > 0 || !slices.Equal(problems, []Problem{want}) {
				t.Errorf("got %v, %v, want %v", publications, problems, want)
			}
			if entries, err := st.copies.ReadDir("."); err != nil || len(entries) > 0 {
				t.Errorf("copies left: %v, %v", entries, err)
			}
		})
	}
}

// TestUnsafeAmongSafe: copies keep the numbers of their publications.
func TestUnsafeAmongSafe(t *testing.T) {
	r := openRoot(t, Options{Workspace: t.TempDir()})
	s := create(t, r, id1)
	st, realized, err := stage(s, []out{{path: "a", content: "a"}, {path: "b", content: "b"}, {path: "c", content: "c"}})
	if err != nil {
		t.Fatal(err)
	}
	realized[1].Staged = "none"
	publications, problems, err := st.Copy(t.Context(), realized)
	if err != nil || len(problems) != 1 || problems[0].Path != "b" || len(publications) != 2 {
		t.Fatal(publications, problems, err)
	}
	for i, content := range []string{"a", "c"} {
		b, err := durable.Read(st.copies, string(rune('0'+i)), 10)
		if string(b) != content || err != nil || publications[i].SHA256 != ledger.Sum(b) {
			t.Errorf("copy %d holds %q, %v", i, b, err)
		}
	}
}

// TestOwnNames: names that are agenthost's own are no targets, whatever was
// granted.
func TestOwnNames(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, id1)
	st, err := s.Begin(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", ".", "..", "../x", "/x", "a//b", "a/", ".agenthost", ".agenthost/FORMAT", ".agenthost/planes/x", "output", "output/x", "output/SES-1", "output/SES-2/x"} {
		if _, _, err := st.Copy(t.Context(), []Realized{{Path: path, Area: AreaWorkspace, Staged: "x"}}); err == nil {
			t.Errorf("%q was accepted", path)
		}
	}
	if _, _, err := st.Copy(t.Context(), []Realized{{Path: "x", Area: AreaWorkspace, Staged: "x"}, {Path: "x", Area: AreaOut, Staged: "x"}}); err == nil {
		t.Error("one name was accepted twice")
	}
	if _, _, err := st.Copy(t.Context(), []Realized{{Path: "x/y/z", Area: AreaWorkspace, Staged: "x"}, {Path: "x", Area: AreaOut, Staged: "x"}}); err == nil {
		t.Error("one name was accepted as file and folder")
	}
	if _, _, err := st.Copy(t.Context(), []Realized{{Path: "x", Area: "publish", Staged: "x"}}); err == nil {
		t.Error("another area was accepted")
	}

	control := t.TempDir()
	write(t, filepath.Join(control, "FORMAT"), FormatControl)
	s = create(t, openRoot(t, Options{Workspace: control}), id1)
	if st, err = s.Begin(1); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"FORMAT", "planes/x", "control/policy.json", "ledger/governance.jsonl", "registries/x", "packages_store/x", "output/x"} {
		if _, _, err := st.Copy(t.Context(), []Realized{{Path: path, Area: AreaWorkspace, Staged: "x"}}); err == nil {
			t.Errorf("%q of a control plane was accepted", path)
		}
	}
	if err := st.Discard(); err != nil {
		t.Error(err)
	}
	mustPublish(t, s, []out{{path: "output/SES-1/a", content: "a"}, {path: "b", content: "b"}})
	want(t, filepath.Join(control, "output/SES-1/a"), "a")
	want(t, filepath.Join(control, "b"), "b")
}

// TestConflict: a target that is not what the turn first saw blocks the turn;
// nothing is published, what was written is kept.
func TestConflict(t *testing.T) {
	for name, c := range map[string]struct {
		file out
		make func(ws string)
		why  string
	}{
		"changed": {out{path: "d/a", base: "old"}, func(ws string) { write(t, ws+"/d/a", "mine") }, "it was changed since the turn first saw it"},
		"removed": {out{path: "d/a", base: "old"}, func(ws string) {}, "it was removed since the turn first saw it"},
		"made":    {out{path: "d/a"}, func(ws string) { write(t, ws+"/d/a", "") }, "it was made since the turn found it absent"},
		"folder":  {out{path: "d/a"}, func(ws string) { write(t, ws+"/d/a/x", "x") }, "a folder"},
		"link":    {out{path: "d/a"}, func(ws string) { write(t, ws+"/d/b", "b"); os.Symlink("b", ws+"/d/a") }, "a symbolic link"},
		"dead":    {out{path: "d/a"}, func(ws string) { os.Mkdir(ws+"/d", 0o755); os.Symlink("none", ws+"/d/a") }, "a symbolic link"},
		"fifo":    {out{path: "a"}, func(ws string) { syscall.Mkfifo(ws+"/a", 0o644) }, "a FIFO"},
		"parent":  {out{path: "d/a"}, func(ws string) { os.Mkdir(ws+"/e", 0o755); os.Symlink("e", ws+"/d") }, "a symbolic link is in the way: d"},
		"outside": {out{path: "d/e/a"}, func(ws string) { os.Symlink(t.TempDir(), ws+"/d") }, "a symbolic link is in the way: d"},
		"file":    {out{path: "d/e/a"}, func(ws string) { write(t, ws+"/d", "x") }, "a file is in the way: d"},
		"linked": {
			out{path: "a", base: "old"},
			func(ws string) { write(t, ws+"/a", "old"); os.Link(ws+"/a", ws+"/b") },
			"a file with 2 names (hard links)",
		},
		"output": {out{path: "output/SES-1/a"}, func(ws string) { os.Symlink(t.TempDir(), ws+"/.agenthost/output") }, "a symbolic link is in the way: output"},
	} {
		t.Run(name, func(t *testing.T) {
			ws := t.TempDir()
			r := openRoot(t, Options{Workspace: ws})
			s := create(t, r, id1)
			c.make(ws)
			c.file.content = "new"
			before := snapshot(t, ws)
			findings, conflicts, err := publish(t.Context(), s, []out{c.file, {path: "other", content: "other"}})
			if want := (Problem{c.file.path, record.CodeConflict, c.why}); err != nil || len(findings) > 0 || !slices.Equal(conflicts, []Problem{want}) {
				t.Errorf("got %v, %v, %v, want %v", findings, conflicts, err, want)
			}
			inWorkspace := func(all []string) []string {
				return slices.DeleteFunc(slices.Clone(all), func(n string) bool { return strings.Contains(n, "/.agenthost") || strings.HasPrefix(n, ws+"d") })
			}
			if after := snapshot(t, ws); !slices.Equal(inWorkspace(before), inWorkspace(after)) {
				t.Errorf("the workspace changed:\n%s\nto\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			kept := names(t, filepath.Join(r.Path(), "planes/ho1/sessions/SES-1/blocked/1"))
			if !slices.Contains(kept, "workspace/other") || slices.Contains(kept, "publish/") || slices.Contains(kept, "tmp/") {
				t.Errorf("kept %q", kept)
			}
			if report := verify(t, r, id1); len(report.Turns) != 1 || report.Turns[0].Code != record.CodeConflict {
				t.Errorf("got %+v", report)
			}
			mustPublish(t, s, []out{{path: "later", content: "later"}})
		})
	}
}

// TestSwapAfterCheck: what changes between the check and the rename, in spite
// of the lock, is met by the rename itself.
func TestSwapAfterCheck(t *testing.T) {
	outside := t.TempDir()
	write(t, filepath.Join(outside, "a"), "outside")
	for name, c := range map[string]struct {
		at   string
		swap func(ws string)
	}{
		"parent becomes a link": {"rename", func(ws string) { os.Rename(ws+"/d", ws+"/e"); os.Symlink(outside, ws+"/d") }},
		"target becomes a link": {"rename", func(ws string) { os.Remove(ws + "/d/a"); os.Symlink(outside+"/a", ws+"/d/a") }},
		"target is changed":     {"rename", func(ws string) { write(t, ws+"/d/a", "mine, and longer") }},
		"target is a folder":    {"rename", func(ws string) { os.Remove(ws + "/d/a"); os.Mkdir(ws+"/d/a", 0o755) }},
		"changed before":        {"commit turn.end", func(ws string) { write(t, ws+"/d/a", "mine, and longer") }},
	} {
		t.Run(name, func(t *testing.T) {
			ws := t.TempDir()
			write(t, filepath.Join(ws, "d/a"), "old")
			swapped := false
			r := openRoot(t, Options{Workspace: ws, Step: func(step string) {
				if step == c.at && !swapped {
					swapped = true
					c.swap(ws)
				}
			}})
			s := create(t, r, id1)
			findings, conflicts, err := publish(t.Context(), s, []out{{path: "d/a", content: "new", base: "old"}, {path: "b", content: "b"}})
			if err != nil || len(conflicts) > 0 || len(findings) != 1 || findings[0].Code != FindingConflict || findings[0].Path != "d/a" {
				t.Fatal(findings, conflicts, err)
			}
			want(t, filepath.Join(outside, "a"), "outside")
			want(t, filepath.Join(ws, "b"), "b")
			want(t, filepath.Join(r.Path(), "planes/ho1/sessions/SES-1/blocked/1/workspace/d/a"), "new")
			if got := names(t, outside); !slices.Equal(got, []string{"a"}) {
				t.Errorf("written outside: %q", got)
			}
			verify(t, r, id1)
			mustPublish(t, s, []out{{path: "later", content: "later"}})
		})
	}
}

// meddler does something whenever it is asked whether it is done.
type meddler struct {
	context.Context
	do func()
}

func (m meddler) Err() error { m.do(); return nil }

// TestChangedWhileCopied: a staged file that somebody still writes to is not
// published.
func TestChangedWhileCopied(t *testing.T) {
	r := openRoot(t, Options{Workspace: t.TempDir()})
	s := create(t, r, id1)
	for name, change := range map[string]func(f *os.File) error{
		"grows":   func(f *os.File) error { _, err := f.WriteAt([]byte("more"), 4); return err },
		"shrinks": func(f *os.File) error { return f.Truncate(1) },
		"linked": func(*os.File) error {
			return os.Link(r.join(s.name()+"/"+turnDir(stagingDir, s.Turns()+1)+"/workspace/a"), filepath.Join(t.TempDir(), "b"))
		},
	} {
		st, realized, err := stage(s, []out{{path: "a", content: "good"}})
		if err != nil {
			t.Fatal(err)
		}
		f, err := st.Workspace.OpenFile("a", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var once sync.Once
		ctx := meddler{t.Context(), func() {
			once.Do(func() {
				if err := change(f); err != nil {
					t.Error(err)
				}
			})
		}}
		publications, problems, err := st.Copy(ctx, realized)
		if want := (Problem{"a", record.CodeUnsafeFile, "it was changed while it was copied"}); err != nil || len(publications) > 0 || !slices.Equal(problems, []Problem{want}) {
			t.Errorf("%s: got %v, %v, %v, want %v", name, publications, problems, err, want)
		}
		f.Close()
		s.Leave()
		if s, _, err = r.Open(t.Context(), id1); err != nil {
			t.Fatal(err)
		}
	}
	s.Leave()
}

// TestMoveReplacesNothing: a target that was absent is not replaced, whenever
// it appeared.
func TestMoveReplacesNothing(t *testing.T) {
	top := t.TempDir()
	write(t, filepath.Join(top, "copy"), "copy")
	write(t, filepath.Join(top, "a"), "mine")
	dir, err := beneath.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := taken(move(dir, "copy", dir, "a", false)); !errors.Is(err, errTaken) {
		t.Errorf("got %v, want %v", err, errTaken)
	}
	want(t, filepath.Join(top, "a"), "mine")
	if err := move(dir, "copy", dir, "a", true); err != nil {
		t.Error(err)
	}
	want(t, filepath.Join(top, "a"), "copy")
}

// TestDescriptorKeptOpen: who still can write to the staged file does not
// reach what is published.
func TestDescriptorKeptOpen(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, id1)
	st, realized, err := stage(s, []out{{path: "a", content: "good"}})
	if err != nil {
		t.Fatal(err)
	}
	held, err := st.Workspace.OpenFile("a", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	publications, _, err := st.Copy(t.Context(), realized)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.WriteAt([]byte("evil"), 0); err != nil {
		t.Fatal(err)
	}
	if err := evidence(s); err != nil {
		t.Fatal(err)
	}
	if findings, _, err := commit(t.Context(), s, st, publications); err != nil || len(findings) > 0 {
		t.Fatal(findings, err)
	}
	if _, err := held.WriteAt([]byte("evil"), 0); err != nil {
		t.Fatal(err)
	}
	want(t, filepath.Join(ws, "a"), "good")
}

// TestRace: of two sessions that make one target at once, one wins and the
// other is blocked.
func TestRace(t *testing.T) {
	ws := t.TempDir()
	for round := range 10 {
		path := "f" + string(rune('0'+round))
		type result struct {
			id        ID
			conflicts []Problem
			err       error
		}
		results := make(chan result)
		for _, id := range []ID{ID("SES-a" + path), ID("SES-b" + path)} {
			r := openRoot(t, Options{Workspace: ws})
			s := create(t, r, id)
			go func() {
				findings, conflicts, err := publish(context.Background(), s, []out{{path: path, content: string(id)}})
				if len(findings) > 0 {
					err = errors.New(findings[0].String())
				}
				results <- result{id, conflicts, err}
			}()
		}
		var winner ID
		for range 2 {
			res := <-results
			switch {
			case res.err != nil:
				t.Error(res.err)
			case len(res.conflicts) == 0 && winner != "":
				t.Errorf("%s and %s both published", winner, res.id)
			case len(res.conflicts) == 0:
				winner = res.id
			}
		}
		want(t, filepath.Join(ws, path), string(winner))
	}
}

// TestRelease: a commit that is given up leaves nothing, and the turn can end
// in another way.
func TestRelease(t *testing.T) {
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
		c, err := st.Lock(t.Context(), publications)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Commit(t.Context(), record.TurnEnd{Status: record.StatusOK}); err == nil {
			t.Error("committed without a check")
		}
		if err := c.Prepare(t.Context()); err == nil {
			t.Error("prepared without a check")
		}
		if problems, err := c.Check(t.Context()); err != nil || len(problems) > 0 {
			t.Fatal(problems, err)
		}
		if err := c.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(root, "planes/pending/SES-1")); err != nil {
			t.Error(err)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := st.Lock(canceled, publications); !errors.Is(err, context.Canceled) {
			t.Errorf("locked twice: %v", err)
		}
		for range 2 {
			if err := c.Release(); err != nil {
				t.Error(err)
			}
		}
		if err := evidence(s); err != nil {
			t.Fatal(err)
		}
		if _, err := s.End(record.TurnEnd{Status: record.StatusDryRun}); err != nil {
			t.Error(err)
		}
		if err := st.Discard(); err != nil {
			t.Error(err)
		}
		want(t, filepath.Join(ws, "docs/old.md"), "old")
		for _, name := range append(names(t, ws), names(t, root)...) {
			if strings.Contains(name, ".agenthost-") || strings.Contains(name, "pending/SES") || strings.Contains(name, "staging") {
				t.Errorf("left over: %s", name)
			}
		}
		verify(t, r, id1)
	}
}
