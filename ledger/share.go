package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// ErrReplaced means that the name of a paused ledger stands for another file by
// now. The log is of no more use but to be closed.
var ErrReplaced = errors.New("another file has taken the place of the ledger")

var errPaused = errors.New("the ledger is paused")

// writable reports whether entries may be written.
func (l *Log) writable() error {
	if err := l.usable(); err != nil || !l.paused {
		return err
	}
	return fmt.Errorf("%s: %w", l.path, errPaused)
}

// Pause gives the lock up, so that another process appends to the ledger. Until
// [Log.Resume] nothing is appended here; what was can be synced. A second call
// does nothing.
func (l *Log) Pause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.paused {
		return nil
	}
	l.paused = true
	return unlock(l.f)
}

// Resume takes the lock again and verifies what others appended since
// [Log.Pause], and no more than that and the last entry before; Options.Observe
// sees it. It reports whether there was any. Debris of a crash is set aside as
// [Open] does, and [Log.Recovered] tells of this Resume's alone. What others wrote is synced before
// anything is written behind it.
//
// Errors: [ErrLocked], [ErrReplaced], [ErrPoisoned], [ErrClosed], an
// [*IntegrityError] if the ledger does not go on from where it was, or one of the
// file system. After each of them the log is paused still.
func (l *Log) Resume() (grown bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil || !l.paused {
		return false, err
	}
	if err := lock(l.f); err != nil {
		return false, err
	}
	if grown, err = l.catchUp(); err != nil {
		return false, errors.Join(err, unlock(l.f))
	}
	l.paused = false
	return grown, nil
}

// catchUp takes over what lies behind l.size.
func (l *Log) catchUp() (grown bool, err error) {
	info, err := l.f.Stat()
	if err != nil {
		return false, err
	}
	if at, err := os.Lstat(l.path); errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(at, info) {
		return false, fmt.Errorf("%s: %w", l.path, ErrReplaced)
	} else if err != nil {
		return false, err
	}
	size := info.Size()
	if size < l.size {
		return false, &IntegrityError{File: l.path, Reason: fmt.Sprintf("it has %d bytes, and had %d: it was cut", size, l.size)}
	}
	if err := l.stands(); err != nil {
		return false, err
	}
	var (
		v     = newVerifier(l.path, &l.opts)
		end   = size
		seals = l.seals
		fresh []Entry
	)
	v.session, v.seq, v.prev, v.tree, v.seals, v.treed = l.opts.Session, l.tree.Size(), l.last.Hash, l.tree, &seals, true
	for e, err := range v.entries(l.f, l.size, size) {
		var bad *IntegrityError
		if errors.As(err, &bad) && bad.Torn {
			end = bad.Offset
			break
		}
		if err != nil {
			return false, err
		}
		e.Line = bytes.Clone(e.Line)
		fresh = append(fresh, e)
	}
	l.recovered = nil
	before := l.size
	l.size = end
	if err := l.recover(size); err != nil {
		l.size = before
		return false, err
	}
	l.tree, l.seals = *v.given(), seals
	for _, e := range fresh {
		l.add(e)
	}
	if len(fresh) > 0 {
		l.dirty, l.owed = true, true
	}
	return len(fresh) > 0, nil
}

// stands checks that the last entry is where it was.
func (l *Log) stands() error {
	if l.tree.Size() == 0 {
		return nil
	}
	bad := &IntegrityError{File: l.path, Line: int(l.last.Seq) + 1, Seq: l.last.Seq, Offset: l.last.Offset} //nolint:gosec // a line number
	line := make(padded, 1+l.size-l.last.Offset)
	if _, err := l.f.ReadAt(line[1:], l.last.Offset); err != nil {
		return fmt.Errorf("reading %s: %w", l.path, err)
	}
	end := len(line) - 1
	e, err := intact(line[:end], nil)
	switch {
	case err != nil:
		bad.Reason = err.Error()
	case e.Hash != l.last.Hash || line[end] != '\n':
		bad.Reason = "it is not the entry that was there: the file was rewritten"
	default:
		return nil
	}
	return bad
}

// Cut sets everything from offset on aside, as [Open] does with debris: for an
// operator who accepts that it is lost. The next Open tells of it in
// [Log.Recovered]. Errors: [ErrLocked], or one of the file system.
func Cut(path string, offset int64, o Options) error {
	l := newLog(path, o)
	f, err := l.disk.openFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	l.f, l.size = f, offset
	err = lock(f)
	if err == nil {
		err = l.cut()
	}
	return errors.Join(err, release(f))
}

func (l *Log) cut() error {
	info, err := l.f.Stat()
	switch {
	case err != nil:
		return err
	case l.size < 0 || info.Size() < l.size:
		return fmt.Errorf("%s has %d bytes and cannot be cut at %d", l.path, info.Size(), l.size)
	}
	return l.recover(info.Size())
}
