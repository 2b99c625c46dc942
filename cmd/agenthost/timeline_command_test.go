package main

import (
	"testing"

	"github.com/agenthost/agenthost/host/record"
)

// TestOutcome is commands whose memory nobody saw: nothing is said of it then.
func TestOutcome(t *testing.T) {
	for _, tt := range []struct {
		memory int64
		want   string
	}{
		{0, "of entry 4, 0.002s, processor 0.001s"},
		{3 << 20, "of entry 4, 0.002s, processor 0.001s, memory 3.0 MiB"},
	} {
		end := record.ExecEnd{Of: 4, Usage: &record.Usage{WallNS: 2_000_000, CPUNS: 1_000_000, Memory: tt.memory}}
		if got := outcome(end); got != tt.want {
			t.Errorf("memory %d: got %q, want %q", tt.memory, got, tt.want)
		}
	}
}
