//go:build linux

package hostcall

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/abi"
)

// FuzzMessage sends any bytes as a message: it is refused with nothing done, or
// performed once with a reply that is a message itself; the same again is
// answered the same, and nothing panics but what ends a turn.
func FuzzMessage(f *testing.F) {
	for _, e := range exchanges {
		f.Add([]byte(e.line + "\n" + e.body))
	}
	for _, s := range []string{"", "{}", `{"op":"read","path":"\ud800"}`, `{"op":"exec","argv":["git","push"]}`, `{"op":"log","message":"","fields":{"a":[[[]]]}}`} {
		f.Add([]byte(s))
	}
	w := newWorld(f)
	m := newMemory(f, 1<<20)
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) > 1<<19 || !m.Memory().Write(0, message) {
			return
		}
		before := w.exec.Head().Size
		var n int32
		err := ended(func() { n = m.call(w.Dispatcher, 0, uint32(len(message)), 0, 0) })
		after := w.exec.Head().Size
		switch {
		case err != nil:
			return
		case n < 0:
			if after != before || n < abi.ResultUnknownOp || m.more(w.Dispatcher, 0, 0, 0) != 0 {
				t.Fatalf("%d, and %d entries", n, after-before)
			}
			return
		case after > before+1:
			t.Fatalf("%d entries of one message", after-before)
		}
		line, body, found := bytes.Cut(w.last, []byte("\n"))
		var reply struct {
			OK   *bool `json:"ok"`
			Body int   `json:"body"`
		}
		if err := json.Unmarshal(line, &reply); err != nil || !found || reply.OK == nil || reply.Body != len(body) || len(w.last) > abi.MaxReply {
			t.Fatalf("the reply %.200q: %v", w.last, err)
		}
	})
}

// FuzzConversation writes any bytes in any pieces: the replies are those of the
// same bytes in one piece, and nothing is held when it is closed.
func FuzzConversation(f *testing.F) {
	for _, e := range exchanges {
		f.Add([]byte(e.line+"\n"+e.body), uint64(3))
	}
	f.Add([]byte(write3+"abc"+readA), uint64(0x123456789abcdef))
	f.Add([]byte(`{"op":"nothing","body":5}`+"\nabcde"), uint64(7))
	f.Add([]byte(`{"op":`+"\n"), uint64(1))
	w := newWorld(f)
	say := func(pieces [][]byte) (said string) {
		c := w.Talk()
		defer c.Close()
		err := ended(func() {
			for _, p := range pieces {
				if !c.Write(p) {
					said = "EIO "
					break
				}
			}
			said += read(c)
		})
		if err != nil {
			return "ended: " + err.Error()
		}
		return said
	}
	f.Fuzz(func(t *testing.T, message []byte, cuts uint64) {
		if len(message) > 1<<16 || bytes.Contains(message, []byte("append")) {
			return
		}
		whole := say([][]byte{message})
		var pieces [][]byte
		for rest := message; len(rest) > 0; {
			n := min(int(cuts&15)+1, len(rest))
			cuts = cuts>>4 | cuts<<60
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		if cut := say(pieces); cut != whole && !strings.HasPrefix(whole, "ended: the limit") {
			t.Fatalf("in pieces:\n%.300q\nwhole:\n%.300q", cut, whole)
		}
		if w.held != 0 {
			t.Fatalf("%d bytes are held", w.held)
		}
	})
}
