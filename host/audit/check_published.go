package audit

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/session"
)

// publications compares published files with what is on the disk now. Of a name
// that was published more than once the newest counts.
func (c *check) publications(s *scope, g *governed, all []*sessionCheck) {
	unsettled := c.unsettled()
	newest := map[string]publication{}
	last := map[session.ID]int{} // turn that published
	for _, one := range all {
		for _, p := range one.published {
			last[p.session] = max(last[p.session], p.turn)
			if known, ok := newest[p.Path]; !ok || p.after(known) {
				newest[p.Path] = p
			}
		}
	}
	list := make([]publication, 0, len(newest))
	for _, p := range newest {
		if unsettled[p.session] && p.turn == last[p.session] {
			continue // it is being put in its place, or it is found that it is not
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b publication) int { return strings.Compare(a.Path, b.Path) })
	c.each(s, "published files", len(list), func(i int, s *scope) { c.publication(s, g, list[i]) })
}

// after reports whether p came after another publication of the same name. Turns
// publish one after another; where the clock does not tell, one that replaces the
// other's content is the later.
func (p publication) after(q publication) bool {
	if p.session == q.session {
		return p.turn > q.turn
	}
	if p.at == q.at {
		replaces := p.Base != nil && *p.Base == q.SHA256
		return replaces || (q.Base == nil || *q.Base != p.SHA256) && p.session > q.session
	}
	return cmp.Compare(p.at, q.at) > 0
}

// unsettled are the sessions that have a mark in planes/pending.
func (c *check) unsettled() map[session.ID]bool {
	marked := map[session.ID]bool{}
	entries, err := c.dir.ReadDir(pending)
	if err != nil {
		return marked // what is wrong with it is found there
	}
	for _, e := range entries {
		if id, err := session.ParseID(e.Name); err == nil {
			marked[id] = true
		}
	}
	return marked
}

// publication compares one published file.
func (c *check) publication(s *scope, g *governed, p publication) {
	f, err := c.root.There(p.session, p.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(p.Path, outputTop+"/") && c.beingPruned(g, p.session):
		return
	case errors.Is(err, fs.ErrNotExist):
		s.add(CodePublishedMissing, p.Path, "turn %d of %s published it, and it is gone", p.turn, p.session)
		return
	case errors.Is(err, fs.ErrPermission):
		s.add(CodeUnreadable, p.Path, "turn %d of %s published it, and it cannot be read: %s", p.turn, p.session, plain(err))
		return
	case err != nil:
		s.add(CodePublishedReplaced, p.Path, "turn %d of %s published it, and something else is there: %s", p.turn, p.session, strings.TrimPrefix(plain(err), p.Path+": "))
		return
	}
	defer f.Close()
	info, err := beneath.StatFile(f)
	same := err == nil && info.Size == p.Size
	if same {
		same, err = c.sameOpen(f, whole{p.Path, p.SHA256})
	}
	switch {
	case err != nil:
		s.add(CodeUnreadable, p.Path, "turn %d of %s published it, and it cannot be read: %s", p.turn, p.session, plain(err))
	case !same:
		or := ""
		if !strings.HasPrefix(p.Path, outputTop+"/") && c.prunedSince(g, p) {
			or = ", or a session that was pruned published it anew"
		}
		s.add(CodePublishedChanged, p.Path, "it is not what turn %d of %s published: somebody changed it since%s", p.turn, p.session, or)
	}
	s.checked.Files++
}

// beingPruned reports whether what a session published may be gone because
// somebody prunes it.
func (c *check) beingPruned(g *governed, id session.ID) bool {
	p := g.pruned[id]
	return p != nil && p.Published || c.inUse(id)
}

// prunedSince reports whether a session was pruned after a publication: nothing is
// known of what that published to the workspace. Where no plane is controlled it
// may have been.
func (c *check) prunedSince(g *governed, p publication) bool {
	return !c.root.Control() || g.lastPrune.UnixNano() > p.at
}

// output finds what lies in output/ and was not published by a session.
func (c *check) output(s *scope, g *governed, all []*sessionCheck) {
	sessions := make(map[session.ID]*sessionCheck, len(all))
	for _, one := range all {
		sessions[one.id] = one
	}
	entries, _ := c.folder(s, outputTop, ours)
	for _, e := range entries {
		path := outputTop + "/" + e.Name
		id, err := session.ParseID(e.Name)
		one, pruned := sessions[id], g.pruned[id]
		switch {
		case err != nil || !e.Type.IsDir():
			c.orphan(s, path, e.Type)
		case one != nil:
			if one.whole { // else not all that it published is known
				c.outputOf(s, one)
			}
		case pruned != nil && !pruned.Published:
		case pruned != nil:
			s.add(CodeOrphan, path, "its session was pruned with what it published, and this is still there")
		case c.root.Control() && g.whole:
			s.add(CodeOrphan, path, "no session of this id is here, and none was pruned")
		case !c.root.Control():
			s.add(CodeOutputUnexplained, path, "no session of this id is here")
		}
	}
}

// outputOf finds what a session did not publish in its folder.
func (c *check) outputOf(s *scope, one *sessionCheck) {
	files, folders := map[string]bool{}, map[string]bool{}
	for _, p := range one.published {
		files[p.Path] = true
		for name := parentOf(p.Path); name != "."; name = parentOf(name) {
			folders[name] = true
		}
	}
	top := outputTop + "/" + string(one.id)
	folders[top] = true
	next := []string{top}
	for len(next) > 0 && c.ctx.Err() == nil {
		folder := next[len(next)-1]
		next = next[:len(next)-1]
		entries, _ := c.folder(s, folder, ours)
		for _, e := range entries {
			path := folder + "/" + e.Name
			switch {
			case files[path]: // its content is compared elsewhere
			case e.Type.IsDir() && folders[path]:
				next = append(next, path)
			case e.Type.IsDir():
				s.add(CodeOrphan, path, "a folder in which %s published nothing", one.id)
			default:
				s.add(CodeOrphan, path, "%s that %s did not publish", beneath.KindOf(e.Type), one.id)
			}
		}
	}
}
