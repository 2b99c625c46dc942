package capability

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"
)

// threadTime is what the calling thread has computed: other programs on the
// machine do not count.
func threadTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// perCheck is the nanoseconds that check takes of one name.
func perCheck(names []string, rounds int, check func(name string)) float64 {
	from := threadTime()
	for range rounds {
		for _, name := range names {
			check(name)
		}
	}
	return float64(threadTime()-from) / float64(rounds*len(names))
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkAgainstDoublestar measures figure G9: one answer among many patterns,
// next to a loop of doublestar.Match over the same, in turns, on the time of one
// thread. Ours is Forbids, which does all that Check does but write refusals.
// "a-a" is the spread of one thing measured twice; "of-10" what an answer among
// so many patterns takes of one among ten.
func BenchmarkAgainstDoublestar(b *testing.B) {
	var ten float64
	for _, n := range []int{10, 100, 1000} {
		patterns, names := manyPatterns(n), manyNames(n)
		e := mustNew(b, Grants{Forbidden: patterns})
		loop := func(name string) {
			for _, p := range patterns {
				if ok, _ := doublestar.Match(p, name); ok {
					return
				}
			}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			forbids := func(name string) { e.Forbids(name) }
			perCheck(names, 1, forbids)
			var ours, theirs, ratios, same []float64
			for b.Loop() {
				x := perCheck(names, 2000, forbids)
				y := perCheck(names, 20000/n, loop)
				again := perCheck(names, 2000, forbids)
				ours, theirs, ratios, same = append(ours, x), append(theirs, y), append(ratios, x/y), append(same, again/x)
			}
			if n == 10 {
				ten = median(ours)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(ours), "ns/check")
			b.ReportMetric(median(theirs), "ns/loop")
			b.ReportMetric(median(ratios), "of-loop")
			b.ReportMetric(median(ours)/ten, "of-10")
			b.ReportMetric(slices.Max(same)/slices.Min(same), "a-a")
		})
	}
}

// BenchmarkCold measures what comes before the first answer: to compile rights,
// and to answer once.
func BenchmarkCold(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		g := Grants{Read: manyPatterns(n)}
		name := manyNames(n)[0]
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b.ReportAllocs()
			from := threadTime()
			for b.Loop() {
				e := mustAttenuate(b, mustNew(b, g), operators()).Bind(own)
				if _, err := e.Check(Read, name); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(threadTime()-from)/float64(b.N), "cpu-ns/op")
		})
	}
}
