package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// hook is a stderr that does something when the guest first writes there.
type hook struct {
	once sync.Once
	do   func()
}

func (h *hook) Write(p []byte) (int, error) {
	h.once.Do(h.do)
	return len(p), nil
}

func TestInputChangedMeanwhile(t *testing.T) {
	again := "nothing was published; run it again on files that stay as they are"
	manifest := with(grants([]string{"docs/**"}, []string{"docs/**"}, nil), writes("out/r?", "docs/a.md?"))
	for _, c := range []struct {
		name    string
		inputs  []string
		steps   []string
		change  func(b *bench)
		code    string
		message string
	}{
		{
			"declared",
			[]string{"docs/a.md"},
			[]string{"write /out/r R", "tell now"},
			func(b *bench) { b.write("docs/a.md", "longer") }, "input_changed", `"docs/a.md" was changed while the turn ran`,
		},
		{
			"read", nil,
			[]string{"read /docs/a.md", "tell now"},
			func(b *bench) { b.write("docs/a.md", "longer") }, "input_changed", `"docs/a.md" was changed while the turn ran`,
		},
		{
			"read twice", nil,
			[]string{"read /docs/a.md", "tell now", "read /docs/a.md"},
			func(b *bench) { b.write("docs/a.md", "longer") }, "input_changed", `"docs/a.md" was changed between two opens`,
		},
		{
			"gone", nil,
			[]string{"read /docs/a.md", "tell now"},
			func(b *bench) { os.Remove(b.workspace + "/docs/a.md") }, "input_changed", `"docs/a.md" is gone`,
		},
		{
			"target", nil,
			[]string{"write /docs/a.md mine", "tell now"},
			func(b *bench) { b.write("docs/a.md", "theirs") }, "conflict", `"docs/a.md" was changed since the turn first saw it`,
		},
		{
			"target appears", nil,
			[]string{"write /out/r mine", "tell now"},
			func(b *bench) { b.write(".agenthost/output/"+string(b.session.ID)+"/r", "theirs") }, "conflict", `"out/r" was made since the turn found it absent`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, map[string]string{"docs/a.md": "a"})
			a := ask{manifest: manifest, steps: c.steps}
			a.turn.Inputs = c.inputs
			var changed map[string]string
			a.turn.Stderr = &hook{do: func() { c.change(b); changed = b.tree() }}
			p := b.prepare(a)
			b.session = b.open(p, a)
			r := must(p.Run(t.Context(), b.session))(t)
			if err := b.session.Close(); err != nil {
				t.Fatal(err)
			}
			ended(t, r, "blocked", c.code, "the turn was blocked: "+c.message, again)
			b.check(r, filepath.Join(b.sessionDir(r), "ledger"), changed)
		})
	}
}

// What the host says when it fails is on record without the places of this
// machine.
func TestHostFailsWithoutPaths(t *testing.T) {
	b := newBench(t, nil)
	a := ask{steps: []string{"tell now"}}
	a.turn.Stderr = &hook{do: func() {
		blobs := b.session.BlobDir()
		if err := errors.Join(os.RemoveAll(blobs), os.WriteFile(blobs, nil, 0o600)); err != nil {
			t.Error(err)
		}
	}}
	p := b.prepare(a)
	b.session = b.open(p, a)
	r := must(p.Run(t.Context(), b.session))(t)
	blobs := ".agenthost/planes/ho1/sessions/" + r.Session + "/ledger/blobs"
	if r.Code != "host" || !strings.Contains(r.Message, strings.TrimPrefix(blobs, ".agenthost/")) || strings.Contains(r.Message, b.workspace) {
		t.Errorf("got %s: %s", r.Code, r.Message)
	}
	if text := string(must(os.ReadFile(filepath.Join(b.sessionDir(r), "ledger/exec.jsonl")))(t)); strings.Contains(text, b.workspace) {
		t.Errorf("the ledger names %s:\n%s", b.workspace, text)
	}
}

func TestInterrupted(t *testing.T) {
	for _, step := range []string{"loop", "recurse", "poke /nothing 1000000000", "say done"} {
		t.Run(step, func(t *testing.T) {
			b := newBench(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			a := ask{manifest: with(writes("out/r?"), limits(members{"call_depth": 32768, "fuel": 1 << 40})), steps: []string{"write /out/r R", "tell now", step}, ctx: ctx}
			a.turn.Stderr = &hook{do: cancel}
			started := time.Now()
			r := b.run(a)
			t.Logf("the turn took %v", time.Since(started))
			if step == "recurse" && r.Limit == "call_depth" {
				return // it is faster than the interruption
			}
			ended(t, r, "aborted", "interrupted", "the turn was interrupted", "nothing was published; run it again")
		})
	}
}
