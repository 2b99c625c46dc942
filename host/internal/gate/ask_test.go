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
		.agenthost/deps .agenthost/none ../x /docs/a.md docs/../docs/a.md`)
	for _, op := range []capability.Op{capability.Read, capability.Write} {
		flags := Read
		if op == capability.Write {
			flags = Write | Create | Trunc
		}
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
			w.does(func() Errno { _, errno := w.Open(WASI, p, flags); return errno })
			ops := w.ops(w.begin.Seq)
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
