package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

var (
	// ErrOpen says that a session was not closed: it can be continued.
	ErrOpen = errors.New("the session is open")
	// ErrUnfinished says that there is something recovery has to finish first.
	ErrUnfinished = errors.New("the session has something to be finished")
)

// A Pruned is a session whose record was removed, or could be. Its heads are all
// that speaks of it then.
type Pruned struct {
	Exec, Evidence   ledger.Head
	Files, Published Freed // of the record and all kept with it; of output/SID
}

// Freed is what was removed from the disk, or would be.
type Freed struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"` // as their sizes are
}

// Prune removes the record of a closed session for good: its ledgers and blobs
// and what was kept of turns that were blocked. With published it removes
// output/SID too; what was published to the workspace is never touched. With dry
// it removes nothing and says what it would.
//
// The record is gone at once, or not at all; a crash while its files are removed
// leaves the rest to [Root.Recover]. What was published goes first, so that a
// second Prune can finish what a crash cut short. Errors wrap [ErrNotFound], [ErrInUse],
// [ErrOpen], [ErrUnfinished] or an [*ledger.IntegrityError]: that record is kept.
func (r *Root) Prune(ctx context.Context, id ID, published, dry bool) (Pruned, error) {
	p, err := r.prune(ctx, id, published, dry)
	if err != nil {
		return p, fmt.Errorf("session %s: %w", id, err)
	}
	return p, nil
}

func (r *Root) prune(ctx context.Context, id ID, published, dry bool) (Pruned, error) {
	// One that has something to be finished must not be finished for this.
	if plane, err := r.planeOf(id); err != nil {
		return Pruned{}, err
	} else if err := r.finished(plane, id); err != nil {
		return Pruned{}, err
	}
	s, findings, err := r.open(ctx, id)
	if err != nil {
		return Pruned{}, err
	}
	defer s.Leave()
	switch {
	case !s.state.progress.Closed:
		return Pruned{}, ErrOpen
	case s.unsettled, len(findings) > 0:
		return Pruned{}, ErrUnfinished
	}
	// Under the lock nobody makes a session of this id, and no recovery takes the
	// folder for one to be removed.
	lock, err := r.lockPublish(ctx)
	if err != nil {
		return Pruned{}, err
	}
	defer lock.Close()
	if err := r.finished(s.Plane, id); err != nil {
		return Pruned{}, err
	}
	p := Pruned{Exec: s.Exec.Head(), Evidence: s.Evidence.Head()}
	if p.Files, err = measure(s.dir); err != nil {
		return p, err
	}
	if published {
		out, err := s.Output()
		if err == nil {
			p.Published, err = measure(out)
			err = errors.Join(err, out.Close())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
	}
	if dry {
		return p, nil
	}
	s.root.opts.Step("register removal")
	if err := s.register(ctx, record.KindSessionPrune, *s.registered); err != nil {
		return p, err
	}
	return p, s.erase(published)
}

// erase removes a session's folder under the lock.
func (s *Session) erase(published bool) error {
	dir := s.root.Folder()
	if published {
		if err := dir.RemoveAll(s.OutputName()); err != nil {
			return s.root.unwritable(err)
		}
	}
	s.withdraw()
	sessions := sessionsOf(s.Plane)
	temp := sessions + "/" + durable.Prefix + string(s.ID)
	if err := dir.RemoveAll(temp); err != nil {
		return s.root.unwritable(err)
	}
	s.root.opts.Step("remove session")
	if err := beneath.Rename(dir, s.name(), dir, temp); err != nil {
		return s.root.unwritable(err)
	}
	if err := durable.SyncFolder(dir, sessions); err != nil {
		return s.root.unwritable(err)
	}
	s.root.opts.Step("remove its files")
	if err := dir.RemoveAll(temp); err != nil {
		return s.root.unwritable(err)
	}
	return nil
}

// finished returns ErrUnfinished where a crash left something to be finished, or
// a turn runs.
func (r *Root) finished(plane string, id ID) error {
	for _, name := range []string{pendingDir + "/" + string(id), sessionsOf(plane) + "/" + string(id) + "/" + stagingDir} {
		if _, err := r.Folder().Stat(name); err == nil {
			return ErrUnfinished
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// measure adds up what lies in a folder, as far as it can be reached by name.
func measure(dir *beneath.Dir) (Freed, error) {
	var sum Freed
	err := walk(dir, func(_ string, info beneath.Info, err error) error {
		if err == nil && info.Mode.IsRegular() {
			sum.Bytes += info.Size
		}
		sum.Files++
		return nil
	})
	return sum, err
}

// walk calls f for everything in a folder that is no folder, and goes into those.
// Links are not followed. F gets an error for what cannot be looked at: names
// that are longer than the system takes. What is gone meanwhile is left out.
func walk(dir *beneath.Dir, f func(name string, info beneath.Info, err error) error) error {
	folders := []string{"."}
	for len(folders) > 0 {
		folder := folders[len(folders)-1]
		folders = folders[:len(folders)-1]
		entries, err := dir.ReadDir(folder)
		switch {
		case folder == "." && err != nil:
			return err
		case gone(err):
			continue
		case err != nil:
			if err := f(folder, beneath.Info{}, err); err != nil {
				return err
			}
			continue
		}
		for _, e := range entries {
			name := e.Name
			if folder != "." {
				name = folder + "/" + e.Name
			}
			info, err := dir.Stat(name)
			if err == nil && info.Mode.IsDir() {
				folders = append(folders, name)
				continue
			}
			if gone(err) {
				continue
			}
			if err := f(name, info, err); err != nil {
				return err
			}
		}
	}
	return nil
}
