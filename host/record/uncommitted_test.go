package record

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/ledger"
)

// Beside a live writer evidence of later turns is no sign that exec.jsonl was
// cut.
func TestVerifySessionBesideAWriter(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	b.open()
	for range 2 {
		b.begin()
		b.end(TurnEnd{Status: StatusOK})
	}
	whole := must(os.Stat(filepath.Join(b.dir, ExecFile)))
	lines := b.lines(ExecFile)
	if err := os.WriteFile(filepath.Join(b.dir, ExecFile), []byte(lines[0]+lines[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		before fs.FileInfo
		want   bool
	}{{must(os.Stat(filepath.Join(b.dir, ExecFile))), true}, {whole, false}, {nil, false}} {
		s := &session{dir: b.dir, missing: map[ledger.Hash]*ledger.IntegrityError{}, before: c.before}
		if err := s.verify(); (err != nil) != c.want {
			t.Errorf("got %v, want an error: %v", err, c.want)
		}
	}
}

// Every line of either file removed, repeated, or exchanged with the next, and
// every end cut off, is found, or leaves a session that is not closed.
func TestVerifySessionFindsMovedLines(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	b.good()
	for _, name := range []string{ExecFile, EvidenceFile} {
		lines := b.lines(name)
		write := func(parts ...[]string) (Report, error) {
			t.Helper()
			var all strings.Builder
			for _, p := range parts {
				all.WriteString(strings.Join(p, ""))
			}
			if err := os.WriteFile(filepath.Join(b.dir, name), []byte(all.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			return VerifySession(b.dir)
		}
		for i := range lines {
			var bad *ledger.IntegrityError
			if i < len(lines)-1 {
				if _, err := write(lines[:i], lines[i+1:]); !errors.As(err, &bad) || filepath.Base(bad.File) != name || bad.Line != i+1 {
					t.Errorf("%s without line %d: got %v", name, i+1, err)
				}
				if _, err := write(lines[:i], lines[i+1:i+2], lines[i:i+1], lines[i+2:]); !errors.As(err, &bad) || bad.Line != i+1 {
					t.Errorf("%s with line %d after the next: got %v", name, i+1, err)
				}
			}
			if _, err := write(lines[:i+1], lines[i:]); !errors.As(err, &bad) || bad.Line != i+2 {
				t.Errorf("%s with line %d twice: got %v", name, i+1, err)
			}
			// Evidence that is cut is found, and so is what is cut off before it
			// was committed; the end of an open session is not protected.
			report, err := write(lines[:i])
			if err == nil && (name == EvidenceFile || report.Closed || report.Uncommitted == 0 && i < len(lines)-2) {
				t.Errorf("%s cut before line %d: not found: %+v", name, i+1, report)
			}
		}
		if _, err := write(lines); err != nil {
			t.Fatal(err)
		}
	}
}
