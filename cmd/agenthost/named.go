package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/session"
)

// A package is named by a file or a folder, or by the id of one that is
// installed. In a control plane what looks like an id is one, whatever files are
// called like it: nobody who can make a file comes in the place of what an
// operator installed. Elsewhere nothing is installed.

// sources is where packages that are named are looked for.
type sources struct {
	root  *session.Root
	cache *host.Cache  // nil: packages are read without one
	plane *plane.Plane // of the root; nil until it is asked
}

// named is a package that was named, and what is installed under that name in
// the plane it was taken from; nil if it is a file.
type named struct {
	*archive.Package
	installed *plane.Installed
}

func planeFlag() cli.Flag {
	return &cli.StringFlag{Name: "plane", Usage: "the `PLANE` in which an installed package is meant: ho1, ho2 or ho3"}
}

// namedPackage opens a package for a command that looks into it, in the plane
// that --plane says. In which of several it is installed makes no difference
// where it is the same.
func (p *program) namedPackage(c *cli.Context, cache *host.Cache, name string) (named, error) {
	in := c.String("plane")
	if err := checkPlane(in); err != nil {
		return named{}, err
	}
	if archive.CheckID("PKG", name) != nil && in == "" {
		return openFile(cache, name) // whatever becomes of the root
	}
	root, err := p.openRoot()
	if err != nil {
		return named{}, err
	}
	defer root.Close()
	from := &sources{root: root, cache: cache}
	found, err := from.find(name, in)
	if err == nil && len(found) == 0 && in != "" {
		err = usageError(fmt.Sprintf("--plane says where an installed package is meant, and %s is a file", name), "leave --plane out")
	}
	if err != nil {
		return named{}, err
	}
	for _, i := range found {
		if i.Package.SHA256 != found[0].Package.SHA256 {
			return named{}, severalPlanes(name, found)
		}
	}
	return from.open(name, found)
}

// agent opens the package to run, which is meant in one plane only.
func (s *sources) agent(name, in string) (named, error) {
	found, err := s.find(name, in)
	if err == nil && len(found) > 1 {
		err = severalPlanes(name, found)
	}
	if err != nil {
		return named{}, err
	}
	return s.open(name, found)
}

// libraries opens what an agent in the given plane, and what it depends on, needs
// of what is installed, but for what was given. Each gets what its own plane has,
// or else the next one above; where that makes two versions of one library there is
// none that the agent could see.
func (s *sources) libraries(of archive.Manifest, in string, given []named) (libs []named, err error) {
	defer func() {
		if err != nil {
			closeAll(libs)
			libs = nil
		}
	}()
	found := map[string]plane.Installed{} // without what was given
	known := map[string]bool{}
	todo := []dependent{{of, in}}
	for _, g := range given {
		known[g.Manifest.ID] = true
		todo = append(todo, dependent{g.Manifest, in})
	}
	for ; len(todo) > 0; todo = todo[1:] {
		for _, d := range todo[0].Dependencies {
			if known[d.ID] {
				continue
			}
			if err := s.ask(); err != nil {
				return libs, err
			}
			i, ok := s.plane.State().Provider(d.ID, todo[0].plane)
			if !ok {
				continue // the host says what is missing
			}
			before, seen := found[d.ID]
			if seen && before.Package == i.Package {
				continue
			}
			if seen {
				return libs, usageError(
					fmt.Sprintf("%s of %s gets %s %s from %s, and something else it is run with gets %s from %s: an agent sees one version of a library",
						todo[0].ID, todo[0].plane, d.ID, i.Package.Version, i.Plane, before.Package.Version, before.Plane),
					"install the same version in both planes, or have one of them without",
				)
			}
			lib, err := s.installed(i)
			if err != nil {
				return libs, err
			}
			found[d.ID], libs = i, append(libs, named{lib, &i})
			todo = append(todo, dependent{lib.Manifest, i.Plane})
		}
	}
	return libs, nil
}

// dependent is a package that depends on others, in a plane.
type dependent struct {
	archive.Manifest
	plane string
}

// find returns what is installed under a name, in the given plane or in every
// one; nothing, and no error, if it names a file.
func (s *sources) find(name, in string) ([]plane.Installed, error) {
	if archive.CheckID("PKG", name) != nil {
		return nil, nil
	}
	_, missing := os.Lstat(name)
	if !s.root.Control() {
		if missing == nil {
			return nil, nil
		}
		hint := "name the package's file or folder, such as " + name + ".tar.gz"
		if _, err := os.Stat(name + ".tar.gz"); err == nil {
			hint = "did you mean " + name + ".tar.gz?"
		}
		return nil, usageError(name+": no such file or folder, and nothing is installed: this is no control plane", hint)
	}
	if err := s.ask(); err != nil {
		return nil, err
	}
	state := s.plane.State()
	found := state.Find(name, in)
	if len(found) > 0 {
		return found, nil
	}
	if elsewhere := state.Find(name, ""); len(elsewhere) > 0 {
		return nil, usageError(fmt.Sprintf("%s is not installed in %s", name, in), "it is in "+strings.Join(planesOf(elsewhere), ", ")+": say --plane "+elsewhere[0].Plane)
	}
	return nil, usageError(name+" is not installed here", notInstalledHint(state, name, missing == nil))
}

// notInstalledHint says what could have been meant by an id.
func notInstalledHint(state plane.State, id string, isFile bool) string {
	switch near := nearest(id, state.Names()); {
	case isFile:
		return "to name the file or folder of that name, write ./" + id
	case state.Stored[id].Package.ID != "":
		return "it is packed: agenthost package install --id " + id
	case near != "":
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "agenthost package list shows what is"
}

func severalPlanes(name string, found []plane.Installed) error {
	return usageError(fmt.Sprintf("%s is installed in %s", name, strings.Join(planesOf(found), " and in ")), "say which is meant with --plane "+found[0].Plane)
}

func planesOf(found []plane.Installed) []string {
	var planes []string
	for _, i := range found {
		planes = append(planes, i.Plane)
	}
	return planes
}

// open opens what was found under a name: the first of the installed ones, or
// the file.
func (s *sources) open(name string, found []plane.Installed) (named, error) {
	if len(found) == 0 {
		return openFile(s.cache, name)
	}
	pkg, err := s.installed(found[0])
	return named{pkg, &found[0]}, err
}

// installed opens an installed package, which must be what was installed.
func (s *sources) installed(i plane.Installed) (*archive.Package, error) {
	var cache *archive.Cache
	if s.cache != nil {
		cache = s.cache.Packages()
	}
	return s.plane.Package(cache, i)
}

// ask reads what is installed, once.
func (s *sources) ask() (err error) {
	if s.plane == nil {
		s.plane, err = plane.Open(s.root)
	}
	return err
}

// openFile opens a packed package, a folder or a module.
func openFile(cache *host.Cache, name string) (named, error) {
	if err := withoutKey(name); err != nil {
		return named{}, err
	}
	read := archive.OpenPath
	if cache != nil {
		read = cache.OpenPackage
	}
	pkg, err := read(name)
	if err != nil {
		return named{}, openError(name, err)
	}
	return named{Package: pkg}, nil
}

func closeAll(packages []named) {
	for _, pkg := range packages {
		pkg.Close()
	}
}
