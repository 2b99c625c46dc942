// Exec is an agent that has the host run commands as its query says, and whose
// result is what became of each: one step, or a list of them.
//
//	{"argv":["git","log"],"cwd":"docs","stdin":"text","stdout_to":"/tmp/log","timeout_ms":500}
//
// A step with "device" true goes through the device file, with the very members
// of the contract. Other steps are what a test wants done between commands:
// {"write":"/tmp/x","text":"hello\n"}, {"read":"/tmp/x"}, {"list":"/out"}. With
// "times" the text of stdin or of a file stands so many times.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	agent "github.com/agenthost/agenthost/guest-sdk/go"
)

type step struct {
	Argv      []string `json:"argv,omitempty"`
	Cwd       string   `json:"cwd,omitempty"`
	TimeoutMS int64    `json:"timeout_ms,omitempty"`
	StdoutTo  string   `json:"stdout_to,omitempty"`

	Stdin  string `json:"stdin,omitempty"`
	Times  int    `json:"times,omitempty"`
	Device bool   `json:"device,omitempty"`

	Write string `json:"write,omitempty"`
	Text  string `json:"text,omitempty"`
	Read  string `json:"read,omitempty"`
	List  string `json:"list,omitempty"`
}

// An outcome is what became of a step. Of a text that is longer than shown there
// is its size alone.
type outcome struct {
	Exit        int      `json:"exit"`
	Stdout      string   `json:"stdout,omitempty"`
	StdoutBytes int      `json:"stdout_bytes,omitempty"`
	Stderr      string   `json:"stderr,omitempty"`
	StderrBytes int      `json:"stderr_bytes,omitempty"`
	Truncated   bool     `json:"truncated,omitempty"`
	Code        string   `json:"code,omitempty"`
	Error       string   `json:"error,omitempty"`
	Text        string   `json:"text,omitempty"`
	Size        int      `json:"size,omitempty"`
	Names       []string `json:"names,omitempty"`
}

const shown = 4096

func main() {
	agent.Main(func(r *agent.Request) (any, error) {
		if !bytes.HasPrefix(bytes.TrimSpace(r.Query), []byte("[")) {
			var s step
			if err := r.Decode(&s); err != nil {
				return nil, err
			}
			return s.do(), nil
		}
		var steps []step
		if err := r.Decode(&steps); err != nil {
			return nil, err
		}
		outcomes := make([]outcome, len(steps))
		for i, s := range steps {
			outcomes[i] = s.do()
		}
		return outcomes, nil
	})
}

func (s step) do() outcome {
	if s.Times > 0 {
		s.Stdin, s.Text = strings.Repeat(s.Stdin, s.Times), strings.Repeat(s.Text, s.Times)
	}
	switch {
	case s.Write != "":
		return failed(outcome{}, os.WriteFile(s.Write, []byte(s.Text), 0o644))
	case s.Read != "":
		text, err := os.ReadFile(s.Read)
		var o outcome
		o.Text, o.Size = cut(text)
		return failed(o, err)
	case s.List != "":
		entries, err := os.ReadDir(s.List)
		o := outcome{}
		for _, e := range entries {
			o.Names = append(o.Names, e.Name())
		}
		return failed(o, err)
	case s.Device:
		o, err := s.throughDevice()
		return failed(o, err)
	}
	return s.run()
}

func (s step) run() outcome {
	cmd := agent.Cmd{Args: s.Argv, Dir: s.Cwd, StdoutFile: s.StdoutTo, Timeout: time.Duration(s.TimeoutMS) * time.Millisecond}
	if s.Stdin != "" {
		cmd.Stdin = strings.NewReader(s.Stdin)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stderr = &stderr
	if s.StdoutTo == "" {
		cmd.Stdout = &stdout
	}
	err := cmd.Run()
	var o outcome
	o.Stdout, o.StdoutBytes = cut(stdout.Bytes())
	o.Stderr, o.StderrBytes = cut(stderr.Bytes())
	var exit *agent.ExitError
	if errors.As(err, &exit) {
		o.Exit = exit.ExitCode()
		return o
	}
	return failed(o, err)
}

// throughDevice is what a program does that cannot declare imports.
func (s step) throughDevice() (o outcome, err error) {
	f, err := os.OpenFile("/.agenthost/call", os.O_RDWR, 0)
	if err != nil {
		return o, err
	}
	defer f.Close()
	line, err := json.Marshal(struct {
		Op        string   `json:"op"`
		Argv      []string `json:"argv,omitempty"`
		Cwd       string   `json:"cwd,omitempty"`
		TimeoutMS int64    `json:"timeout_ms,omitempty"`
		StdoutTo  string   `json:"stdout_to,omitempty"`
		Body      int      `json:"body,omitempty"`
	}{"exec", s.Argv, s.Cwd, s.TimeoutMS, s.StdoutTo, len(s.Stdin)})
	if err != nil {
		return o, err
	}
	if _, err := f.Write(append(line, "\n"+s.Stdin...)); err != nil {
		return o, err
	}
	answer := bufio.NewReader(f)
	if line, err = answer.ReadBytes('\n'); err != nil {
		return o, err
	}
	var head struct{ Message string }
	if err := errors.Join(json.Unmarshal(line, &head), json.Unmarshal(line, &o)); err != nil {
		return o, err
	}
	body, err := io.ReadAll(answer)
	if err == nil && len(body) != o.StdoutBytes+o.StderrBytes {
		err = errors.New("the reply has another length than it says")
	}
	if err != nil {
		return o, err
	}
	o.Error = head.Message
	stdout, stderr := body[:o.StdoutBytes], body[o.StdoutBytes:]
	o.Stdout, o.StdoutBytes = cut(stdout)
	o.Stderr, o.StderrBytes = cut(stderr)
	return o, nil
}

func failed(o outcome, err error) outcome {
	var why *agent.Error
	if errors.As(err, &why) {
		o.Code, o.Truncated = why.Code, why.Code == "limit" && o.StdoutBytes+o.StderrBytes > 0
	}
	if err != nil {
		o.Error = err.Error()
	}
	return o
}

func cut(text []byte) (string, int) {
	if len(text) > shown {
		return "", len(text)
	}
	return string(text), 0
}
