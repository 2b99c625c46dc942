package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A newFile is one that a flag names for what is kept elsewhere: a checkpoint, a
// proof, a line. It is opened before anything runs, so that a name that cannot be
// written stops the command, and gets its name when there is something to write. A
// nil one does nothing.
type newFile struct {
	flag, name string
	hint       string // what to do if it cannot be written
	file       *os.File
}

func openNew(flag, name, hint string) (*newFile, error) {
	if name == "" {
		return nil, nil
	}
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, usageError(fmt.Sprintf("%s %s: there is something that is no regular file", flag, name), "name another file")
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return nil, usageError(fmt.Sprintf("%s %s: %v", flag, name, cause(err)), "name a file in a folder that is there and can be written to")
	}
	return &newFile{flag, name, hint, f}, nil
}

// write gives the file its content and its name.
func (f *newFile) write(text []byte) error {
	if f == nil {
		return nil
	}
	_, err := f.file.Write(text)
	if err == nil {
		err = f.file.Chmod(0o644)
	}
	if err == nil {
		err = f.file.Sync()
	}
	if closed := f.file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.file.Name(), f.name)
	}
	if err != nil {
		return &failure{message: fmt.Sprintf("%s %s: %v", f.flag, f.name, cause(err)), hint: f.hint, code: exitHost, err: err}
	}
	f.file = nil
	return nil
}

// cause is why a file could not be written, without the name it had for a while.
func cause(err error) error {
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// drop removes the file if nothing was written.
func (f *newFile) drop() {
	if f != nil && f.file != nil {
		// It is of no use; that it is gone is not worth an error.
		_ = errors.Join(f.file.Close(), os.Remove(f.file.Name()))
	}
}
