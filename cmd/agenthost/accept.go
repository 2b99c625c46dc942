package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
)

// accept finds out whether the package may do what leaves the root, where it
// asks for that.
func (p *program) accept(ctx context.Context, pkg *archive.Package, turn *host.Turn, digest string, least host.Fence) error {
	if digest != "" {
		if err := p.checkAccepted(digest, pkg); err != nil {
			return err
		}
		turn.Narrow.Accepted, turn.Accepted = true, "flag"
		return nil
	}
	if !policy.AsksAcceptance(pkg.Manifest, turn.Policy, turn.Narrow) {
		return nil
	}
	if turn.Policy.Accepts(pkg.Manifest.ID, pkg.Digest) {
		turn.Narrow.Accepted, turn.Accepted = true, "policy"
		return nil
	}
	if p.asks() {
		yes, err := p.ask(ctx, pkg, *turn, least)
		if err != nil {
			return err
		}
		if yes {
			turn.Narrow.Accepted, turn.Accepted = true, "terminal"
			return nil
		}
	}
	return p.notAccepted(
		fmt.Sprintf("%s asks to execute commands and was not accepted", pkg.Manifest.ID),
		fmt.Sprintf("accept it with --accept %s, or run it with --without execute", short(pkg.Digest)),
	)
}

// notAccepted refuses the package.
func (p *program) notAccepted(message, hint string) error {
	return p.refuse(record.CodeNotAccepted, message, hint)
}

// refuse says that no turn was run because somebody does not allow it.
func (p *program) refuse(code, message, hint string) error {
	f := &failure{message: message, hint: hint, code: exitRefused}
	if p.json {
		return p.envelope(host.Envelope{
			Status: record.StatusRefused, Code: code, Published: []host.Published{},
			Error: &host.EnvelopeError{Message: f.message, Hint: f.hint},
		}, f)
	}
	return f
}

// checkAccepted refuses a digest that is not the package's.
func (p *program) checkAccepted(digest string, pkg *archive.Package) error {
	if err := checkDigits(digest); err != nil {
		return err
	}
	given := strings.TrimPrefix(strings.ToLower(digest), "sha256:")
	if !strings.HasPrefix(strings.TrimPrefix(pkg.Digest.String(), "sha256:"), given) {
		return p.notAccepted(
			fmt.Sprintf("--accept %s is not this package, whose digest is %s", digest, pkg.Digest),
			"the package changed since it was looked at: inspect it again before accepting it",
		)
	}
	return nil
}

// ask shows what the commands of a package could do in this turn, and waits for yes
// or no, or for a signal.
func (p *program) ask(ctx context.Context, pkg *archive.Package, turn host.Turn, least host.Fence) (bool, error) {
	narrow := turn.Narrow
	narrow.Accepted = true
	_, granted, _, err := policy.Effective(pkg.Manifest, turn.Policy, narrow, policy.Scope{})
	if err != nil {
		return false, err
	}
	for _, line := range asking(pkg, granted, least) {
		p.term.diagnostic("", line)
	}
	return p.confirm(ctx, fmt.Sprintf("accept %s for this run?", short(pkg.Digest)))
}

// asking puts into words what is accepted with a package: its commands, in what of
// them the agent chooses what runs, and what they could see, write and reach.
func asking(pkg *archive.Package, granted capability.Grants, least host.Fence) []string {
	m := pkg.Manifest
	lines := []string{
		fmt.Sprintf("%s %s asks to run commands of this machine:", escape(m.ID), escape(m.Version)),
	}
	for _, rule := range granted.Execute {
		line := "  " + rule.String()
		if choice := archive.Choice(rule); choice != "" {
			line += "  (" + choice + ")"
		}
		lines = append(lines, escape(line))
	}
	lines = append(lines, "they can read the machine's programs, the package's files, and of the workspace:")
	for _, pattern := range granted.Read {
		lines = append(lines, escape("  "+pattern))
	}
	if len(granted.Read) == 0 {
		lines = append(lines, "  nothing")
	}
	for _, pattern := range granted.Forbidden {
		lines = append(lines, escape("  never "+pattern))
	}
	lines = append(lines,
		"they can write to the turn's scratch and output folder, and nowhere else; of that, only what is declared is published",
		"they can reach no network and no other process, and end with the turn",
	)
	switch least {
	case host.FenceLandlock:
		lines = append(lines, "they run in the full fence or, where this machine has none, in the landlock fence, in which they learn which files exist")
	default:
		lines = append(lines, "they run in the full fence, or not at all")
	}
	return append(lines, "digest "+pkg.Digest.String())
}
