package ledger

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// body is a kind and members given by a function.
type body struct {
	kind string
	fn   func(*Members)
}

func (b body) Kind() string             { return b.kind }
func (b body) AppendMembers(m *Members) { b.fn(m) }

func encode(fn func(*Members)) (string, error) {
	b, err := Encode(body{"test", fn})
	return string(b), err
}

func TestMembers(t *testing.T) {
	got, err := encode(func(m *Members) {
		m.Str("a", "x")
		m.Int("b", -maxInt)
		m.Uint("c", maxInt)
		m.Bool("d", true)
		m.Null("e")
		m.Hash("f", Sum(nil))
		m.Object("g", func(m *Members) {
			m.Int("seq", 1)
			m.Array("list", func(m *Members) {
				m.Str("", "x")
				m.Object("", func(m *Members) { m.Bool("a1_b", false) })
				m.Array("", func(m *Members) { m.Int("", 1); m.Int("", 2) })
			})
			m.Object("none", func(*Members) {})
		})
		m.Array("h", func(*Members) {})
	})
	want := `{"a":"x","b":-9007199254740991,"c":9007199254740991,"d":true,"e":null,` +
		`"f":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",` +
		`"g":{"seq":1,"list":["x",{"a1_b":false},[1,2]],"none":{}},"h":[]}`
	if err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}

func TestMembersRefuse(t *testing.T) {
	deep := func(*Members) {}
	for range maxDepth {
		inner := deep
		deep = func(m *Members) { m.Object("o", inner) }
	}
	for _, c := range []struct {
		want string
		fn   func(*Members)
	}{
		{`member "a" is not UTF-8`, func(m *Members) { m.Str("a", "x\xff") }},
		{`member "a" is not UTF-8`, func(m *Members) { m.Str("a", "\xed\xa0\x80") }}, // a surrogate
		{`member "a" is not UTF-8`, func(m *Members) { m.Str("a", "\xc0\xaf") }},     // overlong
		{`member "a" is 9007199254740992, beyond 2^53-1`, func(m *Members) { m.Int("a", maxInt+1) }},
		{`member "a" is -9007199254740992, beyond 2^53-1`, func(m *Members) { m.Int("a", -maxInt-1) }},
		{`member "a" is 18446744073709551615, beyond 2^53-1`, func(m *Members) { m.Uint("a", 1<<64-1) }},
		{`"" cannot be the name of a member`, func(m *Members) { m.Int("", 1) }},
		{`"hash" cannot be the name of a member`, func(m *Members) { m.Int("hash", 1) }},
		{`"prev" cannot be the name of a member`, func(m *Members) { m.Object("a", func(m *Members) { m.Bool("prev", true) }) }},
		{`"seq" cannot be the name of a member`, func(m *Members) { m.Null("seq") }},
		{`"turn" cannot be the name of a member`, func(m *Members) { m.Object("turn", func(*Members) {}) }},
		{`"Abc" cannot be the name of a member`, func(m *Members) { m.Hash("Abc", Hash{}) }},
		{`"a\"" cannot be the name of a member`, func(m *Members) { m.Int(`a"`, 1) }},
		{`"1a" cannot be the name of a member`, func(m *Members) { m.Int("1a", 1) }},
		{`element of an array has the name "a"`, func(m *Members) { m.Array("l", func(m *Members) { m.Int("a", 1) }) }},
		{`member "o" is nested deeper than 32`, deep},
		{`member "first" is not UTF-8`, func(m *Members) { m.Str("first", "\xff"); m.Int("hash", 1); m.Array("x", func(*Members) {}) }},
	} {
		_, err := encode(c.fn)
		if want := "entry test: " + c.want; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// The escapes of RFC 8785 section 3.2.2.2.
func TestStringEscapes(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", `""`},
		{"plain", `"plain"`},
		{`a"b\c/d`, `"a\"b\\c/d"`},
		{"\b\t\n\f\r", `"\b\t\n\f\r"`},
		{"\x00\x01\x0b\x1f\x7f", `"\u0000\u0001\u000b\u001f` + "\x7f" + `"`},
		{"<&>", `"<&>"`},
		{"€ \u2028\u2029 \U0001F600 \ufffd", `"€ ` + "\u2028\u2029 \U0001F600 \ufffd" + `"`},
	} {
		if got, ok := appendString(nil, c.in); string(got) != c.want || !ok {
			t.Errorf("%q: got %s, want %s", c.in, got, c.want)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		var s strings.Builder
		for range random.IntN(20) {
			s.WriteRune(rune([]int{random.IntN(0x30), random.IntN(0x80), random.IntN(0xd800), 0x10000 + random.IntN(0x100000)}[random.IntN(4)]))
		}
		in := s.String()
		quoted, ok := appendString(nil, in)
		if ok != utf8.ValidString(in) {
			t.Fatalf("%q: taken for UTF-8: %v", in, ok)
		}
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil || back != in {
			t.Fatalf("%q: reads back as %q, %v", in, back, err)
		}
	}
}

func FuzzString(f *testing.F) {
	f.Add("a\"\\\x00\u2028")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := encode(func(m *Members) { m.Str("a", in) })
		if (err == nil) != utf8.ValidString(in) {
			t.Fatalf("%q: got %v", in, err)
		}
		if err != nil {
			return
		}
		var back struct{ A string }
		if err := json.Unmarshal([]byte(got), &back); err != nil || back.A != in {
			t.Fatalf("%q: reads back as %q, %v", in, back.A, err)
		}
		if strings.ContainsAny(got, "\n\r\x00") {
			t.Fatalf("%q: has a control character as it is", got)
		}
	})
}

func TestHashText(t *testing.T) {
	h := Sum([]byte("abc"))
	const text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := h.String(); got != text {
		t.Errorf("got %s, want %s", got, text)
	}
	if got, err := ParseHash(text); got != h || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	var back Hash
	if b, err := json.Marshal(h); err != nil || json.Unmarshal(b, &back) != nil || back != h {
		t.Errorf("%s does not read back: %v", b, err)
	}
	for _, bad := range []string{"", "sha256:", text[7:], strings.ToUpper(text), text + "0", text[:70], "sha256:" + strings.Repeat("g", 64), " " + text} {
		_, err := ParseHash(bad)
		if err == nil || !strings.HasSuffix(err.Error(), ": want sha256: and 64 lower-case hexadecimal digits") {
			t.Errorf("%q: got %v", bad, err)
		}
		if err := new(Hash).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if !(Hash{}).IsZero() || h.IsZero() {
		t.Error("IsZero is wrong")
	}
}
