package host

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// anOrder is a work order for the package of the tests.
func anOrder() *policy.WorkOrder {
	return &policy.WorkOrder{ID: "WO-1", Packages: []policy.Named{{ID: "PKG-T3-TEST-001"}}}
}

// claimed lets every turn begin.
func claimed(context.Context, string, int) error { return nil }

func TestWorkOrderNarrows(t *testing.T) {
	b := newBench(t, map[string]string{"docs/a.md": "a", "docs/b.md": "b"})
	order := anOrder()
	order.Capabilities = &capability.Grants{Read: []string{"docs/a.md"}, Write: []string{"docs/a.md"}}
	a := ask{
		manifest: with(grants([]string{"docs/**"}, []string{"docs/**"}, nil), writes("docs/*.md?")),
		turn:     Turn{Narrow: policy.Narrow{WorkOrder: order}, Claim: claimed},
	}
	a.steps = []string{"read /docs/a.md", "read /docs/b.md", "write /docs/a.md A"}
	r := b.run(a)
	ok(t, r, "read /docs/a.md: a\nread /docs/b.md: open /docs/b.md: No such file or directory\nwrite /docs/a.md: done\n")
	if e := r.Evidence; e.WorkOrderID != "WO-1" || len(e.Hidden) != 1 || len(e.Withheld) < 2 ||
		e.Withheld[0] != "read but docs/a.md by work order WO-1" || e.Withheld[1] != "write but docs/a.md by work order WO-1" {
		t.Errorf("got %+v", e)
	}
	a.steps = []string{"write /docs/b.md B"}
	r = b.run(a)
	ended(t, r, "blocked", "violation", `the turn was blocked: the agent may not write "docs/b.md" (no grant of write by work order WO-1)`,
		"no grant allows it while that rule stands; nothing was published")
}

func TestWorkOrderRefuses(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b := newBench(t, nil)
	b.runner = must(NewRunner(t.Context(), Config{CacheDir: sharedCache(), Now: func() time.Time { return at }}))(t)
	defer b.runner.Close(t.Context())
	prepare := func(order *policy.WorkOrder, asOf time.Time) error {
		_, err := b.tryPrepare(ask{turn: Turn{Narrow: policy.Narrow{WorkOrder: order}, Claim: claimed, AsOf: asOf}})
		return err
	}
	var e *policy.WorkOrderError
	expired := anOrder()
	expired.Expires = at
	if err := prepare(expired, time.Time{}); !errors.As(err, &e) || e.What != "expired at 2026-01-02T03:04:05Z" {
		t.Errorf("got %v", err)
	}
	// The clock that counts is the host's, not the one an agent is shown.
	if err := prepare(expired, at.Add(-time.Hour)); !errors.As(err, &e) {
		t.Errorf("as of an earlier time: got %v", err)
	}
	other := anOrder()
	other.Packages[0].ID = "PKG-T3-OTHER-001"
	if err := prepare(other, time.Time{}); !errors.As(err, &e) || e.What != "does not name PKG-T3-TEST-001" {
		t.Errorf("got %v", err)
	}
	_, err := b.tryPrepare(ask{turn: Turn{Narrow: policy.Narrow{WorkOrder: anOrder()}}})
	refused(t, err, "nothing counts the turns of work order WO-1", "set Turn.Claim")
}

// A turn that could not be claimed is none: its session is as it was.
func TestClaim(t *testing.T) {
	b := newBench(t, nil)
	no := &policy.WorkOrderError{ID: "WO-1", What: "has no turn left"}
	var asked []int
	turn := Turn{Narrow: policy.Narrow{WorkOrder: anOrder()}, Claim: func(_ context.Context, id string, n int) error {
		asked = append(asked, n)
		if id != string(b.session.ID) {
			t.Errorf("asked for session %s, want %s", id, b.session.ID)
		}
		if len(asked) == 2 {
			return no
		}
		return nil
	}}
	blobs := func() int {
		return len(must(filepath.Glob(b.session.BlobDir() + "/*/*"))(t))
	}
	run := func() (*Result, error) {
		turn.Args = []string{fmt.Sprint(len(asked))}
		p := b.prepare(ask{turn: turn})
		b.session = b.open(p, ask{})
		return p.Run(t.Context(), b.session)
	}
	must(run())(t)
	head, kept := b.session.Exec.Head(), blobs()
	_, err := run()
	var refusal *ClaimError
	if !errors.As(err, &refusal) || !errors.Is(err, error(no)) || refusal.Error() != "work order WO-1 has no turn left" {
		t.Fatalf("got %v", err)
	}
	if n := blobs(); n != kept {
		t.Errorf("%d blobs, %d before", n, kept)
	}
	if b.session.Exec.Head() != head || b.session.Turns() != 1 {
		t.Errorf("the session went on: %+v, %d turns", b.session.Exec.Head(), b.session.Turns())
	}
	r := must(run())(t)
	if r.Number != 2 || len(asked) != 3 || asked[0] != 1 || asked[1] != 2 || asked[2] != 2 {
		t.Errorf("turn %d, asked for %v", r.Number, asked)
	}
	if err := b.session.Close(); err != nil {
		t.Fatal(err)
	}
	b.check(r, filepath.Dir(filepath.Join(b.sessionDir(r), "ledger", "x")), nil)
}

// No turn of a work order runs longer than that is good for.
func TestWorkOrderExpiresMeanwhile(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now := at
	b := newBench(t, nil)
	b.runner = must(NewRunner(t.Context(), Config{CacheDir: sharedCache(), Now: func() time.Time { return now }}))(t)
	defer b.runner.Close(t.Context())
	order := anOrder()
	order.Expires = at.Add(250 * time.Millisecond)
	turn := Turn{Narrow: policy.Narrow{WorkOrder: order}, Claim: claimed}
	r := b.run(ask{steps: []string{"loop"}, manifest: limits(members{"fuel": 1 << 40}), turn: turn, keep: true})
	ended(t, r, "error", "limit", "the agent took longer than its limit of 250ms", "nothing was published; work order WO-1 expired, and no turn of it runs longer")
	for e, err := range ledger.Read(filepath.Join(b.sessionDir(r), "ledger", record.ExecFile)) {
		if err != nil {
			t.Fatal(err)
		}
		var begin record.TurnBegin
		if e.Kind != record.KindTurnBegin {
			continue
		}
		if err := e.Decode(&begin); err != nil || begin.Limits.TimeMS != 250 {
			t.Errorf("got a limit of %d ms, %v", begin.Limits.TimeMS, err)
		}
	}
	// It may end while the turn is claimed.
	turn.Claim = func(context.Context, string, int) error { now = order.Expires; return nil }
	p := b.prepare(ask{manifest: limits(members{"fuel": 1 << 40}), turn: turn})
	_, err := p.Run(t.Context(), b.session)
	var e *policy.WorkOrderError
	if !errors.As(err, new(*ClaimError)) || !errors.As(err, &e) || e.What != "expired at 2026-01-02T03:04:05.25Z" {
		t.Errorf("got %v", err)
	}
	if err := b.session.Close(); err != nil {
		t.Fatal(err)
	}
}
