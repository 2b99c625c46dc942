package main

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3, 3, 3}},
		{[]float64{3, 1}, spread{2, 1, 3, 1, 3}},
		{[]float64{9, 1, 2}, spread{2, 1, 9, 1, 9}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4, 2, 3}},
		{[]float64{8, 7, 6, 5, 4, 3, 2, 1}, spread{4.5, 1, 8, 3, 6}},
	} {
		before := slices.Clone(c.values)
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("%v was changed to %v", before, c.values)
		}
	}
}

func TestRatios(t *testing.T) {
	if got, want := ratios([]float64{2, 9}, []float64{4, 3}), []float64{0.5, 3}; !slices.Equal(got, want) {
		t.Errorf("ratios: %v, want %v", got, want)
	}
	for _, c := range []struct{ values, want []float64 }{
		{nil, nil},
		{[]float64{5}, nil},
		{[]float64{6, 3, 5, 5}, []float64{2, 1}},
		{[]float64{6, 3, 5}, []float64{2}},
	} {
		if got := successive(c.values); !slices.Equal(got, c.want) {
			t.Errorf("successive %v: %v, want %v", c.values, got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	one := func(median float64) spread { return spread{Median: median, Min: 0.1, Max: 9} }
	within := func(from, to float64) spread { return spread{Median: 1, Min: 0.1, Max: 9, From: from, To: to} }
	quiet := within(0.91, 1.09)
	for _, c := range []struct {
		ratio, same spread
		goal        float64
		want        verdict
	}{
		{one(1), quiet, 0, none},
		{one(1), within(0.1, 9), 0, none},
		{one(1.1), quiet, 1.1, reached},
		{one(1.11), quiet, 1.1, missed},
		{one(1), within(0.89, 1), 1.1, noisy},
		{one(9), within(1, 1.11), 1.1, noisy},
		{one(math.NaN()), quiet, 1, noisy},
		{spread{Median: 1, Min: -1}, quiet, 1.1, noisy},
	} {
		if got := judge(c.ratio, c.same, c.goal); got != c.want {
			t.Errorf("ratio %v beside %v, goal %v: %q, want %q", c.ratio, c.same, c.goal, got, c.want)
		}
	}
}

// TestPair holds the order of measuring and what is made of it.
func TestPair(t *testing.T) {
	var order string
	thing := func(name string, ns float64) sampler {
		return func() (cost, error) {
			order += name
			ns++
			return cost{CPU: ns, Wall: 2 * ns}, nil
		}
	}
	p, err := pair(2, thing("A", 9), thing("B", 4))
	if err != nil {
		t.Fatal(err)
	}
	if want := "ABABABAB"; order != want {
		t.Errorf("measured %s, want %s", order, want)
	}
	l := p.line(cpu, line{Row: "G0", Goal: 2})
	if want := (spread{11.5, 10, 13, 11, 12}); l.Ours != want {
		t.Errorf("ours: %v, want %v", l.Ours, want)
	}
	if want := spreadOf([]float64{10. / 5, 11. / 6, 12. / 7, 13. / 8}); *l.Ratio != want {
		t.Errorf("ratio: %v, want %v", *l.Ratio, want)
	}
	if want := spreadOf([]float64{10. / 11, 12. / 13, 5. / 6, 7. / 8}); *l.Same != want {
		t.Errorf("A/A: %v, want %v", *l.Same, want)
	}
	if l.Verdict != noisy {
		t.Errorf("verdict %q, want %q: %v", l.Verdict, noisy, *l.Same)
	}
	if l := p.line(wall, line{}); l.Ours.Median != 23 || l.Measure != "wall" {
		t.Errorf("wall: %v %s", l.Ours.Median, l.Measure)
	}
}

func TestSlope(t *testing.T) {
	calls := []int{}
	s := slope(100, func(n int) sampler {
		return func() (cost, error) {
			calls = append(calls, n)
			return cost{CPU: 1000 + 3*float64(n), Wall: 5000 + 7*float64(n)}, nil
		}
	})
	got, err := s()
	if want := (cost{CPU: 3, Wall: 7}); err != nil || got != want {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if want := []int{100, 200}; !slices.Equal(calls, want) {
		t.Errorf("measured %v, want %v", calls, want)
	}
}

// TestBest holds that each clock is judged by its own best run.
func TestBest(t *testing.T) {
	costs := []cost{{CPU: 3, Process: 9, Wall: 5}, {CPU: 4, Process: 2, Wall: 6}, {CPU: 5, Process: 8, Wall: 1}}
	at := 0
	got, err := best(3, func() (cost, error) { at++; return costs[at-1], nil })()
	if want := (cost{CPU: 3, Process: 2, Wall: 1}); err != nil || got != want || at != 3 {
		t.Errorf("%v, %v after %d runs, want %v", got, err, at, want)
	}
}

func TestChoose(t *testing.T) {
	for list, want := range map[string]string{"": "12", "G3": "G3 ", "g12, G1": "G12 G1 ", "G4": "error", "G1,": "error"} {
		chosen, err := choose(rows(), list)
		got := ""
		for _, r := range chosen {
			got += r.id + " "
		}
		if err != nil {
			got = "error"
		} else if list == "" {
			got = fmt.Sprint(len(chosen))
		}
		if got != want {
			t.Errorf("%q: %q, want %q", list, got, want)
		}
	}
}

// TestTable holds what people read.
func TestTable(t *testing.T) {
	ratio, same := spreadOf([]float64{0.5, 1, 12.34}), spreadOf([]float64{0.97, 1, 1.02})
	got := table(header{CPU: "Some CPU", Cores: 2, Kernel: "Linux 6", Go: "go1", Rounds: 7, Peers: []string{"another v1", "deno not installed"}}, []line{
		{Row: "G1", What: "a run", Peer: "another", Version: "v1", Measure: "wall", Ours: spread{Median: 2.5e6}, Theirs: spread{Median: 999}, Ratio: &ratio, Same: &same, Goal: 1.1, Verdict: reached},
		counted(line{Row: "G1", What: "allocations"}, 3, 0),
		line{Row: "G8", What: "what is not there", Peer: "deno"}.said("not installed"),
	})
	want := `Some CPU, 2 cores, Linux 6, go1, 7 rounds of A B A B
beside another v1, deno not installed
ratio is ours / theirs, the median of all rounds; A/A is the middle half of each thing beside itself
noisy, and no verdict, where A/A leaves 0.90–1.10 or a difference is not positive: measure again on a quieter machine

    what               beside      clock  ours    theirs  ratio (min–max)  A/A        goal
G1  a run              another v1  wall   2.5 ms  999 ns  1 (0.50–12.3)    0.97–1.02  ≤ 1.10  reached
    allocations                           3                                           ≤ 0     missed
G8  what is not there  deno               not installed
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestFigures holds how numbers are written, those of differences too.
func TestFigures(t *testing.T) {
	for v, want := range map[float64]string{0: "0", -3: "-3", 0.00123: "0.0012", -0.00123: "-0.0012", 0.0512: "0.051", 1.5: "1.50", -1.5: "-1.50", -12.34: "-12.3"} {
		if got := figure(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
	for ns, want := range map[float64]string{0: "0 ns", 999: "999 ns", -999: "-999 ns", 1234: "1.23 µs", -1234: "-1.23 µs", -2.5e6: "-2.5 ms", -3e9: "-3 s"} {
		if got := duration(ns); got != want {
			t.Errorf("%v: %q, want %q", ns, got, want)
		}
	}
}

// TestAssemble runs nothing: it holds that numbers are written as WebAssembly
// has them.
func TestAssemble(t *testing.T) {
	for v, want := range map[int64]string{0: "00", 63: "3f", 64: "c000", -1: "7f", -64: "40", -65: "bf7f", 1 << 31: "8080808008"} {
		if got := fmt.Sprintf("%x", appendSigned(nil, v)); got != want {
			t.Errorf("%d: %s, want %s", v, got, want)
		}
	}
}

// TestAdditional holds that what comes with the first is in no figure.
func TestAdditional(t *testing.T) {
	var asked []int
	if _, err := additional(10, func(n int) error { asked = append(asked, n); return nil })(); err != nil {
		t.Fatal(err)
	}
	if want := []int{1, 11}; !slices.Equal(asked, want) {
		t.Errorf("ran %v commands, want %v", asked, want)
	}
}

// TestGranting holds what commands are given: one by one there is a file in each
// folder that is not.
func TestGranting(t *testing.T) {
	for _, c := range []struct {
		whole         bool
		granted, kept int
		read          string
	}{
		{true, 60, 0, "files/**"},
		{false, 60, 2, "files/**/*.txt"},
	} {
		l := newLab(t.Context(), t.TempDir(), 1, func(string, ...any) {})
		g, err := l.granting(60, c.whole)
		if err != nil {
			t.Fatal(err)
		}
		granted, err1 := filepath.Glob(filepath.Join(g.dir, "files/*/*.txt"))
		kept, err2 := filepath.Glob(filepath.Join(g.dir, "files/*/*.bin"))
		if err1 != nil || err2 != nil || len(granted) != c.granted || len(kept) != c.kept || g.read != c.read {
			t.Errorf("whole %v: %d files of which %d are granted, by %s", c.whole, len(granted)+len(kept), len(granted), g.read)
		}
		binds := 0
		for _, word := range (bubblewrap{path: "bwrap"}).sees(g).argv {
			if strings.HasPrefix(word, g.dir) {
				binds++
			}
		}
		if want := max(1, len(g.files)); binds != want {
			t.Errorf("whole %v: bubblewrap is given %d binds of the workspace, want %d", c.whole, binds, want)
		}
	}
}
