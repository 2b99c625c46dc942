//go:build linux || darwin

package ledger

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tapedDisk notes how many bytes of a ledger were written and synced, call by
// call, so that a crash between any two can be made from the final file.
type tapedDisk struct {
	osDisk
	states []diskState
}

// diskState is what the disk may hold after a call: everything up to synced,
// anything of what follows up to written.
type diskState struct {
	synced, written int64
	acked           int // entries known to be durable by the caller
}

func (d *tapedDisk) openFile(name string, flag int, perm fs.FileMode) (file, error) {
	f, err := d.osDisk.openFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	d.states = append(d.states, diskState{})
	return &tapedFile{f.(*os.File), d}, nil
}

func (d *tapedDisk) last() *diskState { return &d.states[len(d.states)-1] }

type tapedFile struct {
	*os.File
	d *tapedDisk
}

func (f *tapedFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	s := *f.d.last()
	s.written += int64(n)
	f.d.states = append(f.d.states, s)
	return n, err
}

func (f *tapedFile) Sync() error {
	s := *f.d.last()
	s.synced = s.written
	f.d.states = append(f.d.states, s)
	return nil
}

// crashing are options of a ledger in which "stop" is durable at once and "end" is
// committed.
func crashing(t testing.TB) Options {
	o := sealing(t)
	o.Durable = func(e Entry) bool { return e.Kind == "stop" }
	return o
}

// A crash at any call leaves a file cut anywhere beyond what was synced, with
// any of the sectors there unwritten. Opening it then loses no entry that was
// acknowledged, invents none, takes no part of a commit for the whole, and never
// takes it for damage.
func TestEveryCrashIsRecovered(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	crashes, torn := 0, 0
	for range 40 {
		d := &tapedDisk{}
		o := crashing(t)
		o.faults = d
		l := mustCreate(t, o)
		acked := func() { d.last().acked = int(l.Head().Size) }
		mustCommit(t, l, "key")
		acked()
		for i := range 1 + random.IntN(25) {
			text := strings.Repeat("x", []int{0, 10, 300, 2000}[random.IntN(4)])
			switch random.IntN(5) {
			case 0:
				mustAppend(t, l, "stop", text)
				acked()
			case 1:
				if _, err := l.Commit(1, &remark{"end", text}); err != nil {
					t.Fatal(err)
				}
				acked()
			case 2:
				if _, err := l.Commit(1, &remark{"end", text}, &remark{"end", "y"}); err != nil {
					t.Fatal(err)
				}
				acked()
			default:
				mustAppend(t, l, "note", text)
			}
			if i%7 == 3 {
				if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
				acked()
			}
		}
		l.Close()
		whole, err := os.ReadFile(l.path)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range d.states {
			for range 3 {
				disk := crash(random, whole, s)
				recovered := checkRecovery(t, whole, disk, s.acked)
				if t.Failed() {
					t.Fatalf("after call %d: %+v, %d bytes left", i, s, len(disk))
				}
				crashes++
				if recovered {
					torn++
				}
			}
		}
	}
	if crashes < 2000 || torn < crashes/4 {
		t.Errorf("only %d crashes, %d of them with debris", crashes, torn)
	}
}

// crash makes one of the files that state s can leave.
func crash(random *rand.Rand, whole []byte, s diskState) []byte {
	end := s.synced
	if n := s.written - s.synced; n > 0 {
		end += random.Int64N(n + 1)
	}
	disk := bytes.Clone(whole[:end])
	for _, share := range []int{0, 2, 5}[random.IntN(3):] {
		if share == 0 {
			break
		}
		for sector := s.synced / sectorSize; sector*sectorSize < end; sector++ {
			if random.IntN(share) == 0 {
				clear(disk[max(sector*sectorSize, s.synced):min((sector+1)*sectorSize, end)])
			}
		}
	}
	return disk
}

// checkRecovery opens a ledger that holds disk, a crashed state of whole, and
// reports whether there was debris.
func checkRecovery(t *testing.T, whole, disk []byte, acked int) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "exec.jsonl")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := func() Options {
		o := crashing(t)
		o.faults = &faultyDisk{} // does not sync
		return o
	}
	var first []Recovery
	var head Head
	for round := range 2 {
		l, err := Open(path, fresh())
		if err != nil {
			t.Errorf("open %d: %v", round, err)
			return false
		}
		kept, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(whole, kept) || int(l.Head().Size) < acked || bytes.Count(kept, []byte("\n")) != int(l.Head().Size) {
			t.Errorf("open %d: kept %d entries of %d acknowledged, %v", round, l.Head().Size, acked, err)
		}
		if lines := strings.SplitAfter(string(kept), "\n"); len(lines) > 1 && strings.Contains(lines[len(lines)-2], `"kind":"end"`) {
			t.Errorf("open %d: a commit without its seal was kept", round)
		}
		got := l.Recovered()
		if round == 0 {
			first, head = got, l.Head()
			if len(kept) < len(disk) != (len(got) == 1) {
				t.Errorf("kept %d bytes of %d, recovered %+v", len(kept), len(disk), got)
			}
			for _, r := range got {
				debris, err := os.ReadFile(filepath.Join(filepath.Dir(path), r.File))
				if err != nil || !bytes.Equal(debris, disk[len(kept):]) || r.SHA256 != Sum(debris) || r.Offset != int64(len(kept)) || r.Length != int64(len(debris)) {
					t.Errorf("debris is not what was set aside: %+v, %v", r, err)
				}
			}
		} else if l.Head() != head || fmt.Sprint(got) != fmt.Sprint(first) {
			t.Errorf("opening again gives %+v, %+v, not %+v, %+v", l.Head(), got, head, first)
		}
		if round == 1 {
			if head.Size == 0 {
				mustCommit(t, l, "key")
			} else {
				mustCommit(t, l, "end")
			}
		}
		l.Close()
	}
	if report, err := Verify(path, fresh()); err != nil || report.Torn != nil || report.Entries != head.Size+2 || report.Sealed != report.Entries {
		t.Errorf("afterwards: %+v, %v", report, err)
	}
	return len(first) > 0
}

const childEnv = "LEDGER_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		child(path)
	}
	os.Exit(m.Run())
}

// child appends from several goroutines until it is killed, and says which
// entries are durable.
func child(path string) {
	failed := func(err error) {
		if err != nil {
			fmt.Println("failed", err)
			os.Exit(1)
		}
	}
	key, err := NewKey("one", zeros(1))
	failed(err)
	l, err := Open(path, Options{
		Session: "SES-1", Key: key, Origin: "test", Keys: &ring{keys: []*Key{key}},
		Durable: func(e Entry) bool { return e.Kind == "stop" }, Sealed: committed,
	})
	failed(err)
	for _, r := range l.Recovered() {
		_, err := l.Commit(0, &remark{"end", r.File})
		failed(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				body := &remark{[]string{"note", "note", "stop", "end"}[i%4], strings.Repeat("x", i%700)}
				if body.kind == "end" {
					c, err := l.Commit(1, body)
					failed(err)
					fmt.Println(c.Entries[0].Seq, c.Entries[0].Hash)
					continue
				}
				e, err := l.Append(1, body)
				failed(err)
				if body.kind == "stop" {
					fmt.Println(e.Seq, e.Hash)
				}
			}
		})
	}
	wg.Wait()
}

func TestKilledWriterLosesNothing(t *testing.T) {
	l := mustCreate(t, crashing(t))
	mustCommit(t, l, "key")
	l.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 9))
	acked := map[uint64]string{}
	for range 12 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), childEnv+"="+l.path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		stop := 1 + random.IntN(30)
		for n := 0; lines.Scan(); n++ {
			seq, hash, _ := strings.Cut(lines.Text(), " ")
			i, err := strconv.ParseUint(seq, 10, 64)
			if err != nil {
				t.Fatalf("child: %s", lines.Text())
			}
			acked[i] = hash
			if n == stop {
				time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond)
				if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		found := 0
		for e, err := range Scan(l.path, crashing(t)) {
			var bad *IntegrityError
			if errors.As(err, &bad) && bad.Torn {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if want, ok := acked[e.Seq]; ok {
				found++
				if e.Hash.String() != want {
					t.Errorf("seq %d: got %v, want %s", e.Seq, e.Hash, want)
				}
			}
		}
		if found != len(acked) {
			t.Fatalf("%d of %d acknowledged entries are left", found, len(acked))
		}
	}
	t.Logf("%d entries were acknowledged", len(acked))
}
