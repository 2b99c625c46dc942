package record

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/ledger"
)

// Each session is wrong in one way; its chains are right. The text is what
// follows the file's name and place.
func TestVerifySessionFinds(t *testing.T) {
	read := Op{Op: OpOpen, Path: "docs/a.md", Flags: "read", Decision: Granted, Size: ptr[int64](5), SHA256: ptr(hashOf("alpha"))}
	refused := Op{Op: OpDelete, Path: "docs/a.md", Decision: Violated, Rule: "no grant of write", Errno: "perm"}
	ok := TurnEnd{Status: StatusOK}
	evidence := func(change func(*TurnEvidence)) func(*builder) {
		return func(b *builder) { b.open(); b.begin(); b.op(read); b.onEvidence = change; b.end(ok) }
	}
	end := func(change func(*TurnEnd)) func(*builder) {
		return func(b *builder) { b.open(); b.begin(); b.op(read); b.onEnd = change; b.end(ok) }
	}
	violations := func(change func(Violation) []Violation, status, code string) func(*builder) {
		return func(b *builder) {
			b.open()
			b.begin()
			b.onViolation = change
			b.op(refused)
			b.end(TurnEnd{Status: status, Code: code})
		}
	}
	none := func(Violation) []Violation { return nil }
	for _, c := range []struct {
		name  string
		build func(*builder)
		file  string
		line  int
		want  string // "" if all is well
	}{
		{"a good session", (*builder).good, "", 0, ""},
		{"an open session", func(b *builder) { b.open() }, "", 0, ""},
		{"a running turn", func(b *builder) { b.open(); b.begin(); b.op(refused) }, "", 0, ""},
		{"nothing", func(*builder) {}, ExecFile, 0, "it has no entries: a session begins with session.open"},
		{"no opening", func(b *builder) { b.begin() }, ExecFile, 1, "turn.begin: a session begins with session.open, once"},
		{"two openings", func(b *builder) { b.open(); b.open() }, ExecFile, 3, "the key was introduced before"},
		{"two openings by two processes", func(b *builder) { b.open(); b.reopen(); b.open() }, ExecFile, 3, "session.open: a session begins with session.open, once"},
		{"an opening within a turn", func(b *builder) { b.turn = 3; b.append(b.exec, 3, SessionOpen{Plane: "ho1", ProcessKey: b.key}) }, ExecFile, 1, "session.open of turn 3, want 0"},
		{"turns begin with 2", func(b *builder) { b.open(); b.turn = 1; b.begin() }, ExecFile, 3, "turn.begin of turn 2, want 1"},
		{"a turn in a turn", func(b *builder) { b.open(); b.begin(); b.begin() }, ExecFile, 4, "turn.begin before turn 1 has ended"},
		{"an op outside", func(b *builder) { b.open(); b.op(read) }, ExecFile, 3, "op outside a turn"},
		{"an op of another turn", func(b *builder) { b.open(); b.begin(); b.turn = 5; b.op(read) }, ExecFile, 4, "op of turn 5, want 1"},
		{"an end without a beginning", func(b *builder) { b.open(); b.append(b.exec, 1, ok) }, ExecFile, 3, "turn.end outside a turn"},
		{"a foreign kind", func(b *builder) { b.open(); b.append(b.exec, 1, Violation{}) }, ExecFile, 3, "violation does not belong in exec.jsonl"},
		{"closed in a turn", func(b *builder) { b.open(); b.begin(); b.close() }, ExecFile, 4, "session.close before turn 1 has ended"},
		{"closed with a wrong count", func(b *builder) { b.open(); b.turn = 2; b.close() }, ExecFile, 3, "session.close counts 2 turns, there are 0"},
		{"a turn after the end", func(b *builder) { b.open(); b.close(); b.begin() }, ExecFile, 5, "turn.begin after session.close"},
		{"resumed after the end, to erase", func(b *builder) { b.open(); b.close(); b.resume(Erased{}) }, "", 0, ""},
		{"recovered in another turn", func(b *builder) { b.open(); b.begin(); b.append(b.exec, 2, Recovered{}) }, ExecFile, 4, "recovered of turn 2, want 1"},

		{"a session of another", evidence(func(e *TurnEvidence) { e.SessionID = "SES-x" }), EvidenceFile, 1, "session_id of turn 1 is not what exec.jsonl says"},
		{"a turn of another", evidence(func(e *TurnEvidence) { e.TurnNumber = 2 }), EvidenceFile, 1, "turn_number of turn 1 is not what exec.jsonl says"},
		{"no work order", evidence(func(e *TurnEvidence) { e.WorkOrderID = "" }), EvidenceFile, 1, "work_order_id of turn 1 is not what exec.jsonl says"},
		{"a read left out", evidence(func(e *TurnEvidence) { e.RealizedReads = nil }), EvidenceFile, 1, "realized_reads of turn 1 is not what exec.jsonl says"},
		{"a read declared later", evidence(func(e *TurnEvidence) { e.UndeclaredReads = nil }), EvidenceFile, 1, "undeclared_reads of turn 1 is not what exec.jsonl says"},
		{"an invented write", evidence(func(e *TurnEvidence) { e.RealizedWrites = []File{fileOf("x", "y")} }), EvidenceFile, 1, "realized_writes of turn 1 is not what exec.jsonl says"},
		{"an invented violation", evidence(func(e *TurnEvidence) { e.Violations = []Violation{{}} }), EvidenceFile, 1, "violations of turn 1 is not what exec.jsonl says"},
		{"more rights", evidence(func(e *TurnEvidence) { e.Granted.Read = []string{"**"} }), EvidenceFile, 1, "granted of turn 1 is not what exec.jsonl says"},
		{"a better fence", evidence(func(e *TurnEvidence) { e.Fence = "full" }), EvidenceFile, 1, "fence of turn 1 is not what exec.jsonl says"},
		{"another range", evidence(func(e *TurnEvidence) { e.To++ }), EvidenceFile, 1, "to of turn 1 is not what exec.jsonl says"},
		{"another head", evidence(func(e *TurnEvidence) { e.Head = ledger.Hash{} }), EvidenceFile, 1, "head of turn 1 is not what exec.jsonl says"},

		{
			"another root", end(func(e *TurnEnd) { e.Evidence.Root = hashOf("x") }), ExecFile, 5,
			"turn 1 was committed with another evidence.jsonl: its root is ROOT, not " + hashOf("x").String(),
		},
		{
			"more evidence than there is", end(func(e *TurnEnd) { e.Evidence.Size = 9 }), ExecFile, 5,
			"turn 1 was committed with 9 entries of evidence.jsonl, which has 2: its end was cut off",
		},
		{
			"no evidence", end(func(e *TurnEnd) { e.Evidence.Size = 0 }), ExecFile, 5,
			"turn 1 names 0 entries of evidence.jsonl, of which the turns before have 0",
		},
		{"no status", end(func(e *TurnEnd) { e.Status = "" }), ExecFile, 5, `turn.end: unknown status ""`},
		{"ok with a code", end(func(e *TurnEnd) { e.Code = "trap" }), ExecFile, 5, `turn.end: status ok has the code "trap"`},
		{"blocked without a code", end(func(e *TurnEnd) { e.Status = StatusBlocked }), ExecFile, 5, "turn.end: status blocked has no code"},
		{
			"blocked, but published", end(func(e *TurnEnd) { e.Status, e.Code = "blocked", "violation"; e.Publish = make([]Publication, 1) }), ExecFile, 5,
			"turn.end: status blocked publishes 1 files",
		},
		{
			"published what was not written", end(func(e *TurnEnd) { e.Publish = []Publication{{Path: "docs/a.md"}} }), ExecFile, 5,
			"turn 1 published docs/a.md, which it did not write with that content",
		},

		{"no violation entry", violations(none, StatusBlocked, CodeViolation), EvidenceFile, 1, "turn 1: refused write of docs/a.md has no violation entry"},
		{"no violation entry after a crash", violations(none, StatusAborted, CodeCrash), "", 0, ""},
		{
			"a violation twice", violations(func(v Violation) []Violation { return []Violation{v, v} }, StatusBlocked, CodeViolation), EvidenceFile, 3,
			"turn 1: violation of write of docs/a.md has no op in exec.jsonl",
		},
		{
			"another violation", violations(func(v Violation) []Violation { v.Subject = "x"; return []Violation{v} }, StatusAborted, CodeCrash), EvidenceFile, 2,
			`turn 1: violation entry is write of x by "no grant of write", the op in exec.jsonl says write of docs/a.md by "no grant of write"`,
		},
		{
			"a violation of another turn", func(b *builder) { b.open(); b.append(b.evidence, 2, Violation{}); b.begin(); b.end(ok) }, EvidenceFile, 1,
			"violation of turn 2, want 1",
		},
		{
			"a foreign kind in the evidence", func(b *builder) { b.open(); b.append(b.evidence, 0, SessionOpen{}); b.begin(); b.end(ok) }, EvidenceFile, 1,
			"session.open does not belong in evidence.jsonl",
		},
		{"evidence is not the last entry", func(b *builder) {
			b.open()
			b.begin()
			b.onEnd = func(e *TurnEnd) {
				b.append(b.evidence, 1, Violation{})
				head := b.evidence.Head()
				e.Evidence = EvidenceHead{head.Size, head.Root}
			}
			b.end(ok)
		}, ExecFile, 4, "turn 1 was committed with an evidence.jsonl that does not end with its evidence"},
		{"evidence, then debris of a crash", func(b *builder) {
			b.open()
			b.begin()
			b.onEnd = func(e *TurnEnd) {
				b.append(b.evidence, 0, Recovered{})
				head, _ := b.evidence.Sealed()
				e.Evidence = EvidenceHead{head.Size, head.Root}
			}
			b.end(ok)
		}, ExecFile, 4, "turn 1 was committed with an evidence.jsonl that does not end with its evidence"},
		{"debris of a crash, then evidence", func(b *builder) {
			b.open()
			b.begin()
			b.append(b.evidence, 0, Recovered{})
			b.end(ok)
		}, "", 0, ""},
		{"a head that is not sealed", func(b *builder) {
			b.open()
			b.begin()
			e := must(Evidence(b.entries()))
			b.commit(b.evidence, 1, e, e)
			var tree ledger.Tree
			for first, err := range ledger.Read(filepath.Join(b.dir, EvidenceFile)) {
				if err != nil {
					b.t.Fatal(err)
				}
				tree.Add(first.Hash)
				break
			}
			ok := ok
			ok.Evidence = EvidenceHead{1, tree.Root()}
			b.append(b.exec, 1, ok)
		}, ExecFile, 4, "turn 1 was committed with a head of evidence.jsonl that is not sealed: seq 1 there is turn.evidence"},
		{"closed, and not for good", func(b *builder) {
			b.open()
			b.commit(b.exec, 0, SessionClose{})
		}, ExecFile, 0, "the session was closed, and no final seal ends the file: its end was cut off"},
		{"closed, and its evidence not for good", func(b *builder) {
			b.open()
			if _, err := b.exec.Finish(0, SessionClose{}); err != nil {
				b.t.Fatal(err)
			}
		}, EvidenceFile, 0, "the session was closed, and no final seal ends the file: its end was cut off"},
		{
			"evidence of a turn that has ended", func(b *builder) { b.open(); b.begin(); b.end(ok); b.append(b.evidence, 1, Violation{}) }, EvidenceFile, 3,
			"violation of turn 1, which has ended",
		},
		{
			"evidence after the end", func(b *builder) { b.open(); b.close(); b.append(b.evidence, 1, Violation{}) }, EvidenceFile, 2,
			"violation after the session was closed",
		},
		{"evidence that a crash kept from its turn.end", func(b *builder) {
			b.open()
			b.begin()
			e, err := Evidence(b.entries())
			if err != nil {
				b.t.Fatal(err)
			}
			b.append(b.evidence, 1, e)
			b.resume()
			b.end(TurnEnd{Status: StatusAborted, Code: CodeCrash})
		}, "", 0, ""},
		{"evidence of a turn that a crash took whole, twice", func(b *builder) {
			b.open()
			b.append(b.evidence, 1, TurnEvidence{})
			b.append(b.evidence, 1, TurnEvidence{})
		}, "", 0, ""},
		{
			"a violation of a turn without turn.begin", func(b *builder) { b.open(); b.append(b.evidence, 1, Violation{}) }, EvidenceFile, 1,
			"evidence of turn 1 was recorded, and exec.jsonl does not have this turn: it was cut",
		},
		{
			"evidence of two turns that are absent", func(b *builder) {
				b.open()
				b.append(b.evidence, 1, TurnEvidence{})
				b.append(b.evidence, 0, Recovered{})
				b.append(b.evidence, 2, TurnEvidence{})
			}, EvidenceFile, 1,
			"evidence of turns 1 to 2 was recorded, and exec.jsonl does not have these turns: it was cut",
		},
		{
			"evidence of the turn after an unfinished one", func(b *builder) {
				b.open()
				b.begin()
				b.append(b.evidence, 1, TurnEvidence{})
				b.append(b.evidence, 2, TurnEvidence{})
			}, EvidenceFile, 3,
			"evidence of turn 2 was recorded, and exec.jsonl does not have this turn: it was cut",
		},
		{
			"a violation without its op", func(b *builder) {
				b.open()
				b.begin()
				b.op(refused)
				b.append(b.evidence, 1, Violation{Operation: "read", Subject: "x"})
			}, EvidenceFile, 2,
			"violation of read of x in turn 1 was recorded, and exec.jsonl does not have its op: it was cut",
		},
		{
			"a violation of another op", func(b *builder) {
				b.open()
				b.begin()
				b.onViolation = func(v Violation) []Violation { v.Subject = "x"; return []Violation{v} }
				b.op(refused)
			}, EvidenceFile, 1,
			`turn 1: violation entry is write of x by "no grant of write", the op in exec.jsonl says write of docs/a.md by "no grant of write"`,
		},
		{"an unknown decision", func(b *builder) { b.open(); b.begin(); b.op(Op{Op: OpStat, Decision: "maybe"}) }, ExecFile, 4, `unknown decision "maybe"`},
		{
			"a count of what is not hidden", func(b *builder) { b.open(); b.begin(); b.op(Op{Op: OpStat, Decision: Granted, Count: 2}) }, ExecFile, 4,
			"an op with the decision granted has the count 2",
		},
		{
			"a digest of nothing", func(b *builder) { b.open(); b.begin(); b.digest(7, "x") }, ExecFile, 4,
			"digest of seq 7, which did not open, read, write or rename a file of this turn",
		},
		{"a digest of another file", func(b *builder) {
			b.open()
			b.begin()
			b.append(b.exec, 1, Digest{Of: b.op(read), Path: "docs/b.md"})
		}, ExecFile, 5, "digest of docs/b.md by seq 3, which is about docs/a.md"},
		{"a digest of what was not staged", func(b *builder) {
			b.open()
			b.begin()
			b.digest(b.op(Op{Op: OpRename, Path: "tmp/a", To: "tmp/b", Decision: Own}), "x")
		}, ExecFile, 5, "digest of seq 3, which did not open, read, write or rename a file of this turn"},
		{"members of another kind", func(b *builder) { b.open(); b.append(b.exec, 0, odd{}) }, ExecFile, 3, `entry session.close: json: unknown field "odd"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t, t.TempDir())
			c.build(b)
			_, err := VerifySession(b.dir)
			if c.want == "" {
				if err != nil {
					t.Errorf("got %v, want none", err)
				}
				return
			}
			var bad *ledger.IntegrityError
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			want := strings.ReplaceAll(c.want, "ROOT", sealedRoot(b.evidence))
			if filepath.Base(bad.File) != c.file || bad.Line != c.line || bad.Reason != want {
				t.Errorf("got %v\nwant %s line %d: %s", err, c.file, c.line, want)
			}
		})
	}
}

func sealedRoot(l *ledger.Log) string {
	c, _ := l.Sealed()
	return c.Root.String()
}

// odd has the kind of another body.
type odd struct{}

func (odd) Kind() string                    { return KindSessionClose }
func (odd) AppendMembers(m *ledger.Members) { m.Bool("odd", true) }

func TestVerifySessionReportsWhereItStands(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	b.open()
	b.begin()
	b.end(TurnEnd{Status: StatusOK})
	b.begin()
	for _, name := range []string{ExecFile, EvidenceFile} {
		f, err := os.OpenFile(filepath.Join(b.dir, name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(`{"v":1,"seq":`); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	report, err := VerifySession(b.dir)
	if err != nil || report.Unfinished != 2 || len(report.Turns) != 1 || report.Closed {
		t.Errorf("got %+v, %v", report, err)
	}
	if report.Exec.Torn == nil || report.Exec.Torn.Seq != 6 || report.Evidence.Torn == nil || report.Evidence.Torn.Seq != 2 {
		t.Errorf("torn tails: got %v, %v", report.Exec.Torn, report.Evidence.Torn)
	}
}

func TestVerifySessionNeedsBothFiles(t *testing.T) {
	for _, name := range []string{ExecFile, EvidenceFile} {
		b := newBuilder(t, t.TempDir())
		b.good()
		if err := os.Remove(filepath.Join(b.dir, name)); err != nil {
			t.Fatal(err)
		}
		_, err := VerifySession(b.dir)
		if want := name + ": the file is missing: a session without both ledgers is invalid"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestVerifySessionChecksBlobs(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b *builder, blob string, h ledger.Hash) error
		want   string
	}{
		{"missing", func(_ *builder, blob string, _ ledger.Hash) error { return os.Remove(blob) }, "blob HASH is missing and was not erased"},
		{"erased", func(b *builder, blob string, h ledger.Hash) error {
			b.append(b.exec, 0, Erased{h, "asked for"})
			return os.Remove(blob)
		}, ""},
		{"another erased", func(b *builder, blob string, h ledger.Hash) error {
			b.append(b.exec, 0, Erased{hashOf("x"), "asked for"})
			return os.Remove(blob)
		}, "blob HASH is missing and was not erased"},
		{"changed", func(_ *builder, blob string, _ ledger.Hash) error {
			return errors.Join(os.Remove(blob), os.WriteFile(blob, make([]byte, 40), 0o400))
		}, "blob HASH: its content does not match: it was changed after it was written"},
	} {
		for i, line := range []int{1, 3, 3, 20, 21} { // seed, query, args, stderr, result of turn 1
			b := newBuilder(t, t.TempDir())
			b.good()
			named := strings.Split(b.lines(ExecFile)[line-1], `"sha256:`)
			var h ledger.Hash
			var blob string
			for _, part := range named[1:] {
				digits := part[:64]
				name := filepath.Join(b.dir, BlobFolder, digits[:2], digits[2:])
				if _, err := os.Lstat(name); err == nil {
					h, blob = must(ledger.ParseHash("sha256:"+digits)), name
					if i != 2 { // args come second
						break
					}
				}
			}
			if err := c.change(b, blob, h); err != nil {
				t.Fatal(err)
			}
			report, err := VerifySession(b.dir)
			var bad *ledger.IntegrityError
			switch {
			case c.want == "":
				if err != nil || report.Erased != 1 {
					t.Errorf("%s: got %+v, %v", c.name, report, err)
				}
			case !errors.As(err, &bad) || bad.Line != line || bad.Reason != strings.ReplaceAll(c.want, "HASH", h.String()):
				t.Errorf("%s: got %v, want line %d: %s", c.name, err, line, c.want)
			}
		}
	}
	b := newBuilder(t, t.TempDir())
	b.open()
	query := b.blob("12345")
	query.Size = 6
	b.append(b.exec, 1, TurnBegin{Query: &query})
	if _, err := VerifySession(b.dir); err == nil || !strings.HasSuffix(err.Error(), "blob "+query.Blob.String()+" has 5 bytes, want 6") {
		t.Errorf("wrong size: got %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// chain makes lines with the given heads, all that stands before prev, into a
// ledger with right hashes.
func chain(heads []string) []byte {
	var out []byte
	prev := strings.Repeat("0", 64)
	for _, head := range heads {
		line := head + `,"prev":"` + prev + `"`
		prev = ledger.Sum([]byte("\x00" + line)).String()[len("sha256:"):]
		out = append(out, line+`,"hash":"`+prev+"\"}\n"...)
	}
	return out
}

// heads undoes chain.
func heads(lines []string) []string {
	var out []string
	for _, line := range lines {
		head, _, _ := strings.Cut(line, `,"prev":"`)
		out = append(out, head)
	}
	return out
}

// A line that is replaced by anything, in a chain that is right again, gives a
// report or an error that names a line.
func FuzzVerifySession(f *testing.F) {
	var (
		written []map[string][]string
		dirs    []string
	)
	for _, g := range goldens {
		b := newBuilder(f, f.TempDir())
		g.write(b)
		lines := map[string][]string{ExecFile: heads(b.lines(ExecFile)), EvidenceFile: heads(b.lines(EvidenceFile))}
		for name, all := range lines {
			for i, head := range all {
				f.Add(uint8(len(written)), name == ExecFile, uint8(i), head)
				f.Add(uint8(len(written)), name == ExecFile, uint8(i), all[(i+1)%len(all)])
			}
		}
		dir := f.TempDir()
		if err := os.Symlink(filepath.Join(b.dir, BlobFolder), filepath.Join(dir, BlobFolder)); err != nil {
			f.Fatal(err)
		}
		written, dirs = append(written, lines), append(dirs, dir)
	}
	f.Fuzz(func(t *testing.T, session uint8, inExec bool, line uint8, head string) {
		lines, dir := written[int(session)%len(written)], dirs[int(session)%len(dirs)]
		changed := EvidenceFile
		if inExec {
			changed = ExecFile
		}
		for name, all := range lines {
			if name == changed {
				all = append([]string(nil), all...)
				all[int(line)%len(all)] = head
			}
			if err := os.WriteFile(filepath.Join(dir, name), chain(all), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		report, err := VerifySession(dir)
		var bad *ledger.IntegrityError
		if err != nil && (!errors.As(err, &bad) || bad.Line == 0 || bad.Reason == "" || bad.Torn) {
			t.Fatalf("got %v", err)
		}
		if err == nil && (len(report.Turns) != 3 || !report.Closed) && strings.Count(head, "\n") == 0 {
			t.Fatalf("got %+v", report)
		}
	})
}

// Each entry of both ledgers is shown once, in the order of its ledger, and the
// report of evidence.jsonl is that of reading it by itself.
func TestObserveSession(t *testing.T) {
	got := map[string]uint64{}
	observe := func(file string, e ledger.Entry, body ledger.Body) {
		if e.Seq != got[file] || body.Kind() != e.Kind {
			t.Errorf("%s: entry %d is %s with the body of %s, want entry %d", file, e.Seq, e.Kind, body.Kind(), got[file])
		}
		got[file]++
	}
	report, err := ObserveSession(golden, VerifyOptions{Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]uint64{ExecFile: 37, EvidenceFile: 9}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	var keys SessionKeys
	o := ExecOptions(sid)
	o.Keys = keys.Exec()
	if alone, err := ledger.Verify(filepath.Join(golden, ExecFile), o); err != nil || !reflect.DeepEqual(report.Exec, alone) {
		t.Errorf("got %+v, want %+v (%v)", report.Exec, alone, err)
	}
	o = EvidenceOptions(sid)
	o.Keys = keys.Evidence()
	alone, err := ledger.Verify(filepath.Join(golden, EvidenceFile), o)
	if err != nil || !reflect.DeepEqual(report.Evidence, alone) {
		t.Errorf("got %+v, want %+v (%v)", report.Evidence, alone, err)
	}
}
