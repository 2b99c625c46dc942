package plane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

var (
	orderTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	aPackage  = record.Package{ID: "PKG-A-1", Version: "1.0.0", SHA256: ledger.Sum([]byte("a"))}
)

// orderRoot is a root with a work order of that id and those further members.
func orderRoot(t *testing.T, id, members string) (*WorkOrders, string) {
	t.Helper()
	ws := t.TempDir()
	putOrder(t, ws+"/.agenthost", id, members)
	return openOrders(t, ws), ws + "/.agenthost"
}

func openOrders(t *testing.T, ws string) *WorkOrders {
	t.Helper()
	root, err := session.OpenRoot(sealing(session.Options{Workspace: ws}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return NewWorkOrders(root, func() time.Time { return orderTime })
}

func putOrder(t *testing.T, root, id, members string) {
	t.Helper()
	putFile(t, root+"/FORMAT", session.FormatFolder)
	putFile(t, root+"/"+workOrderFolder+"/"+id+".json", `{"schema":"agenthost/work_order/v1","id":"`+id+`","packages":["PKG-A-1"]`+members+`}`)
}

func putFile(t *testing.T, name, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func readOrder(t *testing.T, w *WorkOrders, id string) *policy.WorkOrder {
	t.Helper()
	order, err := w.Read(id)
	if err != nil {
		t.Fatal(err)
	}
	return order
}

// claim claims the n-th turn of a session.
func claim(w *WorkOrders, order *policy.WorkOrder, n int64) error {
	return w.Claim(context.Background(), order, record.WorkOrderTurn{Package: aPackage, SessionID: "SES-1", TurnNumber: n})
}

// orderRefused checks that a work order refused for that reason.
func orderRefused(t *testing.T, err error, what string) {
	t.Helper()
	var e *policy.WorkOrderError
	if !errors.As(err, &e) || e.What != what {
		t.Errorf("got %v, want: it %s", err, what)
	}
}

func TestClaimTurns(t *testing.T) {
	w, root := orderRoot(t, "WO-7", `,"turns":2`)
	order := readOrder(t, w, "WO-7")
	if claims, err := w.Claims("WO-7"); err != nil || claims != nil {
		t.Errorf("got %v, %v", claims, err)
	}
	for n := range int64(2) {
		if err := errors.Join(w.Check(order, aPackage), claim(w, order, n+1)); err != nil {
			t.Fatal(err)
		}
	}
	orderRefused(t, w.Check(order, aPackage), "has no turn left: 2 of 2 were claimed")
	orderRefused(t, claim(w, order, 3), "has no turn left: 2 of 2 were claimed")
	claims, err := w.Claims("WO-7")
	if err != nil || len(claims) != 2 {
		t.Fatalf("got %v, %v", claims, err)
	}
	want := Claimed{record.WorkOrderTurn{WorkOrder: "WO-7", SHA256: order.SHA256, Package: aPackage, SessionID: "SES-1", TurnNumber: 2}, orderTime}
	if claims[1] != want {
		t.Errorf("got  %+v\nwant %+v", claims[1], want)
	}
	// The host, the first claim, its seal, the second, its seal.
	if report, err := w.book("WO-7").read(nil); err != nil || report.Entries != 5 || report.Sealed != 5 || !strings.HasPrefix(report.Checkpoint.Origin, "agenthost/ho2/workorders/WO-7/") {
		t.Errorf("got %+v, %v", report, err)
	}
	// One with more turns lets more begin: what was claimed counts on.
	putOrder(t, root, "WO-7", `,"turns":3`)
	orderRefused(t, claim(w, order, 3), "was changed while the turn was prepared")
	changed := readOrder(t, w, "WO-7")
	if err := claim(w, changed, 3); err != nil {
		t.Fatal(err)
	}
	if claims, err = w.Claims("WO-7"); err != nil || claims[2].SHA256 != changed.SHA256 || claims[2].SHA256 == order.SHA256 {
		t.Errorf("got %+v, %v, want the digest of the changed file", claims, err)
	}
	putOrder(t, root, "WO-7", `,"turns":1`)
	orderRefused(t, w.Check(readOrder(t, w, "WO-7"), aPackage), "has no turn left: 3 of 1 were claimed")
	// Without a number turns are recorded all the same.
	putOrder(t, root, "WO-7", "")
	if err := claim(w, readOrder(t, w, "WO-7"), 9); err != nil {
		t.Fatal(err)
	}
	if claims, err = w.Claims("WO-7"); err != nil || len(claims) != 4 {
		t.Errorf("got %v, %v", claims, err)
	}
	// Another work order counts for itself.
	putOrder(t, root, "WO-8", `,"turns":1`)
	if err := claim(w, readOrder(t, w, "WO-8"), 1); err != nil {
		t.Error(err)
	}
}

func TestClaimIsRefused(t *testing.T) {
	w, root := orderRoot(t, "WO-7", `,"expires":"2026-01-02T03:04:05Z"`)
	orderRefused(t, claim(w, readOrder(t, w, "WO-7"), 1), "expired at 2026-01-02T03:04:05Z")
	putOrder(t, root, "WO-7", `,"expires":"2026-01-02T03:04:05.000000001Z"`)
	if err := claim(w, readOrder(t, w, "WO-7"), 1); err != nil {
		t.Error(err)
	}
	order := readOrder(t, w, "WO-7")
	other := record.Package{ID: "PKG-B-1", SHA256: aPackage.SHA256}
	orderRefused(t, w.Claim(t.Context(), order, record.WorkOrderTurn{Package: other}), "does not name PKG-B-1")
	orderRefused(t, w.Check(order, other), "does not name PKG-B-1")
	if err := os.Remove(root + "/" + workOrderFolder + "/WO-7.json"); err != nil {
		t.Fatal(err)
	}
	var e *policy.Error
	if err := claim(w, order, 2); !errors.As(err, &e) || e.What != "no such file" {
		t.Errorf("a work order that was taken away: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	lock, err := lockFolder(ctx, w.root.Folder(), claimFolder)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := w.Claim(ctx, order, record.WorkOrderTurn{Package: aPackage}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted while it waits: got %v", err)
	}
	lock.Close()
	claims, err := w.Claims("WO-7")
	if err != nil || len(claims) != 1 {
		t.Errorf("got %v, %v, want one claim", claims, err)
	}
}

func TestWorkOrderFiles(t *testing.T) {
	w, root := orderRoot(t, "WO-7", "")
	folder := root + "/" + workOrderFolder + "/"
	const plain = ": not a regular file of at most 1048576 bytes"
	if err := errors.Join(
		os.Symlink("WO-7.json", folder+"WO-LINK.json"),
		os.Symlink("/dev/zero", folder+"WO-ZERO.json"),
		syscall.Mkfifo(folder+"WO-PIPE.json", 0o600),
		os.Mkdir(folder+"WO-FOLDER.json", 0o700),
	); err != nil {
		t.Fatal(err)
	}
	putFile(t, folder+"WO-HUGE.json", strings.Repeat(" ", maxWorkOrder+1))
	putFile(t, folder+"WO-TEXT.json", "Turns: 3\n")
	putFile(t, folder+"WO-OTHER.json", `{"schema":"agenthost/work_order/v1","id":"WO-7","packages":["PKG-A-1"]}`)
	for _, c := range []struct{ id, want string }{
		{"WO-NONE", workOrderFolder + "/WO-NONE.json: no such file"},
		{"WO-LINK", workOrderFolder + "/WO-LINK.json" + plain},
		{"WO-ZERO", workOrderFolder + "/WO-ZERO.json" + plain},
		{"WO-PIPE", workOrderFolder + "/WO-PIPE.json" + plain},
		{"WO-FOLDER", workOrderFolder + "/WO-FOLDER.json" + plain},
		{"WO-HUGE", workOrderFolder + "/WO-HUGE.json" + plain},
		{"WO-TEXT", workOrderFolder + "/WO-TEXT.json: line 1, column 1: invalid character 'T' looking for beginning of value"},
		{"WO-OTHER", workOrderFolder + `/WO-OTHER.json: id: "WO-7" is not the name of the file`},
		{"../../WO-7", `--work-order: "../../WO-7" is not an id`},
		{"", `--work-order: "" is not an id`},
	} {
		order, err := w.Read(c.id)
		var e *policy.Error
		if !errors.As(err, &e) || e.Error() != c.want {
			t.Errorf("%s: got %+v, %v\nwant %s", c.id, order, err, c.want)
		}
	}
	// A folder that is a link leads nowhere.
	if err := errors.Join(os.Rename(folder, root+"/elsewhere"), os.Symlink(root+"/elsewhere", strings.TrimSuffix(folder, "/"))); err != nil {
		t.Fatal(err)
	}
	if order, err := w.Read("WO-7"); err == nil {
		t.Errorf("got %+v through a link", order)
	}
	// A root that is not there yet has none.
	none := openOrders(t, t.TempDir())
	var e *policy.Error
	if _, err := none.Read("WO-7"); !errors.As(err, &e) || e.What != "no such file" {
		t.Errorf("got %v", err)
	}
	if claims, err := none.Claims("WO-7"); err != nil || claims != nil {
		t.Errorf("got %v, %v", claims, err)
	}
}

// TestClaimsDamaged: where the record of claims is not what was written, no turn
// begins.
func TestClaimsDamaged(t *testing.T) {
	lines := func(t *testing.T, path string) [][]byte {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.SplitAfter(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	}
	join := func(parts ...[]byte) []byte {
		return append(bytes.TrimSuffix(bytes.Join(parts, nil), []byte("\n")), '\n')
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, path string) []byte
	}{
		{"a bit", func(t *testing.T, path string) []byte {
			l := lines(t, path)
			l[0][30] ^= 1
			return join(l...)
		}},
		{"a line is gone", func(t *testing.T, path string) []byte { l := lines(t, path); return join(l[0], l[2]) }},
		{"the first is gone", func(t *testing.T, path string) []byte { l := lines(t, path); return join(l[1], l[2]) }},
		{"swapped", func(t *testing.T, path string) []byte { l := lines(t, path); return join(l[1], l[0], l[2]) }},
		{"another's", func(t *testing.T, path string) []byte {
			data, err := os.ReadFile(filepath.Dir(path) + "/WO-8.jsonl")
			if err != nil {
				t.Fatal(err)
			}
			return data
		}},
		{"another's under this name", func(t *testing.T, path string) []byte { return forge(t, path, "WO-7", "WO-8") }},
		{"not a ledger", func(*testing.T, string) []byte { return []byte("[]\n") }},
		{"another kind", func(t *testing.T, path string) []byte { return forge(t, path, "WO-7", "") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, root := orderRoot(t, "WO-7", "")
			putOrder(t, root, "WO-8", "")
			for n := range int64(3) {
				if err := errors.Join(claim(w, readOrder(t, w, "WO-7"), n+1), claim(w, readOrder(t, w, "WO-8"), n+1)); err != nil {
					t.Fatal(err)
				}
			}
			path := root + "/" + claimFolder + "/WO-7.jsonl"
			putFile(t, path, string(c.damage(t, path)))
			var bad *ledger.IntegrityError
			if err := claim(w, readOrder(t, w, "WO-7"), 4); !errors.As(err, &bad) {
				t.Errorf("Claim: got %v", err)
			}
			if err := w.Check(readOrder(t, w, "WO-7"), aPackage); !errors.As(err, &bad) {
				t.Errorf("Check: got %v", err)
			}
		})
	}
	for name, put := range map[string]func(path string) error{
		"a link":   func(path string) error { return os.Symlink("WO-8.jsonl", path) },
		"a pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			w, root := orderRoot(t, "WO-7", "")
			putOrder(t, root, "WO-8", "")
			if err := errors.Join(claim(w, readOrder(t, w, "WO-8"), 1), put(root+"/"+claimFolder+"/WO-7.jsonl")); err != nil {
				t.Fatal(err)
			}
			var bad *ledger.IntegrityError
			if err := claim(w, readOrder(t, w, "WO-7"), 1); !errors.As(err, &bad) || bad.Reason != "it is not a regular file" {
				t.Errorf("got %v", err)
			}
		})
	}
}

// forge makes a ledger that verifies, of claims of a work order, or of none, under
// another's name.
func forge(t *testing.T, path, name, order string) []byte {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	var body ledger.Body = record.WorkOrderTurn{WorkOrder: order}
	if order == "" {
		body = record.SessionClose{}
	}
	key, err := ledgertest.Host()
	if err != nil {
		t.Fatal(err)
	}
	o := record.WorkOrderOptions(name)
	o.Key, o.Origin = key, "agenthost/ho2/workorders/"+name+"/0123456789abcdef"
	log, err := ledger.Create(path, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Commit(0, record.HostKey{Origin: o.Origin, Key: key.Verifier().String()}, body); errors.Join(err, log.Close()) != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// keepRegister returns what makes the register of ho2 again what it is now.
func keepRegister(t *testing.T, root string) func() {
	t.Helper()
	name := root + "/planes/ho2/ledger/" + record.RegisterFile
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return func() { putFile(t, name, string(data)) }
}

// TestClaimCutShort: a crash in a claim costs a turn at most, and never gives one.
func TestClaimCutShort(t *testing.T) {
	w, root := orderRoot(t, "WO-7", `,"turns":3`)
	order := readOrder(t, w, "WO-7")
	path := root + "/" + claimFolder + "/WO-7.jsonl"
	putFile(t, path, "") // made, and nothing in it yet
	if err := errors.Join(w.Check(order, aPackage), claim(w, order, 1)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before := keepRegister(t, root)
	if err := claim(w, order, 2); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := whole[:len(data)+(len(whole)-len(data))/2]
	putFile(t, path, string(cut))
	before()
	if claims, err := w.Claims("WO-7"); err != nil || len(claims) != 1 {
		t.Errorf("got %v, %v", claims, err)
	}
	for n := range int64(2) {
		if err := claim(w, order, 2+n); err != nil {
			t.Fatal(err)
		}
	}
	orderRefused(t, claim(w, order, 4), "has no turn left: 3 of 3 were claimed")
	claims, err := w.Claims("WO-7")
	if err != nil || len(claims) != 3 {
		t.Errorf("got %v, %v", claims, err)
	}
}

// TestClaimsAtOnce: of all who claim the last turns as many get one as there are,
// in one process and in several.
func TestClaimsAtOnce(t *testing.T) {
	const turns, processes, each = 7, 4, 5
	if root := os.Getenv("CLAIM_IN"); root != "" {
		claimMany(t, root, each)
		return
	}
	_, root := orderRoot(t, "WO-7", fmt.Sprintf(`,"turns":%d`, turns))
	var wg sync.WaitGroup
	out := make([]bytes.Buffer, processes)
	for i := range processes {
		cmd := exec.Command(os.Args[0], "-test.run=^TestClaimsAtOnce$", "-test.v")
		cmd.Env = append(os.Environ(), "CLAIM_IN="+filepath.Dir(root))
		cmd.Stdout, cmd.Stderr = &out[i], &out[i]
		wg.Go(func() {
			if err := cmd.Run(); err != nil {
				t.Errorf("%v: %s", err, &out[i])
			}
		})
	}
	wg.Wait()
	got := 0
	for i := range out {
		got += strings.Count(out[i].String(), "CLAIMED")
	}
	if got != turns {
		t.Errorf("%d turns were claimed, want %d", got, turns)
	}
	claims, err := openOrders(t, filepath.Dir(root)).Claims("WO-7")
	if err != nil || len(claims) != turns {
		t.Errorf("%d are on record, %v, want %d", len(claims), err, turns)
	}
}

func claimMany(t *testing.T, workspace string, n int) {
	w := openOrders(t, workspace)
	order := readOrder(t, w, "WO-7")
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var spent *policy.WorkOrderError
			switch err := claim(w, order, int64(i+1)); {
			case err == nil:
				t.Log("CLAIMED")
			case !errors.As(err, &spent):
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestAgentsCannotForge: where the root is the workspace, nothing an agent can be
// granted lets it write work orders, their ledgers or snapshots.
func TestAgentsCannotForge(t *testing.T) {
	e, err := capability.New(capability.Grants{Write: []string{"**", "p*/**", "**/*.json"}, Read: []string{"**"}})
	if err != nil {
		t.Fatal(err)
	}
	e = e.Bind("SES-1")
	for _, name := range []string{
		workOrderFolder + "/WO-7.json", claimFolder + "/WO-7.jsonl", "planes/ho2/ledger/context.jsonl", "planes/ho2/context/SES-1/9.json", "planes/ho2", "planes",
	} {
		_, err := e.Check(capability.Write, name)
		var v *capability.Violation
		if !errors.As(err, &v) || v.Rule != "reserved planes/**" || !v.Forbidden {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, pattern := range []string{"planes/**", "planes/ho2/work_orders/*.json", "{planes,x}/**"} {
		if _, err := capability.New(capability.Grants{Write: []string{pattern}}); err == nil {
			t.Errorf("%s may be asked for", pattern)
		}
	}
}
