package gate

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
)

// Why nothing in a folder is served.
var (
	errFolded = errors.New("its folder does not tell names apart by case")
	errKept   = errors.New("its folder is a root of agenthost")
)

// folders asks once for each folder whether what is in it is served: it must
// tell names apart by case, and neither it nor a folder above it may be a root of
// agenthost, whose sessions and keys are no agent's business, whoever they belong
// to. The top is not asked whether it is one: a control plane is both.
type folders struct {
	top    *beneath.Dir
	faults map[string]error // by name in top
}

func newFolders(top *beneath.Dir) *folders { return &folders{top, map[string]error{}} }

// fault says why nothing in folder is served.
func (f *folders) fault(folder string) error {
	err, known := f.faults[folder]
	if known {
		return err
	}
	if folder != "." {
		err = f.fault(parentOf(folder))
	}
	if err == nil {
		err = f.look(folder)
	}
	f.faults[folder] = err
	return err
}

func (f *folders) look(folder string) error {
	sub, err := f.top.Sub(folder)
	if err != nil {
		return errors.New("its folder cannot be examined")
	}
	defer sub.Close()
	if folded, err := beneath.CaseFolded(sub); err != nil || folded {
		return errFolded
	}
	if folder == "." {
		return nil
	}
	format, err := sub.OpenFile("FORMAT", os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, beneath.ErrLink) {
		return nil
	}
	if err != nil {
		return errors.New("its folder cannot be examined")
	}
	defer format.Close()
	head := make([]byte, 32)
	if n, _ := format.ReadAt(head, 0); strings.HasPrefix(string(head[:n]), "agenthost ") {
		return errKept
	}
	return nil
}
