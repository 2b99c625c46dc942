package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// ExplainedPackage is all that a root knows of a package, or of one version of
// it. In a root that is no control plane that is what its sessions tell.
type ExplainedPackage struct {
	ID        string             `json:"id"`
	Version   string             `json:"version,omitempty"` // if one was asked for
	Installed []InstalledPackage `json:"installed"`         // by plane
	Stored    *StoredArchive     `json:"stored,omitempty"`
	History   []Change           `json:"history"`  // in the order of governance.jsonl
	Sessions  []Run              `json:"sessions"` // that ran it, the newest first
	Readers   []Reader           `json:"readers"`  // that read files of it, as of a library; the newest first
	// Rights are what its newest session was granted, in words, where the
	// package is not installed.
	Rights []string `json:"rights,omitempty"`
}

// InstalledPackage is a package as it is installed in one plane.
type InstalledPackage struct {
	Plane        string       `json:"plane"`
	Status       string       `json:"status"` // active
	Version      string       `json:"version"`
	Name         string       `json:"name,omitempty"`
	SpecID       string       `json:"spec_id,omitempty"`
	Tier         string       `json:"tier,omitempty"`
	SHA256       ledger.Hash  `json:"sha256"`
	Archive      ledger.Hash  `json:"archive"` // of the file it was installed from
	Files        int64        `json:"files"`
	Signer       string       `json:"signer,omitempty"` // a verifier key
	InstalledAt  time.Time    `json:"installed_at"`
	By           record.Actor `json:"by"`
	Seq          uint64       `json:"seq"` // of the entry of governance.jsonl
	Dependencies []Needed     `json:"dependencies"`
	Dependents   []Needed     `json:"dependents"`
	Rights       []string     `json:"rights,omitempty"` // in words
	Fault        string       `json:"fault,omitempty"`  // why the rights are not told
}

// Needed is a package that another one depends on, or that depends on it.
type Needed struct {
	ID      string      `json:"id"`
	Range   string      `json:"range,omitempty"` // of versions that will do; empty: any
	Version string      `json:"version,omitempty"`
	Plane   string      `json:"plane,omitempty"` // where it is installed; empty: it is not
	SHA256  ledger.Hash `json:"sha256,omitzero"`
}

// StoredArchive is what packages_store holds under the id of a package.
type StoredArchive struct {
	File    string      `json:"file"` // from the root
	Version string      `json:"version"`
	SHA256  ledger.Hash `json:"sha256"` // of the package
	Archive ledger.Hash `json:"archive"`
	Size    int64       `json:"size"`
}

// Run is a session that ran a package.
type Run struct {
	Session session.ID  `json:"session_id"`
	Plane   string      `json:"plane"`
	Version string      `json:"version"`
	SHA256  ledger.Hash `json:"sha256"`
	Opened  time.Time   `json:"opened"`
	State   string      `json:"state"` // open, unfinished, closed
	Turns   int         `json:"turns"`
	Status  string      `json:"status,omitempty"` // of the last turn
	Code    string      `json:"code,omitempty"`
}

// Reader is a session that read files of a package on which its own depends.
type Reader struct {
	Package string `json:"package"` // its own
	Run
	Files []record.File `json:"files"` // named as ledgers do, deps:PKG-…/x; each content once
}

// A Change is an entry of governance.jsonl.
type Change struct {
	Seq   uint64      `json:"seq"`
	Time  time.Time   `json:"time"`
	Kind  string      `json:"kind"`
	Entry ledger.Body `json:"entry"` // as package record has it
}

// change is a Change with what is looked for in it.
type change struct {
	Change
	pkg     *record.Package
	archive ledger.Hash
	subject string // of one that was refused
	session string // that was pruned
}

// changes reads governance.jsonl: nothing in a root that is no control plane.
func (a *Audit) changes() ([]change, error) {
	if a.plane == nil {
		return nil, nil
	}
	var all []change
	_, _, err := plane.Look(a.root, func(e ledger.Entry, body ledger.Body) {
		c := change{Change: Change{e.Seq, e.Time, e.Kind, body}}
		switch b := body.(type) {
		case record.PackageStore:
			c.pkg, c.archive = &b.Package, b.Archive
		case record.PackageInstall:
			c.pkg, c.archive = &b.Package, b.Archive
		case record.PackageUninstall:
			c.pkg = &b.Package
		case record.ChangeRefused:
			c.subject = b.Subject
			if !b.SHA256.IsZero() {
				c.pkg = &record.Package{ID: b.Subject, SHA256: b.SHA256}
			}
		case record.SessionPrune:
			c.session = b.SessionID
		case record.SessionErase:
			c.session = b.SessionID
		case record.LedgerRepair:
			c.session = b.Ledger
		}
		all = append(all, c)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// digests are those of packages and archives that a change names.
func (c *change) digests() []ledger.Hash {
	var all []ledger.Hash
	if c.pkg != nil {
		all = append(all, c.pkg.SHA256)
	}
	if !c.archive.IsZero() {
		all = append(all, c.archive)
	}
	return all
}

func (q *question) aboutPackage() error {
	id, version, _ := strings.Cut(q.out.ID, "@")
	p := &ExplainedPackage{ID: id, Version: version, Installed: []InstalledPackage{}, History: []Change{}, Sessions: []Run{}, Readers: []Reader{}}
	q.out.Package = p
	for _, c := range q.changes {
		ours := c.pkg != nil && c.pkg.ID == id && (version == "" || c.pkg.Version == version || c.pkg.Version == "")
		if ours || c.subject == id || c.subject == id+"@"+version {
			p.History = append(p.History, c.Change)
		}
	}
	if q.audit.plane != nil {
		q.installed(p)
	}
	sessions, err := q.index.mention("id", id)
	if err != nil {
		return err
	}
	for _, s := range slices.Backward(sessions) {
		if s.Package.ID == id && (version == "" || s.Package.Version == version) {
			p.Sessions = append(p.Sessions, s.run())
		}
	}
	slices.SortStableFunc(p.Sessions, func(a, b Run) int { return b.Opened.Compare(a.Opened) })
	if err := q.readers(p); err != nil {
		return err
	}
	if len(p.Installed)+len(p.History)+len(p.Sessions)+len(p.Readers) == 0 && p.Stored == nil {
		return q.unknown(q.packages())
	}
	if len(p.Installed) == 0 && len(p.Sessions) > 0 {
		newest := p.Sessions[0]
		p.Rights, _ = q.granted(newest.Plane, newest.Session)
	}
	return nil
}

// readers finds the sessions that read files of the package as of a library. Of
// which version these were, only their digests tell.
func (q *question) readers(p *ExplainedPackage) error {
	lead := "deps:" + p.ID + "/"
	sessions, err := q.index.beginning("path", lead)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		r := Reader{Package: s.Package.ID, Run: s.run(), Files: []record.File{}}
		seen := map[record.File]bool{}
		for _, t := range s.Turns {
			for _, f := range t.Reads {
				if strings.HasPrefix(f.Path, lead) && !seen[f] {
					seen[f] = true
					r.Files = append(r.Files, f)
				}
			}
		}
		if len(r.Files) > 0 {
			p.Readers = append(p.Readers, r)
		}
	}
	slices.SortStableFunc(p.Readers, func(a, b Reader) int { return b.Opened.Compare(a.Opened) })
	return nil
}

func (s *Session) run() Run {
	r := Run{Session: s.ID, Plane: s.Plane, Version: s.Package.Version, SHA256: s.Package.SHA256, Opened: s.Opened, State: s.State, Turns: len(s.Turns)}
	if len(s.Turns) > 0 {
		last := s.Turns[len(s.Turns)-1]
		r.Status, r.Code = last.Status, last.Code
	}
	return r
}

// installed tells what the control plane has of the package.
func (q *question) installed(p *ExplainedPackage) {
	state := q.audit.plane.State()
	if s, ok := state.Stored[p.ID]; ok && (p.Version == "" || p.Version == s.Package.Version) {
		p.Stored = &StoredArchive{"packages_store/" + p.ID + ".tar.gz", s.Package.Version, s.Package.SHA256, s.Archive, s.Size}
	}
	for _, i := range state.Find(p.ID, "") {
		if p.Version != "" && p.Version != i.Package.Version {
			continue
		}
		one := InstalledPackage{
			Plane: i.Plane, Status: "active", Version: i.Package.Version, Name: i.Name, SpecID: i.SpecID, Tier: i.Tier,
			SHA256: i.Package.SHA256, Archive: i.Archive, Files: i.Files, Signer: i.Signer, InstalledAt: i.At, By: i.By, Seq: i.Seq,
			Dependencies: []Needed{}, Dependents: []Needed{},
		}
		for _, d := range i.Dependencies {
			need := Needed{ID: d.ID, Range: d.Version}
			if got, ok := state.Provider(d.ID, i.Plane); ok {
				need.Version, need.Plane, need.SHA256 = got.Package.Version, got.Plane, got.Package.SHA256
			}
			one.Dependencies = append(one.Dependencies, need)
		}
		for _, by := range state.Dependents(i) {
			need := Needed{ID: by.Package.ID, Version: by.Package.Version, Plane: by.Plane, SHA256: by.Package.SHA256}
			for _, d := range by.Dependencies {
				if d.ID == p.ID {
					need.Range = d.Version
				}
			}
			one.Dependents = append(one.Dependents, need)
		}
		if m, err := q.audit.manifest(i); err != nil {
			one.Fault = err.Error()
		} else {
			one.Rights = archive.Describe(m)
		}
		p.Installed = append(p.Installed, one)
	}
}

// manifest is that of an installed package, if what lies there is what was
// installed.
func (a *Audit) manifest(i plane.Installed) (archive.Manifest, error) {
	m, digest, err := archive.DigestFolder(filepath.Join(a.root.Path(), "planes", i.Plane, "installed", i.Package.ID))
	if err == nil && digest != i.Package.SHA256 {
		err = fmt.Errorf("what lies there is not what was installed: its digest is %v", digest)
	}
	return m, err
}

// granted are the rights that the last turn of a session was given, in words.
func (q *question) granted(plane string, id session.ID) ([]string, error) {
	var last *record.TurnBegin
	for e, err := range ledger.Scan(q.audit.root.LedgerPath(plane, id, record.ExecFile), record.ExecOptions(string(id))) {
		var bad *ledger.IntegrityError
		if errors.As(err, &bad) && bad.Torn {
			break
		}
		if err != nil {
			return nil, err
		}
		if e.Kind != record.KindTurnBegin {
			continue
		}
		body, err := record.Decode(e)
		if err != nil {
			return nil, err
		}
		begin, _ := body.(record.TurnBegin)
		last = &begin
	}
	if last == nil {
		return nil, nil
	}
	return inWords(last.Granted, last.Withheld), nil
}

// inWords says what is granted and what of it is withheld, as record.TurnBegin has
// both.
func inWords(granted capability.Grants, withheld []string) []string {
	words := archive.Describe(archive.Manifest{Entry: &archive.Entry{}, Capabilities: granted})
	const by = " by work order "
	var operator []string
	for _, w := range withheld {
		if n := strings.LastIndex(w, by); n >= 0 {
			words = append(words, "has not, by work order "+w[n+len(by):]+": "+w[:n])
			continue
		}
		operator = append(operator, w)
	}
	if len(operator) > 0 {
		words = append(words, "does not see what the operator withholds: "+strings.Join(operator, ", "))
	}
	return words
}

// packages are the ids of all packages that the root knows, with their versions
// if one was asked for.
func (q *question) packages() []string {
	var ids []string
	_, _, versioned := strings.Cut(q.out.ID, "@")
	add := func(id, version string) {
		if versioned {
			id += "@" + version
		}
		ids = append(ids, id)
	}
	for _, c := range q.changes {
		if c.pkg != nil && c.pkg.Version != "" {
			add(c.pkg.ID, c.pkg.Version)
		}
	}
	for n := range q.index.lines {
		var s struct{ Package struct{ ID, Version string } }
		if json.Unmarshal(q.index.lines[n].facts, &s) == nil {
			add(s.Package.ID, s.Package.Version)
		}
	}
	return ids
}
