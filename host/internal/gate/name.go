package gate

import (
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
)

// MaxName is the longest name, in bytes. Longer names do not exist and cannot
// be made.
const MaxName = 4096

// An area is a part of the guest's tree with rules of its own.
type area uint8

const (
	workspace area = iota // governed by the enforcer
	out                   // the session's output folder
	tmp                   // the turn's scratch
	library               // /.agenthost/pkg and deps: read-only, no grant needed
	virtual               // /.agenthost itself, and deps: folders made of nothing
	device                // /.agenthost/call
	rights                // /.agenthost/policy.json
	nowhere               // cannot exist
)

// Where a guest finds what is not the workspace.
const (
	outDir     = "out"
	tmpDir     = "tmp"
	outputDir  = "output"
	ownDir     = ".agenthost"
	packageDir = ".agenthost/pkg"
	depsDir    = ".agenthost/deps"
	callFile   = ".agenthost/call"
	rightsFile = ".agenthost/policy.json"
)

// A name is a guest's path made canonical.
type name struct {
	area   area
	ledger string           // as ledgers and patterns spell it
	rel    string           // within the area, "." for its top
	pkg    *archive.Package // of a library name
	folder bool             // it was written with a trailing slash: only a folder has that name
}

// resolve makes a guest's slash path canonical. It is lexical: what is opened
// later is opened by the canonical name, beneath a descriptor and without
// following links, so no other file can answer to it.
func (g *Gate) resolve(p string) name {
	if len(p) > MaxName || !utf8.ValidString(p) || strings.IndexByte(p, 0) >= 0 {
		return name{area: nowhere, ledger: printable(p, int64(len(p)))}
	}
	folder := strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.")
	clean := path.Clean(strings.Trim(p, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return name{area: nowhere, ledger: clean}
	}
	first, rest, _ := strings.Cut(clean, "/")
	if rest == "" {
		rest = "."
	}
	n := name{area: workspace, ledger: clean, rel: clean, folder: folder && clean != "."}
	switch first {
	case tmpDir:
		n.area, n.rel = tmp, rest
	case outDir:
		n.area, n.rel = out, rest
		n.ledger = path.Join(outputDir, g.cfg.Session, rest)
	case outputDir:
		if sid, beneath, _ := strings.Cut(rest, "/"); sid == g.cfg.Session {
			n.area, n.rel = out, beneath
			if beneath == "" {
				n.rel = "."
			}
		}
	case ownDir:
		g.resolveOwn(&n)
	}
	if len(n.ledger) > MaxName {
		return name{area: nowhere, ledger: printable(n.ledger, int64(len(n.ledger)))}
	}
	return n
}

// maxElement is the longest element of a name that filesystems store, in bytes.
const maxElement = 255

// storable reports whether a file of that name can be made and published.
func (n name) storable() bool {
	if n.ledger != "." && beneath.CheckName(n.ledger) != nil {
		return false
	}
	for element := range strings.SplitSeq(n.ledger, "/") {
		if len(element) > maxElement {
			return false
		}
	}
	return true
}

// resolveOwn completes a name beneath /.agenthost.
func (g *Gate) resolveOwn(n *name) {
	switch {
	case n.ledger == ownDir || n.ledger == depsDir:
		n.area = virtual
	case n.ledger == callFile:
		n.area = device
	case n.ledger == rightsFile:
		n.area = rights
	case within(n.ledger, packageDir):
		n.library("pkg:", g.cfg.Package, strings.TrimPrefix(n.ledger, packageDir))
	case within(n.ledger, depsDir):
		id, rest, _ := strings.Cut(strings.TrimPrefix(n.ledger, depsDir+"/"), "/")
		if dep := g.cfg.Deps[id]; dep != nil {
			n.library("deps:"+id+"/", dep, rest)
			return
		}
		n.area = nowhere
	default:
		n.area = nowhere
	}
}

func (n *name) library(prefix string, pkg *archive.Package, rest string) {
	n.area, n.pkg, n.rel = library, pkg, strings.TrimPrefix(rest, "/")
	if n.rel == "" {
		n.rel = "."
	}
	n.ledger = prefix + n.rel
}

// within reports whether name is folder or lies beneath it.
func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}

// parent is the canonical ledger name of the folder n lies in.
func (n name) parent() string { return path.Dir(n.ledger) }

// printable is how a name that cannot exist stands in the ledger: escaped and
// cut, because the guest chose it. size is its whole length in bytes.
func printable(p string, size int64) string {
	const most = 256
	cut := ""
	if size > most {
		p, cut = p[:min(len(p), most)], "… ("+strconv.FormatInt(size, 10)+" bytes)"
	}
	q := strconv.Quote(p)
	return q[1:len(q)-1] + cut
}

// outputs answers which declared output a name belongs to.
type outputs struct {
	declared []archive.Output
	match    *capability.Enforcer
	first    map[string]int // by pattern: the first output that has it
}

func compileOutputs(declared []archive.Output, session string) (outputs, error) {
	o := outputs{declared: declared, first: make(map[string]int, len(declared))}
	patterns := make([]string, len(declared))
	for i, d := range declared {
		patterns[i] = d.Path
		if _, dup := o.first[d.Path]; !dup {
			o.first[d.Path] = i
		}
	}
	e, err := capability.New(capability.Grants{Write: patterns})
	if err != nil {
		return outputs{}, err
	}
	if o.match = e; session != anySession {
		o.match = e.Bind(session)
	}
	return o, nil
}

// of returns the first declared output that matches a name.
func (o outputs) of(ledgerName string) (archive.Output, bool) {
	grant, err := o.match.Check(capability.Write, ledgerName)
	if err != nil {
		return archive.Output{}, false
	}
	return o.declared[o.first[grant.Pattern]], true
}

// dirOf returns the folder on disk a name lives in, and whether it exists yet.
func (g *Gate) dirOf(a area) (*beneath.Dir, bool) {
	switch a {
	case workspace:
		return g.cfg.Workspace, true
	case out:
		return g.cfg.Published, g.cfg.Published != nil
	}
	return nil, false
}

// stagingOf returns the folder writes of an area land in.
func (g *Gate) stagingOf(a area) *beneath.Dir {
	switch a {
	case out:
		return g.cfg.Staged.Out
	case tmp:
		return g.cfg.Staged.Tmp
	}
	return g.cfg.Staged.Workspace
}
