package plane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Where work orders and the ledgers of their turns are, from the root.
const (
	workOrderFolder = "planes/ho2/work_orders"
	claimFolder     = "planes/ho2/ledger/work_orders"
)

// maxWorkOrder bounds the file of a work order, in bytes.
const maxWorkOrder = 1 << 20

// WorkOrders are the work orders of a root, control plane or not, and the turns
// that were claimed of them. Who puts them there is not its affair: whoever can
// write to the root can give work orders, and take a ledger of claims away. It is
// safe for concurrent use, among processes too.
type WorkOrders struct {
	root *session.Root
	now  func() time.Time
}

// NewWorkOrders returns the work orders of a root, which must stay open as long
// as they are used. Now is the clock by which they expire; nil is [time.Now].
func NewWorkOrders(root *session.Root, now func() time.Time) *WorkOrders {
	if now == nil {
		now = time.Now
	}
	return &WorkOrders{root, now}
}

// Read reads a work order as it is at this moment. What is wrong with its file,
// that there is none too, is a [*policy.Error] whose source is the file's name
// from the root.
func (w *WorkOrders) Read(id string) (*policy.WorkOrder, error) {
	if err := archive.CheckID("WO", id); err != nil {
		return nil, &policy.Error{Source: "--work-order", What: fmt.Sprintf("%.120q is not an id", id), Hint: "say WO- and up to 100 letters, digits and hyphens"}
	}
	name := workOrderFolder + "/" + id + ".json"
	missing := &policy.Error{Source: name, What: "no such file", Hint: "the work order must be there; agenthost schema work_order describes it"}
	dir := w.root.Folder()
	if dir == nil {
		return nil, missing
	}
	data, err := durable.Read(dir, name, maxWorkOrder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, missing
	case errors.Is(err, durable.ErrNotPlain):
		return nil, &policy.Error{Source: name, What: fmt.Sprintf("not a regular file of at most %d bytes", maxWorkOrder), Hint: "write the work order itself there: no link, no pipe"}
	case err != nil:
		return nil, fmt.Errorf("work order %s: %w", id, err)
	}
	order, err := policy.ParseWorkOrder(name, data)
	if err != nil {
		return nil, err
	}
	if order.ID != id {
		return nil, &policy.Error{Source: name, Where: "id", What: fmt.Sprintf("%q is not the name of the file", order.ID), Hint: "say " + id + ", or name the file " + order.ID + ".json"}
	}
	return order, nil
}

// Check reports whether a turn of the package could be claimed now. Only Claim
// decides: somebody may be faster. Errors are those of Claim.
func (w *WorkOrders) Check(order *policy.WorkOrder, pkg record.Package) error {
	if err := order.Check(pkg.ID, pkg.SHA256, w.now()); err != nil {
		return err
	}
	claims, err := w.Claims(order.ID)
	if err != nil {
		return err
	}
	return order.CheckTurns(int64(len(claims)))
}

// Claimed is a turn that was claimed.
type Claimed struct {
	record.WorkOrderTurn
	At time.Time
}

// Claims are the turns that were claimed of a work order, the first first. The
// error wraps an [*ledger.IntegrityError] if their ledger was changed, and an
// *[record.UnknownHostError] if a host sealed it that is not trusted.
func (w *WorkOrders) Claims(id string) ([]Claimed, error) {
	if err := archive.CheckID("WO", id); err != nil {
		return nil, err
	}
	c := claims{id: id}
	there, err := w.claimsThere(id)
	if err == nil && !there && w.root.Folder() != nil {
		err = w.book(id).absent()
	}
	if err != nil || !there {
		return nil, claimsError(id, err)
	}
	// Without what is being written, or a crash left of it.
	if _, err := w.book(id).read(c.add); err != nil {
		return nil, claimsError(id, err)
	}
	return c.list, claimsError(id, c.err)
}

// Claim claims a turn of a work order as it was read, for good: when it returns
// nil the claim is on the disk, and it counts even if the turn never begins. The
// order must still be what its file says. Of all who claim at once, as many
// succeed as there are turns left.
//
// The error is a [*policy.WorkOrderError] if the turn is refused, a
// [*policy.Error] if the file is not in order any more, and wraps an
// [*ledger.IntegrityError] or an *[record.UnknownHostError] as that of Claims. With any
// error the turn must not begin.
func (w *WorkOrders) Claim(ctx context.Context, order *policy.WorkOrder, turn record.WorkOrderTurn) (err error) {
	dir := w.root.Folder()
	if dir == nil {
		return fmt.Errorf("work order %s: there is no root yet", order.ID)
	}
	if err := durable.MakeAll(dir, claimFolder, 0o700); err != nil {
		return claimsError(order.ID, err)
	}
	lock, err := lockFolder(ctx, dir, claimFolder)
	if err != nil {
		return claimsError(order.ID, err)
	}
	defer lock.Close()
	now, err := w.Read(order.ID)
	if err != nil {
		return err
	}
	if err := order.CheckSame(now); err != nil {
		return err
	}
	if err := order.Check(turn.Package.ID, turn.Package.SHA256, w.now()); err != nil {
		return err
	}
	c := claims{id: order.ID}
	log, err := w.openClaims(&c)
	if err != nil {
		return claimsError(order.ID, err)
	}
	defer func() {
		if closed := log.Close(); err == nil {
			err = claimsError(order.ID, closed)
		}
	}()
	if c.err != nil {
		return claimsError(order.ID, c.err)
	}
	if err := order.CheckTurns(int64(len(c.list))); err != nil {
		return err
	}
	turn.WorkOrder, turn.SHA256 = order.ID, order.SHA256
	return claimsError(order.ID, log.commit(turn))
}

// openClaims opens the ledger of claims for the next one, and makes it if there
// is none. The caller holds the lock of its folder.
func (w *WorkOrders) openClaims(c *claims) (*sealedLog, error) {
	there, err := w.claimsThere(c.id)
	if err != nil {
		return nil, err
	}
	if !there {
		return w.book(c.id).create()
	}
	return w.book(c.id).open(c.add)
}

// claimsThere reports whether there is a ledger of claims. What is no regular file
// is an error.
func (w *WorkOrders) claimsThere(id string) (bool, error) {
	dir := w.root.Folder()
	if dir == nil {
		return false, nil
	}
	return isPlain(dir, claimFolder+"/"+id+".jsonl")
}

func (w *WorkOrders) book(id string) book {
	b := claimsBook(w.root, id)
	b.options.Now = w.now
	return b
}

func claimsError(id string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("turns of work order %s: %w", id, err)
}

// claims are what the entries of a work order's ledger come to.
type claims struct {
	id   string
	list []Claimed
	err  error // of the first entry that is none of it
}

func (c *claims) add(e ledger.Entry) {
	body, err := record.DecodeWorkOrder(e)
	if turn, ok := body.(record.WorkOrderTurn); ok {
		if turn.WorkOrder != c.id {
			err = fmt.Errorf("it claims a turn of %s", turn.WorkOrder)
		}
		c.list = append(c.list, Claimed{turn, e.Time})
	}
	if err != nil && c.err == nil {
		c.err = badEntry(c.id+".jsonl", e, err)
	}
}
