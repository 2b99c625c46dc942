package capability

import (
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

// Limits of patterns and names, in bytes.
const (
	maxPattern    = 512
	maxExpansions = 64
	maxName       = 4096
	maxSession    = 104      // of an id that Bind accepts
	maxPatterns   = 64 << 10 // of all patterns of one Grants or Rights
)

// fault is what is wrong with a pattern, and what to write instead.
type fault struct{ reason, hint string }

// pattern is one rule about names.
type pattern struct {
	text string // as it was written
	rule string // what a Violation says
	glob *glob  // with out/ spelled in full

	// beneath is glob for all that lies in the folders it matches: what narrows
	// a folder narrows what is in it, so that forbidding docs/private forbids its
	// files. It is nil for grants, and where glob matches them already.
	beneath *glob

	// bySession are the expansions that spell out which session of the control
	// plane they mean. Only these read beneath a session's folder.
	bySession []*glob
}

// newPattern reads text, a grant of op, or what narrows all operations ("").
func newPattern(op Op, rule, text string) (pattern, *fault) {
	if len(text) > maxPattern {
		return pattern{}, &fault{fmt.Sprintf("is %d bytes long, at most %d", len(text), maxPattern), "name a folder instead, as in docs/**"}
	}
	full := text
	if text == "out" || strings.HasPrefix(text, "out/") {
		full = "output/" + placeholder + text[len("out"):]
	}
	g, f := validate(full)
	if f != nil {
		return pattern{}, f
	}
	p := pattern{text: text, rule: rule, glob: g}
	if op == "" {
		if full != "**" && !strings.HasSuffix(full, "/**") {
			p.beneath = parseGlob(full + "/**")
		}
		return p, nil
	}
	for _, one := range g.expand() {
		segments := strings.Split(one, "/")
		if f := reservedFault(op, segments); f != nil {
			return pattern{}, f
		}
		if op == Read && namesSession(segments) {
			p.bySession = append(p.bySession, parseGlob(one))
		}
	}
	return p, nil
}

// validate checks the shape of a pattern over canonical names.
func validate(text string) (*glob, *fault) {
	switch {
	case text == "":
		return nil, &fault{"is empty", "name a file, docs/a.md, or a folder with all that is in it, docs/**"}
	case !utf8.ValidString(text):
		return nil, &fault{"is not UTF-8", "names that are not UTF-8 do not exist for guests"}
	case strings.ContainsRune(text, 0):
		return nil, &fault{"holds a NUL", "names with NUL do not exist"}
	}
	if f := syntaxFault(text); f != nil {
		return nil, f
	}
	g := parseGlob(text)
	if g.expansions(maxExpansions+1) > maxExpansions {
		return nil, &fault{fmt.Sprintf("has braces that stand for more than %d patterns", maxExpansions), "write several patterns, or * instead of braces"}
	}
	for _, one := range g.expand() {
		if f := segmentsFault(one); f != nil {
			return nil, f
		}
	}
	if f := g.braceFault(); f != nil {
		return nil, f
	}
	for _, one := range g.expand() {
		for _, segment := range strings.Split(one, "/") {
			if segment != "**" && strings.Contains(strings.ReplaceAll(segment, `\*`, ""), "**") {
				return nil, &fault{"has ** within a segment, where it means no more than *", "write * for names in one folder, **/ in front for any folder, /** behind for all that is in one"}
			}
		}
	}
	return g, nil
}

// syntaxFault finds what doublestar does not read, and what could cross folders.
func syntaxFault(text string) *fault {
	if !doublestar.ValidatePattern(text) {
		return malformed(text)
	}
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			if i++; text[i] == '/' {
				return &fault{`escapes a slash`, `write / without \: it separates folders and cannot be part of a name`}
			}
		case '[':
			end := classEnd(text, i)
			if text[i+1] == '!' || text[i+1] == '^' {
				return &fault{"has a negated class " + text[i:end+1], "list the characters that may stand there, or write ?"}
			}
			if set, _ := readClass(text, i); inClass(set, '/') {
				return &fault{"has a class with a slash in it, " + text[i:end+1], "write / outside of [ ]; a range such as [+-9] holds it too"}
			}
			i = end
		}
	}
	return nil
}

// malformed says why doublestar does not read text.
func malformed(text string) *fault {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			if i++; i == len(text) {
				return &fault{`ends with \`, `write \\ for the character itself`}
			}
		case '[':
			from := i
			if i++; i < len(text) && (text[i] == '^' || text[i] == '!') {
				i++
			}
			if i < len(text) && text[i] == ']' {
				return &fault{"has an empty class " + text[from:i+1], `write \[ for the character itself`}
			}
			for i < len(text) && text[i] != ']' {
				if text[i] == '\\' {
					i++
				}
				i++
			}
			if i >= len(text) {
				return &fault{"has a [ without its ]", `write \[ for the character itself`}
			}
		case '{':
			depth++
		case '}':
			if depth--; depth < 0 {
				return &fault{"has a } without its {", `write \} for the character itself`}
			}
		}
	}
	return &fault{"has a { without its }", `write \{ for the character itself`}
}

// segmentsFault checks the segments of a pattern without braces.
func segmentsFault(text string) *fault {
	switch {
	case text == "":
		return &fault{"has braces that may stand for nothing at all", "write the alternatives as patterns of their own"}
	case text[0] == '/':
		return &fault{"begins with /", "patterns are relative to the workspace: write " + hintPath(strings.TrimLeft(text, "/"))}
	case strings.HasSuffix(text, "/"):
		return &fault{"ends with /", "write " + strings.TrimSuffix(strings.TrimRight(text, "/"), "/**") + "/** for all that is in the folder"}
	}
	for _, segment := range strings.Split(text, "/") {
		word, literal := literalSegment(segment)
		switch {
		case segment == "":
			return &fault{"has an empty segment, //", "write one / between names"}
		case literal && word == ".":
			return &fault{"has a segment .", "leave ./ out: patterns are relative to the workspace"}
		case literal && word == "..":
			return &fault{"has a segment ..", "name the folder itself; what lies outside the workspace cannot be granted"}
		}
	}
	return nil
}

func hintPath(path string) string {
	if path == "" {
		return "**"
	}
	return path
}

// literalSegment returns the one name a segment without braces matches, if it
// matches only one. The placeholder is not literal.
func literalSegment(segment string) (name string, literal bool) {
	g := glob{text: segment}
	var b strings.Builder
	for i := 0; i < len(segment); {
		e, next := g.element(i)
		switch {
		case e.kind == one:
			b.WriteRune(e.r)
		case e.kind == class && sole(e.set):
			b.WriteRune(e.set[0].lo)
		default:
			return "", false
		}
		i = next
	}
	return b.String(), true
}

// sole says that set holds one rune only.
func sole(set []span) bool {
	for _, s := range set {
		if s.lo <= s.hi && (s.lo != set[0].lo || s.hi != set[0].lo) {
			return false
		}
	}
	return true
}

// braceFault refuses the few patterns that doublestar answers differently from
// the patterns their braces stand for, and even differently from name to name:
// stars that join others across a brace, and an end that only shows behind one.
func (g *glob) braceFault() *fault {
	if len(g.alts) == 0 {
		return nil
	}
	f := &fault{"mixes stars and braces so that its meaning is unclear", "write each alternative as a pattern of its own"}
	seen := make([]bool, 2*len(g.text)+2)
	var unclear func(p place) bool
	unclear = func(p place) bool {
		p.at = g.at(p.at)
		if seen[p.index()] {
			return false
		}
		seen[p.index()] = true
		if g.mayEnd(p.at, false) != g.mayEnd(p.at, true) {
			return true
		}
		if p.at == len(g.text) {
			return false
		}
		if g.braced(p.at) {
			for _, alt := range g.alts[p.at] {
				if unclear(place{alt, p.fresh}) {
					return true
				}
			}
			return false
		}
		n, next := g.stars(p.at)
		if n == 0 {
			e, next := g.element(p.at)
			return unclear(place{next, e.r == '/'})
		}
		if p.fresh && g.braced(next) &&
			(n == 1 && g.begins(next, '*') || n == 2 && g.begins(next, '/')) {
			return true
		}
		crosses := n == 2 && p.fresh && next < len(g.text) && g.text[next] == '/'
		if crosses {
			next++
		}
		return unclear(place{next, crosses})
	}
	if unclear(place{0, true}) {
		return f
	}
	return nil
}

// nameFault says why name is no canonical name: a relative slash path of
// 1 to 4,096 bytes of UTF-8 without NUL and without empty, . or .. segments.
func nameFault(name string) string {
	if isSimple(name) {
		return ""
	}
	return anyNameFault(name)
}

// anyNameFault is nameFault of names that are not ASCII too.
func anyNameFault(name string) string {
	switch {
	case len(name) > maxName:
		return "names are at most 4096 bytes long"
	case strings.IndexByte(name, 0) >= 0:
		return "names hold no NUL"
	case !utf8.ValidString(name):
		return "names are UTF-8"
	}
	for from := 0; from <= len(name); {
		to := strings.IndexByte(name[from:], '/')
		if to < 0 {
			to = len(name) - from
		}
		if to <= 2 && (to == 0 || name[from] == '.' && name[from+to-1] == '.') {
			return "names are relative and have no empty, . or .. segments"
		}
		from += to + 1
	}
	return ""
}

// isSimple says that name is a canonical name of ASCII only, which most are. It
// looks at eight bytes at a time.
func isSimple(name string) bool {
	const (
		ones    = 0x0101010101010101
		tops    = 0x80 * ones
		slashes = '/' * ones
	)
	if len(name) == 0 || len(name) > maxName || !beginsSegment(name) {
		return false
	}
	i := 0
	for ; i+8 <= len(name); i += 8 {
		x := uint64(name[i]) | uint64(name[i+1])<<8 | uint64(name[i+2])<<16 | uint64(name[i+3])<<24 |
			uint64(name[i+4])<<32 | uint64(name[i+5])<<40 | uint64(name[i+6])<<48 | uint64(name[i+7])<<56
		if (x|(x-ones))&tops != 0 { // not ASCII, or NUL
			return false
		}
		y := x ^ slashes
		for at := ((y|tops)-ones)&tops ^ tops; at != 0; at &= at - 1 {
			if !beginsSegment(name[i+bits.TrailingZeros64(at)/8+1:]) {
				return false
			}
		}
	}
	for ; i < len(name); i++ {
		if c := name[i]; c == 0 || c >= utf8.RuneSelf || c == '/' && !beginsSegment(name[i+1:]) {
			return false
		}
	}
	return true
}

// beginsSegment says that rest begins with a segment that is not empty, . or ..
func beginsSegment(rest string) bool {
	if rest == "" || rest[0] == '/' {
		return false
	}
	if rest[0] != '.' {
		return true
	}
	rest = strings.TrimPrefix(rest[1:], ".")
	return rest != "" && rest[0] != '/'
}
