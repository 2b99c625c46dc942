package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Severities of findings.
const (
	Error   = "error"   // something is not what the record says, or is open to others
	Warning = "warning" // something to know or to tidy: the record and what it stands on are whole
)

// A Finding is a defect that [CheckIntegrity] found.
type Finding struct {
	Code     string `json:"code"`     // one of [Codes]
	Severity string `json:"severity"` // Error or Warning
	// Path is where, from the root, "." being the root itself; of a published file
	// it is the name that ledgers have for it. It is given as it lies on the disk,
	// whatever bytes those are.
	Path    string `json:"path"`
	Line    int    `json:"line,omitempty"` // from 1, of a ledger
	Message string `json:"message"`
	Remedy  string `json:"remedy"` // a command or an act
	// Count, if not 0, says that the finding stands for that many of its kind in
	// the folder Path which are not listed.
	Count int `json:"count,omitempty"`
}

// Checked counts what was looked at.
type Checked struct {
	Sessions int `json:"sessions"`
	Entries  int `json:"entries"`                   // of all ledgers
	Packages int `json:"packages"`                  // installed, in each plane
	Files    int `json:"files"`                     // whose content was compared with the record
	Accepted int `json:"accepted_losses,omitempty"` // of sessions and registers, which their ledgers have on record
}

func (c *Checked) add(more Checked) {
	c.Sessions += more.Sessions
	c.Entries += more.Entries
	c.Packages += more.Packages
	c.Files += more.Files
	c.Accepted += more.Accepted
}

// Integrity is what [CheckIntegrity] says of a root.
type Integrity struct {
	Findings []Finding `json:"findings"` // by area, then by path, line and code
	Checked  Checked   `json:"checked"`
}

// Errors is how many findings are errors, those that are only counted included.
func (i Integrity) Errors() int { return i.count(Error) }

// Warnings is how many are not.
func (i Integrity) Warnings() int { return i.count(Warning) }

func (i Integrity) count(severity string) int {
	n := 0
	for _, f := range i.Findings {
		if f.Severity == severity {
			n += max(1, f.Count)
		}
	}
	return n
}

// IntegrityOptions say how a root is checked.
type IntegrityOptions struct {
	// Progress, if set, is called as things are done: how many of what there are.
	// Never by two goroutines at once.
	Progress func(what string, done, of int)
}

// rounds bounds how often a root that changes all the time is looked at.
const rounds = 5

// CheckIntegrity compares all that lies in a root with the record of it: every
// ledger, and what ledgers say of packages, sessions and published files. It
// writes nothing, waits for no lock, never opens a FIFO to wait for it, and
// follows no link. The error is that of ctx, or of the list of trusted hosts.
//
// It can run beside turns and changes of the plane. What is found is looked at
// again, and told only if it is still so: a finding that came from somebody's
// being half done is none. So each ledger of a root in which nothing is found is
// read once. A session on which a process works is not blamed for what is
// unfinished in it.
func CheckIntegrity(ctx context.Context, root *session.Root, o IntegrityOptions) (Integrity, error) {
	return newCheck(ctx, root, o).run()
}

func newCheck(ctx context.Context, root *session.Root, o IntegrityOptions) *check {
	return &check{
		ctx: ctx, root: root, o: o, uid: uint32(os.Geteuid()), pause: 200 * time.Millisecond, //nolint:gosec // no uid is negative where there are any
		sessions: map[place]*sessionCheck{},
	}
}

// check is one run of CheckIntegrity.
type check struct {
	ctx   context.Context
	root  *session.Root
	dir   *beneath.Dir
	o     IntegrityOptions
	uid   uint32        // who must own everything
	pause time.Duration // before looking again where somebody is at work

	again func() // called before each round but the first; nil but in tests

	// Kept from round to round: what was whole need not be looked at again.
	sessions map[place]*sessionCheck
	known    sync.Map // of beneath.Info by whole: files that had the content they should

	trusted   []ledger.Verifier // hosts
	registers *registers        // as they were read in this round

	locks map[string]bool // locks that were looked at in this round
	mu    sync.Mutex      // for locks
}

func (c *check) run() (Integrity, error) {
	if c.dir = c.root.Folder(); c.dir == nil {
		return Integrity{Findings: []Finding{}}, c.ctx.Err()
	}
	var err error
	if c.trusted, err = c.root.Hosts(); err != nil {
		return Integrity{}, err
	}
	var before, now scope
	for n := range rounds {
		if n > 0 {
			if c.again != nil {
				c.again()
			}
			c.wait(&now)
		}
		before, now = now, scope{}
		c.locks = map[string]bool{}
		c.round(&now)
		if err := c.ctx.Err(); err != nil {
			return Integrity{}, err
		}
		if len(now.findings) == 0 || n > 0 && !now.beyond(&before) {
			break
		}
		if n == rounds-1 {
			now.keep(&before)
		}
	}
	return Integrity{now.list(), now.checked}, nil
}

// wait lets those who are at work come further before what was found is looked at
// again. Who changes the plane has said so in its ledger before all is in its
// place, which can take some time; where that matters it is waited for, not for
// ever.
func (c *check) wait(s *scope) {
	plane := slices.ContainsFunc(s.findings, ofPlane)
	const patience = 150
	for n := range patience {
		c.locks = map[string]bool{}
		changing := c.locked(changeLock)
		if !changing && (n > 0 || !c.locked(publishLock)) {
			return
		}
		select {
		case <-time.After(c.pause):
		case <-c.ctx.Done():
			return
		}
		if !plane || !changing {
			return
		}
	}
}

// round looks at everything once.
func (c *check) round(s *scope) {
	c.registers = readRegisters(c.root, c.trusted)
	g := c.governance(s)
	c.top(s)
	c.control(s, g)
	c.store(s, g)
	c.packages(s, g)
	c.planes(s, g)
	a := c.authorization(s)
	c.registered(s)
	all, blind := c.allSessions(s, g, a)
	if !blind {
		c.lost(s, all)
	}
	c.authorizedTurns(s, a, all, blind)
	c.publications(s, g, all)
	if !blind {
		c.output(s, g, all)
	}
}

// each calls f for each number below n, on all cores, and collects what it finds
// in the order of the numbers.
func (c *check) each(s *scope, what string, n int, f func(i int, s *scope)) {
	scopes := make([]scope, n)
	var next, done atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || c.ctx.Err() != nil {
					return
				}
				f(i, &scopes[i])
				if c.o.Progress != nil {
					mu.Lock()
					c.o.Progress(what, int(done.Add(1)), n)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for i := range scopes {
		s.take(&scopes[i])
	}
}

// locked reports whether somebody holds the lock of a file or folder. It is
// asked once a round.
func (c *check) locked(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	held, known := c.locks[name]
	if known {
		return held
	}
	if info, err := c.dir.Stat(name); err == nil && (info.Mode.IsRegular() || info.Mode.IsDir()) {
		if f, err := c.dir.OpenFile(name, os.O_RDONLY, 0); err == nil {
			held, _ = beneath.Locked(f) //nolint:errcheck // what cannot be asked is not held
			f.Close()
		}
	}
	c.locks[name] = held
	return held
}

// listed is how many findings of one code in one folder are listed; the others are
// counted.
const listed = 100

// scope collects findings. The zero value is ready; it is for one goroutine.
type scope struct {
	findings []Finding
	inFolder map[[2]string]int // by code and folder
	checked  Checked
	changes  int // entries of governance.jsonl
}

// add adds a finding, of the severity and with the remedy of its code.
func (s *scope) add(code, path, format string, args ...any) {
	s.put(Finding{Code: code, Path: path, Message: fmt.Sprintf(format, args...)})
}

// put is add for a finding of which more is said.
func (s *scope) put(f Finding) {
	k := kinds()[f.Code]
	f.Severity = cmp.Or(f.Severity, k.severity)
	f.Remedy = cmp.Or(f.Remedy, k.remedy)
	in := [2]string{f.Code, parentOf(f.Path)}
	if s.inFolder == nil {
		s.inFolder = map[[2]string]int{}
	}
	if s.inFolder[in]++; s.inFolder[in] <= listed {
		s.findings = append(s.findings, f)
	}
}

// take adds what another scope collected.
func (s *scope) take(other *scope) {
	s.checked.add(other.checked)
	if len(other.findings) == 0 {
		return
	}
	counted := map[[2]string]int{}
	for _, f := range other.findings {
		s.put(f)
		counted[[2]string{f.Code, parentOf(f.Path)}]++
	}
	for in, n := range other.inFolder {
		s.inFolder[in] += n - counted[in]
	}
}

// place is what tells one finding from another, whatever it says. What is found in
// a control plane that was changed meanwhile is another finding.
func (s *scope) place(f Finding) Finding {
	p := Finding{Code: f.Code, Path: f.Path, Line: f.Line}
	if ofPlane(f) {
		p.Count = s.changes
	}
	return p
}

// ofPlane reports whether a finding is about what changes of the plane change.
func ofPlane(f Finding) bool {
	area := kinds()[f.Code].area
	return area == areaControl || area == areaPackages
}

func (s *scope) places() map[Finding]bool {
	m := make(map[Finding]bool, len(s.findings))
	for _, f := range s.findings {
		m[s.place(f)] = true
	}
	return m
}

// beyond reports whether s has a finding that before has not.
func (s *scope) beyond(before *scope) bool {
	known := before.places()
	return slices.ContainsFunc(s.findings, func(f Finding) bool { return !known[s.place(f)] })
}

// keep drops what before has not.
func (s *scope) keep(before *scope) {
	known := before.places()
	s.findings = slices.DeleteFunc(s.findings, func(f Finding) bool { return !known[s.place(f)] })
}

// list is what was found, in order, with a finding for those that are counted only.
func (s *scope) list() []Finding {
	list := slices.Clone(s.findings)
	for in, n := range s.inFolder {
		if n > listed {
			k := kinds()[in[0]]
			list = append(list, Finding{
				Code: in[0], Severity: k.severity, Path: in[1], Count: n - listed,
				Message: fmt.Sprintf("%d more like those before, which are not listed", n-listed), Remedy: k.remedy,
			})
		}
	}
	slices.SortFunc(list, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(kinds()[a.Code].area, kinds()[b.Code].area),
			strings.Compare(a.folder(), b.folder()), cmp.Compare(min(a.Count, 1), min(b.Count, 1)),
			strings.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), strings.Compare(a.Code, b.Code), strings.Compare(a.Message, b.Message),
		)
	})
	return append([]Finding{}, list...)
}

// folder is the folder under which a finding is listed.
func (f Finding) folder() string {
	if f.Count > 0 {
		return f.Path
	}
	return parentOf(f.Path)
}

func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return "."
}

// plain is the text of an error without the name, which the finding has.
func plain(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
