package register

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// accept records the heads that sessions have on the disk, as who repairs does.
func accept(t testing.TB, r *Register, heads map[string]Head) {
	t.Helper()
	for session, h := range heads {
		s, ok, err := r.Find(ctx, session)
		if err != nil {
			t.Fatal(err)
		}
		c := Change{Kind: record.KindSessionRepair, Session: session, Is: h}
		if ok {
			c.Was = &s.Head
		}
		if !ok || s.Head != h {
			must(t, r, c)
		}
	}
}

// usable makes sure that a repaired register verifies, and that SES-1 or SES-live
// can be gone on with in it.
func usable(t testing.TB, root string, heads map[string]Head) Report {
	t.Helper()
	accept(t, at(t, root, options()), heads)
	r := at(t, root, options())
	for session, h := range heads {
		must(t, r, Change{Kind: record.KindSessionHead, Session: session, Was: &h, Is: head(h.Size+1, "")})
	}
	report := verified(t, root)
	for session, h := range heads {
		if s := report.Sessions[session]; s.Size != h.Size+1 || s.Closed {
			t.Errorf("%s is %+v", session, s)
		}
	}
	return report
}

func TestRepairOfWhatIsWhole(t *testing.T) {
	for _, make := range []func(t testing.TB, root string){
		func(testing.TB, string) {},
		func(t testing.TB, root string) { five(t, root) },
		segmented,
	} {
		root := t.TempDir()
		make(t, root)
		before := verified(t, root)
		loss, err := at(t, root, options()).Repair(ctx)
		if err != nil || loss.Fault != nil || len(loss.Files)+len(loss.Sessions) > 0 {
			t.Errorf("got %+v, %v", loss, err)
		}
		if after := verified(t, root); after.Entries != before.Entries {
			t.Errorf("%d entries, were %d", after.Entries, before.Entries)
		}
	}
}

// TestRepair of every attack that leaves a broken register.
func TestRepair(t *testing.T) {
	for _, c := range attacks() {
		if c.name == "a link" {
			continue // it is refused: somebody is to look
		}
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			c.attack(t, root, five(t, root))
			_, verifyErr := verify(t, root)
			r := at(t, root, options())
			loss, err := r.Repair(ctx)
			if err != nil {
				t.Fatal(err)
			}
			broken := c.record != "" && c.record != "conflict"
			if (loss.Fault != nil) != broken || verifyErr != nil && loss.Fault.Error() != verifyErr.Error() {
				t.Errorf("fault is %v, want %v", loss.Fault, verifyErr)
			}
			report := verified(t, root)
			if broken && (len(loss.Files) != 1 || !strings.HasPrefix(loss.Files[0], "sessions.jsonl.torn-") || len(loss.Sessions) == 0 || report.Recovered != 1) {
				t.Errorf("got %+v, %d recovered", loss, report.Recovered)
			}
			for _, name := range loss.Files {
				if info, err := os.Stat(file(root, name)); err != nil || info.Size() == 0 {
					t.Errorf("%s: %v", name, err)
				}
			}
			must(t, r, opened("SES-new"))
			usable(t, root, map[string]Head{"SES-1": head(5, "")})
			if again, err := at(t, root, options()).Repair(ctx); err != nil || again.Fault != nil {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
}

func TestRepairOfSegments(t *testing.T) {
	for _, c := range segmentAttacks() {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			segmented(t, root)
			live := verified(t, root).Sessions["SES-live"].Head
			c.attack(t, root)
			loss, err := at(t, root, options()).Repair(ctx)
			if err != nil || loss.Fault == nil || len(loss.Sessions) == 0 && !strings.Contains(c.name, "removed") && c.name != "cut at a seal, and none after it" {
				t.Fatalf("got %+v, %v", loss, err)
			}
			usable(t, root, map[string]Head{"SES-live": live, "SES-old": head(2, "")})
			if again, err := at(t, root, options()).Repair(ctx); err != nil || again.Fault != nil {
				t.Errorf("again: %+v, %v", again, err)
			}
			// And after more segments.
			r := small(t, root, options())
			for n := live.Size + 1; n < live.Size+12; n++ {
				must(t, r, step("SES-live", n, n+1))
			}
			verified(t, root)
			if s := found(t, at(t, root, options()), "SES-none"); s != (State{}) {
				t.Errorf("got %+v", s)
			}
		})
	}
}

// TestRepairEndsAtEveryStep: it is gone on with by the next.
func TestRepairEndsAtEveryStep(t *testing.T) {
	for _, c := range segmentAttacks() {
		root := t.TempDir()
		segmented(t, root)
		live := verified(t, root).Sessions["SES-live"].Head
		c.attack(t, root)
		var roots []string
		o := options()
		o.Step = func(string) { roots = append(roots, copyOf(t, root)) }
		if _, err := at(t, root, o).Repair(ctx); err != nil {
			t.Fatal(err)
		}
		if len(roots) == 0 {
			t.Errorf("%s: %d steps", c.name, len(roots))
		}
		for _, root := range roots {
			if _, err := at(t, root, options()).Repair(ctx); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			usable(t, root, map[string]Head{"SES-live": live})
		}
	}
}

// TestRepairIsOfANewRegister: one that knows what was there does not forget it.
func TestRepairIsOfANewRegister(t *testing.T) {
	root := t.TempDir()
	texts := five(t, root)
	r := at(t, root, options())
	found(t, r, "SES-1")
	write(t, file(root, record.RegisterFile), texts[2])
	for range 2 {
		var bad *ledger.IntegrityError
		if _, err := r.Repair(ctx); !errors.As(err, &bad) {
			t.Errorf("got %v", err)
		}
	}
	if got := read(t, file(root, record.RegisterFile)); got != texts[2] {
		t.Error("it was changed")
	}
}
