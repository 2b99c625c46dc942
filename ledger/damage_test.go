//go:build linux || darwin

package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// goldens are the sessions whose files are kept.
var goldens = []string{"../testdata/ledgers/good", "../testdata/ledgers/commands"}

// goldenOptions are those under which the golden files were written.
func goldenOptions() Options {
	return Options{Durable: func(e Entry) bool {
		switch e.Kind {
		case "session.open", "exec.start", "turn.end", "session.close", "recovered", "violation", "turn.evidence":
			return true
		}
		return false
	}}
}

// goldenFiles are those files, by path.
func goldenFiles(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, session := range goldens {
		for _, name := range []string{"exec.jsonl", "evidence.jsonl"} {
			path := filepath.Join(session, name)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files[path] = b
		}
	}
	return files
}

// verifyBytes checks b as the content of a file called name, and returns the
// number of good entries and the error behind them.
func verifyBytes(name string, b []byte) (n int, err *IntegrityError) {
	o := goldenOptions()
	for _, failed := range newVerifier(name, &o).entries(bytes.NewReader(b), 0, int64(len(b))) {
		if failed != nil {
			errors.As(failed, &err)
			break
		}
		n++
	}
	return n, err
}

func TestEveryFlippedByteIsFound(t *testing.T) {
	for name, whole := range goldenFiles(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := 1
			for i := range whole {
				for _, flip := range []byte{0x20, 0x81, whole[i] ^ '\n'} {
					if flip == 0 { // the newline, flipped to itself
						continue
					}
					whole[i] ^= flip
					n, err := verifyBytes(name, whole)
					whole[i] ^= flip
					if err == nil || err.Line != line || err.Torn || n != line-1 || err.File != name {
						t.Fatalf("%s byte %d ^ %#x: got %v, want an error in line %d", name, i, flip, err, line)
					}
				}
				if whole[i] == '\n' {
					line++
				}
			}
			if _, err := verifyBytes(name, whole); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestEveryCutIsFoundOrReported(t *testing.T) {
	for name, whole := range goldenFiles(t) {
		for i := range whole {
			n, err := verifyBytes(name, whole[:i])
			atEnd := i == 0 || whole[i-1] == '\n'
			switch {
			case atEnd && err != nil:
				t.Errorf("%s cut at the end of line %d: got %v", name, n, err)
			case !atEnd && (err == nil || !err.Torn || err.Line != n+1):
				t.Errorf("%s cut at byte %d: got %v, want a torn line %d", name, i, err, n+1)
			}
		}
	}
}

func TestEveryMovedLineIsFound(t *testing.T) {
	for name, whole := range goldenFiles(t) {
		lines := bytes.SplitAfter(whole, []byte("\n"))
		lines = lines[:len(lines)-1]
		join := func(parts ...[][]byte) []byte {
			var out []byte
			for _, p := range parts {
				out = append(out, bytes.Join(p, nil)...)
			}
			return out
		}
		for i := range lines {
			for j := i + 1; j < len(lines); j++ {
				swapped := join(lines[:i], lines[j:j+1], lines[i+1:j], lines[i:i+1], lines[j+1:])
				want := fmt.Sprintf("%s line %d (seq %d, byte %d): seq is %d, want %d: a line was removed, repeated or moved", filepath.Base(name), i+1, i, len(join(lines[:i])), j, i)
				if _, err := verifyBytes(name, swapped); err == nil || err.Error() != want {
					t.Errorf("lines %d and %d: got %v, want %s", i+1, j+1, err, want)
				}
			}
		}
	}
}

// A chain without keys does not see what was rewritten from some line to the
// end; it does see a rewritten part that does not go on to the end.
func TestRewrittenPart(t *testing.T) {
	l := mustCreate(t, options())
	for i := range 5 {
		mustAppend(t, l, "note", fmt.Sprint(i))
	}
	b, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	o := options()
	e, _, err := parseLine(bytes.TrimSuffix(lines[2], []byte("\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	forged := e.appendHead([]byte{0})
	forged = append(forged, `,"text":"another"`...)
	forged = append(e.appendTail(forged), '\n')
	lines[2] = forged[1:]
	if err := os.WriteFile(l.path, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Verify(l.path, o)
	want := fmt.Sprintf("exec.jsonl line 4 (seq 3, byte %d): prev is not the hash of the line before: a line was exchanged, or all before it rewritten", len(bytes.Join(lines[:3], nil)))
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	o.Session = "SES-2"
	if _, err := Verify(l.path, o); err == nil || err.Error() != "exec.jsonl line 1 (seq 0, byte 0): session is SES-1, want SES-2" {
		t.Errorf("got %v", err)
	}
}

// Lines whose hash is right, but which this package would not have written.
func TestOnlyOneSpellingOfALine(t *testing.T) {
	const good = `{"v":1,"seq":0,"ts":"2026-01-02T03:04:05.000000006Z","mono_ns":7,"kind":"a.b_c","sid":"SES-1","turn":1,"text":"x"`
	seal := func(head string) string {
		b := append([]byte{0}, head...)
		var e Entry
		return string(append(e.appendTail(b), '\n')[1:])
	}
	if n, err := verifyBytes("f", []byte(seal(good))); err != nil || n != 1 {
		t.Fatalf("got %d, %v", n, err)
	}
	for _, c := range [][2]string{
		{`"seq":0`, `"seq":00`},
		{`"seq":0`, `"seq":-0`},
		{`"seq":0`, `"seq":+0`},
		{`"seq":0`, `"seq":`},
		{`"seq":0`, `"seq":0.0`},
		{`"seq":0`, `"seq": 0`},
		{`"seq":0`, `"seq":9007199254740992`},
		{`"seq":0`, `"seq":18446744073709551616`},
		{`"mono_ns":7`, `"mono_ns":-7`},
		{`"mono_ns":7,`, ``},
		{`2026-01-02T`, `2026-13-02T`},
		{`2026-01-02T`, `2026-02-29T`},
		{`2026-01-02T`, `2026-00-00T`},
		{`2026-01-02T`, `2026-01-02t`},
		{`03:04:05`, `24:04:05`},
		{`03:04:05`, `03:60:05`},
		{`03:04:05`, `03:04:60`},
		{`.000000006Z`, `.00000006Z`},
		{`.000000006Z`, `Z`},
		{`.000000006Z`, `.000000006+00:00`},
		{`"a.b_c"`, `""`},
		{`"a.b_c"`, `"A"`},
		{`"a.b_c"`, `"a\u0062"`},
		{`"a.b_c"`, `"` + strings.Repeat("a", 65) + `"`},
		{`"SES-1"`, `"SES 1"`},
		{`"SES-1"`, `"` + strings.Repeat("a", 129) + `"`},
		{`"turn":1`, `"turn":2147483648`},
		{`"turn":1`, `"turn":null`},
		{`,"text":"x"`, `,`},
		{`,"text":"x"`, `"text":"x"`},
		{`{"v":1`, ` {"v":1`},
		{`{"v":1`, "\ufeff{\"v\":1"},
		{`{"v":1`, `{"v":01`},
	} {
		bad := strings.Replace(good, c[0], c[1], 1)
		if bad == good {
			t.Fatalf("%q is not in the line", c[0])
		}
		if _, err := verifyBytes("f", []byte(seal(bad))); err == nil || err.Line != 1 || err.Torn {
			t.Errorf("%s: got %v", bad, err)
		}
	}
	for _, bad := range []string{seal(good) + "\r\n", strings.TrimSuffix(seal(good), "\n") + "\r\n", seal(good) + " ", strings.ToUpper(seal(good))} {
		if _, err := verifyBytes("f", []byte(bad)); err == nil {
			t.Errorf("%q is taken for a ledger", bad)
		}
	}
}

// The command of LEDGER.md finds the hash of every line of the golden files.
func TestByHand(t *testing.T) {
	for _, tool := range []string{"sh", "sed", "tr", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("no", tool, "here")
		}
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	const command = `(printf '\0'; sed -n '5s/,"hash":"[0-9a-f]\{64\}"}$//p' exec.jsonl | tr -d '\n') | sha256sum`
	if !bytes.Contains(readme, []byte(command)) {
		t.Error("README.md does not have the command")
	}
	for name := range goldenFiles(t) {
		for e, err := range Read(name) {
			if err != nil {
				t.Fatal(err)
			}
			script := strings.Replace(strings.Replace(command, "5s/", fmt.Sprintf("%ds/", e.Seq+1), 1), "exec.jsonl", name, 1)
			cmd := exec.Command("sh", "-c", script)
			out, err := cmd.Output()
			if want := strings.TrimPrefix(e.Hash.String(), "sha256:") + "  -\n"; err != nil || string(out) != want {
				t.Errorf("%s line %d: got %s, %v, want %s", name, e.Seq+1, out, err, want)
			}
		}
	}
}
