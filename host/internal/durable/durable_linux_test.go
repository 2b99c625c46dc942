package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/internal/beneath"
)

func open(t *testing.T) (string, *beneath.Dir) {
	t.Helper()
	top := t.TempDir()
	dir, err := beneath.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return top, dir
}

func want(t *testing.T, path, content string, perm fs.FileMode) {
	t.Helper()
	b, err := os.ReadFile(path)
	info, errStat := os.Stat(path)
	if err != nil || errStat != nil || string(b) != content || info.Mode().Perm() != perm {
		t.Errorf("%s: %q, %v, want %q and %v (%v, %v)", path, b, info, content, perm, err, errStat)
	}
}

func TestReplace(t *testing.T) {
	top, dir := open(t)
	if err := MakeAll(dir, "a/b", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x", "a/b/x"} {
		if err := Put(dir, name, []byte("1")); err != nil {
			t.Fatal(err)
		}
		if err := Put(dir, name, []byte("2")); err != nil {
			t.Fatal(err)
		}
		want(t, filepath.Join(top, name), "1", 0o644)
		// What a crash left is in nobody's way.
		if err := os.WriteFile(filepath.Join(top, Temp(name)), []byte("longer than what follows"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Replace(dir, name, []byte("3"), 0o600); err != nil {
			t.Fatal(err)
		}
		want(t, filepath.Join(top, name), "3", 0o600)
		if b, err := Read(dir, name, 1); string(b) != "3" || err != nil {
			t.Errorf("read %q, %v", b, err)
		}
	}
	// A link is replaced, what it leads to is not.
	if err := os.Symlink("x", top+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := Replace(dir, "link", []byte("4"), 0o644); err != nil {
		t.Error(err)
	}
	want(t, top+"/link", "4", 0o644)
	want(t, top+"/x", "3", 0o600)
	// One in place of the temporary file is not followed.
	if err := os.Symlink("x", top+"/"+Temp("y")); err != nil {
		t.Fatal(err)
	}
	if err := Replace(dir, "y", []byte("5"), 0o644); !errors.Is(err, beneath.ErrLink) {
		t.Errorf("got %v", err)
	}
	want(t, top+"/x", "3", 0o600)
	// A folder cannot be replaced, and nothing is left.
	if err := Replace(dir, "a", []byte("6"), 0o644); err == nil {
		t.Error("a folder was replaced")
	}
	list, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if want := []string{"a", "link", "x"}; !slices.Equal(names, want) {
		t.Errorf("there is %q, want %q", names, want)
	}
}

func TestRead(t *testing.T) {
	top, dir := open(t)
	if err := errors.Join(
		os.WriteFile(top+"/big", make([]byte, 11), 0o644), os.Symlink("big", top+"/link"), os.Mkdir(top+"/folder", 0o755),
		syscall.Mkfifo(top+"/fifo", 0o644), os.Symlink("folder", top+"/linked"),
	); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"big": ErrNotPlain, "link": ErrNotPlain, "folder": ErrNotPlain, "fifo": ErrNotPlain, "linked/x": ErrNotPlain,
		"none": fs.ErrNotExist, "none/x": fs.ErrNotExist, "../x": beneath.ErrEscapes,
	} {
		if b, err := Read(dir, name, 10); !errors.Is(err, want) || b != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if b, err := Read(dir, "big", 11); len(b) != 11 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string][3]string{"a": {".", "a", ".new-a"}, "a/b": {"a", "b", "a/.new-b"}, "a/b/c": {"a/b", "c", "a/b/.new-c"}} {
		if got := [3]string{Parent(name), Base(name), Temp(name)}; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestMakeAll(t *testing.T) {
	top, dir := open(t)
	if err := errors.Join(os.WriteFile(top+"/file", nil, 0o644), os.Mkdir(top+"/real", 0o755), os.Symlink("real", top+"/link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"a/b/c": nil, "a/b": nil, "file/x": syscall.ENOTDIR, "link/x": beneath.ErrLink} {
		if err := MakeAll(dir, name, 0o700); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := os.Stat(top + "/real/x"); err == nil {
		t.Error("a link was followed")
	}
}
