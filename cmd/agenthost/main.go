// Command agenthost shows the host to people: it turns a command line into
// calls of the packages beneath, and their answers into text, JSON and an exit
// status. It decides nothing itself. What a person reads goes through the
// terminal (term.go), where everything that came from outside is escaped.
//
// Each command has one file. Texts and exit statuses are held by the scripts in
// testdata/script.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host"
)

func main() {
	if status, ok := host.Helper(os.Args, os.Stdin, os.Stdout); ok {
		os.Exit(status)
	}
	collectLess(os.Getenv)
	ctx, stop := interruptible(context.Background())
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// collectLess has the garbage collector begin at 32 MiB instead of 4, where the
// user did not say otherwise. A process lives for one turn and needs some 10 MiB,
// beside what a guest has, which is not the collector's: most end before it ever
// runs. Those that need more are bounded as always from 256 MiB on.
func collectLess(getenv func(string) string) {
	if getenv("GOGC") != "" || getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(800)
	debug.SetMemoryLimit(256 << 20)
}

// program is one invocation of agenthost.
type program struct {
	stdin io.Reader
	term  *terminal

	workspace string   // --workspace, as given
	root      string   // --root, as given; empty: beneath the workspace
	json      bool     // --json
	rest      []string // what followed "--"

	cutShort []cutShort // turns that recovery ended and nobody was told of yet

	step func(string) // session.Options.Step; nil but in tests of recovery
}

// commands is everything agenthost can do, in the order help shows it.
func (p *program) commands() []*cli.Command {
	return []*cli.Command{
		p.runCommand(),
		p.sessionCommand(),
		p.contextCommand(),
		p.blockedCommand(),
		p.verifyCommand(),
		p.ledgerCommand(),
		p.traceCommand(),
		p.integrityCommand(),
		p.packageCommand(),
		p.controlCommand(),
		p.policyCommand(),
		p.doctorCommand(),
		p.cacheCommand(),
		p.schemaCommand(),
		p.completionCommand(),
	}
}

// globals are the flags every command takes, anywhere on its line. Each has an
// environment variable.
func globals() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "workspace", EnvVars: []string{"AGENTHOST_WORKSPACE"}, Usage: "the folder `DIR` guests see as / (default: the current one)"},
		&cli.StringFlag{Name: "root", EnvVars: []string{"AGENTHOST_ROOT"}, Usage: "the folder `DIR` where agenthost keeps sessions (default: the workspace if it is a control plane, else its .agenthost)"},
		&cli.BoolFlag{Name: "json", EnvVars: []string{"AGENTHOST_JSON"}, Usage: "print JSON on standard output"},
		&cli.BoolFlag{Name: "quiet", EnvVars: []string{"AGENTHOST_QUIET"}, Usage: "say nothing on standard error but errors"},
		&cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "explain the command"},
		&cli.BoolFlag{Name: "version", Usage: "print the version"},
	}
}

// run does what args (without the program's name) ask, and returns the exit
// status. It touches no global state but the environment variables of the
// global flags, which it reads.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, term: newTerminal(stdout, stderr, os.Getenv)}
	if len(args) > 0 && args[0] == completeCommand {
		p.complete(args[1:])
		p.term.close()
		return exitOK
	}
	return p.run(ctx, args)
}

// run does what args ask, and tells how it went.
func (p *program) run(ctx context.Context, args []string) int {
	err := p.dispatch(ctx, args)
	if werr := p.term.close(); werr != nil && err == nil {
		err = werr
	}
	if err == nil {
		return exitOK
	}
	f := explain(err)
	var sig interrupted
	if errors.As(context.Cause(ctx), &sig) {
		f = &failure{message: f.message, hint: f.hint, code: sig.status(), err: err, also: f.also}
		if errors.Is(err, context.Canceled) || errors.As(err, &sig) {
			f.message = "interrupted"
		}
	}
	if f.message != "" { // all was said
		p.term.failure(f)
	}
	return f.code
}

// dispatch takes the line apart and runs the command it names.
func (p *program) dispatch(ctx context.Context, args []string) error {
	app := p.app()
	l, err := parseLine(app, args)
	if err != nil {
		return err
	}
	switch {
	case l.help:
		p.term.text(helpText(app, l.path))
		return nil
	case l.version:
		p.term.text(versionText())
		return nil
	}
	if err := checkEnvironment(app.Flags, os.Getenv); err != nil {
		return err
	}
	p.rest = l.rest
	return app.RunContext(ctx, l.normalized(app.Name))
}

// app is the command tree. The library parses flags and finds the command; help,
// suggestions, errors and exit statuses are ours.
func (p *program) app() *cli.App {
	return &cli.App{
		Name:                      "agenthost",
		Usage:                     "run agents you do not trust",
		Description:               appDescription,
		Flags:                     globals(),
		Commands:                  p.commands(),
		HideHelp:                  true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		Writer:                    io.Discard,
		ErrWriter:                 io.Discard,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return flagValueError(err) },
		Before: func(c *cli.Context) error {
			p.workspace, p.root = c.String("workspace"), c.String("root")
			p.json, p.term.quiet = c.Bool("json"), c.Bool("quiet")
			return nil
		},
	}
}

// interrupted is why a context ended when a signal ended it.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return "interrupted by " + i.signal.String() }

// status is the exit status a shell expects of a program that a signal ended.
func (i interrupted) status() int { return 128 + int(i.signal) }

// interruptible returns a context that ends at the first SIGINT or SIGTERM, with
// an [interrupted] as its cause. From then on a signal does what it always does,
// so that a second one ends the process at once.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			sig, _ := s.(syscall.Signal)
			cancel(interrupted{sig})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
