package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// canonical gives a JSON value in the form of RFC 8785: one spelling for each
// value, so that equal values have equal digests in every language.
//
// It refuses what has no such form, and what would get the form of another
// value: a member given twice, half a surrogate pair, text that is not UTF-8,
// numbers beyond float64, and integers beyond ±(2^53-1), which float64 rounds.
func canonical(value []byte) ([]byte, error) {
	if !json.Valid(value) {
		return nil, errors.New("not one JSON value")
	}
	if !utf8.Valid(value) || !wholeSurrogates(value) {
		return nil, errors.New("text that is not Unicode")
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	return appendValue(nil, dec)
}

// wholeSurrogates reports whether the escapes \ud800 to \udfff of valid JSON
// come in pairs. encoding/json reads each other one as U+FFFD.
func wholeSurrogates(text []byte) bool {
	escaped := func() rune { // takes \uXXXX off the front of text
		if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
			return -1
		}
		r, _ := strconv.ParseUint(string(text[2:6]), 16, 32)
		text = text[6:]
		return rune(r)
	}
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return true
		}
		text = text[i:]
		switch r := escaped(); {
		case r < 0:
			text = text[2:] // another escape
		case utf16.IsSurrogate(r) && utf16.DecodeRune(r, escaped()) == utf8.RuneError:
			return false
		}
	}
}

func appendValue(out []byte, dec *json.Decoder) ([]byte, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case string:
		return appendString(out, t), nil
	case json.Number:
		return appendNumber(out, t.String())
	case bool:
		return strconv.AppendBool(out, t), nil
	case json.Delim:
		if t == '{' {
			return appendObject(out, dec)
		}
		return appendArray(out, dec)
	}
	return append(out, "null"...), nil
}

func appendArray(out []byte, dec *json.Decoder) ([]byte, error) {
	out = append(out, '[')
	for i := 0; dec.More(); i++ {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = appendValue(out, dec); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token() // the bracket
	return append(out, ']'), err
}

func appendObject(out []byte, dec *json.Decoder) ([]byte, error) {
	type member struct {
		name  []uint16 // the order is that of UTF-16
		value []byte   // with its name
	}
	var members []member
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		value, err := appendValue(append(appendString(nil, name), ':'), dec)
		if err != nil {
			return nil, err
		}
		members = append(members, member{utf16.Encode([]rune(name)), value})
	}
	slices.SortFunc(members, func(a, b member) int { return slices.Compare(a.name, b.name) })
	out = append(out, '{')
	for i, m := range members {
		if i > 0 {
			if slices.Equal(m.name, members[i-1].name) {
				return nil, fmt.Errorf("the member %q is given twice", string(utf16.Decode(m.name)))
			}
			out = append(out, ',')
		}
		out = append(out, m.value...)
	}
	_, err := dec.Token() // the brace
	return append(out, '}'), err
}

func appendString(out []byte, s string) []byte {
	out = append(out, '"')
	for _, b := range []byte(s) {
		if i := strings.IndexByte("\b\t\n\f\r\"\\", b); i >= 0 {
			out = append(out, '\\', `btnfr"\`[i])
		} else if b < ' ' {
			out = fmt.Appendf(out, `\u%04x`, b)
		} else {
			out = append(out, b)
		}
	}
	return append(out, '"')
}

// appendNumber writes a number as ECMAScript does: the shortest digits that
// round to the same float64, with an exponent below 1e-6 and from 1e21 on.
func appendNumber(out []byte, literal string) ([]byte, error) {
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return nil, fmt.Errorf("the number %s is out of range", literal)
	}
	const exact = 1<<53 - 1
	size := math.Abs(f)
	switch {
	case size > exact && !strings.ContainsAny(literal, ".eE"):
		return nil, fmt.Errorf("the integer %s is not exact in JSON: give it as a string", literal)
	case f == 0:
		return append(out, '0'), nil // not -0
	case size >= 1e-6 && size < 1e21:
		return strconv.AppendFloat(out, f, 'f', -1, 64), nil
	}
	text := strconv.FormatFloat(f, 'e', -1, 64)
	return append(out, strings.Replace(text, "e-0", "e-", 1)...), nil
}
