package record

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/ledger"
)

// Each command is recorded in one way that is wrong; evidence and chains are
// right.
func TestVerifySessionFindsInCommands(t *testing.T) {
	line := func(path, content string) string { return string(AppendSeen(nil, fileOf(path, content))) }
	type parts struct {
		argv  string
		view  string
		start ExecStart
		end   ExecEnd
		turn  TurnEnd
	}
	const ended = "exec.end: "
	for _, c := range []struct {
		name   string
		change func(*parts)
		line   int
		want   string // "" if all is well
	}{
		{"all is well", func(*parts) {}, 0, ""},
		{"it saw nothing", func(p *parts) { p.view, p.start.View = "", View{} }, 0, ""},
		{"ended by a signal", func(p *parts) { p.end.Exit, p.end.Signal = -1, 9 }, 0, ""},
		{"ended before it was told", func(p *parts) { p.end = ExecEnd{Exit: -1, Killed: "cancelled"} }, 0, ""},
		{"never ran", func(p *parts) { p.end = ExecEnd{Failed: "no"} }, 0, ""},

		{"words that are none", func(p *parts) { p.argv = `{"git":1}` }, 5, "blob ARGV is no command: want a JSON array of words"},
		{"no words", func(p *parts) { p.argv = `[]` }, 5, "blob ARGV is no command: want a JSON array of words"},
		{"no folder", func(p *parts) { p.start.Dir = "" }, 5, "exec.start: it has no folder"},
		{"no program", func(p *parts) { p.start.Program.Path = "" }, 5, "exec.start: it has no program with a digest"},
		{"a program of unknown content", func(p *parts) { p.start.Program.SHA256 = ledger.Hash{} }, 5, "exec.start: it has no program with a digest"},
		{"an interpreter of unknown content", func(p *parts) { p.start.Interpreter = &File{Path: "/bin/sh"} }, 5, "exec.start: its interpreter has no digest"},
		{"unknown input", func(p *parts) { p.start.Stdin = Content{} }, 5, "exec.start: its standard input has no digest"},
		{"a negative size", func(p *parts) { p.start.Stdin.Size = -1 }, 5, "exec.start: a size is negative"},
		{"a negative mount", func(p *parts) { p.start.Fence.Mounts = -1 }, 5, "exec.start: a number of its fence is negative"},
		{"no limit of output", func(p *parts) { p.start.Fence.Limits.Output = 0 }, 5, "exec.start: a limit of its fence is not one"},

		{"more files than are listed", func(p *parts) { p.start.View.Files++ }, 5, "blob VIEW: the command could see 2 files of 6 bytes, its entry says 3 of 6"},
		{"fewer bytes", func(p *parts) { p.start.View.Bytes-- }, 5, "blob VIEW: the command could see 2 files of 6 bytes, its entry says 2 of 5"},
		{"a file twice", func(p *parts) { p.view = line("a", "1") + line("a", "2") }, 5, `blob VIEW: line 2 of what the command could see: "a" does not come behind "a"`},
		{"files out of order", func(p *parts) { p.view = line("b", "1") + line("a", "2") }, 5, `blob VIEW: line 2 of what the command could see: "a" does not come behind "b"`},
		{"a line that is none", func(p *parts) { p.view = line("a", "1") + "\n" }, 5, "blob VIEW: line 2 of what the command could see: it has no digest, size and name"},
		{"a line without its end", func(p *parts) { p.view = strings.TrimSuffix(p.view, "\n") }, 5, "blob VIEW: line 2 of what the command could see: it is not written as this format writes it"},
		{"a sum that is too large", func(p *parts) {
			huge := File{"b", hashOf("x"), math.MaxInt64}
			p.view = line("a", "1") + string(AppendSeen(nil, huge))
		}, 5, "blob VIEW: line 2 of what the command could see: so many bytes cannot be"},

		{"a status that is none", func(p *parts) { p.end.Exit = 256 }, 6, ended + "no command ends with status 256 and signal 0"},
		{"a status without its signal", func(p *parts) { p.end.Exit = -1 }, 6, ended + "no command ends by itself with status -1 and signal 0"},
		{"a signal with a status", func(p *parts) { p.end.Signal = 9 }, 6, ended + "no command ends by itself with status 0 and signal 9"},
		{"a signal that is none", func(p *parts) { p.end.Exit, p.end.Signal = -1, 65 }, 6, ended + "no command ends with status -1 and signal 65"},
		{"no fence", func(p *parts) { p.end.Fence = nil }, 6, ended + "it ran, and its fence or what it used is missing"},
		{"no usage", func(p *parts) { p.end.Usage = nil }, 6, ended + "it ran, and its fence or what it used is missing"},
		{"negative usage", func(p *parts) { p.end.Usage.CPUNS = -1 }, 6, ended + "a number of what it used is negative"},
		{"a fence without limits", func(p *parts) { p.end.Fence.Limits = CommandLimits{} }, 6, ended + "a limit of its fence is not one"},
		{"output in two places", func(p *parts) { p.end.StdoutTo = "tmp/o" }, 6, ended + "its standard output is in two places"},
		{"output in the workspace", func(p *parts) { p.end.Stdout, p.end.StdoutTo = nil, "docs/o" }, 6, ended + `its standard output is in "docs/o", which is not beneath tmp/`},
		{"output in a folder", func(p *parts) { p.end.Stdout, p.end.StdoutTo = nil, "tmp/" }, 6, ended + `its standard output is in "tmp/", which is not beneath tmp/`},
		{"never ran, and wrote", func(p *parts) { p.end.Failed = "no" }, 6, ended + "it never ran, and something came of it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t, t.TempDir())
			fence := fenceOf(FenceFull)
			p := parts{`["git","log"]`, line("a", "1") + line("docs/b", "23456"), started(FenceFull), ExecEnd{Usage: &Usage{}, Fence: &fence}, TurnEnd{Status: StatusOK}}
			out := b.blob("out")
			p.start.View, p.end.Stdout = View{Files: 2, Bytes: 6}, &out
			c.change(&p)
			b.open()
			b.begin()
			b.op(Op{Op: OpExec, Path: "git log", Decision: Granted})
			p.start.Argv, p.start.View.Blob = b.blob(p.argv), b.blob(p.view)
			p.end.Of = b.append(b.exec, 1, p.start).Seq
			b.append(b.exec, 1, p.end)
			b.end(p.turn)
			b.close()
			want := strings.NewReplacer("ARGV", p.start.Argv.Blob.String(), "VIEW", p.start.View.Blob.Blob.String()).Replace(c.want)
			bad := reasonOf(t, b)
			if bad.Reason != want || bad.Line != c.line {
				t.Errorf("got line %d: %s\nwant line %d: %s", bad.Line, bad.Reason, c.line, want)
			}
		})
	}
}

// reasonOf verifies a session; nothing is wrong with it if there is no reason.
func reasonOf(t *testing.T, b *builder) ledger.IntegrityError {
	t.Helper()
	_, err := VerifySession(b.dir)
	var bad *ledger.IntegrityError
	if err != nil && !errors.As(err, &bad) {
		t.Fatal(err)
	}
	if bad == nil {
		return ledger.IntegrityError{}
	}
	return *bad
}

// Only a crash, or the host's own failure, leaves a command without its end.
func TestVerifySessionOfACommandWithoutEnd(t *testing.T) {
	const want = "turn.end: the command of seq 4 has no end"
	for _, c := range []struct {
		end  TurnEnd
		want string
	}{
		{TurnEnd{Status: StatusOK}, want},
		{TurnEnd{Status: StatusDryRun}, want},
		{TurnEnd{Status: StatusBlocked, Code: CodeViolation}, want},
		{TurnEnd{Status: StatusError, Code: CodeLimit}, want},
		{TurnEnd{Status: StatusError, Code: CodeHost}, ""},
		{TurnEnd{Status: StatusAborted, Code: CodeCrash}, ""},
		{TurnEnd{Status: StatusAborted, Code: CodeInterrupted}, ""},
	} {
		b := newBuilder(t, t.TempDir())
		b.open()
		b.begin()
		b.started(FenceFull)
		b.end(c.end)
		if got := reasonOf(t, b); got.Reason != c.want {
			t.Errorf("%s %s: got %q, want %q", c.end.Status, c.end.Code, got.Reason, c.want)
		}
	}
	b := newBuilder(t, t.TempDir())
	b.open()
	b.begin()
	b.started(FenceFull)
	if got := reasonOf(t, b); got.Reason != "" {
		t.Errorf("a turn that runs: got %q", got.Reason)
	}
}

// Every blob of a session that runs commands is missed, found changed, and may be
// erased.
func TestVerifySessionChecksBlobsOfCommands(t *testing.T) {
	names := files(t, goldens[1].dir)
	checked := 0
	for name := range names {
		digits, ok := strings.CutPrefix(filepath.ToSlash(name), "/"+BlobFolder+"/")
		if !ok {
			continue
		}
		checked++
		h := must(ledger.ParseHash("sha256:" + strings.ReplaceAll(digits, "/", "")))
		for _, c := range []struct{ how, want string }{
			{"missing", "blob HASH is missing and was not erased"},
			{"erased", ""},
			{"changed", "blob HASH: its content does not match: it was changed after it was written"},
		} {
			b := newBuilder(t, t.TempDir())
			b.commands()
			line := 0
			for i, text := range b.lines(ExecFile) {
				if strings.Contains(text, h.String()) {
					line = i + 1
					break
				}
			}
			path := filepath.Join(b.dir, name)
			err := os.Remove(path)
			switch c.how {
			case "erased":
				b.append(b.exec, 0, Erased{h, "asked for"})
			case "changed":
				err = errors.Join(err, os.WriteFile(path, make([]byte, 40), 0o400))
			}
			if err != nil {
				t.Fatal(err)
			}
			got := reasonOf(t, b)
			if got.Reason != strings.ReplaceAll(c.want, "HASH", h.String()) || c.want != "" && got.Line != line {
				t.Errorf("%s: got line %d: %s, want line %d: %s", c.how, got.Line, got.Reason, line, c.want)
			}
		}
	}
	if checked != 19 {
		t.Errorf("checked %d blobs, want 19", checked)
	}
}

func TestAppendSeen(t *testing.T) {
	h := hashOf("x").String()
	for _, c := range []struct{ name, want string }{
		{"docs/a.md", "docs/a.md"},
		{"é\u202e", "é\u202e"},
		{"a b", `"a b"`},
		{"a\nb", `"a\nb"`},
		{"\x7f", `"\x7f"`},
		{`a"b`, `"a\"b"`},
		{`a\b`, `"a\\b"`},
		{" é", `" é"`},
	} {
		line := AppendSeen([]byte("…"), File{c.name, hashOf("x"), 12})
		if want := "…" + h + " 12 " + c.want + "\n"; string(line) != want {
			t.Errorf("got %q, want %q", line, want)
		}
		f, err := parseSeen(bytes.TrimPrefix(line, []byte("…")))
		if want := (File{c.name, hashOf("x"), 12}); err != nil || !reflect.DeepEqual(f, want) {
			t.Errorf("got %+v, %v, want %+v", f, err, want)
		}
	}
	for _, bad := range []string{
		"", "\n", h + "\n", h + " 1\n", h + " 1 \n", h + " 01 a\n", h + " -1 a\n", h + " +1 a\n", h + "  1 a\n", h + " 1 a b\n", h + " 1 a\r\n",
		h + " 1 \"a\"\n", h + " 1 \"a\n", h + " 1 \"\"\n", h + " 1 \"a\\x20b\"\n", h + " 1 `a b`\n", strings.ToUpper(h) + " 1 a\n",
		ledger.Hash{}.String() + " 1 a\n", h + " 1 a", h + " 9223372036854775808 a\n",
	} {
		if f, err := parseSeen([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v", bad, f)
		}
	}
}

// A list that is taken is written again as it was.
func FuzzView(f *testing.F) {
	f.Add([]byte{}, int64(0), int64(0))
	f.Add(AppendSeen(AppendSeen(nil, fileOf("a\n", "1")), fileOf("b", "")), int64(2), int64(1))
	f.Fuzz(func(t *testing.T, list []byte, files, size int64) {
		if (View{Files: files, Bytes: size}).check(list) != nil {
			return
		}
		var again []byte
		for line := range bytes.Lines(list) {
			seen, err := parseSeen(line)
			if err != nil {
				t.Fatal(err)
			}
			again = AppendSeen(again, seen)
		}
		if !bytes.Equal(again, list) {
			t.Fatalf("%q is written %q", list, again)
		}
	})
}
