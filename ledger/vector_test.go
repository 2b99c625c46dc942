//go:build linux || darwin

package ledger

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The example of README.md is what this package writes.
func TestReadmeExample(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l := mustCreate(t, Options{Session: "SES-1", Now: func() time.Time { return now }})
	for turn, b := range []body{
		{"greeting", func(m *Members) { m.Str("text", "tab\there, é, \"quoted\"") }},
		{"count", func(m *Members) {
			m.Int("n", -3)
			m.Hash("blob", Sum(append(make([]byte, NonceSize), "yes"...)))
		}},
		{"bye", func(*Members) {}},
	} {
		if _, err := l.Append(turn, b); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second + 7)
	}
	lines, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	example := fmt.Sprintf("```\n%s```\n\nMerkle root: `%v`\n", lines, l.Head().Root)
	readme, err := os.ReadFile("README.md")
	if err != nil || !strings.Contains(string(readme), example) {
		t.Errorf("README.md does not have this example, %v:\n%s", err, example)
	}
}
