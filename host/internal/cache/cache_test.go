package cache

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// A file is there whole or not at all, and what failed leaves nothing.
func TestStore(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := Store(path, func(w io.Writer) error { _, err := io.WriteString(w, "one"); return err }); err != nil {
		t.Fatal(err)
	}
	full := errors.New("full")
	err := Store(path, func(w io.Writer) error {
		io.WriteString(w, "two")
		if got := names(t, dir); len(got) != 2 {
			t.Errorf("while it is made: %q", got)
		}
		return full
	})
	if !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "one" {
		t.Errorf("got %q %v, want what was there", got, err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"a"}) {
		t.Errorf("left %q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v %v, want 0600", info.Mode(), err)
	}
}

// What a killed process left is swept once nobody can be at it any more.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{"entry": 48 * time.Hour, NewPrefix + "old": 2 * time.Hour, NewPrefix + "young": time.Minute} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, make([]byte, 10), 0o600), os.Chtimes(path, now.Add(-age), now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	half := filepath.Join(dir, NewPrefix+"folder")
	if err := errors.Join(os.Mkdir(half, 0o700), os.WriteFile(filepath.Join(half, "x"), make([]byte, 5), 0o600), os.Chtimes(half, now.Add(-2*time.Hour), now.Add(-2*time.Hour))); err != nil {
		t.Fatal(err)
	}
	freed, err := Sweep(dir, now)
	if err != nil || freed != 15 {
		t.Errorf("freed %d %v, want 15", freed, err)
	}
	if got, want := names(t, dir), []string{NewPrefix + "young", "entry"}; !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
}

// Times say when a file was of use, and are not written at every use.
func TestUsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	now := time.Now().Truncate(time.Second)
	for _, c := range []struct{ age, want time.Duration }{{time.Minute, time.Minute}, {2 * time.Hour, 0}} {
		then := now.Add(-c.age)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		Used(path, info, now)
		if info, err = os.Stat(path); err != nil || now.Sub(info.ModTime()) != c.want {
			t.Errorf("used after %v: it is %v old %v, want %v", c.age, now.Sub(info.ModTime()), err, c.want)
		}
	}
}
