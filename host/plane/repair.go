package plane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Standings are where the ledgers of a plane stand that are no sessions': that of a
// control plane, of work orders, of contexts. Those that are not whole are left, by
// name from the root. It is for who repairs a register, which is not asked.
func Standings(root *session.Root, plane string) (whole []session.Standing, left map[string]error, err error) {
	left = map[string]error{}
	for _, b := range booksOf(root, plane) {
		there, err := isPlain(b.root, b.name)
		if err != nil || !there {
			if err != nil {
				left[b.name] = err
			}
			continue
		}
		_, report, err := b.readAlone(nil, nil)
		if err != nil {
			left[b.name] = err
			continue
		}
		if c := report.Checkpoint; c.Size > 0 {
			whole = append(whole, session.Standing{Name: b.options.Session, Head: register.Head{Size: c.Size, Root: c.Root}})
		}
	}
	return whole, left, nil
}

// booksOf are the ledgers of a plane that are no sessions', whether they are there
// or not.
func booksOf(root *session.Root, plane string) []book {
	dir := root.Folder()
	switch {
	case dir == nil:
		return nil
	case plane == "ho3" && root.Control():
		return []book{governanceBook(root)}
	case plane != "ho2":
		return nil
	}
	books := []book{snapshotBook(root)}
	entries, err := dir.ReadDir(claimFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return books
	}
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name, ".jsonl"); ok && archive.CheckID("WO", id) == nil {
			books = append(books, claimsBook(root, id))
		}
	}
	return books
}

// Repair records that a session of the plane is about to be repaired, or a register,
// as [Change.Prune] does of a removal.
func (c *Change) Repair(r record.LedgerRepair) error {
	if err := c.ready(); err != nil {
		return c.refused(record.KindLedgerRepair, r.Ledger, ledger.Hash{}, err)
	}
	r.By = c.by
	return c.append(r)
}

// Damage is what is wrong with a ledger that a host seals.
type Damage struct {
	Fault  error // nil: nothing is wrong
	Offset int64 // what lies behind it is given up
	Length int64 // of that; 0 if the register alone has something else
}

// RepairLedger makes a ledger of a root that is no session's, named from the root,
// one that can be gone on with, for an operator who accepts what is lost: what is
// proven is kept, the rest set aside beside it, and an entry says so. Then the
// register takes it as it is. Without accept it says what is wrong and changes
// nothing. What follows from the ledger of a control plane, its registry and what is
// installed, is not touched. The error wraps fs.ErrNotExist if no ledger has that
// name, an *[ledger.IntegrityError] if nothing of it can be kept, and
// [session.ErrRegister] if the register cannot be asked.
func RepairLedger(ctx context.Context, root *session.Root, name string, accept bool) (Damage, error) {
	for _, plane := range []string{"ho2", "ho3"} {
		for _, b := range booksOf(root, plane) {
			if b.name == name {
				return b.repair(ctx, accept)
			}
		}
	}
	return Damage{}, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// lockName is what who writes to the ledger has locked.
func (b book) lockName() string {
	switch {
	case b.whole:
		return lockFile
	case b.options.Session == record.ContextSession:
		return snapshotFolder
	}
	return claimFolder
}

func (b book) repair(ctx context.Context, accept bool) (d Damage, err error) {
	known, err := b.find()
	if err != nil {
		return d, fmt.Errorf("%w of %s: %w", session.ErrRegister, b.plane, err)
	}
	if d, err = b.damage(known); err != nil || d.Fault == nil || !accept {
		return d, err
	}
	lock, err := lockFolder(ctx, b.root, b.lockName())
	if err != nil {
		return d, err
	}
	defer lock.Close()
	if d.Length > 0 {
		b.step("cut " + b.name)
		if err := ledger.Cut(b.path, d.Offset, b.options); err != nil {
			return d, err
		}
	}
	return d, b.mend(known, d)
}

// damage finds out what is wrong.
func (b book) damage(known *register.Head) (d Damage, err error) {
	_, err = b.read(nil)
	var (
		bad      *ledger.IntegrityError
		mismatch *MismatchError
	)
	if err == nil || !errors.As(err, &bad) && !errors.As(err, &mismatch) {
		return d, err
	}
	d.Fault = err
	hosts, err := b.hosts()
	if err != nil {
		return d, err
	}
	if d.Offset, err = record.ProveHosted(b.path, hosts, func(ledger.Entry) error { return nil }); err != nil {
		return d, err
	}
	if d.Offset == 0 {
		return d, fmt.Errorf("nothing of it is proven, so that nothing can be kept; take it from a backup: %w", d.Fault)
	}
	info, err := b.root.Stat(b.name)
	d.Length = info.Size - d.Offset
	return d, err
}

// mend records what was given up.
func (b book) mend(known *register.Head, d Damage) error {
	key, err := b.key()
	if err != nil {
		return err
	}
	r, o := b.reading(nil, nil)
	o.Key = key
	if o.Origin, err = b.begun(); err != nil {
		return err
	}
	l := &sealedLog{book: b, register: b.register(), known: known, repairs: true}
	if l.Log, err = ledger.Open(b.path, o); err != nil {
		return errors.Join(err, l.register.Close())
	}
	own := key.Verifier().String()
	if n := len(r.introduced); n == 0 || r.introduced[n-1].String() != own {
		l.introduce = &record.HostKey{Origin: o.Origin, Key: own}
	}
	var bodies []ledger.Body
	for _, g := range l.Recovered() {
		bodies = append(bodies, record.Recovered{File: g.File, Offset: g.Offset, Length: g.Length, SHA256: g.SHA256, Accepted: true})
	}
	if len(bodies) == 0 {
		bodies = []ledger.Body{record.Recovered{File: path.Base(b.name), Offset: d.Offset, SHA256: ledger.Sum(nil), Accepted: true}}
	}
	b.step("record loss")
	return errors.Join(l.commit(bodies...), l.Close())
}

// Admits reports whether a token is the one of control/token, where the ledger that
// vouches for that file cannot be read.
func Admits(root *session.Root, token string) error {
	row, err := durable.Read(root.Folder(), tokenFile, maxTokenRow)
	if err == nil && !matches(row, token) {
		err = &RefusedError{Code: CodeNotTrusted, What: "the admin token does not match control/token", Hint: "give the token of this control plane"}
	}
	return err
}
