package gate

import (
	"context"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
)

// anySession stands for the id of a session that does not exist yet.
const anySession = "<session_id>"

// A Question is an open that an agent might try.
type Question struct {
	Enforcer *capability.Enforcer // not bound to a session
	Package  *archive.Package     // whose agent it is
	Outputs  []archive.Output     // what the turn would declare
	Op       capability.Op        // Read; Write: creating the file or writing it anew; or Execute
	Path     string               // not of Execute
	Argv     []string             // of Execute
}

// An Answer is what a guest would be told.
type Answer struct {
	Entry record.Op // that its operation would leave in the ledger
	Grant string    // the pattern that permits it, empty where none is needed

	SmallestGrant string // that would have permitted it, empty where none would

	forbidden bool // it may not be, as opposed to: nobody granted it
}

// Allowed reports whether the turn has the right to it.
func (a Answer) Allowed() bool { return a.Entry.Errno == Success.String() }

// answered unwinds an open whose answer is known.
type answered struct{}

// Ask says how a turn's gate would answer. It runs what [Gate.Open] and [Gate.Exec]
// run themselves, up to the point where the judgement is over and a file of the
// workspace would be touched: whether one is there is not asked.
func Ask(q Question) (Answer, error) {
	outs, err := compileOutputs(q.Outputs, anySession)
	if err != nil {
		return Answer{}, err
	}
	g := &Gate{
		ctx: context.Background(),
		cfg: Config{
			Session: anySession, Enforcer: q.Enforcer, Package: q.Package,
			Charge: func(int64) {},
		},
		outputs: outs,
	}
	return g.ask(func() {
		switch q.Op {
		case capability.Execute:
			g.judgeExec(record.Op{Op: record.OpExec, Via: record.ViaABI}, q.Argv)
		case capability.Write:
			g.Open(WASI, q.Path, Write|Create|Trunc)
		default:
			g.Open(WASI, q.Path, Read)
		}
	}), nil
}

// ask gives the answer of an operation that is only asked about.
func (g *Gate) ask(operation func()) (a Answer) {
	g.asked = &a
	defer func() {
		g.asked = nil
		if p := recover(); p != nil {
			if _, ok := p.(answered); !ok {
				panic(p)
			}
		}
	}()
	operation()
	return a
}

// touch marks where an operation's judgement is over: from here on files are
// looked at. A gate that is only asked answers here.
func (g *Gate) touch(op record.Op) {
	if g.asked != nil {
		op.Errno = Success.String()
		g.tell(op)
	}
}

// tell ends an open that is only asked about.
func (g *Gate) tell(op record.Op) {
	g.asked.Entry = op
	panic(answered{})
}

// Told is what the agent itself may learn of why it has no right: what it must
// not touch, and what it did not declare. Names that the operator hides are not
// told from such that nobody granted.
func (a Answer) Told() string {
	switch {
	case a.Allowed():
		return ""
	case a.forbidden, a.Entry.Rule == record.CodeUndeclaredWrite, a.Entry.Rule == RuleUndeclaredRead, a.Entry.Decision == record.Refused:
		return a.Entry.Rule
	}
	return "not granted"
}
