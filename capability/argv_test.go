package capability

import (
	"errors"
	"strings"
	"testing"
)

// TestArgvRules holds what a rule permits beside what is known to slip past
// rules elsewhere. The sources: sudoers(5) of sudo 1.9, sections Wildcards,
// Negation and Security Notes; GTFOBins; issues about prefix rules, by number; and
// those of denoland/deno about --allow-run, by number.
// What is refused here is refused before anything is looked up or started.
func TestArgvRules(t *testing.T) {
	const (
		allowed = "allowed"
		refused = "refused"

		noPattern  = "error: has a pattern for a program"
		noProgram  = "error: has a program that is neither a bare name nor pkg:PATH"
		noOption   = " for an option or a response file"
		noNegation = "error: begins with !, and no rule takes back what another grants"
	)
	type c = []string
	shell := func(char string) string { return "error: has the shell's " + char + " in it, and no shell reads it" }
	for _, tt := range []struct {
		rule any // a string as a manifest may have it, or its words
		argv []string
		want string
	}{
		// A rule is the whole command: neither a prefix nor a set of words.
		{"git status", c{"git", "status"}, allowed},
		{"git status", c{"git", "status", "--porcelain"}, refused}, // sudoers: a command without arguments permits any
		{"git status", c{"git"}, refused},
		{"git status", c{"git", "status", ""}, refused}, // trailing space
		{"git status", c{"git", "status "}, refused},
		{"git status ", c{"git", "status"}, allowed}, // of the rule: means nothing
		{"git status ", c{"git", "status", ""}, refused},
		{"git  status", c{"git", "", "status"}, refused},
		{"git status", c{"status", "git"}, refused},
		{"git status", c{"git status"}, refused}, // one word, as for system(3)
		{"git", c{"git", "push"}, refused},
		{"git", nil, refused},
		{"git", c{""}, refused},

		// Further commands behind what is permitted. No shell reads argv: what would
		// chain there is another word here.
		{"git status", c{"git", "status;id"}, refused},                         // prefix rules: 4956
		{"git status", c{"git", "status", ";", "id"}, refused},                 // prefix rules: 4956
		{"git status", c{"git", "status", "&&", "id"}, refused},                // prefix rules: 16180
		{"git status", c{"git", "status", "&", "id"}, refused},                 // prefix rules: 16180
		{"git status", c{"git", "status", "||", "id"}, refused},                // prefix rules: 16180
		{"git status", c{"git", "status", "|", "sh"}, refused},                 // prefix rules: 28784
		{"git status", c{"git", "status\nid"}, refused},                        // prefix rules: 28784
		{"git status", c{"git", "status", "\n", "id"}, refused},                // prefix rules: 28784
		{"git status", c{"git", "status", "$(id)"}, refused},                   // prefix rules: 94314
		{"git status", c{"git", "status", "`id`"}, refused},                    // prefix rules: 94314
		{"git status", c{"git", "status", "<(id)"}, refused},                   // prefix rules: 94314
		{"git status", c{"git", "status", ">", "x"}, refused},                  // prefix rules: 28784
		{"git add *", c{"git", "add", "a;id"}, allowed},                        // one operand: a file of that name
		{"git add *", c{"git", "add", "a", "&&", "id"}, refused},               // prefix rules: 16180
		{"git add *", c{"git", "add", "a\nid"}, refused},                       // prefix rules: 28784
		{"git diff **", c{"git", "diff", "a", ";", "rm", "-rf", "."}, refused}, // options end it
		{"git diff **", c{"git", "diff", "a", "|", "tee", "/etc/passwd"}, refused},
		{"git status; id", nil, shell(";")},
		{"git status && id", nil, shell("&")},
		{"git status | sh", nil, shell("|")},
		{"git status > x", nil, shell(">")},
		{"git log $(id)", nil, shell("$")},
		{"git log $HOME", nil, shell("$")},
		{"git log `id`", nil, shell("`")},
		{`git log "a b"`, nil, shell(`"`)},
		{`git log a\ b`, nil, shell(`\`)},
		{"cat ~/.ssh/id_rsa", nil, shell("~")},
		{"git log # only that", nil, shell("#")},
		{"git log\nid", nil, "error: holds the control character U+000A"},
		{"git\tlog", nil, "error: holds the control character U+0009"},
		{c{"git", "log", "a;b"}, c{"git", "log", "a;b"}, allowed}, // written as words it is meant

		// Something in front of what is permitted.
		{"git status", c{"git", "-C", "/etc", "status"}, refused},                  // prefix rules: 66176
		{"git status", c{"git", "-c", "core.fsmonitor=id", "status"}, refused},     // prefix rules: 66176
		{"git push origin", c{"git", "-C", "..", "push", "origin"}, refused},       // prefix rules: 66176
		{"git status", c{"git", "--git-dir=/tmp/x", "status"}, refused},            // prefix rules: 66176
		{"git status", c{"cd", "x", "&&", "git", "status"}, refused},               // prefix rules: 59498
		{"git status", c{"cd x && git status"}, refused},                           // prefix rules: 59498
		{"git status", c{"LD_PRELOAD=/tmp/x.so", "git", "status"}, refused},        // deno 11964
		{"git status", c{"GIT_EXTERNAL_DIFF=id", "git", "status"}, refused},        // deno 25221
		{"git status", c{"env", "LD_PRELOAD=/tmp/x.so", "git", "status"}, refused}, // deno 25271
		{"git status", c{"timeout", "5", "git", "status"}, refused},                // GTFOBins: a launcher
		{"git status", c{"nohup", "git", "status"}, refused},
		{"LD_PRELOAD=x git status", nil, "error: begins with an assignment"},
		{"cd x && git status", nil, shell("&")},

		// Another program under that name, or that program under another.
		{"git status", c{"/tmp/git", "status"}, refused},     // deno 14122: a path for a name
		{"git status", c{"./git", "status"}, refused},        // deno 14122: the current folder
		{"git status", c{"bin/git", "status"}, refused},      // deno 14122: relative to it
		{"git status", c{"../git", "status"}, refused},       // deno 14122
		{"git status", c{"/usr/bin/git", "status"}, refused}, // the very program: still another word
		{"git status", c{"//usr/bin/git", "status"}, refused},
		{"git status", c{"/usr/bin/../bin/git", "status"}, refused},
		{"git status", c{"GIT", "status"}, refused},
		{"git status", c{"git ", "status"}, refused},
		{"git status", c{" git", "status"}, refused},
		{"git status", c{"git\x00", "status"}, refused},
		{"git status", c{"git.exe", "status"}, refused},
		{"git status", c{"g\u0069\u0307t", "status"}, refused},
		{"git status", c{"pkg:git", "status"}, refused}, // deno docs 2846: what the agent could have written
		{"git status", c{"@git", "status"}, refused},
		{"pkg:bin/x", c{"pkg:bin/x"}, allowed},
		{"pkg:bin/x", c{"bin/x"}, refused},
		{"pkg:bin/x", c{"pkg:./bin/x"}, refused},
		{"pkg:bin/x", c{"pkg:bin//x"}, refused},
		{"pkg:bin/x", c{"pkg:bin/../bin/x"}, refused},
		{"pkg:bin/x", c{"/.agenthost/pkg/bin/x"}, refused},
		{"pkg:bin/x", c{"deps:PKG-A/bin/x"}, refused},
		{"/bin/sh", nil, noProgram},  // what is there is decided by who can write there
		{"./tool", nil, noProgram},   // deno docs 2846: a program the agent can write
		{"../tool", nil, noProgram},  // deno 14122
		{"bin/tool", nil, noProgram}, // deno 14122
		{"output/SES-1/tool", nil, noProgram},
		{"deps:PKG-A/sh", nil, noProgram},
		{".", nil, noProgram},
		{"-sh", nil, noProgram},
		{c{"git;", "x"}, nil, noProgram},
		{"pkg:../sh", nil, "error: has a program pkg: without a path in the package"},
		{"pkg:/bin/sh", nil, "error: has a program pkg: without a path in the package"},
		{c{"git status"}, nil, "error: has a program with a space in it"},

		// Patterns for programs, and rules that take back.
		{"/bin/* x", nil, noPattern}, // sudoers: Wildcards
		{"* x", nil, noPattern},
		{"** x", nil, noPattern},
		{"g?t x", nil, noPattern},
		{"{git,sh} x", nil, noPattern},
		{"[a-z]it x", nil, noPattern},
		{"pkg:* x", nil, noPattern},
		{"!git push", nil, noNegation}, // sudoers: Negation, undone by a copy of the program
		{c{"!git", "push"}, nil, noNegation},
		{"%wheel x", nil, noProgram}, // sudoers: groups
		{"^git$ x", nil, shell("$")}, // sudoers: regular expressions
		{c{"^git$", "x"}, nil, noProgram},
		{"cat [!a]", nil, "error: has the word [!a], which has a negated class [!a]"},

		// sudoers: * matches white space and slashes, and so further words.
		{"cat log/*", c{"cat", "log/a"}, allowed},
		{"cat log/*", c{"cat", "log/a b"}, allowed}, // still one word
		{"cat log/*", c{"cat", "log/a", "/etc/shadow"}, refused},
		{"cat log/*", c{"cat", "log/a", "log/b"}, refused},
		{"cat log/*", c{"cat", "log/a /etc/shadow"}, refused},
		{"cat log/*", c{"cat", "log/../../etc/shadow"}, refused},
		{"cat log/*", c{"cat", "log/.."}, refused},
		{"cat log/*", c{"cat", "log/."}, refused},
		{"cat log/*", c{"cat", "log/"}, refused},
		{"cat log/*", c{"cat", "log//a"}, refused},
		{"cat log/*", c{"cat", "./log/a"}, refused},
		{"cat log/*", c{"cat", "log/a/"}, refused},
		{"cat log/*", c{"cat", "log/a/b"}, refused},
		{"cat log/*", c{"cat", "LOG/a"}, refused},
		{"cat log/**", c{"cat", "log/a/b"}, allowed},
		{"cat log/**", c{"cat", "log/a/../../b"}, refused},
		{"cat log/**", c{"cat", "log//a"}, refused},
		{"cat log/**", c{"cat", "other"}, refused},
		{"cat /etc/*", nil, "error: has the word /etc/*, which begins with /"},
		{"cat ../*", nil, "error: has the word ../*, which has a segment .."},

		// A pattern is never an option, a response file, an absolute path, or nothing.
		{"git add *", c{"git", "add", "a.txt"}, allowed},
		{"git add *", c{"git", "add", "--all"}, refused},
		{"git add *", c{"git", "add", "-A"}, refused},
		{"git add *", c{"git", "add", "--"}, refused},
		{"git add *", c{"git", "add", "-"}, refused},
		{"git add *", c{"git", "add", ""}, refused},
		{"git add *", c{"git", "add", "."}, refused},
		{"git add *", c{"git", "add", ".."}, refused},
		{"git add *", c{"git", "add", "a/b"}, refused},
		{"git add *", c{"git", "add", "/w/a"}, refused},
		{"git add *", c{"git", "add", "@list"}, refused},
		{"git add *", c{"git", "add", "a\x00"}, refused},
		{"git add *", c{"git", "add", "a\x1b[2J"}, refused},
		{"git add *", c{"git", "add", "\xff"}, refused},
		{"git add *", c{"git", "add", strings.Repeat("a", 4097)}, refused},
		{"git add ?", c{"git", "add", "-"}, refused},
		{"git add [-@]a", c{"git", "add", "-a"}, refused},
		{"git add [-@]a", c{"git", "add", "@a"}, refused},
		{"git add {a,b}.txt", c{"git", "add", "b.txt"}, allowed},
		{"git add {a,b}.txt", c{"git", "add", "c.txt"}, refused},
		{"git -*", nil, "error: has the pattern -*" + noOption},
		{"git --id=*", nil, "error: has the pattern --id=*" + noOption}, // sudoers: an argument within an argument
		{"git {a,-b}", nil, "error: has the pattern {a,-b}" + noOption},
		{c{"git", `\-*`}, nil, `error: has the pattern \-*` + noOption},
		{"gcc @*", nil, "error: has the pattern @*" + noOption},

		// ** at the end: any operands, and none of the above.
		{"git diff **", c{"git", "diff"}, allowed},
		{"git diff **", c{"git", "diff", "a", "b/c"}, allowed},
		{"git diff **", c{"git"}, refused},
		{"git diff **", c{"git", "diff", "--ext-diff"}, refused},
		{"git diff **", c{"git", "diff", "a", "--output=x"}, refused},
		{"git diff **", c{"git", "diff", "a", "../x"}, refused},
		{"git diff **", c{"git", "diff", "a", "/etc/shadow"}, refused},
		{"git diff **", c{"git", "diff", "a", ""}, refused},
		{"git diff **", c{"git", "diff", "@x"}, refused},
		{"find **", c{"find", "docs", "-exec", "id", ";"}, refused}, // GTFOBins
		{"find **", c{"find", "docs", "-delete"}, refused},
		{"tar **", c{"tar", "--to-command=id"}, refused}, // GTFOBins
		{"tar **", c{"tar", "x", "--use-compress-program=id"}, refused},
		{"sort **", c{"sort", "--compress-program=id", "a"}, refused},
		{"ssh **", c{"ssh", "-oProxyCommand=id", "x"}, refused},
		{"tool a* **", c{"tool", "b"}, refused},
		{"git ** x", nil, "error: has ** before the last word"},

		// Literal words are just that.
		{"tar --to-command=x", c{"tar", "--to-command=x"}, allowed},
		{c{"jq", `.a\[0\]`}, c{"jq", ".a[0]"}, allowed},
		{c{"jq", `.a\[0\]`}, c{"jq", ".a0"}, refused},
		{c{"tool", `\*`}, c{"tool", "*"}, allowed},
		{c{"tool", `\*`}, c{"tool", "a"}, refused},
		{c{"tool", `--x=\*`}, c{"tool", "--x=*"}, allowed},
		{c{"tool", `\**`}, c{"tool", "*a"}, allowed},
		{"tool a]", c{"tool", "a]"}, allowed},
		{c{"tool", ""}, c{"tool", ""}, allowed},
		{"tool /w/a", c{"tool", "/w/a"}, allowed},
		{"tool ..", c{"tool", ".."}, allowed},
		{"find . ! -name x", c{"find", ".", "!", "-name", "x"}, allowed},
		{"git diff HEAD~1", c{"git", "diff", "HEAD~1"}, allowed},

		// The package's own files are named, never met by chance.
		{"python3 pkg:scripts/*.py", c{"python3", "pkg:scripts/a.py"}, allowed},
		{"python3 pkg:scripts/*.py", c{"python3", "scripts/a.py"}, refused},
		{"python3 pkg:scripts/*.py", c{"python3", "/.agenthost/pkg/scripts/a.py"}, refused},
		{"python3 pkg:scripts/*.py", c{"python3", "pkg:scripts/../a.py"}, refused},
		{"python3 pkg:*", c{"python3", "pkg:.."}, refused},
		{"python3 pkg:*", c{"python3", "pkg:-c"}, refused},
		{"python3 pkg:*", c{"python3", "pkg:"}, refused},
		{"python3 pkg:**/*.py", c{"python3", "pkg:/etc/a.py"}, refused},
		{"python3 *", c{"python3", "pkg:a.py"}, refused},
		{"python3 **", c{"python3", "deps:PKG-A/a.py"}, refused},

		// Interpreters: a rule for one is a rule like any. What is left to the agent
		// in it people are told before they accept it (archive.Choice).
		{"sh -c *", c{"sh", "-c", "id"}, allowed},
		{"sh pkg:run.sh", c{"sh", "-c", "id"}, refused},
		{"sh pkg:run.sh *", c{"sh", "pkg:run.sh", "-c"}, refused},
		{"python3 pkg:a.py", c{"python3", "-c", "import os", "pkg:a.py"}, refused},
		{"python3 pkg:a.py", c{"python3", "-i", "pkg:a.py"}, refused},
		{"awk *", c{"awk", "-f", "x"}, refused},
		{"env git status", c{"env", "LD_PRELOAD=x", "git", "status"}, refused}, // deno 25271
	} {
		if got := outcomeOf(tt.rule, tt.argv); got != tt.want {
			t.Errorf("%q for %q:\n got %s\nwant %s", tt.rule, tt.argv, got, tt.want)
		}
	}
}

// outcomeOf is what becomes of argv where the one rule is rule.
func outcomeOf(rule any, argv []string) string {
	words, isWords := rule.([]string)
	if !isWords {
		parsed, err := ParseCommand(rule.(string))
		if err != nil {
			parsed = Command{rule.(string)}
		}
		words = parsed
	}
	e, err := New(Grants{Execute: []Command{words}})
	var fault *GrantError
	if errors.As(err, &fault) {
		return "error: " + fault.Reason
	}
	if err != nil {
		return err.Error()
	}
	g, err := e.CheckExec(argv)
	var v *Violation
	switch {
	case errors.As(err, &v) && v.Rule == "no grant of execute":
		return "refused"
	case err != nil:
		return err.Error()
	case g != Grant{Execute, Command(words).String()}:
		return "allowed by " + g.Pattern
	}
	return "allowed"
}
