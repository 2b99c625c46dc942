package plane

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
)

// PlaneOf is the plane a package is installed in: the one that was asked for, else
// the one its manifest names, else ho3 for tiers T0 to T2 and ho1 for others.
func PlaneOf(m archive.Manifest, asked string) string {
	switch {
	case asked != "":
		return asked
	case m.Plane != "":
		return m.Plane
	case lawful(m.Tier):
		return "ho3"
	}
	return "ho1"
}

// lawful reports whether packages of a tier are in ho3 before they are in another
// plane.
func lawful(tier string) bool { return tier == "T0" || tier == "T1" || tier == "T2" }

// checkTier refuses a package of tiers T0 to T2 in a plane while ho3 has another
// one, or none, under its id. One that says it is of a higher tier does not come in
// the place of one that is law in ho3 either.
func (s State) checkTier(i Installed) error {
	if i.Plane == "ho3" {
		return nil
	}
	top := s.Find(i.Package.ID, "ho3")
	law := len(top) > 0 && lawful(top[0].Tier)
	switch {
	case !lawful(i.Tier) && !law, len(top) > 0 && top[0].Package.SHA256 == i.Package.SHA256:
		return nil
	case !lawful(i.Tier):
		return &RefusedError{
			CodeTier, fmt.Sprintf("%s is of tier %s in ho3, which has %s of it with another digest", i.Package.ID, top[0].Tier, top[0].Package.Version),
			"install this one with --plane ho3 first",
		}
	case len(top) == 0:
		return &RefusedError{
			CodeTier, fmt.Sprintf("%s is of tier %s, which is in ho3 before it is in %s", i.Package.ID, i.Tier, i.Plane),
			"install it with --plane ho3 first",
		}
	}
	return &RefusedError{
		CodeTier, fmt.Sprintf("%s is of tier %s, and ho3 has %s of it with another digest", i.Package.ID, i.Tier, top[0].Package.Version),
		"install this one with --plane ho3 first",
	}
}

// checkID refuses an id that differs from that of an installed package only in the
// case of its letters: people would take one for the other.
func (s State) checkID(id string) error {
	for _, i := range s.Installed {
		if i.Package.ID != id && strings.EqualFold(i.Package.ID, id) {
			return &RefusedError{CodePackage, fmt.Sprintf("%s differs from %s, which is installed, only in the case of its letters", id, i.Package.ID), "give it another id"}
		}
	}
	return nil
}

// with is the state after an installation.
func (s State) with(i Installed) State {
	s = s.clone()
	s.remove(i.Package.ID, i.Plane)
	s.Installed = append(s.Installed, i)
	slices.SortFunc(s.Installed, compareInstalled)
	return s
}

// place is where a package is installed.
type place struct{ id, plane string }

// checkDependencies refuses an installation after which it, or one that gets it
// for a dependency, would lack one, would have one of a version that is not in its
// range, or would depend on itself. S is the state after the installation.
func (s State) checkDependencies(i Installed) error {
	at := make(map[place]Installed, len(s.Installed))
	for _, other := range s.Installed {
		at[place{other.Package.ID, other.Plane}] = other
	}
	provider := func(id, plane string) (Installed, bool) {
		for _, p := range reach(plane) {
			if found, ok := at[place{id, p}]; ok {
				return found, true
			}
		}
		return Installed{}, false
	}
	for _, d := range i.Dependencies {
		found, ok := provider(d.ID, i.Plane)
		if !ok {
			return &RefusedError{CodeDependency, s.missing(i, d), "install " + d.ID + " first"}
		}
		if !accepts(d, found) {
			return &RefusedError{
				CodeDependency, fmt.Sprintf("%s needs %s, but %s has %s", i.Package.ID, wanted(d), found.Plane, found.Package.Version),
				"install a version of " + d.ID + " that will do first",
			}
		}
	}
	var broken []string
	for _, other := range s.Installed {
		for _, d := range other.Dependencies {
			if d.ID != i.Package.ID || other.Package.ID == i.Package.ID {
				continue
			}
			if found, ok := provider(d.ID, other.Plane); ok && found.Plane == i.Plane && !accepts(d, i) {
				broken = append(broken, fmt.Sprintf("%s in %s needs %s", other.Package.ID, other.Plane, wanted(d)))
			}
		}
	}
	if broken != nil {
		return &RefusedError{
			CodeDependents, fmt.Sprintf("%s %s will not do for what depends on it: %s", i.Package.ID, i.Package.Version, strings.Join(atMost(broken, maxNamed), ", ")),
			"install versions of them that take it first, or another version of it",
		}
	}
	if round := cycle(i, provider); round != nil {
		return &RefusedError{CodeDependency, "packages would depend on themselves: " + strings.Join(around(round), " needs "), "take one of the dependencies out of its manifest"}
	}
	return nil
}

// maxNamed bounds how many packages an error names.
const maxNamed = 50

// around leaves out the middle of a long way.
func around(round []string) []string {
	if len(round) <= 10 {
		return round
	}
	return slices.Concat(round[:5], []string{fmt.Sprintf("(%d more)", len(round)-8)}, round[len(round)-3:])
}

// missing says that a dependency is nowhere it could be had from.
func (s State) missing(i Installed, d record.Dependency) string {
	what := fmt.Sprintf("%s needs %s, which is not installed in %s", i.Package.ID, wanted(d), strings.Join(reach(i.Plane), " or "))
	if below := s.Find(d.ID, ""); len(below) > 0 {
		what += fmt.Sprintf("; %s has it, but a package gets what it needs from its own plane or one above", below[0].Plane)
	}
	return what
}

func wanted(d record.Dependency) string {
	if d.Version == "" {
		return d.ID
	}
	return d.ID + " " + d.Version
}

func accepts(d record.Dependency, i Installed) bool {
	return archive.Dependency{ID: d.ID, Version: d.Version}.Accepts(i.Package.Version)
}

// cycle finds a way from a package back to itself along dependencies: the names on
// it, the first and the last the same.
func cycle(from Installed, provider func(id, plane string) (Installed, bool)) []string {
	came := map[place]Installed{} // which package a place was first reached from
	todo := []Installed{from}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, d := range i.Dependencies {
			next, ok := provider(d.ID, i.Plane)
			if !ok {
				continue
			}
			to := place{next.Package.ID, next.Plane}
			if to == (place{from.Package.ID, from.Plane}) {
				round := []string{next.Package.ID}
				for i.Package.ID != from.Package.ID || i.Plane != from.Plane {
					round = append(round, i.Package.ID)
					i = came[place{i.Package.ID, i.Plane}]
				}
				round = append(round, from.Package.ID)
				slices.Reverse(round)
				return round
			}
			if _, seen := came[to]; !seen {
				came[to] = i
				todo = append(todo, next)
			}
		}
	}
	return nil
}

// checkRemoval refuses to take packages out while others need them. All of them
// have one id.
func (s State) checkRemoval(gone []Installed) error {
	var needed []string
	for _, i := range gone {
		for _, d := range s.Dependents(i) {
			needed = append(needed, fmt.Sprintf("%s in %s", d.Package.ID, d.Plane))
		}
	}
	id := gone[0].Package.ID
	if needed != nil {
		slices.Sort(needed)
		needed = slices.Compact(needed)
		return &RefusedError{CodeDependents, fmt.Sprintf("%s is needed by %s", id, strings.Join(atMost(needed, maxNamed), ", ")), "take those out first"}
	}
	// What is law goes from the planes below before it goes from ho3.
	if !slices.ContainsFunc(gone, func(i Installed) bool { return i.Plane == "ho3" && lawful(i.Tier) }) {
		return nil
	}
	for _, i := range s.Find(id, "") {
		stays := !slices.ContainsFunc(gone, func(g Installed) bool { return g.Plane == i.Plane })
		if stays && lawful(i.Tier) {
			return &RefusedError{
				CodeTier, fmt.Sprintf("%s is of tier %s and still in %s, which has it only because ho3 has", id, i.Tier, i.Plane),
				"take it out of " + i.Plane + " first, or leave --plane away to take it out of all",
			}
		}
	}
	return nil
}
