package agent

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"
	"time"
)

const (
	sumOfNothing = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	sumOfHello   = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
)

func TestHash(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hello")
	if err := os.WriteFile(file, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := Hash(file); got != sumOfHello || err != nil {
		t.Errorf("Hash: %s, %v, want %s", got, err, sumOfHello)
	}
	for data, want := range map[string]string{"hello": sumOfHello, "": sumOfNothing} {
		if got, err := HashBytes([]byte(data)); got != want || err != nil {
			t.Errorf("HashBytes(%q): %s, %v, want %s", data, got, err, want)
		}
	}
	if got, err := HashBytes(nil); got != sumOfNothing || err != nil {
		t.Errorf("HashBytes(nil): %s, %v, want %s", got, err, sumOfNothing)
	}

	t.Chdir(t.TempDir())
	if _, err := Hash("missing"); !errors.Is(err, fs.ErrNotExist) || err.Error() != "hash missing: no such file or directory" && os.PathSeparator == '/' {
		t.Errorf("of a missing file: %v", err)
	}
	if _, err := Hash("."); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a folder: %v", err)
	}
	if _, err := Hash("\xff"); err == nil || err.Error() != `hash "\xff": not UTF-8` {
		t.Errorf("of a name that is not UTF-8: %v", err)
	}
	if _, err := Hash(""); !errors.Is(err, fs.ErrNotExist) || err.Error() != "hash: the name is empty" {
		t.Errorf("of no name: %v", err)
	}
}

func TestNativeHost(t *testing.T) {
	if v, err := Check(Read, "a.md"); !v.Allowed || err != nil {
		t.Errorf("Check: %v, %v", v, err)
	}
	if v, err := CheckExec("git", "log"); !v.Allowed || err != nil {
		t.Errorf("CheckExec: %v, %v", v, err)
	}
	if h, err := Info(); err != nil || h.ABI != 1 || !slices.Contains(h.Ops, opHash) || slices.Contains(h.Ops, opExec) {
		t.Errorf("Info: %v, %v", h, err)
	}
	for _, run := range []func(*Cmd) error{
		(*Cmd).Run,
		func(c *Cmd) error { _, err := c.Output(); return err },
		func(c *Cmd) error { _, err := c.CombinedOutput(); return err },
	} {
		if err := run(Command("/usr/bin/git", "log")); !errors.Is(err, errors.ErrUnsupported) ||
			err.Error() != "exec git: there is no host to run commands: unsupported operation" {
			t.Errorf("a command: %v", err)
		}
	}
	if _, err := call("http", "", nil, nil, &head{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("an operation of later: %v", err)
	}
}

func TestCommandMistakes(t *testing.T) {
	for _, tt := range []struct {
		cmd  *Cmd
		want string
	}{
		{&Cmd{}, "exec: no command"},
		{&Cmd{Args: []string{"", "x"}}, "exec: no command"},
		{Command("git", "\xff"), `exec "\xff": not UTF-8`},
		{Command("/usr/bin/git", "a\x00b"), `exec git: "a\x00b" holds NUL`},
		{&Cmd{Args: []string{"git"}, Dir: "\xfe"}, `exec "\xfe": not UTF-8`},
		{&Cmd{Args: []string{"git"}, Dir: "\x00"}, `exec git: "\x00" holds NUL`},
		{&Cmd{Args: []string{"git"}, StdoutFile: "/tmp/\xfe"}, `exec "/tmp/\xfe": not UTF-8`},
		{&Cmd{Args: []string{"git"}, Timeout: -time.Second}, "exec git: Timeout is negative"},
		{&Cmd{Args: []string{"git"}, Stdout: io.Discard, StdoutFile: "/tmp/log"}, "exec git: Stdout and StdoutFile are both set"},
		{&Cmd{Args: []string{"git"}, Stdin: iotest.ErrReader(io.ErrUnexpectedEOF)}, "exec git: read Stdin: unexpected EOF"},
	} {
		if err := tt.cmd.Run(); err == nil || err.Error() != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	for _, tt := range []struct {
		cmd              *Cmd
		output, combined string
	}{
		{&Cmd{Args: []string{"git"}, Stdout: io.Discard}, "exec git: Stdout is already set", "exec git: Stdout or Stderr is already set"},
		{&Cmd{Args: []string{"git"}, Stderr: io.Discard}, "exec git: there is no host to run commands: unsupported operation", "exec git: Stdout or Stderr is already set"},
		{&Cmd{Args: []string{"git"}, StdoutFile: "/tmp/log"}, "exec git: StdoutFile is already set", "exec git: StdoutFile is already set"},
	} {
		if out, err := tt.cmd.Output(); len(out) != 0 || err == nil || err.Error() != tt.output {
			t.Errorf("Output: %q, %v, want %s", out, err, tt.output)
		}
		if out, err := tt.cmd.CombinedOutput(); len(out) != 0 || err == nil || err.Error() != tt.combined {
			t.Errorf("CombinedOutput: %q, %v, want %s", out, err, tt.combined)
		}
	}
}

// What is asked of the host has only what was set, and a short time does not
// become none.
func TestCommandRequest(t *testing.T) {
	for _, tt := range []struct {
		cmd  *Cmd
		want string
	}{
		{Command("git", "log", ""), `{"op":"exec","argv":["git","log",""]}`},
		{&Cmd{Args: []string{"make"}, Dir: "docs", Timeout: time.Minute, StdoutFile: "/tmp/log"}, `{"op":"exec","argv":["make"],"cwd":"docs","timeout_ms":60000,"stdout_to":"/tmp/log"}`},
		{&Cmd{Args: []string{"make"}, Timeout: 1}, `{"op":"exec","argv":["make"],"timeout_ms":1}`},
		{&Cmd{Args: []string{"make"}, Timeout: time.Millisecond + 1}, `{"op":"exec","argv":["make"],"timeout_ms":2}`},
		{&Cmd{Args: []string{"make"}, Timeout: math.MaxInt64}, `{"op":"exec","argv":["make"],"timeout_ms":9223372036855}`},
	} {
		args, err := tt.cmd.request()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := encode(opExec, args, nil); err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v, want %s", tt.cmd, got, err, tt.want)
		}
	}
}

func TestCommandResult(t *testing.T) {
	c := Command("/bin/make", "all")
	for _, tt := range []struct {
		reply          execReply
		output         string
		stdout, stderr string
		want           string
	}{
		{execReply{}, "", "", "", ""},
		{execReply{StdoutBytes: 3, StderrBytes: 2}, "outer", "out", "er", ""},
		{execReply{Exit: 2, StdoutBytes: 3, StderrBytes: 2}, "outer", "out", "er", "exit status 2"},
		{execReply{Exit: 2, StdoutBytes: 3, StderrBytes: 2, Truncated: true}, "outer", "out", "er", "exec make: it wrote more than it may, and was ended"},
		{execReply{Exit: 137, StdoutBytes: 5, Truncated: true}, "outer", "outer", "", "exec make: it wrote more than it may, and was ended"},
		{execReply{Exit: 137, StdoutBytes: 3, StderrBytes: 2}, "outer", "out", "er", "exit status 137"},
		{execReply{StderrBytes: 5}, "outer", "", "outer", ""},
		{execReply{StdoutBytes: 6}, "outer", "", "", "exec make: the host's reply: 6 and 0 bytes of output in 5"},
		{execReply{StdoutBytes: 3, StderrBytes: 1}, "outer", "", "", "exec make: the host's reply: 3 and 1 bytes of output in 5"},
		{execReply{StdoutBytes: -1, StderrBytes: 6}, "outer", "", "", "exec make: the host's reply: -1 and 6 bytes of output in 5"},
		{execReply{StdoutBytes: 6, StderrBytes: -1}, "outer", "", "", "exec make: the host's reply: 6 and -1 bytes of output in 5"},
	} {
		stdout, stderr, err := c.result(tt.reply, []byte(tt.output))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if string(stdout) != tt.stdout || string(stderr) != tt.stderr || got != tt.want {
			t.Errorf("%+v: %q, %q, %v, want %q, %q, %s", tt.reply, stdout, stderr, err, tt.stdout, tt.stderr, tt.want)
		}
		if exit, ok := err.(*ExitError); ok && (exit.ExitCode() != tt.reply.Exit || string(exit.Stderr) != tt.stderr) {
			t.Errorf("%+v: %d, %q", tt.reply, exit.ExitCode(), exit.Stderr)
		}
	}
}

// What slog writes arrives as level, message and fields, whatever the names of
// its attributes.
func TestLogger(t *testing.T) {
	for _, tt := range []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"plain", func(l *slog.Logger) { l.Info("hello") }, `info hello `},
		{"a quote", func(l *slog.Logger) { l.Error("say \"hi\"\n") }, "error say \"hi\"\n "},
		{"attributes", func(l *slog.Logger) { l.Warn("w", "n", 1, "d", time.Second) }, `warn w {"n":1,"d":1000000000}`},
		{"names of its own", func(l *slog.Logger) { l.Info("m", "msg", "a", "level", "b", "time", "c") }, `info m {"msg":"a","level":"b","time":"c"}`},
		{"groups", func(l *slog.Logger) { l.With("a", 1).WithGroup("g").Debug("m", "b", "}") }, `debug m {"a":1,"g":{"b":"}"}}`},
		{"no message", func(l *slog.Logger) { l.Info("", "a", 1) }, `info - {"a":1}`},
		{"high", func(l *slog.Logger) { l.Log(t.Context(), 12, "m") }, `error m `},
		{"a level between", func(l *slog.Logger) { l.Log(t.Context(), -9, "m") }, `debug m `},
	} {
		var line bytes.Buffer
		tt.log(slog.New(slog.NewJSONHandler(&line, &slog.HandlerOptions{Level: slog.Level(-100)})))
		r, err := readLog(line.Bytes())
		if got := r.Level + " " + r.Message + " " + string(r.Fields); err != nil || got != tt.want {
			t.Errorf("%s: %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
	for _, line := range []string{"", "{", `{"level":1}`, `{"level":"INFO"}`} {
		if _, err := readLog([]byte(line)); err == nil {
			t.Errorf("%q passes for a record", line)
		}
	}
	if !Logger().Enabled(t.Context(), slog.LevelDebug-100) {
		t.Error("a level is not logged")
	}
}

// TestCmdLeavesItsWords: what lies behind Args is the caller's.
func TestCmdLeavesItsWords(t *testing.T) {
	words := []string{"git", "log", "kept"}
	c := &Cmd{Args: words[:2], Dir: "docs"}
	c.Run()
	if words[2] != "kept" {
		t.Errorf("got %q", words)
	}
}
