package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

func openRoot(t *testing.T, o Options) *Root {
	t.Helper()
	if o.Key == nil {
		o.Key = ledgertest.Host
	}
	r, err := OpenRoot(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func opening(id ID) Opening {
	return Opening{
		ID: id, Plane: "ho1", Seed: []byte("seed"),
		Open: record.SessionOpen{Agenthost: "test", Package: record.Package{ID: "PKG-A", Version: "1.0.0"}, Engine: "none", Arch: "none"},
	}
}

func create(t *testing.T, r *Root, id ID) *Session {
	t.Helper()
	s, err := r.Create(t.Context(), opening(id))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Leave() })
	return s
}

// out is a file that a turn writes.
type out struct {
	path, content string
	base          string // content of what it replaces; "" for absent
	executable    bool
}

// turn stages files as a gate would, with the entries that speak of them, up to
// the point where they are copied.
func stage(s *Session, files []out) (*Staging, []Realized, error) {
	st, err := s.Begin(s.Turns() + 1)
	if err != nil {
		return nil, nil, err
	}
	if _, err := s.Exec.Append(st.Turn, record.TurnBegin{AsOf: "2026-01-01T00:00:00Z"}); err != nil {
		return nil, nil, err
	}
	var realized []Realized
	for _, f := range files {
		r := Realized{Path: f.path, Area: AreaWorkspace, Staged: f.path, Role: "report", Executable: f.executable}
		dir := st.Workspace
		if rest, own := strings.CutPrefix(f.path, s.OutputName()+"/"); own {
			r.Area, r.Staged, dir = AreaOut, rest, st.Out
		}
		if f.base != "" {
			h := ledger.Sum([]byte(f.base))
			r.Base = &h
		}
		if _, err := dir.MkdirAll(durable.Parent(r.Staged), 0o700); err != nil {
			return nil, nil, err
		}
		w, err := dir.OpenFile(r.Staged, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, nil, err
		}
		if _, err := w.WriteString(f.content); err != nil {
			return nil, nil, err
		}
		w.Close()
		e, err := s.Exec.Append(st.Turn, record.Op{Op: record.OpOpen, Via: record.ViaWASI, Path: f.path, Flags: "write,create,trunc", Decision: record.Granted, Rule: f.path, Errno: record.ErrnoSuccess})
		if err != nil {
			return nil, nil, err
		}
		if _, err := s.Exec.Append(st.Turn, record.Digest{Of: e.Seq, SHA256: ledger.Sum([]byte(f.content)), Size: int64(len(f.content))}); err != nil {
			return nil, nil, err
		}
		realized = append(realized, r)
	}
	return st, realized, nil
}

// evidence appends the evidence of the turn in progress.
func evidence(s *Session) error {
	proof, err := s.prove()
	if err != nil {
		return err
	}
	return s.Prove(&proof)
}

// publish runs one turn from its beginning to its end.
func publish(ctx context.Context, s *Session, files []out) (findings []Finding, conflicts []Problem, err error) {
	st, realized, err := stage(s, files)
	if err != nil {
		return nil, nil, err
	}
	publications, problems, err := st.Copy(ctx, realized)
	if err != nil || len(problems) > 0 {
		return nil, problems, err
	}
	if err := evidence(s); err != nil {
		return nil, nil, err
	}
	return commit(ctx, s, st, publications)
}

func commit(ctx context.Context, s *Session, st *Staging, publications []record.Publication) (findings []Finding, conflicts []Problem, err error) {
	c, err := st.Lock(ctx, publications)
	if err != nil {
		return nil, nil, err
	}
	defer c.Release()
	if conflicts, err = c.Check(ctx); err != nil {
		return nil, nil, err
	}
	if len(conflicts) > 0 {
		if err := c.Release(); err != nil {
			return nil, nil, err
		}
		if _, err := s.End(record.TurnEnd{Status: record.StatusBlocked, Code: record.CodeConflict}); err != nil {
			return nil, nil, err
		}
		_, err = st.Block()
		return nil, conflicts, err
	}
	if err := c.Prepare(ctx); err != nil {
		return nil, nil, err
	}
	// The message is longer than what is left in a page of the file, so that
	// writing it meets a full disk.
	_, findings, err = c.Commit(ctx, record.TurnEnd{Status: record.StatusOK, Message: strings.Repeat("m", 5000)})
	return findings, nil, err
}

func mustPublish(t *testing.T, s *Session, files []out) {
	t.Helper()
	findings, conflicts, err := publish(t.Context(), s, files)
	if err != nil || len(findings) > 0 || len(conflicts) > 0 {
		t.Fatalf("got %v, %v, %v", findings, conflicts, err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// want checks a file's content; "" is absence.
func want(t *testing.T, path, content string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if content == "" && errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil || string(b) != content {
		t.Errorf("%s holds %q, %v, want %q", filepath.Base(path), b, err, content)
	}
}

// verify checks the whole record of a session.
func verify(t *testing.T, r *Root, id ID) record.Report {
	t.Helper()
	report, err := record.VerifySession(filepath.Dir(r.LedgerPath("ho1", id, record.ExecFile)))
	if err != nil {
		t.Errorf("%s: %v", id, err)
	}
	return report
}

// names lists a tree: files with "=" and content, folders with "/".
func names(t *testing.T, top string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == top {
			return err
		}
		rel, _ := filepath.Rel(top, path)
		if d.IsDir() {
			rel += "/"
		}
		all = append(all, rel)
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

const id1, id2 ID = "SES-1", "SES-2"

func TestID(t *testing.T) {
	at := time.Date(2026, 11, 22, 13, 46, 11, 42_999_999, time.FixedZone("", 3600))
	id, err := NewID(at, bytes.NewReader(make([]byte, 10)))
	if want := ID("SES-20261122T124611042Z-aaaaaaaaaaaaaaaa"); id != want || err != nil {
		t.Errorf("got %s, %v, want %s", id, err, want)
	}
	if _, err := NewID(at, bytes.NewReader(make([]byte, 9))); err == nil {
		t.Error("an id was made without randomness")
	}
	a, b, c := Derive(at, []byte("a")), Derive(at, []byte("b")), Derive(at.Add(1), []byte("a"))
	if a == b || a == c || a != Derive(at.UTC(), []byte("a")) {
		t.Errorf("derived %s, %s, %s", a, b, c)
	}
	if want := ID("SES-20261122T124611042Z-vnv7vhqlv6yxytmv"); a != want {
		t.Errorf("derived %s, want %s: ids of old runs would change", a, want)
	}
	for _, good := range []string{string(id), string(a), "SES-1", "SES-" + strings.Repeat("a", 100)} {
		if got, err := ParseID(good); string(got) != good || err != nil {
			t.Errorf("ParseID(%q) = %q, %v", good, got, err)
		}
	}
	for _, bad := range []string{"", "SES-", "SES", "PKG-1", "SES-1/..", "SES-..", "SES-1\n", "ses-1", " SES-1", "SES-é", "SES-" + strings.Repeat("a", 101), "SES-1\x00"} {
		if _, err := ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) accepted", bad)
		}
	}
}

// TestMillionIDs: no two of a million ids made concurrently are the same, and
// they sort by time.
func TestMillionIDs(t *testing.T) {
	const workers, each = 8, 125_000
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	all := make([][]ID, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				id, err := NewID(start.Add(time.Duration(i)*time.Millisecond), rand.Reader)
				if err != nil {
					t.Error(err)
					return
				}
				all[w] = append(all[w], id)
			}
		})
	}
	wg.Wait()
	for _, ids := range all {
		if !slices.IsSorted(ids) {
			t.Error("ids do not sort by time")
		}
	}
	flat := slices.Concat(all...)
	slices.Sort(flat)
	if got := len(slices.Compact(flat)); got != workers*each {
		t.Errorf("%d of %d ids are distinct", got, workers*each)
	}
}

func TestPublish(t *testing.T) {
	ws := t.TempDir()
	write(t, filepath.Join(ws, "docs/old.md"), "old")
	if err := os.Chmod(filepath.Join(ws, "docs/old.md"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, id1)
	mustPublish(t, s, []out{
		{path: "docs/old.md", content: "new", base: "old"},
		{path: "a/b/c.sh", content: "#!", executable: true},
		{path: "output/SES-1/report.md", content: "report"},
	})
	want(t, filepath.Join(ws, "docs/old.md"), "new")
	want(t, filepath.Join(ws, "a/b/c.sh"), "#!")
	want(t, filepath.Join(ws, ".agenthost/output/SES-1/report.md"), "report")
	for name, mode := range map[string]fs.FileMode{"docs/old.md": 0o644, "a/b/c.sh": 0o755} {
		if info, err := os.Stat(filepath.Join(ws, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
	mustPublish(t, s, []out{{path: "docs/old.md", content: "newer", base: "new"}})
	mustPublish(t, s, nil)
	if s.Turns() != 3 {
		t.Errorf("%d turns, want 3", s.Turns())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := names(t, filepath.Join(ws, ".agenthost"))
	got = slices.DeleteFunc(got, func(n string) bool { return strings.Contains(n, "blobs/") })
	if want := []string{
		".gitignore", "FORMAT", "output/", "output/SES-1/", "output/SES-1/report.md",
		"planes/", "planes/ho1/", "planes/ho1/ledger/", "planes/ho1/ledger/sessions.jsonl", "planes/ho1/sessions/", "planes/ho1/sessions/SES-1/",
		"planes/ho1/sessions/SES-1/ledger/", "planes/ho1/sessions/SES-1/ledger/evidence.jsonl", "planes/ho1/sessions/SES-1/ledger/exec.jsonl",
		"planes/pending/", "planes/publish.lock",
	}; !slices.Equal(got, want) {
		t.Errorf("the root holds %q, want %q", got, want)
	}
	if report := verify(t, r, id1); len(report.Turns) != 3 || !report.Closed {
		t.Errorf("got %+v", report)
	}
	if info, _ := os.Stat(filepath.Join(ws, ".agenthost/planes")); info.Mode().Perm() != 0o700 {
		t.Errorf("planes/ has mode %v", info.Mode())
	}
	if seed, err := s.Seed(); string(seed) != "seed" || err != nil {
		t.Errorf("the seed is %q, %v", seed, err)
	}
	if findings, err := r.Recover(t.Context()); len(findings) > 0 || err != nil {
		t.Errorf("recovery of a clean root: %v, %v", findings, err)
	}
}

func TestContinue(t *testing.T) {
	r := openRoot(t, Options{Workspace: t.TempDir()})
	s := create(t, r, id1)
	if _, err := r.Create(t.Context(), opening(id1)); !errors.Is(err, ErrExists) {
		t.Errorf("made twice: %v", err)
	}
	other := opening(id1)
	other.Plane = "ho2"
	if _, err := r.Create(t.Context(), other); !errors.Is(err, ErrExists) {
		t.Errorf("made in another plane: %v", err)
	}
	if _, _, err := r.Open(t.Context(), id1); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	mustPublish(t, s, []out{{path: "a", content: "1"}})
	if err := s.Leave(); err != nil {
		t.Fatal(err)
	}
	s, findings, err := r.Open(t.Context(), id1)
	if err != nil || len(findings) > 0 {
		t.Fatal(findings, err)
	}
	if got, _ := s.Opened(); got.Package.ID != "PKG-A" || s.Turns() != 1 || s.Plane != "ho1" {
		t.Errorf("got %+v, turn %d", got, s.Turns())
	}
	mustPublish(t, s, []out{{path: "a", content: "2", base: "1"}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Open(t.Context(), id1); !errors.Is(err, ErrClosed) {
		t.Errorf("opened after it was closed: %v", err)
	}
	if _, _, err := r.Open(t.Context(), "SES-none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("opened what is not there: %v", err)
	}
	if _, _, err := r.Open(t.Context(), "../../etc"); err == nil {
		t.Error("opened a path")
	}
	verify(t, r, id1)
}

func TestListAndFind(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	if list, err := r.List(); len(list) != 0 || err != nil {
		t.Errorf("an empty root lists %v, %v", list, err)
	}
	if _, _, err := r.Find(Last); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if names := names(t, ws); len(names) > 0 {
		t.Errorf("looking made %q", names)
	}
	for _, id := range []ID{"SES-20260102-b", "SES-20260102-a", "SES-20260101-c", "SES-20260103-x"} {
		s := create(t, r, id)
		if id == "SES-20260102-b" {
			mustPublish(t, s, nil)
		}
		if err := s.Leave(); err != nil {
			t.Fatal(err)
		}
	}
	broken := r.LedgerPath("ho1", "SES-20260103-x", record.ExecFile)
	b, _ := os.ReadFile(broken)
	write(t, broken, strings.Replace(string(b), "PKG-A", "PKG-B", 1))
	list, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		got = append(got, fmt.Sprintf("%s %s %s %d %s %v", s.ID, s.Plane, s.Package.ID, s.Turns, s.Status, s.Err))
	}
	if want := []string{
		"SES-20260101-c ho1 PKG-A 0  <nil>",
		"SES-20260102-a ho1 PKG-A 0  <nil>",
		"SES-20260102-b ho1 PKG-A 1 ok <nil>",
		"SES-20260103-x ho1  0  exec.jsonl line 1 (seq 0, byte 0): hash does not match: the line was changed after it was written",
	}; !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(r.LedgerPath("ho1", "SES-20260101-c", record.ExecFile), later, later); err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string]string{
		"SES-20260101":   "SES-20260101-c",
		"SES-20260102-b": "SES-20260102-b",
		Last:             "SES-20260101-c",
	} {
		if id, plane, err := r.Find(prefix); string(id) != want || plane != "ho1" || err != nil {
			t.Errorf("Find(%q) = %s, %s, %v, want %s", prefix, id, plane, err, want)
		}
	}
	for prefix, want := range map[string]string{
		"":             `no such session: none begins with ""`,
		"SES-2027":     `no such session: none begins with "SES-2027"`,
		"SES-20260102": `"SES-20260102" is the beginning of 2 sessions: SES-20260102-a, SES-20260102-b`,
	} {
		if _, _, err := r.Find(prefix); err == nil || err.Error() != want {
			t.Errorf("Find(%q): got %v, want %s", prefix, err, want)
		}
	}
}

func sorted(s []string) []string { sort.Strings(s); return s }
