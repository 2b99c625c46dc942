package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

func installedPath(i plane.Installed) string {
	return "planes/" + i.Plane + "/installed/" + i.Package.ID
}

// packages compares what is installed with the ledger.
func (c *check) packages(s *scope, g *governed) {
	if !g.whole {
		return
	}
	for _, plane := range session.Planes() {
		if info, err := c.dir.Stat("planes/" + plane); err != nil || !info.Mode.IsDir() {
			continue // found there
		}
		folder := "planes/" + plane + "/installed"
		entries, _ := c.folder(s, folder, ours)
		for _, e := range entries {
			path := folder + "/" + e.Name
			switch {
			case len(g.state.Find(e.Name, plane)) > 0: // its own check looks at it
			case strings.HasPrefix(e.Name, newPrefix), strings.HasPrefix(e.Name, oldPrefix):
				if !c.locked(changeLock) {
					s.add(CodeLeftover, path, "a package that was being installed or taken out when the process ended")
				}
			default:
				c.orphan(s, path, e.Type, g.state.Names()...)
			}
		}
	}
	c.each(s, "packages", len(g.state.Installed), func(n int, s *scope) {
		i := g.state.Installed[n]
		s.checked.Packages++
		c.installedFiles(s, g, i)
		c.dependencies(s, g, i)
		c.signed(s, g, i)
	})
	c.cycles(s, g)
}

// installedFiles compares the files of an installed package with its digest.
func (c *check) installedFiles(s *scope, g *governed, i plane.Installed) {
	top := installedPath(i)
	if _, err := c.dir.Stat(top); err != nil && gone(err) {
		s.add(CodePackageMissing, top, "%s %s is installed in %s, and its folder is missing", i.Package.ID, i.Package.Version, i.Plane)
		return
	}
	files, fit := c.walk(s, top)
	if files == nil {
		return
	}
	if fit {
		manifest, digest, err := archive.DigestFolder(c.abs(top))
		if err == nil && digest == i.Package.SHA256 {
			s.checked.Files += 1 + len(manifest.Files)
			c.compare(s, top, files, manifest, false)
			return
		}
	}
	c.diagnose(s, g, i, files, fit)
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, beneath.ErrLink) }

// walk lists the files beneath a folder by their names in it, and finds what can
// be none of a package. Fit: there was nothing of that kind. A nil map: the folder
// cannot be listed.
func (c *check) walk(s *scope, top string) (files map[string]beneath.Info, fit bool) {
	fit = true
	folders := []string{top}
	for len(folders) > 0 && c.ctx.Err() == nil {
		folder := folders[len(folders)-1]
		folders = folders[:len(folders)-1]
		entries, ok := c.folder(s, folder, ours)
		if !ok {
			if folder == top {
				return nil, false
			}
			fit = false
			continue
		}
		if files == nil {
			files = map[string]beneath.Info{}
		}
		if len(entries) == 0 && folder != top {
			s.add(CodeFileExtra, folder, "an empty folder, which is none of the package")
		}
		for _, e := range entries {
			path := folder + "/" + e.Name
			if e.Type.IsDir() {
				folders = append(folders, path)
				continue
			}
			info, ok := c.stat(s, path, ours)
			if ok && !info.Mode.IsRegular() {
				s.add(CodeKind, path, "%s, and a package has files and folders only", beneath.KindOf(info.Mode))
				ok = false
			}
			if !ok {
				fit = false
				continue
			}
			if info.Nlink != 1 {
				s.add(CodeHardLink, path, "the file has %d names (hard links)", info.Nlink)
			}
			files[strings.TrimPrefix(path, top+"/")] = info
		}
	}
	return files, fit
}

// diagnose names the files because of which a package is not what was installed.
// What it was is known from its archive, if that is whole, else from its manifest.
func (c *check) diagnose(s *scope, g *governed, i plane.Installed, files map[string]beneath.Info, fit bool) {
	top := installedPath(i)
	before := len(s.findings)
	manifest, known := c.archived(g, i)
	if !known {
		b, ok := c.read(s, top+"/"+archive.ManifestName, maxPolicy)
		if !ok {
			return
		}
		var err error
		if manifest, err = archive.ParseManifest(b); err != nil {
			s.add(CodeFileChanged, top+"/"+archive.ManifestName, "it is not the manifest that was installed: %s", strings.TrimPrefix(err.Error(), archive.ManifestName+": "))
			return
		}
	}
	c.compare(s, top, files, manifest, true)
	if len(s.findings) == before && fit {
		s.add(CodePackageChanged, top, "it is not %s %s with the digest %v that was installed in %s", i.Package.ID, i.Package.Version, i.Package.SHA256, i.Plane)
	}
}

// archived is the manifest of an installed package as its archive has it.
func (c *check) archived(g *governed, i plane.Installed) (archive.Manifest, bool) {
	f, _, err := c.open(storeTop + "/" + i.Package.ID + ".tar.gz")
	if err != nil || g.state.Stored[i.Package.ID].Package != i.Package {
		return archive.Manifest{}, false
	}
	defer f.Close()
	p, err := archive.Read(c.reader(f))
	if err != nil {
		return archive.Manifest{}, false
	}
	defer p.Close()
	return p.Manifest, p.Digest == i.Package.SHA256
}

// compare finds the files that differ from a manifest's list; their content is
// looked at only if asked.
func (c *check) compare(s *scope, top string, files map[string]beneath.Info, m archive.Manifest, content bool) {
	encoded, err := m.Encode()
	want := map[string]archive.File{archive.ManifestName: {SHA256: ledger.Sum(encoded), Size: int64(len(encoded))}}
	if err != nil {
		delete(want, archive.ManifestName)
	}
	for _, f := range m.Files {
		want[f.Path] = f
	}
	for name, f := range want {
		path := top + "/" + name
		info, there := files[name]
		switch {
		case !there:
			if _, err := c.dir.Stat(path); err != nil {
				s.add(CodeFileMissing, path, "the file is missing")
			}
			continue
		case info.Size == f.Size && !content && name != archive.ManifestName:
			continue
		}
		switch same, err := c.same(path, f.SHA256, f.Size); {
		case err != nil:
			s.add(CodeUnreadable, path, "it cannot be read: %s", plain(err))
		case !same:
			s.add(CodeFileChanged, path, "the file is not the one that was installed")
		}
	}
	for name := range files {
		if _, known := want[name]; !known {
			s.add(CodeFileExtra, top+"/"+name, "a file that is none of the package")
		}
	}
}

// dependencies finds what a package needs and does not get.
func (c *check) dependencies(s *scope, g *governed, i plane.Installed) {
	for _, d := range i.Dependencies {
		p, ok := g.state.Provider(d.ID, i.Plane)
		switch {
		case !ok:
			s.add(CodeDependencyMissing, installedPath(i), "it needs %s, which is installed neither in %s nor above", strings.TrimSpace(d.ID+" "+d.Version), i.Plane)
		case !archive.Dependency(d).Accepts(p.Package.Version):
			s.add(CodeDependencyRange, installedPath(i), "it needs %s %s, and what it gets is %s of %s", d.ID, d.Version, p.Package.Version, p.Plane)
		}
	}
}

// cycles finds packages that need each other, each ring once.
func (c *check) cycles(s *scope, g *governed) {
	type node struct{ id, plane string }
	const (
		open = 1
		done = 2
	)
	state := map[node]int{}
	var way []node
	var visit func(i plane.Installed)
	visit = func(i plane.Installed) {
		n := node{i.Package.ID, i.Plane}
		switch state[n] {
		case done:
			return
		case open:
			ring := way[slices.Index(way, n):]
			var names []string
			first := ring[0]
			for _, r := range ring {
				names = append(names, r.id)
				if r.id < first.id {
					first = r
				}
			}
			at := slices.Index(ring, first)
			names = append(append(names[at:len(names):len(names)], names[:at]...), first.id)
			s.add(CodeDependencyCycle, "planes/"+first.plane+"/installed/"+first.id, "%s", strings.Join(names, " needs "))
			return
		}
		state[n] = open
		way = append(way, n)
		for _, d := range i.Dependencies {
			if p, ok := g.state.Provider(d.ID, i.Plane); ok {
				visit(p)
			}
		}
		way = way[:len(way)-1]
		state[n] = done
	}
	for _, i := range g.state.Installed {
		visit(i)
	}
}

// signed looks at the signature of an installed package.
func (c *check) signed(s *scope, g *governed, i plane.Installed) {
	path := installedPath(i)
	required := g.policy != nil && g.policy.RequireSignature[i.Plane]
	if i.Signer == "" {
		if required {
			s.add(CodeSignatureMissing, path, "it is not signed, and the policy requires a signature in %s", i.Plane)
		}
		return
	}
	before := len(s.findings)
	c.signature(s, path, i.Package, []byte(i.Signature), []string{i.Signer})
	if len(s.findings) > before || slices.Contains(g.state.Trusted, i.Signer) {
		return
	}
	f := Finding{Code: CodeSignerUntrusted, Path: path, Message: fmt.Sprintf("it is signed by %s, who is no longer trusted", archive.KeyName(i.Signer))}
	if required {
		f.Severity = Error
		f.Message += ", and the policy requires a signature in " + i.Plane
	}
	s.put(f)
}
