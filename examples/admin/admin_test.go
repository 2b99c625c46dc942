package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	agent "github.com/agenthost/agenthost/guest-sdk/go"
)

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// inPlane makes the two files of a control plane and goes there.
func inPlane(t *testing.T, registry, ledger string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{"registries/packages_registry.csv": registry, "ledger/governance.jsonl": ledger} {
		if err := os.MkdirAll(name[:strings.Index(name, "/")], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func ask(t *testing.T, query string) answer {
	t.Helper()
	got, err := agent.Run(admin, &agent.Request{Query: json.RawMessage(query)})
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

const registry = "id,name,version,spec_id,tier,plane,status,sha256,signer,installed_at\r\n" +
	"PKG-T0-LIB-001,\"Words, \"\"many\"\"\",0.2.0,SPEC-LIB-001,T0,ho3,active," + digestB + ",ops+0a1b2c3d+AAAA,2026-01-02T03:06:00Z\r\n" +
	"PKG-T3-REPORT-001,,1.0.0,,T3,ho1,active," + digestA + ",,2026-01-02T03:05:00Z\r\n"

const governance = `{"v":1,"seq":0,"ts":"2026-01-02T03:00:00.000000000Z","kind":"control.init","by":{"uid":0,"user":"root"},"agenthost":"0.1.0","token":"` + digestA + `"}
{"v":1,"seq":1,"ts":"2026-01-02T03:03:00.000000000Z","kind":"package.store","by":{"uid":0,"user":"root"},"package":{"id":"PKG-T0-LIB-001","version":"0.1.0","sha256":"` + digestA + `"},"archive":"` + digestA + `","size":9}
{"v":1,"seq":2,"ts":"2026-01-02T03:04:00.000000000Z","kind":"package.install","by":{"uid":0,"user":"root"},"package":{"id":"PKG-T0-LIB-001","version":"0.1.0","sha256":"` + digestA + `"},"plane":"ho3","dependencies":[],"files":2}
{"v":1,"seq":3,"ts":"2026-01-02T03:05:00.000000000Z","kind":"package.install","by":{"uid":7},"package":{"id":"PKG-T3-REPORT-001","version":"1.0.0","sha256":"` + digestA + `"},"plane":"ho1","dependencies":[{"id":"PKG-T0-LIB-001","version":">=0.1.0"}],"files":1}
{"v":1,"seq":4,"ts":"2026-01-02T03:05:30.000000000Z","kind":"change.refused","by":{"uid":7},"change":"package.uninstall","subject":"PKG-T0-LIB-001","code":"dependents","message":"PKG-T3-REPORT-001 depends on it"}
{"v":1,"seq":5,"ts":"2026-01-02T03:06:00.000000000Z","kind":"package.install","by":{"uid":0,"user":"root"},"package":{"id":"PKG-T0-LIB-001","version":"0.2.0","sha256":"` + digestB + `"},"plane":"ho3","dependencies":[],"files":2,"signer":"ops+0a1b2c3d+AAAA","replaces":{"id":"PKG-T0-LIB-001","version":"0.1.0","sha256":"` + digestA + `"},"gained":["execute git log"]}
{"v":1,"seq":6,"ts":"2026-01-02T03:07:00.000000000Z","kind":"package.install","by":{"uid":0,"user":"root"},"package":{"id":"PKG-T2-OLD-001","version":"1.0.0","sha256":"` + digestA + `"},"plane":"ho3","dependencies":[],"files":1}
{"v":1,"seq":7,"ts":"2026-01-02T03:08:00.000000000Z","kind":"package.uninstall","by":{"uid":0,"user":"root"},"package":{"id":"PKG-T2-OLD-001","version":"1.0.0","sha256":"` + digestA + `"},"plane":"ho3","stored":true}
`

func TestExplain(t *testing.T) {
	inPlane(t, registry, governance)
	a := ask(t, `{"explain":"PKG-T0-LIB-001"}`)
	const want = `PKG-T0-LIB-001, Words, "many", is a package of tier T0, version 0.2.0, active in plane ho3 since 2026-01-02 03:06.
Its digest is ` + digestB + `.
It was made to the specification SPEC-LIB-001.
It was signed by ops (key 0a1b2c3d).
It is needed by PKG-T3-REPORT-001.
What became of it:
- 2026-01-02 03:03: root put 0.1.0 (sha256:aaaaaaaaaaaa) into the store
- 2026-01-02 03:04: root installed 0.1.0 (sha256:aaaaaaaaaaaa) in ho3
- 2026-01-02 03:06: root installed 0.2.0 (sha256:bbbbbbbbbbbb) in ho3 in the place of 0.1.0, signed by ops (key 0a1b2c3d); it may now execute git log
What was refused:
- 2026-01-02 03:05: user 7 asked for package.uninstall, which was refused (dependents): PKG-T3-REPORT-001 depends on it
`
	if a.Text != want {
		t.Errorf("got  %s\nwant %s", a.Text, want)
	}
	if p := a.Package; p == nil || len(p.Installed) != 1 || len(p.History) != 3 || p.History[2].Seq != 5 || len(p.Refused) != 1 || p.Refused[0].Code != "dependents" {
		t.Errorf("got %+v", p)
	}
	a = ask(t, `{"explain":"PKG-T3-REPORT-001"}`)
	for _, want := range []string{
		"PKG-T3-REPORT-001 is a package of tier T3, version 1.0.0, active in plane ho1 since 2026-01-02 03:05.\n",
		"Nobody signed it.\n", "It needs PKG-T0-LIB-001 >=0.1.0.\n",
	} {
		if !strings.Contains(a.Text, want) {
			t.Errorf("got %s, want %s in it", a.Text, want)
		}
	}
	a = ask(t, `{"explain":"PKG-T2-OLD-001"}`)
	if !strings.HasPrefix(a.Text, "PKG-T2-OLD-001 is not installed.\nWhat became of it:\n") ||
		!strings.HasSuffix(a.Text, "root took 1.0.0 (sha256:aaaaaaaaaaaa) out of ho3; its archive stayed in the store\n") {
		t.Errorf("got %s", a.Text)
	}
}

func TestUnknown(t *testing.T) {
	inPlane(t, registry, governance)
	for id, want := range map[string]string{
		"PKG-T3-REPROT-001": `Nothing is known here of "PKG-T3-REPROT-001". Did you mean PKG-T3-REPORT-001?`,
		"PKG-T0-LIB-002":    `Nothing is known here of "PKG-T0-LIB-002". Did you mean PKG-T0-LIB-001?`,
		"x\n\x1b[31m":       `Nothing is known here of "x\n\x1b[31m".`,
	} {
		text, err := json.Marshal(map[string]string{"explain": id})
		if err != nil {
			t.Fatal(err)
		}
		a := ask(t, string(text))
		if a.Text != want || a.Unknown != id || a.Package != nil {
			t.Errorf("got %+v\nwant %s", a, want)
		}
	}
	if near := nearest("PKG-A-1", []string{"PKG-A-3", "PKG-A-2", "PKG-B-1", "PKG-B-2", "x"}); len(near) != 3 || unknownText("PKG-A-1", near) != `Nothing is known here of "PKG-A-1". The nearest ids are PKG-A-3, PKG-A-2 and PKG-B-1.` {
		t.Errorf("got %q", near)
	}
	if near := nearest(strings.Repeat("x", 1<<20), []string{strings.Repeat("y", 1<<20)}); near != nil {
		t.Errorf("got %d ids", len(near))
	}
}

func TestList(t *testing.T) {
	inPlane(t, registry, governance)
	a := ask(t, `{"list":true}`)
	if want := "ho3 PKG-T0-LIB-001 0.2.0, tier T0: Words, \"many\"\nho1 PKG-T3-REPORT-001 1.0.0, tier T3\n"; a.Text != want || len(a.Packages) != 2 {
		t.Errorf("got  %s\nwant %s", a.Text, want)
	}
	inPlane(t, strings.SplitAfter(registry, "\n")[0], "")
	if a := ask(t, `{"list":true}`); a.Text != "Nothing is installed.\n" || a.Packages == nil {
		t.Errorf("got %+v", a)
	}
}

// One package can be installed in several planes, and need something else in each.
func TestNeeds(t *testing.T) {
	ledger := governance
	for plane, version := range map[string]string{"ho1": ">=0.1.0", "ho2": ">=0.2.0", "ho3": ">=0.1.0"} {
		ledger += `{"kind":"package.install","package":{"id":"PKG-T2-TOOL-001"},"plane":"` + plane + `","dependencies":[{"id":"PKG-T0-LIB-001","version":"` + version + `"}]}` + "\n"
	}
	inPlane(t, registry, ledger)
	const want = "It needs PKG-T0-LIB-001 >=0.1.0 and PKG-T0-LIB-001 >=0.2.0.\n"
	for range 50 { // planes are looked at in any order
		if a := ask(t, `{"explain":"PKG-T2-TOOL-001"}`); !strings.Contains(a.Text, want) {
			t.Fatalf("got %s, want %s in it", a.Text, want)
		}
	}
}

// TestContradiction: what registry and ledger do not agree in is said.
func TestContradiction(t *testing.T) {
	edited := strings.Replace(strings.Replace(registry, "0.2.0", "0.3.0", 1), "PKG-T3-REPORT-001", "PKG-T3-FORGED-001", 1)
	inPlane(t, edited, governance)
	for query, want := range map[string]string{
		`{"explain":"PKG-T0-LIB-001"}`:    "Do not rely on this: the registry has PKG-T0-LIB-001 0.3.0 in ho3, the ledger 0.2.0. agenthost integrity-check tells more.\n",
		`{"explain":"PKG-T3-FORGED-001"}`: "Do not rely on this: PKG-T3-FORGED-001 is in the registry of ho1, and the ledger says that it is not installed there. agenthost integrity-check tells more.\n",
		`{"explain":"PKG-T3-REPORT-001"}`: "Do not rely on this: the ledger has PKG-T3-REPORT-001 in ho1, and the registry does not. agenthost integrity-check tells more.\n",
	} {
		if a := ask(t, query); !strings.HasSuffix(a.Text, want) || strings.Count(a.Text, "Do not rely") != 1 {
			t.Errorf("%s: got %s, want %s", query, a.Text, want)
		}
	}
	if a := ask(t, `{"list":true}`); strings.Count(a.Text, "Do not rely") != 3 {
		t.Errorf("got %s", a.Text)
	}
}

func TestMistakes(t *testing.T) {
	inPlane(t, registry, governance+"{\n")
	for query, want := range map[string]string{
		`null`:                         `ledger/governance.jsonl line 9: unexpected end of JSON input`,
		`{"explain":"x","list":true}`:  `ask for one thing: {"explain": "PKG-…"} or {"list": true}`,
		`{"explian":"PKG-T0-LIB-001"}`: `decode the query: json: unknown field "explian"`,
		`{"list":true}`:                `ledger/governance.jsonl line 9: unexpected end of JSON input`,
	} {
		if got, err := agent.Run(admin, &agent.Request{Query: json.RawMessage(query)}); got != nil || err == nil || err.Error() != want {
			t.Errorf("%s: got %s, %v, want %s", query, got, err, want)
		}
	}
	t.Chdir(t.TempDir())
	const want = "registries/packages_registry.csv is not there, or was not granted: this agent runs in a control plane"
	if got, err := agent.Run(admin, &agent.Request{Query: json.RawMessage(`{"list":true}`)}); got != nil || err == nil || err.Error() != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}
