package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/gobwas/glob"

	"github.com/agenthost/agenthost/capability"
)

// patterns are n grants such as manifests have.
func patterns(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf([]string{"docs/%d/**/*.md", "src/%d/*.go", "data/%d/a/**", "**/report-%d.{md,txt}"}[i%4], i)
	}
	return list
}

// Names that are granted by an early and a late pattern, and names that are not.
func grantedNames(n int) []string {
	return []string{
		"docs/0/a/b/c/file.md", "src/1/main.go", fmt.Sprintf("docs/%d/x/file.md", (n-1)/4*4),
		fmt.Sprintf("some/where/report-%d.txt", (n-4)/4*4+3),
	}
}

var refusedNames = []string{"docs/0/a/b/c/file.txt", "lib/main.go", "some/where/else/report.txt", "README.md"}

// checks is G9: one question about a name, permitted and refused.
func checks(l *lab) ([]line, error) {
	var lines []line
	ours := map[int]sampler{}
	for _, n := range []int{10, 100, 1000} {
		list := patterns(n)
		enforcer, err := capability.New(capability.Grants{Read: list})
		if err != nil {
			return nil, err
		}
		globs := make([]*glob.Pattern, n)
		for i, p := range list {
			if globs[i], err = glob.Compile(p, '/'); err != nil {
				return nil, err
			}
		}
		for _, c := range []struct {
			what  string
			names []string
			want  bool
		}{{"permitted", grantedNames(n), true}, {"refused", refusedNames, false}} {
			us := asks(20_000, c.names, c.want, func(name string) bool {
				_, err := enforcer.Check(capability.Read, name)
				return err == nil
			})
			star := asks(200_000/n, c.names, c.want, func(name string) bool {
				for _, p := range list {
					if ok, _ := doublestar.Match(p, name); ok {
						return true
					}
				}
				return false
			})
			gob := asks(1_000_000/n, c.names, c.want, func(name string) bool {
				for _, g := range globs {
					if g.Match(name) {
						return true
					}
				}
				return false
			})
			if err := discard(us, star, gob); err != nil {
				return nil, err
			}
			l.say("G9 with %d patterns", n)
			as := line{Row: "G9", What: fmt.Sprintf("check of a name, %d patterns, %s", n, c.what)}
			if n == 1000 {
				as.Goal = 0.002
			}
			as.Peer, as.Version = "doublestar in a loop", versionOf("github.com/bmatcuk/doublestar/v4")
			p, err := pair(l.rounds, us, star)
			if err != nil {
				return nil, err
			}
			lines = append(lines, p.line(cpu, as))
			as.Peer, as.Version, as.Goal = "gobwas/glob in a loop", versionOf("github.com/gobwas/glob"), 0
			if p, err = pair(l.rounds, us, gob); err != nil {
				return nil, err
			}
			lines = append(lines, p.line(cpu, as))
			if c.want {
				ours[n] = us
			}
			if n == 1000 {
				each := testing.AllocsPerRun(1000, func() {
					for _, name := range c.names {
						enforcer.Check(capability.Read, name)
					}
				}) / float64(len(c.names))
				lines = append(lines, counted(line{Row: "G9", What: "allocations of a check, " + c.what}, each, 0))
			}
		}
	}
	p, err := pair(l.rounds, ours[1000], ours[10])
	return append(lines, p.line(cpu, line{Row: "G9", What: "check of a name, 1000 patterns", Peer: "the same with 10", Goal: 1.3})), err
}

// asks is a sampler of one question, asked n times for each name.
func asks(n int, names []string, want bool, ask func(name string) bool) sampler {
	return func() (cost, error) {
		c, err := here(func() error {
			for range n {
				for _, name := range names {
					if ask(name) != want {
						return errors.New("wrong answer about " + name)
					}
				}
			}
			return nil
		})
		return c.over(n * len(names)), err
	}
}
