package record

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/agenthost/agenthost/ledger"
)

// evidenceOf builds one turn and returns its evidence.
func evidenceOf(t *testing.T, build func(b *builder)) TurnEvidence {
	t.Helper()
	b := newBuilder(t, t.TempDir())
	b.open()
	b.begin(fileOf("docs/a.md", "alpha"), fileOf("docs/big.md", "big"))
	build(b)
	e, err := Evidence(b.entries())
	if err != nil {
		t.Fatal(err)
	}
	again, err := Evidence(b.entries())
	if err != nil || !reflect.DeepEqual(e, again) {
		t.Errorf("the same entries give another evidence: %+v, %v", again, err)
	}
	var entries []ledger.Entry
	for e := range b.entries() {
		e.Line = bytes.Clone(e.Line)
		entries = append(entries, e)
	}
	sameCollected(t, entries, e)
	return e
}

func reading(path, content string) Op {
	return Op{
		Op: OpOpen, Path: path, Flags: "read", Decision: Granted,
		Size: ptr(int64(len(content))), SHA256: ptr(hashOf(content)),
	}
}

func TestEvidenceReads(t *testing.T) {
	const out = "output/" + sid + "/"
	unknown := func(path string, size int64) File { return File{Path: path, Size: size} }
	for _, c := range []struct {
		name       string
		build      func(b *builder)
		reads      []File
		undeclared []string
	}{
		{"none", func(*builder) {}, nil, nil},
		{
			"a declared one, twice", func(b *builder) { b.op(reading("docs/a.md", "alpha")); b.op(reading("docs/a.md", "alpha")) },
			[]File{fileOf("docs/a.md", "alpha")},
			nil,
		},
		{"sorted, and with each content it had", func(b *builder) {
			b.op(reading("docs/z.md", "1"))
			b.op(reading("docs/a.md", "changed"))
			b.op(reading("docs/a.md", "alpha"))
			b.op(reading("docs/Z.md", "2"))
		}, []File{fileOf("docs/Z.md", "2"), fileOf("docs/a.md", "changed"), fileOf("docs/a.md", "alpha"), fileOf("docs/z.md", "1")}, []string{"docs/Z.md", "docs/z.md"}},
		{"failed, refused, hidden and listed ones", func(b *builder) {
			o := reading("docs/x.md", "x")
			o.Errno = "io"
			b.op(o)
			o = reading("docs/x.md", "x")
			o.Decision = Hidden
			b.op(o)
			o.Decision = Violated
			b.op(o)
			b.op(Op{Op: OpList, Path: "docs", Decision: Granted})
			b.op(Op{Op: OpReadlink, Path: "docs/x.md", Decision: Refused, Errno: "perm"})
			b.op(Op{Op: OpStat, Path: "docs/x.md", Decision: Granted})
			b.op(Op{Op: OpHash, Via: ViaABI, Decision: Own}) // of bytes
		}, nil, nil},
		{"packages", func(b *builder) {
			o := reading("pkg:x", "x")
			o.Decision = InPkg
			b.op(o)
			o.Path = "deps:PKG-A/x"
			b.op(o)
		}, nil, nil},
		{"by the ABI", func(b *builder) {
			o := reading("docs/x.md", "x")
			o.Via, o.Op, o.Flags = ViaABI, OpRead, ""
			b.op(o)
			o.Op, o.Path = OpHash, "docs/y.md"
			b.op(o)
		}, []File{fileOf("docs/x.md", "x"), fileOf("docs/y.md", "x")}, []string{"docs/x.md", "docs/y.md"}},
		{"large, with and without a digest", func(b *builder) {
			large := Op{Op: OpOpen, Path: "docs/big.md", Flags: "read", Decision: Granted, Size: ptr[int64](9)}
			of := b.op(large)
			large.Path = "docs/other.md"
			b.op(large)
			b.digest(of, "big")
		}, []File{fileOf("docs/big.md", "big"), unknown("docs/other.md", 9)}, []string{"docs/other.md"}},
		{"an output of an earlier turn", func(b *builder) { o := reading(out+"old", "old"); o.Decision = Own; b.op(o) }, []File{fileOf(out+"old", "old")}, nil},
		{"what the turn staged itself", func(b *builder) {
			b.op(Op{Op: OpOpen, Path: out + "new", Flags: "write,create", Decision: Own})
			o := reading(out+"new", "new")
			o.Decision = Own
			of := b.op(o)
			b.digest(of, "new") // a large one
			b.op(Op{Op: OpRename, Path: out + "new", To: "reports/n.md", Decision: Granted})
			b.op(reading("reports/n.md", "new"))
		}, nil, nil},
		{"scratch", func(b *builder) { o := reading("tmp/x", "x"); o.Decision = Own; b.op(o) }, nil, nil},
		{"what stood before a write that kept it", func(b *builder) {
			o := reading("reports/r.md", "old")
			o.Flags = "write,append"
			b.digest(b.op(o), "old and new")
		}, []File{fileOf("reports/r.md", "old")}, []string{"reports/r.md"}},
		{"not what a write replaced", func(b *builder) {
			o := reading("reports/r.md", "old")
			o.Flags = "write,create,trunc"
			b.digest(b.op(o), "new")
			b.op(Op{Op: OpOpen, Path: "reports/s.md", Flags: "read,write,create", Decision: Granted})
		}, nil, nil},
		{"what stood before a deleted one", func(b *builder) {
			b.op(Op{Op: OpOpen, Path: "reports/r.md", Flags: "write,create,trunc", Decision: Granted})
			b.op(Op{Op: OpDelete, Path: "reports/r.md", Decision: Granted})
			b.op(reading("reports/r.md", "old"))
		}, []File{fileOf("reports/r.md", "old")}, []string{"reports/r.md"}},
	} {
		e := evidenceOf(t, c.build)
		if !slices.Equal(e.RealizedReads, c.reads) || !slices.Equal(e.UndeclaredReads, c.undeclared) {
			t.Errorf("%s:\n got %v, undeclared %q\nwant %v, undeclared %q", c.name, e.RealizedReads, e.UndeclaredReads, c.reads, c.undeclared)
		}
	}
}

func TestEvidenceWrites(t *testing.T) {
	create := func(b *builder, path string) uint64 {
		return b.op(Op{Op: OpOpen, Path: path, Flags: "write,create,trunc", Decision: Own})
	}
	rename := func(b *builder, from, to string) uint64 {
		return b.op(Op{Op: OpRename, Path: from, To: to, Decision: Own})
	}
	for _, c := range []struct {
		name              string
		build             func(b *builder)
		writes, discarded []File
	}{
		{"sorted", func(b *builder) {
			z, a, s := create(b, "z"), create(b, "a"), create(b, "tmp/s")
			b.digest(z, "1")
			b.digest(a, "2")
			b.digest(s, "3")
		}, []File{fileOf("a", "2"), fileOf("z", "1")}, []File{fileOf("tmp/s", "3")}},
		{"opened twice", func(b *builder) { create(b, "a"); b.digest(create(b, "a"), "2") }, []File{fileOf("a", "2")}, nil},
		{"without a digest", func(b *builder) { create(b, "a") }, nil, nil},
		{"by the ABI", func(b *builder) { b.digest(b.op(Op{Op: OpWrite, Via: ViaABI, Path: "a", Decision: Granted}), "1") }, []File{fileOf("a", "1")}, nil},
		{"deleted", func(b *builder) { create(b, "a"); b.op(Op{Op: OpDelete, Path: "a", Decision: Own}) }, nil, nil},
		{"deleted after its digest", func(b *builder) {
			b.digest(create(b, "a"), "1")
			b.op(Op{Op: OpDelete, Path: "a", Decision: Own})
		}, nil, nil},
		{"renamed", func(b *builder) { create(b, "tmp/a"); b.digest(rename(b, "tmp/a", "b"), "1") }, []File{fileOf("b", "1")}, nil},
		{"renamed after its digest", func(b *builder) { b.digest(create(b, "a"), "1"); rename(b, "a", "tmp/b") }, nil, []File{fileOf("tmp/b", "1")}},
		{"renamed onto another", func(b *builder) {
			b.digest(create(b, "a"), "1")
			b.digest(create(b, "b"), "2")
			rename(b, "a", "b")
		}, []File{fileOf("b", "1")}, nil},
		{"with the folder above", func(b *builder) {
			create(b, "tmp/d/1")
			create(b, "tmp/d/e/2")
			create(b, "tmp/dd")
			rename(b, "tmp/d", "output/d")
			b.digest(rename(b, "tmp/d/1", "output/d/1"), "1")
			b.digest(rename(b, "tmp/d/e/2", "output/d/e/2"), "2")
		}, []File{fileOf("output/d/1", "1"), fileOf("output/d/e/2", "2")}, nil},
		{"not what failed", func(b *builder) {
			b.op(Op{Op: OpOpen, Path: "a", Flags: "write,create", Decision: Own, Errno: "nospc"})
			b.digest(create(b, "b"), "1")
			b.op(Op{Op: OpDelete, Path: "b", Decision: Own, Errno: "io"})
		}, []File{fileOf("b", "1")}, nil},
	} {
		e := evidenceOf(t, c.build)
		if !slices.Equal(e.RealizedWrites, c.writes) || !slices.Equal(e.Discarded, c.discarded) {
			t.Errorf("%s:\n got %v, discarded %v\nwant %v, discarded %v", c.name, e.RealizedWrites, e.Discarded, c.writes, c.discarded)
		}
	}
}

func TestEvidenceHidden(t *testing.T) {
	e := evidenceOf(t, func(b *builder) {
		probe := Op{Op: OpStat, Path: "z", Decision: Hidden, Errno: "noent"}
		b.op(probe)
		probe.Op = OpOpen
		b.op(probe)
		probe.Path = ".git"
		b.op(probe)
		probe.Count = 41
		b.op(probe)
	})
	if want := []Probe{{".git", 42}, {"z", 2}}; !slices.Equal(e.Hidden, want) {
		t.Errorf("got %v, want %v", e.Hidden, want)
	}
}

func TestViolationOfAnOp(t *testing.T) {
	for _, c := range []struct {
		op   Op
		want Violation
	}{
		{Op{Op: OpOpen, Flags: "read"}, Violation{Operation: "read"}},
		{Op{Op: OpOpen, Flags: "read,write"}, Violation{Operation: "write"}},
		{Op{Op: OpOpen, Flags: "create,excl"}, Violation{Operation: "write"}},
		{Op{Op: OpOpen, Flags: "read,write", Right: "read"}, Violation{Operation: "read"}},
		{Op{Op: OpRead, Via: ViaABI}, Violation{Operation: "read"}},
		{Op{Op: OpMkdir}, Violation{Operation: "write"}},
		{Op{Op: OpRename, To: "b"}, Violation{Operation: "write"}},
		{Op{Op: OpRename, To: "b", Subject: "b"}, Violation{Operation: "write", Subject: "b"}},
		{Op{Op: OpExec, Subject: "git log"}, Violation{Operation: "execute", Subject: "git log"}},
		{Op{Op: OpPublish, Via: ViaHost, Rule: CodeConflict}, Violation{Operation: "publish", Rule: "conflict"}},
		{Op{Op: OpSetTimes, SmallestGrant: "g"}, Violation{Operation: "write", SmallestGrant: "g"}},
	} {
		c.op.Path, c.op.Decision = "a", Violated
		if c.want.Subject == "" {
			c.want.Subject = "a"
		}
		if got, ok := c.op.Violation(); !ok || got != c.want {
			t.Errorf("%+v:\n got %+v\nwant %+v", c.op, got, c.want)
		}
		c.op.Decision = Granted
		if got, ok := c.op.Violation(); ok || got != (Violation{}) {
			t.Errorf("%+v: got a violation", c.op)
		}
	}
}

func TestEvidenceRefuses(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	b.open()
	b.begin()
	b.op(Op{Op: OpStat, Path: "a", Decision: Granted})
	b.append(b.exec, 2, Stderr{})
	var all []ledger.Entry
	for e := range b.entries() {
		e.Line = slices.Clone(e.Line)
		all = append(all, e)
	}
	unread := all[1]
	unread.Line = nil
	for _, c := range []struct {
		entries []ledger.Entry
		want    string
	}{
		{nil, "evidence: there are no entries"},
		{all[1:], "evidence: seq 3: op, want turn.begin"},
		{all, "evidence: seq 4: it belongs to turn 2, want 1"},
		{[]ledger.Entry{all[0], all[0]}, "evidence: seq 2: turn.begin within a turn"},
		{[]ledger.Entry{all[0], unread}, "evidence: seq 3: entry op: has no line to decode"},
	} {
		if _, err := Evidence(slices.Values(c.entries)); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// Whatever the entries say, evidence is computed or refused, by a Collector too,
// can be encoded, and reads back as it was.
func FuzzEvidence(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Add([]byte("a rename, a digest and a deletion"))
	f.Add([]byte{5, 0, 0, 0, 6, 0, 0, 0, 1, 3, 0, 16, 4, 3, 0, 18, 3, 2, 3, 0})
	ops := []string{OpOpen, OpRead, OpWrite, OpDelete, OpRename, OpMkdir, OpHash, OpPublish}
	paths := []string{"a", "a/b", "tmp/x", ownOutput + "x", "tmp/x/y", "pkg:a", "", "é\n"}
	flags := []string{"read", "write", "read,write,create", "trunc", ""}
	decisions := []string{Granted, Own, InPkg, Hidden, Violated, Granted, Own, "?"}
	tiers := []string{FenceFull, FenceLandlock, FenceFull, ""}
	f.Fuzz(func(t *testing.T, data []byte) {
		book := newBook(t)
		for i := 0; i+3 < len(data) && i < 400; i += 4 {
			c := func(n int, list []string) string { return list[int(data[i+n])%len(list)] }
			switch data[i] % 8 {
			case 4:
				d := Digest{Of: uint64(data[i+1]), SHA256: hashOf(string(data[i+2 : i+3])), Size: 1}
				if data[i+3]&16 != 0 {
					d.Path = c(3, paths)
				}
				book.add(d)
				continue
			case 5:
				s := started(c(1, tiers))
				if data[i+2]&1 == 0 {
					book.add(Op{Op: OpExec, Decision: Granted, Errno: ErrnoSuccess})
				}
				book.add(s)
				continue
			case 6:
				e := ExecEnd{Of: uint64(len(book.entries) - 1)}
				if data[i+1]&1 != 0 {
					e.Of = uint64(data[i+2])
				}
				if data[i+3]&3 == 3 {
					e.Failed = "no"
				}
				book.add(e)
				continue
			}
			o := Op{Op: c(0, ops), Path: c(1, paths), To: c(2, paths), Flags: c(2, flags), Decision: c(3, decisions), Errno: ErrnoSuccess}
			if data[i+3]&16 != 0 {
				o.SHA256 = ptr(hashOf(c(3, paths)))
			}
			book.add(o)
		}
		e, err := book.evidence()
		if err != nil {
			return
		}
		own, err := ledger.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(bodyLine(e.Kind(), string(own[1:len(own)-1]))); err != nil {
			t.Fatal(err)
		}
	})
}

// Decode answers with a body that says the same, or refuses.
func FuzzDecode(f *testing.F) {
	for _, body := range everyBody() {
		own, err := ledger.Encode(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body.Kind(), string(own[1:len(own)-1]))
	}
	f.Fuzz(func(t *testing.T, kind, own string) {
		e := bodyLine(kind, own)
		body, err := Decode(e)
		if err != nil {
			return
		}
		again, err := ledger.Encode(body)
		if err != nil || string(again) != "{"+own+"}" || body.Kind() != kind {
			t.Fatalf("%s %s reads as %+v and is written as %s, %v", kind, own, body, again, err)
		}
	})
}
