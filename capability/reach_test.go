package capability

import (
	"path"
	"strings"
	"testing"
)

func TestReaches(t *testing.T) {
	manifest := Grants{
		Read: []string{
			"docs/*.md", "src/**/test/*.go", "a/b/c", "out/**", "priv/**", "planes/*/ledger/*.jsonl",
			"planes/ho1/sessions/" + other + "/ledger/**", "x*/**", "tmpl/**", "flat/*", "[rs]/t/u",
		},
		Write:     []string{"out/x/*", "reports/**"},
		Forbidden: []string{"priv/in/**", "docs/secret.md", "a/b"},
	}
	e := mustNew(t, manifest).Bind(own)
	narrow := mustAttenuate(t, e, Rights{Grants: Grants{Read: []string{"docs/**", "src/x/**", "tmpl/**"}}, Withhold: []string{"tmpl/**"}})
	for _, c := range []struct {
		e       *Enforcer
		op      Op
		yes, no string
	}{
		{
			e, Read,
			". docs src src/any src/any/test src/test a priv x1 x1/y tmpl flat flat/sub r r/t r/t/u " +
				"output output/" + own + " output/" + own + "/x planes planes/ho1 planes/ho1/ledger planes/ho1/sessions/" + other + " planes/ho1/sessions/" + other + "/ledger/sub",
			"docs/sub a/x a/b a/b/c priv/in priv/in/x a/b/c/d flat/sub/sub reports r/x other /docs docs/ .. docs/.. tmp out .agenthost " +
				"output/" + other + " planes/ho1/sessions/" + own + " planes/ho2/sessions/" + other + " planes/ho1/sessions/" + other + "/ledger/blobs",
		},
		{e, Write, ". output output/" + own + " output/" + own + "/x reports reports/a/b", "docs output/" + own + "/y planes ledger"},
		{e, Execute, "", ". docs"},
		{e, "", "", ". docs"},
		{narrow, Read, ". docs src src/x src/x/test", "src/any a tmpl tmpl/x output priv"},
		{narrow, Write, "", ". reports output"},
		{mustAttenuate(t, e, Rights{}), Read, "", ". docs"},
		{mustNew(t, Grants{}), Read, "", ". docs"},
		{&Enforcer{}, Read, "", ". docs"},
		{mustNew(t, Grants{Read: []string{"**"}}), Read, ". a a/b output planes/ho1", "tmp out .agenthost output/" + other},
		{mustNew(t, Grants{Write: []string{"**"}}), Write, ". a output output/<session_id>", "tmp planes ledger registries packages_store control control/x output/" + other},
	} {
		for want, names := range map[bool]string{true: c.yes, false: c.no} {
			for name := range strings.FieldsSeq(names) {
				if got := c.e.Reaches(c.op, name); got != want {
					t.Errorf("%v reaches(%s, %q): got %v, want %v", written(c.e), c.op, name, got, want)
				}
			}
		}
	}
}

func TestForbids(t *testing.T) {
	e := mustNew(t, Grants{Forbidden: []string{"docs/private/**", "out/x"}})
	bound := e.Bind(own)
	for _, c := range []struct {
		e          *Enforcer
		name, want string
	}{
		{e, "docs/private", "forbidden docs/private/**"},
		{e, "docs/private/a", "forbidden docs/private/**"},
		{e, "docs", ""},
		{e, "docs/private/", ""}, // no name
		{e, "output/<session_id>/x", "forbidden out/x"},
		{e, "output/" + own + "/x", ""},
		{bound, "output/" + own + "/x", "forbidden out/x"},
		{bound, "output/<session_id>/x", ""},
		{mustAttenuate(t, e, Rights{Grants: Grants{Forbidden: []string{"docs"}}}), "docs", "forbidden docs"},
		{mustAttenuate(t, e, operators()), ".env", ""}, // withheld, not forbidden
	} {
		if rule, ok := c.e.Forbids(c.name); rule != c.want || ok != (c.want != "") {
			t.Errorf("%q: got %q, %v, want %q", c.name, rule, ok, c.want)
		}
	}
	for want, e := range map[bool]*Enforcer{
		true:  mustAttenuate(t, mustNew(t, Grants{}), Rights{Grants: Grants{Forbidden: []string{"x"}}}),
		false: mustAttenuate(t, mustNew(t, Grants{Read: []string{"**"}}), operators()),
	} {
		if got := e.HasForbidden(); got != want {
			t.Errorf("HasForbidden: got %v, want %v", got, want)
		}
	}
}

func TestForbidsBeneath(t *testing.T) {
	forbids := mustNew(t, Grants{Forbidden: []string{"docs/private/**", "a/*/key", "b/c", "out/x/*.key"}}).Bind(own)
	for _, c := range []struct {
		e       *Enforcer
		yes, no string
	}{
		{forbids, ". docs docs/private docs/private/x a a/x b b/c output output/" + own + " output/" + own + "/x .. /x x/", "docs/other a/x/y b/d src planes control tmp output/" + other + " output/" + own + "/y"},
		{mustAttenuate(t, mustNew(t, Grants{}), operators()).Bind(own), "..", ". docs credentials .ssh planes output/" + own},
		{mustAttenuate(t, mustNew(t, Grants{}), Rights{Grants: Grants{Forbidden: []string{"**/*.pem"}}}), ". docs any/folder x.pem", ""},
		{&Enforcer{}, "..", ". docs"},
	} {
		for want, names := range map[bool]string{true: c.yes, false: c.no} {
			for name := range strings.FieldsSeq(names) {
				if got := c.e.ForbidsBeneath(name); got != want {
					t.Errorf("%v, %q: got %v, want %v", written(c.e), name, got, want)
				}
			}
		}
	}
}

func TestGrantsBeneath(t *testing.T) {
	some := mustNew(t, Grants{
		Read:      []string{"docs/**", "flat/*", "a/**/b", "{x,y}/**", "out/**", "planes/**", "control/**", "w*/**"},
		Write:     []string{"docs/w/**", "reports/**"},
		Forbidden: []string{"docs/private/**"},
	}).Bind(own)
	all := mustNew(t, Grants{Read: []string{"**"}, Write: []string{"**"}}).Bind(own)
	for _, c := range []struct {
		e       *Enforcer
		op      Op
		yes, no string
	}{
		{
			some, Read,
			"docs docs/any docs/private x y/sub control w w1/x output/" + own + " output/" + own + "/x",
			". flat flat/sub a a/b src output planes planes/ho1 planes/ho1/sessions/" + other + " output/" + other + " tmp out .agenthost pkg:x .. docs/",
		},
		{some, Write, "docs/w docs/w/x reports", ". docs x control output/" + own},
		{some, Execute, "", ". docs"},
		{all, Read, "a ledger registries control output/" + own, ". tmp out output planes .agenthost"},
		{all, Write, "a output/" + own, ". tmp out output planes ledger registries control packages_store"},
		{mustAttenuate(t, some, operators()), Read, "docs docs/.ssh", "flat ."}, // withheld names do not matter
		{mustAttenuate(t, all, Rights{Grants: Grants{Read: []string{"docs/**", "src/*"}}}), Read, "docs docs/a", "src a ."},
		{mustAttenuate(t, mustAttenuate(t, all, AsAsked()), Rights{Grants: Grants{Read: []string{"src/**"}}}), Read, "src", "docs"},
		{mustAttenuate(t, all, Rights{}), Read, "", ". docs"},
		{all.Bind("x"), Read, "", "docs"},
		{&Enforcer{}, Read, "", ". docs"},
	} {
		for want, names := range map[bool]string{true: c.yes, false: c.no} {
			for name := range strings.FieldsSeq(names) {
				if got := c.e.GrantsBeneath(c.op, name); got != want {
					t.Errorf("%v grants %s beneath %q: got %v, want %v", written(c.e), c.op, name, got, want)
				}
			}
		}
	}
}

func TestWants(t *testing.T) {
	for _, c := range []struct {
		grants Grants
		folder string
		want   Grant
	}{
		{Grants{Read: []string{"docs/**", "**/*.md"}}, "tmp", Grant{Read, "**/*.md"}},
		{Grants{Write: []string{"*/x"}}, "out", Grant{Write, "*/x"}},
		{Grants{Write: []string{"*/x"}}, ".", Grant{Write, "*/x"}},
		{Grants{Read: []string{"*"}}, "tmp", Grant{Read, "*"}},
		{Grants{Read: []string{"docs/**"}, Write: []string{"out/**"}}, "tmp", Grant{}},
		{Grants{Read: []string{"**"}}, "../tmp", Grant{}},
	} {
		if got, ok := mustNew(t, c.grants).Wants(c.folder); got != c.want || ok != (c.want != Grant{}) {
			t.Errorf("%v wants %s: got %v, %v, want %v", c.grants, c.folder, got, ok, c.want)
		}
	}
}

// TestBeneathExact: a pattern is said to match beneath a folder if and only if
// some name there matches; if all are said to match, all do. Names are made of
// a and b and long enough to show it of folders of up to three bytes.
func TestBeneathExact(t *testing.T) {
	names := []string{"a", "b"}
	for i := 0; i < len(names); i++ {
		name := names[i]
		if len(name) < 7 {
			names = append(names, name+"a", name+"b")
		}
		if len(name) < 6 {
			names = append(names, name+"/a", name+"/b")
		}
	}
	for _, text := range []string{
		"a", "a/a", "a/*", "a*/a", "a/**", "**", "**/a", "a/**/b", "{a,b/a}/a", "a{/a,a}/**", "?/?", "a/[ab]b", "*/a/**",
		"a?b/**", "**/ab", "{**,a}/a", "**/a/**/b", "a/{a,b{a,b}}", "a*b", "a/a*/**", "*{a,b}/a",
	} {
		m := newMatcher(mustGlob(t, text))
		matched, missed := map[string]bool{}, map[string]bool{}
		for _, name := range names {
			in := missed
			if m.match(name) {
				in = matched
			}
			for folder := path.Dir(name); ; folder = path.Dir(folder) {
				in[folder] = true
				if folder == "." {
					break
				}
			}
		}
		for _, folder := range append([]string{"."}, names...) {
			if len(folder) > 3 {
				continue
			}
			if some, all := m.beneath(folder); some != matched[folder] || all && missed[folder] {
				t.Errorf("%q beneath %q: got %v, %v, but some matched %v, some missed %v", text, folder, some, all, matched[folder], missed[folder])
			}
		}
	}
}
