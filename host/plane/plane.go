// Package plane is the control plane on disk: who may change it, what is
// installed in it, and the record of every change. It runs nothing, and does not
// judge what a package may do when it runs.
//
// # Places
//
//	control/                       0700, never visible to a guest
//	    token                      the hash of the admin token
//	    trusted_keys               verifier keys of those who sign packages, one a line
//	    policy.json                what the operator grants; not this package's
//	    lock                       held by who changes the plane
//	packages_store/ID.tar.gz       what was packed or installed last under this id,
//	    ID.tar.gz.sig              and its signature
//	registries/packages_registry.csv
//	ledger/governance.jsonl        every change, and every one that was refused
//	planes/PLANE/installed/ID/     the files of an installed package
//	planes/pending/change          a change whose files are not in their places yet
//
// governance.jsonl is the authority: what is installed, who is trusted and which
// token counts follow from it alone ([State]). All else is checked against it. It is
// sealed by the host that writes to it, as the ledgers of plane ho2 are: an entry
// counts with its seal, and the seals of hosts that are not trusted make the whole
// ledger one that anybody could have written (*[record.UnknownHostError]).
//
// # Changes
//
// A change happens when its entry is on the disk, and not before. What it needs is
// made beside what is there, under names that begin with .new-, and synced; then
// the entry is appended; then all gets its place by renames, the old version of a
// package by way of .old-ID, and the views are written. planes/pending/change is on
// the disk before the first of this and goes after the last. Who finds it there,
// and nobody at work, puts everything where governance.jsonl says it belongs: so a
// process that ends anywhere, or a full disk, leaves the state before the change
// or the one after it. All or none holds once that was done, not for a reader in
// between: one who finds files that are not what was installed looks whether a
// change is under way ([Plane.Package]).
package plane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// governancePath is the ledger, from the root.
const governancePath = "ledger/" + record.GovernanceFile

// ErrNotControl says that a root is none of a control plane: nothing can be
// installed in it.
var ErrNotControl = errors.New("it is not a control plane")

// A Plane is the control plane of a root, as it was when it was opened. It is
// safe for concurrent use.
type Plane struct {
	dir   *beneath.Dir
	path  string // of the root, absolute
	opts  session.Options
	log   book // governance.jsonl
	state State
}

// Open reads the control plane of a root, which must stay open as long as the
// Plane is used, with that root's clock and randomness. Its ledger is verified. A
// change that a crash cut short is finished or taken back first; where none was
// nothing is written. Errors wrap [ErrNotControl], an *[ledger.IntegrityError] or an
// *[record.UnknownHostError], or are a *[MismatchError].
func Open(root *session.Root) (*Plane, error) {
	if !root.Control() {
		return nil, fmt.Errorf("root %s: %w", root.Path(), ErrNotControl)
	}
	p := &Plane{dir: root.Folder(), path: root.Path(), opts: root.Options(), log: governanceBook(root)}
	_, found, err := readMarker(p.dir)
	if found && err == nil {
		err = p.recover()
	}
	if err != nil {
		return nil, fmt.Errorf("root %s: finishing a change that was cut short: %w", p.path, err)
	}
	p.state, err = readState(p.log)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = &MismatchError{governancePath, "is missing", lostHint}
	case err == nil && p.state.Head.Size == 0:
		err = &MismatchError{governancePath, "is empty", lostHint}
	}
	return p, err
}

// lostHint is all that helps where the authority itself is gone.
const lostHint = "bring it back from a copy: nothing else says what is installed here"

// recover finishes what a crash left, unless a living process is at work there.
func (p *Plane) recover() error {
	lock, err := p.dir.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := beneath.TryLock(lock); err != nil {
		closed := lock.Close()
		if errors.Is(err, beneath.ErrLocked) {
			return closed
		}
		return errors.Join(err, closed)
	}
	c, err := p.entered(lock, record.Actor{})
	if err != nil {
		return err
	}
	return c.Close()
}

// State is what governance.jsonl said when the plane was opened. It is not to be
// changed.
func (p *Plane) State() State { return p.state }

// readState reads what a ledger says. What is being written, and has no seal yet, is
// not said.
func readState(b book) (State, error) {
	var s State
	var fault error
	_, err := b.read(func(e ledger.Entry) {
		if err := s.add(e); err != nil && fault == nil {
			fault = badEntry(b.path, e, err)
		}
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return State{}, err
	}
	return s, nil
}

// Names are the ids of all that is installed, sorted.
func (s State) Names() []string {
	var ids []string
	for _, i := range s.Installed {
		ids = append(ids, i.Package.ID)
	}
	return slices.Compact(ids)
}
