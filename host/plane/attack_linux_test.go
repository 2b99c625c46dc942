package plane

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// TestTampered changes what is installed in every way that comes to mind: it is
// found before anything of it is used, with a cache and without.
func TestTampered(t *testing.T) {
	const home = "planes/ho1/installed/PKG-A"
	hint := "; find out who changed it, then install the package again"
	for name, c := range map[string]struct {
		do   func(t *testing.T, path string)
		want string
	}{
		"content":  {func(t *testing.T, p string) { write(t, p+"/a.txt", "b") }, home + " is not what was installed: its digest is "},
		"manifest": {func(t *testing.T, p string) { write(t, p+"/manifest.json", "{}") }, home + " is not what was installed: manifest.json: "},
		"rights": {func(t *testing.T, p string) {
			b, err := os.ReadFile(p + "/manifest.json")
			if err != nil {
				t.Fatal(err)
			}
			write(t, p+"/manifest.json", strings.Replace(string(b), "docs/", "/", 1))
		}, home + " is not what was installed: manifest.json: "},
		"list":          {func(t *testing.T, p string) { respell(t, p+"/manifest.json") }, home + "/manifest.json is not spelled as it was installed"},
		"gone":          {func(t *testing.T, p string) { remover(t, p+"/a.txt") }, home + " is not what was installed: its digest is "},
		"all gone":      {func(t *testing.T, p string) { remover(t, p) }, home + " is missing"},
		"more":          {func(t *testing.T, p string) { write(t, p+"/b.txt", "") }, home + " is not what was installed: its digest is "},
		"case":          {func(t *testing.T, p string) { write(t, p+"/A.txt", "a") }, home + " is not what was installed: "},
		"empty folder":  {func(t *testing.T, p string) { mkdir(t, p+"/more") }, home + "/more is no part of the package"},
		"own folder":    {func(t *testing.T, p string) { write(t, p+"/.agenthost/x", "") }, home + "/.agenthost is no part of the package"},
		"link":          {func(t *testing.T, p string) { remover(t, p+"/a.txt"); link(t, "/etc/passwd", p+"/a.txt") }, home + " is not what was installed: "},
		"same link":     {func(t *testing.T, p string) { rename(t, p+"/a.txt", p+"/../a.txt"); link(t, "../a.txt", p+"/a.txt") }, home + " is not what was installed: "},
		"linked folder": {func(t *testing.T, p string) { rename(t, p, p+"-2"); link(t, "PKG-A-2", p) }, home + " is reached through a symbolic link"},
		"linked plane": {func(t *testing.T, p string) {
			rename(t, filepath.Dir(p), filepath.Dir(p)+"-2")
			link(t, "installed-2", filepath.Dir(p))
		}, home + " is reached through a symbolic link"},
		"fifo":      {func(t *testing.T, p string) { remover(t, p+"/a.txt"); mkfifo(t, p+"/a.txt") }, home + " is not what was installed: "},
		"more fifo": {func(t *testing.T, p string) { mkfifo(t, p+"/b.txt") }, home + " is not what was installed: "},
		"hard link": {func(t *testing.T, p string) {
			if err := os.Link(p+"/a.txt", p+"/../a.txt"); err != nil {
				t.Fatal(err)
			}
		}, home + "/a.txt has a second name: somebody else may write to it"},
		"file": {func(t *testing.T, p string) { remover(t, p); write(t, p, "x") }, home + " is not a folder"},
		"archive": {func(t *testing.T, p string) {
			remover(t, p)
			rename(t, strings.TrimSuffix(p, home)+archiveName("PKG-A"), p)
		}, home + " is not a folder"},
		"other": {func(t *testing.T, p string) { remover(t, p); rename(t, filepath.Dir(p)+"/PKG-B", p) }, home + " is not what was installed: its digest is "},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.install(spec{id: "PKG-A", read: []string{"docs/**"}, files: map[string]string{"a.txt": "a"}}, InstallOptions{})
			f.install(spec{id: "PKG-B", read: []string{"docs/**"}, files: map[string]string{"a.txt": "a"}}, InstallOptions{})
			cache, err := archive.OpenCache(filepath.Join(t.TempDir(), "cache"))
			if err != nil {
				t.Fatal(err)
			}
			p := f.open()
			i := p.State().Find("PKG-A", "ho1")[0]
			for range 2 { // the second finds it in the cache
				pkg, err := p.Package(cache, i)
				if err != nil {
					t.Fatal(err)
				}
				pkg.Close()
			}
			c.do(t, filepath.Join(f.path, home))
			for _, cache := range []*archive.Cache{nil, cache} {
				pkg, err := p.Package(cache, i)
				if err == nil {
					pkg.Close()
				}
				var wrong *MismatchError
				if !errors.As(err, &wrong) || !strings.HasPrefix(wrong.Error(), c.want) || "; "+wrong.Hint != hint {
					t.Errorf("got %v, want %s", err, c.want)
				}
			}
		})
	}
}

func remover(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// respell writes a manifest that says the same in another spelling.
func respell(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(b)+"\n")
}

// TestReplacedMeanwhile: what was read and compared is what runs, whatever becomes
// of the files afterwards.
func TestReplacedMeanwhile(t *testing.T) {
	f := newFixture(t)
	f.install(spec{id: "PKG-A", files: map[string]string{"a.txt": "a"}}, InstallOptions{})
	p := f.open()
	i := p.State().Find("PKG-A", "ho1")[0]
	pkg, err := p.Package(nil, i)
	if err != nil {
		t.Fatal(err)
	}
	defer pkg.Close()
	write(t, filepath.Join(f.path, "planes/ho1/installed/PKG-A/a.txt"), "evil")
	r, err := pkg.Open("a.txt")
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, r.Size())
	if _, err := r.ReadAt(b, 0); err != nil || string(b) != "a" {
		t.Errorf("got %q, %v", b, err)
	}

	// An upgrade between the reading of the ledger and that of the files.
	f.install(spec{id: "PKG-A", version: "2.0.0"}, InstallOptions{})
	if _, err := p.Package(nil, i); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v", err)
	}
	f.uninstall("PKG-A", "")
	if _, err := p.Package(nil, i); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v", err)
	}
}

// TestReadAfterCrash: somebody who opened the plane before a crash finds what it
// left, and finishes it.
func TestReadAfterCrash(t *testing.T) {
	f := newFixture(t)
	f.install(spec{id: "PKG-A", files: map[string]string{"a": "a"}}, InstallOptions{})
	f.install(spec{id: "PKG-B"}, InstallOptions{})
	damaged := prepare(t, "", spec{id: "PKG-A", files: map[string]string{"a": "a"}})
	write(t, filepath.Join(f.path, "planes/ho1/installed/PKG-A/a"), "evil")
	f.step = func(step string) {
		if step == "rename planes/ho1/installed/.new-PKG-A" {
			panic(crash{step})
		}
	}
	func() {
		defer func() { _ = recover() }()
		c, err := f.open().Change(t.Context(), f.token, somebody(), "", "")
		if err != nil {
			t.Error(err)
			return
		}
		damaged.install(c, InstallOptions{}) //nolint:errcheck // it does not return
	}()
	f.step = nil
	f = f.copyOf()
	root, err := session.OpenRoot(sealing(session.Options{Workspace: f.path}))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	// As Open, before the crash.
	p := &Plane{dir: root.Folder(), path: root.Path(), opts: root.Options(), log: governanceBook(root)}
	if p.state, err = readState(p.log); err != nil {
		t.Fatal(err)
	}
	pkg, err := p.Package(nil, p.State().Find("PKG-A", "ho1")[0])
	if err != nil {
		t.Fatal(err)
	}
	pkg.Close()
	if exists(p.dir, markerFile) {
		t.Error("the change is not finished")
	}
}

// TestEdited: a view that was changed by hand stops every change but the one that
// writes it anew.
func TestEdited(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, root string)
		want string
	}{
		"row":     {func(t *testing.T, root string) { appendTo(t, root+"/"+registryFile, "PKG-EVIL,,,,,,,,,\r\n") }, registryFile + " is not what ledger/governance.jsonl says: it was changed by hand"},
		"newline": {func(t *testing.T, root string) { appendTo(t, root+"/"+registryFile, "\n") }, registryFile + " is not what ledger/governance.jsonl says: it was changed by hand"},
		"empty":   {func(t *testing.T, root string) { write(t, root+"/"+registryFile, "") }, registryFile + " is not what ledger/governance.jsonl says: it was changed by hand"},
		"gone":    {func(t *testing.T, root string) { remover(t, root+"/"+registryFile) }, registryFile + " is missing"},
		"folder":  {func(t *testing.T, root string) { remover(t, root+"/registries") }, registryFile + " is missing"},
		"link": {func(t *testing.T, root string) {
			rename(t, root+"/"+registryFile, root+"/r.csv")
			link(t, "../r.csv", root+"/"+registryFile)
		}, registryFile + " is not the file that was written"},
		"a folder": {func(t *testing.T, root string) {
			remover(t, root+"/"+registryFile)
			write(t, root+"/"+registryFile+"/x", "")
		}, registryFile + " is not the file that was written"},
		"fifo": {func(t *testing.T, root string) { remover(t, root+"/"+registryFile); mkfifo(t, root+"/"+registryFile) }, registryFile + " is not the file that was written"},
		"keys": {func(t *testing.T, root string) { appendTo(t, root+"/"+trustedFile, "eve+00000000+key\n") }, trustedFile + " is not what ledger/governance.jsonl says: it was changed by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.install(spec{id: "PKG-A"}, InstallOptions{})
			want := tree(t, f.path)
			c.do(t, f.path)
			b := prepare(t, "", spec{id: "PKG-B"})
			_, key := newKey(t, "alice")
			text := "integrity: " + c.want + "; agenthost control rebuild-registry writes it anew; what was changed by hand is lost"
			for name, try := range map[string]func(c *Change) error{
				"install":   func(c *Change) error { return b.install(c, InstallOptions{}) },
				"same":      func(c *Change) error { return b.install(c, InstallOptions{}) },
				"store":     func(c *Change) error { _, err := c.Store(b.pkg, b.path); return err },
				"uninstall": func(c *Change) error { _, err := c.Uninstall("PKG-A", "", false); return err },
				"trust":     func(c *Change) error { _, err := c.Trust(key); return err },
				"distrust":  func(c *Change) error { _, err := c.Distrust(key); return err },
				"prune":     func(c *Change) error { return c.Prune(record.SessionPrune{SessionID: "SES-1", Plane: "ho1"}) },
				"erase":     func(c *Change) error { return c.Erase(record.SessionErase{SessionID: "SES-1", Plane: "ho1"}) },
				"rotate":    func(c *Change) error { return c.RotateToken(func(string) error { return errors.New("shown") }) },
			} {
				f.change(func(c *Change) {
					if got := f.refusal(try(c)); got != text {
						t.Errorf("%s: got %s, want %s", name, got, text)
					}
				})
			}
			f.change(func(c *Change) {
				if made, err := c.RebuildRegistry(); !made || err != nil {
					t.Error(made, err)
				}
				if made, err := c.RebuildRegistry(); made || err != nil {
					t.Error("again:", made, err)
				}
			})
			os.Remove(f.path + "/r.csv")
			differ(t, "rebuilt", tree(t, f.path), want)
			f.change(func(c *Change) {
				if err := b.install(c, InstallOptions{}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(b)+text)
}

// TestTokenFile: a token file that is not what the ledger says lets nobody in,
// least of all with the token it is about.
func TestTokenFile(t *testing.T) {
	f := newFixture(t)
	own := TokenPrefix + strings.Repeat("A", 43)
	for name, do := range map[string]func(){
		"own":   func() { write(t, filepath.Join(f.path, tokenFile), string(tokenRow(own))) },
		"empty": func() { write(t, filepath.Join(f.path, tokenFile), "") },
		"gone":  func() { remover(t, filepath.Join(f.path, tokenFile)) },
		"link": func() {
			write(t, filepath.Join(f.path, "own"), string(tokenRow(own)))
			remover(t, filepath.Join(f.path, tokenFile))
			link(t, "../own", filepath.Join(f.path, tokenFile))
		},
	} {
		do()
		for _, token := range []string{f.token, own, ""} {
			_, err := f.open().Change(t.Context(), token, somebody(), "test", "")
			if got := f.refusal(err); !strings.HasPrefix(got, "integrity: control/token ") || !strings.HasSuffix(got, "agenthost control token rotate --lost") {
				t.Errorf("%s: got %s", name, got)
			}
		}
		remover(t, filepath.Join(f.path, tokenFile))
	}
	if err := f.open().ReplaceToken(t.Context(), somebody(), func(token string) error { f.token = token; return nil }); err != nil {
		t.Fatal(err)
	}
	f.install(spec{id: "PKG-A"}, InstallOptions{})
}

// TestSecretsStayOut: a token or a signing key that is given where something else
// belongs is not recorded.
func TestSecretsStayOut(t *testing.T) {
	f := newFixture(t)
	key, _ := newKey(t, "alice")
	for _, subject := range []string{f.token, "--token=" + f.token, key} {
		if _, err := f.open().Change(t.Context(), "wrong", somebody(), "test", subject); err == nil {
			t.Error("a wrong token was taken")
		}
	}
	b, err := os.ReadFile(filepath.Join(f.path, governancePath))
	if err != nil || strings.Contains(string(b), f.token) || strings.Contains(string(b), "PRIVATE") {
		t.Errorf("%s, %v", b, err)
	}
	if s := f.open().State(); s.Refused != 3 {
		t.Errorf("%d refused", s.Refused)
	}
}

// TestMarkers: a marker that no change left leads nowhere.
func TestMarkers(t *testing.T) {
	for _, text := range []string{
		"", "x", "{}", `{"v":2,"size":1,"by":{"uid":1}}`, `{"v":1,"size":1,"by":{"uid":1},"id":"../../../etc","plane":"ho1"}`,
		`{"v":1,"size":1,"by":{"uid":1},"id":"PKG-A","plane":"../../x"}`, `{"v":1,"size":1,"by":{"uid":1},"plane":"ho1"}`,
		`{"v":1,"size":1,"by":{"uid":1},"id":"PKG-A","remove":[{"plane":"..","package":{"id":"PKG-A"}}]}`,
		`{"v":1,"size":1,"by":{"uid":1},"id":"PKG-A","remove":[{"plane":"ho1","package":{"id":"PKG-B"}}]}`,
		`{"v":1,"size":1,"by":{"uid":1},"unknown":true}`,
	} {
		f := newFixture(t)
		write(t, filepath.Join(f.path, markerFile), text)
		before := tree(t, f.path)
		root, err := session.OpenRoot(sealing(session.Options{Workspace: f.path}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(root)
		root.Close()
		var wrong *MismatchError
		if !errors.As(err, &wrong) || wrong.Error() != "planes/pending/change is not what a change leaves" {
			t.Errorf("%q: %v", text, err)
		}
		differ(t, text, tree(t, f.path), before)
	}

	// One that speaks of more entries than there are: the ledger was cut.
	f := newFixture(t)
	write(t, filepath.Join(f.path, markerFile), `{"v":1,"size":5,"by":{"uid":1}}`)
	root, err := session.OpenRoot(sealing(session.Options{Workspace: f.path}))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var bad *ledger.IntegrityError
	if _, err := Open(root); !errors.As(err, &bad) {
		t.Errorf("got %v", err)
	}
}

// TestForgedLedger: a ledger that was changed stops everything.
func TestForgedLedger(t *testing.T) {
	for name, do := range map[string]func(text string) string{
		"digest":  func(s string) string { return strings.Replace(s, `"plane":"ho1"`, `"plane":"ho3"`, 1) },
		"cut":     func(s string) string { return s[strings.Index(s, "\n")+1:] },
		"kind":    func(s string) string { return strings.Replace(s, "package.install", "package.install2", 1) },
		"foreign": func(s string) string { return strings.ReplaceAll(s, `"governance"`, `"other"`) },
	} {
		f := newFixture(t)
		f.install(spec{id: "PKG-A"}, InstallOptions{})
		p := f.open()
		path := filepath.Join(f.path, governancePath)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := do(string(b))
		if text == string(b) {
			t.Fatalf("%s changes nothing", name)
		}
		write(t, path, text)
		root, err := session.OpenRoot(sealing(session.Options{Workspace: f.path}))
		if err != nil {
			t.Fatal(err)
		}
		var bad *ledger.IntegrityError
		if _, err := Open(root); !errors.As(err, &bad) {
			t.Errorf("%s: opened: %v", name, err)
		}
		root.Close()
		if _, err := p.Change(t.Context(), f.token, somebody(), "", ""); !errors.As(err, &bad) {
			t.Errorf("%s: changed: %v", name, err)
		}
	}
}

// TestForgedEntry: an entry that is sealed, but is none of a control plane, stops
// everything too: what it would have said is not known.
func TestForgedEntry(t *testing.T) {
	f := newFixture(t)
	p := f.open()
	log, err := p.log.open(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(log.commit(record.ContextSnapshot{SessionID: "SES-1"}), log.Close()); err != nil {
		t.Fatal(err)
	}
	root, err := session.OpenRoot(sealing(session.Options{Workspace: f.path}))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var bad *ledger.IntegrityError
	if _, err := Open(root); !errors.As(err, &bad) || bad.Line != 4 {
		t.Errorf("opened: %v", err)
	}
	if _, err := p.Change(t.Context(), f.token, somebody(), "", ""); !errors.As(err, &bad) || bad.Line != 4 {
		t.Errorf("changed: %v", err)
	}
	if _, _, err := Look(root, func(ledger.Entry, ledger.Body) {}); !errors.As(err, &bad) || bad.Line != 4 {
		t.Errorf("looked: %v", err)
	}
}
