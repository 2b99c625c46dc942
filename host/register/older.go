package register

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

var segmentForm = regexp.MustCompile(`^sessions-([0-9]{6})\.jsonl$`)

func segmentName(n int) string { return fmt.Sprintf("sessions-%06d.jsonl", n) }

// numberOf is the number of a segment, 0 if the name is not one of a segment.
func numberOf(name string) int {
	m := segmentForm.FindStringSubmatch(name)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // six digits
	return n
}

const debrisMark = ".torn-"

// Owns reports whether a file of that name in a register's folder is its own: a
// segment, or debris that was set aside from one.
func Owns(name string) (segment, debris bool) {
	file, _, debris := strings.Cut(name, debrisMark)
	owned := file == record.RegisterFile || numberOf(file) > 0
	return owned && !debris, owned && debris
}

// segments returns the number of the last segment before the current one, 0 if
// there is none.
func (r *Register) segments() (int, error) {
	names, err := r.dir.ReadDir(r.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	last := 0
	for _, e := range names {
		last = max(last, numberOf(e.Name))
	}
	return last, nil
}

// moveDebris renames what was set aside from the current segment after the name
// that the segment gets, so that it is not taken for debris of the next one.
func (r *Register) moveDebris(segment string) error {
	names, err := r.dir.ReadDir(r.folder)
	if err != nil {
		return err
	}
	for _, e := range names {
		if rest, ok := strings.CutPrefix(e.Name, record.RegisterFile+debrisMark); ok {
			if err := beneath.Rename(r.dir, r.in(e.Name), r.dir, r.in(segment+debrisMark+rest)); err != nil {
				return err
			}
		}
	}
	return nil
}

// segment reads and verifies a segment before the current one. Next, if set, is
// what the one behind it says of it.
func (r *Register) segment(n int, next *record.RegisterContinue) (*book, ledger.Report, error) {
	b := newBook(r.plane, r.path(segmentName(n)))
	report, err := b.read(next, n)
	if err == nil {
		err = r.trust(b, r.disk.key)
	}
	return b, report, err
}

// read verifies segment n, which others follow.
func (b *book) read(next *record.RegisterContinue, n int) (ledger.Report, error) {
	o := b.options()
	if next != nil {
		o.Anchors = []ledger.Anchor{{Size: next.Size, Root: next.Root, Source: "the segment after it"}}
	}
	report, err := ledger.Verify(b.file, o)
	bad := &ledger.IntegrityError{File: b.file}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		bad.Reason = "it is gone: a segment of the register was removed"
	case err != nil:
		return report, err
	case b.fault != nil:
		return report, b.fault
	case report.Torn != nil:
		bad = report.Torn
		bad.Torn = false
	case !b.final:
		bad.Reason = "it has no final seal, and another segment follows: it was cut"
	case next != nil && report.Head.Size != next.Size:
		bad.Reason = fmt.Sprintf("it has %d entries, and the segment after it knows %d", report.Head.Size, next.Size)
	case b.number != n:
		bad.Reason = fmt.Sprintf("it is segment %d: it was exchanged", b.number)
	default:
		return report, nil
	}
	return report, bad
}

// older is what is known of the segments before the current one. They do not
// change, and are read when they are asked about, the last one first.
type older struct {
	register *Register
	heads    map[string]State         // of the segments that were read
	down     int                      // they are those from here on
	before   *record.RegisterContinue // what the first of them says of the one before it
	lost     int                      // nothing is read up to this one
	asked    int                      // how often last was
	index    map[string]int           // its answers for all names; nil: not made
}

// newOlder knows nothing of the segments below number but what that says of the
// one before it.
func newOlder(r *Register, number int, before *record.RegisterContinue) *older {
	return &older{register: r, heads: map[string]State{}, down: number, before: before}
}

// lose takes note of segments whose loss was accepted.
func (o *older) lose(lost []record.RegisterLost) {
	for _, l := range lost {
		o.lost = max(o.lost, numberOf(l.File))
	}
}

// push adds the segment that was the current one.
func (o *older) push(b *book) {
	for session, s := range b.heads {
		o.heads[session] = s
	}
}

// find returns the state of a session as of the last segment that names it.
func (o *older) find(session string) (State, bool, error) {
	if s, ok := o.heads[session]; ok {
		return s, true, nil
	}
	n, err := o.last(session)
	if err != nil {
		return State{}, false, err
	}
	for n > o.lost && o.down > n {
		if err := o.next(); err != nil {
			return State{}, false, err
		}
	}
	s, ok := o.heads[session]
	return s, ok, nil
}

// next reads one segment more.
func (o *older) next() error {
	if o.before == nil {
		return &ledger.IntegrityError{File: o.register.path(segmentName(o.down)), Reason: fmt.Sprintf("it does not name the segment before it, and is segment %d", o.down)}
	}
	b, _, err := o.register.segment(o.down-1, o.before)
	if err != nil {
		return err
	}
	for session, s := range b.heads {
		if _, ok := o.heads[session]; !ok {
			o.heads[session] = s
		}
	}
	o.down, o.before = b.number, b.before
	o.lose(b.lost)
	return nil
}

// reach makes sure that a floor lies in the segment of its number.
func (o *older) reach(f *floor) error {
	for o.down > f.number && o.down-1 > o.lost {
		if err := o.next(); err != nil {
			return err
		}
	}
	if o.down != f.number {
		return nil // its loss was accepted
	}
	b := newBook(o.register.plane, o.register.path(segmentName(f.number)))
	opts := b.options()
	opts.Anchors = []ledger.Anchor{{Size: f.Size, Root: f.Root, Source: "who wrote before"}}
	_, err := ledger.Verify(b.file, opts)
	return err
}

// last returns the last segment, of those that were not read, in which the name of
// a session occurs, 0 if none. Nobody has verified that: most sessions that are
// asked about are new ones, and of these every segment had to be read. Who takes
// a name out of a segment breaks it, which [Verify] finds, and wins nothing but
// that a session of this name can be opened again.
func (o *older) last(session string) (int, error) {
	if o.index != nil {
		return o.index[session], nil
	}
	if o.asked++; o.asked > 1 {
		return o.all(session)
	}
	found := 0
	needle := append(append(bytes.Clone(nameMark), session...), '"')
	err := o.each(func(n int, text []byte) bool {
		if bytes.Contains(text, needle) {
			found = n
		}
		return found == 0
	})
	return found, err
}

// all finds all names, for who asks more than once.
func (o *older) all(session string) (int, error) {
	index := map[string]int{}
	err := o.each(func(n int, text []byte) bool {
		eachMember(text, nameMark, func(session string) {
			if _, ok := index[session]; !ok {
				index[session] = n
			}
		})
		return true
	})
	if err != nil {
		return 0, err
	}
	o.index = index
	return index[session], nil
}

// each gives the text of the segments that were not read, the last one first.
func (o *older) each(see func(n int, text []byte) bool) error {
	for n, lost := o.down-1, o.lost; n > lost; n-- {
		text, err := o.register.raw(segmentName(n))
		if errors.Is(err, fs.ErrNotExist) {
			return &ledger.IntegrityError{File: o.register.path(segmentName(n)), Reason: "it is gone: a segment of the register was removed"}
		}
		if err != nil {
			return err
		}
		lost = max(lost, lostIn(text))
		if !see(n, text) {
			return nil
		}
	}
	return nil
}

// maxSegment is more than the bytes of any segment.
const maxSegment = 4 << 20

// raw is what a segment holds, as nobody has verified.
func (r *Register) raw(name string) ([]byte, error) {
	f, err := r.dir.OpenRead(r.in(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var text bytes.Buffer
	text.Grow(segmentLimit + segmentLimit/4)
	n, err := text.ReadFrom(io.LimitReader(f, maxSegment+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", r.path(name), err)
	}
	if n > maxSegment {
		return nil, &ledger.IntegrityError{File: r.path(name), Reason: "it is longer than a segment is"}
	}
	return text.Bytes(), nil
}

var (
	nameMark = []byte(`,"session":"`)
	lostMark = []byte(`"kind":"register.lost","sid":"register","turn":0,"file":"`)
)

// lostIn is the number of the last segment that is said there to be lost.
func lostIn(text []byte) int {
	lost := 0
	eachMember(text, lostMark, func(file string) { lost = max(lost, numberOf(file)) })
	return lost
}

// eachMember gives the texts behind mark up to the next quote.
func eachMember(text, mark []byte, see func(string)) {
	for {
		_, rest, ok := bytes.Cut(text, mark)
		member, after, end := bytes.Cut(rest, []byte{'"'})
		if !ok || !end {
			return
		}
		see(string(member))
		text = after
	}
}

func sorted(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for name := range set {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}
