package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
)

func (p *program) ledgerRepairCommand() *cli.Command {
	return &cli.Command{
		Name:      "repair",
		Usage:     "go on with a record that was damaged, and keep on record what was lost",
		ArgsUsage: "[SESSION|FILE]",
		Description: `Says what is wrong with the record of a session, and what would be lost: nothing is
changed. With --accept-loss all is kept that is proven by seals of hosts that are
trusted, and the rest is set aside in files beside it, whose names end in .torn-N;
nothing is deleted. Evidence that was lost is computed anew from what happened. Entries
under a seal say what was given up, and verify counts them as accepted losses for good.

With --register the register of a plane is repaired: which sessions there were, and how
far they went, is taken from the disk. A session that is not whole is left as it is. A
FILE is a ledger that is no session's, named from the root: ledger/governance.jsonl,
planes/ho2/ledger/context.jsonl or one of planes/ho2/ledger/work_orders.

Look for a copy first. A record that is damaged without a crash was changed by somebody,
and what is missing is what somebody did not want there. In a control plane this needs
the admin token, and who accepted the loss is recorded in ledger/governance.jsonl.`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "accept-loss", Usage: "repair it: what is said to be lost is set aside"},
			&cli.StringFlag{Name: "register", Usage: "repair the register of `PLANE` (ho1, ho2, ho3), not a session"},
			yesFlag(),
		}, tokenFlags()...),
		Action: p.inRoot(0, 1, p.ledgerRepair),
	}
}

// repaired is what ledger repair --json prints.
type repaired struct {
	Session  string         `json:"session_id,omitempty"`
	Register string         `json:"register,omitempty"` // its plane
	File     string         `json:"file,omitempty"`     // from the root
	Fault    string         `json:"fault,omitempty"`
	Repaired bool           `json:"repaired"`
	Lost     []session.Loss `json:"lost,omitempty"`
	Turns    int            `json:"turns,omitempty"`
	Taken    []string       `json:"taken,omitempty"`
	Left     []string       `json:"left,omitempty"`
	Gone     []string       `json:"gone,omitempty"`
}

func (p *program) ledgerRepair(c *cli.Context, root *session.Root, given []string) error {
	of := c.String("register")
	switch {
	case (of == "") == (len(given) == 0):
		return usageError("ledger repair needs a SESSION or --register PLANE, one of them", "as agenthost ledger repair @last")
	case of != "":
		return p.repairRegister(c, root, of)
	}
	if strings.HasSuffix(given[0], ".jsonl") {
		return p.repairLedger(c, root, given[0])
	}
	id, in, err := findSession(root, given[0])
	if err != nil {
		return err
	}
	found, err := root.Examine(c.Context, id)
	if err != nil {
		return repairError(id, err)
	}
	if found.Fault == nil {
		return p.showRepaired(repaired{Session: string(id)}, "nothing is wrong with "+string(id))
	}
	what := repaired{Session: string(id), Fault: found.Fault.Error(), Lost: found.Lost, Turns: found.Turns}
	return p.accepted(c, root, what, lossText(found), record.LedgerRepair{Ledger: string(id), Plane: in, Fault: what.Fault}, func() (repaired, error) {
		done, err := root.Repair(c.Context, id)
		if err != nil {
			return what, repairError(id, err)
		}
		what.Lost = done.Lost
		return what, nil
	})
}

// repairLedger repairs a ledger that is no session's.
func (p *program) repairLedger(c *cli.Context, root *session.Root, name string) error {
	found, err := plane.RepairLedger(c.Context, root, name, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usageError(fmt.Sprintf("%.200q is no ledger of this root that can be repaired so", name), "name it from the root, as ledger/governance.jsonl; a session by its id, a register with --register PLANE")
	case err != nil:
		return repairError("", err)
	case found.Fault == nil:
		return p.showRepaired(repaired{File: name}, "nothing is wrong with "+name)
	}
	what := repaired{File: name, Fault: found.Fault.Error()}
	text := fmt.Sprintf("%s from byte %d on, %s, would be set aside", name, found.Offset, bytesText(found.Length))
	if found.Length > 0 {
		what.Lost = []session.Loss{{File: path.Base(name), Offset: found.Offset, Length: found.Length}}
	} else {
		text = "the register has something else of it: what is there would count"
	}
	return p.accepted(c, root, what, []string{text}, record.LedgerRepair{Ledger: name, Fault: what.Fault}, func() (repaired, error) {
		if _, err := plane.RepairLedger(c.Context, root, name, true); err != nil {
			return what, repairError("", err)
		}
		if root.Control() && strings.HasPrefix(name, "ledger/") {
			p.term.note("what is installed may be more than it says now: agenthost control rebuild-registry, then agenthost integrity-check; install what is missing there again")
		}
		return what, nil
	})
}

func (p *program) repairRegister(c *cli.Context, root *session.Root, of string) error {
	if !slices.Contains(session.Planes(), of) {
		return usageError(fmt.Sprintf("%.40q is no plane", of), "say --register ho1, ho2 or ho3")
	}
	found, err := root.RepairRegister(c.Context, of, nil, false)
	if err != nil {
		return rootError(err, "nothing was changed")
	}
	if found.Fault == nil {
		return p.showRepaired(repaired{Register: of}, "nothing is wrong with the register of "+of)
	}
	what := repaired{Register: of, Fault: found.Fault.Error()}
	text := []string{"what it said behind the last seal that is proven would be set aside, and sessions be taken as they are"}
	file := "planes/" + of + "/ledger/" + record.RegisterFile
	return p.accepted(c, root, what, text, record.LedgerRepair{Ledger: file, Plane: of, Fault: what.Fault}, func() (repaired, error) {
		others, left, err := plane.Standings(root, of)
		if err != nil {
			return what, err
		}
		done, err := root.RepairRegister(c.Context, of, others, true)
		if err != nil {
			return what, rootError(err, "repair it again, which finishes it")
		}
		for _, id := range slices.Sorted(maps.Keys(done.Left)) {
			what.Left = append(what.Left, string(id))
		}
		what.Left = append(what.Left, slices.Sorted(maps.Keys(left))...)
		what.Taken, what.Gone = done.Taken, done.Gone
		return what, nil
	})
}

// accepted tells what is wrong, and repairs it if that was asked for.
func (p *program) accepted(c *cli.Context, root *session.Root, what repaired, loss []string, entry record.LedgerRepair, repair func() (repaired, error)) error {
	name := cmp.Or(what.Session, what.File, "the register of "+what.Register)
	if !c.Bool("accept-loss") {
		if p.json {
			if err := p.term.value(what); err != nil {
				return err
			}
			return &failure{code: exitIntegrity}
		}
		p.term.line("%s: %s", name, what.Fault)
		for _, l := range loss {
			p.term.line("  %s", l)
		}
		return &failure{
			message: name + " is not what was written", code: exitIntegrity,
			hint: "take it from a backup; --accept-loss goes on without what is lost",
		}
	}
	if err := p.sure(c, "give up what is lost of "+name, "say --yes; without --accept-loss it says what is lost"); err != nil {
		return err
	}
	do := func() error {
		done, err := repair()
		if err != nil {
			return err
		}
		done.Repaired = true
		return p.showRepaired(done, "repaired "+name)
	}
	if !root.Control() {
		return do()
	}
	pl, err := p.controlPlane(root)
	if err != nil && explain(err).code == exitIntegrity {
		// What would vouch for the token, and take the entry, is what is broken.
		token, err := p.adminToken(c)
		if err == nil {
			err = plane.Admits(root, token)
		}
		if err != nil {
			return err
		}
		return do()
	}
	if err != nil {
		return err
	}
	return p.changed(c, pl, record.KindLedgerRepair, entry.Ledger, func(ch *plane.Change) error {
		if err := ch.Repair(entry); err != nil {
			return err
		}
		return do()
	})
}

// lossText says what is lost of a session.
func lossText(d session.Damage) []string {
	var lines []string
	for _, l := range d.Lost {
		lines = append(lines, fmt.Sprintf("%s from byte %d on, %s, would be set aside", l.File, l.Offset, bytesText(l.Length)))
	}
	if len(lines) == 0 && d.Anew == 0 {
		lines = append(lines, fmt.Sprintf("the register knows %d entries, and there are %d: what is there would count", d.Registered, d.Kept))
	}
	if d.Anew > 0 {
		lines = append(lines, "evidence that is lost would be computed anew")
	}
	return append(lines, count(d.Turns, "turn")+" would be kept")
}

func (p *program) showRepaired(done repaired, text string) error {
	if p.json {
		return p.term.value(done)
	}
	p.term.line("%s", text)
	for _, l := range done.Lost {
		p.term.line("  %s.torn-%d holds %s", l.File, l.Offset, bytesText(l.Length))
	}
	if len(done.Taken) > 0 {
		p.term.line("  taken as they are: %s", strings.Join(done.Taken, ", "))
	}
	if len(done.Left) > 0 {
		p.term.line("  not whole, and left as they are: %s", strings.Join(done.Left, ", "))
	}
	if len(done.Gone) > 0 {
		p.term.line("  named there, and gone: %s", strings.Join(done.Gone, ", "))
	}
	return nil
}

// acceptedLosses is how many there are, for people.
func acceptedLosses(n int) string {
	if n == 1 {
		return "1 accepted loss"
	}
	return fmt.Sprintf("%d accepted losses", n)
}

// repairError gives a way out where a session cannot be repaired.
func repairError(id session.ID, err error) error {
	if errors.Is(err, session.ErrRegister) {
		f := explain(err)
		f.hint = "repair the register first: agenthost ledger repair --register PLANE"
		return f
	}
	var unknown *record.UnknownHostError
	if errors.As(err, &unknown) {
		return err
	}
	if id == "" {
		return rootError(err, "repair it again, which finishes it")
	}
	f := explain(sessionError(id, err, "repair it again, which finishes it"))
	if f.code == exitIntegrity {
		f.hint = "take it from a backup"
	}
	return f
}
