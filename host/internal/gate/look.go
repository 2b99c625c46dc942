package gate

import (
	"errors"
	"hash/fnv"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
)

// An Info is what a guest may know of a file or folder. Its times are the
// turn's and its serial number is made from its name, so that a turn sees the
// same on every machine.
type Info struct {
	Name   string // last element
	Folder bool
	Device bool
	Size   int64 // bytes; zero for a folder
	Serial uint64
}

func infoOf(ledgerName string, folder bool, size int64) Info {
	h := fnv.New64a()
	h.Write([]byte(ledgerName))
	return Info{Name: path.Base(ledgerName), Folder: folder, Device: ledgerName == callFile, Size: size, Serial: h.Sum64()}
}

// fixed is the Info of a folder that is always there.
func fixed(n name) (Info, string, Errno) { return infoOf(n.ledger, true, 0), "", Success }

func parentOf(rel string) string { return path.Dir(rel) }

// linkRule says in the ledger why a name that is a link does not exist.
func linkRule(err error) string {
	if errors.Is(err, beneath.ErrLink) {
		return "links are not followed"
	}
	return ""
}

// Stat says what p is.
func (g *Gate) Stat(via Via, p string) (Info, Errno) {
	g.checkContext()
	n := g.resolve(p)
	op := record.Op{Op: record.OpStat, Via: string(via), Path: n.ledger}
	// Programs look for one name a thousand times: it is judged once.
	before := g.hidden[probe{op.Op, op.Via, op.Path, op.Flags}]
	if before != nil && before.byName && g.staged[n.ledger] == nil {
		return Info{}, g.hideAgain(before)
	}
	info, decision, rule, errno := g.look(op, n)
	if decision == record.Hidden {
		errno = g.hide(op, rule)
		if s := g.hidden[probe{op.Op, op.Via, op.Path, op.Flags}]; !g.visible(n) {
			s.byName = true
		}
		return Info{}, errno
	}
	op.Decision, op.Rule = decision, rule
	if errno == Success && n.folder && !info.Folder {
		errno = NotDir
	}
	if errno == Success && !info.Folder {
		op.Size = &info.Size
	}
	return info, g.answer(op, errno)
}

// look examines a name without recording it.
func (g *Gate) look(op record.Op, n name) (info Info, decision, rule string, errno Errno) {
	verdict := g.judgeRead(n)
	seen := g.visible(n)
	if !verdict.permitted() && !seen {
		return Info{}, record.Hidden, verdict.v.Rule, NoEnt
	}
	op.Decision = decisionOr(verdict, record.Granted)
	g.touch(op)
	info, rule, errno = g.examine(n)
	switch {
	case errno == Success && info.Folder && seen, verdict.permitted() && (errno != Success || !info.Folder):
		return info, decisionOr(verdict, record.Granted), rule, errno
	case errno == Success && info.Folder:
		return Info{}, record.Hidden, "the folder holds nothing that is granted", NoEnt
	}
	return Info{}, record.Hidden, verdict.v.Rule, NoEnt
}

func decisionOr(v verdict, otherwise string) string {
	if v.permitted() {
		return v.decision
	}
	return otherwise
}

// examine says what is there, whether or not the guest may know.
func (g *Gate) examine(n name) (Info, string, Errno) {
	if node := g.staged[n.ledger]; node != nil && node.odd != "" {
		return Info{}, node.odd, NoEnt
	} else if node != nil {
		return infoOf(n.ledger, node.folder, node.size), "", Success
	}
	switch n.area {
	case nowhere:
		return Info{}, "", NoEnt
	case virtual:
		return fixed(n)
	case library:
		return g.examineLibrary(n)
	case device:
		return infoOf(n.ledger, false, 0), "", Success
	case rights:
		return infoOf(n.ledger, false, int64(len(g.cfg.Rights))), "", Success
	}
	if n.rel == "." {
		return fixed(n)
	}
	dir, exists := g.dirOf(n.area)
	if !exists {
		return Info{}, "", NoEnt
	}
	found, err := dir.Stat(n.rel)
	if err != nil {
		return Info{}, linkRule(err), errnoOf(err)
	}
	if rule := g.servableStat(found, n, dir); rule != "" {
		return Info{}, rule, NoEnt
	}
	if found.Mode.IsDir() {
		return fixed(n)
	}
	return infoOf(n.ledger, false, found.Size), "", Success
}

// servableStat is servable for what is not opened. Only the first of each device
// is, to ask what filesystem it is on.
func (g *Gate) servableStat(info beneath.Info, n name, dir *beneath.Dir) string {
	if _, known := g.storage[info.Dev]; known || !info.Mode.IsRegular() && !info.Mode.IsDir() {
		return g.servableInfo(info, nil, n)
	}
	f, err := dir.OpenRead(n.rel)
	if err != nil {
		return "it cannot be examined"
	}
	defer f.Close()
	opened, rule := g.servable(f, n)
	if rule == "" && opened.Dev != info.Dev {
		rule = "it was replaced meanwhile"
	}
	return rule
}

// openFolder records the listing of a folder that may be seen and returns a
// descriptor of it.
func (g *Gate) openFolder(op record.Op, n name) (*File, Errno) {
	if op.Op == record.OpOpen {
		op.Op, op.Flags = record.OpList, ""
	}
	info, decision, rule, errno := g.look(op, n)
	if decision == record.Hidden {
		return nil, g.hide(op, rule)
	}
	op.Decision, op.Rule = decision, rule
	switch {
	case errno == Success && !info.Folder:
		errno = NotDir
	case errno == Success && op.Op != record.OpList:
		errno = IsDir // it was to be read, and by one message nobody reads a folder
	}
	if errno != Success {
		return nil, g.answer(op, errno)
	}
	g.answer(op, Success)
	return g.newFile(n, Read, &File{folder: true}), Success
}

// hold counts the names of a listing that a descriptor keeps, and charges for
// them. They share a bound with the small files that descriptors keep.
func (g *Gate) hold(names []Info) (weight int64) {
	const each = 64 // bytes of an Info
	for _, info := range names {
		weight += each + int64(len(info.Name))
	}
	g.cfg.Charge(weight)
	if g.copied+weight > g.cfg.Ceiling.CopyBytes {
		panic(&Limit{Name: record.LimitListing, Max: g.cfg.Ceiling.CopyBytes})
	}
	g.copied += weight
	return weight
}

// list returns what the guest sees in a folder, sorted by bytes.
func (g *Gate) list(n name) ([]Info, Errno) {
	found := map[string]Info{}
	put := func(child string, folder bool, size int64) {
		info := infoOf(g.child(n, child).ledger, folder, size)
		info.Name = child
		found[child] = info
	}
	switch n.area {
	case virtual:
		if n.ledger == ownDir {
			put("call", false, 0)
			put("deps", true, 0)
			put("pkg", true, 0)
			put("policy.json", false, int64(len(g.cfg.Rights)))
		} else {
			for id := range g.cfg.Deps {
				put(id, true, 0)
			}
		}
	case library:
		files, err := n.pkg.List(n.rel)
		if err != nil {
			return nil, errnoOf(err)
		}
		for _, f := range files {
			put(path.Base(f.Name), f.Folder, f.Size)
		}
	default:
		if errno := g.listDisk(n, put); errno != Success {
			return nil, errno
		}
	}
	switch n.ledger {
	case ".":
		put(outDir, true, 0)
		put(tmpDir, true, 0)
	case outputDir:
		if g.visible(g.child(n, g.cfg.Session)) {
			put(g.cfg.Session, true, 0)
		}
	}
	names := make([]string, 0, len(found))
	for child := range found {
		names = append(names, child)
	}
	slices.Sort(names)
	infos := make([]Info, len(names))
	for i, child := range names {
		infos[i] = found[child]
	}
	return infos, Success
}

// listDisk puts what is on disk and visible, then what is staged over it.
func (g *Gate) listDisk(n name, put func(string, bool, int64)) Errno {
	if dir, exists := g.dirOf(n.area); exists {
		entries, err := dir.ReadDir(n.rel)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errnoOf(err)
		}
		if len(entries) > g.cfg.Ceiling.ListNames {
			panic(&Limit{Name: record.LimitListing, Max: int64(g.cfg.Ceiling.ListNames)})
		}
		g.cfg.Charge(int64(len(entries)) * 256)
		for _, e := range entries {
			child := g.child(n, e.Name)
			switch {
			case child.area != n.area:
			case e.Type.IsDir() && g.visible(child) && g.folderOf(child, true) == nil:
				put(e.Name, true, 0)
			case e.Type.IsRegular() && g.listed(child):
				put(e.Name, false, 0)
			}
		}
	}
	g.cfg.Charge(int64(len(g.staged)) * 16)
	for ledgerName, node := range g.staged {
		if path.Dir(ledgerName) == n.ledger && node.odd == "" {
			put(path.Base(ledgerName), node.folder, node.size)
		}
	}
	return Success
}

// listed reports whether a regular file of a folder is shown. Its size is not
// asked for: a listing tells names.
func (g *Gate) listed(n name) bool {
	if !g.judgeRead(n).permitted() {
		return false
	}
	if !g.cfg.Enforcer.HasForbidden() {
		return true
	}
	_, _, errno := g.examine(n)
	return errno == Success
}

// child is the name of an entry of a folder: that which the guest's path to it
// has. A workspace's own tmp, out and .agenthost are shadowed by the guest's, and
// entries whose names are not UTF-8 have no name.
func (g *Gate) child(n name, entry string) name {
	if n.area != library {
		return g.resolve(join(n.ledger, entry))
	}
	c := n
	c.rel = join(n.rel, entry)
	c.ledger = strings.TrimSuffix(n.ledger, n.rel) + c.rel
	return c
}

func join(folder, entry string) string {
	if folder == "." || folder == "" {
		return entry
	}
	return strings.TrimSuffix(folder, "/") + "/" + entry
}

// Impossible records a probe of a name that cannot exist: one that leads above
// the root, or of which path is only the beginning because it has size bytes.
func (g *Gate) Impossible(via Via, op, path string, size int64) Errno {
	g.checkContext()
	entry := record.Op{Op: op, Via: string(via), Path: printable(path, size)}
	switch op {
	case record.OpLink, record.OpSymlink, record.OpReadlink:
		return g.refuse(entry, ruleNoLinks, Perm)
	case record.OpOpen:
		return g.hiddenOpen(entry, &capability.Violation{Op: capability.Read, Subject: entry.Path, Rule: ruleImpossible})
	}
	return g.hide(entry, ruleImpossible)
}

// Missing records the call of a function that this host does not have.
func (g *Gate) Missing(via Via, function string) Errno {
	g.checkContext()
	return g.hide(record.Op{Op: record.OpCall, Via: string(via), Path: function}, "no such function; it answers nosys")
}
