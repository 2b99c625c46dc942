package plane

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

func snapshotsIn(t *testing.T) (*Snapshots, string) {
	t.Helper()
	w, root := orderRoot(t, "WO-7", "")
	return NewSnapshots(w.root, nil), root
}

func aSnapshot(session string, size uint64, content string) (record.ContextSnapshot, []byte) {
	data := []byte(content)
	return record.ContextSnapshot{
		SessionID: session, Plane: "ho1", Size: size, Head: ledger.Sum([]byte("head")), SHA256: ledger.Sum(data), Bytes: int64(len(data)),
	}, data
}

func TestSnapshots(t *testing.T) {
	s, root := snapshotsIn(t)
	keep := func(session string, size uint64, content string, want bool) record.ContextSnapshot {
		t.Helper()
		of, data := aSnapshot(session, size, content)
		added, err := s.Keep(t.Context(), of, data)
		if err != nil || added != want {
			t.Errorf("got %v, %v, want %v", added, err, want)
		}
		return of
	}
	if known, err := s.Of("SES-1"); err != nil || known != nil {
		t.Errorf("got %v, %v", known, err)
	}
	one := keep("SES-1", 3, "one", true)
	keep("SES-1", 3, "one", false) // it is there
	two := keep("SES-1", 9, "two", true)
	keep("SES-2", 3, "other", true)
	changed := keep("SES-1", 3, "changed", true)
	known, err := s.Of("SES-1")
	if err != nil || len(known) != 2 || known[0] != changed || known[1] != two {
		t.Errorf("got %+v, %v", known, err)
	}
	if data, err := s.Read(changed); string(data) != "changed" || err != nil {
		t.Errorf("got %q, %v", data, err)
	}
	reads := func(of record.ContextSnapshot, want string) {
		t.Helper()
		if data, err := s.Read(of); err == nil || err.Error() != want {
			t.Errorf("got %q, %v, want %s", data, err, want)
		}
	}
	reads(one, "its file was changed after it was recorded")
	keep("SES-1", 3, "one", true) // and back
	reads(changed, "its file was changed after it was recorded")
	if err := os.Remove(root + "/" + snapshotName(two)); err != nil {
		t.Fatal(err)
	}
	reads(two, "its file is gone")
	keep("SES-1", 9, "two", true) // whole again
	if _, err := s.Read(two); err != nil {
		t.Error(err)
	}
	for _, put := range []func(string) error{
		func(name string) error { return os.Symlink(root+"/FORMAT", name) },
		func(name string) error { return syscall.Mkfifo(name, 0o600) },
	} {
		name := root + "/" + snapshotName(two)
		if err := errors.Join(os.Remove(name), put(name)); err != nil {
			t.Fatal(err)
		}
		if data, err := s.Read(two); err == nil {
			t.Errorf("got %q", data)
		}
	}
	if err := s.Forget("SES-1"); err != nil {
		t.Error(err)
	}
	reads(two, "its file is gone")
	if err := errors.Join(s.Forget("SES-1"), s.Forget("SES-3")); err != nil {
		t.Error(err)
	}
	if known, err := s.Of("SES-2"); err != nil || len(known) != 1 {
		t.Errorf("got %v, %v", known, err)
	}
}

func TestSnapshotsAreBounded(t *testing.T) {
	s, _ := snapshotsIn(t)
	of, data := aSnapshot("SES-1", 1, "x")
	for name, change := range map[string]func(*record.ContextSnapshot){
		"another digest": func(of *record.ContextSnapshot) { of.SHA256 = ledger.Sum(nil) },
		"another size":   func(of *record.ContextSnapshot) { of.Bytes++ },
		"not a session":  func(of *record.ContextSnapshot) { of.SessionID = "../x" },
	} {
		wrong := of
		change(&wrong)
		if _, err := s.Keep(t.Context(), wrong, data); err == nil {
			t.Errorf("%s: kept", name)
		}
	}
	if _, err := s.Read(record.ContextSnapshot{SessionID: "../x"}); err == nil {
		t.Error("read outside")
	}
	if err := s.Forget(".."); err == nil {
		t.Error("removed outside")
	}
}

// TestSnapshotLedgerDamaged: one entry that is not what was written takes all
// snapshots with it.
func TestSnapshotLedgerDamaged(t *testing.T) {
	s, root := snapshotsIn(t)
	of, data := aSnapshot("SES-1", 1, "x")
	more, _ := aSnapshot("SES-1", 2, "x")
	var before func()
	for _, each := range []record.ContextSnapshot{of, more} {
		if each == more {
			before = keepRegister(t, root)
		}
		if _, err := s.Keep(t.Context(), each, data); err != nil {
			t.Fatal(err)
		}
	}
	path := root + "/" + snapshotLedger
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	putFile(t, path, strings.Replace(string(text), `"size":2`, `"size":3`, 1))
	var bad *ledger.IntegrityError
	if known, err := s.Of("SES-1"); !errors.As(err, &bad) || known != nil {
		t.Errorf("got %v, %v", known, err)
	}
	if _, err := s.Keep(t.Context(), of, data); !errors.As(err, &bad) {
		t.Errorf("got %v", err)
	}
	// What a crash cut short is set aside by the next to write.
	putFile(t, path, string(text[:len(text)-9]))
	before()
	if known, err := s.Of("SES-1"); err != nil || len(known) != 1 {
		t.Errorf("got %v, %v", known, err)
	}
	if added, err := s.Keep(t.Context(), more, data); err != nil || !added {
		t.Errorf("got %v, %v", added, err)
	}
	if known, err := s.Of("SES-1"); err != nil || len(known) != 2 {
		t.Errorf("got %v, %v", known, err)
	}
	if err := errors.Join(os.Remove(path), os.Symlink("/dev/zero", path)); err != nil {
		t.Fatal(err)
	}
	if known, err := s.Of("SES-1"); !errors.As(err, &bad) || known != nil {
		t.Errorf("got %v, %v", known, err)
	}
}
