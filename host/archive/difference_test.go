package archive

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/ledger"
)

// agent is a manifest that runs, with these grants.
func agent(g capability.Grants) Manifest {
	return Manifest{ID: "PKG-A-1", Version: "1.0.0", Entry: &Entry{Module: "agent.wasm"}, Capabilities: g}
}

func reads(patterns ...string) Manifest { return agent(capability.Grants{Read: patterns}) }

func commands(lines ...string) (list []capability.Command) {
	for _, line := range lines {
		list = append(list, strings.Fields(line))
	}
	return list
}

func TestCompareRights(t *testing.T) {
	with := func(change func(m *Manifest)) Manifest {
		m := agent(capability.Grants{})
		change(&m)
		return m
	}
	limited := func(l Limits) Manifest { return with(func(m *Manifest) { m.Limits = l }) }
	outputs := func(o ...Output) Manifest { return with(func(m *Manifest) { m.Outputs = o }) }
	library := Manifest{ID: "PKG-A-1", Version: "1.0.0"}
	for _, c := range []struct {
		name         string
		old, new     Manifest
		gained, lost []string
	}{
		{name: "the same", old: reads("docs/**", "[a]"), new: reads("[a]", "docs/**")},
		{
			name: "another pattern", old: reads("docs/*.md"), new: reads("src/*.go"),
			gained: []string{"may read src/*.go (files of the workspace)"}, lost: []string{"may read docs/*.md (files of the workspace)"},
		},
		{
			name: "a folder within", old: reads("docs/**"), new: reads("docs/a/**", "docs/*.md", "docs/x"),
			lost: []string{"may read docs/** (files of the workspace)"},
		},
		{
			name: "a wider one", old: reads("docs/a/**", "docs/x"), new: reads("docs/**"),
			gained: []string{"may read docs/** (files of the workspace)"},
		},
		{name: "braces written out", old: reads("{a,b}/*"), new: reads("a/*", "b/*")},
		{name: "a name the old one permits by a class", old: reads("docs/[ab]"), new: reads("docs/a"), lost: []string{"may read docs/[ab] (files of the workspace)"}},
		{name: "a class, not looked into", old: reads("docs/*"), new: reads("docs/[ab]"), gained: []string{"may read docs/[ab] (files of the workspace)"}, lost: []string{"may read docs/* (files of the workspace)"}},
		{
			name: "another session's ledger", old: reads("planes/**"), new: reads("planes/ho1/sessions/SES-1/**"),
			gained: []string{"may read planes/ho1/sessions/SES-1/** (records of sessions)"}, lost: []string{"may read planes/** (records of sessions)"},
		},
		{name: "less of a session's ledger", old: reads("planes/*/sessions/SES-1/**"), new: reads("planes/ho1/sessions/SES-1/ledger/*"), lost: []string{"may read planes/*/sessions/SES-1/** (records of sessions)"}},
		{
			name: "a session's id is of no certain length", old: agent(capability.Grants{Write: []string{"r/????????????"}}), new: agent(capability.Grants{Write: []string{"r/<session_id>"}}),
			gained: []string{"may write r/<session_id> (files of the workspace)"}, lost: []string{"may write r/???????????? (files of the workspace)"},
		},
		{
			name: "reading is not writing", old: reads("docs/**"), new: agent(capability.Grants{Read: []string{"docs/**"}, Write: []string{"docs/a"}}),
			gained: []string{"may write docs/a (files of the workspace)"},
		},
		{
			name: "commands", old: agent(capability.Grants{Execute: commands("git log", "ls *")}), new: agent(capability.Grants{Execute: commands("git log", "ls docs", "ls **", "git status")}),
			gained: []string{"may run ls **", "may run git status"}, lost: []string{"may run ls *"},
		},
		{
			name: "forbidden no more", old: agent(capability.Grants{Read: []string{"docs/**"}, Forbidden: []string{"docs/private/**"}}), new: reads("docs/**"),
			gained: []string{"is not kept from docs/private/** (before: may never touch it)"},
		},
		{
			name: "forbidden now", old: reads("docs/**"), new: agent(capability.Grants{Read: []string{"docs/**"}, Forbidden: []string{"docs/private"}}),
			lost: []string{"is not kept from docs/private (now: may never touch it)"},
		},
		{
			name: "forbidden more widely", old: agent(capability.Grants{Forbidden: []string{"docs/a", "docs/private/**"}}), new: agent(capability.Grants{Forbidden: []string{"docs"}}),
			lost: []string{"is not kept from docs (now: may never touch it)"},
		},
		{
			name: "a library that runs", old: library, new: agent(capability.Grants{Read: []string{"a"}, Forbidden: []string{"b"}}),
			gained: []string{"runs (before: a library, which does not)", "may read a (files of the workspace)"},
		},
		{
			name: "an agent that is a library", old: agent(capability.Grants{Read: []string{"a"}, Forbidden: []string{"b"}}), new: library,
			lost: []string{"runs (now: a library, which does not)", "may read a (files of the workspace)"},
		},
		{
			name: "limits", old: limited(Limits{Memory: 1 << 20, Time: Duration(time.Second), Fuel: 5, CallDepth: 9}), new: limited(Limits{Memory: 2 << 20, Fuel: 5, CallDepth: 8, Entries: 7}),
			gained: []string{"wants no more than 2MiB of memory (before: 1MiB of memory)", "sets no limit to its time (before: 1s a turn)"},
			lost:   []string{"sets no limit to its entries in the ledger (now: 7 entries in the ledger)", "wants no more than 9 calls deep (now: 8 calls deep)"},
		},
		{
			name: "outputs", old: outputs(Output{Path: "reports/*.md", Role: "r"}, Output{Path: "out/a", Role: "r"}),
			new:    outputs(Output{Path: "reports/a.md", Role: "r"}, Output{Path: "reports/x", Role: "r"}, Output{Path: "out/b", Role: "r"}, Output{Path: "out/a", Role: "r", Executable: true}),
			gained: []string{"must publish reports/x as r", "must publish out/a as r, executable"}, lost: []string{"may publish reports/*.md as r"},
		},
		{
			name: "dependencies", old: with(func(m *Manifest) { m.Dependencies = []Dependency{{ID: "PKG-B-1", Version: ">=1.0.0"}} }),
			new:    with(func(m *Manifest) { m.Dependencies = []Dependency{{ID: "PKG-B-1", Version: ">=2.0.0"}, {ID: "PKG-C-1"}} }),
			gained: []string{"sees the files of PKG-C-1 of any version, read-only"},
		},
		{
			name: "a higher plane", old: agent(capability.Grants{}), new: with(func(m *Manifest) { m.Plane, m.Tier = "ho2", "T1" }),
			gained: []string{"belongs to plane ho2 (before: ho1)", "is of tier T1 (before: none)"},
		},
		{
			name: "a lower plane", old: with(func(m *Manifest) { m.Plane, m.Tier = "ho3", "T0" }), new: with(func(m *Manifest) { m.Plane, m.Tier = "ho1", "T3" }),
			lost: []string{"belongs to plane ho3 (now: ho1)", "is of tier T0 (now: T3)"},
		},
		{
			name: "grants that are none", old: reads("/etc", "docs/**"), new: reads("docs/x"),
			gained: []string{"may read docs/x (files of the workspace)"},
			lost:   []string{"may read /etc (files of the workspace)", "may read docs/** (files of the workspace)"},
		},
	} {
		d := Compare(c.old, c.new)
		if !slices.Equal(d.Gained, c.gained) {
			t.Errorf("%s: gained %q\nwant %q", c.name, d.Gained, c.gained)
		}
		if !slices.Equal(d.Lost, c.lost) {
			t.Errorf("%s: lost %q\nwant %q", c.name, d.Lost, c.lost)
		}
		if d.Grows() != (len(c.gained) > 0) {
			t.Errorf("%s: Grows is %v", c.name, d.Grows())
		}
		if d := Compare(c.new, c.new); !d.Same() {
			t.Errorf("%s: differs from itself: %+v", c.name, d)
		}
	}
}

func TestCompareChanges(t *testing.T) {
	old := Manifest{
		ID: "PKG-A-1", Version: "1.0.0", Name: "A", Tier: "T3",
		Entry:        &Entry{Module: "a.wasm", Env: map[string]string{"A": "1", "B": ""}},
		Inputs:       []string{"docs/*"},
		Outputs:      []Output{{Path: "out/a", Role: "r"}},
		Limits:       Limits{Memory: 1 << 20},
		Dependencies: []Dependency{{ID: "PKG-B-1"}},
		Files:        []File{{"a", ledger.Sum([]byte("a")), 1}, {"b", ledger.Sum([]byte("b")), 1}, {"c", ledger.Sum([]byte("c")), 1}},
	}
	changed := Manifest{
		ID: "PKG-A-1", Version: "1.1.0", Name: "A", SpecID: "SPEC-A",
		Entry:        &Entry{Module: "b.wasm", Args: []string{"-v"}, Env: map[string]string{"A": "2"}, Stdin: StdinNone},
		Outputs:      []Output{{Path: "out/a", Role: "s", Optional: true}},
		Limits:       Limits{Fuel: 7},
		Dependencies: []Dependency{{ID: "PKG-B-1", Version: ">=1.0.0"}},
		Files:        []File{{"a", ledger.Sum([]byte("a")), 1}, {"b", ledger.Sum([]byte("bb")), 2}, {"d", ledger.Sum([]byte("d")), 1}},
	}
	d := Compare(old, changed)
	want := []Change{
		{"version", "1.0.0", "1.1.0"},
		{"tier", "T3", ""},
		{"spec_id", "", "SPEC-A"},
		{"entry.args", "", `["-v"]`},
		{"entry.env A", `"1"`, `"2"`},
		{"entry.env B", `""`, ""},
		{"entry.module", "a.wasm", "b.wasm"},
		{"entry.stdin", "request", "none"},
		{"inputs docs/*", "declared", ""},
		{"outputs out/a", "must publish out/a as r", "may publish out/a as s"},
		{"limits.memory", "1MiB", ""},
		{"limits.fuel", "", "7"},
		{"dependencies PKG-B-1", "any version", ">=1.0.0"},
	}
	if !slices.Equal(d.Changes, want) {
		t.Errorf("got  %q\nwant %q", d.Changes, want)
	}
	files := []FileChange{
		{"b", ledger.Sum([]byte("b")), 1, ledger.Sum([]byte("bb")), 2},
		{"c", ledger.Sum([]byte("c")), 1, ledger.Hash{}, 0},
		{"d", ledger.Hash{}, 0, ledger.Sum([]byte("d")), 1},
	}
	if !slices.Equal(d.Files, files) {
		t.Errorf("got  %+v\nwant %+v", d.Files, files)
	}
	text, err := json.Marshal(Compare(old, old))
	if got, want := string(text), `{"gained":[],"lost":[],"changes":[],"files":[]}`; err != nil || got != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

// The pieces of random patterns and names: few, so that they meet.
var (
	patternPieces = []string{
		"a", "b", "ab", "*", "**", "**", "?", "a?", "a*", "*b", "?b", "{a,b}", "??", "{a,a*}", "[ab]", `\a`, "<session_id>", "*<session_id>", "a<session_id>",
		"????????????", "SES-1", "<session{_id,}>", "out", "output", "planes", "plane?", "ho1", "sessions", "ledger", "{a,<session_id>}", "{planes,a}",
	}
	namePieces = []string{
		"a", "b", "ab", "bb", "SES-1", "SES-2", "aSES-1", "<session_id>", "<session>", "output", "planes", "ho1", "sessions", "ledger", "abcdefghijkl",
	}
	whole = []string{"planes/ho1/sessions/SES-1/**", "planes/*/sessions/*/ledger/*", "planes/**", "out/**", "out/a", "**", "docs"}
)

func join(r *rand.Rand, pieces []string) string {
	parts := make([]string, 1+r.IntN(5))
	for i := range parts {
		parts[i] = pieces[r.IntN(len(pieces))]
	}
	return strings.Join(parts, "/")
}

// randomPatterns makes up to three that are valid for op, some of them like old
// ones.
func randomPatterns(r *rand.Rand, op capability.Op, old []string) (list []string) {
	for range r.IntN(4) {
		p := join(r, patternPieces)
		switch r.IntN(8) {
		case 0:
			p = whole[r.IntN(len(whole))]
		case 1, 2, 3, 4:
			if len(old) > 0 {
				parts := strings.Split(old[r.IntN(len(old))], "/")
				parts[r.IntN(len(parts))] = join(r, patternPieces[:12])
				p = strings.Join(parts, "/")
			}
		}
		g := capability.Grants{Forbidden: []string{p}}
		switch op {
		case capability.Read:
			g = capability.Grants{Read: []string{p}}
		case capability.Write:
			g = capability.Grants{Write: []string{p}}
		}
		if _, err := capability.New(g); err == nil {
			list = append(list, p)
		}
	}
	return list
}

func mustEnforce(t *testing.T, g capability.Grants) *capability.Enforcer {
	t.Helper()
	e, err := capability.New(g)
	if err != nil {
		t.Fatalf("%+v: %v", g, err)
	}
	return e
}

// TestGainedIsAllThatIsGained: what the new grants permit and the old ones do not
// is matched by a pattern that is called gained.
func TestGainedIsAllThatIsGained(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 300
	}
	r := rand.New(rand.NewPCG(1, 2))
	covered, permitted := 0, 0
	for range rounds {
		c, p := checkGained(t, r)
		covered += c
		permitted += p
	}
	if covered < rounds/10 || permitted < rounds/10 {
		t.Errorf("only %d patterns were within others, only %d names were permitted: the test shows nothing", covered, permitted)
	}
}

// checkGained compares two random sets of grants. It counts the patterns that are
// not spelled as before and yet not gained, and the names that both permit.
func checkGained(t *testing.T, r *rand.Rand) (covered, permitted int) {
	t.Helper()
	random := func(old capability.Grants) capability.Grants {
		return capability.Grants{
			Read: randomPatterns(r, capability.Read, old.Read), Write: randomPatterns(r, capability.Write, old.Write), Forbidden: randomPatterns(r, "", old.Forbidden),
		}
	}
	old := random(capability.Grants{})
	changed := random(old)
	changed.Forbidden = append(changed.Forbidden, old.Forbidden[:r.IntN(len(old.Forbidden)+1)]...)
	more := rightsOf(agent(changed)).beyond(rightsOf(agent(old)))
	kept := capability.Grants{Forbidden: changed.Forbidden}
	for _, op := range []struct {
		old, changed, more []string
		kept               *[]string
	}{{old.Read, changed.Read, more.Read, &kept.Read}, {old.Write, changed.Write, more.Write, &kept.Write}} {
		for _, p := range op.changed {
			if slices.Contains(op.more, p) {
				continue
			}
			*op.kept = append(*op.kept, p)
			if !slices.Contains(op.old, p) {
				covered++
			}
		}
	}
	before, without, released := mustEnforce(t, old), mustEnforce(t, kept), mustEnforce(t, capability.Grants{Forbidden: more.Forbidden})
	for range 60 {
		name := join(r, namePieces)
		for _, session := range []string{"SES-1", "SES-2", "SES-abcdefgh"} {
			for _, op := range []capability.Op{capability.Read, capability.Write} {
				if _, err := without.Bind(session).Check(op, name); err != nil {
					continue
				}
				if _, err := before.Bind(session).Check(op, name); err == nil {
					permitted++
				} else if _, ok := released.Bind(session).Forbids(name); !ok {
					t.Fatalf("%s %s in %s: %v\nold    %+v\nnew    %+v\ngained %+v", op, name, session, err, old, changed, more)
				}
			}
		}
	}
	return covered, permitted
}

func FuzzGained(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { checkGained(t, rand.New(rand.NewPCG(a, b))) })
}

// FuzzWithin takes the patterns from the fuzzer, too.
func FuzzWithin(f *testing.F) {
	for _, s := range [][3]string{
		{"docs/a/**", "docs/**", "docs/a/b"},
		{"a/<session_id>", "a/*", "a/SES-1"},
		{"a/<session{_id,}>", "a/<session_id>", "a/<session_id>"},
		{"planes/ho1/sessions/SES-2/ledger/x", "planes/**", "planes/ho1/sessions/SES-2/ledger/x"},
		{"{a,b*}/?", "{?,b?}/*", "b/c"},
		{"out/a", "*/a", "output/SES-1/a"},
		{"r/<session_id>", "r/?", "r/SES-1"},
		{"r/a*", "r/a?", "r/a"},
		{"r/*", "r/?", "r/ab"},
		{"r/**", "r/*", "r/a/b"},
		{"r/**/a", "r/*/a", "r/a"},
		{"planes/ho1/sessions/SES-2/<session{_id,}>", "planes/ho1/sessions/SES-2/<session*d>", "planes/ho1/sessions/SES-2/SES-1"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, p, q, name string) {
		old, changed := capability.Grants{Read: []string{q}}, capability.Grants{Read: []string{p}}
		before, err := capability.New(old)
		if err != nil {
			return
		}
		after, err := capability.New(changed)
		if err != nil || len(rightsOf(agent(changed)).beyond(rightsOf(agent(old))).Read) > 0 {
			return
		}
		for _, session := range []string{"SES-1", "SES-x"} {
			if _, err := after.Bind(session).Check(capability.Read, name); err != nil {
				continue
			}
			if _, err := before.Bind(session).Check(capability.Read, name); err != nil {
				t.Errorf("%q is called within %q, which does not permit %q", p, q, name)
			}
		}
	})
}

// TestCompareHostile: patterns that take long to compare are gained instead.
func TestCompareHostile(t *testing.T) {
	var old, changed []string
	for i := range 120 {
		old = append(old, strings.Repeat("*a", 200)+"/"+strings.Repeat("?", i+1))
		changed = append(changed, strings.Repeat("*?", 200)+"/{"+strings.Repeat("*a?,", 60)+"b}"+strings.Repeat("?", i%20+1))
	}
	d := Compare(reads(old...), reads(changed...))
	if len(d.Gained) != len(changed) {
		t.Errorf("gained %d of %d", len(d.Gained), len(changed))
	}
	pr := &prover{maxSteps}
	for range 1 << 10 {
		pr.within(simpleOf(changed[0])[0], simpleOf(old[0])[0])
	}
	if pr.steps > 0 {
		t.Error("steps are not counted")
	}
	if pr.within(simple{"a"}, simple{"**"}) {
		t.Error("a proof was found without a step left")
	}
}
