//go:build linux

package gate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
)

// repository is a tree of files in folders of 20, some of which the built-in
// policy withholds.
func repository(files int) setup {
	s := setup{
		grants: capability.Grants{Read: []string{"**"}}, withhold: capability.SecretNames(),
		files: map[string]string{".git/config": "s", ".git/HEAD": "h", "src/d0001/.env": "s", "README": "r"},
	}
	content := strings.Repeat("x", 4096)
	for i := range files {
		top := []string{"src", "docs", ".git/objects", "test"}[i/20%4]
		s.files[fmt.Sprintf("%s/d%04d/f%02d", top, i/20, i%20)] = content
	}
	return s
}

// BenchmarkView makes the view of a repository of 20,000 files of 4 KiB: with
// digests that are known, and for the first time; and looks again at what was
// seen.
func BenchmarkView(b *testing.B) {
	w := commanding(b, repository(20_000))
	v := w.view()
	b.Logf("%d binds of %d files, %d MiB, a listing of %d KiB", len(v.binds), v.files, v.bytes>>20, len(v.listing)>>10)
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			v = w.view()
		}
	})
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			w.cfg.Commands.Digests = NewDigests(time.Now)
			v = w.view()
		}
	})
	b.Run("look after", func(b *testing.B) {
		for b.Loop() {
			w.lookAfter(v)
		}
	})
}
