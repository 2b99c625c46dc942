package record

import (
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

const sid = "SES-20260102T030405Z-0123456789abcdef"

// builder writes a session as a host does, with chances to do it wrong.
type builder struct {
	t        testing.TB
	dir      string
	exec     *ledger.Log
	evidence *ledger.Log
	clock    func() time.Time
	host     *ledger.Key
	key      ProcessKey // of the process that has the ledgers open
	keys     byte       // made so far
	nonce    byte
	turn     int
	begun    ledger.Entry

	onEvidence  func(*TurnEvidence)
	onEnd       func(*TurnEnd)
	onViolation func(Violation) []Violation
}

func newBuilder(t testing.TB, dir string) *builder {
	t.Helper()
	b := &builder{t: t, dir: dir}
	if err := os.MkdirAll(filepath.Join(dir, BlobFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	b.clock = func() time.Time { now = now.Add(time.Millisecond); return now }
	b.host = must(ledgertest.Host())
	b.ledgers(ledger.Create)
	t.Cleanup(func() { b.exec.Close(); b.evidence.Close() })
	return b
}

// source gives equal bytes.
type source byte

func (s source) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s)
	}
	return len(p), nil
}

// ledgers opens both with a new key.
func (b *builder) ledgers(open func(string, ledger.Options) (*ledger.Log, error)) {
	b.t.Helper()
	b.keys++
	key, process, err := NewProcessKey("ho1", sid, b.host, source(100+b.keys))
	if err != nil {
		b.t.Fatal(err)
	}
	b.key = process
	o := ExecOptions(sid)
	o.Now, o.Key, o.Origin = b.clock, key, ExecOrigin("ho1", sid)
	b.exec, err = open(filepath.Join(b.dir, ExecFile), o)
	if errors.Is(err, errors.ErrUnsupported) {
		b.t.Skip(err)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	o = EvidenceOptions(sid)
	o.Now, o.Key, o.Origin = b.clock, key, EvidenceOrigin("ho1", sid)
	if b.evidence, err = open(filepath.Join(b.dir, EvidenceFile), o); err != nil {
		b.t.Fatal(err)
	}
}

// resume goes on as another process.
func (b *builder) resume(bodies ...ledger.Body) {
	b.t.Helper()
	b.reopen()
	b.commit(b.exec, 0, append([]ledger.Body{SessionResume{b.key}}, bodies...)...)
}

// reopen is another process that does not say so.
func (b *builder) reopen() {
	b.t.Helper()
	if err := errors.Join(b.exec.Close(), b.evidence.Close()); err != nil {
		b.t.Fatal(err)
	}
	b.ledgers(ledger.Open)
}

// append writes an entry, with a seal behind it if it counts only with one.
func (b *builder) append(l *ledger.Log, turn int, body ledger.Body) ledger.Entry {
	b.t.Helper()
	if sealed(ledger.Entry{Kind: body.Kind()}) {
		return b.commit(l, turn, body)
	}
	e, err := l.Append(turn, body)
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

func (b *builder) commit(l *ledger.Log, turn int, bodies ...ledger.Body) ledger.Entry {
	b.t.Helper()
	c, err := l.Commit(turn, bodies...)
	if err != nil {
		b.t.Fatal(err)
	}
	return c.Entries[0]
}

func (b *builder) blob(s string) Blob {
	b.t.Helper()
	b.nonce++
	h, err := ledger.PutBlob(filepath.Join(b.dir, BlobFolder), []byte(s), [ledger.NonceSize]byte{b.nonce})
	if err != nil {
		b.t.Fatal(err)
	}
	return Blob{h, int64(len(s))}
}

func (b *builder) open() {
	b.append(b.exec, 0, SessionOpen{
		"0.1.0", Package{"PKG-T3-REPORT-001", "0.1.0", hashOf("package")}, hashOf("module"), "ho1", "wazero 1.12.0", "amd64", b.blob("seed").Blob, b.key,
	})
}

var testLimits = Limits{256 << 20, 60000, 50000000000, 64 << 20, 256, 16 << 20, 100000, 10000}

func (b *builder) begin(inputs ...File) {
	b.turn++
	query, args := b.blob(`{"ask":"é"}`), b.blob(`["-v"]`)
	b.begun = b.append(b.exec, b.turn, TurnBegin{
		RightsSHA256: hashOf("rights"), PolicySHA256: hashOf("policy"),
		Granted: capability.Grants{
			Read: []string{"docs/**"}, Write: []string{"reports/*.md"}, Execute: []capability.Command{{"git", "status"}}, Forbidden: []string{"docs/private/**"},
		},
		Withheld: []string{".env*"}, WorkOrder: "WO-7", AsOf: "2026-01-02T03:04:05.000Z", Query: &query, Args: &args, Inputs: inputs,
		Outputs: []Output{{"out/report.md", "report", false, false}, {"reports/*.md", "copy", true, false}}, Limits: testLimits, Strict: b.turn == 2,
	})
}

// op appends an op, and the violation that follows from it.
func (b *builder) op(o Op) uint64 {
	b.t.Helper()
	if o.Via == "" {
		o.Via = ViaWASI
	}
	if o.Errno == "" {
		o.Errno = ErrnoSuccess
	}
	e := b.append(b.exec, b.turn, o)
	if v, ok := o.Violation(); ok {
		if err := b.exec.Sync(); err != nil {
			b.t.Fatal(err)
		}
		vs := []Violation{v}
		if b.onViolation != nil {
			vs = b.onViolation(v)
		}
		for _, v := range vs {
			b.append(b.evidence, b.turn, v)
		}
	}
	return e.Seq
}

func (b *builder) digest(of uint64, content string) {
	b.append(b.exec, b.turn, Digest{Of: of, SHA256: hashOf(content), Size: int64(len(content))})
}

// entries gives those of the turn so far.
func (b *builder) entries() iter.Seq[ledger.Entry] {
	return func(yield func(ledger.Entry) bool) {
		for e, err := range b.exec.Since(b.begun) {
			if err != nil {
				b.t.Fatal(err)
			}
			if !yield(e) {
				return
			}
		}
	}
}

func (b *builder) end(end TurnEnd) {
	b.t.Helper()
	evidence, err := Evidence(b.entries())
	if err != nil {
		b.t.Fatal(err)
	}
	if b.onEvidence != nil {
		b.onEvidence(&evidence)
	}
	b.append(b.evidence, b.turn, evidence)
	head, _ := b.evidence.Sealed()
	end.Evidence = EvidenceHead{head.Size, head.Root}
	if b.onEnd != nil {
		b.onEnd(&end)
	}
	b.append(b.exec, b.turn, end)
}

func (b *builder) close() {
	b.t.Helper()
	_, err := b.evidence.Finish(0)
	if err == nil {
		_, err = b.exec.Finish(0, SessionClose{int64(b.turn)})
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func fileOf(path, content string) File { return File{path, hashOf(content), int64(len(content))} }

// good writes a session of three turns: one that is fine, one that is blocked,
// one that a crash ended.
func (b *builder) good() {
	b.open()

	b.begin(fileOf("docs/a.md", "alpha"), fileOf("docs/b.md", "beta"))
	a := Op{Op: OpOpen, Path: "docs/a.md", Flags: "read", Decision: Granted, Rule: "docs/**", Size: ptr[int64](5), SHA256: ptr(hashOf("alpha"))}
	b.op(Op{Op: OpList, Path: "docs", Decision: Granted, Rule: "docs/**"})
	b.op(a)
	b.op(Op{Op: OpStat, Path: ".editorconfig", Decision: Hidden, Errno: "noent"})
	big := b.op(Op{Op: OpOpen, Path: "docs/big.md", Flags: "read", Decision: Granted, Rule: "docs/**", Size: ptr[int64](2 << 20)})
	b.op(Op{Op: OpOpen, Path: "pkg:agent.wasm", Flags: "read", Decision: InPkg, Size: ptr[int64](1), SHA256: ptr(hashOf("w"))})
	b.op(Op{Op: OpMkdir, Path: "tmp/x", Decision: Own})
	scratch := b.op(Op{Op: OpOpen, Path: "tmp/x/1", Flags: "write,create", Decision: Own})
	report := b.op(Op{Op: OpOpen, Path: "output/" + sid + "/report.md", Flags: "write,create,trunc", Decision: Own})
	b.op(Op{Op: OpOpen, Path: "tmp/copy", Flags: "read,write,create,excl", Decision: Own})
	moved := b.op(Op{Op: OpRename, Path: "tmp/copy", To: "reports/r.md", Decision: Granted, Rule: "reports/*.md"})
	b.op(a)
	b.append(b.exec, b.turn, Digest{Of: big, SHA256: hashOf("big"), Size: 2 << 20, Ranges: []Range{{0, 4096}}})
	b.digest(scratch, "scratch")
	b.digest(report, "the report")
	b.digest(moved, "the copy")
	b.op(Op{Op: OpStat, Path: ".editorconfig", Decision: Hidden, Errno: "noent", Count: 4})
	b.append(b.exec, b.turn, Stderr{b.blob("wrote 2 files\n"), false})
	result := b.blob("done\n")
	b.end(TurnEnd{
		Status: StatusOK, Exit: ptr[int64](0), Result: &result, Fuel: 123456, MemoryBytes: 1 << 20, WallNS: 5e6,
		Publish: []Publication{
			{"output/" + sid + "/report.md", "report", hashOf("the report"), 10, nil, false},
			{"reports/r.md", "copy", hashOf("the copy"), 8, ptr(hashOf("an older copy")), false},
		},
	})

	b.begin()
	b.op(a)
	b.op(Op{
		Op: OpOpen, Path: "docs/private/k", Flags: "read", Decision: Violated, Rule: "forbidden docs/private/**", Errno: "perm",
	})
	b.op(Op{Op: OpPublish, Via: ViaHost, Path: "out/report.md", Decision: Violated, Rule: CodeMissingOutput, Errno: "noent"})
	b.end(TurnEnd{Status: StatusBlocked, Code: CodeViolation, Message: "reading docs/private/k: forbidden docs/private/**"})

	b.begin()
	b.op(Op{Op: OpOpen, Path: "docs/big.md", Flags: "read", Decision: Granted, Rule: "docs/**", Size: ptr[int64](2 << 20)})
	b.resume(Recovered{"exec.jsonl.torn-9999", 9999, 17, hashOf("debris"), false, 0})
	b.end(TurnEnd{Status: StatusAborted, Code: CodeCrash})
	b.close()
}

// commands writes a session that runs commands: in turn 1 one that makes what is
// published and, in a weaker fence, a script that is ended for its time; in turn 2
// one that never ran; in turn 3 one in which a crash came.
func (b *builder) commands() {
	b.open()
	const out = "output/" + sid + "/"
	var list []byte
	for _, f := range []File{fileOf("docs/\x1b[2J", ""), fileOf("docs/a b.md", "beta"), fileOf("docs/a.md", "alpha")} {
		list = AppendSeen(list, f)
	}
	start := func(argv string, s ExecStart) uint64 {
		s.Argv, s.View = b.blob(argv), View{b.blob(string(list)), 3, 9}
		return b.append(b.exec, b.turn, s).Seq
	}
	end := func(e ExecEnd, stdout, stderr string) uint64 {
		if stdout != "" {
			e.Stdout = ptr(b.blob(stdout))
		}
		e.Stderr = ptr(b.blob(stderr))
		return b.append(b.exec, b.turn, e).Seq
	}
	grant := Op{Op: OpExec, Via: ViaABI, Path: "git log", Decision: Granted, Rule: "git log"}

	b.begin(fileOf("docs/a.md", "alpha"))
	staged := b.op(Op{Op: OpOpen, Path: out + "report.md", Flags: "write,create,trunc", Decision: Own})
	b.op(Op{Op: OpOpen, Path: out + "gone.md", Flags: "write,create,trunc", Decision: Own})
	b.op(grant)
	full := fenceOf(FenceFull)
	s := started(FenceFull)
	s.Dir, s.Stdin = "docs", Content{hashOf("in"), 2}
	first := end(ExecEnd{Of: start(`["git","log"]`, s), Usage: &Usage{12_000_000, 9_000_000, 3 << 20, 2, 21}, Fence: &full}, "commit 1\n", "hint: none\n")
	b.op(Op{Op: OpOpen, Path: out + "log.txt", Flags: "read", Decision: Own, Size: ptr[int64](9), SHA256: ptr(hashOf("commit 1\n"))})
	weak := fenceOf(FenceLandlock)
	grant.Path, grant.Rule = `["sh","pkg:x.sh","a b"]`, `["sh","pkg:x.sh","*"]`
	b.op(grant)
	s = started(FenceLandlock)
	s.Program, s.Interpreter = fileOf("pkg:x.sh", "#!/bin/sh\n"), ptr(fileOf("/bin/sh", "sh"))
	second := end(ExecEnd{
		Of: start(`["sh","pkg:x.sh","a b"]`, s), Exit: -1, Signal: 9, Killed: "time", StdoutTo: "tmp/o", Truncated: true,
		Usage: &Usage{60_000_000_000, 1_000_000_000, 5 << 20, 3, 16 << 20}, Fence: &weak,
	}, "", "")
	b.made(first, out+"log.txt", "commit 1\n")
	b.digest(staged, "the report")
	b.made(second, "tmp/o", "y\ny\n")
	result := b.blob("done\n")
	b.end(TurnEnd{
		Status: StatusOK, Exit: ptr[int64](0), Result: &result, Fuel: 123456, MemoryBytes: 1 << 20, WallNS: 61e9,
		Publish: []Publication{
			{out + "log.txt", "log", hashOf("commit 1\n"), 9, nil, false},
			{out + "report.md", "report", hashOf("the report"), 10, nil, false},
		},
	})

	b.begin()
	grant.Path, grant.Rule = "pkg:tool", "pkg:tool"
	b.op(grant)
	s = started(FenceFull)
	s.Program = fileOf("pkg:tool", "not a program")
	b.append(b.exec, b.turn, ExecEnd{Of: start(`["pkg:tool"]`, s), Failed: "exec format error\x1b[2J"})
	b.end(TurnEnd{Status: StatusError, Code: CodeExit, Exit: ptr[int64](1)})

	b.begin()
	grant.Path, grant.Rule = "git log", "git log"
	b.op(grant)
	start(`["git","log"]`, started(FenceFull))
	b.resume()
	b.end(TurnEnd{Status: StatusAborted, Code: CodeCrash})
	b.close()
}

// lines gives the lines of one of the session's files, each with its newline.
func (b *builder) lines(name string) []string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	var lines []string
	for line := range slices.Values(splitAfter(data)) {
		lines = append(lines, string(line))
	}
	return lines
}

func splitAfter(b []byte) [][]byte {
	var out [][]byte
	for len(b) > 0 {
		i := slices.Index(b, '\n') + 1
		if i == 0 {
			i = len(b)
		}
		out = append(out, b[:i])
		b = b[i:]
	}
	return out
}
