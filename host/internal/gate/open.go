package gate

import (
	"strings"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Flags say how a file is opened.
type Flags uint16

// The flags. Read and Write say what the descriptor may do; the others are
// those of open(2).
const (
	Read Flags = 1 << iota
	Write
	Create
	Excl
	Trunc
	Append
	Directory
)

var flagNames = []struct {
	flag Flags
	name string
}{
	{Read, "read"}, {Write, "write"}, {Create, "create"}, {Excl, "excl"}, {Trunc, "trunc"}, {Append, "append"}, {Directory, "directory"},
}

// String returns the flags as ledgers spell them, such as "write,create".
func (f Flags) String() string {
	var set []string
	for _, n := range flagNames {
		if f&n.flag != 0 {
			set = append(set, n.name)
		}
	}
	return strings.Join(set, ",")
}

func (f Flags) writes() bool { return f&(Write|Create|Trunc|Append) != 0 }

// Open opens p. A read-only open of a folder is a listing.
func (g *Gate) Open(via Via, p string, flags Flags) (*File, Errno) {
	return g.open(record.Op{Op: record.OpOpen, Via: string(via), Flags: flags.String()}, p, flags)
}

// open opens p for an operation that stands in the ledger as op.
func (g *Gate) open(op record.Op, p string, flags Flags) (*File, Errno) {
	g.checkContext()
	if g.asked == nil && len(g.files) >= g.cfg.Ceiling.OpenFiles {
		panic(&Limit{Name: record.LimitOpenFiles, Max: int64(g.cfg.Ceiling.OpenFiles)})
	}
	n := g.resolve(p)
	n.folder = n.folder || flags&Directory != 0
	op.Path = n.ledger
	switch {
	case n.area == device:
		return g.openDevice(op, n, flags)
	case flags.writes():
		return g.openWrite(op, n, flags)
	case n.folder || n.rel == "." || n.area == virtual:
		return g.openFolder(op, n)
	}
	v := g.judgeRead(n)
	if v.permitted() {
		op.Decision = v.decision
		return g.openRead(op, n)
	}
	// What a name that may not be seen holds must not show: only then is it
	// looked at.
	if g.visible(n) {
		switch {
		case g.asked == nil:
		case op.Op == record.OpOpen: // it may be a folder
			return g.openFolder(op, n)
		default:
			return nil, g.hiddenOpen(op, v.v)
		}
		if info, _, errno := g.examine(n); errno == Success && info.Folder {
			return g.openFolder(op, n)
		}
	}
	return nil, g.hiddenOpen(op, v.v)
}

// A File is an open descriptor of a guest. Offsets are the door's business.
type File struct {
	g    *Gate
	name name
	can  Flags

	device bool
	folder bool
	listed bool
	names  []Info // of a folder, once it was listed
	weight int64  // bytes they take

	small  bool
	data   []byte       // of a small file
	source *source      // of a large one
	node   *node        // of a staged one
	disk   stagedFile   // its descriptor
	pkg    librarySlice // of a file of a package
	digest *ledger.Hash // of all of it, where that was taken when it was opened
	whole  int64        // bytes of what digest is of
	closed bool
}

func (g *Gate) newFile(n name, can Flags, f *File) *File {
	g.files[f] = struct{}{}
	f.g, f.name, f.can = g, n, can
	if f.source != nil {
		f.source.users++
	}
	if f.node != nil {
		f.node.users++
	}
	return f
}

// IsFolder reports whether f is a folder.
func (f *File) IsFolder() bool { return f.folder }

// IsDevice reports whether f is the device file of the guest contract: what is
// written to it and read from it is the door's business.
func (f *File) IsDevice() bool { return f.device }

// List returns what a folder holds, sorted by bytes: the visible and the staged
// names. It is read once, when it is first asked for.
func (f *File) List() ([]Info, Errno) {
	switch {
	case f.closed:
		return nil, BadF
	case !f.folder:
		return nil, NotDir
	case f.listed:
		return f.names, Success
	}
	f.g.checkContext()
	names, errno := f.g.list(f.name)
	if errno != Success {
		return nil, errno
	}
	f.weight = f.g.hold(names)
	f.names, f.listed = names, true
	return names, Success
}

// Info says what f is now.
func (f *File) Info() (Info, Errno) {
	if f.closed {
		return Info{}, BadF
	}
	n := f.name
	if f.node != nil {
		n = f.node.name // it may have been renamed
	}
	return infoOf(n.ledger, f.folder, f.size()), Success
}

func (f *File) size() int64 {
	switch {
	case f.small:
		return int64(len(f.data))
	case f.source != nil:
		return f.source.info.Size
	case f.node != nil:
		return f.node.size
	case f.pkg != nil:
		return f.pkg.Size()
	}
	return f.whole
}

// ReadAt reads from off. At the end of the file it reads nothing and succeeds.
func (f *File) ReadAt(p []byte, off int64) (int, Errno) {
	if errno := f.usable(Read); errno != Success {
		return 0, errno
	}
	if off < 0 {
		return 0, Inval
	}
	f.g.checkContext()
	rest := f.size() - off
	if rest <= 0 {
		return 0, Success
	}
	p = p[:min(int64(len(p)), rest)]
	f.g.cfg.Charge(int64(len(p)))
	switch {
	case f.small:
		return copy(p, f.data[off:]), Success
	case f.source != nil:
		return f.source.readAt(p, off)
	case f.pkg != nil:
		return readFull(f.pkg, p, off)
	}
	return readFull(f.disk, p, off)
}

// usable says why f cannot be used for what is asked.
func (f *File) usable(need Flags) Errno {
	switch {
	case f.closed:
		return BadF
	case f.folder:
		return IsDir
	case f.can&need == 0:
		return BadF
	}
	return Success
}

// Close releases the descriptor. Closing twice is not an error.
func (f *File) Close() {
	if f.closed {
		return
	}
	f.closed = true
	delete(f.g.files, f)
	if f.small {
		f.g.copied -= int64(len(f.data))
		if cap(f.data) <= maxSpare {
			f.g.spare = f.data
		}
		f.data = nil
	}
	f.g.copied -= f.weight
	f.names, f.weight = nil, 0
	if f.disk != nil {
		f.disk.Close()
	}
	if f.node != nil {
		f.g.leave(f.node)
	}
	if f.source != nil {
		f.g.release(f.source)
	}
}
