package plane

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// last is the body of the last entry of governance.jsonl, but for the seal.
func (f *fixture) last() ledger.Body {
	f.t.Helper()
	all := f.entries()
	body, err := record.DecodeGovernance(all[len(all)-2])
	if err != nil {
		f.t.Fatal(err)
	}
	return body
}

// TestPrune: what is removed is on record before it is.
func TestPrune(t *testing.T) {
	f := newFixture(t)
	before := tree(t, f.path)
	s := record.SessionPrune{SessionID: "SES-1", Plane: "ho1", Exec: record.EvidenceHead{Size: 3, Root: ledger.Sum([]byte("3"))}, Published: true}
	f.change(func(c *Change) {
		if err := c.Prune(s); err != nil {
			t.Error(err)
		}
		s.By = somebody()
		if got := f.last(); got != ledger.Body(s) {
			t.Errorf("got %+v, want %+v", got, s)
		}
	})
	differ(t, "nothing else is written", tree(t, f.path), before)
}

// TestErase: so are blobs.
func TestErase(t *testing.T) {
	f := newFixture(t)
	before := tree(t, f.path)
	s := record.SessionErase{SessionID: "SES-1", Plane: "ho1", Blobs: []ledger.Hash{ledger.Sum([]byte("1"))}, Why: "asked"}
	f.change(func(c *Change) {
		if err := c.Erase(s); err != nil {
			t.Error(err)
		}
		s.By = somebody()
		if got := f.last(); !reflect.DeepEqual(got, s) {
			t.Errorf("got %+v, want %+v", got, s)
		}
	})
	differ(t, "nothing else is written", tree(t, f.path), before)
}

func TestRefuse(t *testing.T) {
	f := newFixture(t)
	f.change(func(c *Change) {
		err := c.Refuse(record.KindPackageInstall, "PKG-A", ledger.Sum(nil), CodePackage, "no \xff good")
		var r *RefusedError
		if !errors.As(err, &r) || r.Code != CodePackage || r.What != "no \xff good" {
			t.Errorf("got %v", err)
		}
		want := record.ChangeRefused{By: somebody(), Change: record.KindPackageInstall, Subject: "PKG-A", SHA256: ledger.Sum(nil), Code: CodePackage, Message: "no \ufffd good"}
		if got := f.last(); got != ledger.Body(want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if c.State().Refused != 1 {
			t.Errorf("%d refused", c.State().Refused)
		}
	})
}

// TestLinkedFolders: no change leads out of the root.
func TestLinkedFolders(t *testing.T) {
	for _, name := range []string{"packages_store", "planes/ho1/installed", "planes/ho1", "planes/pending", "planes", "control", "registries", lockFile} {
		f := newFixture(t)
		p := f.open()
		elsewhere := filepath.Join(filepath.Dir(f.path), "elsewhere")
		rename(t, filepath.Join(f.path, name), elsewhere)
		link(t, elsewhere, filepath.Join(f.path, name))
		before := tree(t, elsewhere)
		a := prepare(t, "", spec{id: "PKG-A"})
		c, err := p.Change(t.Context(), f.token, somebody(), "", "")
		if err == nil {
			err = a.install(c, InstallOptions{})
			c.Close()
		}
		var wrong *MismatchError
		if !errors.Is(err, beneath.ErrLink) && !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
		differ(t, name, tree(t, elsewhere), before)
		if _, err := os.Lstat(filepath.Join(f.path, "planes/ho1/installed/PKG-A")); err == nil {
			t.Errorf("%s: it is installed", name)
		}
	}
}
