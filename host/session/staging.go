package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Areas of staging: where a file was written.
const (
	AreaWorkspace = "workspace" // the guest's "/"
	AreaOut       = "out"       // "/out"
	AreaTmp       = "tmp"       // "/tmp"
)

// PackageFolder is the folder of staging in which commands find the files of the
// package.
const PackageFolder = "package"

const (
	stagingDir = "staging"
	blockedDir = "blocked"
	publishDir = "publish" // the host's copies
	leftDir    = "left"    // copies whose targets were changed after the commit
)

// Staging is where one turn writes. The folders are private to this user; they
// belong to the Staging, which Block or Discard, or the commit, ends.
type Staging struct {
	Turn                int
	Workspace, Out, Tmp *beneath.Dir

	session *Session
	copies  *beneath.Dir // nil if there are none
}

// Begin makes the staging of a turn, which must be the one after [Session.Turns],
// before its turn.begin is appended.
func (s *Session) Begin(turn int) (*Staging, error) {
	if s.staging != nil || s.state.progress.InTurn {
		return nil, fmt.Errorf("session %s: turn %d has not ended", s.ID, s.state.progress.Turns)
	}
	if s.unsettled {
		return nil, fmt.Errorf("session %s: the files of turn %d are not in their places yet", s.ID, s.state.ended)
	}
	if turn != s.state.ended+1 {
		return nil, fmt.Errorf("session %s: turn %d cannot follow turn %d", s.ID, turn, s.state.ended)
	}
	st := &Staging{Turn: turn, session: s}
	if err := st.make(); err != nil {
		st.closeDirs()
		return nil, s.root.unwritable(err)
	}
	if err := s.introduce(); err != nil {
		st.closeDirs()
		return nil, err
	}
	s.staging = st
	return st, nil
}

func (st *Staging) make() error {
	dir := st.session.dir
	name := turnDir(stagingDir, st.Turn)
	if err := dir.Mkdir(stagingDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := dir.Mkdir(name, 0o700); err != nil {
		return err
	}
	if err := withoutDefaultACL(dir, name); err != nil {
		return err
	}
	for _, a := range []struct {
		name string
		dir  **beneath.Dir
	}{{AreaWorkspace, &st.Workspace}, {AreaOut, &st.Out}, {AreaTmp, &st.Tmp}} {
		sub, err := st.folder(a.name)
		if err != nil {
			return err
		}
		*a.dir = sub
	}
	return nil
}

// folder makes a folder of the staging and opens it.
func (st *Staging) folder(name string) (*beneath.Dir, error) {
	name = turnDir(stagingDir, st.Turn) + "/" + name
	if err := st.session.dir.Mkdir(name, 0o700); err != nil {
		return nil, err
	}
	return st.session.dir.Sub(name)
}

// MakePackage makes the empty folder [PackageFolder]. What is put there is not
// kept.
func (st *Staging) MakePackage() error {
	return st.session.dir.Mkdir(turnDir(stagingDir, st.Turn)+"/"+PackageFolder, 0o700)
}

// Path is where a folder of the staging lies, an area or [PackageFolder], as an
// absolute path: what a fence is made of has to be named.
func (st *Staging) Path(name string) string {
	return st.session.root.join(st.session.name() + "/" + turnDir(stagingDir, st.Turn) + "/" + name)
}

// withoutDefaultACL takes from a folder the list of rights that what is made in
// it would inherit: a list found on a staged file was then put there.
func withoutDefaultACL(dir *beneath.Dir, name string) error {
	f, err := dir.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return beneath.RemoveXattr(f, beneath.XattrACLDefault)
}

func (st *Staging) closeDirs() {
	for _, d := range []*beneath.Dir{st.Workspace, st.Out, st.Tmp, st.copies} {
		if d != nil {
			d.Close()
		}
	}
}

// over ends the staging's life in this process.
func (st *Staging) over() {
	st.closeDirs()
	st.session.staging = nil
}

// area returns the folder of an area that can be published from.
func (st *Staging) area(name string) (*beneath.Dir, error) {
	switch name {
	case AreaWorkspace:
		return st.Workspace, nil
	case AreaOut:
		return st.Out, nil
	case AreaTmp:
		return st.Tmp, nil
	}
	return nil, fmt.Errorf("%q is not an area of staging", name)
}

// Discard removes all that the turn staged.
func (st *Staging) Discard() error {
	defer st.over()
	return st.session.discard(st.Turn)
}

// Block keeps what the turn wrote to workspace and out in blocked/TURN, where
// nothing is published from, and removes the rest. It reports whether there was
// anything to keep.
func (st *Staging) Block() (kept bool, err error) {
	defer st.over()
	return st.session.block(st.Turn)
}

func (s *Session) discard(turn int) error {
	if err := s.dir.RemoveAll(turnDir(stagingDir, turn)); err != nil {
		return err
	}
	return s.tidy()
}

// tidy removes staging/ if it is empty: that it is there says that a turn is in
// progress or was cut short.
func (s *Session) tidy() error {
	err := s.dir.Remove(stagingDir)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (s *Session) block(turn int) (kept bool, err error) {
	from := turnDir(stagingDir, turn)
	for _, name := range []string{AreaTmp, PackageFolder, publishDir, leftDir} {
		if err := s.dir.RemoveAll(from + "/" + name); err != nil {
			return false, err
		}
	}
	for _, name := range []string{AreaWorkspace, AreaOut} {
		entries, err := s.dir.ReadDir(from + "/" + name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		kept = kept || len(entries) > 0
	}
	if !kept {
		return false, s.discard(turn)
	}
	return true, s.keep(from, turn)
}

// keep moves a folder to blocked/TURN.
func (s *Session) keep(from string, turn int) error {
	if err := s.dir.Mkdir(blockedDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := beneath.Rename(s.dir, from, s.dir, turnDir(blockedDir, turn)); err != nil {
		return err
	}
	for _, name := range []string{blockedDir, "."} {
		if err := durable.SyncFolder(s.dir, name); err != nil {
			return err
		}
	}
	return s.tidy()
}

// Realized is a staged file and where it is to be published.
type Realized struct {
	Path       string       // as ledgers spell it: of the workspace, or output/SID/…
	Area       string       // AreaWorkspace, AreaOut
	Staged     string       // its name there
	Base       *ledger.Hash // digest of what it replaces, as first seen; nil: absent
	Role       string
	Executable bool
}

// A Problem is a reason to block the turn. Code is one of record's.
type Problem struct {
	Path, Code, Message string
}

const copiers = 4 // files copied and synced at once

// Copy copies staged files into files of the host's own, which alone are
// published: mode 0644 or 0755, no attributes, durable. Nothing may still be
// able to write to the staged files. The publications are in the order of
// files; those with a problem (record.CodeUnsafeFile) are left out. It is
// called once for a turn.
func (st *Staging) Copy(ctx context.Context, files []Realized) ([]record.Publication, []Problem, error) {
	st.session.root.opts.Step("copy")
	seen := make(map[string]bool, len(files))
	for _, f := range files {
		if _, _, err := st.session.target(f.Path); err != nil {
			return nil, nil, err
		}
		if seen[f.Path] {
			return nil, nil, fmt.Errorf("%s is to be published twice", f.Path)
		}
		seen[f.Path] = true
	}
	for _, f := range files {
		for name := durable.Parent(f.Path); name != "."; name = durable.Parent(name) {
			if seen[name] {
				return nil, nil, fmt.Errorf("%s is to be published as a file and as the folder of %s", name, f.Path)
			}
		}
	}
	if len(files) == 0 {
		return nil, nil, nil
	}
	if st.copies == nil {
		var err error
		if st.copies, err = st.folder(publishDir); err != nil {
			return nil, nil, err
		}
	}
	type answer struct {
		publication record.Publication
		unsafe      string
		err         error
	}
	answers := make([]answer, len(files))
	var wg sync.WaitGroup
	slots := make(chan struct{}, copiers)
	for i := range files {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			a := &answers[i]
			a.publication, a.unsafe, a.err = st.copy(ctx, i, files[i])
		})
	}
	wg.Wait()
	var publications []record.Publication
	var problems []Problem
	for i, a := range answers {
		switch {
		case a.err != nil:
			return nil, nil, fmt.Errorf("copying %s: %w", files[i].Path, a.err)
		case a.unsafe != "":
			problems = append(problems, Problem{files[i].Path, record.CodeUnsafeFile, a.unsafe})
		default:
			// Copies are numbered as publications are.
			if n := len(publications); n != i {
				if err := beneath.Rename(st.copies, strconv.Itoa(i), st.copies, strconv.Itoa(n)); err != nil {
					return nil, nil, err
				}
			}
			publications = append(publications, a.publication)
		}
	}
	if len(publications) == 0 {
		return nil, problems, nil
	}
	return publications, problems, st.syncCopies()
}

// syncCopies makes the names of the copies durable.
func (st *Staging) syncCopies() error {
	if err := st.copies.Sync(); err != nil {
		return err
	}
	for _, name := range []string{turnDir(stagingDir, st.Turn), stagingDir, "."} {
		if err := durable.SyncFolder(st.session.dir, name); err != nil {
			return err
		}
	}
	return nil
}

// copy makes publish/i of a staged file. Unsafe says why it may not be
// published.
func (st *Staging) copy(ctx context.Context, i int, r Realized) (p record.Publication, unsafe string, err error) {
	area, err := st.area(r.Area)
	if err != nil {
		return p, "", err
	}
	src, err := area.OpenFile(r.Staged, os.O_RDONLY, 0)
	switch {
	case errors.Is(err, beneath.ErrLink):
		return p, "a symbolic link", nil
	case errors.Is(err, fs.ErrNotExist):
		return p, "it is gone", nil
	case err != nil:
		// A socket cannot be opened; whatever it is, it is not publishable.
		if info, e := area.Stat(r.Staged); e == nil && !info.Mode.IsRegular() {
			return p, beneath.KindOf(info.Mode), nil
		}
		return p, "", err
	}
	defer src.Close()
	before, err := beneath.StatFile(src)
	if err != nil {
		return p, "", err
	}
	if unsafe, err = unfit(src, before); unsafe != "" || err != nil {
		return p, unsafe, err
	}
	p = record.Publication{Path: r.Path, Role: r.Role, Base: r.Base, Executable: r.Executable}
	sum, failed := duplicate(ctx, st.copies, strconv.Itoa(i), src, before.Size, r.Executable)
	p.SHA256, p.Size = sum, before.Size
	after, err := beneath.StatFile(src)
	if err == nil && (!after.Same(before) || after.Nlink != before.Nlink) {
		return p, "it was changed while it was copied", nil
	}
	return p, "", errors.Join(failed, err)
}

// unfit says why an open file may not be published, or be replaced, "" if it
// may.
func unfit(f *os.File, info beneath.Info) (string, error) {
	switch {
	case !info.Mode.IsRegular():
		return beneath.KindOf(info.Mode), nil
	case info.Nlink != 1:
		return fmt.Sprintf("a file with %d names (hard links)", info.Nlink), nil
	case info.Mode&fs.ModeSetuid != 0:
		return "a set-uid file", nil
	case info.Mode&fs.ModeSetgid != 0:
		return "a set-gid file", nil
	case info.Mode&fs.ModeSticky != 0:
		return "a file with the sticky bit", nil
	}
	for _, x := range []struct{ name, is string }{
		{beneath.XattrCapability, "a file with Linux capabilities"},
		{beneath.XattrACLAccess, "a file with an access control list"},
	} {
		has, err := beneath.HasXattr(f, x.name)
		if err != nil {
			return "", err
		}
		if has {
			return x.is, nil
		}
	}
	return "", nil
}

// duplicate makes a durable new file of the content of src, of the mode that
// published files have, and returns its digest. The folder is not synced.
func duplicate(ctx context.Context, dir *beneath.Dir, name string, src *os.File, size int64, executable bool) (h ledger.Hash, err error) {
	dst, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return h, err
	}
	defer func() {
		if closed := dst.Close(); err == nil {
			err = closed
		}
		if err != nil {
			err = errors.Join(err, dir.Remove(name))
		}
	}()
	n, sum, err := beneath.CopyHash(ctx, dst, src, size)
	if err != nil {
		return h, err
	}
	if n != size {
		return h, fmt.Errorf("%d bytes read of %d", n, size)
	}
	if err := beneath.RemoveXattr(dst, beneath.XattrACLAccess); err != nil {
		return h, err
	}
	mode := fs.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	if err := dst.Chmod(mode); err != nil {
		return h, err
	}
	return sum, dst.Sync()
}
