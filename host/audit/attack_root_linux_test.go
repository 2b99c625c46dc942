package audit

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

// words are verdicts, each on a line.
func words(verdicts []Verdict) string {
	var got []string
	for _, v := range verdicts {
		line := v.Word + " " + cmp.Or(v.File, v.Session)
		if v.Err != nil {
			line += ": " + plainReason(v.Err)
		}
		got = append(got, line)
	}
	return strings.Join(got, "\n")
}

// Sessions and registers that are gone, or not those that were there, are seen by who
// knows of them.
func TestAttacksOnARoot(t *testing.T) {
	const (
		registerIs = "planes/ho1/ledger/sessions.jsonl"
		deleted    = "BROKEN SES-20260101-victim: exec.jsonl: the register has 14 entries of it, and it is not here: it was deleted"
		kept       = "BROKEN SES-20260101-victim: exec.jsonl: the receipt receipt.txt has 14 entries of it, and it is not here: it was deleted"
		unknown    = "BROKEN SES-20260101-victim: exec.jsonl line 6 (seq 5, byte BYTE): the session has turns, and the register does not know it: the register was rolled back, or the session was put here"
		good       = "VERIFIED SES-20260101-victim"
	)
	for _, c := range []struct {
		name                      string
		attack                    func(a *attacked, path func(string) string)
		plain, one, receipt, both string // of all; of the session; of all with a receipt; of the session with it
	}{
		{"nothing", func(*attacked, func(string) string) {}, good + "\nVERIFIED " + registerIs, good, good + "\nVERIFIED " + registerIs, good},
		{
			"delete the session", func(a *attacked, path func(string) string) {
				ok(a.t, os.RemoveAll(path("sessions/"+victim)))
			},
			deleted + "\nVERIFIED " + registerIs, deleted, deleted + "\nVERIFIED " + registerIs, deleted,
		},
		{
			"delete the session and the register", func(a *attacked, path func(string) string) {
				ok(a.t, os.RemoveAll(path("")))
			},
			"", "", kept, kept,
		},
		{
			"delete the register", func(a *attacked, path func(string) string) { ok(a.t, os.RemoveAll(path("ledger"))) },
			unknown, unknown, unknown, unknown,
		},
		{
			"replay an old register", func(a *attacked, path func(string) string) {
				name := path("ledger/sessions.jsonl")
				b, err := os.ReadFile(name)
				ok(a.t, err)
				lines := slices.Collect(strings.Lines(string(b)))
				ok(a.t, os.WriteFile(name, []byte(strings.Join(lines[:behind(lines, 1)], "")), 0o600))
			},
			"BROKEN SES-20260101-victim: exec.jsonl line 13 (seq 12, byte BYTE): the register knows 1 entries, and 3 commits follow them: the register was rolled back, or the session went on elsewhere\nVERIFIED " + registerIs,
			"BROKEN SES-20260101-victim: exec.jsonl line 13 (seq 12, byte BYTE): the register knows 1 entries, and 3 commits follow them: the register was rolled back, or the session went on elsewhere",
			"BROKEN SES-20260101-victim: exec.jsonl line 13 (seq 12, byte BYTE): the register knows 1 entries, and 3 commits follow them: the register was rolled back, or the session went on elsewhere\nVERIFIED " + registerIs,
			"BROKEN SES-20260101-victim: exec.jsonl line 13 (seq 12, byte BYTE): the register knows 1 entries, and 3 commits follow them: the register was rolled back, or the session went on elsewhere",
		},
		{ // a register that is broken says nothing, and hinders no session
			"change the register", func(a *attacked, path func(string) string) {
				name := path("ledger/sessions.jsonl")
				b, err := os.ReadFile(name)
				ok(a.t, err)
				ok(a.t, os.WriteFile(name, bytes.Replace(b, []byte(`"size":1`), []byte(`"size":2`), 1), 0o600))
			},
			good + "\nBROKEN " + registerIs + ": sessions.jsonl line 2 (seq 1, byte BYTE): hash does not match: the line was changed after it was written",
			good + "\nBROKEN " + registerIs + ": sessions.jsonl line 2 (seq 1, byte BYTE): hash does not match: the line was changed after it was written",
			good + "\nBROKEN " + registerIs + ": sessions.jsonl line 2 (seq 1, byte BYTE): hash does not match: the line was changed after it was written",
			good + "\nBROKEN " + registerIs + ": sessions.jsonl line 2 (seq 1, byte BYTE): hash does not match: the line was changed after it was written",
		},
		{
			"another session in its place", func(a *attacked, path func(string) string) {
				_, dir := makeVictim(a.t, true, func() (*ledger.Key, error) { return ledgertest.Other(2) })
				ok(a.t, os.RemoveAll(a.dir))
				ok(a.t, os.CopyFS(a.dir, os.DirFS(dir)))
			},
			"BROKEN SES-20260101-victim: exec.jsonl line 14 (seq 13, byte BYTE): the 14 entries up to here have the root ROOT, and the register knows ROOT: they were written anew\nVERIFIED " + registerIs,
			"BROKEN SES-20260101-victim: exec.jsonl line 14 (seq 13, byte BYTE): the 14 entries up to here have the root ROOT, and the register knows ROOT: they were written anew",
			"BROKEN SES-20260101-victim: exec.jsonl line 14 (seq 13, byte BYTE): the 14 entries up to here have the root ROOT, and the register knows ROOT: they were written anew\nVERIFIED " + registerIs,
			"BROKEN SES-20260101-victim: exec.jsonl line 14 (seq 13, byte BYTE): the 14 entries up to here have the root ROOT, and the register knows ROOT: they were written anew",
		},
		{
			"another session in its place, and its register", func(a *attacked, path func(string) string) {
				other, _ := makeVictim(a.t, true, func() (*ledger.Key, error) { return ledgertest.Other(2) })
				ok(a.t, os.RemoveAll(path("")))
				ok(a.t, os.CopyFS(path(""), os.DirFS(filepath.Join(other.Path(), "planes/ho1"))))
			},
			"INTACT BUT SIGNER UNKNOWN SES-20260101-victim: the session was sealed by a host that is not trusted here, OTHER\nINTACT BUT SIGNER UNKNOWN " + registerIs + ": the register of ho1 was sealed by a host that is not trusted here, OTHER",
			"INTACT BUT SIGNER UNKNOWN SES-20260101-victim: the session was sealed by a host that is not trusted here, OTHER\nINTACT BUT SIGNER UNKNOWN " + registerIs + ": the register of ho1 was sealed by a host that is not trusted here, OTHER",
			"BROKEN SES-20260101-victim: exec.jsonl line 14 (seq 13, byte BYTE): the 14 entries up to here have the root ROOT, and the receipt receipt.txt knows ROOT: they were written anew\nINTACT BUT SIGNER UNKNOWN " + registerIs + ": the register of ho1 was sealed by a host that is not trusted here, OTHER",
			"BROKEN SES-20260101-victim: exec.jsonl line 14 (seq 13, byte BYTE): the 14 entries up to here have the root ROOT, and the receipt receipt.txt knows ROOT: they were written anew\nINTACT BUT SIGNER UNKNOWN " + registerIs + ": the register of ho1 was sealed by a host that is not trusted here, OTHER",
		},
		{ // which the register says
			"prune the session", func(a *attacked, _ func(string) string) {
				ok(a.t, second(a.root.Prune(context.Background(), victim, false, false)))
			},
			"VERIFIED " + registerIs, "", "PRUNED SES-20260101-victim\nVERIFIED " + registerIs, "PRUNED SES-20260101-victim",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAttacked(t, true)
			receipts := []Receipt{a.receipt(), a.receipt()}
			ok(t, a.root.Close())
			var err error
			a.root, err = session.OpenRoot(session.Options{Key: ledgertest.Host, Hosts: ledgertest.Hosts, Workspace: filepath.Dir(a.root.Path())})
			ok(t, err)
			t.Cleanup(func() { a.root.Close() })
			c.attack(a, func(name string) string { return filepath.Join(a.root.Path(), "planes/ho1", name) })
			other, err := ledgertest.Other(2)
			ok(t, err)
			_, registers, _ := strings.Cut(c.one, "\n")
			for _, o := range []struct {
				RootOptions
				want string
			}{
				{RootOptions{}, c.plain},
				{RootOptions{Session: victim}, c.one},
				{RootOptions{Receipts: receipts}, c.receipt},
				{RootOptions{Receipts: receipts, Session: victim}, c.both},
				{RootOptions{Receipts: receipts, Session: "SES-other"}, registers},
			} {
				verdicts, err := VerifyRoot(context.Background(), a.root, o.RootOptions)
				ok(t, err)
				if got := strings.ReplaceAll(words(verdicts), other.Verifier().String(), "OTHER"); got != o.want {
					t.Errorf("got  %s\nwant %s", got, o.want)
				}
			}
		})
	}
}
