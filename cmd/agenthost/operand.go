package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// operands are the command's operands, what followed "--" included: at least
// least and at most most of them (-1: any number).
func (p *program) operands(c *cli.Context, least, most int) ([]string, error) {
	given := append(c.Args().Slice(), p.rest...)
	name := strings.TrimPrefix(c.Command.HelpName, "agenthost ")
	switch {
	case len(given) < least:
		return nil, usageError(fmt.Sprintf("%s needs %s", name, c.Command.ArgsUsage), fmt.Sprintf("agenthost %s --help explains it", name))
	case most >= 0 && len(given) > most:
		hint := fmt.Sprintf("agenthost %s --help explains it", name)
		if archive.CheckID("PKG", given[most]) == nil && hasFlag(c, "id") {
			hint = "write --id " + given[most]
		}
		return nil, usageError(fmt.Sprintf("%s does not take %q", name, given[most]), hint)
	}
	return given, nil
}

// hasFlag reports whether the command has a flag.
func hasFlag(c *cli.Context, name string) bool {
	return slices.ContainsFunc(c.Command.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

func (p *program) noOperands(c *cli.Context) error {
	_, err := p.operands(c, 0, 0)
	return err
}

// workspaceFolder is the folder agents see as "/".
func (p *program) workspaceFolder() string {
	if p.workspace == "" {
		return "."
	}
	return p.workspace
}

// inRoot is the action of a command that works in the root: with least to most
// operands, as operands has them.
func (p *program) inRoot(least, most int, do func(c *cli.Context, root *session.Root, given []string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		given, err := p.operands(c, least, most)
		if err != nil {
			return err
		}
		root, err := p.openRoot()
		if err != nil {
			return err
		}
		defer root.Close()
		return do(c, root, given)
	}
}

// there refuses a root that was named and is not there, where nothing can be what
// the command does.
func (p *program) there(root *session.Root, done string) error {
	if p.root == "" || root.Folder() != nil {
		return nil
	}
	return usageError(fmt.Sprintf("--root %s: no such folder, so that nothing was %s", p.root, done), "name the folder that is to be "+done)
}

// openRoot opens the workspace and the root beneath it that the global flags
// name. It makes neither.
func (p *program) openRoot() (*session.Root, error) { return p.openRootTrusting(trustedHosts) }

// openRootTrusting is openRoot for who trusts other hosts, too.
func (p *program) openRootTrusting(hosts func() ([]ledger.Verifier, error)) (*session.Root, error) {
	key, hosts := keyring(hosts)
	root, err := session.OpenRoot(session.Options{Workspace: p.workspaceFolder(), Root: p.root, Key: key, Hosts: hosts, Step: p.step, Observe: p.watch})
	switch {
	case err == nil:
		return root, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		if info, serr := os.Stat(p.workspaceFolder()); serr == nil && info.IsDir() {
			return nil, &failure{message: err.Error(), hint: "name a folder with --root", code: exitUsage, err: err}
		}
		return nil, &failure{message: err.Error(), hint: "name an existing folder with --workspace", code: exitUsage, err: err}
	}
	return nil, &failure{message: err.Error(), hint: "name another folder with --workspace or --root", code: exitUsage, err: err}
}

// openError is why a file or folder that was named could not be opened. What is
// wrong in it is left as it is.
func openError(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		if _, serr := os.Stat(name); serr == nil {
			return err // something in it
		}
		if info, lerr := os.Lstat(name); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
			return &failure{message: name + ": the link leads to nothing", hint: "name the file or folder itself", code: exitUsage, err: err}
		}
		return &failure{message: name + ": no such file or folder", hint: "names are relative to the current folder", code: exitUsage, err: err}
	case errors.Is(err, fs.ErrPermission):
		return &failure{message: err.Error(), hint: "agenthost runs as you and needs your right to read and write it", code: exitUsage, err: err}
	}
	return err
}
