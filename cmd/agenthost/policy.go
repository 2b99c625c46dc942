package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/policy"
)

func policyFlag() cli.Flag {
	return &cli.StringFlag{Name: "policy", Usage: "the policy `FILE` (default: control/policy.json of the root, else the built-in one)"}
}

func (p *program) policyCommand() *cli.Command {
	return &cli.Command{
		Name:  "policy",
		Usage: "what this machine grants, and what that means for a package",
		Subcommands: []*cli.Command{
			{
				Name:  "show",
				Usage: "print the policy that holds",
				Description: `A manifest asks, the policy grants: a package gets what both allow. A key that is
left out of a policy keeps its built-in value. With --json the policy is printed
as a file that says the same; it is a good one to start from.

What holds for commands: path is a list of absolute folders in which their programs
are looked up, beneath /usr or /opt and never the agent's (default: /usr/bin, /bin);
env a list of names of variables of agenthost's own environment that they get beside
a fixed set, never one that changes what programs run, such as LD_PRELOAD. The fence
they must run in no file says: only --min-fence or AGENTHOST_MIN_FENCE.

What is kept out of the record of every run, redact says: a list of env:NAME, the value
of a variable, and file:PATH, each line of a file.`,
				Flags:  []cli.Flag{policyFlag(), minFenceFlag()},
				Action: p.policyShow,
			},
			{
				Name:      "check",
				Usage:     "say what a package would be answered, and why",
				ArgsUsage: "PKG read|write|execute SUBJECT…",
				Description: `SUBJECT is a name in the workspace, or the words of a command after execute; put
"--" in front of words that begin with a dash. The answer comes from the function
that decides while an agent runs, and is printed with the entry that the ledger
would get. Status 0 if it is allowed, 3 if not. Commands are judged as if the
package had been accepted.`,
				Flags: []cli.Flag{
					policyFlag(),
					&cli.StringSliceFlag{Name: "forbid", Usage: "a `PATTERN` of names nothing may touch"},
					&cli.StringSliceFlag{Name: "without", Usage: "leave out a `RIGHT`: read, write or execute"},
					planeFlag(),
					workOrderFlag("judge as under"),
					minFenceFlag(),
				},
				Action: p.policyCheck,
			},
		},
	}
}

// policyInForce reads the policy that --policy names, or else the root's, and
// finds the names that no agent sees here.
func (p *program) policyInForce(c *cli.Context) (*policy.Policy, policy.Scope, error) {
	root, err := p.openRoot()
	if err != nil {
		return nil, policy.Scope{}, err
	}
	defer root.Close()
	pol, err := policy.Load(c.String("policy"), root.Path())
	if err != nil {
		return nil, policy.Scope{}, err
	}
	protected, err := protectedBy(root)
	if err != nil {
		return nil, policy.Scope{}, err
	}
	if err := host.CheckCommands(pol, append([]string{p.workspaceFolder()}, protected...)); err != nil {
		return nil, policy.Scope{}, err
	}
	never, err := host.Config{}.Never(p.workspaceFolder(), pol, protected)
	return pol, policy.Scope{Never: never}, err
}

func (p *program) policyShow(c *cli.Context) error {
	if err := p.noOperands(c); err != nil {
		return err
	}
	least, err := minFence(c)
	if err != nil {
		return err
	}
	pol, scope, err := p.policyInForce(c)
	if err != nil {
		return err
	}
	if p.json {
		return p.term.value(pol)
	}
	p.term.line("policy %s, %s", pol.Source, pol.SHA256)
	if pol.Capabilities == nil {
		p.term.line("grants reading and writing in the workspace as packages ask")
		p.term.line("grants commands to packages that are accepted, as they ask")
	} else {
		p.list("grants at most", grantsInWords(*pol.Capabilities))
	}
	p.list("hides from every package", pol.Withhold)
	p.list("hides because it is the host's own", scope.Never)
	var accepted []string
	for _, a := range pol.Accept {
		accepted = append(accepted, a.ID+"@"+a.SHA256.String())
	}
	p.list("accepts", accepted)
	var signed []string
	for _, plane := range archive.Planes() {
		if pol.RequireSignature[plane] {
			signed = append(signed, plane)
		}
	}
	p.list("requires a trusted signature in", signed)
	p.list("limits every turn to", limitsInWords(pol.Limits))
	p.list("lets commands see the variables", pol.Env)
	p.list("keeps out of every record", pol.Redact)
	p.list("looks up commands in", host.CommandPath(pol))
	p.term.line("%s", fenceInWords(least))
	return nil
}

// grantsInWords says what a policy grants at most, a line for each grant.
func grantsInWords(g capability.Grants) []string {
	var words []string
	for _, pattern := range g.Read {
		words = append(words, "read "+pattern)
	}
	for _, pattern := range g.Write {
		words = append(words, "write "+pattern)
	}
	for _, command := range g.Execute {
		words = append(words, "run the command "+command.String())
	}
	if len(words) == 0 {
		words = append(words, "nothing")
	}
	for _, pattern := range g.Forbidden {
		words = append(words, "never touch "+pattern)
	}
	return words
}

func limitsInWords(l archive.Limits) []string {
	var words []string
	add := func(name, value string) {
		if value != "0" && value != "0B" && value != "0s" {
			words = append(words, name+" "+value)
		}
	}
	add("memory", l.Memory.String())
	add("time", l.Time.String())
	add("fuel", fmt.Sprint(l.Fuel))
	add("output_bytes", l.OutputBytes.String())
	add("output_files", fmt.Sprint(l.OutputFiles))
	add("result_bytes", l.ResultBytes.String())
	add("entries", fmt.Sprint(l.Entries))
	add("call_depth", fmt.Sprint(l.CallDepth))
	return words
}

func (p *program) policyCheck(c *cli.Context) error {
	given, err := p.operands(c, 3, -1)
	if err != nil {
		return err
	}
	op, err := parseRight("", given[1])
	if err != nil {
		return err
	}
	if op != capability.Execute && len(given) > 3 {
		return usageError(fmt.Sprintf("policy check %s takes one name, and %q is another", op, given[3]), "ask once for each name")
	}
	narrow, err := narrowing(c)
	if err != nil {
		return err
	}
	narrow.Accepted = true
	least, err := minFence(c)
	if err != nil {
		return err
	}
	pol, scope, err := p.policyInForce(c)
	if err != nil {
		return err
	}
	pkg, err := p.namedPackage(c, nil, given[0])
	if err != nil {
		return err
	}
	defer pkg.Close()
	if narrow.WorkOrder, err = p.workOrderOf(c, pkg.Package); err != nil {
		return err
	}
	enforcer, _, _, err := policy.Effective(pkg.Manifest, pol, narrow, scope)
	if err != nil {
		return err
	}
	v, err := judge(enforcer, pkg.Package, op, given[2:])
	if err != nil {
		return err
	}
	if op == capability.Execute && v.Allowed {
		v.Command = &commandVerdict{host.CommandPath(pol), append([]string{}, pol.Env...), least, choiceOf(pkg.Manifest, v.Grant)}
	}
	if !p.json {
		p.showVerdict(v)
	} else if err := p.term.value(v); err != nil {
		return err
	}
	if op == capability.Execute && v.Allowed && !pol.Accepts(pkg.Manifest.ID, pkg.Digest) {
		p.term.note("a run needs --accept %s first", short(pkg.Digest))
	}
	if !v.Allowed {
		return &failure{code: exitBlocked}
	}
	return nil
}

// choiceOf is what the rule that permits a command leaves to the agent, in words.
func choiceOf(m archive.Manifest, grant string) string {
	for _, rule := range m.Capabilities.Execute {
		if rule.String() == grant {
			return archive.Choice(rule)
		}
	}
	return ""
}

// narrowing reads the flags that take rights away from one run.
func narrowing(c *cli.Context) (policy.Narrow, error) {
	narrow := policy.Narrow{Forbid: c.StringSlice("forbid")}
	for _, right := range c.StringSlice("without") {
		op, err := parseRight("--without ", right)
		if err != nil {
			return narrow, err
		}
		narrow.Without = append(narrow.Without, op)
	}
	return narrow, nil
}

// parseRight reads the name of a right. Flag is what stands before it, for the
// message.
func parseRight(flag, word string) (capability.Op, error) {
	for _, op := range []capability.Op{capability.Read, capability.Write, capability.Execute} {
		if word == string(op) {
			return op, nil
		}
	}
	return "", usageError(fmt.Sprintf("%s%q is not a right", flag, word), "one of read, write, execute")
}
