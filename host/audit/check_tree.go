package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Names of the root, as packages session and plane have them.
const (
	formatFile  = "FORMAT"
	ignoreFile  = ".gitignore"
	publishLock = "planes/publish.lock"
	changeLock  = "control/lock"
	pending     = "planes/pending"
	changeMark  = "change" // in pending
	outputTop   = "output"
	storeTop    = "packages_store"
	newPrefix   = ".new-"
	oldPrefix   = ".old-"
)

// Rights that others must not have.
const (
	private fs.FileMode = 0o077 // any
	ours    fs.FileMode = 0o022 // to write
)

// stat describes what is there, and finds what is wrong with its owner and mode.
// False: there is nothing, or it cannot be looked at.
func (c *check) stat(s *scope, path string, not fs.FileMode) (beneath.Info, bool) {
	info, err := c.dir.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return info, false
	case errors.Is(err, beneath.ErrLink), errors.Is(err, syscall.ENOTDIR):
		return info, false // found where it stands
	case err != nil:
		s.add(CodeUnreadable, path, "it cannot be looked at: %s", plain(err))
		return info, false
	}
	c.rights(s, path, info, not)
	return info, true
}

// rights finds what is wrong with owner and mode.
func (c *check) rights(s *scope, path string, info beneath.Info, not fs.FileMode) {
	if info.UID != c.uid {
		s.add(CodeOwner, path, "it belongs to user %d, not to user %d", info.UID, c.uid)
	}
	if info.Mode.Type() == fs.ModeSymlink {
		return // has no rights of its own
	}
	loose := info.Mode & not
	if loose == 0 {
		return
	}
	what := "can be read"
	if loose&0o022 != 0 {
		what = "can be written"
	}
	by := "the group"
	if loose&0o007 != 0 {
		by = "every user"
	}
	s.put(Finding{
		Code: CodePermissions, Path: path, Message: fmt.Sprintf("it %s by %s: mode %04o", what, by, info.Mode.Perm()),
		Remedy: fmt.Sprintf("chmod %04o", info.Mode.Perm()&^not),
	})
}

// folder lists a folder of the root. False: it is not there, or no folder, which
// is found.
func (c *check) folder(s *scope, path string, not fs.FileMode) ([]beneath.Entry, bool) {
	info, ok := c.stat(s, path, not)
	if !ok {
		return nil, false
	}
	if !info.Mode.IsDir() {
		s.add(CodeKind, path, "%s is there, where agenthost has a folder", beneath.KindOf(info.Mode))
		return nil, false
	}
	entries, err := c.dir.ReadDir(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.add(CodeUnreadable, path, "the folder cannot be listed: %s", plain(err))
		}
		return nil, false
	}
	return entries, true
}

// file looks at what should be a file. False: it is not there, or no file, which
// is found.
func (c *check) file(s *scope, path string, not fs.FileMode) (beneath.Info, bool) {
	info, ok := c.stat(s, path, not)
	if ok && !info.Mode.IsRegular() {
		s.add(CodeKind, path, "%s is there, where agenthost has a file", beneath.KindOf(info.Mode))
		ok = false
	}
	return info, ok
}

// orphan finds something that nobody accounts for, and says it if it is another
// spelling of one of the names that have a meaning there.
func (c *check) orphan(s *scope, path string, kind fs.FileMode, names ...string) {
	name := path[strings.LastIndexByte(path, '/')+1:]
	for _, known := range names {
		if strings.EqualFold(known, name) {
			s.add(CodeOrphan, path, "%s that nobody accounts for: the name differs from %s only in case", beneath.KindOf(kind), known)
			return
		}
	}
	s.add(CodeOrphan, path, "%s that nobody accounts for", beneath.KindOf(kind))
}

// open opens a regular file, whatever else comes in its place meanwhile. The error
// has no name in it.
func (c *check) open(path string) (*os.File, beneath.Info, error) {
	f, err := c.dir.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, beneath.Info{}, err
	}
	info, err := beneath.StatFile(f)
	if err == nil && !info.Mode.IsRegular() {
		err = errors.New(beneath.KindOf(info.Mode) + " is there")
	}
	if err != nil {
		return nil, info, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// read reads a file of at most limit bytes, which is found if it is larger or
// cannot be read.
func (c *check) read(s *scope, path string, limit int64) ([]byte, bool) {
	f, _, err := c.open(path)
	if err != nil {
		s.add(CodeUnreadable, path, "it cannot be read: %s", plain(err))
		return nil, false
	}
	defer f.Close()
	var b bytes.Buffer
	n, err := io.Copy(&b, c.reader(io.LimitReader(f, limit+1)))
	if err == nil && n > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	if err != nil {
		s.add(CodeUnreadable, path, "it cannot be read: %s", plain(err))
		return nil, false
	}
	s.checked.Files++
	return b.Bytes(), true
}

// digest hashes an open file.
func (c *check) digest(f *os.File) (ledger.Hash, error) {
	sum := sha256.New()
	_, err := io.Copy(sum, c.reader(f))
	return ledger.Hash(sum.Sum(nil)), err
}

// sameOpen reports whether an open file has that content.
func (c *check) sameOpen(f *os.File, w whole) (bool, error) {
	info, err := beneath.StatFile(f)
	if err != nil {
		return false, err
	}
	if known, ok := c.known.Load(w); ok && known.(beneath.Info).Same(info) {
		return true, nil
	}
	sum, err := c.digest(f)
	if err != nil || sum != w.digest {
		return false, err
	}
	c.known.Store(w, info)
	return true, nil
}

// reader ends with the context.
func (c *check) reader(r io.Reader) io.Reader {
	return readerFunc(func(b []byte) (int, error) {
		if err := c.ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(b)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// top looks at the root's own folder.
func (c *check) top(s *scope) {
	not := ours
	entries, ok := c.folder(s, ".", not)
	if !ok {
		return
	}
	own := map[string]bool{formatFile: false, "planes": true, outputTop: true, "control": true}
	if c.root.Control() {
		own["ledger"], own["registries"], own[storeTop] = true, true, true
	} else {
		own[ignoreFile] = false
	}
	format := false
	for _, e := range entries {
		folder, known := own[e.Name]
		switch {
		case known && !folder:
			c.file(s, e.Name, ours)
			format = format || e.Name == formatFile
		case known: // its own check looks at it
		case e.Name == newPrefix+formatFile, e.Name == newPrefix+ignoreFile && !c.root.Control():
			s.add(CodeLeftover, e.Name, "making this root was cut short")
		case !c.root.Control():
			c.orphan(s, e.Name, e.Type, formatFile, "planes", outputTop, "control")
		default: // the workspace's
			for name := range own {
				if strings.EqualFold(name, e.Name) {
					s.add(CodeCase, e.Name, "the name differs from agenthost's own %s only in case", name)
				}
			}
		}
	}
	if !format {
		s.add(CodeFormat, formatFile, "it is missing: nothing says that this folder is a root")
	}
}

// planes looks at what lies in planes/, except for sessions and packages, which
// have their own checks.
func (c *check) planes(s *scope, g *governed) {
	entries, ok := c.folder(s, "planes", private)
	if !ok {
		return
	}
	names := append([]string{"publish.lock", "pending"}, session.Planes()...)
	for _, e := range entries {
		path := "planes/" + e.Name
		switch e.Name {
		case "publish.lock":
			c.file(s, path, private)
		case "pending":
			c.pending(s)
		case "ho1", "ho2", "ho3":
			c.plane(s, e.Name)
		default:
			c.orphan(s, path, e.Type, names...)
		}
	}
}

// plane looks at the folder of one plane.
func (c *check) plane(s *scope, plane string) {
	entries, _ := c.folder(s, "planes/"+plane, ours)
	names := []string{"sessions", "ledger"}
	if c.root.Control() {
		names = append(names, "installed")
	}
	if plane == "ho2" {
		names = append(names, "work_orders", "context")
	}
	for _, e := range entries {
		if !slices.Contains(names, e.Name) {
			c.orphan(s, "planes/"+plane+"/"+e.Name, e.Type, names...)
		}
	}
}

// pending looks at the marks of what is not finished.
func (c *check) pending(s *scope) {
	entries, _ := c.folder(s, pending, private)
	for _, e := range entries {
		path := pending + "/" + e.Name
		name, half := strings.CutPrefix(e.Name, newPrefix)
		id, err := session.ParseID(name)
		switch {
		case half && err == nil:
			if !c.locked(publishLock) && !c.inUse(id) {
				s.add(CodeLeftover, path, "the mark of a commit that was not begun")
			}
		case half && name == changeMark && c.root.Control():
			if !c.locked(changeLock) {
				s.add(CodeLeftover, path, "the mark of a change that was not begun")
			}
		case e.Name == changeMark && c.root.Control():
			switch bad := plane.CheckMark(c.root); {
			case c.locked(changeLock):
			case bad != nil:
				s.add(CodeOrphan, path, "%s that is not what a change leaves: nothing is done in the control plane while it is there", beneath.KindOf(e.Type))
			default:
				s.add(CodeUnfinishedChange, path, "a change of the control plane was cut short")
			}
		case err == nil && !half:
			if !c.inUse(id) {
				s.add(CodeUnfinishedCommit, path, "a turn of %s was committed or about to be when its process ended; its files may not be in their places", id)
			}
		default:
			c.orphan(s, path, e.Type)
		}
	}
}

// inUse reports whether a process works on a session of that id, in any plane.
func (c *check) inUse(id session.ID) bool {
	for _, plane := range session.Planes() {
		if c.used(place{plane, id}) {
			return true
		}
	}
	return false
}

// used reports whether a process works on a session.
func (c *check) used(p place) bool {
	used, err := c.root.InUse(p.plane, p.id)
	return err == nil && used
}
