package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host"
)

func (p *program) doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "find out what this machine can enforce",
		Description: `Commands that an agent is granted run inside a fence of the operating system, or not
at all. This tries each thing that the fence is made of, and then the fence itself,
around a program that tries to get out of it. It needs no rights and changes nothing.
Agents that run no commands need none of it but the last two rows.

Each row says what was tried, whether it works, and what was found; below stands
what to do where something is missing. All of it is for the user who asks: root and
others can get other answers. Where user namespaces are what is missing, it is one
of these:

  Ubuntu 24.04 and later: AppArmor keeps them from programs without a profile. Put
  this into /etc/apparmor.d/agenthost, with the place of the program, and load it
  with apparmor_parser -r /etc/apparmor.d/agenthost:

      abi <abi/4.0>,
      include <tunables/global>
      profile agenthost /usr/local/bin/agenthost flags=(unconfined) {
        userns,
      }

  or allow them to all programs: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0
  Hosted CI on Ubuntu 24.04: that sysctl, with sudo, as a step before the tests.
  Debian 10 and older: sysctl -w kernel.unprivileged_userns_clone=1
  Switched off by number: sysctl -w user.max_user_namespaces=15000
  Docker, and jobs in containers: docker run --security-opt seccomp=unconfined
  --security-opt apparmor=unconfined --security-opt systempaths=unconfined

Status 0 if commands run, 1 if they would be refused. With --json an object: fence
(the best one there is: full, landlock, none), min_fence (the least that will do),
commands (whether they run), code (unsupported, where they do not: it is what the
agent is told), summary (the last line), and checks, a list of name, works, detail and
remedies; agenthost schema doctor describes it.`,
		Flags:  []cli.Flag{minFenceFlag()},
		Action: p.doctor,
	}
}

// minFenceFlag is the least fence that will do. Only an operator says so: no
// manifest, no policy and no work order has it.
func minFenceFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "min-fence", EnvVars: []string{"AGENTHOST_MIN_FENCE"},
		Usage: "the least `FENCE` that commands may run in: full, or landlock on machines without user namespaces (default: full)",
	}
}

// minFence reads --min-fence, or its variable.
func minFence(c *cli.Context) (host.Fence, error) {
	given := c.String("min-fence")
	if given == "" {
		return host.FenceFull, nil
	}
	for _, f := range host.Fences() {
		if given == string(f) {
			return f, nil
		}
	}
	return "", usageError(fmt.Sprintf("--min-fence %q is not a fence that commands run in", given), "one of full, landlock; AGENTHOST_MIN_FENCE says the same")
}

// fenceInWords says what the least fence means.
func fenceInWords(least host.Fence) string {
	if least == host.FenceLandlock {
		return "runs commands in the full fence or, where this machine has none, in the landlock fence"
	}
	return "runs commands in the full fence, or not at all"
}

// diagnosis is the answer of doctor --json.
type diagnosis struct {
	Fence    host.Fence   `json:"fence"`
	MinFence host.Fence   `json:"min_fence"`
	Commands bool         `json:"commands"`
	Code     string       `json:"code,omitempty"`
	Summary  string       `json:"summary"`
	Checks   []host.Check `json:"checks"`
}

// doctor is `agenthost doctor`.
func (p *program) doctor(c *cli.Context) error {
	if err := p.noOperands(c); err != nil {
		return err
	}
	least, err := minFence(c)
	if err != nil {
		return err
	}
	root, err := p.openRoot()
	if err != nil {
		return err
	}
	defer root.Close()
	best, checks := host.Examine(c.Context, p.workspaceFolder(), root.Path())
	if err := c.Context.Err(); err != nil {
		return err
	}
	d := diagnosis{Fence: best, MinFence: least, Commands: best.Holds(least), Summary: inFence(best, least), Checks: checks}
	for _, check := range checks {
		if !check.Works && (check.Name == host.CheckWorkspace || check.Name == host.CheckRoot) {
			d.Commands, d.Summary = false, "no agent runs here: the filesystem of the "+check.Name+" cannot be governed"
		}
	}
	if !d.Commands {
		d.Code = abi.CodeUnsupported
	}
	if p.json {
		err = p.term.value(d)
	} else {
		p.showDiagnosis(d)
	}
	if err == nil && !d.Commands {
		err = &failure{code: exitGuest}
	}
	return err
}

// inFence says what a machine's best fence means for commands.
func inFence(best, least host.Fence) string {
	switch {
	case best == host.FenceFull:
		return "commands run in the full fence"
	case best == host.FenceLandlock && least == host.FenceLandlock:
		return "commands run in the landlock fence, with --min-fence landlock: without namespaces they learn which files exist"
	case best == host.FenceLandlock:
		return "commands are refused; they run, in less than the full fence, only with --min-fence landlock"
	}
	return "commands are refused"
}

func (p *program) showDiagnosis(d diagnosis) {
	rows := make([][]string, len(d.Checks))
	var remedies []string
	for i, check := range d.Checks {
		works := "yes"
		if !check.Works {
			works = "no"
		}
		rows[i] = []string{check.Name, works}
		if check.Detail != "" {
			rows[i] = append(rows[i], check.Detail)
		}
		for _, r := range check.Remedies {
			if !slices.Contains(remedies, r) { // several may lack the same
				remedies = append(remedies, r)
			}
		}
	}
	p.term.table(rows)
	p.list("what to do", remedies)
	p.term.line("%s", d.Summary)
}
