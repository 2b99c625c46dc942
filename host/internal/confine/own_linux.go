package confine

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// own is the file that runs, under a name by which it can be bound.
type own struct {
	path          string
	device, inode uint64
	folder        string // of the copy, "" where it is the file itself
}

// findOwn finds it by its name. That may be gone or another file's, as after an
// upgrade in place, or out of this user's reach, as when the process was started
// as another: then it is a copy, which close removes. Only the canary
// needs this: a fence is put up by [thisProgram], whatever its name.
func findOwn() (*own, error) {
	var runs unix.Stat_t
	if err := unix.Stat(thisProgram, &runs); err != nil {
		return nil, err
	}
	var named unix.Stat_t
	if name, err := os.Readlink(thisProgram); err == nil && unix.Stat(name, &named) == nil && named.Dev == runs.Dev && named.Ino == runs.Ino {
		return &own{path: name, device: runs.Dev, inode: runs.Ino}, nil
	}
	folder, err := os.MkdirTemp("", "agenthost-")
	if err != nil {
		return nil, err
	}
	o := &own{folder: folder}
	if o.path, err = filepath.EvalSymlinks(folder); err == nil {
		o.path = filepath.Join(o.path, "program")
		err = copyOwn(o.path)
	}
	if err == nil {
		err = unix.Stat(o.path, &runs)
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	o.device, o.inode = runs.Dev, runs.Ino
	return o, nil
}

func copyOwn(to string) error {
	from, err := os.Open(thisProgram)
	if err != nil {
		return err
	}
	defer from.Close()
	// A child started meanwhile would have the copy open for writing until it
	// executes something, and the kernel starts no file that is.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o500)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

func (o *own) close() error {
	if o.folder == "" {
		return nil
	}
	return os.RemoveAll(o.folder)
}
