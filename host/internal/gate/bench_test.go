//go:build linux

package gate

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"testing"
)

// BenchmarkRead opens, reads and closes a file, governed and recorded, and as
// plain Go does.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		s := readable(map[string]string{"docs/some/file.md": strings.Repeat("x", size)})
		s.tune = func(c *Config) { c.Ceiling.Entries, c.Ceiling.Evidence = math.MaxInt64/2, math.MaxInt64/2 }
		w := newWorld(b, s)
		path, buf := w.at("docs/some/file.md"), make([]byte, size)
		b.Run(fmt.Sprintf("os/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f, err := os.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadAll(f); err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
		b.Run(fmt.Sprintf("gate/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f, errno := w.Open(WASI, "docs/some/file.md", Read)
				if errno != Success {
					b.Fatal(errno)
				}
				if n, errno := f.ReadAt(buf, 0); n != size || errno != Success {
					b.Fatal(n, errno)
				}
				f.Close()
			}
		})
	}
}

// BenchmarkStat examines a file, governed and recorded, and as plain Go does.
func BenchmarkStat(b *testing.B) {
	s := readable(map[string]string{"docs/some/file.md": "x"})
	s.tune = func(c *Config) { c.Ceiling.Entries, c.Ceiling.Evidence = math.MaxInt64/2, math.MaxInt64/2 }
	w := newWorld(b, s)
	path := w.at("docs/some/file.md")
	b.Run("os", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := os.Stat(path); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("gate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, errno := w.Stat(WASI, "docs/some/file.md"); errno != Success {
				b.Fatal(errno)
			}
		}
	})
	b.Run("hidden again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, errno := w.Stat(WASI, "absent"); errno != NoEnt {
				b.Fatal(errno)
			}
		}
	})
}
