package gate

import (
	"errors"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/record"
)

// A Command is what a guest asks to be run.
type Command struct {
	Argv     []string
	Dir      string        // where, as a path of the guest's; empty is the workspace
	Timeout  time.Duration // 0: the turn's limit
	StdoutTo string        // the file in /tmp that gets its standard output; empty: the guest does
	Stdin    []byte
}

// An Ended command ran and came to its end within its limits.
type Ended struct {
	Exit           int // its status; 128 and the signal's number where one ended it
	Stdout, Stderr []byte
	Truncated      bool // it wrote more than it may, and was ended for it
}

// An ExecError says why a command was not run, or not to its end. Code is one of
// package abi's.
type ExecError struct{ Code, Message string }

func (e *ExecError) Error() string { return e.Message }

// ruleNoExec is why a command that is granted is not run.
const ruleNoExec = "this version runs no commands"

// Exec judges a command. It runs none: one that is granted is refused.
func (g *Gate) Exec(via Via, c Command) (Ended, *ExecError) {
	op := g.judgeExec(record.Op{Op: record.OpExec, Via: string(via)}, c.Argv)
	g.refuse(op, ruleNoExec, NotSup)
	return Ended{}, &ExecError{abi.CodeUnsupported, "the command is granted, but this version of agenthost runs no commands"}
}

// judgeExec returns the op of a command that is granted, or ends the turn.
func (g *Gate) judgeExec(op record.Op, argv []string) record.Op {
	g.checkContext()
	op.Path = capability.Command(argv).String()
	g.cfg.Charge(g.cfg.Enforcer.CostExec(argv))
	grant, err := g.cfg.Enforcer.CheckExec(argv)
	if err != nil {
		var v *capability.Violation
		if !errors.As(err, &v) {
			hostFailure("judge "+op.Path, err)
		}
		if g.asked != nil {
			g.asked.SmallestGrant = v.SmallestGrant
		}
		g.violate(op, v)
	}
	op.Decision = record.Granted
	if g.asked != nil {
		g.asked.Grant = grant.Pattern
		g.touch(op)
	}
	return op
}
