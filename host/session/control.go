package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
)

// MakeControl makes the folder at path a control plane, and the folder itself if
// it is absent: fill puts into it what it is to hold, then FORMAT is written,
// which makes it one. Before that nothing has happened to it that a second
// MakeControl would not clean up: what fill made is then removed by clean, which
// is called before fill wherever an earlier one was cut short, and after a fill
// that failed. Both run under the lock of the folder: of two at once one finds
// that it is a control plane.
//
// A folder of another user, one that every user can write to, one that is a root
// already or holds something where a control plane keeps its own, and one on a
// filesystem that does not tell names apart by their bytes is refused.
func MakeControl(path string, clean, fill func(dir *beneath.Dir) error) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("root %s: %w", path, err)
	}
	found, err := os.Lstat(path)
	if err == nil && found.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s is a symbolic link; name the folder it points to", path)
	}
	absent := errors.Is(err, fs.ErrNotExist)
	// Mode 0755 lets others read what is published; planes/ and control/ are 0700.
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("root %s cannot be made: %w", path, err)
	}
	dir, err := beneath.Open(path)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	defer dir.Close()
	info, err := dir.Stat(".")
	if err != nil {
		return fmt.Errorf("root %s: %w", path, err)
	}
	if err := owned(info); err != nil {
		return fmt.Errorf("root %s %w", path, err)
	}
	if err := fit(dir); err != nil {
		return fmt.Errorf("root %s: %w", path, err)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return fmt.Errorf("root %s: %w", path, err)
	}
	defer lock.Close()
	if err := makeControl(dir, clean, fill); err != nil {
		if absent {
			os.Remove(path) //nolint:errcheck // it stays if it holds something
		}
		return fmt.Errorf("root %s: %w", path, err)
	}
	return nil
}

func makeControl(dir *beneath.Dir, clean, fill func(dir *beneath.Dir) error) (err error) {
	switch format, err := readFormat(dir); {
	case err != nil:
		return err
	case format == FormatControl:
		return errors.New("it is a control plane already")
	case format == FormatFolder:
		return errors.New("it is what agenthost keeps for a workspace; a control plane is a folder of its own")
	}
	if _, err := dir.Stat(formatFile); err == nil {
		return errors.New("it holds a file FORMAT that is not agenthost's: move that away")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// The name under which FORMAT is written says that all beneath the folders of
	// a control plane was made by one who did not come to an end.
	begun := durable.Temp(formatFile)
	if _, err := dir.Stat(begun); err == nil {
		if err := clean(dir); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := vacant(dir); err != nil {
		return err
	}
	if err := durable.Write(dir, begun, []byte(FormatControl), 0o644); err != nil {
		return errors.Join(err, durable.Remove(dir, begun))
	}
	if err := dir.Sync(); err != nil {
		return err
	}
	if err := fill(dir); err != nil {
		if cleaned := clean(dir); cleaned != nil {
			return errors.Join(err, cleaned) // the next one cleans up
		}
		return errors.Join(err, durable.Remove(dir, begun))
	}
	return durable.Move(dir, begun, formatFile)
}

// Protected are the paths of what agenthost keeps and no guest may see: the root,
// whole; of a control plane that is the workspace what the rules of capability do
// not keep from guests already, also where another root was named. The error says
// that the workspace lies in what another root than this one keeps.
func (r *Root) Protected() ([]string, error) {
	format, err := readFormat(r.workspace)
	if err != nil {
		return nil, fmt.Errorf("workspace %s: %w", r.workspacePath, err)
	}
	var paths []string
	if !r.same {
		paths = append(paths, r.path)
	}
	if format == FormatControl || r.same {
		// What is kept of a session's context is as much another session's as its
		// folder, which no pattern reads that does not spell it out.
		for _, name := range []string{"control", formatFile, "planes/ho2/context"} {
			paths = append(paths, filepath.Join(r.workspacePath, filepath.FromSlash(name)))
		}
	}
	return paths, r.apart()
}

// apart refuses a workspace in what a folder above it keeps, if that is a root. Who
// wants to work on what sessions published may.
func (r *Root) apart() error {
	for path := r.workspacePath; filepath.Dir(path) != path; {
		name := filepath.Base(path)
		path = filepath.Dir(path)
		dir, err := beneath.Open(path)
		if err != nil {
			continue // what cannot be entered is not this user's
		}
		info, _ := dir.Stat(".")
		format, err := readFormat(dir)
		dir.Close()
		// What belongs to others, or is open to them, is no root, whatever they say.
		if err == nil && owned(info) == nil && name != "output" && format != "" && (format == FormatFolder || slices.Contains(kept, name)) {
			return fmt.Errorf("workspace %s lies in what agenthost keeps for itself in %s", r.workspacePath, path)
		}
	}
	return nil
}

// vacant refuses a folder that holds something where a control plane keeps its
// own.
func vacant(dir *beneath.Dir) error {
	var taken []string
	for _, name := range kept {
		if name == formatFile {
			continue
		}
		info, err := dir.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.Mode.IsDir() {
			return fmt.Errorf("%s is there and is not a folder: a control plane keeps its own there", name)
		}
		if err := owned(info); err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
		entries, err := dir.ReadDir(name)
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			taken = append(taken, name+"/"+entries[0].Name)
		}
	}
	if len(taken) > 0 {
		slices.Sort(taken)
		return fmt.Errorf("a control plane keeps its own where there is something already: %s", strings.Join(taken, ", "))
	}
	return nil
}

// owned refuses what does not belong to this user, or what every user can write
// to. The error continues its name.
func owned(info beneath.Info) error {
	if uid := os.Geteuid(); int64(info.UID) != int64(uid) {
		return fmt.Errorf("belongs to user %d, not to user %d who runs agenthost", info.UID, uid)
	}
	if info.Mode&0o002 != 0 {
		return errors.New("can be written by every user: take that right away (chmod o-w)")
	}
	return nil
}
