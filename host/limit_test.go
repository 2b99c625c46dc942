package host

import (
	"strings"
	"testing"
	"time"
)

// ceiling is the hint where no manifest can help.
const ceiling = "nothing was published; this is a ceiling of the host: the agent must do with less"

func raise(name string) string {
	return "nothing was published; raise limits." + name + " in the manifest"
}

func TestLimits(t *testing.T) {
	oneThread(t)
	files := map[string]string{"docs/a.md": "a"}
	anyOut := with(writes("out/**"), grants([]string{"**"}, nil, nil))
	deep := "/out" + strings.Repeat("/"+strings.Repeat("\x01", 250), 14) // each byte of it takes six in an entry
	var dig []string
	for at := len("/out/") + 250; at <= len(deep); at += 251 {
		dig = append(dig, "mkdir "+deep[:at])
	}
	for _, c := range []struct {
		name, limit, message, hint string
		limits                     members
		steps                      []string
	}{
		{"endless loop", "fuel", "the agent used up its limit of 100000000 units of fuel", raise("fuel"), members{"fuel": 100_000_000}, []string{"loop"}},
		{"fuel by calls alone", "fuel", "the agent used up its limit of 100000000 units of fuel", raise("fuel"), members{"fuel": 100_000_000}, []string{"poke /nothing 100000000"}},
		{"time", "time", "the agent took longer than its limit of 300ms", raise("time"), members{"time": "300ms", "fuel": 1 << 40}, []string{"loop"}},
		{"time in calls", "time", "the agent took longer than its limit of 300ms", raise("time"), members{"time": "300ms", "fuel": 1 << 40}, []string{"poke /nothing 100000000"}},
		{"memory", "memory", "the agent failed when it was refused more memory than its limit of 32MiB", raise("memory"), members{"memory": "32MiB"}, []string{"alloc 100"}},
		{"endless recursion", "call_depth", "the agent nested calls deeper than its limit of 10000", raise("call_depth"), nil, []string{"recurse"}},
		{"result", "result_bytes", "the agent's result is longer than its limit of 64KiB", raise("result_bytes"), members{"result_bytes": "64KiB"}, []string{"flood 65536", "say x"}},
		{"output bytes", "output_bytes", "the agent wrote more output than its limit of 100KiB", raise("output_bytes"), members{"output_bytes": "100KiB"}, []string{"blow /out/x 60000", "blow /out/y 60000"}},
		{"output size", "output_bytes", "the agent wrote more output than its limit of 64MiB", raise("output_bytes"), nil, []string{"sparse /out/x 1000000000000"}},
		{"output files", "output_files", "the agent made more files than its limit of 5", raise("output_files"), members{"output_files": 5}, []string{"touch /out 6 0"}},
		{"entries", "entries", "the agent did more than its limit of 50 entries in the ledger holds", raise("entries"), members{"entries": 50}, []string{"probe /nothing 100"}},
		{"open files", "open_files", "the agent held more than 1024 files open at once", ceiling, members{"output_files": 5000}, []string{"many /out 1025"}},
		{"scratch bytes", "scratch", "the agent put more into /tmp than one turn may", ceiling, nil, []string{"sparse /tmp/x 1073741825"}},
		{"stderr", "stderr", "the agent wrote more than 64MiB of messages", ceiling, nil, []string{"shout 67108865"}},
		{"evidence", "evidence", "the agent did so much with names so long that its evidence would have more than 87MiB", ceiling, nil, []string{"probe /tmp/" + strings.Repeat("x", 4000) + " 12000"}},
		{"list of outputs", "evidence", "the agent did so much with names so long that its evidence would have more than 7MiB", ceiling, members{"output_files": 10000}, append(dig, "touch "+deep+" 500 200")},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, files)
			manifest := anyOut
			if c.limits != nil {
				manifest = with(anyOut, limits(c.limits))
			}
			started := time.Now()
			r := b.run(ask{manifest: manifest, steps: append([]string{"write /out/first 1", "read /docs/a.md"}, c.steps...)})
			t.Logf("%v, %d units of fuel", time.Since(started), r.Fuel)
			ended(t, r, "error", "limit", c.message, c.hint)
			if r.Limit != c.limit {
				t.Errorf("got limit %q, want %q", r.Limit, c.limit)
			}
		})
	}
}

// Just at the limits nothing happens.
func TestWithinLimits(t *testing.T) {
	b := newBench(t, nil)
	r := b.run(ask{
		manifest: with(writes("out/**"), limits(members{"result_bytes": "64KiB", "output_bytes": "100KiB", "output_files": 2})),
		steps:    []string{"sparse /out/x 102400", "write /out/y ", "shout 67108864", "flood 65497"},
	})
	if r.Status != "ok" || len(r.Output) != 1<<16 || len(r.Published) != 2 {
		t.Errorf("got %s %s, %d bytes, %d files", r.Status, r.Message, len(r.Output), len(r.Published))
	}
}

// A refused grow is no failure by itself.
func TestRefusedMemoryThatDoesNotMatter(t *testing.T) {
	w := newWasm(1)
	w.start(0, c32(60000), opMemoryGrow, 0, c32(-1), 0x47, opIf, opEmpty, opUnreachable, opEnd)
	b := newBench(t, nil)
	r := b.run(ask{module: w.bytes()})
	ok(t, r, "")
	if r.Memory != 1<<16 {
		t.Errorf("got %d bytes of memory, want %d", r.Memory, 1<<16)
	}
}

// The ceilings that no manifest can lower, made low.
func TestFixedCeilings(t *testing.T) {
	own := must(NewRunner(t.Context(), Config{CacheDir: sharedCache()}))(t)
	defer own.Close(t.Context())
	own.ceiling.ListNames, own.ceiling.ScratchFiles = 5, 7
	for _, c := range []struct{ name, limit, message, step string }{
		{"listing of hidden names", "listing", "the agent listed a folder of more names than one turn may hold", "list /docs"},
		{"scratch files", "scratch", "the agent put more into /tmp than one turn may", "touch /tmp 8 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, map[string]string{"docs/1": "", "docs/2": "", "docs/3": "", "docs/4": "", "docs/5": "", "docs/6": ""})
			b.runner = own
			r := b.run(ask{manifest: grants([]string{"docs/x"}, nil, nil), steps: []string{c.step}})
			ended(t, r, "error", "limit", c.message, ceiling)
			if r.Limit != c.limit {
				t.Errorf("got limit %q, want %q", r.Limit, c.limit)
			}
		})
	}
}

// A million equal probes are one entry and a count.
func TestManyProbes(t *testing.T) {
	oneThread(t)
	b := newBench(t, nil)
	started := time.Now()
	r := b.run(ask{steps: []string{"poke /nothing 1000000"}, manifest: limits(members{"time": "10m"})})
	t.Logf("a million stats took %v", time.Since(started))
	ok(t, r, "poked\n")
	if len(r.Evidence.Hidden) != 1 || r.Evidence.Hidden[0].Path != "nothing" || r.Evidence.Hidden[0].Count != 1_000_000 {
		t.Errorf("got %+v, want nothing, a million times", r.Evidence.Hidden)
	}
	if n := len(b.ops(r)); n > 10 {
		t.Errorf("got %d entries", n)
	}
}
