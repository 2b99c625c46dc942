package register

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Loss is what [Register.Repair] gave up.
type Loss struct {
	// Fault is what was wrong first, nil if nothing was.
	Fault error
	// Files are those that hold what was set aside, in the register's folder.
	Files []string
	// Sessions are those that it names, sorted: what the register has of them may
	// be old, or nothing.
	Sessions []string
}

// Repair makes a broken register one that can be gone on with, for an operator who
// accepts what is lost, and does nothing with one that is whole. From the first
// entry that is not proven, the current segment is set aside; of those before,
// the broken or missing one and all before it are given up. Both stand in the
// register then. What sessions have on the disk is for the caller to record, as
// session.repair from what [Register.Find] has of each.
//
// A Register that failed, of this process or another, does not see it; it is to be
// closed, and Repair is called before anything else on a new one. What a host
// sealed that is not trusted is lost too: who trusts it says so before. Errors are
// those of [Register.Record], a [*ledger.IntegrityError] only where it cannot be
// repaired.
func (r *Register) Repair(ctx context.Context) (Loss, error) {
	var loss Loss
	err := r.alone(func() error {
		lock, err := r.lock(ctx)
		if err != nil || lock == nil {
			return err
		}
		err = r.repair(&loss)
		return errors.Join(err, r.leave(lock))
	})
	return loss, err
}

// alone runs f when no worker does, and none begins meanwhile.
func (r *Register) alone(f func() error) error {
	for {
		r.mu.Lock()
		switch {
		case r.closed:
			r.mu.Unlock()
			return fmt.Errorf("%s: %w", r.path(record.RegisterFile), ledger.ErrClosed)
		case r.failed != nil:
			defer r.mu.Unlock()
			return r.failed
		case !r.working:
			r.working, r.idle, r.release = true, make(chan struct{}), func() {}
			r.mu.Unlock()
			err := f()
			if sticks(err) {
				err = r.broken(err)
			}
			go r.work() // what was queued meanwhile
			return err
		}
		idle := r.idle
		r.mu.Unlock()
		<-idle
	}
}

// repair mends the current segment and then looks at those before.
func (r *Register) repair(loss *Loss) error {
	for _, mend := range []func(*Loss) error{r.restore, r.cut, r.clear, r.restore, r.cut} {
		err := r.disk.enter(true)
		if !wrong(err) {
			break
		}
		if loss.Fault == nil {
			loss.Fault = err
		}
		if r.disk.floor != nil {
			return err // it was whole a moment ago: what is lost is not known
		}
		if err := mend(loss); err != nil {
			return err
		}
	}
	if err := r.disk.enter(true); err != nil {
		return err
	}
	lost, err := r.give(loss)
	if err != nil || lost == nil && len(r.disk.notes) == 0 {
		return err
	}
	for _, n := range r.disk.notes {
		loss.Files = append(loss.Files, n.File)
	}
	if err := r.disk.append(lost); err != nil {
		return err
	}
	r.opts.Step("sync")
	return r.disk.log.Sync()
}

// wrong reports whether an error is of what can be repaired.
func wrong(err error) bool {
	var (
		bad     *ledger.IntegrityError
		unknown *record.UnknownHostError
	)
	return errors.As(err, &bad) || errors.As(err, &unknown)
}

// give looks at the segments before the current one, and returns what is to be
// written about the first that is broken.
func (r *Register) give(loss *Loss) ([]ledger.Body, error) {
	o := r.disk.older
	for o.down-1 > o.lost {
		n := o.down - 1
		err := o.next()
		if err == nil {
			continue
		}
		if !wrong(err) {
			return nil, err
		}
		if loss.Fault == nil {
			loss.Fault = err
		}
		for k := n; k > 0; k-- {
			if err := r.mentions(segmentName(k), loss); err != nil {
				return nil, err
			}
		}
		o.lost = n
		return []ledger.Body{record.RegisterLost{File: segmentName(n), Reason: err.Error()}}, nil
	}
	return nil, nil
}

// restore makes the last segment before the current one the current one again, if
// there is none or nothing in it: what is broken is its end.
func (r *Register) restore(*Loss) error {
	info, err := r.dir.Stat(r.in(record.RegisterFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	n, err := r.segments()
	if err != nil || info.Size > 0 || n == 0 {
		return err
	}
	r.opts.Step("move segment back")
	return durable.Move(r.dir, r.in(segmentName(n)), r.in(record.RegisterFile))
}

// cut sets aside what is not proven of the current segment: all behind the last
// seal by a trusted host that fits everything before it.
func (r *Register) cut(loss *Loss) error {
	offset, err := r.proven(r.path(record.RegisterFile))
	if err != nil {
		return err
	}
	return r.cutAt(offset, loss)
}

// clear sets all of the current segment aside: it does not go with those before.
func (r *Register) clear(loss *Loss) error { return r.cutAt(0, loss) }

func (r *Register) cutAt(offset int64, loss *Loss) error {
	if err := r.mentions(record.RegisterFile, loss); err != nil {
		return err
	}
	r.opts.Step("cut")
	return ledger.Cut(r.path(record.RegisterFile), offset, record.RegisterOptions())
}

// proven returns the offset behind the last seal up to which everything is right:
// the chain, each seal's root and signature, and what the entries say.
func (r *Register) proven(path string) (int64, error) {
	var (
		good int64
		tree ledger.Tree
		size uint64
		b    = newBook(r.plane, path)
	)
	for e, err := range ledger.Read(path) {
		var bad *ledger.IntegrityError
		if errors.As(err, &bad) {
			break
		}
		if err != nil {
			return 0, err
		}
		if e.Kind == ledger.KindSeal {
			var s ledger.Seal
			if e.Decode(&s) != nil || b.sealed(s, size, &tree) != nil || r.trust(b, r.disk.key) != nil {
				break
			}
			size = s.Size
			good = e.Offset + int64(len(e.Line)) + 1
		} else if b.keys.Saw(e) != nil {
			break
		}
		if b.observe(e); b.fault != nil {
			break
		}
		tree.Add(e.Hash)
	}
	return good, nil
}

// sealed checks a seal behind the entries of tree, the one before it of that size.
func (b *book) sealed(s ledger.Seal, before uint64, tree *ledger.Tree) error {
	origin, key, err := b.keys.Signer(s.Sig)
	if err != nil {
		return err
	}
	c := ledger.Checkpoint{Origin: origin, Size: s.Size, Root: s.Root, Signatures: []ledger.Signature{{Name: key.Name(), Value: s.Sig}}}
	if s.Size != tree.Size() || s.PrevSize != before || s.Root != tree.Root() || b.final && !s.Final {
		return errors.New("the seal does not fit")
	}
	return c.Check(key)
}

// mentions adds the sessions that occur in a file to what is lost.
func (r *Register) mentions(file string, loss *Loss) error {
	text, err := r.raw(file)
	var bad *ledger.IntegrityError
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &bad) {
		return nil
	}
	set := map[string]bool{}
	for _, s := range loss.Sessions {
		set[s] = true
	}
	eachMember(text, nameMark, func(session string) {
		if sessionName.MatchString(session) {
			set[session] = true
		}
	})
	loss.Sessions = sorted(set)
	return err
}
