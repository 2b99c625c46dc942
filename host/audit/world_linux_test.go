package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// world is a root whose sessions are written down without being run.
type world struct {
	t         testing.TB
	workspace string
	root      *session.Root
	control   *plane.Plane
	cache     string
	clock     time.Time // of the ledgers; each entry is a second later
	later     time.Duration
}

// newWorld makes one in a plain workspace.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, workspace: quickDir(t), cache: filepath.Join(t.TempDir(), "cache"), clock: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), later: time.Hour}
	w.open()
	w.check(w.root.Ensure())
	return w
}

// newControl makes one in a control plane with these changes.
func newControl(t testing.TB, changes ...ledger.Body) *world {
	t.Helper()
	w := &world{t: t, workspace: quickDir(t), cache: filepath.Join(t.TempDir(), "cache"), clock: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), later: time.Hour}
	w.check(os.WriteFile(filepath.Join(w.workspace, "FORMAT"), []byte(session.FormatControl), 0o600))
	w.check(os.Mkdir(filepath.Join(w.workspace, "ledger"), 0o700))
	options := record.GovernanceOptions()
	options.Now, options.Durable = w.tick, nil
	w.check(appendSealed(w.workspace, "ledger/"+record.GovernanceFile, options, append([]ledger.Body{record.ControlInit{Token: ledger.Sum([]byte("token"))}}, changes...)...))
	w.open()
	var err error
	w.control, err = plane.Open(w.root)
	w.check(err)
	return w
}

// quickDir is a folder in memory where there is one: what is timed here is not
// the disk.
func quickDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "agenthost-audit-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.root, err = session.OpenRoot(session.Options{Key: ledgertest.Host, Hosts: ledgertest.Hosts, Workspace: w.workspace})
	w.check(err)
	w.t.Cleanup(func() { w.root.Close() })
}

func (w *world) check(errs ...error) {
	w.t.Helper()
	if err := errors.Join(errs...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tick() time.Time {
	w.clock = w.clock.Add(time.Second)
	return w.clock
}

// write writes a ledger; the turn of an entry follows from its kind.
func (w *world) write(path string, o ledger.Options, bodies []ledger.Body) {
	w.t.Helper()
	log, err := ledger.Create(path, o)
	w.check(err)
	turn, in := 0, false
	for _, b := range bodies {
		at := 0
		if b.Kind() == record.KindTurnBegin {
			turn, in = turn+1, true
		}
		if in {
			at = turn
		}
		if b.Kind() == record.KindTurnEnd {
			in = false
		}
		if o.Sealed(ledger.Entry{Kind: b.Kind()}) {
			_, err = log.Commit(at, b)
		} else {
			_, err = log.Append(at, b)
		}
		w.check(err)
	}
	w.check(log.Close())
}

// after is the seq behind bodies and the seals of those that are committed.
func after(bodies []ledger.Body) int {
	n, sealed := len(bodies), record.ExecOptions("").Sealed
	for _, b := range bodies {
		if sealed(ledger.Entry{Kind: b.Kind()}) {
			n++
		}
	}
	return n
}

// file is a name and a content.
type file struct{ path, content string }

func (f file) hash() ledger.Hash { return ledger.Sum([]byte(f.content)) }

// did is what a turn did.
type did struct {
	order  string
	reads  []file
	writes []file
	status string // empty: ok
	runs   []command
	open   bool // it has not ended
	broken bool // it publishes what it did not write
}

// command is one that a turn ran.
type command struct {
	program, interpreter file
	view                 string // content of the blob; empty: it saw nothing
}

// entries are those of a command; its exec.start has that seq.
func (c command) entries(seq int) []ledger.Body {
	as := func(f file) record.File {
		return record.File{Path: f.path, SHA256: f.hash(), Size: int64(len(f.content))}
	}
	start := record.ExecStart{Argv: record.Blob{Blob: ledger.Sum([]byte("argv"))}, Dir: ".", Program: as(c.program), Fence: record.Fence{Tier: record.FenceFull}}
	start.View.Blob = record.Blob{Blob: ledger.Sum([]byte(c.view)), Size: int64(len(c.view))}
	if c.interpreter.path != "" {
		i := as(c.interpreter)
		start.Interpreter = &i
	}
	return []ledger.Body{
		record.Op{Op: record.OpExec, Via: record.ViaABI, Path: "run it", Decision: record.Granted, Errno: record.ErrnoSuccess},
		start,
		record.ExecEnd{Of: uint64(seq), Exit: 3},
	}
}

// story is what a session did.
type story struct {
	pkg, version, module string
	turns                []did
	open                 bool
}

func (s story) of() record.Package {
	return record.Package{ID: s.pkg, Version: s.version, SHA256: ledger.Sum([]byte("tar of " + s.pkg + s.version))}
}

// run writes a session down.
func (w *world) run(id string, s story) {
	w.t.Helper()
	dir := w.ledgerDir(id)
	w.check(os.MkdirAll(dir, 0o700))
	bodies := []ledger.Body{record.SessionOpen{
		Agenthost: "0.1.0", Package: s.of(), ModuleSHA256: ledger.Sum([]byte(s.module)), Plane: "ho1", Engine: "none", Arch: "any", Seed: ledger.Sum([]byte("seed")),
	}}
	ended := true
	for _, t := range s.turns {
		bodies, ended = append(bodies, t.entries(after(bodies))...), !t.open
	}
	if !s.open && ended {
		bodies = append(bodies, record.SessionClose{Turns: int64(len(s.turns))})
	}
	o := record.ExecOptions(id)
	o.Now, o.SyncLater, o.Durable, o.Origin = w.tick, true, nil, record.ExecOrigin("ho1", id)
	key, err := ledgertest.Host()
	w.check(err)
	o.Key = key // none is asked for here
	w.write(filepath.Join(dir, record.ExecFile), o, bodies)
	w.check(os.WriteFile(filepath.Join(dir, record.EvidenceFile), nil, 0o600))
}

func (w *world) ledgerDir(id string) string {
	return filepath.Join(w.root.Path(), "planes", "ho1", "sessions", id, "ledger")
}

func (w *world) exec(id string) string { return filepath.Join(w.ledgerDir(id), record.ExecFile) }

// entries are those of a turn that begins at seq.
func (d did) entries(seq int) []ledger.Body {
	bodies := []ledger.Body{record.TurnBegin{WorkOrder: d.order, AsOf: "2026-01-02T03:04:05.000Z"}}
	for _, f := range d.reads {
		size, hash, decision := int64(len(f.content)), f.hash(), record.Granted
		if strings.Contains(f.path, ":") {
			decision = record.InPkg
		}
		bodies = append(bodies, record.Op{Op: record.OpOpen, Via: record.ViaWASI, Path: f.path, Flags: "read", Decision: decision, Errno: record.ErrnoSuccess, Size: &size, SHA256: &hash})
	}
	for _, c := range d.runs {
		bodies = append(bodies, c.entries(seq+len(bodies)+1)...)
	}
	end := record.TurnEnd{Status: record.StatusOK}
	for _, f := range d.writes {
		bodies = append(bodies,
			record.Op{Op: record.OpOpen, Via: record.ViaWASI, Path: f.path, Flags: "write,create", Decision: record.Granted, Errno: record.ErrnoSuccess},
			record.Digest{Of: uint64(seq + len(bodies)), SHA256: f.hash(), Size: int64(len(f.content))})
		end.Publish = append(end.Publish, record.Publication{Path: f.path, Role: "any", SHA256: f.hash(), Size: int64(len(f.content))})
	}
	if d.status != "" && d.status != record.StatusOK {
		end.Status, end.Code, end.Publish = d.status, "violation", nil
	}
	if d.broken {
		end.Publish = append(end.Publish, record.Publication{Path: "never/written", Role: "any"})
	}
	if !d.open {
		bodies = append(bodies, end)
	}
	return bodies
}

// installable writes the manifest of a library into a folder, packs it, and tells
// what package that is.
func installable(t *testing.T, dir string) record.Package {
	t.Helper()
	text := `{"schema":"agenthost/package/v1","id":"PKG-T0-LIB-001","version":"0.2.0"}`
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, digest, err := archive.DigestFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	return record.Package{ID: m.ID, Version: m.Version, SHA256: digest}
}

// install puts the files of a folder where those of an installed package lie.
func (w *world) install(dir, id string) string {
	w.t.Helper()
	to := filepath.Join(w.workspace, "planes", "ho3", "installed", id)
	w.check(os.MkdirAll(filepath.Dir(to), 0o700), os.CopyFS(to, os.DirFS(dir)))
	return to
}

// audit is one that takes ledgers as settled that were just written.
func (w *world) audit(cache string) *Audit {
	a := New(w.root, w.control, cache)
	a.now = func() time.Time { return time.Now().Add(w.later) }
	return a
}

// explain asks, and fails the test where there is no answer.
func (w *world) explain(what string) *Explanation {
	w.t.Helper()
	e, err := w.audit(w.cache).Explain(context.Background(), what, nil)
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	return e
}

// answers are what is said to questions, one text for all.
func (w *world) answers(cache string, questions []string) string {
	w.t.Helper()
	var b strings.Builder
	for _, q := range questions {
		e, err := w.audit(cache).Explain(context.Background(), q, nil)
		text, jerr := json.MarshalIndent(e, "", " ")
		w.check(jerr)
		fmt.Fprintf(&b, "%s: %s %v\n", q, text, err)
	}
	return b.String()
}

func sid(n int) string { return fmt.Sprintf("SES-20260102T0304%06dZ-%016d", n, n) }

// same compares lists of words.
func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// digits is a content's digest as it is asked for.
func digits(content string) string { return ledger.Sum([]byte(content)).String() }
