package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// terminal is where an invocation speaks. Standard output carries results and
// JSON, standard error is for people. A line is a line: whatever stands in it,
// a name a guest chose included, is escaped before it is written, so that it can
// neither move the cursor nor begin a line of its own.
//
// The first error of standard output is kept and returned by close; standard
// error is never worth failing for. Not safe for concurrent use.
type terminal struct {
	stdout, stderr io.Writer
	quiet          bool // --quiet: no notes, no progress
	color          bool // on standard error
	outColor       bool // on standard output
	outIsTTY       bool
	errIsTTY       bool
	progressing    bool // a progress line stands on the screen
	width          int  // of standard output in characters; 0: lines are not cut
	err            error
}

// newTerminal looks at what the two writers are. getenv is os.Getenv.
func newTerminal(stdout, stderr io.Writer, getenv func(string) string) *terminal {
	t := &terminal{stdout: stdout, stderr: stderr, outIsTTY: isTTY(stdout), errIsTTY: isTTY(stderr)}
	colors := getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	t.color, t.outColor = t.errIsTTY && colors, t.outIsTTY && colors
	t.measure(getenv)
	return t
}

// measure notes how wide the terminal is, if standard output is one: as it says
// itself, or else as COLUMNS says.
func (t *terminal) measure(getenv func(string) string) {
	t.width = 0
	f, ok := t.stdout.(*os.File)
	if !ok || !t.outIsTTY {
		return
	}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		t.width = width
	}
	if width, err := strconv.Atoi(getenv("COLUMNS")); t.width == 0 && err == nil {
		t.width = max(width, 0)
	}
}

func isTTY(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// line prints one line on standard output.
func (t *terminal) line(format string, args ...any) {
	t.out([]byte(escape(fmt.Sprintf(format, args...)) + "\n"))
}

// row is line for text that stands in a table and holds names. On a terminal that
// is too narrow the longest of the names are cut in the middle, and then the
// line. In a pipe nothing is.
func (t *terminal) row(text string, names []string) {
	t.out([]byte(fit(escape(text), names, t.width) + "\n"))
}

// fit cuts escaped text down to width; 0 is any width.
func fit(text string, names []string, width int) string {
	// Of a name as much is left, so that it can still be told from others.
	const least = 20
	over := utf8.RuneCountInString(text) - width
	if width <= 0 || over <= 0 {
		return text
	}
	longest := slices.Clone(names)
	slices.SortStableFunc(longest, func(a, b string) int { return len(b) - len(a) })
	for _, name := range longest {
		name = escape(name)
		n := utf8.RuneCountInString(name)
		if over <= 0 || n <= least {
			break
		}
		text = strings.ReplaceAll(text, name, cutMiddle(name, max(n-over, least)))
		over = utf8.RuneCountInString(text) - width
	}
	return cutMiddle(text, width)
}

// cutMiddle leaves the two ends of s, at most width characters.
func cutMiddle(s string, width int) string {
	runes := []rune(s)
	if len(runes) <= width {
		return s
	}
	head := width / 2
	return string(runes[:head]) + "…" + string(runes[len(runes)-(width-head-1):])
}

// table prints a line for each row on standard output, its columns two spaces
// apart and as wide as the widest cell.
func (t *terminal) table(rows [][]string) {
	var widths []int
	for _, row := range rows {
		for n, cell := range row {
			if n == len(widths) {
				widths = append(widths, 0)
			}
			widths[n] = max(widths[n], utf8.RuneCountInString(escape(cell)))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for n, cell := range row {
			cell = escape(cell)
			b.WriteString(cell)
			if n < len(row)-1 {
				b.WriteString(strings.Repeat(" ", 2+widths[n]-utf8.RuneCountInString(cell)))
			}
		}
		t.out([]byte(b.String() + "\n"))
	}
}

// styled prints one line on standard output, in a color where there are colors.
// Tabs stay; all else is escaped as in any line.
func (t *terminal) styled(color, line string) {
	line = escapeCells(line)
	if t.outColor && color != "" {
		line = "\x1b[" + color + "m" + line + "\x1b[0m"
	}
	t.out([]byte(line + "\n"))
}

// text prints text of ours, line ends and all, on standard output.
func (t *terminal) text(s string) { t.out([]byte(s)) }

// value prints v as indented JSON on standard output. What could disturb a
// terminal is written as \u escapes, which mean the same.
func (t *terminal) value(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("json: %w", err)
	}
	t.out(escapeJSON(b.Bytes()))
	return nil
}

// stored prints a line of a ledger as it is stored, except on a terminal, where
// what could disturb it is escaped.
func (t *terminal) stored(line []byte) {
	if t.outIsTTY {
		line = escapeJSON(line)
	}
	t.out(append(slices.Clone(line), '\n'))
}

// result prints what a guest made, byte for byte; on a terminal each of its lines
// is escaped.
func (t *terminal) result(b []byte) {
	if !t.outIsTTY {
		t.out(b)
		return
	}
	for line := range strings.Lines(string(b)) {
		line, ended := strings.CutSuffix(line, "\n")
		line = escapeCells(line)
		if ended {
			line += "\n"
		}
		t.out([]byte(line))
	}
}

// note prints one line for people on standard error, unless --quiet.
func (t *terminal) note(format string, args ...any) {
	if !t.quiet {
		t.diagnostic("", escape(fmt.Sprintf(format, args...)))
	}
}

// failure prints what went wrong and, if anything is known to help, what to do;
// then the same for further mistakes. An admin token that stands in them, because
// it was given in the wrong place, is left out.
func (t *terminal) failure(f *failure) {
	t.diagnostic("31", "agenthost:", " "+escape(withoutTokens(f.message)))
	if f.hint != "" {
		t.diagnostic("36", "agenthost: hint:", " "+escape(withoutTokens(f.hint)))
	}
	for _, more := range f.also {
		t.failure(more)
	}
}

// progress shows what is being done until the next line is printed; only on a
// terminal.
func (t *terminal) progress(format string, args ...any) {
	if t.quiet || !t.errIsTTY {
		return
	}
	t.progressing = true
	fmt.Fprintf(t.stderr, "\r\x1b[K%s", escape(fmt.Sprintf(format, args...)))
}

// close ends a progress line and reports the first failed write to standard
// output.
func (t *terminal) close() error {
	t.clear()
	if t.err == nil {
		return nil
	}
	return &failure{message: "standard output: " + t.err.Error(), hint: "what was printed is not complete", code: exitHost, err: t.err}
}

// diagnostic writes one escaped line on standard error, its lead in color.
func (t *terminal) diagnostic(color, lead string, rest ...string) {
	t.clear()
	if t.color && color != "" {
		lead = "\x1b[" + color + "m" + lead + "\x1b[0m"
	}
	io.WriteString(t.stderr, lead+strings.Join(rest, "")+"\n")
}

func (t *terminal) clear() {
	if t.progressing {
		t.progressing = false
		io.WriteString(t.stderr, "\r\x1b[K")
	}
}

func (t *terminal) out(b []byte) {
	if t.outIsTTY {
		t.clear()
	}
	if t.err == nil {
		_, t.err = t.stdout.Write(b)
	}
}

// escape makes s safe to show: control and format characters (those that turn
// the direction of text among them), separators other than the space, and bytes
// that are not UTF-8 become \n, \x1b, \u202e or \xff. Backslashes stay, so it
// is for eyes; who needs the exact bytes asks for JSON.
func escape(s string) string {
	if strings.IndexFunc(s, disturbs) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case !disturbs(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return b.String()
}

// escapeCells is escape, but leaves tabs as they are.
func escapeCells(s string) string {
	cells := strings.Split(s, "\t")
	for i := range cells {
		cells[i] = escape(cells[i])
	}
	return strings.Join(cells, "\t")
}

// disturbs tells whether a character can change how others are shown, or is not
// shown at all.
func disturbs(r rune) bool { return !unicode.IsPrint(r) }

// escapeJSON writes the characters of valid JSON that disturb a terminal, all of
// them within strings, as \u escapes. The line ends between values stay.
func escapeJSON(b []byte) []byte {
	if bytes.IndexFunc(b, func(r rune) bool { return r != '\n' && disturbs(r) }) < 0 {
		return b
	}
	var out []byte
	for _, r := range string(b) {
		switch {
		case r == '\n' || !disturbs(r):
			out = utf8.AppendRune(out, r)
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return out
}
