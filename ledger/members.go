package ledger

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxInt is the largest integer every JSON reader keeps exactly: 2^53-1.
const maxInt = 1<<53 - 1

// maxDepth bounds the nesting of objects and arrays in one entry.
const maxDepth = 32

// ErrRedacted means that an entry would not be found any more by what it says,
// because a part of that is to be redacted.
var ErrRedacted = errors.New("a value that is to be redacted stands in a name that must be found again")

// Body is what an entry says: a kind, and the members of that kind in their
// fixed order.
type Body interface {
	Kind() string // lower-case letters, dots and underscores, at most 64
	AppendMembers(*Members)
}

// Members writes the members of one entry in the order of the calls. Strings
// are escaped as RFC 8785 section 3.2.2.2 says; there are no floats. The first
// fault is kept and makes [Log.Append] fail before anything is written: a
// string or name that is not fit, an integer beyond ±(2^53-1), a member called
// hash or prev.
//
// Within an array the name of each element is "". Members is not safe for
// concurrent use, and must not be kept after AppendMembers returns.
type Members struct {
	buf   []byte
	err   error
	depth int
	array uint64 // bit d is set while the container at depth d is an array
	comma bool   // something stands before the next member
	// redact is what [Log.Redact] was given, nil where texts stand as they are.
	redact func(string) string
}

// Encode returns the members of b as one JSON object, as an entry holds them.
func Encode(b Body) ([]byte, error) {
	m := &Members{buf: []byte{'{'}}
	b.AppendMembers(m)
	if m.err != nil {
		return nil, fmt.Errorf("entry %s: %w", b.Kind(), m.err)
	}
	return append(m.buf, '}'), nil
}

// Str writes a string, which must be UTF-8, as [Log.Redact] has it.
func (m *Members) Str(name, value string) { m.Name(name, value, 0) }

// Name is Str of a string that others are found by: an entry in which one of its
// first fixed bytes would be redacted is not fit ([ErrRedacted]).
func (m *Members) Name(name, value string, fixed int) {
	if m.redact != nil && m.err == nil {
		redacted := m.redact(value)
		if !strings.HasPrefix(redacted, value[:fixed]) {
			m.fail(fmt.Errorf("member %q: %w", name, ErrRedacted))
			return
		}
		value = redacted
	}
	m.Word(name, value)
}

// Redacted makes the strings that follow in this entry stand as they are: they were
// taken from entries that were redacted.
func (m *Members) Redacted() { m.redact = nil }

// Word writes a string that is never redacted, because it is a word of the format,
// a name that this program made, a key or a signature. It must be UTF-8.
func (m *Members) Word(name, value string) {
	if !m.name(name) {
		return
	}
	buf, ok := appendString(m.buf, value)
	if !ok {
		m.fail(fmt.Errorf("member %q is not UTF-8", name))
		return
	}
	m.buf = buf
}

// Int writes an integer between -(2^53-1) and 2^53-1.
func (m *Members) Int(name string, value int64) {
	if !m.name(name) {
		return
	}
	if value > maxInt || value < -maxInt {
		m.fail(fmt.Errorf("member %q is %d, beyond 2^53-1", name, value))
		return
	}
	m.buf = strconv.AppendInt(m.buf, value, 10)
}

// Uint writes an integer up to 2^53-1.
func (m *Members) Uint(name string, value uint64) {
	if !m.name(name) {
		return
	}
	if value > maxInt {
		m.fail(fmt.Errorf("member %q is %d, beyond 2^53-1", name, value))
		return
	}
	m.buf = strconv.AppendUint(m.buf, value, 10)
}

// Bool writes true or false.
func (m *Members) Bool(name string, value bool) {
	if m.name(name) {
		m.buf = strconv.AppendBool(m.buf, value)
	}
}

// Null writes null, for the few members that say "there was none" in words.
func (m *Members) Null(name string) {
	if m.name(name) {
		m.buf = append(m.buf, "null"...)
	}
}

// Hash writes a digest as a string, "sha256:" and 64 digits.
func (m *Members) Hash(name string, value Hash) {
	if !m.name(name) {
		return
	}
	m.buf = append(m.buf, '"')
	m.buf = append(m.buf, hashPrefix...)
	m.buf = hex.AppendEncode(m.buf, value[:])
	m.buf = append(m.buf, '"')
}

// Object writes an object whose members are those that body writes.
func (m *Members) Object(name string, body func(*Members)) { m.nest(name, false, body) }

// Array writes an array whose elements are those that body writes, each with
// the name "".
func (m *Members) Array(name string, body func(*Members)) { m.nest(name, true, body) }

func (m *Members) nest(name string, array bool, body func(*Members)) {
	if !m.name(name) {
		return
	}
	if m.depth+1 >= maxDepth {
		m.fail(fmt.Errorf("member %q is nested deeper than %d", name, maxDepth))
		return
	}
	m.depth++
	bit := uint64(1) << m.depth
	left, right := byte('{'), byte('}')
	m.array &^= bit
	if array {
		m.array |= bit
		left, right = '[', ']'
	}
	m.buf = append(m.buf, left)
	m.comma = false
	body(m)
	m.buf = append(m.buf, right)
	m.comma = true
	m.depth--
}

// name writes what stands before a value and reports whether the value may
// follow.
func (m *Members) name(name string) bool {
	if m.err != nil {
		return false
	}
	if m.array&(1<<m.depth) != 0 {
		if name != "" {
			m.fail(fmt.Errorf("element of an array has the name %q", name))
			return false
		}
		if m.comma {
			m.buf = append(m.buf, ',')
		}
		m.comma = true
		return true
	}
	if !m.fit(name) {
		m.fail(fmt.Errorf("%q cannot be the name of a member", name))
		return false
	}
	if m.comma {
		m.buf = append(m.buf, ',')
	}
	m.comma = true
	m.buf = append(m.buf, '"')
	m.buf = append(m.buf, name...)
	m.buf = append(m.buf, '"', ':')
	return true
}

// fit reports whether name may be used here: snake case, never hash or prev
// (which must occur once in a line), and at the top none of the common members.
func (m *Members) fit(name string) bool {
	if name == "" || name == "hash" || name == "prev" {
		return false
	}
	if classes[name[0]]&small == 0 {
		return false
	}
	for i := 1; i < len(name); i++ {
		if classes[name[i]]&word == 0 {
			return false
		}
	}
	if m.depth > 0 {
		return true
	}
	switch name {
	case "v", "seq", "ts", "mono_ns", "kind", "sid", "turn":
		return false
	}
	return true
}

func (m *Members) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

// Classes of bytes.
const (
	small   = 1 << iota // a lower-case letter
	word                // a lower-case letter, a digit or '_'
	escaped             // not as it is in a string
	wide                // of a rune that is not ASCII
)

// classes says what each byte is.
var classes = func() (of [256]byte) {
	for c := range of {
		switch {
		case c >= 'a' && c <= 'z':
			of[c] = small | word
		case c >= '0' && c <= '9', c == '_':
			of[c] = word
		case c < 0x20, c == '"', c == '\\':
			of[c] = escaped
		case c >= utf8.RuneSelf:
			of[c] = wide
		}
	}
	return of
}()

// appendString appends s quoted and escaped by RFC 8785 section 3.2.2.2: the
// short escapes where JSON has them, \u00xx in lower case for other controls,
// everything else as it is. It reports false if s is not UTF-8.
func appendString(b []byte, s string) ([]byte, bool) {
	var seen byte
	for i := range len(s) {
		seen |= classes[s[i]]
	}
	if seen&wide != 0 && !utf8.ValidString(s) {
		return b, false
	}
	b = append(b, '"')
	if seen&escaped == 0 {
		b = append(b, s...)
	} else {
		b = appendEscaped(b, s)
	}
	return append(b, '"'), true
}

func appendEscaped(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	from := 0
	for i := range len(s) {
		c := s[i]
		if classes[c]&escaped == 0 {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\f':
			b = append(b, '\\', 'f')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(b, s[from:]...)
}
