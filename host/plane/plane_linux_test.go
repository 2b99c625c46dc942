package plane

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// A control plane of a test.
type fixture struct {
	t     *testing.T
	path  string
	token string       // that counts
	shown string       // by a rotation
	step  func(string) // called before each step of what is done next
	host  byte         // who is at work, as ledgertest.Other has it; 0 is ledgertest.Host
}

// sealing are the options of ledgertest.Host, which trusts itself alone.
func sealing(o session.Options) session.Options {
	o.Key, o.Hosts = ledgertest.Host, ledgertest.Hosts
	return o
}

// options are those of the host that is at work. Others than the first trust that
// one, too.
func (f *fixture) options(o session.Options) session.Options {
	o = sealing(o)
	if f.host > 1 {
		o.Key = func() (*ledger.Key, error) { return ledgertest.Other(f.host) }
		o.Hosts = func() ([]ledger.Verifier, error) {
			own, err := ledgertest.Other(f.host)
			hosts, more := ledgertest.Hosts()
			return append(hosts, own.Verifier()), errors.Join(err, more)
		}
	}
	return o
}

func somebody() record.Actor { return record.Actor{UID: 1000, User: "somebody"} }

// memory makes a folder that is fast to sync, if there is a place for it.
func memory(t *testing.T) string {
	t.Helper()
	top, err := os.MkdirTemp("/dev/shm", "agenthost-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	return top
}

// newFixture makes a control plane.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, path: filepath.Join(memory(t), "root")}
	f.init()
	return f
}

func (f *fixture) init() {
	f.t.Helper()
	err := Init(f.path, Options{By: somebody(), Version: "test", Step: f.step, Key: ledgertest.Host}, func(token string) error {
		f.token = token
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// open opens the plane.
func (f *fixture) open() *Plane {
	f.t.Helper()
	root, err := session.OpenRoot(f.options(session.Options{Workspace: f.path, Now: clock(), Step: func(step string) {
		if f.step != nil {
			f.step(step)
		}
	}}))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { root.Close() })
	p, err := Open(root)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

// clock is one that goes a second further each time.
func clock() func() time.Time {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return func() time.Time {
		now = now.Add(time.Second)
		return now
	}
}

// change runs f with the right to change.
func (f *fixture) change(do func(c *Change)) {
	f.t.Helper()
	c, err := f.open().Change(f.t.Context(), f.token, somebody(), "test", "")
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			f.t.Error(err)
		}
	}()
	do(c)
}

// A spec says what package to make.
type spec struct {
	id, version, name, tier, plane string
	needs                          []archive.Dependency
	read                           []string // rights
	files                          map[string]string
}

// guest is a module that ends at once: (module (memory (export "memory") 1) (func
// (export "_start"))).
const guest = "\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x05\x03\x01\x00\x01" +
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00" + "\x0a\x04\x01\x02\x00\x0b"

// pack makes a package and its archive: one that runs if it has rights, else a
// library.
func pack(t testing.TB, s spec) (*archive.Package, string) {
	t.Helper()
	dir := t.TempDir()
	m := map[string]any{"schema": archive.ManifestSchema, "id": s.id, "version": s.version}
	if s.version == "" {
		m["version"] = "1.0.0"
	}
	for k, v := range map[string]string{"name": s.name, "tier": s.tier, "plane": s.plane} {
		if v != "" {
			m[k] = v
		}
	}
	if s.needs != nil {
		m["dependencies"] = s.needs
	}
	if s.read != nil {
		m["entry"] = map[string]any{"module": "agent.wasm"}
		write(t, filepath.Join(dir, "agent.wasm"), guest)
		m["capabilities"] = map[string]any{"read": s.read, "write": []string{}, "execute": []string{}, "forbidden": []string{}}
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, archive.ManifestName), string(b))
	for name, content := range s.files {
		write(t, filepath.Join(dir, name), content)
	}
	path := filepath.Join(t.TempDir(), s.id+".tar.gz")
	p, err := archive.PackFile(path, dir, archive.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, path
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// install installs a package that must be installed.
func (f *fixture) install(s spec, o InstallOptions) Outcome {
	f.t.Helper()
	var out Outcome
	pkg, path := pack(f.t, s)
	f.change(func(c *Change) {
		var err error
		if out, err = c.Install(pkg, path, o); err != nil {
			f.t.Fatalf("installing %s: %v", s.id, err)
		}
	})
	return out
}

// entries are those of governance.jsonl, which must be whole and sealed.
func (f *fixture) entries() []ledger.Entry {
	f.t.Helper()
	root, err := session.OpenRoot(f.options(session.Options{Workspace: f.path}))
	if err != nil {
		f.t.Fatal(err)
	}
	defer root.Close()
	var all []ledger.Entry
	report, err := governanceBook(root).read(func(e ledger.Entry) {
		e.Line = bytes.Clone(e.Line)
		all = append(all, e)
	})
	if err != nil || report.Torn != nil || report.Sealed != report.Entries {
		f.t.Fatalf("%v, %+v", err, report)
	}
	return all
}

// kinds are the kinds of all changes in governance.jsonl, and of recoveries.
func (f *fixture) kinds() []string {
	f.t.Helper()
	var kinds []string
	for _, e := range f.entries() {
		if isChange(e) || e.Kind == record.KindRecovered {
			kinds = append(kinds, e.Kind)
		}
	}
	return kinds
}

// tree lists all that is in the root, with modes and digests, but not what
// governance.jsonl and its register hold.
func tree(t testing.TB, top string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(top, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s %v", name, info.Mode())
		if strings.HasPrefix(name, registerFolder+"/sessions-") { // of many changes
			return nil
		}
		if info.Mode().IsRegular() && name != governancePath && !strings.HasPrefix(name, registerFolder) {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + ledger.Sum(b).String()
		}
		list = append(list, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// differ says how two lists differ.
func differ(t testing.TB, what string, got, want []string) {
	t.Helper()
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s: unexpected %s", what, line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s: missing %s", what, line)
		}
	}
}

func TestLife(t *testing.T) {
	f := newFixture(t)
	if !strings.HasPrefix(f.token, TokenPrefix) || len(f.token) != len(TokenPrefix)+43 {
		t.Errorf("the token is %q", f.token)
	}
	fresh := tree(t, f.path)
	s := spec{id: "PKG-T3-A-001", name: "A, the first", read: []string{"docs/**"}, files: map[string]string{"a.txt": "a", "deep/er/b.txt": "b"}}
	out := f.install(s, InstallOptions{ID: s.id})
	if out.Same || out.Replaces != nil || out.Installed.Plane != "ho1" || out.Installed.Seq != 3 {
		t.Errorf("got %+v", out)
	}
	if out := f.install(s, InstallOptions{}); !out.Same {
		t.Errorf("again: %+v", out)
	}
	p := f.open()
	pkg, err := p.Package(nil, p.State().Find(s.id, "ho1")[0])
	if err != nil {
		t.Fatal(err)
	}
	r, err := pkg.Open("deep/er/b.txt")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "b" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	pkg.Close()
	want := "id,name,version,spec_id,tier,plane,status,sha256,signer,installed_at\r\n" +
		`PKG-T3-A-001,"A, the first",1.0.0,,,ho1,active,` + out.Installed.Package.SHA256.String() + ",," + out.Installed.At.Format(time.RFC3339) + "\r\n"
	if got, err := os.ReadFile(filepath.Join(f.path, registryFile)); string(got) != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	s.version, s.files["a.txt"] = "2.0.0", "new"
	if out := f.install(s, InstallOptions{}); out.Replaces == nil || out.Replaces.Package.Version != "1.0.0" || out.Difference.Grows() {
		t.Errorf("upgrade: %+v", out)
	}
	f.change(func(c *Change) {
		gone, err := c.Uninstall(s.id, "", false)
		if len(gone) != 1 || err != nil {
			t.Errorf("got %v, %v", gone, err)
		}
	})
	differ(t, "after all", tree(t, f.path), fresh)
	if got := f.kinds(); !slices.Equal(got, []string{"control.init", "package.install", "package.install", "package.uninstall"}) {
		t.Errorf("got %q", got)
	}
}

func TestToken(t *testing.T) {
	f := newFixture(t)
	old := f.token
	f.change(func(c *Change) {
		if err := c.RotateToken(func(token string) error { f.token = token; return nil }); err != nil {
			t.Error(err)
		}
	})
	for _, token := range []string{old, "", f.token + "x", "agenthost_"} {
		_, err := f.open().Change(t.Context(), token, somebody(), record.KindPackageInstall, "PKG-A")
		var r *RefusedError
		if !errors.As(err, &r) || r.Code != CodeNotTrusted {
			t.Errorf("%q: %v", token, err)
		}
	}
	if err := f.open().ReplaceToken(t.Context(), somebody(), func(token string) error { f.token = token; return nil }); err != nil {
		t.Error(err)
	}
	f.change(func(c *Change) {})
	b, err := os.ReadFile(filepath.Join(f.path, governancePath))
	if err != nil || strings.Contains(string(b), old) || strings.Contains(string(b), TokenPrefix) {
		t.Error("the ledger knows the token", err)
	}
}

// foreign packs a package again, with a manifest in another spelling.
func foreign(t *testing.T, p *archive.Package) (*archive.Package, string) {
	t.Helper()
	r, err := p.Open(archive.ManifestName)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	manifest = append(manifest, '\n')
	if err := w.WriteHeader(&tar.Header{Name: archive.ManifestName, Mode: 0o644, Size: int64(len(manifest)), Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(manifest); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "foreign.tar.gz")
	write(t, path, b.String())
	again, err := archive.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again, path
}
