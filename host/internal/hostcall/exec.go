package hostcall

import (
	"fmt"
	"math"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/internal/gate"
)

func (d *Dispatcher) exec(m *message) func([]byte) []byte {
	c := m.command()
	return func(body []byte) []byte {
		d.cfg.Charge(int64(len(body)))
		c.Stdin = body
		ended, err := d.cfg.Gate.Exec(gate.ABI, c)
		if err != nil {
			return fail(err.Code, err.Message)
		}
		return ran(ended)
	}
}

// command takes the members of exec, save for what follows the line.
func (m *message) command() gate.Command {
	c := gate.Command{Argv: m.words("argv")}
	if m.has("cwd") {
		c.Dir = m.plain("cwd", m.text("cwd"))
	}
	// Longer than can be said is as long as the host allows.
	c.Timeout = time.Duration(min(m.count("timeout_ms", 0), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	if m.has("stdout_to") {
		c.StdoutTo = m.plain("stdout_to", m.text("stdout_to"))
	}
	return c
}

// ran is the reply of a command that came to its end: what it wrote to standard
// output, and after it what it wrote to standard error. The gate ends one that
// writes more than there is room for in a reply.
func ran(e gate.Ended) []byte {
	size := len(e.Stdout) + len(e.Stderr)
	if size > abi.MaxBody {
		panic(&gate.HostError{Doing: "answer exec", Err: fmt.Errorf("the output has %d bytes, a reply at most %d", size, abi.MaxBody)})
	}
	line := encode(struct {
		done
		Exit        int  `json:"exit"`
		StdoutBytes int  `json:"stdout_bytes"`
		StderrBytes int  `json:"stderr_bytes"`
		Truncated   bool `json:"truncated"`
		Body        int  `json:"body"`
	}{done{true}, e.Exit, len(e.Stdout), len(e.Stderr), e.Truncated, size})
	reply := make([]byte, 0, len(line)+size)
	return append(append(append(reply, line...), e.Stdout...), e.Stderr...)
}
