package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/session"
)

func TestAge(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 720 * time.Hour, "2w": 336 * time.Hour, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "0d": 0, "0s": 0, "100000d": 2_400_000 * time.Hour,
	} {
		if got, err := ageOf(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"d", "30", "-1d", "-1h", "1.5d", "30D", "100001d", "14286w", "99999999999999999999d", "soon", "1d12h", " 1d"} {
		if got, err := ageOf(text); err == nil {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

func TestChoose(t *testing.T) {
	now := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	ago := func(id string, days int, closed bool) session.Summary {
		return session.Summary{ID: session.ID(id), Changed: now.AddDate(0, 0, -days), Closed: closed}
	}
	list := []session.Summary{
		ago("SES-a", 1, true), ago("SES-b", 30, true), ago("SES-c", 10, true), ago("SES-d", 40, false),
		{ID: "SES-e", Closed: true, Err: errors.New("torn")},
		ago("SES-f", 10, true),
		{ID: "SES-g", Running: true, Changed: now.AddDate(0, 0, -90)},
	}
	for _, c := range []struct {
		age  string
		keep int
		want string
	}{
		{"0s", 0, "SES-b SES-c SES-f SES-a"},
		{"10d", 0, "SES-b SES-c SES-f"},
		{"11d", 0, "SES-b"},
		{"0s", 3, "SES-b"},
		{"0s", 2, "SES-b SES-c"},
		{"0s", 9, ""},
		{"20d", 1, "SES-b"},
		{"5d", 3, "SES-b"},
	} {
		age, err := ageOf(c.age)
		if err != nil {
			t.Fatal(err)
		}
		chosen, skipped := choose(list, age, c.keep, now)
		var got []string
		for _, s := range chosen {
			got = append(got, string(s.ID))
		}
		if strings.Join(got, " ") != c.want || fmt.Sprint(skipped) != "[{SES-e it cannot be read: torn}]" {
			t.Errorf("older than %s, keep %d: got %s, %v, want %s", c.age, c.keep, got, skipped, c.want)
		}
	}
}

// TestShellWord: a shell gives back what was quoted.
func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{
		"agent": "agent", "./a-b/c.tar.gz": "./a-b/c.tar.gz", "SES-1:2": "SES-1:2", "": "''", "a b": "'a b'", "it's": `'it'\''s'`,
		"$(rm x)": "'$(rm x)'", "~": "'~'", "a\nb": "'a\nb'", "*": "'*'", "ü": "'ü'", "#": "'#'", "a;b": "'a;b'", `\`: `'\'`,
	} {
		got := shellWord(word)
		if got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
		out, err := exec.Command("sh", "-c", "printf %s "+got).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q: a shell makes %q of %s, %v", word, out, got, err)
		}
	}
}

// TestStyled: colors on a terminal only, tabs as they are, all else escaped.
func TestStyled(t *testing.T) {
	for _, c := range []struct {
		color bool
		want  string
	}{{false, "+a\tb\\x1b[1A\\rc\n"}, {true, "\x1b[32m+a\tb\\x1b[1A\\rc\x1b[0m\n"}} {
		var out bytes.Buffer
		term := newTerminal(&out, &bytes.Buffer{}, noEnv)
		term.outColor = c.color
		line := "+a\tb\x1b[1A\rc"
		term.styled(colorOf(line), line)
		if got := out.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestOnly(t *testing.T) {
	files := []keptFile{{Path: "docs/a"}, {Path: "docs/ab"}, {Path: "out"}, {Path: "output/SES-1/a"}, {Path: "output/SES-1/b/c"}}
	for _, c := range []struct{ paths, want string }{
		{"", "docs/a docs/ab out output/SES-1/a output/SES-1/b/c"},
		{"docs/a", "docs/a"},
		{"docs", "docs/a docs/ab"},
		{"/docs/", "docs/a docs/ab"},
		{"out/a", "output/SES-1/a"},
		{"/out", "output/SES-1/a output/SES-1/b/c"},
		{"out/b docs/ab", "docs/ab output/SES-1/b/c"},
		{"output/SES-1/a", "output/SES-1/a"},
		{"doc", `the turn left no file "doc"`},
		{"docs out/x", `the turn left no file "out/x"`},
	} {
		picked, err := only(files, "SES-1", strings.Fields(c.paths))
		var got []string
		for _, f := range picked {
			got = append(got, f.Path)
		}
		said := strings.Join(got, " ")
		if err != nil {
			said = err.Error()
		}
		if said != c.want {
			t.Errorf("%s: got %s, want %s", c.paths, said, c.want)
		}
	}
}
