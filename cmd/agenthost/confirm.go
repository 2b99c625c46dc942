package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

// asks reports whether somebody can be asked: both ends are a terminal.
func (p *program) asks() bool {
	in, ok := p.stdin.(*os.File)
	return ok && p.term.errIsTTY && isTTY(in)
}

// confirm asks and waits for yes or no, or for a signal. Anything but yes is no.
func (p *program) confirm(ctx context.Context, question string) (bool, error) {
	p.term.clear()
	fmt.Fprintf(p.term.stderr, "%s [y/N] ", escape(question))
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(p.stdin, 64)).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		word, whole := strings.CutSuffix(line, "\n")
		if !whole { // the terminal was closed, or it is no answer
			fmt.Fprintln(p.term.stderr)
			return false, nil
		}
		word = strings.TrimSpace(word)
		return word == "y" || word == "yes", nil
	case <-ctx.Done():
		fmt.Fprintln(p.term.stderr)
		return false, ctx.Err()
	}
}

func yesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "yes", Usage: "do not ask; without a terminal nothing is removed unless this is given"}
}

// sure makes certain that what cannot be taken back is wanted: by --yes, or by
// somebody at a terminal. What it is, what says, as in "remove 2 sessions"; hint
// is for whom that is too fast.
func (p *program) sure(c *cli.Context, what, hint string) error {
	if c.Bool("yes") {
		return nil
	}
	if !p.asks() {
		return usageError("nothing was removed: nobody can be asked whether to "+what, hint)
	}
	yes, err := p.confirm(c.Context, what+" for good?")
	if err == nil && !yes {
		err = usageError("nothing was removed", hint)
	}
	return err
}
