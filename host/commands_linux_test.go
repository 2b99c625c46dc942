package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// execute are capabilities that grant commands, one by string, and all files.
func execute(commands ...string) members {
	return members{"capabilities": members{"read": []string{"**"}, "write": []string{"**"}, "execute": commands}}
}

// command is the step that runs a command through the contract.
func command(words ...string) string {
	argv, err := json.Marshal(words)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`call {"op":"exec","argv":%s}`, argv)
}

// commanding is an ask whose package was accepted, and has scripts of that name and
// content for sh.
func commanding(manifest members, scripts map[string]string, steps ...string) ask {
	return ask{manifest: manifest, files: scripts, steps: steps, turn: Turn{Narrow: policy.Narrow{Accepted: true}}}
}

// paths are those of files, with the session's id as S.
func paths(r *Result, files []record.File) string {
	var list []string
	for _, f := range files {
		list = append(list, fmt.Sprint(strings.ReplaceAll(f.Path, r.Session, "S"), " ", f.Size))
	}
	return strings.Join(list, ", ")
}

// What agent and commands write is one staging, one account and one commit.
func TestCommands(t *testing.T) {
	confinetest.Needs(t)
	b := newBench(t, map[string]string{"docs/a.md": "hello\n", "reports/r.md": "old\n"})
	a := commanding(
		with(execute("cat docs/a.md", "cat reports/r.md /tmp/mine", "sh pkg:make.sh", "cat /tmp/note"), writes("out/**?", "reports/*?")),
		map[string]string{"make.sh": "cp reports/r.md /out/made; echo note > /tmp/note; echo done; echo problems >&2; exit 3\n"},
		command("cat", "docs/a.md"), "write /reports/r.md new", "write /tmp/mine mine", command("cat", "reports/r.md", "/tmp/mine"),
		command("sh", "pkg:make.sh"), "read /out/made", "read /tmp/note", "append /out/made er", command("cat", "/tmp/note"),
	)
	r := b.run(a)
	ended(t, r, "ok", "", "", "")
	const reply = `{"ok":true,"exit":%d,"stdout_bytes":%d,"stderr_bytes":%d,"truncated":false,"body":%d}` + "\n"
	want := fmt.Sprintf(reply, 0, 6, 0, 6) + "hello\nwrite /reports/r.md: done\nwrite /tmp/mine: done\n" + fmt.Sprintf(reply, 0, 7, 0, 7) + "newmine\n" +
		fmt.Sprintf(reply, 3, 5, 9, 14) + "done\nproblems\nread /out/made: new\nread /tmp/note: note\n\nappend /out/made: done\n" + fmt.Sprintf(reply, 0, 5, 0, 5) + "note\n"
	if got := string(r.Output); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if r.Commands != 4 || r.Fence != FenceFull || r.NoFence != nil {
		t.Errorf("got %d commands, fence %q, %+v", r.Commands, r.Fence, r.NoFence)
	}
	if e := r.Evidence; len(e.ExternalCalls) != 4 || e.Fence != record.FenceFull {
		t.Errorf("evidence has the calls %v, the fence %s", e.ExternalCalls, e.Fence)
	}
	if got, want := paths(r, r.Evidence.RealizedWrites), "output/S/made 5, reports/r.md 3"; got != want {
		t.Errorf("realized %s, want %s", got, want)
	}
	if got, want := paths(r, r.Evidence.Discarded), "tmp/mine 4, tmp/note 5"; got != want {
		t.Errorf("discarded %s, want %s", got, want)
	}
	if got := b.read("reports/r.md") + b.read(".agenthost/output/"+r.Session+"/made"); got != "newnewer" {
		t.Errorf("published %q", got)
	}
}

// What commands leave in /out is published if it is declared and a plain file, and
// else nothing is.
func TestCommandsLeave(t *testing.T) {
	needPython(t)
	confinetest.Needs(t)
	const unsafe, nothing = "unsafe_file", "nothing was published"
	for _, c := range []struct {
		name, script, status, code, message, hint string
	}{
		{"declared", "echo x > /out/declared/a", "ok", "", "", ""},
		{"undeclared", "echo x > /out/other", "blocked", "undeclared_write", `the turn was blocked: "out/other" was written and not declared`, "declare it in outputs, or with --declare; nothing was published"},
		{"a folder", "mkdir /out/other", "ok", "", "", ""},
		{"a second name", "echo x > /out/declared/a; ln /out/declared/a /out/declared/b", "blocked", unsafe, `the turn was blocked: "out/declared/a" is not a file that a recorded operation made`, nothing},
		{"a link that is refused", "ln -s /etc/passwd /out/declared/a", "ok", "", "", ""},
		{"a pipe that is refused", "mkfifo /out/declared/a", "ok", "", "", ""},
		{"set-uid that is refused", "echo x > /out/declared/a; chmod u+s /out/declared/a; chmod g+s /out/declared/a", "ok", "", "", ""},
		{"the sticky bit", "echo x > /out/declared/a; chmod +t /out/declared/a", "blocked", unsafe, `the turn was blocked: "out/declared/a": a file with the sticky bit`, nothing},
		{"no rights", "echo x > /out/declared/a; chmod 0 /out/declared/a /out/declared /out", "ok", "", "", ""},
		{"a socket", "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/out/s\")'", "ok", "", "", ""},
		{"odd things in scratch", "ln -s x /tmp/l; mkdir /tmp/d; echo x > /tmp/d/f; ln /tmp/d/f /tmp/g; chmod 0 /tmp/d", "ok", "", "", ""},
		{"forbidden", "echo x > /out/declared/forbidden", "blocked", "violation", `the turn was blocked: the agent may not write "out/declared/forbidden" (forbidden out/declared/forbidden)`, "no grant allows it while that rule stands; nothing was published"},
		{"removed again", "echo x > /out/other; rm /out/other", "ok", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			manifest := with(execute("sh pkg:x.sh"), writes("out/declared/**?"))
			manifest["capabilities"].(members)["forbidden"] = []string{"out/declared/forbidden"}
			r := b.run(commanding(manifest, map[string]string{"x.sh": "mkdir /out/declared\n" + c.script + "\n"}, command("sh", "pkg:x.sh")))
			ended(t, r, c.status, c.code, c.message, c.hint)
			if t.Failed() {
				t.Logf("%s", r.Output)
			}
			if r.Commands != 1 || r.Evidence.Fence != record.FenceFull {
				t.Errorf("got %d commands in %s", r.Commands, r.Evidence.Fence)
			}
			if kept := filepath.Join(b.sessionDir(r), "blocked", "1", "package"); exists(kept) {
				t.Errorf("%s was kept", kept)
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func needPython(t *testing.T) {
	t.Helper()
	if !exists("/usr/bin/python3") {
		t.Skip("this machine has no /usr/bin/python3")
	}
}

// meanwhile calls f when a command of the bench's only turn said, by a file in
// /tmp, that it runs.
func (b *bench) meanwhile(f func()) (done func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if found, _ := filepath.Glob(filepath.Join(b.workspace, ".agenthost/planes/ho1/sessions/*/staging/*/tmp/running")); len(found) > 0 {
				f()
				return
			}
		}
		b.t.Error("no command ran")
	})
	return wg.Wait
}

// A file that a command can see must not change while it runs.
func TestCommandsInputChanged(t *testing.T) {
	confinetest.Needs(t)
	b := newBench(t, map[string]string{"docs/a.md": "hello\n", "docs/b.md": "b\n"})
	defer b.meanwhile(func() { b.write("docs/a.md", "changed\n") })()
	r := b.runChanged(commanding(with(execute("sh pkg:wait.sh"), writes("out/**?")),
		map[string]string{"wait.sh": "echo > /tmp/running; until grep -q changed docs/a.md; do :; done\n"}, command("sh", "pkg:wait.sh")))
	ended(t, r, "blocked", "input_changed", `the turn was blocked: "docs/a.md" was changed while a command could see it`, "nothing was published; run it again on files that stay as they are")
}

// runChanged is run of a turn in whose course the workspace changes.
func (b *bench) runChanged(a ask) *Result {
	b.t.Helper()
	p := b.prepare(a)
	s := b.open(p, a)
	r, err := p.Run(b.t.Context(), s)
	if err := errors.Join(err, s.Close()); err != nil {
		b.t.Fatal(err)
	}
	b.check(r, filepath.Dir(s.BlobDir()), b.tree())
	return r
}

// While a command runs the turn's own time stands. The time of its work order does
// not.
func TestCommandsTime(t *testing.T) {
	confinetest.Needs(t)
	oneThread(t)
	b := newBench(t, nil)
	manifest := with(execute("sleep 3", "sleep 60"), limits(members{"time": "2s"}))
	r := b.run(commanding(manifest, nil, command("sleep", "3")))
	ended(t, r, "ok", "", "", "")
	a := commanding(manifest, nil, command("sleep", "60"))
	a.turn.Narrow.WorkOrder = &policy.WorkOrder{ID: "WO-1", Packages: []policy.Named{{ID: "PKG-T3-TEST-001"}}, Expires: time.Now().Add(3 * time.Second)}
	a.turn.Claim = func(context.Context, string, int) error { return nil }
	r = b.run(a)
	ended(t, r, "error", "limit", "the agent took longer than its limit of 2s", "nothing was published; work order WO-1 expired, and no turn of it runs longer")
	if killed := b.killed(r); killed != confine.StoppedCancelled {
		t.Errorf("killed for %q", killed)
	}
}

// killed is why the host ended the last command of a turn.
func (b *bench) killed(r *Result) (killed string) {
	b.t.Helper()
	for e, err := range ledger.Read(filepath.Join(b.sessionDir(r), "ledger", record.ExecFile)) {
		if err != nil {
			b.t.Fatal(err)
		}
		if e.Kind == record.KindExecEnd {
			var end record.ExecEnd
			if err := e.Decode(&end); err != nil {
				b.t.Fatal(err)
			}
			killed = end.Killed
		}
	}
	return killed
}

// A turn that is interrupted ends its command.
func TestCommandsInterrupted(t *testing.T) {
	confinetest.Needs(t)
	b := newBench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer b.meanwhile(cancel)()
	a := commanding(with(execute("sh pkg:wait.sh"), writes("out/**?")),
		map[string]string{"wait.sh": "echo x > /out/a; echo > /tmp/running; sleep 60; exit 0\n"}, command("sh", "pkg:wait.sh"))
	a.ctx = ctx
	r := b.run(a)
	ended(t, r, "aborted", "interrupted", "the turn was interrupted", "nothing was published; run it again")
	if killed := b.killed(r); killed != confine.StoppedCancelled {
		t.Errorf("killed for %q", killed)
	}
	if got, want := paths(r, r.Evidence.RealizedWrites), "output/S/a 2"; got != want {
		t.Errorf("realized %s, want %s", got, want)
	}
}

// A host that is killed takes its command with it. Its turn is found aborted.
func TestCommandsHostKilled(t *testing.T) {
	confinetest.Needs(t)
	oneThread(t)
	b := newBench(t, nil)
	const mark = "host-killed-731"
	if workspace := os.Getenv("AGENTHOST_TEST_KILLED"); workspace != "" {
		b.workspace = workspace
		b.root = must(session.OpenRoot(session.Options{Key: ledgertest.Host, Hosts: ledgertest.Hosts, Workspace: workspace}))(t)
		b.run(commanding(with(execute("sh pkg:wait.sh "+mark), writes("out/**?")), map[string]string{
			// Some of them in sessions of their own, and without a parent.
			"wait.sh": "echo x > /out/a; for i in 1 2 3; do setsid sh -c 'sleep 600; :' $1 & done; (sh -c 'sleep 600; :' $1 &); echo > /tmp/running; sleep 600; :\n",
		}, command("sh", "pkg:wait.sh", mark)))
		return
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestCommandsHostKilled$")
	cmd.Env = append(os.Environ(), "AGENTHOST_TEST_KILLED="+b.workspace)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	before := 0
	b.meanwhile(func() {
		before = len(marked(t, mark))
		cmd.Process.Kill()
	})()
	cmd.Wait()
	if before < 5 {
		t.Fatalf("%d processes ran: %s", before, said.String())
	}
	for deadline := time.Now().Add(30 * time.Second); len(marked(t, mark)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("processes survive: %v", marked(t, mark))
		}
	}
	root := must(session.OpenRoot(session.Options{Key: ledgertest.Host, Hosts: ledgertest.Hosts, Workspace: b.workspace}))(t)
	defer root.Close()
	summaries := must(root.List())(t)
	if len(summaries) != 1 {
		t.Fatalf("there are %d sessions", len(summaries))
	}
	s, _, err := root.Open(t.Context(), summaries[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := record.VerifySession(filepath.Dir(s.BlobDir()))
	if err != nil || len(report.Turns) != 1 {
		t.Fatalf("got %+v, %v", report, err)
	}
	if end := report.Turns[0]; end.Status != record.StatusAborted || end.Code != record.CodeCrash {
		t.Errorf("got %+v", end)
	}
	kept := filepath.Join(filepath.Dir(filepath.Dir(s.BlobDir())), "blocked", "1")
	if !exists(kept+"/out/a") || exists(kept+"/package") || exists(kept+"/tmp") {
		t.Errorf("kept is %v", must(filepath.Glob(kept+"/*"))(t))
	}
}

// marked are the processes with a word in their arguments.
func marked(t *testing.T, word string) (found []string) {
	t.Helper()
	for _, name := range must(filepath.Glob("/proc/[0-9]*/cmdline"))(t) {
		line, _ := os.ReadFile(name) // it may have ended
		if slices.Contains(strings.Split(string(line), "\x00"), word) {
			found = append(found, name)
		}
	}
	return found
}

// Turns of one process have their own commands.
func TestCommandsAtOnce(t *testing.T) {
	confinetest.Needs(t)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			b := newBench(t, map[string]string{"mine": fmt.Sprint(i)})
			r := b.run(commanding(with(execute("cat mine"), writes("out/**?")), nil, slices.Repeat([]string{command("cat", "mine")}, 5)...))
			if r.Status != "ok" || strings.Count(string(r.Output), fmt.Sprintf("}\n%d\n", i)) != 5 {
				t.Errorf("turn %d: %s %s", i, r.Status, r.Output)
			}
		})
	}
	wg.Wait()
}

// The operator's path and variables are what commands get, if they can have them.
func TestCommandsPolicy(t *testing.T) {
	confinetest.Needs(t)
	tools, err := os.MkdirTemp("/var/tmp", "host-tools-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tools) })
	if err := os.WriteFile(filepath.Join(tools, "tool"), []byte("#!/bin/sh\necho $PATH $TOKEN $OTHER $ABSENT\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TOKEN", "t0ken")
	t.Setenv("OTHER", "not named")
	pol := func(path, env string) *policy.Policy {
		p, err := policy.Parse("/etc/policy.json", fmt.Appendf(nil, `{"schema":"agenthost/policy/v1","path":%s,"env":%s}`, path, env))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	b := newBench(t, nil)
	a := commanding(execute("tool"), nil, command("tool"))
	a.turn.Policy = pol(fmt.Sprintf(`["/usr/bin",%q]`, tools), `["TOKEN","ABSENT"]`)
	if r := b.run(a); !strings.HasSuffix(string(r.Output), "}\n/usr/bin:"+tools+" t0ken\n") {
		t.Errorf("got %s %s: %s", r.Status, r.Message, r.Output)
	}
}

// Nothing of the host lies where every command looks, or no command runs.
func TestCommandsPlaces(t *testing.T) {
	b := newBench(t, nil)
	a := commanding(execute("true"), nil)
	a.turn.Protected = []string{"/usr/share/agenthost/root"}
	_, err := b.tryPrepare(a)
	refused(t, err, "/usr/share/agenthost/root lies in /usr, which every command sees", "keep it elsewhere, or run without commands (--without execute)")
	a.turn.Narrow.Without = []capability.Op{capability.Execute}
	p, err := b.tryPrepare(a)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

// A machine that cannot hold commands runs none. Who asked for them is told, and so
// is the operator.
func TestCommandsWithoutFence(t *testing.T) {
	b := newBench(t, nil)
	b.runner = must(NewRunner(t.Context(), Config{CacheDir: sharedCache()}))(t)
	defer b.runner.Close(t.Context())
	b.runner.fence.known = true
	b.runner.fence.err = &confine.MissingError{Layer: "landlock", Reason: "it is off", Remedy: "switch it on; or wait"}
	r := b.run(commanding(execute("true"), nil, command("true")))
	ok(t, r, `{"ok":false,"code":"unsupported","message":"the command is granted, but this machine cannot hold it in a fence: landlock: switch it on"}`+"\n")
	if r.Commands != 0 || r.Fence != "" || r.NoFence == nil || *r.NoFence != (NoFence{"landlock: it is off", "switch it on; or wait"}) || r.Evidence.Fence != record.FenceNone {
		t.Errorf("got %d, %q, %+v", r.Commands, r.Fence, r.NoFence)
	}
}
