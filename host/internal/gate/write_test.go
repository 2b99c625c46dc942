//go:build linux

package gate

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// writable is a workspace whose docs/ the guest reads and writes and of whose
// drop/ it only writes, with outputs declared for both.
func writable() setup {
	return setup{
		grants: capability.Grants{
			Read:  []string{"docs/**"},
			Write: []string{"docs/**", "drop/**", "undeclared/*"},
		},
		files:     map[string]string{"docs/a.md": "old", "docs/sub/": "", "drop/there": "unseen", "drop/sub/": "", "undeclared/": ""},
		published: map[string]string{"earlier.md": "published"},
		outputs:   []string{"docs/**", "drop/**"},
	}
}

// opens opens p and keeps the descriptor.
func (w *world) opens(p string, flags Flags) (f *File, outcome string) {
	w.t.Helper()
	outcome = w.does(func() (errno Errno) { f, errno = w.Open(WASI, p, flags); return errno })
	return f, outcome
}

// TestOpenForWriting goes through the table of writing.
func TestOpenForWriting(t *testing.T) {
	const undeclared = "violation " + record.CodeUndeclaredWrite
	for _, c := range []struct {
		path    string
		flags   Flags
		want    string
		content string // of what is staged then
		base    string // of what the name held
	}{
		{"docs/new.md", Write | Create, "success granted", "", ""},
		{"docs/new.md", Write | Create | Excl, "success granted", "", ""},
		{"docs/new.md", Create, "success granted", "", ""},
		{"docs/new.md", Write, "noent granted", "", ""},
		{"docs/new.md", Write | Trunc, "noent granted", "", ""},
		{"docs/new.md/", Write | Create, "noent granted", "", ""},
		{"docs/new.md", Write | Create | Directory, "noent granted", "", ""},
		{"docs/absent/new.md", Write | Create, "noent granted", "", ""},
		{"docs/a.md/new.md", Write | Create, "noent granted", "", ""},
		{"docs/a.md", Write, "success granted", "old", "old"},
		{"docs/a.md", Read | Write | Append, "success granted", "old", "old"},
		{"docs/a.md", Write | Excl, "success granted", "old", "old"},
		{"docs/a.md", Write | Trunc, "success granted", "", "old"},
		{"docs/a.md", Read | Create, "success granted", "old", "old"},
		{"docs/a.md", Write | Create | Excl, "exist granted", "", ""},
		{"docs/a.md", Write | Create | Excl | Trunc, "exist granted", "", ""},
		{"docs/a.md/", Write, "notdir granted", "", ""},
		{"docs/a.md", Write | Directory | Trunc, "notdir granted", "", ""},
		{"docs/sub", Write, "isdir granted", "", ""},
		{"docs/sub", Write | Create | Trunc, "isdir granted", "", ""},
		{"drop/new", Write | Create, "success granted", "", ""},
		{"drop/new", Write | Create | Excl, "success granted", "", ""},
		{"drop/there", Write | Create | Trunc, "success granted", "", "unseen"},
		{"drop/there", Write, "violation no grant of read", "", ""},
		{"drop/there", Append, "violation no grant of read", "", ""},
		{"drop/there", Write | Create, "violation no grant of read", "", ""},
		{"drop/there", Write | Create | Excl, "violation no grant of read", "", ""},
		{"drop/there", Write | Create | Excl | Trunc, "violation no grant of read", "", ""},
		{"drop/there/", Write | Create | Trunc, "noent granted", "", ""},
		{"drop/sub", Write, "isdir granted", "", ""},
		{"undeclared/f", Write | Create, undeclared, "", ""},
		{"elsewhere", Write | Create, "violation no grant of write", "", ""},
		{".", Write, "violation names are relative and have no empty, . or .. segments", "", ""},
		{"planes/x", Write | Create, "violation reserved planes/**", "", ""},
		{"output/SES-other/f", Write | Create, "violation reserved output/**", "", ""},
		{"out/new", Write | Create, "success own", "", ""},
		{"out/earlier.md", Write, "success own", "published", "published"},
		{"output/" + sid + "/earlier.md", Write | Trunc, "success own", "", "published"},
		{"out/earlier.md", Write | Create | Excl, "exist own", "", ""},
		{"out", Write, "isdir own", "", ""},
		{"tmp/new", Write | Create, "success own", "", ""},
		{"tmp/absent/new", Write | Create, "noent own", "", ""},
		{"tmp", Write | Create, "isdir own", "", ""},
		{"tmp/" + strings.Repeat("a", 255), Write | Create, "success own", "", ""},
		{"tmp/" + strings.Repeat("a", 256), Write | Create, "nametoolong refused " + ruleTooLong, "", ""},
		{"docs/" + strings.Repeat("a", 256), Write | Create, "nametoolong refused " + ruleTooLong, "", ""},
		{"out/" + strings.Repeat("a/", 2000) + strings.Repeat("b", 51), Write | Create, "nametoolong refused " + ruleTooLong, "", ""},
		{"tmp/" + strings.Repeat("a/", 2045) + "aa", Write | Create, "nametoolong refused " + ruleTooLong, "", ""},
		{"tmp/" + strings.Repeat("a/", 2045) + "aaa", Write | Create, "noent hidden " + ruleImpossible, "", ""},
		{"tmp/a\x00", Write | Create, "noent hidden " + ruleImpossible, "", ""},
		{".agenthost/pkg/lib/a.txt", Write, "rofs package", "", ""},
		{".agenthost/new", Write | Create, "rofs package", "", ""},
	} {
		w := newWorld(t, writable())
		f, got := w.opens(c.path, c.flags)
		what := fmt.Sprintf("open %.40s, %s", c.path, c.flags)
		equal(t, what, got, c.want)
		staged := w.onDisk()
		if !strings.HasPrefix(got, "success") {
			if f != nil || len(staged) != 0 {
				t.Errorf("%s: descriptor %v, staged %v", what, f, staged)
			}
			continue
		}
		if len(staged) != 1 || f == nil {
			t.Fatalf("%s: descriptor %v, staged %v", what, f, staged)
		}
		if _, errno := f.WriteAt([]byte("!"), int64(len(c.content))); errno != Success {
			t.Errorf("%s: write: %s", what, errno)
		}
		if _, errno := f.ReadAt(make([]byte, 1), 0); (errno == Success) != (c.flags&Read != 0) {
			t.Errorf("%s: read: %s", what, errno)
		}
		equal(t, what+": staged", w.onDisk()[f.name.ledger], c.content+"!")
		equal(t, what+": read back", w.content(c.path), c.content+"!")
		var base *ledger.Hash
		if c.base != "" {
			sum := ledger.Sum([]byte(c.base))
			base = &sum
		}
		writes, problems, err := w.Finish()
		if err != nil || len(problems) != 0 || len(writes) != 1 || !writes[0].Known || !writes[0].Regular {
			t.Fatalf("%s: %+v, %v, %v", what, writes, problems, err)
		}
		equal(t, what+": base", hashText(writes[0].Base), hashText(base))
	}
}

func hashText(h *ledger.Hash) string {
	if h == nil {
		return "absent"
	}
	return h.String()
}

// TestWriteLeavesWorkspace holds that nothing a guest writes touches what is
// there.
func TestWriteLeavesWorkspace(t *testing.T) {
	w := newWorld(t, writable())
	before := snapshot(t, w.dir)
	w.make("docs/a.md", "new")
	w.make("drop/there", "new")
	w.make("out/earlier.md", "new")
	w.make("docs/sub/deep", "new")
	equal(t, "mkdir", w.does(func() Errno { return w.Mkdir(WASI, "docs/made") }), "success granted")
	w.make("docs/made/f", "new")
	equal(t, "rename", w.Rename(WASI, "docs/made", "docs/moved"), Success)
	equal(t, "delete", w.does(func() Errno { return w.Remove(WASI, "docs/a.md", false) }), "success own")
	equal(t, "uncovered", w.content("docs/a.md"), "old")
	equal(t, "the workspace", snapshot(t, w.dir), before)
}

// TestUncover deletes what was staged over something.
func TestUncover(t *testing.T) {
	w := newWorld(t, writable())
	for p, want := range map[string]string{"docs/a.md": "old", "drop/there": "noent", "out/earlier.md": "published", "docs/new": "noent", "tmp/x": "noent"} {
		w.make(p, "staged")
		equal(t, "staged "+p, w.content(p), "staged")
		equal(t, "delete "+p, w.does(func() Errno { return w.Remove(WASI, p, false) }), "success own")
		equal(t, "uncovered "+p, w.content(p), want)
	}
	equal(t, "list", w.names("docs"), "a.md sub/")
	equal(t, "once more", w.does(func() Errno { return w.Remove(WASI, "docs/a.md", false) }), "violation "+ruleNotStaged)
	equal(t, "staged", len(w.onDisk()), 0)
}

// TestRemove deletes files and folders that are staged.
func TestRemove(t *testing.T) {
	w := newWorld(t, writable())
	w.make("tmp/f", "")
	for _, p := range []string{"tmp/d", "tmp/d/e", "docs/d"} {
		if errno := w.Mkdir(WASI, p); errno != Success {
			t.Fatalf("mkdir %s: %s", p, errno)
		}
	}
	w.make("tmp/d/e/f", "")
	for _, c := range []struct {
		path   string
		folder bool
		want   string
	}{
		{"tmp/f", true, "notdir own"},
		{"tmp/f/", false, "notdir own"},
		{"tmp/d", false, "isdir own"},
		{"tmp/d", true, "notempty own"},
		{"tmp/d/e", true, "notempty own"},
		{"tmp/d/e/f", false, "success own"},
		{"tmp/d/e/f", false, "noent own"},
		{"tmp/d/e/", true, "success own"},
		{"tmp/d", true, "success own"},
		{"tmp/f", false, "success own"},
		{"docs/d", true, "success own"},
		{"docs/d", true, "noent granted"},
		{"docs/sub", true, "violation " + ruleNotStaged},
		{"docs/a.md", false, "violation " + ruleNotStaged},
		{"drop/there", false, "violation " + ruleNotStaged},
		{".", true, "violation names are relative and have no empty, . or .. segments"},
	} {
		equal(t, "remove "+c.path, w.does(func() Errno { return w.Remove(WASI, c.path, c.folder) }), c.want)
	}
	equal(t, "staged", len(w.staged), 0)
	equal(t, "quota", []int64{w.staging.files, w.staging.bytes, w.scratch.files, w.scratch.bytes}, "[0 0 0 0]")
}

// TestOpenAfterLoss uses descriptors whose file was deleted, replaced or renamed.
func TestOpenAfterLoss(t *testing.T) {
	w := newWorld(t, writable())
	w.make("tmp/a", "first")
	a, _ := w.opens("tmp/a", Read|Write)
	equal(t, "delete", w.does(func() Errno { return w.Remove(WASI, "tmp/a", false) }), "success own")
	equal(t, "read after delete", w.all(a), "first")
	if _, errno := a.WriteAt([]byte("FIRST!"), 0); errno != Success {
		t.Errorf("write after delete: %s", errno)
	}
	equal(t, "set times after delete", w.does(func() Errno { return a.SetTimes(WASI) }), "success own")
	equal(t, "it counts", []int64{w.scratch.files, w.scratch.bytes}, "[1 6]")
	w.make("tmp/a", "second")
	equal(t, "a new one", w.content("tmp/a"), "second")
	equal(t, "the old one", w.all(a), "FIRST!")
	a.Close()
	a.Close()
	equal(t, "it counts no more", []int64{w.scratch.files, w.scratch.bytes}, "[1 6]")
	if _, errno := a.ReadAt(make([]byte, 1), 0); errno != BadF {
		t.Errorf("read after close: %s", errno)
	}
	if _, errno := a.WriteAt([]byte("x"), 0); errno != BadF {
		t.Errorf("write after close: %s", errno)
	}
	if errno := a.Truncate(0); errno != BadF {
		t.Errorf("truncate after close: %s", errno)
	}
	if errno := a.SetTimes(WASI); errno != BadF {
		t.Errorf("set times after close: %s", errno)
	}
	if _, errno := a.Info(); errno != BadF {
		t.Errorf("info after close: %s", errno)
	}

	b, _ := w.opens("tmp/a", Read|Write)
	equal(t, "rename", w.does(func() Errno { return w.Rename(WASI, "tmp/a", "out/b") }), "success own")
	b.WriteAt([]byte("renamed"), 0)
	equal(t, "written after a rename", w.content("out/b"), "renamed")
	info, _ := b.Info()
	stat, _ := w.Stat(WASI, "out/b")
	equal(t, "info of what was renamed", info, stat)
	equal(t, "quota moved", []int64{w.scratch.files, w.scratch.bytes, w.staging.files, w.staging.bytes}, "[0 0 1 7]")

	w.make("tmp/c", "replaces")
	equal(t, "rename over", w.does(func() Errno { return w.Rename(WASI, "tmp/c", "out/b") }), "success own")
	equal(t, "the new one", w.content("out/b"), "replaces")
	equal(t, "the replaced one", w.all(b), "renamed")
	equal(t, "both count", []int64{w.staging.files, w.staging.bytes}, "[2 15]")
	b.Close()
	equal(t, "one counts", []int64{w.staging.files, w.staging.bytes}, "[1 8]")
	equal(t, "descriptors", len(w.files), 0)
}

// TestMkdir stages folders.
func TestMkdir(t *testing.T) {
	w := newWorld(t, writable())
	w.make("docs/f", "")
	if err := os.Symlink("/etc", w.at("drop/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", w.at("docs/link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want string }{
		{"docs/new", "success granted"},
		{"docs/new", "exist granted"},
		{"docs/new/deep/", "success granted"},
		{"docs/absent/deep", "noent granted"},
		{"docs/f", "exist granted"},
		{"docs/f/deep", "noent granted"},
		{"docs/a.md", "exist granted"},
		{"docs/link", "perm refused not a regular file"},
		{"drop/link", "violation not a regular file"},
		{"drop/there", "violation no grant of read"},
		{"docs", "exist granted"},
		{".", "exist granted"},
		{"undeclared/x", "success granted"},
		{"undeclared/x/y", "violation no grant of write"},
		{"elsewhere", "violation no grant of write"},
		{"out/x", "success own"},
		{"tmp/x", "success own"},
		{"tmp/" + strings.Repeat("a", 256), "nametoolong refused " + ruleTooLong},
	} {
		equal(t, "mkdir "+c.path, w.does(func() Errno { return w.Mkdir(WASI, c.path) }), c.want)
	}
	writes, _, err := w.Finish()
	if err != nil || len(writes) != 1 || writes[0].Path != "docs/f" {
		t.Errorf("folders are no writes: %+v, %v", writes, err)
	}
}

// TestQuota holds that what is staged is counted exactly, and bounded.
func TestQuota(t *testing.T) {
	s := writable()
	s.tune = func(c *Config) {
		c.Ceiling.OutputBytes, c.Ceiling.OutputFiles, c.Ceiling.ScratchBytes, c.Ceiling.ScratchFiles = 1000, 3, 500, 2
	}
	limit := func(what string, do func(w *world), want string) {
		t.Helper()
		w := newWorld(t, s)
		err := caught(func() { do(w) })
		equal(t, what, err, want)
	}
	const bytes, files = "the limit on output_bytes was reached (1000)", "the limit on output_files was reached (3)"
	open := func(w *world, p string) *File { f, _ := w.Open(WASI, p, Read|Write|Create); return f }
	limit("as much as may be", func(w *world) { open(w, "out/a").Truncate(1000); open(w, "tmp/a").Truncate(500) }, "<nil>")
	limit("a byte more", func(w *world) { open(w, "out/a").Truncate(1001) }, bytes)
	limit("in two files", func(w *world) { open(w, "out/a").Truncate(500); open(w, "docs/n").WriteAt([]byte("x"), 500) }, bytes)
	limit("sparse", func(w *world) { open(w, "out/a").WriteAt([]byte("x"), 1<<40) }, bytes)
	limit("far", func(w *world) { open(w, "out/a").WriteAt([]byte("x"), 1<<62) }, bytes)
	limit("huge", func(w *world) { open(w, "out/a").Truncate(1<<63 - 1) }, bytes)
	limit("scratch", func(w *world) { open(w, "tmp/a").Truncate(501) }, "the limit on scratch was reached (500)")
	limit("scratch files", func(w *world) { open(w, "tmp/a"); w.Mkdir(WASI, "tmp/b"); open(w, "tmp/c") }, "the limit on scratch was reached (2)")
	limit("files", func(w *world) { open(w, "out/a"); w.Mkdir(WASI, "docs/b"); open(w, "out/c"); open(w, "out/d") }, files)
	limit("deleted and open", func(w *world) {
		open(w, "out/a").Truncate(1000)
		w.Remove(WASI, "out/a", false)
		open(w, "out/b").WriteAt([]byte("x"), 0)
	}, bytes)
	limit("deleted and closed", func(w *world) {
		f := open(w, "out/a")
		f.Truncate(1000)
		w.Remove(WASI, "out/a", false)
		f.Close()
		open(w, "out/b").Truncate(1000)
	}, "<nil>")
	limit("shrunk", func(w *world) {
		f := open(w, "out/a")
		f.Truncate(1000)
		f.Truncate(1)
		open(w, "out/b").Truncate(999)
	}, "<nil>")
	limit("opened to be truncated", func(w *world) {
		open(w, "out/a").Truncate(1000)
		w.Open(WASI, "out/a", Write|Trunc)
		open(w, "out/b").Truncate(1000)
	}, "<nil>")
	limit("renamed out of scratch", func(w *world) {
		open(w, "out/a").Truncate(900)
		open(w, "tmp/a").Truncate(101)
		w.Rename(WASI, "tmp/a", "out/b")
	}, bytes)
	limit("a folder renamed out of scratch", func(w *world) {
		w.Mkdir(WASI, "tmp/d")
		open(w, "tmp/d/f")
		open(w, "out/a")
		open(w, "out/b")
		w.Rename(WASI, "tmp/d", "out/d")
	}, files)

	w := newWorld(t, s)
	f := open(w, "out/a")
	if n, errno := f.WriteAt(nil, 600); n != 0 || errno != Success {
		t.Errorf("write nothing: %d, %s", n, errno)
	}
	equal(t, "nothing written", w.staging.bytes, 0)
	if _, errno := f.WriteAt([]byte("x"), -1); errno != Inval {
		t.Errorf("write at -1: %s", errno)
	}
	if _, errno := f.WriteAt([]byte("xx"), 1<<63-2); errno != Inval {
		t.Errorf("write past the end of numbers: %s", errno)
	}
	if _, errno := f.ReadAt(make([]byte, 1), -1); errno != Inval {
		t.Errorf("read at -1: %s", errno)
	}
	if errno := f.Truncate(-1); errno != Inval {
		t.Errorf("truncate to -1: %s", errno)
	}
}

// TestQuotaBeforeMove holds that a rename that may not be leaves everything in
// its place, on disk and in the ledger.
func TestQuotaBeforeMove(t *testing.T) {
	for what, tune := range map[string]func(*Ceiling){
		"bytes":   func(c *Ceiling) { c.OutputBytes = 3 },
		"files":   func(c *Ceiling) { c.OutputFiles = 2 },
		"entries": func(c *Ceiling) { c.Entries = 5 },
	} {
		s := writable()
		s.tune = func(c *Config) { tune(&c.Ceiling) }
		w := newWorld(t, s)
		w.Mkdir(WASI, "tmp/d")
		w.make("tmp/d/a", "aa")
		w.make("tmp/d/b", "bb")
		before := w.onDisk()
		err := caught(func() { w.Rename(WASI, "tmp/d", "out/d") })
		if _, ok := err.(*Limit); !ok {
			t.Errorf("%s: got %v, want a limit", what, err)
		}
		equal(t, what+": on disk", w.onDisk(), before)
		equal(t, what+": staged", len(w.staged), 3)
		if err := w.consistent(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
