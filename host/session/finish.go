package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
)

// Codes of findings.
const (
	// FindingConflict: a committed file was not put in its place, because
	// somebody changed the target after the commit. The target was left as it
	// is; the file is kept in the session's blocked/TURN.
	FindingConflict = "conflict"
	// FindingLost: the copy of a committed file is missing or not what was
	// committed, and its target was not replaced yet.
	FindingLost = "lost"
	// FindingUnfinished: a committed file could not be put in its place for now;
	// the next recovery tries again.
	FindingUnfinished = "unfinished"
	// FindingUnreadable: a session's ledgers or a marker cannot be read, so what
	// is unfinished there stays so.
	FindingUnreadable = "unreadable"
)

// A Finding is a defect that recovery met and could not mend.
type Finding struct {
	Session ID
	Path    string // as ledgers spell it; "" if it concerns the session
	Code    string
	Message string // for people
}

// String is one line for people.
func (f Finding) String() string {
	if f.Path == "" {
		return fmt.Sprintf("%s: %s (%s)", f.Session, f.Message, f.Code)
	}
	return fmt.Sprintf("%s: %s: %s (%s)", f.Session, f.Path, f.Message, f.Code)
}

func unfinished(id ID, path string, err error) Finding {
	return Finding{id, path, FindingUnfinished, "what was committed is not in its place yet: " + err.Error()}
}

// finish puts the files of a committed turn in their places, from any state a
// crash can have left. The publish lock and the session are held.
type finish struct {
	s            *Session
	turn         int
	publications []record.Publication
	beside       []string // of the marker; may be nil
	sights       []sight  // of a Check under the same lock; nil in recovery

	copies  *beneath.Dir
	changed map[folder]bool // whose names have to be made durable
	left    []int           // publications that met a conflict
	settled bool            // nothing is left to be tried again
}

type folder struct {
	dir  *beneath.Dir
	name string
}

// errTaken says that a target is neither what the turn replaces nor what it
// publishes.
var errTaken = errors.New("the target was changed after the turn was committed")

// errLost says that there is no copy to publish.
var errLost = errors.New("the copy of what was committed is missing or damaged")

// run does it all, the marker's removal included. An error is about the whole;
// what concerns one file is a finding.
func (f *finish) run(ctx context.Context) (findings []Finding, err error) {
	if len(f.publications) == 0 {
		f.settled = true
		return nil, nil
	}
	staged := turnDir(stagingDir, f.turn)
	f.changed = make(map[folder]bool)
	if f.copies, err = f.s.dir.Sub(staged + "/" + publishDir); err == nil {
		defer f.copies.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	step := f.s.root.opts.Step
	retry := false
	for i, p := range f.publications {
		step("rename")
		err := f.place(ctx, i)
		switch {
		case err == nil:
		case errors.Is(err, errTaken):
			f.left = append(f.left, i)
			findings = append(findings, Finding{f.s.ID, p.Path, FindingConflict, fmt.Sprintf(
				"not published: %v; the file of turn %d is kept in its blocked folder", err, f.turn)})
		case errors.Is(err, errLost):
			findings = append(findings, Finding{f.s.ID, p.Path, FindingLost, fmt.Sprintf("not published: %v", err)})
		default:
			retry = true
			findings = append(findings, unfinished(f.s.ID, p.Path, err))
		}
	}
	step("sync folders")
	for c := range f.changed {
		if err := durable.SyncFolder(c.dir, c.name); err != nil {
			return findings, err
		}
	}
	if retry {
		return findings, nil
	}
	if err := f.keepLeft(ctx); err != nil {
		return findings, err
	}
	step("remove marker")
	m := marker{Turn: f.turn, Beside: f.beside}
	if err := f.s.removeBeside(f.publications, m); err != nil {
		return findings, err
	}
	err = f.s.removeMarker()
	f.settled = err == nil
	return findings, err
}

// place puts one file in its place, unless it is there.
func (f *finish) place(ctx context.Context, i int) error {
	p := f.publications[i]
	dir, name, err := f.s.target(p.Path)
	if err != nil {
		return err
	}
	if !f.unchanged(i, dir, name) {
		v, err := look(ctx, dir, name)
		if err != nil {
			return err
		}
		published := v.bad == "" && same(v.digest, &p.SHA256)
		if published && !same(p.Base, &p.SHA256) {
			// A crash may have come before the name was durable.
			f.changed[folder{dir, durable.Parent(name)}] = true
			return nil
		}
		if why := conflict(p, v); why != "" {
			return fmt.Errorf("%w: %s", errTaken, why)
		}
		if err := f.intact(ctx, i); err != nil {
			if published {
				return nil // it replaces a file by the same bytes, and has done so
			}
			return err
		}
	}
	if err := f.parents(dir, durable.Parent(name)); err != nil {
		return taken(err)
	}
	return taken(f.rename(ctx, i, dir, name))
}

// taken marks the errors that say that something else is at the target.
func taken(err error) error {
	for _, e := range []error{beneath.ErrLink, syscall.ENOTDIR, syscall.EISDIR, fs.ErrExist} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", errTaken, err)
		}
	}
	return err
}

// unchanged reports whether a target is what Check saw under the same lock, so
// far as its size and times tell.
func (f *finish) unchanged(i int, dir *beneath.Dir, name string) bool {
	if f.sights == nil || f.sights[i].bad != "" {
		return false
	}
	info, err := dir.Stat(name)
	if f.sights[i].digest == nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	return err == nil && info.Mode.IsRegular() && info.Nlink == 1 && info.Same(f.sights[i].info)
}

// source returns where the copy of publication i is: beside its target, or in
// staging.
func (f *finish) source(i int) (*beneath.Dir, string, error) {
	if i < len(f.beside) && f.beside[i] != "" {
		dir, _, err := f.s.target(f.publications[i].Path)
		return dir, f.beside[i], err
	}
	if f.copies == nil {
		return nil, "", errLost
	}
	return f.copies, strconv.Itoa(i), nil
}

// intact checks that the copy to be published is what was committed.
func (f *finish) intact(ctx context.Context, i int) error {
	dir, name, err := f.source(i)
	if err != nil {
		return err
	}
	src, err := dir.OpenFile(name, os.O_RDONLY, 0)
	if gone(err) {
		return errLost
	}
	if err != nil {
		return err
	}
	defer src.Close()
	h, err := digest(ctx, src)
	if err == nil && h != f.publications[i].SHA256 {
		return errLost
	}
	return err
}

// gone reports whether an error says that there is no file of that name.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, beneath.ErrLink)
}

// parents makes the folders a target is in.
func (f *finish) parents(dir *beneath.Dir, name string) error {
	made, err := dir.MkdirAll(name, 0o755)
	for _, m := range made {
		f.changed[folder{dir, durable.Parent(m)}] = true
	}
	return err
}

// rename puts the copy of publication i at its target.
func (f *finish) rename(ctx context.Context, i int, dir *beneath.Dir, name string) error {
	p := f.publications[i]
	from, old, err := f.source(i)
	if err != nil {
		return err
	}
	f.changed[folder{dir, durable.Parent(name)}] = true
	err = move(from, old, dir, name, p.Base != nil)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	// Another mount of the same filesystem, which a device number does not show.
	temp := f.s.beside(durable.Parent(name), f.turn, i)
	if err := dir.Remove(temp); err != nil && !gone(err) {
		return err
	}
	if err := f.s.copyOver(ctx, from, old, dir, temp, p); err != nil {
		return err
	}
	if err := move(dir, temp, dir, name, p.Base != nil); err != nil {
		return errors.Join(err, dir.Remove(temp))
	}
	return nil
}

// move renames a file; what is not to be replaced is not.
func move(from *beneath.Dir, old string, to *beneath.Dir, name string, replaces bool) error {
	if !replaces {
		err := beneath.RenameNoReplace(from, old, to, name)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		if _, err := to.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, fs.ErrExist)
		}
	}
	return beneath.Rename(from, old, to, name)
}

// keepLeft moves the copies that met a conflict to blocked/TURN, under the
// names a blocked turn has there.
func (f *finish) keepLeft(ctx context.Context) error {
	if len(f.left) == 0 || f.copies == nil {
		return nil
	}
	s, staged := f.s, turnDir(stagingDir, f.turn)
	for _, i := range f.left {
		p := f.publications[i]
		name := AreaWorkspace + "/" + p.Path
		if rest, own := strings.CutPrefix(p.Path, s.OutputName()+"/"); own {
			name = AreaOut + "/" + rest
		}
		name = staged + "/" + leftDir + "/" + name
		if _, err := s.dir.MkdirAll(durable.Parent(name), 0o700); err != nil {
			return err
		}
		err := beneath.Rename(f.copies, strconv.Itoa(i), s.dir, name)
		if err != nil && !gone(err) {
			return err
		}
	}
	if err := s.keep(staged+"/"+leftDir, f.turn); err != nil && !gone(err) && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
