package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// made are folders that were made, the innermost first.
type made []string

// undo removes them again, where nothing came into them.
func (m made) undo() {
	for _, dir := range m {
		os.Remove(dir)
	}
}

// makeOutput makes the folder of -o, if one is named, before a session exists.
func makeOutput(dir string) (made, error) {
	if dir == "" {
		return nil, nil
	}
	var missing made
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, d)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		missing.undo()
		why := err
		var path *fs.PathError
		if errors.As(err, &path) {
			why = path.Err
		}
		return nil, usageError(fmt.Sprintf("-o %s: %v", dir, why), "name a folder that can be made or written with -o DIR")
	}
	return missing, nil
}

// copyOutput copies what was published under out/ into a folder of the user's.
// Names come from the agent, and a name alone can make a file mean something to
// other programs: they are made beneath the folder, through no link, in place of
// nothing that is there, and none is hidden. The error tells each file that was
// not copied and where it is; all others were.
func copyOutput(root *session.Root, r *host.Result, dir string) error {
	top := filepath.Join(forPeople(root.Path()), "output", r.Session)
	hint := "the turn is committed: its files are in " + top
	from, err := os.OpenRoot(root.Path())
	if err != nil {
		return &failure{message: "-o: " + err.Error(), hint: hint, code: exitHost, err: err}
	}
	defer from.Close()
	to, err := os.OpenRoot(dir)
	if err != nil {
		return &failure{message: "-o: " + err.Error(), hint: hint, code: exitHost, err: err}
	}
	defer to.Close()
	var left []*failure
	for _, f := range r.Published {
		name, mine := strings.CutPrefix(f.Path, "output/"+r.Session+"/")
		if !mine {
			continue
		}
		if err := copyFile(from, f, to, name); err != nil {
			left = append(left, &failure{message: fmt.Sprintf("out/%s was not copied and is %s: %v", name, filepath.Join(top, filepath.FromSlash(name)), err)})
		}
	}
	if left == nil {
		return nil
	}
	were := "were"
	if len(left) == 1 {
		were = "was"
	}
	return &failure{message: fmt.Sprintf("-o: %s %s not copied to %s", count(len(left), "file"), were, dir), hint: hint, code: exitHost, also: left}
}

// copyFile copies a published file to a new one, and leaves one that has the
// same content as it is.
func copyFile(from *os.Root, f record.Publication, to *os.Root, name string) error {
	for segment := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(segment, ".") {
			return errors.New("a name that begins with a dot is not made there")
		}
	}
	for {
		folder, rest, within := strings.Cut(name, "/")
		if !within {
			break
		}
		sub, err := folderIn(to, folder)
		if err != nil {
			return err
		}
		defer sub.Close()
		to, name = sub, rest
	}
	src, err := from.Open(filepath.FromSlash(f.Path))
	if err != nil {
		return err
	}
	defer src.Close()
	mode := fs.FileMode(0o644)
	if f.Executable {
		mode = 0o755
	}
	dst, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return sameFile(to, name, f)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err := errors.Join(err, dst.Close()); err != nil {
		return errors.Join(err, to.Remove(name))
	}
	return nil
}

// folderIn opens a folder of dir, which it makes if there is none. It follows no
// link, not even one that stays in dir.
func folderIn(dir *os.Root, name string) (*os.Root, error) {
	if err := dir.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	info, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder there", name)
	}
	sub, err := dir.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := sub.Stat(".")
	if err == nil && !os.SameFile(info, opened) { // a link since
		err = fmt.Errorf("%s is no folder there", name)
	}
	if err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return sub, nil
}

// sameFile returns an error unless what has that name is a file with the content
// of f.
func sameFile(dir *os.Root, name string, f record.Publication) error {
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("something else has that name there")
	}
	other := errors.New("another file has that name there")
	if info.Size() != f.Size {
		return other
	}
	file, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return err
	}
	if ledger.Hash(sum.Sum(nil)) != f.SHA256 {
		return other
	}
	return nil
}
