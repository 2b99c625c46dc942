//go:build linux

package gate

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// readable is a workspace of which the guest reads docs/.
func readable(files map[string]string) setup {
	return setup{grants: capability.Grants{Read: []string{"docs/**"}}, files: files}
}

func (w *world) opened(p string, flags Flags) *File {
	w.t.Helper()
	f, errno := w.Open(WASI, p, flags)
	if errno != Success {
		w.t.Fatalf("open %s: %s", p, errno)
	}
	return f
}

// digests reads back the digests that were recorded.
func (w *world) digests() []record.Digest {
	w.t.Helper()
	var all []record.Digest
	w.mark = w.begin
	for _, b := range w.bodies(w.begin.Seq) {
		if d, ok := b.(record.Digest); ok {
			all = append(all, d)
		}
	}
	return all
}

// problems ends the turn and returns what is wrong with what it read.
func (w *world) finished() string {
	w.t.Helper()
	w.End()
	_, problems, err := w.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, p := range problems {
		if p.Code != record.CodeInputChanged {
			w.t.Errorf("code %s", p.Code)
		}
		all = append(all, p.Path+": "+p.What)
	}
	return strings.Join(all, "; ")
}

// TestSmallAndLarge holds the border between files that are read at open and
// files that are hashed while they are read.
func TestSmallAndLarge(t *testing.T) {
	for size, small := range map[int]bool{0: true, 1: true, SmallFile - 1: true, SmallFile: true, SmallFile + 1: false} {
		content := strings.Repeat("x", size)
		w := newWorld(t, readable(map[string]string{"docs/f": content}))
		f := w.opened("docs/f", Read)
		op := w.ops(w.begin.Seq)[0]
		if f.small != small || (op.SHA256 != nil) != small || op.Size == nil || *op.Size != int64(size) {
			t.Errorf("%d bytes: small %v, recorded %+v", size, f.small, op)
		}
		if small && *op.SHA256 != ledger.Sum([]byte(content)) {
			t.Errorf("%d bytes: digest %s", size, op.SHA256)
		}
		if w.all(f) != content {
			t.Errorf("%d bytes: other content", size)
		}
		if n, errno := f.ReadAt(make([]byte, 10), int64(size)); n != 0 || errno != Success {
			t.Errorf("%d bytes: read at the end: %d, %s", size, n, errno)
		}
		if n, errno := f.ReadAt(make([]byte, 10), 1<<62); n != 0 || errno != Success {
			t.Errorf("%d bytes: read far behind the end: %d, %s", size, n, errno)
		}
		if w.used < int64(size) {
			t.Errorf("%d bytes: %d units of fuel", size, w.used)
		}
		f.Close()
		equal(t, "problems", w.finished(), "")
		if got := len(w.digests()); (got == 0) != small {
			t.Errorf("%d bytes: %d digests", size, got)
		}
		equal(t, "copied", w.copied, 0)
	}
}

// TestLargeDigest reads a large file in order, in part, not at all, backwards and
// through two descriptors: its digest is that of the whole.
func TestLargeDigest(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 100_000)
	chunk := make([]byte, 64<<10)
	for how, reading := range map[string]func(w *world, f *File){
		"in order":   func(w *world, f *File) { w.all(f) },
		"in part":    func(_ *world, f *File) { f.ReadAt(chunk, 0); f.ReadAt(chunk, 64<<10) },
		"not at all": func(*world, *File) {},
		"end first":  func(w *world, f *File) { f.ReadAt(chunk, 1<<20); w.all(f) },
		"overlapping": func(_ *world, f *File) {
			f.ReadAt(chunk, 0)
			f.ReadAt(chunk, 100)
			f.ReadAt(chunk, 64<<10)
		},
		"left open": func(w *world, _ *File) { w.opened("docs/f", Read) },
		"opened twice": func(w *world, f *File) {
			g := w.opened("docs/f", Read)
			g.ReadAt(chunk, 0)
			f.ReadAt(chunk, 64<<10)
			g.Close()
		},
		"opened again": func(w *world, f *File) {
			w.all(f)
			f.Close()
			w.content("docs/f")
		},
		"with many others": func(w *world, f *File) {
			f.Close()
			for i := range maxPending + 2 {
				w.opened(fmt.Sprintf("docs/many/%d", i), Read).Close()
			}
			if len(w.pending) > maxPending {
				w.t.Errorf("%d descriptors of the host wait", len(w.pending))
			}
		},
	} {
		s := readable(map[string]string{"docs/f": content})
		if how == "with many others" {
			for i := range maxPending + 2 {
				s.files[fmt.Sprintf("docs/many/%d", i)] = content
			}
		}
		w := newWorld(t, s)
		f := w.opened("docs/f", Read)
		reading(w, f)
		f.Close()
		equal(t, how+": problems", w.finished(), "")
		opens := 0
		for _, op := range w.ops(w.begin.Seq) {
			if op.Op == record.OpOpen {
				opens++
			}
		}
		digests := w.digests()
		equal(t, how+": digests", len(digests), opens)
		for _, d := range digests {
			if d.SHA256 != ledger.Sum([]byte(content)) || d.Size != int64(len(content)) {
				t.Errorf("%s: %+v", how, d)
			}
		}
		if len(w.pending) != 0 || len(w.files) != 0 && how != "left open" {
			t.Errorf("%s: %d pending, %d open", how, len(w.pending), len(w.files))
		}
	}
}

// TestCopyBudget serves small files as large ones when enough are held in memory.
func TestCopyBudget(t *testing.T) {
	s := readable(map[string]string{"docs/a": "aaaaaa", "docs/b": "bbbbbb"})
	s.tune = func(c *Config) { c.Ceiling.CopyBytes = 10 }
	w := newWorld(t, s)
	a, b := w.opened("docs/a", Read), w.opened("docs/b", Read)
	if !a.small || b.small {
		t.Errorf("small: %v, %v", a.small, b.small)
	}
	equal(t, "content", w.all(a)+w.all(b), "aaaaaabbbbbb")
	a.Close()
	if c := w.opened("docs/b", Read); !c.small {
		t.Error("closing gives the memory back")
	}
	b.Close()
	equal(t, "problems", w.finished(), "")
	equal(t, "digests", len(w.digests()), 1)
}

// TestChanged changes files behind the back of a turn that reads them.
func TestChanged(t *testing.T) {
	large := strings.Repeat("x", SmallFile+100)
	for what, c := range map[string]struct {
		content string
		do      func(w *world)
		want    string
	}{
		"not at all":    {"old", func(w *world) { w.content("docs/f") }, ""},
		"after a read":  {"old", func(w *world) { w.content("docs/f"); w.write(w.at("docs/f"), "new!") }, "docs/f: it was changed while the turn ran"},
		"same size":     {"old", func(w *world) { w.content("docs/f"); w.touch("docs/f", "new") }, "docs/f: it was changed while the turn ran"},
		"between opens": {"old", func(w *world) { w.content("docs/f"); w.touch("docs/f", "new"); w.content("docs/f") }, "docs/f: it was changed between two opens"},
		"another inode": {"old", func(w *world) {
			w.content("docs/f")
			w.write(w.at("docs/g"), "old")
			w.rename("docs/g", "docs/f")
		}, "docs/f: it was changed while the turn ran"},
		"deleted":           {"old", func(w *world) { w.content("docs/f"); os.Remove(w.at("docs/f")) }, "docs/f: it is gone"},
		"declared, unread":  {"old", func(w *world) { w.touch("docs/f", "new") }, "docs/f: it was changed while the turn ran"},
		"declared, deleted": {"old", func(w *world) { os.Remove(w.at("docs/f")) }, "docs/f: it is gone"},
		"declared, then read": {
			"old", func(w *world) { w.touch("docs/f", "new"); w.content("docs/f") },
			"docs/f: it is not what was declared when the turn began",
		},
		"a link": {"old", func(w *world) {
			w.content("docs/f")
			os.Remove(w.at("docs/f"))
			os.Symlink("g", w.at("docs/f"))
		}, "docs/f: it was changed while the turn ran"},
		"its folder a link": {"old", func(w *world) {
			w.content("docs/f")
			w.rename("docs", "docs2")
			os.Symlink("docs2", w.at("docs"))
		}, "docs/f: it cannot be examined any more"},
		"large, while it is read": {large, func(w *world) {
			f := w.opened("docs/f", Read)
			f.ReadAt(make([]byte, 100), 0)
			w.append("docs/f", "more")
			if got := len(w.all(f)); got != len(large) {
				w.t.Errorf("%d bytes were read of a file of %d that grew", got, len(large))
			}
			f.Close()
		}, "docs/f: it was changed while it was read"},
		"large, cut off": {large, func(w *world) {
			f := w.opened("docs/f", Read)
			os.Truncate(w.at("docs/f"), 10)
			equal(w.t, "read", len(w.all(f)), 10)
			f.Close()
		}, "docs/f: it was changed while it was read"},
		"before it is written": {"old", func(w *world) {
			w.content("docs/f")
			w.touch("docs/f", "new")
			w.opened("docs/f", Write)
		}, "docs/f: it was changed between two opens"},
		"before it is replaced": {"old", func(w *world) {
			w.content("docs/f")
			w.touch("docs/f", "new")
			w.opened("docs/f", Write|Trunc)
		}, "docs/f: it was changed after it was read"},
		"before something is renamed to it": {"old", func(w *world) {
			w.content("docs/f")
			w.touch("docs/f", "new")
			w.make("tmp/f", "x")
			equal(w.t, "rename", w.Rename(WASI, "tmp/f", "docs/f"), Success)
		}, "docs/f: it was changed after it was read"},
		"after it was written": {"old", func(w *world) {
			w.content("docs/f")
			w.make("docs/f", "staged")
			w.touch("docs/f", "new")
		}, "docs/f: it was changed while the turn ran"},
	} {
		s := readable(map[string]string{"docs/f": c.content, "docs/g": "g"})
		s.grants.Write, s.outputs = []string{"docs/f"}, []string{"docs/f"}
		s.inputs = []string{"docs/f"}
		w := newWorld(t, s)
		c.do(w)
		equal(t, what, w.finished(), c.want)
	}
}

// touch changes a file and makes sure that its times tell.
func (w *world) touch(name, content string) {
	w.t.Helper()
	var before, after syscall.Stat_t
	syscall.Stat(w.at(name), &before)
	for {
		w.write(w.at(name), content)
		if syscall.Stat(w.at(name), &after); after.Ctim != before.Ctim {
			return
		}
	}
}

func (w *world) append(name, more string) {
	w.t.Helper()
	f, err := os.OpenFile(w.at(name), os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString(more)
		f.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) rename(from, to string) {
	w.t.Helper()
	if err := os.Rename(w.at(from), w.at(to)); err != nil {
		w.t.Fatal(err)
	}
}

// TestGrowing gives a file more than it said to have when it is read.
func TestGrowing(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "f"), []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := beneath.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for size, want := range map[int64]string{4: "false ", 5: "true 12345", 6: "true 12345", 100: "true 12345", 0: "false "} {
		f, err := dir.OpenRead("f")
		if err != nil {
			t.Fatal(err)
		}
		data, whole, err := readSmall(f, size, make([]byte, 3, 7))
		equal(t, fmt.Sprintf("said to have %d bytes", size), fmt.Sprintf("%v %s", whole, data), want)
		if err != nil {
			t.Error(err)
		}
		f.Close()
	}
}

// TestReadAllocations holds what a governed read takes of the host: the name for
// the kernel, the handle, and the guest's descriptor. The content is read into
// the memory of a file that was closed.
func TestReadAllocations(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it is for the race detector, under which other things are allocated")
	}
	w := newWorld(t, readable(map[string]string{"docs/f.md": strings.Repeat("x", 1024)}))
	buf := make([]byte, 2048)
	got := testing.AllocsPerRun(200, func() {
		f, errno := w.Open(WASI, "docs/f.md", Read)
		if errno != Success {
			t.Fatal(errno)
		}
		if n, errno := f.ReadAt(buf, 0); n != 1024 || errno != Success {
			t.Fatal(n, errno)
		}
		f.Close()
	})
	if got != 3 {
		t.Errorf("%v allocations, want 3", got)
	}
}

// TestSpare holds that the memory of a closed file shows in none that is read
// into it, and that it is not held where it is far larger than the file.
func TestSpare(t *testing.T) {
	w := newWorld(t, readable(map[string]string{"docs/a": strings.Repeat("a", 1000), "docs/b": strings.Repeat("b", 900), "docs/c": "c"}))
	a, again := w.opened("docs/a", Read), w.opened("docs/a", Read)
	a.Close()
	b := w.opened("docs/b", Read)
	equal(t, "b", w.all(b), strings.Repeat("b", 900))
	equal(t, "a, open still", w.all(again), strings.Repeat("a", 1000))
	b.Close()
	c := w.opened("docs/c", Read)
	equal(t, "c", w.all(c), "c")
	if cap(c.data) > 100 {
		t.Errorf("c holds %d bytes", cap(c.data))
	}
	if n, errno := a.ReadAt(make([]byte, 10), 0); n != 0 || errno != BadF {
		t.Errorf("a closed file gave %d bytes, %s", n, errno)
	}
}

// TestNotServed meets what is neither a file nor a folder of a disk.
func TestNotServed(t *testing.T) {
	s := readable(map[string]string{"docs/real/f": "f", "docs/twice": "two names", "secret": "SECRET"})
	s.grants.Forbidden = []string{"nothing"}
	s.grants.Write, s.outputs = []string{"docs/**"}, []string{"docs/**"}
	w := newWorld(t, s)
	for name, make := range map[string]func(path string) error{
		"docs/fifo":   func(p string) error { return syscall.Mkfifo(p, 0o644) },
		"docs/link":   func(p string) error { return os.Symlink("../secret", p) },
		"docs/folder": func(p string) error { return os.Symlink("real", p) },
		"docs/again":  func(p string) error { return os.Link(w.at("docs/twice"), p) },
	} {
		if err := make(w.at(name)); err != nil {
			t.Fatal(err)
		}
	}
	socket, err := net.Listen("unix", w.at("docs/socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	devices := []string{}
	if err := syscall.Mknod(w.at("docs/null"), syscall.S_IFCHR|0o666, 1<<8|3); err == nil {
		devices = append(devices, "docs/null")
	} else {
		t.Logf("no device: %v", err)
	}
	equal(t, "list", w.names("docs"), "real/")
	const links, irregular, many = "links are not followed", "not a regular file", "more than one link, and something is forbidden"
	for name, want := range map[string]struct{ read, stat, write string }{
		"docs/link":     {"noent hidden " + links, "noent granted " + irregular, irregular},
		"docs/folder/f": {"noent hidden " + links, "noent granted " + links, links},
		"docs/folder":   {"noent hidden " + links, "noent granted " + irregular, irregular},
		"docs/twice":    {"noent hidden " + many, "noent granted " + many, many},
		"docs/again":    {"noent hidden " + many, "noent granted " + many, many},
		"docs/fifo":     {"noent hidden " + irregular, "noent granted " + irregular, irregular},
		"docs/null":     {"noent hidden " + irregular, "noent granted " + irregular, irregular},
		"docs/socket":   {"noent hidden " + irregular, "noent granted " + irregular, irregular},
	} {
		if name == "docs/null" && len(devices) == 0 {
			continue
		}
		equal(t, "read "+name, w.does(func() Errno { _, errno := w.Open(WASI, name, Read); return errno }), want.read)
		equal(t, "stat "+name, w.does(func() Errno { _, errno := w.Stat(WASI, name); return errno }), want.stat)
		for _, flags := range []Flags{Write, Write | Create | Trunc, Write | Create | Excl} {
			equal(t, "write "+name, w.does(func() Errno { _, errno := w.Open(WASI, name, flags); return errno }), "perm refused "+want.write)
		}
		equal(t, "list "+name, w.names(name), "noent")
	}
	equal(t, "staged", len(w.onDisk()), 0)

	s.grants.Forbidden = nil
	w = newWorld(t, s)
	if err := os.Link(w.at("docs/twice"), w.at("docs/again")); err != nil {
		t.Fatal(err)
	}
	equal(t, "two names, nothing forbidden", w.content("docs/again"), "two names")
	equal(t, "but not written", w.does(func() Errno { _, errno := w.Open(WASI, "docs/again", Write|Trunc); return errno }), "perm refused more than one link")
}

// TestForeignFilesystem mounts proc into the workspace, as a folder and as a
// file.
func TestForeignFilesystem(t *testing.T) {
	s := readable(map[string]string{"docs/proc/": "", "docs/environ": "", "docs/f": "f"})
	for _, first := range []string{"stat", "open", "list"} {
		w := newWorld(t, s)
		for target, source := range map[string]string{"docs/proc": "/proc", "docs/environ": "/proc/self/environ"} {
			if err := syscall.Mount(source, w.at(target), "", syscall.MS_BIND, ""); err != nil {
				t.Skipf("proc cannot be mounted here: %v", err)
			}
			t.Cleanup(func() { syscall.Unmount(w.at(target), syscall.MNT_DETACH) })
		}
		const rule = "proc is not a filesystem that stores files"
		look := map[string]func(p string) string{
			"stat": func(p string) string {
				return w.does(func() Errno { _, errno := w.Stat(WASI, p); return errno })
			},
			"open": func(p string) string {
				return w.does(func() Errno { _, errno := w.Open(WASI, p, Read); return errno })
			},
			"list": func(p string) string {
				return w.does(func() Errno { _, errno := w.Open(WASI, p, Read|Directory); return errno })
			},
		}
		for _, how := range []string{first, "stat", "open", "list"} {
			for _, p := range []string{"docs/environ", "docs/proc", "docs/proc/self", "docs/proc/version", "docs/proc/1/environ"} {
				if got := look[how](p); !strings.HasPrefix(got, "noent") || strings.HasSuffix(got, "granted") {
					t.Errorf("%s %s: %s", how, p, got)
				}
			}
		}
		equal(t, "stat of a file of proc", look["stat"]("docs/environ"), "noent granted "+rule)
		equal(t, "the disk", w.content("docs/f"), "f")
	}
}

// TestFoldedFolder pretends that a folder does not tell names apart by case.
func TestFoldedFolder(t *testing.T) {
	w := newWorld(t, readable(map[string]string{"docs/f": "f", "docs/sub/f": "f"}))
	w.folders[workspace].faults["docs"] = fmt.Errorf("folded")
	equal(t, "open", w.does(func() Errno { _, errno := w.Open(WASI, "docs/f", Read); return errno }), "noent hidden folded")
	equal(t, "stat", w.does(func() Errno { _, errno := w.Stat(WASI, "docs/f"); return errno }), "noent granted folded")
	equal(t, "list", w.does(func() Errno { _, errno := w.Open(WASI, "docs/sub", Read); return errno }), "noent granted folded")
}

// TestOpenFiles holds the bound on descriptors.
func TestOpenFiles(t *testing.T) {
	s := readable(map[string]string{"docs/f": "f"})
	s.tune = func(c *Config) { c.Ceiling.OpenFiles = 3 }
	w := newWorld(t, s)
	f := w.opened("docs/f", Read)
	w.opened("docs", Read)
	w.opened("tmp/x", Write|Create)
	equal(t, "one more", caught(func() { w.Open(WASI, "docs/f", Read) }), "the limit on open_files was reached (3)")
	f.Close()
	f.Close()
	w.opened("docs/f", Read)
	equal(t, "one more", caught(func() { w.Open(WASI, "docs/f", Read) }), "the limit on open_files was reached (3)")
}

// TestListing holds the bound on names, and that a descriptor shows one listing.
func TestListing(t *testing.T) {
	s := readable(map[string]string{"docs/a": "", "docs/b": ""})
	s.tune = func(c *Config) { c.Ceiling.ListNames = 2 }
	w := newWorld(t, s)
	f := w.opened("docs", Read)
	first, _ := f.List()
	w.write(w.at("docs/c"), "")
	again, _ := f.List()
	equal(t, "the same descriptor", again, first)
	equal(t, "too many", caught(func() { w.opened("docs", Read).List() }), "the limit on listing was reached (2)")
	f.Close()
	if _, errno := f.List(); errno != BadF {
		t.Errorf("list after close: %s", errno)
	}
	if _, errno := w.opened("tmp/x", Write|Create).List(); errno != NotDir {
		t.Errorf("list a file: %s", errno)
	}
	if _, errno := w.opened("tmp", Read).ReadAt(make([]byte, 1), 0); errno != IsDir {
		t.Errorf("read a folder: %s", errno)
	}
}

// TestMatchingIsCharged: what a turn pays for a name is what the enforcer says it
// costs, the first time and every other, and more where there is more to match.
func TestMatchingIsCharged(t *testing.T) {
	few := readable(nil)
	many := readable(nil)
	for i := range 100 {
		many.grants.Read = append(many.grants.Read, fmt.Sprintf("**/secret%d/*.pem", i))
	}
	var costs []int64
	for _, s := range []setup{few, many} {
		w := newWorld(t, s)
		for _, p := range []string{"docs/a/b/c", "/out/docs/a/b/c"} {
			n := w.resolve(p)
			want := w.cfg.Enforcer.Cost(n.ledger)
			for range 3 {
				w.used = 0
				if w.judgeRead(n); w.used != want {
					t.Errorf("%s: %d units of fuel, want %d", p, w.used, want)
				}
			}
			costs = append(costs, want)
		}
		w.used = 0
		if w.judgeRead(w.resolve("/tmp/docs/a/b/c")); w.used != 0 {
			t.Errorf("/tmp: %d units of fuel, and no pattern is asked", w.used)
		}
	}
	if costs[0] < 10 || costs[2] < 50*costs[0]/10 {
		t.Errorf("costs %v", costs)
	}
}

// A file that grows between the look at it and its reading is hashed from its
// beginning, and keeps the turn from being published.
func TestHashOfGrowingFile(t *testing.T) {
	w := newWorld(t, readable(map[string]string{"docs/f": "beginning"}))
	n := w.resolve("docs/f")
	f, err := w.cfg.Workspace.OpenRead(n.rel)
	if err != nil {
		t.Fatal(err)
	}
	before, rule := w.servable(f, n)
	if rule != "" {
		t.Fatal(rule)
	}
	w.write(w.at("docs/f"), "beginning and end")
	got, errno := w.serve(record.Op{Op: record.OpHash, Via: record.ViaABI, Path: n.ledger, Decision: record.Granted}, n, f, before)
	if errno != Success {
		t.Fatal(errno)
	}
	defer got.Close()
	equal(t, "digest", *got.digest, ledger.Sum([]byte("beginning and end")))
	equal(t, "problem", w.problems["docs/f"].Code, record.CodeInputChanged)
}

// TestSpelledAsAPackage: what the ledger calls pkg:x is a file of the package and
// never one of the workspace, whatever is granted.
func TestSpelledAsAPackage(t *testing.T) {
	w := newWorld(t, setup{
		grants: capability.Grants{Read: []string{"**"}, Write: []string{"**"}},
		files:  map[string]string{"pkg:agent.wasm": "forged", "deps:PKG-T0-A-001/a": "forged", "docs/pkg:a": "x"},
	})
	if got, want := w.names("/"), "docs/ out/ tmp/"; got != want {
		t.Errorf("listed %s, want %s", got, want)
	}
	for p, rule := range map[string]string{"pkg:agent.wasm": "reserved pkg:*/**", "deps:PKG-T0-A-001/a": "reserved deps:*/**"} {
		outcome := w.does(func() Errno { _, errno := w.Open(WASI, p, Read); return errno })
		if want := "noent hidden " + rule; outcome != want {
			t.Errorf("read %s: %s, want %s", p, outcome, want)
		}
		outcome = w.does(func() Errno { _, errno := w.Open(WASI, p, Write|Create); return errno })
		if want := "violation " + rule; outcome != want {
			t.Errorf("write %s: %s, want %s", p, outcome, want)
		}
	}
	if got := w.content("docs/pkg:a"); got != "x" {
		t.Errorf("docs/pkg:a: %s", got)
	}
}
