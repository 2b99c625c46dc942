package plane

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/ledger"
)

// unpack writes the files of a package to installed/.new-ID, each synced, reads
// them back and compares the digest.
func (c *Change) unpack(pkg *archive.Package, plane string) error {
	dir, temp := c.plane.dir, durable.Temp(installedName(plane, pkg.Manifest.ID))
	if err := durable.MakeAll(dir, durable.Parent(temp), 0o700); err != nil {
		return err
	}
	if err := dir.RemoveAll(temp); err != nil {
		return err
	}
	names := []string{archive.ManifestName}
	for _, f := range pkg.Manifest.Files {
		names = append(names, f.Path)
	}
	c.plane.opts.Step("make " + temp)
	folders := foldersOf(names)
	for _, folder := range folders {
		if err := dir.Mkdir(path.Join(temp, folder), 0o755); err != nil {
			return err
		}
	}
	s := newSyncer()
	for _, name := range names {
		c.plane.opts.Step("write " + name)
		f, err := c.write(pkg, name, temp+"/"+name)
		if err != nil {
			return errors.Join(err, s.wait())
		}
		s.add(f)
	}
	if err := s.wait(); err != nil {
		return err
	}
	c.plane.opts.Step("sync " + temp)
	for _, folder := range slices.Backward(folders) {
		if err := durable.SyncFolder(dir, path.Join(temp, folder)); err != nil {
			return err
		}
	}
	if err := durable.SyncFolder(dir, durable.Parent(temp)); err != nil {
		return err
	}
	c.plane.opts.Step("read " + temp)
	again, err := archive.FromFolder(filepath.Join(c.plane.path, filepath.FromSlash(temp)))
	if err != nil {
		return fmt.Errorf("reading back what was installed: %w", err)
	}
	if err := again.Close(); err != nil {
		return err
	}
	if again.Digest != pkg.Digest {
		return &RefusedError{
			CodePackage, fmt.Sprintf("%s was not packed by agenthost: its files are as listed, but packed again they have another digest", pkg.Manifest.ID),
			"unpack it and pack it with agenthost package pack",
		}
	}
	return nil
}

// foldersOf are the folders that files are in, "." too, each after the one it is
// in.
func foldersOf(names []string) []string {
	seen := map[string]bool{".": true}
	folders := []string{"."}
	for _, name := range names {
		var more []string
		for folder := path.Dir(name); !seen[folder]; folder = path.Dir(folder) {
			seen[folder] = true
			more = append(more, folder)
		}
		slices.Reverse(more)
		folders = append(folders, more...)
	}
	return folders
}

// write writes one file of a package.
func (c *Change) write(pkg *archive.Package, from, to string) (*os.File, error) {
	r, err := pkg.Open(from)
	if err != nil {
		return nil, err
	}
	f, err := c.plane.dir.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(f, r); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// A syncer syncs and closes files, several at once: each waits for the disk.
type syncer struct {
	files chan *os.File
	errs  chan error
}

const syncers = 8

func newSyncer() *syncer {
	s := &syncer{make(chan *os.File), make(chan error, syncers)}
	for range syncers {
		go func() {
			var failed error
			for f := range s.files {
				err := f.Sync()
				failed = errors.Join(failed, err, f.Close())
			}
			s.errs <- failed
		}()
	}
	return s
}

func (s *syncer) add(f *os.File) { s.files <- f }

// wait waits for all that was added. No more can be added then.
func (s *syncer) wait() error {
	close(s.files)
	var failed error
	for range syncers {
		failed = errors.Join(failed, <-s.errs)
	}
	return failed
}

// hashOf is the SHA-256 of an open file.
func hashOf(r io.Reader) (ledger.Hash, error) {
	sum := sha256.New()
	_, err := io.Copy(sum, r)
	return ledger.Hash(sum.Sum(nil)), err
}
