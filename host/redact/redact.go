// Package redact keeps values that an operator names out of what is recorded: in
// texts and blobs it puts a mark where a value stands. It does not know where the
// values come from nor what becomes of the texts, and finds a value only as it is,
// or as JSON and Go quote it: not in base64, in hexadecimal digits, as a URL escapes
// it, or cut in pieces.
package redact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of values.
const (
	MinValue  = 4        // bytes of one
	MaxValue  = 64 << 10 // bytes of one
	MaxValues = 100
)

// Values are the values to keep out. A nil *Values is none. It is immutable and
// safe for concurrent use.
type Values struct {
	count int
	forms []form // the longest first
}

// A form is one spelling of a value.
type form struct {
	text, mark string
}

// mark is what stands in the place of value n, from 1.
func mark(n int) string { return "[redacted " + strconv.Itoa(n) + "]" }

// A ValueError says what is wrong with a value. It does not say the value.
type ValueError struct {
	Number int // of the value, from 1; 0: it is about all of them
	What   string
}

// Error is one line.
func (e *ValueError) Error() string {
	if e.Number == 0 {
		return e.What
	}
	return fmt.Sprintf("value %d to redact %s", e.Number, e.What)
}

// New returns values without the slashes that they begin with, numbered from 1 in the order in which they are given; one
// that is given again has its first number. Without any it is nil. The error is a
// *[ValueError].
func New(values []string) (*Values, error) {
	if len(values) == 0 {
		return nil, nil
	}
	if len(values) > MaxValues {
		return nil, &ValueError{0, fmt.Sprintf("%d values are to be redacted, at most %d can be", len(values), MaxValues)}
	}
	v := &Values{count: len(values)}
	for i, value := range values {
		n := i + 1
		value = strings.TrimLeft(value, "/") // which belong to the folder in front
		switch {
		case len(value) < MinValue:
			return nil, &ValueError{n, fmt.Sprintf("has %d bytes: one of fewer than %d is found everywhere", len(value), MinValue)}
		case len(value) > MaxValue:
			return nil, &ValueError{n, fmt.Sprintf("has %d bytes, at most %d can be looked for", len(value), MaxValue)}
		case !utf8.ValidString(value):
			return nil, &ValueError{n, "is not UTF-8"}
		case isMark(value):
			return nil, &ValueError{n, "is a part of the mark that would stand in its place"}
		}
		for _, text := range spellings(value) {
			if !slices.ContainsFunc(v.forms, func(f form) bool { return f.text == text }) {
				v.forms = append(v.forms, form{text, mark(n)})
			}
		}
	}
	slices.SortStableFunc(v.forms, func(a, b form) int { return cmp.Compare(len(b.text), len(a.text)) })
	return v, nil
}

// isMark reports whether a value stands in a mark, or a mark in it: then no text
// with marks would be without it.
func isMark(value string) bool {
	for n := range MaxValues {
		if m := mark(n + 1); strings.Contains(m, value) || strings.Contains(value, m) {
			return true
		}
	}
	return false
}

// spellings are a value as it is, as JSON has it within quotes, with and without
// what HTML wants, and as Go quotes it.
func spellings(value string) []string {
	quoted := strconv.Quote(value)
	all := []string{value, quoted[1 : len(quoted)-1]}
	for _, html := range []bool{true, false} {
		text := quote(value, html)
		all = append(all, text[1:len(text)-1])
	}
	return all
}

// quote is text as a string of JSON.
func quote(text string, html bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	if e.Encode(text) != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Count is how many values there are.
func (v *Values) Count() int {
	if v == nil {
		return 0
	}
	return v.count
}

// Number returns the number of the first value that stands in text, 0 if none does.
func (v *Values) Number(text string) int {
	marked := v.Text(text)
	if marked == text {
		return 0
	}
	for n := 1; n <= v.count; n++ {
		if strings.Count(marked, mark(n)) > strings.Count(text, mark(n)) {
			return n
		}
	}
	return 1
}

// Text is text with a mark in the place of each value. Where values overlap, the
// longest one counts. It allocates nothing where there is none. What was cut off
// a text with an ellipsis is redacted in front of it as well, if it is the
// beginning of a value.
func (v *Values) Text(text string) string {
	if v == nil || !v.in(text) {
		return v.cut(text)
	}
	var b strings.Builder
	v.write(&b, text, v.forms)
	return v.cut(b.String())
}

func (v *Values) in(text string) bool {
	for i := range v.forms {
		if strings.Contains(text, v.forms[i].text) {
			return true
		}
	}
	return false
}

// write writes text with the marks of forms.
func (v *Values) write(b *strings.Builder, text string, forms []form) {
	for ; len(forms) > 0; forms = forms[1:] {
		for {
			i := strings.Index(text, forms[0].text)
			if i < 0 {
				break
			}
			v.write(b, text[:i], forms[1:])
			b.WriteString(forms[0].mark)
			text = text[i+len(forms[0].text):]
		}
	}
	b.WriteString(text)
}

// cut redacts what may be the beginning of a value in front of an ellipsis.
func (v *Values) cut(text string) string {
	if v == nil || !strings.Contains(text, "…") {
		return text
	}
	parts := strings.Split(text, "…")
	for i := range parts[:len(parts)-1] {
		parts[i] = v.end(parts[i])
	}
	return strings.Join(parts, "…")
}

// end redacts what may be the beginning of a value at the end of a text that was
// cut off there.
func (v *Values) end(text string) string {
	for _, f := range v.forms {
		for n := min(len(f.text)-1, len(text)); n >= MinValue; n-- {
			if strings.HasSuffix(text, f.text[:n]) {
				return text[:len(text)-n] + f.mark
			}
		}
	}
	return text
}

// Blob is data with a mark in the place of each value. Data that is JSON stays
// JSON: values are looked for in what its strings and numbers say, however they
// are written. Where one then still stands in it, across strings, the whole is
// given up for its mark. Data that was cut may end with the beginning of a value,
// which is redacted, too.
func (v *Values) Blob(data []byte) []byte {
	if v == nil || len(data) == 0 {
		return data
	}
	if !utf8.Valid(data) || !json.Valid(data) {
		return []byte(v.end(v.Text(string(data))))
	}
	marked := v.json(data)
	if text := string(marked); v.in(text) {
		var b strings.Builder
		v.write(&b, text, v.forms)
		if marked = []byte(b.String()); !json.Valid(marked) {
			return []byte("[" + quote(mark(v.Number(text)), false) + "]")
		}
	}
	return marked
}

// json redacts the strings and the numbers of a JSON text.
func (v *Values) json(data []byte) []byte {
	var out []byte
	for len(data) > 0 {
		n := 1
		switch c := data[0]; {
		case c == '"':
			n = stringEnd(data)
			var text string
			if json.Unmarshal(data[:n], &text) == nil {
				if marked := v.Text(text); marked != text {
					out, data = append(out, quote(marked, false)...), data[n:]
					continue
				}
			}
		case c == '-' || c >= '0' && c <= '9':
			for n < len(data) && strings.IndexByte("+-.0123456789Ee", data[n]) >= 0 {
				n++
			}
			if text := string(data[:n]); v.in(text) {
				out, data = append(out, quote(v.Text(text), false)...), data[n:]
				continue
			}
		}
		out, data = append(out, data[:n]...), data[n:]
	}
	return out
}

// stringEnd is the length of the string of JSON that data begins with.
func stringEnd(data []byte) int {
	for i := 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(data)
}
