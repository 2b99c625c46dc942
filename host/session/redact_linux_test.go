package session

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/redact"
	"github.com/agenthost/agenthost/ledger"
)

// A turn whose entries, blobs and evidence would all hold a value is recorded
// without it, and is whole; evidence that was computed of what the entries were made
// of is not what is recorded. A later turn says for itself.
func TestRedact(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, id1)
	values, err := redact.New([]string{"hush-hush", "SES-1"})
	if err != nil {
		t.Fatal(err)
	}
	if values.Number("output/"+string(id1)+"/") != 2 {
		t.Error("a session's own id is not found")
	}
	if values, err = redact.New([]string{"hush-hush"}); err != nil {
		t.Fatal(err)
	}
	s.Redact(values)
	query, err := s.Blob([]byte(`{"q":"hush-hus\u0068"}`))
	if err != nil {
		t.Fatal(err)
	}
	var collected record.Collector
	add := func(b ledger.Body) {
		t.Helper()
		e, err := s.Exec.Append(1, b)
		if err != nil {
			t.Fatal(err)
		}
		collected.Add(e, b)
	}
	st, err := s.Begin(1)
	if err != nil {
		t.Fatal(err)
	}
	own := s.OutputName() + "/hush-hush"
	add(record.TurnBegin{AsOf: "2026-01-01T00:00:00Z", Query: &query, Inputs: []record.File{{Path: "docs/hush-hush", SHA256: ledger.Sum(nil)}}, Withheld: []string{"hush-hush/**"}, Redacted: 1})
	add(record.Op{Op: record.OpStat, Via: record.ViaWASI, Path: "hush-hush/x", Decision: record.Hidden, Errno: "noent"})
	add(record.Op{Op: record.OpOpen, Via: record.ViaWASI, Path: own, Flags: "write,create,excl", Decision: record.Own, Errno: record.ErrnoSuccess})
	add(record.Digest{Of: s.Exec.Head().Size - 1, Path: own, SHA256: ledger.Sum(nil)})
	refused := record.Op{Op: record.OpOpen, Via: record.ViaWASI, Path: "no/hush-hush", Flags: "read", Decision: record.Violated, Rule: "hush-hush", SmallestGrant: "read: hush-hush", Errno: "perm"}
	add(refused)
	v, _ := refused.Violation()
	if _, err := s.Evidence.Append(1, v); err != nil {
		t.Fatal(err)
	}
	evidence, ok := collected.Evidence(s.Exec.Head())
	if !ok || evidence.Violations[0].Subject != "no/hush-hush" {
		t.Fatalf("%+v, %v", evidence, ok)
	}
	if err := s.Prove(&evidence); err != nil {
		t.Fatal(err)
	}
	if _, err := s.End(record.TurnEnd{Status: record.StatusBlocked, Code: record.CodeViolation, Message: "may not read hush-hush, nor hush-…"}); err != nil {
		t.Fatal(err)
	}
	// What is published must be found by its name.
	if _, err := s.Exec.Commit(1, record.TurnEnd{Status: record.StatusOK, Publish: []record.Publication{{Path: "hush-hush", Role: "r"}}}); !errors.Is(err, ledger.ErrRedacted) {
		t.Errorf("published: %v", err)
	}
	if err := st.Discard(); err != nil {
		t.Fatal(err)
	}
	for name, content := range contents(t, filepath.Join(ws, DefaultRoot)) {
		if strings.Contains(name+content, "hush-h") || strings.Contains(content, "nor hush") {
			t.Errorf("it stands in %s", name)
		}
	}
	verify(t, r, id1)

	s.Redact(nil)
	mustPublish(t, s, []out{{path: "hush-hush", content: "x"}})
	s.Leave()
	if report := verify(t, r, id1); len(report.Turns) != 2 {
		t.Errorf("%d turns", len(report.Turns))
	}
}
