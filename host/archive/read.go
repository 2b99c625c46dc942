package archive

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/agenthost/agenthost/ledger"
)

// bounds are the limits one reading keeps to.
type bounds struct {
	unpacked, memory int64
}

func defaultBounds() bounds { return bounds{unpacked: maxUnpacked, memory: maxMemory} }

// ReadFile reads a packed package from a file.
func ReadFile(path string) (*Package, error) {
	// Opening a pipe would wait for somebody to write to it.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, &PackageError{What: path + " is not a file", Hint: "name the file that agenthost package pack wrote"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readFile(f, nil)
}

// readFile is ReadFile of a file that is open; cached may be nil.
func readFile(f *os.File, cached *Cache) (p *Package, err error) {
	if cached != nil {
		p, err = cached.readKept(f)
	} else {
		p, err = Read(f)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(f.Name()), err)
	}
	return p, nil
}

// Read reads a packed package to the end of r and checks all of it: the form of
// gzip and tar, the names, the manifest, the digest and size of every file, and
// that the module is one agenthost can run. It stops at 1 GiB, at 20,000 files,
// and where more than 200 bytes come out of each that went in, the first MiB not
// counted.
//
// What is wrong with the archive or its module is a *PackageError, what is wrong
// with the manifest a *ManifestError; errors of r come back wrapped.
// The caller closes the package.
func Read(r io.Reader) (*Package, error) { return read(r, defaultBounds()) }

func read(r io.Reader, b bounds) (*Package, error) {
	packed := &counter{r: bufio.NewReaderSize(r, 64<<10)}
	z, err := gzip.NewReader(packed)
	if err != nil {
		return nil, gzipError(err)
	}
	z.Multistream(false)
	p, err := readTar(&inflater{z: z, packed: packed, most: b.unpacked}, b)
	if err != nil {
		return nil, err
	}
	switch _, err := packed.ReadByte(); err {
	case io.EOF:
		return p, nil
	case nil:
		err = &PackageError{What: "something follows the end of the gzip stream", Hint: packAgain}
		return nil, errors.Join(err, p.Close())
	default:
		return nil, errors.Join(gzipError(err), p.Close())
	}
}

// gzipError tells damage of the archive from failures of its source.
func gzipError(err error) error {
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return &PackageError{What: "the archive is cut short", Hint: "fetch it again"}
	case errors.Is(err, gzip.ErrHeader):
		return &PackageError{What: "not compressed with gzip", Hint: packAgain}
	case errors.As(err, new(flate.CorruptInputError)):
		return &PackageError{What: "the gzip stream is damaged", Hint: "fetch it again"}
	case errors.Is(err, gzip.ErrChecksum):
		return &PackageError{What: "the checksum of the gzip stream is wrong", Hint: "fetch it again"}
	}
	return fmt.Errorf("read package: %w", err)
}

// counter counts the bytes that were really used: it offers ReadByte, so nothing
// above it reads ahead.
type counter struct {
	r *bufio.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// inflater bounds what comes out of a gzip stream.
type inflater struct {
	z      *gzip.Reader
	packed *counter
	n      int64
	most   int64
}

func (i *inflater) Read(p []byte) (int, error) {
	n, err := i.z.Read(p)
	i.n += int64(n)
	switch {
	case i.n > i.most:
		return 0, &PackageError{What: fmt.Sprintf("the archive unpacks to more than %s", Size(i.most))}
	case i.n > freeRatio && i.n/maxRatio > i.packed.n:
		return 0, &PackageError{What: fmt.Sprintf("the archive unpacks to more than %d times its size", maxRatio)}
	case err != nil && err != io.EOF:
		return n, gzipError(err)
	}
	return n, err
}

// readTar reads a package from its tar.
func readTar(r io.Reader, b bounds) (*Package, error) {
	p := &Package{entries: make(map[string]entry), content: &store{limit: b.memory}}
	if err := p.fill(r); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Package) fill(r io.Reader) error {
	whole := sha256.New()
	size := new(writeCounter)
	t := &tarReader{r: io.TeeReader(r, io.MultiWriter(whole, size))}
	if err := p.readManifest(t); err != nil {
		return err
	}
	listed := make(map[string]File, len(p.Manifest.Files))
	for _, f := range p.Manifest.Files {
		listed[f.Path] = f
	}
	if err := p.readFiles(t, listed); err != nil {
		return err
	}
	for _, f := range p.Manifest.Files {
		if _, ok := p.entries[f.Path]; !ok {
			return &PackageError{Where: fmt.Sprintf("file %q", f.Path), What: "listed in the manifest but not there", Hint: packAgain}
		}
	}
	p.Digest = ledger.Hash(whole.Sum(nil))
	p.Size = int64(*size)
	p.index()
	return p.checkEntry()
}

// readManifest takes the first entry, so that all that follows is known before
// it is read.
func (p *Package) readManifest(t *tarReader) error {
	name, size, err := t.next()
	switch {
	case err == io.EOF:
		return &PackageError{What: "the archive is empty", Hint: packAgain}
	case err != nil:
		return err
	case name != ManifestName:
		return t.fault(packAgain, "a package begins with manifest.json")
	case size > maxManifest:
		return t.fault("", "%d bytes, at most %d are read", size, int64(maxManifest))
	}
	data, err := io.ReadAll(t)
	if err != nil {
		return err
	}
	if p.Manifest, err = ParseManifest(data); err != nil {
		return err
	}
	p.entries[name] = entry{Info: Info{Name: name, Size: size, SHA256: ledger.Sum(data)}, offset: p.content.size}
	_, err = p.content.Write(data)
	return err
}

func (p *Package) readFiles(t *tarReader, listed map[string]File) error {
	names := newNameSet()
	last := ""
	for {
		name, size, err := t.next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := names.add(name); err != nil {
			return t.fault(packAgain, "%s", err)
		}
		f, ok := listed[name]
		switch {
		case !ok:
			return t.fault(packAgain, "the file is not listed in the manifest")
		case f.Size != size:
			return t.fault(packAgain, "%d bytes, but %d in the manifest", size, f.Size)
		case name < last:
			return t.fault(packAgain, "out of order; names are sorted by bytes")
		}
		last = name
		e := entry{Info: Info{Name: name, Size: size}, offset: p.content.size}
		sum := sha256.New()
		if _, err := io.Copy(io.MultiWriter(sum, p.content), t); err != nil {
			return err
		}
		if e.SHA256 = ledger.Hash(sum.Sum(nil)); e.SHA256 != f.SHA256 {
			return t.fault("the package was changed after it was packed", "its digest is %s, but %s in the manifest", e.SHA256, f.SHA256)
		}
		p.entries[name] = e
	}
}

// checkEntry holds the entry against the files.
func (p *Package) checkEntry() error {
	e := p.Manifest.Entry
	if e == nil {
		return nil
	}
	if info, err := p.Stat(e.Module); err != nil || info.Folder {
		return noModule(e.Module)
	}
	module, err := p.Module()
	if err != nil {
		return err
	}
	if p.Guest, err = inspectModule(module, *e); err != nil {
		return err
	}
	p.Guest.Module = p.entries[e.Module].SHA256
	if most := p.Manifest.Limits.Memory; most != 0 && p.Guest.Memory > most {
		return &ManifestError{
			Where: "limits.memory",
			What:  fmt.Sprintf("%s, but the module begins with %s", most, p.Guest.Memory),
			Hint:  "raise it, or build the module with less memory",
		}
	}
	return nil
}

// wasmPage is the unit of memories.
const wasmPage = 64 << 10

func noModule(name string) error {
	return &ManifestError{Where: "entry.module", What: fmt.Sprintf("no file %q in the package", name), Hint: "build it first, or leave entry out of a library"}
}

// writeCounter counts what is written to it.
type writeCounter int64

func (c *writeCounter) Write(p []byte) (int, error) {
	*c += writeCounter(len(p))
	return len(p), nil
}
