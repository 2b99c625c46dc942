package gate

import (
	"errors"
	"unicode/utf8"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// A left is an entry found in /out or /tmp.
type left struct {
	name name
	info beneath.Info
	deep bool // a folder that is not looked into: what it holds has no name
}

// A survey is what lay in /out and /tmp before a command ran, by ledger name.
type survey map[string]left

// survey notes what lies in /out and /tmp.
func (g *Gate) survey() survey {
	s := survey{}
	for _, a := range []area{out, tmp} {
		for _, l := range g.leftIn(a) {
			s[l.name.ledger] = l
		}
	}
	return s
}

// leftIn lists what lies in /out or /tmp, and charges for it.
func (g *Gate) leftIn(a area) []left {
	g.checkContext()
	all, err := g.walkStaging(a)
	if err != nil {
		hostFailure("look at what was staged", err)
	}
	g.cfg.Charge(int64(len(all)) * 256)
	return all
}

// walkStaging lists all that lies in a staging folder, sorted by name within each
// folder, folders before what is in them. A command can have taken this process's
// right to look into a folder, which is taken back. What cannot be listed is an
// error: nobody could vouch for it.
func (g *Gate) walkStaging(a area) ([]left, error) {
	w := stagingWalk{g: g, area: a, dir: g.stagingOf(a)}
	top, err := w.dir.Stat(".")
	if err == nil {
		err = w.folder(left{name: g.stagedName(a, "."), info: top})
	}
	return w.all, err
}

type stagingWalk struct {
	g    *Gate
	area area
	dir  *beneath.Dir
	all  []left
}

// stagedName is the name of what lies at rel in a staging folder.
func (g *Gate) stagedName(a area, rel string) name {
	return name{area: a, ledger: g.ledgerName(a, rel), rel: rel}
}

func (w *stagingWalk) folder(f left) error {
	rel := f.name.rel
	if f.info.Mode&0o700 != 0o700 {
		if err := w.dir.Chmod(rel, 0o700); err != nil {
			return err
		}
	}
	entries, err := w.dir.ReadDir(rel)
	if err != nil {
		return err
	}
	children, names := make([]left, len(entries)), make([]string, len(entries))
	for i, e := range entries {
		children[i].name = w.g.stagedName(w.area, join(rel, e.Name))
		names[i] = children[i].name.rel
		if len(children[i].name.ledger) > MaxName || beneath.CheckName(names[i]) != nil {
			w.all[len(w.all)-1].deep = true // the folder itself, which was added last
			return nil
		}
	}
	w.dir.StatEach(names, func(i int, info beneath.Info, e error) {
		children[i].info, err = info, errors.Join(err, e)
	})
	if err != nil {
		return err
	}
	for _, c := range children {
		w.all = append(w.all, c)
		if c.info.Mode.IsDir() {
			if err := w.folder(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// adopt takes what a command left in /out and /tmp into the account of what is
// staged, as made by the entry of: the seq of its exec.end. What is neither a
// folder nor a file with one name of its own is taken for what it is: the guest is
// not served it, and in /out it keeps the turn from being published. Call it once
// when a command that ran has ended, with what was noted before it began.
//
// It ends the turn where more was left than may be staged, and with a violation
// where a name in /out is forbidden: when all is in the account.
func (g *Gate) adopt(before survey, of uint64) {
	a := adoption{
		g: g, before: before, of: of,
		now: survey{}, names: map[fileID]uint64{}, bases: map[string]*ledger.Hash{},
	}
	for _, area := range []area{out, tmp} {
		for _, l := range g.leftIn(area) {
			if l.deep && area == tmp {
				// Nothing in there has a name, for the guest or the host.
				if err := g.cfg.Staged.Tmp.RemoveAll(l.name.rel); err != nil {
					hostFailure("remove what a command left", err)
				}
				continue
			}
			a.all, a.now[l.name.ledger] = append(a.all, l), l
			if area == tmp && l.info.Mode.IsRegular() {
				a.names[fileID{dev: l.info.Dev, ino: l.info.Ino}]++
			}
		}
	}
	a.drop()
	for _, l := range a.all {
		a.take(l)
	}
	for _, l := range a.all {
		if l.name.area == out {
			a.judge(l)
		}
	}
}

// adoption is one adopt.
type adoption struct {
	g           *Gate
	of          uint64
	before, now survey
	all         []left
	names       map[fileID]uint64       // in /tmp: how many a file has there
	bases       map[string]*ledger.Hash // of files that another took the place of
}

// drop forgets the names that are gone, and those that lead to another file now:
// what the guest has open of these has no name any more.
func (a *adoption) drop() {
	a.g.cfg.Charge(int64(len(a.g.staged)) * 16)
	for ledgerName, n := range a.g.staged {
		if n.name.area == workspace {
			continue
		}
		now, there := a.now[ledgerName]
		was := a.before[ledgerName]
		switch {
		case !there || now.info.Mode.IsDir() != n.folder:
			a.g.drop(n)
		case !n.folder && (now.info.Dev != was.info.Dev || now.info.Ino != was.info.Ino):
			a.bases[ledgerName] = n.base
			a.g.drop(n)
		}
	}
}

// take makes a node of what was left, or brings the one there is up to date.
func (a *adoption) take(l left) {
	g, n := a.g, l.name
	g.checkContext()
	was, had := a.before[n.ledger]
	same := had && was.info.Same(l.info) && was.info.Mode == l.info.Mode && was.info.Nlink == l.info.Nlink
	known := g.staged[n.ledger]
	if known == nil {
		if had && (same || was.info.Mode.IsDir() && l.info.Mode.IsDir()) {
			return // no operation made it, or the host did for what the guest staged
		}
		known = &node{name: n, folder: l.info.Mode.IsDir(), of: a.of, base: a.base(l)}
		g.use(known, 0)
		g.staged[n.ledger] = known
	}
	known.odd = a.odd(l)
	if same || l.info.Mode.IsDir() {
		return
	}
	known.of = a.of
	more := weight(&record.Op{Path: n.ledger})
	g.admit(0, more)
	g.weight += more
	if !l.info.Mode.IsRegular() {
		g.grow(known, 0)
		return
	}
	g.grow(known, l.info.Size)
	if l.info.Mode&0o600 != 0o600 {
		if err := g.stagingOf(n.area).Chmod(n.rel, 0o600); err != nil {
			hostFailure("take what a command left", err)
		}
	}
}

// base is the digest of what a new file will replace when it is published. What
// cannot be replaced is met by the commit.
func (a *adoption) base(l left) *ledger.Hash {
	g, n := a.g, l.name
	if base, known := a.bases[n.ledger]; known || n.area != out || !l.info.Mode.IsRegular() || g.cfg.Published == nil {
		return base
	}
	base, _, _ := g.hashTarget(n)
	g.compareBase(n, base)
	return base
}

// odd says why something is not served and not published, "" if it can be.
func (a *adoption) odd(l left) string {
	n, names := l.name, uint64(1)
	if n.area == tmp {
		names = a.names[fileID{dev: l.info.Dev, ino: l.info.Ino}]
	}
	switch {
	case !utf8.ValidString(n.ledger):
		return "its name is not UTF-8"
	case l.deep:
		return "it holds names that are too long"
	case l.info.Mode.IsDir():
	case !l.info.Mode.IsRegular():
		return "it is " + beneath.KindOf(l.info.Mode)
	case l.info.Nlink != names:
		return "it has more than one link"
	}
	if !n.storable() {
		return ruleTooLong
	}
	return ""
}

// judge ends the turn if a command made a name that is forbidden.
func (a *adoption) judge(l left) {
	if _, had := a.before[l.name.ledger]; had {
		return
	}
	if v := a.g.judgeWrite(l.name); !v.permitted() {
		op := record.Op{Op: record.OpWrite, Via: record.ViaHost, Path: l.name.ledger, Flags: (Write | Create).String()}
		if l.info.Mode.IsDir() {
			op.Op, op.Flags = record.OpMkdir, ""
		}
		a.g.violate(op, v.v)
	}
}
