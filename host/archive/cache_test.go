package archive

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/ledger"
)

func newCache(t *testing.T) *Cache {
	t.Helper()
	c, err := OpenCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// library is a packed package of two files.
func library() []byte {
	return zip(good(part{"a.txt", "alpha"}, part{"b/c.txt", strings.Repeat("c", 1000)}))
}

// file writes a file of a test's own and returns its name.
func file(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keptIn are the entries of a cache.
func keptIn(t *testing.T, c *Cache) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(c.dir, "*"))
	half, _ := filepath.Glob(filepath.Join(c.dir, ".*"))
	if err != nil || len(half) > 0 {
		t.Errorf("half made: %q %v", half, err)
	}
	return list
}

// same compares two packages in all they show.
func same(t *testing.T, got, want *Package) {
	t.Helper()
	if got.Digest != want.Digest || got.Size != want.Size || !reflect.DeepEqual(got.Manifest, want.Manifest) || !reflect.DeepEqual(got.Guest, want.Guest) {
		t.Errorf("got %v %d %v %v, want %v %d %v %v", got.Digest, got.Size, got.Manifest, got.Guest, want.Digest, want.Size, want.Manifest, want.Guest)
	}
	for folder := range want.folders {
		a, err1 := got.List(folder)
		b, err2 := want.List(folder)
		if err := errors.Join(err1, err2); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: got %v, want %v, %v", folder, a, b, err)
		}
	}
	for name, e := range want.entries {
		if !e.Folder && content(t, got, name) != content(t, want, name) {
			t.Errorf("%s: another content", name)
		}
	}
}

func content(t *testing.T, p *Package, name string) string {
	t.Helper()
	r, err := p.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Whatever runs comes out of the cache as it went in: a packed package, a folder,
// a module.
func TestCacheKeeps(t *testing.T) {
	folder := t.TempDir()
	module := command()
	for name, data := range map[string]string{
		"manifest.json": `{"schema": "agenthost/package/v1", "id": "PKG-A", "version": "0.1.0", "entry": {"module": "a.wasm"}}`,
		"a.wasm":        string(module), "b.txt": "b",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var packed bytes.Buffer
	p, err := Pack(&packed, folder, PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	for name, path := range map[string]string{
		"packed": file(t, "a.tar.gz", packed.Bytes()), "library": file(t, "l.tar.gz", library()), "folder": folder, "module": file(t, "a.wasm", module),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t)
			want, err := OpenPath(path)
			if err != nil {
				t.Fatal(err)
			}
			defer want.Close()
			for round := range 3 {
				got, err := c.OpenPath(path)
				if err != nil || got.NotKept() != nil {
					t.Fatal(err, got.NotKept())
				}
				if fromCache := got.from != ""; fromCache != (round > 0) {
					t.Errorf("round %d: from the cache: %v", round, fromCache)
				}
				same(t, got, want)
				if err := errors.Join(got.Close(), got.Close()); err != nil {
					t.Error(err)
				}
			}
			if list := keptIn(t, c); len(list) != 1 {
				t.Errorf("got %q, want one entry", list)
			}
		})
	}
}

// counted counts the bytes that are read.
type counted struct {
	io.ReadSeeker
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadSeeker.Read(p)
	c.n += n
	return n, err
}

// The second time a package is read once, to take its digest, and nothing of it
// is unpacked.
func TestCacheReadsOnce(t *testing.T) {
	c := newCache(t)
	data := library()
	for round, want := range []int{2 * len(data), len(data), len(data)} {
		r := &counted{ReadSeeker: bytes.NewReader(data)}
		p, err := c.readKept(r)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if r.n != want {
			t.Errorf("round %d: %d bytes were read, want %d", round, r.n, want)
		}
		if round > 0 && len(p.unchecked) != 2 {
			t.Errorf("round %d: %d files are unchecked, want both", round, len(p.unchecked))
		}
	}
}

// A file that was swapped for another one of its size and time is another
// package.
func TestCacheGoesByContent(t *testing.T) {
	c := newCache(t)
	one, two := library(), zip(good(part{"a.txt", "omega"}, part{"b/c.txt", strings.Repeat("c", 1000)}))
	two = append(two, make([]byte, max(0, len(one)-len(two)))...)[:len(two)]
	path := file(t, "a.tar.gz", one)
	then := time.Now().Add(-time.Hour)
	digests := map[ledger.Hash]bool{}
	for range 2 {
		for _, data := range [][]byte{one, two} {
			if err := errors.Join(os.WriteFile(path, data, 0o600), os.Chtimes(path, then, then)); err != nil {
				t.Fatal(err)
			}
			p, err := c.OpenPath(path)
			if err != nil {
				t.Fatal(err)
			}
			digests[p.Digest] = true
			want := map[bool]string{true: "alpha", false: "omega"}[bytes.Equal(data, one)]
			if got := content(t, p, "a.txt"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			p.Close()
		}
	}
	if len(digests) != 2 {
		t.Errorf("got %d packages, want 2", len(digests))
	}
}

// The same bytes under a name that makes another id are another package.
func TestCacheModuleNames(t *testing.T) {
	c := newCache(t)
	for range 2 {
		for _, name := range []string{"one", "two"} {
			p, err := c.OpenPath(file(t, name+".wasm", command()))
			if err != nil || p.Manifest.ID != "PKG-LOCAL-"+strings.ToUpper(name) {
				t.Fatalf("got %s %v", p.Manifest.ID, err)
			}
			p.Close()
		}
	}
}

// What is no package is not kept, and not the cache's business.
func TestCacheBadPackages(t *testing.T) {
	c := newCache(t)
	path := file(t, "a.tar.gz", append(library(), 1))
	for range 2 {
		_, err := c.OpenPath(path)
		_, want := OpenPath(path)
		if err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	if list := keptIn(t, c); len(list) != 0 {
		t.Errorf("kept %q", list)
	}
}

// Damage of an entry is found: at once, and then the package is read anew, or
// when the file that it hit is opened.
func TestCacheDamage(t *testing.T) {
	c := newCache(t)
	path := file(t, "a.tar.gz", library())
	want, err := OpenPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	p, err := c.OpenPath(path)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	entry := keptIn(t, c)[0]
	whole, err := os.ReadFile(entry)
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string, data []byte) {
		if err := os.WriteFile(entry, data, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := c.OpenPath(path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer p.Close()
		for _, f := range want.Manifest.Files {
			r, err := p.Open(f.Path)
			if err != nil {
				if _, gone := os.Stat(entry); err.Error() != "the cache's copy of PKG-A was damaged and is removed: try again" || !os.IsNotExist(gone) {
					t.Fatalf("%s: %v, entry: %v", name, err, gone)
				}
				return
			}
			got, err := io.ReadAll(r)
			if err != nil || ledger.Sum(got) != f.SHA256 {
				t.Fatalf("%s: %s is another one: %v", name, f.Path, err)
			}
		}
		if p.Digest != want.Digest || !reflect.DeepEqual(p.Manifest, want.Manifest) {
			t.Fatalf("%s: another package", name)
		}
	}
	for i := range whole {
		data := bytes.Clone(whole)
		data[i] ^= 1 << (i % 8)
		try("flipped", data)
		if i%7 == 0 {
			try("cut", whole[:i])
		}
	}
	try("longer", append(bytes.Clone(whole), 0))
	if got, err := os.ReadFile(entry); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("it was not made again: %v", err)
	}
}

// Many at once, and somebody who cleans meanwhile.
func TestCacheAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	path := file(t, "a.tar.gz", library())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			c, err := OpenCache(dir)
			if err != nil {
				t.Error(err)
				return
			}
			for range 20 {
				p, err := c.OpenPath(path)
				if err != nil {
					t.Error(err)
					return
				}
				if _, _, err := c.Clean(func(Kept) bool { return true }); err != nil {
					t.Error(err)
				}
				r, err := p.Open("a.txt")
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := io.ReadAll(r); err != nil || string(got) != "alpha" {
					t.Errorf("got %q %v", got, err)
				}
				p.Close()
			}
		})
	}
	all.Wait()
}

func TestCacheClean(t *testing.T) {
	c := newCache(t)
	for _, path := range []string{file(t, "a.tar.gz", library()), file(t, "g.wasm", command())} {
		p, err := c.OpenPath(path)
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	old := filepath.Join(c.dir, "0123-of-another-version")
	half := filepath.Join(c.dir, ".new-1")
	for _, path := range []string{old, half} {
		if err := errors.Join(os.WriteFile(path, []byte("abc\n"), 0o600), os.Chtimes(path, time.Unix(0, 0), time.Unix(0, 0))); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	removed, freed, err := c.Clean(func(k Kept) bool { seen[k.ID+" "+k.Version] = true; return k.ID == "PKG-A" })
	if err != nil || len(removed) != 2 || freed < 1000 {
		t.Errorf("removed %v %d %v", removed, freed, err)
	}
	if want := map[string]bool{"PKG-A 0.1.0": true, "PKG-LOCAL-G 0.0.0": true}; !reflect.DeepEqual(seen, want) {
		t.Errorf("asked of %v, want %v", seen, want)
	}
	if list := keptIn(t, c); len(list) != 1 {
		t.Errorf("left %q, want the module", list)
	}
}

// Where nothing can be written the package is used all the same.
func TestCacheNotKept(t *testing.T) {
	c := newCache(t)
	if err := os.RemoveAll(c.dir); err != nil {
		t.Fatal(err)
	}
	p, err := c.OpenPath(file(t, "a.tar.gz", library()))
	if err != nil || p.NotKept() == nil || content(t, p, "a.txt") != "alpha" {
		t.Errorf("got %v, %v", err, p.NotKept())
	}
	p.Close()
}
