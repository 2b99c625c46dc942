package govfs

import (
	"io"
	"io/fs"

	expsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"

	"github.com/agenthost/agenthost/host/internal/gate"
)

// A file is a descriptor of a regular file: it keeps the offset that the gate's
// files do not have.
type file struct {
	expsys.UnimplementedFile
	fs      *FS
	file    *gate.File
	offset  int64
	appends bool
}

// Dev implements [expsys.File].
func (f *file) Dev() (uint64, expsys.Errno) { return 1, 0 }

// Ino implements [expsys.File].
func (f *file) Ino() (sys.Inode, expsys.Errno) {
	info, errno := f.file.Info()
	return info.Serial, toErrno[errno]
}

// IsDir implements [expsys.File].
func (f *file) IsDir() (bool, expsys.Errno) { return false, 0 }

// IsAppend implements [expsys.File].
func (f *file) IsAppend() bool { return f.appends }

// SetAppend implements [expsys.File].
func (f *file) SetAppend(enable bool) expsys.Errno {
	f.appends = enable
	return 0
}

// Stat implements [expsys.File].
func (f *file) Stat() (sys.Stat_t, expsys.Errno) {
	info, errno := f.file.Info()
	return f.fs.stat(info), toErrno[errno]
}

// Read implements [expsys.File].
func (f *file) Read(buf []byte) (int, expsys.Errno) {
	n, errno := f.file.ReadAt(buf, f.offset)
	f.offset += int64(n)
	return n, toErrno[errno]
}

// Pread implements [expsys.File].
func (f *file) Pread(buf []byte, off int64) (int, expsys.Errno) {
	n, errno := f.file.ReadAt(buf, off)
	return n, toErrno[errno]
}

// Write implements [expsys.File].
func (f *file) Write(buf []byte) (int, expsys.Errno) {
	if f.appends {
		info, errno := f.file.Info()
		if errno != gate.Success {
			return 0, toErrno[errno]
		}
		f.offset = info.Size
	}
	n, errno := f.file.WriteAt(buf, f.offset)
	f.offset += int64(n)
	return n, toErrno[errno]
}

// Pwrite implements [expsys.File].
func (f *file) Pwrite(buf []byte, off int64) (int, expsys.Errno) {
	n, errno := f.file.WriteAt(buf, off)
	return n, toErrno[errno]
}

// Seek implements [expsys.File].
func (f *file) Seek(offset int64, whence int) (int64, expsys.Errno) {
	info, errno := f.file.Info()
	if errno != gate.Success {
		return 0, toErrno[errno]
	}
	base := int64(0)
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		base = f.offset
	case io.SeekEnd:
		base = info.Size
	default:
		return 0, expsys.EINVAL
	}
	if to := base + offset; to >= 0 && (offset < 0) == (to < base) {
		f.offset = to
		return to, 0
	}
	return 0, expsys.EINVAL
}

// Truncate implements [expsys.File].
func (f *file) Truncate(size int64) expsys.Errno { return toErrno[f.file.Truncate(size)] }

// Sync implements [expsys.File]. What is staged becomes durable at the commit
// or not at all.
func (f *file) Sync() expsys.Errno { return f.exists() }

// Datasync implements [expsys.File] as Sync does.
func (f *file) Datasync() expsys.Errno { return f.exists() }

func (f *file) exists() expsys.Errno {
	_, errno := f.file.Info()
	return toErrno[errno]
}

// Utimens implements [expsys.File].
func (f *file) Utimens(_, _ int64) expsys.Errno { return toErrno[f.file.SetTimes(gate.WASI)] }

// Close implements [expsys.File].
func (f *file) Close() expsys.Errno {
	f.file.Close()
	return 0
}

// A folder is a descriptor of a folder.
type folder struct {
	expsys.DirFile
	fs   *FS
	file *gate.File
	next int
}

// Dev implements [expsys.File].
func (f *folder) Dev() (uint64, expsys.Errno) { return 1, 0 }

// Ino implements [expsys.File].
func (f *folder) Ino() (sys.Inode, expsys.Errno) {
	info, errno := f.file.Info()
	return info.Serial, toErrno[errno]
}

// IsDir implements [expsys.File]. wazero asks it for every operation relative to
// the folder.
func (f *folder) IsDir() (bool, expsys.Errno) { return true, 0 }

// Stat implements [expsys.File].
func (f *folder) Stat() (sys.Stat_t, expsys.Errno) {
	info, errno := f.file.Info()
	return f.fs.stat(info), toErrno[errno]
}

// Seek implements [expsys.File]: a folder can only be read again from its start.
func (f *folder) Seek(offset int64, whence int) (int64, expsys.Errno) {
	if offset != 0 || whence != io.SeekStart {
		return 0, expsys.EINVAL
	}
	f.next = 0
	return 0, 0
}

// Readdir implements [expsys.File].
func (f *folder) Readdir(n int) ([]expsys.Dirent, expsys.Errno) {
	names, errno := f.file.List()
	if errno != gate.Success {
		return nil, toErrno[errno]
	}
	rest := names[f.next:]
	if n > 0 && len(rest) > n {
		rest = rest[:n]
	}
	f.next += len(rest)
	entries := make([]expsys.Dirent, len(rest))
	for i, info := range rest {
		entries[i] = expsys.Dirent{Name: info.Name, Ino: info.Serial}
		switch {
		case info.Folder:
			entries[i].Type = fs.ModeDir
		case info.Device:
			entries[i].Type = deviceMode
		}
	}
	return entries, 0
}

// Sync implements [expsys.File].
func (f *folder) Sync() expsys.Errno { return 0 }

// Datasync implements [expsys.File].
func (f *folder) Datasync() expsys.Errno { return 0 }

// Utimens implements [expsys.File].
func (f *folder) Utimens(_, _ int64) expsys.Errno { return toErrno[f.file.SetTimes(gate.WASI)] }

// Close implements [expsys.File].
func (f *folder) Close() expsys.Errno {
	f.file.Close()
	return 0
}
