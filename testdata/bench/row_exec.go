package main

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host"
)

// nothing is what is run: a program that does nothing.
const nothing = "/usr/bin/true"

// A granting is a workspace, and what of it a command can see.
type granting struct {
	dir   string
	files []string // one by one, relative to dir; nil: all of dir/files as a whole
	count int
	read  string // the pattern that grants them
}

func (g granting) String() string {
	if g.files == nil {
		return fmt.Sprintf("%d files, folder whole", g.count)
	}
	return fmt.Sprintf("%d files, one by one", g.count)
}

// confined is G8: a command that does nothing, in its fence with all four layers
// on, from the request of a guest to the answer. What comes once in a turn is not
// in it, nor waiting for the flush of its start, which is of G11.
//
// One by one means that each folder holds a file that is not granted, so that each
// that is comes into the view by itself; bubblewrap is told each, too. A folder
// that is granted whole is one bind for both.
func confined(l *lab) ([]line, error) {
	x, err := l.execs()
	if err != nil {
		return nil, err
	}
	bwrap := l.bubblewrap()
	if err := l.grantAll(); err != nil {
		return nil, err
	}
	var lines []line
	for _, c := range []struct {
		count int
		whole bool
		each  int     // commands of one turn
		goal  float64 // beside bubblewrap
	}{
		{10, false, 10, 1},
		{100, false, 10, 1},
		{1000, false, 3, 0.1},
		{10, true, 10, 1},
		{100, true, 10, 1},
		{1000, true, 10, 0},
		{20_000, true, 2, 0},
	} {
		g, us, err := x.at(c.count, c.whole, c.each)
		if err != nil {
			return nil, err
		}
		as := line{Row: "G8", What: "confined exec, " + g.String()}
		for _, peer := range []execPeer{bwrap.sees(g), plainExec()} {
			as := as
			as.Peer, as.Version = peer.name, peer.version
			if peer.absent != "" {
				lines = append(lines, as.said(peer.absent))
				continue
			}
			if peer.name == bubblewrapName {
				as.Goal = c.goal
			}
			them := peer.sampler(min(c.each, peer.each))
			if err := discard(us, them); err != nil {
				return nil, err
			}
			l.say("G8: %s beside %s", g, peer.name)
			p, err := pair(l.rounds, us, them)
			if err != nil {
				return nil, err
			}
			lines = append(lines, p.line(wall, as))
			if as.Goal != 0 {
				as.Goal = 0
				lines = append(lines, p.line(userSys, as))
			}
		}
	}
	for _, grows := range []struct {
		many, few int
		whole     bool
	}{{20_000, 1000, true}, {4000, 1000, false}} {
		more, err := x.growth(grows.many, grows.few, grows.whole)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	hashing, err := x.hashing()
	return append(lines, hashing...), err
}

// execs is what runs commands.
type execs struct {
	l    *lab
	wasm []byte
	root string // of sessions
}

func (l *lab) execs() (x execs, err error) {
	if x.wasm, err = l.execGuest(); err != nil {
		return x, err
	}
	x.l = l
	ok := false
	if x.root, ok = l.memory(); !ok {
		x.root = l.dir
	}
	return x, nil
}

// runs is a guest that has a command run in which g is seen.
func (x execs) runs(runner *host.Runner, g granting) (runs, error) {
	return x.l.turns(runner, x.wasm, x.root, g.dir, capability.Grants{Read: []string{g.read}, Execute: []capability.Command{{"true"}}})
}

// at is a sampler of what one of each commands in a turn costs.
func (x execs) at(count int, whole bool, each int) (granting, sampler, error) {
	g, err := x.l.granting(count, whole)
	if err != nil {
		return g, nil, err
	}
	runner, err := x.l.runner()
	if err != nil {
		return g, nil, err
	}
	run, err := x.runs(runner, g)
	return g, additional(each, func(n int) error { return run("exec", n) }), err
}

// growth compares what a command costs where it sees many files with where it sees
// few, as much for each file.
func (x execs) growth(many, few int, whole bool) ([]line, error) {
	g, most, err := x.at(many, whole, 2)
	if err != nil {
		return nil, err
	}
	_, least, err := x.at(few, whole, 5)
	if err != nil {
		return nil, err
	}
	times := many / few
	part := func() (cost, error) {
		c, err := most()
		return c.over(times), err
	}
	if err := discard(part, least); err != nil {
		return nil, err
	}
	x.l.say("G8: growth")
	p, err := pair(x.l.rounds, part, least)
	return []line{p.line(wall, line{
		Row: "G8", What: fmt.Sprintf("1/%d of confined exec, %s", times, g), Peer: fmt.Sprintf("agenthost with %d files", few), Goal: 1,
	})}, err
}

// hashing is what the first command costs that sees 1 GiB in 1,000 files, and what
// another one does.
func (x execs) hashing() ([]line, error) {
	g, err := x.l.gibibyte()
	if err != nil {
		return nil, err
	}
	turn := func(fresh bool) (runs, error) {
		runner, err := x.l.runner()
		if fresh {
			runner, err = x.l.newRunner()
		}
		if err != nil {
			return nil, err
		}
		return x.runs(runner, g)
	}
	again, err := turn(false)
	if err != nil {
		return nil, err
	}
	same := everything(1, func() error { return again("exec", 1) })
	first := func() (cost, error) {
		run, err := turn(true)
		if err != nil {
			return cost{}, err
		}
		return everything(1, func() error { return run("exec", 1) })()
	}
	buf := make([]byte, 1<<20)
	native := everything(1, func() error {
		var workers sync.WaitGroup
		for range runtime.NumCPU() {
			workers.Go(func() {
				sum := sha256.New()
				for range gibi / len(buf) / runtime.NumCPU() {
					sum.Write(buf)
				}
				sum.Sum(nil)
			})
		}
		workers.Wait()
		return nil
	})
	if err := discard(same, same, native); err != nil {
		return nil, err
	}
	x.l.say("G8: hashing 1 GiB")
	rounds := min(x.l.rounds, 3)
	p, err := pair(rounds, first, native)
	if err != nil {
		return nil, err
	}
	as := line{Row: "G8", What: "turn whose command sees 1 GiB in 1000 files, first: 1 GiB hashed", Peer: "SHA-256 of 1 GiB of memory, all cores"}
	lines := []line{p.line(wall, as), p.line(userSys, as)}
	as.What, as.Peer = "the same again: nothing hashed", "first"
	p, err = pair(rounds, same, first)
	return append(lines, p.line(wall, as)), err
}

// additional is a sampler of what each of n more than one costs.
func additional(n int, work func(n int) error) sampler {
	one, all := everything(1, func() error { return work(1) }), everything(1, func() error { return work(n + 1) })
	return func() (cost, error) {
		once, err := one()
		if err != nil {
			return cost{}, err
		}
		c, err := all()
		return c.minus(once).over(n), err
	}
}

// everything is a sampler of n turns of work in this process and of those it
// waits for, as the cost of one.
func everything(n int, work func() error) sampler {
	return func() (cost, error) {
		runtime.GC()
		began, used := time.Now(), usage()
		for range n {
			if err := work(); err != nil {
				return cost{}, err
			}
		}
		return cost{CPU: usage() - used, Wall: float64(time.Since(began))}.over(n), nil
	}
}

// grantAll makes all files that commands are to see, so that they are as old as
// they must be for their digests to be kept.
func (l *lab) grantAll() error {
	for _, count := range []int{10, 100, 1000, 4000} {
		if _, err := l.granting(count, false); err != nil {
			return err
		}
	}
	for _, count := range []int{10, 100, 1000, 20_000} {
		if _, err := l.granting(count, true); err != nil {
			return err
		}
	}
	_, err := l.gibibyte()
	time.Sleep(settled)
	return err
}

// granting makes the files that a command is to see, once.
func (l *lab) granting(count int, whole bool) (granting, error) {
	name := fmt.Sprintf("granted-%d-%v", count, whole)
	if g, ok := l.grantings[name]; ok {
		return g, nil
	}
	l.say("writing %d files", count)
	g := granting{dir: l.path(name), count: count, read: "files/**"}
	const inFolder = 50
	for i := range count {
		folder := fmt.Sprintf("files/%03d", i/inFolder)
		rel := fmt.Sprintf("%s/f%05d.txt", folder, i)
		if err := put(g.dir, rel, fmt.Sprintf("file %d\n", i)); err != nil {
			return g, err
		}
		if whole {
			continue
		}
		g.files, g.read = append(g.files, rel), "files/**/*.txt"
		if i%inFolder == 0 {
			if err := put(g.dir, folder+"/not-granted.bin", "x"); err != nil {
				return g, err
			}
		}
	}
	l.grantings[name] = g
	return g, nil
}

const gibi = 1 << 30

// gibibyte makes 1 GiB in 1,000 files.
func (l *lab) gibibyte() (granting, error) {
	const name = "granted-gibibyte"
	if g, ok := l.grantings[name]; ok {
		return g, nil
	}
	l.say("writing 1 GiB in 1000 files")
	g := granting{dir: l.path(name), count: 1000, read: "files/**"}
	block := make([]byte, gibi/1000+1)
	left := gibi
	for i := range 1000 {
		copy(block, fmt.Sprintf("file %d\n", i))
		size := min(left, len(block))
		if err := put(g.dir, filepath.Join("files", fmt.Sprint(i%10), fmt.Sprint(i)), string(block[:size])); err != nil {
			return g, err
		}
		left -= size
	}
	l.grantings[name] = g
	return g, nil
}

// settled is a little more than the age from which agenthost trusts the times of a
// file.
const settled = 2500 * time.Millisecond
