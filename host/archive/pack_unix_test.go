//go:build unix

package archive

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestPackIgnoresUmask(t *testing.T) {
	old := syscall.Umask(0o077)
	dir := smallFolder(t)
	syscall.Umask(old)
	if p, _ := mustPack(t, dir); p.Digest.String() != smallDigest {
		t.Errorf("digest is %s, want %s", p.Digest, smallDigest)
	}
}

// TestReadFileOfFIFO: nobody writes to it, and nobody waits.
func TestReadFileOfFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe.tar.gz")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := ReadFile(path)
	if want := "package: " + path + " is not a file; name the file that agenthost package pack wrote"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPackRefusesFIFO(t *testing.T) {
	for _, name := range []string{"pipe", "zz/pipe"} {
		dir := folder(t, "manifest.json", smallManifest, "zz/x", "")
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Pack(io.Discard, dir, PackOptions{})
		wantError(t, name, err, `package: file "`+name+`": not a regular file; a package holds regular files only; take it out`)
	}
}

// TestPackSwapped: while a folder is packed somebody swaps files and folders in
// it for links that lead out, and for FIFOs. What lies outside is never packed.
func TestPackSwapped(t *testing.T) {
	outside := folder(t, "a", "SECRET", "in/a", "SECRET")
	dir := folder(t, "manifest.json", smallManifest, "a", "public", "in/a", "public")
	for _, name := range []string{"a", "in"} {
		if err := os.Symlink(filepath.Join(outside, name), filepath.Join(dir, name+".link")); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "a.fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	// The links are kept where pack does not look until they are swapped in.
	if err := os.Mkdir(at(".agenthost"), 0o700); err != nil {
		t.Fatal(err)
	}
	hidden := func(name string) string { return at(".agenthost/" + name) }
	for _, name := range []string{"a.link", "in.link", "a.fifo"} {
		if err := os.Rename(at(name), hidden(name)); err != nil {
			t.Fatal(err)
		}
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			for _, name := range []string{"a", "in"} {
				for _, with := range []string{name + ".link", "a.fifo"} {
					os.Rename(at(name), hidden(name))
					os.Rename(hidden(with), at(name))
					os.Rename(at(name), hidden(with))
					os.Rename(hidden(name), at(name))
				}
			}
		}
	}()
	packed, refused := 0, 0
	for range 500 {
		var b bytes.Buffer
		p, err := Pack(&b, dir, PackOptions{})
		if err != nil {
			refused++
			continue
		}
		packed++
		for _, f := range p.Manifest.Files {
			r, err := p.Open(f.Path)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil || strings.Contains(string(data), "SECRET") {
				t.Errorf("%s is %q, %v", f.Path, data, err)
			}
		}
		p.Close()
	}
	stop.Store(true)
	<-done
	t.Logf("packed %d times, refused %d times", packed, refused)
}
