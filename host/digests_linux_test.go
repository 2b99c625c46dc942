package host

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
	"github.com/agenthost/agenthost/host/record"
)

// TestDigestsAreKept: what a process learned of files that commands could see, the
// next one knows; and cleaning the cache removes it.
func TestDigestsAreKept(t *testing.T) {
	confinetest.Needs(t)
	b := newBench(t, nil) // files that were just made would be learned later
	shared := b.runner
	kept := filepath.Join(must(shared.cfg.cacheDir())(t), digestsPart, digestsFile)
	turn := func() {
		t.Helper()
		b.runner = must(NewRunner(context.Background(), shared.cfg))(t)
		defer b.runner.Close(context.Background())
		if r := b.run(commanding(execute("true"), nil, command("true"))); r.Status != record.StatusOK || r.Commands != 1 {
			t.Fatalf("%s, %d commands: %s", r.Status, r.Commands, r.Message)
		}
	}
	defer os.Remove(kept)
	turn()
	first := must(os.Stat(kept))(t)
	usr := must(beneath.Open("/usr"))(t)
	defer usr.Close()
	least := int64(100)
	if !beneath.Unique(must(usr.Mount("."))(t)) {
		least = 80 // none is known again
	}
	if first.Mode() != 0o600 || first.Size() < least {
		t.Errorf("kept is a file of mode %v with %d bytes", first.Mode(), first.Size())
	}
	turn()
	if again := must(os.Stat(kept))(t); !os.SameFile(first, again) {
		t.Error("it was kept again, though nothing was learned")
	}
	cache := filepath.Dir(filepath.Dir(kept))
	for _, c := range []struct {
		unused bool
		want   int64
	}{{false, 0}, {true, 1}, {true, 0}} {
		freed, err := cleanDigests(cache, func(time.Time) bool { return c.unused }, time.Now())
		if err != nil || (freed > 0) != (c.want > 0) {
			t.Errorf("cleaning, unused %v: %d bytes, %v", c.unused, freed, err)
		}
	}
	if freed, err := cleanDigests(t.TempDir(), func(time.Time) bool { return true }, time.Now()); freed != 0 || err != nil {
		t.Errorf("cleaning a cache that keeps none: %d, %v", freed, err)
	}
}
