package record

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/ledger"
)

const ownOutput = "output/" + sid + "/"

// started and ended are a command in the fence of a tier, and its end.
func started(tier string) ExecStart {
	return ExecStart{
		Dir: ".", Program: fileOf("/usr/bin/git", "git"), Stdin: Content{SHA256: hashOf("")},
		Fence: fenceOf(tier),
	}
}

func fenceOf(tier string) Fence {
	f := Fence{
		Tier: tier, Kernel: "6.1.0", Landlock: 4, NoNewPrivileges: 1, Seccomp: 2, Processes: "cgroup v2", Memory: "polled",
		Limits: CommandLimits{60000, 60000, 512 << 20, 128, 256, 1 << 30, 10000, 1 << 30, 16 << 20},
	}
	if tier == FenceFull {
		f.Namespaces, f.Mounts = []string{"user", "mnt", "pid", "net"}, 31
	}
	return f
}

// run appends a command that was granted, started and ended, and returns the seq
// of its end.
func (b *builder) run() uint64 { return b.runIn(FenceFull) }

func (b *builder) runIn(tier string) uint64 {
	b.t.Helper()
	return b.ended(b.started(tier), "")
}

func (b *builder) started(tier string) uint64 {
	b.t.Helper()
	b.op(Op{Op: OpExec, Via: ViaABI, Path: "git status", Decision: Granted, Rule: "git status"})
	s := started(tier)
	s.Argv, s.View.Blob = b.blob(`["git","status"]`), b.blob("")
	return b.append(b.exec, b.turn, s).Seq
}

func (b *builder) ended(of uint64, failed string) uint64 {
	b.t.Helper()
	e := ExecEnd{Of: of, Failed: failed}
	if failed == "" {
		fence := fenceOf(FenceFull)
		e.Usage, e.Fence = &Usage{WallNS: 1}, &fence
	}
	return b.append(b.exec, b.turn, e).Seq
}

// made appends the digest of a file that a command made.
func (b *builder) made(of uint64, path, content string) {
	b.append(b.exec, b.turn, Digest{Of: of, Path: path, SHA256: hashOf(content), Size: int64(len(content))})
}

func TestEvidenceOfCommands(t *testing.T) {
	stage := func(b *builder, path string) uint64 {
		return b.op(Op{Op: OpOpen, Path: path, Flags: "write,create,trunc", Decision: Own})
	}
	goOn := func(b *builder, path string) uint64 {
		return b.op(Op{Op: OpOpen, Path: path, Flags: "write,append", Decision: Own})
	}
	rename := func(b *builder, from, to string) uint64 {
		return b.op(Op{Op: OpRename, Path: from, To: to, Decision: Own})
	}
	remove := func(b *builder, path string) { b.op(Op{Op: OpDelete, Path: path, Decision: Own}) }
	look := func(b *builder, path, content string) {
		o := reading(path, content)
		o.Decision = Own
		b.op(o)
	}
	const x, y = ownOutput + "x", ownOutput + "y"
	for _, c := range []struct {
		name                     string
		build                    func(b *builder)
		reads, writes, discarded []File
	}{
		{"made", func(b *builder) {
			of := b.run()
			b.made(of, x, "1")
			b.made(of, "tmp/s", "2")
			b.made(of, ownOutput+"sub/z", "3")
		}, nil, []File{fileOf(ownOutput+"sub/z", "3"), fileOf(x, "1")}, []File{fileOf("tmp/s", "2")}},
		{"changed what the guest staged", func(b *builder) { stage(b, x); b.made(b.run(), x, "1") }, nil, []File{fileOf(x, "1")}, nil},
		{"left what the guest staged", func(b *builder) { of := stage(b, x); b.run(); b.digest(of, "1") }, nil, []File{fileOf(x, "1")}, nil},
		{"removed what the guest staged", func(b *builder) { stage(b, x); stage(b, "tmp/s"); b.run() }, nil, nil, nil},
		{"removed what was digested before", func(b *builder) {
			b.digest(stage(b, x), "1")
			b.made(b.run(), "tmp/s", "2")
			b.run()
		}, nil, nil, nil},
		{"removed what was digested and renamed before", func(b *builder) {
			b.digest(stage(b, "tmp/s"), "1")
			rename(b, "tmp/s", x)
			b.run()
			rename(b, x, y) // of another that the command made
		}, nil, nil, nil},
		{"cannot remove what is staged in the workspace", func(b *builder) { b.digest(stage(b, "reports/r.md"), "1"); b.run() }, nil, []File{fileOf("reports/r.md", "1")}, nil},
		{"changed by a second command", func(b *builder) {
			first, second := b.run(), b.run()
			b.made(first, x, "1")
			b.made(second, x, "2")
			b.made(first, y, "3")
		}, nil, []File{fileOf(x, "2"), fileOf(y, "3")}, nil},
		{"made, then opened for writing", func(b *builder) { b.run(); b.digest(goOn(b, x), "1") }, nil, []File{fileOf(x, "1")}, nil},
		{"made, then deleted", func(b *builder) { b.made(b.run(), x, "1"); remove(b, x) }, nil, nil, nil},
		{"made and deleted without a digest", func(b *builder) { b.run(); remove(b, x) }, nil, nil, nil},
		{"made, then renamed", func(b *builder) { b.run(); b.digest(rename(b, "tmp/s", "reports/r.md"), "1") }, nil, []File{fileOf("reports/r.md", "1")}, nil},
		{"made, renamed with the folder above", func(b *builder) {
			b.run()
			rename(b, "tmp/d", ownOutput+"d")
			b.digest(rename(b, "tmp/d/1", ownOutput+"d/1"), "1")
		}, nil, []File{fileOf(ownOutput+"d/1", "1")}, nil},
		{"made with a digest, then renamed", func(b *builder) { b.made(b.run(), x, "1"); rename(b, x, y) }, nil, []File{fileOf(y, "1")}, nil},
		{"made where the guest renamed from", func(b *builder) {
			stage(b, x)
			moved := rename(b, x, y)
			b.made(b.run(), x, "1")
			b.digest(moved, "2")
		}, nil, []File{fileOf(x, "1"), fileOf(y, "2")}, nil},
		{"made where the guest deleted", func(b *builder) { stage(b, x); remove(b, x); b.made(b.run(), x, "1") }, nil, []File{fileOf(x, "1")}, nil},
		{"made, deleted, and made by the guest", func(b *builder) {
			b.made(b.run(), x, "1")
			remove(b, x)
			b.digest(stage(b, x), "2")
		}, nil, []File{fileOf(x, "2")}, nil},
		{"never ran, and left the file for its output", func(b *builder) {
			of := stage(b, x)
			b.made(b.ended(b.started(FenceFull), "no such interpreter"), "tmp/o", "")
			b.digest(of, "1")
		}, nil, []File{fileOf(x, "1")}, []File{fileOf("tmp/o", "")}},

		{"what it made is no read", func(b *builder) { of := b.run(); look(b, x, "1"); b.made(of, x, "1") }, nil, []File{fileOf(x, "1")}, nil},
		{"nor a large one", func(b *builder) {
			of := b.run()
			opened := b.op(Op{Op: OpOpen, Path: x, Flags: "read", Decision: Own, Size: ptr[int64](2 << 20)})
			b.digest(opened, "big")
			b.made(of, x, "big")
		}, nil, []File{fileOf(x, "big")}, nil},
		{"nor what the guest staged before", func(b *builder) { of := stage(b, x); b.run(); look(b, x, "1"); b.digest(of, "1") }, nil, []File{fileOf(x, "1")}, nil},
		{"nor in scratch", func(b *builder) { b.run(); look(b, "tmp/s", "1") }, nil, nil, nil},
		{"nor what is staged in the workspace", func(b *builder) { stage(b, "reports/r.md"); b.run(); look(b, "reports/r.md", "1") }, nil, nil, nil},
		{"nor what the guest then deletes", func(b *builder) { b.run(); look(b, x, "1"); remove(b, x) }, nil, nil, nil},
		{"nor what it then renames", func(b *builder) { b.run(); look(b, x, "1"); b.digest(rename(b, x, y), "1") }, nil, []File{fileOf(y, "1")}, nil},
		{"nor what it then goes on writing", func(b *builder) { b.run(); look(b, x, "1"); b.digest(goOn(b, x), "12") }, nil, []File{fileOf(x, "12")}, nil},
		{"nor what was digested at once", func(b *builder) { b.made(b.run(), x, "1"); look(b, x, "1"); b.run() }, nil, nil, nil},
		{"an earlier turn's file is", func(b *builder) { b.run(); look(b, x, "old") }, []File{fileOf(x, "old")}, nil, nil},
		{"also where the command removed the one above it", func(b *builder) { stage(b, x); b.run(); look(b, x, "old") }, []File{fileOf(x, "old")}, nil, nil},
		{"and one was made there later", func(b *builder) { stage(b, x); b.run(); look(b, x, "old"); b.made(b.run(), x, "1") }, []File{fileOf(x, "old")}, []File{fileOf(x, "1")}, nil},
		{"and the guest staged there later, and deleted that", func(b *builder) {
			b.run()
			look(b, x, "old")
			stage(b, x)
			look(b, x, "1")
			remove(b, x)
		}, []File{fileOf(x, "old")}, nil, nil},
		{"and the guest kept it, and went on", func(b *builder) {
			b.run()
			look(b, x, "old")
			o := reading(x, "old")
			o.Decision, o.Flags = Own, "write,append"
			b.digest(b.op(o), "old1")
		}, []File{fileOf(x, "old")}, []File{fileOf(x, "old1")}, nil},
		{"and somebody removed it, and the guest made it anew", func(b *builder) {
			b.run()
			look(b, x, "old")
			b.digest(b.op(Op{Op: OpOpen, Path: x, Flags: "write,create,excl", Decision: Own}), "1")
		}, []File{fileOf(x, "old")}, []File{fileOf(x, "1")}, nil},
		{"and what was read before the command", func(b *builder) { look(b, x, "old"); b.made(b.run(), x, "1") }, []File{fileOf(x, "old")}, []File{fileOf(x, "1")}, nil},
		{"a name of the workspace is", func(b *builder) { of := b.run(); b.op(reading("docs/z.md", "z")); b.made(of, "tmp/z", "z") }, []File{fileOf("docs/z.md", "z")}, nil, []File{fileOf("tmp/z", "z")}},
	} {
		e := evidenceOf(t, c.build)
		if !slices.Equal(e.RealizedReads, c.reads) || !slices.Equal(e.RealizedWrites, c.writes) || !slices.Equal(e.Discarded, c.discarded) {
			t.Errorf("%s:\n got reads %v, writes %v, discarded %v\nwant reads %v, writes %v, discarded %v", c.name,
				e.RealizedReads, e.RealizedWrites, e.Discarded, c.reads, c.writes, c.discarded)
		}
	}
}

func TestEvidenceFence(t *testing.T) {
	for _, c := range []struct {
		build func(b *builder)
		fence string
		calls []ExternalCall
	}{
		{func(*builder) {}, "none", nil},
		{func(b *builder) { b.op(Op{Op: OpExec, Decision: Granted}) }, "none", nil},
		{func(b *builder) { b.run(); b.run() }, "full", []ExternalCall{{4}, {7}}},
		{func(b *builder) { b.runIn(FenceLandlock); b.run() }, "landlock", []ExternalCall{{4}, {7}}},
		{func(b *builder) { b.run(); b.ended(b.started(FenceLandlock), "no") }, "landlock", []ExternalCall{{4}, {7}}},
		{func(b *builder) { b.started(FenceFull) }, "full", []ExternalCall{{4}}}, // a crash
		{func(b *builder) {
			fence := fenceOf(FenceLandlock)
			b.append(b.exec, 1, ExecEnd{Of: b.started(FenceFull), Fence: &fence})
		}, "landlock", []ExternalCall{{4}}},
	} {
		if e := evidenceOf(t, c.build); e.Fence != c.fence || !slices.Equal(e.ExternalCalls, c.calls) {
			t.Errorf("got %s, %v, want %s, %v", e.Fence, e.ExternalCalls, c.fence, c.calls)
		}
	}
}

// book is a turn's entries without a file.
type book struct {
	t       testing.TB
	entries []ledger.Entry
}

func newBook(t testing.TB) *book {
	b := &book{t: t}
	b.add(TurnBegin{Inputs: []File{fileOf("a", "1")}})
	return b
}

func (b *book) add(body ledger.Body) uint64 {
	own, err := ledger.Encode(body)
	if err != nil {
		b.t.Fatal(err)
	}
	e := bodyLine(body.Kind(), string(own[1:len(own)-1]))
	e.Seq, e.Turn, e.Session = uint64(len(b.entries)), 1, sid
	b.entries = append(b.entries, e)
	return e.Seq
}

// evidence computes it, and holds that a Collector does the same.
func (b *book) evidence() (TurnEvidence, error) {
	e, err := Evidence(slices.Values(b.entries))
	if err == nil {
		sameCollected(b.t, b.entries, e)
	}
	return e, err
}

// account is a turn as a gate keeps it in mind: what is published, what is
// staged, and what was truly read.
type account struct {
	*book
	random    *rand.Rand
	atOnce    bool // files of commands are digested behind each, too
	ran       bool
	published map[string]string
	staged    map[string]node
	read      map[File]bool // from elsewhere
	own       map[File]bool // of what was staged, behind a command
}

type node struct {
	content string
	of      uint64
	command bool
}

func (m *account) name() string {
	return []string{ownOutput + "a", ownOutput + "b", ownOutput + "d/c", "tmp/a", "tmp/b", "reports/r.md"}[m.random.IntN(6)]
}

func (m *account) text() string { return string(rune('a' + m.random.IntN(26))) }

func (m *account) op(o Op) uint64 {
	o.Via, o.Errno = ViaWASI, ErrnoSuccess
	if o.Decision = Own; strings.HasPrefix(o.Path, "reports/") {
		o.Decision = Granted
	}
	return m.add(o)
}

func (m *account) guest() {
	name := m.name()
	n, staged := m.staged[name]
	old, published := m.published[name]
	switch m.random.IntN(6) {
	case 0, 1: // read
		switch o := (Op{Op: OpOpen, Path: name, Flags: "read"}); {
		case staged:
			o.Size, o.SHA256 = ptr(int64(len(n.content))), ptr(hashOf(n.content))
			if m.op(o); m.ran {
				m.own[fileOf(name, n.content)] = true
			}
		case published:
			o.Size, o.SHA256 = ptr(int64(len(old))), ptr(hashOf(old))
			m.op(o)
			m.read[fileOf(name, old)] = true
		}
	case 2: // write anew
		m.staged[name] = node{m.text(), m.op(Op{Op: OpOpen, Path: name, Flags: "write,create,trunc"}), false}
	case 3: // go on writing
		o := Op{Op: OpOpen, Path: name, Flags: "write,create,append"}
		if staged {
			old = n.content
		} else if published {
			o.Size, o.SHA256 = ptr(int64(len(old))), ptr(hashOf(old))
			m.read[fileOf(name, old)] = true
		}
		m.staged[name] = node{old + m.text(), m.op(o), false}
	case 4:
		if staged {
			m.op(Op{Op: OpDelete, Path: name})
			delete(m.staged, name)
		}
	case 5:
		if to := m.name(); staged {
			delete(m.staged, name)
			if seq := m.op(Op{Op: OpRename, Path: name, To: to}); to != name {
				n.of, n.command = seq, false
			}
			m.staged[to] = n
		}
	}
}

func (m *account) command() {
	m.op(Op{Op: OpExec, Path: "git status"})
	of := m.add(started(FenceFull))
	e := ExecEnd{Of: of}
	if m.random.IntN(5) == 0 {
		e.Failed = "no"
	}
	end := m.add(e)
	if m.ran = true; e.Failed != "" {
		return
	}
	for range m.random.IntN(4) {
		name := m.name()
		if strings.HasPrefix(name, "reports/") {
			continue
		}
		if m.random.IntN(2) == 0 {
			delete(m.staged, name)
		} else {
			m.staged[name] = node{m.staged[name].content + m.text(), end, true}
		}
	}
	for name, n := range m.staged {
		if m.atOnce && n.of == end {
			m.digest(name, n)
		}
	}
}

func (m *account) digest(name string, n node) {
	d := Digest{Of: n.of, SHA256: hashOf(n.content), Size: int64(len(n.content))}
	if n.command {
		d.Path = name
	}
	m.add(d)
}

// Whatever a guest and commands do, in whatever order: what is staged in the end
// is listed, nothing else, and every read of what came from elsewhere is. What
// was not read from elsewhere is listed only where no entry can tell.
func TestEvidenceOfAnyOrder(t *testing.T) {
	unclear := 0
	for seed := range uint64(3000) {
		m := &account{
			book: newBook(t), random: rand.New(rand.NewPCG(seed, 1)), atOnce: seed%3 == 0,
			published: map[string]string{ownOutput + "a": "old a", ownOutput + "d/c": "old c", "reports/r.md": "old r"},
			staged:    map[string]node{}, read: map[File]bool{}, own: map[File]bool{},
		}
		for range 4 + m.random.IntN(20) {
			if m.random.IntN(4) == 0 && seed%7 != 0 {
				m.command()
			} else {
				m.guest()
			}
		}
		var writes, discarded []File
		for _, name := range slices.Sorted(maps.Keys(m.staged)) {
			m.digest(name, m.staged[name])
			if f := fileOf(name, m.staged[name].content); inScratch(name) {
				discarded = append(discarded, f)
			} else {
				writes = append(writes, f)
			}
		}
		e, err := m.evidence()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !slices.Equal(e.RealizedWrites, writes) || !slices.Equal(e.Discarded, discarded) {
			t.Fatalf("seed %d: got writes %v, discarded %v\nwant %v, %v", seed, e.RealizedWrites, e.Discarded, writes, discarded)
		}
		for _, f := range e.RealizedReads {
			if !m.read[f] {
				if !m.own[f] || !strings.HasPrefix(f.Path, ownOutput) {
					t.Fatalf("seed %d: it read %v, which it did not", seed, f)
				}
				unclear++
			}
			delete(m.read, f)
		}
		if len(m.read) > 0 {
			t.Fatalf("seed %d: it read %v, which is not listed", seed, m.read)
		}
	}
	t.Logf("%d reads are listed of which no entry tells that they were of what the turn had staged", unclear)
}

func TestEvidenceRefusesCommands(t *testing.T) {
	granted := Op{Op: OpExec, Path: "git status", Decision: Granted, Errno: ErrnoSuccess}
	fence := func(tier string) *Fence { f := fenceOf(tier); return &f }
	digest := func(of uint64, path string) Digest { return Digest{Of: of, Path: path, SHA256: hashOf("x"), Size: 1} }
	run := []ledger.Body{granted, started(FenceFull), ExecEnd{Of: 2}}
	for _, c := range []struct {
		name   string
		bodies []ledger.Body
		want   string // "" if all is well
	}{
		{"one", run, ""},
		{"one that did not end", run[:2], ""},
		{"one that was not granted", run[1:2], "seq 1: a command is started that no op in front granted"},
		{"one whose op failed", []ledger.Body{Op{Op: OpExec, Decision: Granted, Errno: "noent"}, run[1]}, "seq 2: a command is started that no op in front granted"},
		{"one whose op was refused", []ledger.Body{Op{Op: OpExec, Decision: Refused, Errno: ErrnoSuccess}, run[1]}, "seq 2: a command is started that no op in front granted"},
		{"one that was only asked about", []ledger.Body{Op{Op: OpCheck, Decision: Own, Right: "execute", Errno: ErrnoSuccess}, run[1]}, "seq 2: a command is started that no op in front granted"},
		{"two by one op", append(slices.Clone(run), run[1]), "seq 4: a command is started that no op in front granted"},
		{"two at once", []ledger.Body{granted, started(FenceFull), granted, started(FenceFull)}, "seq 4: a command is started while that of seq 2 runs"},
		{"an end without a start", []ledger.Body{ExecEnd{Of: 1}}, "seq 1: the command of seq 1 ends, and none runs"},
		{"an end twice", append(slices.Clone(run), run[2]), "seq 4: the command of seq 2 ends, and none runs"},
		{"an end of another", []ledger.Body{granted, started(FenceFull), ExecEnd{Of: 1}}, "seq 3: the command of seq 1 ends, and that of seq 2 runs"},
		{"an end of one to come", []ledger.Body{granted, started(FenceFull), ExecEnd{Of: 4}}, "seq 3: the command of seq 4 ends, and that of seq 2 runs"},
		{"no fence", []ledger.Body{granted, ExecStart{}}, `seq 2: a command is started in the fence "": want one of landlock, full`},
		{"the fence none", []ledger.Body{granted, ExecStart{Fence: Fence{Tier: FenceNone}}}, `seq 2: a command is started in the fence "none": want one of landlock, full`},
		{"an end in another fence", []ledger.Body{granted, run[1], ExecEnd{Of: 2, Fence: fence("ful")}}, `seq 3: a command ran in the fence "ful": want one of landlock, full`},

		{"a digest without a name", append(slices.Clone(run), digest(3, "")), "seq 4: digest of seq 3, which is the end of a command, names no file"},
		{"a digest of the workspace", append(slices.Clone(run), digest(3, "docs/a.md")), "seq 4: digest of docs/a.md by seq 3, which is the end of a command: it writes beneath tmp/ and " + ownOutput + " only"},
		{"a digest of another session", append(slices.Clone(run), digest(3, "output/SES-1/x")), "seq 4: digest of output/SES-1/x by seq 3, which is the end of a command: it writes beneath tmp/ and " + ownOutput + " only"},
		{"a digest of a folder", append(slices.Clone(run), digest(3, "tmp/")), "seq 4: digest of tmp/ by seq 3, which is the end of a command: it writes beneath tmp/ and " + ownOutput + " only"},
		{"a digest by the start", append(slices.Clone(run), digest(2, "tmp/x")), "seq 4: digest of seq 2, which did not open, read, write or rename a file of this turn"},
		{"a digest by one that never ran", append(slices.Clone(run[:2]), ExecEnd{Of: 2, Failed: "no"}, digest(3, "tmp/x")), ""},
		{"a digest of what cannot be of a command", append(slices.Clone(run), Op{Op: OpRename, Path: "docs/a.md", To: "tmp/a", Decision: Own, Errno: ErrnoSuccess}, digest(4, "")), "seq 5: digest of seq 4, which did not open, read, write or rename a file of this turn"},
	} {
		b := newBook(t)
		for _, body := range c.bodies {
			b.add(body)
		}
		_, err := b.evidence()
		if want := strings.TrimSuffix("evidence: "+c.want, "evidence: "); err == nil && c.want != "" || err != nil && err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, want)
		}
	}
}

// A guest that reads one name again and again costs no more than the reads.
func TestEvidenceOfManyDoubtsIsLinear(t *testing.T) {
	b := newBook(t)
	run := func() uint64 {
		b.add(Op{Op: OpExec, Decision: Granted, Errno: ErrnoSuccess})
		return b.add(ExecEnd{Of: b.add(started(FenceFull))})
	}
	const n = 2000
	for i := range n {
		of := run()
		o := Op{Op: OpOpen, Path: ownOutput + "x", Flags: "read", Decision: Own, Errno: ErrnoSuccess, SHA256: ptr(hashOf(fmt.Sprint(i)))}
		b.add(o)
		if i == n-1 {
			b.add(Digest{Of: of, Path: o.Path, SHA256: hashOf("x"), Size: 1})
		}
	}
	e, err := b.evidence()
	if err != nil || len(e.RealizedReads) != n-1 || len(e.ExternalCalls) != n {
		t.Fatalf("got %d reads, %d calls, %v", len(e.RealizedReads), len(e.ExternalCalls), err)
	}
}
