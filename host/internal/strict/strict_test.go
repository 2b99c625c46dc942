package strict

import (
	"fmt"
	"strings"
	"testing"
)

var bounds = Bounds{Bytes: 1000, Depth: 3, Key: 8, Values: 20, Faults: 3, Replacement: true}

// spell writes a value as it was read, from its offsets.
func spell(data string, v Value) string {
	return fmt.Sprintf("%s %q", v.Kind, data[v.Start:v.End])
}

func TestParse(t *testing.T) {
	const data = ` {"a" : "x\u0041",  "b":[ 1.50 , null,{ }],"c": true } `
	v, ok := Parse([]byte(data), bounds, func(where, what, _ string) { t.Errorf("%s: %s", where, what) })
	if !ok || len(v.Members) != 3 {
		t.Fatalf("got %+v", v)
	}
	got := []string{spell(data, v)}
	for _, m := range v.Members {
		got = append(got, m.Name+" "+spell(data, m.Value))
		for _, item := range m.Value.Items {
			got = append(got, spell(data, item))
		}
	}
	want := []string{
		`an object "{\"a\" : \"x\\u0041\",  \"b\":[ 1.50 , null,{ }],\"c\": true }"`,
		`a a text "\"x\\u0041\""`, `b a list "[ 1.50 , null,{ }]"`, `a number "1.50"`, `null "null"`, `an object "{ }"`, `c true or false "true"`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if a, b := v.Members[0].Value.Text, v.Members[1].Value.Items[0].Text; a != "xA" || b != "1.50" || !v.Members[2].Value.Truth {
		t.Errorf("got %q, %q", a, b)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		data, want string
		ok         bool
	}{
		{`"\ufffd` + "\ufffd" + `"`, "", true},
		{`"\ud83d\ude00 \\ud800 \\\ud83d\ude00 \"\/\b"`, "", true},
		{`"\uD800"`, ": the text holds half a surrogate pair", true},
		{`"\ud800\ud800\udc00"`, ": the text holds half a surrogate pair", true},
		{`"\ud800\n\udc00"`, ": the text holds half a surrogate pair", true},
		{`{"\udfff":1}`, "[\"\\ufffd\"]: the text holds half a surrogate pair", true},
		{`[{"a":1,"b":2,"a":3}]`, "[0].a: the key is there twice", true},
		{`[[[[]]]]`, ": it nests deeper than 3", false},
		{`[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]`, ": more than 20 values", false},
		{`{"123456789":1}`, ": a key of 9 bytes, at most 8 are read", false},
		{`{"a":1,"a":1,"a":1,"a":1,"a":1}`, "a: the key is there twice; a: the key is there twice; a: the key is there twice; : nothing but mistakes", false},
		{strings.Repeat(" ", 1000) + "1", ": 1001 bytes, at most 1000 are read", false},
		{"\ufeff1", ": it begins with a byte order mark", false},
		{"\"\xff\"", ": it is not UTF-8", false},
		{"[1,\n2,,]", "line 2, column 3: invalid character ',' looking for beginning of value", false},
		{"", "line 1, column 1: unexpected end of JSON input", false},
		{"1 2", "line 1, column 3: invalid character '2' after top-level value", false},
	} {
		var told []string
		_, ok := Parse([]byte(c.data), bounds, func(where, what, _ string) { told = append(told, where+": "+what) })
		if got := strings.Join(told, "; "); got != c.want || ok != c.ok {
			t.Errorf("%.60s: got %v %q, want %v %q", c.data, ok, got, c.ok, c.want)
		}
	}
}

// What it reads, it reads whole, within its bounds, and never panics; what the
// offsets say reads the same again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "{}", ` {"a":[1,{"b":"\ud800"}]} `, `"\u`, `{"a":1,"a":2}`, "[[[[", "\"\\"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		faults := 0
		v, ok := Parse(data, bounds, func(string, string, string) { faults++ })
		if !ok && faults == 0 || faults > bounds.Faults+1 {
			t.Fatalf("%v with %d faults", ok, faults)
		}
		if !ok || faults > 0 {
			return
		}
		again, ok := Parse(data[v.Start:v.End], bounds, func(_, what, _ string) { t.Fatal(what) })
		if !ok || again.Kind != v.Kind || len(again.Members) != len(v.Members) || len(again.Items) != len(v.Items) || again.Text != v.Text {
			t.Fatalf("%q read again is %+v, was %+v", data, again, v)
		}
	})
}
