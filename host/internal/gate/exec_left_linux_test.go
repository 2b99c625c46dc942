package gate

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
)

// TestExecLeaves: a command behind the fence does to /out and /tmp whatever it
// can, and all accounts still agree.
func TestExecLeaves(t *testing.T) {
	y := newYard(t, setup{
		grants: capability.Grants{
			Read: []string{"**"}, Write: []string{"docs/**"}, Execute: rules("python3 pkg:left.py"), Forbidden: []string{"no/**"},
		},
		outputs: []string{"docs/**", "out/**"}, files: map[string]string{"docs/a": "a", "docs/b": "b"}, published: map[string]string{"old": "published"},
	}, map[string]string{"left.py": `
import os
def tried(what, f, *args):
    try: f(*args)
    except OSError as e: print(what, e.strerror)
    else: print(what, "done")
def put(name, text):
    with open(name, "w") as f: f.write(text)
print(open("/w/docs/a").read(), open("/w/docs/b").read(), open("/w/output/` + sid + `/old").read(), open("/out/mine").read())
tried("write what it reads", put, "/w/docs/b", "x")
tried("write what is published", put, "/w/output/` + sid + `/old", "x")
put("/out/old", "new")
put("/out/x", "replaced")
os.rename("/out/x", "/out/mine")
os.makedirs("/out/d/e")
put("/out/d/e/f", "f")
os.chmod("/out/d/e/f", 0)
os.chmod("/out/d/e", 0)
os.chmod("/out/d", 0)
os.remove("/tmp/gone")
os.symlink("/etc/passwd", "/tmp/link")
os.link("/tmp/stays", "/tmp/again")
tried("link in /out", os.symlink, "/etc/passwd", "/out/link")
tried("pipe", os.mkfifo, "/out/pipe")
tried("link from /tmp to /out", os.link, "/tmp/stays", "/out/stays")
tried("move from /tmp to /out", os.rename, "/tmp/stays", "/out/stays")
tried("set-uid", os.chmod, "/out/mine", 0o4755)
os.chmod("/out", 0)
os.chmod("/tmp", 0)
`}, nil)
	y.make("docs/a", "staged")
	y.make("out/mine", "guest's")
	y.make("tmp/gone", "g")
	y.make("tmp/stays", "s")
	want := []string{`0 staged b published guest's
write what it reads Read-only file system
write what is published Read-only file system
link in /out Permission denied
pipe Operation not permitted
link from /tmp to /out Invalid cross-device link
move from /tmp to /out Invalid cross-device link
set-uid Operation not permitted`}
	if os.Getuid() != 0 { // what cannot be looked into could hide anything, if somebody looks before the command ends
		want = append(want, "limit: the command left more files than its limit of 1999, or a folder that nobody can look into")
	}
	if got := y.does("python3", "pkg:left.py"); !slices.Contains(want, got) {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\nor\n"))
	}
	equal(t, "listing", y.names("out")+" | "+y.names("tmp"), "d/ mine old | again stays")
	equal(t, "content", y.content("out/mine")+" "+y.content("out/d/e/f")+" "+y.content("tmp/again"), "replaced f s")
	if errno := y.Remove(WASI, "tmp/link", false); errno != Success {
		t.Errorf("remove the link: %s", errno)
	}
	equal(t, "problems", y.found(), "")
	must(t, y.consistent())
}

// TestExecLeavesForbidden: a command that makes a name that is forbidden ends the
// turn, as the guest would.
func TestExecLeavesForbidden(t *testing.T) {
	y := newYard(t, setup{
		grants:  capability.Grants{Execute: rules("python3 pkg:left.py"), Forbidden: []string{"out/*.key"}},
		outputs: []string{"out/**"},
	}, map[string]string{"left.py": "open('/out/a.key', 'w').write('k'); open('/out/a', 'w').write('a')\n"}, nil)
	var v *capability.Violation
	if err := caught(func() { y.does("python3", "pkg:left.py") }); !errors.As(err, &v) || v.Rule != "forbidden out/*.key" || v.Subject != "output/"+sid+"/a.key" {
		t.Fatalf("the turn ended with %v", err)
	}
	if ends := y.ends(); len(ends) != 1 || ends[0].Failed != "" {
		t.Errorf("recorded %+v", ends)
	}
}

// TestExecChangedView: what a command could see is changed while it runs.
func TestExecChangedView(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"docs/a", "docs/a: it was changed while a command could see it"},
		{"docs/new", "docs: it was changed while a command could see it: names in it came or went"},
		{"other/a", ""},
	} {
		y := newYard(t, setup{
			grants: capability.Grants{Read: []string{"docs/**"}, Execute: rules("python3 pkg:wait.py")}, files: map[string]string{"docs/a": "a", "other/a": "a"},
		}, map[string]string{"wait.py": "import os, time\nopen('/tmp/ready', 'w')\nwhile os.path.exists('/tmp/ready'): time.sleep(.01)\n"}, nil)
		var other sync.WaitGroup
		other.Go(func() {
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
				if _, err := os.Stat(y.in("tmp/ready")); err == nil || time.Now().After(deadline) {
					break
				}
			}
			if err := errors.Join(os.WriteFile(y.at(c.name), []byte("changed"), 0o644), os.Remove(y.in("tmp/ready"))); err != nil {
				t.Error(err)
			}
		})
		got := y.does("python3", "pkg:wait.py")
		other.Wait()
		equal(t, "said", got, "0")
		equal(t, "problems", y.found(), c.want)
	}
}

// TestExecReplacedWorkspace: another folder under the path of the workspace is not
// shown, whatever it holds.
func TestExecReplacedWorkspace(t *testing.T) {
	for _, read := range []string{"docs/**", "docs/a"} {
		y := newYard(t, setup{
			grants: capability.Grants{Read: []string{read}, Execute: rules("cat docs/a")}, files: map[string]string{"docs/a": "a"},
		}, nil, nil)
		equal(t, "before", y.does("cat", "docs/a"), "0 a")
		must(t, os.Rename(y.dir, y.dir+".was"))
		y.write(filepath.Join(y.dir, "docs/a"), "SECRET")
		got := ""
		var failed *HostError
		if err := caught(func() { got = y.does("cat", "docs/a") }); !errors.As(err, &failed) || strings.Contains(got, "SECRET") {
			t.Errorf("%s: got %q, %v", read, got, err)
		}
		if ends := y.ends(); len(ends) != 2 || ends[1].Failed == "" {
			t.Errorf("%s: recorded %+v", read, ends)
		}
	}
}
