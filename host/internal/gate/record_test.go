//go:build linux

package gate

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
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/gate/gatetest"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// operations are all that a guest can ask for, one of each way of being answered.
func operations(w *world) map[string]func() Errno {
	open := func(p string, flags Flags) func() Errno {
		return func() Errno {
			f, errno := w.Open(WASI, p, flags)
			if f != nil {
				w.t.Errorf("open %s, %s: a descriptor", p, flags)
			}
			return errno
		}
	}
	return map[string]func() Errno{
		"open small":      open("docs/a.md", Read),
		"open large":      open("docs/large", Read),
		"open absent":     open("docs/absent", Read),
		"open hidden":     open("hidden", Read),
		"open forbidden":  open("docs/secret.key", Read),
		"open package":    open(".agenthost/pkg/lib/a.txt", Read),
		"open staged":     open("tmp/f", Read),
		"list":            open("docs", Read|Directory),
		"create":          open("docs/new", Write|Create),
		"copy up":         open("docs/a.md", Write),
		"truncate":        open("docs/a.md", Write|Trunc),
		"truncate staged": open("tmp/f", Write|Trunc),
		"violation":       open("elsewhere", Write|Create),
		"read-only":       open(".agenthost/x", Write|Create),
		"stat":            func() Errno { _, errno := w.Stat(WASI, "docs/a.md"); return errno },
		"stat hidden":     func() Errno { _, errno := w.Stat(WASI, "hidden"); return errno },
		"mkdir":           func() Errno { return w.Mkdir(WASI, "docs/d") },
		"mkdir exists":    func() Errno { return w.Mkdir(WASI, "docs") },
		"remove":          func() Errno { return w.Remove(WASI, "tmp/f", false) },
		"remove absent":   func() Errno { return w.Remove(WASI, "tmp/absent", false) },
		"rename":          func() Errno { return w.Rename(WASI, "tmp/f", "docs/g") },
		"rename folder":   func() Errno { return w.Rename(WASI, "tmp/d", "docs/d") },
		"set times":       func() Errno { return w.SetTimes(WASI, "tmp/f") },
		"link":            func() Errno { return w.Link(WASI, record.OpLink, "docs/l", "docs/a.md") },
		"impossible":      func() Errno { return w.Impossible(WASI, record.OpStat, "../x", 4) },
		"missing":         func() Errno { return w.Missing(WASI, "sock_open") },
	}
}

// TestLedgerFails holds that nothing is answered that is not recorded, whichever
// ledger fails.
func TestLedgerFails(t *testing.T) {
	s := writable()
	s.files["docs/large"] = strings.Repeat("x", SmallFile+1)
	s.grants.Forbidden = []string{"**/*.key"}
	for name := range operations(newWorld(t, s)) {
		w := newWorld(t, s)
		w.make("tmp/f", "x")
		w.Mkdir(WASI, "tmp/d")
		w.cfg.Exec.Close()
		answered := true
		err := caught(func() { operations(w)[name](); answered = false })
		var failed *HostError
		if !answered || !errors.As(err, &failed) || !errors.Is(err, ledger.ErrClosed) {
			t.Errorf("%s: answered %v, got %v, want a failure of the host", name, !answered, err)
		}
		if _, _, err := w.Finish(); !errors.As(err, &failed) && len(w.hidden) > 0 {
			t.Errorf("%s: finish: %v", name, err)
		}
	}
	w := newWorld(t, s)
	w.cfg.Evidence.Close()
	err := caught(func() { w.Open(WASI, "elsewhere", Write|Create) })
	var failed *HostError
	if !errors.As(err, &failed) || failed.Doing != "record the violation" {
		t.Errorf("no evidence: %v", err)
	}
	if ops := w.ops(w.begin.Seq); len(ops) != 1 || ops[0].Decision != record.Violated {
		t.Errorf("no evidence: recorded %+v", ops)
	}
	if err := w.Mismatch("docs/x", record.CodeMissingOutput); !errors.As(err, &failed) {
		t.Errorf("a mismatch without evidence: %v", err)
	}
}

// TestDigestFails lets the digest of a large file fail to be recorded: no
// descriptor is left behind.
func TestDigestFails(t *testing.T) {
	s := readable(nil)
	s.files = map[string]string{}
	for i := range 5 {
		s.files[fmt.Sprintf("docs/%d", i)] = strings.Repeat("x", SmallFile+1)
	}
	w := newWorld(t, s)
	for name := range s.files {
		w.opened(name, Read).Close()
	}
	files := make([]*beneath.Handle, 0, len(w.pending))
	for _, p := range w.pending {
		files = append(files, p.file)
	}
	w.cfg.Exec.Close()
	var failed *HostError
	if _, _, err := w.Finish(); !errors.As(err, &failed) {
		t.Errorf("got %v", err)
	}
	for _, f := range files {
		if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a file is still open: %v", err)
		}
	}
	equal(t, "files", len(files), 5)
}

// TestViolationOrder holds that a violation is in exec.jsonl before evidence.jsonl
// speaks of it, and in both before the guest's instance ends.
func TestViolationOrder(t *testing.T) {
	var order []string
	s := writable()
	s.tune = func(c *Config) {
		dir := t.TempDir()
		for _, l := range []struct {
			name string
			o    ledger.Options
			to   **ledger.Log
		}{{"exec", record.ExecOptions(sid), &c.Exec}, {"evidence", record.EvidenceOptions(sid), &c.Evidence}} {
			l.o.Observe = func(e ledger.Entry) { order = append(order, l.name+" "+e.Kind) }
			*l.to = gatetest.Log(t, filepath.Join(dir, l.name), l.o)
		}
	}
	w := newWorld(t, s)
	err := caught(func() { w.Rename(WASI, "docs/a.md", "docs/b.md") })
	order = append(order, "panic")
	var v *capability.Violation
	if !errors.As(err, &v) {
		t.Fatal(err)
	}
	equal(t, "order", order, []string{"exec turn.begin", "exec op", "evidence violation", "panic"})
	equal(t, "the violation", err, `write "docs/a.md" refused: `+ruleNotStaged)
	calls, refused := w.Counts()
	equal(t, "counts", []int64{calls, refused}, "[1 1]")
}

// TestHidden holds that equal probes are recorded once and counted.
func TestHidden(t *testing.T) {
	w := newWorld(t, writable())
	for range 3 {
		w.Stat(WASI, "hidden")
		w.Stat(ABI, "hidden")
		w.Open(WASI, "hidden", Read)
		w.Open(WASI, "hidden", Read|Excl)
		w.Open(WASI, "hidden", Read|Directory)
	}
	w.Stat(WASI, "other")
	calls, refused := w.Counts()
	equal(t, "counts", []int64{calls, refused}, "[16 16]")
	equal(t, "recorded", len(w.ops(w.begin.Seq)), 6)
	w.finished()
	w.mark = w.begin
	ops := w.ops(w.begin.Seq)
	equal(t, "recorded at the end", len(ops), 11)
	for i, op := range ops[6:] {
		first := ops[i]
		first.Count = 2
		equal(t, "counted", fmt.Sprintf("%+v", op), fmt.Sprintf("%+v", first))
	}
	evidence, err := w.evidence()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "evidence", evidence.Hidden, "[{hidden 15} {other 1}]")
}

// TestCeilings ends turns that record too much.
func TestCeilings(t *testing.T) {
	s := writable()
	s.tune = func(c *Config) { c.Ceiling.Entries = 3 }
	w := newWorld(t, s)
	for range 100 {
		w.Stat(WASI, "hidden")
	}
	w.Stat(WASI, "docs")
	w.Stat(WASI, "docs")
	f := func() { w.Stat(WASI, "docs") }
	equal(t, "entries", caught(f), "the limit on entries was reached (3)")
	equal(t, "nothing more is recorded", len(w.ops(w.begin.Seq)), 3)
	equal(t, "what ends the turn is", w.finished(), "")
	equal(t, "at the end", len(w.ops(w.begin.Seq)), 4)
	if got := w.does(func() Errno { _, errno := w.Open(WASI, "elsewhere", Write); return errno }); got != "violation no grant of write" {
		t.Errorf("a violation is always recorded: %s", got)
	}
}

// TestEvidenceCeiling fills a turn with names and holds that its evidence stays
// below the bound.
func TestEvidenceCeiling(t *testing.T) {
	const most = 100_000
	for what, name := range map[string]string{
		"long names":    "docs/%d" + strings.Repeat("/n", 1900),
		"escaped names": "docs/%d" + strings.Repeat("\x01", 200),
		"quoted names":  "docs/%d" + strings.Repeat(`"`, 200),
		"hidden names":  "%d" + strings.Repeat("h", 200),
		"short names":   "out/%d",
	} {
		s := writable()
		s.tune = func(c *Config) { c.Ceiling.Evidence, c.Ceiling.OutputFiles = most, 1e6 }
		w := newWorld(t, s)
		err := caught(func() {
			for i := 0; ; i++ {
				p := fmt.Sprintf(name, i)
				if strings.HasPrefix(p, "out/") {
					w.make(p, "")
					continue
				}
				w.Open(WASI, p, Read)
				if len(filepath.Base(p)) < 256 && strings.HasPrefix(p, "docs") && !strings.Contains(p, "/n") {
					w.write(w.at(p), "x")
					w.Open(WASI, p, Read)
					for f := range w.files {
						f.Close()
					}
				}
			}
		})
		equal(t, what, err, fmt.Sprintf("the limit on evidence was reached (%d)", most))
		if err := w.consistentEvidence(most); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// consistentEvidence writes the evidence of the turn down and measures it.
func (w *world) consistentEvidence(most int64) error {
	w.limited = true
	if err := w.consistent(); err != nil {
		return err
	}
	evidence, err := w.evidence()
	if err != nil {
		return err
	}
	before, _ := os.Stat(filepath.Join(w.ledger, record.EvidenceFile))
	if _, err := w.cfg.Evidence.Commit(1, &evidence); err != nil {
		return err
	}
	after, _ := os.Stat(filepath.Join(w.ledger, record.EvidenceFile))
	if size := after.Size() - before.Size(); size > most+4096 {
		return fmt.Errorf("its evidence has %d bytes, want at most %d", size, most)
	}
	return nil
}

// TestCancelled holds that a turn whose time is up does nothing more.
func TestCancelled(t *testing.T) {
	w := newWorld(t, writable())
	ctx, cancel := context.WithCancelCause(context.Background())
	w.ctx = ctx
	f := w.opened("docs/a.md", Read|Write)
	folder := w.opened("docs", Read)
	large := w.begin.Seq
	recorded := len(w.ops(large))
	cancel(&Limit{Name: record.LimitTime, Max: 60_000})
	all := operations(w)
	all["read"] = func() Errno { _, errno := f.ReadAt(make([]byte, 1), 0); return errno }
	all["write"] = func() Errno { _, errno := f.WriteAt(make([]byte, 1), 0); return errno }
	all["truncate open"] = func() Errno { return f.Truncate(0) }
	all["set times of open"] = func() Errno { return f.SetTimes(WASI) }
	all["list open"] = func() Errno { _, errno := folder.List(); return errno }
	for name, do := range all {
		equal(t, name, caught(func() { do() }), "the limit on time was reached (60000)")
	}
	w.mark = w.begin
	equal(t, "recorded", len(w.ops(large)), recorded)
	f.Close()
	folder.Close()
}

// TestMismatch records what the runner finds at the end.
func TestMismatch(t *testing.T) {
	w := newWorld(t, writable())
	if err := w.Mismatch("docs/x", record.CodeMissingOutput); err != nil {
		t.Fatal(err)
	}
	op := w.ops(w.begin.Seq)
	equal(t, "recorded", fmt.Sprintf("%+v", op), fmt.Sprintf("%+v", []record.Op{{
		Op: "publish", Via: "host", Path: "docs/x", Decision: "violation", Rule: "missing_output", Errno: "perm",
	}}))
	if !strings.Contains(string(lastLine(t, filepath.Join(w.ledger, record.EvidenceFile))), `"rule":"missing_output"`) {
		t.Error("it is not in the evidence")
	}
}

// TestUnknownStaged finds files that no operation made.
func TestUnknownStaged(t *testing.T) {
	w := newWorld(t, writable())
	w.make("docs/known", "x")
	for _, name := range []string{"workspace/docs/planted", "out/planted"} {
		w.write(filepath.Join(w.stages, name), "x")
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(w.stages, "workspace/docs/link")); err != nil {
		t.Fatal(err)
	}
	writes, _, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range writes {
		got = append(got, fmt.Sprintf("%s known=%v regular=%v", r.Path, r.Known, r.Regular))
	}
	want := []string{
		"docs/known known=true regular=true", "docs/link known=false regular=false", "docs/planted known=false regular=true",
		"output/" + sid + "/planted known=false regular=true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
