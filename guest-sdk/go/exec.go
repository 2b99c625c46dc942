package agent

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strconv"
	"time"
)

// A Cmd is a command for the host to run, shaped as the one of os/exec. The host
// judges its words and its folder, records them, and runs it behind the fence of
// the operating system; the agent waits.
//
// A command that is not granted ends the agent; [CheckExec] asks first. A host
// that runs no commands answers a granted one with code unsupported.
type Cmd struct {
	Args []string // the command and its arguments
	Dir  string   // where it runs; empty is the workspace

	Stdin          io.Reader // read to its end before the command starts; nil is empty
	Stdout, Stderr io.Writer // get what it wrote after it has ended; nil throws it away

	Timeout time.Duration // whole milliseconds; 0 is the host's
}

// Command returns the command of these words.
func Command(name string, arg ...string) *Cmd {
	return &Cmd{Args: append([]string{name}, arg...)}
}

// An ExitError says that a command ran and did not end with status 0.
type ExitError struct {
	status int
	Stderr []byte // what it wrote to standard error, as far as the host kept it
}

func (e *ExitError) Error() string { return "exit status " + strconv.Itoa(e.status) }

// ExitCode returns the status the command ended with.
func (e *ExitError) ExitCode() int { return e.status }

// Run runs the command. The error is an [*ExitError] if it did not end with
// status 0, and an [*Error] if it did not run or run to its end, or if the host
// did not keep all that it wrote (code limit; Stdout and Stderr have the rest).
func (c *Cmd) Run() error {
	stdout, stderr, err := c.run()
	for _, w := range []struct {
		to   io.Writer
		data []byte
	}{{c.Stdout, stdout}, {c.Stderr, stderr}} {
		if w.to == nil || len(w.data) == 0 {
			continue
		}
		if _, werr := w.to.Write(w.data); werr != nil && err == nil {
			err = werr
		}
	}
	return err
}

// Output runs the command and returns what it wrote to standard output. Errors
// are those of Run.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, c.fail(codeFailed, "Stdout is already set")
	}
	var b bytes.Buffer
	with := *c
	with.Stdout = &b
	err := with.Run()
	return b.Bytes(), err
}

// CombinedOutput runs the command and returns what it wrote to standard output,
// followed by what it wrote to standard error. Errors are those of Run.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, c.fail(codeFailed, "Stdout or Stderr is already set")
	}
	var b bytes.Buffer
	with := *c
	with.Stdout, with.Stderr = &b, &b
	err := with.Run()
	return b.Bytes(), err
}

func (c *Cmd) fail(code, message string) error {
	subject := ""
	if len(c.Args) > 0 {
		subject = path.Base(c.Args[0])
	}
	return &Error{Op: opExec, Subject: subject, Code: code, Message: message}
}

func (c *Cmd) run() (stdout, stderr []byte, err error) {
	if len(c.Args) == 0 {
		return nil, nil, c.fail(codeFailed, "no command")
	}
	if err := checkText(opExec, append(c.Args[:len(c.Args):len(c.Args)], c.Dir)...); err != nil {
		return nil, nil, err
	}
	var stdin []byte
	if c.Stdin != nil {
		if stdin, err = io.ReadAll(c.Stdin); err != nil {
			return nil, nil, fmt.Errorf("exec %s: read Stdin: %w", c.Args[0], err)
		}
	}
	var reply execReply
	output, err := call(opExec, path.Base(c.Args[0]), struct {
		Argv      []string `json:"argv"`
		Cwd       string   `json:"cwd,omitempty"`
		TimeoutMS int64    `json:"timeout_ms,omitempty"`
	}{c.Args, c.Dir, c.Timeout.Milliseconds()}, stdin, &reply)
	if err != nil {
		return nil, nil, err
	}
	return c.result(reply, output)
}

// execReply says how a command ended, and how much of the output that follows
// was written to standard output and how much, after it, to standard error.
type execReply struct {
	head
	Exit        int  `json:"exit"`
	StdoutBytes int  `json:"stdout_bytes"`
	StderrBytes int  `json:"stderr_bytes"`
	Truncated   bool `json:"truncated"`
}

func (c *Cmd) result(r execReply, output []byte) (stdout, stderr []byte, err error) {
	n := r.StdoutBytes
	if n < 0 || n > len(output) || r.StderrBytes != len(output)-n {
		return nil, nil, c.fail(codeFailed, fmt.Sprintf("the host's reply: %d and %d bytes of output in %d", n, r.StderrBytes, len(output)))
	}
	stdout, stderr = output[:n:n], output[n:]
	switch {
	case r.Exit != 0:
		err = &ExitError{status: r.Exit, Stderr: stderr}
	case r.Truncated:
		err = c.fail(codeLimit, "the output is cut off")
	}
	return stdout, stderr, err
}
