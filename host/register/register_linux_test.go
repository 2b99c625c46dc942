package register

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

var ctx = context.Background()

// counter is a source of bytes that are not twice the same for long.
type counter struct {
	mu sync.Mutex
	n  byte
}

func (c *counter) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range b {
		c.n++
		b[i] = c.n
	}
	return len(b), nil
}

func options() Options {
	return Options{
		Now:    func() time.Time { return time.Unix(1, 0) },
		Random: &counter{},
		Key:    ledgertest.Host,
		Hosts:  ledgertest.Hosts,
	}
}

// at makes the register of ho1 in a root, which is closed with the test.
func at(t testing.TB, root string, o Options) *Register {
	t.Helper()
	dir, err := beneath.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	r := New(dir, root, "ho1", o)
	t.Cleanup(func() {
		r.Close() //nolint:errcheck // the test has looked at what it is about
		dir.Close()
	})
	return r
}

// head is a head of n entries, of the branch of that name.
func head(n uint64, branch string) Head {
	return Head{Size: n, Root: sha256.Sum256(fmt.Append(nil, n, branch))}
}

func opened(session string) Change {
	return Change{Kind: record.KindSessionOpen, Session: session, Is: head(2, "")}
}

// step is the change from n entries to more.
func step(session string, n, more uint64) Change {
	was := head(n, "")
	return Change{Kind: record.KindSessionHead, Session: session, Was: &was, Is: head(more, "")}
}

func must(t testing.TB, r *Register, changes ...Change) {
	t.Helper()
	for _, c := range changes {
		if err := r.Record(ctx, c); err != nil {
			t.Fatalf("%s of %s: %v", c.Kind, c.Session, err)
		}
	}
}

func found(t testing.TB, r *Register, session string) State {
	t.Helper()
	s, _, err := r.Find(ctx, session)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verified(t testing.TB, root string) Report {
	t.Helper()
	report, err := verify(t, root)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func verify(t testing.TB, root string) (Report, error) {
	t.Helper()
	dir, err := beneath.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	return Verify(dir, root, "ho1")
}

func file(root, name string) string { return filepath.Join(root, "planes/ho1/ledger", name) }

func TestLifeOfSessions(t *testing.T) {
	root := t.TempDir()
	r := at(t, root, options())
	if s, ok, err := r.Find(ctx, "SES-1"); ok || err != nil {
		t.Fatalf("got %v, %v, %v", s, ok, err)
	}
	if _, err := os.Lstat(filepath.Join(root, "planes")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("Find made something")
	}
	closing, pruned := step("SES-1", 5, 9), step("SES-1", 11, 11)
	later := step("SES-1", 9, 11)
	closing.Kind, later.Kind, pruned.Kind = record.KindSessionClose, record.KindSessionClose, record.KindSessionPrune
	must(t, r, opened("SES-1"), opened("SES-2"), step("SES-1", 2, 5))
	if s, ok, err := r.Find(ctx, "SES-1"); !ok || err != nil || s != (State{Head: head(5, "")}) {
		t.Errorf("got %v, %v, %v", s, ok, err)
	}
	must(t, r, closing)
	if s := found(t, r, "SES-1"); s != (State{Head: head(9, ""), Closed: true}) {
		t.Errorf("got %v", s)
	}
	if err := r.Record(ctx, step("SES-1", 9, 11)); err == nil || err.Error() != "register: session.head of session SES-1: the session is closed: what follows is recorded as session.close" {
		t.Errorf("got %v", err)
	}
	must(t, r, later, pruned)
	if s, ok, err := r.Find(ctx, "SES-1"); ok || err != nil || s != (State{Head: head(11, ""), Pruned: true}) {
		t.Errorf("got %v, %v, %v", s, ok, err)
	}
	must(t, r, opened("SES-1"))
	repaired := Change{Kind: record.KindSessionRepair, Session: "SES-1", Was: new(Head), Is: head(1, "other")}
	*repaired.Was = head(2, "")
	next := Change{Kind: record.KindSessionHead, Session: "SES-1", Was: &repaired.Is, Is: head(4, "other")}
	must(t, r, repaired, next)
	want := State{Head: head(4, "other"), Repaired: true}
	if s := found(t, r, "SES-1"); s != want {
		t.Errorf("got %v", s)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Record(ctx, next); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if s := found(t, at(t, root, options()), "SES-1"); s != want {
		t.Errorf("got %v", s)
	}
	report := verified(t, root)
	if len(report.Sessions) != 2 || report.Sessions["SES-1"] != want || report.Segments != 1 || report.Entries != 19 || len(report.Hosts) != 1 {
		t.Errorf("got %+v", report)
	}
	if err := report.Checkpoint.Check(report.Hosts[0]); err != nil || !strings.HasPrefix(report.Checkpoint.Origin, "agenthost/ho1/sessions/") {
		t.Errorf("got %v, %v", report.Checkpoint, err)
	}
}

func TestConflicts(t *testing.T) {
	root := t.TempDir()
	r := at(t, root, options())
	must(t, r, opened("SES-1"), step("SES-1", 2, 5))
	other := step("SES-1", 5, 7)
	*other.Was = head(5, "other")
	for _, c := range []struct {
		change Change
		want   string
	}{
		{opened("SES-1"), "session SES-1: the register knows 5 entries with the root " + head(5, "").Root.String() + ", and it was to go on from no such session"},
		{step("SES-1", 2, 7), "session SES-1: the register knows 5 entries with the root " + head(5, "").Root.String() + ", and it was to go on from 2 entries with the root " + head(2, "").Root.String()},
		{other, "session SES-1: the register knows 5 entries with the root " + head(5, "").Root.String() + ", and it was to go on from 5 entries with the root " + head(5, "other").Root.String()},
		{step("SES-9", 2, 5), "session SES-9: the register knows no such session, and it was to go on from 2 entries with the root " + head(2, "").Root.String()},
	} {
		err := r.Record(ctx, c.change)
		var conflict *ConflictError
		if !errors.As(err, &conflict) || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	for _, c := range []struct {
		change Change
		want   string
	}{
		{step("SES-1", 5, 5), "register: session.head of session SES-1: there are 5 entries, and were 5"},
		{step("SES-1", 5, 4), "register: session.head of session SES-1: there are 4 entries, and were 5"},
		{Change{Kind: record.KindSessionHead, Session: "SES-9", Is: head(5, "")}, "register: session.head of session SES-9: the session is unknown"},
		{Change{Kind: record.KindSessionOpen, Session: "SES-9"}, "register: session.open of session SES-9: it has no entries"},
		{Change{Kind: record.KindTurnEnd, Session: "SES-9"}, "register: turn.end of session SES-9: it is no change of a session"},
		{Change{Kind: record.KindSessionOpen, Session: "a/b"}, `register: session "a/b" is not a name of 1 to 128 letters, digits, '-', '_' and '.'`},
	} {
		if err := r.Record(ctx, c.change); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	must(t, r, step("SES-1", 5, 7))
	if report := verified(t, root); report.Entries != 7 {
		t.Errorf("got %d entries", report.Entries)
	}
}
