package host

import (
	"bytes"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// TestCollectedEvidence holds that the evidence a turn ends with was collected
// while it ran, and is what its entries on disk say.
func TestCollectedEvidence(t *testing.T) {
	b := newBench(t, map[string]string{"docs/a.md": "alpha", "docs/big.md": strings.Repeat("x", 2<<20)})
	a := ask{
		manifest: members{"capabilities": members{"read": []string{"docs/**"}}},
		steps:    []string{"read docs/a.md", "read docs/big.md", "read absent.md", "read absent.md", "tell said", "say done"},
	}
	p := b.prepare(a)
	defer p.Close()
	s := b.open(p, a)
	defer s.Leave()
	r := &run{Prepared: p, session: s}
	if err := r.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	e, err := r.execute(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.keepMessages(e.stderr); err != nil {
		t.Fatal(err)
	}
	want, err := r.readEvidence()
	if err != nil {
		t.Fatal(err)
	}
	got, ok := r.collected.Evidence(s.Exec.Head())
	if !ok {
		t.Fatal("it was not collected")
	}
	if a, b := must(ledger.Encode(got))(t), must(ledger.Encode(want))(t); !bytes.Equal(a, b) {
		t.Errorf("collected\n%s\non disk\n%s", a, b)
	}
	if len(want.RealizedReads) != 2 || len(want.Hidden) != 1 {
		t.Errorf("the turn did not do what it should: %+v", want)
	}

	// Another writer's entry was not seen: then the file is read.
	if _, err := s.Exec.Append(1, &record.Op{Op: record.OpStat, Via: record.ViaWASI, Path: "x", Decision: record.Hidden, Errno: "noent"}); err != nil {
		t.Fatal(err)
	}
	if err := r.evidence(); err != nil {
		t.Fatal(err)
	}
	if len(r.result.Evidence.Hidden) != 2 {
		t.Errorf("evidence without the entry of another: %+v", r.result.Evidence.Hidden)
	}
}
