//go:build linux || darwin

package beneath

import (
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A Handle is a file open for reading and nothing more: the descriptor, without
// what package os keeps beside it. It is for files that are opened, read and
// closed at once, where package os would take twice the system calls. It is for
// one goroutine, nothing closes it but Close, and after that every call fails.
type Handle struct{ fd int }

// OpenRead opens name for reading, as [Dir.OpenFile] does.
func (d *Dir) OpenRead(name string) (*Handle, error) {
	fd, err := d.resolve(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, fail("open", name, err)
	}
	return &Handle{fd}, nil
}

// Stat describes the file.
func (h *Handle) Stat() (Info, error) {
	var st unix.Stat_t
	if err := h.do(func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return Info{}, fail("stat", "an open file", err)
	}
	return infoOf(&st), nil
}

// Storage is [Storage] of the file.
func (h *Handle) Storage() error {
	var st unix.Statfs_t
	if err := h.do(func(fd int) error { return unix.Fstatfs(fd, &st) }); err != nil {
		return fail("statfs", "an open file", err)
	}
	return judge(&st)
}

// Read implements [io.Reader].
func (h *Handle) Read(p []byte) (n int, err error) {
	err = h.do(func(fd int) (err error) {
		n, err = unix.Read(fd, p)
		return err
	})
	switch {
	case err != nil:
		return 0, fail("read", "an open file", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// ReadAt implements [io.ReaderAt].
func (h *Handle) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		var m int
		err := h.do(func(fd int) (err error) {
			m, err = unix.Pread(fd, p[n:], off+int64(n))
			return err
		})
		if err != nil {
			return n, fail("read", "an open file", err)
		}
		if m <= 0 {
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

// do calls f with the descriptor, which is never one that was closed: by then it
// could be another file's.
func (h *Handle) do(f func(fd int) error) error {
	if h.fd < 0 {
		return fs.ErrClosed
	}
	return retry(func() error { return f(h.fd) })
}

// File hands the descriptor over to a file of that name: for the Handle that is
// as if it were closed. It is nil if it was.
func (h *Handle) File(name string) *os.File {
	fd := h.fd
	h.fd = -1
	if fd < 0 {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

// Close closes the file.
func (h *Handle) Close() error {
	fd := h.fd
	h.fd = -1
	err := error(fs.ErrClosed)
	if fd >= 0 {
		err = unix.Close(fd) // not again after EINTR: it is closed
	}
	if err != nil {
		return fail("close", "an open file", err)
	}
	return nil
}

// StatEach calls found for each name with what [Dir.Stat] says of it. Of names
// that follow one another in one folder, that folder is opened once: what each
// was is told as of then or later.
func (d *Dir) StatEach(names []string, found func(i int, info Info, err error)) {
	d.each(names, func(i, fd int, base string, err error) {
		var st unix.Stat_t
		if err == nil {
			err = retry(func() error { return unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW) })
		}
		if err != nil {
			found(i, Info{}, fail("stat", names[i], err))
			return
		}
		found(i, infoOf(&st), nil)
	})
}

// MountEach is StatEach with what [Dir.Mount] says, too.
func (d *Dir) MountEach(names []string, found func(i int, info Info, mount uint64, err error)) {
	d.each(names, func(i, fd int, base string, err error) {
		var info Info
		var mount uint64
		if err == nil {
			err = retry(func() (err error) {
				info, mount, err = statMount(fd, base)
				return err
			})
		}
		if err != nil {
			found(i, Info{}, 0, fail("stat", names[i], err))
			return
		}
		found(i, info, mount, nil)
	})
}

// each calls f for each name with its last element and the folder it is in, or
// why that cannot be opened.
func (d *Dir) each(names []string, f func(i, fd int, base string, err error)) {
	in, fd := "", -1
	var at error
	leave := func() {
		if fd >= 0 {
			unix.Close(fd)
			fd = -1
		}
	}
	defer func() { leave() }()
	for i, name := range names {
		folder, base := split(name)
		if err := CheckName(name); err != nil || folder == "." {
			if err == nil {
				err = d.at(name, func(fd int, base string) error {
					f(i, fd, base, nil)
					return nil
				})
			}
			if err != nil {
				f(i, -1, base, err)
			}
			continue
		}
		if folder != in {
			leave()
			in = folder
			fd, at = d.resolve(folder, pathOnly|unix.O_DIRECTORY, 0)
		}
		f(i, fd, base, at)
	}
}
