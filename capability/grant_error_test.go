package capability

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestGrantErrors(t *testing.T) {
	long := strings.Repeat("a", 513)
	read := func(p string) Grants { return Grants{Read: []string{"docs/**", p}} }
	write := func(p string) Grants { return Grants{Write: []string{p}} }
	forbid := func(p string) Grants { return Grants{Forbidden: []string{p}} }
	exec := func(words ...string) Grants { return Grants{Execute: []Command{words}} }
	for _, c := range []struct {
		grants            Grants
		err, reason, hint string // err is Field and Pattern, as Error writes them
	}{
		{read(""), `read[1] ""`, "is empty", "name a file, docs/a.md, or a folder with all that is in it, docs/**"},
		{read(long), `read[1] "` + long + `"`, "is 513 bytes long, at most 512", "name a folder instead, as in docs/**"},
		{read("out/" + long[:509]), `read[1] "out/` + long[:509] + `"`, "is 513 bytes long, at most 512", "name a folder instead, as in docs/**"},
		{read("a\xff"), `read[1] "a\xff"`, "is not UTF-8", "names that are not UTF-8 do not exist for guests"},
		{read("a\x00"), `read[1] "a\x00"`, "holds a NUL", "names with NUL do not exist"},
		{read("/etc/passwd"), `read[1] "/etc/passwd"`, "begins with /", "patterns are relative to the workspace: write etc/passwd"},
		{read("//"), `read[1] "//"`, "begins with /", "patterns are relative to the workspace: write **"},
		{read("{a,/b}"), `read[1] "{a,/b}"`, "begins with /", "patterns are relative to the workspace: write b"},
		{read("docs/"), `read[1] "docs/"`, "ends with /", "write docs/** for all that is in the folder"},
		{read("docs/**/"), `read[1] "docs/**/"`, "ends with /", "write docs/** for all that is in the folder"},
		{read("docs/{a,}"), `read[1] "docs/{a,}"`, "ends with /", "write docs/** for all that is in the folder"},
		{read("docs//a"), `read[1] "docs//a"`, "has an empty segment, //", "write one / between names"},
		{read("a/{,b}/c"), `read[1] "a/{,b}/c"`, "has an empty segment, //", "write one / between names"},
		{read("./a"), `read[1] "./a"`, "has a segment .", "leave ./ out: patterns are relative to the workspace"},
		{read("."), `read[1] "."`, "has a segment .", "leave ./ out: patterns are relative to the workspace"},
		{read(`a/\./b`), `read[1] "a/\\./b"`, "has a segment .", "leave ./ out: patterns are relative to the workspace"},
		{read("a/../b"), `read[1] "a/../b"`, "has a segment ..", "name the folder itself; what lies outside the workspace cannot be granted"},
		{read("a/[.]./b"), `read[1] "a/[.]./b"`, "has a segment ..", "name the folder itself; what lies outside the workspace cannot be granted"},
		{read("a/{.,b}{.,c}"), `read[1] "a/{.,b}{.,c}"`, "has a segment ..", "name the folder itself; what lies outside the workspace cannot be granted"},
		{read("a[b"), `read[1] "a[b"`, "has a [ without its ]", `write \[ for the character itself`},
		{read(`a[b\]`), `read[1] "a[b\\]"`, "has a [ without its ]", `write \[ for the character itself`},
		{read("a[]b"), `read[1] "a[]b"`, "has an empty class []", `write \[ for the character itself`},
		{read("a[^]b"), `read[1] "a[^]b"`, "has an empty class [^]", `write \[ for the character itself`},
		{read("a{b"), `read[1] "a{b"`, "has a { without its }", `write \{ for the character itself`},
		{read("a}b"), `read[1] "a}b"`, "has a } without its {", `write \} for the character itself`},
		{read(`a\`), `read[1] "a\\"`, `ends with \`, `write \\ for the character itself`},
		{read("a[!b]c"), `read[1] "a[!b]c"`, "has a negated class [!b]", "list the characters that may stand there, or write ?"},
		{read("a[^b]c"), `read[1] "a[^b]c"`, "has a negated class [^b]", "list the characters that may stand there, or write ?"},
		{read("a[/]c"), `read[1] "a[/]c"`, "has a class with a slash in it, [/]", "write / outside of [ ]; a range such as [+-9] holds it too"},
		{read("a[+-9]c"), `read[1] "a[+-9]c"`, "has a class with a slash in it, [+-9]", "write / outside of [ ]; a range such as [+-9] holds it too"},
		{read(`a[x\/]c`), `read[1] "a[x\\/]c"`, `has a class with a slash in it, [x\/]`, "write / outside of [ ]; a range such as [+-9] holds it too"},
		{read(`a\/c`), `read[1] "a\\/c"`, "escapes a slash", `write / without \: it separates folders and cannot be part of a name`},
		{read("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}"), `read[1] "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}"`, "has braces that stand for more than 64 patterns", "write several patterns, or * instead of braces"},
		{read("{a,}"), `read[1] "{a,}"`, "has braces that may stand for nothing at all", "write the alternatives as patterns of their own"},
		{read("a*{,b}"), `read[1] "a*{,b}"`, "mixes stars and braces so that its meaning is unclear", "write each alternative as a pattern of its own"},
		{read("a/**{/b,c}"), `read[1] "a/**{/b,c}"`, "mixes stars and braces so that its meaning is unclear", "write each alternative as a pattern of its own"},
		{read("a/**{b,}"), `read[1] "a/**{b,}"`, "mixes stars and braces so that its meaning is unclear", "write each alternative as a pattern of its own"},
		{read("a/*{*/b,c}"), `read[1] "a/*{*/b,c}"`, "mixes stars and braces so that its meaning is unclear", "write each alternative as a pattern of its own"},
		{read("a/{**,b}"), `read[1] "a/{**,b}"`, "mixes stars and braces so that its meaning is unclear", "write each alternative as a pattern of its own"},
		{forbid("../x"), `forbidden[0] "../x"`, "has a segment ..", "name the folder itself; what lies outside the workspace cannot be granted"},

		{read(".agenthost/**"), `read[1] ".agenthost/**"`, "asks for names beneath .agenthost/", "packages are read there without a grant; all else in it is agenthost's own"},
		{read("{docs,.agenthost}/x"), `read[1] "{docs,.agenthost}/x"`, "asks for names beneath .agenthost/", "packages are read there without a grant; all else in it is agenthost's own"},
		{write("pkg:a"), `write[0] "pkg:a"`, "asks for names that begin with pkg:", "the files of packages are spelled so, and are read beneath .agenthost/ without a grant"},
		{write("deps:PKG-A/*"), `write[0] "deps:PKG-A/*"`, "asks for names that begin with deps:", "the files of packages are spelled so, and are read beneath .agenthost/ without a grant"},
		{write("tmp/a"), `write[0] "tmp/a"`, "asks for names beneath tmp/", "every guest has a /tmp of its own, without a grant"},
		{write(`t\mp/a`), `write[0] "t\\mp/a"`, "asks for names beneath tmp/", "every guest has a /tmp of its own, without a grant"},
		{write("t[m]p"), `write[0] "t[m]p"`, "asks for names beneath tmp/", "every guest has a /tmp of its own, without a grant"},
		{read("{out,docs}/a"), `read[1] "{out,docs}/a"`, "reaches out/ by other letters than out/ at its beginning", "write out/ patterns apart: out/**"},
		{read("output/**"), `read[1] "output/**"`, "asks for names beneath output/ that are not the session's own", "write out/**, which is output/<session_id>/**"},
		{read("output"), `read[1] "output"`, "asks for names beneath output/ that are not the session's own", "write out/**, which is output/<session_id>/**"},
		{write("output/" + other + "/x"), `write[0] "output/` + other + `/x"`, "asks for names beneath output/ that are not the session's own", "write out/**, which is output/<session_id>/**"},
		{write("output/<session_id>x/y"), `write[0] "output/<session_id>x/y"`, "asks for names beneath output/ that are not the session's own", "write out/**, which is output/<session_id>/**"},
		{write(`output/\<session_id>/y`), `write[0] "output/\\<session_id>/y"`, "asks for names beneath output/ that are not the session's own", "write out/**, which is output/<session_id>/**"},
		{write("output/{<session_id>,x}/y"), `write[0] "output/{<session_id>,x}/y"`, "asks for names beneath output/ that are not the session's own", "write out/**, which is output/<session_id>/**"},
		{write("planes/x"), `write[0] "planes/x"`, "asks to write beneath planes/", "only agenthost itself writes there; declare an output elsewhere, such as out/**"},
		{write("ledger/**"), `write[0] "ledger/**"`, "asks to write beneath ledger/", "only agenthost itself writes there; declare an output elsewhere, such as out/**"},
		{write("registries/*"), `write[0] "registries/*"`, "asks to write beneath registries/", "only agenthost itself writes there; declare an output elsewhere, such as out/**"},
		{write("packages_store"), `write[0] "packages_store"`, "asks to write beneath packages_store/", "only agenthost itself writes there; declare an output elsewhere, such as out/**"},
		{write("{control,docs}/x"), `write[0] "{control,docs}/x"`, "asks to write beneath control/", "only agenthost itself writes there; declare an output elsewhere, such as out/**"},

		{exec(), `execute[0] "[]"`, "has no words", `write the program and its words, as in "git status"`},
		{exec(" "), `execute[0] "[\" \"]"`, "has no words", `write the program and its words, as in "git status"`},
		{exec("", "x"), `execute[0] "[\"\",\"x\"]"`, "begins with an empty word", "name the program first"},
		{exec("git status"), `execute[0] "[\"git status\"]"`, "has a program with a space in it", "give each word of the command its own place in the array"},
		{exec("g*t", "x"), `execute[0] "g*t x"`, "has a pattern for a program", "name the program; write one rule for each"},
		{exec("{git,sh}", "x"), `execute[0] "{git,sh} x"`, "has a pattern for a program", "name the program; write one rule for each"},
		{exec("pkg:*", "x"), `execute[0] "pkg:* x"`, "has a pattern for a program", "name the program; write one rule for each"},
		{exec("pkg:"), `execute[0] "pkg:"`, "has a program pkg: without a path in the package", "write it as in pkg:scripts/check.py"},
		{exec("pkg:../sh"), `execute[0] "pkg:../sh"`, "has a program pkg: without a path in the package", "write it as in pkg:scripts/check.py"},
		{exec("pkg:/bin/sh"), `execute[0] "pkg:/bin/sh"`, "has a program pkg: without a path in the package", "write it as in pkg:scripts/check.py"},
		{exec("LD_PRELOAD=x", "git"), `execute[0] "LD_PRELOAD=x git"`, "begins with an assignment", "name the program first; the operator sets variables"},
		{exec("/bin/sh"), `execute[0] "/bin/sh"`, "has a program that is neither a bare name nor pkg:PATH", "write git, which is looked up where the operator says, or pkg:scripts/check.py"},
		{exec("./sh"), `execute[0] "./sh"`, "has a program that is neither a bare name nor pkg:PATH", "write git, which is looked up where the operator says, or pkg:scripts/check.py"},
		{exec(".."), `execute[0] ".."`, "has a program that is neither a bare name nor pkg:PATH", "write git, which is looked up where the operator says, or pkg:scripts/check.py"},
		{exec("-sh"), `execute[0] "-sh"`, "has a program that is neither a bare name nor pkg:PATH", "write git, which is looked up where the operator says, or pkg:scripts/check.py"},
		{exec("deps:PKG-A/sh"), `execute[0] "deps:PKG-A/sh"`, "has a program that is neither a bare name nor pkg:PATH", "write git, which is looked up where the operator says, or pkg:scripts/check.py"},
		{exec("git;", "x"), `execute[0] "[\"git;\",\"x\"]"`, "has a program that is neither a bare name nor pkg:PATH", "write git, which is looked up where the operator says, or pkg:scripts/check.py"},
		{exec("g\n", "x"), `execute[0] "[\"g\\n\",\"x\"]"`, "holds the control character U+000A", "pass such text in a file or on stdin"},
		{exec("git", "**", "x"), `execute[0] "git ** x"`, "has ** before the last word", "write * for one operand; ** stands for all that follow"},
		{exec("git", "-*"), `execute[0] "git -*"`, "has the pattern -* for an option or a response file", "write options in full, and their values as words of their own, as in --id *"},
		{exec("git", "--id=*"), `execute[0] "git --id=*"`, "has the pattern --id=* for an option or a response file", "write options in full, and their values as words of their own, as in --id *"},
		{exec("git", `\-*`), `execute[0] "[\"git\",\"\\\\-*\"]"`, `has the pattern \-* for an option or a response file`, "write options in full, and their values as words of their own, as in --id *"},
		{exec("git", "{a,-b}"), `execute[0] "git {a,-b}"`, "has the pattern {a,-b} for an option or a response file", "write options in full, and their values as words of their own, as in --id *"},
		{exec("gcc", "@*"), `execute[0] "gcc @*"`, "has the pattern @* for an option or a response file", "write options in full, and their values as words of their own, as in --id *"},
		{exec("cat", "/etc/*"), `execute[0] "cat /etc/*"`, "has the word /etc/*, which begins with /", "patterns are relative to the workspace: write etc/*"},
		{exec("cat", "../*"), `execute[0] "cat ../*"`, "has the word ../*, which has a segment ..", "name the folder itself; what lies outside the workspace cannot be granted"},
		{exec("cat", "a[b"), `execute[0] "cat a[b"`, "has the word a[b, which has a [ without its ]", `write \[ for the character itself`},
		{exec("cat", "a}"), `execute[0] "cat a}"`, "has the word a}, which has a } without its {", `write \} for the character itself`},
		{exec("cat", "[!a]"), `execute[0] "cat [!a]"`, "has the word [!a], which has a negated class [!a]", "list the characters that may stand there, or write ?"},
		{exec("cat", "*"+long[:512]), `execute[0] "cat *` + long[:512] + `"`, "has a pattern of 513 bytes, at most 512", "write * for the operand"},
		{exec("cat", strings.Repeat("a", 4097)), `execute[0] "cat ` + strings.Repeat("a", 4097) + `"`, "has a word of 4097 bytes, at most 4096", "pass long text in a file or on stdin"},
		{exec(strings.Fields(strings.Repeat("a ", 257))...), `execute[0] "` + strings.TrimSpace(strings.Repeat("a ", 257)) + `"`, "has 257 words, at most 256", "end the rule with ** for any further operands"},
		{exec("cat", "a\x00"), `execute[0] "[\"cat\",\"a\\u0000\"]"`, "holds the control character U+0000", "pass such text in a file or on stdin"},
		{exec("cat", "a\n"), `execute[0] "[\"cat\",\"a\\n\"]"`, "holds the control character U+000A", "pass such text in a file or on stdin"},
		{exec("cat", "\xff"), `execute[0] "[\"cat\",\"\\ufffd\"]"`, "is not UTF-8", "write the words in UTF-8"},
		{Grants{Read: []string{"a", "secret**"}}, `read[1] "secret**"`, "has ** within a segment, where it means no more than *", "write * for names in one folder, **/ in front for any folder, /** behind for all that is in one"},
		{exec("cat", "<session_id>"), `execute[0] "[\"cat\",\"<session_id>\"]"`, "has <session_id> in it, which is not replaced in commands", "write * for the operand, or let the program find the session in its folder"},
	} {
		_, err := New(c.grants)
		var ge *GrantError
		if !errors.As(err, &ge) {
			t.Errorf("%s: got %v, want a GrantError", c.err, err)
			continue
		}
		if got, want := err.Error(), c.err+": "+c.reason; got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
		if ge.Reason != c.reason || ge.Hint != c.hint {
			t.Errorf("%s:\n got %s; %s\nwant %s; %s", c.err, ge.Reason, ge.Hint, c.reason, c.hint)
		}
	}
}

// TestShellSyntax: each character that a shell would act on is named.
func TestShellSyntax(t *testing.T) {
	for text, want := range map[string]string{
		"git status; id":     "has the shell's ; in it, and no shell reads it",
		"git status && id":   "has the shell's & in it, and no shell reads it",
		"a|b":                "has the shell's | in it, and no shell reads it",
		"x < y":              "has the shell's < in it, and no shell reads it",
		"x > y":              "has the shell's > in it, and no shell reads it",
		"git $(x)":           "has the shell's $ in it, and no shell reads it",
		"(x)":                "has the shell's ( in it, and no shell reads it",
		"x)":                 "has the shell's ) in it, and no shell reads it",
		"git `x`":            "has the shell's ` in it, and no shell reads it",
		`git "x"`:            `has the shell's " in it, and no shell reads it`,
		"git 'x":             "has the shell's ' in it, and no shell reads it",
		`git \x`:             `has the shell's \ in it, and no shell reads it`,
		"~/bin/x":            "has the shell's ~ in it, and no shell reads it",
		"cat ~":              "has the shell's ~ in it, and no shell reads it",
		"x <session_id>":     "has the shell's < in it, and no shell reads it",
		"git\tstatus":        "holds the control character U+0009",
		"git status\nid":     "holds the control character U+000A",
		"git status\x00":     "holds the control character U+0000",
		"git status\u007fid": "holds the control character U+007F",
	} {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var g Grants
		if err := json.Unmarshal(fmt.Appendf(nil, `{"execute": ["ls", %s]}`, quoted), &g); err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		_, err = New(g)
		var ge *GrantError
		if !errors.As(err, &ge) || ge.Field != "execute[1]" || ge.Reason != want ||
			ge.Hint != `one rule is one command; write its words as an array if the character is meant, as in ["grep", "a;b"]` {
			t.Errorf("%q: got %#v", text, err)
		}
	}
}

func TestNarrowingErrors(t *testing.T) {
	e := mustNew(t, Grants{})
	for _, c := range []struct {
		rights Rights
		want   string
	}{
		{Rights{Withhold: []string{"a", "/b"}}, `withhold[1] "/b": begins with /`},
		{Rights{Grants: Grants{Forbidden: []string{"a//b"}}}, `forbidden[0] "a//b": has an empty segment, //`},
		{Rights{Grants: Grants{Write: []string{"control/**"}}}, `write[0] "control/**": asks to write beneath control/`},
		{Rights{Grants: Grants{Execute: []Command{{"git"}}}, AllowExecute: true}, `execute[0] "git": narrows what allow_execute leaves as it is`},
	} {
		_, err := e.Attenuate(c.rights)
		if err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// TestPatternBytes: a manifest cannot make every check slow by its mere size.
func TestPatternBytes(t *testing.T) {
	var g Grants
	for range 128 {
		g.Read = append(g.Read, strings.Repeat("a", 512))
	}
	if _, err := New(g); err != nil {
		t.Fatal(err)
	}
	for field, more := range map[string]Grants{
		"read[128]":    {Read: append(g.Read[:128:128], "b")},
		"forbidden[0]": {Read: g.Read, Forbidden: []string{"b"}},
		"execute[0]":   {Read: g.Read, Execute: []Command{{"b"}}},
	} {
		_, err := New(more)
		var ge *GrantError
		if !errors.As(err, &ge) || ge.Field != field || ge.Reason != "is beyond 65536 bytes of patterns in all" {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
