package agent

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"
)

func TestEncode(t *testing.T) {
	type args struct {
		A string `json:"a,omitempty"`
	}
	for _, tt := range []struct {
		args any
		body []byte
		want string
	}{
		{nil, nil, `{"op":"hash"}`},
		{nil, []byte{}, "{\"op\":\"hash\"}\n"},
		{nil, []byte("a\nb"), "{\"op\":\"hash\"}\na\nb"},
		{args{"x\ny"}, nil, `{"op":"hash","a":"x\ny"}`},
		{args{}, []byte("b"), "{\"op\":\"hash\"}\nb"},
	} {
		if got, err := encode("hash", tt.args, tt.body); err != nil || string(got) != tt.want {
			t.Errorf("%v %q: %q, %v, want %q", tt.args, tt.body, got, err, tt.want)
		}
	}
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		answer string
		err    error
		want   string // the error
		is     error
	}{
		{`{"ok":true,"n":1,"new":[{}]}`, nil, "", nil},
		{"{\"ok\":true,\"n\":1}\n\x00{\n", nil, "", nil},
		{`{"ok":false,"code":"not_found","message":"there is no a.md"}`, nil, "hash a.md: there is no a.md", fs.ErrNotExist},
		{`{"ok":false,"code":"not_found"}`, nil, "hash a.md: not found", fs.ErrNotExist},
		{`{"ok":false,"code":"timeout"}`, nil, "hash a.md: timeout", os.ErrDeadlineExceeded},
		{`{"ok":false,"code":"unsupported"}`, nil, "hash a.md: unsupported", errors.ErrUnsupported},
		{`{"ok":false,"code":"of later"}`, nil, "hash a.md: of later", nil},
		{`{}`, nil, "hash a.md: ", nil},
		{``, nil, "hash a.md: the host's reply: unexpected end of JSON input", nil},
		{`{"ok":true,"n":"one"}`, nil, "hash a.md: the host's reply: json: cannot unmarshal string into Go struct field .n of type int", nil},
		{``, malformed, "hash a.md: the host does not understand the message", nil},
		{``, badPointer, "hash a.md: the message does not lie in memory", nil},
		{``, overLimit, "hash a.md: the message or its answer is too long", nil},
		{``, unknownOp, "hash a.md: this host does not know the operation", errors.ErrUnsupported},
		{``, refusal(-9), "hash a.md: the host answered -9", nil},
	} {
		var reply struct {
			head
			N int `json:"n"`
		}
		body, err := decode("hash", "a.md", []byte(tt.answer), tt.err, &reply)
		if tt.want == "" {
			_, want, _ := bytes.Cut([]byte(tt.answer), []byte("\n"))
			if err != nil || reply.N != 1 || !bytes.Equal(body, want) {
				t.Errorf("%q: %d, %q, %v", tt.answer, reply.N, body, err)
			}
			continue
		}
		if _, ok := err.(*Error); !ok || err.Error() != tt.want {
			t.Errorf("%q: %v, want %s", tt.answer, err, tt.want)
		}
		for _, is := range []error{fs.ErrNotExist, os.ErrDeadlineExceeded, errors.ErrUnsupported} {
			if errors.Is(err, is) != (is == tt.is) {
				t.Errorf("%v: is %v: %v", err, is, is != tt.is)
			}
		}
		if os.IsTimeout(err) != (tt.is == os.ErrDeadlineExceeded) {
			t.Errorf("%v: IsTimeout: %v", err, os.IsTimeout(err))
		}
	}
	if err := (&Error{Op: "info", Code: "limit"}); err.Error() != "info: limit" {
		t.Errorf("without a subject: %v", err)
	}
}

// scripted is a host with one answer, as the contract describes it.
type scripted struct {
	answer      []byte
	calls, more int
	later       int // how much longer the answer is when it is read again
}

func (s *scripted) host() host {
	return host{
		call: func(_, out []byte) int32 {
			s.calls++
			copy(out, s.answer)
			return int32(len(s.answer))
		},
		more: func(off int, out []byte) int32 {
			s.more++
			copy(out, s.answer[off:])
			return int32(len(s.answer) + s.later)
		},
	}
}

// Whatever the length of the answer, it arrives whole and the effect happens
// once.
func TestExchange(t *testing.T) {
	for _, size := range []int{0, 1, firstReply - 1, firstReply, firstReply + 1, 3 * firstReply, 1 << 20} {
		answer := make([]byte, size)
		rand.NewChaCha8([32]byte{}).Read(answer)
		s := &scripted{answer: answer}
		got, err := s.host().exchange([]byte("{}"))
		if err != nil || !bytes.Equal(got, answer) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
		more := 0
		if size > firstReply {
			more = 1
		}
		if s.calls != 1 || s.more != more {
			t.Errorf("%d bytes: %d calls and %d more, want 1 and %d", size, s.calls, s.more, more)
		}
	}

	s := &scripted{answer: make([]byte, firstReply+1), later: 1}
	if got, err := s.host().exchange(nil); got != nil || err == nil || err.Error() != "the host's answer of 4097 bytes became one of 4098" {
		t.Errorf("an answer that grew: %d bytes, %v", len(got), err)
	}
	refuses := host{call: func(_, _ []byte) int32 { return -3 }}
	if got, err := refuses.exchange(nil); got != nil || err != overLimit {
		t.Errorf("a refusal: %q, %v", got, err)
	}
	late := s.host()
	late.more = func(int, []byte) int32 { return -2 }
	if got, err := late.exchange(nil); got != nil || err != badPointer {
		t.Errorf("a late refusal: %q, %v", got, err)
	}
}
