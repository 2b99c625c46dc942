package gate

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/confine"
)

// Bounds of what is passed to a program, which are the kernel's: execve(2).
const (
	maxWord      = 128 << 10 // bytes of one word, with its end
	maxArguments = 2 << 20   // bytes of all words and variables, with their ends and pointers
)

// An execution is one command from its preparation to its end.
type execution struct {
	g       *Gate
	fence   *confine.Report // the canary's
	places  inView
	seen    []string // folders that every command sees, without links
	program *runnable
	dir     string // where it starts, as a ledger spells names
	stdin   []byte
	spec    confine.Spec
	view    *view
	argv    []string // as the guest passed it

	stdout, stderr capture
	into           *os.File // what gets standard output instead
	intoName       name
	lost           error // why what it said could not all be kept
}

// inView is where a command sees the folders of its turn.
type inView struct{ workspace, out, tmp, pkg string }

// prepareExec does all that can fail before it is clear that a command runs.
// Nothing of it has an effect that lasts.
func (g *Gate) prepareExec(rule capability.Command, c Command) (*execution, *ExecError) {
	x := &execution{g: g, argv: c.Argv, stdin: c.Stdin}
	if no := x.findFence(); no != nil {
		return nil, no
	}
	x.places = inView{viewRoot, "/" + outDir, "/" + tmpDir, "/" + packageDir}
	at := g.cfg.Commands.Places
	if x.lower() {
		x.places = inView{at.Workspace, at.Out, at.Tmp, at.Package}
	}
	x.spec.System, x.seen = systemFolders(g.cfg.Commands.Path)
	var no *ExecError
	if x.spec.Limits, no = x.limits(c); no != nil {
		return nil, no
	}
	if x.program, no = x.findProgram(c.Argv[0]); no != nil {
		return nil, no
	}
	if no := x.arguments(c.Argv[1:]); no != nil {
		return nil, no
	}
	if no := x.startIn(rule, c.Dir); no != nil {
		return nil, no
	}
	if no := x.hasView(); no != nil {
		return nil, no
	}
	g.unpack()
	if x.view, no = g.viewOf(); no != nil {
		return nil, no
	}
	x.spec.Tier, x.spec.Hidden = x.fence.Tier, g.cfg.Commands.Hidden
	x.spec.Binds = slices.Concat(x.view.binds, []confine.Bind{
		{Root: at.Package, Name: ".", Target: x.places.pkg, Access: x.packageAccess()},
		{Root: at.Out, Name: ".", Target: x.places.out, Access: confine.Write},
		{Root: at.Tmp, Name: ".", Target: x.places.tmp, Access: confine.Scratch},
	})
	if !slices.ContainsFunc(x.view.binds, func(b confine.Bind) bool { return within(b.Target, x.places.workspace) }) {
		// Nothing is seen of it, and nothing is staged: it is an empty folder.
		x.spec.Binds = append(x.spec.Binds, confine.Bind{Root: at.Staged, Name: ".", Target: x.places.workspace, Access: confine.Read})
	}
	if no := x.redirect(c.StdoutTo); no != nil {
		return nil, no
	}
	return x, nil
}

// findFence asks for the fence that this machine holds.
func (x *execution) findFence() *ExecError {
	report, err := x.g.cfg.Commands.Fence(x.g.ctx)
	x.g.checkContext()
	if err == nil {
		x.fence = report
		return nil
	}
	message := "the command is granted, but this machine cannot hold it in a fence: "
	var missing *confine.MissingError
	if !errors.As(err, &missing) {
		return &ExecError{abi.CodeUnsupported, message + "trying one failed"}
	}
	return &ExecError{abi.CodeUnsupported, message + missing.Layer + ": " + firstSentence(missing.Remedy)}
}

// firstSentence is the first thing of several to do, which is enough for a guest:
// who runs it is told all of them.
func firstSentence(remedy string) string {
	first, _, _ := strings.Cut(remedy, "; ")
	return first
}

// lower reports whether the fence is the one without namespaces, in which
// everything is seen where it lies.
func (x *execution) lower() bool { return x.fence.Tier == confine.Landlock }

// hasView refuses a command that would need a view where there is none: nothing is
// seen in the place of what lies in the workspace.
func (x *execution) hasView() *ExecError {
	if !x.lower() {
		return nil
	}
	for _, n := range x.g.staged {
		if n.name.area == workspace && !n.folder {
			return &ExecError{abi.CodeUnsupported, "the turn wrote to the workspace, and without namespaces no command can see that in its place; let it write to /out or /tmp until its commands have run"}
		}
	}
	return nil
}

// packageAccess is what a command may do with the files of the package: run one,
// if that is its program.
func (x *execution) packageAccess() confine.Access {
	if x.program.inPackage {
		return confine.Execute
	}
	return confine.Read
}

// limits are those of the command: the operator's, what its turn has left, and
// what the guest asked for.
func (x *execution) limits(c Command) (confine.Limits, *ExecError) {
	g := x.g
	l := g.cfg.Commands.Limits
	left := g.cfg.Commands.Time - g.commanded
	if left <= 0 {
		return l, &ExecError{abi.CodeLimit, fmt.Sprintf("the commands of this turn have used up their %v", g.cfg.Commands.Time)}
	}
	l.Time = lesser(l.Time, left)
	if most := g.cfg.Commands.Kept; most > 0 {
		if g.kept >= most {
			return l, &ExecError{abi.CodeLimit, fmt.Sprintf("of what the commands of this turn say and could see, the session keeps no more than %v", archive.Size(most))}
		}
		l.Output = lesser(l.Output, most-g.kept)
	}
	if c.Timeout > 0 {
		l.Time = lesser(l.Time, c.Timeout)
	}
	// The fence counts /out and /tmp together; each by itself is held when it is
	// looked at what was left in them.
	files, room := g.scratch.maxFiles+g.staging.maxFiles, g.scratch.maxBytes+g.staging.maxBytes
	for _, n := range g.staged {
		if n.name.area == workspace {
			files, room = files-1, room-n.size
		}
	}
	l.Files = lesser(l.Files, max(int(files), 1))
	l.Bytes = lesser(l.Bytes, max(room, 1))
	l.FileSize = lesser(l.FileSize, l.Bytes)
	if c.StdoutTo == "" {
		l.Output = lesser(l.Output, abi.MaxBody) // it fits a reply
	} else {
		l.Output = g.scratch.maxBytes
	}
	return l, nil
}

// lesser is the smaller of a limit, of which 0 is none, and what bounds it.
func lesser[N int | int64 | time.Duration](limit, most N) N {
	if limit <= 0 {
		return most
	}
	return min(limit, most)
}

// arguments completes argv and the environment: words that name files of the
// package become their paths in the view.
func (x *execution) arguments(operands []string) *ExecError {
	x.spec.Program, x.spec.Device, x.spec.Inode = x.program.path, x.program.device, x.program.inode
	x.spec.Argv = slices.Clone(x.program.argv)
	for _, word := range operands {
		name, ok := strings.CutPrefix(word, inPackage)
		switch {
		case ok:
			if _, err := x.g.cfg.Package.Stat(name); err != nil {
				return notFound("%s is not in the package", brief(word))
			}
			word = path.Join(x.places.pkg, name)
		case x.lower():
			word = x.atItsPlace(word)
		}
		x.spec.Argv = append(x.spec.Argv, word)
	}
	env, err := confine.Environment(x.g.cfg.Commands.Path, x.places.tmp, x.g.cfg.Commands.Env)
	if err != nil {
		hostFailure("make the environment of a command", err)
	}
	x.spec.Env = env
	total := 0
	for _, word := range slices.Concat(x.spec.Argv, env) {
		if strings.IndexByte(word, 0) >= 0 {
			return failedTo("a word of the command holds NUL")
		}
		if len(word) >= maxWord {
			return failedTo("a word of the command has %d bytes, and programs take fewer than %d; pass long text on standard input or in a file", len(word), maxWord)
		}
		total += len(word) + 1 + 8
	}
	if total > maxArguments {
		return failedTo("the words of the command have more than %d bytes together; pass them on standard input or in a file", maxArguments)
	}
	if len(x.stdin) > abi.MaxBody {
		return failedTo("standard input has more than %d bytes", abi.MaxBody)
	}
	return nil
}

// atItsPlace translates a word that is a path of the view, or has one behind a =,
// to what it is where there is none.
func (x *execution) atItsPlace(word string) string {
	if option, value, ok := strings.Cut(word, "="); ok {
		return option + "=" + x.atItsPlace(value)
	}
	for _, p := range x.translations() {
		if within(word, p.view) {
			return p.place + strings.TrimPrefix(word, p.view)
		}
	}
	return word
}

// asInView is what is said of a folder of the turn without where it lies.
func (x *execution) asInView(text string) string {
	if x.lower() {
		for _, p := range x.translations() {
			text = strings.ReplaceAll(text, p.place, p.view)
		}
	}
	return text
}

// A translation is a folder of a view, and where it lies without one.
type translation struct{ view, place string }

// translations are those of the folders of the turn. That of the workspace is the
// last: the others may lie in it.
func (x *execution) translations() []translation {
	return []translation{
		{"/" + outDir, x.places.out},
		{"/" + tmpDir, x.places.tmp},
		{"/" + packageDir, x.places.pkg},
		{path.Join(viewRoot, outputDir, x.g.cfg.Session), x.g.cfg.Commands.Places.Published},
		{viewRoot, x.places.workspace},
	}
}

// startIn decides where the command starts: in the workspace, the package, or a
// folder that a literal word of its rule names.
func (x *execution) startIn(rule capability.Command, dir string) *ExecError {
	n := x.g.resolve(cmp.Or(dir, "/"))
	top := (n.area == workspace || n.area == library && n.pkg == x.g.cfg.Package) && n.rel == "."
	named := slices.ContainsFunc(rule[1:], func(word string) bool {
		literal, ok := capability.Literal(word)
		return ok && path.Clean(strings.TrimPrefix(literal, viewRoot+"/")) == n.ledger
	})
	switch {
	case n.area != workspace && n.area != library, n.area == library && n.pkg != x.g.cfg.Package, !top && !named:
		return failedTo("no command starts in %s: only in the workspace, in /%s, or in a folder that its rule names", brief(dir), packageDir)
	case n.area == workspace:
		x.spec.Dir = path.Join(x.places.workspace, n.rel)
	default:
		x.spec.Dir = path.Join(x.places.pkg, n.rel)
	}
	x.dir = n.ledger
	if info, _, errno := x.g.examine(n); errno != Success || !info.Folder || !x.g.visible(n) {
		return notFound("there is no folder %s", brief(dir))
	}
	return nil
}

// redirect finds the file in /tmp that is to get the command's standard output.
func (x *execution) redirect(to string) *ExecError {
	x.stdout.most, x.stderr.most = abi.MaxBody, abi.MaxBody
	if to == "" {
		return nil
	}
	n := x.g.resolve(to)
	if n.area != tmp || n.rel == "." || n.folder || !n.storable() {
		return failedTo("standard output is kept in a file in /tmp, and %s is none", brief(to))
	}
	node := x.g.staged[n.ledger]
	switch {
	case node != nil && node.odd != "":
		return failedTo("%s cannot be written: %s", brief(to), node.odd)
	case node != nil && node.folder:
		return failedTo("%s is a folder", brief(to))
	case !x.g.folderExists(n):
		return notFound("there is no folder that %s could be in", brief(to))
	case node == nil:
		if _, err := x.g.stagingOf(tmp).Stat(n.rel); !errors.Is(err, fs.ErrNotExist) {
			return failedTo("%s cannot be written: a command left something else there", brief(to))
		}
	}
	x.intoName = n
	return nil
}
