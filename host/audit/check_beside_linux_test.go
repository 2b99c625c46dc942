package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/audit/audittest"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// A root in which nothing is found is read once: each ledger is opened once.
func TestReadsEachLedgerOnce(t *testing.T) {
	f := newPlane(t)
	root := f.open()
	queue, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	ok(t, err)
	defer syscall.Close(queue)
	folders := map[int32]string{}
	for _, id := range []string{sesOne, sesTwo, sesBlocked, sesOpen} {
		name := in(id, "ledger")
		// With the closing between two openings they are not told as one.
		wd, err := syscall.InotifyAddWatch(queue, f.abs(name), syscall.IN_OPEN|syscall.IN_CLOSE)
		ok(t, err)
		folders[int32(wd)] = name
	}
	wd, err := syscall.InotifyAddWatch(queue, f.abs("ledger"), syscall.IN_OPEN|syscall.IN_CLOSE)
	ok(t, err)
	folders[int32(wd)] = "ledger"

	got, err := CheckIntegrity(context.Background(), root, IntegrityOptions{})
	ok(t, err)
	if len(got.Findings) > 0 {
		t.Fatal(lines(got))
	}
	opened := map[string]int{}
	events := make([]byte, 1<<20)
	n, err := syscall.Read(queue, events)
	ok(t, err)
	for b := events[:n]; len(b) > 0; {
		// struct inotify_event: wd, mask, cookie, len, name
		wd, mask, length := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
		name := string(bytes.TrimRight(b[16:16+length], "\x00"))
		b = b[16+length:]
		if mask&syscall.IN_OPEN != 0 && strings.HasSuffix(name, ".jsonl") {
			opened[folders[wd]+"/"+name]++
		}
	}
	want := map[string]int{"ledger/" + record.GovernanceFile: 1}
	for _, id := range []string{sesOne, sesTwo, sesBlocked, sesOpen} {
		want[in(id, "ledger/"+record.ExecFile)], want[in(id, "ledger/"+record.EvidenceFile)] = 1, 1
	}
	if !maps.Equal(opened, want) {
		t.Errorf("opened %v, want %v", opened, want)
	}
}

// TestCounts holds how much was looked at, where there is much.
func TestCounts(t *testing.T) {
	f := newFolder(t)
	const n = 100
	ok(t, audittest.Many(context.Background(), f.open(), n))
	steps := 0
	got, err := CheckIntegrity(context.Background(), f.open(), IntegrityOptions{Progress: func(what string, done, of int) {
		if what == "sessions" {
			if steps++; done != steps || of != n+4 {
				t.Errorf("progress is %d of %d at step %d", done, of, steps)
			}
		}
	}})
	ok(t, err)
	// A session of Many: session.open, turn.begin, 2 reads (the first 1), a write and
	// its digest (every tenth 2), turn.end, session.close, and 3 seals; its evidence
	// and 2 seals. Two ledgers, three blobs, a published file (every tenth 2).
	want := Checked{Sessions: n, Entries: n*14 - 1 + n/10*2, Files: n*6 + n/10}
	// And what is in the fixture: sessions, published files, what plane ho2 has.
	want.add(Checked{Sessions: 4, Entries: 14 + 13 + 12 + 16 + 4 + 4, Files: 5 + 5 + 5 + 7 + 3 + 4})
	// And the registers, in which what came at a time has one seal.
	for _, plane := range []string{"ho1", "ho2"} {
		report, err := register.Verify(f.open().Folder(), f.path, plane)
		ok(t, err)
		want.add(Checked{Entries: int(report.Entries), Files: 1})
	}
	if len(got.Findings) > 0 || got.Checked != want {
		t.Errorf("got %+v %q, want %+v", got.Checked, lines(got), want)
	}
}

// However many files nobody accounts for there are, the list of them is short and
// their number known.
func TestManyOrphans(t *testing.T) {
	f := newFolder(t)
	const n = 3000
	for i := range n {
		ok(t, os.WriteFile(f.abs(fmt.Sprintf("output/%05d", i)), nil, 0o600))
		if i%2 == 0 {
			ok(t, os.WriteFile(f.abs(in(sesOne, fmt.Sprintf("%05d", i))), nil, 0o600))
		}
	}
	got, err := CheckIntegrity(context.Background(), f.open(), IntegrityOptions{})
	ok(t, err)
	if got.Errors() != n+n/2 || got.Warnings() != 0 || len(got.Findings) != 2*listed+2 {
		t.Fatalf("%d findings, %d errors, %d warnings", len(got.Findings), got.Errors(), got.Warnings())
	}
	list := lines(got)
	for i, want := range map[int]string{
		0:            `error orphan "output/00000": a file that nobody accounts for`,
		listed - 1:   `error orphan "output/00099": a file that nobody accounts for`,
		listed:       `error orphan "output": 2900 more like those before, which are not listed`,
		listed + 1:   `error orphan "planes/ho1/sessions/SES-20260101-one/00000": a file that nobody accounts for`,
		2*listed + 1: `error orphan "planes/ho1/sessions/SES-20260101-one": 1400 more like those before, which are not listed`,
	} {
		if list[i] != want {
			t.Errorf("finding %d is %s, want %s", i, list[i], want)
		}
	}
}

// What is found is looked at again: what was half done then is no finding, what
// came since is one once it was seen twice.
func TestLooksAgain(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(f *fixture)
		again  func(f *fixture, n int)
		want   []string
		looks  int
	}{
		{"gone", func(f *fixture) { f.write("output/x", "") }, func(f *fixture, n int) { f.remove("output/x") }, nil, 2},
		{"stays", func(f *fixture) { f.write("output/x", "") }, func(*fixture, int) {}, []string{`error orphan "output/x": a file that nobody accounts for`}, 2},
		{"comes", func(f *fixture) { f.write("output/x", "") }, func(f *fixture, n int) {
			if n == 1 {
				f.rename("output/x", "output/y")
			}
		}, []string{`error orphan "output/y": a file that nobody accounts for`}, 3},
		{"always another", func(f *fixture) { f.write("output/0", "") }, func(f *fixture, n int) {
			f.rename(fmt.Sprint("output/", n-1), fmt.Sprint("output/", n))
		}, nil, rounds},
		{"a session is mended", func(f *fixture) { f.rename(in(sesOne, "ledger/evidence.jsonl"), "away") }, func(f *fixture, n int) {
			f.rename("away", in(sesOne, "ledger/evidence.jsonl"))
		}, nil, 2},
		{"a session is written to", func(f *fixture) { f.write("output/x", "") }, func(f *fixture, n int) {
			if n == 1 {
				f.remove("output/x")
				s, _, err := f.open().Open(context.Background(), sesOpen)
				ok(f.t, err)
				ok(f.t, s.Close())
			}
		}, nil, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFolder(t)
			test.before(f)
			c := newCheck(context.Background(), f.open(), IntegrityOptions{})
			n := 0
			c.again = func() { n++; test.again(f, n) }
			found, err := c.run()
			ok(t, err)
			if got := lines(found); !slices.Equal(got, append([]string{}, test.want...)) || n+1 != test.looks {
				t.Errorf("after %d looks found %q, want %q after %d", n+1, got, test.want, test.looks)
			}
		})
	}
}

// TestBesideTurns looks at the root at every step of turns that are committed, that
// are blocked, and of sessions that are removed.
func TestBesideTurns(t *testing.T) {
	for name, f := range map[string]*fixture{"plane": newPlane(t), "folder": newFolder(t)} {
		t.Run(name, func(t *testing.T) {
			looks := 0
			look := f.open()
			root := f.openWith(session.Options{Step: func(step string) {
				looks++
				if got := f.findings(look); len(got) > 0 {
					t.Errorf("at %q: %q", step, got)
				}
			}})
			file := func(path, content string) audittest.File { return audittest.File{Path: path, Content: content} }
			ok(t, audittest.Make(context.Background(), root, audittest.Session{ID: "SES-20260106-beside", Plane: "ho1", Turns: []audittest.Turn{
				{Writes: []audittest.File{file("reports/a.md", "beside"), file("reports/new.md", "new"), file("output/SES-20260106-beside/x", "x")}},
				{Writes: []audittest.File{file("reports/a.md", "again"), file("output/SES-20260106-beside/x", "y")}},
				{Writes: []audittest.File{file("reports/a.md", "blocked")}, Code: record.CodeUndeclaredWrite},
			}}))
			const pruned = "SES-20260107-pruned"
			ok(t, audittest.Make(context.Background(), root, audittest.Session{ID: pruned, Plane: "ho1", Turns: []audittest.Turn{
				{Writes: []audittest.File{file("output/"+pruned+"/x", "x")}},
			}}))
			if name == "plane" {
				f.changeIn(root, func(c *plane.Change) {
					ok(t, c.Prune(record.SessionPrune{SessionID: pruned, Plane: "ho1", Published: true}))
				})
			}
			ok(t, second(root.Prune(context.Background(), pruned, true, false)))
			if got := f.findings(f.open()); len(got) > 0 || looks < 30 {
				t.Errorf("at the end, after %d looks: %q", looks, got)
			}
		})
	}
}

// TestBesideChanges begins to look at the root at every step of changes of the
// plane, and looks again while they go on.
func TestBesideChanges(t *testing.T) {
	f := newPlane(t)
	look := f.open()
	var looking sync.WaitGroup
	looks := 0
	root := f.openWith(session.Options{Step: func(step string) {
		looks++
		once := make(chan struct{})
		var seen sync.Once
		looking.Go(func() {
			c := newCheck(context.Background(), look, IntegrityOptions{})
			c.pause = 20 * time.Millisecond
			c.again = func() { seen.Do(func() { close(once) }) }
			found, err := c.run()
			seen.Do(func() { close(once) })
			if err != nil || len(found.Findings) > 0 {
				t.Errorf("at %q: %q %v", step, lines(found), err)
			}
		})
		<-once // it has looked once, and goes on by itself
	}})
	f.changeIn(root, func(c *plane.Change) {
		for _, version := range []string{"1.2.0", "1.3.0"} {
			pkg, file := f.pack(tool, version, "")
			ok(t, second(c.Install(pkg, file, plane.InstallOptions{})))
			ok(t, pkg.Close())
		}
		_, bob := key(t, "bob")
		ok(t, second(c.Trust(bob)))
		ok(t, c.RotateToken(func(token string) error { f.token = token; return nil }))
		ok(t, second(c.Uninstall(tool, "", false)))
	})
	looking.Wait()
	if got := f.findings(f.open()); len(got) > 0 || looks < 40 {
		t.Errorf("at the end, after %d looks: %q", looks, got)
	}
}

// A turn that runs is no finding, whatever it left lying about, and neither is what
// a process that works on a session has not written to its end.
func TestRunningTurn(t *testing.T) {
	f := newPlane(t)
	root := f.open()
	s, _, err := root.Open(context.Background(), sesOpen)
	ok(t, err)
	ok(t, second(s.Begin(3)))
	ok(t, second(s.Exec.Append(3, record.TurnBegin{AsOf: "2026-01-01T00:00:00Z"})))
	ok(t, second(s.Blob([]byte("not named yet"))))
	log, err := os.OpenFile(f.abs(in(sesOpen, "ledger/exec.jsonl")), os.O_WRONLY|os.O_APPEND, 0)
	ok(t, err)
	ok(t, second(log.WriteString(`{"v":1,"seq"`)))
	ok(t, log.Close())
	ok(t, os.WriteFile(filepath.Dir(f.abs(f.aBlob(sesOpen)))+"/.new-7", nil, 0o600))
	if got := f.findings(f.open()); len(got) > 0 {
		t.Error(got)
	}
	ok(t, s.Leave())
	if got := f.findings(f.open()); len(got) != 4 {
		t.Error(got)
	}
}

// A check ends with its context.
func TestCheckEnds(t *testing.T) {
	f := newFolder(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if got, err := CheckIntegrity(ctx, f.open(), IntegrityOptions{}); err != context.Canceled {
		t.Error(got, err)
	}
}

// Where there is no root there is nothing to be found.
func TestNoRoot(t *testing.T) {
	root, err := session.OpenRoot(session.Options{Key: ledgertest.Host, Hosts: ledgertest.Hosts, Workspace: t.TempDir()})
	ok(t, err)
	defer root.Close()
	got, err := CheckIntegrity(context.Background(), root, IntegrityOptions{})
	if err != nil || got.Findings == nil || len(got.Findings) > 0 || got.Checked != (Checked{}) {
		t.Error(got, err)
	}
}
