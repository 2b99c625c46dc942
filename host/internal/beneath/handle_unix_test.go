//go:build linux || darwin

package beneath

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"
)

// TestHandle reads through a Handle what is there, and after Close nothing: its
// descriptor may be another file's by then.
func TestHandle(t *testing.T) {
	both(t, func(t *testing.T, open func(t *testing.T, path string) *Dir) {
		d := open(t, tree(t, "1234567/x"))
		h, err := d.OpenRead("1234567/x")
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(h); string(data) != "1234567/x" || err != nil {
			t.Errorf("read %q, %v", data, err)
		}
		buf := make([]byte, 4)
		for off, want := range map[int64]string{0: "1234 <nil>", 5: "67/x <nil>", 7: "/x EOF", 9: " EOF", 99: " EOF"} {
			n, err := h.ReadAt(buf, off)
			if got := fmt.Sprint(string(buf[:n]), " ", err); got != want {
				t.Errorf("read at %d: %s, want %s", off, got, want)
			}
		}
		before, err := d.Stat("1234567/x")
		if info, e := h.Stat(); err != nil || e != nil || !info.Same(before) || info.Nlink != 1 || info.Size != 9 {
			t.Errorf("%+v, %v, want %+v", info, e, before)
		}
		if err := h.Storage(); err != nil {
			t.Error(err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		for what, call := range map[string]func() error{
			"stat":    func() error { _, err := h.Stat(); return err },
			"storage": h.Storage,
			"read":    func() error { _, err := h.Read(buf); return err },
			"read at": func() error { _, err := h.ReadAt(buf, 0); return err },
			"close":   h.Close,
		} {
			if err := call(); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%s after Close: %v", what, err)
			}
		}
		if f := h.File("f"); f != nil {
			t.Error("a closed handle gave a file")
		}
	})
}

// TestHandleFile hands a descriptor over: it is the file's then.
func TestHandleFile(t *testing.T) {
	d, err := Open(tree(t, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	h, err := d.OpenRead("f")
	if err != nil {
		t.Fatal(err)
	}
	f := h.File("f")
	if err := h.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("close after File: %v", err)
	}
	if _, err := f.Stat(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestStatEach says of each name what Stat does, in any order and for any name.
func TestStatEach(t *testing.T) {
	both(t, func(t *testing.T, open func(t *testing.T, path string) *Dir) {
		d := open(t, tree(t, "a/1", "a/2", "a/b/3", "c/4", "5", "a/link -> 1", "d -> a"))
		names := []string{"5", "a/1", "a/2", "a/absent", "a/link", "a/b/3", "a/b", "absent/x", "absent/y", "c/4", "a/1", "d/1", "d", "a/../5", "/a/1", "a/1/x", "", "."}
		calls := 0
		d.StatEach(names, func(i int, got Info, err error) {
			if i != calls {
				t.Errorf("call %d is about %d", calls, i)
			}
			calls++
			want, wantErr := d.Stat(names[i])
			if fmt.Sprint(err) != fmt.Sprint(wantErr) || got != want {
				t.Errorf("%q: %+v, %v, want %+v, %v", names[i], got, err, want, wantErr)
			}
		})
		if calls != len(names) {
			t.Errorf("%d calls for %d names", calls, len(names))
		}
		d.MountEach(names, func(i int, got Info, mount uint64, err error) {
			calls--
			want, wantErr := d.Stat(names[i])
			if fmt.Sprint(err) != fmt.Sprint(wantErr) || got != want {
				t.Errorf("%q: %+v, %v, want %+v, %v", names[i], got, err, want, wantErr)
			}
			if want, err := d.Mount(names[i]); mount != want {
				t.Errorf("%q: mount %d, want %d, %v", names[i], mount, want, err)
			}
		})
		if calls != 0 {
			t.Errorf("%d calls for %d names", len(names)-calls, len(names))
		}
	})
}
