package ledger

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// disk is the file system as this package uses it. There are two: osDisk, and
// one in the tests that fails at a chosen call.
type disk interface {
	openFile(name string, flag int, perm fs.FileMode) (file, error)
	createTemp(dir, pattern string) (file, error)
	mkdir(name string, perm fs.FileMode) error
	rename(from, to string) error
	remove(name string) error
	syncFolder(name string) error // makes new names in the folder durable
}

type file interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
	Chmod(mode fs.FileMode) error
	Fd() uintptr
}

type osDisk struct{}

func (osDisk) openFile(name string, flag int, perm fs.FileMode) (file, error) {
	f, err := os.OpenFile(name, flag|openFlags, perm)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (osDisk) createTemp(dir, pattern string) (file, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osDisk) mkdir(name string, perm fs.FileMode) error { return os.Mkdir(name, perm) }
func (osDisk) rename(from, to string) error              { return os.Rename(from, to) }
func (osDisk) remove(name string) error                  { return os.Remove(name) }

func (osDisk) syncFolder(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
