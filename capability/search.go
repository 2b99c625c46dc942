package capability

import (
	"fmt"
	"strings"
)

// A Glob is a pattern by itself, for who looks for names and grants nothing. It
// reads what patterns of grants read, and matches any name that a ledger may hold:
// those of the workspace, "pkg:x", and absolute ones. It is immutable and safe for
// concurrent use.
type Glob struct {
	matcher  *matcher
	absolute bool
}

// ParseGlob reads a pattern: *, ?, [a-z] and {a,b} within a name, ** for any number
// of folders. One that begins with / matches absolute names, and no others. The
// error is a [*GrantError].
func ParseGlob(text string) (*Glob, error) {
	if len(text) > maxPattern {
		return nil, &GrantError{"pattern", text, fmt.Sprintf("is %d bytes long, at most %d", len(text), maxPattern), "write * for what lies between"}
	}
	if strings.Contains(text, placeholder) {
		return nil, &GrantError{"pattern", text, "has " + placeholder + ", which stands for nothing here", "write the id of the session, or *"}
	}
	rest, absolute := strings.CutPrefix(text, "/")
	g, f := validate(rest)
	if f != nil {
		return nil, &GrantError{"pattern", text, f.reason, f.hint}
	}
	return &Glob{newMatcher(g), absolute}, nil
}

// Match reports whether the pattern matches name.
func (g *Glob) Match(name string) bool {
	rest, absolute := strings.CutPrefix(name, "/")
	return absolute == g.absolute && g.matcher.match(rest)
}
