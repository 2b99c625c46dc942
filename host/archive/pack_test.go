package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const smallManifest = `{"schema": "agenthost/package/v1", "id": "PKG-T0-SMALL-001", "version": "0.1.0"}`

// folder makes a folder of the files given as name, content.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(dir, filepath.FromSlash(files[i]))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func smallFolder(t *testing.T) string {
	return folder(t,
		"manifest.json", smallManifest,
		"README.md", "# small\n",
		"lib/b.txt", "b",
		"lib/a.txt", "",
		"lib-1", "sorts before lib/",
		"lib/"+strings.Repeat("long/", 30)+"Grüße.txt", "ß",
	)
}

// mustPack packs a folder and gives the package and the archive.
func mustPack(t *testing.T, dir string) (*Package, []byte) {
	t.Helper()
	var b bytes.Buffer
	p, err := Pack(&b, dir, PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, b.Bytes()
}

// smallDigest is the identity of smallFolder, on every machine and for ever.
const smallDigest = "sha256:0892a801e05fd0dfea4b1326788f5128d2ba3deb245c005f9851eec9d350b777"

func TestPackIsDeterministic(t *testing.T) {
	dir := smallFolder(t)
	p, archive := mustPack(t, dir)
	if got := p.Digest.String(); got != smallDigest {
		t.Errorf("digest is %s, want %s", got, smallDigest)
	}
	again, archiveAgain := mustPack(t, dir)
	if again.Digest != p.Digest || !bytes.Equal(archive, archiveAgain) {
		t.Error("the same folder gave another archive")
	}

	other := smallFolder(t)
	for _, name := range []string{"README.md", "lib/b.txt", "manifest.json"} {
		path := filepath.Join(other, name)
		if err := errors.Join(os.Chmod(path, 0o700), os.Chtimes(path, time.Unix(1, 0), time.Unix(2, 0))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(other, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(other, ".agenthost", "planes"), 0o755); err != nil {
		t.Fatal(err)
	}
	changed, archiveChanged := mustPack(t, other)
	if changed.Digest != p.Digest || !bytes.Equal(archive, archiveChanged) {
		t.Error("modes, times, an empty folder or .agenthost changed the archive")
	}
	fromFolder, err := FromFolder(other)
	if err != nil {
		t.Fatal(err)
	}
	defer fromFolder.Close()
	if fromFolder.Digest != p.Digest || fromFolder.Size != p.Size {
		t.Error("FromFolder gave another package than Pack")
	}
	manifest, digest, err := DigestFolder(other)
	if err != nil || digest != p.Digest || len(manifest.Files) != len(p.Manifest.Files) {
		t.Errorf("DigestFolder gave %v and %d files (%v), want %v and %d", digest, len(manifest.Files), err, p.Digest, len(p.Manifest.Files))
	}
}

func TestPackReadPack(t *testing.T) {
	p, _ := mustPack(t, smallFolder(t))
	dir := t.TempDir()
	var unpack func(folder string)
	unpack = func(folder string) {
		list, err := p.List(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range list {
			path := filepath.Join(dir, filepath.FromSlash(info.Name))
			if info.Folder {
				if err := os.Mkdir(path, 0o755); err != nil {
					t.Fatal(err)
				}
				unpack(info.Name)
				continue
			}
			r, err := p.Open(info.Name)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil || int64(len(data)) != info.Size {
				t.Fatalf("%s: %d bytes, %v", info.Name, len(data), err)
			}
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	unpack(".")
	again, _ := mustPack(t, dir)
	if again.Digest != p.Digest {
		t.Errorf("packed again the digest is %s, want %s", again.Digest, p.Digest)
	}
}

// TestOtherToolsRead holds the tar against another reader of the format.
func TestOtherToolsRead(t *testing.T) {
	p, packed := mustPack(t, smallFolder(t))
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	want := append([]File{{Path: ManifestName}}, p.Manifest.Files...)
	for i := 0; ; i++ {
		h, err := r.Next()
		if err == io.EOF {
			if i != len(want) {
				t.Errorf("%d entries, want %d", i, len(want))
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != want[i].Path || h.Mode != 0o644 || h.Uid != 0 || h.ModTime.Unix() != 0 || i > 0 && h.Size != want[i].Size {
			t.Errorf("entry %d is %+v, want %s", i, h, want[i].Path)
		}
	}
}

func TestPackage(t *testing.T) {
	p, _ := mustPack(t, smallFolder(t))
	top, err := p.List(".")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, info := range top {
		names = append(names, info.Name)
	}
	if got, want := strings.Join(names, " "), "README.md lib lib-1 manifest.json"; got != want {
		t.Errorf("the top holds %s, want %s", got, want)
	}
	if info, err := p.Stat("lib/b.txt"); err != nil || info.Size != 1 || info.Folder || info.SHA256 != p.Manifest.Files[3].SHA256 {
		t.Errorf("stat gave %+v, %v", info, err)
	}
	if info, err := p.Stat("lib"); err != nil || !info.Folder {
		t.Errorf("stat of a folder gave %+v, %v", info, err)
	}
	for _, name := range []string{"", "/", "lib/", "./lib", "lib/c", "../x", "LIB", "lib/b.txt/x"} {
		if _, err := p.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("stat %q: %v", name, err)
		}
		if _, err := p.List(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("list %q: %v", name, err)
		}
		if _, err := p.Open(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("open %q: %v", name, err)
		}
	}
	if _, err := p.Open("lib"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open of a folder: %v", err)
	}
	if _, err := p.List("README.md"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("list of a file: %v", err)
	}
	wantError(t, "module of a library", second(p.Module()), "package: PKG-T0-SMALL-001 is a library and does not run; name it in the dependencies of a package that does")

	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			r, err := p.Open("README.md")
			if err != nil {
				t.Error(err)
				return
			}
			if data, err := io.ReadAll(r); err != nil || string(data) != "# small\n" {
				t.Errorf("read %q, %v", data, err)
			}
		})
	}
	group.Wait()
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
	wantError(t, "open after close", second(p.Open("README.md")), "the package is closed")
}

func second[T any](_ T, err error) error { return err }

func wantError(t *testing.T, what string, err error, want string) {
	t.Helper()
	got := "no error"
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func TestPackRefusals(t *testing.T) {
	const m = smallManifest
	for _, test := range []struct {
		name  string
		files []string
		alter func(dir string) error
		want  string
	}{
		{
			"no manifest",
			[]string{"a", ""},
			nil,
			`package: DIR has no manifest.json; the smallest is {"schema": "agenthost/package/v1", "id": "PKG-…", "version": "0.1.0", "entry": {"module": "agent.wasm"}}`,
		},
		{
			"link",
			[]string{"manifest.json", m},
			func(dir string) error { return os.Symlink("manifest.json", dir+"/x") },
			`package: file "x": a symbolic link; a package holds regular files only; put a copy in its place`,
		},
		{
			"link to a folder outside",
			[]string{"manifest.json", m},
			func(dir string) error { return os.Symlink("/etc", dir+"/etc") },
			`package: file "etc": a symbolic link; a package holds regular files only; put a copy in its place`,
		},
		{
			"the manifest is a link",
			[]string{"x", m},
			func(dir string) error { return os.Symlink("x", dir+"/manifest.json") },
			`package: file "manifest.json": a symbolic link; a package holds regular files only; put a copy in its place`,
		},
		{
			"the manifest is a folder",
			[]string{"manifest.json/x", m},
			nil,
			`package: file "manifest.json/x": "manifest.json" is a file's name and a folder's; rename it`,
		},
		{
			"backslash",
			[]string{"manifest.json", m, `a\b`, ""},
			nil,
			`package: file "a\\b": the name holds a backslash; rename it`,
		},
		{
			"not UTF-8",
			[]string{"manifest.json", m, "a\xff", ""},
			nil,
			`package: file "a\xff": the name is not UTF-8; rename it`,
		},
		{
			"case",
			[]string{"manifest.json", m, "docs/a", "", "Docs/b", ""},
			nil,
			`package: file "docs/a": the name differs from "Docs" only in case; rename it`,
		},
		{
			"manifest twice",
			[]string{"manifest.json", m, "Manifest.json", m},
			nil,
			`package: file "Manifest.json": the name differs from "manifest.json" only in case; rename it`,
		},
		{
			"decomposed",
			[]string{"manifest.json", m, "e\u0301", ""},
			nil,
			"package: file \"e\u0301\"" + `: the name holds U+0301, which has a second spelling; use composed characters (NFC); rename it`,
		},
		{
			"module missing",
			[]string{"manifest.json", `{"schema": "agenthost/package/v1", "id": "PKG-A", "version": "0.1.0", "entry": {"module": "a.wasm"}}`},
			nil,
			`manifest.json: entry.module: no file "a.wasm" in the package; build it first, or leave entry out of a library`,
		},
		{
			"module is something else",
			[]string{"manifest.json", `{"schema": "agenthost/package/v1", "id": "PKG-A", "version": "0.1.0", "entry": {"module": "a.wasm"}}`, "a.wasm", "\x7fELF"},
			nil,
			`package: module "a.wasm": not WebAssembly but a program for this kind of machine, which agenthost does not run; build it for WebAssembly: GOOS=wasip1 GOARCH=wasm, or --target wasm32-wasip1`,
		},
		{
			"mistake in the manifest",
			[]string{"manifest.json", `{"schema": "agenthost/package/v1", "id": "PKG-A", "version": "1"}`},
			nil,
			`manifest.json: version: "1" is not a semantic version; say it as 1.2.3`,
		},
		{
			"ratio",
			[]string{"manifest.json", m, "zeros", strings.Repeat("\x00", 2<<20)},
			nil,
			`package: entry "zeros": the archive unpacks to more than 200 times its size`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := folder(t, test.files...)
			if test.alter != nil {
				if err := test.alter(dir); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Pack(io.Discard, dir, PackOptions{})
			wantError(t, "pack", err, strings.ReplaceAll(test.want, "DIR", filepath.Base(dir)))
		})
	}
}

// TestPackTooLarge: the limit of all bytes is 1 GiB, and copy gets what is left
// of it.
func TestPackTooLarge(t *testing.T) {
	root, err := os.OpenRoot(folder(t, "manifest.json", smallManifest, "a", "abc"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	_, err = (&source{root: root}).copy(io.Discard, "a", 2)
	wantError(t, "bytes", err, "package: the folder holds more than 1GiB")
}

func TestPackID(t *testing.T) {
	without := folder(t, "manifest.json", `{"schema": "agenthost/package/v1", "version": "0.1.0"}`)
	_, err := Pack(io.Discard, without, PackOptions{})
	wantError(t, "no id", err, `manifest.json: id: missing; say "id": "PKG-…", or give the id when packing`)
	p, err := Pack(io.Discard, without, PackOptions{ID: "PKG-GIVEN"})
	if err != nil || p.Manifest.ID != "PKG-GIVEN" {
		t.Errorf("id filled in: %v", err)
	}
	_, err = Pack(io.Discard, without, PackOptions{ID: "PKG-../x"})
	wantError(t, "bad id", err, `manifest.json: id: "PKG-../x" is not an id; say PKG- and up to 100 letters, digits and hyphens`)
	_, err = Pack(io.Discard, smallFolder(t), PackOptions{ID: "PKG-B"})
	wantError(t, "other id", err, `manifest.json: id: the manifest says "PKG-T0-SMALL-001", but "PKG-B" was asked for; give the same id in both places`)
	if _, err := Pack(io.Discard, smallFolder(t), PackOptions{ID: "PKG-T0-SMALL-001"}); err != nil {
		t.Error(err)
	}
}

func TestPackFile(t *testing.T) {
	dir := smallFolder(t)
	want, _ := mustPack(t, dir)
	path := filepath.Join(dir, "small.tar.gz")
	for range 2 {
		p, err := PackFile(path, dir, PackOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Digest != want.Digest {
			t.Error("the archive packed itself")
		}
		p.Close()
		again, err := OpenPath(path)
		if err != nil || again.Digest != want.Digest {
			t.Fatalf("read again: %v", err)
		}
		again.Close()
	}
	if err := os.Symlink("x", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	if _, err := PackFile(path, dir, PackOptions{}); err == nil {
		t.Error("a folder with a link was packed")
	}
	after, _ := os.ReadFile(path)
	left, _ := filepath.Glob(filepath.Join(dir, ".agenthost-pack-*"))
	if !bytes.Equal(before, after) || len(left) > 0 {
		t.Errorf("a refused packing left something: %v", left)
	}
}

type failingWriter struct{ left int }

var errFull = errors.New("no space left")

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestPackToFailingWriter(t *testing.T) {
	dir := smallFolder(t)
	for size := 0; size < 400; size += 50 {
		if _, err := Pack(&failingWriter{size}, dir, PackOptions{}); !errors.Is(err, errFull) {
			t.Errorf("after %d bytes: %v", size, err)
		}
	}
}
