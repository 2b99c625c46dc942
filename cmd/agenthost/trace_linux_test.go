package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/hostkey"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
)

// controlPlane makes a control plane and returns what installs in it the library
// that a manifest describes.
func controlPlane(t *testing.T, dir string) (install func(manifest string, o plane.InstallOptions) error) {
	t.Helper()
	by := record.Actor{UID: 7, User: "opera\x1btor"}
	token := ""
	err := plane.Init(dir, plane.Options{By: by, Version: "0.1.0", Key: hostKey}, func(shown string) error { token = shown; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return func(manifest string, o plane.InstallOptions) (err error) {
		source, file := t.TempDir(), filepath.Join(t.TempDir(), "p.tar.gz")
		if err := os.WriteFile(filepath.Join(source, archive.ManifestName), []byte(manifest), 0o600); err != nil {
			return err
		}
		pkg, err := archive.PackFile(file, source, archive.PackOptions{})
		if err != nil {
			return err
		}
		defer pkg.Close()
		root, err := session.OpenRoot(session.Options{Key: hostKey, Hosts: trustedHosts, Workspace: dir})
		if err != nil {
			return err
		}
		defer root.Close()
		p, err := plane.Open(root)
		if err != nil {
			return err
		}
		c, err := p.Change(context.Background(), token, by, record.KindPackageInstall, pkg.Manifest.ID)
		if err != nil {
			return err
		}
		_, err = c.Install(pkg, file, o)
		return errors.Join(err, c.Close())
	}
}

// What trace says of packages that are installed, in full.
func TestTraceInstalled(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv(hostkey.Variable, filepath.Join(t.TempDir(), "config"))
	dir := t.TempDir()
	install := controlPlane(t, dir)
	const lib = `{"schema":"agenthost/package/v1","id":"PKG-T0-LIB-001","version":"0.1.0","name":"Library \u202e","tier":"T0","spec_id":"SPEC-LIB-001"}`
	const app = `{"schema":"agenthost/package/v1","id":"PKG-T3-APP-001","version":"1.0.0","dependencies":[{"id":"PKG-T0-LIB-001","version":">=0.1.0"}]}`
	for _, m := range []string{lib, app, strings.Replace(lib, "0.1.0", "0.2.0", 1)} {
		if err := install(m, plane.InstallOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var refused *plane.RefusedError
	if err := install(lib, plane.InstallOptions{}); !errors.As(err, &refused) {
		t.Fatalf("got %v, want that an earlier version is refused", err)
	}
	trace := func(status int, what ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if got := run(context.Background(), append([]string{"trace", "--workspace", dir, "--explain"}, what...), nil, &stdout, &stderr); got != status {
			t.Fatalf("trace %q ended with %d: %s", what, got, &stderr)
		}
		return stdout.String() + stderr.String()
	}
	holds := func(what, want string) {
		t.Helper()
		got := trace(0, what)
		for _, r := range [][2]string{{`sha256:[0-9a-f]+`, "DIGEST"}, {`20\d\d-[^ ]+Z`, "TIME"}, {`  \d+ bytes`, "  SIZE"}} {
			got = regexp.MustCompile(r[0]).ReplaceAllString(got, r[1])
		}
		if got != want {
			t.Errorf("%s", diff.Diff("want", []byte(want), "got", []byte(got)))
		}
	}
	holds("PKG-T0-LIB-001", `package PKG-T0-LIB-001
installed in ho3, active
  version 0.2.0  DIGEST
  name Library \u202e
  tier T0
  spec SPEC-LIB-001
  not signed
  installed TIME by opera\x1btor, entry 7 of ledger/governance.jsonl
  needed by PKG-T3-APP-001 1.0.0 of ho1, as >=0.1.0
  is a library: it does not run, other packages see its files read-only
archive packages_store/PKG-T0-LIB-001.tar.gz  DIGEST  SIZE
  version 0.2.0  DIGEST
history
  TIME  opera\x1btor installed 0.1.0 DIGEST in ho3
  TIME  opera\x1btor installed 0.2.0 DIGEST in ho3, in the place of 0.1.0
  TIME  opera\x1btor was refused package.install (`+refused.Code+`): `+refused.What+`
run by 0 sessions
`)
	holds("PKG-T3-APP-001", `package PKG-T3-APP-001
installed in ho1, active
  version 1.0.0  DIGEST
  not signed
  installed TIME by opera\x1btor, entry 5 of ledger/governance.jsonl
  depends on PKG-T0-LIB-001 >=0.1.0, gets 0.2.0 of ho3
  is a library: it does not run, other packages see its files read-only
  sees the files of PKG-T0-LIB-001 >=0.1.0, read-only
archive packages_store/PKG-T3-APP-001.tar.gz  DIGEST  SIZE
  version 1.0.0  DIGEST
history
  TIME  opera\x1btor installed 1.0.0 DIGEST in ho1
run by 0 sessions
`)
	if got := trace(1, "PKG-T0-LIB-002"); !strings.Contains(got, "did you mean PKG-T0-LIB-001?") {
		t.Errorf("got %s", got)
	}

	// Ids are completed from the control plane.
	var out bytes.Buffer
	run(context.Background(), []string{completeCommand, "trace", "--workspace", dir, "--explain", "PKG-"}, nil, &out, &out)
	if got, want := out.String(), "words\nPKG-T0-LIB-001\t\nPKG-T3-APP-001\t\n"; got != want {
		t.Errorf("completed to %q, want %q", got, want)
	}

	// Files that are no longer what was installed are not put into words.
	if err := os.WriteFile(filepath.Join(dir, "planes", "ho1", "installed", "PKG-T3-APP-001", "more"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := trace(0, "PKG-T3-APP-001"); !strings.Contains(got, "\n  its rights are not told: ") || strings.Contains(got, "read-only") {
		t.Errorf("got %s", got)
	}

	// A record that was changed explains nothing.
	governance := filepath.Join(dir, "ledger", record.GovernanceFile)
	data, err := os.ReadFile(governance)
	if err != nil {
		t.Fatal(err)
	}
	data[400] ^= 1
	if err := os.WriteFile(governance, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := trace(exitIntegrity, "PKG-T3-APP-001"); !strings.HasPrefix(got, "agenthost: governance.jsonl line ") {
		t.Errorf("got %s", got)
	}
}

// Near names are suggested, whatever and however many names guests chose.
func TestNearestFew(t *testing.T) {
	long := strings.Repeat("x", 4096)
	many := make([]string, 1_000_000)
	for i := range many {
		many[i] = long
	}
	for _, c := range []struct {
		word  string
		known []string
		want  []string
	}{
		{"reports/a.md", []string{"reports/aa.md", "reports/b.md", "reports/abcde.md", "other"}, []string{"reports/aa.md", "reports/b.md"}},
		{"reports/a.md", append(many, "reports/b.md"), []string{"reports/b.md"}},
		{"b", []string{"a", "c"}, nil},
		{long, []string{long + "x"}, nil},
		{"", []string{""}, nil},
		{"WO-8", nil, nil},
		{"WO-8", []string{"WO-1", "WO-2", "WO-3", "WO-4"}, []string{"WO-1", "WO-2", "WO-3"}},
	} {
		if got := nearestFew(c.word, c.known, 3); !slices.Equal(got, c.want) {
			t.Errorf("%.20q: got %q, want %q", c.word, got, c.want)
		}
	}
}
