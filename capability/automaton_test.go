package capability

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

// states is how many states the automaton of e has, and their bytes.
func states(e *Enforcer) (n, size int) {
	t := e.names.current()
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.states), t.bytes
}

// fill leaves room for so many more small states in the automaton of e, and
// keeps it from beginning anew.
func fill(e *Enforcer, room int) {
	t := e.names.current()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes, t.made = maxTable-room*(stateBytes+64), math.MaxInt64/maxMissed
}

// fresh is e with an automaton of its own.
func fresh(e *Enforcer) *Enforcer {
	out := *e
	out.names = &automaton{layers: e.layers}
	return &out
}

// agreesHoweverFull compares with the oracle what e says of names, as it learns,
// when it has learnt, and when it has no room to.
func agreesHoweverFull(t *testing.T, e *Enforcer, names ...string) {
	t.Helper()
	o := oracleOf(e)
	costs := map[string]int64{}
	for _, room := range []int{math.MaxInt, 12, 3, 0} {
		e := fresh(e)
		if room < math.MaxInt {
			fill(e, room)
		}
		for range 2 {
			for _, name := range names {
				agreesWithOracle(t, e, o, name)
				cost := e.Cost(name)
				if known, ok := costs[name]; ok && known != cost {
					t.Fatalf("cost of %q: got %d, was %d before\n%v", name, cost, known, written(e))
				}
				costs[name] = cost
			}
		}
		if n, size := states(e); size > maxTable || room == 0 && n > 1 {
			t.Fatalf("%d states of %d bytes", n, size)
		}
	}
}

// TestAutomatonAgrees compares random rights with the simulation.
func TestAutomatonAgrees(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 40
	}
	for seed := range seeds {
		r := random{rand.New(rand.NewPCG(seed, 3))}
		manifest := Grants{Read: r.patterns(Read), Write: r.patterns(Write)}
		if r.IntN(2) == 0 {
			manifest.Forbidden = r.patterns("")
		}
		e := mustNew(t, manifest)
		for range r.IntN(3) {
			e = mustAttenuate(t, e, r.rights())
		}
		names := []string{"output", "planes/a/sessions/" + other + "/ledger", "a/<session_id>/b"}
		for range 6 {
			names = append(names, r.name())
		}
		agreesHoweverFull(t, e, names...)
		agreesHoweverFull(t, e.Bind(own), names...)
	}
}

// TestAutomatonSessions reads ids that overlap themselves and each other, next
// to patterns that match the same text by other means.
func TestAutomatonSessions(t *testing.T) {
	for _, session := range []string{"SES-SES-", "SES-SES-SES-", "SES-a", "SES--", strings.Repeat("SES-", 26)} {
		for _, pattern := range []string{
			"<session_id>", "*<session_id>", "*<session_id>*", "<session_id><session_id>", "{S,}*<session_id>/x", "a/**/<session_id>",
			"SES-*<session_id>", "**/*<session_id>*/**", "x<session_id>{a,}<session_id>", "?{<session_id>,SES-}*", "[S]ES-<session_id>", "S*/<session_id>",
		} {
			e := mustNew(t, Grants{Read: []string{pattern, "SES-SES-*/x", "out/**"}, Forbidden: []string{"a/<session_id>"}}).Bind(session)
			var names []string
			for _, name := range []string{"@", "@@", "S@", "@S", "SES-@", "@SES-", "a/@", "a/b/@/x", "@/x", "x@a@", "x@@", "output/@/@", "SES-SES-SES-SES-SES-", "SE@", "aa@bb/c"} {
				if name = strings.ReplaceAll(name, "@", session); name != "" {
					names = append(names, name)
				}
			}
			agreesHoweverFull(t, e, names...)
		}
	}
}

// TestAutomatonRunes has more letters than a state has slots for, and letters of
// all lengths.
func TestAutomatonRunes(t *testing.T) {
	var letters strings.Builder
	for c := rune('!'); c < 0x7f; c++ {
		if !strings.ContainsRune(`/\*?[]{}`, c) {
			letters.WriteRune(c)
		}
	}
	e := mustNew(t, Grants{
		Read:  []string{letters.String(), "é?", "[à-ü]/[é-€]?", "[X-é]*", "日本/*.本", "*" + letters.String()[80:] + "*", "[z-é]", "[𐀀-\U0010FFFF]x", "[Z-a]~"},
		Write: []string{"a[\x7f-\u0080]", "[~-\u0081]b"},
	})
	agreesHoweverFull(t, e, letters.String(), letters.String()+"x", "é", "éé", "é日", "à/éx", "ü/€é", "ý/€é", "日本/x.本", "日本/.本", "日/本", "𐀀x", "\U0010FFFFx", "\uFFFFx",
		"{", "|", "é", "ê", "a\x7f", "a\u0080", "a\u0081", "~b", "\u0081b", "\u0082b", "}~xy", "Z~", "[~", "]~")
}

// matchesDoublestar compares with doublestar, through the public functions.
func matchesDoublestar(t *testing.T, pattern, name string) {
	t.Helper()
	e, err := New(Grants{Read: []string{pattern}, Write: []string{"**"}})
	if err != nil || nameFault(name) != "" {
		return
	}
	forbids, err := New(Grants{Read: []string{"**"}, Forbidden: []string{pattern}})
	if err != nil {
		t.Fatal(err)
	}
	want, err := doublestar.Match(pattern, name)
	if err != nil {
		t.Fatalf("doublestar.Match(%q, %q): %v", pattern, name, err)
	}
	_, _, inSession := sessionFolder(name)
	if reserved(Read, name, placeholder) == "" && !inSession && !strings.HasPrefix(pattern, "out") && !strings.Contains(pattern, "session") {
		if _, err := e.Check(Read, name); (err == nil) != want {
			t.Fatalf("%q matches %q: got %v, doublestar says %v", pattern, name, err, want)
		}
		if want && !e.Reaches(Read, name) {
			t.Fatalf("%q matches %q, but does not reach it", pattern, name)
		}
	}
	if _, got := forbids.Forbids(name); want && !got && !strings.HasPrefix(pattern, "out") {
		t.Fatalf("%q does not forbid %q, doublestar matches it", pattern, name)
	}
}

func FuzzAutomaton(f *testing.F) {
	f.Add("docs/**/*.md", "{a,b/c}/**", "docs/x", "**", "b/**/*", "docs/x/a.md", "b/c/d", false)
	f.Add("out/**", "*<session_id>?", "é[à-ü]*", "a*/**", "**/.env*", "output/"+own+"/x", "a"+own, true)
	f.Add("**/*.pem", "a*b*c", "{,a,b}*{c,}", "*{a,b}/**", "?/<session_id>/**", "a/b/c.pem", "a/"+own+"/é", true)
	f.Fuzz(func(t *testing.T, read, write, forbidden, later, withheld, name, another string, bound bool) {
		matchesDoublestar(t, read, name)
		matchesDoublestar(t, write, another)
		e, err := New(Grants{Read: []string{read, later}, Write: []string{write}, Forbidden: []string{forbidden}})
		if err != nil {
			return
		}
		narrow, err := e.Attenuate(Rights{Grants: Grants{Read: []string{later, write}, Write: []string{"**"}, Forbidden: []string{later}}, Withhold: []string{withheld}})
		if err != nil {
			narrow = e
		}
		if bound {
			e, narrow = e.Bind(own), narrow.Bind(own)
		}
		agreesHoweverFull(t, e, name, another)
		agreesHoweverFull(t, narrow, name, another)
	})
}

// TestMatchesDoublestar is the half of FuzzAutomaton that is about doublestar,
// over small alphabets.
func TestMatchesDoublestar(t *testing.T) {
	r := random{rand.New(rand.NewPCG(5, 6))}
	for range 10000 {
		matchesDoublestar(t,
			r.text([]string{"a", "b", "/", "*", "**", "/**", "**/", "?", "{", ",", "}", "[aé]", `\a`, "é"}, 8),
			r.text([]string{"a", "b", "/", "a/", "/b", "é"}, 7))
	}
}

// manyPatterns are rules as a large manifest has them.
func manyPatterns(n int) []string {
	kinds := []string{
		"data/proj%04d/**", "data/proj%04d/**/*.json", "cfg/svc%04d/*.yaml",
		"planes/ho1/sessions/*/ledger/ev%04d.jsonl", "**/secret%04d/*.pem",
	}
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(kinds[i%len(kinds)], i)
	}
	return all
}

// manyNames are names that the first and last of n such patterns match, and some
// that none does.
func manyNames(n int) []string {
	last := n - len("dcps*")
	return []string{
		"data/proj0000/a/b.txt",
		fmt.Sprintf("data/proj%04d/src/deep/er/file.json", last+1),
		fmt.Sprintf("planes/ho1/sessions/SES-20261122-ab12/ledger/ev%04d.jsonl", last+3),
		"src/internal/host/module/instance_test.go",
		"data/proj9999/a/b/c/d/e/f/g/h.json",
		fmt.Sprintf("home/u/x/secret%04d/key.pem", last+4),
		"cfg/svc0002/prod.yaml",
		"etc/passwd",
	}
}

// TestStates holds the automaton to exact sizes: the names, not the patterns,
// make states.
func TestStates(t *testing.T) {
	names := []string{"docs/a.md", "docs/sub/b.md", "src/main.go", ".env", "docs/.ssh/id_rsa"}
	for _, c := range []struct {
		what  string
		e     *Enforcer
		names []string
		want  int
	}{
		{"nothing is granted", mustNew(t, Grants{}), names, 1},
		{"all is granted", mustNew(t, Grants{Read: []string{"**"}}), names, 2},
		{"one folder", mustNew(t, Grants{Read: []string{"docs/**"}}), names, 7},
		{"the operator's", mustAttenuate(t, mustNew(t, Grants{Read: []string{"docs/**"}, Write: []string{"out/**"}}), operators()), names, 26},
		{"10 patterns", mustNew(t, Grants{Read: manyPatterns(10)}), manyNames(10), 101},
		{"100 patterns", mustNew(t, Grants{Read: manyPatterns(100)}), manyNames(100), 102},
		{"1000 patterns", mustNew(t, Grants{Read: manyPatterns(1000)}), manyNames(1000), 103},
	} {
		for range 3 {
			for _, name := range c.names {
				_, _ = c.e.Check(Read, name)
				_, _ = c.e.Bind(own).Check(Write, name)
			}
		}
		if got, _ := states(c.e); got != c.want {
			t.Errorf("%s: %d states, want %d", c.what, got, c.want)
		}
	}
}

// hostile are rules that are made to need very many states, or very large ones.
func hostile() map[string][]string {
	stars := strings.Repeat("*a", 240) + "*"
	var sets, letters, braces, deep []string
	for i := range 120 {
		sets = append(sets, "**/*a"+strings.Repeat("?", i)+"b*")
		braces = append(braces, "**/*"+strings.Repeat("{a,b}", 6)+fmt.Sprint(i))
		deep = append(deep, strings.Repeat("**/", 150)+"x")
	}
	for i := range 20000 {
		letters = append(letters, string(rune(0x4e00+i)))
	}
	return map[string][]string{
		"stars":   {stars, "b" + stars, "**/c" + stars},
		"history": sets,
		"braces":  braces,
		"folders": deep,
		"letters": letters,
		"short":   strings.Split(strings.Repeat("a*,", 21000)+"b", ","),
		"between": {"**/x/**/y/**/z", "**/*x*/**/*y*/**", "a/**/b/**/c/**/d", "*a*b*c*d*e*f*g*"},
	}
}

// TestHostilePatterns: whatever the patterns and the names, states take no more
// than their bound, a check no allocation once the bound is reached, and the
// answers are right.
func TestHostilePatterns(t *testing.T) {
	for what, patterns := range hostile() {
		t.Run(what, func(t *testing.T) {
			e := mustNew(t, Grants{Read: patterns, Forbidden: patterns[:1]}).Bind(own)
			o := oracleOf(e)
			r := random{rand.New(rand.NewPCG(7, 8))}
			for range 12 {
				name := r.text([]string{"a", "b", "x", "y", "/a", "z", "日", "一丁", "é"}, 300)
				name = strings.TrimLeft(name, "/")
				_, err := e.Check(Read, name)
				if got, _, _ := strings.Cut(oneLine(Grant{Pattern: ""}, err), " | "); err != nil && got != o.check(Read, name) {
					t.Fatalf("%q: got %s, the simulation says %s", name, got, o.check(Read, name))
				}
				if n, size := states(e); size > maxTable || n > maxTable/stateBytes+1 {
					t.Fatalf("%d states of %d bytes, at most %d", n, size, maxTable)
				}
			}
		})
	}
}

// TestFullBeginsAnew: what filled the table does not slow other names for long,
// and while it is full nothing is allocated.
func TestFullBeginsAnew(t *testing.T) {
	e := mustNew(t, Grants{Read: []string{"*a" + strings.Repeat("?", 100) + "*", "docs/**"}})
	r := random{rand.New(rand.NewPCG(9, 10))}
	full := e.names.current()
	most := 0
	for i := 0; e.names.current() == full; i++ {
		if i > 100000 {
			t.Fatal("a full table is kept for good")
		}
		_, _ = e.Check(Read, r.text([]string{"a", "b"}, 300))
		_, size := states(e)
		most = max(most, size)
	}
	if most > maxTable || most < maxTable-stateBytes-4096 {
		t.Errorf("began anew with %d bytes of %d", most, maxTable)
	}
	if n, _ := states(e); n > 2 {
		t.Errorf("%d states to begin with", n)
	}
	if got := answer(e, Read, "docs/a"); got != "granted docs/**" {
		t.Error(got)
	}
}

func TestAutomatonAllocations(t *testing.T) {
	e := mustAttenuate(t, mustNew(t, Grants{Read: append(manyPatterns(1000), "**/é日[a-ü]*"), Write: []string{"out/**"}}), operators()).Bind(own)
	full := fresh(e)
	fill(full, 0)
	for what, e := range map[string]*Enforcer{"known": e, "simulated": full} {
		for _, name := range append(manyNames(1000), "a/é日ö", "output/"+own+"/x/y", strings.Repeat("a/", 500)+"b") {
			for op, want := range map[Op]float64{Read: 0, Write: 0} {
				if _, err := e.Check(op, name); err != nil {
					want = 1 // the violation
					if strings.Contains(name, "é") || strings.HasPrefix(name, "output/") {
						continue // whose smallest grant takes more to write
					}
					if err.(*Violation).SmallestGrant != "" {
						want++
					}
				}
				if n := testing.AllocsPerRun(5, func() { _, _ = e.Check(op, name) }); n > want {
					t.Errorf("%s, %s %.60q: got %v allocations, want %v", what, op, name, n, want)
				}
			}
			if n := testing.AllocsPerRun(5, func() {
				e.Reaches(Read, name)
				e.Forbids(name)
				e.ForbidsBeneath(name)
				e.GrantsBeneath(Read, name)
				e.Wants(name)
				e.Cost(name)
			}); n != 0 {
				t.Errorf("%s, the questions about %.60q: got %v allocations, want 0", what, name, n)
			}
		}
	}
	if n := testing.AllocsPerRun(5, func() { e.Bind(own) }); n != 1 {
		t.Errorf("Bind: got %v allocations, want 1", n)
	}
}

// TestCost: it is what the patterns and the name make it, and in proportion.
func TestCost(t *testing.T) {
	docs := mustNew(t, Grants{Read: []string{"docs/**"}})
	for _, c := range []struct {
		e    *Enforcer
		name string
		want int64
	}{
		{&Enforcer{}, "docs/a", 6},
		{mustNew(t, Grants{}), "docs/a", 6},
		{docs, "docs/a", 12},
		{docs, "x/yz", 5},
		{docs, "é", 2},
		{docs, "docs//a", 7},
		{docs, "docs/" + strings.Repeat("a", 4000), 8010},
		{mustNew(t, Grants{Read: []string{"**/a", "**/b"}}), "c/a", 13},
	} {
		if got := c.e.Cost(c.name); got != c.want {
			t.Errorf("%.40q: got %d, want %d", c.name, got, c.want)
		}
	}
	for what, patterns := range hostile() {
		e := mustNew(t, Grants{Read: patterns})
		nodes := int64(len(e.names.current().nodes))
		name := strings.Repeat("a", 40)
		if got := e.Cost(name); got > (nodes+1)*40 {
			t.Errorf("%s: cost %d of %d nodes", what, got, nodes)
		}
	}
}

func TestCostExec(t *testing.T) {
	plain := mustNew(t, Grants{Execute: []Command{{"git", "log", "*"}, {"cat", "**"}}})
	forbids := mustNew(t, Grants{Execute: []Command{{"git", "log", "*"}, {"cat", "**"}}, Forbidden: []string{"docs/**"}})
	argv := []string{"git", "log", "docs/a"}
	for _, c := range []struct {
		e    *Enforcer
		argv []string
		want int64
	}{
		{&Enforcer{}, argv, 15},
		{plain, argv, 15 + 2 + 2 + 3*7 + 1}, // * is three nodes
		{forbids, argv, 15 + 2 + 2 + 3*7 + 1 + 2*forbids.Cost("docs/a") + 2*forbids.Cost("log")},
	} {
		for range 2 {
			if got := c.e.CostExec(c.argv); got != c.want {
				t.Errorf("%q: got %d, want %d", c.argv, got, c.want)
			}
		}
	}
}

// TestAutomatonConcurrent asks one automaton from many goroutines, for different
// sessions, while it learns and while it begins anew.
func TestAutomatonConcurrent(t *testing.T) {
	for what, rights := range map[string]Grants{
		"small":    {Read: append(manyPatterns(50), "out/**", "é*/**", "docs/**"), Forbidden: []string{"docs/<session_id>/**"}},
		"too many": {Read: []string{"*a" + strings.Repeat("?", 100) + "*", "docs/**", "out/**"}, Forbidden: []string{"docs/<session_id>/**"}},
	} {
		e := mustAttenuate(t, mustNew(t, rights), operators())
		var wg sync.WaitGroup
		for i := range 8 {
			session := fmt.Sprintf("SES-%d", i)
			r := random{rand.New(rand.NewPCG(11, uint64(i)))}
			names := manyNames(50)
			for range 40 {
				names = append(names, r.text([]string{"a", "b", "é", "日"}, 200))
			}
			wg.Go(func() {
				e := e.Bind(session)
				for range 6 {
					for _, name := range names {
						_, _ = e.Check(Read, name)
						e.Cost(name)
					}
					for name, want := range map[string]string{
						"docs/a":                 "granted docs/**",
						"docs/.env":              "withheld **/.env*",
						"docs/" + session + "/a": "! forbidden docs/<session_id>/**",
						"docs/SES-8/a":           "granted docs/**",
						"output/" + session:      "granted out/**",
						"output/SES-8/a":         "reserved output/**",
					} {
						if got := answer(e, Read, name); got != want {
							t.Errorf("%s, %s: got %s, want %s", what, name, got, want)
						}
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestApart(t *testing.T) {
	got := fmt.Sprint(apart([]span{{'b', 'f'}, {'d', 'h'}, {'d', 'd'}, {'j', 'k'}, {'k', 'k'}, {0x80, utf8.MaxRune}}))
	if want := fmt.Sprint([]span{{'b', 'c'}, {'d', 'd'}, {'e', 'f'}, {'g', 'h'}, {'j', 'j'}, {'k', 'k'}, {0x80, utf8.MaxRune}}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestSimpleNames: isSimple knows no name that is not canonical, and all of ASCII.
func TestSimpleNames(t *testing.T) {
	r := random{rand.New(rand.NewPCG(12, 13))}
	for range 50000 {
		name := r.text([]string{"a", "/", ".", "..", "b/", "/c", ".d", "abcdefgh", "\x00", "\x01", "é", "\xff", "\x7f", "0.", "./"}, 12)
		got, fault := isSimple(name), anyNameFault(name)
		ascii := strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
		if got != (fault == "" && ascii) {
			t.Fatalf("%q: got %v, but the fault is %q", name, got, fault)
		}
	}
}
