package plane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"syscall"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// registerName is the register for people.
func (b book) registerName() string { return "the register of " + b.plane }

// register is the register that knows the ledger.
func (b book) register() *register.Register {
	return register.New(b.root, b.top, b.plane, register.Options{Now: b.options.Now, Random: b.random, Key: b.key, Hosts: b.hosts})
}

// find returns what the register knows of the ledger, nil if nothing.
func (b book) find() (*register.Head, error) {
	r := b.register()
	known, err := b.ask(r)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		// Whoever may not write here may read.
		r.Close() //nolint:errcheck // it did nothing
		heads, err := readHeads(b)
		if err != nil {
			return nil, err
		}
		return heads.head(b), nil
	}
	return known, errors.Join(err, r.Close())
}

func (b book) ask(r *register.Register) (*register.Head, error) {
	s, found, err := r.Find(context.Background(), b.options.Session)
	if err != nil || !found {
		return nil, err
	}
	return &s.Head, nil
}

// absent makes sure that the register knows of no ledger, where there is none.
func (b book) absent() error {
	known, err := b.find()
	if err != nil || known == nil {
		return err
	}
	return b.missing(known)
}

func (b book) missing(known *register.Head) *ledger.IntegrityError {
	return &ledger.IntegrityError{File: b.path, Reason: fmt.Sprintf("it is missing, and %s knows %d entries of it", b.registerName(), known.Size)}
}

// follows reports whether the ledger goes on from what the register knows by one
// commit at most: a crash comes between the two. That it contains what is known is
// checked when it is read. The error is an *[ledger.IntegrityError].
func (r *reading) follows(known *register.Head) error {
	b := r.book
	why := ""
	switch {
	case known == nil && (b.whole || r.seal != nil && r.seal.PrevSize != 0):
		why = fmt.Sprintf("%s does not know it: that was removed, or one of the two is another root's", b.registerName())
	case known == nil, r.seal == nil, known.Size == r.seal.Size, known.Size == r.seal.PrevSize:
		return nil
	default:
		why = fmt.Sprintf("it has %d sealed entries, and %s knows %d: that was rolled back", r.seal.Size, b.registerName(), known.Size)
	}
	return &ledger.IntegrityError{File: b.path, Reason: why}
}

// Heads are what the register of a plane knew, when it was read, of ledgers that are
// no session's. It is for who judges them, waits for no lock and changes nothing.
type Heads struct{ sessions map[string]register.State }

// ReadHeads reads the register of plane ho2. Nil, with the error of
// [register.Verify], if it is not what was written; with an
// *[record.UnknownHostError] they are what it says.
func ReadHeads(root *session.Root) (*Heads, error) { return readHeads(snapshotBook(root)) }

func readHeads(b book) (*Heads, error) {
	report, err := register.Verify(b.root, b.top, b.plane)
	if err != nil {
		return nil, err
	}
	hosts, err := b.hosts()
	if err != nil {
		return nil, err
	}
	return &Heads{report.Sessions}, record.CheckHosts(b.registerName(), report.Hosts, hosts)
}

// Missing are the ledgers that are known, and not there. File of each is from the
// root.
func (h *Heads) Missing(root *session.Root) []*ledger.IntegrityError {
	if h == nil {
		return nil
	}
	var missing []*ledger.IntegrityError
	for _, name := range slices.Sorted(maps.Keys(h.sessions)) {
		b := snapshotBook(root)
		if archive.CheckID("WO", name) == nil {
			b = claimsBook(root, name)
		}
		if b.options.Session != name || h.head(b) == nil {
			continue
		}
		if _, err := b.root.Stat(b.name); errors.Is(err, fs.ErrNotExist) {
			bad := b.missing(h.head(b))
			bad.File = b.name
			missing = append(missing, bad)
		}
	}
	return missing
}

func (h *Heads) head(b book) *register.Head {
	s, ok := h.sessions[b.options.Session]
	if !ok || s.Pruned {
		return nil
	}
	return &s.Head
}
