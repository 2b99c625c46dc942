package record

import (
	"errors"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// TestAuthorizationReadsBack: what the ledgers of plane ho2 hold is read as it
// was written, and each takes its own kinds only.
func TestAuthorizationReadsBack(t *testing.T) {
	debris := Recovered{"WO-7.jsonl.torn-12", 12, 3, hashOf("t"), false, 0}
	snapshot := ContextSnapshot{"SES-1", "ho1", 9, hashOf("h"), hashOf("f"), 120}
	claim := WorkOrderTurn{"WO-7", hashOf("w"), Package{"PKG-A", "1.0.0", hashOf("p")}, "SES-1", 3}
	for _, c := range []struct {
		options       ledger.Options
		decode, other func(ledger.Entry) (ledger.Body, error)
		bodies        []ledger.Body
	}{
		{WorkOrderOptions("WO-7"), DecodeWorkOrder, DecodeContext, []ledger.Body{claim, debris}},
		{ContextOptions(), DecodeContext, DecodeWorkOrder, []ledger.Body{snapshot, debris}},
	} {
		key, err := ledgertest.Host()
		if err != nil {
			t.Fatal(err)
		}
		c.options.Key, c.options.Origin = key, "agenthost/control/test"
		path := filepath.Join(t.TempDir(), "a.jsonl")
		log, err := ledger.Create(path, c.options)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range c.bodies {
			if _, err := log.Commit(0, b); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		for e, err := range ledger.Scan(path, c.options) {
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.decode(e)
			if seal := e.Seq%2 == 1; err != nil || !seal && !reflect.DeepEqual(got, c.bodies[e.Seq/2]) || seal && e.Kind != ledger.KindSeal {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, c.bodies[e.Seq/2])
			}
			inAll := e.Kind == KindRecovered || e.Kind == ledger.KindSeal
			if _, err := c.other(e); (err == nil) != inAll {
				t.Errorf("%s in the other ledger: %v", e.Kind, err)
			}
			if _, err := Decode(e); (err == nil) != inAll {
				t.Errorf("%s in a session's ledger: %v", e.Kind, err)
			}
		}
	}
}
