package gate

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/confine"
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

// ruleNoExec is why a command that is granted is not run where the gate has
// nothing to run it with.
const ruleNoExec = "commands are not run here"

// Exec runs a command that is granted, inside the fence of the operating system.
// The guest waits until it and all its descendants are gone. That it is about to
// run is durable before it does; what became of it is recorded before the guest
// is answered, however it ends.
func (g *Gate) Exec(via Via, c Command) (Ended, *ExecError) {
	op, rule := g.judgeExec(record.Op{Op: record.OpExec, Via: string(via)}, c.Argv)
	if g.cfg.Commands == nil {
		g.refuse(op, ruleNoExec, NotSup)
		return Ended{}, &ExecError{abi.CodeUnsupported, "the command is granted, but " + ruleNoExec}
	}
	x, no := g.prepareExec(rule, c)
	switch {
	case no == nil:
	case no.Code == abi.CodeNotFound:
		op.Rule = no.Message
		g.answer(op, NoEnt)
		return Ended{}, no
	case no.Code == abi.CodeUnsupported:
		g.refuse(op, no.Message, NotSup)
		return Ended{}, no
	default:
		g.refuse(op, no.Message, Perm)
		return Ended{}, no
	}
	defer x.close()
	// Its end is recorded whatever the ceiling says: there must be room for it.
	g.admit(3, weight(&op)+execWeight)
	g.answer(op, Success)
	return x.run()
}

// execWeight bounds what a command comes to in the turn's evidence, in bytes.
const execWeight = 32

// judgeExec returns the op of a command that is granted, and the rule that grants
// it, or ends the turn.
func (g *Gate) judgeExec(op record.Op, argv []string) (record.Op, capability.Command) {
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
	return op, ruleOf(grant)
}

// reply is what the guest is told of a command that came to its end.
func (x *execution) reply(r *confine.Result) (Ended, *ExecError) {
	limits := x.spec.Limits
	reached := func(code, what string, most any) (Ended, *ExecError) {
		return Ended{}, &ExecError{code, fmt.Sprintf("the command %s than its limit of %v", what, most)}
	}
	switch r.Stopped {
	case confine.StoppedTime:
		return reached(abi.CodeTimeout, "took longer", archive.Duration(limits.Time))
	case confine.StoppedCPU:
		return reached(abi.CodeLimit, "used more processor time", archive.Duration(limits.CPU))
	case confine.StoppedMemory:
		return reached(abi.CodeLimit, "used more memory", archive.Size(limits.Memory))
	case confine.StoppedFiles:
		return reached(abi.CodeLimit, "left more files", fmt.Sprintf("%d, or a folder that nobody can look into", limits.Files))
	case confine.StoppedBytes:
		return reached(abi.CodeLimit, "left more bytes", archive.Size(limits.Bytes))
	}
	e := Ended{Exit: r.Status, Stdout: x.stdout.data, Stderr: x.stderr.data, Truncated: x.truncated(r)}
	if r.Signal > 0 {
		e.Exit = 128 + r.Signal
	}
	return e, nil
}

// truncated reports whether there is more that the command wrote than anybody
// gets.
func (x *execution) truncated(r *confine.Result) bool {
	return r.Stopped == confine.StoppedOutput || x.stderr.cut
}

// ruleOf is the rule of execute that a grant names.
func ruleOf(grant capability.Grant) capability.Command {
	var words capability.Command
	if json.Unmarshal([]byte(grant.Pattern), (*[]string)(&words)) == nil {
		return words
	}
	words, err := capability.ParseCommand(grant.Pattern)
	if err != nil {
		hostFailure("read the rule "+grant.Pattern, err)
	}
	return words
}
