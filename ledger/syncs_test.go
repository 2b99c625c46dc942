//go:build linux || darwin

package ledger

import (
	"path/filepath"
	"testing"
)

// TestSyncsOfCreate holds how often a new ledger waits for the disk, and that
// one whose caller syncs later is synced even if it stays empty.
func TestSyncsOfCreate(t *testing.T) {
	all := func(Entry) bool { return true }
	for _, c := range []struct {
		name    string
		opts    Options
		entries int
		files   int // syncs of the file
		folders int
	}{
		{"empty", Options{}, 0, 1, 1},
		{"empty, synced later", Options{SyncLater: true}, 0, 1, 0},
		{"one entry", Options{}, 1, 2, 1},
		{"one entry, synced later", Options{SyncLater: true}, 1, 1, 0},
		{"one durable entry", Options{Durable: all}, 1, 2, 1},
		{"one durable entry, synced later", Options{Durable: all, SyncLater: true}, 1, 1, 0},
		{"two durable entries, synced later", Options{Durable: all, SyncLater: true}, 2, 2, 0},
	} {
		for call, want := range map[string]int{"sync": c.files, "sync folder": c.folders} {
			d := &faultyDisk{only: call}
			o := c.opts
			o.Session, o.faults = "SES-1", d
			l, err := Create(filepath.Join(t.TempDir(), "exec.jsonl"), o)
			if err != nil {
				t.Fatal(err)
			}
			for range c.entries {
				if _, err := l.Append(1, &remark{"note", "x"}); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if d.calls != want {
				t.Errorf("%s: %d × %s, want %d", c.name, d.calls, call, want)
			}
		}
	}
}
