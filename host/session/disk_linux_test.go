package session

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/agenthost/agenthost/host/record"
)

// TestUnwritableTarget: a folder that cannot be written to is an error before
// turn.end, and nothing is published.
func TestUnwritableTarget(t *testing.T) {
	ws := t.TempDir()
	write(t, filepath.Join(ws, "shut/a"), "old")
	readOnly(t, filepath.Join(ws, "shut"))
	for _, path := range []string{"shut/b", "shut/new/c"} {
		r := openRoot(t, Options{Workspace: ws})
		s := create(t, r, ID("SES-"+strings.ReplaceAll(path, "/", "-")))
		findings, conflicts, err := publish(t.Context(), s, []out{{path: "first", content: "x"}, {path: path, content: "x"}})
		if err == nil || !strings.HasPrefix(err.Error(), "publishing "+path+": write shut: ") || len(findings)+len(conflicts) > 0 {
			t.Errorf("%s: %v, %v, %v", path, findings, conflicts, err)
		}
		want(t, filepath.Join(ws, "first"), "")
		if s.Turns() != 0 {
			t.Error("the turn ended")
		}
		if err := evidence(s); err != nil {
			t.Fatal(err)
		}
		if _, err := s.End(record.TurnEnd{Status: record.StatusError, Code: record.CodeHost}); err != nil {
			t.Error(err)
		}
		if kept, err := s.staging.Block(); !kept || err != nil {
			t.Error(kept, err)
		}
	}
}

// readOnly makes a folder one that nobody, not even root, can write to.
func readOnly(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if err := os.Chmod(path, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(path, 0o755) })
		return
	}
	bind(t, path, path)
	if err := syscall.Mount("", path, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skip("nothing can be mounted read-only here: ", err)
	}
}

func bind(t *testing.T, from, to string) {
	t.Helper()
	if err := syscall.Mount(from, to, "", syscall.MS_BIND, ""); err != nil {
		t.Skip("nothing can be mounted here: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(to, syscall.MNT_DETACH) })
}

// TestOtherMount: a target on another mount of the same filesystem, which
// looks like the same device but cannot be renamed to.
func TestOtherMount(t *testing.T) {
	ws, behind := t.TempDir(), t.TempDir()
	write(t, filepath.Join(behind, "a"), "old")
	if err := os.Mkdir(filepath.Join(ws, "m"), 0o755); err != nil {
		t.Fatal(err)
	}
	bind(t, behind, filepath.Join(ws, "m"))
	var steps []string
	r := openRoot(t, Options{Workspace: ws, Step: func(step string) { steps = append(steps, step) }})
	mustPublish(t, create(t, r, id1), []out{{path: "m/a", content: "new", base: "old"}, {path: "m/n/b", content: "b", executable: true}})
	want(t, filepath.Join(behind, "a"), "new")
	want(t, filepath.Join(behind, "n/b"), "b")
	if got := names(t, behind); !slices.Equal(sorted(got), []string{"a", "n/", "n/b"}) {
		t.Errorf("left over: %q", got)
	}
	if !slices.Contains(steps, "copy beside") {
		t.Errorf("nothing was copied before the commit: %q", steps)
	}

	// A file that is a mount point cannot be replaced.
	write(t, filepath.Join(ws, "single"), "old")
	bind(t, filepath.Join(behind, "a"), filepath.Join(ws, "single"))
	_, conflicts, err := publish(t.Context(), create(t, r, id2), []out{{path: "single", content: "x", base: "new"}})
	if want := (Problem{"single", record.CodeConflict, "a mount point"}); err != nil || !slices.Equal(conflicts, []Problem{want}) {
		t.Errorf("got %v, %v, want %v", conflicts, err, want)
	}
}

// TestMountedAfterCheck: a mount that appears after the check is met by the
// rename, which copies.
func TestMountedAfterCheck(t *testing.T) {
	ws, behind := t.TempDir(), t.TempDir()
	write(t, filepath.Join(ws, "m/a"), "old")
	write(t, filepath.Join(behind, "a"), "old")
	r := openRoot(t, Options{Workspace: ws, Step: func(step string) {
		if step == "commit turn.end" {
			bind(t, behind, filepath.Join(ws, "m"))
		}
	}})
	s := create(t, r, id1)
	mustPublish(t, s, []out{{path: "m/a", content: "new", base: "old"}})
	want(t, filepath.Join(behind, "a"), "new")
	if got := names(t, behind); !slices.Equal(got, []string{"a"}) {
		t.Errorf("left over: %q", got)
	}
}

// TestIrreplaceable: files that nobody may replace are an error before
// turn.end.
func TestIrreplaceable(t *testing.T) {
	ws := t.TempDir()
	path := filepath.Join(ws, "a")
	write(t, path, "old")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const setFlags, immutable = 0x40086602, int32(0x10) // FS_IOC_SETFLAGS, FS_IMMUTABLE_FL
	flags := func(set int32) error {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), setFlags, uintptr(unsafe.Pointer(&set)))
		if errno != 0 {
			return errno
		}
		return nil
	}
	if err := flags(immutable); err != nil {
		t.Skip("files cannot be made immutable here: ", err)
	}
	defer flags(0)
	r := openRoot(t, Options{Workspace: ws})
	_, _, err = publish(t.Context(), create(t, r, id1), []out{{path: "a", content: "new", base: "old"}})
	if want := "publishing a: replace a: operation not permitted"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	want(t, path, "old")
}

// TestFullDisk fills the disk before each step: the turn is published as a
// whole, or not at all, and the record stays sound.
func TestFullDisk(t *testing.T) {
	for kind, tops := range map[string]func(small string) (ws, root string){
		"root":      func(small string) (string, string) { return t.TempDir(), filepath.Join(small, "root") },
		"workspace": func(small string) (string, string) { return small, filepath.Join(t.TempDir(), "root") },
		"both":      func(small string) (string, string) { return small, filepath.Join(small, DefaultRoot) },
	} {
		var failed []string
		for at, more := 1, true; more; at++ {
			small := t.TempDir()
			if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=512k,mode=0755"); err != nil {
				t.Skip("no small filesystem can be mounted here: ", err)
			}
			ws, root := tops(small)
			write(t, filepath.Join(ws, "docs/old.md"), "old")
			write(t, filepath.Join(ws, "same.md"), "the same")
			n, full := 0, ""
			r := openRoot(t, Options{Workspace: ws, Root: root, Step: func(step string) {
				if n++; n == at {
					full = step
					fill(t, filepath.Join(small, "filler"))
				}
			}})
			s := create(t, r, id1)
			findings, conflicts, err := publish(t.Context(), s, killed())
			if err != nil || len(findings) > 0 {
				failed = append(failed, full)
			}
			if len(conflicts) > 0 || err == nil && s.Turns() != 1 {
				t.Errorf("%s, %s: %v, %d turns", kind, full, conflicts, s.Turns())
			}
			s.Leave()
			if err := os.Remove(filepath.Join(small, "filler")); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			settled(t, ws, root)
			r.Close()
			if err := syscall.Unmount(small, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
			more = full != ""
		}
		got := strings.Join(slices.Compact(failed), ", ")
		if want := map[string]string{
			"root":      "copy, seal evidence, lock, check, prepare, write marker, copy beside, commit turn.end",
			"workspace": "copy, seal evidence, lock, check, prepare, write marker, copy beside",
			"both":      "copy, seal evidence, lock, check, prepare, write marker, commit turn.end",
		}[kind]; got != want {
			t.Errorf("a full %s was met at %s, want %s", kind, got, want)
		}
	}
}

// fill takes the last byte of a filesystem.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
