package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/policy"
)

// Never returns patterns of what belongs to the host and happens to lie in the
// workspace: the cache of native code, the policy, this program, and what the
// caller protects. It may neither be seen nor written, whatever is granted:
// these are the names out of the scope of every session, [policy.Scope].
func (c Config) Never(workspace string, pol *policy.Policy, protected []string) ([]string, error) {
	top, err := filepath.EvalSymlinks(workspace)
	if err != nil {
		return nil, &RequestError{fmt.Sprintf("the workspace %s cannot be opened: %v", workspace, err), "name a folder that exists with --workspace"}
	}
	if top, err = filepath.Abs(top); err != nil {
		return nil, fmt.Errorf("find the workspace: %w", err)
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
	for _, folder := range own {
		real, err := filepath.EvalSymlinks(folder)
		if err != nil {
			continue // what does not exist holds nothing
		}
		if real, err = filepath.Abs(real); err != nil {
			return nil, fmt.Errorf("find %s: %w", folder, err)
		}
		rel, err := filepath.Rel(top, real)
		if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			continue
		}
		if rel == "." {
			return nil, &RequestError{
				fmt.Sprintf("the workspace %s is a folder that only the host may use", workspace),
				"run in the folder of your work, or name it with --workspace",
			}
		}
		name := capability.Escape(filepath.ToSlash(rel))
		if name == ".agenthost" || strings.HasPrefix(name, ".agenthost/") {
			continue // the guest's own .agenthost is there
		}
		patterns = append(patterns, name, name+"/**")
	}
	return patterns, nil
}
