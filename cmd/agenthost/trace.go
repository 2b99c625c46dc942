package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/audit"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
)

// exitUnknown is the status where nothing is known of what was asked for.
const exitUnknown = 1

func (p *program) traceCommand() *cli.Command {
	return &cli.Command{
		Name:  "trace",
		Usage: "explain a package, session, work order, file or digest from the record",
		Description: `What can be explained, each from ledgers that are verified for it:

  PKG-…, PKG-…@VERSION  where it is installed, from which archive, signed by whom,
                        what it depends on and what on it, its rights in words, its
                        history, and the sessions that ran it
  SES-…, @last          what it read and published, from which sessions that came,
                        and which read it
  WO-…                  the work order, and the turns under it
  docs/a.md             who wrote and who read the file, and whether it still is what
                        was published; output/SES-…/x, deps:PKG-…/x as ledgers spell it
  /usr/bin/git          the turns whose commands it was the program or interpreter of
  sha256:HEX            who read or made that content, all that was made from it over
                        any number of turns, and all it was made from; 12 digits of
                        it will do

What a command read is not known, only what it could see, and that is not searched:
answers say how many turns ran commands.

Lists are cut short for people; --json has all of them. What is not known here ends
with status 1. A session that cannot be read is named, and the status is 4. An index
in the user's cache folder makes the second question fast; no answer depends on it.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "explain", Usage: "what to explain: an `ID`, a digest or the name of a file"},
		},
		Action: p.inRoot(0, 0, p.trace),
	}
}

func (p *program) trace(c *cli.Context, root *session.Root, _ []string) error {
	what := c.String("explain")
	if what == "" {
		return usageError("trace needs --explain", audit.Forms)
	}
	control, err := openPlane(root)
	if err != nil {
		return err
	}
	folder, _ := host.CacheDir() // without one it only takes longer
	answer, err := audit.New(root, control, folder).Explain(c.Context, what, func(done, of int) {
		p.term.progress("reading %d of %s", done, count(of, "ledger"))
	})
	if err != nil {
		return traceError(err)
	}
	if p.json {
		err = p.term.value(answer)
	} else {
		p.showExplanation(answer)
	}
	return errors.Join(err, orNil(notRead(answer.Unreadable)))
}

// openPlane is the control plane of a root, nil if it is none.
func openPlane(root *session.Root) (*plane.Plane, error) {
	if !root.Control() {
		return nil, nil
	}
	control, err := plane.Open(root)
	return control, planeError(err)
}

// traceError gives the user a way out where nothing could be explained.
func traceError(err error) error {
	var (
		request    *audit.RequestError
		unknown    *audit.UnknownError
		unreadable *audit.UnreadableError
	)
	switch {
	case errors.As(err, &request):
		return usageError(request.What, request.Hint)
	case errors.As(err, &unreadable):
		return &failure{message: err.Error(), hint: "agenthost verify tells what is wrong with it", code: exitIntegrity, err: err}
	case !errors.As(err, &unknown):
		return err
	}
	f := &failure{message: err.Error(), code: exitUnknown, err: err}
	near := nearestFew(unknown.What, unknown.Known, 3)
	switch {
	case len(near) > 0:
		f.hint = "did you mean " + strings.Join(near, " or ") + "?"
	case unknown.Kind == audit.KindPath && !strings.ContainsAny(unknown.What, "/."):
		f.code, f.hint = exitUsage, "write "+audit.Forms
	case unknown.Kind == audit.KindPath && strings.HasPrefix(unknown.What, "/"):
		f.hint = "by an absolute path programs are known that commands ran; files by the names that ledgers have for them, such as docs/a.md"
	case unknown.Kind == audit.KindPath && strings.ContainsAny(unknown.What, "*?["):
		f.hint = "name one file: patterns are not expanded"
	case unknown.Kind == audit.KindPath:
		f.hint = "files are known by the names that ledgers have for them, such as docs/a.md or output/SES-…/a.md; agenthost ledger show prints them"
	case unknown.Kind == audit.KindPackage:
		f.hint = "packages are known once they were packed into a control plane, installed, or run"
	case unknown.Kind == audit.KindWorkOrder:
		f.hint = "work orders are in planes/ho2/work_orders of the root"
	case unknown.Kind == audit.KindSession:
		f.hint = "agenthost session list shows those of this root"
	}
	if lost := notRead(unknown.Unreadable); lost != nil {
		f.also = append(f.also, lost)
	}
	return f
}

// notRead tells of sessions that are not in an answer; nil if there are none.
func notRead(list []audit.Unreadable) *failure {
	if len(list) == 0 {
		return nil
	}
	were := "were"
	if len(list) == 1 {
		were = "was"
	}
	return &failure{
		message: fmt.Sprintf("%s could not be read and %s left out; the first: %s: %s", count(len(list), "session"), were, list[0].Session, list[0].Error),
		hint:    "agenthost verify tells what is wrong with each", code: exitIntegrity,
	}
}

// nearestFew are up to most of the known names that a person may have meant: the
// nearest, and those that are hardly farther. Guests name files, as many and as
// long as they can, so only so many are looked at, and none that cannot be near.
func nearestFew(word string, known []string, most int) []string {
	const mostKnown, longest = 10_000, 256
	length := utf8.RuneCountInString(word)
	limit := min(length, length/3+2)
	if length > longest {
		return nil
	}
	type candidate struct {
		name string
		far  int
	}
	var near []candidate
	for looked := 0; looked < mostKnown && len(known) > 0; known = known[1:] {
		if n := utf8.RuneCountInString(known[0]); max(n-length, length-n) >= limit {
			continue
		}
		looked++
		if far := distance(word, known[0]); far < limit {
			near = append(near, candidate{known[0], far})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return a.far - b.far })
	var names []string
	for _, c := range near[:min(most, len(near))] {
		if c.far <= near[0].far+1 {
			names = append(names, c.name)
		}
	}
	return names
}

// mostListed is how much of a list people are shown.
const mostListed = 10

// some shows the first of a list, and says that there are more.
func some[T any](p *program, list []T, show func(T)) {
	for i, item := range list {
		if i == mostListed {
			p.term.line("  … and %d more; --json lists all", len(list)-i)
			break
		}
		show(item)
	}
}

func (p *program) showExplanation(e *audit.Explanation) {
	switch {
	case e.Package != nil:
		p.showPackage(e.Package)
	case e.Session != nil:
		p.showTracedSession(e.Session)
	case e.Pruned != nil:
		p.term.line("session %s, whose record was removed", e.ID)
		p.term.line("  %s", inHistory(*e.Pruned))
	case e.WorkOrder != nil:
		p.showWorkOrder(e.WorkOrder)
	case e.Path != nil:
		p.showPath(e.Path)
	case e.Digest != nil:
		p.showDigest(e.Digest)
	}
	if n := len(e.Unreadable); n > 0 {
		p.term.line("%s could not be read and %s not in this answer", count(n, "session"), map[bool]string{true: "is", false: "are"}[n == 1])
		for _, u := range e.Unreadable {
			p.term.line("  %s  %s  %s", u.Session, u.Plane, u.Error)
		}
	}
}

func (p *program) showPackage(e *audit.ExplainedPackage) {
	p.term.line("package %s", strings.TrimSuffix(e.ID+" "+e.Version, " "))
	for _, i := range e.Installed {
		p.showInstalled(i)
	}
	if len(e.Installed) == 0 {
		p.term.line("not installed here")
	}
	if s := e.Stored; s != nil {
		p.term.line("archive %s", content(s.File, s.Archive, s.Size))
		p.term.line("  version %s  %s", s.Version, s.SHA256)
	}
	p.showRights("rights its newest session was granted", e.Rights)
	if len(e.History) > 0 {
		p.term.line("history")
		earlier := max(0, len(e.History)-mostListed)
		if earlier > 0 {
			p.term.line("  … and %d earlier; --json lists all", earlier)
		}
		for _, c := range e.History[earlier:] {
			p.term.line("  %s", inHistory(c))
		}
	}
	p.term.line("run by %s", count(len(e.Sessions), "session"))
	some(p, e.Sessions, func(r audit.Run) {
		p.term.line("  %s  %s  %s  %s  %s  %s", r.Session, r.Plane, r.Version, count(r.Turns, "turn"), strings.TrimSpace(r.Status+" "+r.Code), r.State)
	})
	p.showReaders(e.Readers)
}

func (p *program) showReaders(list []audit.Reader) {
	if len(list) == 0 {
		return
	}
	p.term.line("its files were read by %s", count(len(list), "session"))
	some(p, list, func(r audit.Reader) {
		p.term.line("  %s  %s  %s %s  %s", r.Session, r.Plane, r.Package, r.Version, count(len(r.Files), "file"))
	})
}

func (p *program) showInstalled(i audit.InstalledPackage) {
	p.term.line("installed in %s, %s", i.Plane, i.Status)
	p.term.line("  version %s  %s", i.Version, i.SHA256)
	for _, f := range [][2]string{{"name", i.Name}, {"tier", i.Tier}, {"spec", i.SpecID}} {
		if f[1] != "" {
			p.term.line("  %s %s", f[0], f[1])
		}
	}
	signed := "not signed"
	if i.Signer != "" {
		signed = "signed by " + i.Signer
	}
	p.term.line("  %s", signed)
	p.term.line("  installed %s by %s, entry %d of ledger/governance.jsonl", i.InstalledAt.Format(time.RFC3339), actor(i.By), i.Seq)
	for _, d := range i.Dependencies {
		gets := "which is not installed"
		if d.Plane != "" {
			gets = fmt.Sprintf("gets %s of %s", d.Version, d.Plane)
		}
		p.term.line("  depends on %s, %s", strings.TrimSpace(d.ID+" "+d.Range), gets)
	}
	for _, d := range i.Dependents {
		p.term.line("  needed by %s %s of %s%s", d.ID, d.Version, d.Plane, map[bool]string{false: ", as " + d.Range}[d.Range == ""])
	}
	for _, r := range i.Rights {
		p.term.line("  %s", r)
	}
	if i.Fault != "" {
		p.term.line("  its rights are not told: %s", i.Fault)
	}
}

// showRights shows what someone may do in words.
func (p *program) showRights(title string, words []string) {
	if len(words) == 0 {
		return
	}
	p.term.line("%s", title)
	for _, w := range words {
		p.term.line("  %s", w)
	}
}

func actor(a record.Actor) string {
	if a.User != "" {
		return a.User
	}
	return fmt.Sprintf("user %d", a.UID)
}

// replacing says what a package was installed in the place of: of itself where its
// files were not what was installed.
func replacing(before, now record.Package) string {
	if before == now {
		return " anew"
	}
	return ", in the place of " + before.Version
}

// inHistory is an entry of governance.jsonl in words.
func inHistory(c audit.Change) string {
	words, by := c.Kind, record.Actor{UID: -1}
	switch b := c.Entry.(type) {
	case record.PackageStore:
		words, by = fmt.Sprintf("packed %s %s", b.Package.Version, short(b.Package.SHA256)), b.By
	case record.PackageInstall:
		words, by = fmt.Sprintf("installed %s %s in %s", b.Package.Version, short(b.Package.SHA256), b.Plane), b.By
		if b.Replaces != nil {
			words += replacing(*b.Replaces, b.Package)
		}
		if b.Forced {
			words += ", an earlier version, as was demanded"
		}
		if b.Rotated {
			words += ", with another signer"
		}
		if n := len(b.Gained); n > 0 {
			words += fmt.Sprintf(", with %s more", count(n, "right"))
		}
	case record.PackageUninstall:
		words, by = fmt.Sprintf("uninstalled %s from %s", b.Package.Version, b.Plane), b.By
	case record.ChangeRefused:
		words, by = fmt.Sprintf("was refused %s (%s): %s", b.Change, b.Code, b.Message), b.By
	case record.SessionPrune:
		words, by = fmt.Sprintf("removed it from %s, with %d and %d entries in its ledgers", b.Plane, b.Exec.Size, b.Evidence.Size), b.By
	case record.LedgerRepair:
		words, by = fmt.Sprintf("accepted what was lost of it: %s", b.Fault), b.By
	case record.SessionErase:
		words, by = fmt.Sprintf("erased %s of it: %s", count(len(b.Blobs), "blob"), b.Why), b.By
	}
	if by.UID >= 0 {
		words = actor(by) + " " + words
	}
	return c.Time.Format(time.RFC3339) + "  " + words
}
