package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/record"
)

// closed makes a session with one turn that published, and closes it.
func closed(t *testing.T, r *Root, id ID) {
	t.Helper()
	s := create(t, r, id)
	mustPublish(t, s, []out{{path: "docs/" + string(id), content: "d"}, {path: "output/" + string(id) + "/a", content: "aaa"}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// contents is every name in a folder, and what is in the files.
func contents(t *testing.T, top string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range names(t, top) {
		b, _ := os.ReadFile(filepath.Join(top, name)) // a folder has none
		all[name] = string(b)
	}
	return all
}

func ids(t *testing.T, r *Root) string {
	t.Helper()
	list, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range list {
		if s.Err != nil {
			t.Errorf("%s: %v", s.ID, s.Err)
		}
		all = append(all, string(s.ID))
	}
	return strings.Join(all, " ")
}

func TestPrune(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	closed(t, r, "SES-1")
	closed(t, r, "SES-2")
	open := create(t, r, "SES-3")
	mustPublish(t, open, []out{{path: "x", content: "x"}})
	before := contents(t, ws)
	for id, want := range map[ID]error{"SES-3": ErrInUse, "SES-4": ErrNotFound} {
		if _, err := r.Prune(t.Context(), id, true, false); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", id, err, want)
		}
	}
	dry, err := r.Prune(t.Context(), "SES-1", true, true)
	if err != nil || dry.Published != (Freed{1, 3}) || dry.Files.Files < 4 || dry.Exec.Size == 0 || dry.Evidence.Size != 3 {
		t.Errorf("dry: got %+v, %v", dry, err)
	}
	if after := contents(t, ws); !maps.Equal(before, after) {
		t.Errorf("what was refused, or dry, changed\n%v\nto\n%v", before, after)
	}
	open.Leave()
	if _, err := r.Prune(t.Context(), "SES-3", false, false); !errors.Is(err, ErrOpen) {
		t.Errorf("open: got %v, want %v", err, ErrOpen)
	}

	// Without its output, and with it.
	done, err := r.Prune(t.Context(), "SES-1", false, false)
	if err != nil || done.Files.Files != dry.Files.Files || done.Published != (Freed{}) {
		t.Errorf("got %+v, %v, want what dry said: %+v", done, err, dry)
	}
	want(t, filepath.Join(ws, ".agenthost/output/SES-1/a"), "aaa")
	want(t, filepath.Join(ws, "docs/SES-1"), "d")
	if _, err := r.Prune(t.Context(), "SES-2", true, false); err != nil {
		t.Error(err)
	}
	want(t, filepath.Join(ws, ".agenthost/output/SES-2/a"), "")
	want(t, filepath.Join(ws, "docs/SES-2"), "d")
	if got := ids(t, r); got != "SES-3" {
		t.Errorf("left: %s", got)
	}
	if _, err := r.Prune(t.Context(), "SES-1", false, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: got %v, want %v", err, ErrNotFound)
	}
	create(t, r, "SES-2") // the id is free again
}

// What a crash left in a closed session is finished by recovery, not removed.
func TestPruneUnfinished(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	closed(t, r, "SES-1")
	marker := filepath.Join(ws, ".agenthost", pendingDir, "SES-1")
	staging := filepath.Join(ws, ".agenthost/planes/ho1/sessions/SES-1", stagingDir)
	for _, name := range []string{marker, staging} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		before := contents(t, ws)
		if _, err := r.Prune(t.Context(), "SES-1", true, false); !errors.Is(err, ErrUnfinished) {
			t.Errorf("got %v, want %v", err, ErrUnfinished)
		}
		if after := contents(t, ws); !maps.Equal(before, after) {
			t.Errorf("it changed\n%v\nto\n%v", before, after)
		}
		os.Remove(name)
	}
}

// Links in what is removed are removed, not followed; names the system does not
// take in one piece are no obstacle.
func TestPruneHostile(t *testing.T) {
	ws, elsewhere := t.TempDir(), t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	closed(t, r, "SES-1")
	write(t, filepath.Join(elsewhere, "precious"), "p")
	blocked := filepath.Join(ws, ".agenthost/planes/ho1/sessions/SES-1/blocked")
	deep := filepath.Join(blocked, "1/workspace")
	if err := errors.Join(os.MkdirAll(deep, 0o700), os.Symlink(elsewhere, filepath.Join(blocked, "2")), syscall.Mkfifo(filepath.Join(deep, "fifo"), 0o600),
		os.Symlink(elsewhere, filepath.Join(ws, ".agenthost/output/SES-1/link"))); err != nil {
		t.Fatal(err)
	}
	folder, err := os.OpenRoot(deep)
	for range 40 { // 8,000 bytes
		if err != nil {
			t.Fatal(err)
		}
		defer folder.Close()
		name := strings.Repeat("n", 200)
		if err = folder.Mkdir(name, 0o700); err == nil {
			folder, err = folder.OpenRoot(name)
		}
	}
	if _, err := r.Prune(t.Context(), "SES-1", true, false); err != nil {
		t.Error(err)
	}
	want(t, filepath.Join(elsewhere, "precious"), "p")
	if got := ids(t, r); got != "" {
		t.Errorf("left: %s", got)
	}
}

// Several prune at once, and list meanwhile: each session is removed once, and
// nobody sees half of one.
func TestPruneAtOnce(t *testing.T) {
	ws := memory(t)
	r := openRoot(t, Options{Workspace: ws})
	var all []ID
	for i := range 12 {
		all = append(all, ID(fmt.Sprint("SES-", 10+i)))
		closed(t, r, all[i])
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	removed := map[ID]int{}
	for range 4 {
		wg.Go(func() {
			r := openRoot(t, Options{Workspace: ws})
			for _, id := range all {
				_, err := r.Prune(t.Context(), id, true, false)
				switch {
				case err == nil:
					mu.Lock()
					removed[id]++
					mu.Unlock()
				case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInUse) && !errors.Is(err, os.ErrNotExist):
					t.Errorf("%s: %v", id, err)
				}
				ids(t, r)
			}
		})
	}
	wg.Wait()
	for _, id := range all {
		if n := removed[id]; n > 1 {
			t.Errorf("%s was removed %d times", id, n)
		}
	}
	if got := len(removed) + len(strings.Fields(ids(t, r))); got != len(all) {
		t.Errorf("%d sessions are removed or there, want %d", got, len(all))
	}
}

// A crash while a session is removed leaves all of it or, after recovery, none.
func TestPruneKilled(t *testing.T) {
	for step, want := range map[string]string{"remove session": "SES-1", "remove its files": ""} {
		ws := t.TempDir()
		r := openRoot(t, Options{Workspace: ws, Step: func(now string) {
			if now == step {
				panic("killed")
			}
		}})
		closed(t, r, "SES-1")
		func() {
			defer func() { recover() }()
			r.Prune(t.Context(), "SES-1", false, false)
			t.Errorf("%s: not reached", step)
		}()
		r = openRoot(t, Options{Workspace: ws})
		if got := ids(t, r); got != want {
			t.Errorf("killed at %s: sessions %q, want %q", step, got, want)
		}
		if findings, err := r.Recover(t.Context()); err != nil || len(findings) > 0 {
			t.Error(findings, err)
		}
		left := names(t, filepath.Join(ws, ".agenthost/planes/ho1/sessions"))
		if want == "" && len(left) > 0 {
			t.Errorf("killed at %s: left %q", step, left)
		}
	}
}

// Who holds a session is told only while that process lives.
func TestHolder(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws, Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }})
	s := create(t, r, "SES-1")
	file := filepath.Join(ws, ".agenthost/planes/ho1/sessions/SES-1", holderFile)
	told := func() *Holder {
		t.Helper()
		_, _, err := r.Open(t.Context(), "SES-1")
		var used *InUseError
		if !errors.As(err, &used) || !errors.Is(err, ErrInUse) {
			t.Fatalf("got %v, want an InUseError", err)
		}
		return used.Holder
	}
	h := told()
	if h == nil || h.PID != os.Getpid() || h.Program != filepath.Base(os.Args[0]) {
		t.Fatalf("got %+v", h)
	}
	if got, want := (&InUseError{h}).Error(), "this process works on this session already, since 2026-01-02T03:04:05Z"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parent := *h
	parent.PID = os.Getppid()
	parent.Process, _ = identity(os.Getppid())
	if got, want := (&InUseError{&parent}).Error(), fmt.Sprintf("another process works on this session: %s, process %d, since 2026-01-02T03:04:05Z", h.Program, os.Getppid()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}

	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	replaced := func(change func(h *Holder)) []byte {
		c := *h
		change(&c)
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, content := range map[string][]byte{
		"nothing": nil, "half": good[:len(good)/2], "other JSON": []byte("[1]"), "null": []byte("null"), "long": []byte(strings.Repeat(" ", maxHolder) + string(good)),
		"a dead process":      replaced(func(h *Holder) { h.PID = dead.Process.Pid }),
		"a number again":      replaced(func(h *Holder) { h.PID = os.Getppid() }),
		"no number":           replaced(func(h *Holder) { h.PID = -1 }),
		"another boot":        replaced(func(h *Holder) { h.Process = "x" + h.Process }),
		"no program":          replaced(func(h *Holder) { h.Program = "" }),
		"a process namespace": replaced(func(h *Holder) { h.Process = strings.Replace(h.Process, "pid:[", "pid:[9", 1) }),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if h := told(); h != nil {
			t.Errorf("%s: got %+v, want none", name, h)
		}
	}
	// Nor is anything but a file read.
	for name, plant := range map[string]func() error{
		"none": func() error { return nil }, "a link": func() error { return os.Symlink("/proc/self/status", file) },
		"a FIFO": func() error { return syscall.Mkfifo(file, 0o600) }, "a folder": func() error { return os.Mkdir(file, 0o700) },
	} {
		os.Remove(file)
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		if h := told(); h != nil {
			t.Errorf("%s: got %+v, want none", name, h)
		}
	}
	// It decides nothing: the lock does.
	if err := s.Leave(); err != nil {
		t.Fatal(err)
	}
	os.Remove(file)
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, err = r.Open(t.Context(), "SES-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the note is left: %v", err)
	}
}

// @last of who continues a session is open.
func TestFindOpen(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	if _, _, err := r.FindOpen(Last); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	for _, id := range []ID{"SES-1", "SES-2"} {
		if err := create(t, r, id).Leave(); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, r, "SES-3")
	create(t, r, "SES-4").Leave()
	at := time.Now()
	for i, id := range []ID{"SES-4", "SES-1", "SES-2", "SES-3"} { // as they were written
		at := at.Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(r.LedgerPath("ho1", id, record.ExecFile), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if id, _, err := r.FindOpen(Last); err != nil || id != "SES-2" {
		t.Errorf("got %s, %v, want SES-2", id, err)
	}
	if id, _, err := r.Find(Last); err != nil || id != "SES-3" {
		t.Errorf("got %s, %v, want SES-3", id, err)
	}
	if id, _, err := r.FindOpen("SES-3"); err != nil || id != "SES-3" {
		t.Errorf("got %s, %v, want SES-3", id, err)
	}
	os.Truncate(r.LedgerPath("ho1", "SES-2", record.ExecFile), 100) // no session.open
	if id, _, err := r.FindOpen(Last); err != nil || id != "SES-1" {
		t.Errorf("got %s, %v, want SES-1", id, err)
	}
}
