package policy

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/ledger"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	data := []byte(`{
		"$schema": "policy.schema.json",
		"schema": "agenthost/policy/v1",
		"capabilities": {"read": ["docs/**"], "execute": ["git log"], "forbidden": ["docs/x/**"]},
		"withhold": ["**/*.secret"],
		"accept": ["PKG-A-1@` + digest + `"],
		"limits": {"memory": "64MiB", "time": "5s", "fuel": 1000},
		"env": ["LC_ALL"],
		"path": ["/usr/bin"],
		"require_signature": {"ho1": false, "ho3": true}
	}`)
	got, err := Parse("p.json", data)
	if err != nil {
		t.Fatal(err)
	}
	h, err := ledger.ParseHash(digest)
	if err != nil {
		t.Fatal(err)
	}
	want := &Policy{
		Source: "p.json", SHA256: ledger.Sum(data), Schema: Schema,
		Capabilities: &capability.Grants{Read: []string{"docs/**"}, Execute: []capability.Command{{"git", "log"}}, Forbidden: []string{"docs/x/**"}},
		Withhold:     []string{"**/*.secret"},
		Accept:       []Acceptance{{"PKG-A-1", h}},
		Limits:       archive.Limits{Memory: 64 << 20, Time: archive.Duration(5e9), Fuel: 1000},
		Env:          []string{"LC_ALL"},
		Path:         []string{"/usr/bin"},

		RequireSignature: map[string]bool{"ho1": false, "ho3": true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !got.Accepts("PKG-A-1", h) || got.Accepts("PKG-A-2", h) || got.Accepts("PKG-A-1", ledger.Sum(nil)) {
		t.Error("Accepts goes by id and digest, both whole")
	}
}

// TestBuiltInValues: what a policy does not speak of stays as it was, and only
// an empty list withholds nothing.
func TestBuiltInValues(t *testing.T) {
	p, err := Parse("p.json", []byte(`{"schema":"agenthost/policy/v1"}`))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Withhold, capability.SecretNames()) || p.Capabilities != nil || len(p.Accept) > 0 {
		t.Errorf("got %+v", p)
	}
	p, err = Parse("p.json", []byte(`{"schema":"agenthost/policy/v1","withhold":[],"capabilities":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Withhold) > 0 || p.Capabilities == nil || len(p.Capabilities.Read) > 0 {
		t.Errorf("got %+v", p)
	}
}

// TestShownPolicyReadsBack: what policy show --json prints is a policy that says
// the same.
func TestShownPolicyReadsBack(t *testing.T) {
	p, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("p.json", text)
	if err != nil {
		t.Fatal(err)
	}
	if again.SHA256 != p.SHA256 {
		t.Error("the digest of the built-in policy is not that of its text")
	}
	again.Source = BuiltIn
	if !reflect.DeepEqual(again, p) {
		t.Errorf("got  %+v\nwant %+v", again, p)
	}
}

func TestParseMistakes(t *testing.T) {
	with := func(members string) string { return `{"schema":"agenthost/policy/v1",` + members + `}` }
	for _, c := range []struct{ in, message, hint string }{
		{"", `p.json: line 1, column 1: unexpected end of JSON input`, ""},
		{"[]", `p.json: want an object, got a list`, ""},
		{"{}", `p.json: schema: missing`, `say "schema": "agenthost/policy/v1"`},
		{`{"schema":"agenthost/policy/v2"}`, `p.json: schema: unknown schema "agenthost/policy/v2"`, `this program reads "agenthost/policy/v1"`},
		{with(`"witthold":[]`), `p.json: witthold: unknown key`, `did you mean "withhold"?`},
		{with(`"capabilities":{"raed":[]}`), `p.json: capabilities.raed: unknown key`, `did you mean "read"?`},
		{with(`"capabilities":{"network":[]}`), `p.json: capabilities.network: not in this version`, `leave it out`},
		{with(`"capabilities":{"read":["docs/../x"]}`), `p.json: capabilities.read[0]: "docs/../x" has a segment ..`, `name the folder itself; what lies outside the workspace cannot be granted`},
		{with(`"withhold":["/etc/**"]`), `p.json: withhold[0]: "/etc/**" begins with /`, `patterns are relative to the workspace: write etc/**`},
		{with(`"withhold":"*.pem"`), `p.json: withhold: want a list, got a text`, `put it in [ ]`},
		{with(`"accept":["PKG-A-1"]`), `p.json: accept[0]: "PKG-A-1" does not begin with the id of a package and @`, `say ID@sha256: and 64 hex digits, as package inspect prints it`},
		{with(`"accept":["../x@` + digest + `"]`), `p.json: accept[0]: "../x@` + digest + `" does not begin with the id of a package and @`, `say ID@sha256: and 64 hex digits, as package inspect prints it`},
		{with(`"accept":["PKG-A-1@sha256:0123"]`), `p.json: accept[0]: "PKG-A-1@sha256:0123" does not end with a digest`, `say ID@sha256: and 64 hex digits, as package inspect prints it`},
		{with(`"limits":{"memory":"much"}`), `p.json: limits.memory: `, ""},
		{with(`"env":["LD_PRELOAD"]`), `p.json: env[0]: "LD_PRELOAD" changes which code a command runs`, `leave it out`},
		{with(`"redact":["env:A","file:/x y","secret"]`), `p.json: redact[2]: it names neither a variable nor a file`, `say env:NAME, or file: and an absolute path: a policy names where a value is, never the value`},
		{with(`"redact":["file:x"]`), `p.json: redact[0]: it names neither a variable nor a file`, `say env:NAME, or file: and an absolute path: a policy names where a value is, never the value`},
		{with(`"redact":["env:"]`), `p.json: redact[0]: it names neither a variable nor a file`, `say env:NAME, or file: and an absolute path: a policy names where a value is, never the value`},
		{with(`"env":["A=B"]`), `p.json: env[0]: "A=B" is not the name of a variable`, `leave it out`},
		{with(`"env":["PATH"]`), `p.json: env[0]: "PATH" is set by agenthost`, `leave it out`},
		{with(`"path":["bin"]`), `p.json: path[0]: "bin" is not an absolute folder`, `as /usr/bin`},
		{with(`"path":["/usr/bin:/tmp"]`), `p.json: path[0]: "/usr/bin:/tmp" is not an absolute folder`, `as /usr/bin`},
		{with(`"path":["/usr/../tmp"]`), `p.json: path[0]: "/usr/../tmp" is not an absolute folder`, `as /usr/bin`},
		{with(`"require_signature":true`), `p.json: require_signature: want an object, got true or false`, ``},
		{with(`"require_signature":{"ho4":true}`), `p.json: require_signature.ho4: unknown key`, `did you mean "ho1"?`},
		{with(`"require_signature":{"HO2":true}`), `p.json: require_signature.HO2: unknown key`, `did you mean "ho2"?`},
		{with(`"require_signature":{"production":true}`), `p.json: require_signature.production: unknown key`, `known here are ho1, ho2, ho3`},
		{with(`"require_signature":{"ho1":"yes"}`), `p.json: require_signature.ho1: want true or false, got a text`, ``},
		{with(`"require_signature":{"ho1":true,"ho1":false}`), `p.json: require_signature.ho1: the key is there twice`, `keep one of them`},
		{with(`"env":["A"],"env":["B"]`), `p.json: env: the key is there twice`, `keep one of them`},
	} {
		_, err := Parse("p.json", []byte(c.in))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if whole := !strings.HasSuffix(c.message, ": "); whole && (e.Error() != c.message || e.Hint != c.hint) || !strings.HasPrefix(e.Error(), c.message) {
			t.Errorf("%s\ngot  %s\n     %s\nwant %s\n     %s", c.in, e, e.Hint, c.message, c.hint)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schema":"agenthost/policy/v1","capabilities":{"read":["**"]},"withhold":["**/.env*"]}`))
	f.Add([]byte(`{"schema":"agenthost/policy/v1","require_signature":{"ho3":true,"ho1":false}}`))
	f.Add([]byte(`{"schema":"agenthost/policy/v1","limits":{"memory":1},"accept":["PKG-A@` + digest + `"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("p.json", data)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("not an *Error: %v", err)
		}
		if err != nil {
			return
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("p.json", text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(text) {
			t.Errorf("%s\nreads back as\n%s: %v", text, twice, err)
		}
	})
}

// TestLoad: the named file, else the root's, else the built-in one; what is there
// and cannot be read is never passed over.
func TestLoad(t *testing.T) {
	root := t.TempDir()
	named := filepath.Join(root, "named.json")
	write(t, named, `{"schema":"agenthost/policy/v1","withhold":["named"]}`)
	load := func(file string) string {
		p, err := Load(file, root)
		if err != nil {
			return err.Error()
		}
		return p.Withhold[0]
	}
	if got, want := load(""), capability.SecretNames()[0]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	own := filepath.Join(root, "control", "policy.json")
	if err := os.Mkdir(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, own, `{"schema":"agenthost/policy/v1","withhold":["own"]}`)
	if got := load(""); got != "own" {
		t.Errorf("got %s, want own", got)
	}
	if got := load(named); got != "named" {
		t.Errorf("got %s, want named", got)
	}
	if got, want := load(named+"x"), named+"x: no such file"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	write(t, own, `{`)
	if _, err := Load("", root); err == nil {
		t.Error("a broken policy was passed over")
	}
	write(t, own, strings.Repeat(" ", maxFile+1))
	if _, err := Load("", root); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a huge policy: %v", err)
	}
	if err := os.Remove(own); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Load("", root); err == nil {
		t.Error("a policy that cannot be read was passed over")
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
