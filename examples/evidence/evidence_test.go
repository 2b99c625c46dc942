package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	agent "github.com/agenthost/agenthost/guest-sdk/go"
)

func TestEvidence(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("a.md", []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &agent.Request{
		SessionID: "SES-1", Turn: 3, WorkOrderID: "WO-7",
		AsOf:    time.Date(2026, 11, 22, 15, 29, 8, 354e6, time.UTC),
		Inputs:  []agent.Input{{Path: "b.md", SHA256: "sha256:00", Size: 5}},
		Outputs: []agent.Output{{Path: "out/c.md", Role: "report"}},
	}
	const hello = `"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"`
	const turn = `"session_id":"SES-1","turn_number":3,"work_order_id":"WO-7",`
	const declared = `"declared_reads":[{"path":"b.md","sha256":"sha256:00","size":5}],"declared_writes":[{"path":"out/c.md","role":"report"}],`
	for _, tt := range []struct{ query, want string }{
		{`null`, `{` + turn + `"timestamp":"2026-11-22T15:29:08.354Z",` + declared + `"values":{},"files":[]}`},
		// printf '{"a":1,"b":[true,null]}' | sha256sum
		{
			`{"input": {"b": [true, null], "a": 1.0}, "output": null, "values": {"x": {"a":1, "b":[true,null]}}, "files": ["a.md"], "duration_ms": 12}`,
			`{` + turn + `"input_hash":"sha256:1cc69c7fa23616ca2ec3ee70d24390a6225c8832db8a4c814c7e0e7f942f8668",` +
				`"output_hash":"sha256:74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",` +
				`"timestamp":"2026-11-22T15:29:08.354Z","duration_ms":12,` + declared +
				`"values":{"x":"sha256:1cc69c7fa23616ca2ec3ee70d24390a6225c8832db8a4c814c7e0e7f942f8668"},"files":[{"path":"a.md","sha256":` + hello + `}]}`,
		},
	} {
		r.Query = json.RawMessage(tt.query)
		got, err := agent.Run(evidence, r)
		if err != nil || string(got) != tt.want+"\n" {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", tt.query, got, err, tt.want)
		}
	}

	for query, want := range map[string]string{
		`{"file": ["a.md"]}`:                  `decode the query: json: unknown field "file"`,
		`{"input": 1, "input": 2}`:            `the query: the member "input" is given twice`,
		`{"values": {"n": 9007199254740993}}`: `the query: the integer 9007199254740993 is not exact in JSON: give it as a string`,
		`"a"`:                                 `decode the query: json: cannot unmarshal string into Go value of type main.query`,
	} {
		r.Query = json.RawMessage(query)
		if got, err := agent.Run(evidence, r); got != nil || err == nil || err.Error() != want {
			t.Errorf("%s: %s, %v, want %s", query, got, err, want)
		}
	}
	r.Query = json.RawMessage(`{"files": ["missing.md"]}`)
	if got, err := agent.Run(evidence, r); got != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a missing file: %s, %v", got, err)
	}
}

// The examples of RFC 8785, 3.2.2, 3.2.3 and appendix B, and what tells one
// value from another.
func TestCanonical(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{
			`{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
			  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		},
		{
			`{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
			  "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}`,
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\"," +
				"\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
		},
		{`[56, {"d": true, "10": null, "1": []}]`, `[56,{"1":[],"10":null,"d":true}]`},
		{` [ ] `, `[]`},
		{`{ }`, `{}`},
		{`-0.0`, `0`},
		{`-1`, `-1`},
		{`1.0e0`, `1`},
		{`9007199254740991`, `9007199254740991`},
		{`-9007199254740991`, `-9007199254740991`},
		{`1e-400`, `0`},
		{`"\b\t\n\f\r\u0000\u001f\u007f<>&\u2028\ufffd"`, "\"\\b\\t\\n\\f\\r\\u0000\\u001f\x7f<>&\u2028\ufffd\""},
		{`"\\ud800"`, `"\\ud800"`},
		{`"\ud834\udd1e"`, `"𝄞"`},
	} {
		got, err := canonical([]byte(tt.value))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", tt.value, got, err, tt.want)
			continue
		}
		if again, err := canonical(got); err != nil || string(again) != tt.want {
			t.Errorf("%s, once more: %s, %v", tt.want, again, err)
		}
	}

	for bits, want := range map[uint64]string{
		0x0000000000000000: "0", 0x8000000000000000: "0", 0x0000000000000001: "5e-324", 0x8000000000000001: "-5e-324",
		0x7fefffffffffffff: "1.7976931348623157e+308", 0xffefffffffffffff: "-1.7976931348623157e+308",
		0x4430000000000000: "295147905179352830000", 0x44b52d02c7e14af5: "9.999999999999997e+22",
		0x44b52d02c7e14af6: "1e+23", 0x44b52d02c7e14af7: "1.0000000000000001e+23",
		0x444b1ae4d6e2ef4e: "999999999999999700000", 0x444b1ae4d6e2ef4f: "999999999999999900000", 0x444b1ae4d6e2ef50: "1e+21",
		0x3eb0c6f7a0b5ed8c: "9.999999999999997e-7", 0x3eb0c6f7a0b5ed8d: "0.000001",
		0x41b3de4355555553: "333333333.3333332", 0x41b3de4355555557: "333333333.33333343", 0xbecbf647612f3696: "-0.0000033333333333333333",
		0x43143ff3c1cb0959: "1424953923781206.2",
	} {
		literal, err := json.Marshal(math.Float64frombits(bits))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.ContainsAny(string(literal), ".e") {
			literal = append(literal, ".0"...) // a float64, not an integer someone wrote
		}
		if got, err := canonical(literal); err != nil || string(got) != want {
			t.Errorf("%x: %s, %v, want %s", bits, got, err, want)
		}
	}

	for _, value := range []string{
		``, `{`, `1 2`, `{"a":1,"\u0061":2}`, `[{"a":{"b":1,"b":1}}]`, `"\ud800"`, `"\udc00"`, `"\ud800\ud800"`, `"\ud800\u0041"`,
		`{"\udfff":1}`, `"\ud800x"`, `"\ud800\n"`, "\"\xff\"", "\"\xed\xa0\x80\"", `1e400`, `-1e400`, `9007199254740992`, `-9007199254740992`, `100000000000000000000`,
	} {
		if got, err := canonical([]byte(value)); err == nil {
			t.Errorf("%s has the form %s", value, got)
		}
	}
}
