package audit

import (
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/audit/audittest"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

var update = flag.Bool("update", false, "accept what is found now as testdata/findings.txt")

// TestCodes holds that the table has every code and no other.
func TestCodes(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "check_codes.go", nil, 0)
	ok(t, err)
	var declared []string
	ast.Inspect(file, func(n ast.Node) bool {
		if v, is := n.(*ast.ValueSpec); is && strings.HasPrefix(v.Names[0].Name, "Code") {
			lit, is := v.Values[0].(*ast.BasicLit)
			if !is {
				t.Fatalf("%s has no literal for a value", v.Names[0].Name)
			}
			code, err := strconv.Unquote(lit.Value)
			ok(t, err)
			declared = append(declared, code)
		}
		return true
	})
	slices.Sort(declared)
	if got := slices.Sorted(maps.Keys(kinds())); !slices.Equal(got, declared) {
		t.Errorf("the table has %q, the constants are %q", got, declared)
	}
	for code, k := range kinds() {
		if k.remedy == "" || k.severity != Error && k.severity != Warning {
			t.Errorf("%s: no severity or no remedy", code)
		}
	}
}

func TestCleanRoots(t *testing.T) {
	for name, f := range map[string]*fixture{"plane": newPlane(t), "folder": newFolder(t)} {
		for _, f := range []*fixture{f, f.copy(t)} {
			if got := f.findings(f.open()); len(got) != 0 {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
}

// TestFindings spoils a root in every way there is, and holds what is found with
// testdata/findings.txt. It fails where a code is never found.
func TestFindings(t *testing.T) {
	plane, folder := newPlane(t), newFolder(t)
	golden := map[string]string{}
	path := filepath.Join("testdata", "findings.txt")
	b, err := os.ReadFile(path)
	ok(t, err)
	for _, part := range strings.Split(string(b), "== ")[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		golden[name] = rest
	}
	produced := map[string]bool{}
	var written strings.Builder
	for _, s := range append(spoilings(), planeSpoilings()...) {
		t.Run(s.name, func(t *testing.T) {
			f := plane
			if s.folder {
				f = folder
			}
			f = f.copy(t)
			root := f.open()
			s.do(f)
			if !s.late {
				root = f.open()
			}
			found, err := CheckIntegrity(context.Background(), root, IntegrityOptions{})
			ok(t, err)
			for _, one := range found.Findings {
				produced[one.Code] = true
			}
			got := strings.Join(append(lines(found), ""), "\n")
			fmt.Fprintf(&written, "== %s\n%s", s.name, got)
			if want := golden[s.name]; got != want && !*update {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			delete(golden, s.name)
		})
	}
	t.Run("owner", func(t *testing.T) {
		// Whoever runs this can be another user only to the check.
		root := folder.copy(t).open()
		c := newCheck(context.Background(), root, IntegrityOptions{})
		c.uid++
		found, err := c.run()
		ok(t, err)
		produced[CodeOwner] = len(found.Findings) > 0
		for _, f := range found.Findings {
			if f.Code != CodeOwner || f.Severity != Error {
				t.Errorf("found %s %s", f.Code, f.Path)
			}
		}
	})
	t.Run("another host", func(t *testing.T) {
		f := folder.copy(t)
		root, err := session.OpenRoot(session.Options{Workspace: filepath.Dir(f.path), Hosts: func() ([]ledger.Verifier, error) { return nil, nil }})
		ok(t, err)
		defer root.Close()
		found, err := CheckIntegrity(context.Background(), root, IntegrityOptions{})
		ok(t, err)
		produced[CodeHostUnknown] = len(found.Findings) == 4+4 // sessions, two registers, claims, contexts
		for _, f := range found.Findings {
			if f.Code != CodeHostUnknown || f.Severity != Error {
				t.Errorf("found %s %s", f.Code, f.Path)
			}
		}
	})
	for _, code := range slices.Sorted(maps.Keys(kinds())) {
		if !produced[code] {
			t.Errorf("%s is found by no test", code)
		}
	}
	if *update {
		ok(t, os.WriteFile(path, []byte(written.String()), 0o644))
	} else if len(golden) > 0 {
		t.Errorf("no test has the name of %q", slices.Collect(maps.Keys(golden)))
	}
}

// A spoiling does something to a root that is whole.
type spoiling struct {
	name   string
	folder bool // the root of a workspace; else a control plane
	late   bool // the root was opened before
	do     func(f *fixture)
}

func in(id, name string) string { return strings.TrimSuffix("planes/ho1/sessions/"+id+"/"+name, "/") }

// aBlob is the name of a blob of a session.
func (f *fixture) aBlob(id string) string {
	f.t.Helper()
	found, err := filepath.Glob(f.abs(in(id, "ledger/blobs/*/*")))
	ok(f.t, err)
	name, err := filepath.Rel(f.path, found[0])
	ok(f.t, err)
	return name
}

func (f *fixture) fifo(name string) {
	f.t.Helper()
	ok(f.t, os.RemoveAll(f.abs(name)))
	ok(f.t, syscall.Mkfifo(f.abs(name), 0o600))
}

// link moves something elsewhere and puts a link to it in its place.
func (f *fixture) link(name string) {
	f.t.Helper()
	away := filepath.Join(f.t.TempDir(), "away")
	ok(f.t, os.Rename(f.abs(name), away))
	ok(f.t, os.Symlink(away, f.abs(name)))
}

func (f *fixture) mkdir(name string) {
	f.t.Helper()
	ok(f.t, os.MkdirAll(f.abs(name), 0o700))
}

func (f *fixture) rename(from, to string) {
	f.t.Helper()
	ok(f.t, os.Rename(f.abs(from), f.abs(to)))
}

// copyFrom copies a folder from another root, where it is not.
func (f *fixture) copyFrom(from *fixture, name string) {
	f.t.Helper()
	if out, err := exec.Command("cp", "-a", from.abs(name), f.abs(name)).CombinedOutput(); err != nil {
		f.t.Fatal(err, string(out))
	}
}

// spoilings are those of the root and of sessions.
func spoilings() []spoiling {
	return []spoiling{
		{name: "nothing", do: func(*fixture) {}},
		{name: "nothing in a folder", folder: true, do: func(*fixture) {}},

		{name: "FORMAT is gone", late: true, do: func(f *fixture) { f.remove("FORMAT") }},
		{name: "rights", do: func(f *fixture) {
			f.chmod(".", 0o775)
			f.chmod("control", 0o755)
			f.chmod("control/token", 0o640)
			f.chmod("planes", 0o711)
			f.chmod("planes/ho1/sessions", 0o777)
			f.chmod(in(sesOne, "ledger/exec.jsonl"), 0o602)
			f.chmod(f.aBlob(sesOne), 0o600)
			f.chmod(f.aBlob(sesTwo), 0o404)
		}},
		{name: "orphans in a control plane", do: func(f *fixture) {
			for _, name := range []string{
				"control/note", "planes/x", "planes/HO1/y", "planes/ho2/z", "planes/pending/z", "packages_store/PKG-T3-NONE-001.tar.gz", "packages_store/readme",
				"registries/Packages_registry.csv", "ledger/sessions.jsonl", "output/x", "output/SES-20260101-none/x", "output/" + sesOne + "/y",
				"output/" + sesOne + "/deep/er/y", "planes/ho1/installed/PKG-T3-NONE-001/x", "planes/ho1/sessions/x", "planes/ho1/sessions/ses-20260101-one/x",
				in(sesOne, "y"), in(sesOne, "ledger/y"), in(sesOne, "ledger/blobs/y"), in(sesOne, "ledger/blobs/00/y"), in(sesBlocked, "blocked/2/y"), in(sesBlocked, "blocked/y"),
				"output/new\nline", "output/\x1b[2J", "output/\xff", "mine/and/the/guests", "Output/mine",
			} {
				ok(f.t, os.MkdirAll(filepath.Dir(f.abs(name)), 0o700))
				ok(f.t, os.WriteFile(f.abs(name), nil, 0o600))
			}
		}},
		{name: "orphans in a folder", folder: true, do: func(f *fixture) {
			for _, name := range []string{"x", "packages_store/x", "Planes/x", "planes/ho1/installed/x", "control/token", "output/SES-20260101-none/x"} {
				ok(f.t, os.MkdirAll(filepath.Dir(f.abs(name)), 0o700))
				ok(f.t, os.WriteFile(f.abs(name), nil, 0o600))
			}
		}},
		{name: "leftovers", do: func(f *fixture) {
			f.mkdir("planes/ho1/sessions/.new-SES-1")
			f.mkdir("planes/ho1/installed/.new-" + tool)
			f.mkdir("planes/ho1/installed/.old-" + tool)
			f.mkdir(in(sesBlocked, "blocked/.gone-1"))
			for _, name := range []string{
				".new-FORMAT", "control/.new-token", "packages_store/.new-x.tar.gz", "registries/.new-x", "ledger/.new-1", "planes/pending/.new-" + sesOne, "planes/pending/.new-change",
				in(sesOne, "holder"), in(sesOne, ".new-holder"), in(sesOne, "ledger/.new-1"), in(sesOne, "ledger/exec.jsonl.torn-100"), "ledger/governance.jsonl.torn-100",
				filepath.Dir(f.aBlob(sesOne)) + "/.new-1", filepath.Dir(f.aBlob(sesOne)) + "/" + strings.Repeat("0", 62),
			} {
				ok(f.t, os.WriteFile(f.abs(name), nil, 0o600))
			}
			blob := f.aBlob(sesTwo)
			h, err := ledger.ParseHash("sha256:" + strings.ReplaceAll(strings.TrimPrefix(blob, in(sesTwo, "ledger/blobs/")), "/", ""))
			ok(f.t, err)
			was := f.read(blob)
			ok(f.t, second(f.open().Erase(context.Background(), sesTwo, session.Erasure{Blobs: []string{h.String()}, Why: "test"})))
			ok(f.t, os.MkdirAll(filepath.Dir(f.abs(blob)), 0o700))
			ok(f.t, os.WriteFile(f.abs(blob), was, 0o400))
		}},
		{name: "leftovers in a folder", folder: true, do: func(f *fixture) { f.write(".new-.gitignore", "") }},
		{name: "what is no file and no folder", do: func(f *fixture) {
			f.link("control")
			f.fifo("planes/publish.lock")
			f.link("planes/ho3")
			f.fifo("planes/ho1/sessions/SES-1")
			f.fifo(in(sesOne, "ledger/exec.jsonl"))
			f.link(in(sesTwo, "ledger/evidence.jsonl"))
			f.link(in(sesBlocked, "ledger"))
			f.fifo(f.aBlob(sesOpen))
			f.fifo(in(sesOpen, "blocked"))
			f.link("registries")
			f.link("packages_store")
		}},
		{name: "output is a link", do: func(f *fixture) { f.link("output") }},
		{name: "planes is a link", do: func(f *fixture) { f.link("planes") }},
		{name: "the ledger of the plane is a FIFO", do: func(f *fixture) { f.fifo("ledger/governance.jsonl") }},
		{name: "too large to be what it is", do: func(f *fixture) {
			ok(f.t, os.Truncate(f.abs("control/token"), 1<<40))
			ok(f.t, os.Truncate(f.abs("control/policy.json"), 1<<40))
		}},

		{name: "ledgers are gone", do: func(f *fixture) {
			f.remove(in(sesOne, "ledger/evidence.jsonl"))
			f.remove(in(sesTwo, "ledger/exec.jsonl"))
			f.remove(in(sesBlocked, "ledger"))
		}},
		{name: "sessions under other names", do: func(f *fixture) {
			f.rename(in(sesOne, ""), in("SES-20260101-eno", ""))
			f.mkdir("planes/ho2/sessions")
			f.rename(in(sesTwo, ""), "planes/ho2/sessions/"+sesTwo)
		}},
		{name: "lines and blobs are changed", do: func(f *fixture) {
			f.swap(in(sesOne, "ledger/exec.jsonl"), `"reports/a.md"`, `"reports/b.md"`)
			f.swap(in(sesTwo, "ledger/evidence.jsonl"), `"reports/a.md"`, `"reports/b.md"`)
			f.write(f.aBlob(sesBlocked), "something else")
			b := f.read(in(sesOpen, "ledger/exec.jsonl"))
			f.write(in(sesOpen, "ledger/exec.jsonl"), string(b[:len(b)-10]))
		}},
		{name: "a write was cut short", do: func(f *fixture) {
			b := f.read(in(sesOpen, "ledger/exec.jsonl"))
			f.write(in(sesOpen, "ledger/exec.jsonl"), string(b)+`{"v":1,"seq":`)
		}},
		{name: "the registers are changed", do: func(f *fixture) {
			f.swap(registerPath("ho1"), sesTwo, sesOne)
			f.write(registerPath("ho3"), "")
		}},
		{name: "the registers are gone", do: func(f *fixture) {
			f.remove(registerPath("ho1"))
			f.remove(registerPath("ho2"))
		}},
		{name: "what lies beside registers", do: func(f *fixture) {
			for _, plane := range []string{"ho1", "ho2"} {
				for _, name := range []string{"sessions.jsonl.torn-7", "Sessions.jsonl", "sessions-1.jsonl", "sessions.jsonl-1", ".new-1"} {
					f.write(ledgersOf(plane)+"/"+name, "")
				}
				f.fifo(ledgersOf(plane) + "/sessions.jsonl.torn-8")
			}
			f.chmod(registerPath("ho1"), 0o644)
		}},
		{name: "a register is a FIFO", folder: true, do: func(f *fixture) { f.fifo(registerPath("ho1")) }},
		{name: "a register that was cut", folder: true, do: func(f *fixture) {
			b := f.read(registerPath("ho1"))
			f.write(registerPath("ho1"), string(b[:len(b)-10]))
		}},
		{name: "a register of a host that is not trusted", folder: true, do: func(f *fixture) {
			f.remove(registerPath("ho1"))
			ok(f.t, registerBy(func() (*ledger.Key, error) { return ledgertest.Other(2) }, f.path, "ho1", sesOne, ledger.Checkpoint{Size: 1}))
		}},
		{name: "sessions are deleted", do: func(f *fixture) {
			f.remove(in(sesOne, ""))
			f.remove(in(sesOpen, ""))
		}},
		{name: "a session is rolled back, one was put there, and a ledger is gone", do: func(f *fixture) {
			from := f.copy(f.t)
			s, _, err := f.open().Open(context.Background(), sesOpen)
			ok(f.t, err)
			ok(f.t, s.Close())
			f.remove(in(sesOpen, "ledger"))
			f.copyFrom(from, in(sesOpen, "ledger"))
			ok(f.t, audittest.Make(context.Background(), from.open(), audittest.Session{ID: "SES-20260109-foreign", Plane: "ho1", Turns: []audittest.Turn{{}}}))
			f.copyFrom(from, in("SES-20260109-foreign", ""))
			f.remove(claimsTop + "/WO-1.jsonl")
		}},
		{name: "a register is rolled back", folder: true, do: func(f *fixture) {
			before := f.read(registerPath("ho1"))
			s, _, err := f.open().Open(context.Background(), sesOpen)
			ok(f.t, err)
			ok(f.t, s.Close())
			f.write(registerPath("ho1"), string(before))
		}},
		{name: "cut short", do: func(f *fixture) {
			root := f.open()
			s, _, err := root.Open(context.Background(), sesOpen)
			ok(f.t, err)
			ok(f.t, second(s.Begin(3)))
			ok(f.t, second(s.Exec.Append(3, record.TurnBegin{AsOf: "2026-01-01T00:00:00Z"})))
			ok(f.t, s.Leave())
			f.mkdir(in(sesOne, "staging/1"))
			f.write("planes/pending/"+sesTwo, "{}")
			f.write("planes/pending/change", `{"v": 1, "size": 1, "by": {"uid": 0}}`)
			log, err := ledger.Open(f.abs(in(sesOpen, "ledger/evidence.jsonl")), record.EvidenceOptions(sesOpen))
			ok(f.t, err)
			ok(f.t, log.Close())
		}},
		{name: "the mark of a change that is none", do: func(f *fixture) { f.write("planes/pending/change", "{}") }},
		{name: "the mark of a change that is a pipe", do: func(f *fixture) { f.fifo("planes/pending/change") }},
		{name: "a recorded removal that did not happen", do: func(f *fixture) {
			f.govern(record.SessionPrune{By: actor, SessionID: sesOne, Plane: "ho1"})
			f.govern(record.SessionPrune{By: actor, SessionID: sesPruned, Plane: "ho1", Published: true})
		}},

		{name: "published files", do: func(f *fixture) {
			f.write("reports/a.md", "a of one") // what it was before the last turn that published it
			f.remove("output/" + sesOne + "/sub/report.md")
			f.fifo("output/" + sesOpen + "/x")
		}},
		{name: "published by a session that was pruned", do: func(f *fixture) {
			f.govern(record.SessionPrune{By: actor, SessionID: "SES-20260106-gone", Plane: "ho1"})
			f.write("reports/a.md", "published by it, maybe")
			f.write("output/"+sesOne+"/sub/report.md", "by nobody")
		}},
		{name: "published files of a folder", folder: true, do: func(f *fixture) {
			f.write("../reports/a.md", "b of two")
			f.remove("output/" + sesOne)
			f.link("output/" + sesOpen)
		}},
	}
}
