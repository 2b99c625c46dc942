package capability

import "strings"

// Literal returns the one name a pattern matches, if it has no metacharacter
// that could match another. The placeholder <session_id> is one.
func Literal(pattern string) (name string, ok bool) {
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '{', '}':
			return "", false
		}
	}
	segments := strings.Split(pattern, "/")
	for i, segment := range segments {
		literal, ok := literalSegment(segment)
		if !ok {
			return "", false
		}
		segments[i] = literal
	}
	return strings.Join(segments, "/"), true
}

// Escape returns the pattern that matches name and nothing else.
func Escape(name string) string { return quoteMeta(name) }
