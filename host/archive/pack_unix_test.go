//go:build unix

package archive

import (
	"io"
	"path/filepath"
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
