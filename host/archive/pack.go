package archive

import (
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/agenthost/agenthost/ledger"
)

// PackOptions change what Pack does. The zero value packs what the folder says.
type PackOptions struct {
	ID string // if not empty, the manifest's id must be this one, or is filled in
}

// rootFolder is where agenthost keeps its own files in a workspace; they are no
// part of an agent that is developed in one.
const rootFolder = ".agenthost"

// Pack writes the folder dir as a package to w and reads back what it wrote: what
// Pack made, Read accepts. It gives the package as read, which the caller closes.
//
// Everything in the folder is packed, except .agenthost at its top and folders
// that hold no file; Manifest.Files of the result is the list. Names are sorted
// by bytes, times and owners zero, modes 0644; the manifest stands first and is
// written anew, with its list of files. So equal content gives an equal tar, and
// an equal digest, everywhere; gzip may differ between versions of Go.
//
// A link, a device, a name Read would refuse, a file that changes meanwhile, and
// a mistake in the manifest are refused; errors are those of Read. Nothing
// outside dir is read, whatever becomes of the folder meanwhile.
func Pack(w io.Writer, dir string, o PackOptions) (*Package, error) {
	return pack(w, dir, o, nil)
}

// PackFile packs dir into the file at path, which appears whole and durable, or
// not at all; one that was there is replaced, and is not packed itself where it
// lies in dir. The package that comes back is the caller's to close.
func PackFile(path, dir string, o PackOptions) (*Package, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".agenthost-pack-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var leaveOut []os.FileInfo
	for _, name := range []string{f.Name(), path, path + SignatureSuffix} {
		if info, err := os.Lstat(name); err == nil {
			leaveOut = append(leaveOut, info)
		}
	}
	p, err := pack(f, dir, o, leaveOut)
	if err != nil {
		return nil, err
	}
	if err := publish(f, path); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// publish makes the temporary file f the one at path: fsync of the file, rename,
// fsync of the folder.
func publish(f *os.File, path string) error {
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if runtime.GOOS == "windows" { // has no sync of folders
		return nil
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

func pack(w io.Writer, dir string, o PackOptions, leaveOut []os.FileInfo) (*Package, error) {
	s, err := newSource(dir, o, leaveOut)
	if err != nil {
		return nil, err
	}
	defer s.root.Close()
	return readWhile(Read, func(check io.Writer) error {
		z, err := gzip.NewWriterLevel(io.MultiWriter(w, check), gzip.DefaultCompression)
		if err != nil {
			return err
		}
		if err := s.writeTar(z); err != nil {
			return err
		}
		return z.Close()
	})
}

// FromFolder gives the package that Pack would make of dir.
func FromFolder(dir string) (*Package, error) { return fromFolder(dir, nil) }

// DigestFolder gives the manifest and the digest of the package that Pack would
// make of dir, without making it: what the package's module is, is not looked at,
// nor whether dir holds more than would be packed. Nothing is written anywhere.
func DigestFolder(dir string) (Manifest, ledger.Hash, error) {
	s, err := newSource(dir, PackOptions{}, nil)
	if err != nil {
		return Manifest{}, ledger.Hash{}, err
	}
	defer s.root.Close()
	sum := sha256.New()
	if err := s.writeTar(sum); err != nil {
		return Manifest{}, ledger.Hash{}, err
	}
	return s.manifest, ledger.Hash(sum.Sum(nil)), nil
}

// fromFolder is FromFolder; cached may be nil. The manifest with its list of
// files says all that is in the package, so it is what the cache knows it by.
func fromFolder(dir string, cached *Cache) (*Package, error) {
	s, err := newSource(dir, PackOptions{}, nil)
	if err != nil {
		return nil, err
	}
	defer s.root.Close()
	k := newKey("folder")
	if cached != nil {
		k.Write(s.encoded)
		if p := cached.find(k.String()); p != nil {
			return p, nil
		}
	}
	p, err := readWhile(func(r io.Reader) (*Package, error) {
		return readTar(r, defaultBounds())
	}, s.writeTar)
	if err == nil && cached != nil {
		cached.keep(k.String(), p)
	}
	return p, err
}

// errStopped is what a writer gets when its reader has given up.
var errStopped = errors.New("the reader has stopped")

// readWhile reads a package from what write writes. Where both fail, the one
// that failed first counts.
func readWhile(read func(io.Reader) (*Package, error), write func(io.Writer) error) (*Package, error) {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		written <- err
	}()
	p, err := read(r)
	r.CloseWithError(errStopped)
	if failed := <-written; failed != nil && !errors.Is(failed, errStopped) {
		if p != nil {
			failed = errors.Join(failed, p.Close())
		}
		return nil, failed
	}
	return p, err
}

// source is a folder that is being packed. All is read through root, so that
// nothing swapped in meanwhile leads out of it.
type source struct {
	root     *os.Root
	leaveOut []os.FileInfo
	manifest Manifest
	encoded  []byte // of the manifest
}

// newSource looks at the whole folder: its names, its manifest, the digest of
// each file.
func newSource(dir string, o PackOptions, leaveOut []os.FileInfo) (_ *source, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			root.Close()
		}
	}()
	s := &source{root: root, leaveOut: leaveOut}
	files, err := s.walk(".", nil)
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	hasManifest := false
	names := newNameSet()
	for _, name := range files {
		if name == ManifestName {
			hasManifest = true
		} else if err := names.add(name); err != nil {
			return nil, fileError(name, "rename it", "%s", err)
		}
	}
	if !hasManifest {
		return nil, &PackageError{
			What: filepath.Base(dir) + " has no manifest.json",
			Hint: `the smallest is {"schema": "agenthost/package/v1", "id": "PKG-…", "version": "0.1.0", "entry": {"module": "agent.wasm"}}`,
		}
	}
	if err := s.readManifest(o); err != nil {
		return nil, err
	}
	return s, s.list(files)
}

func fileError(name, hint, format string, args ...any) error {
	return &PackageError{Where: fmt.Sprintf("file %q", name), What: fmt.Sprintf(format, args...), Hint: hint}
}

// walk adds the regular files beneath a folder of the source to files.
func (s *source) walk(folder string, files []string) ([]string, error) {
	f, err := s.root.OpenFile(folder, readFlags(), 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := e.Name()
		if folder != "." {
			name = folder + "/" + name
		}
		switch kind := e.Type(); {
		case name == rootFolder || s.leftOut(e):
		case kind.IsDir():
			if strings.Count(name, "/") >= maxNesting {
				return nil, fileError(name, "", "a folder deeper than %d", maxNesting)
			}
			if files, err = s.walk(name, files); err != nil {
				return nil, err
			}
		case kind&os.ModeSymlink != 0:
			return nil, fileError(name, "put a copy in its place", "a symbolic link; a package holds regular files only")
		case !kind.IsRegular():
			return nil, fileError(name, "take it out", "not a regular file; a package holds regular files only")
		case len(files) > maxFiles:
			return nil, &PackageError{What: fmt.Sprintf("the folder holds more than %d files", maxFiles)}
		default:
			files = append(files, name)
		}
	}
	return files, nil
}

// leftOut reports whether e is one of the files that are being written.
func (s *source) leftOut(e os.DirEntry) bool {
	if len(s.leaveOut) == 0 || !e.Type().IsRegular() {
		return false
	}
	info, err := e.Info()
	return err == nil && slices.ContainsFunc(s.leaveOut, func(w os.FileInfo) bool { return os.SameFile(w, info) })
}

// readFlags open without waiting: a FIFO swapped in for a file or a folder must
// not hold us up.
func readFlags() int {
	if runtime.GOOS == "windows" {
		return os.O_RDONLY
	}
	return os.O_RDONLY | syscall.O_NONBLOCK
}

// open opens a regular file of the source.
func (s *source) open(name string) (*os.File, error) {
	f, err := s.root.OpenFile(name, readFlags(), 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fileError(name, "", "the file changed while it was packed")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (s *source) readManifest(o PackOptions) error {
	f, err := s.open(ManifestName)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return err
	}
	m, d, ok := decodeManifest(data)
	switch {
	case o.ID == "" || !ok:
	case m.ID == "" && !d.faulted("id"):
		m.ID = o.ID
	case m.ID != o.ID:
		d.fault("id", "give the same id in both places", "the manifest says %q, but %q was asked for", m.ID, o.ID)
	}
	m.Files = nil // whatever an earlier packing wrote there
	if ok {
		m.check(d)
	}
	s.manifest = m
	return d.err()
}

// list digests the files and completes the manifest with them.
func (s *source) list(files []string) error {
	var total int64
	for _, name := range files {
		if name == ManifestName {
			continue
		}
		sum := sha256.New()
		size, err := s.copy(sum, name, maxUnpacked-total)
		if err != nil {
			return err
		}
		total += size
		s.manifest.Files = append(s.manifest.Files, File{Path: name, SHA256: ledger.Hash(sum.Sum(nil)), Size: size})
	}
	if e := s.manifest.Entry; e != nil {
		if !slices.ContainsFunc(s.manifest.Files, func(f File) bool { return f.Path == e.Module }) {
			return noModule(e.Module)
		}
	}
	var err error
	s.encoded, err = s.manifest.Encode()
	if err == nil && len(s.encoded) > maxManifest {
		err = &PackageError{Where: ManifestName, What: fmt.Sprintf("with its list of files it has %d bytes, at most %d are read", len(s.encoded), int64(maxManifest))}
	}
	return err
}

// copy copies a file of the source that has at most most bytes.
func (s *source) copy(w io.Writer, name string, most int64) (int64, error) {
	f, err := s.open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.Copy(w, io.LimitReader(f, most+1))
	if err == nil && n > most {
		err = &PackageError{What: fmt.Sprintf("the folder holds more than %s", Size(maxUnpacked))}
	}
	return n, err
}

// writeTar writes the tar. What changed since it was listed is an error: the tar
// would lie.
func (s *source) writeTar(w io.Writer) error {
	if err := writeEntry(w, ManifestName, s.encoded); err != nil {
		return err
	}
	for _, file := range s.manifest.Files {
		if _, err := w.Write(headers(file.Path, file.Size)); err != nil {
			return err
		}
		sum := sha256.New()
		size, err := s.copy(io.MultiWriter(w, sum), file.Path, file.Size)
		var p *PackageError
		if errors.As(err, &p) || err == nil && (size != file.Size || ledger.Hash(sum.Sum(nil)) != file.SHA256) {
			return fileError(file.Path, "try again", "the file changed while it was packed")
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(make([]byte, padding(size))); err != nil {
			return err
		}
	}
	return writeEnd(w)
}

func writeEntry(w io.Writer, name string, data []byte) error {
	size := int64(len(data))
	for _, b := range [][]byte{headers(name, size), data, make([]byte, padding(size))} {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func writeEnd(w io.Writer) error {
	_, err := w.Write(make([]byte, 2*blockSize))
	return err
}
