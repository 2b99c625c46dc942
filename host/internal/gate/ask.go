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
	Op       capability.Op        // Read, or Write: creating the file or writing it anew
	Path     string
}

// An Answer is what a guest would be told.
type Answer struct {
	Entry record.Op // that its operation would leave in the ledger
	Grant string    // the pattern that permits it, empty where none is needed

	SmallestGrant string // that would have permitted it, empty where none would
}

// Allowed reports whether the operation would be performed.
func (a Answer) Allowed() bool { return a.Entry.Errno == Success.String() }

// answered unwinds an open whose answer is known.
type answered struct{}

// Ask says how a turn's gate would answer. It runs [Gate.Open] itself, up to the
// point where the judgement is over and a file of the workspace would be touched:
// whether one is there is not asked.
func Ask(q Question) (a Answer, err error) {
	outs, err := compileOutputs(q.Outputs, anySession)
	if err != nil {
		return Answer{}, err
	}
	g := &Gate{
		ctx: context.Background(),
		cfg: Config{
			Session: anySession, Enforcer: q.Enforcer, Package: q.Package, Ceiling: Ceiling{OpenFiles: 1},
			Charge: func(int64) {},
		},
		outputs: outs,
		asked:   &a,
	}
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(answered); !ok {
				panic(p)
			}
		}
	}()
	flags := Read
	if q.Op == capability.Write {
		flags = Write | Create | Trunc
	}
	g.Open(WASI, q.Path, flags)
	return a, nil
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
