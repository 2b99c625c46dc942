//go:build linux || darwin

package ledger

import (
	"bytes"
	"crypto/sha256"
	"strconv"
	"testing"
	"time"
)

// call is about as long as most entries are.
type call struct{ path string }

func (*call) Kind() string { return "op" }
func (c *call) AppendMembers(m *Members) {
	m.Str("op", "open")
	m.Str("via", "wasi")
	m.Str("path", c.path)
	m.Str("flags", "read")
	m.Str("decision", "granted")
	m.Str("rule", "docs/**")
	m.Str("errno", "success")
	m.Int("size", 12345)
	m.Hash("sha256", Hash{1, 2, 3})
}

// nowhere takes writes and syncs.
type nowhere struct{ file }

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Sync() error                 { return nil }

func benchLog(b *testing.B, f func(file) file) *Log {
	o := options()
	o.Now = time.Now
	l := mustCreate(b, o)
	l.f = f(l.f)
	b.ReportAllocs()
	b.ResetTimer()
	return l
}

func BenchmarkAppend(b *testing.B) {
	body := &call{"docs/some/folder/file.md"}
	for _, c := range []struct {
		name string
		f    func(file) file
	}{
		{"file", func(f file) file { return f }},
		{"nowhere", func(f file) file { return nowhere{f} }},
	} {
		b.Run(c.name, func(b *testing.B) {
			l := benchLog(b, c.f)
			for b.Loop() {
				if _, err := l.Append(1, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchLedger is a ledger of 20,000 entries in memory.
func benchLedger(b *testing.B) []byte {
	var buf bytes.Buffer
	l := benchLog(b, func(f file) file { return &elsewhere{f, &buf} })
	for range 20000 {
		if _, err := l.Append(1, &call{"docs/some/folder/file.md"}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(buf.Len()))
	b.ResetTimer()
	return buf.Bytes()
}

func BenchmarkVerify(b *testing.B) {
	for _, merkle := range []bool{false, true} {
		b.Run("merkle="+strconv.FormatBool(merkle), func(b *testing.B) {
			data := benchLedger(b)
			o := options()
			for b.Loop() {
				var tree Tree
				for e, err := range newVerifier("f", &o).entries(bytes.NewReader(data), 0, int64(len(data))) {
					if err != nil {
						b.Fatal(err)
					}
					if merkle {
						tree.Add(e.Hash)
					}
				}
			}
		})
	}
}

// BenchmarkBareSHA256 is the floor of BenchmarkVerify: the hashes of the same
// lines, and nothing else.
func BenchmarkBareSHA256(b *testing.B) {
	data := benchLedger(b)
	lines := bytes.SplitAfter(data, []byte("\n"))
	for b.Loop() {
		for _, line := range lines {
			sha256.Sum256(line)
		}
	}
}

func BenchmarkTree(b *testing.B) {
	var tree Tree
	leaf := Sum(nil)
	b.ReportAllocs()
	for b.Loop() {
		tree.Add(leaf)
	}
}
