//go:build linux

package gate

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/record"
)

// commanding is a world whose turn may run commands.
func commanding(t testing.TB, s setup) *world {
	t.Helper()
	w := newWorld(t, s)
	w.cfg.Commands = &Commands{
		Digests: NewDigests(func() time.Time { return time.Now().Add(time.Hour) }), // so that no file is too young
		Places: Places{
			Workspace: w.dir, Published: filepath.Join(filepath.Dir(w.dir), "published"),
			Staged: filepath.Join(w.stages, AreaWorkspace), Out: filepath.Join(w.stages, AreaOut), Tmp: filepath.Join(w.stages, AreaTmp),
		},
	}
	return w
}

// given says what binds give: where it is seen, with a slash behind a folder, and
// checks that each is what its inode says.
func (w *world) given(binds []confine.Bind) string {
	w.t.Helper()
	roots := map[string]string{w.cfg.Commands.Places.Workspace: "", w.cfg.Commands.Places.Published: "", w.cfg.Commands.Places.Staged: "+"}
	var all []string
	for _, b := range binds {
		info, err := os.Lstat(filepath.Join(b.Root, b.Name))
		if err != nil {
			w.t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		mark, known := roots[b.Root]
		if !known || b.Access != confine.Read || b.Inode != st.Ino || b.Device != st.Dev || !info.IsDir() && !info.Mode().IsRegular() {
			w.t.Errorf("bind %+v, of %v", b, info.Mode())
		}
		seen := strings.TrimPrefix(b.Target, viewRoot+"/")
		if info.IsDir() {
			seen += "/"
		}
		all = append(all, mark+strings.ReplaceAll(seen, sid, "SID"))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// listed is the names of a listing, which it checks.
func (w *world) listed(v *view) string {
	w.t.Helper()
	var names []string
	files, bytes := int64(0), int64(0)
	for line := range strings.Lines(string(v.listing)) {
		var sum, name string
		var size int64
		if _, err := fmt.Sscanf(line, "sha256:%64s %d %s\n", &sum, &size, &name); err != nil {
			w.t.Fatalf("line %q: %v", line, err)
		}
		names = append(names, strings.ReplaceAll(name, sid, "SID"))
		files, bytes = files+1, bytes+size
	}
	if !slices.IsSorted(names) || files != v.files || bytes != v.bytes || v.digest != sha256.Sum256(v.listing) {
		w.t.Errorf("%d files, %d bytes of a listing\n%s", v.files, v.bytes, v.listing)
	}
	return strings.Join(names, " ")
}

func (w *world) view() *view {
	w.t.Helper()
	v, err := w.viewOf()
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// reading grants the patterns that stand in front of a bar, and forbids those
// behind.
func reading(patterns string, files map[string]string) setup {
	read, forbidden, _ := strings.Cut(patterns, " | ")
	return setup{grants: capability.Grants{Read: strings.Fields(read), Forbidden: strings.Fields(forbidden)}, files: files}
}

func TestViewBinds(t *testing.T) {
	tree := map[string]string{
		"a.txt": "a", "docs/a.md": "a", "docs/b.txt": "b", "docs/sub/c.md": "c", "docs/sub/deep/d": "d",
		"src/x.go": "x", "src/y/z.go": "z", "empty/": "", "empty/less/": "",
	}
	with := func(more map[string]string) map[string]string {
		all := map[string]string{}
		for _, files := range []map[string]string{tree, more} {
			for name, content := range files {
				all[name] = content
			}
		}
		return all
	}
	for _, c := range []struct {
		what        string
		s           setup
		do          func(w *world)
		binds, list string
	}{
		{"all", reading("**", tree), nil, "a.txt docs/ empty/ src/", "a.txt docs/a.md docs/b.txt docs/sub/c.md docs/sub/deep/d src/x.go src/y/z.go"},
		{"a folder", reading("docs/**", tree), nil, "docs/", "docs/a.md docs/b.txt docs/sub/c.md docs/sub/deep/d"},
		{"names", reading("docs/*.md", tree), nil, "docs/a.md", "docs/a.md"},
		{"all names by a pattern that others would not match", reading("docs/sub/deep/*", tree), nil, "docs/sub/deep/d", "docs/sub/deep/d"},
		{"one name", reading("docs/sub/c.md", tree), nil, "docs/sub/c.md", "docs/sub/c.md"},
		{"a name beneath what is not granted", reading("*/y/**", tree), nil, "src/y/", "src/y/z.go"},
		{"nothing", reading("nothing/**", tree), nil, "", ""},
		{"no grant", reading("", tree), nil, "", ""},
		{"what is forbidden", reading("docs/** | docs/sub/c.md", tree), nil, "docs/a.md docs/b.txt docs/sub/deep/", "docs/a.md docs/b.txt docs/sub/deep/d"},
		{"what is forbidden and not there", reading("** | docs/sub/deep/*.key src/**/n", tree), nil, "a.txt docs/a.md docs/b.txt docs/sub/c.md docs/sub/deep/d empty/ src/x.go src/y/z.go", "a.txt docs/a.md docs/b.txt docs/sub/c.md docs/sub/deep/d src/x.go src/y/z.go"},
		{"a forbidden folder", reading("** | docs/**", tree), nil, "a.txt empty/ src/", "a.txt src/x.go src/y/z.go"},
		{
			"what is withheld",
			setup{
				grants: capability.Grants{Read: []string{"**"}}, withhold: capability.SecretNames(),
				files: with(map[string]string{".git/config": "s", ".git/HEAD": "h", ".git/objects/aa/b": "o", ".git/refs/heads/": "", "src/y/.env": "s", "docs/.ssh/id": "s"}),
			},
			nil,
			".git/HEAD .git/objects/ .git/refs/ a.txt docs/a.md docs/b.txt docs/sub/ empty/ src/x.go src/y/z.go",
			".git/HEAD .git/objects/aa/b a.txt docs/a.md docs/b.txt docs/sub/c.md docs/sub/deep/d src/x.go src/y/z.go",
		},
		{"the names of the host", reading("**", with(map[string]string{
			"tmp/a": "s", "out/a": "s", ".agenthost/a": "s", "output/other/a": "s", "planes/ho1/sessions/" + sid + "/a": "s", "planes/x": "x", "control/a": "c",
		})), nil, "a.txt control/ docs/ empty/ planes/x src/", "a.txt control/a docs/a.md docs/b.txt docs/sub/c.md docs/sub/deep/d planes/x src/x.go src/y/z.go"},
		{"a root of agenthost", reading("**", map[string]string{"r/FORMAT": "agenthost 1\n", "r/a": "s", "r/b/c": "s", "d/r/FORMAT": "agenthost 1\n", "d/a": "a"}), nil, "d/a", "d/a"},
		{"names that are not UTF-8", reading("docs/**", map[string]string{"docs/sub/\xff": "s", "docs/sub/a": "a", "docs/b/c": "c", "docs/b\xff/c": "c"}), nil, "docs/b/ docs/sub/a", "docs/b/c docs/sub/a"},
		{"links, FIFOs and sockets", reading("**", tree), func(w *world) {
			w.link("docs/sub/link", "../../src")
			w.link("src/y/link", "z.go")
			if err := syscall.Mkfifo(w.at("empty/fifo"), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, "a.txt docs/a.md docs/b.txt docs/sub/c.md docs/sub/deep/ empty/less/ src/x.go src/y/z.go", "a.txt docs/a.md docs/b.txt docs/sub/c.md docs/sub/deep/d src/x.go src/y/z.go"},
		{"more than one link, where nothing is forbidden", reading("src/**", tree), func(w *world) { w.hardlink("a.txt", "src/y/two") }, "src/", "src/x.go src/y/two src/y/z.go"},
		{
			"what is published",
			setup{grants: capability.Grants{Read: []string{"docs/*.md"}}, files: tree, published: map[string]string{"r": "r", "d/e": "e", "none/": ""}},
			nil,
			"docs/a.md output/SID/", "docs/a.md output/SID/d/e output/SID/r",
		},
		{
			"what is published and forbidden",
			setup{grants: capability.Grants{Forbidden: []string{"out/d/*.key"}}, published: map[string]string{"r": "r", "d/e": "e", "d/e.key": "s", "f/g": "g"}},
			nil,
			"output/SID/d/e output/SID/f/ output/SID/r", "output/SID/d/e output/SID/f/g output/SID/r",
		},
		{"strict", setup{
			grants: capability.Grants{Read: []string{"**"}, Write: []string{"docs/**"}}, strict: true, files: tree, inputs: []string{"docs/sub/**", "a.txt"}, outputs: []string{"docs/**"}, published: map[string]string{"r": "r"},
		}, func(w *world) { w.make("docs/new", "n") }, "+docs/new a.txt docs/sub/c.md docs/sub/deep/d output/SID/", "a.txt docs/new docs/sub/c.md docs/sub/deep/d output/SID/r"},
		{"what is staged", setup{
			grants: capability.Grants{Read: []string{"**"}, Write: []string{"docs/**", "put/**"}}, outputs: []string{"docs/**", "put/**"}, files: with(map[string]string{"put/old": "o"}),
		}, func(w *world) {
			w.make("docs/sub/c.md", "staged")
			w.make("put/new", "n")
			w.Mkdir(WASI, "docs/made")
			w.make("out/o", "o")
			w.make("tmp/t", "t")
		}, "+docs/sub/c.md +put/new a.txt docs/a.md docs/b.txt docs/sub/deep/ empty/ put/old src/", "a.txt docs/a.md docs/b.txt docs/sub/c.md docs/sub/deep/d put/new put/old src/x.go src/y/z.go"},
		{"what is staged and may not be read", setup{
			grants: capability.Grants{Write: []string{"docs/**"}}, outputs: []string{"docs/**"}, files: tree,
		}, func(w *world) { w.make("docs/sub/c.md", "staged") }, "+docs/sub/c.md", "docs/sub/c.md"},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := commanding(t, c.s)
			if c.do != nil {
				c.do(w)
			}
			v := w.view()
			equal(t, "binds", w.given(v.binds), c.binds)
			equal(t, "listing", w.listed(v), c.list)
			for name := range strings.FieldsSeq(c.list) {
				name = strings.ReplaceAll(name, "SID", sid)
				if r := w.reads[name]; w.staged[name] == nil && (r == nil || r.digest == nil) {
					t.Errorf("%s is not among the files that were read", name)
				}
			}
			w.lookAfter(v)
			if len(w.problems) != 0 {
				t.Errorf("it changed: %v", w.problems)
			}
			again := w.view()
			if again.digest != v.digest || w.given(again.binds) != c.binds {
				t.Errorf("a second view differs: %s", w.given(again.binds))
			}
		})
	}
}

func (w *world) link(name, target string) {
	w.t.Helper()
	if err := os.Symlink(target, w.at(name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) hardlink(from, to string) {
	w.t.Helper()
	if err := os.Link(w.at(from), w.at(to)); err != nil {
		w.t.Fatal(err)
	}
}

func TestViewListing(t *testing.T) {
	w := commanding(t, reading("** | no", map[string]string{"a b": "1", `q"q`: "22", `b\s`: "", "é": "e", "n\nl": "", "d\x7fl": "", "ok-/x": "", "ok/x": "", "-": ""}))
	var want strings.Builder
	for _, f := range [][2]string{{"-", ""}, {`"a b"`, "1"}, {`"b\\s"`, ""}, {`"d\x7fl"`, ""}, {`"n\nl"`, ""}, {"ok-/x", ""}, {"ok/x", ""}, {`"q\"q"`, "22"}, {"é", "e"}} {
		fmt.Fprintf(&want, "sha256:%x %d %s\n", sha256.Sum256([]byte(f[1])), len(f[1]), f[0])
	}
	if got := string(w.view().listing); got != want.String() {
		t.Errorf("got\n%swant\n%s", got, want.String())
	}
}

func TestViewRefused(t *testing.T) {
	many := func(folder string, n int) map[string]string {
		files := map[string]string{}
		for i := range n {
			files[fmt.Sprintf("%s/f%04d", folder, i)] = ""
		}
		return files
	}
	flat := many("a/b", 3000)
	for folder, n := range map[string]int{"c": 1000, "d": 96, "e": 1} {
		for name := range many(folder, n) {
			flat[name] = ""
		}
	}
	big := func(c *Config) { c.Ceiling.ListNames = 10_000 }
	for _, c := range []struct {
		what string
		s    setup
		do   func(w *world)
		code string
		want string
	}{
		{
			"a second link", reading("docs/** | no", map[string]string{"docs/a": "a", "no": "SECRET"}), func(w *world) { w.hardlink("no", "docs/two") }, abi.CodeFailed,
			`"docs/two" has more than one link, and something is forbidden, which the command could reach by it; copy the file, so that only this name leads to it, or grant less`,
		},
		{"a second link of what is published", setup{grants: capability.Grants{Forbidden: []string{"no"}}, files: map[string]string{"no": "SECRET"}, published: map[string]string{"a": "a"}}, func(w *world) {
			if err := os.Link(w.at("no"), filepath.Join(w.cfg.Commands.Places.Published, "two")); err != nil {
				w.t.Fatal(err)
			}
		}, abi.CodeFailed, `"output/` + sid + `/two" has more than one link, and something is forbidden, which the command could reach by it; copy the file, so that only this name leads to it, or grant less`},
		{"a second link that is not granted", reading("docs/a | no", map[string]string{"docs/a": "a", "no": "SECRET"}), func(w *world) { w.hardlink("no", "docs/two") }, "", ""},
		{"as many as can be", setup{grants: capability.Grants{Read: []string{"a/b/*", "c/*", "d/*"}}, files: flat, tune: big}, nil, "", ""},
		{
			"one more",
			setup{grants: capability.Grants{Read: []string{"a/b/*", "c/*", "d/*", "e/**"}}, files: flat, tune: big},
			nil, abi.CodeLimit,
			`the command would be given 4097 files and folders one by one, and no more than 4096 can be; most of them in "a/b" (3000), "c" (1000), "d" (96); grant fewer files, or folders whole, as in src/**: a folder is whole if nothing in it is withheld, staged or a link, and no forbidden pattern could match in it`,
		},
		{"what would be too many one by one", setup{grants: capability.Grants{Read: []string{"**"}}, files: flat, tune: big}, nil, "", ""},
		{
			"a folder of too many names",
			setup{grants: capability.Grants{Read: []string{"d/**"}}, files: flat, tune: func(c *Config) { c.Ceiling.ListNames = 95 }},
			nil, abi.CodeLimit,
			`the command would see a folder of more than 95 names: "d"; grant less of it`,
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.s.memory = true
			w := commanding(t, c.s)
			if c.do != nil {
				c.do(w)
			}
			_, err := w.viewOf()
			if err == nil {
				err = &ExecError{}
			}
			if err.Code != c.code || err.Message != c.want {
				t.Errorf("got %q, %s\nwant %q, %s", err.Code, err.Message, c.code, c.want)
			}
		})
	}
}

// TestViewUnreadable: what this process may not read is not seen, and no folder
// that holds it is given whole. To the superuser all can be read.
func TestViewUnreadable(t *testing.T) {
	w := commanding(t, reading("**", map[string]string{"a/b/c": "c", "a/b/d": "d", "e/f/g": "g", "e/h": "h"}))
	for name, mode := range map[string]os.FileMode{"a/b/c": 0, "e/f": 0} {
		if err := os.Chmod(w.at(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(w.at("e/f"), 0o700) })
	want := "a/b/d e/h"
	if os.Geteuid() == 0 {
		want = "a/ e/"
	}
	equal(t, "binds", w.given(w.view().binds), want)
}

func TestViewFuel(t *testing.T) {
	s := reading("docs/**", map[string]string{"docs/a": strings.Repeat("a", 5000), "docs/b": "b"})
	w := commanding(t, s)
	used := func(f func()) int64 {
		before := w.used
		f()
		return w.used - before
	}
	first, second := used(func() { w.view() }), used(func() { w.view() })
	if first-second != 5001 {
		t.Errorf("a second view of 5001 bytes took %d less", first-second)
	}
	fresh := commanding(t, s)
	fresh.cfg.Commands.Digests = w.cfg.Commands.Digests
	if fresh.view(); fresh.used != first {
		t.Errorf("with digests that are known it took %d, want %d", fresh.used, first)
	}
	w.cfg.Charge = func(int64) { panic(&Limit{Name: record.LimitFuel}) }
	var limit *Limit
	if err := caught(func() { w.viewOf() }); !errors.As(err, &limit) {
		t.Errorf("without fuel: %v", err)
	}
}
