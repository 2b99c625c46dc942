package host

import (
	"strings"
	"testing"
)

func TestOutputs(t *testing.T) {
	files := map[string]string{"reports/old.md": "old", "docs/a.md": "A"}
	allowed := grants([]string{"docs/**", "reports/**"}, []string{"reports/*.md"}, nil)
	for _, c := range []struct {
		name     string
		manifest members
		steps    []string
		turn     Turn
		status   string
		code     string
		message  string
		hint     string
		disk     map[string]string // what is there after
	}{
		{
			name: "all kinds", manifest: with(allowed, writes("out/r.md", "reports/*.md", "out/maybe?")),
			steps: []string{"mkdir /out/sub", "write /out/r.md R", "write /reports/new.md N", "write /reports/old.md O", "write /tmp/t T"}, status: "ok",
			disk: map[string]string{"reports/old.md": "O", "reports/new.md": "N"},
		},
		{
			name: "missing", manifest: with(allowed, writes("out/r.md", "out/s.md")), steps: []string{"write /out/s.md S"},
			status: "blocked", code: "missing_output", message: `the turn was blocked: "out/r.md" was declared and not written`,
			hint: "let the agent write it, or mark it optional in outputs; nothing was published",
		},
		{
			name: "undeclared beneath out", manifest: with(allowed, writes("out/r.md")), steps: []string{"write /out/r.md R", "write /out/x X", "write /out/y Y"},
			status: "blocked", code: "undeclared_write", message: `the turn was blocked: "out/x" was written and not declared`,
			hint: "declare it in outputs, or with --declare; nothing was published",
		},
		{
			name: "granted and undeclared", manifest: allowed, steps: []string{"write /reports/new.md N"},
			status: "blocked", code: "undeclared_write", message: `the turn was blocked: the agent may write "reports/new.md", but the turn did not declare it`,
			hint: "declare it in outputs, or with --declare; nothing was published",
		},
		{
			name: "not granted", manifest: allowed, steps: []string{"write /docs/b.md N"},
			status: "blocked", code: "violation", message: `the turn was blocked: the agent may not write "docs/b.md" (no grant of write)`,
			hint: `the smallest grant that would allow it: write: ["docs/b.md"]`,
		},
		{
			name: "dry run", manifest: with(allowed, writes("out/r.md")), steps: []string{"write /out/r.md R"}, turn: Turn{DryRun: true}, status: "dry_run",
		},
		{
			name: "dry run of what would be blocked", manifest: with(allowed, writes("out/r.md")), turn: Turn{DryRun: true},
			status: "blocked", code: "missing_output", message: `the turn was blocked: "out/r.md" was declared and not written`,
			hint: "let the agent write it, or mark it optional in outputs; nothing was published",
		},
		{
			name: "strict: undeclared read", manifest: allowed, steps: []string{"read /docs/a.md"}, turn: Turn{Strict: true},
			status: "blocked", code: "violation", message: `the turn was blocked: the agent may read "docs/a.md", but a strict turn reads only what it declared`,
			hint: "declare it in inputs, or with --input; nothing was published",
		},
		{
			name: "strict: hidden open", manifest: allowed, steps: []string{"read /.editorconfig"}, turn: Turn{Strict: true},
			status: "blocked", code: "violation", message: `the turn was blocked: the agent may not read ".editorconfig" (no grant of read)`,
			hint: `the smallest grant that would allow it: read: [".editorconfig"]`,
		},
		{
			name: "declared input under strict", manifest: with(allowed, members{"inputs": []string{"docs/a.md"}}), steps: []string{"read /docs/a.md", "stat /nothing"},
			turn: Turn{Strict: true}, status: "ok",
		},
		{
			name: "forbidden read", manifest: grants([]string{"**"}, nil, []string{"docs/**"}), steps: []string{"read /docs/a.md", "say after"},
			status: "blocked", code: "violation", message: `the turn was blocked: the agent may not read "docs/a.md" (forbidden docs/**)`,
			hint: "no grant allows it while that rule stands; nothing was published",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, files)
			r := b.run(ask{manifest: c.manifest, steps: c.steps, turn: c.turn})
			ended(t, r, c.status, c.code, c.message, c.hint)
			for name, want := range c.disk {
				if got := b.read(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if c.status == "ok" != (r.Output != nil) && c.status != "dry_run" {
				t.Errorf("status %s has the output %q", c.status, r.Output)
			}
		})
	}
}

// Every undeclared file is told, not only the first, and kept aside.
func TestMismatchesAreAllTold(t *testing.T) {
	b := newBench(t, nil)
	r := b.run(ask{manifest: writes("out/c"), steps: []string{"write /out/a A", "write /out/b B"}})
	var told []string
	for _, v := range r.Evidence.Violations {
		told = append(told, v.Operation+" "+strings.TrimPrefix(v.Subject, "output/"+r.Session+"/")+" "+v.Rule)
	}
	want := "publish a undeclared_write, publish b undeclared_write, publish c missing_output"
	if got := strings.Join(told, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(r.Evidence.RealizedWrites) != 2 || len(r.Withheld) != 2 {
		t.Errorf("got %v realized and %v withheld, want two of each", r.Evidence.RealizedWrites, r.Withheld)
	}
	if got := readFile(t, b.sessionDir(r)+"/blocked/1/out/b"); got != "B" {
		t.Errorf("got %q in blocked, want B", got)
	}
}
