package capability

import (
	"errors"
	"strings"
	"testing"
)

const (
	own   = "SES-20260102T030405Z-own"
	other = "SES-20260102T030405Z-other"
)

func mustNew(t testing.TB, g Grants) *Enforcer {
	t.Helper()
	e, err := New(g)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mustAttenuate(t testing.TB, e *Enforcer, r Rights) *Enforcer {
	t.Helper()
	out, err := e.Attenuate(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// operators are rights as an operator gives them who says little: what is asked,
// but no names that usually hold secrets and no command.
func operators() Rights {
	r := AsAsked()
	r.Withhold, r.AllowExecute = SecretNames(), false
	return r
}

// written are the rights that e was made of: first the manifest's, then each that
// narrowed them.
func written(e *Enforcer) []Rights {
	var all []Rights
	for _, l := range e.layers {
		all = append(all, l.rights)
	}
	return all
}

// answer is a Check in one line.
func answer(e *Enforcer, op Op, name string) string {
	g, err := e.Check(op, name)
	return oneLine(g, err)
}

func oneLine(g Grant, err error) string {
	if err == nil {
		return "granted " + g.Pattern
	}
	var v *Violation
	if !errors.As(err, &v) {
		return "not a violation: " + err.Error()
	}
	line := v.Rule
	if v.Forbidden {
		line = "! " + line
	}
	if v.SmallestGrant != "" {
		line += " | " + v.SmallestGrant
	}
	return line
}

func TestCheck(t *testing.T) {
	manifest := Grants{
		Read: []string{
			"docs/*.md", "docs/**", "ledger/*.jsonl", "out/**", "notes/.env", "**/*.txt", "planes/*/ledger/*.jsonl",
			"planes/ho1/sessions/" + other + "/ledger/**", "planes/ho2/sessions/*/ledger/*.jsonl",
			"control/policy.json", "by/<session_id>/*",
		},
		Write:     []string{"reports/*.md", "out/**", "**/gen.txt"},
		Forbidden: []string{"docs/private/**", "**/secret*"},
	}
	e := mustNew(t, manifest).Bind(own)
	for _, c := range []struct {
		op         Op
		name, want string
	}{
		{Read, "docs/a.md", "granted docs/*.md"},
		{Read, "docs/a/b", "granted docs/**"},
		{Read, "docs", "granted docs/**"},
		{Read, "ledger/governance.jsonl", "granted ledger/*.jsonl"},
		{Read, "docs/private/a.md", "! forbidden docs/private/**"},
		{Read, "docs/private", "! forbidden docs/private/**"},
		{Write, "docs/private/a.md", "! forbidden docs/private/**"},
		{Read, "docs/secret.md", "! forbidden **/secret*"},
		{Read, "a.md", `no grant of read | read: ["a.md"]`},
		{Write, "docs/a.md", `no grant of write | write: ["docs/a.md"]`},
		{Write, `a[1]{*}?\b`, `no grant of write | write: ["a\\[1\\]\\{\\*\\}\\?\\\\b"]`},
		{Write, "a<b>&c", `no grant of write | write: ["a<b>&c"]`},
		{Write, "x<session_id>", `no grant of write | write: ["x\\<session_id>"]`},
		{Write, "reports/a.md", "granted reports/*.md"},
		{Write, "x/gen.txt", "granted **/gen.txt"},
		{Write, strings.Repeat("a", 512), `no grant of write | write: ["` + strings.Repeat("a", 512) + `"]`},
		{Write, strings.Repeat("a", 513), "no grant of write"}, // no pattern is that long
		{Execute, "docs/a.md", "no grant of execute"},
		{"", "docs/a.md", "no grant of "},
		{"Read", "docs/a.md", "no grant of Read"},

		{Read, "output/" + own + "/a", "granted out/**"},
		{Write, "output/" + own + "/a/b", "granted out/**"},
		{Write, "output/" + own, "granted out/**"},
		{Write, "output/" + own + "x/a", "! reserved output/**"},
		{Write, "output/" + other + "/gen.txt", "! reserved output/**"},
		{Read, "output/" + other + "/a.txt", "reserved output/**"},
		{Read, "output/<session_id>/a", "reserved output/**"},
		{Read, "output/a.txt", "reserved output/**"},
		{Read, "out/a.txt", "reserved out/**"},
		{Read, "tmp/a.txt", "reserved tmp/**"},
		{Read, "pkg:agent.wasm", "reserved pkg:*/**"},
		{Write, "pkg:agent.wasm", "! reserved pkg:*/**"},
		{Read, "deps:PKG-T0-A-001/a", "reserved deps:*/**"},
		{Write, "deps:PKG-T0-A-001/a", "! reserved deps:*/**"},
		{Write, "tmp/gen.txt", "! reserved tmp/**"},
		{Read, ".agenthost/a.txt", "reserved .agenthost/**"},
		{Read, "x/tmp/a.txt", "granted **/*.txt"},
		{Read, "by/" + own + "/a", "granted by/<session_id>/*"},
		{Read, "by/" + other + "/a", `no grant of read | read: ["by/` + other + `/a"]`},

		{Write, "planes/gen.txt", "! reserved planes/**"},
		{Write, "ledger/gen.txt", "! reserved ledger/**"},
		{Write, "registries/gen.txt", "! reserved registries/**"},
		{Write, "packages_store/gen.txt", "! reserved packages_store/**"},
		{Write, "control/gen.txt", "! reserved control/**"},
		{Write, "control", "! reserved control/**"},
		{Read, "control/policy.json", "granted control/policy.json"},
		{Read, "planes/ho1/ledger/sessions.jsonl", "granted planes/*/ledger/*.jsonl"},
		{Read, "planes/ho1/sessions/" + other + "/ledger/exec.jsonl", "granted planes/ho1/sessions/" + other + "/ledger/**"},
		{Read, "planes/ho1/sessions/" + other + "/ledger/blobs/ab/cd", "reserved planes/*/sessions/*/ledger/blobs/**"},
		{Read, "planes/ho1/sessions/" + other + "/blobs/ab/cd.txt", "reserved planes/*/sessions/*/ledger/blobs/**"},
		{Read, "planes/ho1/sessions/" + other + "/staging/1/a.txt", "reserved planes/*/sessions/*/staging/**"},
		{Read, "planes/ho1/sessions/" + other + "/blocked/1/a.txt", "reserved planes/*/sessions/*/blocked/**"},
		{Read, "planes/ho1/sessions/" + own + "/ledger/exec.jsonl", "reserved planes/*/sessions/<session_id>/**"},
		{Read, "planes/ho1/sessions/" + own, "reserved planes/*/sessions/<session_id>/**"},
		{Read, "planes/ho2/sessions/" + other + "/ledger/exec.jsonl", `no grant of read | read: ["planes/ho2/sessions/` + other + `/ledger/exec.jsonl"]`},
		{Read, "planes/ho2/sessions/" + other + "/ledger/a.txt", `no grant of read | read: ["planes/ho2/sessions/` + other + `/ledger/a.txt"]`},

		{Read, "", "names are relative and have no empty, . or .. segments"},
		{Read, ".", "names are relative and have no empty, . or .. segments"},
		{Read, "/docs/a.md", "names are relative and have no empty, . or .. segments"},
		{Read, "docs/../a.txt", "names are relative and have no empty, . or .. segments"},
		{Read, "docs//a.md", "names are relative and have no empty, . or .. segments"},
		{Read, "docs/", "names are relative and have no empty, . or .. segments"},
		{Read, "docs/a\x00.md", "names hold no NUL"},
		{Read, "docs/\xff", "names are UTF-8"},
		{Read, "docs/" + string(make([]byte, 4092)), "names are at most 4096 bytes long"},
	} {
		if got := answer(e, c.op, c.name); got != c.want {
			t.Errorf("%s %q:\n got %s\nwant %s", c.op, c.name, got, c.want)
		}
	}
}
