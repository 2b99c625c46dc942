package main

import (
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
)

// TestAsking is the whole of what is accepted at a terminal.
func TestAsking(t *testing.T) {
	pkg := &archive.Package{Manifest: archive.Manifest{ID: "PKG-A", Version: "1.0.0"}}
	digest := pkg.Digest.String()
	for _, c := range []struct {
		name    string
		granted capability.Grants
		least   host.Fence
		want    string
	}{
		{
			"all there is to say",
			capability.Grants{
				Read:      []string{"docs/**", "*.md"},
				Execute:   []capability.Command{{"git", "log"}, {"xargs", "cat"}, {"grep", "a\u202eb"}, {"grep", "a b"}},
				Forbidden: []string{"docs/private/**"},
			},
			host.FenceFull,
			`PKG-A 1.0.0 asks to run commands of this machine:
  git log
  xargs cat  (xargs starts what the files or the input that it reads tell it to)
  grep a\u202eb
  ["grep","a b"]
they can read the machine's programs, the package's files, and of the workspace:
  docs/**
  *.md
  never docs/private/**
they can write to the turn's scratch and output folder, and nowhere else; of that, only what is declared is published
they can reach no network and no other process, and end with the turn
they run in the full fence, or not at all
digest ` + digest,
		},
		{
			"no reads, a lower fence",
			capability.Grants{Execute: []capability.Command{{"pkg:tool"}}},
			host.FenceLandlock,
			`PKG-A 1.0.0 asks to run commands of this machine:
  pkg:tool
they can read the machine's programs, the package's files, and of the workspace:
  nothing
they can write to the turn's scratch and output folder, and nowhere else; of that, only what is declared is published
they can reach no network and no other process, and end with the turn
they run in the full fence or, where this machine has none, in the landlock fence, in which they learn which files exist
digest ` + digest,
		},
	} {
		if got := strings.Join(asking(pkg, c.granted, c.least), "\n"); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}
