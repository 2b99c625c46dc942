package register

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// A session's name stands in entries and is looked for in segments as it is.
var sessionName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// check reports whether the change can be made of any head.
func (c Change) check() error {
	if !sessionName.MatchString(c.Session) {
		return fmt.Errorf("register: session %.140q is not a name of 1 to 128 letters, digits, '-', '_' and '.'", c.Session)
	}
	_, err := c.entry(State{}, false)
	return err
}

// body is the entry of the change of a session that is in this state.
func (c Change) body(s State, found bool) (ledger.Body, error) {
	var registered *Head
	if found && !s.Pruned {
		registered = &s.Head
	}
	if (registered == nil) != (c.Was == nil) || registered != nil && *registered != *c.Was {
		return nil, &ConflictError{Session: c.Session, Was: c.Was, Registered: registered}
	}
	r := record.Registered{Session: c.Session, Size: c.Is.Size, Root: c.Is.Root}
	if registered != nil {
		r.WasSize = registered.Size
	}
	r.Repaired = found && s.Repaired
	if err := follows(c.Kind, r, s, found); err != nil {
		return nil, fmt.Errorf("register: %s of session %s: %w", c.Kind, c.Session, err)
	}
	return c.entry(s, found)
}

func (c Change) entry(s State, found bool) (ledger.Body, error) {
	r := record.Registered{Session: c.Session, Size: c.Is.Size, Root: c.Is.Root, Repaired: found && s.Repaired}
	if c.Was != nil {
		r.WasSize = c.Was.Size
	}
	switch c.Kind {
	case record.KindSessionOpen:
		return record.RegisterOpen{Registered: r}, nil
	case record.KindSessionHead:
		return record.RegisterHead{Registered: r}, nil
	case record.KindSessionClose:
		return record.RegisterClose{Registered: r}, nil
	case record.KindSessionPrune:
		return record.RegisterPrune{Registered: r}, nil
	case record.KindSessionRepair:
		return record.RegisterRepair{Registered: r}, nil
	}
	return nil, fmt.Errorf("register: %s of session %s: it is no change of a session", c.Kind, c.Session)
}

// follows checks an entry against the state before it, which found says is known.
func follows(kind string, r record.Registered, s State, found bool) error {
	known := found && !s.Pruned
	switch {
	case r.Size == 0:
		return errors.New("it has no entries")
	case known && r.WasSize != s.Size:
		return fmt.Errorf("it goes on from %d entries, and there were %d", r.WasSize, s.Size)
	case !known && r.WasSize != 0:
		return fmt.Errorf("it goes on from %d entries, and the session is unknown", r.WasSize)
	case found && s.Repaired && !r.Repaired:
		return errors.New("it does not say that the session was repaired")
	case kind == record.KindSessionRepair:
		return nil
	case kind == record.KindSessionOpen && known:
		return errors.New("the session is open already")
	case kind == record.KindSessionOpen:
		return nil
	case !known:
		return errors.New("the session is unknown")
	case kind == record.KindSessionHead && s.Closed:
		return errors.New("the session is closed: what follows is recorded as session.close")
	case kind == record.KindSessionHead && r.Size <= s.Size:
		return fmt.Errorf("there are %d entries, and were %d", r.Size, s.Size)
	case r.Size < s.Size || r.Size == s.Size && r.Root != s.Root:
		return fmt.Errorf("the head is %v, and was %v", Head{r.Size, r.Root}, s.Head)
	case kind == record.KindSessionPrune && r.Size != s.Size:
		return errors.New("a session that is pruned has the head it had")
	}
	return nil
}

// book is what the entries of a segment say.
type book struct {
	plane  string
	file   string // path
	number int    // of the segment, from 1
	keys   record.HostKeys
	heads  map[string]State
	whole  bool                     // heads are those of all segments before, too
	joined bool                     // what precedes is known:
	prior  *record.RegisterContinue // the head of the segment before, nil if this is the first

	entries uint64
	before  *record.RegisterContinue
	lost    []record.RegisterLost
	noted   []string // debris that was set aside
	final   bool
	mine    bool  // what comes is written, not read
	fault   error // the first
}

func newBook(plane, file string) *book {
	return &book{plane: plane, file: file, number: 1, heads: map[string]State{}}
}

// options are those under which the segment is read.
func (b *book) options() ledger.Options {
	o := record.RegisterOptions()
	o.Keys, o.Observe = &b.keys, b.observe
	return o
}

// What a final seal has, and no other: its text members are base64 and hexadecimal.
var finalMark = []byte(`,"final":true,`)

// observe takes an entry over, unless one before it was wrong.
func (b *book) observe(e ledger.Entry) {
	if b.fault != nil {
		return
	}
	if err := b.add(e); err != nil {
		b.fault = &ledger.IntegrityError{File: b.file, Line: int(e.Seq) + 1, Seq: e.Seq, Offset: e.Offset, Reason: err.Error()} //nolint:gosec // a line number
	}
}

func (b *book) add(e ledger.Entry) error {
	b.entries = e.Seq + 1
	if b.mine {
		if err := b.keys.Saw(e); err != nil {
			return err
		}
	}
	if e.Kind == ledger.KindSeal {
		b.final = bytes.Contains(e.Line, finalMark) // package ledger has decoded it
		return nil
	}
	body, err := record.DecodeRegister(e)
	if err != nil {
		return err
	}
	if b.joined && b.prior != nil && e.Seq == 1 && e.Kind != record.KindRegisterContinue {
		return fmt.Errorf("it names no segment before it, and there is %s", b.prior.File)
	}
	switch body := body.(type) {
	case record.HostKey:
		return checkOrigin(b.plane, body.Origin)
	case record.RegisterContinue:
		return b.follow(e, body)
	case record.RegisterLost:
		if n := numberOf(body.File); n == 0 || n >= b.number {
			return fmt.Errorf("%s: %.80q is no segment before this one", e.Kind, body.File)
		}
		b.lost = append(b.lost, body)
		return nil
	case record.Recovered:
		b.noted = append(b.noted, body.File)
		return nil
	}
	return b.register(e.Kind, registered(body))
}

func (b *book) follow(e ledger.Entry, c record.RegisterContinue) error {
	n := numberOf(c.File)
	if e.Seq != 1 || n == 0 {
		return fmt.Errorf("%s of %.80q does not belong here", e.Kind, c.File)
	}
	b.before, b.number = &c, n+1
	switch {
	case !b.joined || b.prior != nil && *b.prior == c:
		return nil
	case b.prior == nil:
		return fmt.Errorf("it goes on from %s, and that is gone: a segment of the register was removed", c.File)
	}
	return fmt.Errorf("it goes on from %s of %v, and before it there is %s of %v: a segment was removed or exchanged",
		c.File, Head{c.Size, c.Root}, b.prior.File, Head{b.prior.Size, b.prior.Root})
}

// register takes a session's entry over.
func (b *book) register(kind string, r record.Registered) error {
	s, found := b.heads[r.Session]
	if found || b.whole {
		if err := follows(kind, r, s, found); err != nil {
			return fmt.Errorf("%s of session %s: %w", kind, r.Session, err)
		}
	}
	b.heads[r.Session] = State{
		Head:     Head{r.Size, r.Root},
		Closed:   kind == record.KindSessionClose,
		Pruned:   kind == record.KindSessionPrune,
		Repaired: r.Repaired || kind == record.KindSessionRepair,
	}
	return nil
}

func registered(b ledger.Body) record.Registered {
	switch b := b.(type) {
	case record.RegisterOpen:
		return b.Registered
	case record.RegisterHead:
		return b.Registered
	case record.RegisterClose:
		return b.Registered
	case record.RegisterPrune:
		return b.Registered
	case record.RegisterRepair:
		return b.Registered
	}
	return record.Registered{}
}

// Origins of registers are agenthost/PLANE/sessions/ID.
func originPrefix(plane string) string { return "agenthost/" + plane + "/sessions/" }

var originID = regexp.MustCompile(`^[0-9a-f]{16}$`)

func checkOrigin(plane, origin string) error {
	if id, ok := strings.CutPrefix(origin, originPrefix(plane)); !ok || !originID.MatchString(id) {
		return fmt.Errorf("the origin is %.120q, want %sID: it is not the register of this plane", origin, originPrefix(plane))
	}
	return nil
}
