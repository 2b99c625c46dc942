package host

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
)

// Sixteen sessions of one Runner work in one workspace. In each round all have
// seen one target before any of them ends, and each wants to replace it: exactly
// one does, and all others are blocked for the conflict. In their own folders
// nobody is in anybody's way, and what one session published in one turn it reads
// in the next, and no other ever does.
func TestSessionsContend(t *testing.T) {
	const sessions, rounds = 16, 3
	b := newBench(t, map[string]string{"docs/target": "first"})
	manifest := with(grants(nil, []string{"docs/target"}, nil), writes("out/**", "docs/target?"), limits(members{"time": "10m"}))
	all := make([]*session.Session, sessions)
	open := b.prepare(ask{manifest: manifest})
	defer open.Close()
	for i := range all {
		id := must(session.NewID(time.Now(), rand.Reader))(t)
		all[i] = must(b.root.Create(t.Context(), session.Opening{ID: id, Plane: "ho1", Open: open.Opening(), Seed: make([]byte, 32)}))(t)
		defer all[i].Leave()
	}
	own := make([]int, sessions) // turns of which it reads something
	for round := 1; round <= rounds; round++ {
		results := make([]*Result, sessions)
		var seen, done sync.WaitGroup
		seen.Add(sessions)
		for i, s := range all {
			a := ask{manifest: manifest, steps: []string{
				"read /out/count", "list /out", fmt.Sprintf("write /out/count %d of %d", round, i), fmt.Sprintf("write /docs/target %d by %d", round, i), "tell seen",
			}}
			a.turn.Stderr = &hook{do: func() { seen.Done(); seen.Wait() }}
			p := b.prepare(a)
			done.Go(func() {
				r, err := p.Run(t.Context(), s)
				if err != nil {
					t.Errorf("session %d, turn %d: %v", i, round, err)
					seen.Done()
				}
				results[i] = r
			})
		}
		done.Wait()
		if t.Failed() {
			return
		}
		winner := -1
		for i, r := range results {
			if r.Number != round || r.Session != string(all[i].ID) {
				t.Errorf("session %d, round %d: got turn %d of %s", i, round, r.Number, r.Session)
			}
			if r.Status != record.StatusOK {
				ended(t, r, "blocked", "conflict", `the turn was blocked: "docs/target" was changed since the turn first saw it`,
					"nothing was published; run it again on files that stay as they are")
				continue
			}
			if winner >= 0 {
				t.Errorf("round %d: sessions %d and %d published", round, winner, i)
			}
			winner = i
			read, listed := "open /out/count: No such file or directory", ""
			if own[i] > 0 {
				read, listed = fmt.Sprintf("%d of %d", own[i], i), "count"
			}
			ok(t, r, "read /out/count: "+read+"\nlist /out: "+listed+"\nwrite /out/count: done\nwrite /docs/target: done\n")
			own[i] = round
			if got, want := b.read(".agenthost/output/"+r.Session+"/count"), fmt.Sprintf("%d of %d", round, i); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody published", round)
		}
		if got, want := b.read("docs/target"), fmt.Sprintf("%d by %d", round, winner); got != want {
			t.Errorf("round %d: the target is %q, want %q", round, got, want)
		}
	}
	for i, s := range all {
		ledgers := filepath.Dir(s.BlobDir())
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		report, err := record.VerifySession(ledgers)
		if err != nil || len(report.Turns) != rounds || !report.Closed {
			t.Errorf("session %d: %+v, %v", i, report, err)
		}
		blocked, err := os.ReadDir(filepath.Join(ledgers, "../blocked"))
		if won := own[i] > 0; err != nil && !won || len(blocked) == 0 && !won {
			t.Errorf("session %d: what was blocked is not kept: %v", i, err)
		}
	}
}

// What each session writes only to its own folder is published by all, however
// many end at once.
func TestSessionsOfOneWorkspace(t *testing.T) {
	const sessions, turns = 16, 3
	b := newBench(t, nil)
	manifest := with(writes("out/**"), limits(members{"time": "10m"}))
	var all sync.WaitGroup
	for i := range sessions {
		steps := func(turn int) ask {
			return ask{manifest: manifest, steps: []string{"read /out/log", fmt.Sprintf("write /out/log %d.%d", i, turn), "random 8"}}
		}
		first := b.prepare(steps(1))
		id := must(session.NewID(time.Now(), rand.Reader))(t)
		s := must(b.root.Create(t.Context(), session.Opening{ID: id, Plane: "ho1", Open: first.Opening(), Seed: make([]byte, 32)}))(t)
		first.Close()
		all.Go(func() {
			defer s.Leave()
			random := map[string]bool{}
			for turn := 1; turn <= turns; turn++ {
				r, err := b.prepare(steps(turn)).Run(t.Context(), s)
				if err != nil || r.Status != record.StatusOK {
					t.Errorf("session %d, turn %d: %+v, %v", i, turn, r, err)
					return
				}
				want := "read /out/log: open /out/log: No such file or directory\n"
				if turn > 1 {
					want = fmt.Sprintf("read /out/log: %d.%d\n", i, turn-1)
				}
				want += "write /out/log: done\n"
				if got := string(r.Output); len(got) != len(want)+17 || got[:len(want)] != want {
					t.Errorf("session %d, turn %d: got %q, want %q", i, turn, got, want)
				} else {
					random[got[len(want):]] = true
				}
			}
			if len(random) != turns {
				t.Errorf("session %d: %d turns had %d random numbers", i, turns, len(random))
			}
			ledgers := filepath.Dir(s.BlobDir())
			if report, err := record.VerifySession(ledgers); err != nil || len(report.Turns) != turns {
				t.Errorf("session %d: %+v, %v", i, report, err)
			}
		})
	}
	all.Wait()
}
