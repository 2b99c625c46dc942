package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/ledger"
)

func TestParseWorkOrder(t *testing.T) {
	h, err := ledger.ParseHash(digest)
	if err != nil {
		t.Fatal(err)
	}
	data := []byte(`{
		"$schema": "work_order.schema.json",
		"schema": "agenthost/work_order/v1",
		"id": "WO-7",
		"description": "The report of the month.",
		"packages": ["PKG-A-1", "PKG-B-1@` + digest + `"],
		"capabilities": {"read": ["docs/**"], "forbidden": ["docs/x/**"]},
		"expires": "2026-12-31T23:59:59+01:00",
		"turns": 3
	}`)
	got, err := ParseWorkOrder("WO-7.json", data)
	if err != nil {
		t.Fatal(err)
	}
	want := &WorkOrder{
		Source: "WO-7.json", SHA256: ledger.Sum(data), Schema: WorkOrderSchema, ID: "WO-7", Description: "The report of the month.",
		Packages:     []Named{{ID: "PKG-A-1"}, {"PKG-B-1", h}},
		Capabilities: &capability.Grants{Read: []string{"docs/**"}, Forbidden: []string{"docs/x/**"}},
		Expires:      got.Expires, Turns: 3,
	}
	if !reflect.DeepEqual(got, want) || !got.Expires.Equal(time.Date(2026, 12, 31, 22, 59, 59, 0, time.UTC)) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// Its JSON is a work order that says the same.
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseWorkOrder("WO-7.json", text)
	if err != nil {
		t.Fatal(err)
	}
	again.SHA256 = got.SHA256
	if !again.Expires.Equal(got.Expires) {
		t.Errorf("expires at %v, want %v", again.Expires, got.Expires)
	}
	again.Expires = got.Expires
	if !reflect.DeepEqual(again, got) {
		t.Errorf("got  %+v\nwant %+v", again, got)
	}
}

func TestWorkOrderMistakes(t *testing.T) {
	with := func(members string) string {
		return `{"schema":"agenthost/work_order/v1","id":"WO-7","packages":["PKG-A-1"]` + members + `}`
	}
	const named = "say the id of a package, or ID@sha256: and 64 hex digits for one version of it"
	for _, c := range []struct{ in, message, hint string }{
		{"", "WO-7.json: line 1, column 1: unexpected end of JSON input", ""},
		{"[]", "WO-7.json: want an object, got a list", ""},
		{"{}", "WO-7.json: schema: missing", `say "schema": "agenthost/work_order/v1"`},
		{`{"schema":"agenthost/policy/v1"}`, `WO-7.json: schema: unknown schema "agenthost/policy/v1"`, `this program reads "agenthost/work_order/v1"`},
		{`{"schema":"agenthost/work_order/v1","packages":["PKG-A-1"]}`, `WO-7.json: id: "" is not an id; say WO- and up to 100 letters, digits and hyphens`, "the id is the name of the file, without .json"},
		{`{"schema":"agenthost/work_order/v1","id":"WO-7"}`, "WO-7.json: packages: none is named, so nothing may run", named},
		{`{"schema":"agenthost/work_order/v1","id":"WO-7","packages":[]}`, "WO-7.json: packages: none is named, so nothing may run", named},
		{`{"schema":"agenthost/work_order/v1","id":"../x","packages":["PKG-A-1"]}`, `WO-7.json: id: "../x" is not an id; say WO- and up to 100 letters, digits and hyphens`, "the id is the name of the file, without .json"},
		{with(`,"packages":["PKG-B-1"]`), "WO-7.json: packages: the key is there twice", "keep one of them"},
		{with(`,"expire":"2026-01-01T00:00:00Z"`), "WO-7.json: expire: unknown key", `did you mean "expires"?`},
		{with(`,"expires":"tomorrow"`), `WO-7.json: expires: "tomorrow" is not a time`, "as 2026-12-31T23:59:59Z"},
		{with(`,"expires":"0001-01-01T00:00:00Z"`), `WO-7.json: expires: "0001-01-01T00:00:00Z" is not a time`, "as 2026-12-31T23:59:59Z"},
		{with(`,"expires":1767225600`), "WO-7.json: expires: want a text, got a number", ""},
		{with(`,"turns":0`), "WO-7.json: turns: 0: not a whole number from 1 to 9007199254740991", ""},
		{with(`,"turns":-1`), "WO-7.json: turns: -1: not a whole number from 1 to 9007199254740991", ""},
		{with(`,"turns":1.5`), "WO-7.json: turns: 1.5: not a whole number from 1 to 9007199254740991", ""},
		{with(`,"turns":"3"`), "WO-7.json: turns: want a number, got a text", ""},
		{with(`,"turns":null`), "WO-7.json: turns: want a number, got null", "leave the key out instead"},
		{with(`,"capabilities":{"read":["../x"]}`), `WO-7.json: capabilities.read[0]: "../x" has a segment ..`, "name the folder itself; what lies outside the workspace cannot be granted"},
		{with(`,"capabilities":{"write":["planes/**"]}`), `WO-7.json: capabilities.write[0]: "planes/**" asks to write beneath planes/`, "only agenthost itself writes there; declare an output elsewhere, such as out/**"},
		{with(`,"capabilities":null`), "WO-7.json: capabilities: want an object, got null", "leave the key out instead"},
		{with(`,"network":[]`), "WO-7.json: network: not in this version", "leave it out"},
		{`{"schema":"agenthost/work_order/v1","id":"WO-7","packages":["WO-1"]}`, `WO-7.json: packages[0]: "WO-1" is not the id of a package`, named},
		{`{"schema":"agenthost/work_order/v1","id":"WO-7","packages":["PKG-A-1@sha256:01"]}`, `WO-7.json: packages[0]: "PKG-A-1@sha256:01" does not end with a digest`, named},
		{with(`,"description":"` + strings.Repeat("x", maxDescription+1) + `"`), "WO-7.json: description: more than 16384 bytes", "keep long texts elsewhere, and say where"},
	} {
		w, err := ParseWorkOrder("WO-7.json", []byte(c.in))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.80s: got %+v, %v", c.in, w, err)
			continue
		}
		if e.Error() != c.message || e.Hint != c.hint {
			t.Errorf("%.80s:\n got %s\n     %s\nwant %s\n     %s", c.in, e, e.Hint, c.message, c.hint)
		}
	}
}

func TestWorkOrderCheck(t *testing.T) {
	one, two := ledger.Sum([]byte("1")), ledger.Sum([]byte("2"))
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w := &WorkOrder{ID: "WO-7", Packages: []Named{{ID: "PKG-A-1"}, {"PKG-B-1", one}, {"PKG-B-1", two}}, Expires: at, Turns: 2}
	check := func(want string, err error) {
		t.Helper()
		got := ""
		var e *WorkOrderError
		if errors.As(err, &e) {
			got = e.Error() + " | " + e.Hint
		} else if err != nil {
			t.Errorf("got %v, want a WorkOrderError", err)
		}
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	before := at.Add(-time.Nanosecond)
	check("", w.Check("PKG-A-1", one, before))
	check("", w.Check("PKG-B-1", two, before))
	const renew = "ask whoever gives work orders for a new one"
	check("work order WO-7 expired at 2026-01-02T03:04:05Z | "+renew, w.Check("PKG-A-1", one, at))
	check("work order WO-7 expired at 2026-01-02T03:04:05Z | "+renew, w.Check("PKG-A-1", one, at.Add(time.Hour)))
	check(fmt.Sprintf("work order WO-7 does not name this PKG-B-1, whose digest is %s | run the version that it names: PKG-A-1, PKG-B-1@%s, PKG-B-1@%s", ledger.Sum(nil), one, two),
		w.Check("PKG-B-1", ledger.Sum(nil), before))
	check("work order WO-7 does not name PKG-A-11 | it is for PKG-A-1, PKG-B-1@"+one.String()+", PKG-B-1@"+two.String(), w.Check("PKG-A-11", one, before))
	check("work order WO-7 does not name PKG-A | it is for PKG-1, PKG-2, PKG-3, 2 more",
		(&WorkOrder{ID: "WO-7", Packages: []Named{{ID: "PKG-1"}, {ID: "PKG-2"}, {ID: "PKG-3"}, {ID: "PKG-4"}, {ID: "PKG-5"}}}).Check("PKG-A", one, before))
	check("", (&WorkOrder{Packages: []Named{{ID: "PKG-A-1"}}}).Check("PKG-A-1", one, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)))
	check("", w.CheckTurns(1))
	check("work order WO-7 has no turn left: 2 of 2 were claimed | "+renew, w.CheckTurns(2))
	check("", (&WorkOrder{}).CheckTurns(1<<52))
	check("", w.CheckSame(&WorkOrder{}))
	check("work order WO-7 was changed while the turn was prepared | run it again: what it says now will count", w.CheckSame(&WorkOrder{SHA256: one}))
}
