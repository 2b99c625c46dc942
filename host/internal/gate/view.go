package gate

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

const (
	// maxBinds is how many files and folders a command can be given one by one.
	maxBinds = 4096
	// maxViewed is how many files a command can see at most.
	maxViewed = 250_000

	// viewRoot is where a command sees the workspace.
	viewRoot = "/w"
)

// A view is what a command is to see of the workspace and of what earlier turns
// published. What it can write, its program and its package are not in it. Without
// namespaces the binds are seen at their real places.
type view struct {
	binds   []confine.Bind    // each with the inode that was judged
	files   int64             // regular files
	bytes   int64             // of all files together
	listing []byte            // of the files with their digests, as record.ExecStart has it
	digest  [sha256.Size]byte // of the listing: views of one digest are equal

	seen []sight // every file, and every folder that is given whole with those in it
}

// A sight is a file or folder that a command could see, as it was judged.
type sight struct {
	dir  *beneath.Dir
	name name // its rel is within dir
	info beneath.Info
}

// viewOf expands what the turn may read into binds: by the same judgement as the
// guest's own reads, file by file, with what the turn staged in the place of what
// it replaces. A folder is given whole where all beneath it is granted, by a
// pattern such as folder/** and by the judgement of each name that is there now;
// where nothing beneath could be forbidden; and where it holds nothing but folders
// and files of one mount. Other folders are made of what they show: where that is
// nothing, they are absent.
//
// Every file is hashed, and is from now on one that the turn has read. It returns
// an error where a file does not stand still, where one has another link while
// something is forbidden, and where more is to be seen than can be given.
func (g *Gate) viewOf() (*view, *ExecError) {
	g.checkContext()
	e := &expanding{g: g, view: &view{}, covered: g.covered()}
	if g.cfg.Strict {
		e.declared = map[string]bool{}
		for name := range g.inputs {
			for ; name != "."; name = path.Dir(name) {
				e.declared[name] = true
			}
		}
	}
	top := e.folder(name{area: workspace, ledger: ".", rel: "."}, g.cfg.Workspace, nil)
	var published *shown
	if g.cfg.Published != nil {
		published = e.folder(g.resolve(outDir), g.cfg.Published, nil)
	}
	e.staged()
	e.hash()
	for _, f := range []*shown{top, published} {
		if f != nil {
			f.mix()
		}
	}
	e.bind(top, g.cfg.Commands.Places.Workspace, viewRoot)
	e.bind(published, g.cfg.Commands.Places.Published, path.Join(viewRoot, outputDir, g.cfg.Session))
	e.bindStaged()
	e.remember()
	if e.err != nil {
		return nil, e.err
	}
	return e.view, nil
}

// remember makes the listing, and the files read by the turn.
func (e *expanding) remember() {
	if e.err != nil {
		return
	}
	v := e.view
	files := make([]*shownFile, 0, len(e.files))
	size := 0
	for _, f := range e.files {
		if f.err == nil {
			files = append(files, f)
			size += len(f.name.ledger) + len("sha256: \n") + 2*sha256.Size + 22
		}
	}
	slices.SortFunc(files, func(a, b *shownFile) int { return strings.Compare(a.name.ledger, b.name.ledger) })
	v.listing = make([]byte, 0, size)
	for _, f := range files {
		v.files++
		v.bytes += f.info.Size
		v.listing = record.AppendSeen(v.listing, record.File{Path: f.name.ledger, SHA256: f.sum, Size: f.info.Size})
		if f.in != nil {
			e.g.sawFile(f.name, f.info, f.sum)
		}
	}
	v.digest = sha256.Sum256(v.listing)
	if len(v.listing) > ledger.MaxBlob {
		e.fail(abi.CodeLimit, fmt.Sprintf("the list of the %d files that the command would see has %d bytes, and at most %d are recorded; grant less", v.files, len(v.listing), ledger.MaxBlob))
	}
}

// sawFile notes that a file was read, by somebody other than the guest.
func (g *Gate) sawFile(n name, info beneath.Info, sum ledger.Hash) {
	r := g.reads[n.ledger]
	if r == nil {
		r = &read{name: n, info: info}
		g.reads[n.ledger] = r
	} else if !r.info.Same(info) {
		g.changed(n.ledger, changedBetween)
	}
	r.weighed = true
	g.sawDigest(r, sum)
}

// lookAfter marks the turn changed where something that a command could see is
// not what it was when the view was made: a file, or a folder that was given
// whole. What was changed and changed back is only seen by its times. Call it when
// the command has ended.
func (g *Gate) lookAfter(v *view) {
	for rest := v.seen; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].dir == rest[0].dir {
			n++
		}
		g.lookEach(rest[:n])
		rest = rest[n:]
	}
}

// lookEach looks again at what lies in one folder of the host.
func (g *Gate) lookEach(seen []sight) {
	names := make([]string, len(seen))
	for i, s := range seen {
		names[i] = s.name.rel
	}
	seen[0].dir.StatEach(names, func(i int, info beneath.Info, err error) {
		s := seen[i]
		switch {
		case errors.Is(err, fs.ErrNotExist):
			g.changed(s.name.ledger, "it is gone")
		case err != nil:
			g.changed(s.name.ledger, "it cannot be examined any more")
		case s.info.Same(info):
		case s.info.Mode.IsDir():
			g.changed(s.name.ledger, "it was changed while a command could see it: names in it came or went")
		default:
			g.changed(s.name.ledger, "it was changed while a command could see it")
		}
	})
}
