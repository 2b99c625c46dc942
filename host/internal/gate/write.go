package gate

import (
	"crypto/sha256"
	"io"
	"os"
	"path"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// A node is a staged file or folder.
type node struct {
	name   name
	folder bool
	size   int64
	of     uint64       // the entry that gave it its name
	base   *ledger.Hash // digest of what the name held when first seen, nil if nothing
	users  int          // descriptors open on it
	gone   bool         // deleted or replaced; it counts until nobody uses it
	odd    string       // why it is not served, of what a command left; it is only deleted
}

type stagedFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
}

// openWrite opens p for writing: what it writes is staged.
func (g *Gate) openWrite(op record.Op, n name, flags Flags) (*File, Errno) {
	if flags&Create == 0 {
		flags &^= Excl
	}
	if errno, done := g.unwritable(op, n); done {
		return nil, errno
	}
	if node := g.staged[n.ledger]; node != nil {
		op.Decision = record.Own
		switch {
		case node.odd != "":
			return nil, g.refuse(op, node.odd, Perm)
		case node.folder:
			return nil, g.answer(op, IsDir)
		case flags&Excl != 0:
			return nil, g.answer(op, Exist)
		case n.folder:
			return nil, g.answer(op, NotDir)
		}
		return g.openStaged(op, n, node, flags)
	}
	op.Decision = g.permitWrite(op, n)
	g.touch(op)
	info, rule, errno := g.examine(n)
	switch {
	case errno == NoEnt && rule == "":
		return g.openNew(op, n, flags)
	case errno != Success:
		return nil, g.inTheWay(op, n, rule, errno)
	case info.Folder:
		return nil, g.answer(op, IsDir)
	}
	return g.openOver(op, n, flags)
}

// inTheWay answers a write to a name that holds what no commit may replace, or
// what the host cannot use: a violation where the guest may not know that
// something is there.
func (g *Gate) inTheWay(op record.Op, n name, rule string, errno Errno) Errno {
	if readable := g.judgeRead(n); !readable.permitted() {
		if rule != "" {
			readable.v.Rule = rule
		}
		g.violate(op, readable.v)
	}
	if rule != "" {
		return g.refuse(op, rule, Perm)
	}
	return g.answer(op, errno)
}

// unwritable answers for names that nothing can be written to, whatever is
// granted.
func (g *Gate) unwritable(op record.Op, n name) (Errno, bool) {
	switch {
	case n.area == library || n.area == virtual || within(n.ledger, ownDir):
		op.Decision = record.InPkg
		return g.answer(op, ROFS), true
	case n.area == nowhere && (op.Op == record.OpOpen || op.Op == record.OpWrite):
		return g.hiddenOpen(op, g.judgeWrite(n).v), true
	case n.area == nowhere:
		return g.hide(op, ruleImpossible), true
	case !n.storable():
		return g.refuse(op, ruleTooLong, NameTooLong), true
	}
	return Success, false
}

// permitWrite returns the decision that lets n be written, or ends the turn:
// the name must be granted, and in the workspace it must be declared.
func (g *Gate) permitWrite(op record.Op, n name) string {
	v := g.judgeWrite(n)
	if !v.permitted() {
		g.violate(op, v.v)
	}
	if n.area == workspace {
		if _, declared := g.outputs.of(n.ledger); !declared {
			g.violate(op, &capability.Violation{Op: capability.Write, Subject: n.ledger, Rule: record.CodeUndeclaredWrite})
		}
	}
	return v.decision
}

// openNew stages a file where there is none.
func (g *Gate) openNew(op record.Op, n name, flags Flags) (*File, Errno) {
	if flags&Create == 0 || n.folder || !g.folderExists(n) {
		return nil, g.answer(op, NoEnt)
	}
	return g.stage(op, n, flags, nil, nil, 0)
}

// openOver stages a file over an existing one: empty if it is truncated, else a
// copy, which is a read.
func (g *Gate) openOver(op record.Op, n name, flags Flags) (*File, Errno) {
	readable := g.judgeRead(n)
	switch {
	case n.folder && readable.permitted():
		return nil, g.answer(op, NotDir)
	case n.folder:
		return nil, g.answer(op, NoEnt)
	case flags&Excl != 0 && readable.permitted():
		return nil, g.answer(op, Exist)
	case flags&Excl != 0 || (flags&Trunc == 0 && !readable.permitted()):
		g.violate(op, readable.v)
	}
	if flags&Trunc != 0 {
		base, rule, errno := g.hashTarget(n)
		if errno != Success {
			return nil, g.inTheWay(op, n, rule, errno)
		}
		return g.stage(op, n, flags, base, nil, 0)
	}
	f, info, rule, errno := g.openTarget(n)
	if errno != Success {
		return nil, g.inTheWay(op, n, rule, errno)
	}
	defer f.Close()
	g.undeclared(op, n)
	if first := g.reads[n.ledger]; first == nil {
		g.reads[n.ledger] = &read{name: n, info: info}
	} else if !first.info.Same(info) {
		g.changed(n.ledger, changedBetween)
	}
	return g.stage(op, n, flags, nil, f, info.Size)
}

// openTarget opens a file that a write would replace. It must be one that a
// commit may replace: a regular file with one link.
func (g *Gate) openTarget(n name) (f *os.File, info beneath.Info, rule string, errno Errno) {
	dir, _ := g.dirOf(n.area)
	h, err := dir.OpenRead(n.rel)
	if err != nil {
		return nil, info, linkRule(err), errnoOf(err)
	}
	info, rule = g.servable(h, n)
	switch {
	case rule != "":
	case info.Mode.IsDir():
		rule = "a folder"
	case info.Nlink > 1:
		rule = "more than one link"
	}
	if rule != "" {
		h.Close()
		return nil, info, rule, Perm
	}
	return h.File(n.rel), info, "", Success
}

// hashTarget returns the digest of a file that a write would replace.
func (g *Gate) hashTarget(n name) (base *ledger.Hash, rule string, errno Errno) {
	f, info, rule, errno := g.openTarget(n)
	if errno != Success {
		return nil, rule, errno
	}
	defer f.Close()
	g.cfg.Charge(info.Size)
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(f, info.Size)); err != nil {
		return nil, "", errnoOf(err)
	}
	return digest(sum.Sum(nil)), "", Success
}

func digest(sum []byte) *ledger.Hash {
	h := ledger.Hash(sum)
	return &h
}

// stage makes the staged file of n and opens it. If from is given it holds a copy
// of that file's first size bytes, whose digest is its base.
func (g *Gate) stage(op record.Op, n name, flags Flags, base *ledger.Hash, from io.Reader, size int64) (*File, Errno) {
	g.cfg.Charge(size)
	node := &node{name: n, base: base}
	g.use(node, size)
	staging := g.stagingOf(n.area)
	if _, err := staging.MkdirAll(path.Dir(n.rel), 0o700); err != nil {
		hostFailure("stage "+n.ledger, err)
	}
	f, err := staging.OpenFile(n.rel, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		hostFailure("stage "+n.ledger, err)
	}
	if from != nil {
		sum := sha256.New()
		copied, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(from, size))
		if err != nil {
			f.Close()
			hostFailure("stage "+n.ledger, err)
		}
		g.grow(node, copied)
		node.base = digest(sum.Sum(nil))
		op.Size, op.SHA256 = &copied, node.base
		g.sawDigest(g.reads[n.ledger], *node.base)
	}
	g.compareBase(n, node.base)
	op.Errno = Success.String()
	node.of = g.record(&op).Seq
	g.staged[n.ledger] = node // from here on it is known: what was not recorded never is
	return g.newFile(n, flags|implied(flags), &File{node: node, disk: f}), Success
}

// compareBase marks a file changed if what a staged file would replace is not
// what was read.
func (g *Gate) compareBase(n name, base *ledger.Hash) {
	first := g.reads[n.ledger]
	if first != nil && first.digest != nil && (base == nil || *first.digest != *base) {
		g.changed(n.ledger, "it was changed after it was read")
	}
}

// implied is what a descriptor may do beyond what was said: creating,
// truncating and appending are writing.
func implied(flags Flags) Flags {
	if flags.writes() {
		return Write
	}
	return 0
}

// openStaged opens what this turn wrote.
func (g *Gate) openStaged(op record.Op, n name, node *node, flags Flags) (*File, Errno) {
	if node.odd != "" {
		return nil, g.refuse(op, node.odd, Perm)
	}
	if node.folder {
		return g.openFolder(op, n)
	}
	if n.folder {
		return nil, g.answer(op, NotDir)
	}
	g.touch(op)
	f, err := g.stagingOf(n.area).OpenFile(node.name.rel, os.O_RDWR, 0)
	if err != nil {
		hostFailure("open staged "+n.ledger, err)
	}
	if op.Op == record.OpHash {
		size := node.size
		op.Size, op.SHA256 = &size, g.hashStaged(n, f, size)
	}
	if flags&Trunc != 0 {
		if err := f.Truncate(0); err != nil {
			f.Close()
			hostFailure("truncate staged "+n.ledger, err)
		}
		g.grow(node, 0)
	}
	op.Errno = Success.String()
	e := g.record(&op)
	if flags.writes() {
		node.of = e.Seq
	}
	return g.newFile(n, flags|implied(flags), &File{node: node, disk: f, digest: op.SHA256}), Success
}

// hashStaged takes the digest of what a turn wrote so far. It closes f if it
// fails.
func (g *Gate) hashStaged(n name, f *os.File, size int64) *ledger.Hash {
	defer func() {
		if p := recover(); p != nil {
			f.Close()
			panic(p)
		}
	}()
	g.cfg.Charge(size)
	return g.sumOf(n, io.NewSectionReader(f, 0, size))
}

// sumOf takes the digest of what is read from r, and ends a turn that is over.
func (g *Gate) sumOf(n name, r io.Reader) *ledger.Hash {
	sum := sha256.New()
	if _, err := io.Copy(sum, cancellable{g.ctx, r}); err != nil {
		g.checkContext()
		hostFailure("hash "+n.ledger, err)
	}
	return digest(sum.Sum(nil))
}

// folderExists reports whether the folder n lies in is there.
func (g *Gate) folderExists(n name) bool {
	if node := g.staged[n.parent()]; node != nil {
		return node.folder && node.odd == ""
	}
	parent := name{area: n.area, rel: parentOf(n.rel), ledger: n.parent()}
	info, _, errno := g.examine(parent)
	return errno == Success && info.Folder
}

// A quota is what may be staged for one purpose: for publication, or as scratch.
type quota struct {
	bytes, files             int64 // used
	listed                   int64 // bytes that turn.end takes to list them
	maxBytes, maxFiles       int64
	limitBytes, limitOfFiles string // names of the limits
}

func quotas(c Ceiling) (outputs, scratch quota) {
	return quota{maxBytes: c.OutputBytes, maxFiles: c.OutputFiles, limitBytes: record.LimitOutputBytes, limitOfFiles: record.LimitOutputFiles},
		quota{maxBytes: c.ScratchBytes, maxFiles: c.ScratchFiles, limitBytes: record.LimitScratch, limitOfFiles: record.LimitScratch}
}

func (g *Gate) quotaOf(n *node) *quota {
	if n.name.area == tmp {
		return &g.scratch
	}
	return &g.staging
}

// use counts a new staged file or folder of size bytes.
func (g *Gate) use(n *node, size int64) {
	q := g.quotaOf(n)
	q.admit(1, size)
	q.files++
	if q.listed += listed(n); q.listed > maxListed {
		panic(&Limit{Name: record.LimitEvidence, Max: maxListed})
	}
	q.bytes += size
	n.size = size
}

// admit ends the turn where so many more files and bytes are more than it may
// stage.
func (q *quota) admit(files, bytes int64) {
	if files > 0 && q.files+files > q.maxFiles {
		panic(&Limit{Name: q.limitOfFiles, Max: q.maxFiles})
	}
	if bytes > q.maxBytes || q.bytes+bytes > q.maxBytes {
		panic(&Limit{Name: q.limitBytes, Max: q.maxBytes})
	}
}

// What is published is listed in one entry, turn.end: it must not get too long,
// or the turn could not be ended.
const maxListed = record.MaxExecEntry - 1<<20

// listed bounds what turn.end says of a file: its name, a role, two digests.
func listed(n *node) int64 { return encoded(n.name.ledger) + 400 }

// grow sets the apparent size of a staged file, and ends the turn where the sum
// of them is more than it may stage.
func (g *Gate) grow(n *node, size int64) {
	q := g.quotaOf(n)
	if size > n.size {
		q.admit(0, size-n.size)
	}
	q.bytes += size - n.size
	n.size = size
}

// leave takes a descriptor off a staged file; one that is gone stops counting
// with its last.
func (g *Gate) leave(n *node) {
	n.users--
	g.forget(n)
}

func (g *Gate) forget(n *node) {
	if n.gone && n.users == 0 {
		q := g.quotaOf(n)
		q.bytes -= n.size
		q.files--
		q.listed -= listed(n)
		n.size = 0
	}
}

// WriteAt writes to the staged file. It writes all of p or ends the turn.
func (f *File) WriteAt(p []byte, off int64) (int, Errno) {
	if errno := f.usable(Write); errno != Success {
		return 0, errno
	}
	if off < 0 {
		return 0, Inval
	}
	end := off + int64(len(p))
	if end < off {
		return 0, Inval
	}
	if len(p) == 0 {
		return 0, Success // nothing is written, and the file does not grow
	}
	f.g.checkContext()
	f.g.cfg.Charge(int64(len(p)))
	if end > f.node.size {
		f.g.grow(f.node, end)
	}
	n, err := f.disk.WriteAt(p, off)
	if err != nil {
		hostFailure("write staged "+f.name.ledger, err)
	}
	return n, Success
}

// Truncate sets the size of the staged file.
func (f *File) Truncate(size int64) Errno {
	if errno := f.usable(Write); errno != Success {
		return errno
	}
	if size < 0 {
		return Inval
	}
	f.g.checkContext()
	f.g.grow(f.node, size)
	if err := f.disk.Truncate(size); err != nil {
		hostFailure("truncate staged "+f.name.ledger, err)
	}
	return Success
}

func readFull(r io.ReaderAt, p []byte, off int64) (int, Errno) {
	n, err := r.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, errnoOf(err)
	}
	return n, Success
}
