package host

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/record"
)

// The doors of the contract, and files beside them, have the same replies, the
// same effects and the same evidence.
func TestContract(t *testing.T) {
	b := newBench(t, map[string]string{"docs/a.md": "hello", "docs/b.md": "b", "kept/x": "old"})
	manifest := with(
		grants([]string{"docs/**", "kept/*"}, []string{"kept/*"}, nil), writes("out/**?", "kept/*?"),
		members{"inputs": []string{"docs/a.md"}},
	)
	steps := []string{
		`read docs/a.md`, `read docs/b.md`, `read secret`, `read secret`, `append kept/x er`, `write out/x abc`,
	}
	r := b.run(ask{manifest: manifest, steps: steps, turn: Turn{DryRun: true}})
	want := r.Evidence
	for _, door := range []string{"call", "device"} {
		r := b.run(ask{manifest: manifest, turn: Turn{DryRun: true}, steps: []string{
			door + ` {"op":"read","path":"docs/a.md"}`,
			door + ` {"op":"read","path":"/docs/b.md","length":0}`,
			door + ` {"op":"read","path":"secret"}`,
			door + ` {"op":"read","path":"secret"}`,
			door + ` {"op":"write","path":"kept/x","append":true,"body":2}\ner`,
			door + ` {"op":"write","path":"out/x","body":3}\nabc`,
			door + ` {"op":"check","operation":"execute","subject":["git","log"]}`,
			door + ` {"op":"nothing"}`,
		}})
		ended(t, r, "dry_run", "", "", "")
		unknown := map[string]string{"call": "-4", "device": `{"ok":false,"code":"unsupported","message":"there is no op \"nothing\""}`}
		if got, want := string(r.Output), `{"ok":true,"size":5,"body":5}
hello
{"ok":true,"size":1,"body":0}
{"ok":false,"code":"not_found","message":"there is no such file or folder"}
{"ok":false,"code":"not_found","message":"there is no such file or folder"}
{"ok":true,"size":5}
{"ok":true,"size":3}
{"ok":true,"allowed":false,"decision":"violation","rule":"not granted"}
`+unknown[door]+"\n"; got != want {
			t.Errorf("%s: got %s\nwant %s", door, got, want)
		}
		for what, pair := range map[string][2]any{
			"declared reads":   {r.Evidence.DeclaredReads, want.DeclaredReads},
			"realized reads":   {r.Evidence.RealizedReads, want.RealizedReads},
			"undeclared reads": {r.Evidence.UndeclaredReads, want.UndeclaredReads},
			"violations":       {r.Evidence.Violations, want.Violations},
			"hidden":           {r.Evidence.Hidden, want.Hidden},
		} {
			if !reflect.DeepEqual(pair[0], pair[1]) {
				t.Errorf("%s: %s: got %+v, want %+v", door, what, pair[0], pair[1])
			}
		}
		var written []string
		for _, f := range r.Evidence.RealizedWrites {
			written = append(written, fmt.Sprint(strings.ReplaceAll(f.Path, r.Session, "S"), " ", f.Size))
		}
		if want := []string{"kept/x 5", "output/S/x 3"}; !slices.Equal(written, want) {
			t.Errorf("%s: wrote %q, want %q", door, written, want)
		}
	}
}

// The result that is given wins over standard output, the last one counts, and it
// is held back with everything else.
func TestGivenResult(t *testing.T) {
	b := newBench(t, nil)
	manifest := with(writes("out/**?"), limits(members{"result_bytes": "100B"}))
	r := b.run(ask{manifest: manifest, steps: []string{"say before", `call {"op":"result"}\nfirst`, `device {"op":"result","body":4}\nlast`, "say after"}})
	ok(t, r, "last")
	r = b.run(ask{manifest: manifest, steps: []string{"say before", `call {"op":"result"}`}})
	ok(t, r, "")
	r = b.run(ask{manifest: manifest, steps: []string{`call {"op":"result"}\nfirst`, "exit 1"}})
	ended(t, r, "error", "exit", "the agent ended with exit status 1", "nothing was published; what the agent said is in the ledger")
	r = b.run(ask{manifest: manifest, steps: []string{`call {"op":"result"}\nfirst`, "write secret x"}})
	if r.Status != record.StatusBlocked || r.Output != nil || r.Answer == nil {
		t.Errorf("a blocked turn: %s, %q, %v", r.Status, r.Output, r.Answer)
	}
	r = b.run(ask{manifest: manifest, steps: []string{`call {"op":"result"}\n` + strings.Repeat("x", 101)}})
	ended(t, r, "error", "limit", "the agent's result is longer than its limit of 100", "nothing was published; raise limits.result_bytes in the manifest")
}

// Messages to people go where standard error goes, and count there.
func TestLog(t *testing.T) {
	oneThread(t)
	b := newBench(t, nil)
	var shown strings.Builder
	r := b.run(ask{turn: Turn{Stderr: &shown}, steps: []string{
		"tell plain", `call {"op":"log","message":"two\u000alines","level":"warn"}`, `device {"op":"log","message":"m","fields":{"n": [1, 2]}}`,
	}})
	ok(t, r, "{\"ok\":true}\n{\"ok\":true}\n")
	if got, want := shown.String(), "plain\nwarn: two\nlines\ninfo: m {\"n\":[1,2]}\n"; got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
	r = b.run(ask{manifest: limits(members{"time": "600s"}), steps: []string{`calls 100 {"op":"log","message":"` + strings.Repeat("x", 1_000_000) + `"}`}})
	ended(t, r, "error", "limit", "the agent wrote more than 64MiB of messages", "nothing was published; this is a ceiling of the host: the agent must do with less")
}

// A violation has no reply: whatever the guest does, it is gone.
func TestContractViolation(t *testing.T) {
	b := newBench(t, map[string]string{"docs/private": "secret"})
	for _, message := range []string{`{"op":"read","path":"docs/private"}`, `{"op":"exec","argv":["git","log","docs/private"]}`, `{"op":"write","path":"docs/a"}\nx`} {
		r := b.run(ask{manifest: with(grants([]string{"docs/**"}, nil, []string{"docs/private"}), writes("out/**?")), steps: []string{"deny " + message}})
		if r.Status != record.StatusBlocked || r.Code != record.CodeViolation || r.Violation == nil || len(r.Evidence.Violations) != 1 {
			t.Errorf("%s: %s %s %+v", message, r.Status, r.Code, r.Evidence.Violations)
		}
		if last := b.ops(r)[len(b.ops(r))-1]; last.Decision != record.Violated || last.Via != record.ViaABI {
			t.Errorf("%s: recorded %+v last", message, last)
		}
	}
}

// Floods through the contract end where others do.
func TestContractFloods(t *testing.T) {
	oneThread(t)
	b := newBench(t, map[string]string{"docs/large": strings.Repeat("x", 2<<20)})
	manifest := func(limit string, value any) members {
		return with(grants([]string{"docs/**"}, nil, nil), limits(members{limit: value}))
	}
	r := b.run(ask{manifest: manifest("entries", 1000), steps: []string{`calls 5000 {"op":"info"}`}})
	ended(t, r, "error", "limit", "the agent did more than its limit of 1000 entries in the ledger holds", "nothing was published; raise limits.entries in the manifest")
	r = b.run(ask{manifest: manifest("fuel", 100_000_000), steps: []string{`calls 1000 {"op":"hash","path":"docs/large"}`}})
	ended(t, r, "error", "limit", "the agent used up its limit of 100000000 units of fuel", "nothing was published; raise limits.fuel in the manifest")
	r = b.run(ask{manifest: manifest("fuel", 100_000_000), steps: []string{`calls 100000 ` + strings.Repeat("[", 10_000)}})
	ended(t, r, "error", "limit", "the agent used up its limit of 100000000 units of fuel", "nothing was published; raise limits.fuel in the manifest")
	r = b.run(ask{manifest: grants([]string{"docs/**"}, nil, nil), steps: []string{`unread 100 {"op":"read","path":"docs/large"}`}})
	ended(t, r, "error", "limit", "the agent held messages to the host of more than 64MiB, unfinished or unread", "nothing was published; this is a ceiling of the host: the agent must do with less")
	r = b.run(ask{manifest: grants([]string{"docs/**"}, nil, nil), steps: []string{`calls 20000 {"op":"read","path":"secret"}`}})
	ok(t, r, "called\n")
	if ops := b.ops(r); len(ops) != 3 || ops[2].Count != 19_999 || r.Refused != 20_000 {
		t.Errorf("%d operations, %d refused", len(ops), r.Refused)
	}
}

// A module needs nothing of WASI to be an agent.
func TestContractWithoutWASI(t *testing.T) {
	w := newWasm(2)
	i := string([]byte{i32})
	callABI := w.imp(abi.Module, abi.FuncCall, i+i+i+i, i)
	more := w.imp(abi.Module, abi.FuncMore, i+i+i, i)
	request, result := `{"op":"request"}`, `{"op":"result"}`+"\n"
	w.put(0, request)
	w.put(100, result)
	// The result is what more copies behind the line: the whole reply to request.
	w.start(1,
		c32(0), c32(int64(len(request))), c32(0), c32(0), call(callABI), opTee, 0, opDrop,
		c32(0), c32(int64(100+len(result))), get(0), call(more), opDrop,
		c32(100), get(0), c32(int64(len(result))), opAdd, c32(1000), c32(0), call(callABI), opDrop,
	)
	b := newBench(t, nil)
	r := b.run(ask{module: w.bytes(), turn: Turn{Query: json.RawMessage(`{"q": 1}`)}})
	ended(t, r, "ok", "", "", "")
	var reply struct {
		OK      bool        `json:"ok"`
		Request abi.Request `json:"request"`
	}
	if err := json.Unmarshal(r.Output, &reply); err != nil || !reply.OK || reply.Request.SessionID != r.Session || string(reply.Request.Query) != `{"q":1}` {
		t.Errorf("got %q: %v", r.Output, err)
	}
}

// The header is there whatever stands on standard input, and so are the rights.
func TestContractTellsTheTurn(t *testing.T) {
	b := newBench(t, nil)
	manifest := with(grants([]string{"docs/**"}, []string{"kept/*"}, []string{"docs/no"}), writes("kept/*?"))
	r := b.run(ask{
		manifest: manifest, entry: members{"stdin": "none"}, turn: Turn{Prompt: "hi"},
		steps: []string{"stdin", `call {"op":"request"}`, "read /.agenthost/policy.json", `device {"op":"info"}`, "write /.agenthost/policy.json x", "stat /.agenthost/call"},
	})
	lines := strings.Split(string(r.Output), "\n")
	if !strings.HasPrefix(lines[0], `{"ok":true,"request":{"abi":1,`) || !strings.HasSuffix(lines[0], `"declared_outputs":[{"path":"kept/*","role":"test"}],"query":"hi"}}`) {
		t.Errorf("got %s", lines[0])
	}
	const rights = `{"read":["docs/**"],"write":["kept/*"],"execute":[],"forbidden":["docs/no"]}`
	if lines[1] != "read /.agenthost/policy.json: "+rights || lines[2] != "" {
		t.Errorf("got %s", lines[1])
	}
	if !strings.HasSuffix(lines[3], `"call_depth":10000},"rights":`+rights+`}`) || !strings.Contains(lines[3], `"limits":{"path":4096,"request":1048576,"body":15728640,"reply":16777216,"memory":268435456,"time_ms":60000,`) {
		t.Errorf("got %s", lines[3])
	}
	if lines[4] != "write /.agenthost/policy.json: open /.agenthost/policy.json: Read-only file system" {
		t.Errorf("got %s", lines[4])
	}
	if !strings.HasPrefix(lines[5], "stat /.agenthost/call: Dcrw-") {
		t.Errorf("got %s", lines[5])
	}
}
