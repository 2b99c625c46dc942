package cache

import (
	"errors"
	"io"
	"os"
)

// errNotFile is why something in the cache is not read: nothing that was stored
// is anything but a file.
var errNotFile = errors.New("it is not a regular file")

// OpenEntry opens a file that was stored. What else may lie there under its name
// is not opened: a link would lead out of the folder, and a FIFO would make its
// reader wait for ever.
func OpenEntry(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: errNotFile}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadEntry is all of what [OpenEntry] opens.
func ReadEntry(path string) ([]byte, error) {
	f, err := OpenEntry(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// IsForeign reports whether an error of [OpenEntry] says that something else lies where
// a file was stored.
func IsForeign(err error) bool { return errors.Is(err, errNotFile) || errors.Is(err, errLink) }
