package govfs

import (
	"io"
	"io/fs"

	expsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"

	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/internal/hostcall"
)

// deviceMode is what the device file is: programs flush what they write to such
// a one line by line, and do not ask for its size.
const deviceMode = fs.ModeDevice | fs.ModeCharDevice

// A device is a descriptor of the device file: a conversation, as a file. It has
// no offset but 0, and a reply ends where its file does.
type device struct {
	expsys.UnimplementedFile
	fs   *FS
	file *gate.File
	talk *hostcall.Conversation
}

// Dev implements [expsys.File].
func (d *device) Dev() (uint64, expsys.Errno) { return 1, 0 }

// Ino implements [expsys.File].
func (d *device) Ino() (sys.Inode, expsys.Errno) {
	info, errno := d.file.Info()
	return info.Serial, toErrno[errno]
}

// IsDir implements [expsys.File].
func (d *device) IsDir() (bool, expsys.Errno) { return false, 0 }

// IsAppend implements [expsys.File].
func (d *device) IsAppend() bool { return false }

// SetAppend implements [expsys.File]: what is written comes after what was
// written, either way.
func (d *device) SetAppend(bool) expsys.Errno { return 0 }

// Stat implements [expsys.File].
func (d *device) Stat() (sys.Stat_t, expsys.Errno) {
	info, errno := d.file.Info()
	return d.fs.stat(info), toErrno[errno]
}

// Read implements [expsys.File].
func (d *device) Read(buf []byte) (int, expsys.Errno) {
	n, ok := d.talk.Read(buf)
	if !ok {
		return 0, expsys.EIO
	}
	return n, 0
}

// Write implements [expsys.File]. It takes all of buf or ends the conversation:
// wazero would go on to the next buffer after one that was taken in part.
func (d *device) Write(buf []byte) (int, expsys.Errno) {
	if !d.talk.Write(buf) {
		return 0, expsys.EIO
	}
	return len(buf), 0
}

// Pread implements [expsys.File]: there are no offsets.
func (d *device) Pread([]byte, int64) (int, expsys.Errno) { return 0, expsys.ENOTSUP }

// Pwrite implements [expsys.File]: there are no offsets.
func (d *device) Pwrite([]byte, int64) (int, expsys.Errno) { return 0, expsys.ENOTSUP }

// Seek implements [expsys.File]. It leads to offset 0, wherever from: C and
// others seek between writing and reading.
func (d *device) Seek(offset int64, whence int) (int64, expsys.Errno) {
	if offset != 0 || whence < io.SeekStart || whence > io.SeekEnd {
		return 0, expsys.EINVAL
	}
	return 0, 0
}

// Truncate implements [expsys.File]: there is nothing to cut.
func (d *device) Truncate(int64) expsys.Errno { return expsys.EINVAL }

// Sync implements [expsys.File].
func (d *device) Sync() expsys.Errno { return 0 }

// Datasync implements [expsys.File].
func (d *device) Datasync() expsys.Errno { return 0 }

// Utimens implements [expsys.File].
func (d *device) Utimens(_, _ int64) expsys.Errno { return toErrno[d.file.SetTimes(gate.WASI)] }

// Close implements [expsys.File].
func (d *device) Close() expsys.Errno {
	d.talk.Close()
	d.file.Close()
	return 0
}
