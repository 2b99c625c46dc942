//go:build linux

package hostcall

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/record"
)

const (
	readA  = `{"op":"read","path":"docs/a.md"}` + "\n"
	replyA = `{"ok":true,"size":10,"body":10}` + "\n0123456789"
	write3 = `{"op":"write","path":"kept/new","body":3}` + "\n"
	reply3 = `{"ok":true,"size":3}` + "\n"
)

// plays writes and reads: a step is what is written, or "<" and a number of bytes
// to read, or "<" for all. It returns what was read, and "EIO" where a step
// failed.
func play(c *Conversation, steps ...string) string {
	var out []string
	for _, s := range steps {
		size, isRead := strings.CutPrefix(s, "<")
		switch {
		case isRead && size == "":
			out = append(out, strings.ReplaceAll(read(c), "over", "EIO"))
		case isRead:
			n := 0
			fmt.Sscan(size, &n)
			buf := make([]byte, n)
			if n, ok := c.Read(buf); ok {
				out = append(out, string(buf[:n]))
			} else {
				out = append(out, "EIO")
			}
		case !c.Write([]byte(s)):
			out = append(out, "EIO")
		}
	}
	return strings.Join(out, "|")
}

func TestConversation(t *testing.T) {
	big := fmt.Sprintf(`{"op":"write","path":"kept/new","body":%d}`+"\n", abi.MaxBody+1)
	for _, c := range []struct {
		name   string
		steps  []string
		want   string
		staged string
	}{
		{"one request", []string{readA, "<"}, replyA, ""},
		{"one after the other", []string{readA, "<", readA, "<", write3, "abc", "<"}, replyA + "|" + replyA + "|" + reply3, `kept/new="abc"`},
		{"byte by byte", append(strings.Split(write3+"abc", ""), "<"), reply3, `kept/new="abc"`},
		{"a reply byte by byte", []string{write3 + "abc", "<1", "<3", "<16", "<1", "<1"}, reply3[:1] + "|" + reply3[1:4] + "|" + reply3[4:20] + "|\n|", `kept/new="abc"`},
		{"a body of newlines", []string{write3 + "\n\n\n", "<"}, reply3, `kept/new="\n\n\n"`},
		{"an empty body", []string{`{"op":"write","path":"kept/new","body":0}` + "\n", "<"}, `{"ok":true,"size":0}` + "\n", `kept/new=""`},
		{"nothing", []string{"<", "<1", ""}, "|", ""},
		{"nothing, then a request", []string{"<", readA, "<"}, "|" + replyA, ""},
		{"empty writes", []string{"", readA, "", "<5", "", "<"}, replyA[:5] + "|" + replyA[5:], ""},
		{"a read of no bytes in a request", []string{readA[:5], "<0", readA[5:], "<"}, "|" + replyA, ""},
		{"a line ended as on Windows", []string{strings.Replace(readA, "\n", "\r\n", 1), "<"}, replyA, ""},

		{"the next request before the reply", []string{readA, readA, "<", readA}, "EIO|EIO|EIO", ""},
		{"two at once", []string{readA + readA, "<", readA}, "EIO|EIO|EIO", ""},
		{"two at once, the second in part", []string{readA + "{", "<"}, "EIO|EIO", ""},
		{"one byte before all was read", []string{readA, "<40", "x", "<"}, replyA[:40] + "|EIO|EIO", ""},
		{"a newline after the body", []string{write3 + "abc\n", "<"}, "EIO|EIO", `kept/new="abc"`},
		{"more than the body", []string{write3 + "abcd", "<"}, "EIO|EIO", `kept/new="abc"`},
		{"a read within the line", []string{readA[:5], "<", readA[5:], "<"}, "EIO|EIO|EIO", ""},
		{"a read within the body", []string{write3 + "ab", "<", "c", "<"}, "EIO|EIO|EIO", ""},
		{"half a line", []string{readA[:5]}, "", ""},
		{"half a body", []string{write3 + "ab"}, "", ""},
		{"a line without its end", []string{strings.TrimSuffix(readA, "\n")}, "", ""},

		{"an empty line", []string{"\n", "<", readA, "<"}, `{"ok":false,"code":"malformed","message":"line 1, column 1: unexpected end of JSON input"}` + "\n|EIO|EIO", ""},
		{"no JSON, and a body", []string{"{op}\nabc", "def", "<", readA, "<"}, `{"ok":false,"code":"malformed","message":"line 1, column 2: invalid character 'o' looking for beginning of object key string"}` + "\n|EIO|EIO", ""},
		{"a body of nobody knows", []string{`{"op":"write","path":"kept/new","body":-1}` + "\n", "x", "<", readA}, `{"ok":false,"code":"malformed","message":"body: want an integer from 0 to 2^53-1, got -1"}` + "\n|EIO", ""},
		{"a body twice", []string{`{"op":"write","path":"kept/new","body":1,"body":2}` + "\nab", "<"}, `{"ok":false,"code":"malformed","message":"body: the key is there twice"}` + "\n", ""},
		{"a line without end", []string{strings.Repeat("x", abi.MaxRequest), "y", "z", "<", readA}, `{"ok":false,"code":"limit","message":"a line has at most 1048576 bytes"}` + "\n|EIO", ""},
		{"a line too long", []string{strings.Repeat(" ", abi.MaxRequest-5) + readA, "<", readA}, `{"ok":false,"code":"limit","message":"a line has at most 1048576 bytes"}` + "\n|EIO", ""},
		{"a line as long as can be", []string{strings.Repeat(" ", abi.MaxRequest+1-len(readA)) + readA, "<"}, replyA, ""},

		{"a refusal, its body, the next request", []string{`{"op":"read","path":"docs/a.md","body":3}` + "\nab", "c", "<", readA, "<"}, `{"ok":false,"code":"malformed","message":"3 bytes follow the line, and this op takes none"}` + "\n|" + replyA, ""},
		{"an unknown op with a body", []string{`{"op":"nothing","body":3}` + "\nabc", "<", readA, "<"}, `{"ok":false,"code":"unsupported","message":"there is no op \"nothing\""}` + "\n|" + replyA, ""},
		{"a body too large, the next request", []string{big, strings.Repeat("x", abi.MaxBody), "x", "<", readA, "<"}, `{"ok":false,"code":"limit","message":"a body has at most 15728640 bytes"}` + "\n|" + replyA, ""},
		{"a body too large, and a read before its end", []string{big, "x", "<"}, "EIO", ""},
		{"a body that never ends", []string{`{"op":"write","path":"kept/new","body":9007199254740991}` + "\n", strings.Repeat("x", 1<<20), "<"}, "EIO", ""},
		{"a count that lies", []string{`{"op":"write","path":"kept/new","body":15000000}` + "\nabc", "<"}, "EIO", ""},
	} {
		w := newWorld(t)
		talk := w.Talk()
		if got := play(talk, c.steps...); got != c.want {
			t.Errorf("%s:\n got %.300q\nwant %.300q", c.name, got, c.want)
		}
		talk.Close()
		talk.Close()
		if got := play(talk, readA, "<"); got != "EIO|EIO" {
			t.Errorf("%s: closed, it says %q", c.name, got)
		}
		if got := w.stagedFiles(); got != c.staged {
			t.Errorf("%s: staged %s, want %s", c.name, got, c.staged)
		}
		if w.held != 0 {
			t.Errorf("%s: %d bytes are held by nobody", c.name, w.held)
		}
	}
}

// Descriptors do not hear one another.
func TestInterleaved(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.Talk(), w.Talk(), w.Talk()
	play(a, write3+"a")
	play(b, readA[:10])
	play(c, "no JSON\n")
	play(a, "b")
	play(b, readA[10:])
	play(a, "c")
	if got := play(b, "<5"); got != replyA[:5] {
		t.Errorf("b got %q", got)
	}
	if got := play(c, readA, "<"); !strings.Contains(got, abi.CodeMalformed) {
		t.Errorf("c got %q", got)
	}
	if got := play(a, "<"); got != reply3 {
		t.Errorf("a got %q", got)
	}
	c.Close()
	if got := play(b, "<"); got != replyA[5:] {
		t.Errorf("b got %q", got)
	}
	m := newMemory(t, page)
	m.Memory().WriteString(0, readA)
	play(a, readA)
	n := m.call(w.Dispatcher, 0, uint32(len(readA)-1), 0, 0)
	if got := play(a, "<"); got != replyA || int(n) != len(replyA) || m.more(w.Dispatcher, 0, 0, page) != n {
		t.Errorf("a got %q, memory %d bytes", got, n)
	}
	if n := len(w.ops()); n != 4 {
		t.Errorf("%d operations, want 4", n)
	}
	if play(a, "<"); w.held != 0 {
		t.Errorf("%d bytes are held", w.held)
	}
}

// What conversations hold is bounded together: a turn that leaves messages
// unfinished, or replies unread, ends.
func TestHeldMessages(t *testing.T) {
	half := fmt.Sprintf(`{"op":"hash","body":%d}`+"\n", abi.MaxBody) + strings.Repeat("x", abi.MaxBody-1)
	write := fmt.Sprintf(`{"op":"write","path":"kept/large","body":%d}`+"\n", abi.MaxBody) + strings.Repeat("x", abi.MaxBody)
	for name, message := range map[string]string{
		"bodies": half,
		"lines":  strings.Repeat(" ", abi.MaxRequest),
		"unread": `{"op":"read","path":"kept/large"}` + "\n",
	} {
		w := newWorld(t)
		play(w.Talk(), write, "<")
		n := 0
		err := ended(func() {
			for n = range 1000 {
				play(w.Talk(), message)
			}
		})
		var l *gate.Limit
		if !errors.As(err, &l) || l.Name != record.LimitMessages || l.Max != maxHeld || n > maxHeld/(1<<20) {
			t.Errorf("%s: after %d: %v, want the limit on messages", name, n, err)
		}
	}
}

// A violation unwinds through the write that completes the request.
func TestConversationViolation(t *testing.T) {
	w := newWorld(t)
	c := w.Talk()
	play(c, `{"op":"exec","argv":["git","push"],"body":3}`+"\nab")
	if n := len(w.ops()); n != 0 {
		t.Fatalf("%d operations of half a request", n)
	}
	if err := ended(func() { play(c, "c") }); err == nil {
		t.Error("the turn goes on")
	}
}
