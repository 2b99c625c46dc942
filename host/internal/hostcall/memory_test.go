//go:build linux

package hostcall

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/abi"
)

const page = 65536

// Ranges are checked, both and in full, before anything happens.
func TestPointers(t *testing.T) {
	const line = `{"op":"write","path":"kept/new"}` + "\nabc"
	size := uint32(len(line))
	for _, c := range []struct {
		name                string
		at, size, out, room uint32
		want                int32
	}{
		{"in order", 0, size, 1000, 100, 21},
		{"no room", 0, size, 0, 0, 21},
		{"no room at the very end", 0, size, 2 * page, 0, 21},
		{"the reply over the request", 0, size, 0, 100, 21},
		{"the reply over its end", 0, size, size - 5, 100, 21},
		{"all of memory for the reply", 0, size, 0, 2 * page, 21},
		{"a request at the very end", 2*page - size, size, 0, 100, 21},

		{"a request at -1", math.MaxUint32, size, 0, 100, abi.ResultBadPointer},
		{"an empty request at -1", math.MaxUint32, 0, 0, 100, abi.ResultBadPointer},
		{"an empty request behind memory", 2*page + 1, 0, 0, 100, abi.ResultBadPointer},
		{"a request of 4 GiB", 0, math.MaxUint32, 0, 100, abi.ResultBadPointer},
		{"a request that wraps", math.MaxUint32 - 9, size, 0, 100, abi.ResultBadPointer},
		{"a request that wraps to 0", math.MaxUint32, 1, 0, 100, abi.ResultBadPointer},
		{"a request beyond memory", 2*page - size + 1, size, 0, 100, abi.ResultBadPointer},
		{"a reply at -1", 0, size, math.MaxUint32, 1, abi.ResultBadPointer},
		{"an empty reply at -1", 0, size, math.MaxUint32, 0, abi.ResultBadPointer},
		{"a reply that wraps", 0, size, 0x80000000, 0x80000000, abi.ResultBadPointer},
		{"a reply with a negative room", 0, size, 1000, 0xffffff00, abi.ResultBadPointer},
		{"a reply one byte beyond memory", 0, size, 2*page - 99, 100, abi.ResultBadPointer},
		{"both beyond memory", math.MaxUint32, math.MaxUint32, math.MaxUint32, math.MaxUint32, abi.ResultBadPointer},
		{"an empty request", 0, 0, 0, 100, abi.ResultMalformed},
		{"an empty request at the very end", 2 * page, 0, 0, 100, abi.ResultMalformed},
		{"half a request", 0, 20, 0, 100, abi.ResultMalformed},
	} {
		w := newWorld(t)
		m := newMemory(t, page)
		at := c.at
		if int64(at)+int64(size) > 2*page {
			at = 0
		}
		m.Memory().WriteString(at, line)
		if got := m.call(w.Dispatcher, c.at, c.size, c.out, c.room); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
		staged := ""
		if c.want > 0 {
			staged = `kept/new="abc"`
			reply, _ := m.Memory().Read(c.out, min(c.room, uint32(c.want)))
			if want := ok[:len(ok)-2] + `,"size":3}` + "\n"; string(reply) != want[:len(reply)] {
				t.Errorf("%s: the reply is %q", c.name, reply)
			}
		}
		if got := w.stagedFiles(); got != staged || (len(w.ops()) == 1) != (c.want > 0) {
			t.Errorf("%s: staged %s, recorded %q", c.name, got, w.ops())
		}
	}
}

// A short buffer gets the beginning, and more the rest, without anything
// happening again.
func TestMore(t *testing.T) {
	w, m := newWorld(t), newMemory(t, page)
	if n := m.more(w.Dispatcher, 0, 0, 100); n != 0 {
		t.Errorf("before any call there are %d bytes", n)
	}
	const line = `{"op":"write","path":"kept/new","append":true}` + "\nabc"
	m.Memory().WriteString(0, line)
	n := m.call(w.Dispatcher, 0, uint32(len(line)), 1000, 4)
	if head, _ := m.Memory().Read(1000, 6); string(head) != "{\"ok\x00\x00" {
		t.Errorf("a buffer of 4 bytes got %q", head)
	}
	charged := w.charged
	for _, c := range []struct {
		offset, out, room uint32
		want              int32
		text              string
	}{
		{4, 2000, 100, n, `":true,"size":3}` + "\n"},
		{4, 2000, 100, n, `":true,"size":3}` + "\n"},
		{0, 0, 100, n, `{"ok":true,"size":3}` + "\n"},
		{19, 2000, 1, n, "}"},
		{20, 2000, 100, n, "\n"},
		{uint32(n), 2000, 100, n, ""},
		{math.MaxUint32, 2000, 100, n, ""},
		{0, 2 * page, 0, n, ""},
		{0, 2*page - 1, 2, abi.ResultBadPointer, ""},
		{0, math.MaxUint32, 1, abi.ResultBadPointer, ""},
		{math.MaxUint32, math.MaxUint32, math.MaxUint32, abi.ResultBadPointer, ""},
	} {
		m.Memory().Write(2000, make([]byte, 100))
		if got := m.more(w.Dispatcher, c.offset, c.out, c.room); got != c.want {
			t.Errorf("more(%d, %d, %d) = %d, want %d", c.offset, c.out, c.room, got, c.want)
		}
		if c.want < 0 || c.room == 0 {
			continue
		}
		if got, _ := m.Memory().Read(c.out, c.room); strings.TrimRight(string(got), "\x00") != c.text && c.out == 2000 {
			t.Errorf("more(%d, %d, %d) gave %q, want %q", c.offset, c.out, c.room, got, c.text)
		}
	}
	if w.charged == charged {
		t.Error("more is not charged for")
	}
	if got := w.stagedFiles(); got != `kept/new="abc"` || len(w.ops()) != 1 {
		t.Errorf("staged %s, recorded %q", got, w.ops())
	}
	if m.call(w.Dispatcher, math.MaxUint32, 1, 0, 0); m.more(w.Dispatcher, 0, 0, 100) != 0 {
		t.Error("a call that failed leaves the reply before it")
	}
}

// What is kept of a request is a copy: the guest's memory changes under it.
func TestNothingAliasesMemory(t *testing.T) {
	w, m := newWorld(t), newMemory(t, page)
	send := func(line string) {
		m.Memory().Write(0, make([]byte, 200))
		m.Memory().WriteString(0, line)
		if n := m.call(w.Dispatcher, 0, uint32(len(line)), 0, 0); n < 0 {
			t.Fatalf("%s: %d", line, n)
		}
		m.Memory().Write(0, []byte(strings.Repeat("!", 200)))
	}
	send(`{"op":"result"}` + "\nresult")
	send(`{"op":"log","message":"message","fields":{"a":"b"}}`)
	send(`{"op":"write","path":"kept/new"}` + "\nwritten")
	send(`{"op":"read","path":"secret"}`)
	send(`{"op":"exec","argv":["git","log"]}`)
	if got := fmt.Sprintf("%s %q %s", w.result, w.logged, w.stagedFiles()); got != `result "info: message {\"a\":\"b\"}\n" kept/new="written"` {
		t.Errorf("kept %s", got)
	}
	w.gate.End()
	if _, _, err := w.gate.Finish(); err != nil {
		t.Fatal(err)
	}
	if ops := strings.Join(w.ops(), "\n"); strings.Contains(ops, "!") {
		t.Errorf("recorded %s", ops)
	}
}

// A line that never ends costs what looking for its end does, however much of
// memory is given for it, and so does one that ends too late.
func TestEndlessLine(t *testing.T) {
	m := newMemory(t, 8*abi.MaxRequest)
	text := strings.Repeat(" ", abi.MaxRequest+1)
	m.Memory().WriteString(0, text)
	m.Memory().WriteString(2*abi.MaxRequest, "\n")
	for _, size := range []uint32{abi.MaxRequest + 1, 2 * abi.MaxRequest, 8 * abi.MaxRequest} {
		w := newWorld(t)
		if got := m.call(w.Dispatcher, 0, size, 0, 0); got != abi.ResultLimit {
			t.Errorf("a line of %d bytes: got %d, want %d", size, got, abi.ResultLimit)
		}
		if w.charged != abi.MaxRequest+1 {
			t.Errorf("a line of %d bytes: charged %d, want %d", size, w.charged, abi.MaxRequest+1)
		}
	}
}
