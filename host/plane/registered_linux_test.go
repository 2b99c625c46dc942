package plane

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// ledgerBench is a ledger of the plane with three commits, and what says how many
// of them count.
type ledgerBench struct {
	file     string
	register string
	commits  []int // lines up to each
	count    func(t *testing.T, f *fixture) (int, error)
	more     func(t *testing.T, f *fixture) error // commits once more
}

// benches fill a root with three commits of each ledger, besides the first of
// governance.jsonl.
func benches(t *testing.T, f *fixture) []ledgerBench {
	t.Helper()
	putOrder(t, f.path, "WO-7", "")
	write(t, filepath.Join(f.path, "FORMAT"), session.FormatControl)
	in := func(t *testing.T, f *fixture) *session.Root {
		t.Helper()
		root, err := session.OpenRoot(f.options(session.Options{Workspace: f.path}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { root.Close() })
		return root
	}
	all := []ledgerBench{
		{
			governancePath, registerFolder + "/" + record.RegisterFile,
			[]int{3, 5, 7, 9},
			func(_ *testing.T, f *fixture) (int, error) {
				s, err := f.tryOpen()
				return 1 + s.Refused, err
			},
			func(t *testing.T, f *fixture) error {
				p, err := Open(in(t, f))
				if err != nil {
					return err
				}
				_, err = p.Change(t.Context(), "wrong", somebody(), "test", "")
				var refused *RefusedError
				if errors.As(err, &refused) {
					return nil
				}
				return err
			},
		},
		{
			claimFolder + "/WO-7.jsonl", "planes/ho2/ledger/" + record.RegisterFile,
			[]int{3, 5, 7},
			func(t *testing.T, f *fixture) (int, error) {
				claims, err := NewWorkOrders(in(t, f), nil).Claims("WO-7")
				return len(claims), err
			},
			func(t *testing.T, f *fixture) error {
				w := NewWorkOrders(in(t, f), nil)
				return claim(w, readOrder(t, w, "WO-7"), 9)
			},
		},
		{
			snapshotLedger, "planes/ho2/ledger/" + record.RegisterFile,
			[]int{3, 5, 7},
			func(t *testing.T, f *fixture) (int, error) {
				known, err := NewSnapshots(in(t, f), nil).Of("SES-1")
				return len(known), err
			},
			func(t *testing.T, f *fixture) error {
				s := NewSnapshots(in(t, f), nil)
				known, err := s.Of("SES-1")
				if err != nil {
					return err
				}
				of, data := aSnapshot("SES-1", uint64(len(known))+1, "x")
				_, err = s.Keep(t.Context(), of, data)
				return err
			},
		},
	}
	for _, b := range all {
		for range 3 {
			if err := b.more(t, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

// TestRolledBack: a ledger that was cut anywhere, or is gone, is found by what the
// register knows, and nothing is written to it; but for the last commit of all where
// the register does not know that either, as after a crash.
func TestRolledBack(t *testing.T) {
	base := newFixture(t)
	for n := range benches(t, base.copyOf()) {
		f := base.copyOf()
		b := benches(t, f)[n]
		whole := linesOf(t, filepath.Join(f.path, b.file))
		if last := b.commits[len(b.commits)-1]; len(whole) != last {
			t.Fatalf("%s has %d lines, want %d", b.file, len(whole), last)
		}
		for cut := range len(whole) {
			f := f.copyOf()
			path := filepath.Join(f.path, b.file)
			text := strings.Join(whole[:cut], "\n") + "\n"
			if cut == 0 {
				text = ""
			}
			write(t, path, text)
			var bad *ledger.IntegrityError
			if got, err := b.count(t, f); !errors.As(err, &bad) || got > 1 {
				t.Errorf("%s cut after %d lines: read %d, %v", b.file, cut, got, err)
			}
			if err := b.more(t, f); !errors.As(err, &bad) {
				t.Errorf("%s cut after %d lines: written: %v", b.file, cut, err)
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != text {
				t.Errorf("%s cut after %d lines: it was changed: %v", b.file, cut, err)
			}
		}
		gone := f.copyOf()
		remover(t, filepath.Join(gone.path, b.file))
		if _, err := b.count(t, gone); err == nil || !strings.Contains(err.Error(), "missing") {
			t.Errorf("%s is gone: %v", b.file, err)
		}
		if err := b.more(t, gone); err == nil {
			t.Errorf("%s is gone: begun anew", b.file)
		}
	}
}

// TestCutAnywhere: without the register, of what was cut as much counts as is sealed.
func TestCutAnywhere(t *testing.T) {
	f := newFixture(t)
	b := benches(t, f)[0]
	path := filepath.Join(f.path, b.file)
	whole := linesOf(t, path)
	root, err := session.OpenRoot(f.options(session.Options{Workspace: f.path}))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for cut := 1; cut <= len(whole); cut++ {
		write(t, path, strings.Join(whole[:cut], "\n")+"\n")
		want := 0
		for _, n := range b.commits {
			if n <= cut {
				want = n
			}
		}
		seen := 0
		_, report, err := governanceBook(root).readAlone(nil, func(ledger.Entry) { seen++ })
		if err != nil || seen != want || report.Entries != uint64(want) || (report.Torn == nil) != (want == cut) {
			t.Errorf("cut after %d lines: %d count, %v, want %d: %v", cut, seen, report.Torn, want, err)
		}
	}
}

// TestRegisterRolledBack: where the register is older than the ledger by one commit
// a crash came between them; where by more, somebody.
func TestRegisterRolledBack(t *testing.T) {
	base := newFixture(t)
	for n := range benches(t, base.copyOf()) {
		f := base.copyOf()
		b := benches(t, f)[n]
		path := filepath.Join(f.path, b.register)
		before := make([]string, 3)
		for i := range before {
			before[i] = strings.Join(linesOf(t, path), "\n") + "\n"
			if err := b.more(t, f); err != nil {
				t.Fatal(err)
			}
		}
		total := len(b.commits) + len(before)
		for i, text := range before {
			f := f.copyOf()
			write(t, filepath.Join(f.path, b.register), text)
			got, err := b.count(t, f)
			if i == len(before)-1 {
				if err != nil || got != total {
					t.Errorf("%s one commit ahead: %d, %v, want %d", b.file, got, err, total)
				}
				for range 2 {
					if err := b.more(t, f); err != nil {
						t.Errorf("%s one commit ahead: %v", b.file, err)
					}
				}
				continue
			}
			var bad *ledger.IntegrityError
			if !errors.As(err, &bad) || !strings.HasSuffix(bad.Reason, ": that was rolled back") {
				t.Errorf("%s %d commits ahead: read: %v", b.file, len(before)-i, err)
			}
			if err := b.more(t, f); !errors.As(err, &bad) {
				t.Errorf("%s %d commits ahead: written: %v", b.file, len(before)-i, err)
			}
		}
		remover(t, path)
		var bad *ledger.IntegrityError
		if _, err := b.count(t, f); !errors.As(err, &bad) || !strings.HasSuffix(bad.Reason, " does not know it: that was removed, or one of the two is another root's") {
			t.Errorf("%s without a register: %v", b.file, err)
		}
	}
}

// TestOfAnotherRoot: the ledgers of another control plane of the same host are not
// those of this one.
func TestOfAnotherRoot(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	benches(t, other)
	for _, b := range benches(t, f) {
		write(t, filepath.Join(f.path, b.file), strings.Join(linesOf(t, filepath.Join(other.path, b.file)), "\n")+"\n")
		var bad *ledger.IntegrityError
		if _, err := b.count(t, f); !errors.As(err, &bad) || !strings.Contains(bad.Reason, "they were written anew") {
			t.Errorf("%s: %v", b.file, err)
		}
	}
}
