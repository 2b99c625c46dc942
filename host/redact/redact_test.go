package redact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func values(t testing.TB, list ...string) *Values {
	t.Helper()
	v, err := New(list)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestText(t *testing.T) {
	v := values(t, "secret", "secret-key", "to\"ken\n", "päss<>", "/home/me", "abab", "secret")
	if v.Count() != 7 {
		t.Errorf("count %d", v.Count())
	}
	for text, want := range map[string]string{
		"":                                "",
		"nothing":                         "nothing",
		"a secret":                        "a [redacted 1]",
		"secretsecret-keysecret":          "[redacted 1][redacted 2][redacted 1]",
		"secret-ke":                       "[redacted 1]-ke",
		"to\"ken\n":                       "[redacted 3]",
		`say "to\"ken\n" now`:             `say "[redacted 3]" now`,
		"päss<>":                          "[redacted 4]",
		`p\u00e4ss<>`:                     `p\u00e4ss<>`,
		`päss\u003c\u003e`:                "[redacted 4]",
		"/home/me/x and home/me":          "/[redacted 5]/x and [redacted 5]",
		"ababab":                          "[redacted 6]ab",
		"[redacted 1] is not a value":     "[redacted 1] is not a value",
		"cut: secr… (9 bytes)":            "cut: [redacted 2]… (9 bytes)",
		"cut: sec… (9 bytes)":             "cut: sec… (9 bytes)",
		"whole secret… and secret-k… end": "whole [redacted 1]… and [redacted 1]-k… end",
		"c2VjcmV0 736563726574 secre%74":  "c2VjcmV0 736563726574 secre%74",
	} {
		if got := v.Text(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		if got := (*Values)(nil).Text(text); got != text {
			t.Errorf("none: %q: got %q", text, got)
		}
	}
	for text, want := range map[string]int{"": 0, "x": 0, "a secret": 1, "secret-key": 2, "home/me": 5, "[redacted 1]": 0, "[redacted 1] abab": 6} {
		if got := v.Number(text); got != want {
			t.Errorf("%q: value %d, want %d", text, got, want)
		}
	}
	text := strings.Repeat("nothing to find here ", 20)
	if n := testing.AllocsPerRun(10, func() { v.Text(text) }); n > 0 {
		t.Errorf("%v allocations where there is none", n)
	}
}

// JSON stays JSON, and says nothing of a value, however its strings are written.
func TestBlob(t *testing.T) {
	v := values(t, "secret", `a","b`, "1234", "true", "pa\"ss")
	for data, want := range map[string]string{
		"":                              "",
		"plain secret\n":                "plain [redacted 1]\n",
		"\xff secret":                   "\xff [redacted 1]",
		`{"k": "a secret", "n": 1}`:     `{"k": "a [redacted 1]", "n": 1}`,
		`{"secret": "\u0073ecret"}`:     `{"[redacted 1]": "[redacted 1]"}`,
		`["\\secret\"", -51234.5e1]`:    `["\\[redacted 1]\"", "-5[redacted 3].5e1"]`,
		`["a","b"]`:                     `["[redacted 2]"]`,
		`[ true ]`:                      `["[redacted 4]"]`,
		`"pa\"ss \/secret"`:             `"[redacted 5] /[redacted 1]"`,
		`{"x":"\ud83d\ude00", "y":[1]}`: `{"x":"\ud83d\ude00", "y":[1]}`,
		"cut here: secr":                "cut here: [redacted 1]",
		`{"json": "l1"}` + "\n" + `{"json": "pa\"ss"}`: `{"json": "l1"}` + "\n" + `{"json": "[redacted 5]"}`,
	} {
		got := v.Blob([]byte(data))
		if string(got) != want {
			t.Errorf("%q: got %q, want %q", data, got, want)
		}
		if json.Valid([]byte(data)) && !json.Valid(got) {
			t.Errorf("%q: %q is no JSON", data, got)
		}
		if got := (*Values)(nil).Blob([]byte(data)); string(got) != data {
			t.Errorf("none: got %q", got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	many := make([]string, MaxValues+1)
	for i := range many {
		many[i] = fmt.Sprint("value", i)
	}
	for want, list := range map[string][]string{
		"value 1 to redact has 3 bytes: one of fewer than 4 is found everywhere": {"abc"},
		"value 2 to redact has 0 bytes: one of fewer than 4 is found everywhere": {"abcd", "//"},
		"value 1 to redact has 65537 bytes, at most 65536 can be looked for":     {strings.Repeat("x", MaxValue+1)},
		"value 2 to redact is not UTF-8":                                         {"abcd", "secret\xff"},
		"value 1 to redact is a part of the mark that would stand in its place":  {"reda"},
		"101 values are to be redacted, at most 100 can be":                      many,
	} {
		v, err := New(list)
		var bad *ValueError
		if v != nil || !errors.As(err, &bad) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if v, err := New(nil); v != nil || err != nil || v.Count() != 0 {
		t.Errorf("none: %v, %v", v, err)
	}
	v := values(t, append(many[:MaxValues-1:MaxValues-1], strings.Repeat("x", MaxValue))...)
	if got := v.Text("value98" + strings.Repeat("x", MaxValue)); got != "[redacted 99][redacted 100]" {
		t.Errorf("got %.100q", got)
	}
}

// Whatever the value and the text, no whole value is left, JSON stays JSON, and a
// mark is at most four times as long as what it stands for.
func FuzzRedact(f *testing.F) {
	f.Add("secret", "key: secret", "a secret…")
	f.Add("a\"b\\", "a\"b\\c", `{"x":"a\"b\\"}`)
	f.Add("1]ab", "cret[red", "[redacted 1]ab")
	f.Fuzz(func(t *testing.T, one, two, text string) {
		v, err := New([]string{one, two})
		if err != nil {
			return
		}
		got := v.Text(text)
		if len(got) > 4*len(text) {
			t.Errorf("%q of %d bytes has %d", text, len(text), len(got))
		}
		if unmarked := strings.NewReplacer(mark(1), "\xff", mark(2), "\xff").Replace(got); !strings.Contains(text, "[redacted") && v.in(unmarked) {
			t.Errorf("%q, %q are still in %q", one, two, got)
		}
		data, err := json.Marshal(map[string]string{text: text})
		if err == nil && !json.Valid(v.Blob(data)) {
			t.Errorf("%q became %q", data, v.Blob(data))
		}
		if blob := v.Blob([]byte(text)); json.Valid([]byte(text)) && !json.Valid(blob) || !bytes.Contains(blob, []byte("[redacted")) && v.in(text) {
			t.Errorf("%q became %q", text, blob)
		}
	})
}
