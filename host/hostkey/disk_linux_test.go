package hostkey

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

// mount mounts a filesystem of 8 KiB in an empty folder.
func mount(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8k,mode=0700" /* two pages of 4 KiB */); err != nil {
		unmountable(t, err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// unmountable skips a test where this user may not mount, and fails it for any
// other reason.
func unmountable(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, fs.ErrPermission) {
		t.Fatal(err)
	}
	t.Skip("this user may not mount here: ", err)
}

// TestFull: on a full disk there is no key and nothing of one; with room there is.
func TestFull(t *testing.T) {
	dir := newDir(t)
	mount(t, dir)
	if err := os.WriteFile(dir+"/full", make([]byte, 8<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "the host key cannot be kept in DIR/host.key: no space left on device\nmake room there and the folder writable, or name another folder with AGENTHOST_CONFIG"
	_, err := Load(dir, rand.Reader)
	if got := strings.ReplaceAll(said(err), dir, "DIR"); got != want || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := listed(t, dir), "full -rw-------"; got != want {
		t.Errorf("there is %s, want %s", got, want)
	}
	if err := os.Truncate(dir+"/full", 0); err != nil {
		t.Fatal(err)
	}
	load(t, dir)

	// The list stays what it was, too.
	first, second := newKey(t, Name).String(), newKey(t, Name).String()
	if err := errors.Join(os.Remove(dir+"/full"), os.Remove(File(dir))); err != nil {
		t.Fatal(err)
	}
	if _, err := Trust(t.Context(), dir, first); err != nil {
		t.Fatal(said(err))
	}
	if err := os.WriteFile(dir+"/full", bytes.Repeat([]byte("x"), 4<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Trust(t.Context(), dir, second)
	if got, want := strings.ReplaceAll(said(err), dir, "DIR"), strings.Replace(want, "the host key cannot be kept in DIR/host.key", "the list of trusted hosts cannot be kept in DIR/trusted_hosts", 1); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	list, err := Trusted(dir)
	if err != nil || len(list) != 1 || list[0].String() != first {
		t.Errorf("trusted: %v, %v", list, err)
	}
	if got, want := listed(t, dir), "full -rw-------, trusted_hosts -rw-------, trusted_hosts.lock -rw-------"; got != want {
		t.Errorf("there is %s, want %s", got, want)
	}
}

// TestReadOnly: a key that is there serves where nothing can be written, and where
// there is none that is said.
func TestReadOnly(t *testing.T) {
	dir := newDir(t)
	key := load(t, dir)
	readOnly(t, dir)
	if again := load(t, dir); again.Secret() != key.Secret() {
		t.Error("another key")
	}
	if list, err := Trusted(dir); err != nil || len(list) != 1 {
		t.Errorf("trusted: %v, %v", list, err)
	}
	empty := newDir(t)
	if err := os.MkdirAll(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	readOnly(t, empty)
	why := "read-only file system"
	if os.Geteuid() != 0 {
		why = "permission denied"
	}
	want := "the host key cannot be kept in DIR/host.key: " + why + "\nmake room there and the folder writable, or name another folder with AGENTHOST_CONFIG"
	_, err := Load(empty, rand.Reader)
	if got := strings.ReplaceAll(said(err), empty, "DIR"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	_, err = Load(empty+"/sub", rand.Reader)
	if got, want := strings.ReplaceAll(said(err), empty, "DIR"), strings.ReplaceAll(want, "DIR", "DIR/sub"); !strings.HasSuffix(got, want[strings.Index(want, "\n"):]) || !strings.Contains(got, why) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	_, err = Trust(t.Context(), empty, newKey(t, Name).String())
	if got, want := strings.ReplaceAll(said(err), empty, "DIR"), strings.Replace(want, "the host key cannot be kept in DIR/host.key", "the list of trusted hosts cannot be kept in DIR/trusted_hosts", 1); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := listed(t, empty); got != "" {
		t.Errorf("there is %s", got)
	}
}

// readOnly has nothing be written in a folder for the length of a test.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(dir, 0o700) })
		return
	}
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		unmountable(t, err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		unmountable(t, err)
	}
}
