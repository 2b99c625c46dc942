//go:build linux

package gate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/gate/gatetest"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

const sid = "SES-20260102T030405Z-0123456789abcdef"

// A setup says what a turn starts from.
type setup struct {
	grants    capability.Grants
	withhold  []string
	strict    bool
	files     map[string]string // of the workspace; a name that ends with / is a folder
	published map[string]string // of output/SID; nil: there is none
	inputs    []string
	outputs   []string
	tune      func(*Config)
	memory    bool      // all of it lies in memory, where that can be
	commands  *Commands // what they stand on, but for the places and blobs, which are the world's
}

// A world is a workspace, a session's ledgers and staging, and the gate of its
// first turn.
type world struct {
	*Gate
	t       testing.TB
	dir     string // of the workspace
	stages  string // of the staging folders
	begin   ledger.Entry
	ledger  string // the folder of the ledgers
	mark    ledger.Entry
	limited bool  // a limit ended the turn
	used    int64 // fuel

	collected record.Collector
}

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	top := t.TempDir()
	if s.memory {
		top = memoryDir(t)
	}
	w := &world{t: t, dir: filepath.Join(top, "ws"), stages: filepath.Join(top, "staging"), ledger: memoryDir(t)}
	w.fill(w.dir, s.files)
	enforcer := newEnforcer(t, s.grants, s.withhold)
	cfg := Config{
		Session: sid, Turn: 1, Enforcer: enforcer, Strict: s.strict,
		Workspace: w.folder(w.dir),
		Staged:    Areas{Workspace: w.folder(w.stages, AreaWorkspace), Out: w.folder(w.stages, AreaOut), Tmp: w.folder(w.stages, AreaTmp)},
		Package:   mainPackage(),
		Deps:      map[string]*archive.Package{"PKG-T0-DEP-001": library001()},
		Exec:      gatetest.Log(t, filepath.Join(w.ledger, record.ExecFile), record.ExecOptions(sid)),
		Evidence:  gatetest.Log(t, filepath.Join(w.ledger, record.EvidenceFile), record.EvidenceOptions(sid)),
		Charge:    func(units int64) { w.used += units },
		Ceiling: Ceiling{
			Entries: 1e6, Evidence: 32 << 20, OpenFiles: 64, OutputBytes: 64 << 20, OutputFiles: 1000,
			ScratchBytes: 64 << 20, ScratchFiles: 1000, CopyBytes: 64 << 20, ListNames: 1000,
		},
	}
	if s.published != nil {
		w.fill(filepath.Join(top, "published"), s.published)
		cfg.Published = w.folder(top, "published")
	}
	for _, p := range s.outputs {
		cfg.Outputs = append(cfg.Outputs, archive.Output{Path: p, Role: "report"})
	}
	var err error
	if cfg.Inputs, err = Expand(context.Background(), cfg.Workspace, enforcer, s.inputs); err != nil {
		t.Fatal(err)
	}
	if s.tune != nil {
		s.tune(&cfg)
	}
	if c := s.commands; c != nil {
		c.Places = Places{
			Workspace: w.dir, Published: filepath.Join(top, "published"), Package: filepath.Join(w.stages, "package"),
			Staged: filepath.Join(w.stages, AreaWorkspace), Out: filepath.Join(w.stages, AreaOut), Tmp: filepath.Join(w.stages, AreaTmp),
		}
		c.Blob = w.blob
		w.fill(c.Places.Package, nil)
		w.fill(filepath.Join(w.ledger, record.BlobFolder), nil)
		cfg.Commands = c
	}
	cfg.Recorded = w.collected.Add
	begin := record.TurnBegin{AsOf: "2026-01-02T03:04:05Z", Granted: s.grants, Strict: s.strict}
	for _, in := range cfg.Inputs {
		begin.Inputs = append(begin.Inputs, in.File)
	}
	if w.begin, err = cfg.Exec.Append(1, begin); err != nil {
		t.Fatal(err)
	}
	w.collected.Add(w.begin, begin)
	w.mark = w.begin
	if w.Gate, err = New(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// blob keeps a blob of the session.
func (w *world) blob(data []byte) (record.Blob, error) {
	h, err := ledger.PutBlob(filepath.Join(w.ledger, record.BlobFolder), data, [ledger.NonceSize]byte{byte(len(data))})
	return record.Blob{Blob: h, Size: int64(len(data))}, err
}

// memoryDir is a folder in memory where there is one: thousands of violations
// are made durable here.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "gate-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newEnforcer(t testing.TB, grants capability.Grants, withhold []string) *capability.Enforcer {
	t.Helper()
	e, err := capability.New(grants)
	if err == nil && withhold != nil {
		layer := capability.AsAsked()
		layer.Withhold = withhold
		e, err = e.Attenuate(layer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e.Bind(sid)
}

// The packages are made once: they never change.
var (
	mainPackage = sync.OnceValue(func() *archive.Package { return newPackage("PKG-T3-MAIN-001", "lib/a.txt", "in the package") })
	library001  = sync.OnceValue(func() *archive.Package { return newPackage("PKG-T0-DEP-001", "d.txt", "in a library") })
)

func newPackage(id, name, content string) *archive.Package {
	dir, err := os.MkdirTemp("", "gate-package-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)
	}
	if err == nil {
		manifest := fmt.Sprintf(`{"schema":"agenthost/package/v1","id":%q,"version":"0.1.0"}`, id)
		err = os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o644)
	}
	var p *archive.Package
	if err == nil {
		p, err = archive.FromFolder(dir)
	}
	if err != nil {
		panic(err)
	}
	return p
}

func (w *world) fill(dir string, files map[string]string) {
	w.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
				w.t.Fatal(err)
			}
			continue
		}
		w.write(filepath.Join(dir, name), files[name])
	}
}

func (w *world) write(path, content string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) folder(elements ...string) *beneath.Dir {
	w.t.Helper()
	return gatetest.Folder(w.t, filepath.Join(elements...))
}

// at is the path on disk of a name in the workspace.
func (w *world) at(name string) string { return filepath.Join(w.dir, name) }

// caught calls f and returns what it panicked with if that ends a turn in one of
// the documented ways.
func caught(f func()) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *capability.Violation:
			err = p
		case *Limit:
			err = p
		case *HostError:
			err = p
		default:
			panic(p)
		}
	}()
	f()
	return nil
}

// bodies reads back the entries after from.
func (w *world) bodies(from uint64) []ledger.Body {
	w.t.Helper()
	var all []ledger.Body
	first := w.begin
	if w.mark.Seq <= from {
		first = w.mark
	}
	for e, err := range w.cfg.Exec.Since(first) {
		if err != nil {
			w.t.Fatal(err)
		}
		if w.mark = e; e.Seq <= from {
			continue
		}
		b, err := record.Decode(e)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// ops reads back the operations recorded after from.
func (w *world) ops(from uint64) []record.Op {
	var ops []record.Op
	for _, b := range w.bodies(from) {
		if op, ok := b.(record.Op); ok {
			ops = append(ops, op)
		}
	}
	return ops
}

// does performs one operation and says how it ended and what was recorded: the
// errno, the decision, and the rule where there is one, such as "noent hidden no
// grant of read". It is an error if the ledger says anything else, and if it does
// not say it exactly once.
func (w *world) does(operation func() Errno) string {
	w.t.Helper()
	before := w.cfg.Exec.Head().Size - 1
	hidden := w.hiddenProbes()
	var errno Errno
	err := caught(func() { errno = operation() })
	ops := w.ops(before)
	var v *capability.Violation
	switch {
	case errors.As(err, &v):
		w.checkViolation(ops, v)
		return "violation " + v.Rule
	case err != nil:
		w.t.Fatalf("the turn ended: %v", err)
	case len(ops) == 0 && w.hiddenProbes() == hidden+1:
		return errno.String() + " again"
	case len(ops) != 1:
		w.t.Fatalf("%d entries, want 1: %+v", len(ops), ops)
	case ops[0].Errno != errno.String():
		w.t.Fatalf("it was answered %s and recorded as %s", errno, ops[0].Errno)
	}
	return strings.TrimSuffix(errno.String()+" "+ops[0].Decision+" "+ops[0].Rule, " ")
}

func (w *world) hiddenProbes() (n int64) {
	for _, s := range w.hidden {
		n += s.more
	}
	return n
}

// checkViolation holds what both ledgers say of a violation.
func (w *world) checkViolation(ops []record.Op, v *capability.Violation) {
	w.t.Helper()
	if len(ops) != 1 || ops[0].Decision != record.Violated || ops[0].Rule != v.Rule || cmp.Or(ops[0].Subject, ops[0].Path) != v.Subject {
		w.t.Fatalf("recorded %+v, want one violation: %+v", ops, v)
	}
	if v.Turn != 1 {
		w.t.Fatalf("the violation is of turn %d, want 1", v.Turn)
	}
	var got record.Violation
	if err := json.Unmarshal(lastLine(w.t, filepath.Join(w.ledger, record.EvidenceFile)), &got); err != nil {
		w.t.Fatal(err)
	}
	if want, _ := ops[0].Violation(); got != want || got.Operation != string(v.Op) {
		w.t.Fatalf("evidence says %+v, want %+v", got, want)
	}
}

func lastLine(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, _ := f.Seek(0, io.SeekEnd)
	tail := make([]byte, min(size, 64<<10))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		t.Fatal(err)
	}
	tail = bytes.TrimSuffix(tail, []byte("\n"))
	return tail[bytes.LastIndexByte(tail, '\n')+1:]
}

// content opens a file for reading and returns all of it, or the errno's name.
func (w *world) content(p string) string {
	w.t.Helper()
	f, errno := w.Open(WASI, p, Read)
	if errno != Success {
		return errno.String()
	}
	defer f.Close()
	return w.all(f)
}

func (w *world) all(f *File) string {
	w.t.Helper()
	var all []byte
	buf := make([]byte, 300_000)
	for {
		n, errno := f.ReadAt(buf, int64(len(all)))
		if errno != Success {
			w.t.Fatalf("read: %s", errno)
		}
		if n == 0 {
			return string(all)
		}
		all = append(all, buf[:n]...)
	}
}

// make stages a file with a content.
func (w *world) make(p, content string) {
	w.t.Helper()
	f, errno := w.Open(WASI, p, Write|Create|Trunc)
	if errno != Success {
		w.t.Fatalf("create %s: %s", p, errno)
	}
	defer f.Close()
	if _, errno := f.WriteAt([]byte(content), 0); errno != Success {
		w.t.Fatalf("write %s: %s", p, errno)
	}
}

// names lists a folder.
func (w *world) names(p string) string {
	w.t.Helper()
	f, errno := w.Open(WASI, p, Read|Directory)
	if errno != Success {
		return errno.String()
	}
	defer f.Close()
	infos, errno := f.List()
	if errno != Success {
		return errno.String()
	}
	var names []string
	for _, i := range infos {
		if i.Folder {
			i.Name += "/"
		}
		names = append(names, i.Name)
	}
	return strings.Join(names, " ")
}

// snapshot is what lies beneath a folder: content by name.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		switch {
		case d.IsDir():
			found[name+"/"] = ""
		case d.Type().IsRegular():
			b, err := os.ReadFile(p)
			found[name] = string(b)
			return err
		default:
			found[name] = d.Type().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// staged is what lies in the staging folders: content by ledger name.
func (w *world) onDisk() map[string]string {
	w.t.Helper()
	found := map[string]string{}
	for area, name := range map[area]string{workspace: AreaWorkspace, out: AreaOut, tmp: AreaTmp} {
		for rel, content := range snapshot(w.t, filepath.Join(w.stages, name)) {
			if !strings.HasSuffix(rel, "/") {
				found[w.ledgerName(area, rel)] = content
			}
		}
	}
	return found
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}
