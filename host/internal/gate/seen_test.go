//go:build linux

package gate

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
	"github.com/agenthost/agenthost/host/record"
)

// found are the problems of a turn, as name: what.
func (w *world) found() string {
	var all []string
	for _, p := range w.problems {
		if p.Code != record.CodeInputChanged {
			w.t.Errorf("%s: code %s", p.Path, p.Code)
		}
		all = append(all, p.Path+": "+p.What)
	}
	return strings.Join(all, "\n")
}

// TestLookAfter changes what a command could see while it ran.
func TestLookAfter(t *testing.T) {
	const (
		file   = "it was changed while a command could see it"
		folder = file + ": names in it came or went"
	)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(path, content string) { must(os.WriteFile(path, []byte(content), 0o644)) }
	for _, c := range []struct {
		what string
		do   func(w *world)
		want string
	}{
		{"nothing", func(w *world) {}, ""},
		{"what is not seen", func(w *world) { put(w.at("other/x"), "xx"); put(w.at("other/y"), "y"); put(w.at("new"), "n") }, ""},
		{"a file that is read", func(w *world) { os.ReadFile(w.at("whole/a")) }, ""},
		{"a file", func(w *world) { put(w.at("whole/sub/b"), "changed") }, "whole/sub/b: " + file},
		{"a file, with its time put back", func(w *world) {
			past := time.Unix(1e9, 0)
			put(w.at("one/a"), "A")
			must(os.Chtimes(w.at("one/a"), past, past))
		}, "one/a: " + file},
		{"a file that is replaced by an equal one", func(w *world) {
			put(w.at("x"), "a")
			must(os.Rename(w.at("x"), w.at("one/a")))
		}, "one/a: " + file},
		{"a file that is removed", func(w *world) { must(os.Remove(w.at("one/a"))) }, "one/a: it is gone"},
		{"a file that becomes a folder", func(w *world) { must(os.Remove(w.at("one/a"))); must(os.Mkdir(w.at("one/a"), 0o755)) }, "one/a: " + file},
		{"a file that becomes a link", func(w *world) { must(os.Remove(w.at("one/a"))); must(os.Symlink("../whole/a", w.at("one/a"))) }, "one/a: " + file},
		{"a new file in a folder that is whole", func(w *world) { put(w.at("whole/sub/new"), "n") }, "whole/sub: " + folder},
		{"a file that came and went", func(w *world) { put(w.at("whole/new"), "n"); must(os.Remove(w.at("whole/new"))) }, "whole: " + folder},
		{"a new file in an empty folder", func(w *world) { put(w.at("whole/empty/new"), "n") }, "whole/empty: " + folder},
		{"a new file beside one", func(w *world) { put(w.at("one/new"), "n") }, ""},
		{"a folder that is replaced", func(w *world) { must(os.Rename(w.at("one"), w.at("was"))); must(os.Rename(w.at("other"), w.at("one"))) }, "one/a: it is gone"},
		{"a folder that becomes a link", func(w *world) { must(os.Rename(w.at("one"), w.at("was"))); must(os.Symlink("was", w.at("one"))) }, "one/a: it cannot be examined any more"},
		{"what is published", func(w *world) { put(filepath.Join(w.cfg.Commands.Places.Published, "r"), "rr") }, "output/" + sid + "/r: " + file},
		{"new in what is published", func(w *world) { put(filepath.Join(w.cfg.Commands.Places.Published, "n"), "n") }, "output/" + sid + ": " + folder},
		{"what is staged", func(w *world) { put(filepath.Join(w.stages, AreaWorkspace, "one/new"), "changed") }, "one/new: " + file},
		{"a second link", func(w *world) { w.hardlink("one/a", "x") }, "one/a: " + file},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := commanding(t, setup{
				grants:  capability.Grants{Read: []string{"whole/**", "one/*"}, Write: []string{"one/*"}},
				outputs: []string{"one/*"}, published: map[string]string{"r": "r"},
				files: map[string]string{"whole/a": "a", "whole/sub/b": "b", "whole/empty/": "", "one/a": "a", "other/x": "x"},
			})
			w.make("one/new", "n")
			v := w.view()
			tick(w)
			c.do(w)
			w.lookAfter(v)
			equal(t, "problems", w.found(), c.want)
		})
	}
}

// tick waits until the filesystem's clock has moved on.
func tick(w *world) {
	w.t.Helper()
	probe := filepath.Join(w.stages, "probe")
	for first := int64(0); ; {
		if err := os.WriteFile(probe, nil, 0o644); err != nil {
			w.t.Fatal(err)
		}
		info, err := os.Stat(probe)
		if err != nil {
			w.t.Fatal(err)
		}
		switch now := info.Sys().(*syscall.Stat_t).Ctim.Nano(); {
		case first == 0:
			first = now
		case now != first:
			os.Remove(probe)
			return
		}
	}
}

// TestViewAfterRead: a file that the guest read is the one the command sees, or the
// turn saw two.
func TestViewAfterRead(t *testing.T) {
	s := reading("docs/*", map[string]string{"docs/a": "a", "docs/b": strings.Repeat("b", SmallFile+1)})
	for _, c := range []struct {
		name, content, want string
	}{
		{"docs/a", "", ""},
		{"docs/a", "A", "docs/a: " + changedBetween},
		{"docs/b", "", ""},
		{"docs/b", strings.Repeat("B", SmallFile+1), "docs/b: " + changedBetween},
	} {
		w := commanding(t, s)
		f, _ := w.Open(WASI, c.name, Read)
		f.Close()
		tick(w)
		if c.content != "" {
			w.write(w.at(c.name), c.content)
		}
		w.view()
		equal(t, "problems", w.found(), c.want)
		w.finished()
		equal(t, "problems at the end", w.found(), c.want)
	}
	declared := s
	declared.inputs = []string{"docs/*"}
	w := commanding(t, declared)
	tick(w)
	w.write(w.at("docs/a"), "A")
	w.view()
	equal(t, "problems", w.found(), "docs/a: it is not what was declared when the turn began")
	w = commanding(t, s)
	w.view()
	tick(w)
	w.write(w.at("docs/a"), "A")
	w.finished()
	equal(t, "problems at the end", w.found(), "docs/a: it was changed while the turn ran")
}

// TestViewMoving swaps names all the time, while views are made: of what may not
// be read nothing is ever given.
func TestViewMoving(t *testing.T) {
	w := commanding(t, reading("docs/** | hidden/**", map[string]string{"docs/sub/f": "public", "docs/f": "public", "hidden/f": "SECRET", "hidden/sub/f": "SECRET"}))
	secret := map[uint64]string{}
	for _, name := range []string{"hidden", "hidden/f", "hidden/sub", "hidden/sub/f"} {
		info, err := os.Stat(w.at(name))
		if err != nil {
			t.Fatal(err)
		}
		secret[info.Sys().(*syscall.Stat_t).Ino] = name
	}
	w.swapping(t)
	made, refused := 0, 0
	for range 3000 {
		w.cfg.Commands.Digests = NewDigests(time.Now)
		v, err := w.viewOf()
		if err != nil {
			if refused++; err.Code != abi.CodeFailed {
				t.Fatal(err)
			}
			continue
		}
		made++
		for _, b := range v.binds {
			if name := secret[b.Inode]; name != "" {
				t.Fatalf("%s was given as %s", name, b.Target)
			}
		}
		if strings.Contains(string(v.listing), sumOf("SECRET").String()) {
			t.Fatalf("what may not be read was hashed:\n%s", v.listing)
		}
	}
	t.Logf("%d views made, %d refused", made, refused)
	if made == 0 || refused == 0 {
		t.Errorf("no race: %d views made, %d refused", made, refused)
	}
}

// TestViewMounts: a folder in which another is mounted is not given whole.
func TestViewMounts(t *testing.T) {
	const marker = "AGENTHOST_TEST_MOUNTS"
	if os.Getenv(marker) == "" {
		confinetest.Needs(t)
		cmd := exec.Command(os.Args[0], "-test.run=^TestViewMounts$", "-test.v")
		cmd.Env = append(os.Environ(), marker+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	w := commanding(t, reading("**", map[string]string{"a/b/c": "c", "a/m/": "", "a/x/y/z": "z", "e/f": "f", "g/h": "h", "k/l/m": "m", "n/o/p": "p", "n/o/q": "q", "n/r/s": "s"}))
	for target, source := range map[string]string{"a/m": w.at("e"), "n/o/p": w.at("e/f"), "k/l": "tmpfs", "g": "proc"} {
		kind, flags := source, uintptr(0)
		if strings.HasPrefix(source, "/") {
			kind, flags = "", syscall.MS_BIND
		}
		if err := syscall.Mount(source, w.at(target), kind, flags, ""); err != nil {
			if kind == "proc" {
				t.Logf("proc cannot be mounted here: %v", err)
				os.RemoveAll(w.at("g"))
				continue
			}
			t.Fatal(err)
		}
		defer syscall.Unmount(w.at(target), syscall.MNT_DETACH)
	}
	equal(t, "binds", w.given(w.view().binds), "a/b/ a/m/ a/x/ e/ k/l/ n/o/p n/o/q n/r/")
}
