package register

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rebuild makes every seq, prev and hash right again, as anybody can.
func rebuild(lines []string) string {
	var b strings.Builder
	prev := strings.Repeat("0", 64)
	for i, line := range lines {
		_, rest, _ := strings.Cut(line, `,"ts":`)
		rest = rest[:strings.LastIndex(rest, `,"prev":"`)]
		body := fmt.Sprintf(`{"v":1,"seq":%d,"ts":%s,"prev":"%s"`, i, rest, prev)
		prev = fmt.Sprintf("%x", sha256.Sum256([]byte("\x00"+body)))
		fmt.Fprintf(&b, "%s,\"hash\":\"%s\"}\n", body, prev)
	}
	return b.String()
}

func linesOf(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

// forge appends to the register as somebody who has another key does.
func forge(t testing.TB, root string, introduce bool, bodies ...ledger.Body) {
	t.Helper()
	key, err := ledgertest.Other(7)
	if err != nil {
		t.Fatal(err)
	}
	path := file(root, record.RegisterFile)
	b := newBook("ho1", path)
	l, err := ledger.Open(path, b.options())
	if err != nil {
		t.Fatal(err)
	}
	if introduce {
		bodies = append([]ledger.Body{record.HostKey{Origin: b.keys.Origin(), Key: key.Verifier().String()}}, bodies...)
	}
	l.Sign(key, b.keys.Origin())
	if _, err := l.Commit(0, bodies...); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// five is a register of two sessions, SES-1 with the heads 2 to 5, and what its
// file was at each.
func five(t testing.TB, root string) (texts []string) {
	t.Helper()
	r := at(t, root, options())
	for _, c := range []Change{opened("SES-2"), opened("SES-1"), step("SES-1", 2, 3), step("SES-1", 3, 4), step("SES-1", 4, 5)} {
		must(t, r, c)
		texts = append(texts, read(t, file(root, record.RegisterFile)))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return texts
}

// forgedHead is an entry that rolls SES-1 back.
func forgedHead(size, was uint64) ledger.Body {
	return record.RegisterRepair{Registered: record.Registered{Session: "SES-1", Size: size, Root: head(size, "").Root, WasSize: was}}
}

// An attack on the register of five that nobody has open: what who opens it then says
// of the session's next head, and what Verify says.
type attack struct {
	name   string
	attack func(t *testing.T, root string, texts []string)
	record string // error of Record, "" if the attack is not one; "conflict" for that
	verify string // error of Verify
}

func attacks() []attack {
	line := func(n int) string { return fmt.Sprintf("sessions.jsonl line %d (seq %d, byte ", n, n-1) }
	return []attack{
		{"none", func(*testing.T, string, []string) {}, "", ""},
		{"an older register", func(t *testing.T, root string, texts []string) {
			write(t, file(root, record.RegisterFile), texts[3])
		}, "conflict", ""},
		{"removed", func(t *testing.T, root string, _ []string) {
			if err := os.Remove(file(root, record.RegisterFile)); err != nil {
				t.Fatal(err)
			}
		}, "conflict", ""},
		{"a digit changed", func(t *testing.T, root string, texts []string) {
			write(t, file(root, record.RegisterFile), strings.Replace(texts[4], `"size":5,`, `"size":6,`, 1))
		}, line(10) + "", line(10)},
		{"edited, and all hashes rebuilt", func(t *testing.T, root string, texts []string) {
			lines := linesOf(texts[4])
			lines[7] = strings.Replace(lines[7], `"size":4`, `"size":6`, 1)
			write(t, file(root, record.RegisterFile), rebuild(lines))
		}, line(9), line(9)},
		{"an entry with its seal removed, and all hashes rebuilt", func(t *testing.T, root string, texts []string) {
			write(t, file(root, record.RegisterFile), rebuild(slices.Delete(linesOf(texts[4]), 5, 7)))
		}, line(7), line(7)},
		{"an entry removed", func(t *testing.T, root string, texts []string) {
			write(t, file(root, record.RegisterFile), strings.Join(slices.Delete(linesOf(texts[4]), 5, 6), "\n")+"\n")
		}, line(6), line(6)},
		{"all seals stripped", func(t *testing.T, root string, texts []string) {
			lines := slices.DeleteFunc(linesOf(texts[4]), func(l string) bool { return strings.Contains(l, `"kind":"seal"`) })
			write(t, file(root, record.RegisterFile), rebuild(lines))
		}, "conflict", ""},
		{"the last seal stripped", func(t *testing.T, root string, texts []string) {
			lines := linesOf(texts[4])
			write(t, file(root, record.RegisterFile), rebuild(lines[:len(lines)-1]))
		}, "conflict", ""},
		{"a seal in the middle stripped", func(t *testing.T, root string, texts []string) {
			write(t, file(root, record.RegisterFile), rebuild(slices.Delete(linesOf(texts[4]), 6, 7)))
		}, line(8), line(8)},
		{"a head by somebody's key", func(t *testing.T, root string, _ []string) {
			forge(t, root, false, forgedHead(4, 5))
		}, line(13), line(13)},
		{"a head by somebody's key, introduced", func(t *testing.T, root string, _ []string) {
			forge(t, root, true, forgedHead(4, 5))
		}, "the register of ho1 was sealed by a host that is not trusted here, agenthost/host+", ""},
		{"all by somebody's key", func(t *testing.T, root string, _ []string) {
			if err := os.RemoveAll(file(root, ".")); err != nil {
				t.Fatal(err)
			}
			o := options()
			o.Key = func() (*ledger.Key, error) { return ledgertest.Other(7) }
			must(t, at(t, root, o), opened("SES-1"))
		}, "the register of ho1 was sealed by a host that is not trusted here, agenthost/host+", ""},
		{"a head that skips one, by the host itself", func(t *testing.T, root string, _ []string) {
			o := record.RegisterOptions()
			b := newBook("ho1", "")
			o.Keys = &b.keys
			l, err := ledger.Open(file(root, record.RegisterFile), o)
			if err != nil {
				t.Fatal(err)
			}
			key, err := ledgertest.Host()
			if err != nil {
				t.Fatal(err)
			}
			l.Sign(key, b.keys.Origin())
			if _, err := l.Commit(0, forgedHead(7, 6)); err != nil {
				t.Fatal(err)
			}
			l.Close()
		}, line(12), line(12)},
		{"the register of another plane", func(t *testing.T, root string, _ []string) {
			from := t.TempDir()
			r := at(t, from, options())
			r.place = placeOf("ho3")
			must(t, r, opened("SES-1"))
			if err := os.Rename(filepath.Join(from, "planes/ho3/ledger/sessions.jsonl"), file(root, record.RegisterFile)); err != nil {
				t.Fatal(err)
			}
		}, line(1), line(1)},
		{"a link", func(t *testing.T, root string, _ []string) {
			path := file(root, record.RegisterFile)
			if err := errors.Join(os.Rename(path, path+".other"), os.Symlink(path+".other", path)); err != nil {
				t.Fatal(err)
			}
		}, "open ", "open "},
	}
}

func TestAttacks(t *testing.T) {
	for _, c := range attacks() {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			texts := five(t, root)
			c.attack(t, root, texts)
			_, verifyErr := verify(t, root)
			before, _ := os.ReadFile(file(root, record.RegisterFile))
			r := at(t, root, options())
			err := r.Record(ctx, step("SES-1", 5, 6))
			var conflict *ConflictError
			switch {
			case c.record == "conflict" && !errors.As(err, &conflict),
				c.record == "" && err != nil,
				c.record != "" && c.record != "conflict" && (err == nil || !strings.HasPrefix(err.Error(), c.record)):
				t.Errorf("recorded with %v, want %s", err, c.record)
			}
			if c.verify == "" && verifyErr != nil || c.verify != "" && (verifyErr == nil || !strings.HasPrefix(verifyErr.Error(), c.verify)) {
				t.Errorf("verified with %v, want %s", verifyErr, c.verify)
			}
			if c.record == "" || c.record == "conflict" {
				return
			}
			if again := r.Record(ctx, opened("SES-3")); again == nil || again.Error() != err.Error() {
				t.Errorf("then %v", again)
			}
			if after, _ := os.ReadFile(file(root, record.RegisterFile)); !bytes.Equal(before, after) {
				t.Error("the register was changed")
			}
		})
	}
}

// TestAttacksOnALiveRegister are noticed by the process that has it open, which
// knows more than the file tells.
func TestAttacksOnALiveRegister(t *testing.T) {
	for _, c := range []struct {
		name   string
		attack func(t *testing.T, path string, texts []string)
		want   string
	}{
		{"rolled back in place", func(t *testing.T, path string, texts []string) { write(t, path, texts[3]) }, "it was cut"},
		{"rolled back by another file", func(t *testing.T, path string, texts []string) {
			write(t, path+".x", texts[3])
			if err := os.Rename(path+".x", path); err != nil {
				t.Fatal(err)
			}
		}, "who wrote before knows 11"},
		{"removed", func(t *testing.T, path string, _ []string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "it was rolled back"},
		{"the folder removed", func(t *testing.T, path string, _ []string) {
			if err := os.RemoveAll(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}, "it was rolled back"},
		{"the last entry changed", func(t *testing.T, path string, texts []string) {
			i := len(texts[4]) - 300
			write(t, path, texts[4][:i]+"x"+texts[4][i+1:])
		}, "line 11"},
		{"an earlier entry changed", func(t *testing.T, path string, texts []string) {
			write(t, path, strings.Replace(texts[4], `"size":3,`, `"size":2,`, 1))
		}, "line 6"},
		{"a head by somebody's key", func(t *testing.T, path string, _ []string) {
			forge(t, strings.TrimSuffix(path, "/planes/ho1/ledger/sessions.jsonl"), false, forgedHead(4, 5))
		}, "line 13"},
		{"a head by somebody's key, introduced", func(t *testing.T, path string, _ []string) {
			forge(t, strings.TrimSuffix(path, "/planes/ho1/ledger/sessions.jsonl"), true, forgedHead(4, 5))
		}, "a host that is not trusted here"},
		{"a link", func(t *testing.T, path string, _ []string) {
			if err := errors.Join(os.Rename(path, path+".other"), os.Symlink(path+".other", path)); err != nil {
				t.Fatal(err)
			}
		}, "too many levels of symbolic links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			texts := five(t, root)
			r := at(t, root, options())
			if s := found(t, r, "SES-1"); s.Size != 5 {
				t.Fatalf("got %v", s)
			}
			c.attack(t, file(root, record.RegisterFile), texts)
			for range 2 {
				if err := r.Record(ctx, step("SES-1", 5, 6)); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
			}
			if _, _, err := r.Find(ctx, "SES-1"); err == nil {
				t.Error("found it still")
			}
		})
	}
}

// TestTouchedIsNotChanged: times alone say nothing.
func TestTouchedIsNotChanged(t *testing.T) {
	root := t.TempDir()
	texts := five(t, root)
	r := at(t, root, options())
	found(t, r, "SES-1")
	path := file(root, record.RegisterFile)
	write(t, path, texts[4])
	must(t, r, step("SES-1", 5, 6))
	text := read(t, path)
	write(t, path+".x", text)
	if err := os.Rename(path+".x", path); err != nil {
		t.Fatal(err)
	}
	must(t, r, step("SES-1", 6, 7))
	verified(t, root)
}

// TestTrust: another host's register can be gone on with by who trusts it, and it
// is seen who sealed what.
func TestTrust(t *testing.T) {
	root := t.TempDir()
	five(t, root)
	o := options()
	o.Key = func() (*ledger.Key, error) { return ledgertest.Other(7) }
	must(t, at(t, root, o), step("SES-1", 5, 6))
	report := verified(t, root)
	if len(report.Hosts) != 2 {
		t.Fatalf("got %v", report.Hosts)
	}
	first := at(t, root, options())
	var unknown *record.UnknownHostError
	for range 2 {
		if err := first.Record(ctx, opened("SES-3")); !errors.As(err, &unknown) || unknown.Host.String() != report.Hosts[1].String() {
			t.Fatalf("got %v", err)
		}
	}
	first.opts.Hosts = func() ([]ledger.Verifier, error) { return report.Hosts, nil }
	must(t, first, opened("SES-3"), step("SES-1", 6, 7))
	o.Hosts = first.opts.Hosts
	must(t, at(t, root, o), step("SES-1", 7, 8))
	if again := verified(t, root); len(again.Hosts) != 2 || again.Checkpoint.Origin != report.Checkpoint.Origin || again.Sessions["SES-1"].Size != 8 {
		t.Errorf("got %+v", again)
	}
}

// A segmentAttack is one on the register of segmented.
type segmentAttack struct {
	name   string
	attack func(t *testing.T, root string)
	verify string
	find   string // error of Find of SES-old, which is in the first segment alone
}

func segmentAttacks() []segmentAttack {
	name := func(root string, n int) string { return file(root, segmentName(n)) }
	return []segmentAttack{
		{"first removed", func(t *testing.T, root string) {
			if err := os.Remove(name(root, 1)); err != nil {
				t.Fatal(err)
			}
		}, "sessions-000001.jsonl: it is gone: a segment of the register was removed", "sessions-000001.jsonl: it is gone: a segment of the register was removed"},
		{"last removed", func(t *testing.T, root string) {
			if err := os.Remove(name(root, 3)); err != nil {
				t.Fatal(err)
			}
		}, "sessions.jsonl line 2 (seq 1, byte 386): it goes on from sessions-000003.jsonl of ", "sessions-000003.jsonl: it is gone: a segment of the register was removed"},
		{"all removed", func(t *testing.T, root string) {
			for n := 1; n <= 3; n++ {
				if err := os.Remove(name(root, n)); err != nil {
					t.Fatal(err)
				}
			}
		}, "sessions.jsonl line 2 (seq 1, byte 386): it goes on from sessions-000003.jsonl, and that is gone: a segment of the register was removed", "sessions-000003.jsonl: it is gone: a segment of the register was removed"},
		{"two exchanged", func(t *testing.T, root string) {
			if err := errors.Join(os.Rename(name(root, 1), name(root, 9)), os.Rename(name(root, 2), name(root, 1)), os.Rename(name(root, 9), name(root, 2))); err != nil {
				t.Fatal(err)
			}
		}, "sessions-000001.jsonl line 2 (seq 1, byte 386): it goes on from sessions-000001.jsonl, and that is gone", "sessions-000002.jsonl"},
		{"one of another register of the host", func(t *testing.T, root string) {
			other := t.TempDir()
			o := options()
			o.Random = &counter{n: 100}
			r := small(t, other, o)
			must(t, r, opened("SES-old"), opened("SES-live"))
			for n := uint64(2); n < 20; n++ {
				must(t, r, step("SES-live", n, n+1))
			}
			if err := os.Rename(name(other, 1), name(root, 1)); err != nil {
				t.Fatal(err)
			}
		}, "sessions-000002.jsonl line 2 (seq 1, byte 386): it goes on from sessions-000001.jsonl of ", "sessions-000001.jsonl line "},
		{"cut at a seal", func(t *testing.T, root string) {
			lines := linesOf(read(t, name(root, 1)))
			write(t, name(root, 1), strings.Join(lines[:len(lines)-1], "\n")+"\n")
		}, "sessions-000001.jsonl: it has no final seal, and another segment follows: it was cut", "sessions-000001.jsonl line "},
		{"torn", func(t *testing.T, root string) {
			text := read(t, name(root, 1))
			write(t, name(root, 1), text[:len(text)-5])
		}, "sessions-000001.jsonl line ", "sessions-000001.jsonl line "},
		{"a byte changed", func(t *testing.T, root string) {
			write(t, name(root, 1), strings.Replace(read(t, name(root, 1)), `"size":2`, `"size":3`, 1))
		}, "sessions-000001.jsonl line 2", "sessions-000001.jsonl line 2"},
		{"the current one put there as a segment", func(t *testing.T, root string) {
			write(t, name(root, 4), read(t, file(root, record.RegisterFile)))
		}, "sessions-000004.jsonl: it has no final seal", "sessions-000004.jsonl: sessions.jsonl is segment 4"},
		{"an older one put there as the current one", func(t *testing.T, root string) {
			write(t, file(root, record.RegisterFile), read(t, name(root, 2)))
		}, "sessions.jsonl line 2 (seq 1, byte 386): it goes on from sessions-000001.jsonl of ", "sessions-000003.jsonl: sessions.jsonl is segment 2"},
		{"the first one put there as the current one", func(t *testing.T, root string) {
			write(t, file(root, record.RegisterFile), read(t, name(root, 1)))
		}, "sessions.jsonl line 2 (seq 1, byte 386): it names no segment before it, and there is sessions-000003.jsonl", "sessions-000003.jsonl: sessions.jsonl is segment 1"},
		{"the last one broken, and none after it", func(t *testing.T, root string) {
			write(t, name(root, 3), strings.Replace(read(t, name(root, 3)), `"size":10`, `"size":11`, 1))
			if err := os.Remove(file(root, record.RegisterFile)); err != nil {
				t.Fatal(err)
			}
		}, "sessions-000003.jsonl line ", "sessions-000003.jsonl line "},
		{"cut at a seal, and none after it", func(t *testing.T, root string) {
			lines := linesOf(read(t, name(root, 3)))
			write(t, name(root, 3), strings.Join(lines[:len(lines)-1], "\n")+"\n")
			write(t, file(root, record.RegisterFile), "")
		}, "sessions-000003.jsonl: it has no final seal", "sessions-000003.jsonl: it has no final seal"},
	}
}

func TestAttacksOnSegments(t *testing.T) {
	for _, c := range segmentAttacks() {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			segmented(t, root)
			c.attack(t, root)
			if _, err := verify(t, root); err == nil || !strings.HasPrefix(err.Error(), c.verify) {
				t.Errorf("verified with %v, want %s", err, c.verify)
			}
			if _, _, err := at(t, root, options()).Find(ctx, "SES-old"); err == nil || !strings.HasPrefix(err.Error(), c.find) {
				t.Errorf("found with %v, want %s", err, c.find)
			}
		})
	}
}

// TestEveryCut: a register cut anywhere is opened, with the heads up to there, and
// what is left of the rest is set aside.
func TestEveryCut(t *testing.T) {
	root := t.TempDir()
	texts := five(t, root)
	whole := texts[len(texts)-1]
	ends := make([]int, 0, len(texts))
	for _, text := range texts {
		ends = append(ends, len(text))
	}
	for n := range len(whole) {
		if n%41 != 0 && !slices.Contains(ends, n) && !slices.Contains(ends, n+1) {
			continue
		}
		root := t.TempDir()
		if err := os.MkdirAll(file(root, "."), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, file(root, record.RegisterFile), whole[:n])
		complete := 0
		for _, end := range ends {
			if end <= n {
				complete++
			}
		}
		want := []uint64{0, 0, 2, 3, 4, 5}[complete]
		report := verified(t, root)
		if got := report.Sessions["SES-1"].Size; got != want {
			t.Fatalf("cut at %d: verified %d, want %d", n, got, want)
		}
		r := at(t, root, options())
		if got := found(t, r, "SES-1").Size; got != want {
			t.Fatalf("cut at %d: found %d, want %d", n, got, want)
		}
		must(t, r, opened("SES-new"))
		torn := 0
		if n > 0 && !slices.Contains(ends, n) {
			torn = 1
		}
		if report := verified(t, root); report.Torn != nil || report.Recovered != torn {
			t.Errorf("cut at %d: got %+v", n, report)
		}
	}
}

// TestEveryByte: no change of a byte goes unnoticed.
func TestEveryByte(t *testing.T) {
	root := t.TempDir()
	texts := five(t, root)
	whole := []byte(texts[len(texts)-1])
	path := file(root, record.RegisterFile)
	for n := 0; n < len(whole); n += 5 {
		b := bytes.Clone(whole)
		b[n] ^= 1
		write(t, path, string(b))
		report, err := verify(t, root)
		var bad *ledger.IntegrityError
		if !errors.As(err, &bad) && report.Torn == nil {
			t.Fatalf("byte %d: %v", n, err)
		}
	}
}
