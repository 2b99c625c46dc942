//go:build linux || darwin

package beneath

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// both runs a test with openat2 and with the resolution element by element.
func both(t *testing.T, test func(t *testing.T, open func(t *testing.T, path string) *Dir)) {
	for _, walk := range []bool{false, true} {
		name := map[bool]string{false: "openat2", true: "by element"}[walk]
		t.Run(name, func(t *testing.T) {
			test(t, func(t *testing.T, path string) *Dir {
				t.Helper()
				d, err := open(path, walk)
				if err != nil {
					t.Fatal(err)
				}
				if !walk && d.walk {
					t.Skip("this kernel has no openat2")
				}
				t.Cleanup(func() { d.Close() })
				return d
			})
		})
	}
}

// tree makes files: "a/b" a file holding its name, "a/" a folder, "a -> b" a link.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	top := t.TempDir()
	for _, name := range names {
		link, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(top, link)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func TestCheckName(t *testing.T) {
	for name, want := range map[string]error{
		".": nil, "a": nil, "a/b": nil, "...": nil, "..a": nil, ".a/b..": nil, "\xff": nil, "a b\n": nil,
		"": ErrName, "a//b": ErrName, "a/": ErrName, "./a": ErrName, "a/.": ErrName, "a/./b": ErrName, "a\x00": ErrName, "\x00": ErrName,
		"..": ErrEscapes, "../a": ErrEscapes, "a/..": ErrEscapes, "a/../b": ErrEscapes, "./..": ErrEscapes, "a//..": ErrEscapes,
		"/": ErrEscapes, "/a": ErrEscapes, "//": ErrEscapes,
		strings.Repeat("a", 4096): syscall.ENAMETOOLONG, strings.Repeat("a/", 2047) + "a": nil,
	} {
		if got := CheckName(name); got != want {
			t.Errorf("CheckName(%.20q) = %v, want %v", name, got, want)
		}
	}
}

// TestRefusedNames holds every operation to CheckName.
func TestRefusedNames(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		top := tree(t, "secret", "in/file")
		d := open(t, filepath.Join(top, "in"))
		for name, want := range map[string]error{
			"../secret": ErrEscapes, "..": ErrEscapes, filepath.Join(top, "secret"): ErrEscapes, "a/../../secret": ErrEscapes,
			"": ErrName, "file/": ErrName, "./file": ErrName, "file\x00x": ErrName,
		} {
			for op, do := range operations(d) {
				if err := do(name); !errors.Is(err, want) {
					t.Errorf("%s %q: got %v, want %v", op, name, err, want)
				}
			}
		}
		for _, op := range []string{"Remove", "RemoveAll", "Rename", "Rename to", "Link", "Link to"} {
			if err := operations(d)[op]("."); !errors.Is(err, ErrName) {
				t.Errorf("%s of the folder itself: got %v, want %v", op, err, ErrName)
			}
		}
		want(t, filepath.Join(top, "secret"), "secret")
	})
}

// operations are all that take a name.
func operations(d *Dir) map[string]func(name string) error {
	shut := func(c io.Closer, err error) error {
		if err == nil {
			c.Close()
		}
		return err
	}
	return map[string]func(string) error{
		"Sub":             func(n string) error { c, err := d.Sub(n); return shut(c, err) },
		"OpenFile":        func(n string) error { f, err := d.OpenFile(n, os.O_RDONLY, 0); return shut(f, err) },
		"create":          func(n string) error { f, err := d.OpenFile(n, os.O_RDWR|os.O_CREATE, 0o644); return shut(f, err) },
		"Unnamed":         func(n string) error { f, err := d.Unnamed(n); return shut(f, err) },
		"Stat":            func(n string) error { _, err := d.Stat(n); return err },
		"Mkdir":           func(n string) error { return d.Mkdir(n, 0o755) },
		"MkdirAll":        func(n string) error { _, err := d.MkdirAll(n, 0o755); return err },
		"Remove":          d.Remove,
		"RemoveAll":       d.RemoveAll,
		"ReadDir":         func(n string) error { _, err := d.ReadDir(n); return err },
		"Chmod":           func(n string) error { return d.Chmod(n, 0o600) },
		"Rename":          func(n string) error { return Rename(d, n, d, "moved") },
		"Rename to":       func(n string) error { return Rename(d, "file", d, n) },
		"RenameNoReplace": func(n string) error { return RenameNoReplace(d, n, d, "moved") },
		"Link":            func(n string) error { return d.Link(n, "linked") },
		"Link to":         func(n string) error { return d.Link("file", n) },
	}
}

// TestLinkOnTheWay: no operation goes through a link, wherever it points.
func TestLinkOnTheWay(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		top := tree(t, "out/x", "out/d/", "in/file", "in/real/x", "in/real/d/",
			"in/far -> ../out", "in/near -> real", "in/abs -> /etc", "in/loop -> loop", "in/dead -> nowhere", "in/proc -> /proc/self/cwd", "in/real/up -> ..")
		d := open(t, filepath.Join(top, "in"))
		for _, name := range []string{"far/x", "near/x", "far/d", "near/d", "abs/hostname", "loop/x", "dead/x", "proc/x", "real/up/file", "near/d/y", "far/new"} {
			for op, do := range operations(d) {
				if err := do(name); !errors.Is(err, ErrLink) {
					t.Errorf("%s %q: got %v, want %v", op, name, err, ErrLink)
				}
			}
		}
		for _, name := range []string{"far", "near", "abs", "loop", "dead", "proc"} {
			for _, op := range []string{"Sub", "OpenFile", "ReadDir", "create", "MkdirAll"} {
				if err := operations(d)[op](name); !errors.Is(err, ErrLink) {
					t.Errorf("%s of the link %q: got %v, want %v", op, name, err, ErrLink)
				}
			}
			info, err := d.Stat(name)
			if err != nil || info.Mode.Type() != fs.ModeSymlink {
				t.Errorf("Stat(%q) = %v, %v, want the link described", name, info.Mode, err)
			}
		}
		// Removing and replacing concern the link, not what it points to.
		if err := d.Remove("far"); err != nil {
			t.Error(err)
		}
		if err := d.RemoveAll("near"); err != nil {
			t.Error(err)
		}
		if err := Rename(d, "file", d, "dead"); err != nil {
			t.Error(err)
		}
		want(t, filepath.Join(top, "in/dead"), "in/file")
		want(t, filepath.Join(top, "out/x"), "out/x")
		want(t, filepath.Join(top, "in/real/x"), "in/real/x")
		if _, err := os.Lstat(filepath.Join(top, "in/nowhere")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a file was made through a dangling link: %v", err)
		}
	})
}

func want(t *testing.T, path, content string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != content {
		t.Errorf("%s holds %q, %v, want %q", filepath.Base(path), b, err, content)
	}
}

func TestErrors(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		d := open(t, tree(t, "file", "full/x", "empty/"))
		for _, c := range []struct {
			op, name string
			want     error
		}{
			{"OpenFile", "none", fs.ErrNotExist},
			{"OpenFile", "none/x", fs.ErrNotExist},
			{"OpenFile", "file/x", syscall.ENOTDIR},
			{"Sub", "file", syscall.ENOTDIR},
			{"ReadDir", "file", syscall.ENOTDIR},
			{"Stat", "file/x", syscall.ENOTDIR},
			{"Mkdir", "file", fs.ErrExist},
			{"MkdirAll", "file", syscall.ENOTDIR},
			{"MkdirAll", "file/x", syscall.ENOTDIR},
			{"Remove", "none", fs.ErrNotExist},
			{"Remove", "full", fs.ErrExist}, // ENOTEMPTY
			{"Rename", "none", fs.ErrNotExist},
			{"Rename to", "full", fs.ErrExist}, // EISDIR, checked apart below
			{"Link", "none", fs.ErrNotExist},
			{"Link", "full", syscall.EPERM},
			{"Link to", "file", fs.ErrExist},
			{"Link to", "full", fs.ErrExist},
			{"Link to", "none/x", fs.ErrNotExist},
			{"create", "empty", syscall.EISDIR},
			{"Remove", "empty", nil},
			{"RemoveAll", "none", nil},
			{"OpenFile", strings.Repeat("n", 256), syscall.ENAMETOOLONG},
		} {
			err := operations(d)[c.op](c.name)
			if c.op == "Rename to" {
				c.want = syscall.EISDIR
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%s %q: got %v, want %v", c.op, c.name, err, c.want)
			}
		}
		_, err := d.OpenFile("none/x", os.O_RDONLY, 0)
		if got, want := err.Error(), "open none/x: no such file or directory"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := d.Link("file", "full/z"); err != nil {
			t.Errorf("Link: %v", err)
		}
		if info, err := d.Stat("full/z"); err != nil || info.Nlink != 2 {
			t.Errorf("Link made %+v, %v", info, err)
		}
		if err := RenameNoReplace(d, "file", d, "full/x"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("RenameNoReplace onto a file: %v", err)
		}
		if err := RenameNoReplace(d, "file", d, "full/y"); err != nil {
			t.Errorf("RenameNoReplace: %v", err)
		}
	})
}

func TestClosed(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		d := open(t, tree(t, "file"))
		sub, err := d.Sub(".")
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		for op, do := range operations(d) {
			if err := do("file"); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%s: got %v, want %v", op, err, fs.ErrClosed)
			}
		}
		for _, err := range []error{d.Close(), d.Sync()} {
			if !errors.Is(err, fs.ErrClosed) {
				t.Errorf("got %v, want %v", err, fs.ErrClosed)
			}
		}
		if _, err := sub.Stat("file"); err != nil {
			t.Errorf("a folder opened before: %v", err)
		}
	})
}

func TestMkdirAllSaysWhatItMade(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		top := tree(t, "a/")
		d := open(t, top)
		made, err := d.MkdirAll("a/b/c", 0o700)
		if got := strings.Join(made, " "); got != "a/b a/b/c" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if made, err = d.MkdirAll("a/b/c", 0o700); len(made) != 0 || err != nil {
			t.Errorf("again: got %q, %v", made, err)
		}
		if made, err = d.MkdirAll(".", 0o700); len(made) != 0 || err != nil {
			t.Errorf("the folder itself: got %q, %v", made, err)
		}
	})
}

func TestReadDir(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		top := tree(t, "d/b", "d/a/", "d/B", "d/\xc3\xa4", "d/\xff", "d/l -> b")
		if err := unix.Mkfifo(filepath.Join(top, "d/p"), 0o600); err != nil {
			t.Fatal(err)
		}
		entries, err := open(t, top).ReadDir("d")
		if err != nil {
			t.Fatal(err)
		}
		want := []Entry{{"B", 0}, {"a", fs.ModeDir}, {"b", 0}, {"l", fs.ModeSymlink}, {"p", fs.ModeNamedPipe}, {"\xc3\xa4", 0}, {"\xff", 0}}
		if len(entries) != len(want) {
			t.Fatalf("got %v, want %v", entries, want)
		}
		for i := range want {
			if entries[i] != want[i] {
				t.Errorf("got %v, want %v", entries[i], want[i])
			}
		}
	})
}

func TestFIFODoesNotBlock(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		top := t.TempDir()
		if err := unix.Mkfifo(filepath.Join(top, "p"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := open(t, top).OpenFile("p", os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := StatFile(f)
		if err != nil || info.Mode.Type() != fs.ModeNamedPipe {
			t.Errorf("got %v, %v", info.Mode, err)
		}
	})
}

func TestStat(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		top := tree(t, "a/f")
		path := filepath.Join(top, "a/f")
		if err := os.Link(path, filepath.Join(top, "g")); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chmod(path, 0o6751); err != nil {
			t.Fatal(err)
		}
		d := open(t, top)
		info, err := d.Stat("a/f")
		if err != nil {
			t.Fatal(err)
		}
		if want := fs.ModeSetuid | fs.ModeSetgid | 0o751; info.Mode != want || info.Nlink != 2 || info.Size != 3 || int(info.UID) != os.Getuid() {
			t.Errorf("got %+v", info)
		}
		f, err := d.OpenFile("g", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		opened, err := StatFile(f)
		if err != nil || !opened.Same(info) {
			t.Errorf("got %+v, %v, want the same file", opened, err)
		}
		if _, err := f.WriteString("longer than before"); err != nil {
			t.Fatal(err)
		}
		if later, _ := d.Stat("g"); later.Same(info) {
			t.Error("a change was not seen")
		}
	})
}

func TestRemoveAll(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		top := tree(t, "keep/x", "gone/a/b", "gone/c", "gone/.deep-1/x", "gone/.deep-2", "gone/link -> ../keep", "gone/a/link -> ../../keep", "gone/empty/")
		// Deeper than descriptors are held open, with the names lift would use taken.
		deep := filepath.Join(top, "gone", strings.Repeat("d/", 5*maxDepth))
		if err := os.MkdirAll(deep, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(deep, "f"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		for i := range batch + 10 { // more than one reading
			if err := os.Link(filepath.Join(top, "gone/c"), filepath.Join(top, "gone/empty", strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
		// What a subprocess made hard to enter.
		if err := os.Mkdir(filepath.Join(top, "gone/shut"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(top, "gone/shut/x"), nil, 0o000); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(top, "gone/shut"), 0); err != nil {
			t.Fatal(err)
		}
		d := open(t, top)
		if err := d.RemoveAll("gone"); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(top, "gone")); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		want(t, filepath.Join(top, "keep/x"), "keep/x")
		if err := d.RemoveAll("keep/x"); err != nil {
			t.Errorf("of a file: %v", err)
		}
	})
}

func TestUnnamed(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		d := open(t, tree(t, "a/"))
		f, err := d.Unnamed("a/tmp")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("x"); err != nil {
			t.Error(err)
		}
		if info, err := StatFile(f); err != nil || info.Nlink != 0 || info.Size != 1 {
			t.Errorf("got %+v, %v", info, err)
		}
		if entries, err := d.ReadDir("a"); err != nil || len(entries) != 0 {
			t.Errorf("names left: %v, %v", entries, err)
		}
	})
}

func TestCopyHash(t *testing.T) {
	top := t.TempDir()
	data := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	for _, c := range []struct {
		size, limit int64
		ok          bool
	}{{0, 0, true}, {1, 1, true}, {320_000, 320_000, true}, {320_000, 319_999, false}, {1, 0, false}} {
		src, dst := file(t, top, "src"), file(t, top, "dst")
		if _, err := src.Write(data[:c.size]); err != nil {
			t.Fatal(err)
		}
		n, sum, err := CopyHash(t.Context(), dst, src, c.limit)
		if (err == nil) != c.ok {
			t.Errorf("%d of %d bytes: %v", c.size, c.limit, err)
		}
		if !c.ok {
			continue
		}
		got, _ := os.ReadFile(filepath.Join(top, "dst"))
		if n != c.size || sum != sha256.Sum256(data[:c.size]) || !bytes.Equal(got, data[:c.size]) {
			t.Errorf("%d bytes: copy of %d differs", c.size, n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := CopyHash(ctx, file(t, top, "dst"), file(t, top, "src"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func file(t *testing.T, folder, name string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestLock(t *testing.T) {
	top := t.TempDir()
	a := file(t, top, "lock")
	b, err := os.OpenFile(filepath.Join(top, "lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := Lock(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := TryLock(b); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want %v", err, ErrLocked)
	}
	if locked, err := Locked(b); !locked || err != nil {
		t.Errorf("held: got %v, %v", locked, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Lock(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	got := make(chan error)
	go func() { got <- Lock(context.Background(), b) }()
	a.Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
	c := file(t, top, "free")
	if locked, err := Locked(c); locked || err != nil {
		t.Errorf("free: got %v, %v", locked, err)
	}
	again, err := os.Open(c.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := TryLock(again); err != nil {
		t.Errorf("after Locked: %v", err)
	}
}

func TestCaseFolded(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		// Two files whose names differ in case, and hard links of one another.
		top := tree(t, "one", "Two", "two", "1")
		if err := os.Link(filepath.Join(top, "one"), filepath.Join(top, "ONE")); err != nil {
			t.Fatal(err)
		}
		if folded, err := CaseFolded(open(t, top)); folded || err != nil {
			t.Errorf("got %v, %v", folded, err)
		}
		if folded, err := CaseFolded(open(t, t.TempDir())); folded || err != nil {
			t.Errorf("an empty folder: got %v, %v", folded, err)
		}
	})
}
