package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// timeline turns the entries of a ledger into lines a person reads: when, what,
// how it was decided, on which name, with which content.
type timeline struct {
	began time.Time
	turn  int
	words string      // of the command that was granted last
	dated bool        // times are not since the first entry
	hosts bool        // it is a ledger that hosts seal, and no session's
	keys  ledger.Keys // say who signed a seal; nil if that is not known
}

// row is a line of a timeline.
type row struct {
	text     string
	names    []string // of files and commands that it is about
	decision string
	heading  bool // it says of which turn those behind it are
}

// rows gives the lines for the next entry. Times are since the first entry.
func (t *timeline) rows(e ledger.Entry) []row {
	if e.Kind == record.KindHostKey {
		t.hosts = true
	}
	if t.hosts || e.Session == record.GovernanceSession {
		return []row{{text: t.hostsRow(e)}}
	}
	if t.began.IsZero() {
		t.began = e.Time
	}
	var rows []row
	if e.Turn != t.turn && e.Turn != 0 {
		t.turn = e.Turn
		rows = append(rows, row{text: fmt.Sprintf("turn %d", e.Turn), heading: true})
	}
	body, err := record.Decode(e)
	if err != nil {
		return append(rows, t.row(e, e.Kind, "", "cannot be read: "+err.Error()))
	}
	switch b := body.(type) {
	case record.SessionOpen:
		return append(rows,
			row{text: fmt.Sprintf("session %s, %s", e.Session, e.Time.Format(time.RFC3339))},
			row{text: fmt.Sprintf("package %s %s %s", b.Package.ID, b.Package.Version, short(b.Package.SHA256))},
			row{text: fmt.Sprintf("plane %s, agenthost %s, %s on %s", b.Plane, b.Agenthost, b.Engine, b.Arch)})
	case record.SessionResume:
		return append(rows, t.row(e, "resume", "", "another process goes on"))
	case record.TurnBegin:
		rows = append(rows, t.row(e, "begin", "", began(b)))
		for _, in := range b.Inputs {
			rows = append(rows, t.row(e, "input", "declared", content(in.Path, in.SHA256, in.Size), in.Path))
		}
		for _, out := range b.Outputs {
			rows = append(rows, t.row(e, "output", "declared", out.Path+", "+out.Role, out.Path))
		}
		return rows
	case record.Op:
		if b.Op == record.OpExec && b.Decision == record.Granted {
			t.words = b.Path
		}
		return append(rows, t.row(e, b.Op, b.Decision, operation(b), b.Path, b.To))
	case record.Digest:
		return append(rows, t.row(e, "content", "", strings.TrimSpace(fmt.Sprintf("%s of entry %d, %s, %s", b.Path, b.Of, short(b.SHA256), bytesText(b.Size))), b.Path))
	case record.ExecStart:
		return append(rows, t.row(e, "start", "", t.started(b), startedNames(b)...))
	case record.ExecEnd:
		return append(rows, t.row(e, "exit", exit(b), outcome(b), b.StdoutTo))
	case record.Stderr:
		cut := ""
		if b.Truncated {
			cut = ", cut"
		}
		return append(rows, t.row(e, "stderr", "", bytesText(b.Size)+cut))
	case record.TurnEnd:
		for _, p := range b.Publish {
			rows = append(rows, t.row(e, "publish", p.Role, content(p.Path, p.SHA256, p.Size), p.Path))
		}
		return append(rows, t.row(e, "end", b.Status, ended(b)))
	case record.Violation:
		return append(rows, t.row(e, b.Operation, record.Violated, b.Subject+": "+b.Rule, b.Subject))
	case record.TurnEvidence:
		return append(rows, t.row(e, "evidence", "", evidence(b), evidenceNames(b)...))
	case record.Recovered:
		return append(rows, t.row(e, "recovered", "", fmt.Sprintf("%s set aside from byte %d, kept as %s", bytesText(b.Length), b.Offset, b.File)))
	case record.Erased:
		return append(rows, t.row(e, "erased", "", short(b.Blob)+": "+b.Why))
	case record.SessionClose:
		return append(rows, t.row(e, "close", "", count(int(b.Turns), "turn")))
	case ledger.Seal:
		return append(rows, t.row(e, "seal", "", sealed(b, t.keys)))
	}
	return append(rows, t.row(e, e.Kind, "", ""))
}

// hostsRow is the line about an entry of a ledger that hosts seal.
func (t *timeline) hostsRow(e ledger.Entry) string {
	var (
		what  string
		err   error
		width = 16
	)
	switch e.Session {
	case record.GovernanceSession:
		width = 17 + 2 + 8 // the columns of change
	case record.RegisterSession:
		width = 17
	}
	switch e.Kind {
	case record.KindHostKey:
		var b record.HostKey
		err = e.Decode(&b)
		what = b.Origin + " is sealed by " + b.Key
	case ledger.KindSeal:
		var b ledger.Seal
		err = e.Decode(&b)
		what = sealed(b, t.keys)
	default:
		switch e.Session {
		case record.GovernanceSession:
			return change(e)
		case record.RegisterSession:
			return registered(e)
		}
		return authorization(e)
	}
	if err != nil {
		what = "cannot be read: " + err.Error()
	}
	return fmt.Sprintf("%s  %-*s  %s", e.Time.UTC().Format(time.RFC3339), width, e.Kind, what)
}

// row is a line about an entry of a session.
func (t *timeline) row(e ledger.Entry, what, decision, rest string, names ...string) row {
	since := fmt.Sprintf("%+.3fs", e.Time.Sub(t.began).Seconds())
	if t.dated {
		since = e.Time.Format(time.RFC3339)
	}
	text := strings.TrimRight(fmt.Sprintf("%10s  %-9s  %-9s  %s", since, what, decision, rest), " ")
	return row{text: text, names: names, decision: decision}
}

// sealed says what a seal is over, and by whose key.
func sealed(b ledger.Seal, keys ledger.Keys) string {
	text := entries(b.Size)
	if keys != nil {
		if _, key, err := keys.Signer(b.Sig); err == nil {
			text += ", by " + archive.KeyName(key.String())
		}
	}
	if b.Final {
		text += ", final"
	}
	return text
}

// evidenceNames are the names that the evidence of a turn lists.
func evidenceNames(b record.TurnEvidence) (names []string) {
	for _, list := range [][]record.File{b.DeclaredReads, b.RealizedReads, b.RealizedWrites, b.Discarded} {
		for _, f := range list {
			names = append(names, f.Path)
		}
	}
	for _, out := range b.DeclaredWrites {
		names = append(names, out.Path)
	}
	for _, v := range b.Violations {
		names = append(names, v.Subject)
	}
	for _, h := range b.Hidden {
		names = append(names, h.Path)
	}
	return names
}

func began(b record.TurnBegin) string {
	text := "as of " + b.AsOf
	if b.WorkOrder != "" {
		text += ", work order " + b.WorkOrder
	}
	if b.Accepted != "" {
		text += ", accepted by " + b.Accepted
	}
	if b.DryRun {
		text += ", dry run"
	}
	if b.Strict {
		text += ", strict"
	}
	if b.Redacted > 0 {
		text += fmt.Sprintf(", %s redacted", count(int(b.Redacted), "value"))
	}
	return text
}

func operation(b record.Op) string {
	text := b.Path
	if b.Op == record.OpCheck {
		text = b.Right + " " + b.Path
	}
	if b.To != "" {
		text += " → " + b.To
	}
	if b.Flags != "" && b.Flags != "read" {
		text += " (" + b.Flags + ")"
	}
	if b.SHA256 != nil {
		text += "  " + short(*b.SHA256)
	}
	if b.Size != nil {
		text += "  " + bytesText(*b.Size)
	}
	switch {
	case b.Rule == "":
	case b.Decision == record.Hidden, b.Decision == record.Violated, b.Op == record.OpExec, b.Op == record.OpCheck:
		text += ": " + b.Rule
	default:
		text += "  by " + b.Rule
	}
	if b.Errno != record.ErrnoSuccess && b.Decision != record.Violated && b.Decision != record.Hidden {
		text += "  " + b.Errno
	}
	if b.Count > 0 {
		text += fmt.Sprintf("  %d more of these", b.Count)
	}
	return strings.TrimSpace(text)
}

func ended(b record.TurnEnd) string {
	text := b.Code
	if b.Limit != "" {
		text += " " + b.Limit
	}
	if b.Exit != nil && *b.Exit != 0 {
		text += fmt.Sprintf(" %d", *b.Exit)
	}
	if b.Message != "" {
		text += ": " + strings.TrimPrefix(b.Message, "the turn was blocked: ") // the row says so already
	}
	var usage []string // what is zero was not measured
	if b.Fuel != 0 {
		usage = append(usage, fmt.Sprintf("fuel %d", b.Fuel))
	}
	if b.MemoryBytes != 0 {
		usage = append(usage, "memory "+bytesText(b.MemoryBytes))
	}
	if b.WallNS != 0 {
		usage = append(usage, fmt.Sprintf("%.3fs", time.Duration(b.WallNS).Seconds()))
	}
	if text = strings.TrimSpace(text); text == "" || len(usage) == 0 {
		return text + strings.Join(usage, ", ")
	}
	return text + "; " + strings.Join(usage, ", ")
}

func evidence(b record.TurnEvidence) string {
	fence := ", fence " + b.Fence
	if n := len(b.ExternalCalls); n > 0 {
		fence = commandsInWords(n, b.Fence)
	}
	return fmt.Sprintf("entries %d to %d, %s, %s, %s, %s%s", b.From, b.To,
		count(len(b.RealizedReads), "read"), count(len(b.RealizedWrites), "write"),
		count(len(b.Violations), "violation"), count(len(b.Hidden), "hidden name"), fence)
}

func content(path string, h ledger.Hash, size int64) string {
	return fmt.Sprintf("%s  %s  %s", path, short(h), bytesText(size))
}

// short is enough of a digest to tell it from others by eye, and to accept a
// package by.
func short(h ledger.Hash) string { return h.String()[:len("sha256:")+12] }

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func entries(n uint64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func bytesText(n int64) string {
	switch {
	case n == 1:
		return "1 byte"
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
