package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// acceptor returns what reports whether a document fits a schema.
func acceptor(t *testing.T, make func() (*jsonschema.Schema, error)) func(document string) error {
	t.Helper()
	s, err := make()
	if err != nil {
		t.Fatal(err)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return func(document string) error {
		var value any
		if err := json.Unmarshal([]byte(document), &value); err != nil {
			t.Fatal(err)
		}
		return resolved.Validate(value)
	}
}

// TestManifestSchema: what the schema refuses, the program refuses; what the
// program accepts, the schema accepts.
func TestManifestSchema(t *testing.T) {
	accepts := acceptor(t, manifestSchema)
	whole := `{"$schema": "x.json", "schema": "agenthost/package/v1", "id": "PKG-A", "version": "1.0.0", "name": "a", "tier": "T3", "plane": "ho1", "spec_id": "SPEC-A",
		"entry": {"module": "a.wasm", "args": ["-v"], "env": {"A": "b"}, "stdin": "prompt", "unknown_imports": "enosys"},
		"capabilities": {"read": ["**"], "write": [], "execute": ["git log", ["git", "show", "*"]], "forbidden": ["x"]},
		"inputs": ["a"], "outputs": [{"path": "out/a", "role": "r", "optional": true, "executable": false}],
		"limits": {"memory": "64MiB", "time": "5s", "fuel": 1, "output_bytes": 4096},
		"dependencies": [{"id": "PKG-B", "version": ">=1.0.0"}]}`
	for _, c := range []struct {
		document string
		want     bool
	}{
		{whole, true},
		{`{"schema": "agenthost/package/v1", "id": "PKG-A", "version": "1.0.0"}`, true},
		{`{"schema": "agenthost/package/v1", "id": "PKG-A"}`, false},
		{`{"schema": "agenthost/package/v2", "id": "PKG-A", "version": "1.0.0"}`, false},
		{strings.Replace(whole, `"read"`, `"raed"`, 1), false},
		{strings.Replace(whole, `"T3"`, `"T9"`, 1), false},
		{strings.Replace(whole, `"PKG-A"`, `"../A"`, 1), false},
		{strings.Replace(whole, `"64MiB"`, `true`, 1), false},
		{strings.Replace(whole, `["**"]`, `null`, 1), false},
		{strings.Replace(whole, `"git log"`, `7`, 1), false},
		{strings.Replace(whole, `"module": "a.wasm", `, ``, 1), false},
	} {
		err := accepts(c.document)
		if (err == nil) != c.want {
			t.Errorf("schema: %v\n%s", err, c.document)
		}
		if _, err := archive.ParseManifest([]byte(c.document)); (err == nil) != c.want {
			t.Errorf("program: %v\n%s", err, c.document)
		}
	}
}

func TestPolicySchema(t *testing.T) {
	accepts := acceptor(t, policySchema)
	for _, c := range []struct {
		document string
		want     bool
	}{
		{`{"schema": "agenthost/policy/v1"}`, true},
		{`{"$schema": "x", "schema": "agenthost/policy/v1", "capabilities": {"read": ["a"]}, "withhold": [], "accept": ["PKG-A@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"], "limits": {"memory": 1}, "env": ["A"], "path": ["/bin"]}`, true},
		{`{"schema": "agenthost/policy/v1", "require_signature": {"ho1": true, "ho3": false}}`, true},
		{`{"schema": "agenthost/policy/v1", "require_signature": {"ho4": true}}`, false},
		{`{"schema": "agenthost/policy/v1", "require_signature": {"ho1": 1}}`, false},
		{`{"schema": "agenthost/policy/v1", "witthold": []}`, false},
		{`{"schema": "agenthost/policy/v1", "accept": ["PKG-A"]}`, false},
		{`{"withhold": []}`, false},
	} {
		if err := accepts(c.document); (err == nil) != c.want {
			t.Errorf("schema: %v\n%s", err, c.document)
		}
		if _, err := policy.Parse("p.json", []byte(c.document)); (err == nil) != c.want {
			t.Errorf("program: %v\n%s", err, c.document)
		}
	}
}

// TestEntrySchema: every line of the golden ledgers fits, every entry of the
// ledgers of a control plane, and none with a member that has no business there.
func TestEntrySchema(t *testing.T) {
	accepts := acceptor(t, entrySchema)
	kinds := map[string]bool{}
	paths := []string{governance(t)}
	for _, session := range []string{"good", "commands"} {
		golden := filepath.Join("..", "..", "testdata", "ledgers", session)
		paths = append(paths, filepath.Join(golden, record.ExecFile), filepath.Join(golden, record.EvidenceFile))
	}
	for _, path := range paths {
		for e, err := range ledger.Read(path) {
			if err != nil {
				t.Fatal(err)
			}
			kinds[e.Kind] = true
			if err := accepts(string(e.Line)); err != nil {
				t.Errorf("%s: %v", e.Line, err)
			}
			if err := accepts(strings.Replace(string(e.Line), `"v":1`, `"v":1,"extra":1`, 1)); err == nil {
				t.Errorf("%s: a member nobody knows is accepted", e.Kind)
			}
		}
	}
	if len(kinds) < 24 {
		t.Errorf("only %d kinds were looked at", len(kinds))
	}
}

// governance writes a ledger with each kind of entry that a control plane has.
func governance(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), record.GovernanceFile)
	o := record.GovernanceOptions()
	var err error
	if o.Key, err = ledgertest.Host(); err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Create(path, o)
	if err != nil {
		t.Fatal(err)
	}
	sum := ledger.Sum(nil)
	by, pkg := record.Actor{UID: 7, User: "u"}, record.Package{ID: "PKG-A", Version: "1.0.0", SHA256: sum}
	for _, b := range []ledger.Body{
		record.HostKey{Origin: "agenthost/control/governance/0123456789abcdef", Key: "k"},
		record.ControlInit{By: by, Agenthost: "0", Token: sum},
		record.TokenRotate{By: by, Token: sum, Lost: true},
		record.SignerTrust{By: by, Key: "k"},
		record.SignerDistrust{By: by, Key: "k"},
		record.PackageStore{By: by, Package: pkg, Archive: sum, Size: 1},
		record.PackageInstall{By: by, Package: pkg, Plane: "ho1", Archive: sum},
		record.PackageInstall{
			By: by, Package: pkg, Plane: "ho1", Name: "n", SpecID: "SPEC-A", Tier: "T3", Dependencies: []record.Dependency{{ID: "PKG-B", Version: "1.0.0"}},
			Files: 1, Archive: sum, Size: 1, Signer: "s", Signature: "s", Replaces: &pkg, Gained: []string{"g"}, Forced: true, Rotated: true,
		},
		record.PackageUninstall{By: by, Package: pkg, Plane: "ho1", Stored: true},
		record.RegistryRebuild{By: by, SHA256: sum},
		record.SessionPrune{By: by, SessionID: "SES-A", Plane: "ho1", Published: true},
		record.SessionErase{By: by, SessionID: "SES-A", Plane: "ho1", Blobs: []ledger.Hash{sum}, Why: "asked"},
		record.LedgerRepair{By: by, Ledger: "SES-A", Plane: "ho1", Fault: "f"},
		record.ChangeRefused{By: by, Change: record.KindPackageInstall, Code: "c", Message: "m"},
		record.WorkOrderTurn{WorkOrder: "WO-A", Package: pkg, SessionID: "SES-A", TurnNumber: 1, SHA256: sum},
		record.ContextSnapshot{SessionID: "SES-A", Plane: "ho1", Size: 1, Head: sum, SHA256: sum, Bytes: 1},
	} {
		if _, err := log.Commit(0, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSchemasSayWhatTheyAre: each names the dialect it is written in.
func TestSchemasSayWhatTheyAre(t *testing.T) {
	for name, make := range map[string]func() (*jsonschema.Schema, error){
		"manifest": manifestSchema, "policy": policySchema, "envelope": envelopeSchema, "entry": entrySchema, "work_order": workOrderSchema, "doctor": doctorSchema,
	} {
		s, err := make()
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), `"$schema":"`+jsonschemaDraft+`"`) || s.Title == "" {
			t.Errorf("%s: no $schema or title", name)
		}
	}
}
