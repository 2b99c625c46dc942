package compile

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/internal/cache"
)

// noChildren fails if a child of this process still runs.
func noChildren(t *testing.T) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Log("this kernel does not tell children")
	}
	for _, task := range tasks {
		if b, err := os.ReadFile(task); err == nil && len(strings.TrimSpace(string(b))) > 0 {
			t.Errorf("children still run: %s", b)
		}
	}
}

// A folder that others could write to holds no code that is executed.
func TestUnsafeFolders(t *testing.T) {
	root := os.Geteuid() == 0
	for _, c := range []struct {
		name, why string
		spoil     func(dir string) error
		rootOnly  bool
	}{
		{"mode 0755", "can be entered by others (mode 0755)", func(dir string) error { return os.Chmod(dir, 0o755) }, false},
		{"mode 0701", "can be entered by others (mode 0701)", func(dir string) error { return os.Chmod(dir, 0o701) }, false},
		{"a link", "is not a folder", func(dir string) error {
			return errors.Join(os.Rename(dir, dir+"-real"), os.Symlink(dir+"-real", dir))
		}, false},
		{"of another user", "belongs to another user", func(dir string) error { return os.Chown(dir, 12345, 12345) }, true},
		{"its native code, for others", "", func(dir string) error { return os.Chmod(dir+"/native", 0o770) }, false},
		{"its modules, a link", "", func(dir string) error {
			return errors.Join(os.Rename(dir+"/modules", dir+"/other"), os.Symlink("other", dir+"/modules"))
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.rootOnly && !root {
				t.Skip("only root can give a folder away")
			}
			dir := filepath.Join(t.TempDir(), "cache")
			if _, err := OpenCache(dir, roomy); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			_, err := OpenCache(dir, roomy)
			var unsafe *cache.UnsafeError
			if !errors.As(err, &unsafe) {
				t.Fatalf("got %v, want that it is unsafe", err)
			}
			if want := "the cache folder " + dir + " " + c.why + "; it holds code that is executed"; c.why != "" && err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func TestFileInTheWay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCache(dir, roomy); err == nil || !strings.HasPrefix(err.Error(), "make the cache: ") {
		t.Errorf("got %v", err)
	}
}

// A full disk is not the module's fault, and leaves nothing half made.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	switch err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k,mode=700"); {
	case errors.Is(err, syscall.EPERM):
		t.Skipf("mounting a small disk: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	c, err := OpenCache(filepath.Join(dir, "cache"), roomy)
	if err != nil {
		t.Fatal(err)
	}
	load := loader(t, c)
	wasm := slow(100)
	err = load(t.Context(), wasm, nil)
	if err == nil || err.Error() != "write the cache: no space left on device" {
		t.Errorf("got %v", err)
	}
	if names := left(t, c); len(names) != 0 {
		t.Errorf("left %q", names)
	}
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatalf("making the disk larger: %v", err)
	}
	if err := load(t.Context(), wasm, nil); err != nil {
		t.Errorf("with room: %v", err)
	}
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatalf("making the disk read-only: %v", err)
	}
	if err := load(t.Context(), wasm, nil); err != nil {
		t.Errorf("what is there cannot be read from a read-only disk: %v", err)
	}
	if err := load(t.Context(), slow(3), nil); err == nil || !strings.HasPrefix(err.Error(), "write the cache: ") {
		t.Errorf("got %v", err)
	}
}

// A program that does not call Helper is told so, and does not start itself
// without end.
func TestProgramWithoutHelper(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "nohelper")
	if out, err := exec.Command("go", "build", "-o", exe, "./testdata/nohelper").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const missing = "did not answer as a compiler: its main must call host.Helper before anything else"
	for _, says := range []string{"", "Hello.\n", strings.Repeat("long ", 10000)} {
		started := time.Now()
		cmd := exec.Command(exe, filepath.Join(t.TempDir(), "cache"), says)
		cmd.Dir = t.TempDir() // a child of it takes its first argument for the folder, too
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		got := strings.TrimPrefix(string(out), says)
		if want := "compile in a child: nohelper " + missing + "\n"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		t.Logf("told after %v: %s", time.Since(started), got)
	}
}

// A child that is started in another way does nothing.
func TestChildArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"x"}, {"x", "y", "z"}, {"x", "1", "z"}} {
		if status := Child(args, strings.NewReader(""), os.Stdout); status != 2 {
			t.Errorf("%q: got %d, want 2", args, status)
		}
	}
}
