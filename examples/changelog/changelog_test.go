package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	agent "github.com/agenthost/agenthost/guest-sdk/go"
)

// record is a commit as git log gives it.
func record(fields ...string) string { return strings.Join(fields, "\x00") + "\x00" }

const (
	hash1 = "1111111111111111111111111111111111111111"
	hash2 = "2222222222222222222222222222222222222222"
	hash3 = "3333333333333333333333333333333333333333"
	hash4 = "4444444444444444444444444444444444444444"
	hash5 = "5555555555555555555555555555555555555555"
)

// history is newest first: a commit of a branch that is older than what it was
// merged into, two releases, of which one is a merge.
var history = record(hash5, hash4, "1767322800", "Ada", "HEAD -> main, origin/main", "Begin the next") +
	record(hash4, hash3+" "+hash2, "1767319200", "Ada", "tag: v2, tag: stable", "Merge branch 'fix'") +
	record(hash2, hash1, "1764640800", "Bob", "", "Fix") +
	record(hash3, hash1, "1767232800", "Ada", "", "Speak") +
	record(hash1, "", "1764547200", "Ada <ada@example.org>", "tag: v1", "Begin")

func TestMarkdown(t *testing.T) {
	for _, tt := range []struct {
		name, log string
		how       style
		want      string
	}{
		{"empty", "", style{Title: "Changelog"}, "# Changelog\n"},
		{"by tag", history, style{Title: "Changelog"}, `# Changelog

## Unreleased

- Begin the next (5555555555)

## v2, stable, 2026-01-02

- Fix (2222222222)
- Speak (3333333333)

## v1, 2025-12-01

- Begin (1111111111)
`},
		{"by month, with authors", history, style{Title: "What *we* did", By: byMonth, Authors: true}, `# What \*we\* did

## January 2026

- Begin the next (5555555555, Ada)
- Speak (3333333333, Ada)

## December 2025

- Fix (2222222222, Bob)
- Begin (1111111111, Ada \<ada@example.org\>)
`},
		{"no tags", record(hash2, hash1, "1767322800", "Ada", "grafted, main", "Go on"), style{Title: "C"}, "# C\n\n## January 2026\n\n- Go on (2222222222)\n"},
		{"no tags, by tag", record(hash2, hash1, "1767322800", "Ada", "", "Go on"), style{Title: "C", By: byTag}, "# C\n\n## Unreleased\n\n- Go on (2222222222)\n"},
		{"a release of a merge alone", record(hash2, hash1+" "+hash3, "1767322800", "Ada", "tag: v3", "Merge"), style{Title: "C"}, "# C\n\n## v3, 2026-01-02\n"},
		{"a month of merges", record(hash2, hash1+" "+hash3, "1767322800", "Ada", "", "Merge"), style{Title: "C"}, "# C\n"},
		{"before 1970", record(hash2, "", "-1", "Ada", "", "Old"), style{Title: "C"}, "# C\n\n## December 1969\n\n- Old (2222222222)\n"},
	} {
		commits, err := parse([]byte(tt.log))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := string(tt.how.markdown(tt.how.group(commits))); got != tt.want {
			t.Errorf("%s:\ngot:\n%s\nwant:\n%s", tt.name, got, tt.want)
		}
	}
}

func TestParseMistakes(t *testing.T) {
	for log, want := range map[string]string{
		"a\x00b\x00":                               "git log: 2 fields, want 6 of each commit",
		record(hash1, "", "soon", "A", "", "S"):    `git log: commit "` + hash1 + `": time "soon"`,
		record(hash1, "", "1", "A", "", "S") + "x": "git log: 7 fields, want 6 of each commit",
		"\x00": "git log: 1 fields, want 6 of each commit",
	} {
		if commits, err := parse([]byte(log)); commits != nil || err == nil || err.Error() != want {
			t.Errorf("%q: %v, %v, want %s", log, commits, err, want)
		}
	}
}

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"Fix the fence":                  "Fix the fence",
		"":                               "(nothing)",
		" \t":                            "(nothing)",
		"# no heading":                   `\# no heading`,
		"- no list":                      `\- no list`,
		"+ no list":                      `\+ no list`,
		"1. no list":                     `1\. no list`,
		"12) no list":                    `12\) no list`,
		"1.5 times":                      `1\.5 times`,
		"v1.5 - again #3 (1)":            "v1.5 - again #3 (1)",
		"> no quote":                     `\> no quote`,
		"---":                            `\---`,
		"***":                            `\*\*\*`,
		"[x] no box, [no](link) ![no]()": `\[x\] no box, \[no\](link) !\[no\]()`,
		"Use `code` and a_b_c":           "Use \\`code\\` and a\\_b\\_c",
		"<script>alert(1)</script> &lt;": `\<script\>alert(1)\</script\> \&lt;`,
		`back\slash`:                     `back\\slash`,
		"~~gone~~ | table":               `\~\~gone\~\~ \| table`,
		"two\nlines\rand a\ttab":         "two lines and a tab",
		"\x1b[31mred\x07":                "\uFFFD\\[31mred\uFFFD",
		"\u202egnorts":                   "\uFFFDgnorts",
		"not UTF-8: \xff\xfe":            "not UTF-8: \uFFFD\uFFFD",
		"Grüße, 世界 👩\u200d🔬":             "Grüße, 世界 👩\u200d🔬",
	} {
		if got := escape(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// What can be known before git is asked is told in words of its own, and so is
// what git says of a repository that has nothing.
func TestExplain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "worktree")
	if err := os.WriteFile(file, []byte("gitdir: /elsewhere\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		dir:                        "",
		filepath.Join(dir, ".git"): "there is no git repository here: run it in the folder that holds .git, or name that with --workspace",
		file:                       "here .git is a file, as in a worktree or a submodule: the history lies elsewhere, where no grant reaches; run it in the main working tree of the repository",
	} {
		got := ""
		if err := repository(name); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for said, want := range map[string]string{
		"fatal: your current branch 'main' does not have any commits yet\n": "the repository has no commits yet",
		"fatal: bad object HEAD\n": "git: fatal: bad object HEAD",
		"warning: unable to access '.git/config': Permission denied\nfatal: unknown error occurred while reading the configuration files\n": "git does without .git/config where it is not there, as in the full fence, and not where it may not be read, as in the landlock fence: agenthost doctor tells what this machine lacks",
		"error: unable to normalize alternate object path: /o\nfatal: bad object HEAD\n":                                                    "the repository borrows objects from another one, where no grant reaches: run git repack -a -d in it first (git: error: unable to normalize alternate object path: /o\nfatal: bad object HEAD)",
	} {
		if got := explain(said).Error(); got != want {
			t.Errorf("%q:\n got %q\nwant %q", said, got, want)
		}
	}
}

func TestQuery(t *testing.T) {
	t.Chdir(t.TempDir())
	for query, want := range map[string]string{
		`{"by":"week"}`:   `by is "week": want "tag" or "month"`,
		`{"author":true}`: `decode the query: json: unknown field "author"`,
		`{"by":"tag"}`:    "there is no git repository here: run it in the folder that holds .git, or name that with --workspace",
	} {
		if _, err := agent.Run(changelog, &agent.Request{Query: []byte(query)}); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", query, err, want)
		}
	}
}
