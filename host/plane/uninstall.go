package plane

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Uninstall takes a package out of a plane, or out of all where plane is empty,
// and returns what it took. Its archive goes from packages_store too, if it is the
// one that was installed and no plane has it any more, unless it is to be kept.
func (c *Change) Uninstall(id, plane string, keepArchive bool) ([]Installed, error) {
	gone, err := c.uninstall(id, plane, keepArchive)
	if err != nil {
		var digest ledger.Hash
		if len(gone) > 0 {
			digest = gone[0].Package.SHA256
		}
		err = c.refused(record.KindPackageUninstall, id, digest, err)
	}
	return gone, err
}

func (c *Change) uninstall(id, plane string, keepArchive bool) ([]Installed, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	if err := archive.CheckID("PKG", id); err != nil {
		return nil, &RefusedError{CodeNotInstalled, err.Error(), ""}
	}
	if plane != "" && !slices.Contains(session.Planes(), plane) {
		return nil, &RefusedError{CodeNotInstalled, fmt.Sprintf("%q is not a plane", plane), "want " + strings.Join(session.Planes(), ", ")}
	}
	gone := slices.Clone(c.now.Find(id, plane))
	if len(gone) == 0 {
		return nil, c.notInstalled(id, plane)
	}
	if err := c.now.checkRemoval(gone); err != nil {
		return gone, err
	}
	m := marker{ID: id}
	for n, i := range gone {
		// The archive is that of all planes that have the package.
		elsewhere := slices.ContainsFunc(c.now.Find(id, ""), func(o Installed) bool {
			return o.Package == i.Package && !slices.ContainsFunc(gone[:n+1], func(g Installed) bool { return g.Plane == o.Plane })
		})
		stored := c.now.Stored[id].Package == i.Package && (keepArchive || elsewhere)
		m.Remove = append(m.Remove, removal{i.Plane, i.Package, stored})
	}
	err := c.make(draft{marker: m, entry: func() (ledger.Body, error) { return m.Remove[0].body(c.by), nil }})
	var unfinished *UnfinishedError
	if err != nil && !errors.As(err, &unfinished) {
		return nil, err
	}
	return gone, err
}

// notInstalled says where a package is, if it is not where it was looked for.
func (c *Change) notInstalled(id, plane string) error {
	if plane != "" {
		if other := c.now.Find(id, ""); len(other) > 0 {
			return &RefusedError{CodeNotInstalled, fmt.Sprintf("%s is not installed in %s, but in %s", id, plane, other[0].Plane), "name that plane"}
		}
	}
	return &RefusedError{CodeNotInstalled, id + " is not installed", "agenthost package list shows what is"}
}
