package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

func TestMain(m *testing.M) {
	if code, ok := Helper(os.Args, os.Stdin, os.Stdout); ok {
		os.Exit(code)
	}
	dir, err := os.MkdirTemp("", "agenthost-test-")
	if err != nil {
		panic(err)
	}
	scratch = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// scratch is the folder of what all tests share: the cache and the guest.
var scratch string

// sharedRunner is one Runner for all tests: compiling takes long.
var sharedRunner = sync.OnceValues(func() (*Runner, error) {
	return NewRunner(context.Background(), Config{CacheDir: sharedCache()})
})

// sharedCache is where all tests keep compiled modules, but those of the cache.
func sharedCache() string { return filepath.Join(scratch, "cache") }

// steps is the module of testdata/guests/steps.
var steps = sync.OnceValues(func() ([]byte, error) {
	out := filepath.Join(scratch, "steps.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "../testdata/guests/steps")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.New(string(said))
	}
	return os.ReadFile(out)
})

// must(f())(t) is f's value, or the end of the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A bench is a workspace with its root, and turns that run in it.
type bench struct {
	t         testing.TB
	runner    *Runner
	root      *session.Root
	workspace string
	session   *session.Session // left open by a run with keep
}

func newBench(t testing.TB, files map[string]string) *bench {
	t.Helper()
	b := &bench{t: t, runner: must(sharedRunner())(t), workspace: t.TempDir()}
	for name, content := range files {
		b.write(name, content)
	}
	b.root = must(session.OpenRoot(session.Options{Key: ledgertest.Host, Hosts: ledgertest.Hosts, Workspace: b.workspace}))(t)
	t.Cleanup(func() { b.root.Close() })
	return b
}

func (b *bench) write(name, content string) {
	b.t.Helper()
	path := filepath.Join(b.workspace, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(name string) string {
	b.t.Helper()
	return string(must(os.ReadFile(filepath.Join(b.workspace, name)))(b.t))
}

// members are those of a manifest, or of its entry.
type members = map[string]any

// An ask is one turn: a package and a request.
type ask struct {
	manifest members
	entry    members
	module   []byte            // nil is the steps guest
	files    map[string]string // of the package, beside the module
	steps    []string          // what it does
	turn     Turn
	ctx      context.Context
	keep     bool // leave the session open for another turn
}

// pack returns the package of an ask.
func (b *bench) pack(a ask) *archive.Package {
	b.t.Helper()
	if a.module == nil {
		a.module = must(steps())(b.t)
	}
	entry := members{"module": "agent.wasm"}
	maps.Copy(entry, a.entry)
	manifest := members{"schema": archive.ManifestSchema, "id": "PKG-T3-TEST-001", "version": "0.1.0", "entry": entry}
	maps.Copy(manifest, a.manifest)
	text := must(json.Marshal(manifest))(b.t)
	packs.Lock()
	defer packs.Unlock()
	key := fmt.Sprint(string(text), ledger.Sum(a.module), a.files)
	if pkg := packs.made[key]; pkg != nil {
		return pkg
	}
	dir := b.t.TempDir()
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o644),
		os.WriteFile(filepath.Join(dir, "agent.wasm"), a.module, 0o644),
	); err != nil {
		b.t.Fatal(err)
	}
	for name, content := range a.files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			b.t.Fatal(err)
		}
	}
	pkg := must(archive.FromFolder(dir))(b.t)
	packs.made[key] = pkg
	return pkg
}

// packs are the packages that were made: making one takes longer than a turn.
var packs = struct {
	sync.Mutex
	made map[string]*archive.Package
}{made: map[string]*archive.Package{}}

// prepare checks a turn that is expected to be in order.
func (b *bench) prepare(a ask) *Prepared {
	b.t.Helper()
	p, err := b.tryPrepare(a)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *bench) tryPrepare(a ask) (*Prepared, error) {
	b.t.Helper()
	if a.turn.Workspace == "" {
		a.turn.Workspace = b.workspace
	}
	a.turn.Args = append(a.turn.Args, a.steps...)
	return b.runner.Prepare(b.t.Context(), b.pack(a), a.turn)
}

// open returns the session a turn runs in.
func (b *bench) open(p *Prepared, a ask) *session.Session {
	b.t.Helper()
	if b.session != nil {
		return b.session
	}
	seed := make([]byte, 32)
	now := a.turn.AsOf
	if now.IsZero() {
		now = time.Now()
	}
	return must(b.root.Create(b.t.Context(), session.Opening{
		ID: session.Derive(now, []byte(b.t.Name())), Plane: "ho1", Open: p.Opening(), Seed: seed,
	}))(b.t)
}

// run runs a turn and checks what holds after every turn: the ledgers verify,
// and unless it ended well nothing on disk is other than before, nothing was
// published, and nothing is left in staging.
func (b *bench) run(a ask) *Result {
	b.t.Helper()
	p := b.prepare(a)
	s := b.open(p, a)
	b.session = nil
	before := b.tree()
	ctx := a.ctx
	if ctx == nil {
		ctx = b.t.Context()
	}
	r, err := p.Run(ctx, s)
	if err != nil {
		b.t.Fatal(err)
	}
	ledgers := filepath.Dir(s.BlobDir())
	if a.keep {
		b.session = s
	} else if err := s.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.check(r, ledgers, before)
	return r
}

func (b *bench) check(r *Result, ledgers string, before map[string]string) {
	b.t.Helper()
	report, err := record.VerifySession(ledgers)
	if err != nil {
		b.t.Fatalf("after status %s: %v", r.Status, err)
	}
	if n := len(report.Turns); n != r.Number || report.Unfinished != 0 {
		b.t.Errorf("got %d turns and turn %d unfinished, want %d turns", n, report.Unfinished, r.Number)
	}
	if _, err := os.Lstat(filepath.Join(ledgers, "..", "staging")); !errors.Is(err, fs.ErrNotExist) {
		b.t.Errorf("after status %s staging is still there: %v", r.Status, err)
	}
	if r.Status != record.StatusOK {
		if after := b.tree(); !maps.Equal(before, after) {
			b.t.Errorf("status %s, and the disk changed:\nbefore %q\nafter  %q", r.Status, before, after)
		}
		if len(r.Published) > 0 {
			b.t.Errorf("status %s published %v", r.Status, r.Published)
		}
		if r.Output != nil && r.Status != record.StatusDryRun {
			b.t.Errorf("status %s has the output %q", r.Status, r.Output)
		}
	}
}

// tree is what lies in the workspace and in output/: content by name.
func (b *bench) tree() map[string]string {
	b.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(b.workspace, func(path string, d fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(strings.TrimPrefix(path, b.workspace), "/")
		switch {
		case err != nil:
			return err
		case rel == ".agenthost/planes":
			return fs.SkipDir
		case strings.HasPrefix(rel, ".agenthost") && !strings.HasPrefix(rel, ".agenthost/output"):
		case d.Type().IsRegular():
			content, err := os.ReadFile(path)
			found[rel] = string(content)
			return err
		default:
			found[rel] = d.Type().String()
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return found
}

// ops returns the operations of exec.jsonl of the last session, in order.
func (b *bench) ops(r *Result) []record.Op {
	b.t.Helper()
	var ops []record.Op
	for e, err := range ledger.Read(filepath.Join(b.sessionDir(r), "ledger", record.ExecFile)) {
		if err != nil {
			b.t.Fatal(err)
		}
		if e.Kind == record.KindOp {
			var op record.Op
			if err := e.Decode(&op); err != nil {
				b.t.Fatal(err)
			}
			ops = append(ops, op)
		}
	}
	return ops
}

func (b *bench) sessionDir(r *Result) string {
	return filepath.Join(b.workspace, ".agenthost/planes/ho1/sessions", r.Session)
}

// grants is a manifest with capabilities.
func grants(read, write, forbidden []string) members {
	c := members{}
	for name, list := range map[string][]string{"read": read, "write": write, "forbidden": forbidden} {
		if list != nil {
			c[name] = list
		}
	}
	return members{"capabilities": c}
}

// with joins members.
func with(all ...members) members {
	joined := members{}
	for _, m := range all {
		maps.Copy(joined, m)
	}
	return joined
}

// writes declares outputs, literal or optional by a trailing '?'.
func writes(paths ...string) members {
	var outputs []members
	for _, p := range paths {
		path, optional := strings.CutSuffix(p, "?")
		o := members{"path": path, "role": "test"}
		if optional {
			o["optional"] = true
		}
		outputs = append(outputs, o)
	}
	return members{"outputs": outputs}
}

func limits(m members) members { return members{"limits": m} }

// ended checks how a turn ended, to the letter.
func ended(t testing.TB, r *Result, status, code, message, hint string) {
	t.Helper()
	if r.Status != status || r.Code != code || r.Message != message || r.Hint != hint {
		t.Errorf("got  %s %q\n     %s\n     %s\nwant %s %q\n     %s\n     %s", r.Status, r.Code, r.Message, r.Hint, status, code, message, hint)
	}
}

func ok(t testing.TB, r *Result, output string) {
	t.Helper()
	ended(t, r, "ok", "", "", "")
	if got := string(r.Output); got != output {
		t.Errorf("got output %q, want %q", got, output)
	}
}

// refused checks the error of a turn that is not in order.
func refused(t testing.TB, err error, what, hint string) {
	t.Helper()
	var r *RequestError
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal: %s", err, what)
	}
	if r.What != what || r.Hint != hint {
		t.Errorf("got  %s\n     %s\nwant %s\n     %s", r.What, r.Hint, what, hint)
	}
}

// oneThread leaves out, under -short, what takes long and has one guest in one
// goroutine: the race detector, for which -short is, finds nothing there.
func oneThread(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: one guest, and nothing beside it")
	}
}
