package gate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// MaxInputs is how many files a turn may declare.
const MaxInputs = 4096

// An Input is a declared file and what it was when it was hashed.
type Input struct {
	record.File
	Info beneath.Info
}

// An InputError says which declared input cannot be one. It is found before a
// session exists.
type InputError struct {
	Pattern string
	What    string
	Hint    string
}

func (e *InputError) Error() string { return fmt.Sprintf("input %q: %s", e.Pattern, e.What) }

// Expand finds and hashes the files that patterns declare: those the enforcer
// lets the turn read. A pattern without metacharacters must name such a file.
// The files are in byte order of their names. Errors are an *[InputError], the
// cause of ctx, or one of the workspace.
func Expand(ctx context.Context, workspace *beneath.Dir, enforcer *capability.Enforcer, patterns []string) ([]Input, error) {
	declared, err := capability.New(capability.Grants{Read: patterns})
	var wrong *capability.GrantError
	if errors.As(err, &wrong) {
		return nil, &InputError{wrong.Pattern, "the pattern " + wrong.Reason, wrong.Hint}
	} else if err != nil {
		return nil, err
	}
	x := &expansion{
		ctx: ctx, workspace: workspace, enforcer: enforcer, declared: declared,
		storage: map[uint64]error{}, folders: newFolders(workspace), found: map[string]Input{},
	}
	wild := false
	for _, p := range patterns {
		name, literal := capability.Literal(p)
		if !literal {
			wild = true
			continue
		}
		if err := x.literal(name); err != nil {
			return nil, err
		}
	}
	if wild {
		if err := x.walk("."); err != nil {
			return nil, err
		}
	}
	var inputs []Input
	for _, name := range slices.Sorted(maps.Keys(x.found)) {
		inputs = append(inputs, x.found[name])
	}
	return inputs, nil
}

type expansion struct {
	ctx       context.Context
	workspace *beneath.Dir
	enforcer  *capability.Enforcer
	declared  *capability.Enforcer
	storage   map[uint64]error
	folders   *folders
	found     map[string]Input
}

// literal takes a name without metacharacters, which must be a file the turn may
// read.
func (x *expansion) literal(name string) error {
	if _, err := x.enforcer.Check(capability.Read, name); err != nil {
		var v *capability.Violation
		switch {
		case !errors.As(err, &v):
			return err
		case v.SmallestGrant != "":
			return &InputError{name, "it is not granted", "grant it: " + v.SmallestGrant}
		}
		return &InputError{name, "it may not be read (" + v.Rule + ")", "declare only what the package may read"}
	}
	info, err := x.workspace.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return missing(name)
	case errors.Is(err, beneath.ErrLink):
		return &InputError{name, "a symbolic link is on the way to it, and links are not followed", "declare the file by the name it has without links"}
	case err != nil:
		return unreadable(name, err)
	case info.Mode&fs.ModeSymlink != 0:
		return &InputError{name, "it is a symbolic link, and links are not followed", "declare the file it leads to"}
	case info.Mode.IsDir():
		return &InputError{name, "it is a folder", "declare files, or a pattern such as " + name + "/**"}
	}
	fault, err := x.file(name)
	switch {
	case err != nil:
		return err
	case fault == faultGone:
		return missing(name)
	case fault == faultLinks:
		return &InputError{name, fault, "copy the file, so that only this name leads to it"}
	case fault != "":
		return &InputError{name, fault, "declare a regular file of a disk"}
	}
	return nil
}

// Why a file is not taken.
const (
	faultGone  = "it is gone"
	faultLinks = "it has more than one link while something is forbidden"
)

func missing(name string) error {
	return &InputError{name, "there is no such file in the workspace", "create it, or run in the folder that has it (--workspace)"}
}

func unreadable(name string, err error) error {
	return &InputError{name, err.Error(), "make it readable, or declare fewer files"}
}

// walk visits the folders that could hold a declared file.
func (x *expansion) walk(folder string) error {
	if err := x.ctx.Err(); err != nil {
		return context.Cause(x.ctx)
	}
	entries, err := x.workspace.ReadDir(folder)
	switch {
	case errorsOfAbsence(err), errors.Is(err, fs.ErrPermission):
		return nil
	case err != nil:
		return fmt.Errorf("list %s for the declared inputs: %w", folder, err)
	}
	for _, e := range entries {
		if x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		name := join(folder, e.Name)
		switch {
		case folder == "." && (e.Name == ownDir || e.Name == tmpDir || e.Name == outDir):
		case e.Type.IsDir():
			if x.declared.Reaches(capability.Read, name) && x.enforcer.Reaches(capability.Read, name) && x.stored(name) && x.folders.fault(name) == nil {
				if err := x.walk(name); err != nil {
					return err
				}
			}
		case e.Type.IsRegular() && x.wanted(name):
			if _, err := x.file(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted reports whether a file is declared and may be read.
func (x *expansion) wanted(name string) bool {
	if _, err := x.declared.Check(capability.Read, name); err != nil {
		return false
	}
	_, err := x.enforcer.Check(capability.Read, name)
	return err == nil
}

// stored reports whether a folder is on a filesystem that is served.
func (x *expansion) stored(name string) bool {
	f, err := x.workspace.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := beneath.StatFile(f)
	return err == nil && x.served(info.Dev, f) == nil
}

// errorsOfAbsence reports whether err says that there is no such name, or none
// that a guest could see.
func errorsOfAbsence(err error) bool {
	return errors.Is(err, beneath.ErrLink) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}

// file hashes a file that is declared and may be read. The fault says why it is
// not taken, where nobody would open it either.
func (x *expansion) file(name string) (fault string, err error) {
	f, err := x.workspace.OpenFile(name, os.O_RDONLY, 0)
	switch {
	case errorsOfAbsence(err):
		return faultGone, nil
	case errors.Is(err, syscall.ENXIO):
		return "it is not a regular file", nil
	case err != nil:
		return "", unreadable(name, err)
	}
	defer f.Close()
	info, err := beneath.StatFile(f)
	switch {
	case err != nil:
		return "", fmt.Errorf("examine %s: %w", name, err)
	case !info.Mode.IsRegular():
		return "it is not a regular file", nil
	case info.Nlink > 1 && x.enforcer.HasForbidden():
		return faultLinks, nil
	}
	if err := x.served(info.Dev, f); err != nil {
		return err.Error(), nil
	}
	if err := x.folders.fault(parentOf(name)); err != nil {
		return err.Error(), nil
	}
	if _, again := x.found[name]; again {
		return "", nil
	}
	if len(x.found) == MaxInputs {
		return "", &InputError{name, fmt.Sprintf("more than %d files are declared", MaxInputs), "narrow the inputs (--input GLOB)"}
	}
	sum := sha256.New()
	size, err := io.Copy(sum, io.LimitReader(cancellable{x.ctx, f}, info.Size))
	switch {
	case x.ctx.Err() != nil:
		return "", context.Cause(x.ctx)
	case err != nil:
		return "", unreadable(name, err)
	}
	x.found[name] = Input{record.File{Path: name, SHA256: ledger.Hash(sum.Sum(nil)), Size: size}, info}
	return "", nil
}

// cancellable ends a long read when its context does.
type cancellable struct {
	ctx context.Context
	io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

func (x *expansion) served(dev uint64, f *os.File) error {
	err, known := x.storage[dev]
	if !known {
		err = beneath.Storage(f)
		x.storage[dev] = err
	}
	return err
}
