package session

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

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
	Turns   int    // that have ended
	Status  string // of the last of them, "" if there is none
	Code    string
	Running bool // a turn began and has not ended; recovery ends it if its process is dead
	Closed  bool
	Err     error // the session cannot be read; only ID and Plane are known
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
		list = append(list, r.summary(p.id, p.plane))
	}
	return list, nil
}

type place struct {
	id    ID
	plane string
}

// places finds all sessions, sorted by id.
func (r *Root) places() ([]place, error) {
	dir := r.folder()
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
	if _, err := r.folder().Stat(sessionsOf(plane) + "/" + string(id) + "/ledger/" + record.EvidenceFile); st.err == nil && err != nil {
		st.err = err
	}
	if st.err != nil {
		s.Err = st.err
		return s
	}
	s.Package, s.Opened, s.Turns = st.open.Package, st.opened, st.ended
	s.Status, s.Code, s.Running, s.Closed = st.end.Status, st.end.Code, st.progress.InTurn, st.progress.Closed
	return s
}

// LedgerPath is the path of a file in the ledger folder of a session.
func (r *Root) LedgerPath(plane string, id ID, file string) string {
	return r.join(sessionsOf(plane) + "/" + string(id) + "/ledger/" + file)
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
	return "", "", fmt.Errorf("%.120q is the beginning of %d sessions: %s, %s …", prefix, len(found), found[0].id, found[1].id)
}

func (r *Root) last(places []place) (ID, string, error) {
	var last place
	var written time.Time
	for _, p := range places {
		info, err := r.folder().Stat(sessionsOf(p.plane) + "/" + string(p.id) + "/ledger/" + record.ExecFile)
		if err == nil && !info.Mtime.Before(written) {
			last, written = p, info.Mtime
		}
	}
	if last.id == "" {
		return "", "", fmt.Errorf("%w: the root has none yet", ErrNotFound)
	}
	return last.id, last.plane, nil
}
