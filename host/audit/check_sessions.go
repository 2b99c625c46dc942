package audit

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// place is where a session lies.
type place struct {
	plane string
	id    session.ID
}

func (p place) path() string { return "planes/" + p.plane + "/sessions/" + string(p.id) }

// sessionCheck is what was found of one session.
type sessionCheck struct {
	place
	found     scope
	as        [2]beneath.Info       // of both ledgers, before they were read
	by        Registered            // what the register knew of it then
	published []publication         // of all its turns
	ordered   []claim               // turns that ran under a work order
	entries   uint64                // of exec.jsonl
	contexts  map[uint64]remembered // after the entries of which there are snapshots, by their number
	whole     bool                  // its record says all that it should
	used      bool                  // a process works on it, as far as anybody had to ask
}

// remembered is what a session had come to after an entry.
type remembered struct {
	head     ledger.Hash // of the entry
	snapshot ledger.Hash // of the file; zero within a turn, of which there is none
}

// publication is a file that a turn published.
type publication struct {
	session session.ID
	turn    int
	line    int // of its turn.end
	at      int64
	record.Publication
}

// allSessions checks the sessions of all planes. Blind: there may be more.
func (c *check) allSessions(s *scope, g *governed, a *authorized) (all []*sessionCheck, blind bool) {
	for _, plane := range session.Planes() {
		folder := "planes/" + plane + "/sessions"
		if info, err := c.dir.Stat("planes/" + plane); err != nil || !info.Mode.IsDir() {
			blind = blind || !errors.Is(err, fs.ErrNotExist)
			continue // found there
		}
		entries, ok := c.folder(s, folder, ours)
		if _, err := c.dir.Stat(folder); !ok && !errors.Is(err, fs.ErrNotExist) {
			blind = true
		}
		for _, e := range entries {
			path := folder + "/" + e.Name
			name, half := strings.CutPrefix(e.Name, newPrefix)
			id, err := session.ParseID(name)
			switch {
			case err == nil && half:
				if !c.locked(publishLock) {
					s.add(CodeLeftover, path, "a session that was being made or removed when the process ended")
				}
			case err == nil && e.Type.IsDir():
				all = append(all, &sessionCheck{place: place{plane, id}})
			case err == nil:
				s.add(CodeKind, path, "%s is there, where agenthost has the folder of a session", beneath.KindOf(e.Type))
			default:
				c.orphan(s, path, e.Type)
			}
		}
	}
	c.each(s, "sessions", len(all), func(i int, s *scope) {
		all[i] = c.session(all[i].place, g, a)
		s.take(&all[i].found)
	})
	for _, one := range all {
		c.sessions[one.place] = one
	}
	return all, blind
}

// session checks one session, unless it was whole before and was not written to
// since.
func (c *check) session(p place, g *governed, a *authorized) *sessionCheck {
	one := &sessionCheck{place: p, contexts: map[uint64]remembered{}}
	for size := range a.snapshots[p.id] {
		one.contexts[size] = remembered{}
	}
	for i, file := range []string{record.ExecFile, record.EvidenceFile} {
		one.as[i], _ = c.dir.Stat(p.path() + "/ledger/" + file) //nolint:errcheck // what is wrong with it is found later
	}
	if known := c.sessions[p]; known != nil && len(known.found.findings) == 0 && known.as[0].Same(one.as[0]) && known.as[1].Same(one.as[1]) && len(known.contexts) == len(one.contexts) && known.by == c.knows(p) {
		return known
	}
	v := &sessionVisit{check: c, one: one, s: &one.found, g: g}
	v.visit()
	return one
}

// sessionVisit is the look at one session.
type sessionVisit struct {
	*check
	one    *sessionCheck
	s      *scope
	g      *governed
	report record.Report

	opened record.SessionOpen
	blobs  map[ledger.Hash]bool // that the entries name; false: erased
	torn   map[string]bool      // files of debris that the ledgers note
	fold   fold                 // of exec.jsonl, where there are snapshots
	asked  bool
}

func (v *sessionVisit) path(name string) string { return v.one.path() + "/" + name }

// inUse reports whether a process works on the session. It is asked only where
// that would excuse something.
func (v *sessionVisit) inUse() bool {
	if !v.asked {
		v.asked, v.one.used = true, v.used(v.one.place)
	}
	return v.one.used
}

func (v *sessionVisit) visit() {
	s := v.s
	s.checked.Sessions++
	entries, ok := v.folder(s, v.one.path(), ours)
	if !ok {
		return
	}
	hasLedger, staged := false, false
	var holders []string
	for _, e := range entries {
		switch path := v.path(e.Name); e.Name {
		case "ledger":
			hasLedger = true
		case "staging":
			staged = true
		case "blocked": // once it is known which turns there are
		case "holder", newPrefix + "holder":
			holders = append(holders, path)
		default:
			v.orphan(s, path, e.Type, "ledger", "staging", "blocked", "holder")
		}
	}
	for _, path := range holders {
		if !staged && !v.inUse() { // else it goes with what is staged
			s.add(CodeLeftover, path, "who worked on the session has ended without taking it away")
		}
	}
	if !hasLedger {
		s.add(CodeSessionIncomplete, v.one.path(), "it has no folder ledger: a session without both ledgers is invalid")
		return
	}
	v.ledgers()
	v.unfinished(staged)
	v.blocked()
	if (v.g.pruned[v.one.id] != nil || v.registers.pruned(v.one.place)) && !v.locked(changeLock) && !v.inUse() {
		s.add(CodeUnfinishedPrune, v.one.path(), "its removal is recorded, and it is still there")
	}
}

// ledgers verifies the record.
func (v *sessionVisit) ledgers() {
	s := v.s
	entries, ok := v.folder(s, v.path("ledger"), ours)
	if !ok {
		return
	}
	there := map[string]bool{}
	var rest []beneath.Entry
	for _, e := range entries {
		switch e.Name {
		case record.ExecFile, record.EvidenceFile:
			there[e.Name] = true
		case record.BlobFolder:
		default:
			rest = append(rest, e)
		}
	}
	fit := true
	for _, file := range []string{record.ExecFile, record.EvidenceFile} {
		path := v.path("ledger/" + file)
		if !there[file] {
			s.add(CodeSessionIncomplete, path, "the file is missing: a session without both ledgers is invalid")
			fit = false
		} else if _, ok := v.file(s, path, private); !ok {
			fit = false
		}
	}
	if !fit {
		return
	}
	verdict, ok := v.registers.session(v.one.place, func() Known {
		v.one.by = v.knows(v.one.place)
		v.one.published, v.one.ordered, v.one.entries, v.fold = nil, nil, 0, fold{}
		v.blobs, v.torn, v.opened = map[ledger.Hash]bool{}, map[string]bool{}, record.SessionOpen{}
		return Known{Observe: v.saw}
	})
	if !ok {
		return
	}
	v.report = verdict.Record
	s.checked.Accepted += v.report.Accepted
	s.checked.Entries += int(v.report.Exec.Entries + v.report.Evidence.Entries) //nolint:gosec // entries of a file
	s.checked.Files += 2
	v.judge(verdict)
	v.debris(rest)
	v.blobFiles()
}

// judge tells what verifying found.
func (v *sessionVisit) judge(verdict Verdict) {
	s, err := v.s, verdict.Err
	var bad *ledger.IntegrityError
	var unknown *record.UnknownHostError
	code := cmp.Or(map[string]string{RolledBack: CodeSessionRolledBack, Diverged: CodeSessionDiverged, Unregistered: CodeUnregistered}[verdict.Against], CodeLedgerBroken)
	switch {
	case verdict.Against != "" && !v.placed(): // no register knows it there
	case errors.As(err, &bad):
		s.put(Finding{Code: code, Path: v.path("ledger/" + filepath.Base(bad.File)), Line: bad.Line, Message: bad.Reason})
	case errors.As(err, &unknown):
		s.add(CodeHostUnknown, v.path("ledger"), "it was sealed by a host that is not trusted here, %s", unknown.Host)
		v.one.whole = v.placed()
	case err != nil:
		why := strings.ReplaceAll(plain(err), v.root.Path()+"/", "")
		s.add(CodeUnreadable, v.path("ledger"), "its record cannot be read: %s", why)
	default:
		v.one.whole = v.placed()
	}
	if v.report.Session != string(v.one.id) {
		v.one.published = nil // it is another's
	}
	for file, torn := range map[string]*ledger.IntegrityError{record.ExecFile: v.report.Exec.Torn, record.EvidenceFile: v.report.Evidence.Torn} {
		if torn != nil && !v.inUse() {
			s.put(Finding{Code: CodeTorn, Path: v.path("ledger/" + file), Line: torn.Line, Message: torn.Reason})
		}
	}
}

// placed finds a session that lies where another does, and reports whether it is none.
func (v *sessionVisit) placed() bool {
	switch {
	case v.report.Session != string(v.one.id):
		v.s.add(CodeSessionMisplaced, v.one.path(), "it is the session %s under another's name", v.report.Session)
	case v.opened.Plane != v.one.plane:
		v.s.add(CodeSessionMisplaced, v.one.path(), "it was opened in plane %s, not in %s", v.opened.Plane, v.one.plane)
	default:
		return true
	}
	return false
}

// knows is what the register has of a session.
func (c *check) knows(p place) Registered {
	if known := c.registers.registered(p); known != nil {
		return *known
	}
	return Registered{}
}

// saw takes what an entry says.
func (v *sessionVisit) saw(file string, e ledger.Entry, body ledger.Body) {
	if file == record.ExecFile {
		v.one.entries = e.Seq + 1
		v.remember(e, body)
	}
	for _, h := range record.BlobsOf(body) {
		v.blobs[h] = true
	}
	switch b := body.(type) {
	case record.SessionOpen:
		v.opened = b
	case record.TurnBegin:
		if b.WorkOrder != "" {
			v.one.ordered = append(v.one.ordered, claim{b.WorkOrder, session.ID(e.Session), e.Turn})
		}
	case record.Erased:
		v.blobs[b.Blob] = false
	case record.Recovered:
		v.torn[b.File] = true
	case record.TurnEnd:
		for _, p := range b.Publish {
			v.one.published = append(v.one.published, publication{v.one.id, e.Turn, int(e.Seq) + 1, e.Time.UnixNano(), p}) //nolint:gosec // a line number
		}
	}
}

// remember makes the context after an entry, if there is a snapshot of it.
func (v *sessionVisit) remember(e ledger.Entry, body ledger.Body) {
	if len(v.one.contexts) == 0 {
		return
	}
	err := v.fold.take(e, body)
	if _, wanted := v.one.contexts[v.one.entries]; !wanted {
		return
	}
	now := remembered{head: e.Hash}
	if k, _, failed := v.fold.snapshot(); err == nil && failed == nil && k.Size == v.one.entries {
		now.snapshot = k.SHA256
	}
	v.one.contexts[v.one.entries] = now
}

// unfinished finds a turn that has not ended although nobody works on it.
func (v *sessionVisit) unfinished(staged bool) {
	turn := v.report.Unfinished
	switch {
	case turn == 0 && v.report.Uncommitted == 0 && !staged, !v.one.whole && !staged, v.inUse():
	case turn > 0:
		v.s.add(CodeUnfinishedTurn, v.one.path(), "turn %d has not ended, and no process works on it", turn)
	case v.report.Uncommitted > 0:
		v.s.add(CodeUnfinishedTurn, v.path("ledger/"+record.EvidenceFile), "it has evidence that no turn.end committed: a process died, or %s was cut", record.ExecFile)
	default:
		v.s.add(CodeUnfinishedTurn, v.path("staging"), "what a turn staged is still there, and no process works on it")
	}
}

// blocked looks at what is kept of turns.
func (v *sessionVisit) blocked() {
	entries, _ := v.folder(v.s, v.path("blocked"), ours)
	for _, e := range entries {
		path := v.path("blocked/" + e.Name)
		turn, err := strconv.Atoi(e.Name)
		switch {
		case strings.HasPrefix(e.Name, ".gone-"):
			v.s.add(CodeLeftover, path, "what was kept of a turn and is being discarded")
		case err != nil, strconv.Itoa(turn) != e.Name, turn < 1, v.one.whole && turn > len(v.report.Turns) && turn != v.report.Unfinished:
			v.orphan(v.s, path, e.Type)
		case !e.Type.IsDir():
			v.s.add(CodeKind, path, "%s is there, where agenthost has a folder", beneath.KindOf(e.Type))
		}
	}
}

// debris looks at the other files of a ledger folder.
func (v *sessionVisit) debris(rest []beneath.Entry) {
	for _, e := range rest {
		path := v.path("ledger/" + e.Name)
		file, _, torn := strings.Cut(e.Name, ".torn-")
		switch {
		case torn && v.torn[e.Name] && e.Type.IsRegular():
		case torn && (file == record.ExecFile || file == record.EvidenceFile) && e.Type.IsRegular():
			if !v.inUse() {
				v.s.add(CodeLeftover, path, "debris of a crash that no entry notes")
			}
		case strings.HasPrefix(e.Name, newPrefix) && e.Type.IsRegular():
			v.temporary(path)
		default:
			v.orphan(v.s, path, e.Type, record.ExecFile, record.EvidenceFile, record.BlobFolder)
		}
	}
}

func (v *sessionVisit) temporary(path string) {
	if !v.inUse() {
		v.s.add(CodeLeftover, path, "a file that was being written when the process ended")
	}
}

// blobFiles looks at the folder of blobs: each one that is named was verified.
func (v *sessionVisit) blobFiles() {
	top := v.path("ledger/" + record.BlobFolder)
	folders, _ := v.folder(v.s, top, private)
	for _, f := range folders {
		path := top + "/" + f.Name
		if !isHex(f.Name, 2) || !f.Type.IsDir() {
			v.orphan(v.s, path, f.Type)
			continue
		}
		entries, _ := v.folder(v.s, path, private)
		for _, e := range entries {
			v.blobFile(path, f.Name, e)
		}
	}
}

func (v *sessionVisit) blobFile(folder, digits string, e beneath.Entry) {
	path := folder + "/" + e.Name
	if strings.HasPrefix(e.Name, newPrefix) && e.Type.IsRegular() {
		v.temporary(path)
		return
	}
	h, err := ledger.ParseHash("sha256:" + digits + e.Name)
	if err != nil {
		v.orphan(v.s, path, e.Type)
		return
	}
	info, ok := v.file(v.s, path, private)
	if !ok {
		return
	}
	if info.Mode.Perm()&0o200 != 0 {
		v.s.add(CodeBlobWritable, path, "its mode is %04o: a blob is only read", info.Mode.Perm())
	}
	switch wanted, named := v.blobs[h]; {
	case wanted:
		v.s.checked.Files++
	case !v.one.whole, v.inUse(): // what names it may not be written, or not have been read
	case named:
		v.s.add(CodeLeftover, path, "the blob is recorded as erased, and is still there")
	default:
		v.s.add(CodeLeftover, path, "a blob that no entry names: the process ended before there was one")
	}
}

func isHex(s string, n int) bool { return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" }
