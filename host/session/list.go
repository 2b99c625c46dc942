package session

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Last stands for the session in which something happened last.
const Last = "@last"

// A Summary is what a list shows of a session.
type Summary struct {
	ID      ID
	Plane   string
	Package record.Package
	Opened  time.Time
	Changed time.Time // when its last entry was written, up to the one that closed it
	Turns   int       // that have ended
	Status  string    // of the last of them, "" if there is none
	Code    string
	Running bool // a turn began and has not ended; recovery ends it if its process is dead
	Closed  bool
	// Accepted are losses that exec.jsonl has on record.
	Accepted int
	Err      error // the session cannot be read; only ID and Plane are known
}

// List describes all sessions, the oldest first. It verifies their exec.jsonl
// and takes no locks. One that cannot be read is listed with its Err.
func (r *Root) List() ([]Summary, error) {
	places, err := r.places()
	if err != nil {
		return nil, err
	}
	list := make([]Summary, 0, len(places))
	for _, p := range places {
		s := r.summary(p.id, p.plane)
		if s.Err != nil && r.removed(p) {
			continue
		}
		list = append(list, s)
	}
	return list, nil
}

// All names all sessions, sorted by id: of each Summary only ID and Plane are
// set, and no ledger is read.
func (r *Root) All() ([]Summary, error) {
	places, err := r.places()
	list := make([]Summary, 0, len(places))
	for _, p := range places {
		list = append(list, Summary{ID: p.id, Plane: p.plane})
	}
	return list, err
}

// Names returns the ids of all sessions, the oldest first, without reading them.
func (r *Root) Names() ([]ID, error) {
	places, err := r.places()
	ids := make([]ID, len(places))
	for i, p := range places {
		ids[i] = p.id
	}
	return ids, err
}

// removed reports whether a session that was found is no longer there: somebody
// prunes.
func (r *Root) removed(p place) bool {
	_, err := r.Folder().Stat(sessionsOf(p.plane) + "/" + string(p.id))
	return errors.Is(err, fs.ErrNotExist)
}

type place struct {
	id    ID
	plane string
}

// places finds all sessions, sorted by id.
func (r *Root) places() ([]place, error) {
	dir := r.Folder()
	if dir == nil {
		return nil, nil
	}
	var found []place
	for _, plane := range Planes() {
		entries, err := dir.ReadDir(sessionsOf(plane))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("root %s: %w", r.path, err)
		}
		for _, e := range entries {
			if id, err := ParseID(e.Name); err == nil {
				found = append(found, place{id, plane})
			}
		}
	}
	slices.SortFunc(found, func(a, b place) int { return strings.Compare(string(a.id), string(b.id)) })
	return found, nil
}

func (r *Root) summary(id ID, plane string) Summary {
	s := Summary{ID: id, Plane: plane}
	var st state
	opts := record.ExecOptions(string(id))
	for e, err := range ledger.Scan(r.LedgerPath(plane, id, record.ExecFile), opts) {
		var bad *ledger.IntegrityError
		if errors.As(err, &bad) && bad.Torn {
			break // a line that is being written, or debris
		}
		if err != nil {
			s.Err = err
			return s
		}
		st.sawExec(e)
	}
	if st.err == nil && st.progress.Session == "" {
		st.err = fmt.Errorf("%s has no session.open", record.ExecFile)
	}
	if _, err := r.Folder().Stat(sessionsOf(plane) + "/" + string(id) + "/ledger/" + record.EvidenceFile); st.err == nil && err != nil {
		st.err = err
	}
	if st.err != nil {
		s.Err = st.err
		return s
	}
	s.Package, s.Opened, s.Changed, s.Turns = st.open.Package, st.opened, st.last, st.ended
	s.Accepted = st.accepted
	s.Status, s.Code, s.Running, s.Closed = st.end.Status, st.end.Code, st.progress.InTurn, st.progress.Closed
	return s
}

// LedgerPath is the path of a file in the ledger folder of a session.
func (r *Root) LedgerPath(plane string, id ID, file string) string {
	return r.join(sessionsOf(plane) + "/" + string(id) + "/ledger/" + file)
}

// InUse reports whether a living process works on a session. To find out it
// shares the session's lock for a moment, in which [Root.Open] fails with
// [ErrInUse]: it is for who has a reason to ask. The error wraps fs.ErrNotExist
// if the session has no exec.jsonl.
func (r *Root) InUse(plane string, id ID) (bool, error) {
	dir := r.Folder()
	if dir == nil {
		return false, fs.ErrNotExist
	}
	f, err := openRegular(dir, sessionsOf(plane)+"/"+string(id)+"/ledger/"+record.ExecFile)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return beneath.Locked(f)
}

// Find returns the one session whose id begins with prefix, or for [Last] the
// one whose exec.jsonl was written last. The error wraps [ErrNotFound] if there
// is none.
func (r *Root) Find(prefix string) (ID, string, error) {
	places, err := r.places()
	if err != nil {
		return "", "", err
	}
	if prefix == Last {
		return r.last(places)
	}
	var found []place
	for _, p := range places {
		if string(p.id) == prefix {
			return p.id, p.plane, nil
		}
		if prefix != "" && strings.HasPrefix(string(p.id), prefix) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return "", "", fmt.Errorf("%w: none begins with %.120q", ErrNotFound, prefix)
	case 1:
		return found[0].id, found[0].plane, nil
	}
	more := ""
	if len(found) > 2 {
		more = " …"
	}
	return "", "", fmt.Errorf("%.120q is the beginning of %d sessions: %s, %s%s", prefix, len(found), found[0].id, found[1].id, more)
}

func (r *Root) last(places []place) (ID, string, error) {
	if places = r.byTime(places); len(places) == 0 {
		return "", "", fmt.Errorf("%w: the root has none yet", ErrNotFound)
	}
	return places[0].id, places[0].plane, nil
}

// byTime orders sessions by when their exec.jsonl was written last, the latest
// first. Those without one are left out.
func (r *Root) byTime(places []place) []place {
	written := make(map[place]time.Time, len(places))
	var found []place
	for _, p := range slices.Backward(places) {
		info, err := r.Folder().Stat(sessionsOf(p.plane) + "/" + string(p.id) + "/ledger/" + record.ExecFile)
		if err == nil {
			written[p] = info.Mtime
			found = append(found, p)
		}
	}
	slices.SortStableFunc(found, func(a, b place) int { return written[b].Compare(written[a]) })
	return found
}

// FindOpen is [Root.Find] for who wants to continue a session: [Last] is the one
// written last among those that are open. Whether a turn runs in it is not asked.
func (r *Root) FindOpen(prefix string) (ID, string, error) {
	return r.findLast(prefix, "the root has none that is open", func(id ID, plane string) bool {
		s := r.summary(id, plane)
		return s.Err == nil && !s.Closed
	})
}

// findLast is [Root.Find], but [Last] is the one written last among those that
// fit. The error wraps [ErrNotFound] and says none if none does.
func (r *Root) findLast(prefix, none string, fits func(ID, string) bool) (ID, string, error) {
	if prefix != Last {
		return r.Find(prefix)
	}
	places, err := r.places()
	if err != nil {
		return "", "", err
	}
	for _, p := range r.byTime(places) {
		if fits(p.id, p.plane) {
			return p.id, p.plane, nil
		}
	}
	return "", "", fmt.Errorf("%w: %s", ErrNotFound, none)
}
