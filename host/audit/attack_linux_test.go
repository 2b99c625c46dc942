package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/audit/audittest"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

const victim = "SES-20260101-victim"

// attacked is a session that somebody can write to, who has not the host's key.
type attacked struct {
	t    *testing.T
	dir  string // of its ledgers
	root *session.Root
	// What is known of it elsewhere: the head at each of its commits, from before the
	// attack.
	heads    []Registered
	register *Registered // as it is after the attack
}

// newAttacked makes a session of two turns.
func newAttacked(t *testing.T, closed bool) *attacked {
	t.Helper()
	a := &attacked{t: t}
	a.root, a.dir = makeVictim(t, closed, ledgertest.Host)
	for _, line := range a.lines(record.ExecFile) {
		var seal struct {
			Kind string
			ledger.Seal
		}
		ok(t, json.Unmarshal([]byte(line), &seal))
		if seal.Kind == ledger.KindSeal {
			a.heads = append(a.heads, Registered{seal.Size, seal.Root})
		}
	}
	last := a.heads[len(a.heads)-1]
	a.register = &last
	return a
}

func makeVictim(t *testing.T, closed bool, key func() (*ledger.Key, error)) (*session.Root, string) {
	t.Helper()
	root, err := session.OpenRoot(session.Options{Key: key, Workspace: t.TempDir()})
	ok(t, err)
	t.Cleanup(func() { root.Close() })
	file := func(content string) []audittest.File {
		return []audittest.File{{Path: "reports/a.md", Content: content}}
	}
	ok(t, audittest.Make(context.Background(), root, audittest.Session{
		ID: victim, Plane: "ho1", Package: record.Package{ID: tool, Version: "1.0.0"}, Open: !closed,
		Turns: []audittest.Turn{{Writes: file("one")}, {Reads: file("one"), Writes: file("two")}},
	}))
	return root, filepath.Dir(root.LedgerPath("ho1", victim, record.ExecFile))
}

func (a *attacked) lines(file string) []string {
	a.t.Helper()
	b, err := os.ReadFile(filepath.Join(a.dir, file))
	ok(a.t, err)
	return slices.Collect(strings.Lines(string(b)))
}

func (a *attacked) write(file string, lines []string) {
	a.t.Helper()
	ok(a.t, os.WriteFile(filepath.Join(a.dir, file), []byte(strings.Join(lines, "")), 0o600))
}

// exec rewrites exec.jsonl.
func (a *attacked) exec(change func([]string) []string) {
	a.t.Helper()
	a.write(record.ExecFile, change(a.lines(record.ExecFile)))
}

var sealSizes = regexp.MustCompile(`"size":[0-9]+,(.*)"prev_size":[0-9]+`)

// relink makes the chain of lines right again, and what seals say of their places:
// who lacks the key can do little more.
func relink(lines []string) []string {
	var out []string
	prev, sealed := strings.Repeat("0", 64), 0
	for i, line := range lines {
		head, _, _ := strings.Cut(line, `,"prev":"`)
		if strings.Contains(head, `,"kind":"seal",`) {
			head = sealSizes.ReplaceAllString(head, fmt.Sprintf(`"size":%d,$1"prev_size":%d`, i, sealed))
			sealed = i
		}
		_, rest, _ := strings.Cut(head, `,"ts":`)
		line = fmt.Sprintf(`{"v":1,"seq":%d,"ts":%s,"prev":"%s"`, i, rest, prev)
		prev = ledger.Sum([]byte("\x00" + line)).String()[len("sha256:"):]
		out = append(out, line+`,"hash":"`+prev+"\"}\n")
	}
	return out
}

// behind is the number of lines up to the n-th seal, that included.
func behind(lines []string, n int) int {
	for i, line := range lines {
		if strings.Contains(line, `,"kind":"seal",`) {
			if n--; n == 0 {
				return i + 1
			}
		}
	}
	return len(lines)
}

// rollBack takes both ledgers back to where they stood after a turn.
func (a *attacked) rollBack(turns int) {
	a.t.Helper()
	a.exec(func(l []string) []string { return l[:behind(l, 1+turns)] })
	evidence := a.lines(record.EvidenceFile)
	a.write(record.EvidenceFile, evidence[:behind(evidence, turns)*min(1, turns)])
}

// goOn appends to exec.jsonl as a process with a key that this host introduces for
// a session.
func (a *attacked) goOn(host *ledger.Key, id string) {
	a.t.Helper()
	key, process, err := record.NewProcessKey("ho1", id, host, bytes.NewReader(bytes.Repeat([]byte{9}, 32)))
	ok(a.t, err)
	o := record.ExecOptions(victim)
	o.Key, o.Origin = key, record.ExecOrigin("ho1", victim)
	log, err := ledger.Open(filepath.Join(a.dir, record.ExecFile), o)
	ok(a.t, err)
	_, err = log.Commit(0, record.SessionResume{ProcessKey: process})
	ok(a.t, errors.Join(err, log.Close()))
}

// The attacks of who can write to all files and has not the host's key, and which
// layer sees them: the chain by itself; the seals; the register; a receipt that was
// kept elsewhere. A layer that sees nothing has Verified.
func TestAttacks(t *testing.T) {
	const (
		seen    = Broken
		unseen  = Verified
		unknown = SignerUnknown
	)
	other, err := ledgertest.Other(2)
	ok(t, err)
	own, err := ledgertest.Host()
	ok(t, err)
	type layers struct{ chain, seals, register, receipt string }
	for _, c := range []struct {
		name   string
		closed bool
		attack func(*attacked)
		want   layers
		why    string // what the seals, else the register, else the receipt say
	}{
		{"nothing", false, func(*attacked) {}, layers{unseen, unseen, unseen, unseen}, ""},
		{"nothing, closed", true, func(*attacked) {}, layers{unseen, unseen, unseen, unseen}, ""},
		{
			"flip a bit", false, func(a *attacked) {
				a.exec(func(l []string) []string { l[3] = strings.Replace(l[3], "reports", "repnrts", 1); return l })
			},
			layers{seen, seen, seen, seen},
			"exec.jsonl line 4 (seq 3, byte BYTE): hash does not match: the line was changed after it was written",
		},
		{
			"delete a line", false, func(a *attacked) {
				a.exec(func(l []string) []string { return slices.Delete(l, 3, 4) })
			},
			layers{seen, seen, seen, seen},
			"exec.jsonl line 4 (seq 3, byte BYTE): seq is 4, want 3: a line was removed, repeated or moved",
		},
		{
			"swap two lines", false, func(a *attacked) {
				a.exec(func(l []string) []string { l[3], l[4] = l[4], l[3]; return l })
			},
			layers{seen, seen, seen, seen},
			"exec.jsonl line 4 (seq 3, byte BYTE): seq is 4, want 3: a line was removed, repeated or moved",
		},
		{
			"edit a line and rebuild every hash", false, func(a *attacked) {
				a.exec(func(l []string) []string { l[3] = strings.Replace(l[3], "reports", "repnrts", 1); return relink(l) })
			},
			layers{unseen, seen, seen, seen},
			"exec.jsonl line 7 (seq 6, byte BYTE): the seal signs the root ROOT, and that of the entries before it is ROOT: they were written anew",
		},
		{
			"delete a line and rebuild every hash", false, func(a *attacked) {
				a.exec(func(l []string) []string { return relink(slices.Delete(l, 3, 5)) })
			},
			layers{unseen, seen, seen, seen},
			"exec.jsonl line 5 (seq 4, byte BYTE): the seal signs the root ROOT, and that of the entries before it is ROOT: they were written anew",
		},
		{
			"edit a line and rebuild the roots of seals too", false, func(a *attacked) {
				a.exec(func(l []string) []string {
					l[3] = strings.Replace(l[3], "wasi", "abii", 1)
					l = relink(l)
					for range 3 { // a seal changes the roots behind it
						l = relink(reroot(l))
					}
					return l
				})
			},
			layers{unseen, seen, seen, seen},
			"",
		},
		{
			"strip all seals", false, func(a *attacked) {
				a.exec(func(l []string) []string {
					return relink(slices.DeleteFunc(l, func(line string) bool { return strings.Contains(line, `,"kind":"seal",`) }))
				})
			},
			layers{unseen, seen, seen, seen},
			"exec.jsonl line 1 (seq 0, byte 0): session.open counts only with a seal behind it, and there is turn.begin",
		},
		{
			"strip a seal", false, func(a *attacked) {
				a.exec(func(l []string) []string { i := behind(l, 2) - 1; return relink(slices.Delete(l, i, i+1)) })
			},
			layers{unseen, seen, seen, seen},
			"exec.jsonl line 6 (seq 5, byte BYTE): turn.end counts only with a seal behind it, and there is turn.begin",
		},
		{
			"strip the last seal", false, func(a *attacked) {
				a.exec(func(l []string) []string { return l[:len(l)-1] })
			},
			layers{unseen, unseen, seen, seen},
			"exec.jsonl line 12 (seq 11, byte BYTE): turn.end: the write that commits it was cut short: it has no seal, and the register knows 12: it was cut, or rolled back",
		},
		{ // more may follow the last commit of a session that is open; it does not count
			"forge behind the last seal", false, func(a *attacked) {
				a.exec(func(l []string) []string { return relink(append(l, strings.Replace(l[2], `"turn":1`, `"turn":3`, 1))) })
			},
			layers{unseen, unseen, unseen, unseen},
			"",
		},
		{
			"forge behind the last seal, closed", true, func(a *attacked) {
				a.exec(func(l []string) []string { return relink(append(l, strings.Replace(l[2], `"turn":1`, `"turn":3`, 1))) })
			},
			layers{unseen, seen, seen, seen},
			"exec.jsonl line 16 (seq 15, byte BYTE): turn.begin after session.close",
		},
		{
			"forge what may follow the last seal, closed", true, func(a *attacked) {
				a.exec(func(l []string) []string {
					line := strings.Replace(l[len(l)-2], `"kind":"session.close"`, `"kind":"erased"`, 1)
					return relink(append(l, strings.Replace(line, `"turns":2`, `"blob":"`+ledger.Sum([]byte("x")).String()+`","why":"forged"`, 1)))
				})
			},
			layers{unseen, seen, seen, seen},
			"exec.jsonl line 16 (seq 15, byte BYTE): the session was closed, and this lies behind its last seal: erased: the write that commits it was cut short: it has no seal",
		},
		{
			"truncate inside the last turn", false, func(a *attacked) {
				a.exec(func(l []string) []string { return l[:behind(l, 2)+2] })
			},
			layers{unseen, unseen, seen, seen},
			"exec.jsonl line 10 (seq 9, byte 0): the file ends after 9 entries, and the register knows 12: it was cut, or rolled back",
		},
		{
			"truncate inside a line", false, func(a *attacked) {
				a.exec(func(l []string) []string { last := len(l) - 1; l[last] = l[last][:99]; return l })
			},
			layers{unseen, unseen, seen, seen},
			"exec.jsonl line 12 (seq 11, byte BYTE): the last line has no end: a write was cut short, and the register knows 12: it was cut, or rolled back",
		},
		{
			"roll exec.jsonl back to an older seal", false, func(a *attacked) {
				a.exec(func(l []string) []string { return l[:behind(l, 2)] })
			},
			layers{unseen, unseen, seen, seen},
			"exec.jsonl line 8 (seq 7, byte 0): the file ends after 7 entries, and the register knows 12: it was cut, or rolled back",
		},
		{
			"roll exec.jsonl back by two", false, func(a *attacked) {
				a.exec(func(l []string) []string { return l[:behind(l, 1)] })
			},
			layers{unseen, seen, seen, seen},
			"evidence.jsonl line 1 (seq 0, byte 0): evidence of turns 1 to 2 was recorded, and exec.jsonl does not have these turns: it was cut",
		},
		{
			"roll evidence.jsonl back", false, func(a *attacked) {
				l := a.lines(record.EvidenceFile)
				a.write(record.EvidenceFile, l[:behind(l, 1)])
			},
			layers{unseen, seen, seen, seen},
			"exec.jsonl line 12 (seq 11, byte BYTE): turn 2 was committed with 3 entries of evidence.jsonl, which has 2: its end was cut off",
		},
		{
			"roll both back to an older seal", false, func(a *attacked) { a.rollBack(1) },
			layers{unseen, unseen, seen, seen},
			"exec.jsonl line 8 (seq 7, byte 0): the file ends after 7 entries, and the register knows 12: it was cut, or rolled back",
		},
		{
			"roll both back to before the close", true, func(a *attacked) {
				a.exec(func(l []string) []string { return l[:behind(l, 3)] })
				l := a.lines(record.EvidenceFile)
				a.write(record.EvidenceFile, l[:behind(l, 2)])
			},
			layers{unseen, unseen, seen, seen},
			"exec.jsonl line 14 (seq 13, byte 0): the file ends after 13 entries, and the register knows 14: it was cut, or rolled back",
		},
		{
			"roll both back, and the register", false, func(a *attacked) { a.rollBack(1); a.register = &a.heads[1] },
			layers{unseen, unseen, unseen, seen},
			"exec.jsonl line 8 (seq 7, byte 0): the file ends after 7 entries, and the receipt receipt.txt knows 12: it was cut, or rolled back",
		},
		{ // the last commit may be one that the register did not take before a crash
			"replay the register of a commit before", false, func(a *attacked) { a.register = &a.heads[1] },
			layers{unseen, unseen, unseen, unseen},
			"",
		},
		{
			"replay an old register", false, func(a *attacked) { a.register = &a.heads[0] },
			layers{unseen, unseen, seen, unseen},
			"exec.jsonl line 13 (seq 12, byte BYTE): the register knows 1 entries, and 2 commits follow them: the register was rolled back, or the session went on elsewhere",
		},
		{
			"replay a register from before the session", false, func(a *attacked) { a.register = &Registered{} },
			layers{unseen, unseen, seen, unseen},
			"exec.jsonl line 6 (seq 5, byte BYTE): the session has turns, and the register does not know it: the register was rolled back, or the session was put here",
		},
		{
			"a register of another history", false, func(a *attacked) { a.register = &Registered{a.heads[1].Size, ledger.Sum([]byte("x"))} },
			layers{unseen, unseen, seen, unseen},
			"exec.jsonl line 6 (seq 5, byte BYTE): the 6 entries up to here have the root ROOT, and the register knows ROOT: they were written anew",
		},
		{
			"go on with the key of another host", false, func(a *attacked) { a.goOn(other, victim) },
			layers{unseen, unknown, unknown, unknown},
			"the session was sealed by a host that is not trusted here, " + other.Verifier().String(),
		},
		{
			"roll back and go on with the key of another host", false, func(a *attacked) { a.rollBack(1); a.goOn(other, victim) },
			layers{unseen, unknown, seen, seen},
			"the session was sealed by a host that is not trusted here, " + other.Verifier().String(),
		},
		{
			"go on with a key of another session", false, func(a *attacked) { a.goOn(own, "SES-20260101-other") },
			layers{unseen, seen, seen, seen},
			"exec.jsonl line 14 (seq 13, byte BYTE): the key is called \"agenthost/ho1/SES-20260101-other\", want agenthost/ho1/SES-20260101-victim",
		},
		{
			"seal with a key of this session that nothing introduces", false, func(a *attacked) {
				key, _, err := record.NewProcessKey("ho1", victim, own, bytes.NewReader(bytes.Repeat([]byte{9}, 32)))
				ok(a.t, err)
				o := record.ExecOptions(victim)
				o.Key, o.Origin = key, record.ExecOrigin("ho1", victim)
				log, err := ledger.Open(filepath.Join(a.dir, record.ExecFile), o)
				ok(a.t, err)
				_, err = log.Commit(0)
				ok(a.t, errors.Join(err, log.Close()))
			},
			layers{unseen, seen, seen, seen},
			"exec.jsonl line 14 (seq 13, byte BYTE): the seal does not count: another key signed it",
		},
		{
			"write all of it anew as another host", false, func(a *attacked) {
				_, dir := makeVictim(a.t, false, func() (*ledger.Key, error) { return other, nil })
				a.dir = dir
			},
			layers{unseen, unknown, seen, seen},
			"the session was sealed by a host that is not trusted here, " + other.Verifier().String(),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAttacked(t, c.closed)
			receipt := a.receipt()
			c.attack(a)
			trusted, err := ledgertest.Hosts()
			ok(t, err)
			known := Known{Session: victim, Plane: "ho1", Trusted: trusted}
			seals := VerifySession(a.dir, known)
			known.Registered = a.register
			register := VerifySession(a.dir, known)
			known.Registered, known.Receipts = nil, []Receipt{receipt}
			kept := VerifySession(a.dir, known)
			if got := (layers{a.chain(), seals.Word, register.Word, kept.Word}); got != c.want {
				t.Errorf("got  %v\nwant %v\n%v\n%v\n%v", got, c.want, seals.Err, register.Err, kept.Err)
			}
			for _, v := range []Verdict{seals, register, kept} {
				if v.Err == nil || c.why == "" {
					continue
				}
				if got := plainReason(v.Err); got != c.why {
					t.Errorf("got  %s\nwant %s", got, c.why)
				}
				break
			}
			if register.Registered != (register.Word == Verified && a.register.Size > 0) && register.Word != SignerUnknown {
				t.Errorf("got registered %v with %s", register.Registered, register.Word)
			}
		})
	}
}

// plainReason is an error without what differs each time.
func plainReason(err error) string {
	words := strings.Fields(err.Error())
	for i, w := range words {
		switch {
		case strings.HasPrefix(w, "sha256:"):
			words[i] = "ROOT" + w[len("sha256:")+64:]
		case i > 0 && words[i-1] == "byte" && w != "0):":
			words[i] = "BYTE):"
		}
	}
	return strings.Join(words, " ")
}

// chain is what who knows no keys says.
func (a *attacked) chain() string {
	for _, file := range []string{record.ExecFile, record.EvidenceFile} {
		var bad *ledger.IntegrityError
		_, err := ledger.Verify(filepath.Join(a.dir, file), ledger.Options{MaxEntry: record.MaxEvidence})
		if errors.As(err, &bad) {
			return Broken
		}
		ok(a.t, err)
	}
	return Verified
}

// receipt is that of the last commit.
func (a *attacked) receipt() Receipt {
	a.t.Helper()
	host, err := ledgertest.Host()
	ok(a.t, err)
	report, err := record.VerifySession(a.dir)
	ok(a.t, err)
	c := report.Exec.Checkpoint
	ok(a.t, c.Sign(host))
	r, err := ParseReceipt("receipt.txt", []byte(c.String()), []ledger.Verifier{host.Verifier()})
	ok(a.t, err)
	return r
}

// reroot gives seals the roots of what is before them now.
func reroot(lines []string) []string {
	var tree ledger.Tree
	out := slices.Clone(lines)
	for i, line := range lines {
		if before, rest, found := strings.Cut(line, `"root":"`); found && strings.Contains(line, `,"kind":"seal",`) {
			_, after, _ := strings.Cut(rest, `"`)
			out[i] = before + `"root":"` + tree.Root().String() + `"` + after
		}
		_, hash, _ := strings.Cut(line, `,"hash":"`)
		h, err := ledger.ParseHash("sha256:" + hash[:64])
		if err != nil {
			panic(err)
		}
		tree.Add(h)
	}
	return out
}
