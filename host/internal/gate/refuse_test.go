//go:build linux

package gate

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/record"
)

// guarded is a workspace of which the guest sees docs/ and may write reports/.
func guarded() setup {
	return setup{
		grants: capability.Grants{
			Read:      []string{"docs/**", "src/*.go"},
			Write:     []string{"reports/*.md"},
			Forbidden: []string{"docs/private/**", "**/*.key"},
		},
		files: map[string]string{
			"docs/a.md": "a", "docs/b/c.md": "c", "docs/private/s.md": "SECRET", "docs/x.key": "SECRET",
			"secret.txt": "SECRET", "hidden/deep/f": "SECRET", "reports/old.md": "SECRET old", "src/m.go": "m", "src/notes": "SECRET",
			"tmp/theirs": "SECRET", "out/theirs": "SECRET", ".agenthost/root": "SECRET",
			"output/SES-other/f": "SECRET",
		},
		published: map[string]string{"earlier.md": "published", "deep/e.md": "deep"},
		outputs:   []string{"reports/*.md", "out/**"},
	}
}

// everyFlag calls f with each combination of flags.
func everyFlag(f func(Flags)) {
	for flags := range Directory << 1 {
		f(flags)
	}
}

// TestRefuseOpen holds the rows of open in the table of refusals: what is
// answered never tells whether something is there.
func TestRefuseOpen(t *testing.T) {
	w := newWorld(t, guarded())
	for name, forbidden := range map[string]string{
		"secret.txt": "", "absent.txt": "", "hidden": "", "hidden/deep": "", "hidden/deep/f": "", "hidden/absent": "",
		"secret.txt/below": "", "src/notes": "", "src/absent": "", "output/SES-other/f": "", "output/SES-other": "", "output/SES-absent": "",
		"docs/private/s.md":     "forbidden docs/private/**",
		"docs/private/absent":   "forbidden docs/private/**",
		"docs/private":          "forbidden docs/private/**",
		"docs/x.key":            "forbidden **/*.key",
		"docs/absent.key":       "forbidden **/*.key",
		"out/absent.key":        "forbidden **/*.key",
		"reports/forbidden.key": "forbidden **/*.key",
	} {
		everyFlag(func(flags Flags) {
			got := w.does(func() Errno {
				f, errno := w.Open(WASI, name, flags)
				if f != nil {
					t.Errorf("%s, %s: a descriptor", name, flags)
				}
				return errno
			})
			want := "noent"
			switch {
			case forbidden != "" && (flags.writes() || flags&Directory == 0):
				want = "violation " + forbidden
			case flags.writes():
				want = "violation "
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("open %s, %s: got %s, want %s", name, flags, got, want)
			}
		})
	}
	if len(w.onDisk()) != 0 {
		t.Errorf("staged: %v", w.onDisk())
	}
}

// TestRefuse holds the other rows.
func TestRefuse(t *testing.T) {
	const (
		hidden   = "noent hidden "
		noRead   = hidden + "no grant of read"
		noWrite  = "violation no grant of write"
		violated = "violation forbidden docs/private/**"
		noLinks  = "perm refused " + ruleNoLinks
	)
	for name, want := range map[string]struct{ look, change, mkdir string }{
		"secret.txt":          {noRead, noWrite, noWrite},
		"absent":              {noRead, noWrite, noWrite},
		"hidden":              {noRead, noWrite, noWrite},
		"docs/private/s.md":   {hidden + "forbidden docs/private/**", violated, violated},
		"docs/private/absent": {hidden + "forbidden docs/private/**", violated, violated},
		"docs/private":        {hidden + "forbidden docs/private/**", violated, violated},
		"docs/a.md":           {"success granted", noWrite, "exist granted"},
		"docs/b":              {"success granted", noWrite, "exist granted"},
		"docs/absent":         {"noent granted", noWrite, noWrite},
		"reports":             {"success granted", "violation " + ruleNotStaged, "exist granted"},
		"reports/old.md":      {noRead, "violation " + ruleNotStaged, "violation no grant of read"},
		"reports/absent.md":   {noRead, "noent granted", "success granted"},
		"out/earlier.md":      {"success own", "violation " + ruleNotStaged, "exist own"},
		"out":                 {"success own", "perm refused " + ruleFixed, "exist own"},
		"tmp":                 {"success own", "perm refused " + ruleFixed, "exist own"},
		"tmp/absent":          {"noent own", "noent own", "success own"},
		".agenthost":          {"success package", "rofs package", "exist package"},
		".agenthost/pkg":      {"success package", "rofs package", "exist package"},
		".agenthost/pkg/x":    {"noent package", "rofs package", "rofs package"},
		".agenthost/root":     {"noent hidden " + ruleImpossible, "rofs package", "rofs package"},
		"../x":                {"noent hidden " + ruleImpossible, "noent hidden " + ruleImpossible, "noent hidden " + ruleImpossible},
	} {
		w := newWorld(t, guarded())
		w.make("tmp/file", "x")
		for op, c := range map[string]struct {
			do   func() Errno
			want string
		}{
			"stat":        {func() Errno { _, errno := w.Stat(WASI, name); return errno }, want.look},
			"unlink":      {func() Errno { return w.Remove(WASI, name, false) }, want.change},
			"rmdir":       {func() Errno { return w.Remove(WASI, name, true) }, want.change},
			"rename from": {func() Errno { return w.Rename(WASI, name, "tmp/to") }, want.change},
			"readlink":    {func() Errno { return w.Link(WASI, record.OpReadlink, name, "") }, noLinks},
			"symlink":     {func() Errno { return w.Link(WASI, record.OpSymlink, name, "/etc/passwd") }, noLinks},
			"link":        {func() Errno { return w.Link(ABI, record.OpLink, name, "docs/a.md") }, noLinks},
		} {
			if got := w.does(c.do); got != c.want && got != "noent again" {
				t.Errorf("%s %s:\n got %s\nwant %s", op, name, got, c.want)
			}
		}
		if name != "tmp" && name != "out" {
			if got := w.does(func() Errno { return w.SetTimes(WASI, name) }); got != want.change {
				t.Errorf("set times of %s:\n got %s\nwant %s", name, got, want.change)
			}
		}
		if got := w.does(func() Errno { return w.Mkdir(WASI, name) }); got != want.mkdir {
			t.Errorf("mkdir %s:\n got %s\nwant %s", name, got, want.mkdir)
		}
	}
}

// TestStrict holds what --strict makes of hidden opens and undeclared reads.
func TestStrict(t *testing.T) {
	s := guarded()
	s.strict, s.inputs = true, []string{"docs/a.md"}
	s.grants.Write = append(s.grants.Write, "docs/b/*.md")
	s.outputs = append(s.outputs, "docs/b/*.md")
	const notDeclared = "violation strict: not a declared input"
	for _, c := range []struct {
		path  string
		flags Flags
		want  string
	}{
		{"docs/a.md", Read, "success granted"},
		{"docs/b/c.md", Read, notDeclared},
		{"docs/b/c.md", Read | Write, notDeclared},
		{"docs/b/c.md", Write | Trunc, "success granted"},
		{"docs/absent", Read, "noent granted"},
		{"docs/b", Read, "success granted"},
		{"secret.txt", Read, "violation no grant of read"},
		{"hidden", Read, "violation no grant of read"},
		{"absent", Read, "violation no grant of read"},
		{"hidden", Read | Directory, "noent hidden no grant of read"},
		{"../x", Read, "violation " + ruleImpossible},
		{"../x", Write, "violation " + ruleImpossible},
		{"out/earlier.md", Read, "success own"},
		{".agenthost/pkg/lib/a.txt", Read, "success package"},
	} {
		w := newWorld(t, s)
		got := w.does(func() Errno { _, errno := w.Open(WASI, c.path, c.flags); return errno })
		equal(t, fmt.Sprintf("open %s, %s", c.path, c.flags), got, c.want)
	}
	w := newWorld(t, s)
	equal(t, "stat", w.does(func() Errno { _, errno := w.Stat(WASI, "secret.txt"); return errno }), "noent hidden no grant of read")
	equal(t, "above", w.does(func() Errno { return w.Impossible(WASI, record.OpOpen, "../x", 4) }), "violation "+ruleImpossible)
}

// TestWithheld holds that what the operator withholds is hidden, not forbidden.
func TestWithheld(t *testing.T) {
	w := newWorld(t, setup{
		grants:   capability.Grants{Read: []string{"**"}, Write: []string{"docs/**"}},
		withhold: []string{"**/.env*", "docs/.ssh/**"},
		files:    map[string]string{"docs/.env": "SECRET", "docs/.ssh/id": "SECRET", "docs/a": "a"},
		outputs:  []string{"docs/**"},
	})
	equal(t, "list", w.names("docs"), "a")
	for p, rule := range map[string]string{"docs/.env": "withheld **/.env*", "docs/.env.absent": "withheld **/.env*", "docs/.ssh/id": "withheld docs/.ssh/**"} {
		equal(t, "open "+p, w.does(func() Errno { _, errno := w.Open(WASI, p, Read); return errno }), "noent hidden "+rule)
		equal(t, "stat "+p, w.does(func() Errno { _, errno := w.Stat(WASI, p); return errno }), "noent hidden "+rule)
		equal(t, "write "+p, w.does(func() Errno { _, errno := w.Open(WASI, p, Write|Create|Trunc); return errno }), "violation "+rule)
		w.make("tmp/f", "")
		equal(t, "rename to "+p, w.does(func() Errno { return w.Rename(WASI, "tmp/f", p) }), "violation "+rule)
	}
}

// TestSpelling gives names in every spelling a guest can think of.
func TestSpelling(t *testing.T) {
	w := newWorld(t, guarded())
	for p, want := range map[string]string{
		"docs/a.md": "a", "./docs/a.md": "a", "/docs/a.md": "a", "//docs//a.md": "a", "docs/./a.md": "a",
		"docs/../docs/a.md": "a", "docs/b/../a.md": "a", "docs/absent/../a.md": "a", "hidden/../docs/a.md": "a",
		"docs/a.md/": "notdir", "docs/a.md/.": "notdir", "docs/a.md/x": "noent", "docs/a.md/../a.md": "a",
		"DOCS/a.md": "noent", "docs/A.md": "noent", "docs/a.md ": "noent", " docs/a.md": "noent", `docs\a.md`: "noent",
		"..": "noent", "../ws/docs/a.md": "noent", "/../docs/a.md": "noent", "docs/../../ws/docs/a.md": "noent",
		"docs/a.md\x00": "noent", "docs/\xff": "noent", "docs/a\xcc\x88.md": "noent", "docs/...": "noent",
		"/proc/self/environ": "noent", "secret.txt": "noent", "docs/../secret.txt": "noent", "docs/b/../../secret.txt": "noent",
		"tmp/theirs": "noent", "/tmp/theirs": "noent", "out/theirs": "noent", "tmp/../tmp/theirs": "noent", "docs/../out/theirs": "noent",
		".agenthost/root": "noent", "./.agenthost/./root": "noent", ".agenthost/pkg/../root": "noent",
		".agenthost/pkg/lib/a.txt": "in the package", "/.agenthost//pkg/lib/a.txt": "in the package", ".agenthost/pkg/lib/a.txt/": "notdir",
		".agenthost/pkg/../pkg/lib/a.txt": "in the package", ".agenthost/pkgs/lib/a.txt": "noent", ".agenthost/pkg/absent": "noent",
		".agenthost/deps/PKG-T0-DEP-001/d.txt": "in a library", ".agenthost/deps/PKG-T0-DEP-002/d.txt": "noent", ".agenthost/deps/../pkg/lib/a.txt": "in the package",
		"pkg:lib/a.txt": "noent", "deps:PKG-T0-DEP-001/d.txt": "noent",
		"out/earlier.md": "published", "output/" + sid + "/earlier.md": "published", "/output//" + sid + "/./deep/e.md": "deep",
		"output/" + sid + "/../SES-other/f": "noent", "output/SES-other/f": "noent", "output/" + strings.ToLower(sid) + "/earlier.md": "noent",
		"docs/" + strings.Repeat("a", 256): "nametoolong", strings.Repeat("docs/../", 511) + "docs/a.md": "noent",
		strings.Repeat("./", 2043) + "docs/a.md":   "a",
		"docs/" + strings.Repeat("a/", 2045) + "a": "nametoolong",
		"docs/" + strings.Repeat("a/", 2046) + "a": "noent",
		strings.Repeat("x", 1<<20):                 "noent",
	} {
		if got := w.content(p); got != want {
			t.Errorf("%.60q (%d bytes): got %q, want %q", p, len(p), got, want)
		}
	}
	for _, op := range w.ops(w.begin.Seq) {
		if len(op.Path) > MaxName {
			t.Errorf("a name of %d bytes was recorded", len(op.Path))
		}
	}
}

// TestLedgerNames holds how paths are spelled in the ledger.
func TestLedgerNames(t *testing.T) {
	w := newWorld(t, guarded())
	for p, want := range map[string]string{
		"/docs//a.md": "docs/a.md", "": ".", "/": ".", "out": "output/" + sid, "out/x/": "output/" + sid + "/x", "/tmp/x": "tmp/x",
		"output/" + sid: "output/" + sid, "output": "output", ".agenthost/": ".agenthost", ".agenthost/deps": ".agenthost/deps",
		".agenthost/pkg": "pkg:.", ".agenthost/pkg/lib": "pkg:lib", ".agenthost/deps/PKG-T0-DEP-001/d.txt": "deps:PKG-T0-DEP-001/d.txt",
		"a\x00\x1b[31m\xff":                                  `a\x00\x1b[31m\xff`,
		strings.Repeat("é", 3000):                            strings.Repeat("é", 128) + "… (6000 bytes)",
		"out/" + strings.Repeat("a/", 2040) + "bbbbbbbbbbbb": "output/" + sid + "/" + strings.Repeat("a/", 120)[:256-len("output/"+sid+"/")] + "… (4137 bytes)",
	} {
		if got := w.resolve(p).ledger; got != want {
			t.Errorf("%.60q: got %q, want %q", p, got, want)
		}
	}
}

// TestVisible lists and stats what a guest may see.
func TestVisible(t *testing.T) {
	s := guarded()
	s.files["docs/Zz"], s.files["docs/\xff"], s.files["docs/zz"], s.files["docs/é"] = "", "", "", ""
	equal(t, "output without a grant", newWorld(t, s).names("output"), "noent")
	s.grants.Write = append(s.grants.Write, "out/**")
	w := newWorld(t, s)
	w.make("reports/new.md", "new")
	w.make("tmp/b", "")
	w.make("out/fresh.md", "")
	for p, want := range map[string]string{
		".":       "docs/ out/ output/ reports/ src/ tmp/", // a workspace that is its own root
		"docs":    "Zz a.md b/ zz é",
		"docs/":   "Zz a.md b/ zz é",
		"docs/b":  "c.md",
		"src":     "m.go",
		"reports": "new.md",
		"hidden":  "noent", "docs/private": "noent", "secret.txt": "noent", "docs/a.md": "notdir", "docs/absent": "noent",
		"tmp": "b", "out": "deep/ earlier.md fresh.md", "output/" + sid: "deep/ earlier.md fresh.md", "out/deep": "e.md",
		"output": sid + "/", "output/SES-other": "noent",
		".agenthost": "call deps/ pkg/ policy.json", ".agenthost/deps": "PKG-T0-DEP-001/", ".agenthost/pkg": "lib/ manifest.json", ".agenthost/pkg/lib": "a.txt",
		".agenthost/pkg/absent": "noent", ".agenthost/pkg/lib/a.txt": "notdir", ".agenthost/deps/x": "noent",
	} {
		equal(t, "list "+p, w.names(p), want)
	}
}

// TestSerials holds that a listing and a stat tell the same of a file, and that
// no two files are taken for one.
func TestSerials(t *testing.T) {
	w := newWorld(t, guarded())
	w.make("tmp/b", "")
	seen := map[uint64]string{}
	var walk func(string)
	walk = func(folder string) {
		f, errno := w.Open(WASI, folder, Read|Directory)
		if errno != Success {
			t.Fatalf("%s: %s", folder, errno)
		}
		defer f.Close()
		infos, _ := f.List()
		for _, listed := range infos {
			p := filepath.Join(folder, listed.Name)
			info, errno := w.Stat(WASI, p)
			if errno != Success || info.Serial != listed.Serial || info.Folder != listed.Folder {
				t.Errorf("%s: listed as %+v, stat says %+v, %s", p, listed, info, errno)
			}
			if other, twice := seen[info.Serial]; twice && !strings.HasPrefix(p, "output") {
				t.Errorf("%s and %s have one serial number", p, other)
			}
			seen[info.Serial] = p
			if listed.Folder {
				walk(p)
			}
		}
	}
	walk(".")
	walk(".agenthost")
}

// TestTopOpens holds what wazero relies on: it panics where "." cannot be opened.
func TestTopOpens(t *testing.T) {
	for _, strict := range []bool{false, true} {
		w := newWorld(t, setup{strict: strict, grants: capability.Grants{Forbidden: []string{"**"}}})
		for _, p := range []string{".", "/", "", "./"} {
			equal(t, "open "+p, w.does(func() Errno { _, errno := w.Open(WASI, p, Read); return errno }), "success granted")
		}
		equal(t, "the top", w.names("."), "out/ tmp/")
	}
}
