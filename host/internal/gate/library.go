package gate

import (
	"bytes"
	"errors"
	"io"
	"io/fs"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// librarySlice is the content of a file of a package.
type librarySlice interface {
	io.ReaderAt
	Size() int64
}

func (g *Gate) examineLibrary(n name) (Info, string, Errno) {
	info, err := n.pkg.Stat(n.rel)
	if err != nil {
		return Info{}, "", NoEnt
	}
	return infoOf(n.ledger, info.Folder, info.Size), "", Success
}

// openLibrary opens a file of the package or of one it depends on. Its digest
// is the manifest's, which was checked when the package was read.
func (g *Gate) openLibrary(op record.Op, n name) (*File, Errno) {
	op.Decision = record.InPkg
	info, err := n.pkg.Stat(n.rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, g.answer(op, NoEnt)
	case err != nil:
		hostFailure("read "+n.ledger, err)
	case info.Folder:
		return g.openFolder(op, n)
	}
	content, err := n.pkg.Open(n.rel)
	if err != nil {
		hostFailure("read "+n.ledger, err)
	}
	sum := info.SHA256
	op.Size, op.SHA256, op.Errno = &info.Size, &sum, Success.String()
	g.record(&op)
	return g.newFile(n, Read, &File{pkg: content, digest: &sum}), Success
}

// openRights opens the turn's rights as a file.
func (g *Gate) openRights(op record.Op, n name) (*File, Errno) {
	if n.folder {
		return nil, g.answer(op, NotDir)
	}
	sum, size := ledger.Sum(g.cfg.Rights), int64(len(g.cfg.Rights))
	op.Size, op.SHA256, op.Errno = &size, &sum, Success.String()
	g.record(&op)
	return g.newFile(n, Read, &File{pkg: bytes.NewReader(g.cfg.Rights), digest: &sum}), Success
}

// openDevice opens the device file, whatever it is opened for: what is asked of
// the host through it is judged, and recorded, as it is asked.
func (g *Gate) openDevice(op record.Op, n name, flags Flags) (*File, Errno) {
	op.Decision = record.InPkg
	switch {
	case n.folder:
		return nil, g.answer(op, NotDir)
	case op.Op != record.OpOpen: // a message is no file's content
		return nil, g.answer(op, BadF)
	case flags&Create != 0 && flags&Excl != 0:
		return nil, g.answer(op, Exist)
	}
	g.answer(op, Success)
	return g.newFile(n, 0, &File{device: true}), Success
}
