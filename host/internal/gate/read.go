package gate

import (
	"crypto/sha256"
	"hash"
	"io"
	"slices"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// SmallFile is the largest file, in bytes, that is read once at open, hashed,
// and served from that copy.
const SmallFile = 1 << 20

// maxSpare is the largest memory, in bytes, that is kept to read another small
// file into.
const maxSpare = 64 << 10

// maxPending is how many large files wait for the end of the turn with a
// descriptor of the host open on each.
const maxPending = 64

// changedBetween is why a turn that saw two versions of a file is not published.
const changedBetween = "it was changed between two opens"

// A read is what was first seen of a file that was opened: what its target must
// still be when the turn ends.
type read struct {
	name    name
	info    beneath.Info
	digest  *ledger.Hash // nil until a large file's is taken
	weighed bool         // a command could see it, and hashing it was charged
}

// A source is a large file open for reading. It is hashed while the guest reads
// it in order, else from the same descriptor when the turn ends.
type source struct {
	file   *beneath.Handle
	read   *read
	info   beneath.Info
	ops    []uint64 // the opens its digest is the content of
	users  int      // descriptors that are open on it
	sum    hash.Hash
	hashed int64
}

// openRead opens an existing file that may be read, or folder. The caller has
// judged the name.
func (g *Gate) openRead(op record.Op, n name) (*File, Errno) {
	switch n.area {
	case library:
		return g.openLibrary(op, n)
	case rights:
		return g.openRights(op, n)
	}
	if node := g.staged[n.ledger]; node != nil {
		return g.openStaged(op, n, node, Read)
	}
	if g.asked != nil {
		g.undeclared(op, n)
	}
	g.touch(op)
	dir, exists := g.dirOf(n.area)
	if !exists {
		return nil, g.answer(op, NoEnt)
	}
	f, err := dir.OpenRead(n.rel)
	if err != nil {
		return nil, g.unopened(op, n, err)
	}
	info, rule := g.servable(f, n)
	if rule != "" || info.Mode.IsDir() {
		f.Close()
	}
	switch {
	case info.Mode.IsDir():
		return g.openFolder(op, n)
	case rule != "":
		return nil, g.hiddenOpen(op, &capability.Violation{Op: capability.Read, Subject: n.ledger, Rule: rule})
	}
	return g.serve(op, n, f, info)
}

// unopened answers for a name that could not be opened. Why not is told only of
// what would be served.
func (g *Gate) unopened(op record.Op, n name, err error) Errno {
	rule, errno := linkRule(err), errnoOf(err)
	if rule == "" && errno != NoEnt {
		_, rule, _ = g.examine(n)
	}
	if rule != "" {
		return g.hiddenOpen(op, &capability.Violation{Op: capability.Read, Subject: n.ledger, Rule: rule})
	}
	return g.answer(op, errno)
}

// serve reads or keeps f, records the open, and returns the guest's descriptor.
// It owns f.
func (g *Gate) serve(op record.Op, n name, f *beneath.Handle, info beneath.Info) (_ *File, errno Errno) {
	kept := false
	defer func() {
		if !kept {
			f.Close()
		}
	}()
	g.undeclared(op, n)
	r := g.reads[n.ledger]
	if r == nil {
		r = &read{name: n, info: info}
		g.reads[n.ledger] = r
	} else if !r.info.Same(info) {
		g.changed(n.ledger, changedBetween)
	}
	if info.Size <= SmallFile && g.copied+info.Size <= g.cfg.Ceiling.CopyBytes {
		g.cfg.Charge(info.Size)
		data, whole, err := readSmall(f, info.Size, g.spare)
		if err != nil {
			return nil, g.answer(op, errnoOf(err))
		}
		if whole {
			g.spare = nil
			opened := &File{data: data, small: true, whole: int64(len(data)), digest: g.sawDigest(r, ledger.Sum(data))}
			op.Size, op.SHA256, op.Errno = &opened.whole, opened.digest, Success.String()
			g.record(&op)
			g.copied += opened.whole
			return g.newFile(n, Read, opened), Success
		}
	}
	if op.Op == record.OpHash {
		return g.serveDigest(op, n, f, r)
	}
	s := g.pendingOf(r, info)
	if s == nil {
		g.cfg.Charge(info.Size)
		s = &source{file: f, read: r, info: info, sum: sha256.New()}
	}
	op.Size, op.Errno = &s.info.Size, Success.String()
	s.ops = append(s.ops, g.record(&op).Seq)
	if s.file == f {
		g.pending, kept = append(g.pending, s), true
	}
	return g.newFile(n, Read, &File{source: s}), Success
}

// serveDigest opens a large file for its digest alone, which is taken at once.
func (g *Gate) serveDigest(op record.Op, n name, f *beneath.Handle, r *read) (*File, Errno) {
	info, err := f.Stat()
	if err != nil {
		hostFailure("examine "+n.ledger, err)
	}
	g.cfg.Charge(info.Size)
	// A file that grows all the time must not be hashed for ever, and the beginning
	// of one that grew may have been read already.
	sum := g.sumOf(n, io.NewSectionReader(f, 0, info.Size))
	if after, err := f.Stat(); err != nil || !r.info.Same(after) {
		g.changed(n.ledger, "it was changed while it was read")
	}
	op.Size, op.SHA256, op.Errno = &info.Size, g.sawDigest(r, *sum), Success.String()
	g.record(&op)
	return g.newFile(n, Read, &File{digest: op.SHA256, whole: info.Size}), Success
}

// pendingOf returns the source that the content of a large file is served from
// already, nil if there is none.
func (g *Gate) pendingOf(r *read, info beneath.Info) *source {
	for _, s := range g.pending {
		if s.read == r && s.info.Same(info) {
			return s
		}
	}
	return nil
}

// release lets go of a large file that no descriptor uses, as soon as its
// digest is known or too many wait for theirs.
func (g *Gate) release(s *source) {
	s.users--
	if !g.ended && s.users == 0 && (s.hashed == s.info.Size || len(g.pending) > maxPending) {
		g.settle(s)
		g.pending = slices.DeleteFunc(g.pending, func(p *source) bool { return p == s })
	}
}

// readSmall reads f whole, into spare if that is about as large. It reports false if
// f holds more than size says it does: then it is served as a large file.
func readSmall(f *beneath.Handle, size int64, spare []byte) (data []byte, whole bool, err error) {
	buf := spare[:cap(spare)]
	if int64(len(buf)) <= size || int64(len(buf)) > 2*(size+1) { // what is held is counted by the size
		buf = make([]byte, size+1)
	}
	buf = buf[:size+1]
	n := 0
	for n < len(buf) {
		m, err := f.Read(buf[n:])
		n += m
		// A read that ends where the file should end has seen its end.
		if err == io.EOF || err == nil && int64(n) == size {
			return buf[:n], true, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	return nil, false, nil
}

// sawDigest remembers the first digest seen of a file, and marks the file
// changed when a later one, or the declared one, differs. It returns sum.
func (g *Gate) sawDigest(r *read, sum ledger.Hash) *ledger.Hash {
	switch {
	case r.digest == nil:
		r.digest = digest(sum[:])
		if in, declared := g.inputs[r.name.ledger]; declared && in.SHA256 != sum {
			g.changed(r.name.ledger, "it is not what was declared when the turn began")
		}
	case *r.digest != sum:
		g.changed(r.name.ledger, changedBetween)
		return digest(sum[:])
	}
	return r.digest
}

// changed remembers why a turn may not be published; the first reason counts.
func (g *Gate) changed(path, what string) {
	if _, known := g.problems[path]; !known {
		g.problems[path] = Problem{Path: path, Code: record.CodeInputChanged, What: what}
	}
}

// servable says what f is, and why it is not served if it is neither a folder
// nor a regular file that only its own name leads to, on a storage filesystem.
func (g *Gate) servable(f *beneath.Handle, n name) (beneath.Info, string) {
	info, err := f.Stat()
	if err != nil {
		return info, "it cannot be examined"
	}
	return info, g.servableInfo(info, f, n)
}

// servableInfo is servable for what was examined. What f is open on is asked
// only of a device that was not met before.
func (g *Gate) servableInfo(info beneath.Info, f *beneath.Handle, n name) string {
	switch {
	case info.Mode.IsDir():
	case !info.Mode.IsRegular():
		return "not a regular file"
	case info.Nlink > 1 && g.cfg.Enforcer.HasForbidden():
		return "more than one link, and something is forbidden"
	}
	if err := g.storageOf(info.Dev, f); err != nil {
		return err.Error()
	}
	if err := g.folderOf(n, info.Mode.IsDir()); err != nil {
		return err.Error()
	}
	return ""
}

// storageOf asks once for each device whether its files are served.
func (g *Gate) storageOf(dev uint64, f *beneath.Handle) error {
	err, known := g.storage[dev]
	if !known {
		err = f.Storage()
		g.storage[dev] = err
	}
	return err
}

// folderOf says why nothing in the folder that n lies in is served, or for a
// folder in itself.
func (g *Gate) folderOf(n name, folder bool) error {
	within := g.folders[n.area]
	if within == nil {
		return nil
	}
	if folder {
		return within.fault(n.rel)
	}
	return within.fault(parentOf(n.rel))
}

// readAt serves a large file and hashes it while it is read in order. The caller
// does not ask for more than there was when it was opened: what was added since
// is not content that anybody recorded.
func (s *source) readAt(p []byte, off int64) (int, Errno) {
	n, err := s.file.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, errnoOf(err)
	}
	if off == s.hashed {
		s.sum.Write(p[:n])
		s.hashed += int64(n)
	}
	return n, Success
}

// settle takes the digest of a large file, from the same descriptor, records it
// for each open, and closes it.
func (g *Gate) settle(s *source) {
	defer s.file.Close()
	// A file that grows all the time must not be hashed for ever.
	rest, err := io.Copy(s.sum, cancellable{g.ctx, io.NewSectionReader(s.file, s.hashed, s.info.Size-s.hashed)})
	if err != nil {
		if g.ctx.Err() != nil {
			return // the turn is over: its evidence says that the digest is not known
		}
		hostFailure("hash "+s.read.name.ledger, err)
	}
	s.hashed += rest
	info, err := s.file.Stat()
	if err != nil {
		hostFailure("examine "+s.read.name.ledger, err)
	}
	if !s.info.Same(info) {
		g.changed(s.read.name.ledger, "it was changed while it was read")
	}
	var sum ledger.Hash
	s.sum.Sum(sum[:0])
	g.sawDigest(s.read, sum)
	for _, of := range s.ops {
		g.appendFinal(&record.Digest{Of: of, SHA256: sum, Size: s.hashed})
	}
}
