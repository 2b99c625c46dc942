package archive

import (
	"bytes"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/agenthost/agenthost/ledger"
)

// Package is a package that was read and found whole. It is safe for concurrent
// use; what it hands out is invalid once it is closed.
type Package struct {
	Manifest Manifest    // not to be changed
	Digest   ledger.Hash // SHA-256 of the uncompressed tar: the package's identity
	Size     int64       // bytes of the uncompressed tar
	Guest    *Guest      // what its module declares, nil for a library; not to be changed

	entries map[string]entry  // files and folders by name; "." is the top
	folders map[string][]Info // what each folder holds, sorted by bytes

	mu      sync.Mutex
	content *store // nil once closed
	base    int64  // where offsets begin in it

	// Of a package that was opened with a cache:
	notKept   error
	from      string          // the entry
	unchecked map[string]bool // files that were not yet held against their digests
}

// Info describes a file or folder of a package.
type Info struct {
	Name   string // slash path from the package's top; "." for the top itself
	Folder bool
	Size   int64       // bytes of a file
	SHA256 ledger.Hash // of a file
}

type entry struct {
	Info
	offset int64
}

// Stat describes a file or folder. There is no error but one that is
// os.ErrNotExist.
func (p *Package) Stat(name string) (Info, error) {
	e, ok := p.entries[name]
	if !ok {
		return Info{}, notFound("file", name)
	}
	return e.Info, nil
}

// List gives what a folder holds, sorted by bytes of the names; "." is the top.
// The slice is the caller's. There is no error but one that is os.ErrNotExist,
// for a file too.
func (p *Package) List(folder string) ([]Info, error) {
	list, ok := p.folders[folder]
	if !ok {
		return nil, notFound("folder", folder)
	}
	return slices.Clone(list), nil
}

// Open gives the content of a file, the manifest's too. It fails with
// os.ErrNotExist, for a folder too, once the package is closed, and where it
// comes from a cache that was damaged.
func (p *Package) Open(name string) (*io.SectionReader, error) {
	e, ok := p.entries[name]
	if !ok || e.Folder {
		return nil, notFound("file", name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.content == nil {
		return nil, errClosed
	}
	if p.unchecked[name] {
		if err := p.verify(e); err != nil {
			return nil, err
		}
		delete(p.unchecked, name)
	}
	return io.NewSectionReader(p.content.reader(), p.base+e.offset, e.Size), nil
}

// Module gives the bytes of the guest. A library has none: a *PackageError.
func (p *Package) Module() ([]byte, error) {
	if p.Manifest.Entry == nil {
		return nil, &PackageError{What: p.Manifest.ID + " is a library and does not run", Hint: "name it in the dependencies of a package that does"}
	}
	r, err := p.Open(p.Manifest.Entry.Module)
	if err != nil {
		return nil, err
	}
	b := make([]byte, r.Size())
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return b, nil
}

// Close gives memory and temporary file back. A second call does nothing.
func (p *Package) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.content == nil {
		return nil
	}
	content := p.content
	p.content = nil
	return content.close()
}

// index fills in entries of folders, and what each folder holds.
func (p *Package) index() {
	p.entries["."] = entry{Info: Info{Name: ".", Folder: true}}
	for name := range p.entries {
		for name != "." {
			name = path.Dir(name)
			if _, ok := p.entries[name]; ok {
				break
			}
			p.entries[name] = entry{Info: Info{Name: name, Folder: true}}
		}
	}
	p.folders = make(map[string][]Info)
	for name, e := range p.entries {
		if e.Folder && p.folders[name] == nil {
			p.folders[name] = []Info{}
		}
		if name != "." {
			p.folders[path.Dir(name)] = append(p.folders[path.Dir(name)], e.Info)
		}
	}
	for _, list := range p.folders {
		slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	}
}

// store keeps content: in memory, and from a limit on in a file without a name.
type store struct {
	limit  int64
	size   int64
	memory []byte
	file   *os.File
	name   string // of the file, where the system keeps names of open files
}

func (s *store) Write(p []byte) (int, error) {
	if s.file == nil && s.size+int64(len(p)) > s.limit {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	s.size += int64(len(p))
	if s.file != nil {
		return s.file.Write(p)
	}
	s.memory = append(s.memory, p...)
	return len(p), nil
}

// spill moves what memory holds to a temporary file and unlinks it, so that
// nobody else can open it and nothing stays behind.
func (s *store) spill() error {
	f, err := os.CreateTemp("", "agenthost-package-")
	if err != nil {
		return err
	}
	s.file = f
	if err := os.Remove(f.Name()); err != nil {
		s.name = f.Name()
	}
	_, err = f.Write(s.memory)
	s.memory = nil
	return err
}

func (s *store) reader() io.ReaderAt {
	if s.file != nil {
		return s.file
	}
	return bytes.NewReader(s.memory)
}

func (s *store) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if s.name != "" {
		if removed := os.Remove(s.name); err == nil {
			err = removed
		}
	}
	return err
}
