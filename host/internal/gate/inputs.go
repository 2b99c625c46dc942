package gate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

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
// The files are in byte order of their names.
func Expand(ctx context.Context, workspace *beneath.Dir, enforcer *capability.Enforcer, patterns []string) ([]Input, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	declared, err := capability.New(capability.Grants{Read: patterns})
	if err != nil {
		return nil, err
	}
	x := &expansion{ctx: ctx, workspace: workspace, enforcer: enforcer, declared: declared, storage: map[uint64]error{}}
	for _, p := range patterns {
		if name, ok := capability.Literal(p); ok {
			if err := x.literal(name); err != nil {
				return nil, err
			}
		}
	}
	if err := x.walk("."); err != nil {
		return nil, err
	}
	return x.found, nil
}

type expansion struct {
	ctx       context.Context
	workspace *beneath.Dir
	enforcer  *capability.Enforcer
	declared  *capability.Enforcer
	storage   map[uint64]error
	found     []Input
}

// literal checks that a name without metacharacters is a file the turn may read.
func (x *expansion) literal(name string) error {
	if _, err := x.enforcer.Check(capability.Read, name); err != nil {
		var v *capability.Violation
		if errors.As(err, &v) && v.SmallestGrant != "" {
			return &InputError{name, "it is not granted", "grant it: " + v.SmallestGrant}
		}
		return &InputError{name, "it may not be read: " + err.Error(), "declare only what the package may read"}
	}
	info, err := x.workspace.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &InputError{name, "there is no such file in the workspace", "create it, or run in the folder that has it (--workspace)"}
	case errors.Is(err, beneath.ErrLink):
		return &InputError{name, "it is a symbolic link, and links are not followed", "declare the file it leads to"}
	case err != nil:
		return &InputError{name, err.Error(), "make it readable"}
	case !info.Mode.IsRegular():
		return &InputError{name, "it is not a regular file", "declare files, or a pattern such as " + name + "/**"}
	case info.Nlink > 1 && x.enforcer.HasForbidden():
		return &InputError{name, "it has more than one link while something is forbidden", "copy the file, so that only this name leads to it"}
	}
	return nil
}

// walk visits the folders that could hold a declared file.
func (x *expansion) walk(folder string) error {
	if err := x.ctx.Err(); err != nil {
		return context.Cause(x.ctx)
	}
	entries, err := x.workspace.ReadDir(folder)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, beneath.ErrLink) {
			return nil
		}
		return fmt.Errorf("list %s for the declared inputs: %w", folder, err)
	}
	for _, e := range entries {
		name := join(folder, e.Name)
		switch {
		case folder == "." && (e.Name == ownDir || e.Name == tmpDir || e.Name == outDir):
		case e.Type.IsDir():
			if x.declared.Reaches(capability.Read, name) && x.enforcer.Reaches(capability.Read, name) {
				if err := x.walk(name); err != nil {
					return err
				}
			}
		case e.Type.IsRegular():
			if err := x.file(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// file hashes a file if it is declared and may be read.
func (x *expansion) file(name string) error {
	if _, err := x.declared.Check(capability.Read, name); err != nil {
		return nil
	}
	if _, err := x.enforcer.Check(capability.Read, name); err != nil {
		return nil
	}
	f, err := x.workspace.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		if errors.Is(err, beneath.ErrLink) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return &InputError{name, err.Error(), "make it readable, or declare fewer files"}
	}
	defer f.Close()
	info, err := beneath.StatFile(f)
	if err != nil {
		return fmt.Errorf("examine %s: %w", name, err)
	}
	if !info.Mode.IsRegular() || (info.Nlink > 1 && x.enforcer.HasForbidden()) {
		return nil
	}
	if err := x.served(info.Dev, f); err != nil {
		return nil
	}
	if len(x.found) == MaxInputs {
		return &InputError{strings.TrimSpace(name), fmt.Sprintf("more than %d files are declared", MaxInputs), "narrow the inputs (--input GLOB)"}
	}
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return &InputError{name, err.Error(), "make it readable, or declare fewer files"}
	}
	x.found = append(x.found, Input{record.File{Path: name, SHA256: ledger.Hash(sum.Sum(nil)), Size: size}, info})
	return nil
}

func (x *expansion) served(dev uint64, f *os.File) error {
	err, known := x.storage[dev]
	if !known {
		err = beneath.Storage(f)
		x.storage[dev] = err
	}
	return err
}
