package main

import "fmt"

// compute is G13: what counting costs a guest that only computes.
func compute(l *lab) ([]line, error) {
	var lines []line
	measure := func(g guest, verb string, k int) error {
		us, them := slope(k, measured(3, g.governed, verb)), slope(k, measured(3, g.plain, verb))
		if err := discard(us, them); err != nil {
			return err
		}
		l.say("G13: %s in the %s", verb, g.name)
		p, err := pair(l.rounds, us, them)
		lines = append(lines, p.line(cpu, line{
			Row: "G13", What: fmt.Sprintf("%s, %s", verb, g.name), Goal: 1.2,
			Peer: "wazero, not metered", Version: versionOf("github.com/tetratelabs/wazero"),
		}))
		return err
	}
	type load struct {
		verb string
		k    int // some 10 ms of it
	}
	c, err := l.cGuest()
	if err != nil {
		return nil, err
	}
	if c.wasm == nil {
		lines = append(lines, line{Row: "G13", What: "nbody, sha256 and qsort in C", Text: c.reason})
	} else {
		g, err := l.both("C guest", c.wasm, l.dir)
		if err != nil {
			return nil, err
		}
		for _, c := range []load{{"nbody", 50_000}, {"sha256", 10}, {"qsort", 4}} {
			if err := measure(g, c.verb, c.k); err != nil {
				return nil, err
			}
		}
	}
	g, err := l.goIn(l.dir)
	if err != nil {
		return nil, err
	}
	for _, c := range []load{{"sha256", 10}, {"nbody", 40_000}, {"jsonsort", 20}} {
		if err := measure(g, c.verb, c.k); err != nil {
			return nil, err
		}
	}
	for _, c := range []struct {
		verb  string
		build func(n int) program
		k     int
	}{
		{"bare recursion", fib, 15},
		{"tight loop", tight, 5_000_000},
	} {
		g := l.assembled("assembled by hand", l.dir, c.build)
		if err := measure(g, c.verb, c.k); err != nil {
			return nil, err
		}
	}
	return lines, nil
}
