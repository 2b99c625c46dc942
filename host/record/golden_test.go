package record

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/ledger/ledgertest"
)

var update = flag.Bool("update", false, "write the golden ledgers anew")

const golden = "../../testdata/ledgers/good"

// goldens are the sessions that are kept, each with what is found in it.
var goldens = []struct {
	dir           string
	write         func(*builder)
	files         int
	exec, evident uint64
	turns         []Turn
	inherited     uint64 // by the second process
}{
	{golden, (*builder).good, 11, 37, 9, []Turn{{1, "ok", "", 2, 20}, {2, "blocked", "violation", 22, 26}, {3, "aborted", "crash", 28, 33}}, 2},
	{"../../testdata/ledgers/commands", (*builder).commands, 21, 32, 7, []Turn{{1, "ok", "", 2, 15}, {2, "error", "exit", 17, 21}, {3, "aborted", "crash", 23, 28}}, 3},
}

func TestGoldenSessions(t *testing.T) {
	for _, g := range goldens {
		dir := t.TempDir()
		if *update {
			dir = g.dir
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
		g.write(newBuilder(t, dir))
		want := files(t, g.dir)
		got := files(t, dir)
		if len(got) != g.files {
			t.Errorf("%s: got %d files, want %d", g.dir, len(got), g.files)
		}
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("%s%s is not what it was; run the test with -update and look at the difference", g.dir, name)
			}
			delete(got, name)
		}
		for name := range got {
			t.Errorf("%s%s is new", g.dir, name)
		}

		report, err := VerifySession(g.dir)
		if err != nil {
			t.Fatal(err)
		}
		if report.Session != sid || !report.Closed || report.Unfinished != 0 || report.Exec.Entries != g.exec || report.Evidence.Entries != g.evident || report.Superseded != 0 {
			t.Errorf("%s: got %+v", g.dir, report)
		}
		// Both are sealed to their ends, by keys that one host signed.
		if x, e := report.Exec, report.Evidence; x.Sealed != g.exec || !x.Final || e.Sealed != g.evident || !e.Final ||
			x.Checkpoint.Size != g.exec-1 || x.Checkpoint.Origin != ExecOrigin("ho1", sid) || e.Checkpoint.Size != g.evident-1 || e.Checkpoint.Origin != EvidenceOrigin("ho1", sid) {
			t.Errorf("%s: got %+v, %+v", g.dir, x, e)
		}
		if host := must(ledgertest.Host()).Verifier(); len(report.Hosts) != 1 || report.Hosts[0].String() != host.String() || report.Plane != "ho1" || report.Inherited != g.inherited {
			t.Errorf("%s: got %v, plane %s, %d inherited", g.dir, report.Hosts, report.Plane, report.Inherited)
		}
		if !reflect.DeepEqual(report.Turns, g.turns) {
			t.Errorf("%s: got %+v, want %+v", g.dir, report.Turns, g.turns)
		}
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
