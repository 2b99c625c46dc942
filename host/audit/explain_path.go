package audit

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// ExplainedPath is what happened to a file by its name.
type ExplainedPath struct {
	Path    string    `json:"path"`
	Written []Written `json:"written"` // by turns, published or not, sorted by time
	Read    []Use     `json:"read"`    // sorted by time
	Ran     []Use     `json:"ran"`     // by turns whose commands it was the program or interpreter of, sorted by time
	// Unlisted counts the turns that ran commands: that these read it, if they
	// did, is in no list here.
	Unlisted int  `json:"turns_with_commands"`
	Now      *Now `json:"now,omitempty"` // of names that turns can publish
}

// Written is a file that a turn made, and what that turn had read until then or
// read later: all that may have gone into it.
type Written struct {
	Use
	Base   *ledger.Hash  `json:"base,omitempty"` // what it replaced
	Inputs []record.File `json:"inputs"`
}

// Now is what lies under a name now.
type Now struct {
	// State is published, if that is what was published there last; changed, if
	// it is something else; gone; unpublished, if nothing was ever published
	// there; or unreadable.
	State  string       `json:"state"`
	SHA256 *ledger.Hash `json:"sha256,omitempty"`
	Size   int64        `json:"size,omitempty"`
	Fault  string       `json:"fault,omitempty"`
}

// States of what lies under a name.
const (
	NowPublished   = "published"
	NowChanged     = "changed"
	NowGone        = "gone"
	NowUnpublished = "unpublished"
	NowUnreadable  = "unreadable"
)

func (q *question) aboutPath() error {
	p := &ExplainedPath{Path: q.out.ID, Written: []Written{}, Read: []Use{}, Ran: []Use{}}
	q.out.Path = p
	sessions, err := q.index.mention("path", p.Path)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		for i, t := range s.Turns {
			for at, f := range t.Reads {
				if f.Path == p.Path {
					p.Read = append(p.Read, use{s, i, asRead, at}.say())
				}
			}
			for at, w := range t.Writes {
				if w.Path == p.Path {
					p.Written = append(p.Written, Written{use{s, i, asWrite, at}.say(), w.Base, t.Reads})
				}
			}
			t.programs(func(at int, as useKind, f *record.File) {
				if f.Path == p.Path {
					p.Ran = append(p.Ran, use{s, i, as, at}.say())
				}
			})
		}
	}
	if len(p.Written)+len(p.Read)+len(p.Ran) == 0 {
		return q.unknown(q.paths())
	}
	if p.Unlisted, err = q.index.ranCommands(); err != nil {
		return err
	}
	slices.SortFunc(p.Ran, byTime)
	slices.SortFunc(p.Read, byTime)
	slices.SortFunc(p.Written, func(a, b Written) int { return byTime(a.Use, b.Use) })
	p.Now = q.now(p)
	return nil
}

// now looks at what lies under a name now. Files of packages, programs of the
// machine, and what only the host writes, are not looked at.
func (q *question) now(p *ExplainedPath) *Now {
	var of session.ID
	if rest, ok := strings.CutPrefix(p.Path, "output/"); ok {
		id, _, _ := strings.Cut(rest, "/")
		of = session.ID(id)
	}
	if strings.HasPrefix(p.Path, "pkg:") || strings.HasPrefix(p.Path, "deps:") || strings.HasPrefix(p.Path, "/") {
		return nil
	}
	var last *Written
	for i := range p.Written {
		if p.Written[i].As == AsPublished {
			last = &p.Written[i]
		}
	}
	f, err := q.audit.root.There(of, p.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Now{State: NowGone}
	}
	if err != nil {
		if last == nil {
			return nil
		}
		return &Now{State: NowUnreadable, Fault: err.Error()}
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return &Now{State: NowUnreadable, Fault: err.Error()}
	}
	h := ledger.Hash(sum.Sum(nil))
	n := &Now{State: NowChanged, SHA256: &h, Size: size}
	switch {
	case last == nil:
		n.State = NowUnpublished
	case last.SHA256 == h:
		n.State = NowPublished
	}
	return n
}

// paths are the names of all files that the sessions of the root read, wrote or
// ran.
func (q *question) paths() []string {
	var names []string
	for n := range q.index.lines {
		s, err := q.index.session(n)
		if err != nil {
			continue
		}
		for _, t := range s.Turns {
			for _, f := range t.Reads {
				names = append(names, f.Path)
			}
			for _, w := range t.Writes {
				names = append(names, w.Path)
			}
			t.programs(func(_ int, _ useKind, f *record.File) { names = append(names, f.Path) })
		}
	}
	return names
}
