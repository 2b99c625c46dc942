//go:build linux

package hostcall

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == confine.Command {
		os.Exit(confine.Child(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// theFence is what the canary says of this machine.
var theFence = sync.OnceValues(func() (*confine.Report, error) { return confine.Canary(context.Background(), confine.Full) })

// runs lets the turn run these commands.
func runs(t *testing.T, rules ...capability.Command) func(*gate.Config) {
	confinetest.Needs(t)
	return func(c *gate.Config) {
		enforcer, err := capability.New(capability.Grants{Read: []string{"docs/*"}, Execute: rules})
		if err != nil {
			t.Fatal(err)
		}
		c.Enforcer = enforcer.Bind(sid)
		dir := t.TempDir()
		manifest := `{"schema":"agenthost/package/v1","id":"PKG-T3-MAIN-001","version":"0.1.0"}`
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o644); err != nil {
			t.Fatal(err)
		}
		if c.Package, err = archive.FromFolder(dir); err != nil {
			t.Fatal(err)
		}
		c.Commands = &gate.Commands{
			Fence: func(context.Context) (*confine.Report, error) { return theFence() },
			Path:  []string{"/usr/bin", "/bin"},
			Time:  time.Minute,
			Wait: func() func() time.Duration {
				began := time.Now()
				return func() time.Duration { return time.Since(began) }
			},
			Blob:    func(b []byte) (record.Blob, error) { return record.Blob{Blob: ledger.Sum(b), Size: int64(len(b))}, nil },
			Digests: gate.NewDigests(time.Now),
		}
	}
}

// Commands run the same through either door: what goes in and out is the same
// bytes, however many they are, is charged for, and is held by nobody after.
func TestExecRuns(t *testing.T) {
	large := strings.Repeat("0123456789abcde\n", 10<<16)
	shell := func(script string) string { return fmt.Sprintf(`{"op":"exec","argv":["sh","-c",%q]}`, script) }
	reply := func(exit int, stdout, stderr string, truncated bool) string {
		return fmt.Sprintf(`{"ok":true,"exit":%d,"stdout_bytes":%d,"stderr_bytes":%d,"truncated":%t,"body":%d}`+"\n%s%s",
			exit, len(stdout), len(stderr), truncated, len(stdout)+len(stderr), stdout, stderr)
	}
	exchanges := []struct{ line, body, reply string }{
		{`{"op":"exec","argv":["cat"]}`, "", reply(0, "", "", false)},
		{`{"op":"exec","argv":["cat"]}`, "in", reply(0, "in", "", false)},
		{`{"op":"exec","argv":["cat"]}`, large, reply(0, large, "", false)},
		{`{"op":"exec","argv":["cat"],"stdout_to":"/tmp/copy"}`, large, reply(0, "", "", false)},
		{`{"op":"exec","argv":["wc","-c","/tmp/copy"]}`, "", reply(0, "10485760 /tmp/copy\n", "", false)},
		{shell("echo out; echo err >&2; exit 3"), "", reply(3, "out\n", "err\n", false)},
		{shell("exec yes 0123456789abcde"), "", reply(137, strings.Repeat("0123456789abcde\n", abi.MaxBody/16), "", true)},
		{`{"op":"exec","argv":["cat"],"timeout_ms":9007199254740991}`, "", reply(0, "", "", false)},
		{`{"op":"exec","argv":["absent"]}`, "", `{"ok":false,"code":"not_found","message":"absent is in none of the folders /usr/bin:/bin; the operator can install it, or name its folder in path of the policy"}` + "\n"},
	}
	const late = `{"op":"exec","argv":["sleep","1000"],"timeout_ms":100}`
	rules := []capability.Command{{"sleep", "1000"}}
	for _, e := range exchanges {
		m, _ := readMessage([]byte(e.line))
		rules = append(rules, m.command().Argv)
	}
	for name, send := range doors {
		w := newWorld(t, runs(t, rules...))
		for _, e := range exchanges {
			before := w.charged
			got := send(w, e.line, e.body)
			if got != e.reply {
				t.Errorf("%s: %s:\n got %.300q\nwant %.300q", name, e.line, got, e.reply)
			}
			if charged, least := w.charged-before, int64(len(e.line)+len(e.body)+len(got)); charged < least {
				t.Errorf("%s: %s: %d units were charged for %d bytes", name, e.line, charged, least)
			}
			if w.held != 0 {
				t.Errorf("%s: %s: %d bytes are held", name, e.line, w.held)
			}
		}
		if reply := send(w, late, ""); member(t, reply, "code") != abi.CodeTimeout {
			t.Errorf("%s: a command that takes too long: %s", name, reply)
		}
		// However often a reply is read, the command ran once.
		if got, want := w.started(), len(exchanges); got != want {
			t.Errorf("%s: %d commands were started, want %d", name, got, want)
		}
	}
}

// started counts the commands that are recorded to have been started.
func (w *world) started() (n int) {
	for e := range w.sequence() {
		if e.Kind == record.KindExecStart {
			n++
		}
	}
	return n
}
