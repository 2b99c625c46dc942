package session

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// TestPlaces: which folder is the root, and what is refused as one.
func TestPlaces(t *testing.T) {
	ws := t.TempDir()
	write(t, ws+"/plain/FORMAT", "a project's own file\n")
	write(t, ws+"/plane/FORMAT", FormatControl)
	write(t, ws+"/newer/FORMAT", "agenthost root v2\n")
	write(t, ws+"/longer/FORMAT", "agenthost root v1\nand more\n")
	write(t, ws+"/linked/real", FormatControl)
	write(t, ws+"/full/x", "x")
	write(t, ws+"/used/.agenthost/x", "x")
	write(t, ws+"/begun/.agenthost/.gitignore", "*\n")
	write(t, ws+"/begun/.agenthost/.new-FORMAT", "agent")
	write(t, ws+"/future/.agenthost/FORMAT", "agenthost folder v12\n")
	write(t, ws+"/file/.agenthost", "x")
	write(t, ws+"/link/real/x", "x")
	write(t, ws+"/plane/sub/x", "x")
	write(t, ws+"/plane/planes/ho1/x", "x")
	write(t, ws+"/folder/FORMAT", FormatFolder)
	write(t, ws+"/folder/sub/x", "x")
	for _, dir := range []string{"none", "empty", "open"} {
		if err := os.Mkdir(ws+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"linked/FORMAT": "real", "link/.agenthost": "real", "alias": "plane", "link/FORMAT": "/dev/zero"} {
		if err := os.Symlink(target, ws+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(ws+"/open", 0o777); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		workspace, root string
		path, inside    string // of the root, below ws
		control         bool
		err             string
	}{
		{"none", "", "none/.agenthost", ".agenthost", false, ""},
		{"plain", "", "plain/.agenthost", ".agenthost", false, ""},
		{"plane", "", "plane", ".", true, ""},
		{"alias", "", "alias", ".", true, ""},
		{"alias", "plane", "plane", ".", true, ""},
		{"none", "plane", "plane", "", true, ""},
		{"none", "none/sub/root", "none/sub/root", "sub/root", false, ""},
		{"none", "empty", "empty", "", false, ""},
		{"linked", "", "linked/.agenthost", ".agenthost", false, ""},
		{"begun", "", "begun/.agenthost", ".agenthost", false, ""},
		{"plane/sub", "plane", "plane", "", true, ""},
		{"plane/planes/ho1", "plane", "", "", false, `workspace WS/plane/planes/ho1 lies in what agenthost keeps for itself in WS/plane`},
		{"folder/sub", "folder", "", "", false, `workspace WS/folder/sub lies in what agenthost keeps for itself in WS/folder`},
		{"newer", "", "", "", false, `workspace WS/newer: needs a newer agenthost: FORMAT says "agenthost root v2"`},
		{"none", "newer", "", "", false, `root WS/newer: needs a newer agenthost: FORMAT says "agenthost root v2"`},
		{"longer", "", "", "", false, `workspace WS/longer: needs a newer agenthost: FORMAT says "agenthost root v1\nand more"`},
		{"future", "", "", "", false, `root WS/future/.agenthost: needs a newer agenthost: FORMAT says "agenthost folder v12"`},
		{"none", "full", "", "", false, `WS/full is not a root of agenthost: it has no file FORMAT and is not empty`},
		{"used", "", "", "", false, `WS/used/.agenthost is not a root of agenthost: it has no file FORMAT and is not empty`},
		{"empty", "empty", "", "", false, `WS/empty cannot be workspace and root: it is not a control plane`},
		{"none", "open", "", "", false, `root WS/open can be written by every user: take that right away (chmod o-w)`},
		{"link", "", "", "", false, `WS/link/.agenthost is a symbolic link; name the folder it points to as the root`},
		{"file", "", "", "", false, `root WS/file/.agenthost: open .agenthost: not a directory`},
		{"missing", "", "", "", false, `workspace: open WS/missing: no such file or directory`},
	} {
		root := ""
		if c.root != "" {
			root = filepath.Join(ws, c.root)
		}
		before := snapshot(t, ws)
		r, err := OpenRoot(Options{Workspace: filepath.Join(ws, c.workspace), Root: root})
		if after := snapshot(t, ws); !slices.Equal(before, after) {
			t.Errorf("opening %s, %s changed something", c.workspace, c.root)
		}
		if c.err != "" {
			if want := strings.ReplaceAll(c.err, "WS", ws); err == nil || err.Error() != want {
				t.Errorf("%s, %s:\ngot  %v\nwant %s", c.workspace, c.root, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s, %s: %v", c.workspace, c.root, err)
			continue
		}
		inside, ok := r.Inside()
		if r.Path() != filepath.Join(ws, c.path) || inside != c.inside || ok != (inside != "") || r.Control() != c.control {
			t.Errorf("%s, %s: root %s, inside %q, control %v", c.workspace, c.root, r.Path(), inside, r.Control())
		}
		r.Close()
	}
	_, err := OpenRoot(Options{Workspace: ws + "/begun/.agenthost"})
	if err != nil {
		t.Errorf("a folder without FORMAT is a workspace: %v", err)
	}
	s := create(t, openRoot(t, Options{Workspace: ws + "/none"}), id1)
	s.Leave()
	_, err = OpenRoot(Options{Workspace: ws + "/none/.agenthost"})
	if want := ws + "/none/.agenthost is agenthost's own folder, not a workspace"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestProtected: of no root does a guest see what is kept there, whichever root the
// session has.
func TestProtected(t *testing.T) {
	ws := t.TempDir()
	write(t, ws+"/plane/FORMAT", FormatControl)
	write(t, ws+"/folder/FORMAT", FormatFolder)
	write(t, ws+"/plain/FORMAT", "a project's own file\n")
	write(t, ws+"/open/FORMAT", FormatFolder)
	for _, dir := range []string{"plane/docs", "plane/ledger/x", "plane/control", "plane/output/SES", "folder/sub", "folder/output/SES", "plain/control", "open/sub"} {
		if err := os.MkdirAll(ws+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(ws+"/open", 0o777); err != nil { // it may be anybody's
		t.Fatal(err)
	}
	if err := os.Symlink("plane/control", ws+"/alias"); err != nil {
		t.Fatal(err)
	}
	kept := " lies in what agenthost keeps for itself in WS/"
	for _, c := range []struct{ workspace, root, paths, err string }{
		{"plane", "", "WS/plane/control WS/plane/FORMAT WS/plane/planes/ho2/context", ""},
		{"plane", "plane", "WS/plane/control WS/plane/FORMAT WS/plane/planes/ho2/context", ""},
		{"plane", "other", "WS/other WS/plane/control WS/plane/FORMAT WS/plane/planes/ho2/context", ""},
		{"plane", "plane/.agenthost", "WS/plane/.agenthost WS/plane/control WS/plane/FORMAT WS/plane/planes/ho2/context", ""},
		{"plain", "", "WS/plain/.agenthost", ""},
		{"plain/control", "", "WS/plain/control/.agenthost", ""},
		{"plane/docs", "", "WS/plane/docs/.agenthost", ""},
		{"plane/output/SES", "", "WS/plane/output/SES/.agenthost", ""},
		{"folder/output/SES", "other", "WS/other", ""},
		{"open/sub", "other", "WS/other", ""},
		{"plane/control", "", "", "workspace WS/plane/control" + kept + "plane"},
		{"alias", "other", "", "workspace WS/plane/control" + kept + "plane"},
		{"plane/ledger/x", "other", "", "workspace WS/plane/ledger/x" + kept + "plane"},
		{"folder/sub", "other", "", "workspace WS/folder/sub" + kept + "folder"},
	} {
		root := ""
		if c.root != "" {
			root = filepath.Join(ws, c.root)
		}
		r := openRoot(t, Options{Workspace: filepath.Join(ws, c.workspace), Root: root})
		paths, err := r.Protected()
		got := ""
		if err != nil {
			got = strings.ReplaceAll(err.Error(), ws, "WS")
		}
		if got != c.err {
			t.Errorf("%s, %s:\ngot  %s\nwant %s", c.workspace, c.root, got, c.err)
		}
		if got := strings.ReplaceAll(strings.Join(paths, " "), ws, "WS"); err == nil && got != c.paths {
			t.Errorf("%s, %s:\ngot  %s\nwant %s", c.workspace, c.root, got, c.paths)
		}
	}
}

func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	ws := t.TempDir()
	write(t, ws+"/FORMAT", FormatControl)
	if err := os.Chown(ws, 4711, -1); err != nil {
		t.Fatal(err)
	}
	_, err := OpenRoot(Options{Workspace: ws})
	if want := "root " + ws + " belongs to user 4711, not to user 0 who runs agenthost"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// A workspace may belong to anybody.
	if err := os.Remove(ws + "/FORMAT"); err != nil {
		t.Fatal(err)
	}
	openRoot(t, Options{Workspace: ws})
}

// TestUnwritableRoot: the error names the folder, and nothing is made.
func TestUnwritableRoot(t *testing.T) {
	ws := t.TempDir()
	readOnly(t, ws)
	r := openRoot(t, Options{Workspace: ws})
	_, err := r.Create(t.Context(), opening(id1))
	why := "read-only file system"
	if os.Geteuid() != 0 {
		why = "permission denied"
	}
	want := "opening session SES-1: root " + ws + "/.agenthost cannot be written: mkdir " + ws + "/.agenthost: " + why
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestReadOnlyRoot: what only reads works on it.
func TestReadOnlyRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a folder read-only")
	}
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	s := create(t, r, id1)
	mustPublish(t, s, nil)
	s.Leave()
	readOnly(t, ws+"/.agenthost")
	r = openRoot(t, Options{Workspace: ws})
	for what, err := range map[string]error{
		"create": func() error { _, err := r.Create(t.Context(), opening(id2)); return err }(),
		"open":   func() error { _, _, err := r.Open(t.Context(), id1); return err }(),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// What only reads goes on.
	if list, err := r.List(); len(list) != 1 || list[0].Err != nil || err != nil {
		t.Errorf("got %v, %v", list, err)
	}
	if findings, err := r.Recover(t.Context()); len(findings) > 0 || err != nil {
		t.Errorf("got %v, %v", findings, err)
	}
}

// TestUnfitFilesystem: names on it are not told apart by their bytes.
func TestUnfitFilesystem(t *testing.T) {
	r := openRoot(t, Options{Workspace: "/proc/self/task", Root: t.TempDir()})
	_, err := r.Create(t.Context(), opening(id1))
	if want := "opening session SES-1: workspace: proc is not a filesystem that stores files"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestCreateRefused: nothing is left of a session that could not be made.
func TestCreateRefused(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws, Random: bytes.NewReader(nil)})
	for _, o := range []Opening{{ID: "SES-../x", Plane: "ho1"}, {ID: id1, Plane: "ho4"}, {ID: id1, Plane: "../ho1"}, {}} {
		if _, err := r.Create(t.Context(), o); err == nil {
			t.Errorf("%+v was made", o)
		}
	}
	if got := names(t, ws); len(got) > 0 {
		t.Errorf("made %q", got)
	}
	if _, err := r.Create(t.Context(), opening(id1)); err == nil || !strings.Contains(err.Error(), "making the key") {
		t.Errorf("made without randomness: %v", err)
	}
	if got := names(t, ws+"/.agenthost/planes/ho1/sessions"); len(got) > 0 {
		t.Errorf("left %q", got)
	}
}

// TestObserve: entries are seen once they were appended, and never those that
// were there before.
func TestObserve(t *testing.T) {
	var kinds []string
	ws := t.TempDir()
	o := Options{Workspace: ws, Observe: func(e ledger.Entry) { kinds = append(kinds, e.Kind) }}
	r := openRoot(t, o)
	s := create(t, r, id1)
	mustPublish(t, s, nil)
	s.Leave()
	s, _, err := r.Open(t.Context(), id1)
	if err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := "session.open seal turn.begin turn.evidence seal turn.end seal session.resume seal turn.begin turn.evidence seal turn.end seal seal session.close seal"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestOrderOfTurns: turns cannot be begun or ended out of order, and what the
// ledgers would not take back is not committed.
func TestOrderOfTurns(t *testing.T) {
	r := openRoot(t, Options{Workspace: t.TempDir()})
	s := create(t, r, id1)
	if _, err := s.End(record.TurnEnd{Status: record.StatusOK}); err == nil {
		t.Error("a turn ended that had not begun")
	}
	if _, err := s.Begin(2); err == nil {
		t.Error("turn 2 began first")
	}
	st, err := s.Begin(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(1); err == nil {
		t.Error("turn 1 began twice")
	}
	if err := s.Close(); err == nil {
		t.Error("closed within a turn")
	}
	if err := st.Discard(); err != nil {
		t.Fatal(err)
	}
	// A turn that never began leaves nothing.
	if _, err := s.dir.Stat(stagingDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("staging is left: %v", err)
	}
	if _, _, err := stage(s, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec.Append(2, record.Stderr{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.End(record.TurnEnd{Status: record.StatusOK}); err == nil {
		t.Error("a turn ended after an entry that cannot be there")
	}
}

// TestBlockNothing: a blocked turn that wrote nothing leaves no folder.
func TestBlockNothing(t *testing.T) {
	r := openRoot(t, Options{Workspace: t.TempDir()})
	s := create(t, r, id1)
	st, err := s.Begin(1)
	if err != nil {
		t.Fatal(err)
	}
	f, err := st.Tmp.OpenFile("x", os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if kept, err := st.Block(); kept || err != nil {
		t.Errorf("got %v, %v", kept, err)
	}
	got := names(t, filepath.Join(r.Path(), "planes/ho1/sessions/SES-1"))
	if slices.ContainsFunc(got, func(n string) bool { return strings.Contains(n, "blocked") || strings.Contains(n, "staging") }) {
		t.Errorf("left %q", got)
	}
}
