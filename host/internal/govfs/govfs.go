// Package govfs is the WASI door: the file system that a guest sees as /. It
// translates wazero's calls for the gate and the gate's answers for wazero, and
// decides nothing.
package govfs

import (
	"io/fs"
	"strings"

	expsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"

	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/internal/hostcall"
	"github.com/agenthost/agenthost/host/record"
)

// An FS is the root file system of one turn. Like its gate it is not safe for
// concurrent use. wazero compares file systems by identity, so there is one
// pointer per turn and it is mounted once.
type FS struct {
	expsys.UnimplementedFS
	gate  *gate.Gate
	calls *hostcall.Dispatcher // serves the device file
	asOf  int64                // nanoseconds since the epoch: the time of every file
}

// New returns the file system that asks g.
func New(g *gate.Gate, calls *hostcall.Dispatcher, asOf int64) *FS {
	return &FS{gate: g, calls: calls, asOf: asOf}
}

// toErrno maps the gate's errnos to wazero's.
var toErrno = [...]expsys.Errno{
	gate.Success: 0, gate.Acces: expsys.EACCES, gate.BadF: expsys.EBADF, gate.Exist: expsys.EEXIST,
	gate.Inval: expsys.EINVAL, gate.IO: expsys.EIO, gate.IsDir: expsys.EISDIR, gate.NameTooLong: expsys.ENAMETOOLONG,
	gate.NoEnt: expsys.ENOENT, gate.NotDir: expsys.ENOTDIR, gate.NotEmpty: expsys.ENOTEMPTY, gate.NotSup: expsys.ENOTSUP,
	gate.Perm: expsys.EPERM, gate.ROFS: expsys.EROFS,
}

// flagsOf maps what wazero makes of WASI's open flags. O_NOFOLLOW means
// nothing here: links are never followed.
func flagsOf(f expsys.Oflag) gate.Flags {
	flags := gate.Read
	switch f & (expsys.O_RDONLY | expsys.O_RDWR | expsys.O_WRONLY) {
	case expsys.O_RDWR:
		flags = gate.Read | gate.Write
	case expsys.O_WRONLY:
		flags = gate.Write
	}
	for _, m := range [...]struct {
		from expsys.Oflag
		to   gate.Flags
	}{
		{expsys.O_CREAT, gate.Create},
		{expsys.O_EXCL, gate.Excl},
		{expsys.O_TRUNC, gate.Trunc},
		{expsys.O_APPEND, gate.Append},
		{expsys.O_DIRECTORY, gate.Directory},
	} {
		if f&m.from != 0 {
			flags |= m.to
		}
	}
	return flags
}

// OpenFile implements [expsys.FS].
func (f *FS) OpenFile(path string, flag expsys.Oflag, _ fs.FileMode) (expsys.File, expsys.Errno) {
	opened, errno := f.gate.Open(gate.WASI, path, flagsOf(flag))
	if errno != gate.Success {
		return nil, toErrno[errno]
	}
	switch {
	case opened.IsFolder():
		return &folder{fs: f, file: opened}, 0
	case opened.IsDevice():
		return &device{fs: f, file: opened, talk: f.calls.Talk()}, 0
	}
	return &file{fs: f, file: opened, appends: flag&expsys.O_APPEND != 0}, 0
}

// Stat implements [expsys.FS].
func (f *FS) Stat(path string) (sys.Stat_t, expsys.Errno) {
	info, errno := f.gate.Stat(gate.WASI, path)
	return f.stat(info), toErrno[errno]
}

// Lstat is Stat: no name the guest sees is a link.
func (f *FS) Lstat(path string) (sys.Stat_t, expsys.Errno) { return f.Stat(path) }

// stat dresses what the gate tells as WASI has it. Times are the turn's, so
// that a turn sees the same wherever it runs.
func (f *FS) stat(info gate.Info) sys.Stat_t {
	mode := fs.FileMode(0o644)
	switch {
	case info.Folder:
		mode = fs.ModeDir | 0o755
	case info.Device:
		mode = deviceMode | 0o666
	}
	return sys.Stat_t{Dev: 1, Ino: info.Serial, Mode: mode, Nlink: 1, Size: info.Size, Atim: f.asOf, Mtim: f.asOf, Ctim: f.asOf}
}

// Mkdir implements [expsys.FS].
func (f *FS) Mkdir(path string, _ fs.FileMode) expsys.Errno {
	return toErrno[f.gate.Mkdir(gate.WASI, path)]
}

// Rename implements [expsys.FS].
func (f *FS) Rename(from, to string) expsys.Errno {
	return toErrno[f.gate.Rename(gate.WASI, from, to)]
}

// Rmdir implements [expsys.FS].
func (f *FS) Rmdir(path string) expsys.Errno { return toErrno[f.gate.Remove(gate.WASI, path, true)] }

// Unlink implements [expsys.FS].
func (f *FS) Unlink(path string) expsys.Errno { return toErrno[f.gate.Remove(gate.WASI, path, false)] }

// Utimens implements [expsys.FS].
func (f *FS) Utimens(path string, _, _ int64) expsys.Errno {
	return toErrno[f.gate.SetTimes(gate.WASI, path)]
}

// Link implements [expsys.FS]: links are refused.
func (f *FS) Link(oldPath, newPath string) expsys.Errno {
	return toErrno[f.gate.Link(gate.WASI, record.OpLink, newPath, oldPath)]
}

// Symlink implements [expsys.FS]: links are refused. wazero's target aliases the
// guest's memory, which the ledger must not.
func (f *FS) Symlink(target, name string) expsys.Errno {
	return toErrno[f.gate.Link(gate.WASI, record.OpSymlink, name, strings.Clone(target))]
}

// Readlink implements [expsys.FS]: links are not read.
func (f *FS) Readlink(path string) (string, expsys.Errno) {
	return "", toErrno[f.gate.Link(gate.WASI, record.OpReadlink, path, "")]
}
