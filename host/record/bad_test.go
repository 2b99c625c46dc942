package record

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

const bad = "../../testdata/ledgers/bad"

// forgery is a session in the hands of one who changes its files: their lines
// without prev and hash, which he can always make anew.
type forgery struct {
	t              *testing.T
	exec, evidence []string
}

// attacks are what can be done to a session of two turns, by two processes, which
// is closed:
//
//	exec.jsonl      0 session.open 1 seal  2 turn.begin 3 op 4 turn.end 5 seal  6 session.resume 7 seal
//	                8 turn.begin 9 op 10 turn.end 11 seal  12 session.close 13 seal
//	evidence.jsonl  0 turn.evidence 1 seal  2 turn.evidence 3 seal  4 seal
//
// First with the lines, then with the bytes of the files.
var attacks = []struct {
	name  string
	lines func(*forgery)
	bytes func(map[string][]byte)
}{
	{"honest", nil, nil},
	{"honest-open", (*forgery).reopen, nil},
	{"flipped-bit", nil, func(f map[string][]byte) { f[ExecFile][3000] ^= 1 }},
	{"deleted-line", nil, func(f map[string][]byte) { f[ExecFile] = without(f[ExecFile], 3) }},
	{"swapped-lines", nil, func(f map[string][]byte) {
		all := splitAfter(f[ExecFile])
		all[2], all[3] = all[3], all[2]
		f[ExecFile] = bytes.Join(all, nil)
	}},
	{"edited-and-hashed", func(f *forgery) {
		f.exec[3] = replace(f.t, f.exec[3], "docs/a.md", "docs/b.md")
		f.reseal(nil, nil)
	}, nil},
	{"deleted-and-hashed", func(f *forgery) {
		f.exec = slices.Delete(f.exec, 3, 4)
		f.reseal(nil, nil)
	}, nil},
	// No evidence stands on the last entry: nothing but its seal shows these.
	{"edited-end-and-hashed", func(f *forgery) {
		f.exec[12] = replace(f.t, f.exec[12], `"mono_ns":`, `"mono_ns":1`)
		f.reseal(nil, nil)
	}, nil},
	{"edited-end-and-sealed-by-another-key", func(f *forgery) {
		f.exec[12] = replace(f.t, f.exec[12], `"mono_ns":`, `"mono_ns":1`)
		another := must(ledger.NewKey("agenthost/ho1/"+sid, source(7)))
		f.reseal(func(i int) *ledger.Key {
			if i == 13 {
				return another
			}
			return f.ours(i)
		}, nil)
	}, nil},
	{"made-anew-by-another-host", func(f *forgery) {
		b := newBuilder(f.t, f.t.TempDir())
		b.another(2)
		b.small()
		f.exec, f.evidence = heads(b.lines(ExecFile)), heads(b.lines(EvidenceFile))
	}, nil},
	{"made-anew-under-the-name-of-the-host", func(f *forgery) {
		b := newBuilder(f.t, f.t.TempDir())
		name := b.host.String()
		b.another(2)
		b.key.Host = name
		b.small()
		f.exec, f.evidence = heads(b.lines(ExecFile)), heads(b.lines(EvidenceFile))
	}, nil},
	{"seals-stripped", func(f *forgery) {
		isSeal := func(head string) bool { return strings.Contains(head, `"kind":"seal"`) }
		f.exec, f.evidence = slices.DeleteFunc(f.exec, isSeal), slices.DeleteFunc(f.evidence, isSeal)
		f.reseal(nil, nil)
	}, nil},
	{"seal-removed", func(f *forgery) {
		f.exec = slices.Delete(f.exec, 5, 6)
		f.reseal(nil, nil)
	}, nil},
	// Those who have the keys of the processes cannot do without the rules.
	{"seal-that-skips-one", func(f *forgery) {
		f.reseal(f.ours, func(i int, s *ledger.Seal) {
			if i == 11 {
				s.PrevSize = 5
			}
		})
	}, nil},
	{"seal-of-another-root", func(f *forgery) {
		f.reseal(f.ours, func(i int, s *ledger.Seal) {
			if i == 11 {
				s.Root = hashOf("another")
			}
		})
	}, nil},
	{"seal-by-an-older-key", func(f *forgery) {
		f.reseal(func(i int) *ledger.Key {
			if i > 10 {
				i = 0
			}
			return f.ours(i)
		}, nil)
	}, nil},
	{"evidence-sealed-by-an-older-key", func(f *forgery) {
		var tree ledger.Tree
		for i := range 4 {
			tree.Add(lastHash(f.evidence[:i+1]))
		}
		c := ledger.Checkpoint{Origin: EvidenceOrigin("ho1", sid), Size: 4, Root: tree.Root()}
		sig := must(f.ours(0).Sign(c.Text()))
		f.evidence[4] = regexp.MustCompile(`"sig":"[^"]*"`).ReplaceAllLiteralString(f.evidence[4], `"sig":"`+sig+`"`)
	}, nil},
	{"seal-that-is-not-final", func(f *forgery) {
		f.reseal(f.ours, func(i int, s *ledger.Seal) { s.Final = false })
	}, nil},
	{"seal-behind-the-final-one-that-is-not", func(f *forgery) {
		f.exec = append(f.exec, strings.TrimSuffix(f.exec[13], `,"final":true`))
		f.reseal(f.ours, nil)
	}, nil},
	{"entry-behind-the-final-seal", func(f *forgery) {
		f.exec = append(f.exec, f.exec[8])
		f.reseal(nil, nil)
	}, nil},
	{"entry-behind-the-last-seal", func(f *forgery) {
		f.reopen()
		f.exec = append(f.exec, replace(f.t, f.exec[8], `"turn":2`, `"turn":3`))
		f.reseal(nil, nil)
	}, nil},
	{"cut-in-a-turn", func(f *forgery) { f.exec, f.evidence = f.exec[:10], f.evidence[:3] }, nil},
	{"cut-before-the-final-seal", func(f *forgery) { f.exec = f.exec[:13] }, nil},
	{"evidence-rolled-back", func(f *forgery) { f.evidence = f.evidence[:2] }, nil},
	{"rolled-back", func(f *forgery) { f.exec, f.evidence = f.exec[:6], f.evidence[:2] }, nil},
	{"deleted", nil, func(f map[string][]byte) { clear(f) }},
}

// reopen takes the end off again.
func (f *forgery) reopen() { f.exec, f.evidence = f.exec[:12], f.evidence[:4] }

var (
	seqOf  = regexp.MustCompile(`^\{"v":1,"seq":\d+`)
	sealOf = regexp.MustCompile(`,"size":\d+,"root":"sha256:[0-9a-f]{64}","prev_size":\d+,"sig":"([^"]*)"(,"final":true)?$`)
)

// reseal numbers the lines and makes size, root and prev_size of each seal of
// exec.jsonl what they are now. Key says who signs the seal in line i; if it is nil
// the signatures stay. Change, if any, comes before.
func (f *forgery) reseal(key func(i int) *ledger.Key, change func(i int, s *ledger.Seal)) {
	var (
		tree ledger.Tree
		last uint64
	)
	for _, all := range [][]string{f.exec, f.evidence} {
		for i := range all {
			all[i] = seqOf.ReplaceAllString(all[i], fmt.Sprintf(`{"v":1,"seq":%d`, i))
		}
	}
	for i, head := range f.exec {
		if m := sealOf.FindStringSubmatch(head); m != nil {
			s := ledger.Seal{Size: uint64(i), Root: tree.Root(), PrevSize: last, Sig: m[1], Final: m[2] != ""}
			if change != nil {
				change(i, &s)
			}
			if key != nil {
				s.Sig = must(key(i).Sign(ledger.Checkpoint{Origin: ExecOrigin("ho1", sid), Size: s.Size, Root: s.Root}.Text()))
			}
			own := must(ledger.Encode(s))
			head = sealOf.ReplaceAllLiteralString(head, ","+string(own[1:len(own)-1]))
			last = uint64(i)
		}
		f.exec[i] = head
		tree.Add(lastHash(f.exec[:i+1]))
	}
}

// ours are the keys of the session's processes.
func (f *forgery) ours(line int) *ledger.Key {
	n := byte(101)
	if line > 6 {
		n++
	}
	key, _, err := NewProcessKey("ho1", sid, must(ledgertest.Host()), source(n))
	if err != nil {
		f.t.Fatal(err)
	}
	return key
}

// another begins once more, on another host.
func (b *builder) another(n byte) {
	b.t.Helper()
	err := errors.Join(b.exec.Close(), b.evidence.Close(), os.Remove(filepath.Join(b.dir, ExecFile)), os.Remove(filepath.Join(b.dir, EvidenceFile)))
	if err != nil {
		b.t.Fatal(err)
	}
	b.host, b.keys = must(ledgertest.Other(n)), 0
	b.ledgers(ledger.Create)
}

// lastHash is that of the last of these lines.
func lastHash(heads []string) ledger.Hash {
	all := chain(heads)
	return must(ledger.ParseHash("sha256:" + string(all[len(all)-67:len(all)-3])))
}

func replace(t *testing.T, s, old, with string) string {
	t.Helper()
	if strings.Count(s, old) != 1 {
		t.Fatalf("%q is not there once: %s", old, s)
	}
	return strings.Replace(s, old, with, 1)
}

func without(b []byte, line int) []byte {
	all := splitAfter(b)
	return bytes.Join(slices.Delete(all, line, line+1), nil)
}

// small writes the session of attacks, and returns the checkpoint of turn 2.
func (b *builder) small() ledger.Checkpoint {
	turn := func() {
		b.turn++
		b.begun = b.append(b.exec, b.turn, TurnBegin{
			RightsSHA256: hashOf("rights"), PolicySHA256: hashOf("policy"), AsOf: "2026-01-02T03:04:05.000Z", Limits: testLimits,
			Granted: capability.Grants{Read: []string{"docs/**"}},
		})
		b.op(Op{Op: OpOpen, Path: "docs/a.md", Flags: "read", Decision: Granted, Rule: "docs/**", Size: ptr[int64](5), SHA256: ptr(hashOf("alpha"))})
		b.end(TurnEnd{Status: StatusOK, Exit: ptr[int64](0)})
	}
	b.open()
	turn()
	b.resume()
	turn()
	c, _ := b.exec.Sealed()
	b.close()
	return c
}

// TestAttacks holds the ledgers in testdata/ledgers/bad, and what is said of each,
// to what it writes: by this package and by the verifier in another language,
// without a receipt and with one, the checkpoint of turn 2.
func TestAttacks(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	receipt := b.small()
	honest := files(t, b.dir)
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(bad, name)
		if *update {
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("%s is not what it was, %v; run the test with -update and look at the difference", path, err)
		}
	}
	if *update {
		if err := os.RemoveAll(bad); err != nil {
			t.Fatal(err)
		}
	}
	if err := receipt.Sign(b.host); err != nil {
		t.Fatal(err)
	}
	write("receipt", receipt.String())
	write("host", b.host.Verifier().String()+"\n")
	verdicts := "What is said of each ledger here when it is not in use, and with the receipt if that is something else.\n"
	for _, a := range attacks {
		f := &forgery{t: t, exec: heads(b.lines(ExecFile)), evidence: heads(b.lines(EvidenceFile))}
		if a.lines != nil {
			a.lines(f)
		}
		content := map[string][]byte{ExecFile: chain(f.exec), EvidenceFile: chain(f.evidence)}
		if a.bytes != nil {
			a.bytes(content)
		}
		for name, whole := range honest {
			if strings.HasPrefix(name, "/"+BlobFolder) {
				write(a.name+name, whole)
			}
		}
		for name, whole := range content {
			write(a.name+"/"+name, string(whole))
		}
		dir := filepath.Join(bad, a.name)
		alone, why := verdict(t, dir, ledger.Checkpoint{}, b.host.Verifier())
		verdicts += fmt.Sprintf("\n%s\n  %s%s\n", a.name, alone, why)
		other(t, alone, "--trust", b.host.String(), dir)
		if alone == ledgertest.Broken {
			continue
		}
		kept, why := verdict(t, dir, receipt, b.host.Verifier())
		if kept != alone {
			verdicts += fmt.Sprintf("  with the receipt: %s%s\n", kept, why)
		}
		other(t, kept, "--trust", b.host.String(), "--receipt", filepath.Join(bad, "receipt"), dir)
	}
	write("verdicts", verdicts)
}

// verdict is what this package says of a session that is not in use.
func verdict(t *testing.T, dir string, receipt ledger.Checkpoint, host ledger.Verifier) (ledgertest.Verdict, string) {
	t.Helper()
	var o VerifyOptions
	if receipt.Size > 0 {
		o.Anchors = []ledger.Anchor{{Size: receipt.Size, Root: receipt.Root, Source: "the receipt"}}
	}
	report, err := ObserveSession(dir, o)
	var bad *ledger.IntegrityError
	if errors.As(err, &bad) {
		return ledgertest.Broken, ": " + err.Error()
	} else if err != nil {
		t.Fatal(err)
	}
	for i, r := range []ledger.Report{report.Exec, report.Evidence} {
		if r.Torn != nil {
			return ledgertest.Broken, ": " + r.Torn.Error()
		}
		if r.Sealed < r.Entries {
			return ledgertest.Broken, fmt.Sprintf(": %s: only %d of %d entries are sealed", []string{ExecFile, EvidenceFile}[i], r.Sealed, r.Entries)
		}
	}
	if CheckHosts(dir, report.Hosts, []ledger.Verifier{host}) != nil {
		return ledgertest.SignerUnknown, ""
	}
	return ledgertest.Verified, ""
}
