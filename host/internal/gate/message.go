package gate

import (
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Read opens p, reads up to length bytes from offset, and closes it. Size is of
// the whole file.
func (g *Gate) Read(via Via, p string, offset, length int64) (data []byte, size int64, errno Errno) {
	f, errno := g.open(record.Op{Op: record.OpRead, Via: string(via)}, p, Read)
	if errno != Success {
		return nil, 0, errno
	}
	defer f.Close()
	size = f.size()
	data = make([]byte, max(min(length, size-offset), 0))
	n, errno := f.ReadAt(data, offset)
	return data[:n], size, errno
}

// Write stages p with data as its content, or with data after what it holds.
// Size is of the whole file.
func (g *Gate) Write(via Via, p string, data []byte, appends bool) (size int64, errno Errno) {
	flags := Write | Create | Trunc
	if appends {
		flags = Write | Create | Append
	}
	f, errno := g.open(record.Op{Op: record.OpWrite, Via: string(via), Flags: flags.String()}, p, flags)
	if errno != Success {
		return 0, errno
	}
	defer f.Close()
	_, errno = f.WriteAt(data, f.size())
	return f.size(), errno
}

// Hash returns the digest of all of p, which is read in the host.
func (g *Gate) Hash(via Via, p string) (sum ledger.Hash, size int64, errno Errno) {
	f, errno := g.open(record.Op{Op: record.OpHash, Via: string(via)}, p, Read)
	if errno != Success {
		return sum, 0, errno
	}
	defer f.Close()
	return *f.digest, f.size(), Success
}

// List returns what the folder p holds, as [File.List] does.
func (g *Gate) List(via Via, p string) ([]Info, Errno) {
	f, errno := g.open(record.Op{Op: record.OpList, Via: string(via)}, p, Read|Directory)
	if errno != Success {
		return nil, errno
	}
	defer f.Close()
	return f.List()
}

// Check says how an operation would be answered, and records that it was asked.
// It ends no turn for want of a right. Words are a path, or the words of a
// command.
func (g *Gate) Check(via Via, right capability.Op, words ...string) Answer {
	a := g.ask(func() {
		switch right {
		case capability.Execute:
			g.judgeExec(record.Op{Op: record.OpExec, Via: string(via)}, words)
		case capability.Write:
			flags := Write | Create | Trunc
			g.open(record.Op{Op: record.OpWrite, Via: string(via), Flags: flags.String()}, words[0], flags)
		default:
			g.open(record.Op{Op: record.OpRead, Via: string(via)}, words[0], Read)
		}
	})
	op := record.Op{Op: record.OpCheck, Via: string(via), Path: a.Entry.Path, Decision: record.Own, Right: string(right), Rule: a.Entry.Rule}
	g.answer(op, Success)
	return a
}

// Note records an operation on nothing but the turn itself, such as giving its
// result. Size is how many bytes the guest passed, negative where it passes none.
func (g *Gate) Note(via Via, op string, size int64) {
	g.checkContext()
	entry := record.Op{Op: op, Via: string(via), Decision: record.Own}
	if size >= 0 {
		entry.Size = &size
	}
	g.answer(entry, Success)
}

// Reserved refuses an operation that is kept for a later version.
func (g *Gate) Reserved(via Via, op string) Errno {
	g.checkContext()
	return g.refuse(record.Op{Op: op, Via: string(via)}, "kept for a later version", NotSup)
}
