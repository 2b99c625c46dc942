package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "check that the record of sessions is whole",
		ArgsUsage: "[SESSION|FILE|FOLDER]",
		Description: `A SESSION is an id, the beginning of one, or @last, the one in which something
happened last; without one all sessions of the root are checked. FILE is one
ledger, FOLDER the ledger folder of a session, from wherever it was copied. Each
hash is computed again, each entry read, and the evidence of each turn computed
from the entries and compared. Status 0 if all is intact, 4 if not; the first bad
line is named.

What this cannot see alone is a ledger that somebody wrote anew from the first
line to the last, or cut behind the end of a turn: keep the head that is printed
somewhere else, and compare.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "check all sessions of the root, as without operands"},
		},
		Action: p.verify,
	}
}

// Verdicts on a record.
const (
	verdictIntact     = "INTACT"
	verdictBroken     = "BROKEN"
	verdictUnreadable = "UNREADABLE"
)

// finding is the verdict on one session or one ledger.
type finding struct {
	Verdict  string `json:"verdict"`
	Session  string `json:"session,omitempty"`
	Plane    string `json:"plane,omitempty"`
	File     string `json:"file,omitempty"` // the operand, where it was a file or folder
	Turns    int    `json:"turns"`
	Exec     *chain `json:"exec,omitempty"`
	Evidence *chain `json:"evidence,omitempty"`
	Ledger   *chain `json:"ledger,omitempty"` // of a single file
	Running  int    `json:"unfinished_turn,omitempty"`
	Closed   bool   `json:"closed"`
	Erased   int    `json:"erased_blobs,omitempty"`
	// Entries of evidence.jsonl that no turn.end committed, or that were computed
	// again; see record.Report.
	Uncommitted int       `json:"uncommitted,omitempty"`
	Superseded  int       `json:"superseded,omitempty"`
	Error       *brokenAt `json:"error,omitempty"`
	cause       error
}

// chain says where a ledger ends.
type chain struct {
	Entries    uint64      `json:"entries"`
	Hash       ledger.Hash `json:"hash"`
	Root       ledger.Hash `json:"root"`
	Torn       string      `json:"torn,omitempty"`
	ClockSteps int         `json:"clock_steps,omitempty"`
}

// brokenAt names the first bad line.
type brokenAt struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Seq    uint64 `json:"seq,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Reason string `json:"reason"`
}

func (p *program) verify(c *cli.Context) error {
	given, err := p.operands(c, 0, 1)
	if err != nil {
		return err
	}
	if c.Bool("all") && len(given) > 0 {
		return usageError(fmt.Sprintf("verify got --all and %q", given[0]), "give one of them")
	}
	findings, err := p.findings(given)
	if err != nil {
		return err
	}
	if p.json {
		if err := p.term.value(map[string]any{"findings": findings}); err != nil {
			return err
		}
	}
	var first error
	bad := 0
	for _, f := range findings {
		if !p.json {
			p.showFinding(f)
		}
		if f.cause != nil {
			if bad++; first == nil || f.Verdict == verdictBroken && explain(first).code != exitIntegrity {
				first = f.cause
			}
		}
	}
	switch {
	case p.json:
	case len(findings) == 0:
		p.term.line("no sessions")
	case bad == 0:
		p.term.line("not anchored outside this root: compare the heads with ones kept elsewhere")
	}
	if bad > 1 {
		f := *explain(first)
		f.message = fmt.Sprintf("%d of %s; the first: %s", bad, count(len(findings), "session"), f.message)
		return &f
	}
	return first
}

// findings checks what was named: one file, one folder, one session, or all.
func (p *program) findings(given []string) ([]finding, error) {
	if len(given) == 1 && isPath(given[0]) {
		info, err := os.Stat(given[0])
		switch {
		case err != nil:
			return nil, openError(given[0], err)
		case info.IsDir():
			return []finding{verifySession(finding{File: given[0]}, ledgerFolder(given[0]))}, nil
		}
		return []finding{verifyFile(given[0])}, nil
	}
	root, err := p.openRoot()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if len(given) == 1 {
		id, plane, err := findSession(root, given[0])
		if err != nil {
			return nil, err
		}
		return []finding{verifyIn(root, plane, id)}, nil
	}
	if err := p.there(root, "verified"); err != nil {
		return nil, err
	}
	list, err := root.List()
	if err != nil {
		return nil, err
	}
	findings := []finding{}
	for _, s := range list {
		p.term.progress("verifying %s", s.ID)
		findings = append(findings, verifyIn(root, s.Plane, s.ID))
	}
	return findings, nil
}

// isPath tells a file or folder from the id of a session.
func isPath(operand string) bool {
	if strings.ContainsRune(operand, filepath.Separator) || strings.HasSuffix(operand, ".jsonl") || operand == "." || operand == ".." {
		return true
	}
	_, err := os.Lstat(operand)
	return err == nil && !strings.HasPrefix(operand, "SES-")
}

// ledgerFolder is the ledger folder of a session whose folder, or whose ledger
// folder, is dir.
func ledgerFolder(dir string) string {
	beneath := filepath.Join(dir, "ledger")
	if _, err := os.Lstat(filepath.Join(beneath, record.ExecFile)); err == nil {
		return beneath
	}
	return dir
}

func verifyIn(root *session.Root, plane string, id session.ID) finding {
	f := finding{Session: string(id), Plane: plane}
	return verifySession(f, filepath.Dir(root.LedgerPath(plane, id, record.ExecFile)))
}

func verifySession(f finding, ledgerDir string) finding {
	report, err := record.VerifySession(ledgerDir)
	if f.Session == "" {
		f.Session = report.Session
	} else if report.Session != "" && report.Session != f.Session && err == nil {
		err = &ledger.IntegrityError{File: filepath.Join(ledgerDir, record.ExecFile), Line: 1, Reason: "it is the ledger of " + report.Session}
	}
	f.Turns, f.Running, f.Closed, f.Erased = len(report.Turns), report.Unfinished, report.Closed, report.Erased
	f.Uncommitted, f.Superseded = report.Uncommitted, report.Superseded
	f.Exec, f.Evidence = chainOf(report.Exec), chainOf(report.Evidence)
	return f.judge(err)
}

func verifyFile(path string) finding {
	options := record.EvidenceOptions("")
	if filepath.Base(path) == record.ExecFile {
		options = record.ExecOptions("")
	}
	report, err := ledger.Verify(path, options)
	f := finding{File: path, Session: report.Session, Ledger: chainOf(report)}
	return f.judge(err)
}

func chainOf(r ledger.Report) *chain {
	c := &chain{Entries: r.Entries, Hash: r.Head.Hash, Root: r.Head.Root, ClockSteps: r.ClockSteps}
	if r.Torn != nil {
		c.Torn = r.Torn.Error()
	}
	return c
}

func (f finding) judge(err error) finding {
	var at *ledger.IntegrityError
	switch {
	case err == nil:
		f.Verdict = verdictIntact
		return f
	case errors.As(err, &at):
		f.Verdict = verdictBroken
		f.Error = &brokenAt{filepath.Base(at.File), at.Line, at.Seq, at.Offset, at.Reason}
	default:
		f.Verdict = verdictUnreadable
		f.Error = &brokenAt{Reason: err.Error()}
	}
	f.cause = fmt.Errorf("%s: %w", f.name(), err)
	return f
}

func (f finding) name() string {
	if f.File != "" {
		return f.File
	}
	return f.Session
}

func (p *program) showFinding(f finding) {
	if f.Verdict != verdictIntact {
		p.term.line("%s %s", f.Verdict, f.name())
		return
	}
	if f.Ledger != nil {
		p.term.line("%s %s: %s", f.Verdict, f.name(), entries(f.Ledger.Entries))
		p.showChain(filepath.Base(f.File), f.Ledger)
		return
	}
	state := "open"
	if f.Closed {
		state = "closed"
	}
	if f.Running > 0 {
		state = fmt.Sprintf("turn %d has not ended: it runs, or its process died", f.Running)
	}
	p.term.line("%s %s: %s, %s", f.Verdict, f.name(), count(f.Turns, "turn"), state)
	p.showChain(record.ExecFile, f.Exec)
	p.showChain(record.EvidenceFile, f.Evidence)
	if f.Uncommitted > 0 {
		why := "its process died"
		if f.Running > 0 {
			why = "it runs, " + why
		}
		p.term.line("  turn %d has evidence that no turn.end committed: %s, or %s was cut", f.Turns+1, why, record.ExecFile)
	}
	if f.Superseded > 0 {
		p.term.line("  evidence was recorded and computed again %s: a process died before turn.end, or %s was cut", count(f.Superseded, "time"), record.ExecFile)
	}
	if f.Erased > 0 {
		p.term.line("  %s erased, as recorded", count(f.Erased, "blob"))
	}
}

func (p *program) showChain(name string, c *chain) {
	p.term.line("  %s: head %d %s", name, c.Entries, c.Root)
	if c.Torn != "" {
		p.term.line("  %s: the last line was not finished: %s", name, c.Torn)
	}
	if c.ClockSteps > 0 {
		p.term.line("  %s: the clock stepped back %s", name, count(c.ClockSteps, "time"))
	}
}
