package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/confine"
)

// A Check is one thing that a machine was tried for.
type Check struct {
	// Name is what was tried: a mechanism of the fence around commands, as "user
	// namespaces" or "landlock"; "fence", which is all of them together around a
	// program that tries to get out, or "lower fence", the one without namespaces; or
	// "cgroups", "user", [CheckWorkspace] or [CheckRoot].
	Name string `json:"name"`
	// Works is whether it does what agenthost needs of it.
	Works bool `json:"works"`
	// Detail is what was found, or what went wrong. It names no folder.
	Detail string `json:"detail,omitempty"`
	// Remedies are what there is to do where it does not work, each a sentence or
	// a command: all of them are in the way.
	Remedies []string `json:"remedies,omitempty"`
}

// Names of checks without which no turn runs, whatever commands need.
const (
	CheckWorkspace = "workspace"
	CheckRoot      = "root"
)

// Examine tries what of this machine turns and their commands stand on: each
// mechanism of the fence by itself and then the fence, as [Helper] puts it up, and
// whether the filesystems of workspace and root, the second of which need not exist
// yet, can be governed. It returns the best fence this machine has, and what was
// tried for it. It leaves nothing behind. Where ctx ends early, what was not tried
// does not work.
func Examine(ctx context.Context, workspace, root string) (best Fence, checks []Check) {
	best = FenceNone
	for _, m := range confine.Probe(ctx) {
		switch {
		case !m.Works:
		case m.Name == "fence":
			best = FenceFull
		case m.Name == "lower fence" && best == FenceNone:
			best = FenceLandlock
		}
		c := Check{Name: m.Name, Works: m.Works, Detail: inWords(m.Detail)}
		if needless := m.Name == "lower fence" && best == FenceFull; !m.Works && m.Remedy != "" && !needless {
			c.Remedies = strings.Split(m.Remedy, "; ")
		}
		checks = append(checks, c)
	}
	return best, append(checks, examineGroups(), examineUser(),
		examineFolder(CheckWorkspace, workspace), examineFolder(CheckRoot, root))
}

// inWords is why a mechanism does not work, for people.
func inWords(reason string) string {
	reason = strings.TrimPrefix(reason, "fork/exec /proc/self/exe: ")
	if reason == syscall.ENOSPC.Error() {
		return "the most that there may be of them is reached" // see clone(2)
	}
	return reason
}

// examineGroups says which control groups there are. None are needed: where one
// can be made for a command it bounds processes and memory exactly.
func examineGroups() Check {
	c := Check{Name: "cgroups"}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		c.Detail = "none"
		return c
	}
	var first, second bool
	for line := range strings.Lines(string(data)) {
		unified := strings.HasPrefix(line, "0::") // see cgroups(7)
		first, second = first || !unified, second || unified
	}
	c.Works = first || second
	switch {
	case first && second:
		c.Detail = "versions 1 and 2"
	case second:
		c.Detail = "version 2"
	case first:
		c.Detail = "version 1"
	default:
		c.Detail = "none"
	}
	return c
}

// examineUser says for whom all this holds.
func examineUser() Check {
	if os.Geteuid() == 0 {
		return Check{Name: "user", Works: true, Detail: "root"}
	}
	return Check{Name: "user", Works: true, Detail: "not root"}
}

// examineFolder finds out whether a folder, or the one that it would be made in, is
// on a filesystem that can be governed.
func examineFolder(name, folder string) Check {
	c := Check{Name: name, Works: true, Detail: "a filesystem that stores files and tells names apart by case"}
	if err := governableAt(folder); err != nil {
		c.Works, c.Detail = false, err.Error()
		c.Remedies = []string{"use a folder on a filesystem of a disk that tells names apart by case, with --" + name}
	}
	return c
}

func governableAt(folder string) error {
	for {
		dir, err := beneath.Open(folder)
		if parent := filepath.Dir(folder); errors.Is(err, fs.ErrNotExist) && parent != folder {
			folder = parent
			continue
		}
		var path *fs.PathError
		if errors.As(err, &path) {
			return path.Err
		}
		if err != nil {
			return err
		}
		defer dir.Close()
		return governable(dir)
	}
}

// governable returns why what lies in a folder cannot be governed by name.
func governable(dir *beneath.Dir) error {
	f, err := dir.OpenFile(".", 0, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := beneath.Storage(f); err != nil {
		return err
	}
	folded, err := beneath.CaseFolded(dir)
	if err == nil && folded {
		err = errors.New("it does not tell names apart by case, so a pattern would not mean one name")
	}
	return err
}
