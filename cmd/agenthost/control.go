package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
)

func (p *program) controlCommand() *cli.Command {
	return &cli.Command{
		Name:  "control",
		Usage: "make a control plane, and see to its token and registry",
		Subcommands: []*cli.Command{
			{
				Name:  "init",
				Usage: "make the folder a control plane, and print its admin token",
				Description: `The folder is --root, or else the workspace, which a control plane is too. What is
there stays. The admin token is printed once, alone on standard output: every
change asks for it, and only its hash is kept. Keep it where you alone can read
it, and outside the folder, which agents see as their workspace:

  install -m 600 /dev/null ~/admin-token
  agenthost control init >~/admin-token

It stops mistakes and whoever reaches the program from afar; it does not stop
somebody who can write to the folder.`,
				Action: p.controlInit,
			},
			{
				Name:  "token",
				Usage: "replace the admin token",
				Subcommands: []*cli.Command{{
					Name:  "rotate",
					Usage: "make another admin token; the one before counts no more",
					Description: `The new token is printed once, alone on standard output. Who has lost the old one
says --lost at a terminal: that needs no token, and is recorded as what it is.`,
					Flags:  append(tokenFlags(), &cli.BoolFlag{Name: "lost", Usage: "the token is lost; only at a terminal, which asks whether that is so"}),
					Action: p.inPlane(0, 0, p.controlTokenRotate),
				}},
			},
			p.controlSignerCommand(),
			{
				Name:  "rebuild-registry",
				Usage: "write the registry anew from ledger/governance.jsonl",
				Description: `registries/packages_registry.csv is a view of what ledger/governance.jsonl says. One
that was edited, or is not there, stops every other change until it is written
anew. What was edited into it is lost.`,
				Flags:  tokenFlags(),
				Action: p.inPlane(0, 0, p.controlRebuildRegistry),
			},
		},
	}
}

// inPlane is the action of a command that works in a control plane: with least to
// most operands, as operands has them.
func (p *program) inPlane(least, most int, do func(c *cli.Context, pl controlled, given []string) error) cli.ActionFunc {
	return p.inRoot(least, most, func(c *cli.Context, root *session.Root, given []string) error {
		pl, err := p.controlPlane(root)
		if err != nil {
			return err
		}
		return do(c, controlled{pl, root}, given)
	})
}

// controlled is a control plane and the root it is of.
type controlled struct {
	*plane.Plane
	root *session.Root
}

// controlPlane opens the control plane of a root.
func (p *program) controlPlane(root *session.Root) (*plane.Plane, error) {
	pl, err := plane.Open(root)
	if errors.Is(err, plane.ErrNotControl) {
		return nil, &failure{
			message: folderText(p.controlPath()) + " is not a control plane: nothing is installed there, and nobody has a token of it",
			hint:    p.command("control", "init") + " makes it one; --root names another folder",
			code:    exitUsage, err: err,
		}
	}
	return pl, planeError(err)
}

// planeError gives the user a way out where the disk is in the way; nil if err is.
func planeError(err error) error {
	var said *failure
	var path *os.PathError
	if !errors.As(err, &said) && errors.As(err, &path) {
		return rootError(err, "the next command in this control plane finishes or takes back what was begun; make room there and the folder writable")
	}
	return err
}

// changed does what changes a control plane, with the token that was given. Kind
// and subject say what it is to be, for the record of one that is refused.
func (p *program) changed(c *cli.Context, pl *plane.Plane, kind, subject string, do func(*plane.Change) error) error {
	token, err := p.adminToken(c)
	if err != nil {
		return err
	}
	ch, err := pl.Change(c.Context, token, invoker(), kind, subject)
	var path *os.PathError
	switch {
	case errors.As(err, &path):
		return rootError(err, "nothing was changed; make room there and the folder writable")
	case err != nil:
		return err
	}
	return planeError(errors.Join(do(ch), ch.Close()))
}

// controlPath is the folder that control init makes a control plane.
func (p *program) controlPath() string {
	path := p.root
	if path == "" {
		path = p.workspaceFolder()
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return path
}

// folderText is a folder for people, in a sentence.
func folderText(path string) string {
	if path = forPeople(path); path == "." {
		return "this folder"
	}
	return path
}

// shownToken is the answer of control init and control token rotate with --json.
type shownToken struct {
	Token string `json:"token"`
	Root  string `json:"root"`
}

// showToken prints a new admin token, the only time that it is seen.
func (p *program) showToken(token string) error {
	if p.json {
		if err := p.term.value(shownToken{token, p.controlPath()}); err != nil {
			return err
		}
		return p.term.err
	}
	p.term.text(token + "\n")
	return p.term.err
}

func (p *program) controlInit(c *cli.Context) error {
	if err := p.noOperands(c); err != nil {
		return err
	}
	path := p.controlPath()
	if err := plane.Init(path, plane.Options{By: invoker(), Version: host.Version, Key: hostKey}, p.showToken); err != nil {
		var disk *os.PathError
		var key *failure
		switch {
		case errors.As(err, &key):
			return key
		case errors.As(err, &disk):
			return rootError(err, "there is no control plane there yet; make room and the folder writable, or name another folder with --root")
		}
		return &failure{message: err.Error(), hint: "name another folder with --root", code: exitUsage, err: err}
	}
	p.term.note("%s is a control plane: control/, ledger/, registries/, packages_store/ and planes/ are in it", folderText(path))
	p.term.note("the admin token on standard output is shown this once: keep it in a file that you alone can read, outside this folder, which agents see as their workspace")
	p.term.note("next: %s", p.command("package", "pack", "--src", "DIR", "--id", "PKG-ID", "--token-file", "FILE"))
	if isFolder(filepath.Join(path, session.DefaultRoot)) && p.root == "" {
		p.term.note("sessions of before are where they were: --root %s", session.DefaultRoot)
	}
	return nil
}

func (p *program) controlTokenRotate(c *cli.Context, pl controlled, _ []string) error {
	err := p.rotateToken(c, pl)
	if err == nil {
		p.term.note("the admin token before it counts no more; this one is shown this once")
	}
	return err
}

func (p *program) rotateToken(c *cli.Context, pl controlled) error {
	if !c.Bool("lost") {
		return p.changed(c, pl.Plane, record.KindTokenRotate, "", func(ch *plane.Change) error { return ch.RotateToken(p.showToken) })
	}
	if hasTokenFlag(c) {
		return usageError("control token rotate got --lost and the admin token", "leave --lost out: who has the token needs nothing else")
	}
	const hint = "it is answered at a terminal, by somebody who may change this control plane"
	if !p.asks() {
		return usageError("nothing was changed: nobody can be asked whether the admin token is lost", hint)
	}
	yes, err := p.confirm(c.Context, "the admin token of "+folderText(pl.root.Path())+" is lost, and whoever has it may change nothing any more?")
	switch {
	case err != nil:
		return err
	case !yes:
		return usageError("nothing was changed", hint)
	}
	return planeError(pl.ReplaceToken(c.Context, invoker(), p.showToken))
}

func (p *program) controlRebuildRegistry(c *cli.Context, pl controlled, _ []string) error {
	return p.changed(c, pl.Plane, record.KindRegistryRebuild, "", func(ch *plane.Change) error {
		rebuilt, err := ch.RebuildRegistry()
		if err != nil {
			return err
		}
		n := len(ch.State().Installed)
		switch {
		case p.json:
			return p.term.value(struct {
				Rebuilt  bool `json:"rebuilt"` // false: it was what it should be
				Packages int  `json:"packages"`
			}{rebuilt, n})
		case rebuilt:
			p.term.line("wrote registries/packages_registry.csv anew: %s", count(n, "package"))
		default:
			p.term.line("registries/packages_registry.csv is what ledger/governance.jsonl says: nothing to do")
		}
		return nil
	})
}
