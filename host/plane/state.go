package plane

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// A State is what the entries of governance.jsonl come to.
type State struct {
	Token     ledger.Hash       // of control/token
	Trusted   []string          // verifier keys, sorted
	Installed []Installed       // sorted by id, then by plane
	Stored    map[string]Stored // what packages_store holds, by id
	Signers   map[string]string // by id: the verifier key it was last installed signed with, also after it was uninstalled
	Refused   int               // changes that were refused
	Head      ledger.Head       // size and hash; no root
}

// Installed is a package in one plane.
type Installed struct {
	record.PackageInstall           // the entry that made it active
	Seq                   uint64    // of that entry
	At                    time.Time // its time
}

// Stored is an archive in packages_store.
type Stored struct {
	Package record.Package
	Archive ledger.Hash // SHA-256 of the file
	Size    int64       // of the file
}

// add takes the next entry.
func (s *State) add(e ledger.Entry) error {
	body, err := record.DecodeGovernance(e)
	if err != nil {
		return err
	}
	switch b := body.(type) {
	case record.ControlInit:
		s.Token = b.Token
	case record.TokenRotate:
		s.Token = b.Token
	case record.SignerTrust:
		s.distrust(b.Key)
		s.Trusted = append(s.Trusted, b.Key)
		slices.Sort(s.Trusted)
	case record.SignerDistrust:
		s.distrust(b.Key)
	case record.PackageStore:
		s.store(b.Package, b.Archive, b.Size)
	case record.PackageInstall:
		s.remove(b.Package.ID, b.Plane)
		s.Installed = append(s.Installed, Installed{b, e.Seq, e.Time})
		slices.SortFunc(s.Installed, compareInstalled)
		s.store(b.Package, b.Archive, b.Size)
		if b.Signer != "" {
			if s.Signers == nil {
				s.Signers = map[string]string{}
			}
			s.Signers[b.Package.ID] = b.Signer
		}
	case record.PackageUninstall:
		s.remove(b.Package.ID, b.Plane)
		if stored, ok := s.Stored[b.Package.ID]; ok && !b.Stored && stored.Package == b.Package {
			delete(s.Stored, b.Package.ID)
		}
	case record.ChangeRefused:
		s.Refused++
	}
	s.Head = ledger.Head{Size: e.Seq + 1, Hash: e.Hash}
	return nil
}

// clone is the state as it is now, whatever is added later.
func (s State) clone() State {
	s.Trusted, s.Installed = slices.Clone(s.Trusted), slices.Clone(s.Installed)
	s.Stored, s.Signers = maps.Clone(s.Stored), maps.Clone(s.Signers)
	return s
}

func compareInstalled(a, b Installed) int {
	return cmp.Or(strings.Compare(a.Package.ID, b.Package.ID), strings.Compare(a.Plane, b.Plane))
}

func (s *State) distrust(key string) {
	s.Trusted = slices.DeleteFunc(s.Trusted, func(k string) bool { return k == key })
}

func (s *State) remove(id, plane string) {
	s.Installed = slices.DeleteFunc(s.Installed, func(i Installed) bool { return i.Package.ID == id && i.Plane == plane })
}

func (s *State) store(p record.Package, archive ledger.Hash, size int64) {
	if s.Stored == nil {
		s.Stored = map[string]Stored{}
	}
	s.Stored[p.ID] = Stored{p, archive, size}
}

// Find returns the package with an id in a plane, or in each where plane is
// empty.
func (s State) Find(id, plane string) []Installed {
	var found []Installed
	for _, i := range s.Installed {
		if i.Package.ID == id && (plane == "" || i.Plane == plane) {
			found = append(found, i)
		}
	}
	return found
}

// reach are the planes in which a package of a plane finds what it depends on:
// its own first, then those above it.
func reach(plane string) []string {
	order := []string{"ho1", "ho2", "ho3"}
	if i := slices.Index(order, plane); i >= 0 {
		return order[i:]
	}
	return nil
}

// Provider returns the package that one in the given plane gets for a
// dependency: of its own plane, else of the next one above. False if there is
// none.
func (s State) Provider(id, plane string) (Installed, bool) {
	for _, p := range reach(plane) {
		if found := s.Find(id, p); len(found) > 0 {
			return found[0], true
		}
	}
	return Installed{}, false
}

// Dependents are the packages that get this one for a dependency of theirs.
func (s State) Dependents(of Installed) []Installed {
	var found []Installed
	for _, i := range s.Installed {
		for _, d := range i.Dependencies {
			if d.ID != of.Package.ID {
				continue
			}
			if p, ok := s.Provider(d.ID, i.Plane); ok && p.Plane == of.Plane {
				found = append(found, i)
			}
		}
	}
	return found
}
