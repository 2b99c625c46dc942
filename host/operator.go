package host

import (
	"errors"
	"fmt"
	"slices"

	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/policy"
)

// CommandPath returns the folders in which a policy has commands looked up.
func CommandPath(pol *policy.Policy) []string {
	if len(pol.Path) > 0 {
		return pol.Path
	}
	return []string{"/usr/bin", "/bin"}
}

// CheckCommands finds what is wrong with a policy for the commands of agents:
// variables that change what programs run, and folders of programs that cannot be
// shown to commands, or in which agents write, which writable are. The error is a
// *[policy.Error] about the first.
func CheckCommands(pol *policy.Policy, writable []string) error {
	_, err := commandFolders(pol, writable)
	return err
}

// commandFolders is [gate.ProgramFolders] of a policy that was checked.
func commandFolders(pol *policy.Policy, writable []string) ([]string, error) {
	for i, name := range pol.Env {
		if confine.Forbidden(name) {
			return nil, &policy.Error{
				Source: pol.Source, Where: fmt.Sprintf("env[%d]", i),
				What: fmt.Sprintf("%q changes which code a command runs", name), Hint: "leave it out: no command gets it",
			}
		}
	}
	folders, err := gate.ProgramFolders(CommandPath(pol), writable)
	var wrong *gate.PathError
	if errors.As(err, &wrong) {
		return nil, &policy.Error{
			Source: pol.Source, Where: fmt.Sprintf("path[%d]", slices.Index(pol.Path, wrong.Folder)),
			What: wrong.Error(), Hint: "name another folder, such as one in /opt or /usr/local",
		}
	}
	return folders, err
}
