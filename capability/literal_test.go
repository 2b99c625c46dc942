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

// TestNarrowingFolders: what narrows a folder narrows what is in it.
func TestNarrowingFolders(t *testing.T) {
	e, err := New(Grants{Read: []string{"**"}, Forbidden: []string{"docs/private", "**/*.d"}})
	if err != nil {
		t.Fatal(err)
	}
	if e, err = e.Attenuate(Rights{Grants: Grants{Read: []string{"**"}}, Withhold: []string{"**/.env*"}}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"docs/private":     "forbidden docs/private",
		"docs/private/a/b": "forbidden docs/private",
		"docs/privates":    "",
		"x/conf.d":         "forbidden **/*.d",
		"x/conf.d/a":       "forbidden **/*.d",
		".env.d/a":         "forbidden **/*.d",
		".envs/a":          "withheld **/.env*",
		"x/.env":           "withheld **/.env*",
		"env":              "",
	} {
		_, err := e.Check(Read, name)
		got := ""
		if v, ok := err.(*Violation); ok {
			got = v.Rule
		}
		if got != want {
			t.Errorf("read %s: got %q, want %q", name, got, want)
		}
	}
}
