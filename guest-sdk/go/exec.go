package agent

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"
)

// A Cmd is a command for the host to run, shaped as the one of os/exec. The host
// judges its words and its folder, records them, and runs it behind a fence of
// the operating system, which ends with it; the agent waits, and its time limit
// does not count that.
//
// A rule in execute of the manifest grants a command with all its words, and no
// shell reads them. A command that is not granted ends the agent; [CheckExec]
// asks first.
//
// A command sees of the workspace what the agent may read, and of the rest of the
// machine its programs. It can write to /out and /tmp, which are the agent's own:
// what it makes in /out counts among the outputs of the turn. It has no network,
// and its environment is the host's.
//
// There is no LookPath: which program a name is, is for the host to say, which
// looks it up in folders of its own and records the digest of what it found.
// [CheckExec] tells whether a command may run, and an error that is
// [io/fs.ErrNotExist] that it is not there.
type Cmd struct {
	// Args is the program and its arguments. The program is a bare name, or
	// pkg:PATH for a file of the agent's package. An argument pkg:PATH is that file
	// where the command sees it.
	Args []string

	// Dir is where it runs: empty for the workspace, else /.agenthost/pkg, where
	// the package's files are, or a folder that the rule names.
	Dir string

	// Stdin is read to its end before the command starts, at most 15 MiB. Nil is
	// empty.
	Stdin io.Reader

	// Stdout and Stderr get what it wrote after it has ended. Nil throws it away.
	Stdout, Stderr io.Writer

	// StdoutFile, if not empty, is the file beneath [os.TempDir] that gets its
	// standard output in place of Stdout, and is made anew. It is the way for more
	// than 15 MiB, which Stdout and Stderr get at most together.
	StdoutFile string

	// Timeout is how long it may take, rounded up to whole milliseconds. 0, and
	// more than the host allows, is as long as the host allows.
	Timeout time.Duration
}

// Command returns the command of these words.
func Command(name string, arg ...string) *Cmd {
	return &Cmd{Args: append([]string{name}, arg...)}
}

// String returns the words of c for people. It is not input for a shell.
func (c *Cmd) String() string { return strings.Join(c.Args, " ") }

// An ExitError says that a command ran and did not end with status 0.
type ExitError struct {
	status int
	Stderr []byte // what it wrote to standard error, as far as the host kept it
}

func (e *ExitError) Error() string { return "exit status " + strconv.Itoa(e.status) }

// ExitCode returns the status the command ended with; 128 and the number of the
// signal if one ended it.
func (e *ExitError) ExitCode() int { return e.status }

// Run runs the command and waits for its end. The error is an [*ExitError] if it
// did not end with status 0, and else an [*Error], with code
//
//	not_found    there is no such program, folder or file of the package
//	unsupported  the host runs no commands, or cannot fence them
//	timeout      it took longer than it may
//	limit        it used or wrote more than it may; if it wrote too much, Stdout and Stderr have the beginning
//	failed       it could not be started
//
// What it wrote to files stays in each case.
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
	switch {
	case c.Stdout != nil:
		return nil, c.fail(codeFailed, "Stdout is already set")
	case c.StdoutFile != "":
		return nil, c.fail(codeFailed, "StdoutFile is already set")
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
	switch {
	case c.Stdout != nil || c.Stderr != nil:
		return nil, c.fail(codeFailed, "Stdout or Stderr is already set")
	case c.StdoutFile != "":
		return nil, c.fail(codeFailed, "StdoutFile is already set")
	}
	var b bytes.Buffer
	with := *c
	with.Stdout, with.Stderr = &b, &b
	err := with.Run()
	return b.Bytes(), err
}

func (c *Cmd) fail(code, message string) error {
	return &Error{Op: opExec, Subject: c.name(), Code: code, Message: message}
}

// name is the command in errors.
func (c *Cmd) name() string {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return ""
	}
	return path.Base(c.Args[0])
}

func (c *Cmd) run() (stdout, stderr []byte, err error) {
	args, err := c.request()
	if err != nil {
		return nil, nil, err
	}
	var stdin []byte
	if c.Stdin != nil {
		if stdin, err = io.ReadAll(c.Stdin); err != nil {
			return nil, nil, fmt.Errorf("exec %s: read Stdin: %w", c.name(), err)
		}
	}
	var reply execReply
	output, err := call(opExec, c.name(), args, stdin, &reply)
	if err != nil {
		return nil, nil, err
	}
	return c.result(reply, output)
}

type execRequest struct {
	Argv      []string `json:"argv"`
	Cwd       string   `json:"cwd,omitempty"`
	TimeoutMS int64    `json:"timeout_ms,omitempty"`
	StdoutTo  string   `json:"stdout_to,omitempty"`
}

// request is c as the host is asked for it, or why it need not be.
func (c *Cmd) request() (execRequest, error) {
	switch {
	case c.name() == "":
		return execRequest{}, c.fail(codeFailed, "no command")
	case c.Timeout < 0:
		return execRequest{}, c.fail(codeFailed, "Timeout is negative")
	case c.Stdout != nil && c.StdoutFile != "":
		return execRequest{}, c.fail(codeFailed, "Stdout and StdoutFile are both set")
	}
	for _, text := range append(c.Args[:len(c.Args):len(c.Args)], c.Dir, c.StdoutFile) {
		if err := checkText(opExec, text); err != nil {
			return execRequest{}, err
		}
		if strings.ContainsRune(text, 0) {
			return execRequest{}, c.fail(codeFailed, fmt.Sprintf("%q holds NUL", text))
		}
	}
	// Less than a millisecond must not become 0, which is none.
	ms := c.Timeout / time.Millisecond
	if c.Timeout%time.Millisecond > 0 {
		ms++
	}
	return execRequest{c.Args, c.Dir, int64(ms), c.StdoutFile}, nil
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
	case r.Truncated:
		err = c.fail(codeLimit, "it wrote more than it may, and was ended")
	case r.Exit != 0:
		err = &ExitError{status: r.Exit, Stderr: stderr}
	}
	return stdout, stderr, err
}
