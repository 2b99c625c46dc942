package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unicode/utf8"
)

// The operations of agenthost_v1 that this package uses.
const (
	opRequest = "request"
	opResult  = "result"
	opExec    = "exec"
	opLog     = "log"
	opCheck   = "check"
	opHash    = "hash"
	opInfo    = "info"
)

// Codes of an Error.
const (
	codeNotFound    = "not_found"
	codeTimeout     = "timeout"
	codeLimit       = "limit"
	codeFailed      = "failed"
	codeUnsupported = "unsupported"
)

// An Error is what the host answered instead of doing what it was asked. It is
// never a violation: one ends the agent, and no call returns.
//
// By [errors.Is] it is [fs.ErrNotExist] with code not_found,
// [os.ErrDeadlineExceeded] with code timeout and [errors.ErrUnsupported] with
// code unsupported.
type Error struct {
	Op      string // what was asked for, such as "hash"
	Subject string // of what: a path or a command; may be empty
	Code    string // not_found, timeout, limit, failed or unsupported; later hosts may have more
	Message string // why, for people; may be empty
}

func (e *Error) Error() string {
	s := e.Op
	if e.Subject != "" {
		s += " " + e.Subject
	}
	switch {
	case e.Message != "":
		return s + ": " + e.Message
	case e.Code == codeNotFound:
		return s + ": not found"
	}
	return s + ": " + e.Code
}

// Is makes the standard library's errors of e.Code.
func (e *Error) Is(target error) bool {
	switch e.Code {
	case codeNotFound:
		return target == fs.ErrNotExist
	case codeTimeout:
		return target == os.ErrDeadlineExceeded
	case codeUnsupported:
		return target == errors.ErrUnsupported
	}
	return false
}

// Timeout reports whether the code of e is timeout.
func (e *Error) Timeout() bool { return e.Code == codeTimeout }

// head is what every reply begins with. A reply embeds it.
type head struct {
	OK      bool   `json:"ok"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (h *head) first() *head { return h }

type reply interface{ first() *head }

// call asks the host for op. Args, unless nil, is a struct of the operation's
// members; subject is for errors only. The line of the answer is decoded into r,
// and what follows it returned.
func call(op, subject string, args any, body []byte, r reply) ([]byte, error) {
	message, err := encode(op, args, body)
	if err != nil {
		return nil, &Error{Op: op, Subject: subject, Code: codeFailed, Message: err.Error()}
	}
	answer, err := send(message)
	return decode(op, subject, answer, err, r)
}

// encode makes a message: one line of JSON that begins with op and goes on with
// the members of args, and the body, if any, after it.
func encode(op string, args any, body []byte) ([]byte, error) {
	line := []byte(`{"op":"` + op + `"`)
	if args != nil {
		members, err := json.Marshal(args)
		if err != nil {
			return nil, err
		}
		if len(members) > len("{}") {
			line = append(append(line, ','), members[1:len(members)-1]...)
		}
	}
	line = append(line, '}')
	if body != nil {
		line = append(append(line, '\n'), body...)
	}
	return line, nil
}

// decode reads an answer to op, or what came instead of one.
func decode(op, subject string, answer []byte, err error, r reply) ([]byte, error) {
	failed := &Error{Op: op, Subject: subject, Code: codeFailed}
	if err != nil {
		if no, ok := err.(refusal); ok {
			failed.Code = no.code()
		}
		failed.Message = err.Error()
		return nil, failed
	}
	line, body, _ := bytes.Cut(answer, []byte{'\n'})
	err = json.Unmarshal(line, r)
	switch h := r.first(); {
	case err != nil:
		failed.Message = "the host's reply: " + err.Error()
	case !h.OK:
		failed.Code, failed.Message = h.Code, h.Message
	default:
		return body, nil
	}
	return nil, failed
}

// A refusal is a negative result of the host's functions.
type refusal int32

// The refusals of agenthost_v1.
const (
	malformed  refusal = -1
	badPointer refusal = -2
	overLimit  refusal = -3
	unknownOp  refusal = -4
)

func (r refusal) Error() string {
	switch r {
	case malformed:
		return "the host does not understand the message"
	case badPointer:
		return "the message does not lie in memory"
	case overLimit:
		return "the message or its answer is too long"
	case unknownOp:
		return "this host does not know the operation"
	}
	return fmt.Sprintf("the host answered %d", int32(r))
}

func (r refusal) code() string {
	switch r {
	case overLimit:
		return codeLimit
	case unknownOp:
		return codeUnsupported
	}
	return codeFailed
}

// A host is the pair of functions that agenthost_v1 offers: call answers a
// request and more reads the last answer again, from off on. Both write as much
// of it to out as fits and return how long it is, or a refusal.
type host struct {
	call func(request, out []byte) int32
	more func(off int, out []byte) int32
}

// firstReply is how many bytes of an answer are taken at once; most are shorter.
const firstReply = 4096

// exchange sends one message and returns the whole answer. The host does what
// it is asked once, however long the answer is.
func (h host) exchange(request []byte) ([]byte, error) {
	out := make([]byte, firstReply)
	n := h.call(request, out)
	if n < 0 {
		return nil, refusal(n)
	}
	if int(n) <= len(out) {
		return out[:n], nil
	}
	whole := make([]byte, n)
	copy(whole, out)
	if m := h.more(len(out), whole[len(out):]); m < 0 {
		return nil, refusal(m)
	} else if m != n {
		return nil, fmt.Errorf("the host's answer of %d bytes became one of %d", n, m)
	}
	return whole, nil
}

// checkText refuses what JSON would change on its way to the host.
func checkText(op string, texts ...string) error {
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return &Error{Op: op, Subject: fmt.Sprintf("%q", s), Code: codeFailed, Message: "not UTF-8"}
		}
	}
	return nil
}

func checkPath(op, path string) error {
	if path == "" {
		return &Error{Op: op, Code: codeNotFound, Message: "the name is empty"}
	}
	return checkText(op, path)
}
