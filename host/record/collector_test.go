package record

import (
	"bytes"
	"slices"
	"testing"

	"github.com/agenthost/agenthost/ledger"
)

// collect gives entries to a Collector, as pointers where the host does.
func collect(t testing.TB, entries []ledger.Entry) *Collector {
	t.Helper()
	c := &Collector{}
	for _, e := range entries {
		body, err := Decode(e)
		if err != nil {
			t.Fatal(err)
		}
		switch b := body.(type) {
		case TurnBegin:
			body = &b
		case Op:
			body = &b
		case Digest:
			body = &b
		case ExecStart:
			body = &b
		case ExecEnd:
			body = &b
		}
		c.Add(e, body)
	}
	return c
}

// sameCollected holds that a Collector computes what the entries say, in the same
// bytes.
func sameCollected(t testing.TB, entries []ledger.Entry, want TurnEvidence) {
	t.Helper()
	last := entries[len(entries)-1]
	got, ok := collect(t, entries).Evidence(ledger.Head{Size: last.Seq + 1, Hash: last.Hash})
	if !ok {
		t.Fatal("nothing was collected")
	}
	a, errA := ledger.Encode(want)
	b, errB := ledger.Encode(got)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("collected\n%s %v\nof the entries\n%s %v", b, errB, a, errA)
	}
}

// TestCollectorMissed lets a Collector see all entries but one, or one too many:
// it says that it does not know.
func TestCollectorMissed(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	b.open()
	b.begin(fileOf("docs/a.md", "alpha"))
	b.op(reading("docs/a.md", "alpha"))
	b.op(reading("docs/b.md", "beta"))
	b.op(reading("docs/c.md", "gamma"))
	var entries []ledger.Entry
	for e := range b.entries() {
		e.Line = bytes.Clone(e.Line)
		entries = append(entries, e)
	}
	head := ledger.Head{Size: entries[3].Seq + 1, Hash: entries[3].Hash}
	if _, ok := collect(t, entries).Evidence(head); !ok {
		t.Error("all entries: it does not know")
	}
	for missing := range entries {
		if _, ok := collect(t, slices.Delete(slices.Clone(entries), missing, missing+1)).Evidence(head); ok {
			t.Errorf("it claims to know without entry %d", missing)
		}
	}
	if _, ok := collect(t, append(slices.Clone(entries), entries[3])).Evidence(head); ok {
		t.Error("it claims to know with an entry twice")
	}
	if _, ok := new(Collector).Evidence(ledger.Head{}); ok {
		t.Error("it claims to know of nothing")
	}
}
