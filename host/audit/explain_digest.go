package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// ExplainedDigest is all that has, read or made one content, and what that came
// to. Lists of uses are sorted by time.
type ExplainedDigest struct {
	SHA256   ledger.Hash    `json:"sha256"`
	Packages []DigestChange `json:"packages"` // changes of the control plane that name it as a package or an archive
	Ran      []Use          `json:"ran"`      // sessions whose package or module it is
	Read     []Use          `json:"read"`
	Made     []Use          `json:"made"`
	Replaced []Use          `json:"replaced"`
	Commands []Use          `json:"commands"` // turns that ran it as a command's program or interpreter, or whose command could see what it lists
	// Unlisted counts the turns that ran commands: that these read it, if they
	// did, is in no list here.
	Unlisted int `json:"turns_with_commands"`
	// Reached are the turns that read it, those that read what these published,
	// and so on; Sources those that published it, those that published what these
	// read, and so on. Both are sorted by the number of steps, then by time.
	Reached []Step `json:"reached"`
	Sources []Step `json:"sources"`
}

// DigestChange is an entry of governance.jsonl that names a digest.
type DigestChange struct {
	Change
	As string `json:"as"` // package, archive
}

// A Step is a turn on the way from a content, or to it.
type Step struct {
	Session session.ID `json:"session_id"`
	Plane   string     `json:"plane"`
	Package string     `json:"package"` // its id
	Version string     `json:"version"`
	Turn    int        `json:"turn_number"`
	Status  string     `json:"status,omitempty"`
	Time    time.Time  `json:"time"`  // of its last entry
	Steps   int        `json:"steps"` // the fewest; from 1
	// Read is what it read, and Published what it published, that lies on the way.
	Read      []Flow `json:"read"`
	Published []Flow `json:"published"`
}

// Flow is a content on its way into or out of a turn.
type Flow struct {
	As     string      `json:"as"` // read, published; module and package of what ran; program and interpreter of its commands
	Path   string      `json:"path,omitempty"`
	SHA256 ledger.Hash `json:"sha256"`
	// OutOfOrder says that by the clocks the content was read before any turn on
	// the way had published it: it came from elsewhere, unless a clock was wrong.
	OutOfOrder bool `json:"out_of_order,omitempty"`
}

func (q *question) aboutDigest() error {
	h, err := q.resolve(strings.TrimPrefix(q.out.ID, "sha256:"))
	if err != nil {
		return err
	}
	q.out.ID = h.String()
	d := &ExplainedDigest{SHA256: h, Packages: []DigestChange{}, Ran: []Use{}, Read: []Use{}, Made: []Use{}, Replaced: []Use{}, Commands: []Use{}}
	q.out.Digest = d
	for _, c := range q.changes {
		switch {
		case c.pkg == nil:
		case c.pkg.SHA256 == h:
			d.Packages = append(d.Packages, DigestChange{c.Change, "package"})
		case c.archive == h:
			d.Packages = append(d.Packages, DigestChange{c.Change, "archive"})
		}
	}
	uses, err := q.index.uses(h)
	if err != nil {
		return err
	}
	for _, u := range uses {
		said := u.say()
		switch u.as {
		case asRead:
			d.Read = append(d.Read, said)
		case asWrite:
			d.Made = append(d.Made, said)
		case asBase:
			d.Replaced = append(d.Replaced, said)
		case asProgram, asInterpreter, asView:
			d.Commands = append(d.Commands, said)
		default:
			d.Ran = append(d.Ran, said)
		}
	}
	for _, list := range [][]Use{d.Ran, d.Read, d.Made, d.Replaced, d.Commands} {
		slices.SortFunc(list, byTime)
	}
	if d.Unlisted, err = q.index.ranCommands(); err != nil {
		return err
	}
	if d.Reached, err = q.lineage(h, true); err != nil {
		return err
	}
	d.Sources, err = q.lineage(h, false)
	return err
}

// resolve finds the one digest that begins with these digits.
func (q *question) resolve(digits string) (ledger.Hash, error) {
	var found []ledger.Hash
	for _, h := range q.index.starting(digits) {
		// A file can be called as a digest is written: that is none.
		uses, err := q.index.uses(h)
		if err != nil {
			return ledger.Hash{}, err
		}
		if len(uses) > 0 {
			found = append(found, h)
		}
	}
	for _, c := range q.changes {
		for _, h := range c.digests() {
			if strings.HasPrefix(h.String(), "sha256:"+digits) && !slices.Contains(found, h) {
				found = append(found, h)
			}
		}
	}
	switch len(found) {
	case 0:
		return ledger.Hash{}, q.unknown(nil)
	case 1:
		return found[0], nil
	}
	return ledger.Hash{}, &RequestError{fmt.Sprintf("sha256:%s is the beginning of %d digests, such as %v and %v", digits, len(found), found[0], found[1]), "write more of it"}
}

// turnKey names a turn while lineage is followed.
type turnKey struct {
	session *Session
	turn    int
}

// lineage follows a content from turn to turn: with onward from those that read
// it to those that read what these published, else from those that published it
// to those that published what these read. A content is known by its digest
// alone, so it may lie under another name, be the module or package that ran, or the
// program of a command, be
// a package whose files are read, or have gone through the store of the control
// plane. One without bytes carries
// nothing and connects nothing. Times decide nothing here: a clock that was set
// back must not hide a turn.
func (q *question) lineage(start ledger.Hash, onward bool) ([]Step, error) {
	aliases, contents := q.aliases(), q.contents()
	seen := map[ledger.Hash]bool{start: true}
	steps := map[turnKey]int{}
	border := []ledger.Hash{start}
	for n := 1; len(border) > 0; n++ {
		var next []ledger.Hash
		reach := func(h ledger.Hash) {
			if !seen[h] && h != emptyContent {
				seen[h] = true
				next = append(next, h)
			}
		}
		for i := 0; i < len(border); i++ {
			same := aliases[border[i]]
			if onward {
				same = append(slices.Clone(same), contents(border[i])...)
			}
			for _, other := range same {
				if !seen[other] && other != emptyContent {
					seen[other] = true
					border = append(border, other)
				}
			}
			uses, err := q.index.uses(border[i])
			if err != nil {
				return nil, err
			}
			for _, u := range uses {
				for _, t := range u.turns(onward) {
					if _, ok := steps[t]; ok {
						continue
					}
					steps[t] = n
					if onward {
						t.published(reach)
					} else {
						t.inputs(reach)
					}
				}
			}
		}
		border = next
	}
	return tell(start, seen, steps, onward), nil
}

// emptyContent is the digest of no bytes. What has none carries nothing from one
// turn to another.
var emptyContent = ledger.Sum(nil)

// turns are the turns through which a content goes on from a use of it.
func (u use) turns(onward bool) []turnKey {
	if !onward {
		if u.as == asWrite && u.session.Turns[u.turn].Writes[u.at].Published {
			return []turnKey{{u.session, u.turn}}
		}
		return nil
	}
	switch u.as {
	case asRead, asProgram, asInterpreter:
		return []turnKey{{u.session, u.turn}}
	case asModule, asPackage:
		var all []turnKey
		for i := range u.session.Turns {
			all = append(all, turnKey{u.session, i})
		}
		return all
	}
	return nil
}

func (t turnKey) of() *Turn { return &t.session.Turns[t.turn] }

func (t turnKey) published(found func(ledger.Hash)) {
	for _, w := range t.of().Writes {
		if w.Published {
			found(w.SHA256)
		}
	}
}

func (t turnKey) inputs(found func(ledger.Hash)) {
	found(t.session.Package.SHA256)
	found(t.session.Module)
	for _, f := range t.of().Reads {
		if !f.SHA256.IsZero() {
			found(f.SHA256)
		}
	}
	t.of().programs(func(_ int, _ useKind, f *record.File) { found(f.SHA256) })
}

// contents are the files of a package by its digest, if it is installed: who
// reads a library reads these.
func (q *question) contents() func(ledger.Hash) []ledger.Hash {
	installed := map[ledger.Hash]plane.Installed{}
	if q.audit.plane != nil {
		for _, i := range q.audit.plane.State().Installed {
			installed[i.Package.SHA256] = i
		}
	}
	return func(h ledger.Hash) []ledger.Hash {
		i, ok := installed[h]
		if !ok {
			return nil
		}
		m, err := q.audit.manifest(i)
		if err != nil {
			return nil // what lies there was never what sessions read
		}
		var all []ledger.Hash
		for _, f := range m.Files {
			all = append(all, f.SHA256)
		}
		return all
	}
}

// aliases are the digests under which the control plane knows the same package:
// that of the package and those of its archives.
func (q *question) aliases() map[ledger.Hash][]ledger.Hash {
	same := map[ledger.Hash][]ledger.Hash{}
	add := func(a, b ledger.Hash) {
		if !slices.Contains(same[a], b) {
			same[a] = append(same[a], b)
		}
	}
	for _, c := range q.changes {
		if c.pkg != nil && !c.archive.IsZero() {
			add(c.pkg.SHA256, c.archive)
			add(c.archive, c.pkg.SHA256)
		}
	}
	return same
}

// tell says what went through each turn, and whether by the clocks it could.
func tell(start ledger.Hash, seen map[ledger.Hash]bool, steps map[turnKey]int, onward bool) []Step {
	first, last := map[ledger.Hash]time.Time{}, map[ledger.Hash]time.Time{} // published first, read last, on the way
	for t := range steps {
		at := t.of().Last
		t.published(func(h ledger.Hash) {
			if was, ok := first[h]; !ok || at.Before(was) {
				first[h] = at
			}
		})
		t.inputs(func(h ledger.Hash) {
			if at.After(last[h]) {
				last[h] = at
			}
		})
	}
	out := make([]Step, 0, len(steps))
	for t, n := range steps {
		s, turn := t.session, t.of()
		step := Step{
			Session: s.ID, Plane: s.Plane, Package: s.Package.ID, Version: s.Package.Version,
			Turn: turn.Number, Status: turn.Status, Time: turn.Last, Steps: n, Read: []Flow{}, Published: []Flow{},
		}
		read := func(as, path string, h ledger.Hash) {
			if at, ok := first[h]; seen[h] {
				step.Read = append(step.Read, Flow{as, path, h, onward && ok && h != start && turn.Last.Before(at)})
			}
		}
		read(AsPackage, "", s.Package.SHA256)
		read(AsModule, "", s.Module)
		for _, f := range turn.Reads {
			read(AsRead, f.Path, f.SHA256)
		}
		turn.programs(func(at int, as useKind, f *record.File) { read(use{s, t.turn, as, at}.say().As, f.Path, f.SHA256) })
		for _, w := range turn.Writes {
			if at, ok := last[w.SHA256]; w.Published && (onward || seen[w.SHA256]) {
				step.Published = append(step.Published, Flow{AsPublished, w.Path, w.SHA256, !onward && ok && w.SHA256 != start && at.Before(turn.Last)})
			}
		}
		out = append(out, step)
	}
	slices.SortFunc(out, func(a, b Step) int {
		use := func(s Step) Use { return Use{Time: s.Time, Session: s.Session, Plane: s.Plane, Turn: s.Turn} }
		return cmp.Or(a.Steps-b.Steps, byTime(use(a), use(b)))
	})
	return out
}
