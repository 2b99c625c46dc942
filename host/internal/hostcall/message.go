package hostcall

import (
	"fmt"
	"strconv"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/internal/strict"
)

// Bounds of a line beside its size.
const (
	maxDepth  = 16
	maxKey    = 256  // bytes
	maxValues = 8192 // all of the line
	maxCount  = 1<<53 - 1
)

// A message is the line of a request. Its members are taken one by one; what is
// left then is unknown.
type message struct {
	line    []byte
	members []strict.Member
	body    int64    // bytes that follow the line
	no      *refusal // the first thing wrong with it
}

func readMessage(line []byte) (*message, *refusal) {
	m := &message{line: line}
	bounds := strict.Bounds{Bytes: abi.MaxRequest, Depth: maxDepth, Key: maxKey, Values: maxValues, Faults: 1, Replacement: true}
	v, ok := strict.Parse(line, bounds, func(where, what, _ string) {
		if m.no == nil {
			m.malformed(where, "%s", what)
		}
	})
	if ok && m.no == nil && v.Kind != strict.Object {
		m.malformed("", "want an object, got %s", v.Kind)
	}
	m.members = v.Members
	return m, m.no
}

// malformed notes what is wrong with a member, or with all of it.
func (m *message) malformed(where, format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	if where != "" {
		why = where + ": " + why
	}
	m.refuse(abi.ResultMalformed, why)
}

// limit notes that the message asks for more than there may be.
func (m *message) limit(format string, args ...any) {
	m.refuse(abi.ResultLimit, fmt.Sprintf(format, args...))
}

func (m *message) refuse(result int32, why string) {
	if m.no == nil {
		m.no = &refusal{result, why}
	}
}

// take removes a member and returns its value. Null is not absent.
func (m *message) take(name string) (strict.Value, bool) {
	for i, member := range m.members {
		if member.Name == name {
			m.members = append(m.members[:i:i], m.members[i+1:]...)
			return member.Value, true
		}
	}
	return strict.Value{}, false
}

// want reports whether a member is of a kind.
func (m *message) want(name string, v strict.Value, kind strict.Kind) bool {
	if v.Kind != kind {
		m.malformed(name, "want %s, got %s", kind, v.Kind)
		return false
	}
	return true
}

// text takes a text that must be there and not be empty.
func (m *message) text(name string) string {
	v, ok := m.take(name)
	switch {
	case !ok:
		m.malformed(name, "missing")
	case m.want(name, v, strict.Text) && v.Text == "":
		m.malformed(name, "empty")
	}
	return v.Text
}

// has reports whether a member is there.
func (m *message) has(name string) bool {
	for _, member := range m.members {
		if member.Name == name {
			return true
		}
	}
	return false
}

// count takes a number that may be absent: an integer from 0 to 2^53-1 in plain
// digits.
func (m *message) count(name string, absent int64) int64 {
	v, ok := m.take(name)
	if !ok || !m.want(name, v, strict.Number) {
		return absent
	}
	n, err := strconv.ParseUint(v.Text, 10, 64)
	if err != nil || n > maxCount {
		m.malformed(name, "want an integer from 0 to 2^53-1, got %.40s", v.Text)
		return absent
	}
	return int64(n)
}

// truth takes true or false, which may be absent.
func (m *message) truth(name string) bool {
	v, ok := m.take(name)
	return ok && m.want(name, v, strict.Bool) && v.Truth
}

// words takes the words of a command. A list that is there has one at least, and
// none holds NUL.
func (m *message) words(name string) (words []string) {
	v, ok := m.take(name)
	switch {
	case !ok:
		m.malformed(name, "missing")
		return nil
	case !m.want(name, v, strict.List):
		return nil
	case len(v.Items) == 0 || v.Items[0].Text == "":
		m.malformed(name, "it names no command")
	}
	for i, item := range v.Items {
		at := strict.Item(name, i)
		if m.want(at, item, strict.Text) {
			words = append(words, m.plain(at, item.Text))
		}
	}
	return words
}

// plain refuses a text that holds NUL.
func (m *message) plain(at, text string) string {
	for i := range len(text) {
		if text[i] == 0 {
			m.malformed(at, "the text holds NUL")
			break
		}
	}
	return text
}

// noBody refuses bytes after the line.
func (m *message) noBody() {
	if m.body > 0 {
		m.malformed("", "%d bytes follow the line, and this op takes none", m.body)
	}
}

// finish refuses what no op took.
func (m *message) finish() {
	if len(m.members) > 0 {
		m.malformed("", "unknown member %.40q", m.members[0].Name)
	}
}
