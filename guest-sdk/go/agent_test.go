package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestMain is the agent of TestMainNative where that runs this binary again.
func TestMain(m *testing.M) {
	if os.Getenv("AGENT_TEST_MAIN") == "" {
		os.Exit(m.Run())
	}
	Main(func(r *Request) (any, error) {
		var q struct{ Say, Print, Raw, Fail string }
		if err := r.Decode(&q); err != nil {
			return nil, err
		}
		switch {
		case q.Fail != "":
			return "lost", errors.New(q.Fail)
		case q.Raw != "":
			return Raw(q.Raw), nil
		case q.Print != "":
			fmt.Print(q.Print)
			return nil, nil
		}
		return map[string]any{"say": q.Say, "turn": r.Turn, "query": r.Query}, nil
	})
}

func TestMainNative(t *testing.T) {
	for _, tt := range []struct {
		name, stdin, stdout, stderr string
		status                      int
	}{
		{"nothing", "", `{"query":null,"say":"","turn":0}` + "\n", "", 0},
		{"a query", `{"query":{"say":"<hi>"},"turn_number":2,"new":1}`, `{"query":{"say":"<hi>"},"say":"<hi>","turn":2}` + "\n", "", 0},
		{"raw", `{"query":{"raw":"as it is"}}`, "as it is", "", 0},
		{"printed", `{"query":{"print":"by itself"}}`, "by itself", "", 0},
		{"fails", `{"query":{"fail":"no such luck"}}`, "", "no such luck\n", 1},
		{"unknown member", `{"query":{"shout":1}}`, "", "decode the query: json: unknown field \"shout\"\n", 1},
		{"lines", "{\n\"query\": {\n\"raw\": \"as it is\"}}", "as it is", "", 0},
		{"no JSON", `{"query":`, "", "request: standard input: unexpected end of JSON input\n", 1},
		{"no object", `[]`, "", "request: the host's reply: json: cannot unmarshal array into Go struct field .request of type agent.Request\n", 1},
		{"wrong type", `{"turn_number":"two"}`, "", "request: the host's reply: json: cannot unmarshal string into Go struct field Request.request.turn_number of type int\n", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), "AGENT_TEST_MAIN=1")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(tt.stdin), &stdout, &stderr
			status := 0
			if err := cmd.Run(); err != nil {
				var exit *exec.ExitError
				if !errors.As(err, &exit) {
					t.Fatal(err)
				}
				status = exit.ExitCode()
			}
			if got, want := stdout.String(), tt.stdout; got != want {
				t.Errorf("stdout %q, want %q", got, want)
			}
			if got, want := stderr.String(), tt.stderr; got != want {
				t.Errorf("stderr %q, want %q", got, want)
			}
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
		})
	}
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name  string
		value any
		want  []byte
	}{
		{"nothing", nil, nil},
		{"raw", Raw("a\x00b"), []byte("a\x00b")},
		{"no bytes", Raw(nil), []byte{}},
		{"JSON", json.RawMessage(`{"b": 1, "a": 2}`), []byte("{\"b\":1,\"a\":2}\n")},
		{"no HTML", "<&>", []byte("\"<&>\"\n")},
		{"null", (*int)(nil), []byte("null\n")},
	} {
		got, err := Run(func(*Request) (any, error) { return tt.value, nil }, &Request{})
		if err != nil || !bytes.Equal(got, tt.want) || (got == nil) != (tt.want == nil) {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}

	failed := errors.New("failed")
	if got, err := Run(func(*Request) (any, error) { return "lost", failed }, &Request{}); got != nil || err != failed {
		t.Errorf("of a handler that fails: %q, %v", got, err)
	}
	if got, err := Run(func(*Request) (any, error) { return func() {}, nil }, &Request{}); got != nil || err == nil ||
		err.Error() != "encode the result: json: unsupported type: func()" {
		t.Errorf("of what JSON does not have: %q, %v", got, err)
	}
}

// The header is as the contract has it, with members that version 1 may get yet.
func TestRequest(t *testing.T) {
	var reply struct {
		head
		Request Request `json:"request"`
	}
	answer := `{"ok":true,"request":{"abi":1,"session_id":"SES-1","turn_number":3,"work_order_id":"WO-7",` +
		`"context_as_of":"2026-11-22T15:29:08.354Z","declared_inputs":[{"path":"docs/a.md","sha256":"sha256:00","size":12,"new":1}],` +
		`"declared_outputs":[{"path":"out/b.md","role":"report"}],"query":{"n":1},"new":{}}}` + "\n"
	if _, err := decode(opRequest, "", []byte(answer), nil, &reply); err != nil {
		t.Fatal(err)
	}
	got := reply.Request
	want := Request{
		SessionID: "SES-1", Turn: 3, WorkOrderID: "WO-7",
		AsOf:   time.Date(2026, 11, 22, 15, 29, 8, 354e6, time.UTC),
		Inputs: []Input{{"docs/a.md", "sha256:00", 12}}, Outputs: []Output{{"out/b.md", "report"}},
		Query: json.RawMessage(`{"n":1}`),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDecodeQuery(t *testing.T) {
	q := struct{ N int }{N: 7}
	for _, none := range []string{"", "null"} {
		if err := (&Request{Query: json.RawMessage(none)}).Decode(&q); err != nil || q.N != 7 {
			t.Errorf("of %q: %v, %v, want 7 as before", none, q, err)
		}
	}
	if err := (&Request{Query: json.RawMessage(`{"n":8}`)}).Decode(&q); err != nil || q.N != 8 {
		t.Errorf("%v, %v, want 8", q, err)
	}
	if err := (&Request{Query: json.RawMessage(`{"m":8}`)}).Decode(&q); err == nil {
		t.Error("a member nobody asked for was dropped")
	}
}
