package register

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// cpu reports the time of the processors that f takes, which says more than the
// clock where others are at work.
func cpu(b *testing.B, f func()) {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	n := 0
	for b.Loop() {
		f()
		n++
	}
	b.ReportMetric(float64(used()-before)/float64(n)/1000, "cpu-µs/op")
}

// BenchmarkRecord is one head until it is on disk, beside a bare write and sync.
func BenchmarkRecord(b *testing.B) {
	b.Run("durable", func(b *testing.B) {
		r := at(b, b.TempDir(), options())
		must(b, r, opened("SES-1"))
		n := uint64(2)
		cpu(b, func() {
			must(b, r, step("SES-1", n, n+1))
			n++
			if err := r.Wait(ctx, "SES-1"); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("fsync", func(b *testing.B) {
		f, err := os.OpenFile(filepath.Join(b.TempDir(), "f"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		line := make([]byte, 900)
		cpu(b, func() {
			if _, err := f.Write(line); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// BenchmarkFind opens a register whose current segment is nearly full, with older
// ones, and asks for a session that it knows, and for one that nobody does.
func BenchmarkFind(b *testing.B) {
	root := b.TempDir()
	r := at(b, root, options())
	must(b, r, opened("SES-1"))
	for n, count := uint64(2), 0; count < 4; n++ {
		var changes []Change
		for i := range 200 {
			changes = append(changes, opened(fmt.Sprintf("SES-%d-%d", n, i)))
		}
		all(r, changes...)()
		must(b, r, step("SES-1", n, n+1))
		count, _ = r.segments()
	}
	for n := 0; r.disk.left.Size < segmentLimit*9/10; n++ {
		must(b, r, opened(fmt.Sprintf("SES-last-%d", n)))
	}
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
	for _, session := range []string{"SES-last-0", "SES-none"} {
		b.Run(session, func(b *testing.B) {
			cpu(b, func() {
				r := at(b, root, options())
				if _, _, err := r.Find(ctx, session); err != nil {
					b.Fatal(err)
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}
