package gate

import (
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/record"
)

// anySession stands for the id of a session that does not exist yet.
const anySession = "<session_id>"

// An Answer is what a guest would be told.
type Answer struct {
	Entry record.Op // that its operation would leave in the ledger
	Grant string    // the pattern that permits it, empty where none is needed
}

// Allowed reports whether the operation would be performed.
func (a Answer) Allowed() bool { return a.Entry.Errno == Success.String() }

// Ask says how the gate would answer an open of p, for reading or for writing
// anew, in a turn with the rights of enforcer: it judges as [Gate.Open] does, and
// touches no file. Declared outputs are not asked for.
func Ask(enforcer *capability.Enforcer, op capability.Op, p string) Answer {
	g := &Gate{cfg: Config{Session: anySession, Enforcer: enforcer}}
	n := g.resolve(p)
	entry := record.Op{Op: record.OpOpen, Via: string(WASI), Path: n.ledger, Flags: Read.String(), Errno: Success.String()}
	if op == capability.Write {
		entry.Flags = (Write | Create | Trunc).String()
	}
	v := g.judge(op, n)
	entry.Decision = v.decision
	switch {
	case op == capability.Write && (n.area == library || n.area == virtual || within(n.ledger, ownDir)):
		entry.Decision, entry.Errno = record.InPkg, ROFS.String()
	case v.permitted():
	case n.area == nowhere, op == capability.Read && !v.v.Forbidden:
		entry.Rule, entry.SmallestGrant, entry.Errno = v.v.Rule, v.v.SmallestGrant, NoEnt.String()
	default:
		entry.Decision, entry.Rule, entry.SmallestGrant, entry.Errno = record.Violated, v.v.Rule, v.v.SmallestGrant, Perm.String()
	}
	return Answer{Entry: entry, Grant: v.grant}
}
