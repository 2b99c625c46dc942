package capability

import (
	"slices"
	"strings"
	"testing"
)

// oracle answers what an Enforcer answers, from the same rights, by simulating
// one pattern after the other.
type oracle struct {
	*Enforcer
	layers []oracleLayer
}

type oracleLayer struct {
	read, write, forbidden, withheld []oracleRule
	by                               string
}

type oracleRule struct {
	text, rule string
	m          *matcher
	sessions   []*matcher
}

func oracleOf(e *Enforcer) oracle {
	o := oracle{Enforcer: e}
	rules := func(from []pattern) []oracleRule {
		var all []oracleRule
		for _, p := range from {
			r := oracleRule{text: p.text, rule: p.rule, m: boundMatcher(p.glob, e.session)}
			for _, g := range p.bySession {
				r.sessions = append(r.sessions, boundMatcher(g, e.session))
			}
			if all = append(all, r); p.beneath != nil {
				r.m = boundMatcher(p.beneath, e.session)
				all = append(all, r)
			}
		}
		return all
	}
	for _, l := range e.layers {
		o.layers = append(o.layers, oracleLayer{rules(l.read), rules(l.write), rules(l.forbidden), rules(l.withheld), l.by()})
	}
	return o
}

// boundMatcher compiles g with session in place of the placeholder.
func boundMatcher(g *glob, session string) *matcher {
	var b strings.Builder
	for i := 0; i < len(g.text); {
		next := i + 1
		if _, ends := g.leap[i]; !ends && !g.braced(i) {
			var e element
			if e, next = g.element(i); e.kind == held {
				if session == placeholder { // which would be one again
					b.WriteByte('\\')
				}
				b.WriteString(session)
				i = next
				continue
			}
		}
		b.WriteString(g.text[i:next])
		i = next
	}
	return newMatcher(parseGlob(b.String()))
}

// beneath reports whether the pattern matches some name, and whether it is known
// to match every name, beneath folder ("." is the top).
func (m *matcher) beneath(folder string) (some, all bool) {
	n := m.words()
	s := m.simulation(make([]uint64, n), make([]uint64, n))
	if folder != "." {
		for _, r := range folder + "/" {
			if all, some := s.step(r); all || !some {
				return some, all
			}
		}
	}
	for i := range m.nodes {
		if s.cur[i>>6]&(1<<(i&63)) == 0 {
			continue
		}
		switch n := &m.nodes[i]; n.kind {
		case jump, star:
			add(s.cur, n.out)
		case split:
			add(s.cur, n.out)
			add(s.cur, n.alt)
		case rest:
			all = true
		}
		some = some || m.nodes[i].live
	}
	return some, all
}

func firstOf(rules []oracleRule, name string) *oracleRule {
	i := slices.IndexFunc(rules, func(r oracleRule) bool { return r.m.match(name) })
	if i < 0 {
		return nil
	}
	return &rules[i]
}

func coverOf(rules []oracleRule, folder string) bool {
	return slices.ContainsFunc(rules, func(r oracleRule) bool { _, all := r.m.beneath(folder); return all })
}

func (l *oracleLayer) granting(op Op) []oracleRule {
	if op == Write {
		return l.write
	}
	return l.read
}

// grants returns the first rule of layer i that grants op on name.
func (o oracle) grants(i int, op Op, name string) *oracleRule {
	rules := o.layers[i].granting(op)
	if _, _, in := sessionFolder(name); !in || i > 0 || op != Read {
		return firstOf(rules, name)
	}
	for k := range rules {
		for _, m := range rules[k].sessions {
			if m.match(name) {
				return &rules[k]
			}
		}
	}
	return nil
}

// reaches says whether layer i could grant op on some name beneath folder.
func (o oracle) reaches(i int, op Op, folder string) bool {
	_, _, in := sessionFolder(folder)
	for _, r := range o.layers[i].granting(op) {
		matchers := []*matcher{r.m}
		if in && i == 0 && op == Read {
			matchers = r.sessions
		}
		for _, m := range matchers {
			if some, _ := m.beneath(folder); some {
				return true
			}
		}
	}
	return false
}

func (o oracle) forbids(name string) string {
	for _, l := range o.layers {
		if r := firstOf(l.forbidden, name); r != nil {
			return r.rule
		}
	}
	return ""
}

func (o oracle) check(op Op, name string) string {
	if fault := nameFault(name); fault != "" {
		return fault
	}
	if rule := o.forbids(name); rule != "" {
		return "! " + rule
	}
	if rule := reserved(op, name, o.session); rule != "" {
		if op == Write {
			return "! " + rule
		}
		return rule
	}
	for _, l := range o.layers {
		if r := firstOf(l.withheld, name); r != nil {
			return r.rule
		}
	}
	if o.closed() || op != Read && op != Write {
		return noGrant(op)
	}
	for i := range o.layers[1:] {
		if o.grants(i+1, op, name) == nil {
			return noGrant(op) + o.layers[i+1].by
		}
	}
	if r := o.grants(0, op, name); r != nil {
		return "granted " + r.text
	}
	return noGrant(op)
}

func (o oracle) visible(op Op, folder string) bool {
	if o.closed() || op != Read && op != Write {
		return false
	}
	if folder != "." && (nameFault(folder) != "" || o.forbids(folder) != "") {
		return false
	}
	if folder == "output" {
		folder = "output/" + o.session
	}
	if folder != "." && reserved(op, folder, o.session) != "" {
		return false
	}
	self, some := folder != ".", true
	for i, l := range o.layers {
		some = some && !coverOf(l.forbidden, folder) && !coverOf(l.withheld, folder) && o.reaches(i, op, folder)
		self = self && firstOf(l.withheld, folder) == nil && o.grants(i, op, folder) != nil
	}
	return self || some
}

func (o oracle) forbidsBeneath(folder string) bool {
	if folder != "." && nameFault(folder) != "" {
		return true
	}
	for _, l := range o.layers {
		for _, r := range l.forbidden {
			if some, _ := r.m.beneath(folder); some || folder != "." && r.m.match(folder) {
				return true
			}
		}
	}
	return false
}

func (o oracle) grantsBeneath(op Op, folder string) bool {
	if o.closed() || op == Execute || folder != "." && nameFault(folder) != "" || reservedBeneath(op, folder, o.session) {
		return false
	}
	for _, l := range o.layers {
		if !slices.ContainsFunc(l.granting(op), func(r oracleRule) bool { _, all := r.m.beneath(folder); return all }) {
			return false
		}
	}
	return true
}

func (o oracle) wants(folder string) Grant {
	if o.closed() || folder != "." && nameFault(folder) != "" {
		return Grant{}
	}
	for _, op := range []Op{Read, Write} {
		for _, r := range o.layers[0].granting(op) {
			if some, _ := r.m.beneath(folder); some || folder != "." && r.m.match(folder) {
				return Grant{op, r.text}
			}
		}
	}
	return Grant{}
}

// agreesWithOracle compares all answers about name, and about the folders above
// it, with those of the oracle.
func agreesWithOracle(t *testing.T, e *Enforcer, o oracle, name string) {
	t.Helper()
	for folder := name; ; {
		for _, op := range []Op{Read, Write, Execute} {
			got, _, _ := strings.Cut(answer(e, op, folder), " | ")
			if want := o.check(op, folder); got != want {
				t.Fatalf("%s %q: got %s, the simulation says %s\n%v", op, folder, got, want, written(e))
			}
			if got, want := e.Reaches(op, folder), o.visible(op, folder); got != want {
				t.Fatalf("reaches(%s, %q): got %v, the simulation says %v\n%v", op, folder, got, want, written(e))
			}
			if got, want := e.GrantsBeneath(op, folder), o.grantsBeneath(op, folder); got != want {
				t.Fatalf("grants %s beneath %q: got %v, the simulation says %v\n%v", op, folder, got, want, written(e))
			}
		}
		want := ""
		if nameFault(folder) == "" {
			want = o.forbids(folder)
		}
		if got, _ := e.Forbids(folder); got != want {
			t.Fatalf("forbids(%q): got %q, the simulation says %q\n%v", folder, got, want, written(e))
		}
		if got, want := e.ForbidsBeneath(folder), o.forbidsBeneath(folder); got != want {
			t.Fatalf("forbids beneath %q: got %v, the simulation says %v\n%v", folder, got, want, written(e))
		}
		if got, _ := e.Wants(folder); got != o.wants(folder) {
			t.Fatalf("wants %q: got %v, the simulation says %v\n%v", folder, got, o.wants(folder), written(e))
		}
		if folder == "." || folder == "" {
			return
		}
		if i := strings.LastIndexByte(folder, '/'); i >= 0 {
			folder = folder[:i]
		} else {
			folder = "."
		}
	}
}
