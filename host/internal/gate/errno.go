package gate

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/agenthost/agenthost/host/internal/beneath"
)

// An Errno is what a guest may learn of an operation that failed. The names are
// those of WASI preview 1.
type Errno uint8

// The errnos the gate answers with.
const (
	Success Errno = iota
	Acces
	BadF
	Exist
	Inval
	IO
	IsDir
	NameTooLong
	NoEnt
	NotDir
	NotEmpty
	NotSup
	Perm
	ROFS
)

var errnoNames = [...]string{
	"success", "acces", "badf", "exist", "inval", "io", "isdir", "nametoolong",
	"noent", "notdir", "notempty", "notsup", "perm", "rofs",
}

// String returns the name as ledgers spell it, such as "noent".
func (e Errno) String() string { return errnoNames[e] }

// errnoOf maps the error of an operation on the workspace to what the guest is
// told. A link in the way is a name that does not exist, and so is a file: that
// it is there may be hidden from the guest.
func errnoOf(err error) Errno {
	switch {
	case err == nil:
		return Success
	case errors.Is(err, beneath.ErrLink), errors.Is(err, beneath.ErrEscapes), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return NoEnt
	case errors.Is(err, fs.ErrPermission):
		return Acces
	case errors.Is(err, fs.ErrExist):
		return Exist
	case errors.Is(err, syscall.EISDIR):
		return IsDir
	case errors.Is(err, syscall.ENOTEMPTY):
		return NotEmpty
	case errors.Is(err, syscall.ENAMETOOLONG):
		return NameTooLong
	}
	return IO
}
