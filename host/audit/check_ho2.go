package audit

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Names of plane ho2, as package plane has them.
const (
	ordersTop    = "planes/ho2/work_orders"
	snapshotsTop = "planes/ho2/context"
	ledgersTop   = "planes/ho2/ledger"
	claimsTop    = ledgersTop + "/work_orders"
)

// authorized is what the ledgers of plane ho2 say.
type authorized struct {
	claims    map[claim]bool
	broken    map[string]bool                           // work orders whose claims are not all known
	snapshots map[session.ID]map[uint64]contextSnapshot // the latest of each size
}

// claim is a turn that was claimed of a work order.
type claim struct {
	order   string
	session session.ID
	turn    int
}

type contextSnapshot struct {
	line int // of its entry
	record.ContextSnapshot
}

// authorization looks at work orders, at the claims of their turns, and at the
// snapshots of contexts; sessions are compared with them later.
func (c *check) authorization(s *scope) *authorized {
	a := &authorized{claims: map[claim]bool{}, broken: map[string]bool{}, snapshots: map[session.ID]map[uint64]contextSnapshot{}}
	if info, err := c.dir.Stat("planes/ho2"); err != nil || !info.Mode.IsDir() {
		return a // found there
	}
	c.orders(s)
	heads, _ := plane.ReadHeads(c.root) //nolint:errcheck // what is wrong with the register is found there
	entries, _ := c.folder(s, ledgersTop, ours)
	var context []beneath.Entry
	for _, e := range entries {
		switch {
		case e.Name == "work_orders":
			c.claims(s, heads, a)
		case strings.HasPrefix(e.Name, record.ContextFile), strings.HasPrefix(e.Name, newPrefix):
			context = append(context, e)
		default:
			if segment, debris := register.Owns(e.Name); !segment && !debris {
				c.orphan(s, ledgersTop+"/"+e.Name, e.Type, "work_orders", record.ContextFile, record.RegisterFile)
			}
		}
	}
	c.contextLedger(s, heads, a, context)
	for _, bad := range heads.Missing(c.root) {
		s.put(Finding{Code: CodeLedgerBroken, Path: bad.File, Message: bad.Reason})
	}
	return a
}

// orders looks at the work orders.
func (c *check) orders(s *scope) {
	entries, _ := c.folder(s, ordersTop, ours)
	for _, e := range entries {
		path := ordersTop + "/" + e.Name
		id, isOrder := strings.CutSuffix(e.Name, ".json")
		if !isOrder || archive.CheckID("WO", id) != nil {
			c.orphan(s, path, e.Type)
			continue
		}
		if _, ok := c.file(s, path, ours); !ok {
			continue
		}
		b, ok := c.read(s, path, maxPolicy)
		if !ok {
			continue
		}
		switch order, err := policy.ParseWorkOrder(path, b); {
		case err != nil:
			s.add(CodeWorkOrderInvalid, path, "%s", strings.TrimPrefix(err.Error(), path+": "))
		case order.ID != id:
			s.add(CodeWorkOrderInvalid, path, "it is the work order %s under another's name", order.ID)
		}
	}
}

// claims reads the ledgers of the turns of work orders.
func (c *check) claims(s *scope, heads *plane.Heads, a *authorized) {
	entries, _ := c.folder(s, claimsTop, ours)
	for _, e := range entries {
		id, isLedger := strings.CutSuffix(e.Name, ".jsonl")
		if !isLedger || archive.CheckID("WO", id) != nil {
			continue
		}
		a.broken[id] = !c.ledger(s, claimsTop, id+".jsonl", claimsTop, entries, func(observe func(ledger.Entry, ledger.Body) error) (ledger.Report, error) {
			return plane.LookAtClaims(c.root, heads, id, observe)
		}, func(e ledger.Entry, body ledger.Body) error {
			t, ok := body.(record.WorkOrderTurn)
			if ok && t.WorkOrder != id {
				return fmt.Errorf("it claims a turn of %s", t.WorkOrder)
			}
			if ok {
				a.claims[claim{id, session.ID(t.SessionID), int(t.TurnNumber)}] = true
			}
			return nil
		})
	}
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name, ".jsonl")
		if archive.CheckID("WO", name) != nil || !slices.ContainsFunc(entries, func(o beneath.Entry) bool { return o.Name == name+".jsonl" }) {
			c.unexpected(s, claimsTop, claimsTop, e)
		}
	}
}

// contextLedger reads the ledger of snapshots and looks at their files.
func (c *check) contextLedger(s *scope, heads *plane.Heads, a *authorized, entries []beneath.Entry) {
	there := slices.ContainsFunc(entries, func(e beneath.Entry) bool { return e.Name == record.ContextFile })
	whole := !there || c.ledger(s, ledgersTop, record.ContextFile, snapshotsTop, entries, func(observe func(ledger.Entry, ledger.Body) error) (ledger.Report, error) {
		return plane.LookAtSnapshots(c.root, heads, observe)
	}, func(e ledger.Entry, body ledger.Body) error {
		if k, ok := body.(record.ContextSnapshot); ok {
			id := session.ID(k.SessionID)
			if a.snapshots[id] == nil {
				a.snapshots[id] = map[uint64]contextSnapshot{}
			}
			a.snapshots[id][k.Size] = contextSnapshot{int(e.Seq) + 1, k} //nolint:gosec // a line number
		}
		return nil
	})
	for _, e := range entries {
		if !there || !strings.HasPrefix(e.Name, record.ContextFile) {
			c.unexpected(s, ledgersTop, snapshotsTop, e)
		}
	}
	if whole {
		c.snapshots(s, a)
	}
}

// ledger verifies a ledger of plane ho2 with look, and looks at the debris beside
// it, which are the names that begin as its own. It reports whether it was read to
// its end. Whoever writes to it holds lock.
func (c *check) ledger(s *scope, folder, name, lock string, beside []beneath.Entry, look func(func(ledger.Entry, ledger.Body) error) (ledger.Report, error), see func(ledger.Entry, ledger.Body) error) bool {
	path := folder + "/" + name
	if _, ok := c.file(s, path, private); !ok {
		return false
	}
	noted := map[string]bool{}
	report, err := look(func(e ledger.Entry, body ledger.Body) error {
		if r, ok := body.(record.Recovered); ok {
			noted[r.File] = true
		}
		return see(e, body)
	})
	whole := c.verified(s, path, CodeLedgerBroken, lock, report, err)
	for _, e := range beside {
		debris, is := strings.CutPrefix(e.Name, name)
		switch {
		case !is || debris == "" || noted[e.Name] && e.Type.IsRegular():
		case strings.HasPrefix(debris, ".torn-") && e.Type.IsRegular():
			if whole && !c.locked(lock) {
				s.add(CodeLeftover, folder+"/"+e.Name, "debris of a crash that no entry notes")
			}
		default:
			c.orphan(s, folder+"/"+e.Name, e.Type)
		}
	}
	return whole
}

// verified tells what was found by who verified a ledger that hosts seal, and
// reports whether it was read to its end.
func (c *check) verified(s *scope, path, broken, lock string, report ledger.Report, err error) bool {
	s.checked.Entries += int(report.Entries) //nolint:gosec // entries of a file
	s.checked.Files++
	var bad *ledger.IntegrityError
	var unknown *record.UnknownHostError
	var mismatch *plane.MismatchError
	switch {
	case errors.Is(err, plane.ErrRegister), errors.As(err, &bad) && bad.File != c.abs(path):
		err = nil // the register, without which the ledger was read, has a finding of its own
	case errors.As(err, &mismatch):
		s.add(broken, path, "%s", strings.TrimPrefix(mismatch.Error(), path+" "))
	case errors.As(err, &bad):
		s.put(Finding{Code: broken, Path: path, Line: bad.Line, Message: bad.Reason})
	case errors.As(err, &unknown):
		what := unknown.Error()
		if unknown.Ledger == path {
			what = "it" + strings.TrimPrefix(what, path)
		}
		s.add(CodeHostUnknown, path, "%s", what)
		err = nil
	case err != nil:
		s.add(CodeUnreadable, path, "it cannot be read: %s", plain(err))
	}
	if torn := report.Torn; torn != nil && !c.locked(lock) {
		s.put(Finding{Code: CodeTorn, Path: path, Line: torn.Line, Message: torn.Reason})
	}
	return err == nil
}

// unexpected finds a file that is none of a folder's own, whose names are given as
// to orphan. Whoever writes to the folder holds lock.
func (c *check) unexpected(s *scope, folder, lock string, e beneath.Entry, names ...string) {
	path := folder + "/" + e.Name
	if strings.HasPrefix(e.Name, newPrefix) && e.Type.IsRegular() {
		if !c.locked(lock) {
			s.add(CodeLeftover, path, "a file that was being written when the process ended")
		}
		return
	}
	c.orphan(s, path, e.Type, names...)
}

// snapshots compares the files of snapshots with their ledger.
func (c *check) snapshots(s *scope, a *authorized) {
	folders, _ := c.folder(s, snapshotsTop, ours)
	for _, f := range folders {
		path := snapshotsTop + "/" + f.Name
		id, err := session.ParseID(f.Name)
		if err != nil || !f.Type.IsDir() {
			c.orphan(s, path, f.Type)
			continue
		}
		entries, _ := c.folder(s, path, ours)
		for _, e := range entries {
			digits, isSnapshot := strings.CutSuffix(e.Name, ".json")
			size, err := strconv.ParseUint(digits, 10, 64)
			if !isSnapshot || err != nil || strconv.FormatUint(size, 10) != digits {
				c.unexpected(s, path, snapshotsTop, e)
				continue
			}
			k, known := a.snapshots[id][size]
			if !known {
				if !c.locked(snapshotsTop) {
					s.add(CodeLeftover, path+"/"+e.Name, "a snapshot that no entry names: the process ended before there was one")
				}
				continue
			}
			c.snapshot(s, path+"/"+e.Name, k)
		}
	}
}

func (c *check) snapshot(s *scope, path string, k contextSnapshot) {
	if _, ok := c.file(s, path, private); !ok {
		return
	}
	switch same, err := c.same(path, k.SHA256, k.Bytes); {
	case err != nil:
		s.add(CodeUnreadable, path, "it cannot be read: %s", plain(err))
	case !same:
		s.add(CodeSnapshotChanged, path, "it is not the snapshot that was kept")
	}
	s.checked.Files++
}

// authorizedTurns compares sessions with what plane ho2 has of them: turns under a
// work order were claimed, and snapshots are there and are of this very record.
func (c *check) authorizedTurns(s *scope, a *authorized, all []*sessionCheck, blind bool) {
	there := make(map[session.ID]bool, len(all))
	for _, one := range all {
		there[one.id] = true
		for _, t := range one.ordered {
			if t.session == one.id && !a.claims[t] && !a.broken[t.order] {
				s.add(CodeUnclaimedTurn, one.path(), "turn %d ran under work order %s, and its ledger has no claim of it: the ledger was cut or taken away", t.turn, t.order)
			}
		}
		for size, k := range a.snapshots[one.id] {
			if one.whole {
				c.keptSnapshot(s, one, size, k)
			}
		}
	}
	for id := range a.snapshots {
		path := snapshotsTop + "/" + string(id)
		if _, err := c.dir.Stat(path); err == nil && !there[id] && !blind {
			s.add(CodeLeftover, path, "snapshots of a session that is gone")
		}
	}
}

func (c *check) keptSnapshot(s *scope, one *sessionCheck, size uint64, k contextSnapshot) {
	path := fmt.Sprintf("%s/%s/%d.json", snapshotsTop, one.id, size)
	log := one.path() + "/ledger/" + record.ExecFile
	switch {
	case size > one.entries:
		s.add(CodeLedgerBroken, log, "it has %d entries, and had %d when a snapshot was kept (%s/%s line %d): its end was cut off", one.entries, size, ledgersTop, record.ContextFile, k.line)
	case one.contexts[size].head != k.Head:
		s.put(Finding{Code: CodeLedgerBroken, Path: log, Line: int(size), Message: fmt.Sprintf("it is not the entry that was there when a snapshot was kept (%s/%s line %d): it was written anew", ledgersTop, record.ContextFile, k.line)}) //nolint:gosec // a line number
	case one.contexts[size].snapshot != k.SHA256:
		s.put(Finding{Code: CodeSnapshotForged, Path: ledgersTop + "/" + record.ContextFile, Line: k.line, Message: fmt.Sprintf("what it says was kept of %s is not what its record came to after %d entries", one.id, size)})
	}
	if _, err := c.dir.Stat(path); gone(err) {
		s.add(CodeSnapshotMissing, path, "a snapshot of %s was kept, and is gone", one.id)
	}
}
