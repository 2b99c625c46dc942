//go:build linux

package gate

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/record"
)

// arena is a small tree with everything in it that a guest can stumble over.
// What must not be read holds SECRET, which no program writes.
func arena() setup {
	return setup{
		grants: capability.Grants{
			Read:      []string{"docs/**", "deep/*/x"},
			Write:     []string{"docs/**", "drop/*", "deep/*/y"},
			Forbidden: []string{"docs/no/**", "**/*.key"},
		},
		files: map[string]string{
			"docs/a": "aaa", "docs/d/b": "bbb", "docs/no/s": "SECRET", "docs/s.key": "SECRET", "drop/d": "SECRET", "drop/e/f": "SECRET",
			"deep/1/x": "x", "deep/1/y": "SECRET", "deep/2/": "", "hidden/f": "SECRET", "f": "SECRET", "tmp/a": "SECRET", "out/a": "SECRET",
		},
		published: map[string]string{"a": "published", "p/q": "published"},
		outputs:   []string{"docs/**", "drop/*", "deep/*/y"},
		inputs:    []string{"docs/*"},
		memory:    true,
	}
}

// programNames are the names that programs use.
var programNames = []string{
	"docs/a", "docs/n", "docs/d", "docs/d/b", "docs/d/n", "docs/no/s", "docs/s.key", "docs/n.key", "docs/m", "docs/m/k",
	"drop/d", "drop/n", "drop/e", "deep/1/x", "deep/1/y", "deep/2/y", "hidden", "hidden/f", "f", "n",
	"tmp/a", "tmp/b", "tmp/d", "tmp/d/a", "tmp/d/e", "tmp/d/e/a", "tmp/d/no", "tmp/d/x.key", "out/a", "out/n", "out/p", "out/p/q", "out/d", "out/d/a",
	".", "docs", "tmp", "out", "output", "output/" + sid + "/n", ".agenthost/pkg/lib/a.txt", ".agenthost/pkg", "docs/no", "../f", "docs/a/", "tmp/d/",
}

// A program is a guest made of bytes: each takes from them what to do next.
type program struct {
	w     *world
	data  []byte
	files []*File
}

func (p *program) next() int {
	if len(p.data) == 0 {
		return 0
	}
	b := p.data[0]
	p.data = p.data[1:]
	return int(b)
}

func (p *program) name() string { return programNames[p.next()%len(programNames)] }

func (p *program) file() *File {
	if len(p.files) == 0 {
		return nil
	}
	return p.files[p.next()%len(p.files)]
}

// step does one thing. It returns how many operations that should have recorded,
// -1 where that depends on more than this knows.
func (p *program) step() int {
	w := p.w
	switch p.next() % 16 {
	case 0, 1, 2, 3:
		name, flags := p.name(), Flags(p.next()&0x7f)
		if f, errno := w.Open(WASI, name, flags); errno == Success {
			p.files = append(p.files, f)
		}
	case 4:
		if f, errno := w.Open(WASI, p.name(), Write|Create|Trunc); errno == Success {
			p.files = append(p.files, f)
		}
	case 5:
		if f := p.file(); f != nil {
			f.WriteAt([]byte(strings.Repeat("w", p.next()%50)), int64(p.next()))
		}
		return 0
	case 6:
		if f := p.file(); f != nil {
			buf := make([]byte, 64)
			n, _ := f.ReadAt(buf, int64(p.next()%8))
			if strings.Contains(string(buf[:n]), "SECRET") {
				w.t.Errorf("%s was read: %q", f.name.ledger, buf[:n])
			}
		}
		return 0
	case 7:
		if f := p.file(); f != nil {
			f.Truncate(int64(p.next()))
		}
		return 0
	case 8:
		if f := p.file(); f != nil {
			f.Close()
		}
		return 0
	case 9:
		w.Stat(WASI, p.name())
	case 10:
		w.Mkdir(WASI, p.name())
	case 11:
		w.Remove(WASI, p.name(), p.next()%2 == 0)
	case 12, 13:
		w.Rename(WASI, p.name(), p.name())
		return -1
	case 14:
		if f := p.file(); f != nil {
			f.List()
			f.Info()
			f.SetTimes(WASI)
		}
		return -1
	case 15:
		w.SetTimes(WASI, p.name())
	}
	return 1
}

// runProgram runs a program to its end, or to the limit that ends it, and checks
// what must hold of every guest.
func runProgram(t testing.TB, data []byte) {
	w := newWorld(t, arena())
	before := snapshot(t, w.dir)
	p := &program{w: w, data: data}
	violations := 0
	for len(p.data) > 0 && !w.limited {
		seq, hidden := w.cfg.Exec.Head().Size, w.hiddenProbes()
		want := 1
		err := caught(func() { want = p.step() })
		got := int(w.cfg.Exec.Head().Size-seq) + int(w.hiddenProbes()-hidden)
		var v *capability.Violation
		var limit *Limit
		switch {
		case errors.As(err, &v):
			violations++ // it would end the guest; the gate must hold nevertheless
		case errors.As(err, &limit):
			w.limited = true
			continue
		case err != nil:
			t.Fatalf("the host failed: %v", err)
		}
		if want >= 0 && got != want {
			t.Fatalf("%d entries, want %d: %+v", got, want, w.ops(seq-1))
		}
	}
	if got := len(w.violations()); got != violations {
		t.Errorf("%d violations were recorded of %d", got, violations)
	}
	for _, f := range p.files {
		f.Close()
	}
	if len(w.files) != 0 || w.copied != 0 {
		t.Errorf("%d descriptors are open, %d bytes copied", len(w.files), w.copied)
	}
	if err := w.consistent(); err != nil {
		t.Error(err)
	}
	equal(t, "the workspace", snapshot(t, w.dir), before)
	for name, content := range w.onDisk() {
		if strings.Contains(content, "SECRET") {
			t.Errorf("%s was staged with %q", name, content)
		}
	}
}

func (w *world) violations() (found []record.Op) {
	w.mark = w.begin
	for _, op := range w.ops(w.begin.Seq) {
		if op.Decision == record.Violated {
			found = append(found, op)
		}
	}
	return found
}

// TestPrograms runs random programs.
func TestPrograms(t *testing.T) {
	programs := 200
	if testing.Short() {
		programs = 50
	}
	for seed := range programs {
		r := rand.New(rand.NewPCG(uint64(seed), 0))
		data := make([]byte, 400)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		runProgram(t, data)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// FuzzGate lets the fuzzer write the program.
func FuzzGate(f *testing.F) {
	at := func(name string) byte {
		for i, n := range programNames {
			if n == name {
				return byte(i)
			}
		}
		f.Fatalf("no name %s", name)
		return 0
	}
	for _, seed := range [][]byte{
		{4, at("docs/n"), 5, 0, 10, 0, 12, at("docs/n"), at("docs/m"), 6, 0, 0},
		{10, at("tmp/d"), 4, at("tmp/d/a"), 4, at("tmp/d/no"), 12, at("tmp/d"), at("docs/m")},
		{10, at("tmp/d"), 10, at("tmp/d/e"), 4, at("tmp/d/e/a"), 5, 0, 20, 0, 12, at("tmp/d"), at("out/d"), 11, at("out/d/a"), 1},
		{0, at("docs/a"), byte(Read | Write), 5, 0, 3, 1, 11, at("docs/a"), 1, 0, at("docs/a"), byte(Read), 6, 1, 0},
		{0, at("docs/s.key"), byte(Read)},
		{0, at("drop/d"), byte(Write)},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1000 {
			return
		}
		runProgram(t, data)
	})
}
