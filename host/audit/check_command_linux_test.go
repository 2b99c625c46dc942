package audit

import (
	"context"
	"slices"
	"testing"

	"github.com/agenthost/agenthost/host/audit/audittest"
	"github.com/agenthost/agenthost/host/record"
)

// The blobs of commands are the session's: they are not left over, and missed
// where they are gone.
func TestCheckSessionWithCommands(t *testing.T) {
	f := newFolder(t)
	root := f.open()
	before := f.findings(root)
	const ran = "SES-20260106-ran"
	ok(t, audittest.Make(context.Background(), root, audittest.Session{
		ID: ran, Plane: "ho1", Package: record.Package{ID: tool, Version: "1.0.0"}, Turns: []audittest.Turn{{Runs: []string{"sort", "uniq"}}},
	}))
	if got := f.findings(root); !slices.Equal(got, before) {
		t.Errorf("got %q\nwant %q", got, before)
	}
	s, err := New(root, nil, "").Explain(context.Background(), ran, nil)
	ok(t, err)
	commands := s.Session.Turns[0].Commands
	if len(commands) != 2 {
		t.Fatalf("got %d commands, want 2", len(commands))
	}
	digits := commands[1].View.Blob.Blob.String()[len("sha256:"):]
	f.remove(in(ran, "ledger/blobs/"+digits[:2]+"/"+digits[2:]))
	want := `error ledger_broken "` + in(ran, "ledger/exec.jsonl") + `:8": blob sha256:` + digits + " is missing and was not erased"
	if got := f.findings(root); !slices.Contains(got, want) {
		t.Errorf("got %q\nwant %s", got, want)
	}
}
