package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) ledgerShowCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "print a ledger as a timeline",
		ArgsUsage: "SESSION|FILE|FOLDER",
		Description: `A SESSION is an id, the beginning of one, or @last, the one in which something
happened last. Each line says when something happened since the session was
opened, what it was, how it was decided, and on which name. The ledger and its seals
are verified while it is read; the first bad line ends it with status 4. Whether its
host is trusted, agenthost verify says.
Flags choose among the lines: what all of them choose is shown. Seals are counted at
the end, and are lines with --kind seal only. On a terminal that is too narrow long
names are cut in the middle; in a pipe nothing is cut. With --json the entries are
printed as they are stored, with their seals.`,
		Flags:  append(filterFlags(), evidenceFlag()),
		Action: p.ledgerShow,
	}
}

// filterFlags choose among the lines of a timeline.
func filterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "turn", Usage: "only what happened in turn `N`"},
		&cli.StringSliceFlag{Name: "kind", Usage: "only entries of a `KIND`, such as op or turn.end"},
		&cli.StringFlag{Name: "path", Usage: "only what is about names that match `GLOB`, such as docs/** or **/*.md"},
		&cli.BoolFlag{Name: "violations", Usage: "only operations that were refused and ended their turn"},
	}
}

// kinds are those of the entries of all ledgers.
func kinds() []string {
	return []string{
		record.KindSessionOpen, record.KindSessionResume, record.KindTurnBegin, record.KindOp, record.KindDigest,
		record.KindExecStart, record.KindExecEnd, record.KindStderr, record.KindTurnEnd, record.KindErased, record.KindSessionClose,
		record.KindViolation, record.KindTurnEvidence, record.KindRecovered, ledger.KindSeal,
		record.KindHostKey, record.KindWorkOrderTurn, record.KindContextSnapshot,
		record.KindControlInit, record.KindTokenRotate, record.KindSignerTrust, record.KindSignerDistrust, record.KindPackageStore,
		record.KindPackageInstall, record.KindPackageUninstall, record.KindRegistryRebuild, record.KindSessionPrune,
		record.KindSessionErase, record.KindLedgerRepair, record.KindChangeRefused,
		record.KindSessionHead, record.KindSessionRepair, record.KindRegisterContinue, record.KindRegisterLost,
	}
}

// filter is what flags choose of a ledger.
type filter struct {
	turn       int // 0: all
	kinds      []string
	path       *capability.Glob
	violations bool
}

func parseFilter(c *cli.Context) (f filter, err error) {
	f.kinds, f.violations = c.StringSlice("kind"), c.Bool("violations")
	if c.IsSet("turn") {
		if f.turn, err = strconv.Atoi(c.String("turn")); err != nil || f.turn < 1 {
			return f, usageError(fmt.Sprintf("--turn %q is not the number of a turn", c.String("turn")), "turns are counted from 1")
		}
	}
	for _, kind := range f.kinds {
		if !slices.Contains(kinds(), kind) {
			hint := "the kinds of a session's entries are " + strings.Join(kinds()[:15], ", ")
			if near := nearest(kind, kinds()); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			return f, usageError(fmt.Sprintf("--kind %s: no entry is of that kind", kind), hint)
		}
	}
	if c.IsSet("path") {
		if f.path, err = capability.ParseGlob(c.String("path")); err != nil {
			var bad *capability.GrantError
			if errors.As(err, &bad) {
				return f, usageError(fmt.Sprintf("--path %q %s", bad.Pattern, bad.Reason), bad.Hint)
			}
			return f, err
		}
	}
	return f, nil
}

// all reports whether nothing was chosen.
func (f *filter) all() bool {
	return f.turn == 0 && len(f.kinds) == 0 && f.path == nil && !f.violations
}

// entry reports whether rows of an entry can be among those chosen.
func (f *filter) entry(e ledger.Entry) bool {
	return (f.turn == 0 || e.Turn == f.turn) && (len(f.kinds) == 0 || slices.Contains(f.kinds, e.Kind))
}

// row reports whether a row of such an entry is one of them.
func (f *filter) row(r row) bool {
	return (!f.violations || r.decision == record.Violated) &&
		(f.path == nil || slices.ContainsFunc(r.names, func(name string) bool { return name != "" && f.path.Match(name) }))
}

// viewer prints the entries of a ledger that a filter chooses.
type viewer struct {
	*program
	filter
	lines   timeline
	heading string // of the turn, not printed yet
	entries uint64
	sealed  uint64 // up to the last seal, that included
	final   bool
	shown   bool
}

// see takes the next entry.
func (v *viewer) see(e ledger.Entry) error {
	v.entries++
	if e.Kind == ledger.KindSeal {
		var b ledger.Seal
		if err := e.Decode(&b); err != nil {
			return err
		}
		v.sealed, v.final = v.entries, b.Final
	}
	if v.json && v.all() {
		v.print(e)
		return nil
	}
	rows := v.lines.rows(e)
	chosen := v.entry(e) && (e.Kind != ledger.KindSeal || v.json || slices.Contains(v.kinds, ledger.KindSeal))
	for _, r := range rows {
		switch {
		case r.heading:
			v.heading = r.text
			continue
		case !chosen || !v.row(r):
			continue
		case v.json:
			v.print(e)
			return nil
		}
		if v.heading != "" {
			v.term.line("%s", v.heading)
			v.heading = ""
		}
		v.term.row(r.text, r.names)
		v.shown = true
	}
	return nil
}

func (v *viewer) print(e ledger.Entry) {
	v.term.stored(e.Line)
	v.shown = true
}

// end says what was seen, once all of it was.
func (v *viewer) end() {
	switch {
	case v.all() && !v.json:
		final := ""
		if v.final {
			final = "; the last seal is final"
		}
		v.term.line("sealed %d of %s%s", v.sealed, entries(v.entries), final)
	case !v.shown && !v.all():
		v.term.note("none of %s is one that the flags choose", entries(v.entries))
	}
}

// viewed is what shows the ledger that was named, as the flags choose, and where it
// lies.
func (p *program) viewed(c *cli.Context) (v viewer, s *source, path string, err error) {
	given, err := p.operands(c, 1, 1)
	if err != nil {
		return v, nil, "", err
	}
	v.program = p
	if v.filter, err = parseFilter(c); err != nil {
		return v, nil, "", err
	}
	if path, err = p.ledgerPath(c, given[0]); err != nil {
		return v, nil, "", err
	}
	if s, err = openSource(path); err == nil {
		v.lines.keys = s.options.Keys
	}
	return v, s, path, err
}

func (p *program) ledgerShow(c *cli.Context) error {
	v, s, path, err := p.viewed(c)
	if err != nil {
		return err
	}
	var torn *ledger.IntegrityError
	for e, err := range ledger.Scan(path, s.options) {
		if errors.As(err, &torn) && torn.Torn {
			break
		}
		if err == nil {
			err = v.see(e)
		}
		if err != nil {
			return openError(path, err)
		}
	}
	v.end()
	if torn != nil {
		p.term.note("the end was not finished: it is being written, or its process died: %v", torn)
	}
	return nil
}
