package beneath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRights: what can be told of a rename before it is tried.
func TestRights(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		top := tree(t, "d/f", "l -> d", "shut/f", "frozen/f", "sticky/f")
		d := open(t, top)
		for name, do := range map[string]func(string) error{"Writable": d.Writable, "Mount": func(n string) error { _, err := d.Mount(n); return err }} {
			for path, want := range map[string]error{"d": nil, ".": nil, "none": fs.ErrNotExist, "l/d": ErrLink, "../d": ErrEscapes} {
				if err := do(path); !errors.Is(err, want) {
					t.Errorf("%s(%q): got %v, want %v", name, path, err, want)
				}
			}
		}
		for path, want := range map[string]error{"d/f": nil, "d/none": fs.ErrNotExist, "l/f": ErrLink, "": ErrName} {
			if err := d.Replaceable(path); !errors.Is(err, want) {
				t.Errorf("Replaceable(%q): got %v, want %v", path, err, want)
			}
		}
		if err := d.Writable("d/f"); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("a file is a writable folder: %v", err)
		}
		if os.Geteuid() != 0 {
			if err := os.Chmod(filepath.Join(top, "shut"), 0o555); err != nil {
				t.Fatal(err)
			}
			defer os.Chmod(filepath.Join(top, "shut"), 0o755)
			if err := errors.Join(d.Writable("shut"), d.Replaceable("shut/f")); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("got %v", err)
			}
			t.Skip("only root can make files immutable and mount")
		}
		t.Run("immutable", func(t *testing.T) { immutable(t, d, top) })
		t.Run("mount", func(t *testing.T) { mounted(t, d, top) })
	})
}

func immutable(t *testing.T, d *Dir, top string) {
	for _, name := range []string{"frozen", "d/f"} {
		f, err := os.Open(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		switch err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, unix.STATX_ATTR_IMMUTABLE); {
		case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EPERM):
			t.Skip("files cannot be made immutable here: ", err)
		case err != nil:
			t.Fatal(err)
		}
		defer unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0)
	}
	for what, err := range map[string]error{"folder": d.Writable("frozen"), "in it": d.Replaceable("frozen/f"), "file": d.Replaceable("d/f")} {
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: got %v, want %v", what, err, unix.EPERM)
		}
	}
}

func mounted(t *testing.T, d *Dir, top string) {
	switch err := unix.Mount(filepath.Join(top, "d"), filepath.Join(top, "shut"), "", unix.MS_BIND, ""); {
	case errors.Is(err, unix.EPERM):
		t.Skip("nothing can be mounted here: ", err)
	case err != nil:
		t.Fatal(err)
	}
	defer unix.Unmount(filepath.Join(top, "shut"), unix.MNT_DETACH)
	a, errA := d.Mount("d")
	b, errB := d.Mount("shut")
	c, errC := d.Mount("shut/f")
	if a == b || b != c || errors.Join(errA, errB, errC) != nil {
		t.Errorf("mounts %d, %d, %d: %v", a, b, c, errors.Join(errA, errB, errC))
	}
}

// TestSticky: in a folder with the sticky bit only owners replace files.
func TestSticky(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of others")
	}
	top := tree(t, "s/f", "s/mine")
	for path, uid := range map[string]int{"s": 1, "s/f": 2, "s/mine": 3} {
		if err := os.Chown(filepath.Join(top, path), uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Chmod(filepath.Join(top, "s"), 0o1777); err != nil {
		t.Fatal(err)
	}
	d, err := Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	folder, _ := d.Stat("s")
	for _, c := range []struct {
		name string
		uid  uint32
		want bool
	}{{"s/f", 0, true}, {"s/f", 1, true}, {"s/f", 2, true}, {"s/f", 3, false}, {"s/mine", 3, true}} {
		file, _ := d.Stat(c.name)
		if got := owns(c.uid, folder.Mode&fs.ModeSticky != 0, folder.UID, file.UID); got != c.want {
			t.Errorf("user %d replaces %s: got %v, want %v", c.uid, c.name, got, c.want)
		}
	}
}

// TestChmod sets modes, also where the kernel has no call that leaves links alone.
func TestChmod(t *testing.T) {
	both(t, func(t *testing.T, open func(t *testing.T, path string) *Dir) {
		top := tree(t, "d/f", "d/sub/f")
		d := open(t, top)
		if err := os.Symlink("f", filepath.Join(top, "d/link")); err != nil {
			t.Fatal(err)
		}
		for _, way := range []struct {
			what  string
			chmod func(name string, mode fs.FileMode) error
		}{
			{"chmod", d.Chmod},
			{"chmod of what is held", func(name string, mode fs.FileMode) error {
				return d.at(name, func(fd int, base string) error { return chmodHeld(fd, base, uint32(mode)) })
			}},
		} {
			for _, name := range []string{"d/f", "d/sub"} {
				for _, mode := range []fs.FileMode{0, 0o700, 0o640} {
					if err := way.chmod(name, mode); err != nil {
						t.Fatalf("%s %s %o: %v", way.what, name, mode, err)
					}
					if info, err := d.Stat(name); err != nil || info.Mode.Perm() != mode {
						t.Errorf("%s %s %o: it is %v, %v", way.what, name, mode, info.Mode, err)
					}
				}
			}
			if err := way.chmod("d/link", 0o600); !errors.Is(err, ErrLink) {
				t.Errorf("%s of a link: %v", way.what, err)
			}
			if err := way.chmod("d/absent", 0o600); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s of nothing: %v", way.what, err)
			}
			if info, err := d.Stat("d/f"); err != nil || info.Mode.Perm() != 0o640 {
				t.Errorf("%s: what the link leads to is %v, %v", way.what, info.Mode, err)
			}
		}
		for _, mode := range []fs.FileMode{0, 0o700} {
			if err := d.Chmod(".", mode); err != nil {
				t.Fatal(err)
			}
			if info, err := d.Stat("."); err != nil || info.Mode.Perm() != mode {
				t.Errorf("the folder itself is %v, %v", info.Mode, err)
			}
		}
		if err := d.Chmod("d/f", fs.ModeSetuid|0o755); err != nil {
			t.Fatal(err)
		}
		if info, _ := d.Stat("d/f"); info.Mode != 0o755 {
			t.Errorf("it is %v", info.Mode)
		}
	})
}
