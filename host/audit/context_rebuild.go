package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// ContextOptions say which context is rebuilt, and how.
type ContextOptions struct {
	// AsOf is the time whose context is wanted: what entries say up to the first
	// that was written later. Zero: all of them.
	AsOf time.Time
	// Full takes no snapshot for a beginning, and decodes every entry.
	Full bool
}

// A Rebuilt context is the same whether it was begun from a snapshot or not.
type Rebuilt struct {
	*Context
	From    uint64   // entries that a snapshot stood for; 0: none did
	Ignored []string // why snapshots that are there were not used, for people
}

// Context rebuilds the context of a session of that plane from its exec.jsonl, of
// which every entry is verified up to the one where it ends. Of what is beneath
// the newest good snapshot the hashes and the order of entries are checked; their
// members are not decoded again.
//
// A snapshot counts if its digest is the one that context.jsonl has for it and if
// the session's ledger has the entry it ends with in that place. All others are
// ignored, and those that are not what was recorded are named.
//
// Errors are a *[RequestError] where the session was opened later than asked for,
// an *[ledger.IntegrityError] of exec.jsonl, one of the system, or the cause of
// ctx.
func (a *Audit) Context(ctx context.Context, id session.ID, in string, o ContextOptions) (*Rebuilt, error) {
	f, r, err := a.rebuild(ctx, id, in, o)
	if err != nil {
		return nil, err
	}
	if r.Context, err = f.context(); err != nil {
		return nil, a.contradicts(id, in, f.last, err)
	}
	if !o.AsOf.IsZero() {
		r.AsOf = o.AsOf.UTC()
	}
	return r, nil
}

// Snapshot is what [plane.Snapshots] keeps of a session's context: that after the
// last entry outside any turn. It is made of all entries, never of an earlier
// snapshot. Errors are those of [Audit.Context].
func (a *Audit) Snapshot(ctx context.Context, id session.ID, in string, asOf time.Time) (record.ContextSnapshot, []byte, error) {
	f, _, err := a.rebuild(ctx, id, in, ContextOptions{AsOf: asOf, Full: true})
	if err != nil {
		return record.ContextSnapshot{}, nil, err
	}
	return f.snapshot()
}

// beginning is a snapshot that a context may be rebuilt from.
type beginning struct {
	record.ContextSnapshot
	context Context
}

func (a *Audit) rebuild(ctx context.Context, id session.ID, in string, o ContextOptions) (*fold, *Rebuilt, error) {
	r := &Rebuilt{}
	var known []record.ContextSnapshot
	if !o.Full {
		known = a.snapshots(id, in, r)
	}
	heads := map[uint64]ledger.Hash{} // of the ledger, where there are snapshots
	for _, s := range known {
		heads[s.Size] = ledger.Hash{}
	}
	scanned := false
	for _, s := range known {
		if scanned && heads[s.Size] != s.Head {
			r.ignore(s, "the ledger is not the one it was made of")
			continue
		}
		b := a.beginning(s, o, r)
		if b == nil {
			continue
		}
		f, err := a.fold(ctx, id, in, o.AsOf, b, heads)
		scanned = true
		if !errors.Is(err, errNotBegun) {
			r.From = s.Size
			return f, r, err
		}
		if heads[s.Size] != s.Head {
			r.ignore(s, "the ledger is not the one it was made of")
		} else {
			r.ignore(s, "it is not what the ledger says")
		}
	}
	f, err := a.fold(ctx, id, in, o.AsOf, nil, heads)
	return f, r, err
}

func (r *Rebuilt) ignore(s record.ContextSnapshot, why string) {
	r.Ignored = append(r.Ignored, fmt.Sprintf("the snapshot after %d entries: %s", s.Size, why))
}

// snapshots are those on record for a session, the newest first.
func (a *Audit) snapshots(id session.ID, in string, r *Rebuilt) []record.ContextSnapshot {
	all, err := plane.NewSnapshots(a.root, nil).Of(string(id))
	if err != nil {
		r.Ignored = append(r.Ignored, fmt.Sprintf("all snapshots: %v", err))
		return nil
	}
	all = slices.DeleteFunc(all, func(s record.ContextSnapshot) bool { return s.Plane != in || s.Size == 0 })
	slices.SortFunc(all, func(a, b record.ContextSnapshot) int { return cmp.Compare(b.Size, a.Size) })
	return all
}

// beginning reads a snapshot, and returns nil if it is none for this context.
func (a *Audit) beginning(s record.ContextSnapshot, o ContextOptions, r *Rebuilt) *beginning {
	data, err := plane.NewSnapshots(a.root, nil).Read(s)
	if err != nil {
		r.ignore(s, err.Error())
		return nil
	}
	b := &beginning{ContextSnapshot: s}
	if b.context, err = parseSnapshot(s, data); err != nil {
		r.ignore(s, err.Error())
		return nil
	}
	if !o.AsOf.IsZero() && b.context.AsOf.After(o.AsOf) {
		return nil // of a later time
	}
	return b
}

// errNotBegun says that a ledger does not go on from a snapshot.
var errNotBegun = errors.New("the ledger does not go on from the snapshot")

// fold reads the entries up to asOf, decoding those that follow b where that is
// given, and notes the heads at the sizes that are keys of heads.
func (a *Audit) fold(ctx context.Context, id session.ID, in string, asOf time.Time, b *beginning, heads map[uint64]ledger.Hash) (*fold, error) {
	path := a.root.LedgerPath(in, id, record.ExecFile)
	f := &fold{}
	skip, misfit := uint64(0), false
	if b != nil {
		skip = b.Size
	}
	for e, err := range ledger.Scan(path, record.ExecOptions(string(id))) {
		var bad *ledger.IntegrityError
		if errors.As(err, &bad) && bad.Torn {
			break // a line that is being written, or debris
		}
		if err != nil {
			return nil, err
		}
		if !asOf.IsZero() && e.Time.After(asOf) {
			if e.Seq == 0 {
				return nil, notOpened(id, e.Time, asOf)
			}
			break
		}
		if e.Seq%1024 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if e.Seq < skip || misfit {
			err = f.skip(e)
		} else {
			err = f.add(e)
		}
		if err != nil {
			return nil, a.contradicts(id, in, e, err)
		}
		if _, asked := heads[e.Seq+1]; asked {
			heads[e.Seq+1] = e.Hash
		}
		if e.Seq+1 == skip && !f.goOn(b.context) {
			misfit = true // heads are of use all the same
		}
	}
	switch {
	case f.progress.Session == "":
		return nil, &ledger.IntegrityError{File: path, Reason: "there is no session.open"}
	case misfit, f.last.Seq+1 < skip:
		return nil, errNotBegun
	}
	return f, nil
}

// notOpened says that a session had no context yet.
func notOpened(id session.ID, opened, asOf time.Time) error {
	return &RequestError{
		fmt.Sprintf("session %s was opened at %s, after %s", id, opened.Format(time.RFC3339Nano), asOf.UTC().Format(time.RFC3339Nano)),
		"ask for that time or a later one",
	}
}

// contradicts says that an entry that verifies cannot be where it is.
func (a *Audit) contradicts(id session.ID, in string, e ledger.Entry, err error) error {
	return &ledger.IntegrityError{
		File: a.root.LedgerPath(in, id, record.ExecFile), Line: int(e.Seq) + 1, Seq: e.Seq, Offset: e.Offset, Reason: err.Error(), //nolint:gosec // a count of lines
	}
}
