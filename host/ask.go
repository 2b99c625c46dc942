package host

import (
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
	return answerOf(a), nil
}

// AskExec says how the gate would answer an agent that runs argv.
func AskExec(enforcer *capability.Enforcer, argv []string) (Answer, error) {
	a, err := gate.Ask(gate.Question{Enforcer: enforcer, Op: capability.Execute, Argv: argv})
	if err != nil {
		return Answer{}, err
	}
	return answerOf(a), nil
}

func answerOf(a gate.Answer) Answer {
	return Answer{Allowed: a.Allowed(), Entry: a.Entry, Grant: a.Grant, SmallestGrant: a.SmallestGrant}
}
