package hostkey

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/agenthost/agenthost/host/internal/durable/synctest"
	"github.com/agenthost/agenthost/ledger"
)

// childVariable says what a child of these tests does, and in which folder.
const childVariable = "AGENTHOST_TEST_CHILD"

func TestMain(m *testing.M) {
	what, dir, child := strings.Cut(os.Getenv(childVariable), " ")
	if !child {
		os.Exit(m.Run())
	}
	var err error
	switch verb, argument, _ := strings.Cut(what, "="); verb {
	case "load":
		var key *ledger.Key
		if key, err = Load(dir, rand.Reader); err == nil {
			fmt.Print(key)
		}
	case "trust":
		_, err = Trust(context.Background(), dir, argument)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, said(err))
		os.Exit(1)
	}
}

// child is a process that does something in the folder.
func child(what, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+what+" "+dir)
	return cmd
}

// newDir is the name of a folder that does not exist.
func newDir(t *testing.T) string { return filepath.Join(t.TempDir(), "config", "agenthost") }

func load(t *testing.T, dir string) *ledger.Key {
	t.Helper()
	key, err := Load(dir, rand.Reader)
	if err != nil {
		t.Fatal(said(err))
	}
	return key
}

func newKey(t *testing.T, name string) *ledger.Key {
	t.Helper()
	key, err := ledger.NewKey(name, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t *testing.T, path, content string, perm fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, perm)); err != nil {
		t.Fatal(err)
	}
}

// listed is what is in a folder: names and modes.
func listed(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e.Name()+" "+info.Mode().String())
	}
	return strings.Join(list, ", ")
}

const onlyKey = "host.key -rw-------"

// TestLoad: the first use makes the key, the second has the same.
func TestLoad(t *testing.T) {
	dir := newDir(t)
	if key, err := Existing(dir); !errors.Is(err, fs.ErrNotExist) || key != nil {
		t.Errorf("got %v, %v, want none", key, err)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading made a folder: %v", err)
	}
	if list, err := Trusted(dir); len(list) != 0 || err != nil {
		t.Errorf("trusted: %v, %v", list, err)
	}
	key := load(t, dir)
	if got := key.Verifier().Name(); got != "agenthost/host" {
		t.Errorf("the key is called %q", got)
	}
	if got := listed(t, dir); got != onlyKey {
		t.Errorf("there is %s, want %s", got, onlyKey)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v, want 0700", d, info.Mode(), err)
		}
	}
	if text, err := os.ReadFile(File(dir)); err != nil || string(text) != key.Secret()+"\n" || len(text) > maxKey/2 {
		t.Errorf("the file has %d bytes, %v", len(text), err)
	}
	again, err := Load(dir, iotest.ErrReader(errors.New("asked for more")))
	if err != nil || again.Secret() != key.Secret() {
		t.Errorf("another key the second time: %v", err)
	}
	if again, err = Existing(dir); err != nil || again.Secret() != key.Secret() {
		t.Errorf("another key is read: %v", err)
	}
	// One without the end of its line is the same.
	write(t, File(dir), key.Secret(), 0o400)
	if again, err = Existing(dir); err != nil || again.Secret() != key.Secret() {
		t.Errorf("another key without newline: %v", err)
	}
}

// TestRefused: what others could have read or put there is not used, and stays as
// it is; no word of it is in what is said.
func TestRefused(t *testing.T) {
	key, other := newKey(t, Name), newKey(t, "agenthost/ho1/SES-1")
	secret := key.Secret()
	const (
		lost   = "\nput the copy you kept in its place; without one move the file away, and another key is made: trust the old verifier key then, so that what it sealed stays verified"
		closed = "\ntake that right away with chmod 600; if somebody may have read the key, move it away instead, and another is made"
	)
	file := func(content string, perm fs.FileMode) func(dir string) error {
		return func(dir string) error {
			return errors.Join(os.WriteFile(File(dir), []byte(content), 0o600), os.Chmod(File(dir), perm))
		}
	}
	plain := file(secret+"\n", 0o600)
	cases := map[string]struct {
		make func(dir string) error
		want string
	}{
		"readable by all":   {file(secret, 0o644), "DIR/host.key, the host key, is open to others (mode 0644)" + closed},
		"readable by group": {file(secret, 0o640), "DIR/host.key, the host key, is open to others (mode 0640)" + closed},
		"writable by all":   {file(secret, 0o602), "DIR/host.key, the host key, is open to others (mode 0602)" + closed},
		"empty":             {file("", 0o600), "DIR/host.key is empty" + lost},
		"a newline":         {file("\n", 0o600), "DIR/host.key does not hold a key" + lost},
		"garbage":           {file("garbage\x1b[2J\n", 0o600), "DIR/host.key does not hold a key" + lost},
		"half":              {file(secret[:60], 0o600), "DIR/host.key does not hold a key" + lost},
		"zeros":             {file(string(make([]byte, 93)), 0o600), "DIR/host.key does not hold a key" + lost},
		"two":               {file(secret+"\n"+secret+"\n", 0o600), "DIR/host.key does not hold a key" + lost},
		"two lines":         {file(secret+"\n\n", 0o600), "DIR/host.key does not hold a key" + lost},
		"broken":            {file(secret[:60]+"\r\n"+secret[60:], 0o600), "DIR/host.key does not hold a key" + lost},
		"a space before":    {file(" "+secret+"\n", 0o600), "DIR/host.key does not hold a key" + lost},
		"only its half":     {file(key.String()+"\n", 0o600), "DIR/host.key does not hold a key" + lost},
		"another hash":      {file(swapHash(secret), 0o600), "DIR/host.key does not hold a key" + lost},
		"another name":      {file(other.Secret()+"\n", 0o600), "DIR/host.key holds the key " + shortName(other.Verifier()) + ", which is not a host's (agenthost/host)" + lost},
		"too large":         {file(secret+"\n"+strings.Repeat("\n", maxKey), 0o600), "DIR/host.key has more than the 1024 bytes the host key can have\nput the file that belongs there in its place"},
		"a link": {func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/real", []byte(secret), 0o600), os.Symlink("real", File(dir)))
		}, "DIR/host.key is a symbolic link\nput the file itself in its place"},
		"a dead link": {func(dir string) error { return os.Symlink("nowhere", File(dir)) }, "DIR/host.key is a symbolic link\nput the file itself in its place"},
		"a folder":    {func(dir string) error { return os.Mkdir(File(dir), 0o700) }, "DIR/host.key is a folder, not a file\nmove it away"},
		"a FIFO":      {func(dir string) error { return syscall.Mkfifo(File(dir), 0o600) }, "DIR/host.key is a FIFO, not a file\nmove it away"},
		"a second name": {func(dir string) error {
			return errors.Join(plain(dir), os.Link(File(dir), filepath.Dir(dir)+"/copy"))
		}, "DIR/host.key has 2 names (hard links), and who reads another one reads it\nfind -inum INO finds them; remove the others"},
		"an open folder": {func(dir string) error { return errors.Join(plain(dir), os.Chmod(dir, 0o750)) }, "DIR, the folder of the host key, is open to others (mode 0750)\ntake that right away with chmod 700"},
		"a linked folder": {func(dir string) error {
			return errors.Join(plain(dir), os.Rename(dir, dir+".real"), os.Symlink(dir+".real", dir))
		}, "DIR, the folder of the host key, is a symbolic link\nname the folder it leads to with AGENTHOST_CONFIG"},
		"a folder that leads nowhere": {func(dir string) error { return errors.Join(os.Remove(dir), os.Symlink("nowhere", dir)) }, "DIR, the folder of the host key, is a symbolic link\nname the folder it leads to with AGENTHOST_CONFIG"},
		"no folder":                   {func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)) }, "DIR, which is to be the folder of the host key, is a file\nmove it away, or name another folder with AGENTHOST_CONFIG"},
	}
	if os.Geteuid() == 0 {
		foreign := "belongs to user 4711, not to user 0 who runs agenthost\nrun agenthost as user 4711, or name a folder of your own with AGENTHOST_CONFIG"
		cases["another's file"] = struct {
			make func(dir string) error
			want string
		}{func(dir string) error { return errors.Join(plain(dir), os.Chown(File(dir), 4711, -1)) }, "DIR/host.key, the host key, " + foreign}
		cases["another's folder"] = struct {
			make func(dir string) error
			want string
		}{func(dir string) error { return errors.Join(plain(dir), os.Chown(dir, 4711, -1)) }, "DIR, the folder of the host key, " + foreign}
	} else {
		t.Log("not run as root: nothing was given to another user")
	}
	for name, c := range cases {
		dir := newDir(t)
		if err := errors.Join(os.MkdirAll(dir, 0o700), c.make(dir)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := describe(t, filepath.Dir(dir))
		var st syscall.Stat_t
		if err := syscall.Lstat(File(dir), &st); err == nil {
			c.want = strings.ReplaceAll(c.want, "INO", fmt.Sprint(st.Ino))
		}
		for call, do := range map[string]func() error{
			"Load":     func() error { _, err := Load(dir, rand.Reader); return err },
			"Existing": func() error { _, err := Existing(dir); return err },
			"Trusted":  func() error { _, err := Trusted(dir); return err },
		} {
			got := strings.ReplaceAll(said(do()), dir, "DIR")
			if got != c.want {
				t.Errorf("%s: %s:\ngot  %s\nwant %s", call, name, got, c.want)
			}
			if strings.Contains(got, secret[len(secret)-44:]) || strings.Contains(got, secretPrefix) {
				t.Errorf("%s: %s: the secret is in %s", call, name, got)
			}
		}
		if after := describe(t, filepath.Dir(dir)); after != before {
			t.Errorf("%s: it was changed:\n%s\n%s", name, before, after)
		}
	}
}

// swapHash is a secret key with another hash.
func swapHash(secret string) string {
	parts := strings.SplitN(secret, "+", 5)
	parts[3] = "00000000"
	return strings.Join(parts, "+")
}

// describe is every name beneath a folder with its mode and content.
func describe(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := []byte{}
		if info.Mode().IsRegular() {
			content, err = os.ReadFile(path)
		}
		fmt.Fprintf(&b, "%s %s %q\n", path, info.Mode(), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestAtOnce: of processes that need the key for the first time at once, all have
// the same, and nothing of the others' is left.
func TestAtOnce(t *testing.T) {
	for range 5 {
		dir := newDir(t)
		said := make([]string, 12)
		var wg sync.WaitGroup
		for i := range said {
			wg.Go(func() {
				if i%2 == 0 { // half of them in this process
					if key, err := Load(dir, rand.Reader); err != nil {
						said[i] = err.Error()
					} else {
						said[i] = key.String()
					}
					return
				}
				out, err := child("load", dir).CombinedOutput()
				said[i] = string(out)
				if err != nil {
					said[i] += err.Error()
				}
			})
		}
		wg.Wait()
		for _, s := range said {
			if s != load(t, dir).String() {
				t.Errorf("one of them has %s, not %s", s, load(t, dir))
			}
		}
		if got := listed(t, dir); got != onlyKey {
			t.Errorf("there is %s, want %s", got, onlyKey)
		}
	}
}

// TestCrash: whatever a process left that was killed while it made the key, the
// next one has a key, the one that was given its name if one was, and cleans up.
func TestCrash(t *testing.T) {
	left := newKey(t, Name)
	for name, make := range map[string]func(dir string) error{
		"an empty file": func(dir string) error { return os.WriteFile(dir+"/.new-host.key-1", nil, 0o600) },
		"half a key":    func(dir string) error { return os.WriteFile(dir+"/.new-host.key-1", []byte(left.Secret()[:50]), 0o600) },
		"a whole one": func(dir string) error {
			return os.WriteFile(dir+"/.new-host.key-1", []byte(left.Secret()+"\n"), 0o600)
		},
		"several": func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/.new-host.key-1", nil, 0o600), os.WriteFile(dir+"/.new-host.key-2", nil, 0o600))
		},
		"one with its name": func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/.new-host.key-1", []byte(left.Secret()+"\n"), 0o600), os.Link(dir+"/.new-host.key-1", File(dir)))
		},
		"one with its name, and another": func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/.new-host.key-1", []byte(left.Secret()+"\n"), 0o600), os.Link(dir+"/.new-host.key-1", File(dir)),
				os.WriteFile(dir+"/.new-host.key-2", nil, 0o600))
		},
	} {
		dir := newDir(t)
		if err := errors.Join(os.MkdirAll(dir, 0o700), make(dir)); err != nil {
			t.Fatal(err)
		}
		key := load(t, dir)
		if named := strings.Contains(name, "its name"); named != (key.Secret() == left.Secret()) {
			t.Errorf("%s: the key is the one that was left: %t, want %t", name, !named, named)
		}
		if got := listed(t, dir); got != onlyKey {
			t.Errorf("%s: there is %s, want %s", name, got, onlyKey)
		}
		if again := load(t, dir); again.Secret() != key.Secret() {
			t.Errorf("%s: another key the second time", name)
		}
	}
}

// TestKilled: processes are killed while they make the key, at any point.
func TestKilled(t *testing.T) {
	dir := newDir(t)
	names := map[string]bool{}
	for i := range 40 {
		if err := os.Remove(File(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		cmd := child("load", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range i * 1000 {
			syscall.Getpid()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() //nolint:errcheck // it was killed, or had ended
		names[load(t, dir).String()] = true
		if info, err := os.Lstat(File(dir)); err != nil || info.Sys().(*syscall.Stat_t).Nlink != 1 {
			t.Fatalf("the key has several names: %v", err)
		}
	}
	t.Logf("%d keys were made", len(names))
}

// TestSyncs: the key is on the disk before its name, and its name before it is
// used; one that is there takes no sync.
func TestSyncs(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "config", "agenthost")
	var got []string
	for _, name := range synctest.Of(t, child("load", dir)) {
		name = strings.TrimPrefix(name, top)
		if at := strings.Index(name, "-"); at >= 0 && strings.Contains(name, "host.key-") {
			name = name[:strings.LastIndexByte(name, '-')]
		}
		got = append(got, name)
	}
	want := []string{"", "/config", "", "/config/agenthost/.new-host.key", "/config/agenthost"}
	if !slices.Equal(got, want) {
		t.Errorf("synced %q, want %q", got, want)
	}
	if got := synctest.Of(t, child("load", dir)); len(got) != 0 {
		t.Errorf("synced %q to read it", got)
	}
	// As long as it has the name it was made under nobody knows that it is synced.
	if err := os.Link(File(dir), dir+"/.new-host.key-1"); err != nil {
		t.Fatal(err)
	}
	if got := synctest.Of(t, child("load", dir)); !slices.Equal(got, []string{dir}) {
		t.Errorf("synced %q, want the folder", got)
	}
}

// TestNoRandom: a key is made of random bytes, or not at all.
func TestNoRandom(t *testing.T) {
	dir := newDir(t)
	for n := range 40 {
		_, err := Load(dir, io.LimitReader(rand.Reader, int64(n)))
		if err == nil {
			t.Fatalf("a key was made of %d bytes", n)
		}
		if got := listed(t, dir); got != "" {
			t.Errorf("%d bytes: left %s", n, got)
		}
	}
	load(t, dir)
}
