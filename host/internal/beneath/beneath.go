// Package beneath opens, lists and changes files below a folder that is held
// open, and never follows a symbolic link on the way. It is the one door to
// golang.org/x/sys/unix.
//
// It decides nothing about rights, patterns or what a file may be used for; a
// FIFO or a device is opened (without blocking) like any other file, and the
// caller looks at [StatFile] before it reads.
//
// # Names
//
// A name is relative and slash-separated, without empty, "." or ".."
// elements, without NUL, and at most 4,095 bytes long; "." alone is the folder
// itself. Any other name is refused before a system call is made. Bytes that
// are not UTF-8 are passed on as they are.
//
// # Links
//
// On Linux a name is resolved by openat2(2) with RESOLVE_BENEATH,
// RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS; where the kernel or a seccomp
// filter withholds that call, and on darwin, each element is opened by itself
// with O_NOFOLLOW. A link on the way is [ErrLink]. Elsewhere every operation
// answers an error that wraps [errors.ErrUnsupported].
//
// # Errors
//
// Failures are *fs.PathError with the name relative to the folder, never with
// the folder's own place; they wrap one of the sentinels below or the
// operating system's error, so that errors.Is(err, fs.ErrNotExist) holds.
package beneath

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

var (
	// ErrLink says that an element of the name is a symbolic link.
	ErrLink = errors.New("a symbolic link is in the way")
	// ErrEscapes says that the name leads out of the folder.
	ErrEscapes = errors.New("the name leads out of its folder")
	// ErrName says that the name is not in the canonical spelling.
	ErrName = errors.New("not a canonical name")
	// ErrLocked says that another open file holds the lock.
	ErrLocked = errors.New("locked by another process")
)

const (
	// XattrCapability holds the Linux capabilities of a program file.
	XattrCapability = "security.capability"
	// XattrACLAccess holds the access control list of a file.
	XattrACLAccess = "system.posix_acl_access"
	// XattrACLDefault holds the list that files made in a folder inherit.
	XattrACLDefault = "system.posix_acl_default"
)

const (
	maxName    = 4095    // bytes of a name, PATH_MAX without its NUL
	maxEntries = 1 << 20 // names ReadDir holds in memory
	maxRetries = 128     // of a call that was interrupted or lost a race
)

// Info is what the operating system says of a file. A link is described, not
// followed.
type Info struct {
	Mode         fs.FileMode // type, permission, set-uid, set-gid and sticky bits
	Size         int64       // bytes
	Nlink        uint64      // names the file has
	Dev, Ino     uint64      // together the identity of the file
	UID          uint32      // owner
	Mtime, Ctime time.Time   // of the last change of content, and of content or metadata
}

// Same reports whether other describes the same file with, as far as its size
// and times tell, the same content.
func (i Info) Same(other Info) bool {
	return i.Dev == other.Dev && i.Ino == other.Ino && i.Size == other.Size &&
		i.Mtime.Equal(other.Mtime) && i.Ctime.Equal(other.Ctime)
}

// Entry is one name in a folder.
type Entry struct {
	Name string
	Type fs.FileMode // the type bits of the mode
}

// CheckName returns an error that wraps [ErrEscapes] for an absolute name or
// one with a ".." element, [ErrName] for another that is not canonical, and
// nil for a name that can be used. It does not allocate for a good name.
func CheckName(name string) error {
	if name == "." {
		return nil
	}
	if name == "" {
		return ErrName
	}
	if name[0] == '/' {
		return ErrEscapes
	}
	if len(name) > maxName {
		return syscall.ENAMETOOLONG
	}
	var bad error
	for start, i := 0, 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			if name[i] == 0 {
				return ErrName
			}
			continue
		}
		switch name[start:i] {
		case "..":
			return ErrEscapes
		case "", ".":
			bad = ErrName
		}
		start = i + 1
	}
	return bad
}

// split returns the name of the folder an entry is in and its own.
func split(name string) (folder, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return ".", name
}

func fail(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// CopyHash copies src from its beginning into the empty file dst and returns
// the number of bytes and their SHA-256. Where the filesystem can share the
// blocks of two files the copy is a clone, and the clone is what is hashed. It
// ends with an error when there are more than limit bytes or ctx is done.
// Neither file is synced or closed.
func CopyHash(ctx context.Context, dst, src *os.File, limit int64) (int64, [sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	info, err := StatFile(src)
	if err != nil {
		return 0, sum, err
	}
	if info.Size > limit {
		return 0, sum, fail("copy", src.Name(), fmt.Errorf("more than %d bytes", limit))
	}
	from, cloned := src, clone(dst, src)
	if cloned {
		from = dst
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return 0, sum, err
	}
	hash, size, buf := sha256.New(), int64(0), make([]byte, 128<<10)
	for {
		if err := ctx.Err(); err != nil {
			return size, sum, err
		}
		n, err := from.Read(buf)
		if size += int64(n); size > limit {
			return size, sum, fail("copy", src.Name(), fmt.Errorf("more than %d bytes", limit))
		}
		hash.Write(buf[:n])
		if !cloned && n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return size, sum, err
			}
		}
		if err == io.EOF {
			hash.Sum(sum[:0])
			return size, sum, nil
		}
		if err != nil {
			return size, sum, err
		}
	}
}

// Lock takes the exclusive lock of an open file, waiting until it is free or
// ctx is done. It belongs to the open file: it ends when f is closed or the
// process dies, and excludes other open files of this process too.
func Lock(ctx context.Context, f *os.File) error {
	wait := time.Millisecond
	for {
		err := TryLock(f)
		if !errors.Is(err, ErrLocked) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fail("lock", f.Name(), ctx.Err())
		case <-timer.C:
		}
		if wait < 50*time.Millisecond {
			wait *= 2
		}
	}
}

// KindOf says in words what a file is: "a file", "a folder", "a symbolic link".
func KindOf(m fs.FileMode) string {
	switch m.Type() {
	case 0:
		return "a file"
	case fs.ModeDir:
		return "a folder"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a FIFO"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}

// Unique reports whether a mount, as [Dir.Mount] and [Dir.MountEach] name it, can be
// told from all that the machine has had since it was started: on Linux from 6.8 on,
// where such numbers begin above all that are used again (statx(2),
// STATX_MNT_ID_UNIQUE).
func Unique(mount uint64) bool { return mount >= 1<<31 }
