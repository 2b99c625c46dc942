package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/audit/audittest"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

const (
	repairOpen   = "SES-20260201-open"
	repairClosed = "SES-20260202-closed"
)

// repairRoot is a root of two sessions of three turns each.
func repairRoot(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, path: filepath.Join(t.TempDir(), "workspace", session.DefaultRoot)}
	ok(t, os.Mkdir(filepath.Dir(f.path), 0o755))
	root := f.open()
	for _, id := range []session.ID{repairOpen, repairClosed} {
		var turns []audittest.Turn
		for n := range 3 {
			turns = append(turns, audittest.Turn{Writes: []audittest.File{{Path: "output/" + string(id) + "/x", Content: fmt.Sprint("of turn ", n)}}})
		}
		turns[1].Code = record.CodeUndeclaredWrite
		ok(t, audittest.Make(context.Background(), root, audittest.Session{ID: id, Plane: "ho1", Package: record.Package{ID: tool, Version: "1.0.0"}, Turns: turns, Open: id == repairOpen}))
	}
	ok(t, root.Close())
	return f
}

// behindTurn is where the seal of a turn's end stops.
func (f *fixture) behindTurn(name string, turn int) int64 {
	f.t.Helper()
	ended := false
	for e, err := range ledger.Read(f.abs(name)) {
		ok(f.t, err)
		if e.Turn == turn && (e.Kind == record.KindTurnEnd || e.Kind == record.KindTurnEvidence) {
			ended = true
		}
		if ended && e.Kind == ledger.KindSeal {
			return e.Offset + int64(len(e.Line)) + 1
		}
	}
	f.t.Fatal("no such turn")
	return 0
}

func (f *fixture) cutAt(name string, size int64) {
	f.t.Helper()
	ok(f.t, os.Truncate(f.abs(name), size))
}

func (f *fixture) flip(name string, at int) {
	f.t.Helper()
	b := bytes.Clone(f.read(name))
	b[at] ^= 1
	f.write(name, string(b))
}

// TestRepair damages sessions, and holds that repairing them asks first, loses
// nothing of what was there, and leaves sessions that verify and can be gone on with.
func TestRepair(t *testing.T) {
	whole := repairRoot(t)
	execOf := func(id string) string { return in(id, "ledger/exec.jsonl") }
	evidenceOf := func(id string) string { return in(id, "ledger/evidence.jsonl") }
	type damage struct {
		name    string
		do      func(f *fixture, id string)
		wrong   string // part of what is wrong
		turns   int    // that are kept
		anew    bool   // evidence was computed anew
		refused string
	}
	damages := []damage{
		{name: "nothing", do: func(*fixture, string) {}, turns: 3},
		{name: "a line of exec.jsonl is changed", do: func(f *fixture, id string) {
			f.flip(execOf(id), int(f.behindTurn(execOf(id), 1))+60)
		}, wrong: "exec.jsonl line", turns: 1},
		{name: "a seal is changed", do: func(f *fixture, id string) {
			b := f.read(execOf(id))
			f.flip(execOf(id), bytes.LastIndex(b[:f.behindTurn(execOf(id), 2)], []byte(`"sig":"`))+20)
		}, wrong: "hash does not match", turns: 1},
		{name: "a line is taken out and all hashes are made anew", do: func(f *fixture, id string) {
			lines := strings.SplitAfter(string(f.read(execOf(id))), "\n")
			lines = lines[:len(lines)-1]
			f.write(execOf(id), strings.Join(relink(append(lines[:8:8], lines[9:]...)), ""))
		}, wrong: "exec.jsonl", turns: 1},
		{name: "the end is cut within a turn", do: func(f *fixture, id string) { f.cutAt(execOf(id), f.behindTurn(execOf(id), 2)+50) }, wrong: "cut", turns: 2},
		{name: "rolled back", do: func(f *fixture, id string) {
			f.cutAt(execOf(id), f.behindTurn(execOf(id), 2))
			f.cutAt(evidenceOf(id), f.behindTurn(evidenceOf(id), 2))
		}, wrong: "the register knows", turns: 2},
		{name: "exec.jsonl is rolled back", do: func(f *fixture, id string) { f.cutAt(execOf(id), f.behindTurn(execOf(id), 1)) }, wrong: "exec.jsonl", turns: 1},
		{name: "a line of evidence is changed", do: func(f *fixture, id string) {
			f.flip(evidenceOf(id), int(f.behindTurn(evidenceOf(id), 1))+80)
		}, wrong: "evidence.jsonl line", turns: 3, anew: true},
		{name: "evidence is rolled back", do: func(f *fixture, id string) { f.cutAt(evidenceOf(id), f.behindTurn(evidenceOf(id), 2)) }, wrong: "cut off", turns: 3, anew: true},
		{name: "evidence is empty", do: func(f *fixture, id string) { f.cutAt(evidenceOf(id), 0) }, wrong: "evidence.jsonl", turns: 3, anew: true},
		{name: "evidence is gone", do: func(f *fixture, id string) { f.remove(evidenceOf(id)) }, wrong: "evidence.jsonl", turns: 3, anew: true},
		{name: "both are changed", do: func(f *fixture, id string) {
			f.flip(execOf(id), int(f.behindTurn(execOf(id), 2))+60)
			f.flip(evidenceOf(id), int(f.behindTurn(evidenceOf(id), 1))+80)
		}, wrong: "line", turns: 2, anew: true},
		{name: "the register is gone", do: func(f *fixture, _ string) { f.remove(registerPath("ho1")) }, wrong: "the register does not know", turns: 3},
		{name: "exec.jsonl is empty", do: func(f *fixture, id string) { f.cutAt(execOf(id), 0) }, refused: "nothing of it is proven"},
		{name: "a blob is changed", do: func(f *fixture, id string) { f.write(f.aBlob(id), "something else") }, refused: "erase a blob"},
	}
	r := rand.New(rand.NewPCG(6, 7))
	for _, file := range []func(string) string{execOf, evidenceOf} {
		for range 12 {
			at := r.IntN(1 << 20)
			damages = append(damages, damage{name: fmt.Sprintf("bit of %s %d", filepath.Base(file("x")), at), do: func(f *fixture, id string) {
				b := f.read(file(id))
				f.flip(file(id), at%len(b))
			}, turns: -1})
		}
	}
	for _, d := range damages {
		for _, id := range []session.ID{repairOpen, repairClosed} {
			t.Run(d.name+" "+string(id), func(t *testing.T) {
				f := whole.copy(t)
				d.do(f, string(id))
				root := f.open()
				before := f.files(in(string(id), ""))
				found, err := root.Examine(context.Background(), id)
				if got := f.files(in(string(id), "")); got != before {
					t.Fatal("to examine it changed it")
				}
				if d.refused != "" || d.turns < 0 && err != nil {
					_, again := root.Repair(context.Background(), id)
					if again == nil || !strings.Contains(again.Error(), d.refused) || f.files(in(string(id), "")) != before {
						t.Fatalf("got %v, want %q", again, d.refused)
					}
					return
				}
				ok(t, err)
				if (found.Fault == nil) != (d.wrong == "") && d.turns >= 0 || found.Fault != nil && !strings.Contains(found.Fault.Error(), d.wrong) {
					t.Fatalf("fault is %v, want %q", found.Fault, d.wrong)
				}
				done, err := root.Repair(context.Background(), id)
				ok(t, err)
				if d.turns >= 0 && found.Fault != nil && (done.Turns != d.turns || (done.Anew > 0) != d.anew) {
					t.Errorf("kept %d turns, anew up to %d; want %d, %v", done.Turns, done.Anew, d.turns, d.anew)
				}
				for _, l := range done.Lost {
					if info, err := os.Stat(f.abs(in(string(id), fmt.Sprintf("ledger/%s.torn-%d", l.File, l.Offset)))); err != nil || info.Size() != l.Length {
						t.Errorf("what was lost at %+v is not beside it: %v", l, err)
					}
				}
				f.repaired(root, id, found.Fault != nil)
				if again, err := root.Repair(context.Background(), id); err != nil || again.Fault != nil {
					t.Errorf("repaired again: %v %v", again.Fault, err)
				}
				s, _, err := root.Open(context.Background(), id)
				if errors.Is(err, session.ErrClosed) {
					return
				}
				ok(t, err)
				ok(t, s.Close())
				f.repaired(root, id, found.Fault != nil)
			})
		}
	}
}

// repaired holds that a session verifies, with its losses counted.
func (f *fixture) repaired(root *session.Root, id session.ID, lost bool) {
	f.t.Helper()
	verdicts, err := VerifyRoot(context.Background(), root, RootOptions{Session: id})
	ok(f.t, err)
	if len(verdicts) != 1 || verdicts[0].Word != Verified || (verdicts[0].Record.Accepted > 0) != lost {
		for _, v := range verdicts {
			f.t.Errorf("%s %s %v, %d accepted losses", v.Word, v.Session, v.Err, v.Record.Accepted)
		}
	}
}

// files are names and contents of a folder.
func (f *fixture) files(name string) string {
	f.t.Helper()
	out, err := exec.Command("sh", "-c", "cd \"$1\" && find . -type f | sort | xargs sha256sum", "sh", f.abs(name)).Output()
	ok(f.t, err)
	return string(out)
}

// TestRepairCutShort ends a repair at each of its steps: the next one finishes it.
func TestRepairCutShort(t *testing.T) {
	whole := repairRoot(t)
	type over struct{}
	for n := 0; ; n++ {
		f := whole.copy(t)
		for _, file := range []string{"ledger/exec.jsonl", "ledger/evidence.jsonl"} {
			f.flip(in(repairClosed, file), int(f.behindTurn(in(repairClosed, file), 1))+80)
		}
		f.flip(in(repairOpen, "ledger/evidence.jsonl"), 80)
		steps := 0
		root := f.openWith(session.Options{Step: func(string) {
			if steps++; steps > n {
				panic(over{})
			}
		}})
		cut := func() (cut bool) {
			defer func() {
				if r := recover(); r != nil {
					if _, is := r.(over); !is {
						panic(r)
					}
					cut = true
				}
			}()
			for _, id := range []session.ID{repairClosed, repairOpen} {
				ok(t, second(root.Repair(context.Background(), id)))
			}
			return false
		}()
		if !cut {
			if n < 10 {
				t.Errorf("there are %d steps only", n)
			}
			return
		}
		f = f.copy(t) // the locks of the one that ended stay with it
		root = f.open()
		for _, id := range []session.ID{repairClosed, repairOpen} {
			ok(t, second(root.Repair(context.Background(), id)))
			f.repaired(root, id, true)
		}
	}
}

// TestRepairRegisters flips bits of registers and of the ledgers that hosts seal, and
// takes registers away: what is repaired verifies, and one session that is broken
// hinders no other.
func TestRepairRegisters(t *testing.T) {
	whole := newPlane(t)
	r := rand.New(rand.NewPCG(8, 9))
	var wrong []func(f *fixture)
	for _, name := range []string{registerPath("ho1"), registerPath("ho2"), registerPath("ho3"), governancePath, ledgersTop + "/context.jsonl", claimsTop + "/WO-1.jsonl"} {
		for range 4 {
			at := r.IntN(1 << 20)
			wrong = append(wrong, func(f *fixture) { f.flip(name, at%len(f.read(name))) })
		}
	}
	wrong = append(wrong, func(f *fixture) { f.remove(registerPath("ho1")) }, func(f *fixture) {
		lines := strings.SplitAfter(string(f.read(governancePath)), "\n")
		f.write(governancePath, strings.Join(lines[:len(lines)-3], ""))
	})
	for i, do := range wrong {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			f := whole.copy(t)
			do(f)
			broken := in(sesTwo, "ledger/exec.jsonl")
			f.flip(broken, len(f.read(broken))/2)
			root := f.open()
			for _, of := range session.Planes() {
				others, _, err := plane.Standings(root, of)
				ok(t, err)
				before := f.files("planes/" + of)
				found, err := root.RepairRegister(context.Background(), of, others, false)
				ok(t, err)
				if f.files("planes/"+of) != before {
					t.Fatal("to look changed it")
				}
				done, err := root.RepairRegister(context.Background(), of, others, true)
				ok(t, err)
				if found.Fault != nil && of == "ho1" && (len(done.Left) != 1 || done.Left[sesTwo] == nil) {
					t.Errorf("left %v, want %s", done.Left, sesTwo)
				}
			}
			unrepaired := ""
			for _, name := range []string{governancePath, ledgersTop + "/context.jsonl", claimsTop + "/WO-1.jsonl"} {
				if _, err := plane.RepairLedger(context.Background(), root, name, true); err != nil {
					if !strings.Contains(err.Error(), "nothing of it is proven") {
						t.Fatal(err)
					}
					unrepaired = name
				}
			}
			verdicts, err := VerifyRoot(context.Background(), root, RootOptions{})
			ok(t, err)
			for _, v := range verdicts {
				if v.Word != Verified && v.Session != sesTwo && v.File != unrepaired && v.Session != sesPruned {
					t.Errorf("%s %s%s: %v", v.Word, v.Session, v.File, v.Err)
				}
			}
		})
	}
}
