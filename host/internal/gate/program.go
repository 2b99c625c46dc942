package gate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// inPackage begins a word of a command that names a file of the package.
const inPackage = "pkg:"

// A runnable is what a command starts: the file that is executed, which of a
// script is its interpreter.
type runnable struct {
	path          string   // of what is executed, in the view
	device, inode uint64   // of what is executed
	argv          []string // what stands in front of the guest's operands
	inPackage     bool     // what is executed is a file of the package

	file        record.File
	interpreter *record.File // nil: it is no script

	judged []judged // files of the system that this is made of
}

// judged is a file of the system as it was when its digest was taken.
type judged struct {
	path string
	info beneath.Info
}

// A systemFile is a file that every command sees.
type systemFile struct {
	judged
	sum  ledger.Hash
	head []byte // its beginning: a line of a script's is no longer
}

func (f *systemFile) record() record.File {
	return record.File{Path: f.path, SHA256: f.sum, Size: f.info.Size}
}

// notFound and failedTo say why a command is not run.
func notFound(format string, args ...any) *ExecError {
	return &ExecError{abi.CodeNotFound, fmt.Sprintf(format, args...)}
}

func failedTo(format string, args ...any) *ExecError {
	return &ExecError{abi.CodeFailed, fmt.Sprintf(format, args...)}
}

// findProgram finds the program that the first word of a command names: a bare
// name on the operator's path, or pkg:PATH. Nothing the guest can change decides
// what it is.
func (x *execution) findProgram(word string) (*runnable, *ExecError) {
	if name, ok := strings.CutPrefix(word, inPackage); ok {
		return x.packageProgram(name)
	}
	f, no := x.onPath(word)
	if no != nil {
		return nil, no
	}
	p := &runnable{
		path: f.path, device: f.info.Dev, inode: f.info.Ino, argv: []string{word},
		file: f.record(), judged: []judged{f.judged},
	}
	if s, script := parseShebang(f.head); script {
		return p, x.interpret(p, s, word, f.path)
	}
	return p, nil
}

// packageProgram finds a program of the package, whose digest the manifest has.
func (x *execution) packageProgram(name string) (*runnable, *ExecError) {
	word := inPackage + name
	info, err := x.g.cfg.Package.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, notFound("%s is not in the package", brief(word))
	case err != nil:
		hostFailure("read "+brief(word), err)
	case info.Folder:
		return nil, failedTo("%s is a folder", brief(word))
	}
	content, err := x.g.cfg.Package.Open(name)
	if err != nil {
		hostFailure("read "+brief(word), err)
	}
	head := make([]byte, min(info.Size, maxShebang))
	if _, err := content.ReadAt(head, 0); err != nil && err != io.EOF {
		hostFailure("read "+brief(word), err)
	}
	seen := path.Join(x.places.pkg, name)
	p := &runnable{
		path: seen, argv: []string{seen}, inPackage: true,
		file: record.File{Path: word, SHA256: info.SHA256, Size: info.Size},
	}
	if s, script := parseShebang(head); script {
		p.inPackage = false
		return p, x.interpret(p, s, word, seen)
	}
	made := x.g.executable(name)
	p.device, p.inode = made.Dev, made.Ino
	return p, nil
}

// interpret has the interpreter of a script run it, as the kernel would; seen is
// where the script is in the view.
func (x *execution) interpret(p *runnable, s shebang, word, seen string) *ExecError {
	if s.wrong != "" {
		return failedTo("%s cannot be run: %s", brief(word), s.wrong)
	}
	var f *systemFile
	var no *ExecError
	if s.look != "" {
		f, no = x.onPath(s.look)
	} else {
		f, no = x.system(s.interpreter)
	}
	switch {
	case no != nil:
		return &ExecError{no.Code, fmt.Sprintf("the interpreter of %s: %s", brief(word), no.Message)}
	case bytes.HasPrefix(f.head, []byte("#!")):
		return failedTo("%s cannot be run: its interpreter %s is a script itself; name a program in its first line", brief(word), f.path)
	}
	interpreter := f.record()
	p.path, p.device, p.inode, p.interpreter = f.path, f.info.Dev, f.info.Ino, &interpreter
	p.judged = append(p.judged, f.judged)
	p.argv = append(s.argv(), seen)
	return nil
}

// onPath finds a bare name in the folders of the operator's path, as execvp(3)
// does.
func (x *execution) onPath(name string) (*systemFile, *ExecError) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return nil, failedTo("%s is not the name of a program", brief(name))
	}
	var found *ExecError
	for _, folder := range x.g.cfg.Commands.Path {
		f, no := x.system(filepath.Join(folder, name))
		switch {
		case no == nil:
			return f, nil
		case no.Code != abi.CodeNotFound && found == nil:
			found = no
		}
	}
	if found != nil {
		return nil, found
	}
	return nil, notFound("%s is in none of the folders %s; the operator can install it, or name its folder in path of the policy", brief(name), strings.Join(x.g.cfg.Commands.Path, ":"))
}

// system judges a program by its path on the machine. Links are resolved: what
// they lead to must be an executable file in a folder that every command sees.
func (x *execution) system(name string) (*systemFile, *ExecError) {
	real, err := filepath.EvalSymlinks(name)
	if errorsOfAbsence(err) {
		return nil, notFound("there is no %s", brief(name))
	} else if err != nil {
		return nil, failedTo("%s cannot be examined", brief(name))
	}
	if !slices.ContainsFunc(x.seen, func(folder string) bool { return within(real, folder) }) {
		return nil, failedTo("%s does not lie in a folder that commands see; the operator can name its folder in path of the policy", brief(name))
	}
	top, err := beneath.Open("/")
	if err != nil {
		hostFailure("open /", err)
	}
	defer top.Close()
	h, err := top.OpenRead(strings.TrimPrefix(real, "/"))
	if err != nil {
		return nil, failedTo("%s cannot be read, and so not be recorded", brief(real))
	}
	defer h.Close()
	info, err := h.Stat()
	switch {
	case err != nil:
		hostFailure("examine "+real, err)
	case !info.Mode.IsRegular() || info.Mode&0o111 == 0:
		return nil, failedTo("%s is not an executable file", brief(real))
	}
	f := &systemFile{judged: judged{real, info}, head: make([]byte, min(info.Size, maxShebang))}
	if _, err := h.ReadAt(f.head, 0); err != nil && err != io.EOF {
		hostFailure("read "+real, err)
	}
	s := &subject{dir: top, rel: strings.TrimPrefix(real, "/"), info: info}
	if s.mount, err = top.Mount(s.rel); err != nil {
		hostFailure("examine "+real, err)
	}
	x.g.cfg.Commands.Digests.take(x.g.ctx, []*subject{s})
	x.g.checkContext()
	if s.err != nil {
		return nil, failedTo("%s was changed while it was looked at", brief(real))
	}
	f.sum = s.sum
	return f, nil
}

// lookAtPrograms marks the turn changed where a file of the system that a command
// was made of is not what was judged.
func (g *Gate) lookAtPrograms(p *runnable) {
	for _, j := range p.judged {
		top, err := beneath.Open(filepath.Dir(j.path))
		if err != nil {
			g.changed(j.path, "it cannot be examined any more")
			continue
		}
		info, err := top.Stat(filepath.Base(j.path))
		top.Close()
		if err != nil || !info.Same(j.info) {
			g.changed(j.path, "it was changed while a command ran that was made of it")
		}
	}
}

// brief is a word of the guest's or a path in a message: no longer than a person
// reads.
func brief(word string) string { return printable(word, int64(len(word))) }

// A PathError says why programs cannot be looked up in a folder that an operator
// named.
type PathError struct{ Folder, What string }

func (e *PathError) Error() string { return fmt.Sprintf("%q %s", e.Folder, e.What) }

// own are the places of a view that every command has for itself, and what is
// beneath them is not the machine's.
var own = []string{viewRoot, "/" + outDir, "/" + tmpDir, "/" + ownDir, confine.Home, "/dev", "/etc", "/proc"}

// ProgramFolders resolves the folders of an operator's path. Those that every
// command sees anyhow stand as they are written, those that do not exist are left
// out, and the others, which commands then see too, by their real paths. Writable
// are folders in which agents write, wherever they lie. The error is a
// *[PathError].
func ProgramFolders(path, writable []string) (folders []string, err error) {
	for _, folder := range path {
		if !slices.ContainsFunc(confine.System(), func(s string) bool { return within(folder, s) }) {
			real, absent := filepath.EvalSymlinks(folder)
			if absent != nil {
				real = folder
			}
			overlaps := func(other string) bool { return within(real, other) || within(other, real) || real == "/" }
			switch {
			case slices.ContainsFunc(confine.System(), func(s string) bool { return within(real, s) }):
			case slices.ContainsFunc(append(confine.System(), own...), overlaps):
				return nil, &PathError{folder, "cannot be shown to commands: they have one of their own in its place"}
			case slices.ContainsFunc(writable, func(w string) bool {
				w, err := filepath.EvalSymlinks(w)
				return err == nil && overlaps(w)
			}):
				return nil, &PathError{folder, "is where agents write: its programs would not be the operator's"}
			}
			if absent != nil {
				continue
			}
			folder = real
		}
		if !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	return folders, nil
}

// systemFolders are the folders of the machine that a command sees, with those that
// the operator's path adds to them, and where all of them really are.
func systemFolders(path []string) (system, seen []string) {
	system = confine.System()
	for _, folder := range path {
		if !slices.ContainsFunc(system, func(s string) bool { return within(folder, s) }) {
			system = append(system, folder)
		}
	}
	for _, folder := range system {
		if real, err := filepath.EvalSymlinks(folder); err == nil {
			seen = append(seen, real)
		}
	}
	return outermost(system), seen
}

// outermost leaves out folders beneath others of the list.
func outermost(folders []string) []string {
	return slices.DeleteFunc(slices.Clone(folders), func(f string) bool {
		return slices.ContainsFunc(folders, func(other string) bool { return other != f && within(f, other) })
	})
}
