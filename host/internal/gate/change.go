package gate

import (
	"path"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Rules of what version 1 does not do, as they stand in the ledger.
const (
	ruleNotStaged = "not staged by this turn: only what a turn made can it delete, rename or touch"
	ruleNoLinks   = "links are neither made nor read"
	ruleFixed     = "a folder of the host"

	ruleImpossible = "no such name can exist"
	ruleTooLong    = "no file can have so long a name"
)

// Mkdir stages a folder. An empty staged folder is not a write.
func (g *Gate) Mkdir(via Via, p string) Errno {
	g.checkContext()
	n := g.resolve(p)
	op := record.Op{Op: record.OpMkdir, Via: string(via), Path: n.ledger}
	if g.visible(n) {
		if info, _, errno := g.examine(n); errno == Success && (info.Folder || g.judgeRead(n).permitted()) {
			op.Decision = record.Granted
			if n.area != workspace {
				op.Decision = g.judgeRead(n).decision
			}
			return g.answer(op, Exist)
		}
	}
	if errno, done := g.unwritable(op, n); done {
		return errno
	}
	op.Decision = g.permitFolder(op, n)
	if _, rule, errno := g.examine(n); errno == Success {
		return g.inTheWay(op, n, rule, Exist)
	} else if errno != NoEnt || rule != "" {
		return g.inTheWay(op, n, rule, errno)
	}
	if !g.folderExists(n) {
		return g.answer(op, NoEnt)
	}
	node := &node{name: n, folder: true}
	g.use(node, 0)
	if _, err := g.stagingOf(n.area).MkdirAll(n.rel, 0o700); err != nil {
		hostFailure("stage the folder "+n.ledger, err)
	}
	op.Errno = Success.String()
	node.of = g.record(&op).Seq
	g.staged[n.ledger] = node
	return Success
}

// permitFolder returns the decision that lets a folder be staged: something
// beneath it could be written.
func (g *Gate) permitFolder(op record.Op, n name) string {
	if n.area == workspace && g.cfg.Enforcer.Reaches(capability.Write, n.ledger) {
		return record.Granted
	}
	v := g.judgeWrite(n)
	if !v.permitted() {
		g.violate(op, v.v)
	}
	return v.decision
}

// notStaged answers an attempt to change what this turn did not stage: a
// violation, unless the name may be written and nothing is there.
func (g *Gate) notStaged(op record.Op, n name) Errno {
	if errno, done := g.unwritable(op, n); done {
		return errno
	}
	if n.rel == "." && n.area != workspace {
		return g.refuse(op, ruleFixed, Perm)
	}
	if n.area == workspace && n.ledger != "." && g.cfg.Enforcer.Reaches(capability.Write, n.ledger) {
		op.Decision = record.Granted
	} else {
		v := g.judgeWrite(n)
		if !v.permitted() {
			g.violate(op, v.v)
		}
		op.Decision = v.decision
	}
	if _, rule, errno := g.examine(n); errno == NoEnt && rule == "" {
		return g.answer(op, NoEnt)
	}
	g.violate(op, &capability.Violation{Op: capability.Write, Subject: n.ledger, Rule: ruleNotStaged})
	return Perm
}

// Remove deletes a staged file, or a staged folder that is empty.
func (g *Gate) Remove(via Via, p string, folder bool) Errno {
	g.checkContext()
	n := g.resolve(p)
	op := record.Op{Op: record.OpDelete, Via: string(via), Path: n.ledger}
	if folder {
		op.Flags = Directory.String()
	}
	node := g.staged[n.ledger]
	if node == nil {
		return g.notStaged(op, n)
	}
	op.Decision = record.Own
	switch {
	case folder && !node.folder, !folder && n.folder && !node.folder:
		return g.answer(op, NotDir)
	case !folder && node.folder:
		return g.answer(op, IsDir)
	case folder && len(g.beneath(n)) > 0:
		return g.answer(op, NotEmpty)
	case folder && node.odd != "":
		return g.refuse(op, node.odd, Perm)
	}
	if err := g.stagingOf(n.area).Remove(n.rel); err != nil {
		hostFailure("delete staged "+n.ledger, err)
	}
	g.drop(node)
	return g.answer(op, Success)
}

// drop forgets a staged name. What is open on it stays usable.
func (g *Gate) drop(n *node) {
	delete(g.staged, n.name.ledger)
	n.gone = true
	g.forget(n)
}

// beneath returns what is staged below a folder, sorted by name.
func (g *Gate) beneath(n name) []*node {
	g.cfg.Charge(int64(len(g.staged)) * 16)
	var found []*node
	for ledgerName, node := range g.staged {
		if strings.HasPrefix(ledgerName, n.ledger+"/") {
			found = append(found, node)
		}
	}
	slices.SortFunc(found, func(a, b *node) int { return strings.Compare(a.name.ledger, b.name.ledger) })
	return found
}

// Rename gives a staged file or folder another name. It is a write of every
// name that results.
func (g *Gate) Rename(via Via, from, to string) Errno {
	g.checkContext()
	src, dst := g.resolve(from), g.resolve(to)
	op := record.Op{Op: record.OpRename, Via: string(via), Path: src.ledger, To: dst.ledger}
	node := g.staged[src.ledger]
	if node == nil {
		return g.notStaged(op, src)
	}
	// What is refused from here on is the name that would result.
	refused := op
	refused.Path, refused.To = dst.ledger, ""
	if errno, done := g.unwritable(refused, dst); done {
		return errno
	}
	op.Decision = record.Own
	switch {
	case node.odd != "":
		return g.refuse(op, node.odd, Perm)
	case !node.folder && (src.folder || dst.folder):
		return g.answer(op, NotDir)
	case src.ledger == dst.ledger:
		return g.answer(op, Success)
	case strings.HasPrefix(dst.ledger, src.ledger+"/"):
		return g.answer(op, Inval)
	case dst.rel == "." && dst.area != workspace:
		return g.refuse(op, ruleFixed, Perm)
	}
	if node.folder {
		return g.renameFolder(op, node, dst)
	}
	return g.renameFile(op, node, dst)
}

func (g *Gate) renameFile(op record.Op, n *node, dst name) Errno {
	target := record.Op{Op: op.Op, Via: op.Via, Path: dst.ledger, Flags: Write.String()}
	over := g.staged[dst.ledger]
	if over == nil {
		op.Decision = g.permitWrite(target, dst)
	} else if over.odd != "" {
		return g.refuse(op, over.odd, Perm)
	} else if over.folder {
		return g.answer(op, IsDir)
	}
	base, rule, errno := g.baseOf(dst, over)
	switch {
	case errno == NoEnt && rule == "", errno == IsDir:
		return g.answer(op, errno)
	case errno != Success:
		return g.inTheWay(op, dst, rule, errno)
	}
	g.compareBase(dst, base)
	g.admitMove([]*node{n}, dst, over)
	g.move(n, dst, over, base)
	op.Errno = Success.String()
	n.of = g.record(&op).Seq
	return Success
}

// baseOf returns the digest of what a rename would replace when it is
// published, nil where there is nothing.
func (g *Gate) baseOf(dst name, over *node) (base *ledger.Hash, rule string, errno Errno) {
	if over != nil {
		return over.base, "", Success
	}
	info, rule, errno := g.examine(dst)
	switch {
	case errno == NoEnt && rule == "":
		if !g.folderExists(dst) {
			return nil, "", NoEnt
		}
		return nil, "", Success
	case errno != Success:
		return nil, rule, errno
	case info.Folder:
		return nil, "", IsDir
	}
	return g.hashTarget(dst)
}

// renameFolder moves a staged folder with all that is staged beneath it. Each
// resulting name is judged before anything moves, and each file is recorded.
func (g *Gate) renameFolder(op record.Op, folder *node, dst name) Errno {
	target := record.Op{Op: op.Op, Via: op.Via, Path: dst.ledger, Flags: Directory.String()}
	if over := g.staged[dst.ledger]; over != nil {
		switch {
		case over.odd != "":
			return g.refuse(op, over.odd, Perm)
		case !over.folder:
			return g.answer(op, NotDir)
		case len(g.beneath(dst)) > 0:
			return g.answer(op, NotEmpty)
		}
	} else {
		op.Decision = g.permitFolder(target, dst)
		if info, rule, errno := g.examine(dst); errno == Success && info.Folder && g.visible(dst) {
			return g.answer(op, Exist)
		} else if errno == Success {
			return g.inTheWay(op, dst, rule, Exist)
		} else if errno != NoEnt || rule != "" {
			return g.inTheWay(op, dst, rule, errno)
		}
		if !g.folderExists(dst) {
			return g.answer(op, NoEnt)
		}
	}
	inside := g.beneath(folder.name)
	for _, child := range inside {
		if child.odd != "" {
			return g.refuse(op, child.odd, Perm)
		}
	}
	names := make([]name, len(inside))
	for i, child := range inside {
		names[i] = name{
			area:   dst.area,
			ledger: dst.ledger + strings.TrimPrefix(child.name.ledger, folder.name.ledger),
			rel:    path.Join(dst.rel, strings.TrimPrefix(child.name.ledger, folder.name.ledger+"/")),
		}
		result := record.Op{Op: op.Op, Via: op.Via, Path: names[i].ledger, Flags: Write.String()}
		switch {
		case !names[i].storable():
			return g.refuse(op, ruleTooLong, NameTooLong)
		case child.folder:
			result.Flags = Directory.String()
			g.permitFolder(result, names[i])
		default:
			g.permitWrite(result, names[i])
		}
	}
	g.admitMove(append([]*node{folder}, inside...), dst, g.staged[dst.ledger])
	if over := g.staged[dst.ledger]; over != nil {
		g.drop(over)
	}
	from := folder.name
	if err := g.movePath(from, dst); err != nil {
		hostFailure("rename staged "+from.ledger, err)
	}
	g.rename(folder, dst)
	op.Errno = Success.String()
	folder.of = g.record(&op).Seq
	for i, child := range inside {
		moved := record.Op{Op: op.Op, Via: op.Via, Path: child.name.ledger, To: names[i].ledger, Decision: op.Decision, Errno: Success.String()}
		g.rename(child, names[i])
		if !child.folder {
			child.base = nil
			child.of = g.record(&moved).Seq
		}
	}
	return Success
}

// move gives a staged file its new name, over what is staged there.
func (g *Gate) move(n *node, dst name, over *node, base *ledger.Hash) {
	from := n.name
	if err := g.movePath(from, dst); err != nil {
		hostFailure("rename staged "+from.ledger, err)
	}
	if over != nil {
		g.drop(over)
	}
	g.rename(n, dst)
	n.base = base
}

// admitMove ends the turn before anything moves if what would have another name
// is more than may be staged there, or cannot all be recorded. The first node is
// the one that is renamed, the others lie beneath it.
func (g *Gate) admitMove(nodes []*node, dst name, over *node) {
	entries := int64(0)
	for _, n := range nodes {
		rest := strings.TrimPrefix(n.name.ledger, nodes[0].name.ledger)
		entries += weight(&record.Op{Path: n.name.ledger, To: dst.ledger + rest})
	}
	g.admit(int64(len(nodes)), entries)
	to := g.quotaOf(&node{name: dst})
	if to == g.quotaOf(nodes[0]) {
		return
	}
	files, bytes := int64(len(nodes)), int64(0)
	for _, n := range nodes {
		bytes += n.size
	}
	if over != nil && over.users == 0 {
		files, bytes = files-1, bytes-over.size
	}
	to.admit(files, bytes)
}

func (g *Gate) movePath(from, to name) error {
	if _, err := g.stagingOf(to.area).MkdirAll(path.Dir(to.rel), 0o700); err != nil {
		return err
	}
	return beneath.Rename(g.stagingOf(from.area), from.rel, g.stagingOf(to.area), to.rel)
}

// rename moves a node's entry and what it counts for.
func (g *Gate) rename(n *node, to name) {
	size := n.size
	old := g.quotaOf(n)
	old.bytes -= size
	old.files--
	old.listed -= listed(n)
	delete(g.staged, n.name.ledger)
	n.name, n.size = to, 0
	g.staged[to.ledger] = n
	g.use(n, size)
}

// SetTimes accepts new times for what is staged, without effect: published
// files get the time of the commit.
func (g *Gate) SetTimes(via Via, p string) Errno { return g.setTimes(via, g.resolve(p)) }

func (g *Gate) setTimes(via Via, n name) Errno {
	g.checkContext()
	op := record.Op{Op: record.OpSetTimes, Via: string(via), Path: n.ledger}
	if g.staged[n.ledger] != nil || (n.rel == "." && (n.area == tmp || n.area == out)) {
		op.Decision = record.Own
		return g.answer(op, Success)
	}
	return g.notStaged(op, n)
}

// Link refuses to make or read a link: op is one of the ledger's link ops.
func (g *Gate) Link(via Via, op, p, to string) Errno {
	g.checkContext()
	n := g.resolve(p)
	entry := record.Op{Op: op, Via: string(via), Path: n.ledger}
	if to != "" {
		entry.To = printable(to, int64(len(to)))
	}
	return g.refuse(entry, ruleNoLinks, Perm)
}

// SetTimes is [Gate.SetTimes] of the file that is open.
func (f *File) SetTimes(via Via) Errno {
	if f.closed {
		return BadF
	}
	if f.node == nil {
		return f.g.setTimes(via, f.name)
	}
	// It is staged, even where it has lost its name.
	f.g.checkContext()
	return f.g.answer(record.Op{Op: record.OpSetTimes, Via: string(via), Path: f.node.name.ledger, Decision: record.Own}, Success)
}
