package archive

import (
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/capability"
)

// placeholder stands for the session's id in a pattern.
const placeholder = "<session_id>"

// held is that placeholder as one rune, which no pattern may hold itself.
const held = "\x00"

// simple is a pattern without braces, classes and escapes: its segments, in which
// * and ? are what they are, and ** is a segment of its own.
type simple []string

// simpleOf takes a pattern apart into those that its braces stand for. It gives
// nothing for one with classes or escapes, which are not looked into.
func simpleOf(pattern string) []simple {
	if strings.ContainsAny(pattern, `[\`) {
		return nil
	}
	if pattern == "out" || strings.HasPrefix(pattern, "out/") {
		pattern = "output/" + placeholder + pattern[len("out"):]
	}
	var all []simple
	for _, one := range alternatives(strings.ReplaceAll(pattern, placeholder, held)) {
		if strings.Contains(one, placeholder) { // put together by braces, it is not always one
			return nil
		}
		all = append(all, strings.Split(one, "/"))
	}
	return all
}

// namesSession reports whether reading by p reaches into the session that it
// names: what agenthost keeps of a session is read by no other pattern.
func (p simple) namesSession() bool {
	return len(p) > 3 && !slices.Contains(p[:3], "**") && !strings.ContainsAny(p[3], "*?"+held)
}

// prover finds out whether what one pattern matches another matches too, as far
// as it sees that, and as long as it has steps left.
type prover struct{ steps int }

// maxSteps bounds the comparison of two manifests, whose patterns may have 64 KiB.
const maxSteps = 20_000_000

// within reports whether every name that p matches is matched by q. It lays q over
// p: a ** of q over any segments of p, another segment of q over one that it is
// at least as wide as. False says that this cannot be done, not that there is a
// name.
func (pr *prover) within(p, q simple) bool {
	return pr.steps > 0 && pr.lay(len(p), len(q),
		func(i int) bool { return q[i] == "**" },
		func(i, j int) bool { return p[i] != "**" && pr.segmentWithin(p[i], q[j]) },
	)
}

func (pr *prover) segmentWithin(p, q string) bool {
	if p == q {
		return true
	}
	a, b := []rune(p), []rune(q)
	return pr.lay(len(a), len(b),
		func(i int) bool { return b[i] == '*' },
		func(i, j int) bool { return a[i] == b[j] || b[j] == '?' && a[i] != '*' && string(a[i]) != held },
	)
}

// lay reports whether n things can be covered, in their order and each once, by m
// others, of which those that are wide cover any number, and one of the rest covers
// one thing where it fits.
func (pr *prover) lay(n, m int, wide func(j int) bool, fits func(i, j int) bool) bool {
	if pr.steps -= (n + 1) * (m + 1); pr.steps < 0 {
		return false
	}
	covered := make([]bool, n+1) // the first i things, by those of the m before
	covered[0] = true
	for j := range m {
		next := make([]bool, n+1)
		for i := range n + 1 {
			if wide(j) {
				next[i] = covered[i] || i > 0 && next[i-1]
			} else {
				next[i] = i > 0 && covered[i-1] && fits(i-1, j)
			}
		}
		covered = next
	}
	return covered[n]
}

// grants are the patterns of one operation in a manifest, to be compared with
// those of another.
type grants struct {
	op       capability.Op // empty for forbidden patterns
	patterns []string
	simple   []simple
	enforcer *capability.Enforcer // of the manifest; nil: of none that is valid
}

func newGrants(op capability.Op, patterns []string, e *capability.Enforcer) *grants {
	g := &grants{op: op, patterns: patterns, enforcer: e}
	for _, p := range patterns {
		g.simple = append(g.simple, g.all(p)...)
	}
	return g
}

// all is simpleOf; a forbidden pattern that matches a folder forbids what is in it.
func (g *grants) all(pattern string) []simple {
	all := simpleOf(pattern)
	if g.op == "" {
		for i := range all {
			all[i] = append(all[i], "**")
		}
	}
	return all
}

// cover reports whether it is certain that every name one further pattern matches
// is matched by these: because it is one of them, because it is a name that the
// enforcer permits, or because it is within one of them.
func (g *grants) cover(pr *prover, pattern string) bool {
	if slices.Contains(g.patterns, pattern) || g.permits(pattern) {
		return true
	}
	all := g.all(pattern)
	for _, p := range all {
		if !slices.ContainsFunc(g.simple, func(q simple) bool {
			return (g.op != capability.Read || !p.namesSession() || q.namesSession()) && pr.within(p, q)
		}) {
			return false
		}
	}
	return len(all) > 0
}

// permits reports whether a pattern is one name, and permitted in every session.
func (g *grants) permits(pattern string) bool {
	name, ok := capability.Literal(pattern)
	if !ok || g.op == "" || g.enforcer == nil {
		return false
	}
	session := "SES-1"
	for i := 2; strings.Contains(name, session); i++ {
		session = "SES-" + strconv.Itoa(i)
	}
	_, err := g.enforcer.Bind(session).Check(g.op, name)
	return err == nil
}

// runs reports whether it is certain that commands, of which e is the enforcer or
// nil, permit all that c does: because c is one of them, or is one command that
// leaves nothing to fill in and that e permits.
func runs(commands []capability.Command, e *capability.Enforcer, c capability.Command) bool {
	if slices.ContainsFunc(commands, func(old capability.Command) bool { return slices.Equal(old, c) }) {
		return true
	}
	if e == nil || slices.ContainsFunc(c, func(word string) bool { return strings.ContainsAny(word, `*?[]{}\`) }) {
		return false
	}
	_, err := e.CheckExec(c)
	return err == nil
}
