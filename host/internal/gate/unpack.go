package gate

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/ledger"
)

// unpack makes the files of the package, once in a turn, in the folder that
// commands see it in. Neither a command nor the guest can write to them.
func (g *Gate) unpack() *beneath.Dir {
	if g.unpacked != nil {
		return g.unpacked
	}
	dir, err := beneath.Open(g.cfg.Commands.Places.Package)
	if err != nil {
		hostFailure("unpack the package", err)
	}
	defer func() {
		if g.unpacked == nil {
			dir.Close()
		}
	}()
	g.unpackFolder(dir, ".")
	g.unpacked = dir
	return dir
}

func (g *Gate) unpackFolder(dir *beneath.Dir, folder string) {
	list, err := g.cfg.Package.List(folder)
	if err != nil {
		hostFailure("unpack the package", err)
	}
	for _, info := range list {
		if info.Folder {
			if err := dir.Mkdir(info.Name, 0o700); err != nil {
				hostFailure("unpack the package", err)
			}
			g.unpackFolder(dir, info.Name)
			continue
		}
		g.checkContext()
		g.cfg.Charge(info.Size)
		if err := unpackFile(dir, g.cfg.Package, info); err != nil {
			hostFailure("unpack the package", err)
		}
	}
}

// unpackFile makes one file of a package, of the content that the manifest says.
func unpackFile(dir *beneath.Dir, pkg *archive.Package, info archive.Info) error {
	content, err := pkg.Open(info.Name)
	if err != nil {
		return err
	}
	f, err := dir.OpenFile(info.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), content); err != nil {
		return err
	}
	if ledger.Hash(sum.Sum(nil)) != info.SHA256 {
		return errors.New(info.Name + " does not have the content that the manifest says")
	}
	return f.Chmod(0o444)
}

// executable lets a file of the package be executed, and says what it is on disk.
func (g *Gate) executable(name string) beneath.Info {
	f, err := g.unpack().OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		hostFailure("unpack the package", err)
	}
	defer f.Close()
	if err := f.Chmod(0o555); err != nil {
		hostFailure("unpack the package", err)
	}
	info, err := beneath.StatFile(f)
	if err != nil {
		hostFailure("unpack the package", err)
	}
	return info
}
