package main

import (
	"crypto/rand"
	"path/filepath"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// TestSessionKeys: evidence may be sealed by a process that continued the session
// after its keys were read, but by none that exec.jsonl does not introduce, and not
// by one that another one followed.
func TestSessionKeys(t *testing.T) {
	const plane, id = "ho1", "SES-20260102T030405Z-0123456789abcdef"
	host, err := ledger.NewKey("agenthost/host", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var sigs []string
	process := func() (*ledger.Key, record.ProcessKey) {
		t.Helper()
		key, intro, err := record.NewProcessKey(plane, id, host, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := key.Sign("any\n")
		if err != nil {
			t.Fatal(err)
		}
		sigs = append(sigs, sig)
		return key, intro
	}
	path := filepath.Join(t.TempDir(), record.ExecFile)
	o := record.ExecOptions(id)
	o.Origin = record.ExecOrigin(plane, id)
	write := func(open func(string, ledger.Options) (*ledger.Log, error), key *ledger.Key, body ledger.Body) {
		t.Helper()
		o.Key = key
		log, err := open(path, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Commit(0, body); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	first, intro := process()
	write(ledger.Create, first, record.SessionOpen{Plane: plane, ProcessKey: intro})
	k := sessionKeys{exec: path}
	if err := k.read(); err != nil {
		t.Fatal(err)
	}
	second, intro := process()
	process() // which nobody introduces
	check := func(what string, n int, want *ledger.Key) {
		t.Helper()
		origin, key, err := k.Signer(sigs[n])
		switch {
		case want == nil && err == nil:
			t.Errorf("%s: got %s, want an error", what, key)
		case want != nil && (err != nil || key.String() != want.String() || origin != record.EvidenceOrigin(plane, id)):
			t.Errorf("%s: got %s of %s, %v", what, key, origin, err)
		}
	}
	check("the first process", 0, first)
	check("the second, before it is introduced", 1, nil)
	write(ledger.Open, second, record.SessionResume{ProcessKey: intro})
	check("one that is never introduced", 2, nil)
	check("the first, as long as the second has not sealed", 0, first)
	check("the second, introduced since", 1, second)
	check("the first, behind the second", 0, nil)
	if err := k.Saw(ledger.Entry{}); err != nil {
		t.Error(err)
	}
}
