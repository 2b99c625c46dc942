package hostkey

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
)

// A folder is the folder of the key, held open. It was the user's alone when it
// was opened.
type folder struct {
	path string
	dir  *beneath.Dir
}

// openFolder opens the folder. Where there is none the error wraps
// [fs.ErrNotExist]; else it is an *[Error].
func openFolder(path string) (folder, error) {
	// A link to a folder would be followed. What matters is who the folder that was
	// opened belongs to; that no link led there only keeps it where it says.
	found, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return folder{}, fmt.Errorf("there is no folder %s: %w", path, fs.ErrNotExist)
	case err == nil && found.Mode()&fs.ModeSymlink != 0:
		return folder{}, &Error{
			What: fmt.Sprintf("%s, the folder of the host key, is a symbolic link", path),
			Hint: "name the folder it leads to with " + Variable,
		}
	case err == nil && !found.IsDir():
		return folder{}, &Error{
			What: fmt.Sprintf("%s, which is to be the folder of the host key, is %s", path, beneath.KindOf(found.Mode())),
			Hint: "move it away, or name another folder with " + Variable,
		}
	}
	var dir *beneath.Dir
	if err == nil {
		dir, err = beneath.Open(path)
	}
	if err != nil {
		return folder{}, readError(path, err)
	}
	info, err := dir.Stat(".")
	if err == nil {
		err = alone(info, path, "the folder of the host key", "take that right away with chmod 700")
	} else {
		err = readError(path, err)
	}
	if err != nil {
		dir.Close() // it was only looked at
		return folder{}, err
	}
	return folder{path, dir}, nil
}

func (f folder) close() { f.dir.Close() } // it was only read

// place is the path of a file in the folder.
func (f folder) place(name string) string { return filepath.Join(f.path, name) }

// readError says that something could not be looked at.
func readError(path string, err error) error {
	return &Error{
		What: fmt.Sprintf("%s cannot be read: %v", path, unnamed(err)),
		Hint: "it must belong to you and be readable, or name another folder with " + Variable,
		Err:  err,
	}
}

// alone refuses what is not this user's, or not for this user alone; close says how
// the latter is mended.
func alone(info beneath.Info, path, what, close string) error {
	if uid := os.Geteuid(); int64(info.UID) != int64(uid) {
		return &Error{
			What: fmt.Sprintf("%s, %s, belongs to user %d, not to user %d who runs agenthost", path, what, info.UID, uid),
			Hint: fmt.Sprintf("run agenthost as user %d, or name a folder of your own with %s", info.UID, Variable),
		}
	}
	if info.Mode.Perm()&0o077 != 0 {
		return &Error{
			What: fmt.Sprintf("%s, %s, is open to others (mode %04o)", path, what, info.Mode.Perm()),
			Hint: close,
		}
	}
	return nil
}

// read reads a file of the user's alone with at most limit bytes. Where there is
// none the error wraps [fs.ErrNotExist]; else it is an *[Error].
func (f folder) read(name string, limit int64) ([]byte, error) {
	path := f.place(name)
	file, err := f.dir.OpenFile(name, os.O_RDONLY, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s: %w", path, fs.ErrNotExist)
	case errors.Is(err, beneath.ErrLink):
		return nil, &Error{What: path + " is a symbolic link", Hint: "put the file itself in its place", Err: err}
	case err != nil:
		return nil, readError(path, err)
	}
	defer file.Close()
	info, err := beneath.StatFile(file)
	if err == nil && info.Mode.IsRegular() && info.Nlink > 1 && name == keyFile {
		if err := f.settle(); err != nil {
			return nil, readError(path, err)
		}
		info, err = beneath.StatFile(file)
	}
	switch {
	case err != nil:
		return nil, readError(path, err)
	case !info.Mode.IsRegular():
		return nil, &Error{What: fmt.Sprintf("%s is %s, not a file", path, beneath.KindOf(info.Mode)), Hint: "move it away"}
	case info.Nlink > 1:
		return nil, &Error{
			What: fmt.Sprintf("%s has %d names (hard links), and who reads another one reads it", path, info.Nlink),
			Hint: fmt.Sprintf("find -inum %d finds them; remove the others", info.Ino),
		}
	}
	what, close := "the host key", "take that right away with chmod 600; if somebody may have read the key, move it away instead, and another is made"
	if name == hostFile {
		what, close = "the list of trusted hosts", "take that right away with chmod 600; if somebody may have written to it, look through what agenthost ledger trust lists"
	}
	if err := alone(info, path, what, close); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, readError(path, err)
	}
	if int64(len(data)) > limit {
		return nil, &Error{What: fmt.Sprintf("%s has more than the %d bytes %s can have", path, limit, what), Hint: "put the file that belongs there in its place"}
	}
	return data, nil
}

// settle makes durable that the key has its name, then removes under which other
// names it, and keys that nobody will use, were made: once one key has the name
// they are of no use to anybody. As long as a key has another name beside its own
// nobody has come so far.
func (f folder) settle() error {
	if err := f.dir.Sync(); err != nil {
		return err
	}
	entries, err := f.dir.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name, durable.Temp(keyFile)+"-") {
			if err := durable.Remove(f.dir, e.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// unnamed is an error without the name of the file, which the message has already
// or which was never to be seen.
func unnamed(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// makeFolder makes the folder, and those it is in, where they are missing, and
// makes their names durable.
func makeFolder(path string) error {
	top := filepath.Dir(path)
	for filepath.Dir(top) != top {
		if _, err := os.Stat(top); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		top = filepath.Dir(top)
	}
	missing, err := filepath.Rel(top, path)
	if err != nil {
		return err
	}
	dir, err := beneath.Open(top)
	if errors.Is(err, fs.ErrPermission) {
		if _, exists := os.Stat(path); exists == nil {
			return nil // somebody prepared it in a folder that only its owner reads
		}
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := durable.MakeAll(dir, filepath.ToSlash(missing), 0o700); err != nil {
		return err
	}
	return dir.Sync() // another process may have made it a moment ago
}
