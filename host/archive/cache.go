package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/internal/cache"
	"github.com/agenthost/agenthost/ledger"
)

// packagesDir is the part of a cache that holds packages.
const packagesDir = "packages"

// A Cache keeps packages unpacked, so that what was read and found whole once
// need not be unpacked and checked again. It is safe for concurrent use, also by
// several processes.
//
// A package is found by the SHA-256 of the very bytes it was read from, never by
// a file's name, size or times: whoever can write the file cannot make it pass
// for another. The cache itself is trusted, belongs to the user alone, and is
// refused otherwise. What cannot be kept, as on a full disk, is used all the
// same.
type Cache struct{ dir string }

// OpenCache opens the cache in a folder, which is made if it is absent. It fails
// if the folder is not the user's own or others may enter it.
func OpenCache(dir string) (*Cache, error) {
	if err := cache.Open(dir, packagesDir); err != nil {
		return nil, err
	}
	return &Cache{filepath.Join(dir, packagesDir)}, nil
}

// OpenPath is [OpenPath] with a cache.
func (c *Cache) OpenPath(path string) (*Package, error) { return openPath(path, c) }

// kept is the head of an entry: one line, the CRC-32C of the rest of it and JSON.
// After it come the manifest and all files, one after the other, in the order of
// the manifest.
type kept struct {
	ID       string      `json:"id"`
	Version  string      `json:"version"`
	SHA256   ledger.Hash `json:"sha256"`   // of the tar
	Size     int64       `json:"size"`     // of the tar
	Manifest int64       `json:"manifest"` // bytes of it
	CRC32C   uint32      `json:"crc32c"`   // of the manifest: finds damage, not malice
	Content  int64       `json:"content"`  // bytes after the head
	Guest    *Guest      `json:"guest,omitempty"`
}

// keptVersion is the number of what an entry is, and of what was checked before
// it was made: the manifest is checked anew at each open, but not the archive's
// form and not the module. A change of these checks needs another number.
const keptVersion = "1"

// maxHead bounds the head of an entry. A million imports do not fit, and such
// packages are not kept.
const maxHead = 32 << 10

// A key names what a package is made of.
type key struct{ hash.Hash }

// newKey begins the key of one kind of source. What tells sources of that kind
// apart is written to it.
func newKey(kind string, parts ...string) key {
	k := key{sha256.New()}
	for _, s := range append([]string{keptVersion, kind}, parts...) {
		fmt.Fprintf(k, "%d:%s", len(s), s)
	}
	return k
}

func (k key) String() string { return hex.EncodeToString(k.Sum(nil)) }

// find opens the package of a key, nil if there is no whole one.
func (c *Cache) find(k string) *Package {
	path := filepath.Join(c.dir, k)
	f, err := cache.OpenEntry(path)
	if err != nil {
		return nil
	}
	p, err := openKept(f)
	if err != nil {
		f.Close()
		return nil
	}
	p.from = path
	if info, err := f.Stat(); err == nil {
		cache.Used(path, info, time.Now())
	}
	return p
}

var errDamaged = errors.New("it is not what was written")

// readHead reads the head of an entry, and says how long it is.
func readHead(r *bufio.Reader) (h kept, size int64, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil || len(line) < 10 {
		return h, 0, errDamaged
	}
	sum, err := hex.DecodeString(string(line[:8]))
	body := line[9:]
	if err != nil || !bytes.Equal(sum, crc(body)) || json.Unmarshal(body, &h) != nil {
		return h, 0, errDamaged
	}
	return h, int64(len(line)), nil
}

func crc(b []byte) []byte {
	sum := crc32.New(castagnoli())
	sum.Write(b)
	return sum.Sum(nil)
}

// castagnoli is a table that the standard library makes once.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// openKept opens an entry. Files are held against their digests when they are
// opened.
func openKept(f *os.File) (*Package, error) {
	r := bufio.NewReaderSize(f, maxHead+64)
	h, head, err := readHead(r)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || info.Size() != head+h.Content || h.Manifest < 0 || h.Manifest > min(h.Content, maxManifest) {
		return nil, errDamaged
	}
	data := make([]byte, h.Manifest)
	if _, err := io.ReadFull(r, data); err != nil || crc32.Checksum(data, castagnoli()) != h.CRC32C {
		return nil, errDamaged
	}
	p := &Package{
		Digest: h.SHA256, Size: h.Size, Guest: h.Guest,
		entries: make(map[string]entry), content: &store{file: f, size: h.Content}, base: head, unchecked: make(map[string]bool),
	}
	if p.Manifest, err = ParseManifest(data); err != nil {
		return nil, err
	}
	at := h.Manifest
	p.entries[ManifestName] = entry{Info: Info{Name: ManifestName, Size: at, SHA256: ledger.Sum(data)}}
	for _, f := range p.Manifest.Files {
		p.entries[f.Path] = entry{Info: Info{Name: f.Path, Size: f.Size, SHA256: f.SHA256}, offset: at}
		p.unchecked[f.Path] = true
		at += f.Size
	}
	if at != h.Content {
		return nil, errDamaged
	}
	p.index()
	return p, nil
}

// keep writes an entry for a package that was just read. Where that fails there
// is none: the package is in memory and whole, and the next run tries again.
func (c *Cache) keep(k string, p *Package) { p.notKept = c.write(k, p) }

func (c *Cache) write(k string, p *Package) error {
	manifest := p.entries[ManifestName]
	data := make([]byte, manifest.Size)
	if _, err := p.content.reader().ReadAt(data, manifest.offset); err != nil && err != io.EOF {
		return err
	}
	head, err := json.Marshal(kept{
		ID: p.Manifest.ID, Version: p.Manifest.Version, SHA256: p.Digest, Size: p.Size, Manifest: manifest.Size,
		CRC32C: crc32.Checksum(data, castagnoli()), Content: p.content.size, Guest: p.Guest,
	})
	if err != nil {
		return err
	}
	if len(head) > maxHead {
		return errors.New("its module has too many imports")
	}
	if _, err := cache.Sweep(c.dir, time.Now()); err != nil {
		return err
	}
	head = append(head, '\n')
	return cache.Store(filepath.Join(c.dir, k), func(w io.Writer) error {
		if _, err := fmt.Fprintf(w, "%x %s", crc(head), head); err != nil {
			return err
		}
		_, err := io.Copy(w, io.NewSectionReader(p.content.reader(), 0, p.content.size))
		return err
	})
}

// readKept reads a packed package with a cache. The file is read once where the
// package is in the cache, else twice, and the key is taken of the very bytes
// that were unpacked.
func (c *Cache) readKept(f io.ReadSeeker) (*Package, error) {
	k := newKey("archive")
	if _, err := io.Copy(k, f); err != nil {
		return nil, fmt.Errorf("read package: %w", err)
	}
	if p := c.find(k.String()); p != nil {
		return p, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read package: %w", err)
	}
	k = newKey("archive")
	p, err := Read(io.TeeReader(f, k))
	if err != nil {
		return nil, err
	}
	c.keep(k.String(), p)
	return p, nil
}

// NotKept is why a package that was opened with a cache is not in it; nil if it
// is.
func (p *Package) NotKept() error { return p.notKept }

// verify holds a file that came from the cache against its digest.
func (p *Package) verify(e entry) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(p.content.reader(), p.base+e.offset, e.Size)); err != nil {
		return fmt.Errorf("read the cache: %w", err)
	}
	if ledger.Hash(sum.Sum(nil)) == e.SHA256 {
		return nil
	}
	if err := os.Remove(p.from); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the cache's copy of %s is damaged, and stays: %w", p.Manifest.ID, err)
	}
	return fmt.Errorf("the cache's copy of %s was damaged and is removed: try again", p.Manifest.ID)
}

// Kept is what a cache has of one package.
type Kept struct {
	ID, Version string
	SHA256      ledger.Hash // the package's digest
	Module      ledger.Hash // its module's; zero for a library
	Size        int64       // bytes on disk
	Used        time.Time   // to the hour
}

// Clean removes the packages that drop says, those that nobody can read, and
// what was left half made. A process that has one of them open keeps it. It
// returns what was removed, and how many bytes that freed.
func (c *Cache) Clean(drop func(Kept) bool) (removed []Kept, freed int64, err error) {
	freed, err = cache.Sweep(c.dir, time.Now())
	if err != nil {
		return nil, freed, err
	}
	err = c.each(func(path string, k Kept) error {
		if k.ID != "" && !drop(k) {
			return nil
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("clean the cache: %w", err)
		}
		removed, freed = append(removed, k), freed+k.Size
		return nil
	})
	return removed, freed, err
}

// each calls f with every entry; its id is empty where it cannot be read.
func (c *Cache) each(f func(path string, k Kept) error) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("read the cache: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || strings.HasPrefix(e.Name(), cache.NewPrefix) {
			continue // gone meanwhile, or being made
		}
		path := filepath.Join(c.dir, e.Name())
		k := Kept{Size: info.Size(), Used: info.ModTime()}
		if h, ok := headOf(path); ok {
			k.ID, k.Version, k.SHA256 = h.ID, h.Version, h.SHA256
			if h.Guest != nil {
				k.Module = h.Guest.Module
			}
		}
		if err := f(path, k); err != nil {
			return err
		}
	}
	return nil
}

func headOf(path string) (kept, bool) {
	f, err := cache.OpenEntry(path)
	if err != nil {
		return kept{}, false
	}
	defer f.Close()
	h, _, err := readHead(bufio.NewReaderSize(f, maxHead+64))
	return h, err == nil
}
