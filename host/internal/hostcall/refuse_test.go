//go:build linux

package hostcall

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/record"
)

// What is no message is refused: by a number through memory, by a reply through
// the device. Nothing happens, and nothing is recorded.
func TestRefused(t *testing.T) {
	deep := strings.Repeat(`[`, 20_000)
	memory := newMemory(t, abi.MaxRequest+abi.MaxBody+abi.MaxReply)
	for _, c := range []struct {
		line, body string
		result     int32
		why        string
	}{
		{``, "", abi.ResultMalformed, "line 1, column 1: unexpected end of JSON input"},
		{`null`, "", abi.ResultMalformed, "want an object, got null"},
		{`[]`, "", abi.ResultMalformed, "want an object, got a list"},
		{`"op"`, "", abi.ResultMalformed, "want an object, got a text"},
		{`{`, "", abi.ResultMalformed, "line 1, column 1: unexpected end of JSON input"},
		{`{} {}`, "", abi.ResultMalformed, "line 1, column 4: invalid character '{' after top-level value"},
		{`{"op":"info",}`, "", abi.ResultMalformed, "line 1, column 14: invalid character '}' looking for beginning of object key string"},
		{"\ufeff" + `{"op":"info"}`, "", abi.ResultMalformed, "it begins with a byte order mark"},
		{`{"op":"read","path":"` + "\xff" + `"}`, "", abi.ResultMalformed, "it is not UTF-8"},
		{`{"op":"read","path":"` + "\xed\xa0\x80" + `"}`, "", abi.ResultMalformed, "it is not UTF-8"},
		{`{"op":"read","path":"` + "\x00" + `"}`, "", abi.ResultMalformed, "line 1, column 22: invalid character '\\x00' in string literal"},
		{`{"op":"read","path":"\ud800"}`, "", abi.ResultMalformed, "path: the text holds half a surrogate pair"},
		{`{"op":"read","path":"\udc00\ud800"}`, "", abi.ResultMalformed, "path: the text holds half a surrogate pair"},
		{`{"op":"read","path":"\ud800x\udc00"}`, "", abi.ResultMalformed, "path: the text holds half a surrogate pair"},
		{`{"op":"read","path":"\\\ud800\ufffd"}`, "", abi.ResultMalformed, "path: the text holds half a surrogate pair"},
		{`{"op":"info","op":"info"}`, "", abi.ResultMalformed, "op: the key is there twice"},
		{`{"op":"info","\u006fp":"info"}`, "", abi.ResultMalformed, "op: the key is there twice"},
		{`{"op":"log","message":"","fields":{"a":1,"a":2}}`, "", abi.ResultMalformed, "fields.a: the key is there twice"},
		{`{"op":"log","message":"m","fields":` + deep + `}`, "", abi.ResultMalformed, "line 1, column 10035: invalid character '[' exceeded max depth"},
		{`{"op":"log","message":"m","fields":` + strings.Repeat(`{"a":`, 16) + `1` + strings.Repeat(`}`, 17), "", abi.ResultMalformed, "it nests deeper than 16"},
		{`{"op":"log","message":"m","fields":{"a":[` + strings.Repeat("0,", 9000) + `0]}}`, "", abi.ResultMalformed, "more than 8192 values"},
		{`{"` + strings.Repeat("k", 257) + `":1}`, "", abi.ResultMalformed, "a key of 257 bytes, at most 256 are read"},
		{`{"op":"read","path":"` + strings.Repeat("p", abi.MaxRequest) + `"}`, "", abi.ResultLimit, "a line has at most 1048576 bytes"},

		{`{}`, "", abi.ResultMalformed, "op: missing"},
		{`{"op":7}`, "", abi.ResultMalformed, "op: want a text, got a number"},
		{`{"op":null}`, "", abi.ResultMalformed, "op: want a text, got null"},
		{`{"op":""}`, "", abi.ResultMalformed, "op: empty"},
		{`{"op":"READ","path":"docs/a.md"}`, "", abi.ResultUnknownOp, `there is no op "READ"`},
		{`{"op":"open"}`, "", abi.ResultUnknownOp, `there is no op "open"`},
		{`{"op":"\u001b[2J"}`, "", abi.ResultUnknownOp, `there is no op "\x1b[2J"`},
		{`{"op":"` + strings.Repeat("x", 1000) + `"}`, "", abi.ResultUnknownOp, `there is no op "` + strings.Repeat("x", 40) + `"`},

		{`{"op":"read"}`, "", abi.ResultMalformed, "path: missing"},
		{`{"op":"read","path":""}`, "", abi.ResultMalformed, "path: empty"},
		{`{"op":"read","path":["docs/a.md"]}`, "", abi.ResultMalformed, "path: want a text, got a list"},
		{`{"op":"read","path":"docs/a.md","Path":"x"}`, "", abi.ResultMalformed, `unknown member "Path"`},
		{`{"op":"read","path":"docs/a.md","":"x"}`, "", abi.ResultMalformed, `unknown member ""`},
		{`{"op":"read","path":"docs/a.md","append":true}`, "", abi.ResultMalformed, `unknown member "append"`},
		{`{"op":"read","path":"docs/a.md"}`, "x", abi.ResultMalformed, "1 bytes follow the line, and this op takes none"},
		{`{"op":"read","path":"docs/a.md","offset":-1}`, "", abi.ResultMalformed, "offset: want an integer from 0 to 2^53-1, got -1"},
		{`{"op":"read","path":"docs/a.md","offset":-0}`, "", abi.ResultMalformed, "offset: want an integer from 0 to 2^53-1, got -0"},
		{`{"op":"read","path":"docs/a.md","offset":1.0}`, "", abi.ResultMalformed, "offset: want an integer from 0 to 2^53-1, got 1.0"},
		{`{"op":"read","path":"docs/a.md","offset":1e2}`, "", abi.ResultMalformed, "offset: want an integer from 0 to 2^53-1, got 1e2"},
		{`{"op":"read","path":"docs/a.md","offset":9007199254740992}`, "", abi.ResultMalformed, "offset: want an integer from 0 to 2^53-1, got 9007199254740992"},
		{`{"op":"read","path":"docs/a.md","offset":18446744073709551616}`, "", abi.ResultMalformed, "offset: want an integer from 0 to 2^53-1, got 18446744073709551616"},
		{`{"op":"read","path":"docs/a.md","offset":` + strings.Repeat("9", 1000) + `}`, "", abi.ResultMalformed, "offset: want an integer from 0 to 2^53-1, got " + strings.Repeat("9", 40)},
		{`{"op":"read","path":"docs/a.md","offset":"0"}`, "", abi.ResultMalformed, "offset: want a number, got a text"},
		{`{"op":"read","path":"docs/a.md","length":null}`, "", abi.ResultMalformed, "length: want a number, got null"},
		{`{"op":"read","path":"docs/a.md","length":15728641}`, "", abi.ResultLimit, "at most 15728640 bytes are read at once"},
		{`{"op":"write","path":"kept/new","append":1}`, "x", abi.ResultMalformed, "append: want true or false, got a number"},
		{`{"op":"write","path":"kept/new","text":"x"}`, "", abi.ResultMalformed, `unknown member "text"`},
		{`{"op":"write","path":"kept/new"}`, strings.Repeat("x", abi.MaxBody+1), abi.ResultLimit, "a body has at most 15728640 bytes"},
		{`{"op":"list","path":"docs","after":""}`, "", abi.ResultMalformed, "after: empty"},
		{`{"op":"list","path":"docs"}`, "x", abi.ResultMalformed, "1 bytes follow the line, and this op takes none"},
		{`{"op":"hash","path":"docs/a.md"}`, "x", abi.ResultMalformed, "1 bytes follow the line, and this op takes none"},
		{`{"op":"exec"}`, "", abi.ResultMalformed, "argv: missing"},
		{`{"op":"exec","argv":"git log"}`, "", abi.ResultMalformed, "argv: want a list, got a text"},
		{`{"op":"exec","argv":[]}`, "", abi.ResultMalformed, "argv: it names no command"},
		{`{"op":"exec","argv":[""]}`, "", abi.ResultMalformed, "argv: it names no command"},
		{`{"op":"exec","argv":["git",7]}`, "", abi.ResultMalformed, "argv[1]: want a text, got a number"},
		{`{"op":"exec","argv":["git","lo\u0000g"]}`, "", abi.ResultMalformed, "argv[1]: the text holds NUL"},
		{`{"op":"exec","argv":["git","log"],"cwd":"\u0000"}`, "", abi.ResultMalformed, "cwd: the text holds NUL"},
		{`{"op":"exec","argv":["git","log"],"timeout_ms":-5}`, "", abi.ResultMalformed, "timeout_ms: want an integer from 0 to 2^53-1, got -5"},
		{`{"op":"exec","argv":["git","log"],"timeout_ms":9007199254740992}`, "", abi.ResultMalformed, "timeout_ms: want an integer from 0 to 2^53-1, got 9007199254740992"},
		{`{"op":"exec","argv":["git","log"],"timeout_ms":0.5}`, "", abi.ResultMalformed, "timeout_ms: want an integer from 0 to 2^53-1, got 0.5"},
		{`{"op":"exec","argv":["git","log"],"timeout_ms":"1s"}`, "", abi.ResultMalformed, "timeout_ms: want a number, got a text"},
		{`{"op":"exec","argv":["git","log"],"timeout_ms":null}`, "", abi.ResultMalformed, "timeout_ms: want a number, got null"},
		{`{"op":"exec","argv":["git","log"],"cwd":""}`, "", abi.ResultMalformed, "cwd: empty"},
		{`{"op":"exec","argv":["git","log"],"cwd":["docs"]}`, "", abi.ResultMalformed, "cwd: want a text, got a list"},
		{`{"op":"exec","argv":["git","log"],"stdout_to":""}`, "", abi.ResultMalformed, "stdout_to: empty"},
		{`{"op":"exec","argv":["git","log"],"stdout_to":"/tmp/\u0000"}`, "", abi.ResultMalformed, "stdout_to: the text holds NUL"},
		{`{"op":"exec","argv":["git","log"],"stdout_to":true}`, "", abi.ResultMalformed, "stdout_to: want a text, got true or false"},
		{`{"op":"exec","argv":["git","log"],"stderr_to":"/tmp/x"}`, "", abi.ResultMalformed, `unknown member "stderr_to"`},
		{`{"op":"exec","argv":["git","log"],"stdin":"x"}`, "", abi.ResultMalformed, `unknown member "stdin"`},
		{`{"op":"exec","argv":[` + strings.Repeat(`"",`, 8192) + `""]}`, "", abi.ResultMalformed, "more than 8192 values"},
		{`{"op":"exec","argv":["git","log"]}`, strings.Repeat("x", abi.MaxBody+1), abi.ResultLimit, "a body has at most 15728640 bytes"},
		{`{"op":"exec","argv":["git","log"],"env":{}}`, "", abi.ResultMalformed, `unknown member "env"`},
		{`{"op":"log"}`, "", abi.ResultMalformed, "message: missing"},
		{`{"op":"log","message":"m","level":"fatal"}`, "", abi.ResultMalformed, "level: want debug, info, warn or error"},
		{`{"op":"log","message":"m","fields":[]}`, "", abi.ResultMalformed, "fields: want an object, got a list"},
		{`{"op":"check","operation":"delete","subject":"x"}`, "", abi.ResultMalformed, "operation: want read, write or execute"},
		{`{"op":"check","operation":"read","subject":["x"]}`, "", abi.ResultMalformed, "subject: want a text, got a list"},
		{`{"op":"check","operation":"execute","subject":"git log"}`, "", abi.ResultMalformed, "subject: want a list, got a text"},
		{`{"op":"check","operation":"read"}`, "", abi.ResultMalformed, "subject: missing"},
		{`{"op":"info","ops":[]}`, "", abi.ResultMalformed, `unknown member "ops"`},
		{`{"op":"request"}`, "x", abi.ResultMalformed, "1 bytes follow the line, and this op takes none"},
	} {
		name := c.line[:min(len(c.line), 80)]
		w := newWorld(t)
		w.memory = memory
		if got, want := throughMemory(w, c.line, c.body), fmt.Sprint(c.result); got != want {
			t.Errorf("%s: memory gave %.100q, want %s", name, got, want)
		}
		if n := w.memory.more(w.Dispatcher, 0, 0, 64); n != 0 {
			t.Errorf("%s: there are %d bytes of a reply", name, n)
		}
		got := throughDevice(w, c.line, c.body)
		if why := member(t, strings.TrimSuffix(got, "over"), "message"); why != c.why {
			t.Errorf("%s:\n got %q\nwant %q", name, why, c.why)
		}
		code := map[int32]string{abi.ResultMalformed: abi.CodeMalformed, abi.ResultLimit: abi.CodeLimit, abi.ResultUnknownOp: abi.CodeUnsupported}[c.result]
		if got := member(t, strings.TrimSuffix(got, "over"), "code"); got != code {
			t.Errorf("%s: got code %v, want %s", name, got, code)
		}
		if ops := w.ops(); ops != nil || w.stagedFiles() != "" || w.result != nil || w.logged != "" {
			t.Errorf("%s: something happened: %q", name, ops)
		}
		if w.held != 0 {
			t.Errorf("%s: %d bytes are held", name, w.held)
		}
	}
}

// Through memory the count of the body may be left out; if it is there, it is
// right or the message is refused.
func TestBodyCount(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ line, body, want string }{
		{`{"op":"write","path":"kept/new","body":3}`, "abc", `{"ok":true,"size":3}` + "\n"},
		{`{"op":"write","path":"kept/new","body":2}`, "abc", "-1"},
		{`{"op":"write","path":"kept/new","body":4}`, "abc", "-1"},
		{`{"op":"write","path":"kept/new","body":0}`, "abc", "-1"},
		{`{"op":"write","path":"kept/new","body":9007199254740991}`, "abc", "-1"},
		{`{"op":"write","path":"kept/new","body":"3"}`, "abc", "-1"},
		{`{"op":"info","body":0}`, "", ""},
	} {
		got := throughMemory(w, c.line, c.body)
		if c.want == "" {
			got = fmt.Sprint(member(t, got, "ok"))
			c.want = "true"
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.line, got, c.want)
		}
	}
}

// What a turn must not do ends it, through either door, before anything happens,
// and the guest gets no reply.
func TestViolations(t *testing.T) {
	memory := newMemory(t, 1<<16)
	for _, c := range []struct{ line, body, op, subject, rule string }{
		{`{"op":"read","path":"docs/no/s"}`, "", "read", "docs/no/s", "forbidden docs/no/**"},
		{`{"op":"hash","path":"docs/no/s"}`, "", "read", "docs/no/s", "forbidden docs/no/**"},
		{`{"op":"read","path":"docs/no/absent"}`, "", "read", "docs/no/absent", "forbidden docs/no/**"},
		{`{"op":"write","path":"docs/a.md"}`, "x", "write", "docs/a.md", "no grant of write"},
		{`{"op":"write","path":"docs/a.md","append":true}`, "", "write", "docs/a.md", "no grant of write"},
		{`{"op":"write","path":"reports/a.txt"}`, "x", "write", "reports/a.txt", "undeclared_write"},
		{`{"op":"write","path":"control/x"}`, "x", "write", "control/x", "reserved control/**"},
		{`{"op":"exec","argv":["git","push"]}`, "", "execute", "git push", "no grant of execute"},
		{`{"op":"exec","argv":["git","log","docs/no/s"]}`, "", "execute", "git log docs/no/s", "forbidden docs/no/**"},
	} {
		for name, send := range doors {
			w := newWorld(t)
			w.memory = memory
			err := ended(func() { t.Errorf("%s: %s: replied %q", name, c.line, send(w, c.line, c.body)) })
			var v *capability.Violation
			if !errors.As(err, &v) || string(v.Op) != c.op || v.Subject != c.subject || v.Rule != c.rule {
				t.Errorf("%s: %s: ended with %v", name, c.line, err)
				continue
			}
			ops := w.ops()
			if len(ops) != 1 || !strings.Contains(ops[0], `"decision":"violation"`) || !strings.Contains(ops[0], `"via":"abi"`) {
				t.Errorf("%s: %s: recorded %q", name, c.line, ops)
			}
			if staged := w.stagedFiles(); staged != "" {
				t.Errorf("%s: %s: staged %s", name, c.line, staged)
			}
		}
	}
}

// A strict turn is strict here, too, and check says so before.
func TestStrict(t *testing.T) {
	w := newWorld(t, func(c *gate.Config) { c.Strict = true })
	for line, want := range map[string]string{
		`{"op":"check","operation":"read","subject":"docs/a.md"}`: `{"ok":true,"allowed":false,"decision":"violation","grant":"docs/**","rule":"strict: not a declared input"}` + "\n",
		`{"op":"check","operation":"read","subject":"secret"}`:    `{"ok":true,"allowed":false,"decision":"violation","rule":"not granted"}` + "\n",
	} {
		if got := throughMemory(w, line, ""); got != want {
			t.Errorf("%s: got %s", line, got)
		}
	}
	for _, path := range []string{"docs/a.md", "secret"} {
		if err := ended(func() { throughMemory(w, `{"op":"read","path":"`+path+`"}`, "") }); err == nil {
			t.Errorf("%s was read", path)
		}
	}
}

// A flood of messages ends the turn at the limits that files have, and is charged
// for.
func TestFloods(t *testing.T) {
	memory := newMemory(t, abi.MaxBody)
	few := func(c *gate.Config) { c.Ceiling.Entries = 100 }
	for _, line := range []string{
		`{"op":"info"}`, `{"op":"request"}`, `{"op":"log","message":"m"}`, `{"op":"result"}`, `{"op":"hash"}`, `{"op":"http"}`,
		`{"op":"check","operation":"read","subject":"x"}`, `{"op":"exec","argv":["git","log"]}`,
		`{"op":"read","path":"docs/a.md"}`, `{"op":"list","path":"docs"}`, `{"op":"write","path":"kept/new"}`,
	} {
		w := newWorld(t, few)
		w.memory = memory
		sent := 0
		err := ended(func() {
			for sent = range 1000 {
				throughMemory(w, line, "")
			}
		})
		var l *gate.Limit
		if !errors.As(err, &l) || l.Name != record.LimitEntries || sent != 100 {
			t.Errorf("%s: after %d: %v, want the limit on entries", line, sent, err)
		}
		if w.charged < int64(sent*len(line)) {
			t.Errorf("%s: %d units were charged for %d messages", line, w.charged, sent)
		}
	}
	w := newWorld(t)
	w.memory = memory
	err := ended(func() {
		for range 100 {
			throughMemory(w, `{"op":"write","path":"kept/new","append":true}`, strings.Repeat("x", 1<<20))
		}
	})
	var l *gate.Limit
	if !errors.As(err, &l) || l.Name != record.LimitOutputBytes {
		t.Errorf("got %v, want the limit on output", err)
	}
}

// A large file is read in pieces, which are one content for the evidence.
func TestLargeFile(t *testing.T) {
	w := newWorld(t)
	var all strings.Builder
	for offset := 0; ; {
		reply := throughDevice(w, fmt.Sprintf(`{"op":"read","path":"docs/large","offset":%d,"length":700000}`, offset), "")
		_, body, _ := strings.Cut(reply, "\n")
		if body == "" {
			break
		}
		all.WriteString(body)
		offset += len(body)
	}
	if all.String() != strings.Repeat("large file\n", 200_000) {
		t.Errorf("read %d bytes", all.Len())
	}
	w.gate.End()
	if _, _, err := w.gate.Finish(); err != nil {
		t.Fatal(err)
	}
	e, err := record.Evidence(w.sequence())
	if err != nil {
		t.Fatal(err)
	}
	if len(e.RealizedReads) != 1 || e.RealizedReads[0].Size != 2_200_000 || e.RealizedReads[0].SHA256.IsZero() || !slices.Equal(e.UndeclaredReads, []string{"docs/large"}) {
		t.Errorf("evidence has %+v", e)
	}
}
