// Package hostcall is the door of the guest contract: it reads the messages of
// package abi, whether they come through linear memory or through the device
// file, and has the gate do what they ask. It judges nothing, opens nothing and
// records nothing itself.
//
// There is one dispatcher for both ways in. A message is either refused before
// anything happens, or performed once.
package hostcall

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/record"
)

// A Config is what the dispatcher of one turn stands on. All of it is required.
type Config struct {
	Gate    *gate.Gate
	Request []byte // the turn's header: one line of JSON with its newline
	Rights  []byte // the turn's rights, the same way
	Limits  abi.Limits

	Charge func(units int64) // takes fuel; panics when there is none left
	Result func(data []byte) // keeps a copy as the turn's result; panics where it is too long
	Log    func(line []byte) // shows and keeps a line for people; panics where they are too many
}

// A Dispatcher serves one turn. Like its gate it is not safe for concurrent use.
type Dispatcher struct {
	cfg  Config
	last []byte // the reply to the last call through memory
	held int64  // bytes that the device's conversations hold
}

// New returns the dispatcher of a turn.
func New(cfg Config) *Dispatcher { return &Dispatcher{cfg: cfg} }

// maxHeld bounds what all conversations of a turn hold at once, in bytes.
const maxHeld = 64 << 20

// hold counts bytes that a conversation begins to hold, or holds no more.
func (d *Dispatcher) hold(bytes int64) {
	if d.held += bytes; d.held > maxHeld {
		panic(&gate.Limit{Name: record.LimitMessages, Max: maxHeld})
	}
}

// A refusal is why a message is not performed. Nothing happened.
type refusal struct {
	result int32 // of package abi, negative
	why    string
}

// A request is a message that can be performed.
type request struct {
	do func(body []byte) (reply []byte)
}

// What the host does for each byte of a line, and for each value in it, in units
// of the meter.
const (
	bytesFuel = 8
	valueFuel = 200
)

// charge takes fuel for reading a line, before it is read. What stands between
// values tells how many there may be.
func (d *Dispatcher) charge(line []byte) {
	values := 0
	for _, c := range line {
		if c == ',' || c == ':' || c == '[' || c == '{' {
			values++
		}
	}
	d.cfg.Charge(int64(len(line))*bytesFuel + int64(min(values, maxValues))*valueFuel)
}

// parse reads a line. Follows is how many bytes come after it, where that is
// known, else negative. Body is how many there are: where the line itself cannot
// be followed, it is negative.
func (d *Dispatcher) parse(line []byte, follows int64) (r request, body int64, no *refusal) {
	if len(line) > abi.MaxRequest {
		d.cfg.Charge(int64(len(line)))
		return r, -1, &refusal{abi.ResultLimit, fmt.Sprintf("a line has at most %d bytes", abi.MaxRequest)}
	}
	d.charge(line)
	m, no := readMessage(line)
	if no != nil {
		return r, -1, no
	}
	stated := m.count(abi.MemberBody, -1)
	switch {
	case m.no != nil:
		return r, -1, m.no
	case follows >= 0 && stated >= 0 && stated != follows:
		return r, -1, &refusal{abi.ResultMalformed, fmt.Sprintf("body is %d and %d bytes follow", stated, follows)}
	case follows >= 0:
		stated = follows
	}
	m.body = max(stated, 0)
	name := m.text(abi.MemberOp)
	prepare, known := ops[name]
	switch {
	case m.no != nil:
	case !known:
		m.no = &refusal{abi.ResultUnknownOp, fmt.Sprintf("there is no op %.40q", name)}
	default:
		if m.body > abi.MaxBody {
			m.limit("a body has at most %d bytes", abi.MaxBody)
		}
		r.do = prepare(d, m)
		m.finish()
	}
	return r, m.body, m.no
}

// encode writes a reply: members in the order of the struct, one line.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(&gate.HostError{Doing: "encode a reply", Err: err})
	}
	return b.Bytes()
}

// A failure is a reply that is not ok.
type failure struct {
	OK      bool   `json:"ok"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func fail(code, message string) []byte { return encode(failure{Code: code, Message: message}) }

// failed is the reply to what the gate answered with an errno.
func failed(errno gate.Errno) []byte {
	switch errno {
	case gate.NoEnt:
		return fail(abi.CodeNotFound, "there is no such file or folder")
	case gate.NotSup:
		return fail(abi.CodeUnsupported, "this version does not do that")
	}
	words, ok := errnoWords[errno]
	if !ok {
		panic(&gate.HostError{Doing: "answer a message", Err: errors.New("errno " + errno.String())})
	}
	return fail(abi.CodeFailed, words)
}

var errnoWords = map[gate.Errno]string{
	gate.Acces:       "the host may not open it",
	gate.BadF:        "it cannot be used like that",
	gate.Exist:       "it exists",
	gate.Inval:       "it cannot be done with these values",
	gate.IO:          "the host could not read it",
	gate.IsDir:       "it is a folder",
	gate.NameTooLong: "no file can have so long a name",
	gate.NotDir:      "it is no folder",
	gate.NotEmpty:    "it is not empty",
	gate.Perm:        "it cannot be replaced",
	gate.ROFS:        "it is read-only",
}
