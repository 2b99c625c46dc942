package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) packagePackCommand() *cli.Command {
	return &cli.Command{
		Name:  "pack",
		Usage: "make a package of a folder",
		Description: `The folder holds a manifest.json, the module it names, and any other files; all
of it is packed. Equal folders give equal packages: the digest that is printed
is what an operator accepts. A manifest that asks for something it cannot get is
refused here, with every mistake in it.

In a control plane, and with its admin token, the package is written to
packages_store/ID.tar.gz, from where package install takes it; that is a change,
and recorded. With -o, or without the token, it is written to a file as anywhere.`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "src", Usage: "the folder `DIR` to pack"},
			&cli.StringFlag{Name: "id", Usage: "the package's `PKG-ID`; needed if the manifest has none"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "the `FILE` to write (default: ID.tar.gz)"},
		}, tokenFlags()...),
		Action: p.packagePack,
	}
}

// packed is the answer of package pack --json.
type packed struct {
	ID      string      `json:"id"`
	Version string      `json:"version"`
	SHA256  ledger.Hash `json:"sha256"`
	Files   int         `json:"files"`
	Output  string      `json:"output"`
}

func (p *program) packagePack(c *cli.Context) error {
	src := c.String("src")
	if given := c.Args().First(); given != "" && src == "" {
		return usageError(fmt.Sprintf("package pack does not take %q", given), "name the folder to pack with --src "+shellWord(given))
	}
	if err := p.noOperands(c); err != nil {
		return err
	}
	if src == "" {
		return usageError("package pack needs the folder to pack", "name it with --src DIR")
	}
	if info, err := os.Stat(src); err == nil && !info.IsDir() {
		return usageError(fmt.Sprintf("--src %s is not a folder", src), "name the folder that holds the manifest.json")
	}
	if err := withoutKey(src); err != nil {
		return err
	}
	id := c.String("id")
	if id != "" {
		if err := archive.CheckID("PKG", id); err != nil {
			return usageError("--id: "+err.Error(), "as PKG-T3-REPORT-001")
		}
	}
	if c.String("output") != "" && hasTokenFlag(c) {
		return usageError("package pack got -o and the admin token", "leave -o out to write the package to the store; no token is needed to write it to a file")
	}
	if p.packsToStore(c) {
		return p.packToStore(c, src, id)
	}
	if err := p.packToFile(c.String("output"), src, id); err != nil {
		return err
	}
	if c.String("output") == "" && p.inControlPlane() {
		p.term.note("the store of this control plane is as it was: with --token-file FILE the package goes there")
	}
	return nil
}

// packsToStore reports whether the package is meant for the store of a control
// plane: the token says so, one of the environment only where there is a control
// plane and no other file is named.
func (p *program) packsToStore(c *cli.Context) bool {
	if hasTokenFlag(c) {
		return true
	}
	return os.Getenv(tokenVariable) != "" && c.String("output") == "" && p.inControlPlane()
}

// inControlPlane reports whether the root is a control plane, as far as that can be
// found out.
func (p *program) inControlPlane() bool {
	root, err := p.openRoot()
	if err != nil {
		return false
	}
	defer root.Close()
	return root.Control()
}

func (p *program) packToFile(target, src, id string) error {
	if target == "" {
		if id == "" {
			pkg, err := archive.FromFolder(src)
			if err != nil {
				return openError(src, err)
			}
			id = pkg.Manifest.ID
			if err := pkg.Close(); err != nil {
				return err
			}
		}
		target = id + ".tar.gz"
	}
	if info, err := os.Stat(filepath.Dir(target)); err != nil || !info.IsDir() {
		return usageError(fmt.Sprintf("-o %s: there is no folder %s", target, filepath.Dir(target)), "make it first, or name another file with -o FILE")
	}
	pkg, err := archive.PackFile(target, src, archive.PackOptions{ID: id})
	if err != nil {
		return openError(src, err)
	}
	defer pkg.Close()
	return p.showPacked(pkg, target)
}

func (p *program) packToStore(c *cli.Context, src, id string) error {
	root, err := p.openRoot()
	if err != nil {
		return err
	}
	defer root.Close()
	pl, err := p.controlPlane(root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "agenthost-pack-")
	if err != nil {
		return rootError(err, "make room in the folder of temporary files, or name another one with TMPDIR")
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "package.tar.gz")
	pkg, err := archive.PackFile(file, src, archive.PackOptions{ID: id})
	if err != nil {
		return openError(src, err)
	}
	defer pkg.Close()
	if err := p.changed(c, pl, record.KindPackageStore, pkg.Manifest.ID, func(ch *plane.Change) error {
		_, err := ch.Store(pkg, file)
		return err
	}); err != nil {
		return err
	}
	target := storeFile(pkg.Manifest.ID)
	if err := p.showPacked(pkg, target); err != nil {
		return err
	}
	p.term.note("next: %s", p.command("package", "install", "--archive", forPeople(filepath.Join(root.Path(), target)), "--id", pkg.Manifest.ID, "--token-file", "FILE"))
	return nil
}

// storeFile is where the archive of a package is kept, from the root.
func storeFile(id string) string { return "packages_store/" + id + ".tar.gz" }

func (p *program) showPacked(pkg *archive.Package, target string) error {
	if p.json {
		return p.term.value(packed{pkg.Manifest.ID, pkg.Manifest.Version, pkg.Digest, len(pkg.Manifest.Files), target})
	}
	p.term.line("%s", pkg.Digest)
	p.term.note("packed %s %s with %s into %s", pkg.Manifest.ID, pkg.Manifest.Version, count(len(pkg.Manifest.Files), "file"), target)
	return nil
}
