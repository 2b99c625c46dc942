package record

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/ledger"
)

// A list whose names were redacted is still one: sorted, as it is written, and of as
// many files and bytes.
func TestRedactSeen(t *testing.T) {
	var list []byte
	view := View{}
	for i, name := range []string{"a-secret", "a-x", `b "secret"`, "z-[redacted 1]", "z-secret"} {
		list = AppendSeen(list, File{name, hashOf(name), int64(i)})
		view.Files, view.Bytes = view.Files+1, view.Bytes+int64(i)
	}
	if err := view.check(list); err != nil {
		t.Fatal(err)
	}
	redact := func(s string) string { return strings.ReplaceAll(s, "secret", "[redacted 1]") }
	got := RedactSeen(list, redact)
	if err := view.check(got); err != nil || bytes.Contains(got, []byte("secret")) {
		t.Errorf("%v in\n%s", err, got)
	}
	var names []string
	for line := range bytes.Lines(got) {
		f, err := parseSeen(line)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, f.Path)
	}
	if got, want := strings.Join(names, "|"), `a-[redacted 1]|a-x|b "[redacted 1]"|z-[redacted 1]|z-[redacted 1]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	twice := append(AppendSeen(nil, File{"x", hashOf("x"), 1}), AppendSeen(nil, File{"x", hashOf("x"), 1})...)
	if (View{Files: 2, Bytes: 2}).check(twice) == nil {
		t.Error("a name that stands there twice was taken")
	}
	if got := RedactSeen([]byte("no list, secret\n"), redact); string(got) != "no list, [redacted 1]\n" {
		t.Errorf("got %q", got)
	}
}

// What says where a file lies is never redacted.
func TestPlaceOf(t *testing.T) {
	for name, want := range map[string]string{
		"docs/a": "", "output/a": "", "tmpx/a": "", "SES-1/a": "",
		"tmp/a": "tmp/", "tmp": "tmp", "pkg:a/b": "pkg:", "deps:PKG-A/b": "deps:PKG-A/", "deps:PKG-A": "deps:PKG-A",
		"output/SES-1/a/b": "output/SES-1/", "output/SES-1": "output/SES-1",
	} {
		if got := name[:placeOf(name)]; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// Evidence is of entries that were redacted, and stands as it is.
func TestEvidenceIsNotRedactedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l.jsonl")
	l, err := ledger.Create(path, ledger.Options{Session: "SES-1"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Redact(func(s string) string { return "[redacted 1]" + s })
	evidence := TurnEvidence{SessionID: "SES-1", UndeclaredReads: []string{"a"}, Violations: []Violation{{Operation: "read", Subject: "s", Rule: "r"}}, Withheld: []string{"w"}, Fence: FenceNone}
	if _, err := l.Append(0, evidence); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(0, Op{Op: OpStat, Via: ViaWASI, Path: "p", Decision: Hidden, Rule: "r", Errno: "noent"}); err != nil {
		t.Fatal(err)
	}
	var line string
	for e, err := range ledger.Scan(path, ledger.Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		line += string(e.Line) + "\n"
	}
	first, second, _ := strings.Cut(line, "\n")
	if strings.Contains(first, "redacted") || strings.Count(second, "redacted") != 2 {
		t.Errorf("got\n%s", line)
	}
}
