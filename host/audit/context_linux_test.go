package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

const contextID = session.ID("SES-20260101T000000000Z-aaaaaaaaaaaaaaaa")

// A contextBench is a root with one session whose entries are made up.
type contextBench struct {
	*rand.Rand
	t     *testing.T
	root  *session.Root
	audit *Audit
	snaps *plane.Snapshots
	path  string // of the root
	now   time.Time
}

func newContextBench(t *testing.T, seed uint64) *contextBench {
	t.Helper()
	b := &contextBench{Rand: rand.New(rand.NewPCG(seed, 7)), t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	var err error
	b.root, err = session.OpenRoot(session.Options{Key: ledgertest.Host, Hosts: ledgertest.Hosts, Workspace: t.TempDir(), Now: func() time.Time { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.root.Close() })
	b.audit, b.snaps, b.path = New(b.root, nil, ""), plane.NewSnapshots(b.root, nil), b.root.Path()
	return b
}

// tick moves the clock: on, hardly, not at all, or back.
func (b *contextBench) tick() {
	b.now = b.now.Add([]time.Duration{time.Second, time.Nanosecond, 0, -time.Millisecond, time.Hour}[b.IntN(5)])
}

func digestOf(text string) ledger.Hash { return ledger.Sum([]byte(text)) }

// session makes a session of up to most turns, with a random end: closed, open, or
// within a turn.
func (b *contextBench) session(most int) {
	b.t.Helper()
	ctx := b.t.Context()
	s, err := b.root.Create(ctx, session.Opening{
		ID: contextID, Plane: "ho1", Seed: make([]byte, 32),
		Open: record.SessionOpen{Agenthost: "test", Package: record.Package{ID: "PKG-A-1", Version: "1.0.0", SHA256: digestOf("p")}, Engine: "e", Arch: "a"},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	must := func(err error) {
		b.t.Helper()
		if err != nil {
			b.t.Fatal(err)
		}
	}
	put := func(turn int, body ledger.Body) ledger.Entry {
		b.t.Helper()
		b.tick()
		if record.ExecOptions("").Sealed(ledger.Entry{Kind: body.Kind()}) {
			c, err := s.Exec.Commit(turn, body)
			must(err)
			return c.Entries[0]
		}
		e, err := s.Exec.Append(turn, body)
		must(err)
		return e
	}
	turns := b.IntN(most + 1)
	for n := 1; n <= turns; n++ {
		if b.IntN(4) == 0 {
			put(0, record.SessionResume{})
		}
		begin := record.TurnBegin{AsOf: fmt.Sprint("as of ", n), Inputs: []record.File{}, Outputs: []record.Output{}, Withheld: []string{}}
		if b.IntN(2) == 0 {
			begin.WorkOrder = "WO-7"
			begin.Query = &record.Blob{Blob: digestOf(fmt.Sprint("q", n)), Size: 3}
			begin.Inputs = append(begin.Inputs, record.File{Path: "docs/a.md", SHA256: digestOf("a"), Size: 1})
		}
		put(n, begin)
		for range b.IntN(6) {
			size, sum, name := int64(1), digestOf("a"), fmt.Sprintf("docs/%c.md", 'a'+rune(b.IntN(3)))
			switch b.IntN(5) {
			case 0:
				put(n, record.Op{Op: record.OpOpen, Via: record.ViaWASI, Path: name, Flags: "read", Decision: record.Granted, Rule: "docs/**", Errno: record.ErrnoSuccess, Size: &size, SHA256: &sum})
			case 1:
				e := put(n, record.Op{Op: record.OpOpen, Via: record.ViaWASI, Path: name, Flags: "read", Decision: record.Granted, Rule: "docs/**", Errno: record.ErrnoSuccess, Size: &size})
				put(n, record.Digest{Of: e.Seq, SHA256: digestOf(fmt.Sprint(b.Uint64())), Size: 9})
			case 2:
				put(n, record.Op{Op: record.OpStat, Via: record.ViaWASI, Path: ".env", Decision: record.Hidden, Rule: "withheld **/.env*", Errno: "noent"})
			case 3:
				put(n, record.Op{Op: record.OpOpen, Via: record.ViaWASI, Path: "x", Flags: "write", Decision: record.Violated, Rule: "no grant of write", Errno: "perm"})
			case 4:
				put(0, record.Erased{Blob: digestOf("q"), Why: "asked"})
			}
		}
		if n == turns && b.IntN(3) == 0 {
			must(s.Leave())
			return // within the turn
		}
		end := record.TurnEnd{Status: record.StatusOK, Publish: []record.Publication{}}
		for range b.IntN(3) {
			end.Publish = append(end.Publish, record.Publication{
				Path: fmt.Sprintf("output/%s/%c", contextID, 'a'+rune(b.IntN(4))), Role: "r", SHA256: digestOf(fmt.Sprint(b.Uint64())), Size: b.Int64N(9),
			})
		}
		if b.IntN(3) == 0 {
			end = record.TurnEnd{Status: record.StatusBlocked, Code: record.CodeViolation, Publish: []record.Publication{}}
		}
		if b.IntN(2) == 0 {
			end.Result = &record.Blob{Blob: digestOf(fmt.Sprint("r", n)), Size: 2}
		}
		put(n, end)
	}
	if b.IntN(2) == 0 {
		put(0, record.SessionClose{Turns: int64(turns)})
	}
	must(s.Leave())
}

// entries are what exec.jsonl holds, without lines.
func (b *contextBench) entries() []ledger.Entry {
	b.t.Helper()
	var all []ledger.Entry
	for e, err := range ledger.Scan(b.exec(), record.ExecOptions("")) {
		if err != nil {
			b.t.Fatal(err)
		}
		e.Line = nil
		all = append(all, e)
	}
	return all
}

func (b *contextBench) exec() string { return b.root.LedgerPath("ho1", contextID, record.ExecFile) }

// askTimes are all that can make a difference: before, at and after each entry.
func (b *contextBench) askTimes() []time.Time {
	times := []time.Time{{}}
	for _, e := range b.entries() {
		times = append(times, e.Time.Add(-time.Nanosecond), e.Time, e.Time.Add(time.Nanosecond))
	}
	return times
}

// rebuild is the context as JSON, or the error.
func (b *contextBench) rebuild(asOf time.Time, full bool) (string, *Rebuilt) {
	b.t.Helper()
	r, err := b.audit.Context(b.t.Context(), contextID, "ho1", ContextOptions{AsOf: asOf, Full: full})
	if err != nil {
		return err.Error(), &Rebuilt{}
	}
	text, err := json.Marshal(r.Context)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text), r
}

// keep keeps the snapshot of a time.
func (b *contextBench) keep(asOf time.Time) record.ContextSnapshot {
	b.t.Helper()
	of, data, err := b.audit.Snapshot(b.t.Context(), contextID, "ho1", asOf)
	if err == nil {
		_, err = b.snaps.Keep(b.t.Context(), of, data)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return of
}

// same checks that no time has another context with snapshots than without, and
// returns how many were begun from one, and all that was said of those ignored.
func (b *contextBench) same() (begun int, said []string) {
	b.t.Helper()
	for _, at := range b.askTimes() {
		want, _ := b.rebuild(at, true)
		got, r := b.rebuild(at, false)
		if got != want {
			b.t.Fatalf("as of %v, from %d entries:\n got %s\nwant %s", at, r.From, got, want)
		}
		if r.From > 0 {
			begun++
		}
		said = append(said, r.Ignored...)
	}
	slices.Sort(said)
	return begun, slices.Compact(said)
}

// TestSnapshotsChangeNothing: at every entry of any session the context is the
// same with snapshots of any entries and without, and what is not the snapshot
// that was recorded is not believed.
func TestSnapshotsChangeNothing(t *testing.T) {
	t.Parallel()
	begun := 0
	for seed := range uint64(40) {
		b := newContextBench(t, seed)
		b.session(5)
		times := b.askTimes()[1:]
		var kept []record.ContextSnapshot
		for range b.IntN(4) {
			if at := times[b.IntN(len(times))]; !at.Before(b.entries()[0].Time) {
				kept = append(kept, b.keep(at))
			}
		}
		n, said := b.same()
		if begun += n; len(said) > 0 {
			t.Fatalf("seed %d: good snapshots were ignored: %q", seed, said)
		}
		if len(kept) > 0 && n == 0 {
			t.Fatalf("seed %d: none of %d snapshots was used", seed, len(kept))
		}
		for _, s := range kept {
			b.forge(s)
			if _, said := b.same(); len(said) == 0 {
				t.Fatalf("seed %d: nobody noticed that the snapshot after %d entries was forged", seed, s.Size)
			}
		}
	}
	if begun < 100 {
		t.Errorf("%d contexts were begun from a snapshot: the sessions are too dull", begun)
	}
}

func (b *contextBench) file(s record.ContextSnapshot) string {
	return filepath.Join(b.path, "planes/ho2/context", s.SessionID, fmt.Sprint(s.Size, ".json"))
}

// forge makes a snapshot tell another story.
func (b *contextBench) forge(s record.ContextSnapshot) {
	b.t.Helper()
	data, err := os.ReadFile(b.file(s))
	if err != nil {
		b.t.Fatal(err)
	}
	switch b.IntN(4) {
	case 0:
		data = []byte(strings.Replace(string(data), `"violations":`, `"violations":1`, 1))
	case 1:
		data[b.IntN(len(data))] ^= 1
	case 2:
		data = data[:b.IntN(len(data))]
	default:
		data = append(data, ' ')
	}
	if err := os.WriteFile(b.file(s), data, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// firstContextOf is the first seed that makes such a session as contextOf wants.
const firstContextOf = 65

// contextOf is a session of two turns at least, with a snapshot after each.
func contextOf(t *testing.T) (*contextBench, []record.ContextSnapshot) {
	t.Helper()
	for seed := range uint64(100) {
		b := newContextBench(t, firstContextOf+seed)
		b.session(5)
		all := b.entries()
		var ends []int
		for i, e := range all {
			if e.Kind == record.KindTurnEnd {
				ends = append(ends, i)
			}
		}
		// As of a time of which one entry alone is, with the seal behind it.
		if len(ends) < 2 || slices.ContainsFunc(ends, func(i int) bool {
			return i+2 < len(all) && !all[i+2].Time.After(all[i].Time) || slices.ContainsFunc(all[:i], func(e ledger.Entry) bool { return !e.Time.Before(all[i].Time) })
		}) {
			continue
		}
		var kept []record.ContextSnapshot
		for _, i := range ends {
			kept = append(kept, b.keep(all[i].Time))
		}
		return b, kept
	}
	t.Fatal("there is no such session")
	return nil, nil
}

// TestForgedSnapshots: whoever forges a snapshot has to forge the ledger that
// records it as well, and then that one's chain, and then to be right about the
// session's.
func TestForgedSnapshots(t *testing.T) {
	t.Parallel()
	forgeFrom := func(b *contextBench, change func(*Context)) {
		b.t.Helper()
		f, _, err := b.audit.rebuild(b.t.Context(), contextID, "ho1", ContextOptions{Full: true})
		if err != nil {
			b.t.Fatal(err)
		}
		c := f.c
		change(&c)
		forged := fold{c: c}
		of, data, err := forged.snapshot()
		if err == nil {
			_, err = b.snaps.Keep(b.t.Context(), of, data)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	ledgerFile := func(b *contextBench) string { return filepath.Join(b.path, "planes/ho2/ledger/context.jsonl") }
	edit := func(b *contextBench, name string, change func(string) string) {
		b.t.Helper()
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(name, []byte(change(string(text))), 0o600)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		do   func(b *contextBench, kept []record.ContextSnapshot)
		want string // in what is said
	}{
		{"gone", func(b *contextBench, kept []record.ContextSnapshot) { os.Remove(b.file(kept[0])) }, "its file is gone"},
		{"a link", func(b *contextBench, kept []record.ContextSnapshot) {
			if err := errors.Join(os.Rename(b.file(kept[0]), b.path+"/x"), os.Symlink(b.path+"/x", b.file(kept[0]))); err != nil {
				b.t.Fatal(err)
			}
		}, "not a regular file"},
		{"content and its record", func(b *contextBench, kept []record.ContextSnapshot) {
			forged := strings.Replace(string(mustRead(b.t, b.file(kept[0]))), `"violations":`, `"violations":1`, 1)
			edit(b, b.file(kept[0]), func(string) string { return forged })
			edit(b, ledgerFile(b), func(text string) string {
				return strings.Replace(text, kept[0].SHA256.String(), ledger.Sum([]byte(forged)).String(), 1)
			})
		}, "all snapshots: context.jsonl line 2 "},
		{"a line is taken out of the record", func(b *contextBench, _ []record.ContextSnapshot) {
			edit(b, ledgerFile(b), func(text string) string { return text[strings.Index(text, "\n")+1:] })
		}, "all snapshots: context.jsonl line 1 "},
		{"of a ledger that had more", func(b *contextBench, _ []record.ContextSnapshot) {
			forgeFrom(b, func(c *Context) { c.Entries += 9 })
		}, "the ledger is not the one it was made of"},
		{"of another ledger", func(b *contextBench, kept []record.ContextSnapshot) {
			forgeFrom(b, func(c *Context) { c.Entries, c.Head, c.AsOf = kept[0].Size, digestOf("other"), c.Opened })
		}, "the ledger is not the one it was made of"},
		{"with another number of turns", func(b *contextBench, kept []record.ContextSnapshot) {
			forgeFrom(b, func(c *Context) { c.Turns = nil })
		}, "it is not what the ledger says"},
		{"of a turn", func(b *contextBench, _ []record.ContextSnapshot) {
			for _, e := range b.entries() {
				if e.Kind == record.KindTurnBegin {
					forgeFrom(b, func(c *Context) { c.Entries, c.Head, c.AsOf = e.Seq+1, e.Hash, e.Time })
				}
			}
		}, "it is not what the ledger says"},
		{"not strictly read", func(b *contextBench, kept []record.ContextSnapshot) {
			data := []byte(`{"schema":"agenthost/context/v1","more":1}`)
			b.record(kept[0], data)
		}, `unknown field "more"`},
		{"of a later version", func(b *contextBench, kept []record.ContextSnapshot) {
			b.record(kept[0], []byte(`{"schema":"agenthost/context/v2"}`))
		}, "it was written by another version"},
		{"of something else", func(b *contextBench, kept []record.ContextSnapshot) {
			b.record(kept[0], []byte(`{"schema":"agenthost/context/v1"}`))
		}, "it is of something else than its record says"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, kept := contextOf(t)
			c.do(b, kept)
			if _, said := b.same(); !strings.Contains(strings.Join(said, "\n"), c.want) {
				t.Errorf("got %q, want %q", said, c.want)
			}
		})
	}
}

// record keeps other content under the name of a snapshot.
func (b *contextBench) record(s record.ContextSnapshot, data []byte) {
	b.t.Helper()
	s.SHA256, s.Bytes = ledger.Sum(data), int64(len(data))
	if _, err := b.snaps.Keep(b.t.Context(), s, data); err != nil {
		b.t.Fatal(err)
	}
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestRolledBack: snapshots of a ledger that was cut to an earlier end are not
// believed, and a ledger that is not what was written has no context at all.
func TestRolledBack(t *testing.T) {
	t.Parallel()
	b, kept := contextOf(t)
	all := b.entries()
	text := mustRead(t, b.exec())
	last := kept[len(kept)-1]
	if err := os.WriteFile(b.exec(), text[:all[last.Size-2].Offset], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said := b.same(); len(said) != 1 || !strings.Contains(said[0], "the ledger is not the one it was made of") {
		t.Errorf("got %q", said)
	}
	text[all[1].Offset+40] ^= 1 // beneath every snapshot
	if err := os.WriteFile(b.exec(), text, 0o600); err != nil {
		t.Fatal(err)
	}
	var bad *ledger.IntegrityError
	if _, err := b.audit.Context(t.Context(), contextID, "ho1", ContextOptions{}); !errors.As(err, &bad) || bad.Line != 2 {
		t.Errorf("got %v, want line 2", err)
	}
	if _, _, err := b.audit.Snapshot(t.Context(), contextID, "ho1", time.Time{}); !errors.As(err, &bad) {
		t.Errorf("got %v", err)
	}
}

// TestContext: what the entries of a session come to, turn by turn.
func TestContext(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		b := newContextBench(t, seed)
		b.session(4)
		want := Context{Turns: []ContextTurn{}}
		files := map[string]Standing{}
		for e, err := range ledger.Scan(b.exec(), record.ExecOptions("")) {
			if err != nil {
				t.Fatal(err)
			}
			body, err := record.Decode(e)
			if err != nil {
				t.Fatal(err)
			}
			switch x := body.(type) {
			case record.SessionClose:
				want.Closed = e.Time
			case record.TurnBegin:
				want.Turns = append(want.Turns, ContextTurn{Number: e.Turn, WorkOrder: x.WorkOrder, DeclaredReads: x.Inputs})
			case record.Op:
				if x.Decision == record.Violated {
					want.Violations++
				}
			case record.TurnEnd:
				want.Turns[e.Turn-1].Status = x.Status
				for _, p := range x.Publish {
					files[p.Path] = Standing{p.Path, p.SHA256, p.Size, p.Role, e.Turn}
				}
			}
			want.Entries, want.Head = e.Seq+1, e.Hash
		}
		_, got := b.rebuild(time.Time{}, true)
		if got.Context == nil {
			t.Fatalf("seed %d: no context", seed)
		}
		if got.Entries != want.Entries || got.Head != want.Head || !got.Closed.Equal(want.Closed) || got.Violations != want.Violations ||
			len(got.Turns) != len(want.Turns) || len(got.Published) != len(files) {
			t.Fatalf("seed %d: got %+v, want %+v, files %v", seed, got.Context, want, files)
		}
		for i, turn := range got.Turns {
			w := want.Turns[i]
			if turn.Number != w.Number || turn.Status != w.Status || turn.WorkOrder != w.WorkOrder || len(turn.DeclaredReads) != len(w.DeclaredReads) {
				t.Errorf("seed %d: got %+v, want %+v", seed, turn, w)
			}
		}
		for _, s := range got.Published {
			if files[s.Path] != s {
				t.Errorf("seed %d: got %+v, want %+v", seed, s, files[s.Path])
			}
		}
		if !slices.IsSortedFunc(got.Published, func(a, b Standing) int { return strings.Compare(a.Path, b.Path) }) {
			t.Errorf("seed %d: not sorted: %+v", seed, got.Published)
		}
		opened := b.entries()[0].Time
		var early *RequestError
		if _, err := b.audit.Context(t.Context(), contextID, "ho1", ContextOptions{AsOf: opened.Add(-1)}); !errors.As(err, &early) ||
			!strings.HasPrefix(early.What, "session "+string(contextID)+" was opened at 2026-01-02T") {
			t.Errorf("seed %d: got %v", seed, err)
		}
	}
}
