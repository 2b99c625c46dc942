package session

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/record"
)

// blocks runs a turn that is blocked.
func blocks(t *testing.T, s *Session, files []out) {
	t.Helper()
	st, _, err := stage(s, files)
	if err != nil {
		t.Fatal(err)
	}
	if err := evidence(s); err != nil {
		t.Fatal(err)
	}
	if _, err := s.End(record.TurnEnd{Status: record.StatusBlocked, Code: record.CodeViolation}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Block(); err != nil {
		t.Fatal(err)
	}
}

// listed is each file of what is kept, and what it is or holds.
func listed(t *testing.T, r *Root, id ID, turn int) string {
	t.Helper()
	k, err := r.Kept("ho1", id, turn)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	var all []string
	for _, f := range k.Files {
		said := f.Unfit
		if file, err := k.Open(f); err == nil {
			b, _ := io.ReadAll(file)
			file.Close()
			said = string(b)
		} else if f.Unfit == "" {
			said = err.Error()
		}
		all = append(all, f.Path+"="+said)
	}
	return strings.Join(all, " ")
}

func TestKept(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	if turns, err := r.KeptTurns("ho1", "SES-1"); err != nil || turns != nil {
		t.Errorf("without a root: %v, %v", turns, err)
	}
	if _, err := r.Kept("ho1", "SES-1", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a root: %v", err)
	}
	s := create(t, r, "SES-1")
	mustPublish(t, s, []out{{path: "x", content: "x"}})
	blocks(t, s, []out{{path: "b/c", content: "c"}, {path: "b.md", content: "b"}, {path: "output/SES-1/a/a", content: "a"}})
	blocks(t, s, []out{{path: "b.md", content: "again"}})
	dir := filepath.Join(ws, ".agenthost/planes/ho1/sessions/SES-1/blocked")
	for _, name := range []string{"0", "03", "-1", "x", "+4"} { // nobody's
		os.Mkdir(filepath.Join(dir, name), 0o700)
	}
	if turns, err := r.KeptTurns("ho1", "SES-1"); err != nil || fmt.Sprint(turns) != "[2 3]" {
		t.Errorf("got %v, %v, want turns 2 and 3", turns, err)
	}
	if got, want := listed(t, r, "SES-1", 2), "b.md=b b/c=c output/SES-1/a/a=a"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	create(t, r, "SES-2")
	if id, _, err := r.FindKept(Last); err != nil || id != "SES-1" {
		t.Errorf("got %s, %v, want SES-1", id, err)
	}

	// What is there.
	for path, want := range map[string]string{"x": "x", "b.md": "", "b/c": "", "x/y": ""} {
		f, err := r.There("SES-1", path)
		if want == "" {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: got %v, want that there is nothing", path, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(f)
		f.Close()
		if string(b) != want {
			t.Errorf("%s: got %q, want %q", path, b, want)
		}
	}
	for _, path := range []string{"../x", "/etc/passwd", ".", ".agenthost/FORMAT", "output/SES-2/a"} {
		if f, err := r.There("SES-1", path); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, %v, want that it is not asked", path, f, err)
		}
	}

	// While the session is held nothing is discarded; then once.
	if _, err := r.DiscardKept(t.Context(), "SES-1", 2); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	freed, err := r.DiscardKept(t.Context(), "SES-1", 2)
	if err != nil || freed != (Freed{3, 3}) {
		t.Errorf("got %+v, %v", freed, err)
	}
	if _, err := r.DiscardKept(t.Context(), "SES-1", 2); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("again: got %v", err)
	}
	verify(t, r, "SES-1")
}

// Nothing that somebody put there is followed, waited for or taken for a file.
func TestKeptHostile(t *testing.T) {
	ws, elsewhere := t.TempDir(), t.TempDir()
	write(t, filepath.Join(elsewhere, "precious"), "p")
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, "SES-1")
	blocks(t, s, []out{{path: "a", content: "a"}})
	blocks(t, s, []out{{path: "a", content: "a"}})
	blocks(t, s, []out{{path: "a", content: "a"}})
	s.Leave()
	dir := filepath.Join(ws, ".agenthost/planes/ho1/sessions/SES-1/blocked")
	place := filepath.Join(dir, "1/workspace")
	listener, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(listener)
	short, err := os.MkdirTemp("/tmp", "s") // the address of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	if err := errors.Join(
		os.Symlink(elsewhere, place+"/folder"), os.Symlink(elsewhere+"/precious", place+"/file"), os.Symlink("a", place+"/near"),
		syscall.Mkfifo(place+"/fifo", 0o600), os.Link(elsewhere+"/precious", place+"/hard"),
		syscall.Bind(listener, &syscall.SockaddrUnix{Name: short + "/s"}), os.Rename(short+"/s", place+"/socket"),
		os.RemoveAll(dir+"/2/workspace"), os.Symlink(elsewhere, dir+"/2/workspace"),
		os.RemoveAll(dir+"/3"), os.Symlink(elsewhere, dir+"/3"),
	); err != nil && !errors.Is(err, syscall.EXDEV) {
		t.Fatal(err)
	}
	want1 := "a=a fifo=a FIFO file=a symbolic link folder=a symbolic link hard=p near=a symbolic link socket=a socket"
	if got := listed(t, r, "SES-1", 1); got != want1 && got != strings.Replace(want1, " socket=a socket", "", 1) {
		t.Errorf("got  %s\nwant %s", got, want1)
	}
	for _, turn := range []int{2, 3} {
		if k, err := r.Kept("ho1", "SES-1", turn); err == nil {
			t.Errorf("turn %d: got %+v", turn, k.Files)
		}
	}
	// A file that becomes a link after it was listed.
	k, err := r.Kept("ho1", "SES-1", 1)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(place + "/a")
	if err := os.Symlink(elsewhere+"/precious", place+"/a"); err != nil {
		t.Fatal(err)
	}
	if f, err := k.Open(k.Files[0]); err == nil {
		t.Errorf("%s was opened", f.Name())
	}
	k.Close()
	for turn := 1; turn <= 3; turn++ {
		if _, err := r.DiscardKept(t.Context(), "SES-1", turn); err != nil {
			t.Error(err)
		}
	}
	want(t, filepath.Join(elsewhere, "precious"), "p")
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	// blocked/ itself.
	if err := os.Symlink(elsewhere, dir); err != nil {
		t.Fatal(err)
	}
	if turns, err := r.KeptTurns("ho1", "SES-1"); err == nil {
		t.Errorf("got %v", turns)
	}
}

// Several discard one turn at once: one does. A crash leaves all of it or none.
func TestDiscardAtOnce(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, "SES-1")
	blocks(t, s, []out{{path: "a", content: "a"}})
	blocks(t, s, []out{{path: "a", content: "a"}})
	s.Leave()
	var wg sync.WaitGroup
	var done atomic.Int64
	for range 8 {
		wg.Go(func() {
			r := openRoot(t, Options{Workspace: ws})
			for {
				_, err := r.DiscardKept(t.Context(), "SES-1", 1)
				switch {
				case err == nil:
					done.Add(1)
				case errors.Is(err, ErrInUse):
					continue
				case !errors.Is(err, fs.ErrNotExist):
					t.Error(err)
				}
				return
			}
		})
	}
	wg.Wait()
	if n := done.Load(); n != 1 {
		t.Errorf("it was discarded %d times", n)
	}
	for _, step := range []string{"discard", "remove its files"} {
		r := openRoot(t, Options{Workspace: ws, Step: func(now string) {
			if now == step {
				panic("killed")
			}
		}})
		func() {
			defer func() { recover() }()
			r.DiscardKept(t.Context(), "SES-1", 2)
		}()
		turns, err := r.KeptTurns("ho1", "SES-1")
		if want := map[string]string{"discard": "[2]", "remove its files": "[]"}[step]; err != nil || fmt.Sprint(turns) != want {
			t.Errorf("killed at %s: got %v, %v, want %s", step, turns, err, want)
		}
	}
	s, _, err := r.Open(t.Context(), "SES-1")
	if err != nil {
		t.Fatal(err)
	}
	blocks(t, s, []out{{path: "a", content: "a"}})
	s.Leave()
	if _, err := r.DiscardKept(t.Context(), "SES-1", 3); err != nil {
		t.Fatal(err)
	}
	if left := names(t, filepath.Join(ws, ".agenthost/planes/ho1/sessions/SES-1/blocked")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A file whose target was changed after the commit is kept, and listed.
func TestKeptAfterCommit(t *testing.T) {
	ws := t.TempDir()
	var late func()
	r := openRoot(t, Options{Workspace: ws, Step: func(step string) {
		if step == "rename" && late != nil {
			late()
			late = nil
		}
	}})
	s := create(t, r, "SES-1")
	late = func() { write(t, filepath.Join(ws, "a"), "theirs") }
	findings, _, err := publish(t.Context(), s, []out{{path: "a", content: "mine"}, {path: "b", content: "b"}})
	if err != nil || len(findings) != 1 || findings[0].Code != FindingConflict {
		t.Fatal(findings, err)
	}
	if got := listed(t, r, "SES-1", 1); got != "a=mine" {
		t.Errorf("got %s, want a=mine", got)
	}
}

func TestWithoutPaths(t *testing.T) {
	ws := t.TempDir()
	for root, c := range map[string]struct{ text, want string }{
		"": {
			"open " + ws + "/.agenthost/planes/ho1: no; root " + ws + "/.agenthost is full; " + ws + "/docs/a; " + ws,
			"open planes/ho1: no; root the root is full; docs/a; the workspace",
		},
		ws + "-root": {"write " + ws + "-root/planes: no; " + ws + "-root; read " + ws + "/a: no", "write planes: no; the root; read a: no"},
	} {
		r := openRoot(t, Options{Workspace: ws, Root: root})
		t.Cleanup(func() { os.RemoveAll(ws + "-root") })
		if got := create(t, r, "SES-1").WithoutPaths(c.text); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
