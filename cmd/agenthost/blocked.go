package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) blockedCommand() *cli.Command {
	const which = `A SESSION is an id, the beginning of one, or @last, the last session of which
something is kept; without TURN it is the last turn of which something is.`
	return &cli.Command{
		Name:  "blocked",
		Usage: "see what turns wrote that was not published",
		Subcommands: []*cli.Command{
			{
				Name:      "list",
				Usage:     "list the turns of which something is kept",
				ArgsUsage: "[SESSION]",
				Description: `What a turn wrote is kept when it was blocked, interrupted or cut short, and when
somebody changed a file after the turn that replaces it was committed. Each line
begins with SESSION:TURN, which the other commands take. What cannot be read is
listed too, and the status is 4 then.`,
				Action: p.inRoot(0, 1, p.blockedList),
			},
			{
				Name:      "show",
				Usage:     "say what a turn wrote, and why it was not published",
				ArgsUsage: "SESSION[:TURN]",
				Description: which + `

Each file is compared with what the ledger says the turn wrote. Where they differ
somebody else changed what is kept: the line says so, and the status is 4.`,
				Action: p.inRoot(1, 1, p.blockedShow),
			},
			{
				Name:      "diff",
				Usage:     "compare what a turn wrote with what is there now",
				ArgsUsage: "SESSION[:TURN] [PATH…]",
				Description: which + `
PATH, as show prints it, or a folder of such, chooses files.

Texts of at most 1 MiB are shown as a unified diff, from what is in the workspace
or in out/ to what the turn wrote, with control characters escaped; of all else
sizes and digests are. Files that are not what the ledger says the turn wrote are
named and not shown, and the status is 4. --json has texts as they are.`,
				Action: p.inRoot(1, -1, p.blockedDiff),
			},
			{
				Name:      "discard",
				Usage:     "remove what is kept of a turn",
				ArgsUsage: "SESSION:TURN",
				Description: `Removes the files for good. What the turn did, and the digests of what it wrote,
stay in the ledger. A SESSION is an id, the beginning of one, or @last, the last
session of which something is kept; with --all, SESSION stands for all its turns.`,
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "all", Usage: "remove what is kept of all turns of the session"},
					yesFlag(),
				},
				Action: p.inRoot(1, 1, p.blockedDiscard),
			},
		},
	}
}

// blockedRow is a turn in blocked list.
type blockedRow struct {
	Session string    `json:"session_id"`
	Plane   string    `json:"plane"`
	Turn    int       `json:"turn_number,omitempty"`
	Status  string    `json:"status,omitempty"`
	Code    string    `json:"code,omitempty"`
	Ended   time.Time `json:"ended,omitzero"`
	Files   int       `json:"files"`
	Bytes   int64     `json:"bytes"`
	Error   string    `json:"error,omitempty"`
}

func (p *program) blockedList(c *cli.Context, root *session.Root, given []string) error {
	var places []session.Summary
	var err error
	if len(given) == 1 {
		places = make([]session.Summary, 1)
		places[0].ID, places[0].Plane, err = found(root.FindKept(given[0]))
	} else {
		places, err = root.All()
	}
	if err != nil {
		return err
	}
	rows := []blockedRow{}
	var bad error
	for _, s := range places {
		more, err := blockedOf(root, s.ID, s.Plane)
		rows = append(rows, more...)
		bad = cmp.Or(bad, err)
	}
	if p.json {
		if err := p.term.value(map[string]any{"blocked": rows}); err != nil {
			return err
		}
		return bad
	}
	for _, r := range rows {
		name := fmt.Sprintf("%s:%d", r.Session, r.Turn)
		switch {
		case r.Turn == 0:
			p.term.line("%s  broken", r.Session)
		case r.Error != "":
			p.term.line("%s  broken  %s  %s", name, count(r.Files, "file"), bytesText(r.Bytes))
		default:
			when := "has not ended"
			if !r.Ended.IsZero() {
				when = r.Ended.UTC().Format(time.RFC3339)
			}
			p.term.line("%s  %s  %s  %s  %s", name, strings.TrimSpace(r.Status+" "+r.Code), when, count(r.Files, "file"), bytesText(r.Bytes))
		}
	}
	if len(rows) == 0 {
		p.term.note("nothing is kept in %s", root.Path())
	}
	return bad
}

// blockedOf lists the turns of one session of which something is kept. The error
// is the first of what could not be read, which is in the rows as well.
func blockedOf(root *session.Root, id session.ID, plane string) ([]blockedRow, error) {
	row := blockedRow{Session: string(id), Plane: plane}
	turns, err := root.KeptTurns(plane, id)
	if err != nil {
		row.Error = err.Error()
		return []blockedRow{row}, unreadable(id, err, listedAll)
	}
	if len(turns) == 0 {
		return nil, nil
	}
	ends, bad := turnEnds(root.LedgerPath(plane, id, record.ExecFile), string(id))
	var rows []blockedRow
	for _, turn := range turns {
		row := row
		row.Turn = turn
		kept, err := root.Kept(plane, id, turn)
		if errors.Is(err, fs.ErrNotExist) {
			continue // discarded since
		}
		if err == nil {
			row.Files = len(kept.Files)
			for _, f := range kept.Files {
				row.Bytes += f.Size
			}
			err = kept.Close()
		}
		if end, ok := ends[turn]; ok {
			row.Status, row.Code, row.Ended = end.status, end.code, end.at
		} else if err == nil {
			err = bad
		}
		if err != nil {
			row.Error = err.Error()
			bad = cmp.Or(bad, err)
		}
		rows = append(rows, row)
	}
	return rows, unreadable(id, bad, listedAll)
}

const listedAll = "all that can be read is listed; agenthost verify checks the record"

// unreadable makes an error of a session one that ends with status 4.
func unreadable(id session.ID, err error, hint string) error {
	if err == nil {
		return nil
	}
	return &failure{message: fmt.Sprintf("%s: %v", id, err), hint: hint, code: exitIntegrity, err: err}
}

type turnEnd struct {
	status, code string
	at           time.Time
}

// turnEnds tells how the turns of a session ended. With an error it tells of
// those before it.
func turnEnds(path, id string) (map[int]turnEnd, error) {
	ends := map[int]turnEnd{}
	for e, err := range ledger.Scan(path, record.ExecOptions(id)) {
		var at *ledger.IntegrityError
		if errors.As(err, &at) && at.Torn {
			break // a line that is being written, or debris
		}
		if err != nil {
			return ends, err
		}
		if e.Kind == record.KindTurnEnd {
			var end record.TurnEnd
			if err := e.Decode(&end); err != nil {
				return ends, err
			}
			ends[e.Turn] = turnEnd{end.Status, end.Code, e.Time}
		}
	}
	return ends, nil
}

func (p *program) blockedShow(c *cli.Context, root *session.Root, given []string) error {
	t, err := lastKept(root, given[0])
	if err != nil {
		return err
	}
	k, kept, err := readKept(c.Context, root, t, true)
	if err != nil {
		return err
	}
	if kept != nil {
		defer kept.Close()
	}
	if p.json {
		if err := p.term.value(k); err != nil {
			return err
		}
		return tampered(t, k.Files)
	}
	p.showKept(k)
	if kept != nil {
		p.term.note("%s compares it with what is there", p.command("blocked", "diff", t.String()))
	}
	return tampered(t, k.Files)
}

func (p *program) showKept(k keptTurn) {
	if k.Status == "" {
		p.term.line("turn %d of session %s has not ended", k.Turn, k.Session)
	} else {
		p.term.line("turn %d of session %s: %s, %s", k.Turn, k.Session, strings.TrimSpace(k.Status+" "+k.Code), k.Ended.UTC().Format(time.RFC3339))
	}
	for _, r := range k.Refused {
		p.term.line("  refused %s", r)
	}
	if k.Message != "" && len(k.Refused) == 0 {
		p.term.line("  %s", k.Message)
	}
	if !k.Kept {
		p.term.line("nothing of it is kept: it wrote nothing, or that was published or discarded")
		return
	}
	for _, f := range k.Files {
		p.term.line("%s", f.inWords())
	}
	if k.More {
		p.term.line("… and more files than can be listed")
	}
}

// inWords is one line on a file.
func (f keptFile) inWords() string {
	words := []string{f.name}
	if f.SHA256 != nil {
		words = append(words, short(*f.SHA256))
	}
	words = append(words, bytesText(f.Size))
	if f.Role != "" {
		words = append(words, f.Role)
	}
	words = append(words, f.Why...)
	if said := f.stateInWords(); said != "" {
		words = append(words, said)
	}
	return strings.Join(words, "  ")
}

// stateInWords says why the file is not to be trusted, "" if it is what the turn
// wrote.
func (f keptFile) stateInWords() string {
	switch f.State {
	case keptUnrecorded:
		return "not in the ledger: its process died"
	case keptChanged:
		return fmt.Sprintf("CHANGED since: the turn wrote %s, %s", short(*f.Recorded), bytesText(f.size))
	case keptForeign:
		return "NOT OF THIS TURN: the ledger does not know it"
	case keptMissing:
		return fmt.Sprintf("MISSING: the turn wrote %s", short(*f.Recorded))
	case keptUnfit:
		return "UNREADABLE: " + f.Is
	}
	return ""
}

func (p *program) blockedDiscard(c *cli.Context, root *session.Root, given []string) error {
	t, err := findTarget(root, given[0])
	if err != nil {
		return err
	}
	turns, err := root.KeptTurns(t.plane, t.id)
	if err != nil {
		return unreadable(t.id, err, changedByOthers)
	}
	switch {
	case t.turn == 0 && !c.Bool("all"):
		return usageError("blocked discard needs SESSION:TURN, or --all", "agenthost blocked list "+string(t.id)+" shows its turns")
	case t.turn != 0 && c.Bool("all"):
		return usageError(fmt.Sprintf("blocked discard got --all and %q", given[0]), "give one of them")
	case t.turn != 0:
		if !slices.Contains(turns, t.turn) {
			return nothingKept(t)
		}
		turns = []int{t.turn}
	case len(turns) == 0:
		return usageError(fmt.Sprintf("nothing is kept of session %s", t.id), "agenthost blocked list shows of which turns something is")
	}
	if err := p.sure(c, fmt.Sprintf("remove what is kept of %s of session %s", turnsInWords(turns), t.id), "say --yes if it is not needed"); err != nil {
		return err
	}
	type discarded struct {
		Turn  int           `json:"turn_number"`
		Freed session.Freed `json:"freed"`
	}
	done := []discarded{}
	for _, turn := range turns {
		freed, err := root.DiscardKept(c.Context, t.id, turn)
		p.tellRecovery(root, nil)
		if errors.Is(err, fs.ErrNotExist) {
			return nothingKept(target{t.id, t.plane, turn})
		}
		if err != nil {
			return sessionError(t.id, err, "what is kept may be there still; discard it again")
		}
		done = append(done, discarded{turn, freed})
		if !p.json {
			p.term.line("discarded %s:%d, %s, %s", t.id, turn, count(freed.Files, "file"), bytesText(freed.Bytes))
		}
	}
	if p.json {
		return p.term.value(struct {
			Session   session.ID  `json:"session_id"`
			Discarded []discarded `json:"discarded"`
		}{t.id, done})
	}
	return nil
}

func nothingKept(t target) error {
	return usageError(fmt.Sprintf("nothing is kept of turn %d of session %s", t.turn, t.id), "agenthost blocked list shows of which turns something is")
}

// turnsInWords is "turn 2" or "turns 2, 3".
func turnsInWords(turns []int) string {
	if len(turns) == 1 {
		return fmt.Sprintf("turn %d", turns[0])
	}
	return "turns " + strings.Trim(strings.ReplaceAll(fmt.Sprint(turns), " ", ", "), "[]")
}
