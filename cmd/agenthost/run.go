package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/hostkey"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
)

func (p *program) runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run one turn of an agent",
		ArgsUsage: "PKG [-- ARG…]",
		Description: `PKG is a packed package, a folder with a manifest.json, or a WebAssembly module
(which gets no rights but its own output). The agent sees the workspace as /, its
package at /.agenthost/pkg, its output folder at /out and scratch at /tmp. What it
writes is published when the turn has ended and only if it is exactly what was
declared; else nothing is published, and the status is 3. Standard output is the
agent's result, byte for byte; its messages go to standard error behind "guest| ".

A package that asks to run commands must be accepted: at a terminal it is told what
they could do, and asked; elsewhere --accept or the policy says so. They run in a
fence of the operating system, which agenthost doctor tries, or not at all.

In a control plane PKG may be the id of an installed package: it runs in the plane it
is installed in, with the libraries that are installed there or above, and not if its
files are no longer what was installed.

A run is a turn of a session, which is closed when the turn has ended. With --open
it stays open, and --session runs the next turn in it: the same package, which
finds at /out what earlier turns published there. It stays open until session
close. A SESSION is an id, the beginning of one, or @last, the open session in
which something happened last.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "query", Usage: "what to ask the agent, as `JSON`; @FILE reads a file, - standard input"},
			&cli.StringFlag{Name: "prompt", Usage: "what to ask the agent, as plain `TEXT`"},
			&cli.StringSliceFlag{Name: "input", Usage: "declare the inputs that `GLOB` matches, instead of the manifest's"},
			&cli.StringSliceFlag{Name: "declare", Usage: "declare one more output, `PATH[=ROLE]`"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "copy what was published under out/ into the folder `DIR`; files there stay as they are, and names that begin with a dot are left out"},
			&cli.StringSliceFlag{Name: "library", Usage: "the package `FILE` of a library the agent depends on"},
			&cli.BoolFlag{Name: "open", Usage: "leave the new session open, so that --session can continue it"},
			&cli.StringFlag{Name: "session", Usage: "run the next turn of this open `SESSION`, and leave it open"},
			&cli.StringFlag{Name: "plane", Usage: "the `PLANE` to run in: ho1, ho2 or ho3 (default: the manifest's, else ho1)"},
			workOrderFlag("run under"),
			policyFlag(),
			&cli.StringFlag{Name: "accept", Usage: "accept the package with this `DIGEST` (12 digits are enough) for what leaves the root"},
			minFenceFlag(),
			&cli.StringSliceFlag{Name: "without", Usage: "leave out a `RIGHT`: read, write or execute"},
			&cli.StringSliceFlag{Name: "forbid", Usage: "a `PATTERN` of names nothing may touch"},
			&cli.BoolFlag{Name: "strict", Usage: "make hidden opens and undeclared reads violations"},
			&cli.StringFlag{Name: "redact", Usage: "keep each line of `FILE` out of the record: a mark stands for it in texts and blobs"},
			&cli.StringSliceFlag{Name: "redact-env", Usage: "keep the value of the environment variable `NAME` out of the record"},
			&cli.BoolFlag{Name: "dry-run", Usage: "publish nothing; say what would be"},
			&cli.StringFlag{Name: "as-of", Usage: "the agent's clock starts at this `TIME`, as 2026-01-02T15:04:05Z"},
			&cli.StringFlag{Name: "seed", Usage: "32 bytes in `HEX` behind the agent's random numbers"},
			&cli.StringFlag{Name: "checkpoint-out", Usage: "write the signed checkpoint of the session's ledger to `FILE`, as a receipt for verify --receipt"},
		},
		Action: p.runTurn,
	}
}

// runTurn is `agenthost run`.
func (p *program) runTurn(c *cli.Context) error {
	switch {
	case c.NArg() == 0:
		return usageError("run needs PKG", "agenthost run --help explains it")
	case c.NArg() > 1:
		return usageError(fmt.Sprintf("run does not take %q", c.Args().Get(1)), `words for the agent come after "--"`)
	case c.Args().First() == "":
		return usageError("PKG is empty", "name a package or its folder; agenthost run --help explains it")
	}
	ctx := c.Context
	if err := checkSessionFlags(c); err != nil {
		return err
	}
	turn, err := p.turnOf(c)
	if err != nil {
		return err
	}
	least, err := minFence(c)
	if err != nil {
		return err
	}
	in := place{output: c.String("output"), again: c.Args().First(), open: c.Bool("open"), least: least, checkpoint: c.String("checkpoint-out")}
	if in.seed, err = seedOf(c.String("seed")); err != nil {
		return err
	}
	cache, err := openCache()
	if err != nil {
		return err
	}
	root, err := p.openRoot()
	if err != nil {
		return err
	}
	defer root.Close()
	if in := filepath.Dir(root.Path()); !isFolder(in) {
		return usageError(fmt.Sprintf("--root %s: there is no folder %s to make it in", p.root, forPeople(in)), "make that folder first, or name another root with --root")
	}
	in.root = root
	if err := p.recover(ctx, root); err != nil {
		return err
	}
	from := &sources{root: root, cache: cache}
	if in.plane, err = planeFor(c, root); err != nil {
		return err
	}
	pkg, err := from.agent(c.Args().First(), in.plane)
	if err != nil {
		return p.notTrusted(err)
	}
	defer pkg.Close()
	if pkg.installed != nil {
		in.plane = pkg.installed.Plane
	} else if in.plane == "" {
		in.plane = cmp.Or(pkg.Manifest.Plane, session.Planes()[0])
	}
	libs, err := p.librariesOf(c, from, pkg, in.plane)
	if err != nil {
		return p.notTrusted(err)
	}
	defer closeAll(libs)
	for _, lib := range libs {
		turn.Libraries = append(turn.Libraries, lib.Package)
	}
	if name := c.String("session"); name != "" {
		if in.session, err = p.continued(ctx, root, name, c.String("plane"), pkg.Package); err != nil {
			return err
		}
		defer in.session.Leave()
	}
	if turn.Policy, err = policy.Load(c.String("policy"), root.Path()); err != nil {
		return err
	}
	if err := p.trust(c, from, in.plane, pkg, libs, turn.Policy); err != nil {
		return err
	}
	if turn.Redact, err = p.redacted(c, turn.Policy); err != nil {
		return err
	}
	if turn.Narrow.WorkOrder, turn.Claim, err = p.workOrder(root, c.String("work-order"), pkg.Package); err != nil {
		return p.notOrdered(err)
	}
	if err := p.accept(ctx, pkg.Package, &turn, c.String("accept"), least); err != nil {
		return err
	}
	if turn.Protected, err = protectedBy(root); err != nil {
		return err
	}
	return p.runIn(ctx, in, cache, pkg.Package, turn)
}

// planeFor is the plane to run in as the flags have it: of the session that is
// continued, or what --plane says; empty if they leave it to the package.
func planeFor(c *cli.Context, root *session.Root) (string, error) {
	in := c.String("plane")
	if name := c.String("session"); name != "" && in == "" {
		_, in, err := findOpen(root, name)
		return in, err
	}
	return in, checkPlane(in)
}

// librariesOf opens what the agent depends on: what --library names, and in a
// control plane what is installed there. An agent that is installed gets the
// libraries of its plane and no others.
func (p *program) librariesOf(c *cli.Context, from *sources, pkg named, in string) (libs []named, err error) {
	defer func() {
		if err != nil {
			closeAll(libs)
			libs = nil
		}
	}()
	files := c.StringSlice("library")
	if len(files) > 0 && pkg.installed != nil {
		return nil, usageError(fmt.Sprintf("run got --library and %s, which is installed", pkg.Manifest.ID), "leave --library out: an installed package gets its libraries from its plane")
	}
	for _, name := range files {
		lib, err := openFile(from.cache, name)
		if err != nil {
			return libs, libraryError(err)
		}
		libs = append(libs, lib)
	}
	if !from.root.Control() {
		return libs, nil
	}
	installed, err := from.libraries(pkg.Manifest, in, libs)
	return append(libs, installed...), err
}

// libraryError says that it was a library that could not be opened.
func libraryError(err error) error {
	var f *failure
	if errors.As(err, &f) {
		f.message = "--library " + f.message
	}
	return err
}

// turnOf reads the flags that say what the agent is asked.
func (p *program) turnOf(c *cli.Context) (host.Turn, error) {
	narrow, err := narrowing(c)
	if err != nil {
		return host.Turn{}, err
	}
	t := host.Turn{
		Workspace: p.workspaceFolder(), Prompt: c.String("prompt"), Args: p.rest, Inputs: c.StringSlice("input"),
		Narrow: narrow, Strict: c.Bool("strict"), DryRun: c.Bool("dry-run"),
	}
	if len(t.Inputs) == 0 {
		t.Inputs = nil
	}
	if c.IsSet("query") {
		if t.Query, err = p.readQuery(c.Context, c.String("query")); err != nil {
			return t, err
		}
	}
	for _, d := range c.StringSlice("declare") {
		path, role, named := strings.Cut(d, "=")
		if !named {
			role = "output"
		}
		if path == "" || role == "" {
			return t, usageError(fmt.Sprintf("--declare %q is not PATH or PATH=ROLE", d), "as --declare out/report.md=report")
		}
		t.Outputs = append(t.Outputs, archive.Output{Path: path, Role: role})
	}
	if asOf := c.String("as-of"); asOf != "" {
		if t.AsOf, err = time.Parse(time.RFC3339Nano, asOf); err != nil {
			return t, usageError(fmt.Sprintf("--as-of %q is not a time", asOf), "as 2026-01-02T15:04:05Z")
		}
	}
	return t, nil
}

// readQuery takes a query from the line, a file or standard input.
func (p *program) readQuery(ctx context.Context, value string) (json.RawMessage, error) {
	const most = 16 << 20
	from := func(r io.Reader, name string) (json.RawMessage, error) {
		data, err := io.ReadAll(io.LimitReader(r, most+1))
		if err != nil {
			return nil, usageError("--query: "+err.Error(), "give a file that can be read")
		}
		if len(data) > most {
			return nil, usageError("--query: "+name+" has more than 16 MiB", "put what is large into files, and declare them as inputs")
		}
		return data, nil
	}
	switch {
	case value == "-":
		return until(ctx, func() (json.RawMessage, error) { return from(p.stdin, "standard input") })
	case strings.HasPrefix(value, "@"):
		return until(ctx, func() (json.RawMessage, error) {
			f, err := os.Open(value[1:])
			if err != nil {
				return nil, usageError("--query: "+err.Error(), "names are relative to the current folder; a query that begins with @ is no JSON")
			}
			defer f.Close()
			return from(f, value[1:])
		})
	}
	return json.RawMessage(value), nil
}

// until waits for f, which may wait for somebody to write, or for ctx to end.
func until[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := f()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// seedOf reads --seed.
func seedOf(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	seed, err := hex.DecodeString(text)
	if err != nil || len(seed) != 32 {
		return nil, usageError("--seed is not 32 bytes in hexadecimal digits", "64 digits, as `openssl rand -hex 32` prints")
	}
	return seed, nil
}

// checkPlane refuses a --plane that is none.
func checkPlane(in string) error {
	if in == "" || slices.Contains(session.Planes(), in) {
		return nil
	}
	return usageError(fmt.Sprintf("--plane %q is not a plane", in), "one of "+strings.Join(session.Planes(), ", "))
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// protectedBy is what a guest may never see: of the root, and of others, and where
// host keys lie.
func protectedBy(root *session.Root) ([]string, error) {
	paths, err := root.Protected()
	if err != nil {
		return nil, &failure{message: err.Error(), hint: "name another folder with --workspace", code: exitUsage, err: err}
	}
	config, err := configFolders()
	return append(paths, config...), err
}

// runIn prepares the turn, opens a session for it where there is none to continue,
// runs it, and tells how it went.
func (p *program) runIn(ctx context.Context, in place, cache *host.Cache, pkg *archive.Package, turn host.Turn) error {
	guest := p.term.guest()
	turn.Stderr = guest
	runner, err := p.newRunner(ctx, cache, in.least)
	if err != nil {
		return err
	}
	defer runner.Close(context.WithoutCancel(ctx))
	prepared, err := runner.Prepare(ctx, pkg, turn)
	if err != nil {
		return err
	}
	defer prepared.Close()
	for _, w := range prepared.Warnings() {
		p.term.note("agenthost: warning: %s", w)
	}
	if in.receipt, err = openNew("--checkpoint-out", in.checkpoint, "the turn has ended as it says; agenthost ledger checkpoint prints its checkpoint"); err != nil {
		return err
	}
	defer in.receipt.drop()
	made, err := makeOutput(in.output)
	if err != nil {
		return err
	}
	s, err := in.enter(ctx, turn, prepared.Opening())
	if err != nil {
		made.undo()
		return err
	}
	result, err := prepared.Run(ctx, s)
	guest.Close()
	var unclaimed *host.ClaimError
	if errors.As(err, &unclaimed) {
		return cmp.Or(p.notOrdered(workOrderError(in.root, unclaimed.Err)), rootError(in.leave(s), notRun))
	}
	if err != nil {
		return p.notEnded(s, err)
	}
	closed := rootError(in.leave(s), "the turn has ended as it says; only that its session did is not on record")
	kept := in.receipt.write([]byte(result.Checkpoint.String()))
	var copied error
	if in.output != "" {
		if copied = copyOutput(in.root, result, in.output); copied != nil {
			in.output = ""
		}
	}
	return cmp.Or(p.report(in, result), copied, closed, kept)
}

// rootError gives the user a way out where the root could not be read or
// written; nil if err is.
func rootError(err error, hint string) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var key *hostkey.Error
	if errors.As(err, &key) { // which does not lie in the root
		return keyError(err)
	}
	var unknown *record.UnknownHostError
	if errors.As(err, &unknown) { // the disk is not in the way
		return err
	}
	return &failure{message: err.Error(), hint: hint, code: exitHost, err: err}
}
