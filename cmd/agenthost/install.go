package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) packageInstallCommand() *cli.Command {
	return &cli.Command{
		Name:  "install",
		Usage: "install a package in a plane, or replace the version that is there",
		Description: `The archive is checked whole; nothing of it is run. What it depends on must be
installed, in the same plane or one above, and nothing that depends on it may be
broken by it. Packages of the tiers T0 to T2 are installed in ho3 before any lower
plane. All of it happens or nothing does, whenever the process dies, and the
version before stays active until the new one is.

What a package may do is told when it is installed first. Where a new version may
do more than the one before, that is asked at a terminal; elsewhere --accept names
its digest. An earlier version needs --force. A signature is read from the file
ARCHIVE.sig; where the policy requires one, or the version before was signed,
it must be of a trusted key.`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "archive", Usage: "the packed package `FILE` (default: packages_store/ID.tar.gz of the control plane)"},
			&cli.StringFlag{Name: "id", Usage: "the `PKG-ID` that the package must have"},
			&cli.StringFlag{Name: "plane", Usage: "the `PLANE` to install in: ho1, ho2 or ho3 (default: the manifest's, else ho3 for T0 to T2 and ho1 for others)"},
			&cli.StringFlag{Name: "accept", Usage: "accept the package with this `DIGEST` (12 digits are enough), although it may do more than the version before"},
			&cli.BoolFlag{Name: "force", Usage: "install an earlier version than the one that is there"},
			&cli.StringFlag{Name: "rotate-signer", Usage: "the verifier `KEY` that signs the package from now on"},
		}, tokenFlags()...),
		Action: p.inPlane(0, 0, p.packageInstall),
	}
}

func (p *program) packageInstall(c *cli.Context, pl controlled, _ []string) error {
	id, file, err := p.toInstall(c, pl)
	if err != nil {
		return err
	}
	signature, err := readSignature(file)
	if err != nil {
		return err
	}
	return p.changed(c, pl.Plane, record.KindPackageInstall, id, func(ch *plane.Change) error {
		pkg, err := archive.ReadFile(file)
		if err != nil {
			return p.notAPackage(ch, id, file, err)
		}
		defer pkg.Close()
		pol, err := policy.Load("", pl.root.Path())
		if err != nil {
			return err
		}
		in := plane.PlaneOf(pkg.Manifest, c.String("plane"))
		o := plane.InstallOptions{
			ID: id, Plane: in, Accept: c.String("accept"), Force: c.Bool("force"), RotateSigner: c.String("rotate-signer"),
			Signature: signature, RequireSignature: pol.RequireSignature[in],
		}
		if c.String("plane") == "" && pkg.Manifest.ID == id {
			if err := checkMoved(ch, pkg, in); err != nil {
				return err
			}
		}
		more, err := p.difference(pl, ch, pkg, in)
		if err != nil {
			return err
		}
		if more.Grows() && o.Accept == "" && p.asks() && pkg.Manifest.ID == id {
			if o.Accept, err = p.askInstall(c, pkg, more); err != nil {
				return err
			}
		}
		out, err := ch.Install(pkg, file, o)
		if err != nil {
			return err
		}
		return p.tellInstalled(ch.State(), pkg, out)
	})
}

// checkMoved refuses a version whose manifest names, where nobody said a plane,
// another one than those that have the package: beside them nothing would be held
// against what it may do, or against its version.
func checkMoved(ch *plane.Change, pkg *archive.Package, in string) error {
	id := pkg.Manifest.ID
	found := ch.State().Find(id, "")
	for _, i := range found {
		if i.Plane == in || i.Package.SHA256 == pkg.Digest {
			return nil
		}
	}
	if len(found) == 0 {
		return nil
	}
	err := ch.Refuse(record.KindPackageInstall, id, pkg.Digest, plane.CodePackage,
		fmt.Sprintf("%s is installed in %s, and %s of it belongs to %s", id, strings.Join(planesOf(found), ", "), pkg.Manifest.Version, in))
	var refused *plane.RefusedError
	if errors.As(err, &refused) {
		refused.Hint = fmt.Sprintf("say --plane %s to replace what is there, or --plane %s to have this one beside it", found[0].Plane, in)
	}
	return err
}

// toInstall reads which package is to be installed, and from which file.
func (p *program) toInstall(c *cli.Context, pl controlled) (id, file string, err error) {
	id, file = c.String("id"), c.String("archive")
	if id == "" {
		return "", "", usageError("package install needs the id of the package", "say --id PKG-ID, and --archive FILE if it is not in packages_store")
	}
	if err := archive.CheckID("PKG", id); err != nil {
		return "", "", usageError("--id: "+err.Error(), "as PKG-T3-REPORT-001")
	}
	if err := checkPlane(c.String("plane")); err != nil {
		return "", "", err
	}
	if err := checkDigits(c.String("accept")); err != nil {
		return "", "", err
	}
	if file == "" {
		if pl.State().Stored[id].Package.ID == "" {
			return "", "", usageError(storeFile(id)+": there is no such package in the store", "pack it with agenthost package pack and the admin token, or name its file with --archive")
		}
		return id, filepath.Join(pl.root.Path(), filepath.FromSlash(storeFile(id))), nil
	}
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return "", "", archiveError(openError(file, err))
	case info.IsDir():
		return "", "", usageError("--archive "+file+" is a folder", p.command("package", "pack", "--src", file, "--id", id)+" makes a package of it")
	}
	return id, file, nil
}

// archiveError says that it was --archive that could not be opened.
func archiveError(err error) error {
	var f *failure
	if errors.As(err, &f) {
		f.message = "--archive " + f.message
	}
	return err
}

// notAPackage is why a file is no package. That it was to be installed is on
// record then.
func (p *program) notAPackage(ch *plane.Change, id, file string, err error) error {
	var bad *archive.PackageError
	var manifest *archive.ManifestError
	if !errors.As(err, &bad) && !errors.As(err, &manifest) {
		return archiveError(openError(file, err))
	}
	recorded := ch.Refuse(record.KindPackageInstall, id, ledger.Hash{}, plane.CodePackage, err.Error())
	if _, alone := recorded.(*plane.RefusedError); alone { //nolint:errorlint // a joined one says more
		return err
	}
	return recorded
}

// readSignature reads the signature beside a package; nil if there is none.
func readSignature(file string) ([]byte, error) {
	signature, err := archive.ReadSignature(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, openError(file+archive.SignatureSuffix, err)
	}
	return signature, nil
}

// difference is how a package differs from the version that it would take the
// place of; nothing if there is none. Of one whose files are not what was installed
// nothing is known, so that all counts as new.
func (p *program) difference(pl controlled, ch *plane.Change, pkg *archive.Package, in string) (archive.Difference, error) {
	found := ch.State().Find(pkg.Manifest.ID, in)
	if len(found) == 0 {
		return archive.Difference{}, nil
	}
	before, err := pl.Package(nil, found[0])
	var wrong *plane.MismatchError
	switch {
	case errors.As(err, &wrong):
		return archive.Compare(archive.Manifest{}, pkg.Manifest), nil
	case err != nil:
		return archive.Difference{}, err
	}
	defer before.Close()
	return archive.Compare(before.Manifest, pkg.Manifest), nil
}

// askInstall shows what a package may do that the version before might not, and
// waits for yes or no. It returns the digest that was accepted, if it was.
func (p *program) askInstall(c *cli.Context, pkg *archive.Package, more archive.Difference) (string, error) {
	p.term.diagnostic("", escape(fmt.Sprintf("%s %s may do what the version before might not:", pkg.Manifest.ID, pkg.Manifest.Version)))
	for _, right := range more.Gained {
		p.term.diagnostic("", "  "+escape(right))
	}
	yes, err := p.confirm(c.Context, fmt.Sprintf("install %s?", short(pkg.Digest)))
	if err != nil || !yes {
		return "", err
	}
	return pkg.Digest.String(), nil
}

// checkDigits refuses what cannot be the digest of a package.
func checkDigits(digest string) error {
	given := strings.TrimPrefix(strings.ToLower(digest), "sha256:")
	const hint = "give at least 12 digits of the package's digest; agenthost package inspect shows it"
	switch {
	case digest == "":
		return nil
	case strings.Trim(given, "0123456789abcdef") != "":
		return usageError(fmt.Sprintf("--accept %q is not a digest", digest), hint)
	case len(given) < 12:
		return usageError(fmt.Sprintf("--accept %q is too short to name a package", digest), hint)
	}
	return nil
}

// installedPackage is the answer of package install --json.
type installedPackage struct {
	ID       string          `json:"id"`
	Version  string          `json:"version"`
	SHA256   ledger.Hash     `json:"sha256"`
	Plane    string          `json:"plane"`
	Same     bool            `json:"same,omitempty"` // it was there: nothing was done
	Replaces *record.Package `json:"replaces,omitempty"`
	Rights   []string        `json:"rights"`
	Gained   []string        `json:"gained,omitempty"`
	Lost     []string        `json:"lost,omitempty"`
	Forced   bool            `json:"forced,omitempty"`
	Signer   string          `json:"signer,omitempty"`
}

// tellInstalled tells what was installed, and what that package may do: all of it
// the first time, else what it may do more and less than before.
func (p *program) tellInstalled(state plane.State, pkg *archive.Package, out plane.Outcome) error {
	i, than := out.Installed, out.Difference
	if p.json {
		return p.term.value(installedPackage{
			i.Package.ID, i.Package.Version, i.Package.SHA256, i.Plane, out.Same, i.Replaces,
			archive.Describe(pkg.Manifest), than.Gained, than.Lost, i.Forced, i.Signer,
		})
	}
	what := fmt.Sprintf("%s %s", i.Package.ID, i.Package.Version)
	switch {
	case out.Same:
		p.term.line("%s is installed in %s already: nothing to do", what, i.Plane)
		return nil
	case out.Replaces != nil:
		p.term.line("installed %s in %s%s", what, i.Plane, replacing(out.Replaces.Package, i.Package))
	default:
		p.term.line("installed %s in %s", what, i.Plane)
	}
	p.term.line("  digest %s", i.Package.SHA256)
	p.term.line("  %s", signerText(i.Signer))
	for _, d := range i.Dependencies {
		if from, ok := state.Provider(d.ID, i.Plane); ok {
			p.term.line("  gets %s %s from %s", d.ID, from.Package.Version, from.Plane)
		}
	}
	if out.Replaces == nil {
		p.list("rights", archive.Describe(pkg.Manifest))
	} else {
		p.list("gained", than.Gained)
		p.list("lost", than.Lost)
		if len(than.Gained)+len(than.Lost) == 0 {
			p.term.line("its rights are those of the version before")
		}
	}
	p.list("beware", archive.Warnings(pkg.Manifest))
	next := []string{"run", i.Package.ID, "--plane", i.Plane}
	if pkg.Manifest.Entry == nil {
		next = []string{"trace", "--explain", i.Package.ID}
	}
	p.term.note("next: %s", p.command(next...))
	return nil
}
