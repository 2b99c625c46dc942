package plane

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// linesOf are the lines of a file, without newlines.
func linesOf(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

var (
	seqMember  = regexp.MustCompile(`"seq":\d+,`)
	sealMember = regexp.MustCompile(`"size":\d+,"root":"[^"]+","prev_size":\d+`)
)

// rechained makes a ledger of lines as somebody does who has no key: each seq, prev
// and hash is right, and so is all in a seal but the signature.
func rechained(lines []string) string { return chained(lines, true) }

// chained is rechained, with the seals as they are if not.
func chained(lines []string, seals bool) string {
	var (
		b        strings.Builder
		tree     ledger.Tree
		prev     ledger.Hash
		prevSize uint64
	)
	for n, line := range lines {
		line, _, _ = strings.Cut(line, `,"prev":"`)
		line = seqMember.ReplaceAllString(line, fmt.Sprintf(`"seq":%d,`, n))
		if seals && isSeal(line) {
			line = sealMember.ReplaceAllString(line, fmt.Sprintf(`"size":%d,"root":"%v","prev_size":%d`, n, tree.Root(), prevSize))
			prevSize = uint64(n)
		}
		line += `,"prev":"` + hex.EncodeToString(prev[:]) + `"`
		prev = sha256.Sum256([]byte("\x00" + line))
		tree.Add(prev)
		b.WriteString(line + `,"hash":"` + hex.EncodeToString(prev[:]) + "\"}\n")
	}
	return b.String()
}

// without takes lines out.
func without(lines []string, gone func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(lines), gone)
}

func isSeal(line string) bool { return strings.Contains(line, `"kind":"seal"`) }

// tryOpen opens the plane as that host, and returns what it says.
func (f *fixture) tryOpen() (State, error) {
	f.t.Helper()
	root, err := session.OpenRoot(f.options(session.Options{Workspace: f.path}))
	if err != nil {
		f.t.Fatal(err)
	}
	defer root.Close()
	p, err := Open(root)
	if err != nil {
		return State{}, err
	}
	return p.State(), nil
}

// readAlone reads governance.jsonl without the register.
func (f *fixture) readAlone() error {
	f.t.Helper()
	root, err := session.OpenRoot(f.options(session.Options{Workspace: f.path}))
	if err != nil {
		f.t.Fatal(err)
	}
	defer root.Close()
	_, _, err = governanceBook(root).readAlone(nil, nil)
	return err
}

// TestRewritten: whoever lacks the key can make every hash right, and no seal: what
// was changed, added, moved or taken out is found before anything follows from it.
func TestRewritten(t *testing.T) {
	f := newFixture(t)
	f.install(spec{id: "PKG-A"}, InstallOptions{})
	_, alice := newKey(t, "alice")
	f.change(func(c *Change) {
		if _, err := c.Trust(alice); err != nil {
			t.Fatal(err)
		}
	})
	f.install(spec{id: "PKG-B"}, InstallOptions{})
	path := filepath.Join(f.path, governancePath)
	good := linesOf(t, path)
	if got := rechained(good); got != strings.Join(good, "\n")+"\n" {
		t.Fatalf("got\n%s\nwant\n%s", got, strings.Join(good, "\n"))
	}
	other, err := ledgertest.Other(2)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ledgertest.Host()
	if err != nil {
		t.Fatal(err)
	}
	edited := slices.Clone(good)
	edited[3] = strings.Replace(edited[3], `"plane":"ho1"`, `"plane":"ho3"`, 1)
	if edited[3] == good[3] {
		t.Fatal("line 4 is not that of PKG-A")
	}
	first := func(old, new string) []string {
		return slices.Replace(slices.Clone(good), 0, 1, strings.Replace(good[0], old, new, 1))
	}
	_, id, _ := strings.Cut(good[0], "control/governance/")
	id = id[:16]
	const unsigned = "the seal does not count: the signature is wrong"
	for name, c := range map[string]struct {
		text string
		line int
		want string
	}{
		"an entry is edited":             {rechained(edited), 9, unsigned},
		"an entry is edited, seals stay": {chained(edited, false), 5, "the seal signs the root sha256:"},
		"a distrust is put in":           {rechained(slices.Insert(slices.Clone(good), 7, strings.Replace(good[5], "signer.trust", "signer.distrust", 1))), 10, unsigned},
		"a change is taken out":          {rechained(slices.Delete(slices.Clone(good), 5, 7)), 7, unsigned},
		"a change without its seal":      {rechained(slices.Delete(slices.Clone(good), 5, 6)), 8, unsigned},
		"changes are swapped":            {rechained(slices.Concat(good[:3], good[5:7], good[3:5], good[7:])), 9, unsigned},
		"a seal is taken out":            {rechained(slices.Delete(slices.Clone(good), 4, 5)), 8, unsigned},
		"a seal is out, the others stay": {chained(slices.Delete(slices.Clone(good), 4, 5), false), 6, "the seal is of 6 entries, and stands behind 5"},
		"all seals but the last":         {rechained(append(without(good, isSeal), good[len(good)-1])), 6, unsigned},
		"a seal is repeated":             {rechained(append(slices.Clone(good), good[len(good)-1])), 10, unsigned},
		"another host":                   {rechained(first(own.Verifier().String(), other.Verifier().String())), 9, "the seal does not count: another key signed it"},
		"no host":                        {rechained(good[1:]), 1, "control.init: a ledger of a host begins with host.key"},
		"the host comes later":           {rechained(slices.Concat(good[1:2], good[:1], good[2:])), 1, "control.init: a ledger of a host begins with host.key"},
		"another kind's origin":          {rechained(first("control/governance", "ho2/workorders/WO-7")), 1, `host.key: the origin is "agenthost/ho2/workorders/WO-7/`},
		"another's origin":               {rechained(first(id, "0123456789abcdef")), 9, unsigned},
		"no id":                          {rechained(first(id, "")), 1, `host.key: the origin is "agenthost/control/governance/", want agenthost/control/governance/ and 16 hexadecimal digits`},
		"a short id":                     {rechained(first(id, id[2:])), 1, `host.key: the origin is "agenthost/control/governance/`},
		"the first change is not there":  {rechained(without(good, func(line string) bool { return strings.Contains(line, "control.init") })), 8, unsigned},
	} {
		write(t, path, c.text)
		err := f.readAlone()
		var bad *ledger.IntegrityError
		if !errors.As(err, &bad) || bad.Line != c.line || !strings.HasPrefix(bad.Reason, c.want) {
			t.Errorf("%s: got %v\nwant line %d: %s", name, err, c.line, c.want)
		}
		if _, err := f.tryOpen(); !errors.As(err, &bad) {
			t.Errorf("%s: opened: %v", name, err)
		}
	}

	// Without any seal nothing was ever said, and the register knows better.
	write(t, path, rechained(without(good, isSeal)))
	var bad *ledger.IntegrityError
	if _, err := f.tryOpen(); !errors.As(err, &bad) || bad.Line != 1 ||
		bad.Reason != "host.key: the write that commits it was cut short: it has no seal, and the register of ho3 knows 8: it was cut, or rolled back" {
		t.Errorf("without seals: %v", err)
	}
}

// unchanged checks that nobody wrote to a root.
func (f *fixture) unchanged(what string, do func()) {
	f.t.Helper()
	path := filepath.Join(f.path, governancePath)
	before, was := tree(f.t, f.path), linesOf(f.t, path)
	do()
	differ(f.t, what, tree(f.t, f.path), before)
	differ(f.t, what, linesOf(f.t, path), was)
}

// TestUnsealedEnd: whole entries behind the last seal are what an unfinished write
// leaves, whoever wrote them: nothing follows from them, and the next change sets
// them aside and notes it.
func TestUnsealedEnd(t *testing.T) {
	f := newFixture(t)
	f.install(spec{id: "PKG-A"}, InstallOptions{})
	_, alice := newKey(t, "alice")
	base := f.copyOf()
	f.change(func(c *Change) {
		if _, err := c.Trust(alice); err != nil {
			t.Fatal(err)
		}
	})
	more := linesOf(t, filepath.Join(f.path, governancePath))
	eve, err := ledgertest.Other(3)
	if err != nil {
		t.Fatal(err)
	}
	host, err := ledgertest.Host()
	if err != nil {
		t.Fatal(err)
	}
	intruder := strings.Replace(more[0], host.Verifier().String(), eve.Verifier().String(), 1)
	good := more[:len(more)-2]
	for name, tail := range map[string][]string{
		"one":                    {more[5]},
		"several":                {more[5], strings.Replace(more[3], "PKG-A", "PKG-E", 1), more[5]},
		"with a host of its own": {intruder, more[5]},
		"a host alone":           {intruder},
		"what was not finished":  {more[5], strings.Replace(more[5], `"kind"`, `"kin`, 1)},
	} {
		f := base.copyOf()
		path := filepath.Join(f.path, governancePath)
		text := rechained(slices.Concat(good, tail))
		if name == "what was not finished" {
			text = text[:len(text)-40]
		}
		write(t, path, text)
		f.unchanged(name, func() {
			s, err := f.tryOpen()
			if err != nil || len(s.Trusted) != 0 || s.Head.Size != uint64(len(good)) || len(s.Installed) != 1 {
				t.Errorf("%s: got %+v, %v", name, s, err)
			}
			root, err := session.OpenRoot(f.options(session.Options{Workspace: f.path}))
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			s, report, err := Look(root, func(ledger.Entry, ledger.Body) {})
			if err != nil || len(s.Trusted) != 0 || report.Torn == nil || report.Entries != uint64(len(good)) {
				t.Errorf("%s: got %+v, %+v, %v", name, s, report, err)
			}
		})
		f.change(func(c *Change) {
			if len(c.State().Trusted) != 0 {
				t.Errorf("%s: %q are trusted", name, c.State().Trusted)
			}
		})
		debris, ok := f.last().(record.Recovered)
		b, err := os.ReadFile(filepath.Join(filepath.Dir(path), debris.File))
		if want := strings.TrimPrefix(text, strings.Join(good, "\n")+"\n"); !ok || err != nil || string(b) != want || debris.SHA256 != ledger.Sum(b) {
			t.Errorf("%s: noted %+v, %v: %s\nwant\n%s", name, debris, err, b, want)
		}
		if got := f.kinds(); !slices.Equal(got, []string{"control.init", "package.install", "recovered"}) {
			t.Errorf("%s: got %q", name, got)
		}
		f.install(spec{id: "PKG-B"}, InstallOptions{})
	}
}

// TestAnotherHost: another host goes on with the ledgers of one that it trusts, and
// says so in them; who does not trust that one reads none of them, and writes
// nothing.
func TestAnotherHost(t *testing.T) {
	f := newFixture(t)
	f.install(spec{id: "PKG-A"}, InstallOptions{})
	putOrder(t, f.path, "WO-7", `,"turns":5`)
	write(t, filepath.Join(f.path, "FORMAT"), session.FormatControl)
	work := func() (claims *WorkOrders, snaps *Snapshots) {
		root, err := session.OpenRoot(f.options(session.Options{Workspace: f.path}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { root.Close() })
		return NewWorkOrders(root, nil), NewSnapshots(root, nil)
	}
	used := func(session string) {
		t.Helper()
		w, s := work()
		of, data := aSnapshot(session, 1, "x")
		if err := claim(w, readOrder(t, w, "WO-7"), 1); err != nil {
			t.Error(err)
		}
		if _, err := s.Keep(t.Context(), of, data); err != nil {
			t.Error(err)
		}
	}
	used("SES-1")
	f.host = 2
	f.install(spec{id: "PKG-B"}, InstallOptions{})
	used("SES-2")
	f.install(spec{id: "PKG-C"}, InstallOptions{})
	var kinds []string
	for _, e := range f.entries() {
		kinds = append(kinds, e.Kind)
	}
	if want := []string{
		"host.key", "control.init", "seal", "package.install", "seal",
		"host.key", "package.install", "seal", "package.install", "seal",
	}; !slices.Equal(kinds, want) {
		t.Errorf("got %q", kinds)
	}
	w, s := work()
	if claims, err := w.Claims("WO-7"); err != nil || len(claims) != 2 {
		t.Errorf("got %v, %v", claims, err)
	}
	if known, err := s.Of("SES-2"); err != nil || len(known) != 1 {
		t.Errorf("got %v, %v", known, err)
	}

	f.host = 0
	key, err := ledgertest.Other(2)
	if err != nil {
		t.Fatal(err)
	}
	f.unchanged("by one who does not trust it", func() {
		unknown := func(what, name string, err error) {
			t.Helper()
			var u *record.UnknownHostError
			if !errors.As(err, &u) || u.Host.String() != key.Verifier().String() || u.Ledger != name {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := f.tryOpen()
		unknown("open", "the register of ho3", err)
		unknown("read", governancePath, f.readAlone())
		root, err := session.OpenRoot(f.options(session.Options{Workspace: f.path}))
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		state, _, err := Look(root, func(ledger.Entry, ledger.Body) {})
		if unknown("look", governancePath, err); len(state.Installed) != 3 {
			t.Errorf("got %+v", state)
		}
		p := &Plane{dir: root.Folder(), path: root.Path(), opts: root.Options(), log: governanceBook(root)}
		_, err = p.Change(t.Context(), f.token, somebody(), "test", "")
		unknown("change", "the register of ho3", err)
		unknown("replace token", "the register of ho3", p.ReplaceToken(t.Context(), somebody(), func(string) error { t.Error("it was shown"); return nil }))
		w, s := work()
		claims, err := w.Claims("WO-7")
		if unknown("claims", "the register of ho2", err); claims != nil {
			t.Errorf("got %v", claims)
		}
		unknown("check", "the register of ho2", w.Check(readOrder(t, w, "WO-7"), aPackage))
		unknown("claim", "the register of ho2", claim(w, readOrder(t, w, "WO-7"), 9))
		known, err := s.Of("SES-1")
		if unknown("snapshots", "the register of ho2", err); known != nil {
			t.Errorf("got %v", known)
		}
		_, _, err = w.book("WO-7").readAlone(nil, nil)
		unknown("read claims", claimFolder+"/WO-7.jsonl", err)
		_, _, err = s.book().readAlone(nil, nil)
		unknown("read snapshots", snapshotLedger, err)
		of, data := aSnapshot("SES-1", 1, "x")
		_, err = s.Keep(t.Context(), of, data)
		unknown("keep", "the register of ho2", err)
	})
}

// TestForeignSeals: a seal by a host that was not introduced, or was before another,
// does not count, and what somebody introduced and sealed is somebody's.
func TestForeignSeals(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(f.path, governancePath)
	seal := func(n byte, introduce bool) {
		t.Helper()
		key, err := ledgertest.Other(n)
		if err != nil {
			t.Fatal(err)
		}
		_, origin, _ := strings.Cut(linesOf(t, path)[0], `"origin":"`)
		origin, _, _ = strings.Cut(origin, `"`)
		o := record.GovernanceOptions()
		o.Key, o.Origin = key, origin
		log, err := ledger.Open(path, o)
		if err != nil {
			t.Fatal(err)
		}
		bodies := []ledger.Body{record.TokenRotate{By: somebody()}}
		if introduce {
			bodies = append([]ledger.Body{record.HostKey{Origin: origin, Key: key.Verifier().String()}}, bodies...)
		}
		if _, err := log.Commit(0, bodies...); errors.Join(err, log.Close()) != nil {
			t.Fatal(err)
		}
	}
	const own, eve = 1, 3
	var bad *ledger.IntegrityError
	var unknown *record.UnknownHostError
	refused := func(what string, line int) {
		t.Helper()
		_, err := f.tryOpen()
		if !errors.As(err, &bad) || bad.Line != line || bad.Reason != "the seal does not count: another key signed it" {
			t.Errorf("%s: %v", what, err)
		}
	}
	whole := strings.Join(linesOf(t, path), "\n") + "\n"
	seal(eve, false)
	refused("by nobody who was introduced", 5)
	write(t, path, whole)
	seal(eve, true)
	if _, err := f.tryOpen(); !errors.As(err, &unknown) || unknown.Ledger != governancePath {
		t.Errorf("by somebody: %v", err)
	}
	// As if nobody had come between.
	seal(own, false)
	refused("by the host before", 8)
	write(t, path, whole)
	seal(own, false)
	if _, err := f.tryOpen(); err != nil {
		t.Error(err)
	}
}

// TestNoKey: without the key of the host nothing is written, and nothing is made.
func TestNoKey(t *testing.T) {
	f := newFixture(t)
	putOrder(t, f.path, "WO-7", "")
	write(t, filepath.Join(f.path, "FORMAT"), session.FormatControl)
	gone := errors.New("it cannot be read")
	for want, key := range map[string]func() (*ledger.Key, error){
		"no host key was given":       nil,
		"host key: it cannot be read": func() (*ledger.Key, error) { return nil, gone },
	} {
		root, err := session.OpenRoot(session.Options{Workspace: f.path, Key: key, Hosts: ledgertest.Hosts})
		if err != nil {
			t.Fatal(err)
		}
		p, err := Open(root) // reading needs none
		if err != nil {
			t.Fatal(err)
		}
		w, s := NewWorkOrders(root, nil), NewSnapshots(root, nil)
		of, data := aSnapshot("SES-1", 1, "x")
		_, changed := p.Change(t.Context(), f.token, somebody(), "test", "")
		_, kept := s.Keep(t.Context(), of, data)
		for what, err := range map[string]error{"change": changed, "claim": claim(w, readOrder(t, w, "WO-7"), 1), "keep": kept} {
			if err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", what, err, want)
			}
		}
		for _, name := range []string{claimFolder + "/WO-7.jsonl", snapshotLedger} {
			if _, err := os.Lstat(filepath.Join(f.path, name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
		root.Close()
	}
	path := filepath.Join(memory(t), "root")
	if err := Init(path, Options{}, func(string) error { t.Error("a token was shown"); return nil }); err == nil || !strings.HasSuffix(err.Error(), "no host key was given") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}
