package record

import (
	"fmt"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// TestRegisterEntries: what is written is what is read, by kind, with its members
// in this order.
func TestRegisterEntries(t *testing.T) {
	root := ledger.Hash{1}
	hex := "sha256:01" + fmt.Sprintf("%062d", 0)
	r := Registered{Session: "SES-1", Size: 7, Root: root, WasSize: 5, Repaired: true}
	all := []struct {
		body ledger.Body
		kind string
		want string
	}{
		{RegisterOpen{Registered{Session: "SES-1", Size: 2, Root: root}}, "session.open", `{"session":"SES-1","size":2,"root":"` + hex + `"}`},
		{RegisterHead{r}, "session.head", `{"session":"SES-1","size":7,"root":"` + hex + `","was_size":5,"repaired":true}`},
		{RegisterClose{r}, "session.close", `{"session":"SES-1","size":7,"root":"` + hex + `","was_size":5,"repaired":true}`},
		{RegisterPrune{r}, "session.prune", `{"session":"SES-1","size":7,"root":"` + hex + `","was_size":5,"repaired":true}`},
		{RegisterRepair{r}, "session.repair", `{"session":"SES-1","size":7,"root":"` + hex + `","was_size":5,"repaired":true}`},
		{RegisterContinue{"sessions-000001.jsonl", 9, root}, "register.continue", `{"file":"sessions-000001.jsonl","size":9,"root":"` + hex + `"}`},
		{RegisterLost{"sessions-000001.jsonl", "it is gone"}, "register.lost", `{"file":"sessions-000001.jsonl","reason":"it is gone"}`},
		{Recovered{"sessions.jsonl.torn-0", 0, 5, root, false, 0}, "recovered", `{"file":"sessions.jsonl.torn-0","offset":0,"length":5,"sha256":"` + hex + `"}`},
	}
	key, err := ledgertest.Host()
	if err != nil {
		t.Fatal(err)
	}
	o := RegisterOptions()
	o.Key, o.Origin = key, "agenthost/ho1/sessions/0011223344556677"
	path := filepath.Join(t.TempDir(), RegisterFile)
	l, err := ledger.Create(path, o)
	if err != nil {
		t.Fatal(err)
	}
	bodies := []ledger.Body{HostKey{o.Origin, key.Verifier().String()}}
	for _, c := range all {
		text, err := ledger.Encode(c.body)
		if err != nil || string(text) != c.want || c.body.Kind() != c.kind {
			t.Errorf("got %s %s, %v, want %s %s", c.body.Kind(), text, err, c.kind, c.want)
		}
		if _, err := l.Append(0, c.body); err == nil {
			t.Errorf("%s was appended without a seal", c.kind)
		}
		bodies = append(bodies, c.body)
	}
	if _, err := l.Commit(0, bodies...); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	o.Keys = &HostKeys{}
	for e, err := range ledger.Scan(path, o) {
		if err != nil {
			t.Fatal(err)
		}
		body, err := DecodeRegister(e)
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != ledger.KindSeal && !reflect.DeepEqual(body, bodies[e.Seq]) {
			t.Errorf("entry %d is %+v, want %+v", e.Seq, body, bodies[e.Seq])
		}
	}
	if _, err := DecodeRegister(ledger.Entry{Kind: KindTurnEnd}); err == nil || err.Error() != "entry turn.end: this version does not know the kind" {
		t.Errorf("got %v", err)
	}
}
