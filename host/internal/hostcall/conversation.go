package hostcall

import (
	"bytes"

	"github.com/agenthost/agenthost/abi"
)

// A Conversation is one descriptor of the device file: a request is written, its
// reply is read, and so on. What goes wrong ends it: a request that comes before
// the reply was read, or a read in the middle of a request. What it holds then is
// dropped, and nothing more happens through it.
type Conversation struct {
	d     *Dispatcher
	state state

	line    []byte  // of the request, as far as it came
	next    request // whose body is coming, if it is not refused
	refused []byte  // the reply to it, if it is
	body    []byte
	missing int64 // bytes of the body

	reply []byte // what is to be read of it
}

type state uint8

const (
	listening state = iota // to a line
	taking                 // a body
	answering              // a reply is there
	deaf                   // a reply is there, and where the next line begins is not known
	mute                   // that reply was read
	over
)

// Talk begins a conversation.
func (d *Dispatcher) Talk() *Conversation { return &Conversation{d: d} }

// Write takes the next bytes of a request, performs it when it is complete, and
// takes nothing after it. It reports false where the conversation is over.
func (c *Conversation) Write(p []byte) bool {
	for len(p) > 0 {
		switch c.state {
		case listening:
			p = c.takeLine(p)
		case taking:
			p = c.takeBody(p)
		case deaf:
			return true
		default:
			c.Close()
			return false
		}
	}
	return true
}

// takeLine takes what p has of a line, and returns what comes after it.
func (c *Conversation) takeLine(p []byte) (rest []byte) {
	end := bytes.IndexByte(p, '\n')
	part := p
	if end >= 0 {
		part = p[:end]
	}
	if room := abi.MaxRequest + 1 - len(c.line); len(part) > room {
		part = part[:room]
	}
	c.hold(int64(len(part)))
	c.line = append(c.line, part...)
	if end < 0 && len(c.line) <= abi.MaxRequest {
		return nil
	}
	line := c.line
	r, size, no := c.d.parse(line, -1)
	c.line = nil
	c.d.hold(-int64(len(line)))
	if size < 0 {
		c.answer(c.d.refuse(no))
		c.state = deaf
		return nil
	}
	c.state, c.missing, c.next, c.refused = taking, size, r, nil
	if no != nil {
		c.refused = c.d.refuse(no)
	}
	return c.takeBody(p[end+1:])
}

// takeBody takes what p has of a body, of which nothing is kept if the request
// was refused, and returns what comes after it.
func (c *Conversation) takeBody(p []byte) (rest []byte) {
	part := p[:min(int64(len(p)), c.missing)]
	c.missing -= int64(len(part))
	if c.refused == nil {
		c.hold(int64(len(part)))
		c.body = append(c.body, part...)
	}
	if c.missing > 0 {
		return nil
	}
	body, reply := c.body, c.refused
	if reply == nil {
		reply = c.next.do(body)
	}
	c.body, c.next, c.refused = nil, request{}, nil
	c.d.hold(-int64(len(body)))
	c.answer(reply)
	return p[len(part):]
}

// hold charges for bytes and counts them.
func (c *Conversation) hold(bytes int64) {
	c.d.cfg.Charge(bytes)
	c.d.hold(bytes)
}

func (c *Conversation) answer(reply []byte) {
	c.d.hold(int64(len(reply)))
	c.reply, c.state = reply, answering
}

// Read reads what is left of a reply. Where nothing is left, and nothing of a
// request was written, there is nothing to read. It reports false where the
// conversation is over.
func (c *Conversation) Read(p []byte) (n int, ok bool) {
	switch {
	case len(p) == 0:
		return 0, c.state != over
	case c.state == listening && len(c.line) == 0, c.state == mute:
		return 0, true
	case c.state != answering && c.state != deaf:
		c.Close()
		return 0, false
	}
	n = copy(p, c.reply)
	c.d.cfg.Charge(int64(n))
	c.d.hold(-int64(n))
	c.reply = c.reply[n:]
	if len(c.reply) == 0 {
		c.reply = nil
		if c.state == deaf {
			c.state = mute
		} else {
			c.state = listening
		}
	}
	return n, true
}

// Close ends the conversation. Half a request is dropped.
func (c *Conversation) Close() {
	c.d.hold(-int64(len(c.line) + len(c.body) + len(c.reply)))
	*c = Conversation{d: c.d, state: over}
}

// refuse is the reply of the device to a message that is not performed.
func (d *Dispatcher) refuse(no *refusal) []byte {
	code := abi.CodeMalformed
	switch no.result {
	case abi.ResultLimit:
		code = abi.CodeLimit
	case abi.ResultUnknownOp:
		code = abi.CodeUnsupported
	}
	return fail(code, no.why)
}
