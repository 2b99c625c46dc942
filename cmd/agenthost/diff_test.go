package main

import (
	"strings"
	"testing"
)

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
