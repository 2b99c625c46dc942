package gate

import (
	"errors"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/record"
)

// A Via names the door an operation came through.
type Via string

// The doors.
const (
	WASI Via = record.ViaWASI
	ABI  Via = record.ViaABI
)

// A verdict is what the enforcer and the areas say of an operation on a name.
type verdict struct {
	decision string                // granted, own or package, or hidden for every refusal
	v        *capability.Violation // why it is refused
}

func (v verdict) permitted() bool { return v.v == nil }

// judgeRead says whether the content of n may be read.
func (g *Gate) judgeRead(n name) verdict { return g.judge(capability.Read, n) }

// judgeWrite says whether n may be written, declared or not.
func (g *Gate) judgeWrite(n name) verdict { return g.judge(capability.Write, n) }

func (g *Gate) judge(op capability.Op, n name) verdict {
	g.weigh(n)
	switch n.area {
	case tmp:
		return verdict{decision: record.Own}
	case library, virtual, device, rights:
		return verdict{decision: record.InPkg}
	case nowhere:
		return verdict{decision: record.Hidden, v: &capability.Violation{Op: op, Subject: n.ledger, Rule: ruleImpossible}}
	case out:
		if rule, forbidden := g.cfg.Enforcer.Forbids(n.ledger); forbidden {
			return verdict{decision: record.Hidden, v: &capability.Violation{Op: op, Subject: n.ledger, Rule: rule, Forbidden: true}}
		}
		return verdict{decision: record.Own}
	}
	if op == capability.Read && g.staged[n.ledger] != nil {
		return verdict{decision: record.Own}
	}
	grant, err := g.cfg.Enforcer.Check(op, n.ledger)
	if err == nil {
		if g.asked != nil {
			g.asked.Grant = grant.Pattern
		}
		return verdict{decision: record.Granted}
	}
	var v *capability.Violation
	if !errors.As(err, &v) {
		hostFailure("judge "+n.ledger, err)
	}
	if g.asked != nil {
		g.asked.SmallestGrant = v.SmallestGrant
	}
	return verdict{decision: record.Hidden, v: v}
}

// weigh charges for matching a name with the turn's patterns, and ends a turn
// that is over: with many names to judge, that is where the time goes. It
// charges what matching takes of an enforcer that knows no such name, so that
// fuel does not depend on what was judged before, nor a guest gain by names that
// no enforcer can be ready for.
func (g *Gate) weigh(n name) {
	g.checkContext()
	if n.area == workspace || n.area == out {
		g.cfg.Charge(g.cfg.Enforcer.Cost(n.ledger))
	}
}

// visible reports whether a folder may be seen: it, or some name beneath it,
// could be granted, and it is not forbidden.
func (g *Gate) visible(n name) bool {
	g.weigh(n)
	switch n.area {
	case tmp, library, virtual, device, rights:
		return true
	case out:
		_, forbidden := g.cfg.Enforcer.Forbids(n.ledger)
		return !forbidden
	case nowhere:
		return false
	}
	return n.ledger == "." || g.staged[n.ledger] != nil ||
		g.cfg.Enforcer.Reaches(capability.Read, n.ledger) ||
		g.cfg.Enforcer.Reaches(capability.Write, n.ledger)
}

// hiddenOpen answers an attempt to open a name that is not shown: a violation
// where the name is forbidden or the turn is strict, else the name does not
// exist.
func (g *Gate) hiddenOpen(op record.Op, v *capability.Violation) Errno {
	if v.Forbidden || g.cfg.Strict {
		g.violate(op, v)
	}
	return g.hide(op, v.Rule)
}

// RuleUndeclaredRead is the rule of a strict turn that refuses a read it did not
// declare.
const RuleUndeclaredRead = "strict: not a declared input"

// undeclared ends a strict turn that reads what it did not declare.
func (g *Gate) undeclared(op record.Op, n name) {
	if !g.cfg.Strict || n.area != workspace || g.staged[n.ledger] != nil {
		return
	}
	if _, declared := g.inputs[n.ledger]; !declared {
		g.violate(op, &capability.Violation{
			Op: capability.Read, Subject: n.ledger, Rule: RuleUndeclaredRead,
		})
	}
}
