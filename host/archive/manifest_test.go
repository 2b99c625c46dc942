package archive

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/ledger"
)

const fullManifest = `{
  "$schema": "https://example.org/manifest.json",
  "schema": "agenthost/package/v1",
  "id": "PKG-T3-REPORT-001",
  "version": "0.1.0",
  "name": "Report writer",
  "description": "Writes <reports> & more.\nSecond line.",
  "license": "Apache-2.0",
  "tier": "T3",
  "plane": "ho1",
  "spec_id": "SPEC-REPORT-001",
  "entry": {
    "module": "agent.wasm",
    "args": [
      "--all",
      ""
    ],
    "env": {
      "LANG": "C",
      "PYTHONHOME": "/usr"
    },
    "stdin": "prompt",
    "unknown_imports": "enosys"
  },
  "capabilities": {
    "read": [
      "docs/**",
      "registries/*.csv"
    ],
    "write": [
      "reports/*.md"
    ],
    "execute": [
      "git log --oneline",
      [
        "grep",
        "two words"
      ]
    ],
    "forbidden": [
      "docs/private/**"
    ]
  },
  "inputs": [
    "docs/*.md",
    "docs/a.md"
  ],
  "outputs": [
    {
      "path": "out/report.md",
      "role": "report"
    },
    {
      "path": "reports/*.md",
      "role": "copy",
      "optional": true,
      "executable": true
    }
  ],
  "limits": {
    "memory": "256MiB",
    "time": "60s",
    "fuel": 50000000000,
    "output_bytes": "64MiB",
    "output_files": 256,
    "result_bytes": 1000,
    "entries": 100000,
    "call_depth": 10000
  },
  "dependencies": [
    {
      "id": "PKG-T0-EVIDENCE-001",
      "version": ">=0.1.0, <1.0.0"
    },
    {
      "id": "PKG-T0-OTHER-001"
    }
  ],
  "files": [
    {
      "path": "agent.wasm",
      "sha256": "sha256:0101010101010101010101010101010101010101010101010101010101010101",
      "size": 123
    },
    {
      "path": "empty",
      "sha256": "sha256:0202020202020202020202020202020202020202020202020202020202020202",
      "size": 0
    }
  ]
}
`

func TestManifest(t *testing.T) {
	got, err := ParseManifest([]byte(fullManifest))
	if err != nil {
		t.Fatal(err)
	}
	want := Manifest{
		SchemaURL: "https://example.org/manifest.json", Schema: ManifestSchema, ID: "PKG-T3-REPORT-001", Version: "0.1.0",
		Name: "Report writer", Description: "Writes <reports> & more.\nSecond line.", License: "Apache-2.0",
		Tier: "T3", Plane: "ho1", SpecID: "SPEC-REPORT-001",
		Entry: &Entry{
			Module: "agent.wasm", Args: []string{"--all", ""}, Env: map[string]string{"LANG": "C", "PYTHONHOME": "/usr"},
			Stdin: StdinPrompt, UnknownImports: UnknownENOSYS,
		},
		Capabilities: capability.Grants{
			Read: []string{"docs/**", "registries/*.csv"}, Write: []string{"reports/*.md"},
			Execute: []capability.Command{{"git", "log", "--oneline"}, {"grep", "two words"}}, Forbidden: []string{"docs/private/**"},
		},
		Inputs:  []string{"docs/*.md", "docs/a.md"},
		Outputs: []Output{{Path: "out/report.md", Role: "report"}, {Path: "reports/*.md", Role: "copy", Optional: true, Executable: true}},
		Limits: Limits{
			Memory: 256 << 20, Time: Duration(time.Minute), Fuel: 50_000_000_000, OutputBytes: 64 << 20,
			OutputFiles: 256, ResultBytes: 1000, Entries: 100_000, CallDepth: 10_000,
		},
		Dependencies: []Dependency{{"PKG-T0-EVIDENCE-001", ">=0.1.0, <1.0.0"}, {"PKG-T0-OTHER-001", ""}},
		Files:        []File{{"agent.wasm", ledger.Hash(bytes.Repeat([]byte{1}, 32)), 123}, {"empty", ledger.Hash(bytes.Repeat([]byte{2}, 32)), 0}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	encoded, err := got.Encode()
	if err != nil || string(encoded) != fullManifest {
		t.Errorf("encoded, %v:\n%s", err, encoded)
	}
	if (&Entry{}).StdinMode() != StdinRequest || got.Entry.StdinMode() != StdinPrompt {
		t.Error("stdin is the request where nothing else is said")
	}
}

// base is the smallest manifest with more members.
func base(more string) string {
	return `{"schema": "agenthost/package/v1", "id": "PKG-A", "version": "1.0.0"` + more + `}`
}

// many is a list of n times the same.
func many(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }

func TestManifestMistakes(t *testing.T) {
	for _, test := range []struct{ json, want string }{
		// the document
		{``, `line 1, column 1: unexpected end of JSON input`},
		{`{`, `line 1, column 1: unexpected end of JSON input`},
		{"{\n  \"id\": x\n}", `line 2, column 9: invalid character 'x' looking for beginning of value`},
		{`{"id": "a",}`, `line 1, column 12: invalid character '}' looking for beginning of object key string`},
		{"{\"id\": \"a\"}\n{}", `line 2, column 1: invalid character '{' after top-level value`},
		{`{"id": 'a'}`, `line 1, column 8: invalid character '\'' looking for beginning of value`},
		{"{\"id\": \"ä\", // x\n}", `line 1, column 13: invalid character '/' looking for beginning of object key string`},
		{"\xef\xbb\xbf{}", `it begins with a byte order mark; save the file without it`},
		{"{\"name\": \"\xff\"}", `it is not UTF-8; save the file as UTF-8`},
		{`[]`, `want an object, got a list`},
		{`null`, `want an object, got null; leave the key out instead`},
		{`"x"`, `want an object, got a text`},
		{strings.Repeat("[", 20) + strings.Repeat("]", 20), `it nests deeper than 16`},
		{strings.Repeat("[", 20000) + strings.Repeat("]", 20000), `line 1, column 10001: invalid character '[' exceeded max depth`},
		{`{"` + strings.Repeat("k", 257) + `": 1}`, `a key of 257 bytes, at most 256 are read`},
		{strings.Repeat(" ", maxManifest) + "{}", `8388610 bytes, at most 8388608 are read`},
		{`[` + many("0", 200_000) + `]`, `more than 200000 values`},
		{base(`, "id": "PKG-B"`), `id: the key is there twice; keep one of them`},
		{base(`, "entry": {"module": "a", "env": {"A": "1", "A": "1"}}`), `entry.env.A: the key is there twice; keep one of them`},
		{base(`, "inputs": ["\ud800"]`), `inputs[0]: the text holds U+FFFD or half a surrogate pair`},
		{base(`, "n\ud800": 1`), `["n\ufffd"]: the text holds U+FFFD or half a surrogate pair (and 1 more mistake)`},

		// keys
		{base(`, "capabilities": {"raed": []}`), `capabilities.raed: unknown key; did you mean "read"?`},
		{base(`, "capabilities": {"Read": []}`), `capabilities.Read: unknown key; did you mean "read"?`},
		{base(`, "ID": "PKG-B"`), `ID: unknown key; did you mean "id"?`},
		{base(`, "capability": {}`), `capability: unknown key; known here are $schema, schema, id, version, name, description, license, tier, plane, spec_id, entry, capabilities, inputs, outputs, limits, dependencies, files`},
		{base(`, "input": []`), `input: unknown key; did you mean "inputs"?`},
		{base(`, "limits": {"ouput_bytes": 1}`), `limits.ouput_bytes: unknown key; did you mean "output_bytes"?`},
		{base(`, "limits": {"cpu": 1}`), `limits.cpu: unknown key; known here are memory, time, fuel, output_bytes, output_files, result_bytes, entries, call_depth`},
		{base(`, "outputs": [{"path": "out/a", "role": "a"}, {"path": "out/b", "rol": "b"}]`), `outputs[1].rol: unknown key; did you mean "role"? (and 1 more mistake)`},
		{base(`, "entry": {"module": "a", "arg": []}`), `entry.arg: unknown key; did you mean "args"?`},
		{base(`, "files": [{"path": "a", "sha265": ""}]`), `files[0].sha265: unknown key; did you mean "sha256"?`},
		{base(`, "dependencies": [{"id": "PKG-B", "ver": "1"}]`), `dependencies[0].ver: unknown key; known here are id, version`},
		{base(`, "a b\n": 1`), `["a b\n"]: unknown key; known here are $schema, schema, id, version, name, description, license, tier, plane, spec_id, entry, capabilities, inputs, outputs, limits, dependencies, files`},
		{base(`, "network": []`), `network: not in this version; leave it out`},
		{base(`, "capabilities": {"network": ["example.org"]}`), `capabilities.network: not in this version; leave it out`},
		{base(`, "capabilities": {"model": 1}`), `capabilities.model: not in this version; leave it out`},
		{base(`, "secrets": 1`), `secrets: not in this version; leave it out`},
		{base(`, "entry": {"module": "a", "kind": "reactor"}`), `entry.kind: not in this version: every turn gets a fresh instance of a command; leave it out`},

		// types
		{base(`, "name": 1`), `name: want a text, got a number`},
		{base(`, "name": null`), `name: want a text, got null; leave the key out instead`},
		{base(`, "entry": "a.wasm"`), `entry: want an object, got a text`},
		{base(`, "inputs": "docs/*.md"`), `inputs: want a list, got a text; put it in [ ]`},
		{base(`, "inputs": ["out/a", 1]`), `inputs[1]: want a text, got a number`},
		{base(`, "outputs": {"path": "out/a", "role": "a"}`), `outputs: want a list, got an object; put it in [ ]`},
		{base(`, "outputs": ["out/a"]`), `outputs[0]: want an object, got a text; say {"path": "out/a", "role": "…"}`},
		{base(`, "outputs": [{"path": "out/a", "role": "a", "optional": "yes"}]`), `outputs[0].optional: want true or false, got a text`},
		{base(`, "dependencies": ["PKG-B"]`), `dependencies[0]: want an object, got a text; say {"id": "PKG-B"}`},
		{base(`, "entry": {"module": "a", "env": ["A=1"]}`), `entry.env: want an object, got a list; say {"NAME": "value"}`},
		{base(`, "entry": {"module": "a", "env": {"A": 1}}`), `entry.env.A: want a text, got a number; put the value in quotes`},
		{base(`, "capabilities": {"execute": [1]}`), `capabilities.execute[0]: want a text or a list of words, got a number`},
		{base(`, "capabilities": {"execute": [["a", 1]]}`), `capabilities.execute[0][1]: want a text, got a number`},
		{base(`, "capabilities": {"execute": "ls"}`), `capabilities.execute: want a list, got a text; put it in [ ]`},
		{base(`, "files": [{"path": "a", "sha256": "abc", "size": 1}]`), `files[0].sha256: "abc" is not a digest; say "sha256:" and 64 hex digits`},
		{base(`, "files": [{"path": "a", "size": -1}]`), `files[0].size: -1 is not a number of bytes`},
		{base(`, "files": [{"path": "a", "size": 1.5}]`), `files[0].size: 1.5 is not a number of bytes`},

		// values
		{`{}`, `schema: missing; say "schema": "agenthost/package/v1" (and 2 more mistakes)`},
		{`{"schema": "agenthost/package/v1"}`, `id: missing; say "id": "PKG-…", or give the id when packing (and 1 more mistake)`},
		{`{"schema": "agenthost/package/v1", "id": "PKG-A"}`, `version: missing; say "version": "0.1.0"`},
		{`{"schema": 1}`, `schema: want a text, got a number (and 2 more mistakes)`},
		{`{"schema": "agenthost/package/v2", "novel": 1}`, `schema: "agenthost/package/v2" needs agenthost ≥ 2.0; update agenthost, or say "agenthost/package/v1"`},
		{`{"schema": "agenthost/package/v1.3", "novel": 1}`, `schema: "agenthost/package/v1.3" needs agenthost ≥ 1.3; update agenthost, or say "agenthost/package/v1"`},
		{`{"schema": "agenthost/package/v1.0"}`, `schema: unknown schema "agenthost/package/v1.0"; this program reads "agenthost/package/v1"`},
		{`{"schema": "agenthost/package/v01"}`, `schema: unknown schema "agenthost/package/v01"; this program reads "agenthost/package/v1"`},
		{`{"schema": "agenthost/policy/v1"}`, `schema: unknown schema "agenthost/policy/v1"; this program reads "agenthost/package/v1"`},
		{`{"schema": "agenthost/package/v1", "id": "pkg-a", "version": "1.0.0"}`, `id: "pkg-a" is not an id; say PKG- and up to 100 letters, digits and hyphens`},
		{`{"schema": "agenthost/package/v1", "id": "PKG-../../x", "version": "1.0.0"}`, `id: "PKG-../../x" is not an id; say PKG- and up to 100 letters, digits and hyphens`},
		{`{"schema": "agenthost/package/v1", "id": "PKG-A\n", "version": "1.0.0"}`, `id: "PKG-A\n" is not an id; say PKG- and up to 100 letters, digits and hyphens`},
		{`{"schema": "agenthost/package/v1", "id": "PKG-A", "version": "v1.0.0"}`, `version: "v1.0.0" is not a semantic version; say it as 1.2.3`},
		{base(`, "name": "a\u001b[2Jb"`), `name: the text holds control characters`},
		{base(`, "name": "a\nb"`), `name: the text holds control characters`},
		{base(`, "description": "a\rb"`), `description: the text holds control characters`},
		{base(`, "name": "` + strings.Repeat("x", 201) + `"`), `name: the text has 201 bytes, at most 200 are allowed`},
		{base(`, "tier": "T9"`), `tier: unknown value "T9"; say "T0", "T1", "T2", "T3"`},
		{base(`, "plane": "HO1"`), `plane: unknown value "HO1"; say "ho1", "ho2", "ho3"`},
		{base(`, "spec_id": "REPORT"`), `spec_id: "REPORT" is not an id; say SPEC- and up to 100 letters, digits and hyphens`},

		// entry
		{base(`, "entry": {}`), `entry.module: missing; name a file of the package, as "agent.wasm"`},
		{base(`, "entry": {"module": "../a.wasm"}`), `entry.module: "../a.wasm": the name holds ".."`},
		{base(`, "entry": {"module": "manifest.json"}`), `entry.module: the manifest is not a module`},
		{base(`, "entry": {"module": "a", "stdin": "json"}`), `entry.stdin: unknown value "json"; say "request", "prompt", "none"`},
		{base(`, "entry": {"module": "a", "unknown_imports": "stub"}`), `entry.unknown_imports: unknown value "stub"; say "enosys"`},
		{base(`, "entry": {"module": "a", "args": ["a\u0000b"]}`), `entry.args[0]: an argument cannot hold NUL`},
		{base(`, "entry": {"module": "a", "env": {"AGENTHOST_SESSION": "SES-1"}}`), `entry.env.AGENTHOST_SESSION: the host sets this name; choose another name`},
		{base(`, "entry": {"module": "a", "env": {"TMPDIR": "/"}}`), `entry.env.TMPDIR: the host sets this name; choose another name`},
		{base(`, "entry": {"module": "a", "env": {"A=B": "x"}}`), `entry.env["A=B"]: not a name for the environment; use letters, digits and _`},
		{base(`, "entry": {"module": "a", "env": {"": "x"}}`), `entry.env[""]: not a name for the environment; use letters, digits and _`},
		{base(`, "entry": {"module": "a", "env": {"1A": "x"}}`), `entry.env.1A: not a name for the environment; use letters, digits and _`},
		{base(`, "entry": {"module": "a", "env": {"A": "\u0000"}}`), `entry.env.A: a value cannot hold NUL`},
		{base(`, "entry": {"module": "a", "args": ["` + strings.Repeat("x", 200_000) + `"]}`), `entry: args and env have 200000 bytes, at most 131072 are allowed`},
		{base(`, "entry": {"module": "a", "args": [` + many(`"a"`, 1025) + `]}`), `entry.args: 1025 items, at most 1024 are allowed`},

		// rights
		{base(`, "capabilities": {"read": ["docs/**", "/etc/passwd"]}`), `capabilities.read[1]: "/etc/passwd" begins with /; patterns are relative to the workspace: write etc/passwd`},
		{base(`, "capabilities": {"read": ["../x"], "write": ["a", "b//c"]}`), `capabilities.read[0]: "../x" has a segment ..; name the folder itself; what lies outside the workspace cannot be granted (and 1 more mistake)`},
		{base(`, "capabilities": {"write": ["ledger/x"]}`), `capabilities.write[0]: "ledger/x" asks to write beneath ledger/; only agenthost itself writes there; declare an output elsewhere, such as out/**`},
		{base(`, "capabilities": {"forbidden": ["[!a]"]}`), `capabilities.forbidden[0]: "[!a]" has a negated class [!a]; list the characters that may stand there, or write ?`},
		{base(`, "capabilities": {"read": ["/a\n\u001bc"]}`), `capabilities.read[0]: "/a\n\x1bc" begins with /; patterns are relative to the workspace: write a` + "\ufffd\ufffdc"},
		{base(`, "capabilities": {"read": [` + many(`"a"`, 1025) + `]}`), `capabilities.read: 1025 items, at most 1024 are allowed`},
		{base(`, "inputs": ["docs/a.md"]`), `inputs[0]: no pattern of capabilities.read grants "docs/a.md"; add it to capabilities.read`},
		{base(`, "capabilities": {"read": ["docs/**"], "forbidden": ["**/a.md"]}, "inputs": ["docs/a.md"]`), `inputs[0]: "docs/a.md" is refused by the rule "forbidden **/a.md"; take it out, or change the rule`},
		{base(`, "inputs": ["/docs"]`), `inputs[0]: "/docs" begins with /; patterns are relative to the workspace: write docs`},
		{base(`, "outputs": [{"path": "reports/a.md", "role": "a"}]`), `outputs[0].path: no pattern of capabilities.write grants "reports/a.md"; add it to capabilities.write`},
		{base(`, "capabilities": {"forbidden": ["out/secret/**"]}, "outputs": [{"path": "out/secret/a", "role": "a"}]`), `outputs[0].path: "out/secret/a" is refused by the rule "forbidden out/secret/**"; take it out, or change the rule`},
		{base(`, "outputs": [{"path": "out/a", "role": "a"}, {"path": "out/a", "role": "b"}]`), `outputs[1].path: "out/a" is there twice; keep one of them`},
		{base(`, "outputs": [{"role": "a"}]`), `outputs[0].path: missing; say "out/…", or a path that capabilities.write grants`},
		{base(`, "outputs": [{"path": "out/a"}]`), `outputs[0].role: missing; say what the file is, as "report"`},
		{base(`, "outputs": [{"path": "out/a", "role": "a b"}]`), `outputs[0].role: "a b" is not a role; use up to 64 letters, digits, and _ . -`},
		{base(`, "outputs": [{"path": "tmp/a", "role": "a"}]`), `outputs[0].path: "tmp/a" asks for names beneath tmp/; every guest has a /tmp of its own, without a grant`},

		// limits
		{base(`, "limits": {"memory": "256MB"}`), `limits.memory: "256MB": not a size; say it in bytes, or as "64KiB", "256MiB", "1GiB"`},
		{base(`, "limits": {"memory": 0}`), `limits.memory: 0: not a size; say it in bytes, or as "64KiB", "256MiB", "1GiB"`},
		{base(`, "limits": {"memory": "5GiB"}`), `limits.memory: 5GiB, but a guest's memory ends at 4GiB`},
		{base(`, "limits": {"memory": true}`), `limits.memory: want a text, got true or false; say it in bytes, or as "64KiB", "256MiB", "1GiB"`},
		{base(`, "limits": {"output_bytes": "9007199254740992"}`), `limits.output_bytes: "9007199254740992": not a size; say it in bytes, or as "64KiB", "256MiB", "1GiB"`},
		{base(`, "limits": {"output_bytes": "9007199254740991GiB"}`), `limits.output_bytes: "9007199254740991GiB": too large a size`},
		{base(`, "limits": {"time": 60}`), `limits.time: want a text, got a number; say it with its unit, as "60s", "5m", "250ms"`},
		{base(`, "limits": {"time": "60"}`), `limits.time: "60": not a time; say it with its unit, as "60s", "5m", "250ms"`},
		{base(`, "limits": {"time": "-1s"}`), `limits.time: "-1s": a time is a whole number of milliseconds, at least one`},
		{base(`, "limits": {"time": "1us"}`), `limits.time: "1us": a time is a whole number of milliseconds, at least one`},
		{base(`, "limits": {"fuel": "5"}`), `limits.fuel: want a number, got a text`},
		{base(`, "limits": {"fuel": 0}`), `limits.fuel: 0: not a whole number from 1 to 9007199254740991`},
		{base(`, "limits": {"fuel": 5e10}`), `limits.fuel: 5e10: not a whole number from 1 to 9007199254740991`},
		{base(`, "limits": {"fuel": 9007199254740992}`), `limits.fuel: 9007199254740992: not a whole number from 1 to 9007199254740991`},

		// dependencies and files
		{base(`, "dependencies": [{}]`), `dependencies[0].id: missing; say "id": "PKG-…"`},
		{base(`, "dependencies": [{"id": "PKG-A"}]`), `dependencies[0].id: a package cannot depend on itself`},
		{base(`, "dependencies": [{"id": "PKG-B"}, {"id": "PKG-B"}]`), `dependencies[1].id: "PKG-B" is there twice; keep one of them`},
		{base(`, "dependencies": [{"id": "SES-B"}]`), `dependencies[0].id: "SES-B" is not an id; say PKG- and up to 100 letters, digits and hyphens`},
		{base(`, "dependencies": [{"id": "PKG-B", "version": "^1.0.0"}]`), `dependencies[0].version: "^1.0.0" is not a version range; say it with >=, >, <=, < or =, as ">=0.1.0, <1.0.0"`},
		{base(`, "dependencies": [{"id": "PKG-B", "version": ">=1.0"}]`), `dependencies[0].version: "1.0" is not a semantic version; say it as 1.2.3`},
		{base(`, "files": [{"size": 1}]`), `files[0].path: missing`},
		{base(`, "files": [{"path": "a", "size": 1073741824}, {"path": "b", "size": 1}]`), `files: together more than 1GiB`},
	} {
		_, err := ParseManifest([]byte(test.json))
		name := test.json
		wantError(t, name[:min(len(name), 120)], err, "manifest.json: "+test.want)
		if !errors.As(err, new(*ManifestError)) {
			t.Errorf("the error is a %T", err)
		}
	}
}

// TestManifestAllMistakes: each mistake is told once, in the document's order.
func TestManifestAllMistakes(t *testing.T) {
	_, err := ParseManifest([]byte(`{
		"outputs": [{"path": "out/a", "role": 1}, {"path": "/x", "role": ""}],
		"limits": {"time": 60, "memroy": 1},
		"capabilities": {"read": ["/a", "b", "/c"], "execute": ["a;b"], "write": "x"},
		"entry": {"stdin": "x"},
		"schema": "agenthost/package/v1",
		"id": "x"
	}`))
	var m *ManifestError
	if !errors.As(err, &m) {
		t.Fatal(err)
	}
	var got []string
	for _, e := range append([]*ManifestError{m}, m.Also...) {
		got = append(got, e.Where)
	}
	want := "outputs[0].role outputs[1].path outputs[1].role limits.time limits.memroy capabilities.read[0] capabilities.read[2] " +
		"capabilities.execute[0] capabilities.write entry.stdin entry.module id version"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

// TestManifestCost: a document made of mistakes, or of one long path, is judged
// in memory and time that its size explains.
func TestManifestCost(t *testing.T) {
	for name, document := range map[string]string{
		"unknown keys": `{` + many(`"k":0`, 1<<20) + `}`,
		"wrong items":  base(`, "inputs": [` + many("0", 150_000) + `]`),
		"many items":   base(`, "inputs": [` + many("0", 2<<20) + `]`),
		"long paths": strings.Repeat(`{"`+strings.Repeat("k", 250)+`":`, 14) + `["` +
			strings.Repeat(`\ufffd","`, 300_000) + `"]` + strings.Repeat("}", 14),
	} {
		_, err := ParseManifest([]byte(document))
		var m *ManifestError
		if !errors.As(err, &m) || len(m.Also) > maxProblems {
			t.Errorf("%s: %T", name, err)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]string{
		"1": "1", "1000": "1000", "1024": "1KiB", "1KiB": "1KiB", "256MiB": "256MiB", "1024MiB": "1GiB", "1536MiB": "1536MiB", "7B": "7",
	} {
		s, err := ParseSize(text)
		if err != nil || s.String() != want {
			t.Errorf("%s gives %s, %v, want %s", text, s, err, want)
		}
		j, err := s.MarshalJSON()
		var again Size
		if err != nil || again.UnmarshalJSON(j) != nil || again != s {
			t.Errorf("%s: JSON is %s, read again %d", text, j, again)
		}
	}
	for _, text := range []string{"", "0", "-1", "+1", "1.5GiB", "1 GiB", "1gib", "GiB", "1K", "0x10", "1_000", "٣"} {
		if s, err := ParseSize(text); err == nil {
			t.Errorf("%q gives %s", text, s)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]string{"60s": "60s", "1m30s": "90s", "2h": "7200s", "250ms": "250ms", "1.5s": "1500ms"} {
		d, err := ParseDuration(text)
		if err != nil || d.String() != want {
			t.Errorf("%s gives %s, %v, want %s", text, d, err, want)
		}
		var again Duration
		if again.UnmarshalText([]byte(d.String())) != nil || again != d {
			t.Errorf("%s: read again %s", text, again)
		}
	}
}

func TestAccepts(t *testing.T) {
	for _, test := range []struct {
		rule, yes, no string
	}{
		{"", "0.0.0 1.2.3 1.2.3+b", "1.0.0-rc.1 x 1.0"},
		{">=0.1.0", "0.1.0 0.1.1 2.0.0 10.0.0", "0.0.9 0.1.0-a 0.2.0-a"},
		{">=0.1.0,<1.0.0", "0.1.0 0.99.99", "1.0.0 1.0.0-rc.1 0.0.1"},
		{" > 1.0.0 , <= 2.0.0 ", "1.0.1 2.0.0", "1.0.0 2.0.1"},
		{"=1.2.3", "1.2.3 1.2.3+build", "1.2.4 1.2.3-a"},
		{">=1.0.0-alpha.2", "1.0.0 1.0.0-alpha.2 1.0.0-alpha.10 1.0.0-alpha.b 1.0.0-beta 1.1.0", "1.0.0-alpha 1.0.0-alpha.1 0.9.9 1.1.0-a"},
		{"=99999999999999999999.0.0", "99999999999999999999.0.0", "99999999999999999998.0.0"},
		{"nonsense", "", "1.0.0"},
	} {
		for _, v := range strings.Fields(test.yes) {
			if !(Dependency{Version: test.rule}).Accepts(v) {
				t.Errorf("%q does not accept %s", test.rule, v)
			}
		}
		for _, v := range strings.Fields(test.no) {
			if (Dependency{Version: test.rule}).Accepts(v) {
				t.Errorf("%q accepts %s", test.rule, v)
			}
		}
	}
	// The order of https://semver.org/#spec-item-11
	order := strings.Fields("1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 2.0.0 2.1.0 2.1.1 10.0.0")
	for i, a := range order {
		for j, b := range order {
			v, errV := parseVersion(a)
			w, errW := parseVersion(b)
			if err := errors.Join(errV, errW); err != nil {
				t.Fatal(err)
			}
			if got, want := v.compare(w), min(max(i-j, -1), 1); got != want {
				t.Errorf("%s compared with %s is %d, want %d", a, b, got, want)
			}
		}
	}
	for _, bad := range strings.Fields("1 1.0 1.0.0.0 01.0.0 1.0.0- 1.0.0-01 1.0.0-a..b 1.0.0+ 1.0.0+a_b -1.0.0 1.0.0-ä") {
		if _, err := parseVersion(bad); err == nil {
			t.Errorf("%s is a version", bad)
		}
	}
}

func TestCheckID(t *testing.T) {
	for _, id := range []string{"PKG-A", "PKG-" + strings.Repeat("a", 100), "PKG--", "PKG-a-1"} {
		if err := CheckID("PKG", id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{"", "PKG", "PKG-", "PKG-" + strings.Repeat("a", 101), "pkg-a", "PKG-a/b", "PKG-..", "PKG-a b", "PKG-ä", "PKG-a\x00", "PKG-a\n", "SES-a", " PKG-a"} {
		if err := CheckID("PKG", id); err == nil {
			t.Errorf("%q is an id", id)
		}
	}
	wantError(t, "kind", CheckID("WO", "PKG-A"), `"PKG-A" is not an id; say WO- and up to 100 letters, digits and hyphens`)
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(fullManifest))
	f.Add([]byte(smallManifest))
	f.Add([]byte(base(`, "capabilities": {"execute": ["a b", ["c d"], []], "forbidden": ["**"]}`)))
	f.Add([]byte(base(`, "limits": {"time": "1h1ms", "memory": 65536}, "outputs": [{"path": "out/**", "role": "x"}]`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			var e *ManifestError
			if !errors.As(err, &e) || e.What == "" || strings.ContainsAny(err.Error(), "\n\r\x1b") {
				t.Fatalf("%T %q", err, err)
			}
			return
		}
		first, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseManifest(first)
		if err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		if !reflect.DeepEqual(m, again) {
			t.Fatalf("first  %+v\nsecond %+v", m, again)
		}
		second, err := again.Encode()
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%v\n%s\n%s", err, first, second)
		}
		_ = fmt.Sprint(Describe(m), Warnings(m))
	})
}
