package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/audit"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// finding is the verdict on one session or one ledger in verify --json.
type finding struct {
	Verdict  string `json:"verdict"`
	Session  string `json:"session,omitempty"`
	Plane    string `json:"plane,omitempty"`
	File     string `json:"file,omitempty"` // the operand, where it was a file or folder; else a ledger of the root
	Turns    int    `json:"turns"`
	Exec     *chain `json:"exec,omitempty"`
	Evidence *chain `json:"evidence,omitempty"`
	Ledger   *chain `json:"ledger,omitempty"` // of a single file
	Running  int    `json:"unfinished_turn,omitempty"`
	Closed   bool   `json:"closed"`
	Erased   int    `json:"erased_blobs,omitempty"`
	// What crashes left: debris that was set aside, entries that the next process
	// sealed, entries of evidence.jsonl that no turn.end committed, or that were
	// computed again; see record.Report.
	Recovered   int    `json:"recovered,omitempty"`
	Accepted    int    `json:"accepted_losses,omitempty"`
	Inherited   uint64 `json:"inherited,omitempty"`
	Uncommitted int    `json:"uncommitted,omitempty"`
	Superseded  int    `json:"superseded,omitempty"`

	Signers  []signer       `json:"signers"`
	Register bool           `json:"register"`                // the register was asked, and agrees
	Receipts []foundReceipt `json:"receipts"`                // that it agrees with
	Lost     int            `json:"lost_segments,omitempty"` // of a register, which was accepted
	Error    *brokenAt      `json:"error,omitempty"`
}

// signer is a host that signed.
type signer struct {
	Key     string `json:"key"`
	Trusted bool   `json:"trusted"`
}

type foundReceipt struct {
	File string      `json:"file"`
	Size uint64      `json:"size"`
	Root ledger.Hash `json:"root"`
	Host string      `json:"host"`
}

// chain says where a ledger ends.
type chain struct {
	Entries    uint64      `json:"entries"`
	Hash       ledger.Hash `json:"hash"`
	Root       ledger.Hash `json:"root"`
	Sealed     uint64      `json:"sealed"` // of the entries
	Of         uint64      `json:"of"`     // entries
	Final      bool        `json:"final"`
	Checkpoint string      `json:"checkpoint,omitempty"` // the last one, as a signed note
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

// showVerdicts prints what was found. The error is of the worst.
func (p *program) showVerdicts(verdicts []audit.Verdict) error {
	if p.json {
		findings := make([]finding, len(verdicts))
		for i := range verdicts {
			findings[i] = findingOf(&verdicts[i])
		}
		if err := p.term.value(map[string]any{"findings": findings}); err != nil {
			return err
		}
	}
	var (
		worst error
		grade int
		bad   int
		good  int // that a receipt could be of
		loose int // and nothing outside of the root says so
	)
	for i := range verdicts {
		v := &verdicts[i]
		if !p.json {
			p.showJudged(v)
		}
		if v.Err != nil {
			bad++
			if g := gradeOf(v.Word); g > grade {
				worst, grade = fmt.Errorf("%s: %w", nameOf(v), v.Err), g
			}
		} else if v.Word == audit.Verified && (v.Session != "" || !v.Single) {
			if good++; !v.Anchored() {
				loose++
			}
		}
	}
	switch {
	case p.json:
	case len(verdicts) == 0:
		p.term.line("no sessions")
	case loose > 0 && loose == good:
		p.term.line("not anchored outside this root: keep a receipt elsewhere (agenthost run --checkpoint-out FILE) and give it with --receipt")
	case loose > 0:
		p.term.line("%d of %s: not anchored outside this root", loose, count(good, "session"))
	}
	if worst == nil {
		return nil
	}
	f := explain(worst)
	if errors.Is(worst, audit.ErrNoSigner) {
		f = &failure{message: worst.Error(), hint: "verify the folder that both are in", code: exitRefused, err: worst}
	}
	if errors.Is(worst, audit.ErrNoSeal) {
		f = &failure{message: worst.Error(), hint: "verify the session, or the folder with both of its ledgers", code: exitRefused, err: worst}
	}
	if bad > 1 {
		more := *f
		more.message = fmt.Sprintf("%d of %s; the first: %s", bad, count(len(verdicts), "record"), f.message)
		return &more
	}
	return f
}

// gradeOf orders words by how bad they are.
func gradeOf(word string) int {
	switch word {
	case audit.Broken:
		return 3
	case audit.NotReadable:
		return 2
	}
	return 1
}

func findingOf(v *audit.Verdict) finding {
	r := &v.Record
	f := finding{
		Verdict: v.Word, Session: v.Session, Plane: v.Plane, File: v.File,
		Turns: len(r.Turns), Running: r.Unfinished, Closed: r.Closed, Erased: r.Erased,
		Recovered: r.Recovered, Accepted: r.Accepted, Inherited: r.Inherited, Uncommitted: r.Uncommitted, Superseded: r.Superseded,
		Signers: []signer{}, Register: v.Registered, Receipts: []foundReceipt{}, Lost: v.Lost,
	}
	if v.Single {
		f.Ledger = chainOf(v.Ledger)
	} else {
		f.Exec, f.Evidence = chainOf(r.Exec), chainOf(r.Evidence)
	}
	for _, h := range v.Hosts {
		f.Signers = append(f.Signers, signer{h.String(), v.Trusts(h)})
	}
	for _, r := range v.Receipts {
		f.Receipts = append(f.Receipts, foundReceipt{r.Name, r.Checkpoint.Size, r.Checkpoint.Root, r.Host.String()})
	}
	var at *ledger.IntegrityError
	switch {
	case errors.As(v.Err, &at):
		f.Error = &brokenAt{filepath.Base(at.File), at.Line, at.Seq, at.Offset, at.Reason}
	case v.Err != nil:
		f.Error = &brokenAt{Reason: v.Err.Error()}
	}
	return f
}

func chainOf(r ledger.Report) *chain {
	c := &chain{Entries: r.Entries, Hash: r.Head.Hash, Root: r.Head.Root, Sealed: r.Sealed, Of: r.Entries, Final: r.Final, ClockSteps: r.ClockSteps}
	if len(r.Checkpoint.Signatures) > 0 {
		c.Checkpoint = r.Checkpoint.String()
	}
	if r.Torn != nil {
		c.Torn = r.Torn.Error()
	}
	return c
}

func nameOf(v *audit.Verdict) string {
	if v.File != "" {
		return v.File
	}
	return v.Session
}

func (p *program) showJudged(v *audit.Verdict) {
	switch {
	case v.Word == audit.Pruned:
		p.term.line("%s %s: its record was removed, as the register says; nothing is left to compare with a receipt", v.Word, nameOf(v))
		return
	case v.Word != audit.Verified && v.Word != audit.SignerUnknown:
		p.term.line("%s %s", v.Word, nameOf(v))
		p.term.line("  %v", v.Err)
		return
	case v.Single:
		p.term.line("%s %s: %s", v.Word, nameOf(v), entries(v.Ledger.Entries))
		p.showChain(filepath.Base(v.File), v.Ledger)
	default:
		p.showRecord(v)
	}
	for _, h := range v.Hosts {
		unknown := ""
		if !v.Trusts(h) {
			unknown = ", which is not trusted here"
		}
		p.term.line("  signed by %s%s", archive.KeyName(h.String()), unknown)
	}
	if v.Lost > 0 {
		p.term.line("  the loss of %s was accepted", count(v.Lost, "segment"))
	}
	if v.Registered {
		p.term.line("  the register knows it")
	}
	for _, r := range v.Receipts {
		p.term.line("  it contains the %s of receipt %s, signed by %s", entries(r.Checkpoint.Size), r.Name, archive.KeyName(r.Host.String()))
	}
}

func (p *program) showRecord(v *audit.Verdict) {
	r := &v.Record
	state := "open"
	if r.Closed {
		state = "closed"
	}
	if r.Unfinished > 0 {
		state = fmt.Sprintf("turn %d has not ended: it runs, or its process died", r.Unfinished)
	}
	p.term.line("%s %s: %s, %s", v.Word, nameOf(v), count(len(r.Turns), "turn"), state)
	p.showChain(record.ExecFile, r.Exec)
	p.showChain(record.EvidenceFile, r.Evidence)
	if r.Inherited > 0 {
		p.term.line("  %s of a process that died without sealing them, sealed by the next", entries(r.Inherited))
	}
	if r.Accepted > 0 {
		p.term.line("  not all that was written is there: %s", acceptedLosses(r.Accepted))
	}
	if r.Recovered > 0 {
		p.term.line("  debris of a crash was set aside %s", count(r.Recovered, "time"))
	}
	if r.Uncommitted > 0 {
		why := "its process died"
		if r.Unfinished > 0 {
			why = "it runs, " + why
		}
		p.term.line("  turn %d has evidence that no turn.end committed: %s, or %s was cut", len(r.Turns)+1, why, record.ExecFile)
	}
	if r.Superseded > 0 {
		p.term.line("  evidence was recorded and computed again %s: a process died before turn.end, or %s was cut", count(r.Superseded, "time"), record.ExecFile)
	}
	if r.Erased > 0 {
		p.term.line("  %s erased, as recorded", count(r.Erased, "blob"))
	}
}

func (p *program) showChain(name string, r ledger.Report) {
	end := ""
	if r.Final {
		end = ", for good"
	}
	p.term.line("  %s: sealed %d of %d%s, root %s", name, r.Sealed, r.Entries, end, r.Head.Root)
	if r.Torn != nil {
		p.term.line("  %s: the last line was not finished: %s", name, r.Torn)
	}
	if r.ClockSteps > 0 {
		p.term.line("  %s: the clock stepped back %s", name, count(r.ClockSteps, "time"))
	}
}
