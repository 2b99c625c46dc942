package capability

import "testing"

func TestLiteral(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		ok            bool
	}{
		{"docs/a.md", "docs/a.md", true},
		{"out/report.md", "out/report.md", true},
		{`docs/a\*.md`, "docs/a*.md", true},
		{"docs/[a].md", "docs/a.md", true},
		{"docs/*.md", "", false},
		{"**", "", false},
		{"docs/{a,b}.md", "", false},
		{"docs/a?", "", false},
		{"output/<session_id>/a", "", false},
	} {
		name, ok := Literal(test.pattern)
		if name != test.name || ok != test.ok {
			t.Errorf("Literal(%q) = %q, %v, want %q, %v", test.pattern, name, ok, test.name, test.ok)
		}
	}
}

func TestEscape(t *testing.T) {
	for _, name := range []string{"a", "a*b", "[x]", `a\b`, "{a,b}", "q?", "x<session_id>y"} {
		if got, ok := Literal(Escape(name)); !ok || got != name {
			t.Errorf("Literal(Escape(%q)) = %q, %v", name, got, ok)
		}
	}
}
