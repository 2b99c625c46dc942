package archive

import (
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
)

func TestDescribe(t *testing.T) {
	for _, test := range []struct{ json, want string }{
		{base(""), "is a library: it does not run, other packages see its files read-only"},
		{base(`, "dependencies": [{"id": "PKG-B"}]`), "is a library: it does not run, other packages see its files read-only\nsees the files of PKG-B of any version, read-only"},
		{base(`, "entry": {"module": "a"}`), "may read nothing but its own files\nmay write nothing but its scratch and its output folder\nmay run no commands"},
		{
			base(`, "capabilities": {"read": ["planes/ho1/sessions/*/ledger/*.jsonl", "registries/*.csv", "out/**"]}, "entry": {"module": "a"}`),
			"may read planes/ho1/sessions/*/ledger/*.jsonl (records of sessions)\nmay read registries/*.csv (files of the control plane)\nmay read out/** (its session's output)\n" +
				"may write nothing but its scratch and its output folder\nmay run no commands",
		},
		{fullManifest, `may read docs/** (files of the workspace)
may read registries/*.csv (files of the control plane)
may write reports/*.md (files of the workspace)
may run git log --oneline
may run ["grep","two words"]
may never touch docs/private/**
declares as input docs/*.md
declares as input docs/a.md
must publish out/report.md as report
may publish reports/*.md as copy, executable
sees the files of PKG-T0-EVIDENCE-001 >=0.1.0, <1.0.0, read-only
sees the files of PKG-T0-OTHER-001 of any version, read-only
is started with LANG=C in its environment
is started with PYTHONHOME=/usr in its environment
is started with the arguments ["--all" ""]
is answered ENOSYS by functions that WASI preview 1 does not know
wants no more than 256MiB of memory
wants no more than 60s a turn
wants no more than 50000000000 instructions a turn
wants no more than 64MiB of output
wants no more than 256 files of output
wants no more than 1000 bytes of result
wants no more than 100000 entries in the ledger
wants no more than 10000 calls deep`},
	} {
		m, err := ParseManifest([]byte(test.json))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(Describe(m), "\n"); got != test.want {
			t.Errorf("got\n%s\nwant\n%s", got, test.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	const tmp = ": does not reach the workspace's own tmp/, because the guest's /tmp stands in front of it"
	const out = ": does not reach the workspace's own out/, because the guest's /out stands in front of it"
	const fence = "; only the fence around it holds that"
	const undeclared = "write: no output is declared, so a write is refused unless the run declares it"
	for _, test := range []struct{ rights, want string }{
		{`"read": ["docs/**", "*.md", "*", "a*/**", "o/**", "{src,docs}/**", "out/**"]`, ""},
		{`"read": ["**"]`, "read **: this is the whole workspace; name the folders it needs|read **" + tmp + "|read **" + out},
		{`"read": ["**/*.md"]`, "read **/*.md" + tmp + "|read **/*.md" + out},
		{`"read": ["*/a"]`, "read */a" + tmp + "|read */a" + out},
		{`"read": ["t*/**"]`, "read t*/**" + tmp},
		{`"read": ["[a-z]ut/x"]`, "read [a-z]ut/x" + out},
		{`"read": ["{src,{lib,o?t}}/**"]`, "read {src,{lib,o?t}}/**" + out},
		{`"write": ["???/a"]`, "write ???/a" + tmp + "|write ???/a" + out + "|" + undeclared},
		{`"write": ["a"]`, undeclared},
		{`"execute": ["git log", "python3.11 pkg:a.py *", "bash pkg:run.sh", "grep x"]`, ""},
		{`"execute": ["git log", "sh -c *"]`, "execute sh -c *: the agent chooses the code that sh runs" + fence},
		{`"execute": ["xargs cat"]`, "execute xargs cat: xargs starts what the files or the input that it reads tell it to" + fence},
	} {
		m, err := ParseManifest([]byte(base(`, "entry": {"module": "a"}, "capabilities": {` + test.rights + `}`)))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		if test.want != "" {
			want = strings.Split(test.want, "|")
		}
		if got := Warnings(m); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", test.rights, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
}

// TestWarnsOfAbsentFiles is rules that name files of the package, which only the
// manifest of a packed one lists.
func TestWarnsOfAbsentFiles(t *testing.T) {
	m := Manifest{Entry: &Entry{Module: "a"}}
	m.Capabilities.Execute = []capability.Command{
		{"pkg:bin/x"}, {"pkg:bin/y"}, {"cat", "pkg:bin", "pkg:b", "pkg:bin/*", "bin/y"},
	}
	if got := Warnings(m); got != nil {
		t.Errorf("of a manifest that was not packed: %q", got)
	}
	m.Files = []File{{Path: "a"}, {Path: "bin/x"}}
	want := []string{
		"execute pkg:bin/y: the package has no bin/y, so it is not found",
		"execute cat pkg:bin pkg:b pkg:bin/* bin/y: the package has no b, so it is not found",
	}
	if got := Warnings(m); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWarnsOfIdleRights(t *testing.T) {
	m, err := ParseManifest([]byte(base(`, "capabilities": {"read": ["docs/**"]}`)))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a package without entry does not run: its capabilities, inputs and outputs mean nothing"}
	if got := Warnings(m); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAlternatives(t *testing.T) {
	for p, want := range map[string]string{
		"a": "a", "{a,b}": "a b", "x{a,b}y{c,d}": "xayc xayd xbyc xbyd", "{a,{b,c}d}": "a bd cd", `\{a,b}`: `\{a,b}`, `{a\,b,c}`: `a\,b c`, "{a": "{a", "{}": "",
	} {
		if got := strings.Join(alternatives(p), " "); got != want {
			t.Errorf("%s gives %s, want %s", p, got, want)
		}
	}
}
