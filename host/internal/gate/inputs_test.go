//go:build linux

package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/ledger"
)

// declaring is a workspace for declared inputs.
func declaring(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, setup{
		grants: capability.Grants{Read: []string{"docs/**", "a-b/*", "a/*", "up/*"}, Forbidden: []string{"docs/no/**"}},
		files: map[string]string{
			"docs/a.md": "a", "docs/b.md": "b", "docs/B.md": "B", "docs/sub/c.md": "c", "docs/no/n.md": "SECRET",
			"a/x": "1", "a-b/x": "2", "a/y": "3", "secret.txt": "SECRET", "docs/[x].md": "class", "docs/\xff.md": "SECRET",
			"tmp/t": "SECRET", "out/o": "SECRET", ".agenthost/r": "SECRET", "docs/two": "two", "docs/large": strings.Repeat("l", 3<<20),
		},
	})
	for name, make := range map[string]func(string) error{
		"docs/link.md": func(p string) error { return os.Symlink("a.md", p) },
		"docs/away":    func(p string) error { return os.Symlink("../hidden", p) },
		"docs/fifo.md": func(p string) error { return syscall.Mkfifo(p, 0o644) },
		"docs/one":     func(p string) error { return os.Link(w.at("docs/two"), p) },
	} {
		if err := make(w.at(name)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) expand(patterns ...string) (string, error) {
	inputs, err := Expand(context.Background(), w.cfg.Workspace, w.cfg.Enforcer, patterns)
	var names []string
	for _, in := range inputs {
		content, err := os.ReadFile(w.at(in.Path))
		if err != nil || in.SHA256 != ledger.Sum(content) || in.Size != int64(len(content)) || in.Info.Size != in.Size {
			w.t.Errorf("%s: %+v, %v", in.Path, in, err)
		}
		names = append(names, in.Path)
	}
	return strings.Join(names, " "), err
}

func TestExpand(t *testing.T) {
	w := declaring(t)
	for patterns, want := range map[string]string{
		"":                                "",
		"docs/a.md":                       "docs/a.md",
		"docs/*.md":                       "docs/B.md docs/[x].md docs/a.md docs/b.md",
		"docs/**":                         "docs/B.md docs/[x].md docs/a.md docs/b.md docs/large docs/sub/c.md",
		"docs/b.md docs/a.md":             "docs/a.md docs/b.md",
		"docs/b.md docs/*.md docs/[a].md": "docs/B.md docs/[x].md docs/a.md docs/b.md",
		`docs/\[x\].md`:                   "docs/[x].md",
		"{a,a-b}/*":                       "a-b/x a/x a/y",
		"docs/no/*":                       "",
		"*.txt":                           "",
		"**":                              "a-b/x a/x a/y docs/B.md docs/[x].md docs/a.md docs/b.md docs/large docs/sub/c.md",
		"docs/absent*":                    "",
		"docs/link*":                      "",
		"docs/{one,two}":                  "",
	} {
		got, err := w.expand(strings.Fields(patterns)...)
		if err != nil {
			t.Errorf("%q: %v", patterns, err)
		}
		equal(t, patterns, got, want)
	}
}

// TestExpandRefuses holds the exact words of what cannot be declared.
func TestExpandRefuses(t *testing.T) {
	w := declaring(t)
	const link = "it is a symbolic link, and links are not followed"
	for pattern, want := range map[string][2]string{
		"docs/absent.md": {"there is no such file in the workspace", "create it, or run in the folder that has it (--workspace)"},
		"docs/a.md/x":    {"there is no such file in the workspace", "create it, or run in the folder that has it (--workspace)"},
		"docs/" + strings.Repeat("n", 256): {
			"there is no such file in the workspace", "create it, or run in the folder that has it (--workspace)",
		},
		"secret.txt":      {"it is not granted", `grant it: read: ["secret.txt"]`},
		"absent.txt":      {"it is not granted", `grant it: read: ["absent.txt"]`},
		"docs/no/n.md":    {`it may not be read (forbidden docs/no/**)`, "declare only what the package may read"},
		"docs/link.md":    {link, "declare the file it leads to"},
		"docs/away":       {link, "declare the file it leads to"},
		"docs/away/x":     {"a symbolic link is on the way to it, and links are not followed", "declare the file by the name it has without links"},
		"docs/sub":        {"it is a folder", "declare files, or a pattern such as docs/sub/**"},
		"docs/fifo.md":    {"it is not a regular file", "declare a regular file of a disk"},
		"docs/one":        {"it has more than one link while something is forbidden", "copy the file, so that only this name leads to it"},
		"/docs/a.md":      {"the pattern begins with /", "patterns are relative to the workspace: write docs/a.md"},
		"docs/../x":       {"the pattern has a segment ..", "name the folder itself; what lies outside the workspace cannot be granted"},
		"docs/[!a]":       {"the pattern has a negated class [!a]", "list the characters that may stand there, or write ?"},
		"tmp/t":           {"the pattern asks for names beneath tmp/", "every guest has a /tmp of its own, without a grant"},
		".agenthost/*":    {"the pattern asks for names beneath .agenthost/", "packages are read there without a grant; all else in it is agenthost's own"},
		"docs/{a.md,\\/}": {`the pattern escapes a slash`, `write / without \: it separates folders and cannot be part of a name`},
	} {
		got, err := w.expand(pattern)
		var wrong *InputError
		if !errors.As(err, &wrong) || got != "" {
			t.Errorf("%q: %q, %v", pattern, got, err)
			continue
		}
		equal(t, pattern, wrong.Error(), fmt.Sprintf("input %q: %s", pattern, want[0]))
		equal(t, pattern+": hint", wrong.Hint, want[1])
	}
}

// TestExpandMost holds how many files can be declared.
func TestExpandMost(t *testing.T) {
	files := map[string]string{}
	for i := range MaxInputs {
		files[fmt.Sprintf("docs/%04d", i)] = ""
	}
	w := newWorld(t, setup{grants: capability.Grants{Read: []string{"docs/*"}}, files: files, memory: true})
	got, err := w.expand("docs/*", "docs/0000")
	if err != nil || len(strings.Fields(got)) != MaxInputs {
		t.Fatalf("%d inputs, %v", len(strings.Fields(got)), err)
	}
	w.write(w.at("docs/more"), "")
	_, err = w.expand("docs/*")
	var wrong *InputError
	if !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	equal(t, "too many", wrong.Error(), `input "docs/more": more than 4096 files are declared`)
	equal(t, "hint", wrong.Hint, "narrow the inputs (--input GLOB)")
}

// asNobody lets the rest of a test meet files as users do who are not root, who
// reads everything.
func asNobody(t *testing.T) {
	t.Helper()
	as := func(uid int) {
		if err := syscall.Setfsuid(uid); err != nil {
			t.Error(err)
		}
	}
	runtime.LockOSThread()
	as(65534)
	t.Cleanup(func() {
		as(0)
		runtime.UnlockOSThread()
	})
}

// TestExpandUnreadable declares what the host itself may not read.
func TestExpandUnreadable(t *testing.T) {
	w := declaring(t)
	if err := os.Chmod(w.at("docs/a.md"), 0); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		asNobody(t)
	}
	for _, pattern := range []string{"docs/a.md", "docs/a*"} {
		_, err := w.expand(pattern)
		equal(t, pattern, err, `input "docs/a.md": open docs/a.md: permission denied`)
		var bad *InputError
		if want := "make it readable, or declare fewer files"; !errors.As(err, &bad) || bad.Hint != want {
			t.Errorf("%s: got %+v, want the hint %q", pattern, bad, want)
		}
	}
}

// TestExpandCancelled ends with its context, also within one large file.
func TestExpandCancelled(t *testing.T) {
	w := declaring(t)
	why := errors.New("interrupted")
	for _, pattern := range []string{"docs/*", "docs/large"} {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(why)
		if _, err := Expand(ctx, w.cfg.Workspace, w.cfg.Enforcer, []string{pattern}); !errors.Is(err, why) {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}

// TestExpandForeign declares files of proc.
func TestExpandForeign(t *testing.T) {
	w := declaring(t)
	if err := os.Mkdir(w.at("docs/proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("/proc", w.at("docs/proc"), "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("proc cannot be mounted here: %v", err)
	}
	defer syscall.Unmount(w.at("docs/proc"), syscall.MNT_DETACH)
	got, err := w.expand("docs/proc/**")
	equal(t, "pattern", fmt.Sprint(got, err), "<nil>")
	_, err = w.expand("docs/proc/version")
	equal(t, "literal", err, `input "docs/proc/version": proc is not a filesystem that stores files`)
}

// TestExpandLimits walks into names that are as long as names can be.
func TestExpandLimits(t *testing.T) {
	w := newWorld(t, setup{grants: capability.Grants{Read: []string{"**"}}, files: map[string]string{"f": "f"}})
	dir := w.cfg.Workspace
	for i := range 20 {
		sub, err := dir.Sub(".")
		if err == nil {
			err = sub.Mkdir(strings.Repeat("n", 255), 0o755)
		}
		if err == nil {
			dir, err = sub.Sub(strings.Repeat("n", 255))
			sub.Close()
		}
		if err != nil {
			t.Fatal(i, err)
		}
		t.Cleanup(func(d *beneath.Dir) func() { return func() { d.Close() } }(dir))
	}
	got, err := w.expand("**")
	equal(t, "deep", fmt.Sprint(got, " ", err), "f <nil>")
}
