package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"docs/a.md", "docs/a.md"},
		{"Grüße, 世界 🙂", "Grüße, 世界 🙂"},
		{`a\b`, `a\b`},
		{"a\nagenthost: all is well", `a\nagenthost: all is well`},
		{"a\r\tb", `a\r\tb`},
		{"\x1b[2J\x1b]0;title\x07", `\x1b[2J\x1b]0;title\x07`},
		{"\x00\x7f", `\x00\x7f`},
		{"\u009b31m", `\u009b31m`},             // CSI as one character
		{"a\u202etxt.exe", `a\u202etxt.exe`},   // right-to-left override
		{"a\u2066b\u2069", `a\u2066b\u2069`},   // isolates
		{"a\u200bb\ufeffc", `a\u200bb\ufeffc`}, // not shown at all
		{"a\u2028b", `a\u2028b`},               // line separator
		{"a\u00a0b", `a\u00a0b`},               // looks like a space
		{"\U000e0041", `\U000e0041`},           // tag letter
		{"a\xffb\xc3", `a\xffb\xc3`},
		{"\ufffd", "\ufffd"},
	} {
		if got := escape(c.in); got != c.want {
			t.Errorf("escape(%q)\ngot  %s\nwant %s", c.in, got, c.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a\x1b[0m\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := escape(s)
		if strings.IndexFunc(got, disturbs) >= 0 {
			t.Errorf("escape(%q) = %q disturbs", s, got)
		}
		var out bytes.Buffer
		term := newTerminal(&out, &out, noEnv)
		if err := term.value(map[string]string{"v": s}); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(out.String(), func(r rune) bool { return r != '\n' && disturbs(r) }); i >= 0 {
			t.Errorf("value(%q) = %q disturbs", s, out.String())
		}
		var back map[string]string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["v"] != strings.ToValidUTF8(s, "\ufffd") && !strings.Contains(back["v"], "\ufffd") {
			t.Errorf("value(%q) reads back as %q: %v", s, back["v"], err)
		}
	})
}

// TestLines: whatever stands in a line, it is one line.
func TestLines(t *testing.T) {
	var out, diag bytes.Buffer
	term := newTerminal(&out, &diag, noEnv)
	term.line("published %s", "a\nb\x1b[1A")
	term.note("note %s", "c\rd")
	term.progress("never in a pipe")
	term.failure(&failure{message: "bad\nname", hint: "good\u202ename"})
	if got, want := out.String(), "published a\\nb\\x1b[1A\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got, want := diag.String(), "note c\\rd\nagenthost: bad\\nname\nagenthost: hint: good\\u202ename\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
}

// TestFit: the longest names are cut first, each so that it can be told from others.
func TestFit(t *testing.T) {
	long, longer := strings.Repeat("a", 30), strings.Repeat("b", 40)
	for _, c := range []struct {
		text  string
		names []string
		width int
		want  string
	}{
		{"open  docs/a.md", []string{"docs/a.md"}, 0, "open  docs/a.md"},
		{"open  docs/a.md", []string{"docs/a.md"}, 15, "open  docs/a.md"},
		{"open  docs/a.md", []string{"docs/a.md"}, 11, "open …/a.md"},
		{"open  " + long + "  4 bytes", []string{long}, 35, "open  aaaaaaaaaa…aaaaaaaaa  4 bytes"},
		{long + " → " + longer, []string{long, longer}, 63, long + " → " + "bbbbbbbbbbbbbbb…bbbbbbbbbbbbbb"},
		{long + " → " + longer, []string{long, longer, ""}, 45, "aaaaaaaaaaa…aaaaaaaaaa → bbbbbbbbbb…bbbbbbbbb"},
		{long + " → " + longer, []string{long, longer}, 20, "aaaaaaaaaa…bbbbbbbbb"},
		{`é\n` + long, []string{"é\n" + long}, 32, `é\naaaaaaaaaaaaa…aaaaaaaaaaaaaaa`},
		{"anything", nil, 1, "…"},
	} {
		if got := fit(c.text, c.names, c.width); got != c.want {
			t.Errorf("%q in %d: got %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

// TestResult: byte for byte in a pipe, harmless on a terminal.
func TestResult(t *testing.T) {
	const made = "a\tb\\t\n\x1b[2Jc\r\nd\u202ee\xff"
	for _, c := range []struct {
		tty  bool
		want string
	}{
		{false, made},
		{true, "a\tb\\t\n\\x1b[2Jc\\r\nd\\u202ee\\xff"},
	} {
		var out bytes.Buffer
		term := newTerminal(&out, &bytes.Buffer{}, noEnv)
		term.outIsTTY = c.tty
		term.result([]byte(made))
		if got := out.String(); got != c.want {
			t.Errorf("terminal %t: got %q, want %q", c.tty, got, c.want)
		}
	}
}

func TestQuiet(t *testing.T) {
	var diag bytes.Buffer
	term := newTerminal(&bytes.Buffer{}, &diag, noEnv)
	term.quiet = true
	term.note("nothing")
	g := term.guest()
	g.Write([]byte("nothing\n"))
	term.failure(&failure{message: "still said"})
	if got, want := diag.String(), "agenthost: still said\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProgressOnTerminal(t *testing.T) {
	var diag bytes.Buffer
	term := newTerminal(&bytes.Buffer{}, &diag, noEnv)
	term.errIsTTY, term.color = true, true
	term.progress("compiling %s", "a\nb")
	term.note("done")
	term.failure(&failure{message: "no"})
	want := "\r\x1b[Kcompiling a\\nb" + "\r\x1b[K" + "done\n" + "\x1b[31magenthost:\x1b[0m no\n"
	if got := diag.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestGuestLines(t *testing.T) {
	var diag bytes.Buffer
	g := newTerminal(&bytes.Buffer{}, &diag, noEnv).guest()
	for _, s := range []string{"one\ntw", "o\n\nagenthost: published\x1b[2K\n", strings.Repeat("x", maxGuestRow+1), "\nend"} {
		if n, err := g.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
	}
	g.Close()
	want := "guest| one\nguest| two\nguest| \nguest| agenthost: published\\x1b[2K\nguest| " +
		strings.Repeat("x", maxGuestRow) + "\nguest| x\nguest| end\n"
	if got := diag.String(); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestGuestFlood(t *testing.T) {
	var diag bytes.Buffer
	g := newTerminal(&bytes.Buffer{}, &diag, noEnv).guest()
	for range 40 {
		g.Write(bytes.Repeat([]byte("0123456789abcdef"), 4096))
		g.Write(bytes.Repeat([]byte("\n"), 65536))
	}
	g.Close()
	lines := strings.Split(strings.TrimSuffix(diag.String(), "\n"), "\n")
	if got, want := lines[len(lines)-1], "agenthost: the guest's messages go on; 1 MiB of them was shown"; got != want {
		t.Errorf("last line %q, want %q", got, want)
	}
	shown := 0
	for _, l := range lines[:len(lines)-1] {
		shown += len(strings.TrimPrefix(l, guestPrefix)) + 1
	}
	if shown > maxGuest {
		t.Errorf("%d bytes shown", shown)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestStdoutFails: a result that did not arrive is not a success.
func TestStdoutFails(t *testing.T) {
	var diag bytes.Buffer
	if got := run(t.Context(), []string{"--version"}, strings.NewReader(""), broken{}, &diag); got != exitHost {
		t.Errorf("status %d, want %d", got, exitHost)
	}
	if got, want := diag.String(), "agenthost: standard output: no space left on device\nagenthost: hint: what was printed is not complete\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestNamesOnTheTerminal: a name cannot speak for agenthost, nor to the terminal.
func TestNamesOnTheTerminal(t *testing.T) {
	var out, diag bytes.Buffer
	run(t.Context(), []string{"--no\nagenthost: all is \u202ewell\x1b[2K"}, strings.NewReader(""), &out, &diag)
	want := `agenthost: unknown flag --no\nagenthost: all is \u202ewell\x1b[2K` + "\n" + "agenthost: hint: flags of a command come after its name; agenthost --help lists the flags\n"
	if got := diag.String(); got != want || out.Len() > 0 {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestStyled: colors on a terminal only, tabs as they are, all else escaped.
func TestStyled(t *testing.T) {
	for _, c := range []struct {
		color bool
		want  string
	}{{false, "+a\tb\\x1b[1A\\rc\n"}, {true, "\x1b[32m+a\tb\\x1b[1A\\rc\x1b[0m\n"}} {
		var out bytes.Buffer
		term := newTerminal(&out, &bytes.Buffer{}, noEnv)
		term.outColor = c.color
		line := "+a\tb\x1b[1A\rc"
		term.styled(colorOf(line), line)
		if got := out.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
