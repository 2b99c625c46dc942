package ledger

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"time"
)

// FollowEvery is how often [Follow] looks where it is not told.
const FollowEvery = 200 * time.Millisecond

// Follow is [Scan] of a ledger that grows: it gives the entries that are there,
// then each that is appended, seals too. It looks for more every so often, 0 being
// FollowEvery, until ctx is done or the caller stops, as it may after a final
// seal. That ctx is done is no error.
//
// What has the look of an unfinished write is not given, nor an error: more of it
// may come, or the next writer sets it aside. So is an entry that counts only with
// its seal, until that is there. But what was given must stay: if it is cut, or is
// not what it was, that is an [*IntegrityError], as is all that Scan finds; and a
// ledger that was removed is an [io/fs.ErrNotExist].
func Follow(ctx context.Context, path string, every time.Duration, o Options) iter.Seq2[Entry, error] {
	if every == 0 {
		every = FollowEvery
	}
	return func(yield func(Entry, error) bool) {
		w := &follower{v: newVerifier(path, &o)}
		w.v.treed = true
		tick := time.NewTicker(every)
		defer tick.Stop()
		for ctx.Err() == nil {
			if !w.look(ctx, yield) {
				return
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}
}

// follower is how far a ledger was followed.
type follower struct {
	v    *verifier // after all that was given
	last Entry     // given, without its line
	end  int64     // of what was given
	seen fs.FileInfo
}

// look gives what is new, and reports whether to look again.
func (w *follower) look(ctx context.Context, yield func(Entry, error) bool) bool {
	f, err := w.v.opts.disk().openFile(w.v.path, os.O_RDONLY, 0)
	if err != nil {
		yield(Entry{}, err)
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		yield(Entry{}, err)
		return false
	}
	if was := w.seen; was != nil && was.Size() == info.Size() && was.ModTime().Equal(info.ModTime()) && os.SameFile(was, info) {
		return true
	}
	w.seen = info
	if err := w.stays(f, info.Size()); err != nil {
		yield(Entry{}, err)
		return false
	}
	whole, failed := w.whole(f, info.Size())
	for e, err := range w.v.entries(f, w.end, whole) {
		if err != nil {
			yield(Entry{}, err)
			return false
		}
		w.last = e
		w.last.Line = nil
		w.end = e.Offset + int64(len(e.Line)) + 1
		if !yield(e, nil) || ctx.Err() != nil {
			return false
		}
	}
	if failed != nil {
		yield(Entry{}, failed)
		return false
	}
	return true
}

// stays returns an error if the last entry given does not lie where it did. The
// hash of that one stands for all before it.
func (w *follower) stays(f file, size int64) error {
	if w.end == 0 {
		return nil
	}
	bad := &IntegrityError{File: w.v.path, Line: int(w.last.Seq) + 1, Seq: w.last.Seq, Offset: w.last.Offset} //nolint:gosec // a line number
	if size < w.end {
		bad.Reason = "it was read before, and now the file ends in front of its end: the file was cut"
		return bad
	}
	line := make([]byte, w.end-w.last.Offset)
	if _, err := f.ReadAt(line, w.last.Offset); err != nil {
		return err
	}
	if e, err := parseStored(line); err != nil || e.Hash != w.last.Hash {
		bad.Reason = "it was read before, and is another one now: the file was changed or exchanged"
		return bad
	}
	return nil
}

// whole is where what can be given ends: in front of what looks like an unfinished
// write, and of entries whose seal is not there. An error is about what is there
// instead.
func (w *follower) whole(f file, size int64) (end int64, err error) {
	o := Options{MaxEntry: w.v.max, Durable: w.v.opts.Durable}
	v := newVerifier(w.v.path, &o)
	v.seq, v.prev, v.session, v.seals = w.v.seq, w.v.prev, w.v.session, nil
	end = w.end
	waits := int64(-1) // where the first entry without its seal is
	for e, failed := range v.entries(f, w.end, size) {
		var bad *IntegrityError
		if failed != nil {
			if !errors.As(failed, &bad) || !bad.Torn {
				err = failed
			}
			break
		}
		end = e.Offset + int64(len(e.Line)) + 1
		if !w.v.opts.sealed(e) {
			waits = -1 // it is sealed, or never will be, which is for the verifier to say
		} else if waits < 0 {
			waits = e.Offset
		}
	}
	if waits >= 0 {
		end = waits
	}
	return end, err
}
