package main

import (
	"context"
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
)

func (p *program) controlSignerCommand() *cli.Command {
	return &cli.Command{
		Name:  "signer",
		Usage: "say whose signatures count",
		Subcommands: []*cli.Command{
			{
				Name:      "add",
				Usage:     "trust the signatures of a verifier key",
				ArgsUsage: "KEY",
				Description: `KEY is a verifier key, as package keygen prints it, or @FILE with one in it. From
now on packages that it signed may be installed, and run where the policy requires
a signature. Nothing says who has the other half of a key: get it from whom you
trust.`,
				Flags:  tokenFlags(),
				Action: p.inPlane(1, 1, p.controlSignerAdd),
			},
			{
				Name:      "remove",
				Usage:     "trust the signatures of a verifier key no more",
				ArgsUsage: "KEY",
				Description: `KEY is a verifier key, @FILE with one in it, or the first two parts of one, NAME
and hash, as control signer list shows them. What is installed and signed with it
stays, and does not run any more.`,
				Flags:  tokenFlags(),
				Action: p.inPlane(1, 1, p.controlSignerRemove),
			},
			{
				Name:  "list",
				Usage: "list the verifier keys whose signatures count",
				Description: `One a line, as control signer add took them: the name, the hash, and the key
itself.`,
				Action: p.inPlane(0, 0, p.controlSignerList),
			},
		},
	}
}

// signerChange is the answer of control signer add and remove with --json.
type signerChange struct {
	Verifier string `json:"verifier_key"`
	Changed  bool   `json:"changed"` // false: it was so before
}

func (p *program) controlSignerAdd(c *cli.Context, pl controlled, given []string) error {
	key, err := verifierKey(c.Context, "KEY", given[0])
	if err != nil {
		return err
	}
	return p.changed(c, pl.Plane, record.KindSignerTrust, key, func(ch *plane.Change) error {
		added, err := ch.Trust(key)
		return p.showSignerChange(key, added, err, "trusted from now on: %s", "trusted already: %s")
	})
}

func (p *program) controlSignerRemove(c *cli.Context, pl controlled, given []string) error {
	key, err := trustedKey(c.Context, pl.State().Trusted, given[0])
	if err != nil {
		return err
	}
	return p.changed(c, pl.Plane, record.KindSignerDistrust, key, func(ch *plane.Change) error {
		removed, err := ch.Distrust(key)
		if err == nil {
			p.warnDistrusted(ch.State(), key)
		}
		return p.showSignerChange(key, removed, err, "trusted no more: %s", "not trusted before either: %s")
	})
}

func (p *program) showSignerChange(key string, changed bool, err error, yes, no string) error {
	switch {
	case err != nil:
		return err
	case p.json:
		return p.term.value(signerChange{key, changed})
	case changed:
		p.term.line(yes, key)
	default:
		p.term.line(no, key)
	}
	return nil
}

// trustedKey is the key that was named, itself or by its first two parts.
func trustedKey(ctx context.Context, trusted []string, given string) (string, error) {
	var found []string
	for _, key := range trusted {
		if archive.KeyName(key) == given {
			found = append(found, key)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	key, err := verifierKey(ctx, "KEY", given)
	var f *failure
	if errors.As(err, &f) && !strings.HasPrefix(given, "@") && !isSigningKey(given) {
		f.message = given + " is neither a verifier key nor the name and hash of one that is trusted"
		f.hint = "agenthost control signer list shows those that are"
	}
	return key, err
}

// warnDistrusted names the packages that do not run any more.
func (p *program) warnDistrusted(state plane.State, key string) {
	for _, i := range state.Installed {
		if i.Signer == key {
			p.term.note("%s %s in %s is signed with this key, and does not run any more", i.Package.ID, i.Package.Version, i.Plane)
		}
	}
}

func (p *program) controlSignerList(_ *cli.Context, pl controlled, _ []string) error {
	trusted := pl.State().Trusted
	if p.json {
		return p.term.value(append([]string{}, trusted...))
	}
	for _, key := range trusted {
		p.term.line("%s", key)
	}
	if len(trusted) == 0 {
		p.term.note("nobody's signatures count here: agenthost control signer add KEY")
	}
	return nil
}
