package plane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/ledger"
)

// A scenario is a change that is interrupted everywhere.
type scenario struct {
	name  string
	setup func(f *fixture)
	// change makes the change; it can be made again where it did not happen.
	change func(f *fixture, c *Change) error
}

// parcel is a package and its archive.
type parcel struct {
	pkg       *archive.Package
	path      string
	signature []byte
}

func (p parcel) install(c *Change, o InstallOptions) error {
	if p.signature != nil {
		o.Signature = p.signature
	}
	_, err := c.Install(p.pkg, p.path, o)
	return err
}

// prepare makes a parcel, signed by a key if one is given.
func prepare(t *testing.T, key string, s spec) parcel {
	t.Helper()
	pkg, path := pack(t, s)
	p := parcel{pkg: pkg, path: path}
	if key != "" {
		var err error
		if p.signature, err = archive.Sign(pkg, key); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// newKey makes a pair of keys.
func newKey(t *testing.T, name string) (signing, verifier string) {
	t.Helper()
	signing, verifier, err := archive.NewKey(name, strings.NewReader(strings.Repeat(name+"-", 40)))
	if err != nil {
		t.Fatal(err)
	}
	return signing, verifier
}

func scenarios(t *testing.T) []scenario {
	signing, verifier := newKey(t, "alice")
	law := func(version string) spec {
		return spec{id: "PKG-T1-LAW-001", version: version, tier: "T1", files: map[string]string{"law.txt": "law " + version, "a/b/c.txt": "c", "a/d.txt": "d"}}
	}
	signed, plain, next := prepare(t, signing, law("1.0.0")), prepare(t, "", law("1.0.0")), prepare(t, signing, law("2.0.0"))
	other := prepare(t, "", spec{id: "PKG-T3-OTHER-001", name: "an other", files: map[string]string{"x": "x"}})
	must := func(f *fixture, err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	trusted := func(f *fixture) {
		f.change(func(c *Change) {
			must(f, other.install(c, InstallOptions{}))
			_, err := c.Trust(verifier)
			must(f, err)
		})
	}
	everywhere := func(f *fixture) {
		trusted(f)
		f.change(func(c *Change) {
			for _, plane := range []string{"ho3", "ho2", "ho1"} {
				must(f, signed.install(c, InstallOptions{Plane: plane}))
			}
		})
	}
	edited := func(f *fixture) {
		everywhere(f)
		write(f.t, filepath.Join(f.path, registryFile), "mine\n")
		must(f, os.Remove(filepath.Join(f.path, trustedFile)))
	}
	uninstall := func(plane string, keep bool) func(f *fixture, c *Change) error {
		return func(_ *fixture, c *Change) error {
			_, err := c.Uninstall("PKG-T1-LAW-001", plane, keep)
			return err
		}
	}
	return []scenario{
		{"install", trusted, func(_ *fixture, c *Change) error { return signed.install(c, InstallOptions{}) }},
		{"upgrade", everywhere, func(_ *fixture, c *Change) error { return next.install(c, InstallOptions{}) }},
		{"repair", func(f *fixture) {
			everywhere(f)
			write(f.t, filepath.Join(f.path, "planes/ho3/installed/PKG-T1-LAW-001/more/evil"), "evil")
		}, func(_ *fixture, c *Change) error { return signed.install(c, InstallOptions{}) }},
		{"sign", func(f *fixture) {
			trusted(f)
			f.change(func(c *Change) { must(f, plain.install(c, InstallOptions{})) })
		}, func(_ *fixture, c *Change) error { return signed.install(c, InstallOptions{}) }},
		{"uninstall", everywhere, uninstall("ho1", false)},
		{"uninstall all", everywhere, uninstall("", false)},
		{"uninstall and keep", everywhere, uninstall("", true)},
		{"store", everywhere, func(_ *fixture, c *Change) error {
			_, err := c.Store(next.pkg, next.path)
			return err
		}},
		{"rotate", trusted, func(f *fixture, c *Change) error {
			return c.RotateToken(func(token string) error { f.shown = token; return nil })
		}},
		{"trust", func(*fixture) {}, func(_ *fixture, c *Change) error {
			_, err := c.Trust(verifier)
			return err
		}},
		{"distrust", everywhere, func(_ *fixture, c *Change) error {
			_, err := c.Distrust(verifier)
			return err
		}},
		{"rebuild", edited, func(_ *fixture, c *Change) error {
			_, err := c.RebuildRegistry()
			return err
		}},
	}
}

// crash is what a step panics with to end the process there.
type crash struct{ step string }

// until runs do and crashes at the step of that number, from 1. It returns the
// step's name, "" if there were not so many. What the process had open stays open,
// as far as it can tell: its files are copied to be looked at.
func (f *fixture) until(at int, do func()) (step string) {
	n := 0
	f.step = func(s string) {
		if n++; n == at {
			panic(crash{s})
		}
	}
	defer func() {
		f.step = nil
		if r := recover(); r != nil {
			c, ok := r.(crash)
			if !ok {
				panic(r)
			}
			step = c.step
		}
	}()
	do()
	return ""
}

// copyOf is the fixture with a copy of its files: no lock is held there.
func (f *fixture) copyOf() *fixture {
	f.t.Helper()
	return f.copyTo(filepath.Join(memory(f.t), "root"))
}

func (f *fixture) copyTo(top string) *fixture {
	f.t.Helper()
	c := *f
	c.path = top
	err := filepath.WalkDir(f.path, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(f.path, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		to := filepath.Join(c.path, name)
		if d.IsDir() {
			return errors.Join(os.Mkdir(to, 0o700), os.Chmod(to, info.Mode().Perm()))
		}
		b, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(to, b, 0o600), os.Chmod(to, info.Mode().Perm()))
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return &c
}

// looks is what is there, without what differs after every crash: who held the
// lock, which token was made, and what was set aside of the ledger and the register.
func (f *fixture) looks() []string {
	f.t.Helper()
	return slices.DeleteFunc(tree(f.t, f.path), func(line string) bool {
		return strings.HasPrefix(line, tokenFile+" ") || strings.HasPrefix(line, lockFile+" ") || strings.HasPrefix(line, "ledger/") && !strings.HasPrefix(line, governancePath+" ") ||
			strings.HasPrefix(line, registerFolder+"/")
	})
}

// sound checks a plane after a fault: it is what it was before the change, or what
// it is after, it can be changed, and then everything in it is whole. It reports
// whether the change happened.
func (f *fixture) sound(what string, s scenario, before, after []string, entries int) bool {
	f.t.Helper()
	p := f.open() // finishes what is to be finished
	kinds := f.kinds()
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == "recovered" })
	happened := len(kinds) > entries
	want := before
	if happened {
		want = after
	}
	differ(f.t, what, f.looks(), want)
	if happened && f.shown != "" {
		f.token = f.shown
	}
	if f.t.Failed() {
		f.t.FailNow()
	}
	if !happened {
		f.change(func(c *Change) {
			if err := s.change(f, c); err != nil {
				f.t.Fatalf("%s: again: %v", what, err)
			}
		})
		if f.shown != "" {
			f.token = f.shown
		}
		p = f.open()
	}
	if len(p.State().Trusted) > 0 {
		for _, i := range p.State().Installed {
			pkg, err := p.Package(nil, i)
			if err != nil {
				f.t.Fatalf("%s: %v", what, err)
			}
			pkg.Close()
		}
	}
	f.change(func(c *Change) {
		if err := c.ready(); err != nil {
			f.t.Fatalf("%s: %v", what, err)
		}
	})
	return happened
}

// limits are the trees before and after a change, and the entries there are before.
func (f *fixture) limits(s scenario) (before, after []string, entries int) {
	f.t.Helper()
	before, entries = f.looks(), len(f.kinds())
	done := f.copyOf()
	done.change(func(c *Change) {
		if err := s.change(done, c); err != nil {
			f.t.Fatal(err)
		}
	})
	return before, done.looks(), entries
}

// attempt makes the change of a scenario.
func (f *fixture) attempt(s scenario) error {
	c, err := f.open().Change(f.t.Context(), f.token, somebody(), "test", "")
	if err != nil {
		return err
	}
	return errors.Join(s.change(f, c), c.Close())
}

// TestCrash ends each change before each of its steps, and the recovery from that
// before each of its own.
func TestCrash(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(s.name, func(t *testing.T) {
			base := newFixture(t)
			s.setup(base)
			before, after, entries := base.limits(s)
			steps, happened, again := 0, 0, 0
			for at := 1; ; at++ {
				f := base.copyOf()
				step := f.until(at, func() { f.attempt(s) }) //nolint:errcheck // it does not return
				if step == "" {
					break
				}
				steps++
				for second := 1; !testing.Short() && slices.Contains([]string{"upgrade", "uninstall all", "rotate", "rebuild"}, s.name); second++ {
					c := f.copyOf()
					step2 := c.until(second, func() { c.open() })
					if step2 == "" {
						break
					}
					again++
					c.copyOf().sound(fmt.Sprintf("%d %s, %d %s", at, step, second, step2), s, before, after, entries)
				}
				if f.copyOf().sound(fmt.Sprintf("%d %s", at, step), s, before, after, entries) {
					happened++
				}
				runtime.GC() // closes what crashes left open
			}
			if steps < 4 || happened == 0 || happened == steps {
				t.Errorf("%d steps, after %d of them it had happened", steps, happened)
			}
			t.Logf("%d steps, after %d of them it had happened; recovery ended %d times", steps, happened, again)
		})
	}
}

// TestFullDisk fills the disk before each step of each change: it happens or does
// not, and says which. The same once there is room again.
func TestFullDisk(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(s.name, func(t *testing.T) {
			base := newFixture(t)
			s.setup(base)
			before, after, entries := base.limits(s)
			var failed []string
			for at, more := 1, true; more; at++ {
				small := t.TempDir()
				if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=512k,mode=0755"); err != nil {
					t.Skip("no small filesystem can be mounted here: ", err)
				}
				t.Cleanup(func() { syscall.Unmount(small, syscall.MNT_DETACH) })
				f := base.copyTo(filepath.Join(small, "root"))
				n, full := 0, ""
				f.step = func(step string) {
					if n++; n == at {
						full = step
						fill(t, filepath.Join(small, "filler"))
					}
				}
				err := f.attempt(s)
				f.step = nil
				if more = full != ""; !more {
					break
				}
				if err := os.Remove(filepath.Join(small, "filler")); err != nil {
					t.Fatal(err)
				}
				// An error that does not say otherwise says that nothing changed.
				var unfinished *UnfinishedError
				unknown := errors.Is(err, ledger.ErrPoisoned)
				if err != nil {
					failed = append(failed, full)
				}
				if err != nil && !unknown && !errors.As(err, &unfinished) {
					differ(t, "full at "+full, f.looks(), before)
				}
				happened := f.sound("full at "+full, s, before, after, entries)
				if !unknown && happened != (err == nil || errors.As(err, &unfinished)) {
					t.Errorf("full at %s: it happened: %v, but the error was %v", full, happened, err)
				}
			}
			if len(failed) == 0 {
				t.Error("no step failed")
			}
			t.Logf("failed at %s", strings.Join(failed, ", "))
		})
	}
}

// fill takes the last byte of a filesystem.
func fill(t *testing.T, path string) {
	t.Helper()
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
