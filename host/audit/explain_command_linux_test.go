package audit

import (
	"slices"
	"testing"

	"github.com/agenthost/agenthost/ledger"
)

// What commands ran is found by name and by digest, and followed like what was
// read: an agent can make a program that another runs.
func TestExplainCommands(t *testing.T) {
	w := newWorld(t)
	agent := story{pkg: "PKG-T3-A-001", version: "0.1.0", module: "wasm"}
	git, sh := file{"/usr/bin/git", "git"}, file{"/bin/sh", "sh"}
	one, two, three := agent, agent, agent
	one.turns = turn(files("in"), files("tool.sh=evil"))
	script := command{program: file{"pkg:tool.sh", "evil"}, interpreter: sh, view: "list"}
	two.turns = []did{
		{runs: []command{{program: git}, script, script, {program: file{"pkg:tool.sh", "another"}, interpreter: sh}}, writes: files("y")},
		{runs: []command{{program: sh}}, open: true},
	}
	three.turns = turn(files("y"), nil)
	w.run(sid(1), one)
	w.run(sid(2), two)
	w.run(sid(3), three)

	p := w.explain("/usr/bin/git").Path
	same(t, "git", briefUses(p.Ran), "2:1 program /usr/bin/git")
	if p.Now != nil || p.Unlisted != 2 {
		t.Errorf("git: got %+v, %d turns, want nothing of what lies there, 2 turns", p.Now, p.Unlisted)
	}
	same(t, "the interpreter", briefUses(w.explain("/bin/sh").Path.Ran), "2:1 interpreter /bin/sh", "2:2 program /bin/sh")
	same(t, "the script", briefUses(w.explain("pkg:tool.sh").Path.Ran), "2:1 program pkg:tool.sh", "2:1 program pkg:tool.sh")

	d := w.explain(digits("sh")).Digest
	same(t, "the interpreter's content", briefUses(d.Commands), "2:1 interpreter /bin/sh", "2:2 program /bin/sh")
	same(t, "what a view lists", briefUses(w.explain(digits("list")).Digest.Commands), "2:1 view")
	d = w.explain(digits("evil")).Digest
	same(t, "the script's content", briefUses(d.Commands), "2:1 program pkg:tool.sh")
	same(t, "made by", briefUses(d.Made), "1:1 published tool.sh")
	same(t, "onward", brief(d.Reached), "1 2:1 pkg:tool.sh > y", "2 3:1 y")
	d = w.explain(digits("in")).Digest
	same(t, "onward", brief(d.Reached), "1 1:1 in > tool.sh", "2 2:1 pkg:tool.sh > y", "3 3:1 y")
	d = w.explain(digits("y")).Digest
	same(t, "back", brief(d.Sources), "1 2:1 package module /usr/bin/git pkg:tool.sh /bin/sh pkg:tool.sh > y", "2 1:1 package module in > tool.sh")
	if d.Unlisted != 2 {
		t.Errorf("got %d turns that ran commands, want 2", d.Unlisted)
	}

	s := w.explain(sid(2)).Session
	if len(s.Sources) != 1 || s.Sources[0].Path != "pkg:tool.sh" || len(s.Sources[0].With) != 1 {
		t.Errorf("sources: got %+v", s.Sources)
	}
	readers := w.explain(sid(1)).Session.Readers
	if len(readers) != 1 || !slices.Equal(briefUses(readers[0].With), []string{"2:1 program pkg:tool.sh"}) {
		t.Errorf("readers: got %+v", readers)
	}
	got := s.Turns[0].Commands
	if len(got) != 4 || got[0].Words != "run it" || !got[0].Ended || got[0].Exit != 3 || got[0].Fence != "full" || got[0].Seq != 4 ||
		got[1].View.Blob.Blob != ledger.Sum([]byte("list")) || got[1].Interpreter == nil {
		t.Errorf("commands: got %+v", got)
	}
	// Without the index it is the same.
	questions := []string{"/usr/bin/git", "/bin/sh", digits("evil"), digits("y"), sid(2)}
	if a, b := w.answers("", questions), w.answers(w.cache, questions); a != b {
		t.Errorf("with an index %s\nwithout %s", b, a)
	}
}
