package policy

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/ledger"
)

func manifest(g capability.Grants) archive.Manifest { return archive.Manifest{Capabilities: g} }

func git(words ...string) []capability.Command {
	return []capability.Command{append(capability.Command{"git"}, words...)}
}

func TestEffective(t *testing.T) {
	asked := capability.Grants{
		Read:      []string{"docs/**", "*.md"},
		Write:     []string{"reports/*.md", "out/*.md"},
		Execute:   git("log"),
		Forbidden: []string{"docs/private/**"},
	}
	order := &WorkOrder{ID: "WO-7", Capabilities: &capability.Grants{
		Read: []string{"docs/a/**", "src/**"}, Write: []string{"out/**"}, Forbidden: []string{"docs/a/x"},
	}}
	builtIn, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		policy  *Policy
		narrow  Narrow
		scope   Scope
		op      capability.Op
		subject string
		want    string // the rule that refuses; empty if permitted
	}{
		{name: "as asked", op: capability.Read, subject: "docs/a.md"},
		{name: "not asked", op: capability.Read, subject: "src/a.go", want: "no grant of read"},
		{name: "forbidden by the manifest", op: capability.Read, subject: "docs/private/a", want: "forbidden docs/private/**"},
		{name: "a secret", op: capability.Read, subject: "docs/.env.local", want: "withheld **/.env*"},
		{name: "a secret written", op: capability.Write, subject: "reports/credentials.md", want: "withheld **/credentials*"},
		{name: "the session's own", scope: Scope{Session: "SES-1"}, op: capability.Write, subject: "output/SES-1/a.md"},
		{name: "another session's", scope: Scope{Session: "SES-1"}, op: capability.Write, subject: "output/SES-2/a.md", want: "reserved output/**"},
		{name: "forbidden for this run", narrow: Narrow{Forbid: []string{"docs/b/**"}}, op: capability.Read, subject: "docs/b/a.md", want: "forbidden docs/b/**"},
		{name: "the rest of this run", narrow: Narrow{Forbid: []string{"docs/b/**"}}, op: capability.Read, subject: "docs/a.md"},
		{name: "without read", narrow: Narrow{Without: []capability.Op{capability.Read}}, op: capability.Read, subject: "docs/a.md", want: "no grant of read by the operator"},
		{name: "without read, write", narrow: Narrow{Without: []capability.Op{capability.Read}}, op: capability.Write, subject: "reports/a.md"},
		{name: "without write", narrow: Narrow{Without: []capability.Op{capability.Write}}, op: capability.Write, subject: "reports/a.md", want: "no grant of write by the operator"},
		{name: "out of scope", scope: Scope{Never: []string{"docs/own/**"}}, op: capability.Read, subject: "docs/own/a", want: "withheld docs/own/**"},
		{name: "a narrower policy", policy: &Policy{Capabilities: &capability.Grants{Read: []string{"docs/a/**"}}}, op: capability.Read, subject: "docs/b.md", want: "no grant of read by the operator"},
		{name: "within a narrower policy", policy: &Policy{Capabilities: &capability.Grants{Read: []string{"docs/a/**"}}}, op: capability.Read, subject: "docs/a/b.md"},
		{name: "a wider policy", policy: &Policy{Capabilities: &capability.Grants{Read: []string{"**"}}}, op: capability.Read, subject: "src/a.go", want: "no grant of read"},
		{name: "outside the work order", narrow: Narrow{WorkOrder: order}, op: capability.Read, subject: "docs/b.md", want: "no grant of read by work order WO-7"},
		{name: "within the work order", narrow: Narrow{WorkOrder: order}, op: capability.Read, subject: "docs/a/b.md"},
		{name: "more than was asked", narrow: Narrow{WorkOrder: order}, op: capability.Read, subject: "src/a.go", want: "no grant of read"},
		{name: "written outside the work order", narrow: Narrow{WorkOrder: order}, op: capability.Write, subject: "reports/a.md", want: "no grant of write by work order WO-7"},
		{name: "forbidden by the work order", narrow: Narrow{WorkOrder: order}, op: capability.Write, subject: "docs/a/x", want: "forbidden docs/a/x by work order WO-7"},
		{name: "a work order without capabilities", narrow: Narrow{WorkOrder: &WorkOrder{ID: "WO-8"}}, op: capability.Read, subject: "docs/a.md"},
		{name: "a secret, whatever the work order says", narrow: Narrow{WorkOrder: order}, op: capability.Read, subject: "docs/a/.env", want: "withheld **/.env*"},
		{name: "forbidden by the policy", policy: &Policy{Capabilities: &capability.Grants{Read: []string{"**"}, Forbidden: []string{"docs/**"}}}, op: capability.Read, subject: "docs/a.md", want: "forbidden docs/**"},
	} {
		p := c.policy
		if p == nil {
			p = builtIn
		}
		c.narrow.Accepted = true
		e, _, _, err := Effective(manifest(asked), p, c.narrow, c.scope)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		_, err = e.Check(c.op, c.subject)
		var v *capability.Violation
		if got := errors.As(err, &v); got != (c.want != "") || got && v.Rule != c.want {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// TestAcceptance: commands are granted to accepted packages only, and nobody has
// to accept what is not granted anyway.
func TestAcceptance(t *testing.T) {
	builtIn, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	asks := manifest(capability.Grants{Execute: git("log")})
	for _, c := range []struct {
		name     string
		manifest archive.Manifest
		policy   *Policy
		narrow   Narrow
		want     error
		runs     bool
	}{
		{name: "not accepted", manifest: asks, want: ErrNotAccepted},
		{name: "accepted", manifest: asks, narrow: Narrow{Accepted: true}, runs: true},
		{name: "without", manifest: asks, narrow: Narrow{Without: []capability.Op{capability.Execute}}},
		{name: "accepted and without", manifest: asks, narrow: Narrow{Accepted: true, Without: []capability.Op{capability.Execute}}},
		{name: "asks for none", manifest: manifest(capability.Grants{Read: []string{"**"}})},
		{name: "accepted, asks for none", narrow: Narrow{Accepted: true}},
		{name: "the policy grants none", manifest: asks, policy: &Policy{Capabilities: &capability.Grants{Read: []string{"**"}}}},
		{name: "the policy grants it, not accepted", manifest: asks, policy: &Policy{Capabilities: &capability.Grants{Execute: git("log")}}, want: ErrNotAccepted},
		{name: "the policy grants it", manifest: asks, policy: &Policy{Capabilities: &capability.Grants{Execute: git("log")}}, narrow: Narrow{Accepted: true}, runs: true},
		{name: "the work order grants none", manifest: asks, narrow: Narrow{WorkOrder: &WorkOrder{Capabilities: &capability.Grants{}}}},
		{name: "the work order says nothing", manifest: asks, narrow: Narrow{WorkOrder: &WorkOrder{}}, want: ErrNotAccepted},
		{name: "the work order names its digest, not accepted", manifest: asks, narrow: Narrow{WorkOrder: &WorkOrder{Packages: []Named{{ID: "PKG-A-1", SHA256: ledger.Sum(nil)}}, Capabilities: &capability.Grants{Execute: git("log")}}}, want: ErrNotAccepted},
		{name: "the work order grants it, accepted", manifest: asks, narrow: Narrow{Accepted: true, WorkOrder: &WorkOrder{Capabilities: &capability.Grants{Execute: git("log")}}}, runs: true},
		{name: "the policy grants another", manifest: asks, policy: &Policy{Capabilities: &capability.Grants{Execute: git("status")}}, narrow: Narrow{Accepted: true}},
	} {
		p := c.policy
		if p == nil {
			p = builtIn
		}
		e, _, _, err := Effective(c.manifest, p, c.narrow, Scope{})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if err != nil {
			continue
		}
		if _, err := e.CheckExec([]string{"git", "log"}); (err == nil) != c.runs {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestOutline(t *testing.T) {
	asked := capability.Grants{
		Read: []string{"docs/**"}, Write: []string{"reports/*"}, Execute: append(git("log"), git("status")...), Forbidden: []string{"a"},
	}
	for _, c := range []struct {
		name     string
		policy   Policy
		narrow   Narrow
		granted  capability.Grants
		withheld []string
	}{
		{name: "all", granted: asked},
		{
			name: "withheld and forbidden", policy: Policy{Withhold: []string{"**/.env*"}}, narrow: Narrow{Forbid: []string{"b"}},
			granted:  capability.Grants{Read: asked.Read, Write: asked.Write, Execute: asked.Execute, Forbidden: []string{"a", "b"}},
			withheld: []string{"**/.env*"},
		},
		{
			name: "without", narrow: Narrow{Without: []capability.Op{capability.Execute, capability.Write}},
			granted:  capability.Grants{Read: asked.Read, Forbidden: asked.Forbidden},
			withheld: []string{"write", "execute git log", "execute git status"},
		},
		{
			name: "within a policy", policy: Policy{Capabilities: &capability.Grants{Read: []string{"x/**", "y"}, Execute: git("log"), Forbidden: []string{"c"}}},
			granted:  capability.Grants{Read: asked.Read, Execute: git("log"), Forbidden: []string{"a", "c"}},
			withheld: []string{"read but x/** y", "write", "execute git status"},
		},
		{
			name:     "within a policy and a work order",
			policy:   Policy{Capabilities: &capability.Grants{Read: []string{"**"}, Write: []string{"**"}, Execute: git("log")}, Withhold: []string{"h"}},
			narrow:   Narrow{Forbid: []string{"b"}, WorkOrder: &WorkOrder{ID: "WO-7", Capabilities: &capability.Grants{Read: []string{"docs/a"}, Forbidden: []string{"d"}}}},
			granted:  capability.Grants{Read: asked.Read, Execute: []capability.Command{}, Forbidden: []string{"a", "b", "d"}},
			withheld: []string{"read but docs/a by work order WO-7", "write by work order WO-7", "execute git log by work order WO-7", "execute git status", "h"},
		},
	} {
		c.narrow.Accepted = true
		_, granted, withheld, err := Effective(manifest(asked), &c.policy, c.narrow, Scope{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !reflect.DeepEqual(granted, c.granted) {
			t.Errorf("%s: granted %+v\nwant %+v", c.name, granted, c.granted)
		}
		if !reflect.DeepEqual(withheld, c.withheld) {
			t.Errorf("%s: withheld %q\nwant %q", c.name, withheld, c.withheld)
		}
	}
}

// TestNeverWidens: what Effective permits, each of its parts permits alone.
func TestNeverWidens(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pool := []string{"**", "a/**", "b/*", "*.md", "a/b/c", "**/c", "{a,b}/**", "a/?", "[ab]/x"}
	names := []string{"a/b", "a/b/c", "b/x", "r.md", "a/x.md", "c", "b/c", "a/x"}
	some := func() []string {
		var list []string
		for range rnd.IntN(4) {
			list = append(list, pool[rnd.IntN(len(pool))])
		}
		return list
	}
	permits := func(g capability.Grants, name string) bool {
		e, err := capability.New(g)
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.Check(capability.Read, name)
		return err == nil
	}
	permitted := 0
	for range 3000 {
		asked := capability.Grants{Read: some(), Forbidden: some()}
		p := &Policy{Capabilities: &capability.Grants{Read: some(), Forbidden: some()}, Withhold: some()}
		narrow := Narrow{Forbid: some(), WorkOrder: &WorkOrder{ID: "WO-1", Capabilities: &capability.Grants{Read: some(), Forbidden: some()}}}
		scope := Scope{Never: some()}
		e, _, _, err := Effective(manifest(asked), p, narrow, scope)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if _, err := e.Check(capability.Read, name); err != nil {
				continue
			}
			permitted++
			for _, alone := range []capability.Grants{
				asked, *p.Capabilities, *narrow.WorkOrder.Capabilities,
				{Read: []string{"**"}, Forbidden: p.Withhold},
				{Read: []string{"**"}, Forbidden: narrow.Forbid},
				{Read: []string{"**"}, Forbidden: scope.Never},
			} {
				if !permits(alone, name) {
					t.Fatalf("%s is permitted by %+v %+v %+v %+v, and not by %+v", name, asked, p, narrow, scope, alone)
				}
			}
		}
	}
	if permitted == 0 {
		t.Error("nothing was ever permitted: the test says nothing")
	}
}

func TestForbidMistake(t *testing.T) {
	builtIn, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, err = Effective(archive.Manifest{}, builtIn, Narrow{Forbid: []string{"/etc"}}, Scope{})
	var e *Error
	if !errors.As(err, &e) || e.Source != "--forbid" || e.Hint == "" {
		t.Errorf("got %v", err)
	}
}
