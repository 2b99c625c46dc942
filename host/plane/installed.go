package plane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
)

// Package reads an installed package, through a cache if one is given. It is read
// whole and compared with what governance.jsonl says, and so is its signature: what
// runs is what was compared, whatever becomes of the files afterwards. The caller
// closes it.
//
// Errors: a *[MismatchError] if the files are not the package; a *[RefusedError] if
// its signer is not trusted any more; [ErrChanged] if the package was replaced or
// taken out meanwhile; those of the file system.
func (p *Plane) Package(cache *archive.Cache, i Installed) (*archive.Package, error) {
	pkg, err := p.steady(i, func() (*archive.Package, error) { return p.read(cache, i) })
	if err != nil {
		return nil, err
	}
	if err := p.checkSigned(pkg, i); err != nil {
		return nil, errors.Join(err, pkg.Close())
	}
	return pkg, nil
}

// steady reads a package until what is wrong with it is nothing that a change, or
// a crash in one, explains.
func (p *Plane) steady(i Installed, read func() (*archive.Package, error)) (*archive.Package, error) {
	for quiet := false; ; {
		pkg, err := read()
		var wrong *MismatchError
		if !errors.As(err, &wrong) {
			return pkg, err
		}
		// It may be about to be replaced, or a crash may have left it half done.
		again, settled := p.settled(i)
		if settled != nil {
			return nil, errors.Join(settled, err)
		}
		// A change may have come to its end after the files were read. Only what is
		// read once nothing was found under way is what the last change left.
		if !again && quiet {
			return nil, err
		}
		quiet = !again
	}
}

// settled waits for a change that is under way, if there is one, and finishes one
// that a crash left. It reports whether there was.
func (p *Plane) settled(i Installed) (bool, error) {
	s, err := readState(p.log)
	if err != nil {
		return false, err
	}
	if found := s.Find(i.Package.ID, i.Plane); len(found) == 0 || found[0].Seq != i.Seq {
		return false, ErrChanged
	}
	if _, found, err := readMarker(p.dir); err != nil || !found {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := p.enter(ctx, record.Actor{})
	if err != nil {
		return false, err
	}
	return true, c.Close()
}

// read is Package without the signature, once.
func (p *Plane) read(cache *archive.Cache, i Installed) (*archive.Package, error) {
	name := installedName(i.Plane, i.Package.ID)
	if err := p.checkFolder(name); err != nil {
		return nil, err
	}
	path := filepath.Join(p.path, filepath.FromSlash(name))
	var pkg *archive.Package
	var err error
	if cache != nil {
		pkg, err = cache.OpenPath(path)
	} else {
		pkg, err = archive.FromFolder(path)
	}
	var bad *archive.PackageError
	var badManifest *archive.ManifestError
	switch {
	case errors.As(err, &bad): // its hint is for who builds packages
		return nil, mismatch(name, "is not what was installed: "+(&archive.PackageError{Where: bad.Where, What: bad.What}).Error())
	case errors.As(err, &badManifest), gone(err):
		return nil, mismatch(name, "is not what was installed: "+err.Error())
	case err != nil:
		return nil, err
	}
	if err := p.checkPackage(pkg, name, i); err != nil {
		if gone(err) {
			err = mismatch(name, "is not what was installed: "+err.Error())
		}
		return nil, errors.Join(err, pkg.Close())
	}
	return pkg, nil
}

// gone reports whether an error says that a name is not there, or not what it is
// in a package.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, beneath.ErrLink) || errors.Is(err, syscall.ENOTDIR)
}

func mismatch(name, what string) error {
	return &MismatchError{name, what, "find out who changed it, then install the package again"}
}

// checkFolder refuses what is no folder at all.
func (p *Plane) checkFolder(name string) error {
	info, err := p.dir.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mismatch(name, "is missing")
	case errors.Is(err, beneath.ErrLink), err == nil && info.Mode&fs.ModeSymlink != 0:
		return mismatch(name, "is reached through a symbolic link")
	case err != nil:
		return err
	case !info.Mode.IsDir():
		return mismatch(name, "is not a folder")
	}
	return nil
}

// checkPackage holds a package that was read against its entry, and the names in
// its folder against the package.
func (p *Plane) checkPackage(pkg *archive.Package, name string, i Installed) error {
	if pkg.Digest != i.Package.SHA256 {
		return mismatch(name, fmt.Sprintf("is not what was installed: its digest is %s, and was %s", pkg.Digest, i.Package.SHA256))
	}
	if err := p.checkManifest(pkg, name+"/"+archive.ManifestName); err != nil {
		return err
	}
	return p.checkNames(pkg, name)
}

// checkManifest refuses a manifest that says the same in another spelling, or has
// another list of files: both are written anew where a folder is read.
func (p *Plane) checkManifest(pkg *archive.Package, name string) error {
	want, err := pkg.Open(archive.ManifestName)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(want)
	if err != nil {
		return err
	}
	got, err := durable.Read(p.dir, name, want.Size())
	if err != nil && !errors.Is(err, durable.ErrNotPlain) {
		return err
	}
	if !bytes.Equal(got, b) {
		return mismatch(name, "is not spelled as it was installed")
	}
	return nil
}

// checkSigned refuses a package whose signature does not count any more.
func (p *Plane) checkSigned(pkg *archive.Package, i Installed) error {
	if i.Signer == "" {
		return nil
	}
	if !slices.Contains(p.state.Trusted, i.Signer) {
		return &RefusedError{
			CodeNotTrusted, fmt.Sprintf("%s is signed by %s, who is not trusted any more", i.Package.ID, archive.KeyName(i.Signer)),
			"install a version somebody else signed, or trust the key again",
		}
	}
	if _, err := checkSignature(pkg, []byte(i.Signature), []string{i.Signer}); err != nil {
		return fmt.Errorf("the signature of %s: %w", i.Package.ID, err)
	}
	return nil
}

// checkNames refuses what a package's folder holds beside the package, and files
// that have a second name elsewhere.
func (p *Plane) checkNames(pkg *archive.Package, top string) error {
	folders := []string{"."}
	for len(folders) > 0 {
		folder := folders[len(folders)-1]
		folders = folders[:len(folders)-1]
		list, err := p.dir.ReadDir(join(top, folder))
		if err != nil {
			return err
		}
		for _, e := range list {
			name := join(folder, e.Name)
			info, err := p.dir.Stat(join(top, name))
			if err != nil {
				return err
			}
			want, err := pkg.Stat(name)
			switch {
			case err != nil:
				return mismatch(join(top, name), "is no part of the package")
			case want.Folder != info.Mode.IsDir() || !want.Folder && !info.Mode.IsRegular():
				return mismatch(join(top, name), "is not what was installed")
			case want.Folder:
				folders = append(folders, name)
			case info.Nlink != 1:
				return mismatch(join(top, name), "has a second name: somebody else may write to it")
			}
		}
	}
	return nil
}

func join(folder, name string) string {
	if folder == "." {
		return name
	}
	if name == "." {
		return folder
	}
	return folder + "/" + name
}
