package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// A cost is what something took, in nanoseconds.
type cost struct {
	CPU     float64 // of the thread it ran on; of a process user+sys
	Process float64 // of all threads of this process, its collector too; zero for another process
	Wall    float64
}

func (c cost) minus(d cost) cost {
	return cost{c.CPU - d.CPU, c.Process - d.Process, c.Wall - d.Wall}
}

func (c cost) over(n int) cost {
	f := float64(n)
	return cost{c.CPU / f, c.Process / f, c.Wall / f}
}

// A sampler measures something once.
type sampler func() (cost, error)

// here measures work of this process, on its own thread, after a collection.
func here(work func() error) (cost, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	began := time.Now()
	thread, process := cpuTime()
	err := work()
	threadThen, processThen := cpuTime()
	return cost{CPU: threadThen - thread, Process: processThen - process, Wall: float64(time.Since(began))}, err
}

// inProcess is a sampler of n turns of work in this process, as the cost of one.
func inProcess(n int, work func() error) sampler {
	return func() (cost, error) {
		c, err := here(func() error {
			for range n {
				if err := work(); err != nil {
					return err
				}
			}
			return nil
		})
		return c.over(n), err
	}
}

// slope is a sampler of what one more of n costs: (t(2k) - t(k)) / k. What comes
// once, such as starting, cancels out.
func slope(k int, f func(n int) sampler) sampler {
	return func() (cost, error) {
		once, err := f(k)()
		if err != nil {
			return cost{}, err
		}
		twice, err := f(2 * k)()
		return twice.minus(once).over(k), err
	}
}

// A command is a process to run.
type command struct {
	name  string
	args  []string
	stdin string
	env   []string // added to this process's own
	want  string   // what stdout must hold
}

// process is a sampler of a process, from its start to its end.
func process(c command) sampler {
	return func() (cost, error) {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(c.name, c.args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.stdin), &stdout, &stderr
		cmd.Env = append(os.Environ(), c.env...)
		began := time.Now()
		err := cmd.Run()
		took := time.Since(began)
		if err == nil && !strings.Contains(stdout.String(), c.want) {
			err = errors.New("it does not answer")
		}
		if err != nil {
			return cost{}, fmt.Errorf("%s: %w: %.300s%.600s", strings.Join(cmd.Args, " "), err, stdout.String(), stderr.String())
		}
		used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		return cost{CPU: float64(used), Wall: float64(took)}, nil
	}
}

// best is a sampler of the least that n samples cost, by each clock: what else
// the machine does only ever adds.
func best(n int, s sampler) sampler {
	return func() (least cost, err error) {
		for i := range n {
			c, err := s()
			if err != nil {
				return least, err
			}
			if i == 0 {
				least = c
			}
			least = cost{min(least.CPU, c.CPU), min(least.Process, c.Process), min(least.Wall, c.Wall)}
		}
		return least, nil
	}
}

// A pairing is what two things cost, measured A B A B.
type pairing struct{ ours, theirs []cost }

// pair measures A B A B in each round.
func pair(rounds int, ours, theirs sampler) (p pairing, err error) {
	for range 2 * rounds {
		a, err := ours()
		if err != nil {
			return p, err
		}
		b, err := theirs()
		if err != nil {
			return p, err
		}
		p.ours, p.theirs = append(p.ours, a), append(p.theirs, b)
	}
	return p, nil
}

// A measure is one of the numbers of a cost.
type measure struct {
	name string
	of   func(cost) float64
}

var (
	cpu     = measure{"cpu", func(c cost) float64 { return c.CPU }}
	wall    = measure{"wall", func(c cost) float64 { return c.Wall }}
	userSys = measure{"user+sys", func(c cost) float64 { return c.CPU }}
	allCPUs = measure{"all threads", func(c cost) float64 { return c.Process }}
)

// line completes l with one measure of the pairs.
func (p pairing) line(m measure, l line) line {
	take := func(costs []cost) (values []float64) {
		for _, c := range costs {
			values = append(values, m.of(c))
		}
		return values
	}
	ours, theirs := take(p.ours), take(p.theirs)
	ratio := spreadOf(ratios(ours, theirs))
	same := spreadOf(append(successive(ours), successive(theirs)...))
	l.Measure, l.Ours, l.Theirs, l.Ratio, l.Same = m.name, spreadOf(ours), spreadOf(theirs), &ratio, &same
	l.Verdict = judge(ratio, same, l.Goal)
	return l
}

// discard is a sampler that measures and forgets: it warms what comes after.
func discard(samplers ...sampler) error {
	for _, s := range samplers {
		if _, err := s(); err != nil {
			return err
		}
	}
	return nil
}

// isTerminal reports whether w shows to a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
