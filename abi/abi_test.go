package abi

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestRequestEncode(t *testing.T) {
	full := Request{
		ABI: Version, SessionID: "SES-1", TurnNumber: 2, WorkOrderID: "WO-7", ContextAsOf: "2026-01-02T03:04:05.678Z",
		DeclaredInputs:  []Input{{Path: "docs/a.md", SHA256: "sha256:00", Size: 12}},
		DeclaredOutputs: []Output{{Path: "out/<b>.md", Role: "report"}},
		Query:           json.RawMessage("{ \"b\" : [1.50, \"<&>\"],\n \"a\": null }"),
	}
	for _, test := range []struct {
		name    string
		request Request
		want    string
	}{
		{"full", full, `{"abi":1,"session_id":"SES-1","turn_number":2,"work_order_id":"WO-7","context_as_of":"2026-01-02T03:04:05.678Z",` +
			`"declared_inputs":[{"path":"docs/a.md","sha256":"sha256:00","size":12}],` +
			`"declared_outputs":[{"path":"out/<b>.md","role":"report"}],"query":{"b":[1.50,"<&>"],"a":null}}` + "\n"},
		{"empty", Request{Query: json.RawMessage{}}, `{"abi":0,"session_id":"","turn_number":0,"context_as_of":"","declared_inputs":[],"declared_outputs":[],"query":null}` + "\n"},
	} {
		got, err := test.request.Encode()
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if string(got) != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
	for _, bad := range []string{"{", "1 2", "\xff", " "} {
		if got, err := (Request{Query: json.RawMessage(bad)}).Encode(); err == nil {
			t.Errorf("query %q was encoded: %s", bad, got)
		}
	}
}

func TestRightsEncode(t *testing.T) {
	for _, test := range []struct {
		rights Rights
		want   string
	}{
		{Rights{}, `{"read":[],"write":[],"execute":[],"forbidden":[]}` + "\n"},
		{
			Rights{Read: []string{"docs/<a>&"}, Write: []string{"out/**"}, Execute: [][]string{{"git", "log *"}}, Forbidden: []string{"x"}},
			`{"read":["docs/<a>&"],"write":["out/**"],"execute":[["git","log *"]],"forbidden":["x"]}` + "\n",
		},
	} {
		got, err := test.rights.Encode()
		if err != nil || string(got) != test.want {
			t.Errorf("got %s %v, want %s", got, err, test.want)
		}
	}
}

func TestOps(t *testing.T) {
	ops := Ops()
	if !slices.IsSorted(ops) || slices.Contains(ops, OpHTTP) || len(ops) != 10 {
		t.Errorf("got %q", ops)
	}
	if MaxRequest+MaxBody > MaxReply {
		t.Error("a body does not fit a reply with its line")
	}
}

func TestFunctions(t *testing.T) {
	for _, test := range []struct {
		module string
		count  int
	}{{Module, 2}, {WASIModule, 46}, {WASIUnstable, 0}, {"env", 0}, {"", 0}} {
		functions := Functions(test.module)
		if len(functions) != test.count {
			t.Errorf("%s has %d functions, want %d", test.module, len(functions), test.count)
		}
		if !slices.IsSortedFunc(functions, func(a, b Function) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%s: not sorted", test.module)
		}
		for _, f := range functions {
			if strings.Trim(f.Params+f.Results, I32+I64) != "" || len(f.Results) > 1 {
				t.Errorf("%s.%s has the signature %s", test.module, f.Name, f.Signature)
			}
		}
	}
}

func TestLookup(t *testing.T) {
	for _, test := range []struct{ module, name, want string }{
		{Module, "call", "(i32, i32, i32, i32) -> i32"},
		{Module, "more", "(i32, i32, i32) -> i32"},
		{WASIModule, "proc_exit", "(i32) -> ()"},
		{WASIModule, "sched_yield", "() -> i32"},
		{WASIModule, "path_open", "(i32, i32, i32, i32, i32, i64, i64, i32, i32) -> i32"},
	} {
		got, ok := Lookup(test.module, test.name)
		if !ok || got.String() != test.want {
			t.Errorf("%s.%s: got %s %v, want %s", test.module, test.name, got, ok, test.want)
		}
	}
	for _, name := range []string{"", "call", "fd_Read", "sock_open", "fd_read "} {
		if _, ok := Lookup(WASIModule, name); ok {
			t.Errorf("%q was found", name)
		}
	}
	if got, want := (Signature{F32 + F64 + "\x7b\x70\x6f\x01", I32 + I64}).String(), "(f32, f64, v128, funcref, externref, ?) -> (i32, i64)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReservedEnv(t *testing.T) {
	for _, line := range Environ("SES-1", 3) {
		name, _, _ := strings.Cut(line, "=")
		if !ReservedEnv(name) {
			t.Errorf("%s is set by the host and not reserved", name)
		}
	}
	got := strings.Join(Environ("SES-1", 3), " ")
	if want := "AGENTHOST_ABI=1 AGENTHOST_SESSION=SES-1 AGENTHOST_TURN=3 TMPDIR=/tmp TEMP=/tmp TMP=/tmp HOME=/tmp PWD=/"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if ReservedEnv("PYTHONHOME") || ReservedEnv("agenthost_x") || !ReservedEnv("AGENTHOST_LATER") {
		t.Error("only the host's own names are reserved")
	}
}
