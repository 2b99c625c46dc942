package capability

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckExec(t *testing.T) {
	manifest := mustNew(t, Grants{
		Execute:   []Command{{"git", "log"}, {"cat", "*"}, {"cat", "README"}, {"grep", "-r", "x", "docs/private"}, {"cat", "**"}, {"tool", "--in=docs/private/a", "log"}},
		Forbidden: []string{"docs/private/**", "log/**", "key"},
	})
	asked := mustAttenuate(t, manifest, AsAsked())
	narrowed := mustAttenuate(t, manifest, operators())
	some := mustAttenuate(t, manifest, Rights{Grants: Grants{Execute: []Command{{"cat", "README"}}, Forbidden: []string{"README"}}})
	for _, c := range []struct {
		e    *Enforcer
		argv string
		want string
	}{
		{manifest, "git log", "granted git log"}, // the verb, not the folder
		{manifest, "cat a", "granted cat *"},
		{manifest, "cat README", "granted cat *"},
		{manifest, "cat a b", "granted cat **"},
		{manifest, "cat log", "! forbidden log/**"},
		{manifest, "cat key", "! forbidden key"},
		{manifest, "cat a key", "! forbidden key"},
		{manifest, "cat docs/private", "! forbidden docs/private/**"},
		{manifest, "cat ./docs//private/x", "! forbidden docs/private/**"},
		{manifest, "cat docs/x/../private/x", "! forbidden docs/private/**"},
		{manifest, "cat /w/docs/private/x", "! forbidden docs/private/**"},
		{manifest, "cat docs/private/", "! forbidden docs/private/**"},
		{manifest, "cat docs", "granted cat *"}, // the fence shows only what is granted of it
		{manifest, "grep -r x docs/private", "! forbidden docs/private/**"},
		{manifest, "tool --in=docs/private/a log", "! forbidden docs/private/**"},
		{manifest, "any -Idocs/private", "! forbidden docs/private/**"},
		{manifest, "any a=b=docs/private", "! forbidden docs/private/**"},
		{manifest, "any @docs/private/x", "! forbidden docs/private/**"},
		{manifest, "any HEAD:docs/private/x", "! forbidden docs/private/**"}, // git show
		{manifest, "any docs/private/x:ro", "! forbidden docs/private/**"},
		{manifest, "any file:///w/docs/private/x", "! forbidden docs/private/**"},
		{manifest, "any a,b,docs/private/x", "! forbidden docs/private/**"},
		{manifest, "cat a:key:b", "! forbidden key"},
		{manifest, "cat key=a", "! forbidden key"},
		{manifest, "cat a:keys", "granted cat *"},
		{manifest, "any docs/private/" + strings.Repeat("x", 4084), "no grant of execute"}, // too long for any rule
		{manifest, "any /docs/private", `no grant of execute | execute: ["any /docs/private"]`},
		{manifest, "any ../docs/private", `no grant of execute | execute: ["any ../docs/private"]`},
		{manifest, "git push", `no grant of execute | execute: ["git push"]`},
		{manifest, "git a*", `no grant of execute | execute: [["git","a\\*"]]`},
		{manifest, "git a<b", `no grant of execute | execute: [["git","a<b"]]`},
		{manifest, "git **", `no grant of execute | execute: [["git","\\*\\*"]]`},
		{manifest, "/bin/git push", "no grant of execute"},
		{manifest, "g*t push", "no grant of execute"},
		{manifest, "git \xff", "no grant of execute"},
		{manifest, "git \x00", "no grant of execute"},
		{manifest, "", "no grant of execute"},
		{asked, "git log", "granted git log"},
		{asked, "git push", `no grant of execute | execute: ["git push"]`},
		{narrowed, "git log", "no grant of execute by the operator"},
		{narrowed, "git push", "no grant of execute by the operator"},
		{narrowed, "cat docs/private", "! forbidden docs/private/**"},
		{some, "cat a", "no grant of execute by the operator"},
		{some, "cat README", "! forbidden README"},
		{mustAttenuate(t, manifest, Rights{}), "git log", "no grant of execute by the operator"},
	} {
		g, err := c.e.CheckExec(strings.Fields(c.argv))
		if got := oneLine(g, err); got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.argv, got, c.want)
		}
	}

	argv := []string{"git", "a b"}
	_, err := manifest.CheckExec(argv)
	argv[1] = "changed"
	got, _ := json.Marshal(err)
	if want := `{"operation":"execute","subject":"[\"git\",\"a b\"]","argv":["git","a b"],"rule":"no grant of execute","smallest_grant":"execute: [[\"git\",\"a b\"]]"}`; string(got) != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if want := `execute "[\"git\",\"a b\"]" refused: no grant of execute`; err.Error() != want {
		t.Errorf("\n got %s\nwant %s", err, want)
	}
}

func TestCommandJSON(t *testing.T) {
	for _, c := range []struct {
		in    string
		words Command
		out   string
	}{
		{`"git  log "`, Command{"git", "log"}, `"git log"`},
		{`["git","log"]`, Command{"git", "log"}, `"git log"`},
		{`["git","a b"]`, Command{"git", "a b"}, `["git","a b"]`},
		{`["git",""]`, Command{"git", ""}, `["git",""]`},
		{`["git","~"]`, Command{"git", "~"}, `["git","~"]`},
		{`["git","a~"]`, Command{"git", "a~"}, `"git a~"`},
		{`["git","<&>"]`, Command{"git", "<&>"}, `["git","<&>"]`},
		{`"git {a,b} *.md **"`, Command{"git", "{a,b}", "*.md", "**"}, `"git {a,b} *.md **"`},
		{`"git; id"`, Command{"git; id"}, `["git; id"]`}, // for New to refuse
		{`""`, Command{""}, `[""]`},
		{`[]`, Command{}, `[]`},
	} {
		var got Command
		if err := json.Unmarshal([]byte(c.in), &got); err != nil || !slices.Equal(got, c.words) || got == nil {
			t.Errorf("%s: got %q, %v, want %q", c.in, got, err, c.words)
		}
		out, err := got.MarshalJSON()
		if err != nil || string(out) != c.out {
			t.Errorf("%s: got %s, %v, want %s", c.in, out, err, c.out)
		}
		var again Command
		if err := json.Unmarshal(out, &again); err != nil || !slices.Equal(again, got) {
			t.Errorf("%s: read back %q, %v", out, again, err)
		}
	}
	for _, in := range []string{`null`, `1`, `{}`, `[1]`, `[["a"]]`, `true`} {
		got := Command{"kept"}
		err := json.Unmarshal([]byte(in), &got)
		if want := "a command is a string or an array of strings"; err == nil || err.Error() != want {
			t.Errorf("%s: got %q, %v, want %s", in, got, err, want)
		}
	}
}

func FuzzCommand(f *testing.F) {
	f.Add("git status *", "git", "a", "-b")
	f.Add("cat {a,b}/**", "cat", "b/c", "")
	f.Add("tool **", "tool", "@a", "pkg:x")
	f.Add("tool [-@]?", "tool", "-a", "..")
	f.Fuzz(func(t *testing.T, text, arg0, arg1, arg2 string) {
		rule, err := ParseCommand(text)
		if err != nil {
			rule = Command{arg0, text, arg1}
		}
		if parsed, err := ParseCommand(rule.String()); err == nil && !slices.Equal(parsed, rule) {
			t.Fatalf("%q prints as %s, which reads as %q", rule, rule, parsed)
		}
		data, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		var again Command
		if err := json.Unmarshal(data, &again); err != nil {
			t.Fatal(err)
		}
		broken := slices.ContainsFunc(rule, func(w string) bool { return !utf8.ValidString(w) })
		if !broken && !slices.Equal(again, rule) {
			t.Fatalf("%q is %s, which reads as %q", rule, data, again)
		}
		e, err := New(Grants{Execute: []Command{rule}})
		if err != nil {
			return
		}
		for _, argv := range [][]string{{rule[0], arg1}, {rule[0], arg1, arg2}, {rule[0], arg2}, rule, {arg0, arg1}} {
			g, err := e.CheckExec(argv)
			if err != nil {
				continue
			}
			if g.Pattern != rule.String() || argv[0] != rule[0] {
				t.Fatalf("%q permits %q by %v", rule, argv, g)
			}
			for i, arg := range argv[1:] {
				literal := ""
				ok := i+1 < len(rule)
				if ok {
					literal, ok = unquote(rule[i+1])
				}
				if ok && arg == literal {
					continue
				}
				if arg == "" || strings.ContainsRune("-/@", rune(arg[0])) || slices.Contains(strings.Split(arg, "/"), "..") {
					t.Fatalf("%q permits %q, whose word %q no pattern may match", rule, argv, arg)
				}
			}
		}
	})
}
