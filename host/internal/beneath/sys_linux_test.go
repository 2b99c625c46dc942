package beneath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSwapRace opens d/file while somebody exchanges the folder d with a link
// to a folder that holds a secret, and e/file while it is exchanged with a link
// to the secret.
func TestSwapRace(t *testing.T) {
	const opens = 40_000
	both(t, func(t *testing.T, open func(*testing.T, string) *Dir) {
		top := tree(t, "secret/file", "in/d/file", "in/s -> ../secret", "in/e/file", "in/e/l -> ../../secret/file")
		d := open(t, filepath.Join(top, "in"))
		var stop atomic.Bool
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop.Store(true)
		for _, pair := range [][2]string{{"in/d", "in/s"}, {"in/e/file", "in/e/l"}} {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for !stop.Load() {
					unix.Renameat2(unix.AT_FDCWD, filepath.Join(top, pair[0]), unix.AT_FDCWD, filepath.Join(top, pair[1]), unix.RENAME_EXCHANGE)
				}
			}()
		}
		var good, links, gone int
		for i := range opens {
			name := [2]string{"d/file", "e/file"}[i%2]
			f, err := d.OpenFile(name, os.O_RDONLY, 0)
			switch {
			case errors.Is(err, ErrLink):
				links++
				continue
			case errors.Is(err, fs.ErrNotExist):
				gone++
				continue
			case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOTDIR):
				continue
			case err != nil:
				t.Fatal(err)
			}
			var buf [32]byte
			n, _ := f.Read(buf[:])
			f.Close()
			if got := string(buf[:n]); got != "in/"+name {
				t.Fatalf("%s: read %q through a link", name, got)
			}
			good++
		}
		t.Logf("%d read, %d links refused, %d missing", good, links, gone)
	})
}

func TestStorage(t *testing.T) {
	for path, want := range map[string]string{
		"/proc/self/status": "proc is not a filesystem that stores files",
		"/sys/kernel":       "sysfs is not a filesystem that stores files",
		"/dev/pts":          "devpts is not a filesystem that stores files",
		t.TempDir():         "",
	} {
		f, err := os.Open(path)
		if err != nil {
			t.Logf("%s is not here: %v", path, err)
			continue
		}
		got := ""
		if err := Storage(f); err != nil {
			got = err.Error()
		}
		f.Close()
		if got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	for magic, want := range map[uint32]string{
		0xef53: "", 0x9123683e: "", 0x58465342: "", 0x1021994: "", 0x794c7630: "", 0x6969: "", 0x65735546: "",
		0x9fa0: "proc ", 0x62656572: "sysfs ", 0x27e0eb: "cgroup ", 0x63677270: "cgroup2 ", 0x64626720: "debugfs ", 0x74726163: "tracefs ",
		0xcafe4a11: "bpf ", 0x73636673: "securityfs ", 0x62656570: "configfs ", 0x6165676c: "pstore ", 0xde5e81e4: "efivarfs ",
		0xf97cff8c: "selinuxfs ", 0x19800202: "mqueue ", 0x958458f6: "hugetlbfs ",
		0x4d44: "vfat ", 0x2011bab0: "exfat ", 0x5346544e: "ntfs ", 0x7366746e: "ntfs3 ", 0xff534d42: "cifs ", 0xfe534d42: "smb2 ", 0x482b: "hfsplus ",
	} {
		got := ""
		if err := judgeMagic(magic); err != nil {
			got = err.Error()
		}
		if (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%#x: got %q, want %q", magic, got, want)
		}
	}
}

func TestXattr(t *testing.T) {
	f := file(t, t.TempDir(), "f")
	for _, name := range []string{XattrCapability, XattrACLAccess, "user.test"} {
		if has, err := HasXattr(f, name); has || err != nil {
			t.Errorf("%s: got %v, %v", name, has, err)
		}
		if err := RemoveXattr(f, name); err != nil {
			t.Errorf("removing the missing %s: %v", name, err)
		}
	}
	switch err := unix.Fsetxattr(int(f.Fd()), "user.test", []byte("x"), 0); {
	case errors.Is(err, unix.ENOTSUP):
		t.Skip("this filesystem has no extended attributes: ", err)
	case err != nil:
		t.Fatal(err)
	}
	if has, err := HasXattr(f, "user.test"); !has || err != nil {
		t.Errorf("got %v, %v", has, err)
	}
	if err := RemoveXattr(f, "user.test"); err != nil {
		t.Error(err)
	}
	if has, err := HasXattr(f, "user.test"); has || err != nil {
		t.Errorf("after removing: got %v, %v", has, err)
	}
}

// TestCloseRace: a call that meets Close fails; it never meets a descriptor
// that has become another file.
func TestCloseRace(t *testing.T) {
	top := tree(t, "in/file", "other/file")
	for range 200 {
		d, err := Open(filepath.Join(top, "in"))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				f, err := d.OpenFile("file", os.O_RDONLY, 0)
				if err != nil {
					if !errors.Is(err, fs.ErrClosed) {
						t.Error(err)
					}
					return
				}
				var buf [16]byte
				n, _ := f.Read(buf[:])
				f.Close()
				if string(buf[:n]) != "in/file" {
					t.Errorf("read %q", buf[:n])
				}
			}
		}()
		d.Close()
		other, err := Open(filepath.Join(top, "other"))
		if err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		other.Close()
	}
}

func TestAllocations(t *testing.T) {
	d, err := Open(tree(t, "a/f"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for op, c := range map[string]struct {
		most float64
		do   func()
	}{
		"Stat":     {3, func() { d.Stat("a/f") }},
		"OpenFile": {8, func() { f, _ := d.OpenFile("a/f", os.O_RDONLY, 0); f.Close() }},
		"CheckName": {0, func() {
			if CheckName("a/b/c") != nil {
				t.Error("refused")
			}
		}},
	} {
		if got := testing.AllocsPerRun(100, c.do); got > c.most {
			t.Errorf("%s: %v allocations, want at most %v", op, got, c.most)
		} else {
			t.Logf("%s: %v allocations", op, got)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	top := b.TempDir()
	if err := os.MkdirAll(filepath.Join(top, "a/b"), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "a/b/f"), nil, 0o644); err != nil {
		b.Fatal(err)
	}
	fast, _ := open(top, false)
	slow, _ := open(top, true)
	for name, f := range map[string]func() (*os.File, error){
		"os":         func() (*os.File, error) { return os.Open(filepath.Join(top, "a/b/f")) },
		"openat2":    func() (*os.File, error) { return fast.OpenFile("a/b/f", os.O_RDONLY, 0) },
		"by_element": func() (*os.File, error) { return slow.OpenFile("a/b/f", os.O_RDONLY, 0) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f, err := f()
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
	}
}
