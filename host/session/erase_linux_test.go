package session

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// withBlobs makes a session with a turn that was asked "secret" and answered
// "answer", and returns the digests of both. It is left open.
func withBlobs(t *testing.T, r *Root, id ID) (s *Session, query, result ledger.Hash) {
	t.Helper()
	s = create(t, r, id)
	q, err := s.Blob([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Blob([]byte("answer"))
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Begin(1)
	if err == nil {
		_, err = s.Exec.Append(1, record.TurnBegin{AsOf: "2026-01-01T00:00:00Z", Query: &q})
	}
	if err == nil {
		err = evidence(s)
	}
	if err == nil {
		_, err = s.End(record.TurnEnd{Status: record.StatusOK, Result: &a})
	}
	if err = errors.Join(err, st.Discard()); err != nil {
		t.Fatal(err)
	}
	return s, q.Blob, a.Blob
}

// erasedAs checks that a session is whole, with so many blobs recorded as erased,
// none of them there, and that nothing is left to be finished.
func erasedAs(t *testing.T, root string, id ID, n int, blobs ...ledger.Hash) {
	t.Helper()
	dir := filepath.Join(root, "planes/ho1/sessions", string(id), "ledger")
	report, err := record.VerifySession(dir)
	if err != nil || report.Erased != n {
		t.Errorf("%d erased, %v, want %d", report.Erased, err, n)
	}
	for _, h := range blobs {
		if _, err := ledger.GetBlob(filepath.Join(dir, record.BlobFolder), h); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("blob %v: %v", h, err)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(dir), stagingDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("staging: %v", err)
	}
}

func TestErase(t *testing.T) {
	ws := t.TempDir()
	root := filepath.Join(ws, DefaultRoot)
	for _, closed := range []bool{false, true} {
		id := map[bool]ID{false: "SES-1", true: "SES-2"}[closed]
		r := openRoot(t, Options{Workspace: ws})
		s, query, result := withBlobs(t, r, id)
		if closed {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			s.Leave()
		}
		// What a process that died was writing goes, too.
		digits := hex.EncodeToString(query[:])
		left := filepath.Join(root, "planes/ho1/sessions", string(id), "ledger/blobs", digits[:2], ".new-1")
		write(t, left, "secret")
		before := ids(t, r)
		was, err := record.VerifySession(filepath.Dir(r.LedgerPath("ho1", id, record.ExecFile)))
		if err != nil {
			t.Fatal(err)
		}
		dry, err := r.Erase(t.Context(), id, Erasure{Blobs: []string{query.String()}, Why: "asked", Dry: true})
		if err != nil || !slices.Equal(dry.Blobs, []ledger.Hash{query}) || dry.Freed != (Freed{1, 38}) || dry.Plane != "ho1" {
			t.Errorf("dry: %+v, %v", dry, err)
		}
		erasedAs(t, root, id, 0)
		told := 0
		e := Erasure{Blobs: []string{digits[:12], "sha256:" + digits[:20], result.String()}, Why: "asked", Before: func(e Erased) error {
			told++
			if !slices.Equal(e.Fresh(), []ledger.Hash{query, result}) {
				t.Errorf("told %v", e.Fresh())
			}
			erasedAs(t, root, id, 0)
			return nil
		}}
		for range 2 {
			done, err := r.Erase(t.Context(), id, e)
			if err != nil || !slices.Equal(done.Blobs, []ledger.Hash{query, result}) {
				t.Errorf("%+v, %v", done, err)
			}
			erasedAs(t, root, id, 2, query, result)
		}
		if told != 1 {
			t.Errorf("told %d times", told)
		}
		if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("unfinished: %v", err)
		}
		now, err := record.VerifySession(filepath.Dir(r.LedgerPath("ho1", id, record.ExecFile)))
		if err != nil || now.Evidence.Head != was.Evidence.Head || now.Closed != closed || now.Exec.Entries != was.Exec.Entries+4 {
			t.Errorf("got %+v, %v, was %+v", now, err, was)
		}
		if after := ids(t, r); after != before {
			t.Errorf("%s, was %s", after, before)
		}
	}
	// The open one goes on.
	s, _, err := openRoot(t, Options{Workspace: ws}).Open(t.Context(), "SES-1")
	if err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, []out{{path: "x", content: "x"}})
	s.Leave()
	erasedAs(t, root, "SES-1", 2)
}

func TestEraseRefuses(t *testing.T) {
	ws := t.TempDir()
	r := openRoot(t, Options{Workspace: ws})
	s, query, _ := withBlobs(t, r, id1)
	seed := s.state.open.Seed
	if _, err := r.Erase(t.Context(), id1, Erasure{Blobs: []string{query.String()}, Why: "x"}); !errors.Is(err, ErrInUse) {
		t.Errorf("in use: %v", err)
	}
	s.Leave()
	if _, err := r.Erase(t.Context(), "SES-9", Erasure{Blobs: []string{query.String()}, Why: "x"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	refused := errors.New("refused")
	before := contents(t, ws)
	for want, e := range map[string]Erasure{
		"session SES-1: 0 blobs were named":                                           {Why: "x"},
		"session SES-1: why they are erased goes on record":                           {Blobs: []string{query.String()}, Why: " "},
		"session SES-1: " + query.String()[:18] + " is no digest of a blob":           {Blobs: []string{query.String()[:18]}, Why: "x"},
		"session SES-1: SHA256:0123456789ab is no digest of a blob":                   {Blobs: []string{"SHA256:0123456789ab"}, Why: "x"},
		"session SES-1: 000000000000 is no blob of this session":                      {Blobs: []string{"000000000000"}, Why: "x"},
		"session SES-1: " + ledger.Sum(nil).String() + " is no blob of this session":  {Blobs: []string{query.String(), ledger.Sum(nil).String()}, Why: "x"},
		"session SES-1: " + seed.String() + " is the seed of the session, which is o": {Blobs: []string{seed.String()}, Why: "x", Seed: true},
		"session SES-1: refused":                                                      {Blobs: []string{query.String()}, Why: "x", Before: func(Erased) error { return refused }},
	} {
		if _, err := r.Erase(t.Context(), id1, e); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if after := contents(t, ws); !equalContents(before, after) {
		t.Error("something changed")
	}
	// The seed of a closed one goes if that is meant.
	s, _, err := r.Open(t.Context(), id1)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	var wrong *BlobError
	if _, err := r.Erase(t.Context(), id1, Erasure{Blobs: []string{seed.String()}, Why: "x"}); !errors.As(err, &wrong) || wrong.Hint != "say --force if that is what is wanted" {
		t.Errorf("seed: %v", err)
	}
	if _, err := r.Erase(t.Context(), id1, Erasure{Blobs: []string{seed.String()}, Why: "x", Seed: true}); err != nil {
		t.Error(err)
	}
	erasedAs(t, filepath.Join(ws, DefaultRoot), id1, 1, seed)
}

// equalContents compares all but who holds or held a session.
func equalContents(a, b map[string]string) bool {
	for _, m := range []map[string]string{a, b} {
		for name := range m {
			if strings.HasSuffix(name, "/"+holderFile) {
				delete(m, name)
			}
		}
	}
	if len(a) != len(b) {
		return false
	}
	for name, content := range a {
		if b[name] != content {
			return false
		}
	}
	return true
}

// An erasure that is cut short is finished by recovery, and by erasing again, or
// has not begun.
func TestEraseKilled(t *testing.T) {
	prepare := func(t *testing.T) (ws, root string, query ledger.Hash) {
		ws, root = places(t, false)
		r := openRoot(t, Options{Workspace: ws, Root: root})
		s, query, _ := withBlobs(t, r, id1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return ws, root, query
	}
	ws, root, query := prepare(t)
	steps := run(t, "erase:"+query.String(), 0, ws, root)
	if want := []string{"mark", "commit_erased", "erase", "unmark", "done"}; !slices.Equal(steps, want) {
		t.Fatalf("steps %q, want %q", steps, want)
	}
	for kill := range steps {
		for _, again := range []bool{false, true} {
			ws, root, query := prepare(t)
			run(t, "erase:"+query.String(), kill+1, ws, root)
			recorded := bytes.Contains([]byte(contents(t, root)["planes/ho1/sessions/SES-1/ledger/exec.jsonl"]), []byte(`"kind":"erased"`))
			if recorded != (kill >= 2) {
				t.Errorf("killed at %s: recorded is %v", steps[kill], recorded)
			}
			r := openRoot(t, Options{Workspace: ws, Root: root})
			if again {
				if _, err := r.Erase(t.Context(), id1, Erasure{Blobs: []string{query.String()}, Why: "asked"}); err != nil {
					t.Fatal(err)
				}
			}
			if findings, err := r.Recover(t.Context()); err != nil || len(findings) > 0 {
				t.Fatal(findings, err)
			}
			if recorded || again {
				erasedAs(t, root, id1, 1, query)
			} else {
				erasedAs(t, root, id1, 0)
			}
		}
	}
}
