package plane

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// begin makes a control plane.
func begin(path string, step func(string)) (token string, err error) {
	err = Init(path, Options{By: somebody(), Version: "test", Step: step, Key: ledgertest.Host}, func(t string) error {
		token = t
		return nil
	})
	return token, err
}

func TestInit(t *testing.T) {
	f := newFixture(t)
	perms := map[string]fs.FileMode{
		"control": 0o700, "planes": 0o700, tokenFile: 0o600, lockFile: 0o600, trustedFile: 0o600, governancePath: 0o600,
		registryFile: 0o644, "FORMAT": 0o644, "packages_store": 0o755,
	}
	for name, perm := range perms {
		if info, err := os.Stat(filepath.Join(f.path, name)); err != nil || info.Mode().Perm() != perm {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, perm)
		}
	}
	if b, err := os.ReadFile(filepath.Join(f.path, registryFile)); string(b) != "id,name,version,spec_id,tier,plane,status,sha256,signer,installed_at\r\n" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(f.path, "FORMAT")); string(b) != session.FormatControl || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	before := tree(t, f.path)
	if _, err := begin(f.path, nil); err == nil || !strings.HasSuffix(err.Error(), "it is a control plane already") {
		t.Errorf("a second time: %v", err)
	}
	differ(t, "a second time", tree(t, f.path), before)
	s := f.open().State()
	if s.Head.Size != 3 || s.Token.IsZero() || len(s.Installed)+len(s.Trusted)+s.Refused != 0 {
		t.Errorf("got %+v", s)
	}
}

// TestInitRefused: nothing is made where something is, and what is there stays.
func TestInitRefused(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"control":  {holding("control/policy.json"), "a control plane keeps its own where there is something already: control/policy.json"},
		"several":  {holding("output/b", "ledger/a"), "a control plane keeps its own where there is something already: ledger/a, output/b"},
		"planes":   {holding("planes/ho1/x"), "a control plane keeps its own where there is something already: planes/ho1"},
		"hidden":   {holding("registries/.x"), "a control plane keeps its own where there is something already: registries/.x"},
		"file":     {holding("ledger"), "ledger is there and is not a folder: a control plane keeps its own there"},
		"FORMAT":   {holding("FORMAT"), "it holds a file FORMAT that is not agenthost's: move that away"},
		"newer":    {func(t *testing.T, p string) { write(t, p+"/FORMAT", "agenthost root v2\n") }, `needs a newer agenthost: FORMAT says "agenthost root v2"`},
		"folder":   {func(t *testing.T, p string) { write(t, p+"/FORMAT", session.FormatFolder) }, "it is what agenthost keeps for a workspace; a control plane is a folder of its own"},
		"link":     {func(t *testing.T, p string) { link(t, t.TempDir(), p+"/ledger") }, "ledger is there and is not a folder: a control plane keeps its own there"},
		"top":      {func(t *testing.T, p string) { os.Remove(p); link(t, t.TempDir(), p) }, "is a symbolic link; name the folder it points to"},
		"dangling": {func(t *testing.T, p string) { link(t, "nowhere", p+"/FORMAT") }, "it holds a file FORMAT that is not agenthost's: move that away"},
		"fifo":     {func(t *testing.T, p string) { mkfifo(t, p+"/FORMAT") }, "it holds a file FORMAT that is not agenthost's: move that away"},
		"open":     {func(t *testing.T, p string) { chmod(t, p, 0o777) }, "can be written by every user: take that right away (chmod o-w)"},
		"inner": {func(t *testing.T, p string) {
			if err := os.Mkdir(p+"/packages_store", 0o755); err != nil {
				t.Fatal(err)
			}
			chmod(t, p+"/packages_store", 0o777)
		}, "packages_store can be written by every user: take that right away (chmod o-w)"},
		"foreign": {func(t *testing.T, p string) {
			if err := os.Chown(p, 12345, -1); err != nil {
				t.Skip("files cannot be given away here: ", err)
			}
		}, "belongs to user 12345, not to user"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "root")
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			c.make(t, path)
			before := names(t, path)
			_, err := begin(path, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			differ(t, name, names(t, path), before)
		})
	}
}

// names lists what is there without opening it.
func names(t *testing.T, top string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		list = append(list, path+" "+d.Type().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func holding(files ...string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		for _, name := range files {
			write(t, filepath.Join(path, name), "mine")
		}
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestInitBeside: what else a folder holds stays, and folders that are empty are
// used, with everybody else's rights to control/ taken away.
func TestInitBeside(t *testing.T) {
	path := memory(t)
	write(t, filepath.Join(path, "docs/a.md"), "mine")
	for _, name := range []string{"control", "registries"} {
		if err := os.Mkdir(filepath.Join(path, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f := &fixture{t: t, path: path}
	f.init()
	if info, err := os.Stat(path + "/control"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if b, err := os.ReadFile(path + "/docs/a.md"); string(b) != "mine" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	f.install(spec{id: "PKG-A"}, InstallOptions{})
}

// TestInitFault ends the making of a control plane before each step, or fills the
// disk there: afterwards there is none, and a second attempt makes one.
func TestInitFault(t *testing.T) {
	want := func() []string {
		f := newFixture(t)
		return f.looks()
	}()
	t.Run("crash", func(t *testing.T) { initFault(t, false, want) })
	t.Run("full", func(t *testing.T) { initFault(t, true, want) })
}

func initFault(t *testing.T, full bool, want []string) {
	steps := 0
	for at := 1; ; at++ {
		f := &fixture{t: t, path: filepath.Join(memory(t), "root")}
		reached, err := "", error(nil)
		if full {
			reached, err = f.initFull(at)
		} else if reached = f.until(at, func() { begin(f.path, f.step) }); reached != "" { //nolint:errcheck // it does not return
			f = f.copyOf()
			err = errors.New("it was cut short")
		}
		if reached == "" {
			break
		}
		steps++
		if err != nil {
			if root, err := session.OpenRoot(sealing(session.Options{Workspace: filepath.Dir(f.path), Root: f.path})); err == nil {
				if root.Control() {
					t.Errorf("%s: it is a control plane", reached)
				}
				root.Close()
			}
			f.init()
		}
		differ(t, reached, f.looks(), want)
		f.install(spec{id: "PKG-A"}, InstallOptions{})
	}
	t.Logf("%d steps", steps)
	if steps < 15 {
		t.Errorf("%d steps", steps)
	}
}

// initFull makes a control plane on a small filesystem of its own, which is full
// from a step on, and then not any more. Where that fails nothing is left.
func (f *fixture) initFull(at int) (reached string, err error) {
	f.t.Helper()
	top := filepath.Dir(f.path)
	if err := syscall.Mount("tmpfs", top, "tmpfs", 0, "size=128k,mode=0755"); err != nil {
		f.t.Skip("no small filesystem can be mounted here: ", err)
	}
	f.t.Cleanup(func() { syscall.Unmount(top, syscall.MNT_DETACH) })
	n := 0
	f.token, err = begin(f.path, func(step string) {
		if n++; n == at {
			reached = step
			fill(f.t, filepath.Join(top, "filler"))
		}
	})
	if reached == "" {
		return "", err
	}
	if err := os.Remove(filepath.Join(top, "filler")); err != nil {
		f.t.Fatal(err)
	}
	if _, stat := os.Lstat(f.path); err != nil && !errors.Is(stat, fs.ErrNotExist) {
		f.t.Errorf("full at %s: %q is left", reached, names(f.t, f.path))
	}
	return reached, err
}

// TestInitUnshown: a token that could not be shown never counts.
func TestInitUnshown(t *testing.T) {
	path := filepath.Join(memory(t), "root")
	broken := errors.New("nobody looks")
	if err := Init(path, Options{Key: ledgertest.Host}, func(string) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}

// TestInitForeignLeftovers: what a crash left is cleaned up, but nothing else.
func TestInitForeignLeftovers(t *testing.T) {
	f := &fixture{t: t, path: filepath.Join(memory(t), "root")}
	f.until(8, func() { begin(f.path, f.step) }) //nolint:errcheck // it does not return
	f = f.copyOf()
	write(t, filepath.Join(f.path, "ledger/notes.txt"), "mine")
	_, err := begin(f.path, nil)
	if err == nil || !strings.HasSuffix(err.Error(), "a control plane keeps its own where there is something already: ledger/notes.txt") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(f.path, "ledger/notes.txt")); string(b) != "mine" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestInitRace: of several at once one makes the control plane.
func TestInitRace(t *testing.T) {
	for range 10 {
		path := filepath.Join(memory(t), "root")
		var group sync.WaitGroup
		errs := make([]error, 4)
		tokens := make([]string, 4)
		for n := range errs {
			group.Go(func() { tokens[n], errs[n] = begin(path, nil) })
		}
		group.Wait()
		won := -1
		for n, err := range errs {
			switch {
			case err == nil && won >= 0:
				t.Error("two have made it")
			case err == nil:
				won = n
			case !strings.HasSuffix(err.Error(), "it is a control plane already"):
				t.Error(err)
			}
		}
		f := &fixture{t: t, path: path, token: tokens[won]}
		f.install(spec{id: "PKG-A"}, InstallOptions{})
	}
}
