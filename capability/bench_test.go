package capability

import (
	"fmt"
	"testing"
)

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		var g Grants
		for i := range n {
			g.Read = append(g.Read, fmt.Sprintf([]string{"docs/%d/**/*.md", "src/%d/*.go", "%d/a/**", "**/%d.txt"}[i%4], i))
		}
		g.Read = append(g.Read, "last/**/*.{md,txt}")
		e := mustAttenuate(b, mustNew(b, g), operators())
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Check(Read, "last/a/b/c/file.txt"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBind(b *testing.B) {
	e := mustAttenuate(b, mustNew(b, Grants{Read: []string{"docs/**"}, Write: []string{"out/**"}}), operators())
	b.ReportAllocs()
	for b.Loop() {
		e.Bind(own)
	}
}

// BenchmarkCold is what comes before the first answer: to compile rights, and to
// answer once.
func BenchmarkCold(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		g := Grants{Read: manyPatterns(n)}
		name := manyNames(n)[0]
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e := mustAttenuate(b, mustNew(b, g), operators()).Bind(own)
				if _, err := e.Check(Read, name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
