package plane

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/ledger"
)

// isPlain reports whether there is a file of that name. A link, a folder and
// anything else that is no regular file is an error.
func isPlain(dir *beneath.Dir, name string) (bool, error) {
	info, err := dir.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode.IsRegular():
		return false, &ledger.IntegrityError{File: name, Reason: "it is not a regular file"}
	}
	return true, nil
}

// lockFolder waits for the lock under which the files of a folder are changed. It
// ends when the file that is returned is closed.
func lockFolder(ctx context.Context, dir *beneath.Dir, name string) (*os.File, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if err := beneath.Lock(ctx, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// badEntry says that an entry that verifies cannot be where it is.
func badEntry(file string, e ledger.Entry, err error) error {
	return &ledger.IntegrityError{File: file, Line: int(e.Seq) + 1, Seq: e.Seq, Offset: e.Offset, Reason: err.Error()} //nolint:gosec // a line number
}
