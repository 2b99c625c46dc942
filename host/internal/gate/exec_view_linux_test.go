package gate

import (
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
)

// Commands see what earlier turns published, also where all of the workspace is
// given whole.
func TestExecSeesPublished(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"nothing of the workspace": {},
		"all of the workspace":     {"docs/a": "a", "b": "b"},
		"some of the workspace":    {"docs/a": "a", "secret": "s", ".agenthost/x": ""},
	} {
		t.Run(name, func(t *testing.T) {
			grants := capability.Grants{Read: []string{"docs/**", "b"}, Execute: rules("cat output/"+sid+"/made", "find . -type f", "cat docs/a")}
			if name == "all of the workspace" {
				grants.Read = []string{"**"}
			}
			y := newYard(t, setup{grants: grants, files: files, published: map[string]string{"made": "by an earlier turn"}}, nil, nil)
			equal(t, "cat", y.does("cat", "output/"+sid+"/made"), "0 by an earlier turn")
			got := y.does("find", ".", "-type", "f")
			if !strings.Contains(got, "./output/"+sid+"/made") || strings.Contains(got, "secret") || strings.Contains(got, ".agenthost") {
				t.Errorf("got %s", got)
			}
			if files["docs/a"] != "" {
				equal(t, "cat", y.does("cat", "docs/a"), "0 a")
			}
		})
	}
}
