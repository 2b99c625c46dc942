package main

import (
	"os"
	"testing"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
)

// TestRuntimeManifest holds the package that agenthost is to the version it has.
func TestRuntimeManifest(t *testing.T) {
	data, err := os.ReadFile("runtime/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := archive.ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	if m.Version != host.Version || m.Tier != "T1" || m.Plane != "ho3" || m.Entry != nil {
		t.Errorf("got %s %s %s, entry %v; want the library of version %s in tier T1, plane ho3", m.Version, m.Tier, m.Plane, m.Entry, host.Version)
	}
}
