package plane

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
)

const (
	markerFile = "planes/pending/change"
	oldPrefix  = ".old-" // of what was taken out of its place and is to be removed
)

// A marker says which files a change is about to touch. It is on the disk before
// the first of them, and goes after the last: who finds it knows where to look.
// What is to become of them it does not say: that follows from governance.jsonl,
// before the change and after.
type marker struct {
	V    int          `json:"v"`
	Size uint64       `json:"size"` // entries of governance.jsonl before the change
	By   record.Actor `json:"by"`

	Token   bool `json:"token,omitempty"`
	Rebuild bool `json:"rebuild,omitempty"` // the views are written whatever they were

	ID            string    `json:"id,omitempty"`             // of a package
	Plane         string    `json:"plane,omitempty"`          // where it is installed
	Store         bool      `json:"store,omitempty"`          // its archive is kept
	DropSignature bool      `json:"drop_signature,omitempty"` // and has no signature
	Remove        []removal `json:"remove,omitempty"`         // planes it is taken out of, in this order
}

// A removal is an entry of an uninstall. One that takes a package out of several
// planes happens with the first: the others follow.
type removal struct {
	Plane   string         `json:"plane"`
	Package record.Package `json:"package"`
	Stored  bool           `json:"stored,omitempty"`
}

func (r removal) body(by record.Actor) record.PackageUninstall {
	return record.PackageUninstall{By: by, Package: r.Package, Plane: r.Plane, Stored: r.Stored}
}

// writeMarker makes the marker durable.
func writeMarker(dir *beneath.Dir, m marker) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return durable.Replace(dir, markerFile, append(b, '\n'), 0o600)
}

// readMarker reads the marker, if there is one.
func readMarker(dir *beneath.Dir) (m marker, found bool, err error) {
	b, err := durable.Read(dir, markerFile, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	bad := &MismatchError{markerFile, "is not what a change leaves", "find out who wrote it, and remove it"}
	if errors.Is(err, durable.ErrNotPlain) {
		return m, false, bad
	}
	if err != nil {
		return m, false, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil || m.V != 1 || !m.sound() {
		return m, false, bad
	}
	return m, true, nil
}

// sound reports whether all names in the marker can be part of a path.
func (m marker) sound() bool {
	if m.ID == "" {
		return m.Plane == "" && len(m.Remove) == 0 && !m.Store
	}
	if archive.CheckID("PKG", m.ID) != nil || m.Plane != "" && !slices.Contains(session.Planes(), m.Plane) {
		return false
	}
	for _, r := range m.Remove {
		if !slices.Contains(session.Planes(), r.Plane) || r.Package.ID != m.ID {
			return false
		}
	}
	return true
}

// complete appends the entries that belong to a change whose first is there.
func (c *Change) complete(m marker) error {
	for _, r := range m.Remove {
		found := c.now.Find(m.ID, r.Plane)
		if len(found) == 0 || found[0].Package != r.Package || found[0].Seq >= m.Size {
			continue
		}
		if err := c.append(r.body(m.By)); err != nil {
			return err
		}
	}
	return nil
}

// settle puts the files of a change where they belong: where governance.jsonl has
// them if the change is committed, else where they were before. It can be cut
// short anywhere and run again. At the end the marker goes.
func (c *Change) settle(m marker, before State, committed bool) error {
	steps := []func() error{
		func() error { return c.settleToken(m, committed) },
		func() error { return c.settlePackage(m, committed) },
		func() error { return c.settleStore(m, before, committed) },
		func() error { return c.settleViews(m, before, committed) },
	}
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	c.plane.opts.Step("remove " + markerFile)
	if err := durable.Remove(c.plane.dir, durable.Temp(markerFile)); err != nil {
		return err
	}
	if err := durable.Remove(c.plane.dir, markerFile); err != nil {
		return err
	}
	return durable.SyncFolder(c.plane.dir, durable.Parent(markerFile))
}

func (c *Change) settleToken(m marker, committed bool) error {
	if !m.Token {
		return nil
	}
	return c.place(tokenFile, committed)
}

// place gives a file that was made under its temporary name its own, or removes
// it.
func (c *Change) place(name string, committed bool) error {
	temp := durable.Temp(name)
	if !committed {
		return c.drop(temp)
	}
	c.plane.opts.Step("rename " + temp)
	if err := durable.Move(c.plane.dir, temp, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func installedName(plane, id string) string { return "planes/" + plane + "/installed/" + id }

// settlePackage puts the folder of a package that is installed in its place, and
// removes those of packages that are not.
func (c *Change) settlePackage(m marker, committed bool) error {
	if m.Plane != "" {
		temp := durable.Temp(installedName(m.Plane, m.ID))
		if committed && exists(c.plane.dir, temp) {
			if err := c.vacate(m.Plane, m.ID); err != nil {
				return err
			}
			c.plane.opts.Step("rename " + temp)
			if err := durable.Move(c.plane.dir, temp, installedName(m.Plane, m.ID)); err != nil {
				return err
			}
		}
		if err := c.sweep(m.Plane, m.ID); err != nil {
			return err
		}
	}
	for _, r := range m.Remove {
		if committed {
			if err := c.vacate(r.Plane, m.ID); err != nil {
				return err
			}
		}
		if err := c.sweep(r.Plane, m.ID); err != nil {
			return err
		}
	}
	return nil
}

// vacate moves what stands in a package's place aside.
func (c *Change) vacate(plane, id string) error {
	name := installedName(plane, id)
	if !exists(c.plane.dir, name) {
		return nil
	}
	old := aside(plane, id)
	if err := c.drop(old); err != nil {
		return err
	}
	c.plane.opts.Step("rename " + name)
	return durable.Move(c.plane.dir, name, old)
}

func aside(plane, id string) string {
	name := installedName(plane, id)
	return durable.Parent(name) + "/" + oldPrefix + id
}

// sweep removes what a change made beside a package's place.
func (c *Change) sweep(plane, id string) error {
	for _, name := range []string{durable.Temp(installedName(plane, id)), aside(plane, id)} {
		if err := c.drop(name); err != nil {
			return err
		}
	}
	return nil
}

// drop removes what may be there for good.
func (c *Change) drop(name string) error {
	if !exists(c.plane.dir, name) {
		return nil
	}
	c.plane.opts.Step("remove " + name)
	if err := c.plane.dir.RemoveAll(name); err != nil {
		return err
	}
	return durable.SyncFolder(c.plane.dir, durable.Parent(name))
}

func exists(dir *beneath.Dir, name string) bool {
	_, err := dir.Stat(name)
	return err == nil
}

const storeFolder = "packages_store"

func archiveName(id string) string   { return storeFolder + "/" + id + ".tar.gz" }
func signatureName(id string) string { return archiveName(id) + archive.SignatureSuffix }

// settleStore puts an archive and its signature in their places.
func (c *Change) settleStore(m marker, before State, committed bool) error {
	if m.Store {
		for _, name := range []string{archiveName(m.ID), signatureName(m.ID)} {
			if err := c.place(name, committed); err != nil {
				return err
			}
		}
	}
	gone := false
	if _, was := before.Stored[m.ID]; was && committed {
		_, is := c.now.Stored[m.ID]
		gone = !is
	}
	var names []string
	if gone {
		names = append(names, archiveName(m.ID))
	}
	if gone || committed && m.DropSignature {
		names = append(names, signatureName(m.ID))
	}
	for _, name := range names {
		if err := c.drop(name); err != nil {
			return err
		}
	}
	return nil
}

// settleViews writes the files that follow from governance.jsonl. One that was
// changed by hand stays as it is, and is found by the next change.
func (c *Change) settleViews(m marker, before State, committed bool) error {
	for n, v := range views {
		if err := c.drop(durable.Temp(v.name)); err != nil {
			return err
		}
		if !committed {
			continue
		}
		content, err := durable.Read(c.plane.dir, v.name, maxView)
		unchanged := err == nil && bytes.Equal(content, c.view(n, before))
		want := c.view(n, c.now)
		if err == nil && bytes.Equal(content, want) || !unchanged && !m.Rebuild {
			continue
		}
		perm := fs.FileMode(0o644)
		if v.name == trustedFile {
			perm = 0o600
		}
		if m.Rebuild && err != nil {
			// What stands there may be a folder.
			if err := c.plane.dir.RemoveAll(v.name); err != nil {
				return err
			}
			if err := durable.MakeAll(c.plane.dir, durable.Parent(v.name), 0o755); err != nil {
				return err
			}
		}
		c.plane.opts.Step("write " + v.name)
		if err := durable.Replace(c.plane.dir, v.name, want, perm); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return nil
}
