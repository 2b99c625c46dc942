package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
)

// chain are sessions of which each reads what the one before published.
func (w *world) chain(n int) {
	for i := range n {
		w.run(sid(i), story{pkg: "PKG-T3-CHAIN-001", version: "0.1.0", module: "chain", turns: []did{{
			order: "WO-1", reads: []file{{fmt.Sprintf("d/%d", i), fmt.Sprint(i)}, {"docs/all", "all"}}, writes: []file{{fmt.Sprintf("d/%d", i+1), fmt.Sprint(i + 1)}},
		}}})
	}
}

func chainQuestions() []string {
	return []string{"PKG-T3-CHAIN-001", sid(1), session.Last, "WO-1", "d/1", "docs/all", digits("1"), digits("all")[:25], "d/none", "PKG-T3-NONE-001", sid(999)}
}

// opened is how many ledgers were read for a question.
func (w *world) opened() int {
	w.t.Helper()
	ix, err := w.audit(w.cache).index(context.Background(), nil)
	w.check(err)
	return ix.opened
}

func (w *world) opens(what string, want int) {
	w.t.Helper()
	if got := w.opened(); got != want {
		w.t.Errorf("%s: %d ledgers were read, want %d", what, got, want)
	}
}

// The index spares reading ledgers that have not changed, and no others.
func TestIndexReadsWhatChanged(t *testing.T) {
	w := newWorld(t)
	w.opens("no session", 0)
	w.chain(20)
	w.opens("no index", 20)
	w.opens("nothing changed", 0)
	w.run(sid(20), story{pkg: "PKG-T3-NEW-001", version: "1.0.0"})
	w.opens("a new session", 1)
	w.opens("nothing changed", 0)
	w.check(os.RemoveAll(filepath.Dir(w.ledgerDir(sid(3)))))
	w.opens("one is gone", 0)
	if ix, err := w.audit(w.cache).index(context.Background(), nil); err != nil || len(ix.lines) != 20 || len(w.audit(w.cache).load()) != 20 {
		t.Errorf("%d sessions, %d in the index, %v; want 20", len(ix.lines), len(w.audit(w.cache).load()), err)
	}

	// What was written just now may be written again in the same moment, and stat
	// would not tell.
	w.later = 0
	w.run(sid(21), story{pkg: "PKG-T3-NEW-001", version: "1.0.0"})
	w.opens("a ledger of this moment", 1)
	w.opens("again", 1)

	// A clock that is wrong makes it slow, no more.
	w.later = -1000 * time.Hour
	w.opens("a clock that was set back", 1)
	w.later = time.Hour
	w.opens("and put right", 1)
	w.opens("and again", 0)
}

// Somebody who changes a ledger after it was read, and sets its times back, is
// found out.
func TestIndexChangedLedger(t *testing.T) {
	w := newWorld(t)
	w.chain(3)
	w.opens("no index", 3)
	before := w.answers(w.cache, chainQuestions())
	path := w.exec(sid(1))
	info, err := os.Stat(path)
	w.check(err)
	data, err := os.ReadFile(path)
	w.check(err)
	changed := bytes.Replace(data, []byte("d/1"), []byte("d/7"), 1)
	w.check(os.WriteFile(path, changed, 0o600), os.Chtimes(path, info.ModTime(), info.ModTime()))
	after, err := os.Stat(path)
	w.check(err)
	if after.Size() != info.Size() || !after.ModTime().Equal(info.ModTime()) {
		t.Fatal("the change shows in size or mtime")
	}
	e := w.explain("docs/all")
	if len(e.Unreadable) != 1 || e.Unreadable[0].Session != sid(1) || !strings.Contains(e.Unreadable[0].Error, "exec.jsonl line 4 ") {
		t.Errorf("got %+v, want the changed session", e.Unreadable)
	}
	if got := len(e.Path.Read); got != 2 {
		t.Errorf("%d turns read it, want the 2 of sessions that verify", got)
	}
	w.opens("an unreadable session is read each time", 1)
	var unreadable *UnreadableError
	if _, err := w.audit(w.cache).Explain(context.Background(), sid(1), nil); !errors.As(err, &unreadable) {
		t.Errorf("got %v, want an UnreadableError", err)
	}
	// With the bytes back in their places all is as before.
	w.check(os.WriteFile(path, data, 0o600), os.Chtimes(path, info.ModTime(), info.ModTime()))
	if got := w.answers(w.cache, chainQuestions()); got != before {
		t.Errorf("got %s\nwant %s", got, before)
	}
}

// Every answer is the same with the index, without it, and whatever became of it.
func TestIndexDecidesNothing(t *testing.T) {
	w := newWorld(t)
	w.chain(6)
	w.run(sid(50), story{pkg: "PKG-T3-BROKEN-001", version: "0.1.0", turns: []did{{reads: []file{{"docs/all", "all"}}}}})
	flip(t, w.exec(sid(50)), 400)
	want := w.answers("", chainQuestions())
	path, _ := w.audit(w.cache).indexPath()
	hold := func(what string) {
		t.Helper()
		if got := w.answers(w.cache, chainQuestions()); got != want {
			t.Errorf("%s: got %s\nwant %s", what, got, want)
		}
	}
	hold("first")
	hold("second")
	good, err := os.ReadFile(path)
	w.check(err)

	// Damage of any kind is noticed,
	_, root := w.audit(w.cache).indexPath()
	if len(parseIndex(good, root)) != 6 {
		t.Fatalf("the index has %d sessions, want 6", len(parseIndex(good, root)))
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if parseIndex(bad, root) != nil {
			t.Fatalf("byte %d was flipped, and the index counts", i)
		}
		if parseIndex(good[:i], root) != nil {
			t.Fatalf("it was cut to %d bytes, and counts", i)
		}
	}
	// and mended without a word.
	for _, c := range []struct {
		what string
		data []byte
	}{
		{"empty", nil},
		{"cut", good[:len(good)/2]},
		{"flipped", append([]byte{good[0] ^ 1}, good[1:]...)},
		{"longer", append(slices.Clone(good), good...)},
		{"of another root", seal(strings.Replace(string(good), root, strings.Repeat("0", 64), 1))},
		{"of a later version", seal(strings.Replace(string(good), "v2 ", "v3 ", 1))},
		{"of another program", seal(strings.ReplaceAll(string(good), `"state":"closed"`, `"state":12345678`))},
		{"sealed nonsense", seal(indexHead + root + "\nSES-1 ho1 x\n" + strings.Repeat("x", 72))},
		{"sealed numbers", seal(indexHead + root + "\nSES-1 ho1 1 2 3 x {}\n" + strings.Repeat("x", 72))},
		{"random", bytes.Repeat([]byte{0x5a, '\n', 0xff}, 10_000)},
	} {
		w.check(os.WriteFile(path, c.data, 0o600))
		hold(c.what)
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, good) {
			t.Errorf("%s: the index was not mended: %v", c.what, err)
		}
	}

	// One that is stale:
	w.run(sid(7), story{pkg: "PKG-T3-CHAIN-001", version: "0.2.0", turns: []did{{reads: []file{{"docs/all", "all"}}}}})
	w.check(os.RemoveAll(filepath.Dir(w.ledgerDir(sid(0)))))
	want = w.answers("", chainQuestions())
	hold("stale")
	w.check(os.WriteFile(path, good, 0o600))
	hold("of before")
	w.check(os.Remove(filepath.Join(w.ledgerDir(sid(2)), record.EvidenceFile)))
	want = w.answers("", chainQuestions())
	hold("without evidence")

	// A session that somebody copied into another plane is there twice, each time.
	twin := filepath.Join(w.root.Path(), "planes", "ho2", "sessions", sid(4))
	w.check(os.MkdirAll(filepath.Dir(twin), 0o700), os.CopyFS(twin, os.DirFS(filepath.Dir(w.ledgerDir(sid(4))))))
	want = w.answers("", chainQuestions())
	hold("twins")
	hold("twins again")

	// What is no file there, and folders that cannot be used.
	w.check(os.Remove(path), syscall.Mkfifo(path, 0o600))
	hold("a FIFO")
	w.check(os.Remove(path), os.Symlink("/dev/zero", path))
	hold("a link")
	w.check(os.Remove(path), os.Mkdir(path, 0o700))
	hold("a folder")
	w.check(os.Remove(path))
	w.check(os.Chmod(w.cache, 0o755))
	hold("a cache that others may enter")
	if _, err := os.Lstat(path); err == nil {
		t.Error("an index was written where others may enter")
	}
	w.check(os.RemoveAll(w.cache), os.WriteFile(w.cache, nil, 0o600))
	hold("a cache that is a file")
}

// seal puts the right digest behind what stands in front of the last 72 bytes.
func seal(text string) []byte {
	body := text[:len(text)-72]
	return []byte(body + digits(body) + "\n")
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Where the index cannot be written nothing is kept, nothing of the attempt stays,
// and nothing is wrong.
func TestIndexNotKept(t *testing.T) {
	w := newWorld(t)
	w.chain(3)
	want := w.answers("", chainQuestions())
	path, _ := w.audit(w.cache).indexPath()
	w.check(os.Mkdir(w.cache, 0o700), os.Mkdir(filepath.Dir(path), 0o700), os.MkdirAll(filepath.Join(path, "in the way"), 0o700))
	if got := w.answers(w.cache, chainQuestions()); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 || !left[0].IsDir() {
		t.Errorf("left %v %v, want what was in the way", left, err)
	}
}

// Several that ask at once, in several processes as it were, do no harm to each
// other.
func TestIndexAtOnce(t *testing.T) {
	w := newWorld(t)
	w.chain(30)
	want := w.answers("", chainQuestions())
	var wait sync.WaitGroup
	for n := range 8 {
		wait.Go(func() {
			if n%4 == 3 {
				path, _ := w.audit(w.cache).indexPath()
				os.WriteFile(path, []byte("damage"), 0o600)
			}
			if got := w.answers(w.cache, chainQuestions()); got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
	wait.Wait()
	left, err := os.ReadDir(filepath.Join(w.cache, indexFolder))
	if err != nil || len(left) != 1 {
		t.Errorf("left %v %v, want the index", left, err)
	}
}

// A session that is being written is told as far as it is written.
func TestIndexLiveSession(t *testing.T) {
	w := newWorld(t)
	w.run(sid(1), story{pkg: "PKG-T3-LIVE-001", version: "0.1.0", turns: []did{
		{reads: []file{{"docs/a", "a"}}, writes: []file{{"out/a", "A"}}},
		{reads: []file{{"docs/b", "b"}}, open: true},
	}})
	data, err := os.ReadFile(w.exec(sid(1)))
	w.check(err)
	w.check(os.WriteFile(w.exec(sid(1)), append(data, `{"seq":9,"ti`...), 0o600))
	e := w.explain("docs/b")
	if len(e.Unreadable) != 0 || len(e.Path.Read) != 1 || e.Path.Read[0].Status != "" {
		t.Errorf("got %+v, want one turn that has not ended", e.Path)
	}
	if s := w.explain(sid(1)).Session; s.State != "unfinished" || len(s.Turns) != 2 {
		t.Errorf("got %+v", s)
	}
}

// What is no session says why, and hides nothing.
func TestIndexUnreadable(t *testing.T) {
	w := newWorld(t)
	w.chain(8)
	fault := map[string]string{}
	breaks := func(n int, want string, errs ...error) {
		w.check(errs...)
		fault[sid(n)] = want
	}
	breaks(0, "exec.jsonl is missing: a session without both ledgers is invalid", os.Remove(w.exec(sid(0))))
	breaks(1, "evidence.jsonl is missing: a session without both ledgers is invalid", os.Remove(filepath.Join(w.ledgerDir(sid(1)), record.EvidenceFile)))
	breaks(2, "exec.jsonl is no regular file", os.Remove(w.exec(sid(2))), syscall.Mkfifo(w.exec(sid(2)), 0o600))
	breaks(3, "exec.jsonl is no regular file", os.Remove(w.exec(sid(3))), os.Symlink(w.exec(sid(4)), w.exec(sid(3))))
	breaks(5, "exec.jsonl has no session.open", os.Truncate(w.exec(sid(5)), 0))
	data, err := os.ReadFile(w.exec(sid(6)))
	breaks(4, "session is", err, os.WriteFile(w.exec(sid(4)), data, 0o600))
	w.run(sid(9), story{pkg: "PKG-T3-LIES-001", version: "0.1.0", turns: []did{{broken: true}}})
	breaks(9, "turn 1 published never/written, which it did not write with that content")
	for range 2 {
		e := w.explain("PKG-T3-CHAIN-001")
		if len(e.Package.Sessions) != 2 || len(e.Unreadable) != len(fault) {
			t.Errorf("got %d sessions and %+v, want 2 and %d", len(e.Package.Sessions), e.Unreadable, len(fault))
		}
		for _, u := range e.Unreadable {
			if want, ok := fault[u.Session]; !ok || !strings.Contains(u.Error, want) {
				t.Errorf("%s: got %q, want %q", u.Session, u.Error, want)
			}
		}
	}
	var unknown *UnknownError
	if _, err := w.audit(w.cache).Explain(context.Background(), "docs/none", nil); !errors.As(err, &unknown) || len(unknown.Unreadable) != len(fault) {
		t.Errorf("got %v, want an UnknownError that names them", err)
	}
}

// Of a session that was removed nothing is left in the index.
func TestForget(t *testing.T) {
	w := newWorld(t)
	w.check(w.audit(w.cache).Forget()) // there is no index
	w.chain(3)
	w.opens("no index", 3)
	w.check(w.audit(w.cache).Forget())
	w.opens("all are there", 0)
	w.check(os.RemoveAll(filepath.Dir(w.ledgerDir(sid(1)))))
	w.check(w.audit(w.cache).Forget())
	path, _ := w.audit(w.cache).indexPath()
	data, err := os.ReadFile(path)
	if err != nil || bytes.Contains(data, []byte(sid(1))) || len(w.audit(w.cache).load()) != 2 {
		t.Errorf("the index is\n%s %v", data, err)
	}
	w.opens("the others are kept", 0)
	w.check(os.RemoveAll(filepath.Dir(w.ledgerDir(sid(0)))), os.RemoveAll(filepath.Dir(w.ledgerDir(sid(2)))))
	w.check(w.audit(w.cache).Forget())
	if got := w.audit(w.cache).load(); len(got) != 0 {
		t.Errorf("left %v", got)
	}
}

// Indexes are removed by age, and all else stays.
func TestCleanIndexes(t *testing.T) {
	w := newWorld(t)
	w.chain(2)
	w.opens("no index", 2)
	other := filepath.Join(w.cache, indexFolder, "other")
	w.check(os.WriteFile(other, []byte("x"), 0o600))
	if freed, err := CleanIndexes(w.cache, func(at time.Time) bool { return time.Since(at) > time.Hour }); freed != 0 || err != nil {
		t.Errorf("freed %d %v, want nothing", freed, err)
	}
	path, _ := w.audit(w.cache).indexPath()
	info, err := os.Stat(path)
	w.check(err)
	if freed, err := CleanIndexes(w.cache, func(time.Time) bool { return true }); freed != info.Size() || err != nil {
		t.Errorf("freed %d %v, want %d", freed, err, info.Size())
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	if freed, err := CleanIndexes(filepath.Join(w.cache, "none"), func(time.Time) bool { return true }); freed != 0 || err != nil {
		t.Errorf("freed %d %v, want nothing", freed, err)
	}
}

// Whoever has no patience gets no half answer.
func TestIndexInterrupted(t *testing.T) {
	w := newWorld(t)
	w.chain(5)
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("enough")
	cancel(cause)
	if e, err := w.audit(w.cache).Explain(ctx, "docs/all", nil); !errors.Is(err, cause) {
		t.Errorf("got %v %v, want %v", e, err, cause)
	}
	w.opens("nothing was kept", 5)
}

// With 10,000 sessions the first question reads each ledger once, the second none.
func TestIndexTenThousand(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	w := newWorld(t)
	for i := range n {
		w.run(sid(i), story{pkg: fmt.Sprintf("PKG-T3-MANY-%03d", i%50), version: "0.1.0", module: "many", turns: []did{{
			reads:  []file{{fmt.Sprintf("docs/%d.md", i%100), fmt.Sprint("doc", i%100)}, {fmt.Sprintf("out/%d", i/2), fmt.Sprint("out", i/2)}},
			writes: []file{{fmt.Sprintf("out/%d", i), fmt.Sprint("out", i)}},
		}}})
	}
	var calls, last int
	begun := time.Now()
	ix, err := w.audit(w.cache).index(context.Background(), func(done, of int) { calls, last = calls+1, of })
	w.check(err)
	t.Logf("%d sessions: the first index in %v", n, time.Since(begun))
	if ix.opened != n || len(ix.lines) != n || last != n || calls == 0 {
		t.Errorf("%d ledgers were read, %d told, %d calls; want %d", ix.opened, last, calls, n)
	}
	w.opens("the second time", 0)
	for _, q := range []string{"PKG-T3-MANY-007", sid(5), "docs/7.md", digits("doc7")} {
		begun := time.Now()
		w.explain(q)
		t.Logf("%-60.60s %v", q, time.Since(begun))
	}
	d := w.explain(digits("out1")).Digest
	// i reads out(i/2): from 2 and 3 on all but 0 and 1 come of it, and 1 reads out0.
	if len(d.Reached) != n-2 || d.Reached[len(d.Reached)-1].Published == nil {
		t.Errorf("it went into %d turns, want %d", len(d.Reached), n-2)
	}
	path, _ := w.audit(w.cache).indexPath()
	if info, err := os.Stat(path); err == nil {
		t.Logf("the index has %d bytes a session", info.Size()/int64(n))
	}
}
