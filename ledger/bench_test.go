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
	for _, c := range []struct {
		merkle  bool
		workers int
	}{{false, 1}, {true, 1}, {true, 2}, {true, 4}} {
		b.Run("merkle="+strconv.FormatBool(c.merkle)+",workers="+strconv.Itoa(c.workers), func(b *testing.B) {
			data := benchLedger(b)
			o := options()
			for b.Loop() {
				v := newVerifier("f", &o)
				v.treed, v.workers = c.merkle, c.workers
				for _, err := range v.entries(bytes.NewReader(data), 0, int64(len(data))) {
					if err != nil {
						b.Fatal(err)
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

// BenchmarkProve is over a ledger of a million entries with an index; the file is
// in the system's cache.
func BenchmarkProve(b *testing.B) {
	const notes = 1_000_000
	l, o := bigLedger(b, notes)
	folder := b.TempDir()
	p := mustProver(b, l.path, folder, o)
	seq := uint64(0)
	next := func() uint64 { seq = (seq + 611_953) % notes; return seq }
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := p.Prove(next()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("opening", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p := mustProver(b, l.path, folder, o)
			if _, _, err := p.Prove(next()); err != nil {
				b.Fatal(err)
			}
			p.Close()
		}
	})
	proof, e, err := p.Prove(next())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("check path", func(b *testing.B) {
		for b.Loop() {
			if err := proof.Includes(e.Line); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("check all", func(b *testing.B) {
		for b.Loop() {
			if err := CheckProof(proof, e.Line, o.Key.Verifier()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
