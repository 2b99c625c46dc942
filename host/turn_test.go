package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/archive"
)

func TestResultKinds(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct{ name, step, want string }{
		{"JSON", `say {"a": [1, 2.50]}`, `"result":{"a":[1,2.50]}`},
		{"a number", "say 17", `"result":17`},
		{"text", "say two words", `"result_text":"two words"`},
		{"two values", `say 1 2`, `"result_text":"1 2"`},
		{"bytes", "bytes fffe00", `"result_base64":"//4A"`},
		{"nothing", "", `"result_text":""`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.t = t
			r := b.run(ask{steps: []string{c.step}})
			if r.Status != "ok" {
				t.Fatal(r.Message)
			}
			text := must(json.Marshal(r.Envelope()))(t)
			if !bytes.Contains(text, []byte(c.want)) {
				t.Errorf("got %s, want %s in it", text, c.want)
			}
		})
	}
}

func TestExitAndTrap(t *testing.T) {
	b := newBench(t, nil)
	r := b.run(ask{steps: []string{"say lost", "write /out/a x", "exit 3"}, manifest: writes("out/a")})
	ended(t, r, "error", "exit", "the agent ended with exit status 3", "nothing was published; what the agent said is in the ledger")
	if r.Exit == nil || *r.Exit != 3 {
		t.Errorf("got exit %v, want 3", r.Exit)
	}
	r = b.run(ask{steps: []string{"panic of the guest"}})
	ended(t, r, "error", "exit", "the agent ended with exit status 2", "nothing was published; what the agent said is in the ledger")

	trap := newWasm(1).start(0, opUnreachable)
	r = b.run(ask{module: trap.bytes()})
	ended(t, r, "error", "trap", "the agent trapped: unreachable", "nothing was published; this is a fault of the agent's program")
	if r.Exit != nil {
		t.Errorf("got exit %d, want none", *r.Exit)
	}
}

func TestStdin(t *testing.T) {
	asOf := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	files := map[string]string{"docs/b.md": "bb", "docs/a.md": "a"}
	manifest := with(grants([]string{"docs/**"}, nil, nil), writes("out/x?"), members{"inputs": []string{"docs/*.md"}})
	for _, c := range []struct {
		name, mode string
		turn       Turn
		want       string
	}{
		{
			"request", "",
			Turn{Query: json.RawMessage(`{ "z": 1, "a": "<&>" }`), WorkOrder: "WO-1"},
			`{"abi":1,"session_id":"SID","turn_number":1,"work_order_id":"WO-1","context_as_of":"2026-01-02T03:04:05.678Z",` +
				`"declared_inputs":[{"path":"docs/a.md","sha256":"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","size":1},` +
				`{"path":"docs/b.md","sha256":"sha256:3b64db95cb55c763391c707108489ae18b4112d783300de38e033b4c98c3deaf","size":2}],` +
				`"declared_outputs":[{"path":"out/x","role":"test"}],"query":{"z":1,"a":"<&>"}}` + "\n",
		},
		{
			"prompt as request", "",
			Turn{Prompt: "say \"hi\" <b>"},
			`"query":"say \"hi\" <b>"}` + "\n",
		},
		{"nothing asked", "", Turn{}, `"query":null}` + "\n"},
		{"prompt", "prompt", Turn{Prompt: "plain\ntext"}, "plain\ntext"},
		{"prompt of a string", "prompt", Turn{Query: json.RawMessage(` "a\tb" `)}, "a\tb"},
		{"prompt of a value", "prompt", Turn{Query: json.RawMessage(` [1, 2] `)}, "[1, 2]"},
		{"prompt of nothing", "prompt", Turn{}, ""},
		{"none", "none", Turn{Prompt: "unheard"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, files)
			entry := members{}
			if c.mode != "" {
				entry["stdin"] = c.mode
			}
			c.turn.AsOf = asOf
			r := b.run(ask{manifest: manifest, entry: entry, steps: []string{"stdin"}, turn: c.turn})
			want := strings.ReplaceAll(c.want, "SID", r.Session)
			got := string(r.Output)
			if strings.HasPrefix(want, `"query"`) {
				got = got[max(0, len(got)-len(want)):]
			}
			if got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestEnvironmentAndArguments(t *testing.T) {
	b := newBench(t, nil)
	r := b.run(ask{
		entry: members{"args": []string{"env", "argv"}, "env": members{"B": "2", "A": "1=x"}},
		turn:  Turn{Args: []string{"", "-x", "a b", "ü"}},
	})
	ok(t, r, strings.Join([]string{
		"AGENTHOST_ABI=1", "AGENTHOST_SESSION=" + r.Session, "AGENTHOST_TURN=1", "TMPDIR=/tmp", "TEMP=/tmp", "TMP=/tmp", "HOME=/tmp", "PWD=/",
		"A=1=x", "B=2", `["agent.wasm" "env" "argv" "" "-x" "a b" "ü"]`, "",
	}, "\n"))
}

// One time and one seed make one result, wherever the turn runs.
func TestDeterminism(t *testing.T) {
	asOf := time.Date(2026, 1, 2, 3, 4, 5, 678_999_999, time.UTC)
	run := func() (*Result, *bench) {
		b := newBench(t, map[string]string{"b": "1", "a": "22", "ö": "3", "Z": "4", "sub/x": "5"})
		return b.run(ask{
			manifest: with(grants([]string{"**"}, nil, nil), writes("out/**")),
			turn:     Turn{AsOf: asOf},
			steps: []string{
				"write /out/b 1", "write /out/a 2", "raw-list /", "raw-list /out", "walk /", "stat /a", "stat /out/a", "stat /sub",
				"clock 3", "random 16", "map", "goroutines 50", "clock 1", "env", "stdin",
			},
		}), b
	}
	one, b := run()
	two, _ := run()
	if one.Status != "ok" || string(one.Output) != string(two.Output) {
		t.Fatalf("got %s\n%s\nand %s\n%s", one.Status, one.Output, two.Status, two.Output)
	}
	if one.Fuel != two.Fuel {
		t.Errorf("got %d and %d units of fuel", one.Fuel, two.Fuel)
	}
	for _, want := range []string{
		"raw-list /: Z a b out sub tmp ö\n",
		"raw-list /out: a b\n",
		"stat /a: -rw------- 2 2026-01-02T03:04:05.678Z\n",
	} {
		if !strings.Contains(string(one.Output), want) {
			t.Errorf("got %s, want %q in it", one.Output, want)
		}
	}
	// Another time is another result.
	if three := b.run(ask{steps: []string{"clock 1"}, turn: Turn{AsOf: asOf.Add(time.Hour)}}); !strings.HasPrefix(string(three.Output), "2026-01-02T04:04:05.") {
		t.Errorf("got %s", three.Output)
	}
}

func TestClockAndRandomBytes(t *testing.T) {
	// A program that only asks: the runtime of Go takes readings and bytes of its
	// own.
	w := newWasm(1)
	clock, random, write := w.wasi("clock_time_get"), w.wasi("random_get"), w.wasi("fd_write")
	w.put(0, string([]byte{64, 0, 0, 0, 48, 0, 0, 0})) // one buffer: 48 bytes at 64
	w.start(0,
		c32(0), c64(1), c32(64), call(clock), opDrop,
		c32(0), c64(1), c32(72), call(clock), opDrop,
		c32(1), c64(1), c32(80), call(clock), opDrop, // monotonic
		c32(88), c32(24), call(random), opDrop,
		c32(1), c32(0), c32(1), c32(16), call(write), opDrop)
	b := newBench(t, nil)
	asOf := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	for turn := uint64(1); turn <= 2; turn++ {
		r := b.run(ask{module: w.bytes(), turn: Turn{AsOf: asOf}, keep: true})
		if r.Status != "ok" || len(r.Output) != 48 {
			t.Fatalf("got %s %s, %d bytes", r.Status, r.Message, len(r.Output))
		}
		for i, want := range []int64{asOf.UnixNano(), asOf.UnixNano() + 1e6, 2e6} {
			got := int64(0)
			for j := 7; j >= 0; j-- {
				got = got<<8 | int64(r.Output[8*i+j])
			}
			if got != want {
				t.Errorf("turn %d, reading %d: got %d, want %d", turn, i, got, want)
			}
		}
		key := sha256.Sum256(append(make([]byte, 32), 0, 0, 0, 0, 0, 0, 0, byte(turn)))
		want := make([]byte, 24)
		rand.NewChaCha8(key).Read(want)
		if got := r.Output[24:]; !bytes.Equal(got, want) {
			t.Errorf("turn %d: got %x, want %x", turn, got, want)
		}
	}
	b.session.Leave()
}

// Sleeping takes no time, and moves the guest's clock all the same.
func TestSleep(t *testing.T) {
	b := newBench(t, nil)
	asOf := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	r := b.run(ask{steps: []string{"sleep 1h", "clock 1", "sleep 2000000h", "clock 1"}, turn: Turn{AsOf: asOf}})
	lines := strings.Split(string(r.Output), "\n")
	if r.Status != "ok" || len(lines) != 5 {
		t.Fatalf("got %s %s: %s", r.Status, r.Message, r.Output)
	}
	first, second := must(time.Parse(time.RFC3339Nano, lines[1]))(t), must(time.Parse(time.RFC3339Nano, lines[3]))(t)
	if d := first.Sub(asOf); d < time.Hour || d > time.Hour+time.Second {
		t.Errorf("after an hour got %v", d)
	}
	if d := second.Sub(first); d < 2_000_000*time.Hour || d > 2_000_000*time.Hour+time.Second {
		t.Errorf("after two million hours got %v", d)
	}
	c := newClock(asOf)
	c.sleep(1<<63 - 1)
	c.sleep(1<<63 - 1)
	c.sleep(-1)
	if sec, _ := c.walltime(); sec != lastTime.Unix() || c.nanotime() != lastTime.Sub(asOf).Nanoseconds() {
		t.Errorf("got %d, want %d", sec, lastTime.Unix())
	}
}

func TestOutputs(t *testing.T) {
	files := map[string]string{"reports/old.md": "old", "docs/a.md": "A"}
	allowed := grants([]string{"docs/**", "reports/**"}, []string{"reports/*.md"}, nil)
	for _, c := range []struct {
		name     string
		manifest members
		steps    []string
		turn     Turn
		status   string
		code     string
		message  string
		hint     string
		disk     map[string]string // what is there after
	}{
		{
			name: "all kinds", manifest: with(allowed, writes("out/r.md", "reports/*.md", "out/maybe?")),
			steps: []string{"mkdir /out/sub", "write /out/r.md R", "write /reports/new.md N", "write /reports/old.md O", "write /tmp/t T"}, status: "ok",
			disk: map[string]string{"reports/old.md": "O", "reports/new.md": "N"},
		},
		{
			name: "missing", manifest: with(allowed, writes("out/r.md", "out/s.md")), steps: []string{"write /out/s.md S"},
			status: "blocked", code: "missing_output", message: `the turn was blocked: "out/r.md" was declared and not written`,
			hint: "let the agent write it, or mark it optional in outputs; nothing was published",
		},
		{
			name: "undeclared beneath out", manifest: with(allowed, writes("out/r.md")), steps: []string{"write /out/r.md R", "write /out/x X", "write /out/y Y"},
			status: "blocked", code: "undeclared_write", message: `the turn was blocked: "out/x" was written and not declared`,
			hint: "declare it in outputs, or with --declare; nothing was published",
		},
		{
			name: "granted and undeclared", manifest: allowed, steps: []string{"write /reports/new.md N"},
			status: "blocked", code: "undeclared_write", message: `the turn was blocked: the agent may write "reports/new.md", but the turn did not declare it`,
			hint: "declare it in outputs, or with --declare; nothing was published",
		},
		{
			name: "not granted", manifest: allowed, steps: []string{"write /docs/b.md N"},
			status: "blocked", code: "violation", message: `the turn was blocked: the agent may not write "docs/b.md" (no grant of write)`,
			hint: `the smallest grant that would allow it: write: ["docs/b.md"]`,
		},
		{
			name: "dry run", manifest: with(allowed, writes("out/r.md")), steps: []string{"write /out/r.md R"}, turn: Turn{DryRun: true}, status: "dry_run",
		},
		{
			name: "dry run of what would be blocked", manifest: with(allowed, writes("out/r.md")), turn: Turn{DryRun: true},
			status: "blocked", code: "missing_output", message: `the turn was blocked: "out/r.md" was declared and not written`,
			hint: "let the agent write it, or mark it optional in outputs; nothing was published",
		},
		{
			name: "strict: undeclared read", manifest: allowed, steps: []string{"read /docs/a.md"}, turn: Turn{Strict: true},
			status: "blocked", code: "violation", message: `the turn was blocked: the agent may read "docs/a.md", but a strict turn reads only what it declared`,
			hint: "declare it in inputs, or with --input; nothing was published",
		},
		{
			name: "strict: hidden open", manifest: allowed, steps: []string{"read /.editorconfig"}, turn: Turn{Strict: true},
			status: "blocked", code: "violation", message: `the turn was blocked: the agent may not read ".editorconfig" (no grant of read)`,
			hint: `the smallest grant that would allow it: read: [".editorconfig"]`,
		},
		{
			name: "declared input under strict", manifest: with(allowed, members{"inputs": []string{"docs/a.md"}}), steps: []string{"read /docs/a.md", "stat /nothing"},
			turn: Turn{Strict: true}, status: "ok",
		},
		{
			name: "forbidden read", manifest: grants([]string{"**"}, nil, []string{"docs/**"}), steps: []string{"read /docs/a.md", "say after"},
			status: "blocked", code: "violation", message: `the turn was blocked: the agent may not read "docs/a.md" (forbidden docs/**)`,
			hint: "no grant allows it while that rule stands; nothing was published",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, files)
			r := b.run(ask{manifest: c.manifest, steps: c.steps, turn: c.turn})
			ended(t, r, c.status, c.code, c.message, c.hint)
			for name, want := range c.disk {
				if got := b.read(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if c.status == "ok" != (r.Output != nil) && c.status != "dry_run" {
				t.Errorf("status %s has the output %q", c.status, r.Output)
			}
		})
	}
}

// Every undeclared file is told, not only the first, and kept aside.
func TestMismatchesAreAllTold(t *testing.T) {
	b := newBench(t, nil)
	r := b.run(ask{manifest: writes("out/c"), steps: []string{"write /out/a A", "write /out/b B"}})
	var told []string
	for _, v := range r.Evidence.Violations {
		told = append(told, v.Operation+" "+strings.TrimPrefix(v.Subject, "output/"+r.Session+"/")+" "+v.Rule)
	}
	want := "publish a undeclared_write, publish b undeclared_write, publish c missing_output"
	if got := strings.Join(told, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(r.Evidence.RealizedWrites) != 2 || len(r.Withheld) != 2 {
		t.Errorf("got %v realized and %v withheld, want two of each", r.Evidence.RealizedWrites, r.Withheld)
	}
	if got := readFile(t, b.sessionDir(r)+"/blocked/1/out/b"); got != "B" {
		t.Errorf("got %q in blocked, want B", got)
	}
}

func TestTurnsOfOneSession(t *testing.T) {
	b := newBench(t, nil)
	turn := ask{manifest: writes("out/**"), keep: true}
	next := func(steps ...string) *Result {
		turn.steps = steps
		return b.run(turn)
	}
	ok(t, next("write /out/n 1", "write /tmp/n 1"), "write /out/n: done\nwrite /tmp/n: done\n")
	ended(t, next("write /out/n 2", "exit 1"), "error", "exit", "the agent ended with exit status 1", "nothing was published; what the agent said is in the ledger")
	r := next("read /out/n", "read /tmp/n", "append /out/n 3", "list /out")
	ok(t, r, "read /out/n: 1\nread /tmp/n: open /tmp/n: No such file or directory\nappend /out/n: done\nlist /out: n\n")
	if r.Number != 3 {
		t.Errorf("got turn %d, want 3", r.Number)
	}
	turn.keep = false
	ok(t, next("read /out/n"), "read /out/n: 13\n")
}

// A session takes only the package it was opened for, and publishes to the
// workspace that was judged.
func TestSessionOfSomethingElse(t *testing.T) {
	b := newBench(t, nil)
	p := b.prepare(ask{})
	s := b.open(p, ask{})
	defer s.Leave()
	other := b.prepare(ask{manifest: members{"version": "0.2.0"}})
	_, err := other.Run(t.Context(), s)
	want := "session " + string(s.ID) + " runs PKG-T3-TEST-001 0.1.0 (" + p.pkg.Digest.String() + "), not PKG-T3-TEST-001 0.2.0 (" + other.pkg.Digest.String() + ")"
	refused(t, err, want, "open a new session for another package")

	elsewhere := t.TempDir()
	_, err = b.prepare(ask{turn: Turn{Workspace: elsewhere}}).Run(t.Context(), s)
	refused(t, err, "session "+string(s.ID)+" publishes to another workspace than "+elsewhere, "use the workspace the session was opened in")
	if s.Turns() != 0 {
		t.Errorf("got %d turns, want none", s.Turns())
	}
	ok(t, must(p.Run(t.Context(), s))(t), "")
}

func TestLibraries(t *testing.T) {
	library := func(id, version string, depends ...string) *archive.Package {
		dir := t.TempDir()
		m := members{"schema": archive.ManifestSchema, "id": id, "version": version}
		var list []members
		for _, d := range depends {
			id, version, _ := strings.Cut(d, " ")
			list = append(list, members{"id": id, "version": version})
		}
		if list != nil {
			m["dependencies"] = list
		}
		os.WriteFile(dir+"/manifest.json", must(json.Marshal(m))(t), 0o644)
		os.WriteFile(dir+"/data.txt", []byte("data of "+id), 0o644)
		pkg := must(archive.FromFolder(dir))(t)
		t.Cleanup(func() { pkg.Close() })
		return pkg
	}
	b := newBench(t, nil)
	a := ask{
		manifest: members{"dependencies": []members{{"id": "PKG-A", "version": ">=1.0.0"}}},
		steps:    []string{"list /.agenthost", "list /.agenthost/deps", "read /.agenthost/deps/PKG-A/data.txt", "read /.agenthost/deps/PKG-B/data.txt", "write /.agenthost/deps/PKG-A/x y", "list /.agenthost/pkg"},
	}
	a.turn.Libraries = []*archive.Package{library("PKG-A", "1.2.0", "PKG-B >=2.0.0"), library("PKG-B", "2.0.0")}
	ok(t, b.run(a), "list /.agenthost: deps pkg\nlist /.agenthost/deps: PKG-A PKG-B\nread /.agenthost/deps/PKG-A/data.txt: data of PKG-A\n"+
		"read /.agenthost/deps/PKG-B/data.txt: data of PKG-B\nwrite /.agenthost/deps/PKG-A/x: open /.agenthost/deps/PKG-A/x: Read-only file system\n"+
		"list /.agenthost/pkg: agent.wasm manifest.json\n")
	for _, c := range []struct {
		name       string
		libraries  []*archive.Package
		what, hint string
	}{
		{"none", nil, "PKG-T3-TEST-001 depends on PKG-A >=1.0.0, which was not given", "name its package with --library FILE"},
		{"too old", []*archive.Package{library("PKG-A", "0.9.0")}, "PKG-T3-TEST-001 depends on PKG-A >=1.0.0 and 0.9.0 was given", "give a version in that range with --library FILE"},
		{"one of two", []*archive.Package{library("PKG-A", "1.0.0", "PKG-B >=2.0.0")}, "PKG-A depends on PKG-B >=2.0.0, which was not given", "name its package with --library FILE"},
		{"twice", []*archive.Package{library("PKG-A", "1.0.0"), library("PKG-A", "1.1.0")}, "PKG-A was given twice", "give one version of each library"},
		{"one too many", []*archive.Package{library("PKG-A", "1.0.0"), library("PKG-C", "1.0.0")}, "nothing depends on PKG-C", "leave it out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.turn.Libraries = c.libraries
			_, err := b.tryPrepare(a)
			refused(t, err, c.what, c.hint)
		})
	}
}

// Functions that WASI does not have answer ENOSYS where a package asks for it,
// and the ledger says which were called.
func TestUnknownImports(t *testing.T) {
	w := newWasm(1)
	adapter := w.imp(abi.WASIModule, "adapter_open", string([]byte{i32, i64}), string([]byte{i32}))
	w.imp(abi.WASIModule, "never_called", "", string([]byte{i32}))
	exit := w.wasi("proc_exit")
	w.start(0, c32(1), c64(2), call(adapter), opDrop, c32(1), c64(2), call(adapter), call(exit))
	b := newBench(t, nil)
	for range 2 { // the second turn shares what was made for the first
		r := b.run(ask{module: w.bytes(), entry: members{"unknown_imports": "enosys"}})
		ended(t, r, "error", "exit", "the agent ended with exit status 52", "nothing was published; what the agent said is in the ledger")
		ops := b.ops(r)
		if len(ops) != 2 || ops[0].Op != "call" || ops[0].Path != "wasi_snapshot_preview1.adapter_open" || ops[0].Decision != "hidden" || ops[1].Count != 1 {
			t.Errorf("got %+v, want two calls of adapter_open", ops)
		}
	}
	vector := newWasm(1)
	vector.imp(abi.WASIModule, "vectors", "\x7b", string([]byte{i32}))
	_, err := b.tryPrepare(ask{module: vector.start(0).bytes(), entry: members{"unknown_imports": "enosys"}})
	refused(t, err, "the module imports vectors as (v128) -> i32, which no function that answers ENOSYS can be", "build it for plain WASI preview 1")
	contract := newWasm(1)
	contract.imp(abi.Module, "more", string([]byte{i32, i32, i32}), string([]byte{i32}))
	_, err = b.tryPrepare(ask{module: contract.start(0).bytes()})
	refused(t, err, "the module imports more from agenthost_v1, which this version does not offer yet", "use WASI preview 1 alone")
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	return string(must(os.ReadFile(path))(t))
}
