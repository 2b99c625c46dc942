package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/record"
)

// report tells how a turn went: the result on standard output, the rest on
// standard error.
func (p *program) report(in place, r *host.Result) error {
	for _, f := range r.Published {
		p.term.note("published %s", content(host.GuestName(r.Session, f.Path), f.SHA256, f.Size))
	}
	if r.Status == record.StatusDryRun {
		for _, f := range r.Withheld {
			p.term.note("would publish %s", content(host.GuestName(r.Session, f.Path), f.SHA256, f.Size))
		}
	}
	p.term.note("%s; fuel %s, %s", callsInWords(r), quantity(r.Fuel), r.Duration.Round(time.Millisecond))
	p.term.note("session %s (agenthost ledger show @last)", r.Session)
	if outDir, ok := publishedOut(r); ok {
		output := in.output
		if output == "" {
			output = filepath.Join(forPeople(in.root.Path()), filepath.FromSlash(outDir))
		}
		p.term.note("files are in %s", output)
	}
	if keeps := r.Status == record.StatusBlocked || r.Status == record.StatusAborted; keeps && len(r.Evidence.RealizedWrites) > 0 {
		p.term.note("what it wrote is kept in %s (%s)", filepath.Join(forPeople(in.root.Path()), "planes", in.plane, "sessions", r.Session, "blocked", fmt.Sprint(r.Number)),
			p.command("blocked", "diff", fmt.Sprintf("%s:%d", r.Session, r.Number)))
	}
	if in.stays() {
		p.term.note("turn %d; the session is open: %s", r.Number, p.command("run", in.again, "--session", r.Session))
	}
	if r.NoFence != nil {
		p.term.failure(&failure{
			message: "commands were refused, because this machine cannot hold them in the fence they need: " + r.NoFence.Reason,
			hint:    "agenthost doctor tells what it lacks, and what to do about it",
		})
	}
	var failed *failure
	if r.Status != record.StatusOK && r.Status != record.StatusDryRun {
		failed = &failure{message: r.Message, hint: r.Hint, code: statusOf(r)}
	}
	if p.json {
		return p.envelope(r.Envelope(), failed)
	}
	if r.Output != nil {
		p.term.result(r.Output)
	}
	if r.Message != "" && failed == nil {
		p.term.failure(&failure{message: r.Message, hint: r.Hint})
	}
	return orNil(failed)
}

// envelope prints e, and then fails with f where there is one.
func (p *program) envelope(e host.Envelope, f *failure) error {
	if err := p.term.value(e); err != nil {
		return err
	}
	return orNil(f)
}

// orNil keeps a nil failure from becoming an error that is not nil.
func orNil(f *failure) error {
	if f == nil {
		return nil
	}
	return f
}

// statusOf is the exit status of a turn that did not end well.
func statusOf(r *host.Result) int {
	switch {
	case r.Status == record.StatusBlocked:
		return exitBlocked
	case r.Code == record.CodeLimit:
		return exitLimit
	case r.Code == record.CodeHost:
		return exitHost
	case r.Status == record.StatusRefused:
		return exitRefused
	}
	return exitGuest
}

func callsInWords(r *host.Result) string {
	words := count(int(r.Calls), "call") + " mediated"
	if r.Refused > 0 {
		words += fmt.Sprintf(", %d hidden or refused", r.Refused)
	}
	return words + commandsInWords(len(r.Evidence.ExternalCalls), r.Evidence.Fence)
}

// quantity shortens a large number.
func quantity(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1_000_000_000, "G"}, {1_000_000, "M"}, {1_000, "k"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f%s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprint(n)
}

// publishedOut is the folder of what was published under out/.
func publishedOut(r *host.Result) (string, bool) {
	folder := "output/" + r.Session
	for _, f := range r.Published {
		if strings.HasPrefix(f.Path, folder+"/") {
			return folder, true
		}
	}
	return "", false
}

// forPeople is a path for people: relative to the current folder where it lies
// beneath it.
func forPeople(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(here, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}
