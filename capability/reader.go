package capability

import (
	"strings"
	"unicode/utf8"
)

// reader follows a name through an automaton: from state to state, and where one
// is neither known nor can be kept, by simulation to the end of the name.
type reader struct {
	*table
	s  *state   // where the name is, or nil:
	sc *scratch // where it is when it is simulated

	weigh bool
	cost  int64 // if weigh is set, of what was read
}

// at says what the patterns say of name, which nameFault accepted.
func (a *automaton) at(name, session string) verdict {
	if a == nil {
		return verdict{}
	}
	r := reader{table: a.current()}
	r.s = r.start
	r.read(name, session)
	v := r.verdict()
	a.close(&r)
	return v
}

// around says what the patterns say of folder ("." is the top, of which they say
// nothing), and of what is beneath.
func (a *automaton) around(folder, session string) (here, beneath verdict) {
	if a == nil {
		return here, beneath
	}
	r := reader{table: a.current()}
	r.s = r.start
	if folder != "." {
		r.read(folder, session)
		here = r.verdict()
		r.plain("/")
	}
	beneath = r.verdict()
	a.close(&r)
	return here, beneath
}

// cost returns the places of the patterns where name may be, and one more, added
// up over its runes: what it takes to simulate them. It is at least what at and
// around take, and the same whatever the automaton was asked before.
func (a *automaton) cost(name, session string) int64 {
	if a == nil {
		return int64(len(name))
	}
	r := reader{table: a.current(), weigh: true}
	r.s = r.start
	r.read(name, session)
	a.close(&r)
	return r.cost
}

func (a *automaton) close(r *reader) {
	if r.sc != nil {
		r.give(r.sc)
		a.renew(r.table)
	}
}

// read reads name, in which session may stand for the placeholder.
func (r *reader) read(name, session string) {
	if r.held {
		if i := strings.Index(name, session); i >= 0 {
			r.readHeld(name, session, i)
			return
		}
	}
	r.plain(name)
}

// readHeld reads name, in which session occurs, first at next. Each occurrence
// is read twice: as the runes it is made of, and as the placeholder, whose
// outcome joins that of the runes where the occurrence ends.
func (r *reader) readHeld(name, session string, next int) {
	var q queue
	for at := 0; at < len(name) || q.n > 0; {
		to := len(name)
		if next >= 0 {
			to = next
		}
		if q.n > 0 {
			to = min(to, q.first().at)
		}
		r.plain(name[at:to])
		if at = to; q.n > 0 && q.first().at == at {
			r.arrive(q.pop())
		}
		if next == at {
			if d := r.depart(at + len(session)); d.s != nil || d.places > 0 {
				q.push(d)
			}
			if next = strings.Index(name[at+1:], session); next >= 0 {
				next += at + 1
			}
		}
	}
}

// due is what the placeholder leads to at a position in the name: a state, or,
// where the name is simulated, the first so many of the pending places.
type due struct {
	at     int
	s      *state
	places int
}

// queue is the occurrences being read, in order.
type queue struct {
	all     [maxOverlap]due
	head, n int
}

// maxOverlap bounds the occurrences of a session's id that overlap: the SES-
// that it begins with does not overlap itself.
const maxOverlap = maxSession/len("SES-") + 1

func (q *queue) first() *due { return &q.all[q.head] }

func (q *queue) pop() due {
	d := q.all[q.head]
	q.head, q.n = (q.head+1)%maxOverlap, q.n-1
	return d
}

func (q *queue) push(d due) {
	q.all[(q.head+q.n)%maxOverlap] = d
	q.n++
}

// depart begins to read an occurrence of the session's id that ends at the
// position end.
func (r *reader) depart(end int) due {
	if r.s != nil {
		if s := r.leads(r.s, byHeld, 0, nil); s == nil {
			r.simulate()
		} else if s.places > 0 {
			return due{at: end, s: s}
		} else {
			return due{}
		}
	}
	d := due{at: end}
	for _, at := range r.sc.list {
		if n := &r.nodes[at>>1]; n.kind == held {
			r.sc.pending = append(r.sc.pending, n.out<<1|1)
			d.places++
		}
	}
	return d
}

// arrive joins d with where the name is.
func (r *reader) arrive(d due) {
	if r.s != nil {
		if s := r.leads(r.s, byJoin|d.s.id, 0, d.s); s != nil {
			r.s = s
			return
		}
		r.simulate()
	}
	if d.s != nil {
		r.sc.markAll(d.s.key)
	}
	for _, place := range r.sc.pending[:d.places] {
		r.sc.mark(place)
	}
	r.sc.pending = append(r.sc.pending[:0], r.sc.pending[d.places:]...)
	r.join(r.sc)
}

// simulate goes on without states.
func (r *reader) simulate() {
	r.sc = r.take()
	r.sc.decode(r.s.key)
	r.s = nil
}

// plain reads the runes of text.
func (r *reader) plain(text string) {
	for r.s != nil {
		if text = r.known(text); text == "" {
			return
		}
		c, size := utf8.DecodeRuneInString(text)
		symbol, c := r.symbol(c)
		s := r.leads(r.s, symbol, c, nil)
		if s == nil {
			r.simulate()
			break
		}
		r.cost += r.weight(int(r.s.places))
		r.s, text = s, text[size:]
	}
	var missed int64
	for _, c := range text {
		missed += r.weight(len(r.sc.list))
		r.step(r.sc, c)
	}
	r.missed.Add(missed)
	r.cost += missed
}

// known reads what leads from known states to known states by symbols that have
// a slot, and returns what is left of text.
func (r *reader) known(text string) string {
	s, first, weigh, cost := r.s, &r.first, r.weigh, r.cost
	i := 0
	for ; i < len(text); i++ {
		symbol := first[text[i]]
		if symbol >= dense {
			break
		}
		to := s.next[symbol].Load()
		if to == nil {
			break
		}
		if weigh {
			cost += r.weight(int(s.places))
		}
		s = to
	}
	r.s, r.cost = s, cost
	return text[i:]
}

// verdict returns the verdict on where the name is.
func (r *reader) verdict() verdict {
	if r.s == nil {
		return r.judge(r.sc.list)
	}
	if v := r.s.verdict.Load(); v != nil {
		return *v
	}
	sc := r.take()
	sc.decode(r.s.key)
	v := r.judge(sc.list)
	r.give(sc)
	r.s.verdict.Store(&v)
	return v
}
