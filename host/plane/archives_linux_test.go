package plane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// TestOrphan: what stands where a package is to be installed is not taken for
// rubbish.
func TestOrphan(t *testing.T) {
	f := newFixture(t)
	write(t, filepath.Join(f.path, "planes/ho1/installed/PKG-A/mine"), "mine")
	want(t, f.refused(spec{id: "PKG-A"}, InstallOptions{}),
		"integrity: planes/ho1/installed/PKG-A is there, but nothing of that id is installed; find out what it is and move it away")
}

// TestArchives: the file that is kept is the package that was read.
func TestArchives(t *testing.T) {
	f := newFixture(t)
	a, b := prepare(t, "", spec{id: "PKG-A"}), prepare(t, "", spec{id: "PKG-B"})
	before := tree(t, f.path)
	folder := t.TempDir()
	junk := filepath.Join(folder, "junk")
	write(t, junk, "junk")
	for path, text := range map[string]string{
		b.path: "package: the archive was changed after it was read; look at it again",
		junk:   "package: the archive was changed after it was read; look at it again",
		folder: "package: " + folder + " is not a file; give the file that agenthost package pack wrote",
	} {
		f.change(func(c *Change) {
			_, err := c.Install(a.pkg, path, InstallOptions{})
			want(t, f.refusal(err), text)
			_, err = c.Store(a.pkg, path)
			want(t, f.refusal(err), text)
		})
		differ(t, text, tree(t, f.path), before)
	}
	f.change(func(c *Change) {
		if _, err := c.Install(a.pkg, filepath.Join(folder, "gone"), InstallOptions{}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		for n, made := range []bool{true, false} {
			if got, err := c.Store(a.pkg, a.path); got != made || err != nil {
				t.Errorf("stored %d: %v, %v", n, got, err)
			}
		}
		// One that was damaged is stored again.
		write(t, filepath.Join(f.path, archiveName("PKG-A")), "junk")
		if made, err := c.Store(a.pkg, a.path); !made || err != nil {
			t.Errorf("damaged: %v, %v", made, err)
		}
		// From its own place.
		own := filepath.Join(f.path, archiveName("PKG-A"))
		if _, err := c.Install(a.pkg, own, InstallOptions{}); err != nil {
			t.Error(err)
		}
		// Installing it again restores what is damaged in the store.
		write(t, own, "junk")
		if out, err := c.Install(a.pkg, a.path, InstallOptions{}); out.Same || err != nil {
			t.Errorf("damaged: %+v, %v", out, err)
		}
		if out, err := c.Install(a.pkg, a.path, InstallOptions{}); !out.Same || err != nil {
			t.Errorf("whole: %+v, %v", out, err)
		}
		// An archive that is newer than what is installed stays.
		newer := prepare(t, "", spec{id: "PKG-A", version: "2.0.0"})
		if _, err := c.Store(newer.pkg, newer.path); err != nil {
			t.Error(err)
		}
		if _, err := c.Uninstall("PKG-A", "", false); err != nil {
			t.Error(err)
		}
		if got := c.State().Stored["PKG-A"].Package.Version; got != "2.0.0" || !exists(c.plane.dir, archiveName("PKG-A")) {
			t.Errorf("stored is %q", got)
		}
	})
}

// TestForeignTar: an archive that Read accepts and pack would have written in
// another way is refused, for its files alone would not give its digest.
func TestForeignTar(t *testing.T) {
	f := newFixture(t)
	a := prepare(t, "", spec{id: "PKG-A"})
	before := tree(t, f.path)
	pkg, path := foreign(t, a.pkg)
	f.change(func(c *Change) {
		_, err := c.Install(pkg, path, InstallOptions{})
		want(t, f.refusal(err), "package: PKG-A was not packed by agenthost: its files are as listed, but packed again they have another digest; unpack it and pack it with agenthost package pack")
	})
	differ(t, "foreign", tree(t, f.path), before)
}

// TestWaiting: who waits learns for whom, and stops when told to.
func TestWaiting(t *testing.T) {
	f := newFixture(t)
	f.change(func(*Change) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := f.open().Change(ctx, f.token, somebody(), "", "")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), fmt.Sprintf(", process %d, since ", os.Getpid())) {
			t.Errorf("got %v", err)
		}
	})
	if b, err := os.ReadFile(filepath.Join(f.path, lockFile)); len(b) > 0 || err != nil {
		t.Errorf("left in the lock: %q, %v", b, err)
	}
}

// TestClosed: a Change that was closed changes nothing.
func TestClosed(t *testing.T) {
	f := newFixture(t)
	a := prepare(t, "", spec{id: "PKG-A"})
	f.change(func(c *Change) {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := a.install(c, InstallOptions{}); err == nil || err.Error() != "the change was closed" {
			t.Errorf("got %v", err)
		}
		if err := c.Refuse("test", "", ledger.Hash{}, CodePackage, "no"); err == nil {
			t.Error("a refusal was recorded")
		}
	})
	if got := f.kinds(); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

// TestNoAuthority: without governance.jsonl nothing is known, and so nothing is
// opened.
func TestNoAuthority(t *testing.T) {
	for want, do := range map[string]func(path string) error{
		governancePath + " is missing": os.Remove,
		"governance.jsonl line 1 (seq 0, byte 0): the file ends after 0 entries, and the register of ho3 knows 2: it was cut, or rolled back": func(path string) error { return os.Truncate(path, 0) },
		"governance.jsonl: the register of ho3 does not know it: that was removed, or one of the two is another root's": func(path string) error {
			return errors.Join(os.Truncate(path, 0), os.Remove(filepath.Dir(path)+"/../"+registerFolder+"/"+record.RegisterFile))
		},
	} {
		f := newFixture(t)
		if err := do(f.path + "/" + governancePath); err != nil {
			t.Fatal(err)
		}
		root, err := session.OpenRoot(sealing(session.Options{Workspace: f.path}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(root)
		var found *MismatchError
		var bad *ledger.IntegrityError
		if !errors.As(err, &found) && !errors.As(err, &bad) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	}
}
