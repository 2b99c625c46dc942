package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/audit"
	"github.com/agenthost/agenthost/host/record"
)

func (p *program) showTracedSession(e *audit.ExplainedSession) {
	p.term.line("session %s, plane %s, %s", e.ID, e.Plane, e.State)
	p.term.line("opened %s", e.Opened.Format(time.RFC3339))
	p.term.line("package %s %s  %s", e.Package.ID, e.Package.Version, e.Package.SHA256)
	p.term.line("module %s", e.Module)
	p.showRights("rights of its last turn", e.Rights)
	some(p, e.Turns, p.showTurn)
	p.showMeetings("what it read was published by", e.Sources)
	p.showMeetings("what it published was read by", e.Readers)
}

func (p *program) showTurn(t audit.Turn) {
	status := strings.TrimSpace(strings.Join([]string{t.Status, t.Code, t.Limit}, " "))
	if t.Status == "" {
		status = "has not ended"
	}
	p.term.line("turn %d %s", t.Number, status)
	if t.WorkOrder != "" {
		p.term.line("  work order %s", t.WorkOrder)
	}
	if t.Violations > 0 {
		p.term.line("  %s: agenthost session show tells of what", count(t.Violations, "violation"))
	}
	some(p, t.Reads, func(f record.File) { p.term.line("  read %s", digested(f)) })
	some(p, t.Commands, func(c audit.Command) { p.term.line("  ran %s", commanded(c)) })
	some(p, t.Writes, func(w audit.Write) {
		verb := "published"
		if !w.Published {
			verb = "wrote, not published,"
		}
		p.term.line("  %s %s", verb, content(w.Path, w.SHA256, w.Size))
	})
}

// digested is a file with its content, which is not known of one whose turn ended
// before it was read whole.
func digested(f record.File) string {
	if f.SHA256.IsZero() {
		return f.Path + "  (not read to its end)"
	}
	return content(f.Path, f.SHA256, f.Size)
}

// commanded is a command in words.
func commanded(c audit.Command) string {
	end := record.ExecEnd{Failed: c.Failed, Exit: c.Exit, Signal: c.Signal, Killed: c.Killed}
	how := "exit " + exit(end)
	switch {
	case !c.Ended:
		how = "without an end"
	case c.Failed != "":
		how = "never ran: " + c.Failed
	case c.Killed != "":
		how = "killed: " + c.Killed
	case c.Signal != 0:
		how = fmt.Sprintf("signal %d", c.Signal)
	}
	text := c.Words + ": " + content(c.Program.Path, c.Program.SHA256, c.Program.Size)
	if i := c.Interpreter; i != nil {
		text += ", run by " + content(i.Path, i.SHA256, i.Size)
	}
	return fmt.Sprintf("%s; %s, fence %s, could see %s", text, how, c.Fence, count(int(c.View.Files), "file"))
}

// showUnlisted says how much is not known of what was read.
func (p *program) showUnlisted(n int) {
	if n > 0 {
		p.term.line("%s ran commands: what these read is not known, and not listed here", count(n, "turn"))
	}
}

func (p *program) showMeetings(title string, list []audit.Meeting) {
	if len(list) == 0 {
		return
	}
	p.term.line("%s", title)
	some(p, list, func(m audit.Meeting) {
		p.term.line("  %s  %s, in turn %d", m.Path, short(m.SHA256), m.Turn)
		for i, u := range m.With {
			if i == mostListed {
				p.term.line("    … and %d more; --json lists all", len(m.With)-i)
				break
			}
			p.term.line("    %s", who(u))
		}
	})
}

// who is a use in words: the turn, its package, and the name it had for the file.
func who(u audit.Use) string {
	words := fmt.Sprintf("%s turn %d", u.Session, u.Turn)
	if u.Turn == 0 {
		words = fmt.Sprintf("%s as its %s", u.Session, u.As)
	}
	words += fmt.Sprintf("  %s %s", u.Package, u.Version)
	if u.Path != "" {
		words += "  " + u.Path
	}
	if u.Role != "" {
		words += " as " + u.Role
	}
	switch u.As {
	case audit.AsWritten:
		words += ", not published"
	case audit.AsInterpreter:
		words += ", as interpreter"
	case audit.AsView:
		words += "  as the list of what a command could see"
	}
	return words
}

func (p *program) showWorkOrder(e *audit.ExplainedWorkOrder) {
	p.term.line("work order %s", e.ID)
	switch {
	case e.Order != nil:
		p.showOrder(e)
	case e.FileFault != "":
		p.term.line("nothing can run under it: %s", e.FileFault)
	default:
		p.term.line("its file is not there: nothing can run under it")
	}
	p.term.line("%s under it", count(len(e.Turns), "turn"))
	some(p, e.Turns, func(t audit.OrderedTurn) {
		p.term.line("  %s turn %d  %s %s  %s", t.Session, t.Number, t.Package, t.Version, endOf(t.Status, t.Code))
	})
	switch n := e.Claimed - len(e.Turns); {
	case e.ClaimsFault != "":
		p.term.line("how many turns were claimed is not known: %s", e.ClaimsFault)
	case n > 0:
		p.term.line("%s of it without a record here: removed with a session, or never begun", count(n, "claimed turn"))
	}
}

// showOrder shows what a work order says.
func (p *program) showOrder(e *audit.ExplainedWorkOrder) {
	o := e.Order
	p.term.line("  file %s", e.SHA256)
	if o.Description != "" {
		p.term.line("  %s", o.Description)
	}
	for _, n := range o.Packages {
		p.term.line("  for %s", n)
	}
	if !o.Expires.IsZero() {
		p.term.line("  expires %s", o.Expires.Format(time.RFC3339))
	}
	if o.Turns > 0 {
		p.term.line("  for %s in all, %d of them claimed", count(int(o.Turns), "turn"), e.Claimed)
	}
	p.showRights("at most it grants", e.Rights)
}

func turns(n int) string {
	if n == 0 {
		return "no turn"
	}
	return count(n, "turn")
}

func endOf(status, code string) string {
	if status == "" {
		return "not ended"
	}
	return strings.TrimSpace(status + " " + code)
}

func (p *program) showPath(e *audit.ExplainedPath) {
	p.term.line("file %s", e.Path)
	if n := e.Now; n != nil {
		p.term.line("%s", map[string]string{
			audit.NowPublished:   "what lies there is what was published last",
			audit.NowChanged:     "what lies there is not what was published last: somebody changed it",
			audit.NowGone:        "nothing lies there now",
			audit.NowUnpublished: "what lies there was published by no turn",
			audit.NowUnreadable:  "what lies there cannot be read: " + n.Fault,
		}[n.State])
		if n.SHA256 != nil {
			p.term.line("  %s  %s", n.SHA256, bytesText(n.Size))
		}
	}
	p.term.line("written by %s", turns(len(e.Written)))
	newest := slices.Clone(e.Written)
	slices.Reverse(newest)
	some(p, newest, func(w audit.Written) {
		p.term.line("  %s  %s  %s", w.Time.Format(time.RFC3339), who(w.Use), short(w.SHA256))
		for i, f := range w.Inputs {
			if i == mostListed {
				p.term.line("    … and %d more; --json lists all", len(w.Inputs)-i)
				break
			}
			p.term.line("    it had read %s", digested(f))
		}
	})
	p.showUses("read by", e.Read)
	if len(e.Ran) > 0 {
		p.showUses("run as a command by", e.Ran)
	}
	p.showUnlisted(e.Unlisted)
}

// showUses shows uses of a file or a content, the newest first.
func (p *program) showUses(title string, list []audit.Use) {
	p.term.line("%s %s", title, turns(len(list)))
	newest := slices.Clone(list)
	slices.Reverse(newest)
	some(p, newest, func(u audit.Use) {
		p.term.line("  %s  %s  %s", u.Time.Format(time.RFC3339), who(u), short(u.SHA256))
	})
}

func (p *program) showDigest(e *audit.ExplainedDigest) {
	p.term.line("%s", e.SHA256)
	if len(e.Packages) > 0 {
		p.term.line("in the history of the control plane")
		some(p, e.Packages, func(c audit.DigestChange) { p.term.line("  as %s: %s", c.As, inHistory(c.Change)) })
	}
	if len(e.Ran) > 0 {
		p.term.line("run by %s", count(len(e.Ran), "session"))
		some(p, e.Ran, func(u audit.Use) { p.term.line("  %s", who(u)) })
	}
	p.showUses("made by", e.Made)
	p.showUses("read by", e.Read)
	if len(e.Replaced) > 0 {
		p.showUses("replaced by", e.Replaced)
	}
	if len(e.Commands) > 0 {
		p.showUses("in commands of", e.Commands)
	}
	p.showUnlisted(e.Unlisted)
	p.showLineage("it went into", "published", e.Reached, func(s audit.Step) []audit.Flow { return s.Published })
	p.showLineage("it came from", "read", e.Sources, func(s audit.Step) []audit.Flow { return s.Read })
}

// showLineage sums up the turns on the way from or to a content: those that are
// the fewest steps away first, and what each published or read.
func (p *program) showLineage(title, verb string, steps []audit.Step, files func(audit.Step) []audit.Flow) {
	if len(steps) == 0 {
		p.term.line("%s no turn", title)
		return
	}
	sessions, contents := map[string]bool{}, map[string]bool{}
	for _, s := range steps {
		sessions[string(s.Session)] = true
		for _, f := range files(s) {
			if f.Path != "" {
				contents[f.SHA256.String()] = true
			}
		}
	}
	p.term.line("%s %s of %s, which %s %s", title, count(len(steps), "turn"), count(len(sessions), "session"), verb, count(len(contents), "content"))
	some(p, steps, func(s audit.Step) {
		p.term.line("  %s  %s turn %d  %s %s  %s", count(s.Steps, "step"), s.Session, s.Turn, s.Package, s.Version, endOf(s.Status, ""))
		shown := 0
		for _, f := range files(s) {
			if f.Path == "" {
				continue // the package that ran
			}
			if shown++; shown > mostListed {
				p.term.line("    … and more; --json lists all")
				break
			}
			order := ""
			if f.OutOfOrder {
				order = ", but by the clocks not in that order"
			}
			p.term.line("    %s %s  %s%s", f.As, f.Path, short(f.SHA256), order)
		}
	})
}
