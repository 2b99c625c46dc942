package ledger

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// named is an entry with one member of each way to write a string.
type named struct {
	Text string `json:"text"`
	Path string `json:"path"`
	Word string `json:"word"`
}

func (named) Kind() string { return "named" }

func (n named) AppendMembers(m *Members) {
	m.Str("text", n.Text)
	m.Name("path", n.Path, len("tmp/"))
	m.Word("word", n.Word)
}

// computed stands on entries that were redacted.
type computed struct {
	Text string `json:"text"`
}

func (computed) Kind() string { return "computed" }

func (c computed) AppendMembers(m *Members) {
	m.Redacted()
	m.Str("text", c.Text)
}

// What is redacted never gets into the file, and what must be found again is not
// redacted but refused.
func TestRedact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l.jsonl")
	l, err := Create(path, Options{Session: "SES-1"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Redact(func(s string) string { return strings.ReplaceAll(s, "secret", `[redacted "1"]`) })
	add := func(b Body) error { _, err := l.Append(0, b); return err }
	if err := add(named{"a secret", "tmp/secret", "secret"}); err != nil {
		t.Fatal(err)
	}
	head := l.Head()
	if err := add(named{"x", "secret/x", "x"}); !errors.Is(err, ErrRedacted) || l.Head() != head {
		t.Errorf("got %v", err)
	}
	if err := add(computed{"no secret"}); err != nil {
		t.Fatal(err)
	}
	l.Redact(nil)
	if err := add(named{"a secret", "tmp/secret", "secret"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range Scan(path, Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		members, err := e.members()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(members))
	}
	want := []string{
		`{"text":"a [redacted \"1\"]","path":"tmp/[redacted \"1\"]","word":"secret"}`,
		`{"text":"no secret"}`,
		`{"text":"a secret","path":"tmp/secret","word":"secret"}`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
