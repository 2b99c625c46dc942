//go:build linux

package gate

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/record"
)

// yieldPlace is a world in which commands are played: what they do is done by the
// test, between the entries that a command has.
func yieldPlace(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, setup{
		grants:  capability.Grants{Read: []string{"docs/**"}, Write: []string{"docs/**"}, Forbidden: []string{"out/no/**", "**/*.key"}},
		outputs: []string{"docs/**", "out/**"}, files: map[string]string{"docs/a": "a"},
		published: map[string]string{"old": "published", "d/old": "published", "link.d/x": "x"},
		memory:    true,
	})
	w.commands, w.endings = 0, map[uint64]bool{}
	return w
}

// in is the path on disk of a name in /out or /tmp.
func (w *world) in(name string) string { return filepath.Join(w.stages, name) }

// ran plays a command that does something in the staging folders, and returns how
// the turn ended, if it did.
func (w *world) ran(do func()) error {
	w.t.Helper()
	before := w.survey()
	w.Gate.append(&record.Op{Op: record.OpExec, Via: record.ViaABI, Path: "command", Decision: record.Granted, Errno: Success.String()})
	start := w.Gate.append(&record.ExecStart{Dir: ".", Fence: record.Fence{Tier: "full"}})
	do()
	of := w.Gate.append(&record.ExecEnd{Of: start.Seq, Fence: &record.Fence{Tier: "full"}}).Seq
	w.endings[of] = true
	return caught(func() { w.adopt(before, of) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) put(name, content string) {
	w.t.Helper()
	must(w.t, os.MkdirAll(filepath.Dir(w.in(name)), 0o755))
	must(w.t, os.WriteFile(w.in(name), []byte(content), 0o644))
}

// realize ends the turn and returns what is staged, without what is scratch: a
// question mark behind what no turn may publish.
func (w *world) realize() string {
	w.t.Helper()
	w.End()
	writes, _, err := w.Finish()
	must(w.t, err)
	var all []string
	for _, r := range writes {
		if r.Area == AreaTmp {
			continue
		}
		name := strings.TrimPrefix(r.Path, "output/"+sid+"/")
		if !r.Regular || !r.Known {
			name += "?"
		}
		if r.Base != nil {
			name += "!"
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

// TestAdopt: what a command leaves is there for the guest, counted, recorded, and
// published if it is a file.
func TestAdopt(t *testing.T) {
	for _, c := range []struct {
		what     string
		do       func(w *world) // before
		command  func(w *world)
		list     string // of /out, and of /tmp
		realized string
	}{
		{"nothing", nil, func(w *world) {}, "d/ link.d/ old | ", ""},
		{"files and folders", nil, func(w *world) {
			w.put("out/new", "n")
			w.put("out/d/new", "n")
			w.put("out/e/f/g", "g")
			w.put("tmp/t/u", "u")
		}, "d/ e/ link.d/ new old | t/", "d/new e/f/g new"},
		{"over what is published", nil, func(w *world) { w.put("out/old", "mine") }, "d/ link.d/ old | ", "old!"},
		{"over what the guest staged, in place", func(w *world) { w.make("out/old", "first"); w.make("tmp/t", "t") }, func(w *world) { w.put("out/old", "second"); w.put("tmp/t", "longer") }, "d/ link.d/ old | t", "old!"},
		{"over what the guest staged, by another file", func(w *world) { w.make("out/old", "first") }, func(w *world) {
			w.put("out/x", "second")
			must(w.t, os.Rename(w.in("out/x"), w.in("out/old")))
		}, "d/ link.d/ old | ", "old!"},
		{"with its time put back", func(w *world) { w.make("out/a", "a") }, func(w *world) {
			tick(w)
			info, err := os.Stat(w.in("out/a"))
			must(w.t, err)
			w.put("out/a", "b")
			must(w.t, os.Chtimes(w.in("out/a"), info.ModTime(), info.ModTime()))
		}, "a d/ link.d/ old | ", "a"},
		{"removed", func(w *world) { w.make("out/a", "a"); w.Mkdir(WASI, "tmp/d"); w.make("tmp/d/t", "t") }, func(w *world) {
			must(w.t, os.Remove(w.in("out/a")))
			must(w.t, os.RemoveAll(w.in("tmp/d")))
		}, "d/ link.d/ old | ", ""},
		{"renamed", func(w *world) { w.Mkdir(WASI, "out/m"); w.make("out/m/a", "a") }, func(w *world) { must(w.t, os.Rename(w.in("out/m"), w.in("out/n"))) }, "d/ link.d/ n/ old | ", "n/a"},
		{"a folder in the place of a file", func(w *world) { w.make("tmp/a", "a"); w.make("out/a", "a") }, func(w *world) {
			for _, name := range []string{"tmp/a", "out/a"} {
				must(w.t, os.Remove(w.in(name)))
				w.put(name+"/b", "b")
			}
		}, "a/ d/ link.d/ old | a/", "a/b"},
		{"a file in the place of a folder", func(w *world) { w.Mkdir(WASI, "out/a"); w.make("out/a/b", "b") }, func(w *world) {
			must(w.t, os.RemoveAll(w.in("out/a")))
			w.put("out/a", "a")
		}, "a d/ link.d/ old | ", "a"},
		{"a folder that the host made", func(w *world) { w.make("out/d/new", "n") }, func(w *world) { w.put("out/d/more", "m") }, "d/ link.d/ old | ", "d/more d/new"},
		{"modes", nil, func(w *world) {
			for _, name := range []string{"out/locked/sub/f", "tmp/locked/f"} {
				w.put(name, "f")
				must(w.t, os.Chmod(w.in(name), 0))
				must(w.t, os.Chmod(filepath.Dir(w.in(name)), 0))
			}
			must(w.t, os.Chmod(w.in("out"), 0o300))
			must(w.t, os.Chmod(w.in("tmp"), 0))
		}, "d/ link.d/ locked/ old | locked/", "locked/sub/f"},
		{"sparse", nil, func(w *world) { w.put("out/s", ""); must(w.t, os.Truncate(w.in("out/s"), 60<<20)) }, "d/ link.d/ old s | ", "s"},
		{"two names in scratch", nil, func(w *world) { w.put("tmp/a", "a"); must(w.t, os.Link(w.in("tmp/a"), w.in("tmp/b"))) }, "d/ link.d/ old | a b", ""},
		{"what is no file, in scratch", nil, func(w *world) {
			must(w.t, os.Symlink("../out", w.in("tmp/link")))
			must(w.t, syscall.Mkfifo(w.in("tmp/fifo"), 0o600))
			w.put("tmp/\xff/a", "a")
			w.put("tmp/b\xff", "b")
		}, "d/ link.d/ old | ", ""},
		{"what is no file", nil, func(w *world) {
			must(w.t, os.Symlink("../tmp", w.in("out/link")))
			must(w.t, syscall.Mkfifo(w.in("out/fifo"), 0o600))
			w.put("out/\xff", "a")
			w.put("out/a", "a")
			must(w.t, os.Link(w.in("out/a"), w.in("out/b")))
		}, "d/ link.d/ old | ", `\xff? a? b? fifo? link?`},
		{"two names, one in scratch", nil, func(w *world) { w.put("out/a", "a"); must(w.t, os.Link(w.in("out/a"), w.in("tmp/a"))) }, "d/ link.d/ old | ", "a?"},
		{"a link in the place of a file", func(w *world) { w.make("out/a", "a"); w.make("tmp/a", "a") }, func(w *world) {
			for _, name := range []string{"out/a", "tmp/a"} {
				must(w.t, os.Remove(w.in(name)))
				must(w.t, os.Symlink("/etc/passwd", w.in(name)))
			}
		}, "d/ link.d/ old | ", "a?"},
		{"a folder where a file is published", nil, func(w *world) { w.put("out/old/x", "x") }, "d/ link.d/ old/ | ", "old/x"},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := yieldPlace(t)
			if c.do != nil {
				c.do(w)
			}
			if err := w.ran(func() { c.command(w) }); err != nil {
				t.Fatal(err)
			}
			equal(t, "listing", w.names("out")+" | "+w.names("tmp"), c.list)
			_, fit, _ := strings.Cut(c.realized, "?")
			if fit == "" && !strings.Contains(c.realized, "?") && !strings.Contains(c.what, "no file") && !strings.Contains(c.what, "two names") {
				must(t, w.consistent())
			}
			equal(t, "realized", w.realize(), c.realized)
		})
	}
}

// TestAdoptOf: what a command did not touch stays what it was, and what it did is
// its own.
func TestAdoptOf(t *testing.T) {
	w := yieldPlace(t)
	for _, name := range []string{"out/same", "out/changed", "out/replaced", "out/removed", "tmp/same"} {
		w.make(name, "first")
	}
	w.Mkdir(WASI, "out/folder")
	of := map[string]uint64{}
	for name, n := range w.staged {
		of[name] = n.of
	}
	tick(w)
	must(t, w.ran(func() {
		w.put("out/changed", "second")
		w.put("out/x", "second")
		must(t, os.Rename(w.in("out/x"), w.in("out/replaced")))
		must(t, os.Remove(w.in("out/removed")))
		w.put("out/folder/new", "n")
	}))
	var end uint64
	for end = range w.endings {
	}
	for name, want := range map[string]uint64{"same": of["output/"+sid+"/same"], "changed": end, "replaced": end, "folder": of["output/"+sid+"/folder"], "folder/new": end} {
		if n := w.staged["output/"+sid+"/"+name]; n == nil || n.of != want {
			t.Errorf("%s: %+v, want of %d", name, n, want)
		}
	}
	if w.staged["output/"+sid+"/removed"] != nil {
		t.Error("what was removed is staged")
	}
	w.make("out/changed", "third") // then it is the guest's again
	must(t, w.consistent())
}

// TestAdoptOpen: what the guest has open of a file that another took the place of
// stays its own, and counts until it is closed.
func TestAdoptOpen(t *testing.T) {
	w := yieldPlace(t)
	w.make("out/a", "old content")
	f := w.opened("out/a", Read|Write)
	g := w.opened("out/a", Read)
	must(t, w.ran(func() { w.put("out/x", "new"); must(t, os.Rename(w.in("out/x"), w.in("out/a"))) }))
	if got := w.all(f); got != "old content" {
		t.Errorf("what is open holds %q", got)
	}
	if _, errno := f.WriteAt([]byte("more old content"), 0); errno != Success {
		t.Fatal(errno)
	}
	if got := w.content("out/a"); got != "new" {
		t.Errorf("the name leads to %q", got)
	}
	if got, want := w.staging.bytes, int64(len("more old content")+len("new")); got != want || w.staging.files != 2 {
		t.Errorf("%d bytes in %d files are staged, want %d in 2", got, w.staging.files, want)
	}
	f.Close()
	g.Close()
	if got := w.staging.bytes; got != int64(len("new")) || w.staging.files != 1 {
		t.Errorf("when it is closed %d bytes in %d files are staged", got, w.staging.files)
	}
	must(t, w.consistent())
}

// TestAdoptServes: what a command left that is no plain file can be deleted, where
// it has a name, and nothing else.
func TestAdoptServes(t *testing.T) {
	w := yieldPlace(t)
	w.make("tmp/file", "f")
	w.Mkdir(WASI, "tmp/empty")
	must(t, w.ran(func() {
		must(t, os.Symlink("file", w.in("tmp/link")))
		must(t, os.Symlink("/", w.in("tmp/root")))
		must(t, syscall.Mkfifo(w.in("tmp/fifo"), 0o600))
		must(t, os.Mkdir(w.in("tmp/d"), 0o755))
		must(t, os.Symlink("..", w.in("tmp/d/up")))
		w.put("out/a", "a")
		must(t, os.Link(w.in("out/a"), w.in("tmp/a")))
	}))
	const link, fifo, links = "it is a symbolic link", "it is a FIFO", "it has more than one link"
	open := func(p string, flags Flags) func() Errno {
		return func() Errno {
			f, errno := w.Open(WASI, p, flags)
			if f != nil {
				f.Close()
			}
			return errno
		}
	}
	for _, c := range []struct {
		what string
		do   func() Errno
		want string
	}{
		{"read", open("tmp/link", Read), "perm refused " + link},
		{"read a FIFO", open("tmp/fifo", Read), "perm refused " + fifo},
		{"read by a second name", open("tmp/a", Read), "perm refused " + links},
		{"write", open("tmp/link", Write), "perm refused " + link},
		{"write by a second name", open("out/a", Write), "perm refused " + links},
		{"write anew", open("tmp/link", Write|Create|Trunc), "perm refused " + link},
		{"create", open("tmp/fifo", Write|Create|Excl), "perm refused " + fifo},
		{"list", open("tmp/root", Read|Directory), "noent own " + link},
		{"list behind", open("tmp/root/etc", Read|Directory), "noent own"},
		{"read behind", open("tmp/root/etc/passwd", Read), "noent own"},
		{"create behind", open("tmp/root/x", Write|Create), "noent own"},
		{"stat", func() Errno { _, errno := w.Stat(WASI, "tmp/link"); return errno }, "noent own " + link},
		{"mkdir", func() Errno { return w.Mkdir(WASI, "tmp/link") }, "perm refused " + link},
		{"mkdir behind", func() Errno { return w.Mkdir(WASI, "tmp/root/x") }, "noent own"},
		{"rename", func() Errno { return w.Rename(WASI, "tmp/link", "tmp/x") }, "perm refused " + link},
		{"rename over", func() Errno { return w.Rename(WASI, "tmp/file", "tmp/link") }, "perm refused " + link},
		{"rename a folder over", func() Errno { return w.Rename(WASI, "tmp/empty", "tmp/link") }, "perm refused " + link},
		{"rename a folder with", func() Errno { return w.Rename(WASI, "tmp/d", "tmp/e") }, "perm refused " + link},
		{"remove the folder", func() Errno { return w.Remove(WASI, "tmp/d", true) }, "notempty own"},
		{"remove as a folder", func() Errno { return w.Remove(WASI, "tmp/root", true) }, "notdir own"},
		{"remove", func() Errno { return w.Remove(WASI, "tmp/root", false) }, "success own"},
		{"remove in the folder", func() Errno { return w.Remove(WASI, "tmp/d/up", false) }, "success own"},
		{"remove the empty folder", func() Errno { return w.Remove(WASI, "tmp/d", true) }, "success own"},
		{"remove a second name", func() Errno { return w.Remove(WASI, "tmp/a", false) }, "success own"},
	} {
		if got := w.does(c.do); got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
	must(t, w.ran(func() {}))
	if got := w.content("out/a"); got != "a" {
		t.Errorf("when its second name is gone, it reads %q", got)
	}
	must(t, w.ran(func() { must(t, os.Remove(w.in("tmp/link"))); must(t, os.Remove(w.in("tmp/fifo"))) }))
	must(t, w.consistent())
}

// TestAdoptForbidden: a name in /out that is forbidden ends the turn, as it does
// where the guest makes it.
func TestAdoptForbidden(t *testing.T) {
	for what, c := range map[string]struct {
		do   func(w *world)
		want string
	}{
		"a file":            {func(w *world) { w.put("out/x.key", "k") }, "write output/SID/x.key: forbidden **/*.key"},
		"a file in folders": {func(w *world) { w.put("out/a/b.key", "k"); w.put("out/ok", "o") }, "write output/SID/a/b.key: forbidden **/*.key"},
		"a folder":          {func(w *world) { must(w.t, os.Mkdir(w.in("out/no"), 0o755)) }, "write output/SID/no: forbidden out/no/**"},
		"a link":            {func(w *world) { must(w.t, os.Symlink("a", w.in("out/x.key"))) }, "write output/SID/x.key: forbidden **/*.key"},
		"in scratch":        {func(w *world) { w.put("tmp/x.key", "k"); w.put("tmp/no/a", "a") }, ""},
	} {
		w := yieldPlace(t)
		err := w.ran(func() { c.do(w) })
		got := ""
		var v *capability.Violation
		if errors.As(err, &v) {
			got = strings.ReplaceAll(string(v.Op)+" "+v.Subject+": "+v.Rule, sid, "SID")
			w.checkViolation(w.violations(), v)
		} else {
			must(t, err)
		}
		equal(t, what, got, c.want)
	}
}

// TestAdoptLimits: more than may be staged ends the turn.
func TestAdoptLimits(t *testing.T) {
	for what, c := range map[string]struct {
		do   func(w *world)
		want string
	}{
		"bytes": {func(w *world) { w.put("out/a", ""); must(w.t, os.Truncate(w.in("out/a"), 64<<20+1)) }, record.LimitOutputBytes},
		"grown": {func(w *world) { must(w.t, os.Truncate(w.in("out/there"), 1<<40)) }, record.LimitOutputBytes},
		"bytes of scratch": {func(w *world) {
			for i := range 2 {
				name := fmt.Sprint("tmp/", i)
				w.put(name, "")
				must(w.t, os.Truncate(w.in(name), 33<<20))
			}
		}, record.LimitScratch},
		"files": {func(w *world) {
			for i := range 1000 {
				w.put(fmt.Sprint("out/", i), "")
			}
		}, record.LimitOutputFiles},
		"folders of scratch": {func(w *world) {
			for i := range 1001 {
				must(w.t, os.Mkdir(w.in(fmt.Sprint("tmp/", i)), 0o755))
			}
		}, record.LimitScratch},
		"as much as may be": {func(w *world) {
			must(w.t, os.Remove(w.in("out/there")))
			for i := range 1000 {
				w.put(fmt.Sprint("out/", i), "")
			}
			must(w.t, os.Truncate(w.in("out/1"), 64<<20))
		}, ""},
	} {
		w := yieldPlace(t)
		w.make("out/there", "t")
		err := w.ran(func() { c.do(w) })
		var limit *Limit
		if errors.As(err, &limit) != (c.want != "") || c.want != "" && limit.Name != c.want {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
		w.End()
		if _, _, err := w.Finish(); err != nil {
			t.Errorf("%s: the turn does not end: %v", what, err)
		}
	}
}

// TestAdoptDeep: folders within folders, deeper than any name can be, are removed
// from scratch, and keep a turn from being published.
func TestAdoptDeep(t *testing.T) {
	deep := func(w *world, top, element string, depth int) {
		w.t.Helper()
		must(w.t, os.MkdirAll(top, 0o755))
		at, err := syscall.Open(top, syscall.O_DIRECTORY, 0)
		must(w.t, err)
		for range depth {
			must(w.t, syscall.Mkdirat(at, element, 0o755))
			next, err := syscall.Openat(at, element, syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
			must(w.t, err)
			syscall.Close(at)
			at = next
		}
		syscall.Close(at)
		w.t.Cleanup(func() { w.cfg.Staged.Out.RemoveAll("deep"); w.cfg.Staged.Tmp.RemoveAll("deep") })
	}
	for _, c := range []struct {
		element string
		depth   int
	}{{"d", 10_000}, {strings.Repeat("e", 200), 50}} {
		w := yieldPlace(t)
		w.scratch.maxFiles, w.staging.maxFiles = 1e5, 1e5
		must(t, w.ran(func() {
			deep(w, w.in("tmp/deep"), c.element, c.depth)
			w.put("tmp/deep/beside", "b")
			w.put("out/ok", "o")
		}))
		if got := w.names("tmp"); got != "deep/" && got != "" {
			t.Errorf("scratch holds %s", got)
		}
		if w.scratch.files > 4096/2 {
			t.Errorf("%d folders count", w.scratch.files)
		}
		must(t, w.ran(func() {}))
		equal(t, "realized", w.realize(), "ok")

		w = yieldPlace(t)
		w.staging.maxFiles = 1e5
		must(t, w.ran(func() { deep(w, w.in("out/deep"), c.element, c.depth); w.put("out/ok", "o") }))
		got := w.realize()
		if !strings.HasPrefix(got, "deep/"+c.element) || !strings.HasSuffix(got, " bytes)? ok") {
			t.Errorf("realized %s", got)
		}
	}
}

// TestAdoptRandom plays commands and a guest in turns, each doing anything to few
// names, and compares all accounts after each.
func TestAdoptRandom(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	names := []string{"a", "b", "d", "d/a", "d/e", "d/e/a", "old"}
	for seed := range rounds {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		w := yieldPlace(t)
		name := func() string { return []string{"out/", "tmp/"}[r.IntN(2)] + names[r.IntN(len(names))] }
		content := func() string { return strings.Repeat("x", r.IntN(50)) }
		for range 4 {
			for range r.IntN(6) {
				p := name()
				staged := w.staged[w.resolve(p).ledger] != nil // what is not can neither be removed nor renamed
				switch r.IntN(6) {
				case 0:
					w.Mkdir(WASI, p)
				case 1:
					if staged {
						w.Remove(WASI, p, r.IntN(2) == 0)
					}
				case 2:
					if staged {
						w.Rename(WASI, p, name())
					}
				case 3:
					w.Open(WASI, p, Read)
				default:
					if f, errno := w.Open(WASI, p, Write|Create); errno == Success {
						f.WriteAt([]byte(content()), int64(r.IntN(9)))
						if r.IntN(2) == 0 {
							f.Close()
						}
					}
				}
			}
			must(t, w.ran(func() {
				for range r.IntN(6) {
					p := w.in(name())
					switch r.IntN(7) {
					case 0:
						os.Mkdir(p, 0o700)
					case 1:
						os.Remove(p)
					case 2:
						os.RemoveAll(p)
					case 3:
						os.Rename(p, w.in(name()))
					case 4:
						os.Chmod(p, os.FileMode(r.IntN(0o1000)))
					default:
						os.WriteFile(p, []byte(content()), 0o600)
					}
				}
			}))
			for ledgerName, n := range w.staged {
				info, err := w.stagingOf(n.name.area).Stat(n.name.rel)
				if err != nil || info.Mode.IsDir() != n.folder || !n.folder && info.Size != n.size {
					t.Fatalf("seed %d: %s is %+v, %v", seed, ledgerName, info, err)
				}
			}
		}
		for f := range w.files {
			f.Close()
		}
		var files, bytes int64
		for _, n := range w.staged {
			files, bytes = files+1, bytes+n.size
		}
		if files != w.staging.files+w.scratch.files || bytes != w.staging.bytes+w.scratch.bytes {
			t.Fatalf("seed %d: %d files of %d bytes are staged, counted are %+v and %+v", seed, files, bytes, w.staging, w.scratch)
		}
		if err := w.consistent(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
