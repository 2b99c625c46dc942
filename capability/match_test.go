package capability

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"
)

func mustGlob(t testing.TB, text string) *glob {
	t.Helper()
	g, f := validate(text)
	if f != nil {
		t.Fatalf("pattern %q %s", text, f.reason)
	}
	return g
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no string // names, separated by spaces
	}{
		{"docs/a.md", "docs/a.md", "docs docs/a.mdx docs/b.md xdocs/a.md docs/a.md/x"},
		{"docs/*.md", "docs/a.md docs/.md", "docs/a/b.md docs/a.txt a.md"},
		{"docs/**", "docs docs/a docs/a/b/c", "doc docsx a/docs"},
		{"**", "a a/b .x", ""},
		{"*", "a .x", "a/b"},
		{"**/x", "x a/x a/b/x", "xx a/xx ax"},
		{"a/**/b", "a/b a/x/b a/x/y/b", "a b ab a/xb a/b/c"},
		{"**/.git/**", ".git a/.git .git/x a/.git/x/y", "git a/.gitx"},
		{"a*/**", "ab a/x ab/x/y", "a b"}, // doublestar's: a star before /** wants something
		{"a?c", "abc aéc", "ac a/c abbc"},
		{"[a-c]x", "ax bx cx", "dx x"},
		{`\*.md`, "*.md", "a.md"},
		{`a\?b`, "a?b", "axb"},
		{`[\]\-]`, "] -", `\ a`},
		{`[Y-\]]x`, `Yx [x \x ]x`, "Xx ^x -x"},
		{"[z-a]", "z", "a m -"}, // the first of a range counts by itself
		{"[-a]", "- a", "b"},
		{"[a-]", "- a", "b"},
		{"{a,b}/c", "a/c b/c", "ab/c c {a,b}/c"},
		{"{a,b{c,d}}e", "ae bce bde", "be ace abe"},
		{"{a,}b", "b ab", "a"},
		{"{src/,}**/*.go", "a.go src/a.go src/x/a.go x/a.go", "src"},
		{"{**,a}/x", "x a/x b/x", "ax"},
		{"{a/**,b}", "a a/x b", "b/x"},
		{"a{/**,b}", "a a/x ab", "ab/x"},
		{"x{,-y}.md", "x.md x-y.md", "x-.md"},
		{"*{.md,.txt}", "a.md .txt b.txt", "a.go"},
		{"é*", "é éa", "e"},
		{"a,b", "a,b", "a b"},
		{"[{]x", "{x", "x"},
		{"{[,],a}x", ",x ax", "x"},
	} {
		m := newMatcher(mustGlob(t, c.pattern))
		for want, names := range map[bool]string{true: c.yes, false: c.no} {
			for name := range strings.FieldsSeq(names) {
				if got := m.match(name); got != want {
					t.Errorf("%q matches %q: got %v, want %v", c.pattern, name, got, want)
				}
				if ds := doublestar.MatchUnvalidated(c.pattern, name); ds != want {
					t.Errorf("doublestar %q matches %q: got %v, want %v", c.pattern, name, ds, want)
				}
			}
		}
	}
}

// agree compares the matcher with doublestar.
func agree(t *testing.T, text, name string) {
	t.Helper()
	g, f := validate(text)
	if f != nil || nameFault(name) != "" {
		return
	}
	want, err := doublestar.Match(text, name)
	if err != nil {
		t.Fatalf("doublestar.Match(%q, %q): %v", text, name, err)
	}
	m := boundMatcher(g, placeholder)
	if got := m.match(name); got != want {
		t.Fatalf("%q matches %q: got %v, doublestar says %v", text, name, got, want)
	}
	for folder := name; ; {
		i := strings.LastIndexByte(folder, '/')
		if i < 0 {
			break
		}
		folder = folder[:i]
		some, all := m.beneath(folder)
		if want && !some || !want && all {
			t.Fatalf("%q beneath %q: got %v, %v, but %q: %v", text, folder, some, all, name, want)
		}
	}
	if some, all := m.beneath("."); want && !some || !want && all {
		t.Fatalf("%q beneath the top: got %v, %v, but %q: %v", text, some, all, name, want)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("docs/**/*.{md,txt}", "docs/a/b.md")
	f.Add("{a/,b}**/c*", "a/x/c")
	f.Add(`a\*[b-d\]]?/**`, "a*b]/x")
	f.Add("a*/**", "a/b")
	f.Add("*{,b}", "a")
	f.Add("<session_id>/{<session_id>,x}", "<session_id>/x")
	f.Fuzz(agree)
}

// TestMatchRandom is FuzzMatch over small alphabets, where patterns and names
// meet far more often.
func TestMatchRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(letters []string, most int) string {
		var b strings.Builder
		for range 1 + r.IntN(most) {
			b.WriteString(letters[r.IntN(len(letters))])
		}
		return b.String()
	}
	accepted := 0
	for range 30000 {
		text := word([]string{"a", "b", "/", "*", "**", "/**", "**/", "?", "{", ",", "}", "[ab]", `\a`, "*"}, 9)
		if _, f := validate(text); f != nil {
			continue
		}
		accepted++
		for range 12 {
			agree(t, text, word([]string{"a", "b", "/", "a/", "/b"}, 8))
		}
	}
	if accepted < 1500 {
		t.Errorf("only %d patterns were accepted", accepted)
	}
}
