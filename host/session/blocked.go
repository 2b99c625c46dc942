package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
)

// maxKept is how many files of one turn are listed. A turn that runs cannot
// write as many; somebody else could have put them there.
const maxKept = 100_000

const discardedPrefix = ".gone-" // a blocked/TURN that is being removed

// A KeptFile is a file in blocked/TURN. It lies on the disk like any other: what
// it holds is what the turn wrote only if the ledger says so.
type KeptFile struct {
	Path  string // as ledgers spell it, and where it would have been published
	Size  int64  // bytes
	Unfit string // what it is, if it is no file that can be read: "a symbolic link"

	dir  *beneath.Dir
	name string // there
}

// Kept is what a turn wrote that was not published. Close it.
type Kept struct {
	Files []KeptFile // sorted by path
	More  bool       // there are more than can be listed

	dirs []*beneath.Dir
}

// Close closes the folders. Files cannot be opened then.
func (k *Kept) Close() error {
	var errs []error
	for _, d := range k.dirs {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// Open opens a file of the list for reading, if it still is one.
func (k *Kept) Open(f KeptFile) (*os.File, error) {
	if f.Unfit != "" {
		return nil, fmt.Errorf("%s: %s", f.Path, f.Unfit)
	}
	return openRegular(f.dir, f.name)
}

// openRegular opens a regular file through no link.
func openRegular(dir *beneath.Dir, name string) (*os.File, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	info, err := beneath.StatFile(f)
	if err == nil && !info.Mode.IsRegular() {
		err = fmt.Errorf("%s: %s", name, beneath.KindOf(info.Mode))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// KeptTurns lists the turns of a session of which something is kept. No lock is
// needed for it.
func (r *Root) KeptTurns(plane string, id ID) ([]int, error) {
	if r.Folder() == nil {
		return nil, nil
	}
	entries, err := r.Folder().ReadDir(r.blocked(plane, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var turns []int
	for _, e := range entries {
		if turn, ok := turnOf(e.Name); ok {
			turns = append(turns, turn)
		}
	}
	slices.Sort(turns)
	return turns, nil
}

func (r *Root) blocked(plane string, id ID) string {
	return sessionsOf(plane) + "/" + string(id) + "/" + blockedDir
}

// turnOf reads the name of a turn's folder.
func turnOf(name string) (int, bool) {
	turn, err := strconv.Atoi(name)
	return turn, err == nil && turn >= 1 && strconv.Itoa(turn) == name
}

// FindKept is [Root.Find], but [Last] is the session written last among those of
// which something is kept.
func (r *Root) FindKept(prefix string) (ID, string, error) {
	return r.findLast(prefix, "the root has none of which something is kept", func(id ID, plane string) bool {
		turns, err := r.KeptTurns(plane, id)
		return err == nil && len(turns) > 0
	})
}

// Kept opens what is kept of a turn. No lock is needed for it: the folder comes
// and goes as one. The error wraps fs.ErrNotExist if nothing is kept.
func (r *Root) Kept(plane string, id ID, turn int) (*Kept, error) {
	if r.Folder() == nil {
		return nil, fs.ErrNotExist
	}
	top, err := r.Folder().Sub(r.blocked(plane, id) + "/" + strconv.Itoa(turn))
	if err != nil {
		return nil, err
	}
	defer top.Close()
	k := &Kept{}
	for _, area := range []string{AreaWorkspace, AreaOut} {
		dir, err := top.Sub(area)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			k.dirs = append(k.dirs, dir)
			err = k.list(dir, map[string]string{AreaWorkspace: "", AreaOut: "output/" + string(id) + "/"}[area])
		}
		if err != nil {
			return nil, errors.Join(err, k.Close())
		}
	}
	slices.SortFunc(k.Files, func(a, b KeptFile) int { return strings.Compare(a.Path, b.Path) })
	return k, nil
}

var errEnough = errors.New("there are more")

func (k *Kept) list(dir *beneath.Dir, prefix string) error {
	err := walk(dir, func(name string, info beneath.Info, err error) error {
		if len(k.Files) == maxKept {
			k.More = true
			return errEnough
		}
		f := KeptFile{Path: prefix + name, dir: dir, name: name}
		switch {
		case err != nil:
			f.Unfit = "it cannot be read: " + err.Error()
		case info.Mode.IsRegular():
			f.Size = info.Size
		default:
			f.Unfit = beneath.KindOf(info.Mode)
		}
		k.Files = append(k.Files, f)
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// There opens what is now where a file of the session would be published. The
// error wraps fs.ErrNotExist if there is nothing, and says what it is if that is
// no file.
func (r *Root) There(id ID, path string) (*os.File, error) {
	dir, name, err := r.target(id, path)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(dir, name)
	if errors.Is(err, beneath.ErrLink) {
		return nil, errors.New("a symbolic link is there")
	}
	if err != nil && gone(err) {
		return nil, fs.ErrNotExist
	}
	return f, err
}

// DiscardKept removes for good what is kept of a turn. The ledger stays as it is.
// The error wraps fs.ErrNotExist if nothing is kept, [ErrNotFound], [ErrInUse]
// or an [*ledger.IntegrityError].
func (r *Root) DiscardKept(ctx context.Context, id ID, turn int) (Freed, error) {
	s, _, err := r.open(ctx, id) // what there was to find, the next run says
	if err != nil {
		return Freed{}, fmt.Errorf("session %s: %w", id, err)
	}
	defer s.Leave()
	freed, err := s.discardKept(turn)
	if err != nil {
		return freed, fmt.Errorf("session %s, turn %d: %w", id, turn, err)
	}
	return freed, nil
}

func (s *Session) discardKept(turn int) (Freed, error) {
	name := turnDir(blockedDir, turn)
	info, err := s.dir.Stat(name)
	if err != nil {
		return Freed{}, err
	}
	freed := Freed{Files: 1, Bytes: info.Size}
	if info.Mode.IsDir() {
		dir, err := s.dir.Sub(name)
		if err != nil {
			return Freed{}, err
		}
		freed, err = measure(dir)
		if err = errors.Join(err, dir.Close()); err != nil {
			return freed, err
		}
	}
	// Renamed first, it is gone as one. What a crash leaves of it goes with the
	// next, or with the session.
	temp := blockedDir + "/" + discardedPrefix + strconv.Itoa(turn)
	if err := s.dir.RemoveAll(temp); err != nil {
		return freed, err
	}
	s.root.opts.Step("discard")
	if err := beneath.Rename(s.dir, name, s.dir, temp); err != nil {
		return freed, err
	}
	s.root.opts.Step("remove its files")
	entries, err := s.dir.ReadDir(blockedDir)
	if err != nil {
		return freed, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name, discardedPrefix) {
			if err := s.dir.RemoveAll(blockedDir + "/" + e.Name); err != nil {
				return freed, err
			}
		}
	}
	if len(entries) == 1 {
		if err := s.dir.Remove(blockedDir); err != nil && !errors.Is(err, fs.ErrExist) {
			return freed, err
		}
	}
	return freed, durable.SyncFolder(s.dir, ".")
}
