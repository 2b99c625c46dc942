package plane

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/internal/durable/synctest"
)

// TestSyncsOfAnUpgrade holds what an upgrade waits for the disk for, in this order:
// all that its entry speaks of is there before it, and stays findable until it has
// its place.
func TestSyncsOfAnUpgrade(t *testing.T) {
	f := newFixture(t)
	f.install(spec{id: "PKG-A", files: map[string]string{"a/b": "1"}}, InstallOptions{})
	next := prepare(t, "", spec{id: "PKG-A", version: "2.0.0", files: map[string]string{"a/b": "2"}})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), strings.Join([]string{childVariable + "=install", f.path, f.token, next.path}, " "))
	got := synctest.Of(t, cmd)
	for i, path := range got {
		got[i], _ = filepath.Rel(f.path, path)
	}
	// What the register says is on disk before anything goes on from it: once where
	// the plane is opened, once where it is changed.
	const known = "planes/ho3/ledger/sessions.jsonl"
	for range 2 {
		if len(got) == 0 || got[0] != known {
			t.Fatalf("it begins with %q, want %q", got, known)
		}
		got = got[1:]
	}
	want := []string{
		// The marker.
		"planes/pending/.new-change",
		"planes/pending",
		// The archive, and the files, which are synced side by side.
		"packages_store/.new-PKG-A.tar.gz",
		"packages_store",
		"planes/ho1/installed/.new-PKG-A/a/b",
		"planes/ho1/installed/.new-PKG-A/manifest.json",
		"planes/ho1/installed/.new-PKG-A/a",
		"planes/ho1/installed/.new-PKG-A",
		"planes/ho1/installed",
		// The change.
		"ledger/governance.jsonl",
		"planes/ho3/ledger/sessions.jsonl",
		// The old one aside, the new one in its place, the old one gone.
		"planes/ho1/installed",
		"planes/ho1/installed",
		"planes/ho1/installed",
		"packages_store",
		"registries/.new-packages_registry.csv",
		"registries",
		// The marker is gone.
		"planes/pending",
	}
	slices.Sort(got[min(4, len(got)):min(6, len(got))])
	if !slices.Equal(got, want) {
		t.Errorf("%d syncs:\n%s\nwant %d:\n%s", len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
	}
}
