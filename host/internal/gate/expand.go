package gate

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/confine"
)

// covered is the names of what is staged of the workspace, and of the folders it
// lies in: none of these is seen as it is on disk.
func (g *Gate) covered() map[string]bool {
	names := map[string]bool{}
	g.cfg.Charge(int64(len(g.staged)) * 16)
	for ledgerName, node := range g.staged {
		if node.name.area == workspace {
			for ; ledgerName != "."; ledgerName = path.Dir(ledgerName) {
				names[ledgerName] = true
			}
		}
	}
	return names
}

// expanding is one view in the making. After err nothing more is done.
type expanding struct {
	g        *Gate
	view     *view
	covered  map[string]bool
	declared map[string]bool // in a strict turn: the inputs, and the folders they lie in
	files    []*shownFile
	own      []*shownFile // those of files that the turn staged
	err      *ExecError
}

// shown is a folder of which something may be seen.
type shown struct {
	sight
	mount uint64
	files []*shownFile
	subs  []*shown
	mixed bool // something in it is not seen, or not as it is on disk
}

type shownFile struct {
	subject
	name name
	in   *shown // nil of a staged file
}

// fail ends the making, for the reason that came first.
func (e *expanding) fail(code, message string) {
	if e.err == nil {
		e.err = &ExecError{code, message}
	}
}

func (e *expanding) moved(n name) {
	e.fail(abi.CodeFailed, strconv.Quote(n.ledger)+" was changed while it was looked at for the command; run it on files that stay as they are")
}

func (e *expanding) broken(n name, err error) {
	e.fail(abi.CodeFailed, "what the command is to see could not be examined: "+strconv.Quote(n.ledger)+": "+err.Error())
}

// folder finds what may be seen of a folder, nil if it is nothing. As is what it
// was when the folder it lies in was listed.
func (e *expanding) folder(n name, top *beneath.Dir, as *beneath.Info) *shown {
	if e.err != nil {
		return nil
	}
	g := e.g
	sub, err := top.Sub(n.rel)
	switch {
	case errorsOfAbsence(err):
		e.moved(n)
		return nil
	case errors.Is(err, fs.ErrPermission):
		return nil
	case err != nil:
		e.broken(n, err)
		return nil
	}
	defer sub.Close()
	f := &shown{sight: sight{dir: top, name: n}}
	if f.info, err = sub.Stat("."); err == nil {
		f.mount, err = sub.Mount(".")
	}
	switch {
	case err != nil:
		e.broken(n, err)
		return nil
	case as != nil && (as.Dev != f.info.Dev || as.Ino != f.info.Ino):
		e.moved(n)
		return nil
	case g.servableStat(f.info, n, top) != "":
		return nil
	}
	entries, err := sub.ReadDir(".")
	switch {
	case err != nil:
		e.broken(n, err)
		return nil
	case len(entries) > g.cfg.Ceiling.ListNames:
		e.fail(abi.CodeLimit, "the command would see a folder of more than "+strconv.Itoa(g.cfg.Ceiling.ListNames)+" names: "+strconv.Quote(n.ledger)+"; grant less of it")
		return nil
	}
	g.cfg.Charge(int64(len(entries)) * 256)
	children, rels := make([]name, 0, len(entries)), make([]string, 0, len(entries))
	for _, entry := range entries {
		if child := g.child(n, entry.Name); child.area == n.area && e.shows(child, entry.Type) {
			children, rels = append(children, child), append(rels, entry.Name)
		} else {
			f.mixed = true
		}
	}
	infos := make([]beneath.Info, len(rels))
	mounts := make([]uint64, len(rels))
	sub.MountEach(rels, func(i int, info beneath.Info, mount uint64, err error) {
		switch {
		case errorsOfAbsence(err):
			e.moved(children[i])
		case err != nil:
			e.broken(children[i], err)
		}
		infos[i], mounts[i] = info, mount
	})
	sub.Close() // the folders beneath are opened by their names: deep trees do not take a descriptor each
	for i, child := range children {
		f.mixed = f.mixed || mounts[i] != f.mount
		e.entry(f, child, infos[i], mounts[i])
	}
	return f
}

// shows judges a name that is in a folder.
func (e *expanding) shows(n name, kind fs.FileMode) bool {
	switch {
	case e.err != nil:
		return false
	case n.area == workspace && e.declared != nil && !e.declared[n.ledger]:
		e.g.weigh(n)
		return false
	case kind.IsRegular():
		return !(n.area == workspace && e.covered[n.ledger]) && e.g.judgeRead(n).permitted()
	case !kind.IsDir():
		return false
	case n.area == out:
		return e.g.visible(n)
	}
	e.g.weigh(n)
	return e.g.cfg.Enforcer.Reaches(capability.Read, n.ledger)
}

// entry adds what a name in a folder is, if it is served.
func (e *expanding) entry(f *shown, n name, info beneath.Info, mount uint64) {
	switch {
	case e.err != nil:
	case info.Mode.IsDir():
		if sub := e.folder(n, f.dir, &info); sub != nil {
			f.subs = append(f.subs, sub)
		} else {
			f.mixed = true
		}
	case info.Mode.IsRegular() && info.Nlink > 1 && e.g.cfg.Enforcer.HasForbidden():
		e.fail(abi.CodeFailed, strconv.Quote(n.ledger)+" has more than one link, and something is forbidden, which the command could reach by it; "+
			"copy the file, so that only this name leads to it, or grant less")
	case e.g.servableStat(info, n, f.dir) != "":
		f.mixed = true
	case len(e.files) == maxViewed:
		e.fail(abi.CodeLimit, "the command would see more than "+strconv.Itoa(maxViewed)+" files; grant less")
	default:
		file := &shownFile{subject: subject{dir: f.dir, rel: n.rel, info: info, mount: mount}, name: n, in: f}
		f.files = append(f.files, file)
		e.files = append(e.files, file)
	}
}

// staged finds what the turn staged of the workspace.
func (e *expanding) staged() {
	var nodes []*node
	for _, node := range e.g.staged {
		if node.name.area == workspace && !node.folder {
			nodes = append(nodes, node)
		}
	}
	slices.SortFunc(nodes, func(a, b *node) int { return strings.Compare(a.name.rel, b.name.rel) })
	dir := e.g.cfg.Staged.Workspace
	rels := make([]string, len(nodes))
	for i, node := range nodes {
		rels[i] = node.name.rel
	}
	dir.StatEach(rels, func(i int, info beneath.Info, err error) {
		if err != nil {
			hostFailure("examine staged "+nodes[i].name.ledger, err)
		}
		file := &shownFile{subject: subject{dir: dir, rel: rels[i], info: info}, name: nodes[i].name}
		e.own, e.files = append(e.own, file), append(e.files, file)
	})
}

// hash takes the digests of the files. Those that this process may not read are
// not seen.
func (e *expanding) hash() {
	if e.err != nil {
		return
	}
	subjects := make([]*subject, len(e.files))
	for i, f := range e.files {
		if r := e.g.reads[f.name.ledger]; f.in == nil || r == nil || !r.weighed {
			e.g.cfg.Charge(f.info.Size)
		}
		subjects[i] = &f.subject
	}
	e.g.cfg.Commands.Digests.take(e.g.ctx, subjects)
	e.g.checkContext()
	for _, f := range e.files {
		switch {
		case f.err == nil:
		case f.err == errMoved:
			e.moved(f.name)
		case errors.Is(f.err, fs.ErrPermission) && f.in != nil:
			f.in.mixed = true
		default:
			e.broken(f.name, f.err)
		}
	}
}

// bind gives a folder whole, or what is seen of it. Target is where the folder is
// seen, root where the area it lies in is found.
func (e *expanding) bind(f *shown, root, target string) {
	if f == nil || e.err != nil {
		return
	}
	if e.whole(f) {
		e.give(root, f.name, target, f.info)
		e.see(f)
		return
	}
	for _, file := range f.files {
		if file.err == nil {
			e.give(root, file.name, path.Join(target, path.Base(file.rel)), file.info)
			e.view.seen = append(e.view.seen, sight{f.dir, file.name, file.info})
		}
	}
	for _, sub := range f.subs {
		e.bind(sub, root, path.Join(target, path.Base(sub.name.rel)))
	}
}

// whole reports whether a folder can be given as it is on disk.
func (e *expanding) whole(f *shown) bool {
	n := f.name
	if f.mixed || e.g.cfg.Enforcer.ForbidsBeneath(n.ledger) {
		return false
	}
	return n.area == out || e.declared == nil && !e.covered[n.ledger] && e.g.cfg.Enforcer.GrantsBeneath(capability.Read, n.ledger)
}

// mix finds the folders that hold more than what is seen, at any depth.
func (f *shown) mix() {
	for _, sub := range f.subs {
		sub.mix()
		f.mixed = f.mixed || sub.mixed
	}
}

// see notes a folder that is given whole, and all in it.
func (e *expanding) see(f *shown) {
	e.view.seen = append(e.view.seen, f.sight)
	for _, file := range f.files {
		e.view.seen = append(e.view.seen, sight{f.dir, file.name, file.info})
	}
	for _, sub := range f.subs {
		e.see(sub)
	}
}

func (e *expanding) give(root string, n name, target string, info beneath.Info) {
	e.view.binds = append(e.view.binds, confine.Bind{
		Root: root, Name: n.rel, Target: target, Access: confine.Read, Device: info.Dev, Inode: info.Ino,
	})
}

// bindStaged gives what the turn staged of the workspace, and then counts.
func (e *expanding) bindStaged() {
	if e.err != nil {
		return
	}
	for _, f := range e.own {
		e.give(e.g.cfg.Commands.Places.Staged, f.name, path.Join(viewRoot, f.rel), f.info)
		e.view.seen = append(e.view.seen, sight{f.dir, f.name, f.info})
	}
	if len(e.view.binds) > maxBinds {
		e.fail(abi.CodeLimit, tooMany(e.view.binds))
	}
}

// tooMany says where the files lie that would have to be given one by one, and
// what to do about it.
func tooMany(binds []confine.Bind) string {
	count := map[string]int{}
	for _, b := range binds {
		count[path.Dir(b.Target)]++
	}
	folders := make([]string, 0, len(count))
	for f := range count {
		folders = append(folders, f)
	}
	slices.SortFunc(folders, func(a, b string) int {
		if count[a] != count[b] {
			return count[b] - count[a]
		}
		return strings.Compare(a, b)
	})
	var most []string
	for _, f := range folders[:min(3, len(folders))] {
		guest := strings.TrimPrefix(strings.TrimPrefix(f, viewRoot), "/")
		if guest == "" {
			guest = "."
		}
		most = append(most, strconv.Quote(guest)+" ("+strconv.Itoa(count[f])+")")
	}
	return "the command would be given " + strconv.Itoa(len(binds)) + " files and folders one by one, and no more than " + strconv.Itoa(maxBinds) +
		" can be; most of them in " + strings.Join(most, ", ") + "; grant fewer files, or folders whole, as in src/**: " +
		"a folder is whole if nothing in it is withheld, staged or a link, and no forbidden pattern could match in it"
}
