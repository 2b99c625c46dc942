package host

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/policy"
)

// What is wrong with a request is told before anything exists.
func TestRefusals(t *testing.T) {
	b := newBench(t, map[string]string{"docs/a.md": "a", "secret": "s"})
	b.write("link-target", "x")
	if err := os.Symlink("link-target", b.workspace+"/link"); err != nil {
		t.Fatal(err)
	}
	big := newWasm(5000).start(0)
	readDocs := grants([]string{"docs/**", "link"}, []string{"reports/**"}, nil)
	for _, c := range []struct {
		name, what, hint string
		ask              ask
	}{
		{"query and prompt", "a query and a prompt were given", "give one of them", ask{turn: Turn{Query: json.RawMessage("1"), Prompt: "x"}}},
		{
			"query not JSON", "the query is not JSON: unexpected end of JSON input at byte 1",
			`write it as JSON, such as '{"topic":"docs"}', or use --prompt for plain text`,
			ask{turn: Turn{Query: json.RawMessage("{}}")[:1:1]}},
		},
		{"prompt not UTF-8", "the prompt is not UTF-8", "write it as UTF-8 text", ask{turn: Turn{Prompt: "\xff"}}},
		{"argument with NUL", `argument "a\x00b" cannot be passed to a guest`, "arguments are UTF-8 without NUL", ask{turn: Turn{Args: []string{"a\x00b"}}}},
		{"work order", "", "say WO- and up to 100 letters, digits and hyphens", ask{turn: Turn{Narrow: policy.Narrow{WorkOrder: &policy.WorkOrder{ID: "../x"}}}}},
		{"far future", "no guest has a clock that shows the year 3000", "name a time from 1970 to 2261", ask{turn: Turn{AsOf: time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)}}},
		{"output pattern", `output "reports/[" has a [ without its ]`, `write \[ for the character itself`, ask{manifest: readDocs, turn: Turn{Outputs: []archive.Output{{Path: "reports/[", Role: "r"}}}}},
		{"output not granted", `output "docs/x.md" may not be written (no grant of write)`, `grant it: write: ["docs/x.md"]; or let the agent write to out/`, ask{manifest: readDocs, turn: Turn{Outputs: []archive.Output{{Path: "docs/x.md", Role: "r"}}}}},
		{"output twice", `output "out/x" is declared twice`, "declare it once", ask{manifest: writes("out/x"), turn: Turn{Outputs: []archive.Output{{Path: "out/x", Role: "r"}}}}},
		{"role", `output "out/x" cannot have the role "a b"`, "say what it is for, with up to 64 letters, digits, and _ . -", ask{turn: Turn{Outputs: []archive.Output{{Path: "out/x", Role: "a b"}}}}},
		{"input not granted", `input "secret": it is not granted`, `grant it: read: ["secret"]`, ask{manifest: readDocs, turn: Turn{Inputs: []string{"secret"}}}},
		{"input missing", `input "docs/b.md": there is no such file in the workspace`, "create it, or run in the folder that has it (--workspace)", ask{manifest: readDocs, turn: Turn{Inputs: []string{"docs/b.md"}}}},
		{"input a link", `input "link": it is a symbolic link, and links are not followed`, "declare the file it leads to", ask{manifest: readDocs, turn: Turn{Inputs: []string{"link"}}}},
		{"module minimum", "the module needs 320000KiB of memory and the limit is 256MiB", "raise limits.memory in the manifest, or the host's ceiling in the policy", ask{module: big.bytes()}},
		{"workspace missing", "the workspace /nowhere cannot be opened: lstat /nowhere: no such file or directory", "name a folder that exists with --workspace", ask{turn: Turn{Workspace: "/nowhere"}}},
		{"workspace a file", "", "name a folder that exists with --workspace", ask{turn: Turn{Workspace: b.workspace + "/secret"}}},
		{"workspace on proc", "", "use a folder on a filesystem of a disk that tells names apart by case", ask{turn: Turn{Workspace: "/proc/self"}}},
		{"workspace on sysfs", "", "use a folder on a filesystem of a disk that tells names apart by case", ask{turn: Turn{Workspace: "/sys/kernel"}}},
		{"workspace is the cache", "the workspace " + sharedCache() + " is a folder that only the host may use", "run in the folder of your work, or name it with --workspace", ask{turn: Turn{Workspace: sharedCache()}}},
		{"workspace in the cache", "the workspace " + sharedCache() + "/native is a folder that only the host may use", "run in the folder of your work, or name it with --workspace", ask{turn: Turn{Workspace: sharedCache() + "/native"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.t = t
			before := b.tree()
			_, err := b.tryPrepare(c.ask)
			var r *RequestError
			if !errors.As(err, &r) {
				t.Fatalf("got %v, want a refusal", err)
			}
			if c.what == "" {
				t.Log(r.What)
				c.what = r.What
			}
			refused(t, err, c.what, c.hint)
			if _, err := os.Lstat(b.workspace + "/.agenthost"); err == nil || len(b.tree()) != len(before) {
				t.Error("something was created")
			}
		})
	}
	lib := must(archive.FromFolder(manifestOnly(t)))(t)
	defer lib.Close()
	_, err := b.runner.Prepare(t.Context(), lib, Turn{Workspace: b.workspace})
	refused(t, err, "PKG-LIB is a library: it has no entry, so there is nothing to run", "run a package that depends on it")
}

func manifestOnly(t *testing.T) string {
	dir := t.TempDir()
	os.WriteFile(dir+"/manifest.json", []byte(`{"schema":"agenthost/package/v1","id":"PKG-LIB","version":"1.0.0"}`), 0o644)
	return dir
}

// A manifest and a policy only lower the host's ceilings.
func TestLimitsOnlyLower(t *testing.T) {
	b := newBench(t, nil)
	strict := *must(policy.Default())(t)
	strict.Limits = archive.Limits{Fuel: 1000, Memory: 1 << 40, Entries: 7}
	own := must(NewRunner(t.Context(), Config{CacheDir: sharedCache(), Ceilings: archive.Limits{Memory: 64 << 20, CallDepth: 1 << 30}}))(t)
	defer own.Close(t.Context())
	ceilings := DefaultCeilings()
	for _, c := range []struct {
		name     string
		runner   *Runner
		manifest members
		policy   *policy.Policy
		want     archive.Limits
	}{
		{"nothing said", b.runner, nil, nil, defaultLimits()},
		{"too much asked", b.runner, limits(members{"memory": "4GiB", "time": "10000h", "fuel": 1 << 52, "output_bytes": "4096GiB", "output_files": 1 << 40, "result_bytes": "1024GiB", "entries": 1 << 40, "call_depth": 1 << 40}), nil, ceilings},
		{"less asked", b.runner, limits(members{"fuel": 5, "time": "250ms"}), nil, func() archive.Limits {
			l := defaultLimits()
			l.Fuel, l.Time = 5, archive.Duration(250*time.Millisecond)
			return l
		}()},
		{"policy", b.runner, limits(members{"fuel": 5000, "memory": "4GiB"}), &strict, func() archive.Limits {
			l := defaultLimits()
			l.Fuel, l.Entries, l.Memory = 1000, 7, ceilings.Memory
			return l
		}()},
		{"own ceilings", own, limits(members{"call_depth": 1 << 40}), nil, func() archive.Limits {
			l := defaultLimits()
			l.Memory, l.CallDepth = 64<<20, 1<<15
			return l
		}()},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.t, b.runner = t, c.runner
			p := b.prepare(ask{manifest: c.manifest, turn: Turn{Policy: c.policy}})
			defer p.Close()
			if p.limits != c.want {
				t.Errorf("got %+v, want %+v", p.limits, c.want)
			}
		})
	}
}

// What belongs to the host and lies in the workspace is neither seen nor written.
func TestHostsOwnFolders(t *testing.T) {
	b := newBench(t, map[string]string{"keys/host": "k", "a*b/[x]": "y", "tmp/z": "z"})
	cache := filepath.Join(b.workspace, "sub", "cache")
	own := must(NewRunner(t.Context(), Config{CacheDir: cache}))(t)
	defer own.Close(t.Context())
	b.runner = own
	everything := with(grants([]string{"**"}, []string{"**"}, nil), writes("**"))
	turn := Turn{Protected: []string{b.workspace + "/keys", b.workspace + "/a*b", b.workspace + "/absent", b.workspace + "/tmp"}}
	trivial := newWasm(1).start(0).bytes()
	if r := b.run(ask{module: trivial, manifest: everything, turn: turn}); r.Status != "ok" {
		t.Fatal(r.Message)
	}
	r := b.run(ask{manifest: everything, turn: turn, steps: []string{"list /", "list /sub", "stat /sub/cache", "read /keys/host", "read /a*b/[x]", "list /keys"}})
	ok(t, r, "list /: out sub tmp\nlist /sub: \nstat /sub/cache: stat /sub/cache: No such file or directory\nread /keys/host: open /keys/host: No such file or directory\n"+
		"read /a*b/[x]: open /a*b/[x]: No such file or directory\nlist /keys: open /keys: No such file or directory\n")
	for _, path := range []string{"sub/cache/modules/x", "keys/host", "keys", "a*b/new"} {
		r := b.run(ask{manifest: everything, turn: turn, steps: []string{"write /" + path + " x"}})
		if r.Status != "blocked" || r.Code != "violation" || r.Violation.Subject != path {
			t.Errorf("%s: got %s %s %s", path, r.Status, r.Code, r.Message)
		}
	}
}

// This program is one of them: it is what modules are compiled with.
func TestProgramInTheWorkspace(t *testing.T) {
	b := newBench(t, nil)
	exe := must(filepath.EvalSymlinks(must(os.Executable())(t)))(t)
	p := b.prepare(ask{manifest: grants([]string{"**"}, []string{"**"}, nil), turn: Turn{Workspace: filepath.Dir(exe)}})
	defer p.Close()
	for _, op := range []capability.Op{capability.Read, capability.Write} {
		if _, err := p.enforcer.Check(op, filepath.Base(exe)); err == nil {
			t.Errorf("%s of the program is granted", op)
		}
		if _, err := p.enforcer.Check(op, "another"); err != nil {
			t.Errorf("%s of another file: %v", op, err)
		}
	}
}

// Whoever compiles a module for others may give up: they go on.
func TestCompilingIsGivenUp(t *testing.T) {
	b := newBench(t, nil)
	began := make(chan struct{}, 10)
	own := must(NewRunner(t.Context(), Config{CacheDir: t.TempDir() + "/c", Compiling: func(_ string, done bool) {
		if !done {
			began <- struct{}{}
		}
	}}))(t)
	defer own.Close(t.Context())
	b.runner = own
	pkg := b.pack(ask{})
	ctx, cancel := context.WithCancelCause(t.Context())
	first := make(chan error)
	go func() {
		_, err := own.Prepare(ctx, pkg, Turn{Workspace: b.workspace})
		first <- err
	}()
	<-began
	second := make(chan error)
	go func() {
		p, err := own.Prepare(t.Context(), pkg, Turn{Workspace: b.workspace})
		if err == nil {
			p.Close()
		}
		second <- err
	}()
	gaveUp := errors.New("gave up")
	cancel(gaveUp)
	if err := <-first; !errors.Is(err, gaveUp) {
		t.Errorf("the first: got %v, want %v", err, gaveUp)
	}
	if err := <-second; err != nil {
		t.Errorf("the second: %v", err)
	}
}

// What a crash of the machine left of the cache is made anew.
func TestBrokenCache(t *testing.T) {
	module := newWasm(1).start(0, c32(0), opDrop).bytes()
	for _, c := range []struct {
		name  string
		spoil func(entry, native string) error
	}{
		{"entry empty", func(entry, _ string) error { return os.Truncate(entry, 0) }},
		{"entry cut", func(entry, _ string) error { return os.Truncate(entry, 40) }},
		{"entry changed", func(entry, _ string) error { return appendTo(entry, "x") }},
		{"native gone", func(_, native string) error { return os.Remove(native) }},
		{"native empty", func(_, native string) error { return os.Truncate(native, 0) }},
		{"native cut", func(_, native string) error { return os.Truncate(native, 30) }},
		{"native changed", func(_, native string) error {
			b, err := os.ReadFile(native)
			if err == nil {
				b[len(b)/2] ^= 1
				err = os.WriteFile(native, b, 0o600)
			}
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			cache := t.TempDir() + "/c"
			compiled := 0
			run := func() {
				own := must(NewRunner(t.Context(), Config{CacheDir: cache, Compiling: func(_ string, done bool) {
					if !done {
						compiled++
					}
				}}))(t)
				defer own.Close(t.Context())
				b.runner = own
				ok(t, b.run(ask{module: module}), "")
			}
			run()
			run()
			if compiled != 1 {
				t.Fatalf("compiled %d times, want once", compiled)
			}
			entry := only(t, cache+"/modules/*")
			if err := c.spoil(entry, only(t, cache+"/native/*/*")); err != nil {
				t.Fatal(err)
			}
			run()
			if compiled != 2 {
				t.Errorf("compiled %d times, want twice", compiled)
			}
		})
	}
}

func only(t *testing.T, pattern string) string {
	t.Helper()
	found := must(filepath.Glob(pattern))(t)
	if len(found) != 1 {
		t.Fatalf("%s: got %q, want one", pattern, strings.Join(found, " "))
	}
	return found[0]
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
