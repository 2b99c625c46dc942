package capability_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"docs/a.md", "docs/a.md", true},
		{"docs/*", "docs/a.md", true},
		{"docs/*", "docs/b/a.md", false},
		{"**/*.md", "a.md", true},
		{"**/*.md", "output/SES-1/b/a.md", true},
		{"**", "tmp/x", true}, // nothing is granted, so nothing is reserved
		{"**", ".agenthost/x", true},
		{"**", "/usr/bin/git", false},
		{"/**", "/usr/bin/git", true},
		{"/usr/*/git", "/usr/bin/git", true},
		{"/usr/*", "usr/git", false},
		{"pkg:*", "pkg:x", true},
		{"{a,b}/*", "b/x", true},
		{"out/*", "out/x", true}, // as it stands
		{"a?c", "a\xffc", true},
	} {
		g, err := capability.ParseGlob(c.pattern)
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		if got := g.Match(c.name); got != c.want {
			t.Errorf("%q matches %q: got %t, want %t", c.pattern, c.name, got, c.want)
		}
	}
	for pattern, want := range map[string]string{
		"":                       `"": is empty`,
		"/":                      `"/": is empty`,
		"//a":                    `"//a": begins with /`,
		"a/":                     `"a/": ends with /`,
		"a[":                     `"a[": has a [ without its ]`,
		"a**b":                   `"a**b": has ** within a segment, where it means no more than *`,
		strings.Repeat("a", 513): "is 513 bytes long, at most 512",
		"a/<session_id>/*":       "has <session_id>, which stands for nothing here",
	} {
		_, err := capability.ParseGlob(pattern)
		var bad *capability.GrantError
		if !errors.As(err, &bad) || bad.Hint == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: got %v, want %s", pattern, err, want)
		}
	}
}
