package host

import (
	"errors"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/record"
)

// An Answer is what an agent would be told if it tried.
type Answer struct {
	Allowed bool
	Entry   record.Op // that its operation would leave in the ledger
	Grant   string    // the rule that permits it, empty where none is needed

	SmallestGrant string // that would have permitted it, empty where none would
}

// Ask says how the gate would answer the agent of pkg if it opened path, for
// reading or for writing anew, with the rights of enforcer, which is not bound to
// a session. What answers is what runs while an agent does; whether the file is
// there is not asked.
func Ask(enforcer *capability.Enforcer, pkg *archive.Package, op capability.Op, path string) (Answer, error) {
	a, err := gate.Ask(gate.Question{Enforcer: enforcer, Package: pkg, Outputs: pkg.Manifest.Outputs, Op: op, Path: path})
	if err != nil {
		return Answer{}, err
	}
	return Answer{Allowed: a.Allowed(), Entry: a.Entry, Grant: a.Grant, SmallestGrant: a.SmallestGrant}, nil
}

// AskExec says how the gate would answer an agent that runs argv.
func AskExec(enforcer *capability.Enforcer, argv []string) Answer {
	entry := record.Op{Op: record.OpExec, Via: record.ViaABI, Path: capability.Command(argv).String(), Decision: record.Granted, Errno: record.ErrnoSuccess}
	grant, err := enforcer.CheckExec(argv)
	var v *capability.Violation
	if errors.As(err, &v) {
		entry.Decision, entry.Rule, entry.SmallestGrant, entry.Errno = record.Violated, v.Rule, v.SmallestGrant, "perm"
		entry.Right = string(capability.Execute)
		return Answer{Entry: entry, SmallestGrant: v.SmallestGrant}
	}
	return Answer{Allowed: true, Entry: entry, Grant: grant.Pattern}
}
