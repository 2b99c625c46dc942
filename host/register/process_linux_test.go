package register

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
)

// A child of the tests is this program again, told by this variable what to do:
// "NAME LAST ROOT". It goes on with the sessions of shared until each has LAST
// entries, or for ever if that is 0, and prints what it recorded.
const childVariable = "AGENTHOST_TEST_CHILD"

const (
	shared  = 8 // sessions
	workers = 4 // goroutines of a child
)

func TestMain(m *testing.M) {
	if what := os.Getenv(childVariable); what != "" {
		if err := child(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// win is a line that a child prints: one session, the head it was, who made the
// next, and that.
type win struct {
	session  string
	was      Head
	is       Head
	who      string
	answered string // how the line was printed
}

func (w win) String() string {
	return fmt.Sprintf("%s %d %v %d %v %s\n", w.session, w.was.Size, w.was.Root, w.is.Size, w.is.Root, w.who)
}

func parseWin(line string) (w win, err error) {
	var was, is string
	if _, err = fmt.Sscanf(line, "%s %d %s %d %s %s\n", &w.session, &w.was.Size, &was, &w.is.Size, &is, &w.who); err != nil {
		return w, err
	}
	w.answered = line
	return w, errors.Join(w.was.Root.UnmarshalText([]byte(was)), w.is.Root.UnmarshalText([]byte(is)))
}

func session(n int) string { return fmt.Sprintf("SES-%d", n) }

func child(what string) error {
	var (
		name, root string
		last       uint64
		mu         sync.Mutex // of stdout
		wg         sync.WaitGroup
		errs       = make([]error, workers)
	)
	if _, err := fmt.Sscanf(what, "%s %d %s", &name, &last, &root); err != nil {
		return err
	}
	dir, err := beneath.Open(root)
	if err != nil {
		return err
	}
	r := New(dir, root, "ho1", options())
	r.limit = 16 << 10
	for n := range workers {
		who := fmt.Sprintf("%s-%d", name, n)
		wg.Go(func() {
			for i := n; errs[n] == nil; i++ {
				var w win
				var done bool
				w, done, errs[n] = advance(r, session(i%shared), who, last)
				if done {
					break
				}
				if w.who != "" {
					mu.Lock()
					_, err := io.WriteString(os.Stdout, w.String())
					mu.Unlock()
					errs[n] = errors.Join(errs[n], err)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, r.Close())...)
}

// advance tries to go on with a session, and reports whether all have as many
// entries as they are to have.
func advance(r *Register, session, who string, last uint64) (w win, done bool, err error) {
	s, ok, err := r.Find(ctx, session)
	if err != nil || !ok {
		return w, false, errors.Join(err, r.Wait(ctx, session))
	}
	if last > 0 && s.Size >= last {
		for n := range shared {
			s, _, err := r.Find(ctx, fmt.Sprintf("SES-%d", n))
			if err != nil || s.Size < last {
				return w, false, err
			}
		}
		return w, true, nil
	}
	is := Head{s.Size + 1, sha256.Sum256(fmt.Append(nil, s.Root, who))}
	err = r.Record(ctx, Change{Kind: record.KindSessionHead, Session: session, Was: &s.Head, Is: is})
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		return w, false, nil
	}
	return win{session: session, was: s.Head, is: is, who: who}, false, err
}

func start(t testing.TB, name, root string, last uint64) (*exec.Cmd, io.Reader) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", childVariable, name, last, root))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

func openShared(t testing.TB, root string) map[string]Head {
	t.Helper()
	r := at(t, root, options())
	heads := map[string]Head{}
	for n := range shared {
		must(t, r, opened(session(n)))
		heads[session(n)] = head(2, "")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return heads
}

// TestOneWins: of processes that go on with the same sessions one wins each step,
// on top of the one that won before.
func TestOneWins(t *testing.T) {
	const processes, last = 4, 12
	root := t.TempDir()
	first := openShared(t, root)
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		wins = map[string]map[uint64]win{}
		got  int
	)
	for n := range processes {
		cmd, out := start(t, fmt.Sprintf("p%d", n), root, last)
		wg.Go(func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				w, err := parseWin(lines.Text())
				mu.Lock()
				got++
				if wins[w.session] == nil {
					wins[w.session] = map[uint64]win{}
				}
				if other, twice := wins[w.session][w.is.Size]; err != nil || twice {
					t.Errorf("%s and %s won: %v", other.who, lines.Text(), err)
				}
				wins[w.session][w.is.Size] = w
				mu.Unlock()
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	report := verified(t, root)
	if want := shared * (last - 2); got != want || len(wins) != shared {
		t.Errorf("%d wins of %d sessions, want %d", got, len(wins), want)
	}
	for session, h := range first {
		for h.Size < last {
			w := wins[session][h.Size+1]
			if w.was != h {
				t.Fatalf("%s: %s goes on from %v, and it was %v", session, w.answered, w.was, h)
			}
			h = w.is
		}
		if s := report.Sessions[session]; s.Head != h {
			t.Errorf("%s: registered %v, want %v", session, s.Head, h)
		}
	}
}

// TestKilled: two processes are killed in the middle of it, again and again. What
// was answered is there, and nothing else but what was about to be.
func TestKilled(t *testing.T) {
	root := t.TempDir()
	answered := openShared(t, root)
	for n := range 6 {
		var (
			mu sync.Mutex
			wg sync.WaitGroup
		)
		for p := range 2 {
			cmd, out := start(t, fmt.Sprintf("k%d-%d", n, p), root, 0)
			wg.Go(func() {
				lines := 0
				for in := bufio.NewReader(out); ; lines++ {
					if lines == 10*n+20 {
						cmd.Process.Kill() //nolint:errcheck // it may be dead
					}
					line, err := in.ReadString('\n')
					if err != nil {
						break // what has no end was not printed whole
					}
					w, err := parseWin(line)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					if w.is.Size > answered[w.session].Size {
						answered[w.session] = w.is
					}
					mu.Unlock()
				}
				cmd.Wait() //nolint:errcheck // it was killed
			})
		}
		wg.Wait()
		report := verified(t, root)
		for session, h := range answered {
			s := report.Sessions[session]
			if s.Size < h.Size || s.Size == h.Size && s.Root != h.Root || s.Size > h.Size+2*workers {
				t.Errorf("round %d: %s has %v, answered %v", n, session, s.Head, h)
			}
			answered[session] = s.Head
		}
	}
	r := at(t, root, options())
	for session, h := range answered {
		if s := found(t, r, session); s.Head != h {
			t.Errorf("%s has %v, want %v", session, s.Head, h)
		}
		must(t, r, Change{Kind: record.KindSessionHead, Session: session, Was: &h, Is: head(h.Size+1, "")})
	}
	report := verified(t, root)
	if report.Torn != nil {
		t.Errorf("got %+v", report)
	}
	names, err := os.ReadDir(file(root, "."))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range names {
		if !strings.Contains(e.Name(), ".torn-") {
			files = append(files, e.Name())
		}
	}
	if len(files) != report.Segments || report.Segments < 2 {
		t.Errorf("%d segments: %v", report.Segments, files)
	}
	var unknown *record.UnknownHostError
	if trusted, err := options().Hosts(); err != nil || errors.As(record.CheckHosts("", report.Hosts, trusted), &unknown) {
		t.Errorf("sealed by %v", report.Hosts)
	}
}
