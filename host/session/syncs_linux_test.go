package session

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/internal/durable/synctest"
)

// TestSyncsOfARun holds what a session of one turn without outputs waits for the
// disk for, in this order: each is what some promise needs, and there is no
// other.
func TestSyncsOfARun(t *testing.T) {
	ws := t.TempDir()
	if err := create(t, openRoot(t, Options{Workspace: ws}), id2).Leave(); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(ws, DefaultRoot)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=quiet 0 "+ws+" "+root)
	got := synctest.Of(t, cmd)
	variable := regexp.MustCompile(`[0-9a-f]{2}/\.new-[0-9]+$|blobs/[0-9a-f]{2}$`)
	for i, path := range got {
		name := strings.TrimPrefix(path, root+"/planes/ho1/")
		got[i] = variable.ReplaceAllStringFunc(name, func(s string) string {
			if strings.HasPrefix(s, "blobs/") {
				return "blobs/XX"
			}
			return "XX/BLOB"
		})
	}
	want := []string{
		// The seed; the ledgers, of which exec.jsonl holds session.open.
		"sessions/.new-SES-1/ledger/blobs",
		"sessions/.new-SES-1/ledger/blobs/XX/BLOB",
		"sessions/.new-SES-1/ledger/blobs/XX",
		"sessions/.new-SES-1/ledger/evidence.jsonl",
		"sessions/.new-SES-1/ledger/exec.jsonl",
		"sessions/.new-SES-1/ledger",
		"sessions/.new-SES-1",
		"sessions", // from here on the session is there
		"ledger/sessions.jsonl",
		// The turn: its evidence, all that came before its end, its end.
		"sessions/SES-1/ledger/evidence.jsonl",
		"sessions/SES-1/ledger/exec.jsonl",
		"ledger/sessions.jsonl", // nobody waits for this one but the next commit
		// The end of both.
		"sessions/SES-1/ledger/evidence.jsonl",
		"sessions/SES-1/ledger/exec.jsonl",
		"ledger/sessions.jsonl",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d syncs:\n%s\nwant %d:\n%s", len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
	}
}
