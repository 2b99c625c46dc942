package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// A Commit publishes the copies of one turn, all or none. The order is
//
//	Lock     the root's publish lock
//	Check    every target is what the turn first saw
//	Prepare  the marker in planes/pending, copies beside targets on other
//	         filesystems, evidence.jsonl: all durable
//	Commit   turn.end, durable: from here the turn is published; then renames
//	         and folders durable, marker and staging removed
//
// Until Commit has appended turn.end, Release takes everything back, and the
// turn can be ended by [Session.End]. After a crash [Root.Recover] does what is
// left.
type Commit struct {
	staging      *Staging
	publications []record.Publication
	lock         *os.File // nil if nothing is published, or released
	sights       []sight  // of Check
	marker       marker
	marked       bool
	sealed       bool // turn.end was or may have been written
}

// Steps of a commit, in order, as Options.Step sees them. Some come once for
// each file, some only where targets lie on another filesystem.
//
//	copy, lock, check, seal evidence, prepare, write marker, copy beside,
//	commit turn.end, rename, sync folders, remove marker, unlock,
//	remove staging, done

// marker is the content of planes/pending/SID.
type marker struct {
	V     int    `json:"v"`
	Plane string `json:"plane"`
	// Workspace is what Root.home said: recovery must not publish into another.
	Workspace string `json:"workspace"`
	Turn      int    `json:"turn"`
	// Beside has a member for each publication: the name of the copy beside its
	// target, "" where staging's own is renamed.
	Beside []string `json:"beside"`
}

// Lock begins the commit of what Copy made. It waits for other commits of the
// same root. The caller calls Release when it is through, whatever happened.
func (st *Staging) Lock(ctx context.Context, publications []record.Publication) (*Commit, error) {
	c := &Commit{staging: st, publications: publications}
	step := st.session.root.opts.Step
	step("lock")
	if len(publications) == 0 {
		return c, nil
	}
	lock, err := st.session.root.lockPublish(ctx)
	if err != nil {
		return nil, err
	}
	c.lock = lock
	return c, nil
}

// Check compares every target with what the turn first saw there and returns
// those that differ or cannot be replaced (record.CodeConflict).
func (c *Commit) Check(ctx context.Context) ([]Problem, error) {
	s := c.staging.session
	s.root.opts.Step("check")
	c.sights = make([]sight, len(c.publications))
	var problems []Problem
	for i, p := range c.publications {
		dir, name, err := s.target(p.Path)
		if err != nil {
			return nil, err
		}
		if c.sights[i], err = look(ctx, dir, name); err != nil {
			return nil, fmt.Errorf("publishing %s: %w", p.Path, err)
		}
		if why := conflict(p, c.sights[i]); why != "" {
			problems = append(problems, Problem{p.Path, record.CodeConflict, why})
		}
	}
	return problems, nil
}

// Prepare does all that can fail for want of room or rights. It comes after a
// Check without problems. With an error nothing was published.
func (c *Commit) Prepare(ctx context.Context) error {
	s := c.staging.session
	s.root.opts.Step("prepare")
	if len(c.sights) != len(c.publications) {
		return errors.New("the commit was not checked")
	}
	if len(c.publications) > 0 {
		return c.prepare(ctx)
	}
	return nil
}

func (c *Commit) prepare(ctx context.Context) error {
	s := c.staging.session
	here, err := c.staging.copies.Mount(".")
	if err != nil {
		return err
	}
	c.marker = marker{
		V: 1, Plane: s.Plane, Workspace: s.root.home(), Turn: c.staging.Turn,
		Beside: make([]string, len(c.publications)),
	}
	for i, p := range c.publications {
		dir, name, err := s.target(p.Path)
		if err != nil {
			return err
		}
		v := c.sights[i]
		if v.digest != nil {
			err = dir.Replaceable(name)
		} else {
			err = dir.Writable(v.near)
		}
		if err != nil {
			return fmt.Errorf("publishing %s: %w", p.Path, err)
		}
		if v.mount != here {
			c.marker.Beside[i] = s.beside(v.near, c.staging.Turn, i)
		}
	}
	s.root.opts.Step("write marker")
	b, err := json.Marshal(c.marker)
	if err != nil {
		return err
	}
	c.marked = true
	if err := durable.Replace(s.root.Folder(), s.pendingName(), append(b, '\n'), 0o644); err != nil {
		return s.root.unwritable(err)
	}
	for i, name := range c.marker.Beside {
		if name == "" {
			continue
		}
		s.root.opts.Step("copy beside")
		if err := c.copyBeside(ctx, i, name); err != nil {
			return fmt.Errorf("publishing %s: %w", c.publications[i].Path, err)
		}
	}
	return nil
}

func (c *Commit) copyBeside(ctx context.Context, i int, name string) error {
	s := c.staging.session
	dir, _, err := s.target(c.publications[i].Path)
	if err != nil {
		return err
	}
	if err := s.copyOver(ctx, c.staging.copies, strconv.Itoa(i), dir, name, c.publications[i]); err != nil {
		return err
	}
	return durable.SyncFolder(dir, durable.Parent(name))
}

// copyOver makes a durable copy of a publication on the filesystem of its
// target.
func (s *Session) copyOver(ctx context.Context, from *beneath.Dir, old string, to *beneath.Dir, name string, p record.Publication) error {
	src, err := from.OpenFile(old, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	h, err := duplicate(ctx, to, name, src, p.Size, p.Executable)
	if err == nil && h != p.SHA256 {
		err = errors.Join(errors.New("the copy differs from what was to be published"), to.Remove(name))
	}
	return err
}

// beside is the name of the copy of publication i in a folder of its target's
// filesystem.
func (s *Session) beside(folder string, turn, i int) string {
	name := s.besidePrefix(turn) + strconv.Itoa(i)
	if folder == "." {
		return name
	}
	return folder + "/" + name
}

func (s *Session) besidePrefix(turn int) string {
	return ".agenthost-" + string(s.ID) + "-" + strconv.Itoa(turn) + "-"
}

func (s *Session) pendingName() string { return pendingDir + "/" + string(s.ID) }

// Commit appends turn.end with the list of publications and makes it durable,
// and then puts the files in their places and removes the staging. Publish and
// Evidence of end are set here.
//
// With an error nothing was or will be published, unless it wraps
// [ledger.ErrPoisoned]: then it is not known whether turn.end is durable, and
// recovery decides. Findings tell which files of a committed turn could not be
// put in their places (see [Root.Recover]).
func (c *Commit) Commit(ctx context.Context, end record.TurnEnd) (ledger.Entry, []Finding, error) {
	s := c.staging.session
	if len(c.publications) > 0 && !c.marked {
		return ledger.Entry{}, nil, errors.New("the commit was not prepared")
	}
	end.Publish = c.publications
	e, err := s.end(end)
	if err != nil {
		c.sealed = errors.Is(err, ledger.ErrPoisoned)
		return e, nil, err
	}
	c.sealed = true
	// From here on nothing is given up for a context that is done.
	ctx = context.WithoutCancel(ctx)
	f := finish{s: s, turn: c.staging.Turn, publications: c.publications, beside: c.marker.Beside, sights: c.sights}
	findings, err := f.run(ctx)
	c.staging.over()
	c.marked = false // finish has removed the marker, or keeps it
	c.Release()
	s.unsettled = !f.settled
	if err != nil {
		findings = append(findings, unfinished(s.ID, "", err))
	}
	if f.settled {
		s.root.opts.Step("remove staging")
		if err := s.discard(f.turn); err != nil {
			findings = append(findings, unfinished(s.ID, "", err))
		}
	}
	s.root.opts.Step("done")
	return e, findings, nil
}

// Release gives the publish lock back. If turn.end was not written it removes
// marker and copies beside targets; the staging stays. Further calls do nothing.
func (c *Commit) Release() error {
	var err error
	if c.marked && !c.sealed {
		s := c.staging.session
		err = errors.Join(s.removeBeside(c.publications, c.marker), s.removeMarker())
	}
	c.marked = false
	if c.lock != nil {
		c.staging.session.root.opts.Step("unlock")
		err = errors.Join(err, c.lock.Close())
		c.lock = nil
	}
	return err
}

// removeBeside removes the copies beside targets.
func (s *Session) removeBeside(publications []record.Publication, m marker) error {
	var errs []error
	for i, name := range m.Beside {
		if name == "" {
			continue
		}
		dirs := []*beneath.Dir{s.root.workspace, s.root.Folder()}
		if i < len(publications) {
			dir, _, err := s.target(publications[i].Path)
			if err != nil {
				return err
			}
			dirs = []*beneath.Dir{dir}
		}
		if !strings.HasPrefix(durable.Base(name), s.besidePrefix(m.Turn)) {
			return fmt.Errorf("marker of %s names %q", s.ID, name)
		}
		for _, dir := range dirs {
			if err := dir.Remove(name); err != nil && !gone(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Session) removeMarker() error {
	dir := s.root.Folder()
	if err := dir.Remove(s.pendingName()); err != nil && !gone(err) {
		return err
	}
	return durable.SyncFolder(dir, pendingDir)
}
