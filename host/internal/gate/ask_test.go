//go:build linux

package gate

import (
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
)

// TestAsk holds the answers of policy check to what a turn records: the same
// operation, decision, rule and right for every name, whether or not it is there.
func TestAsk(t *testing.T) {
	s := setup{
		grants: capability.Grants{
			Read: []string{"docs/*.md", "all/**"}, Write: []string{"docs/*.md", "reports/**", "out/**"},
			Forbidden: []string{"docs/private.md", "all/secret", "out/never"},
		},
		withhold: []string{"**/.env*"},
		outputs:  []string{"reports/*.md", "docs/new.md"},
		files: map[string]string{
			"docs/a.md": "a", "docs/private.md": "p", "docs/b.txt": "b", "docs/sub/c.md": "c",
			"all/x/y": "y", "all/secret/z": "z", "all/.env": "e", "other/f": "f", "reports/": "",
		},
	}
	unbound, err := capability.New(s.grants)
	if err != nil {
		t.Fatal(err)
	}
	hidden := capability.AsAsked()
	hidden.Withhold = s.withhold
	if unbound, err = unbound.Attenuate(hidden); err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(`. docs docs/ docs/a.md docs/none.md docs/private.md docs/b.txt docs/sub docs/sub/c.md all all/x all/x/y
		all/secret all/secret/z all/.env other other/f none reports reports/r.md reports/r.txt docs/new.md
		tmp tmp/x out out/x out/never .agenthost .agenthost/pkg .agenthost/pkg/none .agenthost/pkg/manifest.json
		.agenthost/deps .agenthost/none .agenthost/policy.json ../x /docs/a.md docs/../docs/a.md`)
	for _, door := range []struct {
		op    capability.Op
		check bool // asked by the agent itself, of what it does by a message
		do    func(w *world, p string) Errno
	}{
		{capability.Read, false, func(w *world, p string) Errno { _, errno := w.Open(WASI, p, Read); return errno }},
		{capability.Write, false, func(w *world, p string) Errno { _, errno := w.Open(WASI, p, Write|Create|Trunc); return errno }},
		{capability.Read, true, func(w *world, p string) Errno { _, _, errno := w.Read(ABI, p, 0, 1); return errno }},
		{capability.Write, true, func(w *world, p string) Errno { _, errno := w.Write(ABI, p, nil, false); return errno }},
	} {
		op := door.op
		for _, p := range names {
			w := newWorld(t, s)
			var outputs []archive.Output
			for _, o := range s.outputs {
				outputs = append(outputs, archive.Output{Path: o, Role: "r"})
			}
			answer, err := Ask(Question{Enforcer: unbound, Package: w.cfg.Package, Outputs: outputs, Op: op, Path: p})
			if err != nil {
				t.Fatal(err)
			}
			if door.check {
				before := answer
				answer = w.Check(ABI, op, p)
				checked := w.ops(w.begin.Seq)
				if len(checked) != 1 || checked[0].Op != record.OpCheck || checked[0].Right != string(op) || checked[0].Path != answer.Entry.Path ||
					checked[0].Decision != record.Own || checked[0].Rule != answer.Entry.Rule || w.hiddenProbes() != 0 {
					t.Errorf("%s %s: checked %+v, recorded %+v", op, p, answer, checked)
				}
				if before.Entry.Op == record.OpList {
					continue // a folder is listed, not read
				}
				if before.Allowed() != answer.Allowed() || before.Grant != answer.Grant || before.Entry.Decision != answer.Entry.Decision || before.Entry.Rule != answer.Entry.Rule {
					t.Errorf("%s %s: policy check tells %+v, check %+v", op, p, before, answer)
				}
			}
			mark := w.cfg.Exec.Head().Size - 1
			w.does(func() Errno { return door.do(w, p) })
			ops := w.ops(mark)
			if len(ops) == 0 {
				t.Errorf("%s %s: nothing was recorded", op, p)
				continue
			}
			told, done := answer.Entry, ops[0]
			told.Path = strings.ReplaceAll(told.Path, anySession, sid)
			told.SmallestGrant = strings.ReplaceAll(told.SmallestGrant, anySession, sid)
			if answer.Allowed() {
				// What is there decides the rest: a file that is absent, or a name
				// that could be a folder's and is not.
				if done.Decision == record.Violated || done.Decision == record.Hidden && told.Op != record.OpList {
					t.Errorf("%s %s: told %+v, done %+v", op, p, told, done)
				}
				continue
			}
			if told.Op != done.Op || told.Path != done.Path || told.Decision != done.Decision || told.Rule != done.Rule ||
				told.Right != done.Right || told.Errno != done.Errno || told.SmallestGrant != done.SmallestGrant || told.Flags != done.Flags {
				t.Errorf("%s %s:\ntold %+v\ndone %+v", op, p, told, done)
			}
		}
	}
}

// TestAskExec holds the answers of policy check, and of check, to what a command
// leaves in the ledger.
func TestAskExec(t *testing.T) {
	s := setup{grants: capability.Grants{
		Read:      []string{"docs/**"},
		Execute:   []capability.Command{{"git", "log", "*"}, {"python3", "pkg:lib/a.txt"}},
		Forbidden: []string{"docs/private.md"},
	}}
	unbound, err := capability.New(s.grants)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		argv []string
		want string
	}{
		{[]string{"git", "log", "v1"}, "success granted"},
		{[]string{"python3", "pkg:lib/a.txt"}, "success granted"},
		{[]string{"git", "log", "docs/private.md"}, "violation forbidden docs/private.md"},
		{[]string{"git", "log"}, "violation no grant of execute"},
		{[]string{"git", "push"}, "violation no grant of execute"},
		{[]string{"/bin/sh", "-c", "git log x"}, "violation no grant of execute"},
		{[]string{"a b", "\x1b[2J"}, "violation no grant of execute"},
	} {
		w := newWorld(t, s)
		answer, err := Ask(Question{Enforcer: unbound, Op: capability.Execute, Argv: c.argv})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "check", w.Check(ABI, capability.Execute, c.argv...), answer)
		if answer.Allowed() {
			equal(t, strings.Join(c.argv, " "), answer.Entry.Errno+" "+answer.Entry.Decision, c.want)
			continue
		}
		mark := w.cfg.Exec.Head().Size - 1
		equal(t, strings.Join(c.argv, " "), w.does(func() Errno { w.Exec(ABI, Command{Argv: c.argv}); return Success }), c.want)
		equal(t, "told and done", answer.Entry, w.ops(mark)[0])
	}
}

// What a check finds does not depend on what is there.
func TestCheckLooksAtNothing(t *testing.T) {
	grants := capability.Grants{Read: []string{"docs/*"}, Write: []string{"docs/*"}}
	there := newWorld(t, setup{grants: grants, outputs: []string{"docs/*"}, files: map[string]string{"docs/a": "a", "docs/b/": "", "other/a": "a"}})
	absent := newWorld(t, setup{grants: grants, outputs: []string{"docs/*"}})
	for _, op := range []capability.Op{capability.Read, capability.Write} {
		for _, p := range []string{"docs/a", "docs/b", "docs/b/", "docs", "other", "other/a", "other/a/x", "out/x", "tmp", "../x", ""} {
			equal(t, string(op)+" "+p, there.Check(ABI, op, p), absent.Check(ABI, op, p))
		}
	}
}
