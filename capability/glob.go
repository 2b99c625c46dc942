package capability

import (
	"strings"
	"unicode/utf8"
)

// placeholder stands for the session's id in a pattern. Bind replaces it.
const placeholder = "<session_id>"

// glob is the text of a pattern with its braces found. Positions are byte
// indices of the text. A position that is a ',' or '}' of braces is not read:
// reading goes on behind the closing brace, as if the chosen alternative had
// been pasted in place of the braces.
type glob struct {
	text string
	alts map[int][]int // start of each alternative, by the position of its '{'
	past map[int]int   // position behind the closing brace, by that of its '{'
	leap map[int]int   // where reading goes on, by the position of a ',' or '}'
}

// parseGlob finds the braces of text, which doublestar.ValidatePattern accepted.
func parseGlob(text string) *glob {
	g := &glob{text: text, alts: map[int][]int{}, past: map[int]int{}, leap: map[int]int{}}
	type group struct {
		open int
		ends []int
	}
	var stack []group
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '[':
			i = classEnd(text, i)
		case '{':
			g.alts[i] = []int{i + 1}
			stack = append(stack, group{open: i})
		case ',':
			if n := len(stack); n > 0 {
				top := &stack[n-1]
				top.ends = append(top.ends, i)
				g.alts[top.open] = append(g.alts[top.open], i+1)
			}
		case '}':
			n := len(stack)
			for _, end := range append(stack[n-1].ends, i) {
				g.leap[end] = i + 1
			}
			g.past[stack[n-1].open] = i + 1
			stack = stack[:n-1]
		}
	}
	return g
}

// classEnd returns the position of the ']' that closes the class at i.
func classEnd(text string, i int) int {
	for i++; text[i] != ']'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

// at returns the position that is read when reading comes to i.
func (g *glob) at(i int) int {
	for {
		to, ok := g.leap[i]
		if !ok {
			return i
		}
		i = to
	}
}

// braced says that i is the position of a '{' that opens alternatives.
func (g *glob) braced(i int) bool {
	_, ok := g.alts[i]
	return ok
}

// expansions counts the patterns without braces that g stands for, up to limit.
func (g *glob) expansions(limit int) int {
	count := make([]int, len(g.text)+1)
	count[len(g.text)] = 1
	for i := len(g.text) - 1; i >= 0; i-- {
		switch to, ends := g.leap[i]; {
		case ends:
			count[i] = count[to]
		case g.braced(i):
			for _, alt := range g.alts[i] {
				count[i] = min(limit, count[i]+count[alt])
			}
		default:
			count[i] = count[i+1]
		}
	}
	return count[0]
}

// expand returns the patterns without braces that g stands for, in order.
func (g *glob) expand() []string {
	var all []string
	var walk func(i int, done []byte)
	walk = func(i int, done []byte) {
		for i = g.at(i); i < len(g.text); i = g.at(i) {
			if g.braced(i) {
				for _, alt := range g.alts[i] {
					walk(alt, done[:len(done):len(done)])
				}
				return
			}
			_, next := g.element(i)
			done = append(done, g.text[i:next]...)
			i = next
		}
		all = append(all, string(done))
	}
	walk(0, nil)
	return all
}

// span is an inclusive range of runes.
type span struct{ lo, hi rune }

// element is what is read at one position.
type element struct {
	kind kind   // one, anyOne, class or star; held for the placeholder
	r    rune   // of kind one
	set  []span // of kind class
}

// element reads the element at i, which is neither the end, nor in leap, nor an
// opening brace, and returns the position behind it.
func (g *glob) element(i int) (element, int) {
	switch text := g.text; text[i] {
	case '*':
		return element{kind: star}, i + 1
	case '?':
		return element{kind: anyOne}, i + 1
	case '[':
		set, next := readClass(text, i)
		return element{kind: class, set: set}, next
	case '\\':
		i++
		r, n := utf8.DecodeRuneInString(text[i:])
		return element{kind: one, r: r}, i + n
	case '<':
		if strings.HasPrefix(text[i:], placeholder) {
			return element{kind: held}, i + len(placeholder)
		}
		return element{kind: one, r: '<'}, i + 1
	default:
		r, n := utf8.DecodeRuneInString(text[i:])
		return element{kind: one, r: r}, i + n
	}
}

// readClass reads the class at i as doublestar does: the first rune of a range
// counts by itself too, and the largest rune never begins a range.
func readClass(text string, i int) ([]span, int) {
	var set []span
	read := func() rune {
		r, n := utf8.DecodeRuneInString(text[i:])
		i += n
		return r
	}
	last := utf8.MaxRune
	for i++; text[i] != ']'; {
		r := read()
		if r == '-' && last < utf8.MaxRune && text[i] != ']' {
			if text[i] == '\\' {
				i++
			}
			set = append(set, span{last, read()})
			last = utf8.MaxRune
			continue
		}
		if r == '\\' {
			r = read()
		}
		set = append(set, span{r, r})
		last = r
	}
	return set, i + 1
}

func inClass(set []span, r rune) bool {
	for _, s := range set {
		if s.lo <= r && r <= s.hi {
			return true
		}
	}
	return false
}

// mayEnd says whether a name may end where reading comes to i: whether the rest
// of the pattern is "", "*", "**" or "/**", the last because a folder stands for
// what is beneath it. doublestar does not look behind a brace once it has read
// something else; expanded asks what it would say of the expanded patterns.
func (g *glob) mayEnd(i int, expanded bool) bool { return g.mayEndAfter("", i, expanded) }

func (g *glob) mayEndAfter(read string, i int, expanded bool) bool {
	i = g.at(i)
	if i == len(g.text) {
		return read == "" || read == "*" || read == "**" || read == "/**"
	}
	if g.braced(i) {
		if read != "" && !expanded {
			return false
		}
		for _, alt := range g.alts[i] {
			if g.mayEndAfter(read, alt, expanded) {
				return true
			}
		}
		return false
	}
	read += g.text[i : i+1]
	return (strings.HasPrefix("**", read) || strings.HasPrefix("/**", read)) && g.mayEndAfter(read, i+1, expanded)
}

// begins says whether an expansion of what is read at i begins with c.
func (g *glob) begins(i int, c byte) bool {
	i = g.at(i)
	if !g.braced(i) {
		return i < len(g.text) && g.text[i] == c
	}
	for _, alt := range g.alts[i] {
		if g.begins(alt, c) {
			return true
		}
	}
	return false
}

// stars reads the run of stars at i: how many there are, and the position read
// behind them.
func (g *glob) stars(i int) (n, next int) {
	for i < len(g.text) && g.text[i] == '*' {
		n++
		i = g.at(i + 1)
	}
	return n, i
}
