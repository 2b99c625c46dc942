package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// brief writes steps as "steps SID:turn read… > published…".
func brief(steps []Step) []string {
	var all []string
	for _, s := range steps {
		text := fmt.Sprintf("%d %d:%d", s.Steps, number(string(s.Session)), s.Turn)
		for _, flows := range [][]Flow{s.Read, s.Published} {
			for _, f := range flows {
				if f.As == AsModule || f.As == AsPackage {
					text += " " + f.As
				} else {
					text += " " + f.Path
				}
				if f.OutOfOrder {
					text += "!"
				}
			}
			text += " >"
		}
		all = append(all, strings.TrimRight(text, " >"))
	}
	return all
}

func number(id string) (n int) {
	fmt.Sscanf(id[strings.LastIndex(id, "-")+1:], "%d", &n)
	return n
}

// briefUses writes uses as "SID:turn as path".
func briefUses(list []Use) []string {
	var all []string
	for _, u := range list {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%d:%d %s %s", number(string(u.Session)), u.Turn, u.As, u.Path)))
	}
	return all
}

func turn(reads, writes []file) []did { return []did{{reads: reads, writes: writes}} }

func files(names ...string) []file {
	var all []file
	for _, n := range names {
		path, content, ok := strings.Cut(n, "=")
		if !ok {
			content = path
		}
		all = append(all, file{path, content})
	}
	return all
}

// A content is followed through any number of turns, in both directions, under
// whatever names it lies.
func TestLineage(t *testing.T) {
	agent := story{pkg: "PKG-T3-A-001", version: "0.1.0", module: "wasm"}
	as := func(turns []did) story { s := agent; s.turns = turns; return s }
	t.Run("diamond", func(t *testing.T) {
		w := newWorld(t)
		w.run(sid(1), as(turn(files("in"), files("l", "r"))))
		w.run(sid(2), as(turn(files("l"), files("l2"))))
		w.run(sid(3), as(turn(files("copy/of/r=r"), files("r2"))))
		w.run(sid(4), as(turn(files("l2", "r2", "else"), files("end"))))
		w.run(sid(5), as(turn(files("else"), files("else2"))))
		d := w.explain(digits("in")).Digest
		same(t, "onward", brief(d.Reached), "1 1:1 in > l r", "2 2:1 l > l2", "2 3:1 copy/of/r > r2", "3 4:1 l2 r2 > end")
		same(t, "back", brief(d.Sources))
		d = w.explain(digits("end")).Digest
		same(t, "back", brief(d.Sources),
			"1 4:1 package module else l2 r2 > end", "2 2:1 package module l > l2", "2 3:1 package module copy/of/r > r2", "3 1:1 package module in > l r")
		same(t, "onward", brief(d.Reached))
		same(t, "made", briefUses(d.Made), "4:1 published end")
		d = w.explain(digits("l")).Digest
		same(t, "onward", brief(d.Reached), "1 2:1 l > l2", "2 4:1 l2 > end")
	})
	t.Run("cycle", func(t *testing.T) {
		w := newWorld(t)
		w.run(sid(1), as([]did{{reads: files("a"), writes: files("b")}, {reads: files("c"), writes: files("a")}}))
		w.run(sid(2), as(turn(files("b"), files("c"))))
		d := w.explain(digits("b")).Digest
		// Turn 1 of session 1 read a before turn 2 of it had published that.
		same(t, "onward", brief(d.Reached), "1 2:1 b > c", "2 1:2 c! > a", "3 1:1 a! > b")
		same(t, "back", brief(d.Sources), "1 1:1 package module a > b", "2 1:2 package module c > a!", "3 2:1 package module b > c!")
	})
	t.Run("itself", func(t *testing.T) {
		w := newWorld(t)
		w.run(sid(1), as(turn(files("a"), files("b=a"))))
		d := w.explain(digits("a")).Digest
		same(t, "onward", brief(d.Reached), "1 1:1 a > b")
		same(t, "back", brief(d.Sources), "1 1:1 package module a > b")
	})
	t.Run("nothing flows without bytes", func(t *testing.T) {
		w := newWorld(t)
		w.run(sid(1), as(turn(files("in"), files("empty="))))
		w.run(sid(2), as(turn(files("elsewhere="), files("out"))))
		d := w.explain(digits("in")).Digest
		same(t, "onward", brief(d.Reached), "1 1:1 in > empty")
		d = w.explain(digits("")).Digest
		same(t, "read", briefUses(d.Read), "2:1 read elsewhere")
		same(t, "made", briefUses(d.Made), "1:1 published empty")
	})
	t.Run("what was not published goes nowhere", func(t *testing.T) {
		w := newWorld(t)
		w.run(sid(1), as([]did{{reads: files("in"), writes: files("x"), status: record.StatusBlocked}}))
		w.run(sid(2), as(turn(files("x"), files("y"))))
		d := w.explain(digits("in")).Digest
		same(t, "onward", brief(d.Reached), "1 1:1 in")
		d = w.explain(digits("x")).Digest
		same(t, "made", briefUses(d.Made), "1:1 written x")
		same(t, "back", brief(d.Sources))
		same(t, "onward", brief(d.Reached), "1 2:1 x > y")
	})
	t.Run("a module that an agent made", func(t *testing.T) {
		w := newWorld(t)
		w.run(sid(1), as(turn(files("in"), files("tool.wasm=evil"))))
		w.run(sid(2), story{pkg: "PKG-T3-TOOL-001", version: "0.1.0", module: "evil", turns: []did{{reads: files("x"), writes: files("y")}, {writes: files("z")}}})
		w.run(sid(3), as(turn(files("y"), nil)))
		d := w.explain(digits("in")).Digest
		same(t, "onward", brief(d.Reached), "1 1:1 in > tool.wasm", "2 2:1 module > y", "2 2:2 module > z", "3 3:1 y")
		d = w.explain(digits("evil")).Digest
		same(t, "ran", briefUses(d.Ran), "2:0 module")
		d = w.explain(digits("y")).Digest
		same(t, "back", brief(d.Sources), "1 2:1 package module x > y", "2 1:1 package module in > tool.wasm")
	})
	t.Run("a library", func(t *testing.T) {
		w := newWorld(t)
		w.run(sid(1), as(turn(files("deps:PKG-T0-LIB-001/lib.py=poison", "pkg:own.py"), files("y"))))
		w.run(sid(2), as(turn(files("y"), nil)))
		d := w.explain(digits("poison")).Digest
		same(t, "onward", brief(d.Reached), "1 1:1 deps:PKG-T0-LIB-001/lib.py > y", "2 2:1 y")
		same(t, "by name", briefUses(w.explain("deps:PKG-T0-LIB-001/lib.py").Path.Read), "1:1 read deps:PKG-T0-LIB-001/lib.py")
	})
	t.Run("an archive that an agent made and somebody installed", func(t *testing.T) {
		packed := story{pkg: "PKG-T3-MADE-001", version: "0.1.0", module: "made", turns: []did{{writes: files("y")}}}
		archived := ledger.Sum([]byte("made.tar.gz"))
		w := newControl(t, record.PackageStore{Package: packed.of(), Archive: archived, Size: 11})
		w.run(sid(1), as(turn(files("in"), files("made.tar.gz"))))
		w.run(sid(2), packed)
		d := w.explain(digits("in")).Digest
		same(t, "onward", brief(d.Reached), "1 1:1 in > made.tar.gz", "2 2:1 package > y")
		d = w.explain(archived.String()).Digest
		if len(d.Packages) != 1 || d.Packages[0].As != "archive" || d.Packages[0].Seq != 4 {
			t.Errorf("got %+v, want the archive", d.Packages)
		}
		same(t, "back", brief(w.explain(digits("y")).Digest.Sources), "1 2:1 package module > y", "2 1:1 package module in > made.tar.gz")
	})
	t.Run("a library that is installed", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "lib.py"), []byte("poison"), 0o600); err != nil {
			t.Fatal(err)
		}
		lib, archived := installable(t, dir), ledger.Sum([]byte("lib.tar.gz"))
		w := newControl(t, record.PackageInstall{Package: lib, Plane: "ho3", Archive: archived})
		w.install(dir, lib.ID)
		w.run(sid(1), as(turn(files("deps:PKG-T0-LIB-001/lib.py=poison", "deps:PKG-T0-LIB-0010/x"), files("y"))))
		for _, digest := range []ledger.Hash{lib.SHA256, archived} {
			same(t, "onward", brief(w.explain(digest.String()).Digest.Reached), "1 1:1 deps:PKG-T0-LIB-001/lib.py > y")
		}
		p := w.explain(lib.ID).Package
		if len(p.Readers) != 1 || p.Readers[0].Package != agent.pkg || len(p.Readers[0].Files) != 1 {
			t.Errorf("read by %+v", p.Readers)
		}
	})
	t.Run("long and wide", func(t *testing.T) {
		w := newWorld(t)
		const n = 300
		for i := range n {
			w.run(sid(i), as(turn(files(fmt.Sprint("chain", i), "common"), files(fmt.Sprint("chain", i+1), "common2"))))
		}
		d := w.explain(digits("chain0")).Digest
		if len(d.Reached) != n || d.Reached[n-1].Steps != n {
			t.Errorf("%d turns, the last after %d steps; want %d", len(d.Reached), d.Reached[len(d.Reached)-1].Steps, n)
		}
		if got := len(w.explain(digits("common")).Digest.Reached); got != n {
			t.Errorf("%d turns come of the common one, want %d", got, n)
		}
		if got := len(w.explain(digits(fmt.Sprint("chain", n))).Digest.Sources); got != n {
			t.Errorf("it comes from %d turns, want %d", got, n)
		}
	})
}

// Names that guests chose are found as they are, and never within others.
func TestHostilePaths(t *testing.T) {
	names := []string{
		"a", "aa", "a/a", `a"b`, `","path":"a`, `a\`, `\"a`, "a\nb", "a\x01b", "\u202ea", "a\u2028b", "<a>&", "é", "e\u0301", "日本", "sha256:" + strings.Repeat("ab", 32),
		"PKG-T3-A-001", `"path":"a"`, "{", "}", " {", strings.Repeat("n/", 2047) + "x",
	}
	w := newWorld(t)
	for i, n := range names {
		w.run(sid(i), story{pkg: "PKG-T3-A-001", version: "0.1.0", turns: turn([]file{{n, fmt.Sprint("r", i)}}, []file{{n, fmt.Sprint("w", i)}})})
	}
	for range 2 { // without and with the index
		for i, n := range names {
			q := question{audit: w.audit(w.cache), out: &Explanation{Kind: KindPath, ID: n}}
			var err error
			q.index, err = q.audit.index(context.Background(), nil)
			w.check(err)
			w.check(q.aboutPath())
			p := q.out.Path
			if len(p.Read) != 1 || len(p.Written) != 1 || number(string(p.Read[0].Session)) != i || p.Read[0].Path != n || p.Written[0].Path != n {
				t.Errorf("%.80q: got %+v", n, p)
			}
		}
	}
	// A file that is called as a digest is written is none, and does not make the
	// beginning of one ambiguous.
	var unknown *UnknownError
	if _, err := w.audit(w.cache).Explain(context.Background(), strings.Repeat("ab", 10), nil); !errors.As(err, &unknown) {
		t.Errorf("got %v, want an UnknownError", err)
	}
	// A work order and a package are not found by what a guest called a file.
	for _, what := range []string{"WO-9", "PKG-T3-B-001"} {
		w.run(sid(100), story{pkg: "PKG-T3-A-001", version: "0.1.0", turns: turn(files(`","work_order_id":"WO-9","x":"`, `"id":"PKG-T3-B-001"`), nil)})
		w.check(os.RemoveAll(filepath.Dir(w.ledgerDir(sid(99)))))
		if _, err := w.audit(w.cache).Explain(context.Background(), what, nil); !errors.As(err, &unknown) {
			t.Errorf("%s: got %v, want an UnknownError", what, err)
		}
		w.check(os.RemoveAll(filepath.Dir(w.ledgerDir(sid(100)))))
	}
}

// A file tells who wrote it from what, who read it, and whether it still is that.
func TestExplainPath(t *testing.T) {
	w := newWorld(t)
	agent := story{pkg: "PKG-T3-A-001", version: "0.1.0", turns: turn(files("docs/in"), files("reports/a=one"))}
	w.run(sid(1), agent)
	agent.turns = turn(files("docs/in", "reports/a=one"), files("reports/a=two"))
	w.run(sid(2), agent)
	agent.turns = []did{{writes: files("reports/a=three"), status: record.StatusBlocked}}
	w.run(sid(3), agent)
	w.check(os.MkdirAll(filepath.Join(w.workspace, "reports"), 0o755))
	here := filepath.Join(w.workspace, "reports", "a")
	states := func(want string) {
		t.Helper()
		if got := w.explain("./reports/a").Path.Now; got == nil || got.State != want {
			t.Errorf("got %+v, want %s", got, want)
		}
	}
	states(NowGone)
	w.check(os.WriteFile(here, []byte("two"), 0o600))
	states(NowPublished)
	w.check(os.WriteFile(here, []byte("one"), 0o600))
	states(NowChanged)
	w.check(os.Remove(here), os.Symlink("/etc/passwd", here))
	states(NowUnreadable)
	w.check(os.Remove(here), os.Mkdir(here, 0o755))
	states(NowUnreadable)
	p := w.explain("reports/a").Path
	same(t, "read", briefUses(p.Read), "2:1 read reports/a")
	var written []Use
	for _, u := range p.Written {
		written = append(written, u.Use)
	}
	same(t, "written", briefUses(written), "1:1 published reports/a", "2:1 published reports/a", "3:1 written reports/a")
	if got := p.Written[1].Inputs; len(got) != 2 || got[0].Path != "docs/in" || got[1].SHA256.String() != digits("one") {
		t.Errorf("it was made from %+v", got)
	}
	if got := w.explain("docs/in").Path; got.Now == nil || got.Now.State != NowGone || len(got.Written) != 0 || len(got.Read) != 2 {
		t.Errorf("got %+v", got)
	}
}

// A session tells from which others its inputs came, and which read what it made.
func TestExplainSession(t *testing.T) {
	w := newWorld(t)
	agent := story{pkg: "PKG-T3-A-001", version: "0.1.0", turns: turn(files("docs/in"), files("a"))}
	w.run(sid(1), agent)
	agent.turns = []did{{reads: files("a", "docs/in"), writes: files("b")}, {order: "WO-2", reads: files("b"), status: record.StatusBlocked}}
	w.run(sid(2), agent)
	agent.turns = turn(files("elsewhere=b"), nil)
	w.run(sid(3), agent)
	e := w.explain(sid(2)[:len(sid(2))-3])
	s := e.Session
	if e.ID != sid(2) || s.State != "closed" || len(s.Turns) != 2 || s.Turns[1].Status != record.StatusBlocked || s.Turns[1].WorkOrder != "WO-2" {
		t.Errorf("got %+v", s)
	}
	meetings := func(list []Meeting) (all []string) {
		for _, m := range list {
			all = append(all, fmt.Sprintf("%d %s: %s", m.Turn, m.Path, strings.Join(briefUses(m.With), ", ")))
		}
		return all
	}
	same(t, "sources", meetings(s.Sources), "1 a: 1:1 published a", "2 b: 2:1 published b")
	same(t, "readers", meetings(s.Readers), "1 b: 2:2 read b, 3:1 read elsewhere")
	var request *RequestError
	if _, err := w.audit(w.cache).Explain(context.Background(), "SES-2026", nil); !errors.As(err, &request) {
		t.Errorf("got %v, want a RequestError", err)
	}
}

// A work order tells what was done under it, and what its file says.
func TestExplainWorkOrder(t *testing.T) {
	w := newWorld(t)
	w.run(sid(1), story{pkg: "PKG-T3-A-001", version: "0.1.0", turns: []did{{order: "WO-7"}, {order: "WO-70"}, {order: "WO-7"}}})
	o := w.explain("WO-7").WorkOrder
	if len(o.Turns) != 2 || o.Turns[1].Number != 3 || o.Order != nil || o.FileFault != "" {
		t.Errorf("got %+v", o)
	}
	dir := filepath.Join(w.root.Path(), filepath.FromSlash(ordersTop))
	w.check(os.MkdirAll(dir, 0o700))
	const good = `{"schema":"agenthost/work_order/v1","id":"WO-7","packages":["PKG-T3-A-001"],"capabilities":{"read":["docs/**"]}}`
	for text, fault := range map[string]string{
		good:                               "",
		`{"id":"WO-7"`:                     "planes/ho2/work_orders/WO-7.json",
		strings.Replace(good, "7", "8", 1): `planes/ho2/work_orders/WO-7.json: id: "WO-8" is not the name of the file`,
		good + strings.Repeat(" ", 1<<20):  "planes/ho2/work_orders/WO-7.json: not a regular file of at most 1048576 bytes",
	} {
		w.check(os.WriteFile(filepath.Join(dir, "WO-7.json"), []byte(text), 0o600))
		o := w.explain("WO-7").WorkOrder
		if fault == "" && (o.FileFault != "" || o.Order == nil || !slices.Contains(o.Rights, "may read docs/** (files of the workspace)")) || !strings.Contains(o.FileFault, fault) || len(o.Turns) != 2 {
			t.Errorf("%.120s: got %+v, want %q", text, o, fault)
		}
	}
	var unknown *UnknownError
	_, err := w.audit(w.cache).Explain(context.Background(), "WO-77", nil)
	if !errors.As(err, &unknown) {
		t.Fatalf("got %v, want an UnknownError", err)
	}
	same(t, "known", unknown.Known, "WO-7", "WO-70")
	same(t, "in words", inWords(capability.Grants{}, []string{"read but docs/** by work order WO-7", ".env*", "h"})[3:],
		"has not, by work order WO-7: read but docs/**", "does not see what the operator withholds: .env*, h")

	// Claims whose ledger is gone bad cannot be counted, and are not taken for none.
	ledgers := filepath.Join(w.root.Path(), "planes", "ho2", "ledger", "work_orders")
	w.check(os.MkdirAll(ledgers, 0o700))
	for _, id := range []string{"WO-7", "WO-77"} {
		w.check(os.WriteFile(filepath.Join(ledgers, id+".jsonl"), []byte("{}\n{}\n"), 0o600))
		if o := w.explain(id).WorkOrder; !strings.HasPrefix(o.ClaimsFault, "turns of work order "+id+": ") || o.Claimed != 0 {
			t.Errorf("got %+v", o)
		}
	}
}

// A package of a control plane tells all that governance.jsonl says of it.
func TestExplainPackage(t *testing.T) {
	dir := t.TempDir()
	lib := installable(t, dir)
	before := record.Package{ID: "PKG-T0-LIB-001", Version: "0.1.0", SHA256: ledger.Sum([]byte("lib 0.1.0"))}
	agent := story{pkg: "PKG-T3-A-001", version: "1.0.0", turns: []did{{}}}
	by, archived := record.Actor{UID: 7, User: "op"}, ledger.Sum([]byte("archive"))
	w := newControl(t,
		record.PackageInstall{By: by, Package: before, Plane: "ho3", Archive: ledger.Sum([]byte("archive before"))},
		record.PackageInstall{By: by, Package: lib, Plane: "ho3", Name: "Library", SpecID: "SPEC-1", Tier: "T0", Files: 1, Archive: archived, Size: 9, Signer: "op+key", Replaces: &before},
		record.PackageInstall{By: by, Package: agent.of(), Plane: "ho1", Dependencies: []record.Dependency{{ID: lib.ID, Version: ">=0.1.0"}, {ID: "PKG-T0-GONE-001"}}},
		record.ChangeRefused{By: by, Change: record.KindPackageInstall, Subject: lib.ID, Code: "not_trusted", Message: "no"},
		record.SessionPrune{By: by, SessionID: "SES-OLD", Plane: "ho1"},
	)
	installed := w.install(dir, lib.ID)
	manifest, err := os.ReadFile(filepath.Join(installed, "manifest.json"))
	w.check(err)
	w.run(sid(1), agent)
	w.run(sid(2), agent)

	p := w.explain(lib.ID).Package
	if len(p.Installed) != 1 || len(p.History) != 3 || len(p.Sessions) != 0 || p.Stored == nil || p.Stored.Archive != archived {
		t.Fatalf("got %+v", p)
	}
	i := p.Installed[0]
	if i.Plane != "ho3" || i.Version != "0.2.0" || i.Status != "active" || i.Tier != "T0" || i.Signer != "op+key" || i.By != by || i.Seq != 6 || i.Fault != "" {
		t.Errorf("got %+v", i)
	}
	same(t, "rights", i.Rights, "is a library: it does not run, other packages see its files read-only")
	if len(i.Dependents) != 1 || i.Dependents[0].ID != agent.pkg || i.Dependents[0].Range != ">=0.1.0" || i.Dependents[0].Plane != "ho1" {
		t.Errorf("needed by %+v", i.Dependents)
	}
	a := w.explain(agent.pkg).Package
	if d := a.Installed[0].Dependencies; len(d) != 2 || d[0].Version != "0.2.0" || d[0].Plane != "ho3" || d[1].Plane != "" {
		t.Errorf("depends on %+v", d)
	}
	if a.Installed[0].Fault == "" || a.Installed[0].Rights != nil {
		t.Errorf("its files are missing: got %+v", a.Installed[0])
	}
	if len(a.Sessions) != 2 || number(string(a.Sessions[0].Session)) != 2 || a.Sessions[0].Status != record.StatusOK {
		t.Errorf("ran in %+v, want the newest first", a.Sessions)
	}
	// One version of it:
	if p := w.explain(lib.ID + "@0.1.0").Package; len(p.Installed) != 0 || p.Stored != nil || len(p.History) != 2 {
		t.Errorf("got %+v", p)
	}
	// What lies there was changed:
	w.check(os.WriteFile(filepath.Join(installed, "manifest.json"), []byte(strings.Replace(string(manifest), "0.2.0", "0.2.1", 1)), 0o600))
	if i := w.explain(lib.ID).Package.Installed[0]; i.Rights != nil || !strings.Contains(i.Fault, "what lies there is not what was installed") {
		t.Errorf("got %+v", i)
	}
	if e := w.explain("SES-OLD"); e.Session != nil || e.Pruned == nil || e.Pruned.Seq != 12 {
		t.Errorf("got %+v", e)
	}
	d := w.explain(before.SHA256.String()).Digest
	if len(d.Packages) != 1 || d.Packages[0].As != "package" || d.Packages[0].Seq != 4 {
		t.Errorf("got %+v", d.Packages)
	}
	// A control plane whose record was changed explains nothing.
	flip(t, filepath.Join(w.workspace, "ledger", record.GovernanceFile), 300)
	var broken *ledger.IntegrityError
	if _, err := w.audit(w.cache).Explain(context.Background(), lib.ID, nil); !errors.As(err, &broken) {
		t.Errorf("got %v, want an IntegrityError", err)
	}
}

// What is asked tells its kind by its form.
func TestExplainForms(t *testing.T) {
	w := newWorld(t)
	hex := strings.Repeat("a", 64)
	for what, want := range map[string]string{
		"PKG-A": KindPackage, "PKG-A@1.0.0": KindPackage, "PKG-": "", "PKG-a/b": "", "PKG-A@": "", "PKG-A\n": "",
		"SES-1": KindSession, "@last": KindSession,
		"WO-1": KindWorkOrder, "WO-": "", "WO-../x": "",
		"sha256:" + hex: KindDigest, hex: KindDigest, hex[:12]: KindDigest, strings.ToUpper(hex): KindDigest,
		"sha256:": "", "sha256:" + hex[:11]: "", "sha256:" + hex + "a": "", "sha256:xyzxyzxyzxyz": "", hex + "a": "",
		hex[:11]: KindPath, "docs/a.md": KindPath, "./a": KindPath, "Makefile": KindPath, "deps:PKG-A/x": KindPath, "last": KindPath, "/a": KindPath, "/usr/bin/git": KindPath,
		"": "", ".": "", "..": "", "./": "", "../a": "", "/": "", "//a": "", "/a/": "", "/a/../b": "", "/a\x00": "", "a//b": "", "a/": "", "a/./b": "", "a\x00": "", strings.Repeat("a/", 2048) + "a": "",
	} {
		_, err := w.audit(w.cache).Explain(context.Background(), what, nil)
		var unknown *UnknownError
		var request *RequestError
		switch {
		case want == "" && errors.As(err, &request) && request.Hint != "":
		case want != "" && errors.As(err, &unknown) && unknown.Kind == want:
		default:
			t.Errorf("%.80q: got %v, want %q", what, err, want)
		}
	}
}
