package plane

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/session"
)

// TestMany installs a thousand packages, of which each needs the one before, reads
// them all, and takes them out again.
func TestMany(t *testing.T) {
	many := 1000
	if testing.Short() {
		many = 100
	}
	f := newFixture(t)
	fresh := tree(t, f.path)
	work := memory(t)
	id := func(n int) string { return fmt.Sprintf("PKG-T3-MANY-%04d", n) }
	f.change(func(c *Change) {
		for n := range many {
			manifest := fmt.Sprintf(`{"schema": %q, "id": %q, "version": "1.0.0"}`, archive.ManifestSchema, id(n))
			if n > 0 {
				manifest = fmt.Sprintf(`{"schema": %q, "id": %q, "version": "1.0.0", "dependencies": [{"id": %q, "version": ">=1.0.0"}]}`, archive.ManifestSchema, id(n), id(n-1))
			}
			write(t, filepath.Join(work, "src/manifest.json"), manifest)
			path := filepath.Join(work, "p.tar.gz")
			pkg, err := archive.PackFile(path, filepath.Join(work, "src"), archive.PackOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Install(pkg, path, InstallOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := pkg.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
	p := f.open()
	s := p.State()
	if got := s.Names(); len(got) != many || !slices.IsSorted(got) {
		t.Fatalf("%d are installed", len(got))
	}
	for _, i := range s.Installed {
		pkg, err := p.Package(nil, i)
		if err != nil {
			t.Fatal(err)
		}
		pkg.Close()
	}
	b, err := os.ReadFile(filepath.Join(f.path, registryFile))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(b))).ReadAll()
	if err != nil || len(rows) != many+1 || rows[many][0] != id(many-1) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	// A round through all of them.
	want(t, f.refused(spec{id: id(0), version: "1.1.0", needs: need(id(many-1), "")}, InstallOptions{}),
		fmt.Sprintf("dependency: packages would depend on themselves: %s needs %s needs %s needs %s needs %s needs (%d more) needs %s needs %s needs %s; take one of the dependencies out of its manifest",
			id(0), id(many-1), id(many-2), id(many-3), id(many-4), many-7, id(2), id(1), id(0)))
	f.change(func(c *Change) {
		if _, err := c.Uninstall(id(0), "", false); err == nil {
			t.Error("what others need was taken out")
		} else {
			want(t, f.refusal(err), "dependents: "+id(0)+" is needed by "+id(1)+" in ho1; take those out first")
		}
		for n := many - 1; n >= 0; n-- {
			if _, err := c.Uninstall(id(n), "", false); err != nil {
				t.Fatal(err)
			}
		}
	})
	differ(t, "after all", tree(t, f.path), fresh)
}

// TestInstallsAtOnce: several processes, each of several goroutines, change one
// plane: each change happens, and nothing but that.
func TestInstallsAtOnce(t *testing.T) {
	f := newFixture(t)
	fresh := tree(t, f.path)
	const processes, each = 3, 4
	var group sync.WaitGroup
	for n := range processes {
		group.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=live %s %s %d %d", childVariable, f.path, f.token, n, each))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v: %s", n, err, out)
			}
		})
	}
	// A reader beside them sees every state whole.
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		p := f.open()
		for _, i := range p.State().Installed {
			pkg, err := p.Package(nil, i)
			if errors.Is(err, ErrChanged) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			pkg.Close()
		}
	}
	var installed, uninstalled int
	for _, k := range f.kinds() {
		switch k {
		case "package.install":
			installed++
		case "package.uninstall":
			uninstalled++
		}
	}
	if want := processes * each * 2; installed != want || uninstalled != processes*each {
		t.Errorf("%d installed, %d taken out, want %d and %d", installed, uninstalled, want, want/2)
	}
	differ(t, "after all", tree(t, f.path), fresh)
}

// TestReadJustBefore: a change that came to its end after its files were read, and
// before anybody looked for it, is none that is found in them.
func TestReadJustBefore(t *testing.T) {
	f := newFixture(t)
	f.install(spec{id: "PKG-A"}, InstallOptions{})
	p := f.open()
	i := p.State().Installed[0]
	before := mismatch("planes/ho1/installed/PKG-A", "is what was there before")
	for reads, most := range []int{0, 1, 2} {
		n := 0
		pkg, err := p.steady(i, func() (*archive.Package, error) {
			if n++; n <= most {
				return nil, before
			}
			return p.read(nil, i)
		})
		if want := min(reads+1, 2); n != want || (err == nil) != (most < 2) {
			t.Errorf("%d times wrong: read %d times, want %d: %v", most, n, want, err)
		}
		if err == nil {
			pkg.Close()
		}
	}
}

// childVariable tells this program, run again, that it is a child of a test:
// "live ROOT TOKEN NUMBER GOROUTINES" or "install ROOT TOKEN ARCHIVE".
const childVariable = "AGENTHOST_TEST_CHILD"

func TestMain(m *testing.M) {
	if what := os.Getenv(childVariable); what != "" {
		if err := child(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(what string) error {
	words := strings.Split(what, " ")
	root, token := words[1], words[2]
	if words[0] == "install" {
		return installFile(root, token, words[3])
	}
	number, errNumber := strconv.Atoi(words[3])
	each, errEach := strconv.Atoi(words[4])
	if err := errors.Join(errNumber, errEach); err != nil {
		return err
	}
	var group sync.WaitGroup
	errs := make([]error, each)
	for n := range errs {
		group.Go(func() { errs[n] = live(root, token, fmt.Sprintf("PKG-T3-P%dG%d", number, n)) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// changeRoot runs do with the right to change.
func changeRoot(root *session.Root, token string, do func(c *Change) error) error {
	p, err := Open(root)
	if err != nil {
		return err
	}
	c, err := p.Change(context.Background(), token, somebody(), "test", "")
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
}

// installFile installs an archive.
func installFile(path, token, file string) error {
	root, err := session.OpenRoot(sealing(session.Options{Workspace: path}))
	if err != nil {
		return err
	}
	defer root.Close()
	pkg, err := archive.ReadFile(file)
	if err != nil {
		return err
	}
	defer pkg.Close()
	return changeRoot(root, token, func(c *Change) error {
		_, err := c.Install(pkg, file, InstallOptions{})
		return err
	})
}

// live installs a package, upgrades it and takes it out, each as a change of its
// own.
func live(path, token, id string) error {
	root, err := session.OpenRoot(sealing(session.Options{Workspace: path}))
	if err != nil {
		return err
	}
	defer root.Close()
	dir, err := os.MkdirTemp("", "agenthost-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	change := func(do func(c *Change) error) error { return changeRoot(root, token, do) }
	for _, version := range []string{"1.0.0", "2.0.0"} {
		manifest := fmt.Sprintf(`{"schema": %q, "id": %q, "version": %q}`, archive.ManifestSchema, id, version)
		src, file := filepath.Join(dir, version), filepath.Join(dir, version+".tar.gz")
		if err := errors.Join(os.Mkdir(src, 0o755), os.WriteFile(filepath.Join(src, archive.ManifestName), []byte(manifest), 0o644)); err != nil {
			return err
		}
		pkg, err := archive.PackFile(file, src, archive.PackOptions{})
		if err != nil {
			return err
		}
		err = change(func(c *Change) error {
			_, err := c.Install(pkg, file, InstallOptions{})
			return err
		})
		if err := errors.Join(err, pkg.Close()); err != nil {
			return err
		}
	}
	return change(func(c *Change) error {
		_, err := c.Uninstall(id, "", false)
		return err
	})
}
