// Package strict reads JSON that means one thing to every reader: UTF-8 without
// a byte order mark, no member twice, no half of a surrogate pair, bounded in
// size, depth and number of values. It knows no document: what members mean, and
// which there may be, is for its callers.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Value is one JSON value. Members keep the order of the document and the case
// of their names, which encoding/json would give up.
type Value struct {
	Kind    Kind
	Text    string // of a text, or the spelling of a number
	Truth   bool
	Items   []Value
	Members []Member

	Start, End int64 // offsets of its first byte, and of the first after it
}

// A Member is one of an object.
type Member struct {
	Name  string
	Value Value
}

// Kind says what a value is, in words that continue "want".
type Kind string

// The kinds.
const (
	Null   Kind = "null"
	Bool   Kind = "true or false"
	Number Kind = "a number"
	Text   Kind = "a text"
	List   Kind = "a list"
	Object Kind = "an object"
)

// Bounds say how much of a document is read. All of them are required.
type Bounds struct {
	Bytes  int64
	Depth  int // of lists and objects within one another
	Key    int // bytes of the name of a member
	Values int
	Faults int // that are looked for

	// Replacement lets texts hold U+FFFD. It is also what decoders make of half
	// a surrogate pair, which is refused either way.
	Replacement bool
}

// Parse reads data as one value. Each mistake is told to fault: where it is, as
// [Join] and [Item] spell it or by line and column; what it is; and the way out,
// which may be empty. It returns false where data could not be read to its end;
// else the faults told were of members that are there twice and of texts.
func Parse(data []byte, b Bounds, fault func(where, what, hint string)) (Value, bool) {
	switch {
	case int64(len(data)) > b.Bytes:
		fault("", fmt.Sprintf("%d bytes, at most %d are read", len(data), b.Bytes), "")
		return Value{}, false
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		fault("", "it begins with a byte order mark", "save the file without it")
		return Value{}, false
	case !utf8.Valid(data):
		fault("", "it is not UTF-8", "save the file as UTF-8")
		return Value{}, false
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			fault(lineColumn(data, syntax.Offset), syntax.Error(), "")
		} else {
			fault("", err.Error(), "")
		}
		return Value{}, false
	}
	r := reader{data: data, dec: json.NewDecoder(bytes.NewReader(data)), bounds: b, tell: fault}
	r.dec.UseNumber()
	v, err := r.value(nil)
	if err != nil {
		fault("", err.Error(), "")
		return Value{}, false
	}
	return v, true
}

func lineColumn(data []byte, offset int64) string {
	before := data[:min(max(offset-1, 0), int64(len(data)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}

// Join spells the place of a member of the value at path.
func Join(path, name string) string {
	switch {
	case name == "" || strings.Trim(name, "$_-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "":
		return path + "[" + strconv.QuoteToASCII(name) + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

// Item spells the place of an item of the list at path.
func Item(path string, index int) string { return fmt.Sprintf("%s[%d]", path, index) }

// position is a path that is spelled only when there is something to say about
// it: in a hostile document all paths together may be far longer than the text.
type position struct {
	up    *position
	name  string // of a member, or
	index int    // of an item, where it is not negative
}

func (p *position) path() string {
	switch {
	case p == nil:
		return ""
	case p.index >= 0:
		return Item(p.up.path(), p.index)
	}
	return Join(p.up.path(), p.name)
}

func (p *position) depth() int {
	n := 0
	for ; p != nil; p = p.up {
		n++
	}
	return n
}

// A reader reads text that is known to be well-formed.
type reader struct {
	data   []byte
	dec    *json.Decoder
	bounds Bounds
	values int // read so far
	faults int
	tell   func(where, what, hint string)
}

func (r *reader) fault(at *position, what, hint string) {
	if r.faults++; r.faults <= r.bounds.Faults {
		r.tell(at.path(), what, hint)
	}
}

// token returns the next token and where it begins.
func (r *reader) token() (json.Token, int64, error) {
	start := r.dec.InputOffset()
	t, err := r.dec.Token()
	for start < int64(len(r.data)) && strings.IndexByte(" \t\r\n,:", r.data[start]) >= 0 {
		start++
	}
	return t, start, err
}

func (r *reader) value(at *position) (Value, error) {
	if r.faults >= r.bounds.Faults {
		return Value{}, errors.New("nothing but mistakes")
	}
	if r.values++; r.values > r.bounds.Values {
		return Value{}, fmt.Errorf("more than %d values", r.bounds.Values)
	}
	token, start, err := r.token()
	if err != nil {
		return Value{}, err
	}
	v := Value{Start: start}
	switch t := token.(type) {
	case nil:
		v.Kind = Null
	case bool:
		v.Kind, v.Truth = Bool, t
	case json.Number:
		v.Kind, v.Text = Number, t.String()
	case string:
		v.Kind, v.Text = Text, t
		r.checkText(at, t, start)
	case json.Delim:
		if at.depth() == r.bounds.Depth {
			return Value{}, fmt.Errorf("it nests deeper than %d", r.bounds.Depth)
		}
		if t == '[' {
			v.Kind = List
			v.Items, err = r.items(at)
		} else {
			v.Kind = Object
			v.Members, err = r.members(at)
		}
		if err == nil {
			_, err = r.dec.Token()
		}
	}
	v.End = r.dec.InputOffset()
	return v, err
}

func (r *reader) items(at *position) ([]Value, error) {
	var items []Value
	for r.dec.More() {
		item, err := r.value(&position{up: at, index: len(items)})
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func (r *reader) members(at *position) ([]Member, error) {
	var members []Member
	seen := make(map[string]bool)
	for r.dec.More() {
		token, start, err := r.token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		here := &position{up: at, name: name, index: -1}
		if len(name) > r.bounds.Key {
			return nil, fmt.Errorf("a key of %d bytes, at most %d are read", len(name), r.bounds.Key)
		}
		if seen[name] {
			r.fault(here, "the key is there twice", "keep one of them")
		}
		seen[name] = true
		r.checkText(here, name, start)
		value, err := r.value(here)
		if err != nil {
			return nil, err
		}
		members = append(members, Member{name, value})
	}
	return members, nil
}

// checkText refuses half a surrogate pair, of which decoders make U+FFFD: two
// documents that differ must not mean the same.
func (r *reader) checkText(at *position, text string, start int64) {
	switch {
	case !strings.ContainsRune(text, utf8.RuneError):
	case !r.bounds.Replacement:
		r.fault(at, "the text holds U+FFFD or half a surrogate pair", "")
	case halfPair(r.data[start:r.dec.InputOffset()]):
		r.fault(at, "the text holds half a surrogate pair", "")
	}
}

// halfPair reports whether the spelling of a text has the escape of one half of
// a surrogate pair without that of the other.
func halfPair(spelled []byte) bool {
	high := false // the escape before was of a first half
	for i := 0; i < len(spelled); i++ {
		if spelled[i] != '\\' {
			if high {
				return true
			}
			continue
		}
		i++
		unit := uint64(0)
		if spelled[i] == 'u' {
			unit, _ = strconv.ParseUint(string(spelled[i+1:i+5]), 16, 16)
			i += 4
		}
		low := unit >= 0xdc00 && unit < 0xe000
		if low != high {
			return true
		}
		high = unit >= 0xd800 && unit < 0xdc00
	}
	return high
}
