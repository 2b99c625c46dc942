//go:build linux

package gate

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/record"
)

// TestRename goes through what can be renamed to what.
func TestRename(t *testing.T) {
	const undeclared = "violation " + record.CodeUndeclaredWrite
	for _, c := range []struct{ from, to, want string }{
		{"tmp/f", "tmp/g", "success own"},
		{"tmp/f", "docs/new", "success granted"},
		{"tmp/f", "docs/a.md", "success granted"},
		{"tmp/f", "drop/there", "success granted"},
		{"tmp/f", "out/new", "success own"},
		{"tmp/f", "out/earlier.md", "success own"},
		{"out/f", "docs/new", "success granted"},
		{"docs/f", "tmp/new", "success own"},
		{"tmp/f", "docs/f", "success own"}, // staged over staged
		{"tmp/f", "tmp/f", "success own"},
		{"tmp/f", "./tmp//f", "success own"},
		{"tmp/f", "tmp/f/", "notdir own"},
		{"tmp/f/", "tmp/g", "notdir own"},
		{"tmp/f", "tmp/f/g", "inval own"},
		{"tmp/f", "tmp/d", "isdir own"},
		{"tmp/f", "docs/sub", "isdir granted"},
		{"tmp/f", "drop/sub", "isdir granted"},
		{"tmp/f", "docs/absent/g", "noent granted"},
		{"tmp/f", "tmp/absent/g", "noent own"},
		{"tmp/f", "tmp", "perm refused " + ruleFixed},
		{"tmp/f", "out", "perm refused " + ruleFixed},
		{"tmp/f", "undeclared/g", undeclared},
		{"tmp/f", "elsewhere", "violation no grant of write"},
		{"tmp/f", ".", "violation names are relative and have no empty, . or .. segments"},
		{"tmp/f", ".agenthost/pkg/x", "rofs package"},
		{"tmp/f", "../x", "noent hidden " + ruleImpossible},
		{"tmp/f", "tmp/" + strings.Repeat("a", 256), "nametoolong refused " + ruleTooLong},
		{"tmp/f", "docs/link", "perm refused not a regular file"},
		{"tmp/f", "docs/twice", "perm refused more than one link"},
		{"tmp/f", "drop/link", "violation not a regular file"},
		{"tmp/f", "drop/twice", "violation more than one link"},
		{"tmp/d", "tmp/e", "success own"},
		{"tmp/d", "docs/d", "success granted"},
		{"tmp/d", "out/d", "success own"},
		{"tmp/d", "tmp/empty", "success own"}, // over an empty folder
		{"tmp/empty", "tmp/d", "notempty own"},
		{"tmp/d", "tmp/f", "notdir own"},
		{"tmp/d", "tmp/d", "success own"},
		{"tmp/d", "tmp/d/x", "inval own"},
		{"tmp/d", "tmp/absent/x", "noent own"},
		{"tmp/d", "docs/sub", "exist granted"},
		{"tmp/d", "docs/a.md", "exist granted"},
		{"tmp/d", "docs/link", "perm refused not a regular file"},
		{"tmp/d", "undeclared/d", "violation no grant of write"},
		{"tmp/d", "elsewhere", "violation no grant of write"},
		{"tmp/empty", "undeclared/d", "success granted"},
		{"docs/a.md", "docs/b.md", "violation " + ruleNotStaged},
		{"docs/absent", "docs/b.md", "noent granted"},
		{"tmp/absent", "docs/b.md", "noent own"},
		{"out/earlier.md", "docs/b.md", "violation " + ruleNotStaged},
	} {
		w := newWorld(t, writable())
		for name, target := range map[string]string{"docs/link": "/etc/passwd", "drop/link": "a.md"} {
			if err := os.Symlink(target, w.at(name)); err != nil {
				t.Fatal(err)
			}
		}
		w.write(w.at("docs/twice"), "two names")
		for _, name := range []string{"drop/twice"} {
			if err := os.Link(w.at("docs/twice"), w.at(name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range []string{"tmp/f", "docs/f", "out/f"} {
			w.make(p, "content of "+p)
		}
		for _, p := range []string{"tmp/d", "tmp/d/e", "tmp/empty"} {
			if errno := w.Mkdir(WASI, p); errno != Success {
				t.Fatal(errno)
			}
		}
		w.make("tmp/d/e/deep", "content of tmp/d/e/deep")
		workspace, staged := snapshot(t, w.dir), w.onDisk()
		folder := strings.HasPrefix(c.from, "tmp/d")
		what := "rename " + c.from + " to " + c.to
		if len(what) > 60 {
			what = what[:60]
		}
		if folder && strings.HasPrefix(c.want, "success") && c.from != c.to {
			// One entry more for the file in it.
			if errno := w.Rename(WASI, c.from, c.to); errno != Success {
				t.Errorf("%s: got %s", what, errno)
			}
			equal(t, what, w.content(c.to+"/e/deep"), "content of tmp/d/e/deep")
			equal(t, what, w.content(c.from+"/e/deep"), "noent")
		} else {
			equal(t, what, w.does(func() Errno { return w.Rename(WASI, c.from, c.to) }), c.want)
		}
		switch moved := strings.HasPrefix(c.want, "success") && w.resolve(c.from).ledger != w.resolve(c.to).ledger; {
		case !moved:
			equal(t, what+": staged", w.onDisk(), staged)
		case !folder && c.from != "tmp/empty":
			equal(t, what+": read", w.content(c.to), "content of "+c.from)
		}
		equal(t, what+": the workspace", snapshot(t, w.dir), workspace)
		if err := w.consistent(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestRenameJudgesAll renames folders of which one name may not be.
func TestRenameJudgesAll(t *testing.T) {
	s := writable()
	s.grants.Forbidden = []string{"docs/*/private", "docs/*/x/*.key", "out/*/private"}
	for _, c := range []struct {
		make string // beneath tmp/d; a folder if it ends with /
		to   string
		want string
	}{
		{"private/", "docs/d", "violation forbidden docs/*/private"},
		{"private", "docs/d", "violation forbidden docs/*/private"},
		{"private/", "out/d", "violation forbidden out/*/private"},
		{"private", "out/d", "violation forbidden out/*/private"},
		{"a.key", "docs/x/x", "noent granted"},
		{"a.key", "docs/d", "success granted"},
		{strings.Repeat("n", 255), "docs/d", "success granted"},
	} {
		w := newWorld(t, s)
		w.Mkdir(WASI, "tmp/d")
		w.make("tmp/d/first", "")
		if strings.HasSuffix(c.make, "/") {
			w.Mkdir(WASI, "tmp/d/"+c.make)
		} else {
			w.make("tmp/d/"+c.make, "")
		}
		before := w.onDisk()
		if strings.HasPrefix(c.want, "success") {
			if errno := w.Rename(WASI, "tmp/d", c.to); errno != Success {
				t.Errorf("%s: %s", c.make, errno)
			}
			continue
		}
		equal(t, "with "+c.make+" to "+c.to, w.does(func() Errno { return w.Rename(WASI, "tmp/d", c.to) }), c.want)
		equal(t, "nothing moved", w.onDisk(), before)
	}
}

// TestRenameDeep renames a folder so that what is in it would have too long a
// name.
func TestRenameDeep(t *testing.T) {
	w := newWorld(t, writable())
	long := strings.Repeat("n", 250)
	deep := "tmp/a"
	if errno := w.Mkdir(WASI, deep); errno != Success {
		t.Fatal(errno)
	}
	for len(deep)+251 < 4090 {
		deep += "/" + long
		if errno := w.Mkdir(WASI, deep); errno != Success {
			t.Fatal(errno)
		}
	}
	w.make(deep+"/f", "")
	equal(t, "too long", w.does(func() Errno { return w.Rename(WASI, "tmp/a", "tmp/"+long) }), "nametoolong refused "+ruleTooLong)
	equal(t, "too long to be published", w.does(func() Errno { return w.Rename(WASI, "tmp/a", "out/"+long) }), "nametoolong refused "+ruleTooLong)
	equal(t, "still there", w.content(deep+"/f"), "")
	if _, _, err := w.Finish(); err != nil {
		t.Error(err)
	}
}

// TestRenameFolderTellsNothing: the name a folder would get does not show whether
// something that may not be read is there.
func TestRenameFolderTellsNothing(t *testing.T) {
	s := setup{
		grants:  capability.Grants{Write: []string{"*/report.md"}},
		outputs: []string{"*/report.md"},
		files:   map[string]string{"customers.csv": "secret"},
	}
	w := newWorld(t, s)
	equal(t, "mkdir", w.does(func() Errno { return w.Mkdir(WASI, "tmp/d") }), "success own")
	equal(t, "a hidden file", w.does(func() Errno { return w.Rename(WASI, "tmp/d", "customers.csv") }), "violation no grant of read")
}

// TestListingsAreBounded: what descriptors keep of listings has one bound.
func TestListingsAreBounded(t *testing.T) {
	w := newWorld(t, setup{
		grants: capability.Grants{Read: []string{"docs/**"}}, files: map[string]string{"docs/a": "", "docs/b": ""},
		tune: func(c *Config) { c.Ceiling.CopyBytes = 300 },
	})
	list := func() (*File, error) {
		f, errno := w.Open(WASI, "docs", Read|Directory)
		if errno != Success {
			t.Fatal(errno)
		}
		return f, caught(func() { f.List() })
	}
	for range 10 {
		f, err := list()
		if err != nil {
			t.Fatalf("closed listings count: %v", err)
		}
		f.Close()
	}
	for range 2 {
		if _, err := list(); err != nil {
			t.Fatal(err)
		}
	}
	var limit *Limit
	if _, err := list(); !errors.As(err, &limit) || limit.Name != record.LimitListing {
		t.Errorf("got %v, want the limit on listings", err)
	}
}
