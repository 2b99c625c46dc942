package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Entry is one line of a ledger.
type Entry struct {
	Seq     uint64    // position in the ledger, from 0
	Time    time.Time // UTC, as the writer's clock said; order is Seq
	MonoNS  int64     // nanoseconds since the writing process opened the ledger, at most 2^53-1
	Kind    string
	Session string
	Turn    int   // from 1; 0 outside any turn
	Prev    Hash  // Hash of the entry before, zero for the first
	Hash    Hash  // RFC 6962 leaf hash of the line before its member hash
	Offset  int64 // of the line's first byte in the file
	// Line is the entry as stored, without its newline. It belongs to whoever
	// gave the Entry and stands until the next step of the iteration or the
	// end of the callback; [Log.Append] leaves it nil.
	Line []byte
}

// The fixed ends of a line:
//
//	{"v":1,"seq":N,"ts":"…","mono_ns":N,"kind":"…","sid":"…","turn":N …,"prev":"<64>","hash":"<64>"}
const (
	lineHead = `{"v":1,"seq":`
	prevName = `,"prev":"`
	hashName = `","hash":"`
	lineTail = `"}`

	hexSize  = 2 * sha256.Size
	hashSize = len(hashName) - 1 + hexSize + len(lineTail) // what follows the hashed bytes
	tailSize = len(prevName) + hexSize + 1 + hashSize      // what follows the last own member

	maxKind    = 64
	maxSession = 128
)

// Decode reads the kind's own members into the zero value that into points to,
// by its JSON tags. Members it does not name are refused. If into is a [Body]
// its kind must be the entry's, and encoding it again must give the same bytes:
// so repeated members, another order, another spelling and null are refused
// too.
func (e Entry) Decode(into any) error {
	own, err := e.members()
	if err != nil {
		return err
	}
	body, isBody := into.(Body)
	if isBody && body.Kind() != e.Kind {
		return fmt.Errorf("entry %s: decoded as %s", e.Kind, body.Kind())
	}
	dec := json.NewDecoder(bytes.NewReader(own))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("entry %s: %w", e.Kind, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("entry %s: something follows its members", e.Kind)
	}
	if !isBody {
		return nil
	}
	again, err := Encode(body)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, own) {
		return fmt.Errorf("entry %s: members are not written as this format writes them", e.Kind)
	}
	return nil
}

// members returns the own members as one JSON object.
func (e Entry) members() ([]byte, error) {
	if e.Line == nil {
		return nil, fmt.Errorf("entry %s: has no line to decode", e.Kind)
	}
	_, own, err := parseLine(e.Line, nil)
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", e.Kind, err)
	}
	object := make([]byte, 0, len(own)+2)
	object = append(object, '{')
	object = append(object, own...)
	return append(object, '}'), nil
}

// appendHead appends all that stands before the own members.
func (e *Entry) appendHead(b []byte) []byte {
	b = append(b, lineHead...)
	b = strconv.AppendUint(b, e.Seq, 10)
	b = append(b, `,"ts":"`...)
	b = appendTime(b, e.Time)
	b = append(b, `","mono_ns":`...)
	b = strconv.AppendInt(b, e.MonoNS, 10)
	b = append(b, `,"kind":"`...)
	b = append(b, e.Kind...)
	b = append(b, `","sid":"`...)
	b = append(b, e.Session...)
	b = append(b, `","turn":`...)
	return strconv.AppendInt(b, int64(e.Turn), 10)
}

// appendTail appends prev and hash to the line that begins at b[1], after the
// 0x00 of a leaf hash at b[0].
func (e *Entry) appendTail(b []byte) []byte {
	b = append(b, prevName...)
	b = hex.AppendEncode(b, e.Prev[:])
	b = append(b, '"')
	e.Hash = sha256.Sum256(b)
	b = append(b, hashName[1:]...)
	b = hex.AppendEncode(b, e.Hash[:])
	return append(b, lineTail...)
}

// appendTime appends t, in UTC and of a year from 0 to 9999, as RFC 3339 with
// nine digits.
func appendTime(b []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendDigits(b, year, 4)
	b = append(b, '-')
	b = appendDigits(b, int(month), 2)
	b = append(b, '-')
	b = appendDigits(b, day, 2)
	b = append(b, 'T')
	b = appendDigits(b, hour, 2)
	b = append(b, ':')
	b = appendDigits(b, minute, 2)
	b = append(b, ':')
	b = appendDigits(b, second, 2)
	b = append(b, '.')
	b = appendDigits(b, t.Nanosecond(), 9)
	return append(b, 'Z')
}

func appendDigits(b []byte, n, width int) []byte {
	var digits [9]byte
	for i := width - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, digits[:width]...)
}

var (
	errNotEntry = errors.New("it is not an entry of a ledger")
	errVersion  = errors.New("it is of another version of the format")
)

// parseLine takes a line without its newline apart. It checks the form of
// everything but the own members, which it returns unread, with no comma around
// them. No hash is computed.
func parseLine(line []byte, names *interned) (e Entry, own []byte, err error) {
	p := parser{rest: line}
	if !bytes.HasPrefix(line, []byte(lineHead)) {
		if bytes.HasPrefix(line, []byte(`{"v":`)) && !bytes.HasPrefix(line, []byte(`{"v":1,`)) {
			return Entry{}, nil, errVersion
		}
		return Entry{}, nil, errNotEntry
	}
	p.skip(lineHead)
	e.Seq = p.uint()
	p.skip(`,"ts":"`)
	e.Time = p.time()
	p.skip(`","mono_ns":`)
	e.MonoNS = int64(p.uint())
	p.skip(`,"kind":"`)
	e.Kind = names.str(p.word(maxKind, isKindByte))
	p.skip(`","sid":"`)
	e.Session = names.str(p.word(maxSession, isSessionByte))
	p.skip(`","turn":`)
	turn := p.uint()
	if p.bad || turn > maxTurn || len(p.rest) < tailSize {
		return Entry{}, nil, errNotEntry
	}
	e.Turn = int(turn)

	own = p.rest[:len(p.rest)-tailSize]
	p.rest = p.rest[len(own):]
	p.skip(prevName)
	p.hash(&e.Prev)
	p.skip(hashName)
	p.hash(&e.Hash)
	p.skip(lineTail)
	if p.bad {
		return Entry{}, nil, errNotEntry
	}
	if len(own) > 0 {
		if own[0] != ',' || len(own) == 1 {
			return Entry{}, nil, errNotEntry
		}
		own = own[1:]
	}
	e.Line = line
	return e, own, nil
}

const maxTurn = 1<<31 - 1

// parser reads the fixed parts of a line; the first thing that does not fit
// sets bad, and what is read after that means nothing.
type parser struct {
	rest []byte
	bad  bool
}

func (p *parser) skip(s string) {
	if len(p.rest) < len(s) || string(p.rest[:len(s)]) != s {
		p.bad = true
		return
	}
	p.rest = p.rest[len(s):]
}

// uint reads an integer up to 2^53-1 in its one spelling.
func (p *parser) uint() uint64 {
	var n uint64
	i := 0
	for i < len(p.rest) && i < 17 && p.rest[i]-'0' <= 9 {
		n = n*10 + uint64(p.rest[i]-'0')
		i++
	}
	if i == 0 || n > maxInt || i > 1 && p.rest[0] == '0' {
		p.bad = true
	}
	p.rest = p.rest[i:]
	return n
}

func (p *parser) word(limit int, fits func(byte) bool) []byte {
	i := 0
	for i < len(p.rest) && fits(p.rest[i]) {
		i++
	}
	if i == 0 || i > limit {
		p.bad = true
	}
	w := p.rest[:i]
	p.rest = p.rest[i:]
	return w
}

func (p *parser) digits(width int) int {
	if len(p.rest) < width {
		p.bad = true
		return 0
	}
	n := 0
	for _, c := range p.rest[:width] {
		if c-'0' > 9 {
			p.bad = true
		}
		n = n*10 + int(c-'0')
	}
	p.rest = p.rest[width:]
	return n
}

func (p *parser) time() time.Time {
	year := p.digits(4)
	p.skip("-")
	month := time.Month(p.digits(2))
	p.skip("-")
	day := p.digits(2)
	p.skip("T")
	hour := p.digits(2)
	p.skip(":")
	minute := p.digits(2)
	p.skip(":")
	second := p.digits(2)
	p.skip(".")
	nanosecond := p.digits(9)
	p.skip("Z")
	if p.bad || hour > 23 || minute > 59 || second > 59 {
		p.bad = true
		return time.Time{}
	}
	t := time.Date(year, month, day, hour, minute, second, nanosecond, time.UTC)
	if _, m, d := t.Date(); m != month || d != day { // a date the calendar does not have
		p.bad = true
	}
	return t
}

func (p *parser) hash(h *Hash) {
	if len(p.rest) < hexSize || !decodeHex(h, p.rest[:hexSize]) {
		p.bad = true
		return
	}
	p.rest = p.rest[hexSize:]
}

func isKindByte(c byte) bool { return 'a' <= c && c <= 'z' || c == '.' || c == '_' }

func isSessionByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

// fits reports whether s is one to limit bytes that all fit.
func fits(s string, limit int, fit func(byte) bool) bool {
	for i := range len(s) {
		if !fit(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= limit
}

// interned gives equal words one string, so that reading does not allocate for
// each line. It keeps at most 64.
type interned map[string]string

func (n *interned) str(b []byte) string {
	if n == nil {
		return string(b)
	}
	if s, ok := (*n)[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(*n) < 64 {
		(*n)[s] = s
	}
	return s
}
