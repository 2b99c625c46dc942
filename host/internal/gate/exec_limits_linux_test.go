package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/record"
)

// A command that does too much is ended, and the guest told of what.
func TestExecLimits(t *testing.T) {
	needs(t, "python3")
	for _, c := range []struct {
		name, script string
		tune         func(*Commands)
		timeout      time.Duration
		want, killed string
	}{
		{
			name: "time", script: "import time; time.sleep(60)", timeout: 300 * time.Millisecond,
			want: "timeout: the command took longer than its limit of 300ms", killed: "time",
		},
		{
			name: "ceiling of time", script: "import time; time.sleep(60)", timeout: time.Hour,
			tune: func(c *Commands) { c.Limits.Time = 300 * time.Millisecond },
			want: "timeout: the command took longer than its limit of 300ms", killed: "time",
		},
		{
			name: "time of the turn", script: "import time; time.sleep(60)",
			tune: func(c *Commands) { c.Time = 300 * time.Millisecond },
			want: "timeout: the command took longer than its limit of 300ms", killed: "time",
		},
		{
			name: "processor time", script: "while True: pass",
			tune: func(c *Commands) { c.Limits.CPU = 300 * time.Millisecond },
			want: "limit: the command used more processor time than its limit of 300ms", killed: "cpu",
		},
		{
			name: "memory", script: "import os\nif os.fork() == 0:\n x = bytearray(200 << 20)\n for i in range(0, len(x), 4096): x[i] = 1\n import time; time.sleep(60)\nos.wait()",
			tune: func(c *Commands) { c.Limits.Memory = 64 << 20 },
		},
		{
			name: "processes", script: "import os, time\ntry:\n for n in range(100):\n  if os.fork() == 0: time.sleep(60)\nexcept OSError: print('refused', n < 30)",
			tune: func(c *Commands) { c.Limits.Processes = 30 }, want: "0 refused True",
		},
		{
			name: "files", script: "import time\nfor i in range(10000): open('/tmp/%d' % i, 'w')\ntime.sleep(60)",
			want: "limit: the command left more files than its limit of 2000, or a folder that nobody can look into", killed: "files",
		},
		{
			name: "bytes", script: "import time\nfor i in range(4):\n with open('/tmp/%d' % i, 'wb') as f: f.write(b'x' * (40 << 20))\ntime.sleep(60)",
			want: "limit: the command left more bytes than its limit of 128MiB", killed: "bytes",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			y := newYard(t, setup{grants: all("python3 pkg:x.py")}, map[string]string{"x.py": c.script}, c.tune)
			began := time.Now()
			var got string
			err := caught(func() { got = y.runs(Command{Argv: []string{"python3", "pkg:x.py"}, Timeout: c.timeout}) })
			t.Logf("%v: %s, %v", time.Since(began), got, err)
			ends := y.ends()
			if len(ends) != 1 {
				t.Fatalf("%d ends are recorded", len(ends))
			}
			switch {
			case c.name == "memory": // by the machine: the host's kill, or the program's own failure
				if got != "limit: the command used more memory than its limit of 64MiB" && !strings.HasPrefix(got, "0") && !strings.Contains(got, "MemoryError") {
					t.Errorf("got %s", got)
				}
			case got != c.want || ends[0].Killed != c.killed:
				// What it left is counted when it is gone, too.
				var limit *Limit
				if !errors.As(err, &limit) || limit.Name != "scratch" || ends[0].Killed != c.killed {
					t.Errorf("got %s (%v), killed for %q, want %s", got, err, ends[0].Killed, c.want)
				}
			}
			equal(t, "the clock", fmt.Sprint(y.waits, y.resumed), "1 1")
		})
	}
}

// The commands of a turn have one time together.
func TestExecTimeTogether(t *testing.T) {
	y := newYard(t, setup{grants: all("sleep 60", "true")}, nil, func(c *Commands) { c.Time = 500 * time.Millisecond })
	equal(t, "the first", y.does("sleep", "60"), "timeout: the command took longer than its limit of 500ms")
	equal(t, "the second", y.does("true"), "limit: the commands of this turn have used up their 500ms")
	ops := y.ops(y.begin.Seq)
	if last := ops[len(ops)-1]; last.Decision != "refused" || last.Errno != "perm" {
		t.Errorf("recorded %+v", last)
	}
}

// Too much output ends a command; what it wrote until then the guest gets.
func TestExecOutput(t *testing.T) {
	y := newYard(t, setup{grants: all("yes", "sh pkg:both.sh"), tune: func(c *Config) { c.Ceiling.ScratchBytes = 4 << 20 }}, map[string]string{
		"both.sh": "yes out & yes err >&2\n",
	}, func(c *Commands) { c.Limits.Output = 1 << 20 })
	e, no := y.Exec(ABI, Command{Argv: []string{"yes"}})
	if no != nil || e.Exit != 137 || !e.Truncated || len(e.Stdout) != 1<<20 || len(e.Stderr) != 0 {
		t.Errorf("got exit %d, %d and %d bytes, truncated %v, %v", e.Exit, len(e.Stdout), len(e.Stderr), e.Truncated, no)
	}
	e, no = y.Exec(ABI, Command{Argv: []string{"sh", "pkg:both.sh"}})
	if no != nil || e.Exit != 137 || !e.Truncated || len(e.Stdout)+len(e.Stderr) != 1<<20 {
		t.Errorf("got exit %d, %d and %d bytes, truncated %v, %v", e.Exit, len(e.Stdout), len(e.Stderr), e.Truncated, no)
	}
	ends := y.ends()
	if end := ends[0]; end.Killed != "output" || !end.Truncated || end.Stdout.Size != 1<<20 || end.Usage.Output != 1<<20 {
		t.Errorf("recorded %+v", end)
	}
	// To a file it may write more, as far as there is room in /tmp.
	var limit *Limit
	err := caught(func() { e, no = y.Exec(ABI, Command{Argv: []string{"yes"}, StdoutTo: "/tmp/yes"}) })
	if !errors.As(err, &limit) && (no == nil || no.Code != "limit") && (e.Exit != 137 || !e.Truncated || len(e.Stdout) > 0) {
		t.Errorf("got %+v, %v, %v", e, no, err)
	}
	if info, err := os.Stat(filepath.Join(y.stages, AreaTmp, "yes")); err != nil || info.Size() > 4<<20 || info.Size() <= 1<<20 {
		t.Errorf("got %v, %v", info, err)
	}
}

func TestExecStdoutTo(t *testing.T) {
	y := newYard(t, setup{grants: all("echo *", "cat", "cat /tmp/said", "ln -s x /tmp/link", "rm /tmp/said", "rm /tmp/link", "mv /tmp/said /tmp/b")}, nil, nil)
	to := func(name string, words ...string) string {
		t.Helper()
		return y.runs(Command{Argv: words, StdoutTo: name})
	}
	equal(t, "echo", to("/tmp/said", "echo", "one"), "0")
	equal(t, "what the guest reads", y.content("/tmp/said"), "one\n")
	equal(t, "what a command reads", y.does("cat", "/tmp/said"), "0 one")
	equal(t, "again", to("tmp/said", "echo", "x"), "0")
	equal(t, "what the guest reads", y.content("/tmp/said"), "x\n")
	if e := y.ends(); e[0].StdoutTo != "tmp/said" || e[0].Stdout != nil || e[1].StdoutTo != "" || e[1].Stdout.Size != 4 {
		t.Errorf("recorded %+v and %+v", e[0], e[1])
	}
	equal(t, "nothing", to("/tmp/empty", "cat"), "0")
	equal(t, "what the guest reads", y.content("/tmp/empty"), "")
	for name, want := range map[string]string{
		"/tmp":                             `failed: standard output is kept in a file in /tmp, and /tmp is none`,
		"/tmp/a/":                          `failed: standard output is kept in a file in /tmp, and /tmp/a/ is none`,
		"/tmp/a/b":                         `not_found: there is no folder that /tmp/a/b could be in`,
		"/out/a":                           `failed: standard output is kept in a file in /tmp, and /out/a is none`,
		"a":                                `failed: standard output is kept in a file in /tmp, and a is none`,
		"/tmp/../out":                      `failed: standard output is kept in a file in /tmp, and /tmp/../out is none`,
		"/tmp/" + strings.Repeat("x", 256): `failed: standard output is kept in a file in /tmp, and /tmp/` + strings.Repeat("x", 251) + `… (261 bytes) is none`,
	} {
		equal(t, name, to(name, "echo", "x"), want)
	}
	equal(t, "a link", y.does("ln", "-s", "x", "/tmp/link"), "0")
	equal(t, "over a link", to("/tmp/link", "echo", "x"), "failed: /tmp/link cannot be written: it is a symbolic link")
	equal(t, "its own", to("/tmp/said", "rm", "/tmp/said"), "0")
	equal(t, "what the guest reads", y.content("/tmp/said"), "noent")
	equal(t, "moved", to("/tmp/said", "mv", "/tmp/said", "/tmp/b"), "0")
	equal(t, "what the guest reads", y.content("/tmp/b"), "")
	equal(t, "the link", y.does("rm", "/tmp/link"), "0")
	if err := y.consistent(); err != nil {
		t.Error(err)
	}
}

// A turn that is over ends its command, records that, and goes on to its own end.
func TestExecCancelled(t *testing.T) {
	y := newYard(t, setup{grants: all("sleep 60")}, nil, nil)
	ctx, cancel := context.WithCancelCause(context.Background())
	y.ctx = ctx
	why := errors.New("the turn is over")
	time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
	defer func() {
		if p := recover(); p != why {
			t.Errorf("got %v", p)
		}
		ends := y.ends()
		if len(ends) != 1 || ends[0].Killed != "cancelled" || ends[0].Signal != 9 {
			t.Errorf("recorded %+v", ends)
		}
		equal(t, "the clock", fmt.Sprint(y.waits, y.resumed), "1 1")
	}()
	y.does("sleep", "60")
	t.Error("it went on")
}

// An end is recorded where the host fails, too.
func TestExecHostFails(t *testing.T) {
	y := newYard(t, setup{grants: all("true")}, nil, func(c *Commands) {
		c.Wait = func() func() time.Duration { panic(&HostError{"stop the clock", os.ErrInvalid}) }
	})
	var host *HostError
	if err := caught(func() { y.does("true") }); !errors.As(err, &host) || host.Doing != "stop the clock" {
		t.Errorf("got %v", err)
	}
	if ends := y.ends(); len(ends) != 1 || ends[0].Failed != "the host failed" {
		t.Errorf("recorded %+v", ends)
	}
	// What must not be seen lies in what every command sees.
	y = newYard(t, setup{grants: all("true")}, nil, func(c *Commands) { c.Hidden = []string{"/usr/share"} })
	if err := caught(func() { y.does("true") }); !errors.As(err, &host) || host.Error() != "run true: confine: /usr/share lies in /usr, which every command sees: move it elsewhere" {
		t.Errorf("got %v", err)
	}
	if ends := y.ends(); len(ends) != 1 || ends[0].Failed != "the fence could not be put up" {
		t.Errorf("recorded %+v", ends)
	}
	// What it said cannot be kept.
	blobs := 0
	y = newYard(t, setup{grants: all("pwd")}, nil, nil)
	keep := y.blob
	y.cfg.Commands.Blob = func(data []byte) (b record.Blob, err error) {
		if blobs++; blobs > 2 {
			return b, os.ErrInvalid
		}
		return keep(data)
	}
	if err := caught(func() { y.does("pwd") }); !errors.As(err, &host) || host.Doing != "keep what a command said" {
		t.Errorf("got %v", err)
	}
	if ends := y.ends(); len(ends) != 1 || ends[0].Failed != "" || ends[0].Stdout != nil || ends[0].Usage == nil {
		t.Errorf("recorded %+v", ends)
	}
}

// Without a fence nothing runs, and the guest is told what its operator can do.
func TestExecNoFence(t *testing.T) {
	y := newYard(t, setup{grants: all("true")}, nil, func(c *Commands) {
		c.Fence = func(context.Context) (*confine.Report, error) {
			return nil, &confine.MissingError{Layer: "user namespaces", Reason: "no", Remedy: "do this; or that"}
		}
	})
	const why = "the command is granted, but this machine cannot hold it in a fence: user namespaces: do this"
	equal(t, "true", y.does("true"), "unsupported: "+why)
	ops := y.ops(y.begin.Seq)
	if len(ops) != 1 || ops[0].Decision != "refused" || ops[0].Rule != why || ops[0].Errno != "notsup" || len(y.starts()) > 0 {
		t.Errorf("recorded %+v", ops)
	}
	equal(t, "the clock", y.waits, 0)
	// What is not granted ends the turn all the same.
	var v *capability.Violation
	if err := caught(func() { y.does("false") }); !errors.As(err, &v) {
		t.Errorf("got %v", err)
	}
}
