package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// planeRegister is the register of a plane as it was read.
type planeRegister struct {
	as      beneath.Info // its current segment, before it was read; zero if there is none
	verdict Verdict
	report  register.Report
}

func registerPath(plane string) string { return "planes/" + plane + "/ledger/" + record.RegisterFile }

// readRegister judges the register of a plane.
func readRegister(root *session.Root, plane string, trusted []ledger.Verifier) *planeRegister {
	p := &planeRegister{verdict: Verdict{File: registerPath(plane), Plane: plane, Single: true}}
	dir := root.Folder()
	if dir == nil {
		return p
	}
	p.as, _ = dir.Stat(registerPath(plane)) //nolint:errcheck // what is wrong with it is found now
	v := &p.verdict
	p.report, v.Err = register.Verify(dir, root.Path(), plane)
	v.Hosts, v.Lost = p.report.Hosts, len(p.report.Lost)
	// Each entry that is reported is sealed.
	v.Ledger = ledger.Report{Entries: p.report.Entries, Sealed: p.report.Entries, Torn: p.report.Torn, Checkpoint: p.report.Checkpoint}
	v.Ledger.Head.Root = p.report.Checkpoint.Root
	v.judge("the register of "+plane, trusted)
	return p
}

// speaks reports whether what the register says counts.
func (p *planeRegister) speaks() bool { return p.verdict.Word == Verified }

// registers are those of a root, as they were read last.
type registers struct {
	root    *session.Root
	trusted []ledger.Verifier

	mu sync.Mutex
	of map[string]*planeRegister // by plane
}

// readRegisters reads the registers of a root. That is done before sessions are
// looked at: what they know then must be there.
func readRegisters(root *session.Root, trusted []ledger.Verifier) *registers {
	r := &registers{root: root, trusted: trusted, of: map[string]*planeRegister{}}
	for _, plane := range session.Planes() {
		r.of[plane] = readRegister(root, plane, trusted)
	}
	return r
}

// register is the verdict on the register of a plane; none where there is none.
func (r *rootVisit) register(plane string) []Verdict {
	p := r.read(plane)
	if p.report.Segments == 0 && p.verdict.Err == nil || r.opts.Session != "" && p.speaks() {
		return nil
	}
	return []Verdict{p.verdict}
}

// read is the register of a plane as it was read last.
func (r *registers) read(plane string) *planeRegister {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[plane]
}

// knows reports whether the register of a plane knows a ledger that is no session's.
func (r *registers) knows(plane, name string) bool {
	of := r.read(plane)
	s, found := of.report.Sessions[name]
	return of.speaks() && found && !s.Pruned
}

// refresh reads the register of a plane again if it was written to since, and reports
// whether it was.
func (r *registers) refresh(plane string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	dir := r.root.Folder()
	if dir == nil {
		return false
	}
	now, _ := dir.Stat(registerPath(plane)) //nolint:errcheck // what is wrong with it is found if it is read
	if now.Same(r.of[plane].as) {
		return false
	}
	r.of[plane] = readRegister(r.root, plane, r.trusted)
	return true
}

// registered is what the register of its plane knows of a session, nil if nobody
// can rely on that.
func (r *registers) registered(p place) *Registered {
	of := r.read(p.plane)
	if !of.speaks() {
		return nil
	}
	s := of.report.Sessions[string(p.id)]
	return &Registered{s.Size, s.Root}
}

// pruned reports whether a register says that a session was removed.
func (r *registers) pruned(p place) bool {
	of := r.read(p.plane)
	return of.speaks() && of.report.Sessions[string(p.id)].Pruned
}

// session judges a session that lies at p by all that is known of it, which known
// says each time before it is read: it may have gone on by more than a commit since
// the register was read. False: it is not there any more.
func (r *registers) session(p place, known func() Known) (Verdict, bool) {
	dir := filepath.Dir(r.root.LedgerPath(p.plane, p.id, record.ExecFile))
	var v Verdict
	for range rounds {
		k := known()
		k.Trusted, k.Registered = r.trusted, r.registered(p)
		v = VerifySession(dir, k)
		if _, err := r.root.Folder().Stat(p.path()); errors.Is(err, fs.ErrNotExist) {
			return Verdict{}, false
		}
		if v.Word != Broken || k.Registered == nil || !r.refresh(p.plane) {
			break
		}
	}
	return v, true
}

// lost are the sessions that the register of a plane knows and that are not there,
// sorted. On is called with names that are sessions', and says that one is there, or
// of no interest.
func (r *registers) lost(plane string, on func(session.ID) bool) (lost []lostSession) {
	missing := func(name string, s register.State) bool {
		id, err := session.ParseID(name)
		return err == nil && !s.Pruned && !on(id)
	}
	of := r.read(plane)
	for name, s := range of.report.Sessions {
		if of.speaks() && missing(name, s) && r.refresh(plane) { // it may have been pruned meanwhile
			of = r.read(plane)
			break
		}
	}
	if !of.speaks() {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(of.report.Sessions)) {
		s, p := of.report.Sessions[name], place{plane, session.ID(name)}
		if !missing(name, s) {
			continue
		}
		if _, err := r.root.Folder().Stat(p.path()); err != nil { // else it was opened meanwhile
			lost = append(lost, lostSession{p, s.Size})
		}
	}
	return lost
}

// A lostSession is one of which a register has entries, and that is not there.
type lostSession struct {
	place
	size uint64 // of what the register knows
}

func (l lostSession) String() string {
	return fmt.Sprintf("%s has %d entries of it, and it is not here: it was deleted", record.RegisterSource, l.size)
}

// lost are the verdicts on sessions of a plane that are gone.
func (r *rootVisit) lost(plane string, there []place, gone map[place]bool) (verdicts []Verdict) {
	for _, l := range r.registers.lost(plane, func(id session.ID) bool {
		return slices.Contains(there, place{plane, id}) || r.opts.Session != "" && id != r.opts.Session
	}) {
		gone[l.place] = true
		verdicts = append(verdicts, deleted(l.place, l.String()))
	}
	return verdicts
}
