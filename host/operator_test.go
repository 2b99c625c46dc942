//go:build linux

package host

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/policy"
)

// TestCheckCommands: a policy says nothing that would let a command run something
// else than it seems to.
func TestCheckCommands(t *testing.T) {
	const place = " cannot be shown to commands: they have one of their own in its place"
	for _, c := range []struct{ env, path, want string }{
		{"LC_ALL", "/usr/bin", ""},
		{"", "/usr/local/bin", ""},
		{"", "/opt/absent/bin", ""},
		{"LD_PRELOAD", "", `file: env[0]: "LD_PRELOAD" changes which code a command runs`},
		{"LESSOPEN", "", `file: env[0]: "LESSOPEN" changes which code a command runs`},
		{"", "/", `file: path[0]: "/"` + place},
		{"", "/tmp", `file: path[0]: "/tmp"` + place},
		{"", "/tmp/absent/bin", `file: path[0]: "/tmp/absent/bin"` + place},
		{"", "/w/bin", `file: path[0]: "/w/bin"` + place},
		{"", "/home/absent/bin", `file: path[0]: "/home/absent/bin"` + place},
		{"", "/var", `file: path[0]: "/var" is where agents write: its programs would not be the operator's`},
		{"", "/var/lib/bin", `file: path[0]: "/var/lib/bin" is where agents write: its programs would not be the operator's`},
	} {
		pol := &policy.Policy{Source: "file"}
		if c.env != "" {
			pol.Env = []string{c.env}
		}
		if c.path != "" {
			pol.Path = []string{c.path}
		}
		err := CheckCommands(pol, []string{"/var/lib"}) // which every machine has
		var fault *policy.Error
		if c.want == "" && err != nil || c.want != "" && (fmt.Sprint(err) != c.want || !errors.As(err, &fault) || fault.Hint == "") {
			t.Errorf("%s%s: got %v, want %s", c.env, c.path, err, c.want)
		}
	}
}

// TestFixedVariables: no policy gives commands another value of a variable that
// agenthost sets.
func TestFixedVariables(t *testing.T) {
	fixed, err := confine.Environment(CommandPath(&policy.Policy{}), "/tmp", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range fixed {
		name, _, _ := strings.Cut(variable, "=")
		pol, err := policy.Parse("file", fmt.Appendf(nil, `{"schema": %q, "env": [%q]}`, policy.Schema, name))
		if err == nil {
			err = CheckCommands(pol, nil)
		}
		var fault *policy.Error
		if !errors.As(err, &fault) {
			t.Errorf("%s: got %v, want an error of the policy", name, err)
		}
	}
}
