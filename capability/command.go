package capability

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

// Command is one rule of execute, word by word. It permits a command of exactly
// as many words, each the same. A word with *, ?, [ ] or { } is a pattern
// instead, for one operand: it never matches an option (a word that begins with
// -), an absolute path, a response file (@…), a path with empty, . or ..
// segments, or nothing; * and ? stop at slashes. A last word ** stands for any
// number of such operands. The first word, the program, is a bare name or
// pkg:PATH, and never a pattern. In a pattern, \ makes the next character
// literal.
//
// In JSON it is an array of words, or one string that is split at spaces. No
// shell reads either.
type Command []string

const (
	maxCommand   = 256 // words of one rule
	maxWordBytes = 4096
	shellMeta    = ";&|<>()$`\"'\\"
)

// ParseCommand splits text at spaces. A character that means something to a
// shell is an error that names it, except * ? [ ] { }, which are patterns here
// too. Words that need others are written as an array.
func ParseCommand(text string) (Command, error) {
	for i, r := range text {
		switch {
		case strings.ContainsRune(shellMeta, r), (r == '~' || r == '#') && (i == 0 || text[i-1] == ' '):
			return nil, fmt.Errorf("has the shell's %c in it, and no shell reads it", r)
		case r < ' ' || r == 0x7f:
			return nil, fmt.Errorf("holds the control character %U", r)
		case r == utf8.RuneError && !utf8.ValidString(text):
			return nil, errors.New("is not UTF-8")
		}
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' })
	if len(words) == 0 {
		return nil, errors.New("has no words")
	}
	return words, nil
}

// plain returns the one string that ParseCommand splits into c.
func (c Command) plain() (string, bool) {
	text := strings.Join(c, " ")
	again, err := ParseCommand(text)
	return text, err == nil && slices.Equal(again, c)
}

// String returns c as one string if ParseCommand reads it back, else as a JSON
// array.
func (c Command) String() string {
	if text, ok := c.plain(); ok {
		return text
	}
	return encode(append([]string{}, c...))
}

// MarshalJSON writes what String returns, as a JSON string or array.
func (c Command) MarshalJSON() ([]byte, error) {
	if text, ok := c.plain(); ok {
		return json.Marshal(text)
	}
	return []byte(encode(append([]string{}, c...))), nil
}

// UnmarshalJSON reads a string or an array of strings. A string that cannot be
// split becomes one word as it stands, so that New refuses it with the place
// where it was found.
func (c *Command) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil && !bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		words, err := ParseCommand(text)
		if err != nil {
			words = Command{text}
		}
		*c = words
		return nil
	}
	var words []string
	if err := json.Unmarshal(data, &words); err != nil || words == nil {
		return errors.New("a command is a string or an array of strings")
	}
	*c = words
	return nil
}

// command is one compiled rule.
type command struct {
	text  string
	words []word
	open  bool // ends with **: any further operands
}

// word is a literal, or a pattern if m is not nil.
type word struct {
	literal string
	m       *matcher
	pkg     bool // the pattern begins with pkg:
}

func newCommand(c Command) (command, *fault) {
	out := command{text: c.String()}
	switch {
	case len(c) == 0 || len(c) == 1 && strings.Trim(c[0], " ") == "":
		return command{}, &fault{"has no words", `write the program and its words, as in "git status"`}
	case len(c) > maxCommand:
		return command{}, &fault{fmt.Sprintf("has %d words, at most %d", len(c), maxCommand), "end the rule with ** for any further operands"}
	}
	if f := programFault(c); f != nil {
		return command{}, f
	}
	out.words = append(out.words, word{literal: c[0]})
	for i, text := range c[1:] {
		if text == "**" {
			if i+2 < len(c) {
				return command{}, &fault{"has ** before the last word", "write * for one operand; ** stands for all that follow"}
			}
			out.open = true
			break
		}
		w, f := newWord(text)
		if f != nil {
			return command{}, f
		}
		out.words = append(out.words, w)
	}
	return out, nil
}

func programFault(c Command) *fault {
	program := c[0]
	if len(c) == 1 {
		if _, err := ParseCommand(program); err != nil {
			return &fault{err.Error(), `one rule is one command; write its words as an array if the character is meant, as in ["grep", "a;b"]`}
		}
	}
	if f := wordFault(program); f != nil {
		return f
	}
	inside, pkg := strings.CutPrefix(program, "pkg:")
	switch {
	case program == "":
		return &fault{"begins with an empty word", "name the program first"}
	case strings.ContainsAny(program, `*?[]{}\`):
		return &fault{"has a pattern for a program", "name the program; write one rule for each"}
	case pkg && nameFault(inside) != "":
		return &fault{"has a program pkg: without a path in the package", "write it as in pkg:scripts/check.py"}
	case pkg:
		return nil
	case strings.Contains(program, " "):
		return &fault{"has a program with a space in it", "give each word of the command its own place in the array"}
	case strings.Contains(program, "="):
		return &fault{"begins with an assignment", "name the program first; the operator sets variables"}
	case program[0] == '!':
		return &fault{"begins with !, and no rule takes back what another grants", "leave it out: what no rule permits is refused; names that nothing may touch are forbidden patterns"}
	case strings.ContainsAny(program, "/:@~%^#"+shellMeta) || program[0] == '-' || program == "." || program == "..":
		return &fault{"has a program that is neither a bare name nor pkg:PATH", "write git, which is looked up where the operator says, or pkg:scripts/check.py"}
	}
	return nil
}

// wordFault refuses what no word of a rule may hold.
func wordFault(text string) *fault {
	if len(text) > maxWordBytes {
		return &fault{fmt.Sprintf("has a word of %d bytes, at most %d", len(text), maxWordBytes), "pass long text in a file or on stdin"}
	}
	if !utf8.ValidString(text) {
		return &fault{"is not UTF-8", "write the words in UTF-8"}
	}
	for _, r := range text {
		if r < ' ' || r == 0x7f {
			return &fault{fmt.Sprintf("holds the control character %U", r), "pass such text in a file or on stdin"}
		}
	}
	if strings.Contains(text, placeholder) {
		return &fault{"has " + placeholder + " in it, which is not replaced in commands", "write * for the operand, or let the program find the session in its folder"}
	}
	return nil
}

func newWord(text string) (word, *fault) {
	if f := wordFault(text); f != nil {
		return word{}, f
	}
	if !doublestar.ValidatePattern(text) {
		f := malformed(text)
		return word{}, &fault{"has the word " + text + ", which " + f.reason, f.hint}
	}
	if literal, ok := unquote(text); ok {
		return word{literal: literal}, nil
	}
	if len(text) > maxPattern {
		return word{}, &fault{fmt.Sprintf("has a pattern of %d bytes, at most %d", len(text), maxPattern), "write * for the operand"}
	}
	inside, pkg := strings.CutPrefix(text, "pkg:")
	g, f := validate(inside)
	if f != nil {
		return word{}, &fault{"has the word " + text + ", which " + f.reason, f.hint}
	}
	for _, one := range g.expand() {
		if first := strings.TrimPrefix(one, `\`)[0]; !pkg && (first == '-' || first == '@') {
			return word{}, &fault{"has the pattern " + text + " for an option or a response file", "write options in full, and their values as words of their own, as in --id *"}
		}
	}
	return word{m: newMatcher(g), pkg: pkg}, nil
}

// unquote returns the one word that text matches, if nothing in it is a pattern.
func unquote(text string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '*', '?', '[', '{':
			return "", false
		case '\\':
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String(), true
}

func (c *command) match(argv []string) bool {
	if len(argv) < len(c.words) || len(argv) > len(c.words) && !c.open {
		return false
	}
	for i := range c.words {
		if !c.words[i].match(argv[i]) {
			return false
		}
	}
	for _, arg := range argv[len(c.words):] {
		if !isOperand(arg) {
			return false
		}
	}
	return true
}

// cost is the steps that matching arg, the word at i, takes at most.
func (c *command) cost(i int, arg string) int64 {
	if i >= len(c.words) || c.words[i].m == nil {
		return 1
	}
	return int64(len(c.words[i].m.nodes)) * int64(len(arg)+1)
}

// chosen says whether the rule leaves the word at i to the guest.
func (c *command) chosen(i int) bool { return i >= len(c.words) || c.words[i].m != nil }

func (w *word) match(arg string) bool {
	if w.m == nil {
		return arg == w.literal
	}
	if w.pkg {
		inside, ok := strings.CutPrefix(arg, "pkg:")
		return ok && isOperand(inside) && w.m.match(inside)
	}
	return isOperand(arg) && w.m.match(arg)
}

// isOperand says whether a pattern may match arg.
func isOperand(arg string) bool {
	if arg == "" || arg[0] == '-' || arg[0] == '@' || strings.HasPrefix(arg, "pkg:") || strings.HasPrefix(arg, "deps:") {
		return false
	}
	for i := 0; i < len(arg); i++ {
		if arg[i] < ' ' || arg[i] == 0x7f {
			return false
		}
	}
	return nameFault(arg) == ""
}

// operandDividers stand between the names in one operand.
const operandDividers = "=:,"

// dividers counts them in arg: looking for names takes as many turns.
func dividers(arg string) int {
	n := 0
	for i := 0; i < len(arg); i++ {
		if strings.IndexByte(operandDividers, arg[i]) >= 0 {
			n++
		}
	}
	return n
}

// tooLong says that no rule permits a command with the word arg.
func tooLong(arg string) bool { return len(arg) > maxWordBytes }

// eachOperandName calls yield with the canonical names that arg may mean to a
// program that runs in the workspace: the word itself, what stands behind a '=',
// a '@' or an option's letter, and each part of what is divided by ':', '=' or ','
// (REVISION:PATH, SOURCE:TARGET, lists). Unless every is set, what has no slash and
// no dot means none. It stops, and returns false, when yield does.
func eachOperandName(arg string, every bool, yield func(name string) bool) bool {
	if len(arg) > 2 && arg[0] == '-' && arg[1] != '-' && !eachOperandName(arg[2:], every, yield) {
		return false
	}
	for {
		end := strings.IndexAny(arg, operandDividers)
		if !operandName(arg, every, yield) || end >= 0 && !operandName(arg[:end], every, yield) {
			return false
		}
		if end < 0 {
			return true
		}
		arg = arg[end+1:]
	}
}

// operandName calls yield with the canonical name that text may mean.
func operandName(text string, every bool, yield func(name string) bool) bool {
	text = strings.TrimPrefix(text, "@")
	if !every && !strings.ContainsAny(text, "/.") {
		return true
	}
	name, inView := strings.CutPrefix(path.Clean(text), viewRoot)
	if !inView && path.IsAbs(name) || nameFault(name) != "" {
		return true
	}
	return yield(name)
}

// viewRoot is where a command sees the workspace.
const viewRoot = "/w/"

// quoteCommand returns the rule that matches argv only.
func quoteCommand(argv []string) Command {
	c := make(Command, len(argv))
	for i, arg := range argv {
		if c[i] = arg; i > 0 && strings.ContainsAny(arg, `*?[{}\`) {
			c[i] = quoteMeta(arg)
		}
	}
	return c
}
