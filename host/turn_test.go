package host

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/policy"
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
			Turn{Query: json.RawMessage(`{ "z": 1, "a": "<&>" }`), Narrow: policy.Narrow{WorkOrder: anOrder()}, Claim: claimed},
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
	hint := "run that package in it, or open a new session: leave --session out, and say --open to continue that one later"
	refused(t, err, "session "+string(s.ID)+" runs PKG-T3-TEST-001 0.1.0, not 0.2.0", hint)
	other = b.prepare(ask{manifest: members{"name": "changed"}})
	_, err = other.Run(t.Context(), s)
	refused(t, err, "session "+string(s.ID)+" runs another PKG-T3-TEST-001 0.1.0: it was opened with "+p.pkg.Digest.String()+", and this is "+other.pkg.Digest.String(), hint)
	other = b.prepare(ask{manifest: members{"id": "PKG-T3-OTHER-001"}})
	_, err = other.Run(t.Context(), s)
	refused(t, err, "session "+string(s.ID)+" runs PKG-T3-TEST-001, not PKG-T3-OTHER-001", hint)
	open, _ := s.Opened()
	open.Arch = "s390x"
	refused(t, Continues("SES-1", open, p.pkg), "session SES-1 runs on wazero-compiler on s390x, and this is wazero-compiler on "+runtime.GOARCH,
		"continue it where it was opened, or open a new session")

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
	ok(t, b.run(a), "list /.agenthost: call deps pkg policy.json\nlist /.agenthost/deps: PKG-A PKG-B\nread /.agenthost/deps/PKG-A/data.txt: data of PKG-A\n"+
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
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	return string(must(os.ReadFile(path))(t))
}
