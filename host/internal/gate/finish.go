package gate

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// A Realized is a file found in the staging folders when the turn ends.
type Realized struct {
	Path    string       // as ledgers spell it
	Area    string       // the staging folder it lies in: workspace, out or tmp
	Name    string       // within that folder
	Regular bool         // false: something no turn may publish
	Of      uint64       // the entry that gave it its name
	Known   bool         // false: no operation of the guest made it
	Base    *ledger.Hash // digest of what its name held when first seen, nil if nothing
}

// The names of the staging folders, as [Realized.Area] has them.
const (
	AreaWorkspace = "workspace"
	AreaOut       = "out"
	AreaTmp       = "tmp"
)

// Finish ends the guest's use of the gate: it takes the digests that are still
// to be taken, counts what was hidden more than once, looks again at every file
// that was read or declared, and lists what is staged, sorted by path. Call it
// when the instance is closed. It returns a *[HostError] if something could not
// be recorded.
func (g *Gate) Finish() (writes []Realized, problems []Problem, err error) {
	defer recoverHost(&err)
	defer g.closePending()
	for len(g.pending) > 0 {
		s := g.pending[0]
		g.pending = g.pending[1:]
		g.settle(s)
	}
	for _, key := range g.order {
		if s := g.hidden[key]; s.more > 0 {
			again := s.entry
			again.Count = s.more
			g.appendFinal(&again)
		}
	}
	g.lookAgain()
	for _, place := range []struct {
		area area
		name string
	}{{workspace, AreaWorkspace}, {out, AreaOut}, {tmp, AreaTmp}} {
		writes, err = g.realized(writes, place.area, place.name)
		if err != nil {
			return nil, nil, &HostError{Doing: "list what was staged", Err: err}
		}
	}
	slices.SortFunc(writes, func(a, b Realized) int { return strings.Compare(a.Path, b.Path) })
	for _, path := range slices.Sorted(maps.Keys(g.problems)) {
		problems = append(problems, g.problems[path])
	}
	return writes, problems, nil
}

// closePending closes the large files whose digest a failure kept from being
// taken.
func (g *Gate) closePending() {
	for _, s := range g.pending {
		s.file.Close()
	}
	g.pending = nil
}

// lookAgain finds the files that changed since they were first seen.
func (g *Gate) lookAgain() {
	for _, in := range g.cfg.Inputs {
		if g.reads[in.Path] == nil {
			g.reads[in.Path] = &read{name: g.resolve(in.Path), info: in.Info}
		}
	}
	areas := map[area][]*read{}
	for _, r := range g.reads {
		areas[r.name.area] = append(areas[r.name.area], r)
	}
	for area, reads := range areas {
		dir, exists := g.dirOf(area)
		if !exists {
			continue
		}
		slices.SortFunc(reads, func(a, b *read) int { return strings.Compare(a.name.rel, b.name.rel) })
		names := make([]string, len(reads))
		for i, r := range reads {
			names[i] = r.name.rel
		}
		dir.StatEach(names, func(i int, info beneath.Info, err error) {
			switch path := reads[i].name.ledger; {
			case errors.Is(err, fs.ErrNotExist):
				g.changed(path, "it is gone")
			case err != nil:
				g.changed(path, "it cannot be examined any more")
			case !reads[i].info.Same(info):
				g.changed(path, "it was changed while the turn ran")
			}
		})
	}
}

// realized adds what lies in one staging folder. The disk says what there is:
// the gate's own account only says where it came from.
func (g *Gate) realized(writes []Realized, a area, areaName string) ([]Realized, error) {
	all, err := g.walkStaging(a)
	for _, l := range all {
		if l.info.Mode.IsDir() && !l.deep {
			continue
		}
		w := Realized{Path: l.name.ledger, Area: areaName, Name: l.name.rel, Regular: l.info.Mode.IsRegular()}
		if node := g.staged[w.Path]; node != nil && !node.folder {
			w.Of, w.Known, w.Base = node.of, true, node.base
			w.Regular = w.Regular && node.odd == ""
		}
		if l.deep || !utf8.ValidString(w.Path) {
			w.Path, w.Regular = printable(w.Path, int64(len(w.Path))), false
		}
		writes = append(writes, w)
	}
	return writes, err
}

func (g *Gate) ledgerName(a area, rel string) string {
	switch a {
	case out:
		return path.Join(outputDir, g.cfg.Session, rel)
	case tmp:
		return path.Join(tmpDir, rel)
	}
	return rel
}

// Declared returns the declared output a realized path belongs to.
func (g *Gate) Declared(ledgerName string) (archive.Output, bool) { return g.outputs.of(ledgerName) }

// Digest records the content of a staged file, for evidence. Of is the entry that
// gave it its name: of those that a command left there are many.
func (g *Gate) Digest(path string, of uint64, sum ledger.Hash, size int64) (err error) {
	defer recoverHost(&err)
	d := &record.Digest{Of: of, SHA256: sum, Size: size}
	if g.endings[of] {
		d.Path = path
	}
	g.appendFinal(d)
	return nil
}
