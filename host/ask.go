package host

import (
	"errors"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/record"
)

// An Answer is what an agent would be told if it tried.
type Answer struct {
	Allowed bool
	Entry   record.Op // that its operation would leave in the ledger
	Grant   string    // the rule that permits it, empty where none is needed
}

// Ask says how the gate would answer an agent that opens path, for reading or
// writing, with the rights of enforcer. It is the judgement that runs while an
// agent does.
func Ask(enforcer *capability.Enforcer, op capability.Op, path string) Answer {
	a := gate.Ask(enforcer, op, path)
	return Answer{Allowed: a.Allowed(), Entry: a.Entry, Grant: a.Grant}
}

// AskExec says how the gate would answer an agent that runs argv.
func AskExec(enforcer *capability.Enforcer, argv []string) Answer {
	entry := record.Op{Op: record.OpExec, Via: record.ViaABI, Path: capability.Command(argv).String(), Decision: record.Granted, Errno: record.ErrnoSuccess}
	grant, err := enforcer.CheckExec(argv)
	var v *capability.Violation
	if errors.As(err, &v) {
		entry.Decision, entry.Rule, entry.SmallestGrant, entry.Errno = record.Violated, v.Rule, v.SmallestGrant, "perm"
		return Answer{Entry: entry}
	}
	return Answer{Allowed: true, Entry: entry, Grant: grant.Pattern}
}
