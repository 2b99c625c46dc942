//go:build linux || darwin

package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func seeds(f *testing.F) {
	for _, b := range goldenFiles(f) {
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(b[:len(b)/2])
		f.Add(append(bytes.Clone(b), make([]byte, 700)...))
		zeros := bytes.Clone(b)
		clear(zeros[len(b)/512*512-512 : len(b)/512*512])
		f.Add(zeros)
	}
	f.Add([]byte("\n"))
	f.Add([]byte(lineHead))
}

// What is read of any bytes is intact, and what is said about the rest is the
// same however it is read.
func FuzzRead(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		n, bad := verifyBytes("f", data)
		end := int64(len(data))
		if bad != nil {
			end = bad.Offset
			if bad.Line != n+1 || bad.Seq != uint64(n) || bad.Reason == "" {
				t.Fatalf("after %d entries: %+v", n, bad)
			}
		}
		if again, err := verifyBytes("f", data[:end]); err != nil || again != n {
			t.Fatalf("%d entries, then %d: %v", n, again, err)
		}
		if bytes.Count(data[:end], []byte("\n")) != n {
			t.Fatalf("%d entries in %d lines", n, bytes.Count(data[:end], []byte("\n")))
		}
		// Each line is what this package writes from what it reads.
		o := goldenOptions()
		for e, err := range newVerifier("f", &o).entries(bytes.NewReader(data), 0, end) {
			if err != nil {
				t.Fatal(err)
			}
			_, own, err := parseLine(e.Line, nil)
			if err != nil {
				t.Fatal(err)
			}
			line := e.appendHead([]byte{0})
			if len(own) > 0 {
				line = append(append(line, ','), own...)
			}
			if line = e.appendTail(line); !bytes.Equal(line[1:], e.Line) {
				t.Fatalf("%s is written again as %s", e.Line, line[1:])
			}
		}
	})
}

// Open refuses and leaves the file alone, or keeps what Verify calls good and
// goes on.
func FuzzOpen(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		o := goldenOptions()
		o.faults = &faultyDisk{}
		report, verified := Verify(path, o)
		if report.Session == "" {
			o.Session = "SES-1"
		}
		l, err := Open(path, o)
		if (err == nil) != (verified == nil) {
			t.Fatalf("Verify says %v, Open %v", verified, err)
		}
		if err != nil {
			var bad *IntegrityError
			left, failed := os.ReadFile(path)
			if !errors.As(err, &bad) || failed != nil || !bytes.Equal(left, data) {
				t.Fatalf("got %v; the file has %d bytes of %d, %v", err, len(left), len(data), failed)
			}
			return
		}
		if l.Head() != report.Head || len(l.Recovered()) > 1 || (report.Torn != nil) != (len(l.Recovered()) == 1) {
			t.Fatalf("Verify says %+v, Open %+v, %+v", report, l.Head(), l.Recovered())
		}
		mustAppend(t, l, "turn.end", "x")
		l.Close()
		after, err := Verify(path, o)
		if err != nil || after.Entries != report.Entries+1 || after.Torn != nil {
			t.Fatalf("afterwards: %+v, %v", after, err)
		}
		kept, err := os.ReadFile(path)
		if err != nil || report.Torn == nil && !bytes.HasPrefix(kept, data) {
			t.Fatalf("a byte of what was good is gone: %v", err)
		}
	})
}
