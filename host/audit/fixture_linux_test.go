package audit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/audit/audittest"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// Sessions of the fixtures.
const (
	sesOne     = "SES-20260101-one"     // published out/report.md and reports/a.md
	sesTwo     = "SES-20260102-two"     // published reports/a.md anew
	sesBlocked = "SES-20260103-blocked" // one turn, which is kept
	sesOpen    = "SES-20260104-open"    // two turns
	sesPruned  = "SES-20260105-pruned"  // only what it published is there
)

const (
	lib  = "PKG-T0-LIB-001"  // in ho3
	tool = "PKG-T3-TOOL-001" // in ho1, needs lib
	kept = "PKG-T3-KEPT-001" // only stored
)

var actor = record.Actor{UID: 1, User: "tester"}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fixture is a root that is whole, and where it lies.
type fixture struct {
	t     testing.TB
	path  string // of the root
	token string
	n     int // how often it was opened

	strange bool // whoever opens it next trusts another host alone
}

// newPlane makes a control plane in which much has happened.
func newPlane(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, path: filepath.Join(t.TempDir(), "root")}
	ok(t, plane.Init(f.path, plane.Options{By: actor, Version: "test", Key: ledgertest.Host}, func(token string) error { f.token = token; return nil }))
	ok(t, os.WriteFile(filepath.Join(f.path, "control/policy.json"), []byte(`{"schema": "agenthost/policy/v1"}`), 0o600))
	f.change(func(c *plane.Change) {
		for _, p := range []struct{ id, version, more string }{
			{lib, "1.0.0", ""},
			{tool, "1.0.0", `, "dependencies": [{"id": "` + lib + `", "version": ">=1.0.0"}]`},
			{tool, "1.1.0", `, "dependencies": [{"id": "` + lib + `", "version": ">=1.0.0"}]`},
			{"PKG-T3-GONE-001", "1.0.0", ""},
		} {
			pkg, file := f.pack(p.id, p.version, p.more)
			if _, err := c.Install(pkg, file, plane.InstallOptions{}); err != nil {
				t.Fatal(err)
			}
			ok(t, pkg.Close())
		}
		ok(t, second(c.Uninstall("PKG-T3-GONE-001", "", false)))
		pkg, file := f.pack(kept, "1.0.0", "")
		ok(t, second(c.Store(pkg, file)))
		ok(t, pkg.Close())
		_, alice := key(t, "alice")
		ok(t, second(c.Trust(alice)))
		var refused *plane.RefusedError
		if _, err := c.Uninstall("PKG-T3-NONE-001", "", false); !errors.As(err, &refused) {
			t.Fatal(err)
		}
	})
	f.fill()
	root := f.open()
	pruned, err := root.Prune(context.Background(), sesPruned, false, true)
	ok(t, err)
	f.change(func(c *plane.Change) {
		ok(t, c.Prune(record.SessionPrune{SessionID: sesPruned, Plane: "ho1", Exec: headOf(pruned.Exec), Evidence: headOf(pruned.Evidence)}))
	})
	ok(t, second(root.Prune(context.Background(), sesPruned, false, false)))
	return f
}

// key is a pair of keys with a name.
func key(t testing.TB, name string) (signing, verifier string) {
	t.Helper()
	signing, verifier, err := archive.NewKey(name, strings.NewReader(strings.Repeat("k", 32)))
	ok(t, err)
	return signing, verifier
}

func second[T any](_ T, err error) error { return err }

func headOf(h ledger.Head) record.EvidenceHead {
	return record.EvidenceHead{Size: h.Size, Root: h.Root}
}

// newFolder makes the root of a workspace that is no control plane, in which much
// has happened.
func newFolder(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, path: filepath.Join(t.TempDir(), "workspace", session.DefaultRoot)}
	ok(t, os.Mkdir(filepath.Dir(f.path), 0o755))
	f.fill()
	root := f.open()
	ok(t, second(root.Prune(context.Background(), sesPruned, true, false)))
	return f
}

// fill makes the sessions.
func (f *fixture) fill() {
	f.t.Helper()
	root := f.open()
	make := func(id session.ID, open bool, turns ...audittest.Turn) {
		f.t.Helper()
		ok(f.t, audittest.Make(context.Background(), root, audittest.Session{
			ID: id, Plane: "ho1", Package: record.Package{ID: tool, Version: "1.0.0"}, Turns: turns, Open: open,
		}))
	}
	file := func(path, content string) []audittest.File { return []audittest.File{{Path: path, Content: content}} }
	make(sesOne, false, audittest.Turn{Writes: append(file("output/"+sesOne+"/sub/report.md", "one"), file("reports/a.md", "a of one")...)})
	make(sesTwo, false, audittest.Turn{Reads: file("reports/a.md", "a of one"), Writes: file("reports/a.md", "a of two"), WorkOrder: "WO-1"})
	make(sesBlocked, false, audittest.Turn{Writes: file("reports/b.md", "b"), Code: record.CodeUndeclaredWrite})
	make(sesOpen, true, audittest.Turn{Writes: file("output/"+sesOpen+"/x", "first")}, audittest.Turn{Writes: file("output/"+sesOpen+"/x", "second")})
	make(sesPruned, false, audittest.Turn{Writes: file("output/"+sesPruned+"/kept.md", "kept")})
	f.authorize()
}

// authorize gives what plane ho2 has of the sessions: a work order of which one
// turn was claimed, and a snapshot of a context.
func (f *fixture) authorize() {
	f.t.Helper()
	f.mkdir(ordersTop)
	f.mkdir(claimsTop)
	f.write(ordersTop+"/WO-1.json", `{"schema": "agenthost/work_order/v1", "id": "WO-1", "packages": ["`+tool+`"]}`)
	f.append(claimsTop+"/WO-1.jsonl", record.WorkOrderOptions("WO-1"), record.WorkOrderTurn{WorkOrder: "WO-1", SessionID: sesTwo, TurnNumber: 1})
	f.snapshot(sesOne)
}

// snapshot keeps a snapshot of a session's context, in the place of all others
// of it.
func (f *fixture) snapshot(id session.ID) {
	f.t.Helper()
	root := f.open()
	entry, data, err := New(root, nil, "").Snapshot(context.Background(), id, "ho1", time.Time{})
	ok(f.t, err)
	f.mkdir(snapshotsTop + "/" + string(id))
	ok(f.t, os.WriteFile(f.abs(fmt.Sprintf("%s/%s/%d.json", snapshotsTop, id, entry.Size)), data, 0o600))
	f.append(ledgersTop+"/context.jsonl", record.ContextOptions(), entry)
}

// append appends entries to a ledger that the host seals, which is made if there is
// none.
func (f *fixture) append(name string, o ledger.Options, bodies ...ledger.Body) {
	f.t.Helper()
	ok(f.t, appendSealed(f.path, name, o, bodies...))
}

func appendSealed(top, name string, o ledger.Options, bodies ...ledger.Body) error {
	path := filepath.Join(top, name)
	var err error
	if o.Key, err = ledgertest.Host(); err != nil {
		return err
	}
	plane := "ho2"
	if o.Session == record.GovernanceSession {
		plane = "ho3"
	}
	o.Origin = map[string]string{record.GovernanceSession: "agenthost/control/governance/", record.ContextSession: "agenthost/ho2/context/"}[o.Session]
	o.Origin = cmp.Or(o.Origin, "agenthost/ho2/workorders/"+o.Session+"/") + "0123456789abcdef"
	var first record.HostKey
	for e, err := range ledger.Read(path) {
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err := errors.Join(err, e.Decode(&first)); err != nil {
			return err
		}
		o.Origin = first.Origin
		break
	}
	var log *ledger.Log
	if first.Key != "" {
		o.Keys = &record.HostKeys{}
		log, err = ledger.Open(path, o)
	} else if log, err = ledger.Create(path, o); err == nil {
		bodies = append([]ledger.Body{record.HostKey{Origin: o.Origin, Key: o.Key.Verifier().String()}}, bodies...)
	}
	if err != nil {
		return err
	}
	for _, b := range bodies {
		_, failed := log.Commit(0, b)
		err = errors.Join(err, failed)
	}
	at, _ := log.Sealed()
	return errors.Join(err, log.Close(), registerHead(top, plane, o.Session, at))
}

// registerHead has the register of a plane know a ledger.
func registerHead(top, plane, name string, at ledger.Checkpoint) error {
	return registerBy(ledgertest.Host, top, plane, name, at)
}

// registerBy is registerHead by a host of that key, which trusts itself.
func registerBy(key func() (*ledger.Key, error), top, plane, name string, at ledger.Checkpoint) error {
	dir, err := beneath.Open(top)
	if err != nil {
		return err
	}
	defer dir.Close()
	r := register.New(dir, top, plane, register.Options{Key: key, Hosts: func() ([]ledger.Verifier, error) {
		k, err := key()
		return []ledger.Verifier{k.Verifier()}, err
	}})
	change := register.Change{Kind: record.KindSessionOpen, Session: name, Is: register.Head{Size: at.Size, Root: at.Root}}
	known, found, err := r.Find(context.Background(), name)
	if found {
		change.Kind, change.Was = record.KindSessionHead, &known.Head
	}
	if err == nil {
		err = r.Record(context.Background(), change)
	}
	return errors.Join(err, r.Close())
}

// copy is the same root somewhere else.
func (f *fixture) copy(t testing.TB) *fixture {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Dir(f.path), filepath.Join(dir, "copy")
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	return &fixture{t: t, path: filepath.Join(to, filepath.Base(f.path)), token: f.token, n: f.n}
}

// open opens the root until the test ends.
func (f *fixture) open() *session.Root {
	f.t.Helper()
	return f.openWith(session.Options{})
}

// openWith opens the root with a clock and a randomness that make the same root
// every time.
func (f *fixture) openWith(o session.Options) *session.Root {
	f.t.Helper()
	f.n++
	now := time.Date(2026, 1, 1, f.n, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	o.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Millisecond)
		return now
	}
	o.Random = &random{source: rand.NewChaCha8([32]byte{byte(f.n)})}
	o.Key, o.Hosts = ledgertest.Host, ledgertest.Hosts
	if f.strange {
		o.Key, o.Hosts = func() (*ledger.Key, error) { return ledgertest.Other(2) }, nil
	}
	o.Workspace = f.path
	if filepath.Base(f.path) == session.DefaultRoot {
		o.Workspace = filepath.Dir(f.path)
	}
	root, err := session.OpenRoot(o)
	ok(f.t, err)
	f.t.Cleanup(func() { root.Close() })
	return root
}

// random is randomness for several at once.
type random struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

func (r *random) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source.Read(b)
}

// change changes the control plane.
func (f *fixture) change(do func(*plane.Change)) { f.t.Helper(); f.changeIn(f.open(), do) }

func (f *fixture) changeIn(root *session.Root, do func(*plane.Change)) {
	f.t.Helper()
	p, err := plane.Open(root)
	ok(f.t, err)
	c, err := p.Change(context.Background(), f.token, actor, "test", "")
	ok(f.t, err)
	do(c)
	ok(f.t, c.Close())
}

// pack packs a library of three files.
func (f *fixture) pack(id, version, more string) (*archive.Package, string) {
	f.t.Helper()
	dir := filepath.Join(f.t.TempDir(), id)
	ok(f.t, os.MkdirAll(filepath.Join(dir, "docs"), 0o755))
	_, tier, _ := strings.Cut(id, "-")
	for name, content := range map[string]string{
		"manifest.json": fmt.Sprintf(`{"schema": "agenthost/package/v1", "id": %q, "version": %q, "tier": %q%s}`, id, version, tier[:2], more),
		"a.txt":         "a of " + version,
		"docs/b.txt":    "b",
	} {
		ok(f.t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	file := dir + ".tar.gz"
	pkg, err := archive.PackFile(file, dir, archive.PackOptions{})
	ok(f.t, err)
	return pkg, file
}

// abs is the path of something in the root.
func (f *fixture) abs(name string) string { return filepath.Join(f.path, filepath.FromSlash(name)) }

func (f *fixture) read(name string) []byte {
	f.t.Helper()
	b, err := os.ReadFile(f.abs(name))
	ok(f.t, err)
	return b
}

// write writes a file in the place of what is there, with its mode.
func (f *fixture) write(name, content string) {
	f.t.Helper()
	mode := os.FileMode(0o644)
	if info, err := os.Lstat(f.abs(name)); err == nil {
		mode = info.Mode().Perm()
		ok(f.t, os.Remove(f.abs(name)))
	}
	ok(f.t, os.MkdirAll(filepath.Dir(f.abs(name)), 0o755))
	ok(f.t, os.WriteFile(f.abs(name), []byte(content), mode))
}

// swap replaces a text in a file by another.
func (f *fixture) swap(name, old, new string) {
	f.t.Helper()
	b := f.read(name)
	if !bytes.Contains(b, []byte(old)) {
		f.t.Fatalf("%s does not hold %q", name, old)
	}
	f.write(name, strings.Replace(string(b), old, new, 1))
}

func (f *fixture) remove(name string) {
	f.t.Helper()
	if _, err := os.Lstat(f.abs(name)); err != nil {
		f.t.Fatal(err)
	}
	ok(f.t, os.RemoveAll(f.abs(name)))
}

func (f *fixture) chmod(name string, mode os.FileMode) {
	f.t.Helper()
	ok(f.t, os.Chmod(f.abs(name), mode))
}

// govern appends entries that a plane would refuse to its ledger, and writes the
// views that follow.
func (f *fixture) govern(bodies ...ledger.Body) {
	f.t.Helper()
	f.append(governancePath, record.GovernanceOptions(), bodies...)
	state, _, err := plane.Look(f.open(), func(ledger.Entry, ledger.Body) {})
	ok(f.t, err)
	f.write(registryPath, string(plane.RegistryCSV(state)))
	keys := ""
	for _, k := range state.Trusted {
		keys += k + "\n"
	}
	f.write("control/trusted_keys", keys)
}

// installed is the entry of an installed package.
func (f *fixture) installed(id string) record.PackageInstall {
	f.t.Helper()
	state, _, err := plane.Look(f.open(), func(ledger.Entry, ledger.Body) {})
	ok(f.t, err)
	found := state.Find(id, "")
	if len(found) != 1 {
		f.t.Fatalf("%s is installed %d times", id, len(found))
	}
	return found[0].PackageInstall
}

// findings checks the root, and puts each finding on a line.
func (f *fixture) findings(root *session.Root) []string {
	f.t.Helper()
	got, err := CheckIntegrity(context.Background(), root, IntegrityOptions{})
	ok(f.t, err)
	return lines(got)
}

func lines(got Integrity) []string {
	list := []string{}
	for _, f := range got.Findings {
		at := f.Path
		if f.Line > 0 {
			at += fmt.Sprintf(":%d", f.Line)
		}
		list = append(list, fmt.Sprintf("%s %s %q: %s", f.Severity, f.Code, at, f.Message))
	}
	return list
}
