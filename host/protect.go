package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/policy"
)

// Never returns patterns of what belongs to the host and happens to lie in the
// workspace: the cache of native code, the policy, this program, and what the
// caller protects. They may neither be seen nor written, whatever is granted:
// these are the names out of the scope of every session, [policy.Scope].
func (c Config) Never(workspace string, pol *policy.Policy, protected []string) ([]string, error) {
	top, err := realPath(workspace)
	if err != nil {
		return nil, &RequestError{fmt.Sprintf("the workspace %s cannot be opened: %v", workspace, err), "name a folder that exists with --workspace"}
	}
	cache, err := c.cacheDir()
	if err != nil {
		return nil, err
	}
	own := append([]string{cache}, protected...)
	if pol.Source != policy.BuiltIn {
		own = append(own, pol.Source)
	}
	if program, err := os.Executable(); err == nil {
		own = append(own, program)
	}
	var patterns []string
	for _, name := range own {
		path, err := placeOf(name) // the root may be made after this
		if err != nil {
			return nil, fmt.Errorf("find %s, which no guest may see: %w", name, err)
		}
		if _, inside := within(path, top); inside {
			return nil, &RequestError{
				fmt.Sprintf("the workspace %s is a folder that only the host may use", workspace),
				"run in the folder of your work, or name it with --workspace",
			}
		}
		if rel, inside := within(top, path); inside && !shadowed(rel) {
			patterns = append(patterns, capability.Escape(rel), capability.Escape(rel)+"/**")
		}
	}
	return patterns, nil
}

// realPath is the absolute path of what exists, without links.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// placeOf is realPath of what may not exist yet.
func placeOf(path string) (string, error) {
	rest := ""
	for {
		real, err := realPath(path)
		if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
			path, rest = parent, filepath.Join(filepath.Base(path), rest)
			continue
		}
		return filepath.Join(real, rest), err
	}
}

// within returns the name of path in folder, "." for folder itself, and whether
// it lies there.
func within(folder, path string) (name string, ok bool) {
	rel, err := filepath.Rel(folder, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// shadowed reports whether guests have something of their own by that name, or
// may never be granted it: no pattern says such names.
func shadowed(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return first == ".agenthost" || first == "tmp" || first == "out" || first == "output"
}
