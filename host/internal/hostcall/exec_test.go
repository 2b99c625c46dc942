//go:build linux

package hostcall

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/internal/gate"
)

// The gate gets what the line says, and a wait that is as long as the host allows
// where the line says more than a clock can.
func TestExecMembers(t *testing.T) {
	for _, c := range []struct {
		line string
		want gate.Command
	}{
		{`{"argv":["git"]}`, gate.Command{Argv: []string{"git"}}},
		{`{"argv":["a b","","-c","$(x);\n\"","ü\u001b"]}`, gate.Command{Argv: []string{"a b", "", "-c", "$(x);\n\"", "ü\x1b"}}},
		{`{"stdout_to":"/tmp/log","timeout_ms":1500,"cwd":"docs","argv":["make"]}`, gate.Command{Argv: []string{"make"}, Dir: "docs", Timeout: 1500 * time.Millisecond, StdoutTo: "/tmp/log"}},
		{`{"argv":["make"],"timeout_ms":0}`, gate.Command{Argv: []string{"make"}}},
		{`{"argv":["make"],"timeout_ms":9223372036854}`, gate.Command{Argv: []string{"make"}, Timeout: 9223372036854 * time.Millisecond}},
		{`{"argv":["make"],"timeout_ms":9223372036855}`, gate.Command{Argv: []string{"make"}, Timeout: 9223372036854 * time.Millisecond}},
		{`{"argv":["make"],"timeout_ms":9007199254740991}`, gate.Command{Argv: []string{"make"}, Timeout: 9223372036854 * time.Millisecond}},
	} {
		m, no := readMessage([]byte(c.line))
		if no != nil {
			t.Fatalf("%s: %s", c.line, no.why)
		}
		got := m.command()
		if m.finish(); m.no != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v, %+v\nwant %+v", c.line, got, m.no, c.want)
		}
	}
}

// The first member that is wrong is told, however often it is asked, in the order
// of the contract and not of the line.
func TestExecFirstMistake(t *testing.T) {
	w := newWorld(t)
	const line = `{"op":"exec","stdout_to":7,"timeout_ms":"soon","cwd":[],"argv":["git","log"]}`
	for range 20 {
		got := throughDevice(w, line, "")
		if want := `{"ok":false,"code":"malformed","message":"cwd: want a text, got a list"}` + "\n"; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// A reply says how much of what follows is of which stream, and always has room
// for all of it.
func TestExecReply(t *testing.T) {
	much := strings.Repeat("x", abi.MaxBody)
	for _, c := range []struct {
		ended gate.Ended
		want  string
	}{
		{gate.Ended{}, `{"ok":true,"exit":0,"stdout_bytes":0,"stderr_bytes":0,"truncated":false,"body":0}` + "\n"},
		{gate.Ended{Exit: 3, Stdout: []byte("out\n"), Stderr: []byte("e\x00r")}, `{"ok":true,"exit":3,"stdout_bytes":4,"stderr_bytes":3,"truncated":false,"body":7}` + "\nout\ne\x00r"},
		{gate.Ended{Exit: 137, Stderr: []byte("e"), Truncated: true}, `{"ok":true,"exit":137,"stdout_bytes":0,"stderr_bytes":1,"truncated":true,"body":1}` + "\ne"},
		{gate.Ended{Exit: math.MaxInt32, Stdout: []byte(much), Truncated: true}, fmt.Sprintf(`{"ok":true,"exit":2147483647,"stdout_bytes":%d,"stderr_bytes":0,"truncated":true,"body":%[1]d}`+"\n", abi.MaxBody) + much},
	} {
		got := string(ran(c.ended))
		if got != c.want {
			t.Errorf("got %.200q, want %.200q", got, c.want)
		}
		if len(got) > abi.MaxReply {
			t.Errorf("a reply of %d bytes", len(got))
		}
	}
	err := ended(func() { ran(gate.Ended{Stdout: []byte(much), Stderr: []byte("x")}) })
	var host *gate.HostError
	if !errors.As(err, &host) {
		t.Errorf("more than a reply holds: %v", err)
	}
}

// What the host takes in for a command is charged for, by each way in, whether or
// not the command runs.
func TestExecCharges(t *testing.T) {
	for name, send := range doors {
		w := newWorld(t)
		const line = `{"op":"exec","argv":["git","log"]}`
		send(w, line, "")
		bare := w.charged
		const size = 10 << 20
		send(w, line, strings.Repeat("x", size))
		if got := w.charged - bare; got < bare+size {
			t.Errorf("%s: %d units for %d bytes of standard input, and %d without", name, got, size, bare)
		}
		if w.held != 0 {
			t.Errorf("%s: %d bytes are held", name, w.held)
		}
	}
}
