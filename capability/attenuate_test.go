package capability

import (
	"encoding/json"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestAttenuate(t *testing.T) {
	manifest := mustNew(t, Grants{
		Read:      []string{"docs/**", ".env", "**/*.key", "x/.ssh/known_hosts", "a/.git/config", "a/.git/HEAD"},
		Write:     []string{"docs/*.md", "w/**"},
		Forbidden: []string{"docs/no"},
	})
	narrowed := mustAttenuate(t, manifest, operators())
	policy := mustAttenuate(t, manifest, Rights{
		Grants:   Grants{Read: []string{"docs/a*"}, Write: []string{"w/**", "more/**"}, Forbidden: []string{"docs/ab"}},
		Withhold: []string{"docs/ac", "w/held"},
	})
	both := mustAttenuate(t, policy, Rights{Grants: Grants{Read: []string{"docs/*d"}}})
	named := mustAttenuate(t, policy, Rights{
		Grants:   Grants{Read: []string{"docs/*d", "docs/ah/**"}, Forbidden: []string{"docs/aa?*"}},
		Withhold: []string{"docs/ah/**"}, By: "work order WO-7",
	})
	for _, c := range []struct {
		e          *Enforcer
		op         Op
		name, want string
	}{
		{narrowed, Read, "docs/a", "granted docs/**"},
		{narrowed, Read, "docs/no", "! forbidden docs/no"},
		{narrowed, Read, ".env", "withheld **/.env*"},
		{narrowed, Read, "docs/.env.local", "withheld **/.env*"},
		{narrowed, Write, "w/.env", "withheld **/.env*"},
		{narrowed, Read, "a/tls.pem", "withheld **/*.pem"},
		{narrowed, Read, "tls.key", "withheld **/*.key"},
		{narrowed, Read, "id_rsa.pub", "withheld **/id_rsa*"},
		{narrowed, Read, "id_ed25519", "withheld **/id_ed25519*"},
		{narrowed, Read, "x/.ssh/known_hosts", "withheld **/.ssh/**"},
		{narrowed, Read, ".ssh", "withheld **/.ssh/**"},
		{narrowed, Read, ".aws/config", "withheld **/.aws/**"},
		{narrowed, Read, "h/.gnupg/a/b", "withheld **/.gnupg/**"},
		{narrowed, Read, ".netrc", "withheld **/.netrc"},
		{narrowed, Read, ".npmrc", "withheld **/.npmrc"},
		{narrowed, Read, ".pypirc", "withheld **/.pypirc"},
		{narrowed, Read, "a/.git/config", "withheld **/.git/config"},
		{narrowed, Read, "a/.git/HEAD", "granted a/.git/HEAD"},
		{narrowed, Read, ".docker/config.json", "withheld **/.docker/config.json"},
		{narrowed, Read, ".kube/config", "withheld **/.kube/**"},
		{narrowed, Read, "credentials.json", "withheld **/credentials*"},
		{narrowed, Read, "other", `no grant of read | read: ["other"]`},
		{policy, Read, "docs/aa", "granted docs/**"},
		{policy, Read, "docs/ab", "! forbidden docs/ab"},
		{policy, Write, "docs/ab", "! forbidden docs/ab"},
		{policy, Read, "docs/ac", "withheld docs/ac"},
		{policy, Read, "docs/b", "no grant of read by the operator"},
		{policy, Read, "other", "no grant of read by the operator"},
		{policy, Write, "docs/a.md", "no grant of write by the operator"},
		{policy, Write, "more/x", `no grant of write | write: ["more/x"]`},
		{policy, Write, "w/held", "withheld w/held"},
		{both, Read, "docs/ad", "granted docs/**"},
		{both, Read, "docs/aa", "no grant of read by the operator"},
		{both, Write, "w/x", "no grant of write by the operator"},
		{named, Read, "docs/ad", "granted docs/**"},
		{named, Read, "docs/aa", "no grant of read by work order WO-7"},
		{named, Read, "docs/b", "no grant of read by the operator"}, // the layer before it
		{named, Write, "w/x", "no grant of write by work order WO-7"},
		{named, Read, "docs/aad", "! forbidden docs/aa?* by work order WO-7"},
		{named, Read, "docs/ah/d", "withheld docs/ah/** by work order WO-7"},
		{mustAttenuate(t, named, Rights{}), Read, "docs/aa", "no grant of read by work order WO-7"},
		{mustAttenuate(t, named, Rights{}), Read, "docs/ad", "no grant of read by the operator"},
		{mustAttenuate(t, manifest, Rights{}), Read, "docs/a", "no grant of read by the operator"},
		{mustAttenuate(t, manifest, AsAsked()), Read, "docs/a", "granted docs/**"},
		{&Enforcer{}, Read, "docs/a", "no grant of read"},
		{mustAttenuate(t, &Enforcer{}, AsAsked()), Read, "docs/a", "no grant of read"},
		{mustAttenuate(t, &Enforcer{}, Rights{Grants: Grants{Read: []string{"**"}}}).Bind(own), Read, "docs/a", "no grant of read"},
	} {
		if got := answer(c.e, c.op, c.name); got != c.want {
			t.Errorf("%s %q:\n got %s\nwant %s", c.op, c.name, got, c.want)
		}
	}
	if got := answer(manifest, Read, "docs/b"); got != "granted docs/**" {
		t.Errorf("after Attenuate the original says %s", got)
	}
	if _, err := (&Enforcer{}).CheckExec([]string{"git"}); err == nil {
		t.Error("the zero Enforcer permits a command")
	}
}

func TestBind(t *testing.T) {
	e := mustNew(t, Grants{Write: []string{"out/**", "r/<session_id>-*.md"}, Forbidden: []string{"out/no/**"}})
	e = mustAttenuate(t, e, Rights{Grants: Grants{Write: []string{"**"}}, Withhold: []string{"out/held"}})
	for _, c := range []struct {
		session, name, want string
	}{
		{"", "output/<session_id>/a", "granted out/**"},
		{"", "output/<session_id>/no/a", "! forbidden out/no/**"},
		{"", "output/<session_id>/held", "withheld out/held"},
		{"", "r/<session_id>-1.md", "granted r/<session_id>-*.md"},
		{"", "x/<session_id>", `no grant of write | write: ["x/<session_id>"]`},
		{"", "output/" + own + "/a", "! reserved output/**"},
		{own, "output/" + own + "/a", "granted out/**"},
		{own, "output/" + own + "/no/a", "! forbidden out/no/**"},
		{own, "output/" + own + "/held", "withheld out/held"},
		{own, "output/<session_id>/a", "! reserved output/**"},
		{own, "r/" + own + "-1.md", "granted r/<session_id>-*.md"},
		{own, "r/" + other + "-1.md", `no grant of write | write: ["r/` + other + `-1.md"]`},
		{own, "r/<session_id>-1.md", `no grant of write | write: ["r/\\<session_id>-1.md"]`},
		{"SES-" + strings.Repeat("a", 100), "output/SES-" + strings.Repeat("a", 100) + "/a", "granted out/**"},
		// What is no session permits nothing, not even where it is not named.
		{"SES-", "output/SES-/a", "! reserved output/**"},
		{"SES-*", "output/SES-*/a", "! reserved output/**"},
		{"SES-a/../b", "r/x", "no grant of write"},
		{"SES-a/b", "output/SES-a/b/a", "! reserved output/**"},
		{"ses-a", "output/ses-a/a", "! reserved output/**"},
		{"SES-" + strings.Repeat("a", 101), "output/SES-" + strings.Repeat("a", 101) + "/a", "! reserved output/**"},
		{"SES-ä", "output/<session_id>/a", "no grant of write"},
	} {
		b := e
		if c.session != "" {
			b = e.Bind(own).Bind(c.session) // the last binding counts
		}
		if got := answer(b, Write, c.name); got != c.want {
			t.Errorf("bound to %q, %q:\n got %s\nwant %s", c.session, c.name, got, c.want)
		}
	}
	if got := answer(e.Bind("").Bind(own), Write, "w/a"); got != "no grant of write" {
		t.Errorf("bound to nothing, then to a session: %s", got)
	}
	late := mustAttenuate(t, e.Bind(own), Rights{Grants: Grants{Write: []string{"out/*"}}})
	if got := answer(late, Write, "output/"+own+"/a"); got != "granted out/**" {
		t.Errorf("attenuated when bound: %s", got)
	}
}

// TestLongest binds a pattern to the longest session there can be.
func TestLongest(t *testing.T) {
	session := "SES-" + strings.Repeat("a", 100)
	text := "{a/,b}" + strings.Repeat("<session_id>", 38)
	e := mustNew(t, Grants{Read: []string{text}}).Bind(session)
	name := "b" + strings.Repeat(session, 38)
	if got := answer(e, Read, name); got != "granted "+text {
		t.Error(got)
	}
	if _, err := e.Check(Read, name[1:]); err == nil || !e.Reaches(Read, "a") {
		t.Errorf("without its first letter: %v; reaches a: %v", err, e.Reaches(Read, "a"))
	}
}

func TestImmutable(t *testing.T) {
	g := Grants{Read: []string{"a"}, Execute: []Command{{"git", "log"}}}
	r := Rights{Grants: Grants{Read: []string{"**"}}, Withhold: []string{"b"}, AllowExecute: true}
	e := mustAttenuate(t, mustNew(t, g), r)
	want := []Rights{Rights{Grants: g}.clone(), r.clone()}
	g.Read[0], g.Execute[0][1], r.Withhold[0] = "x", "x", "x"
	if got := written(e); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	SecretNames()[0] = "y"
	if SecretNames()[0] != "**/.env*" {
		t.Error("what was returned is shared")
	}
	// Two that narrow the same Enforcer do not see each other.
	one := mustAttenuate(t, e, Rights{Grants: Grants{Read: []string{"a"}}})
	mustAttenuate(t, e, Rights{})
	if got := answer(one, Read, "a"); got != "granted a" {
		t.Error(got)
	}
}

func TestConcurrent(t *testing.T) {
	e := mustAttenuate(t, mustNew(t, Grants{Read: []string{"docs/**"}, Execute: []Command{{"git", "*"}}}), AsAsked())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				b := e.Bind(own)
				if _, err := b.Check(Read, "docs/a"); err != nil {
					t.Error(err)
				}
				if _, err := e.CheckExec([]string{"git", "log"}); err != nil {
					t.Error(err)
				}
				e.Reaches(Read, "docs")
			}
		})
	}
	wg.Wait()
}

func TestRightsJSON(t *testing.T) {
	data, err := json.Marshal(Rights{
		Grants:   Grants{Read: []string{"a"}, Execute: []Command{{"git", "log"}, {"a b"}}, Forbidden: []string{"f"}},
		Withhold: []string{"w"},
	})
	if want := `{"read":["a"],"execute":["git log",["a b"]],"forbidden":["f"],"withhold":["w"]}`; err != nil || string(data) != want {
		t.Errorf("got %s, %v, want %s", data, err, want)
	}
}

func TestAllocations(t *testing.T) {
	e := mustNew(t, Grants{
		Read:      []string{"docs/**/*.{md,txt}", "src/[a-c]*/**", "out/**", "x", strings.Repeat("?", 300) + "*"},
		Execute:   []Command{{"git", "log", "*", "**"}},
		Forbidden: []string{"**/private/**"},
	})
	e = mustAttenuate(t, e, Rights{Grants: Grants{Read: []string{"**"}}, Withhold: SecretNames(), AllowExecute: true}).Bind(own)
	argv := []string{"git", "log", "docs", "src/b"}
	long := strings.Repeat("é", 300) + "z"
	for what, f := range map[string]func() error{
		"docs/a/b.txt":             func() error { _, err := e.Check(Read, "docs/a/b.txt"); return err },
		"src/b/c/d":                func() error { _, err := e.Check(Read, "src/b/c/d"); return err },
		"output":                   func() error { _, err := e.Check(Read, "output/"+own+"/x"); return err },
		"a pattern of many states": func() error { _, err := e.Check(Read, long); return err },
		"git log":                  func() error { _, err := e.CheckExec(argv); return err },
		"reaches":                  func() error { e.Reaches(Read, "docs/a"); return nil },
		"forbids":                  func() error { e.Forbids("docs/a"); return nil },
	} {
		if err := f(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if n := testing.AllocsPerRun(100, func() { _ = f() }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", what, n)
		}
	}
}

// random makes rules and names over small alphabets, so that they often meet.
type random struct{ *rand.Rand }

func (r random) text(letters []string, most int) string {
	var b strings.Builder
	for range 1 + r.IntN(most) {
		b.WriteString(letters[r.IntN(len(letters))])
	}
	return b.String()
}

func (r random) name() string {
	name := r.text([]string{"a", "b", "c", "/a", "/b", "output/" + own + "/", "output/", "planes/a/sessions/" + other, "planes/a/sessions/", own, "/ledger", "/blobs", "tmp/", "control/", "[", "*", `\`}, 5)
	return path.Clean(strings.TrimLeft(name, "/"))
}

func (r random) patterns(op Op) []string {
	var all []string
	for range r.IntN(4) {
		text := r.text([]string{"a", "b", "c", "/", "*", "**", "/**", "**/", "?", "{a,b/}", "[ab]", "out/", "<session_id>", "planes/", "a/sessions/" + other, "/ledger/**"}, 4)
		if _, f := newPattern(op, "", text); f == nil {
			all = append(all, text)
		}
	}
	return all
}

func (r random) rights() Rights {
	out := Rights{Grants: Grants{Read: r.patterns(Read), Write: r.patterns(Write)}, AllowExecute: true, By: []string{"", "work order WO-1", "work order WO-2"}[r.IntN(3)]}
	if r.IntN(2) == 0 {
		out.Read = append(out.Read, "**")
	}
	if r.IntN(2) == 0 {
		out.Write = append(out.Write, "**")
	}
	if r.IntN(3) == 0 {
		out.Forbidden = r.patterns("")
	}
	if r.IntN(3) == 0 {
		out.Withhold = r.patterns("")
	}
	if r.IntN(2) == 0 {
		out.AllowExecute, out.Execute = false, r.commands()
	}
	return out
}

func (r random) commands() []Command {
	var all []Command
	for range r.IntN(3) {
		c := Command{[]string{"git", "cat"}[r.IntN(2)]}
		for range r.IntN(3) {
			c = append(c, []string{"a", "*", "-x", "a/**", "b"}[r.IntN(5)])
		}
		if r.IntN(3) == 0 {
			c = append(c, "**")
		}
		all = append(all, c)
	}
	return all
}

// TestProperties checks, for random rights, names and commands: narrowing never
// widens and never changes the grant that is named; every layer grants what all
// grant; the smallest grant is true; folders above what is granted are visible,
// and folders above what is refused can refuse.
func TestProperties(t *testing.T) {
	for seed := range uint64(1500) {
		checkProperties(t, random{rand.New(rand.NewPCG(seed, 1))})
	}
}

func FuzzAttenuate(f *testing.F) {
	f.Add(uint64(1), "a/**", "**", "a/b", "a/b/c")
	f.Add(uint64(2), "out/**", "{a,b}/*", "a", "a/x")
	f.Fuzz(func(t *testing.T, seed uint64, granted, narrower, forbidden, name string) {
		r := random{rand.New(rand.NewPCG(seed, 2))}
		e, err := New(Grants{Read: []string{granted}})
		if err != nil {
			return
		}
		narrow, err := e.Attenuate(Rights{Grants: Grants{Read: []string{narrower}, Forbidden: []string{forbidden}}})
		if err != nil {
			return
		}
		judge(t, e.Bind(own), narrow.Bind(own), Read, name)
		judge(t, e.Bind(own), narrow.Bind(own), Read, r.name())
	})
}

func FuzzReaches(f *testing.F) {
	f.Add("docs/**/*.md", "docs/x", "docs/a/b.md")
	f.Add("{a,b/c}/**", "b", "b/c/d")
	f.Fuzz(func(t *testing.T, granted, forbidden, name string) {
		e, err := New(Grants{Read: []string{granted}, Write: []string{"out/**"}, Forbidden: []string{forbidden}})
		if err != nil {
			return
		}
		judge(t, e, e, Read, name)
		judge(t, e, e, Write, "output/<session_id>/"+name)
	})
}

func checkProperties(t *testing.T, r random) {
	manifest := Grants{Read: r.patterns(Read), Write: r.patterns(Write), Execute: r.commands()}
	if r.IntN(3) == 0 {
		manifest.Forbidden = r.patterns("")
	}
	e := mustNew(t, manifest).Bind(own)
	narrow := e
	for range 1 + r.IntN(2) {
		narrow = mustAttenuate(t, narrow, r.rights())
	}
	for range 12 {
		judge(t, e, narrow, []Op{Read, Write}[r.IntN(2)], r.name())
		judgeCommand(t, e, narrow, append([]string{"git"}, strings.Fields(r.text([]string{"a", "b", " ", "/", "-x", "*"}, 6))...))
	}
}

// judge holds narrow, which was made of e, to the promises about one name.
func judge(t *testing.T, e, narrow *Enforcer, op Op, name string) {
	t.Helper()
	wide, wideErr := e.Check(op, name)
	grant, err := narrow.Check(op, name)
	if err == nil {
		if wideErr != nil || wide != grant {
			t.Fatalf("narrowed, %s %q is %v; before, %v, %v\n%v", op, name, grant, wide, wideErr, written(narrow))
		}
		for i, l := range oracleOf(narrow).layers {
			if firstOf(l.granting(op), name) == nil || firstOf(l.forbidden, name) != nil || firstOf(l.withheld, name) != nil {
				t.Fatalf("%s %q is permitted against layer %d of %v", op, name, i, written(narrow))
			}
		}
	}
	for folder := name; folder != "." && nameFault(name) == ""; {
		i := max(0, strings.LastIndexByte(folder, '/'))
		if folder = folder[:i]; folder == "" {
			folder = "."
		}
		if _, forbidden := narrow.Forbids(folder); err == nil && !forbidden && !narrow.Reaches(op, folder) {
			t.Fatalf("%s %q is permitted, but %q not visible\n%v", op, name, folder, written(narrow))
		}
		rule := ""
		if err != nil {
			rule = err.(*Violation).Rule
		}
		if strings.HasPrefix(rule, "forbidden ") && !narrow.ForbidsBeneath(folder) {
			t.Fatalf("%s %q is %s, but nothing beneath %q could be\n%v", op, name, rule, folder, written(narrow))
		}
		if (strings.HasPrefix(rule, "reserved ") || strings.HasPrefix(rule, "no grant ")) && narrow.GrantsBeneath(op, folder) {
			t.Fatalf("%s %q is %s, but all beneath %q is granted\n%v", op, name, rule, folder, written(narrow))
		}
	}
	if err != nil {
		if smallest := err.(*Violation).SmallestGrant; smallest != "" {
			if again := withGrant(t, narrow, smallest); again != nil {
				if _, err := again.Check(op, name); err != nil {
					t.Fatalf("%s %q: with %s still %v\n%v", op, name, smallest, err, written(narrow))
				}
			}
		}
	}
}

func judgeCommand(t *testing.T, e, narrow *Enforcer, argv []string) {
	t.Helper()
	wide, wideErr := e.CheckExec(argv)
	grant, err := narrow.CheckExec(argv)
	if err == nil && (wideErr != nil || wide != grant) {
		t.Fatalf("narrowed, %q is %v; before, %v, %v\n%v", argv, grant, wide, wideErr, written(narrow))
	}
	if err == nil {
		return
	}
	if smallest := err.(*Violation).SmallestGrant; smallest != "" {
		if _, err := withGrant(t, narrow, smallest).CheckExec(argv); err != nil {
			t.Fatalf("%q: with %s still %v\n%v", argv, smallest, err, written(narrow))
		}
	}
}

// withGrant makes e again, with one more line in the manifest.
func withGrant(t *testing.T, e *Enforcer, line string) *Enforcer {
	t.Helper()
	op, rules, _ := strings.Cut(line, ": ")
	var more Grants
	if err := json.Unmarshal([]byte(`{"`+op+`":`+rules+`}`), &more); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	layers := written(e)
	manifest := layers[0].Grants
	manifest.Read = slices.Concat(manifest.Read, more.Read)
	manifest.Write = slices.Concat(manifest.Write, more.Write)
	manifest.Execute = slices.Concat(manifest.Execute, more.Execute)
	out := mustNew(t, manifest)
	for _, r := range layers[1:] {
		out = mustAttenuate(t, out, r)
	}
	if e.session == placeholder {
		return out
	}
	return out.Bind(e.session)
}
