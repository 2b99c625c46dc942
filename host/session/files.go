package session

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
)

// errNotPlain says that a name is not a regular file of the size expected.
var errNotPlain = errors.New("not a regular file of the expected size")

// readFile reads a regular file of at most limit bytes.
func readFile(dir *beneath.Dir, name string, limit int64) ([]byte, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, beneath.ErrLink) {
		return nil, fmt.Errorf("%s: %w", name, errNotPlain)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := beneath.StatFile(f); err != nil || !info.Mode.IsRegular() || info.Size > limit {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, errNotPlain), err)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// makeAll makes a folder and those it is in, and makes their names durable.
func makeAll(dir *beneath.Dir, name string, perm fs.FileMode) error {
	made, err := dir.MkdirAll(name, perm)
	if err != nil {
		return err
	}
	for _, m := range made {
		if err := syncFolder(dir, parentOf(m)); err != nil {
			return err
		}
	}
	return nil
}

func parentOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return "."
}

func baseOf(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// syncFolder makes the names in a folder durable.
func syncFolder(dir *beneath.Dir, name string) error {
	d, err := dir.Sub(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// put makes a durable file of that content in one step, if there is none.
func put(dir *beneath.Dir, name string, content []byte) error {
	if _, err := dir.Stat(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return replace(dir, name, content)
}

// replace makes a durable file of that content in one step.
func replace(dir *beneath.Dir, name string, content []byte) error {
	folder := parentOf(name)
	temp := newPrefix + baseOf(name)
	if folder != "." {
		temp = folder + "/" + temp
	}
	f, err := dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = beneath.Rename(dir, temp, dir, name)
	}
	if err != nil {
		return errors.Join(err, dir.Remove(temp))
	}
	return syncFolder(dir, folder)
}
