package plane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// InstallOptions say how a package is installed.
type InstallOptions struct {
	ID               string // the package must have it; empty: any
	Plane            string // see [PlaneOf]
	Accept           string // digest, or its first 12 digits, of a package whose rights grow
	Force            bool   // an earlier version in the place of a later one
	RotateSigner     string // verifier key, or NAME+HASH of it, that may take the place of the one before
	Signature        []byte // of the package; nil if there is none
	RequireSignature bool   // without one it is refused
}

// An Outcome is what became of an installation, or would have.
type Outcome struct {
	Installed  Installed
	Same       bool               // it was there, whole: nothing was done
	Replaces   *Installed         // what was there before
	Difference archive.Difference // to that
}

// Install makes a package active in a plane, in the place of the one of its id
// that is there. The package was read from the file at path, which becomes that of
// packages_store. The outcome says what was found out, also where the installation
// is refused.
//
// What is copied is read back and compared: what stands in installed/ID is what
// governance.jsonl has the digest of.
func (c *Change) Install(pkg *archive.Package, path string, o InstallOptions) (Outcome, error) {
	out, err := c.install(pkg, path, o)
	if err != nil {
		err = c.refused(record.KindPackageInstall, pkg.Manifest.ID, pkg.Digest, err)
	}
	return out, err
}

func (c *Change) install(pkg *archive.Package, path string, o InstallOptions) (Outcome, error) {
	m := pkg.Manifest
	i := Installed{PackageInstall: record.PackageInstall{
		By: c.by, Package: packageOf(pkg), Plane: PlaneOf(m, o.Plane), Name: m.Name, SpecID: m.SpecID, Tier: m.Tier, Files: int64(len(m.Files)),
	}}
	for _, d := range m.Dependencies {
		i.Dependencies = append(i.Dependencies, record.Dependency{ID: d.ID, Version: d.Version})
	}
	out := Outcome{Installed: i}
	if err := c.ready(); err != nil {
		return out, err
	}
	if err := checkPackage(m, i.Plane, o.ID); err != nil {
		return out, err
	}
	if err := c.now.checkID(m.ID); err != nil {
		return out, err
	}
	key, err := c.checkSigner(pkg, i.Plane, o)
	if err != nil {
		return out, err
	}
	if key != "" {
		i.Signer, i.Signature = key, string(o.Signature)
		i.Rotated = c.now.Signers[m.ID] != "" && c.now.Signers[m.ID] != key
	}
	if err := c.now.checkTier(i); err != nil {
		return out, err
	}
	if err := c.now.with(i).checkDependencies(i); err != nil {
		return out, err
	}
	if found := c.now.Find(m.ID, i.Plane); len(found) > 0 {
		out.Replaces = &found[0]
		if err := c.compare(&out, pkg, &i, o); err != nil || out.Same {
			return out, err
		}
	} else if exists(c.plane.dir, installedName(i.Plane, m.ID)) {
		return out, &MismatchError{installedName(i.Plane, m.ID), "is there, but nothing of that id is installed", "find out what it is and move it away"}
	}
	err = c.make(draft{
		marker:  marker{ID: m.ID, Plane: i.Plane, Store: true, DropSignature: i.Signature == ""},
		prepare: func() error { return c.stage(pkg, path, &i) },
		entry:   func() (ledger.Body, error) { return i.PackageInstall, nil },
	})
	out.Installed = i
	var unfinished *UnfinishedError
	if found := c.now.Find(m.ID, i.Plane); len(found) > 0 && (err == nil || errors.As(err, &unfinished)) {
		out.Installed = found[0]
	}
	return out, err
}

func packageOf(p *archive.Package) record.Package {
	return record.Package{ID: p.Manifest.ID, Version: p.Manifest.Version, SHA256: p.Digest}
}

// checkPackage refuses a package that is not the one that was asked for, or that
// nobody should have in a registry.
func checkPackage(m archive.Manifest, plane, id string) error {
	switch {
	case id != "" && id != m.ID:
		return &RefusedError{CodePackage, fmt.Sprintf("the archive holds %s, not %s", m.ID, id), "give the id of the package in it, or another archive"}
	case !slices.Contains(session.Planes(), plane):
		return &RefusedError{CodePackage, fmt.Sprintf("%q is not a plane", plane), "want " + strings.Join(session.Planes(), ", ")}
	case formula(m.Name):
		return &RefusedError{
			CodePackage, fmt.Sprintf("its name %q begins as a formula does, and the registry is opened in spreadsheets", m.Name),
			"let the name begin with a letter or a digit",
		}
	}
	return nil
}

// compare holds a package against the one in its place.
func (c *Change) compare(out *Outcome, pkg *archive.Package, i *Installed, o InstallOptions) error {
	was := *out.Replaces
	old, err := c.plane.read(nil, was)
	var wrong *MismatchError
	switch {
	case err == nil:
		defer old.Close()
		if was.Package == i.Package && (i.Signer == "" || i.Signer == was.Signer) && c.whole(was) {
			out.Same, out.Installed = true, was
			return nil
		}
		out.Difference = archive.Compare(old.Manifest, pkg.Manifest)
	case !errors.As(err, &wrong):
		return err
	case was.Package != i.Package:
		// What the one before could is not known any more: all counts as new.
		out.Difference = archive.Compare(archive.Manifest{}, pkg.Manifest)
	}
	gained := out.Difference.Gained
	i.Replaces, i.Gained = &was.Package, atMost(gained, 100)
	if archive.CompareVersions(i.Package.Version, was.Package.Version) < 0 {
		if !o.Force {
			return &RefusedError{
				CodeDowngrade, fmt.Sprintf("%s %s is there, which is later than %s", was.Package.ID, was.Package.Version, i.Package.Version),
				"--force installs an earlier version, and is recorded",
			}
		}
		i.Forced = true
	}
	if len(gained) > 0 && !accepted(o.Accept, pkg.Digest) {
		before := ""
		if o.Accept != "" {
			before = "--accept names another digest; "
		}
		return &RefusedError{
			CodeNotAccepted, fmt.Sprintf("%s %s has rights that %s has not: %s", i.Package.ID, i.Package.Version, was.Package.Version, strings.Join(atMost(gained, 5), "; ")),
			fmt.Sprintf("%sread them all with agenthost package diff %s ARCHIVE, then accept them with --accept %.12s", before, i.Package.ID, strings.TrimPrefix(pkg.Digest.String(), "sha256:")),
		}
	}
	return nil
}

// atMost leaves out the end of a long list, and says so.
func atMost(list []string, most int) []string {
	if len(list) <= most {
		return list
	}
	return append(slices.Clone(list[:most]), fmt.Sprintf("and %d more", len(list)-most))
}

// accepted reports whether a digest, or at least 12 digits it begins with, is that
// of a package.
func accepted(text string, digest ledger.Hash) bool {
	digits := strings.ToLower(strings.TrimPrefix(text, "sha256:"))
	return len(digits) >= 12 && strings.HasPrefix(strings.TrimPrefix(digest.String(), "sha256:"), digits)
}

// maxArchive bounds the file of a package, in bytes: one that unpacks to as much
// as is read may be a little longer than that.
const maxArchive = 1<<30 + 64<<20

// keep copies the file a package was read from to where it will be moved from,
// and makes sure that it still is that package.
func (c *Change) keep(pkg *archive.Package, path string) (Stored, error) {
	stored := Stored{Package: packageOf(pkg)}
	temp := durable.Temp(archiveName(pkg.Manifest.ID))
	c.plane.opts.Step("write " + temp)
	changed := &RefusedError{CodePackage, "the archive was changed after it was read", "look at it again"}
	info, err := os.Stat(path)
	if err != nil {
		return stored, err
	}
	if !info.Mode().IsRegular() {
		return stored, &RefusedError{CodePackage, path + " is not a file", "give the file that agenthost package pack wrote"}
	}
	src, err := os.Open(path)
	if err != nil {
		return stored, err
	}
	defer src.Close()
	if err := durable.Remove(c.plane.dir, temp); err != nil {
		return stored, err
	}
	dst, err := c.plane.dir.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return stored, err
	}
	defer dst.Close()
	size, sum, err := beneath.CopyHash(context.Background(), dst, src, maxArchive)
	if err != nil {
		return stored, fmt.Errorf("copying %s: %w", path, err)
	}
	stored.Size, stored.Archive = size, sum
	if err := dst.Sync(); err != nil {
		return stored, err
	}
	if _, err := dst.Seek(0, io.SeekStart); err != nil {
		return stored, err
	}
	again, err := archive.Read(dst)
	if err != nil {
		return stored, errors.Join(changed, err)
	}
	if err := again.Close(); err != nil {
		return stored, err
	}
	if again.Digest != pkg.Digest {
		return stored, changed
	}
	return stored, durable.SyncFolder(c.plane.dir, storeFolder)
}

// kept reports whether packages_store has that very file.
func (c *Change) kept(s Stored) bool {
	if c.now.Stored[s.Package.ID] != s {
		return false
	}
	f, err := c.plane.dir.OpenFile(archiveName(s.Package.ID), os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if info, err := beneath.StatFile(f); err != nil || !info.Mode.IsRegular() || info.Size != s.Size {
		return false
	}
	sum, err := hashOf(f)
	return err == nil && sum == s.Archive
}

// whole reports whether packages_store has what belongs to an installed package, if
// it is that package's archive that is there at all.
func (c *Change) whole(i Installed) bool {
	stored, ok := c.now.Stored[i.Package.ID]
	if !ok || stored.Package != i.Package {
		return true
	}
	signature, err := durable.Read(c.plane.dir, signatureName(i.Package.ID), int64(len(i.Signature)))
	return c.kept(stored) && (i.Signature == "" || err == nil && string(signature) == i.Signature)
}

// stage makes everything of an installation beside its place.
func (c *Change) stage(pkg *archive.Package, path string, i *Installed) error {
	if i.Signature != "" {
		temp := durable.Temp(signatureName(i.Package.ID))
		c.plane.opts.Step("write " + temp)
		if err := durable.Write(c.plane.dir, temp, []byte(i.Signature), 0o644); err != nil {
			return err
		}
	}
	stored, err := c.keep(pkg, path) // syncs the folder
	if err != nil {
		return err
	}
	i.Archive, i.Size = stored.Archive, stored.Size
	return c.unpack(pkg, i.Plane)
}
