package ledger

import (
	"bytes"
	"fmt"
)

// A Commitment is what [Log.Commit] wrote.
type Commitment struct {
	Entries    []Entry    // of the bodies, without Line
	Checkpoint Checkpoint // of all up to them
}

// Commit writes one entry for each body, and a seal behind them by Options.Key,
// with a single write, and returns when they and all before them are on disk.
// They count together or not at all. Together they are no longer than
// Options.MaxEntry. Errors are those of Append. Without bodies only a seal is
// written.
func (l *Log) Commit(turn int, bodies ...Body) (Commitment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commit(turn, false, false, bodies)
}

// CommitLater is [Log.Commit] without the sync: it returns when all is written,
// and after [Log.Sync] it is on disk. Nothing is written behind it before that,
// so that of a seal that another entry follows it is still known that it was on
// disk.
func (l *Log) CommitLater(turn int, bodies ...Body) (Commitment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commit(turn, false, true, bodies)
}

// Finish is [Log.Commit] with a seal that says that nothing is to follow. Later
// commits to this ledger have such seals too.
func (l *Log) Finish(turn int, bodies ...Body) (Commitment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commit(turn, true, false, bodies)
}

func (l *Log) commit(turn int, final, later bool, bodies []Body) (Commitment, error) {
	if err := l.writable(); err != nil {
		return Commitment{}, err
	}
	var (
		c     Commitment
		lines []byte
		seals = l.seals
		tree  = l.tree
		at    = place{l.tree.Size(), l.last.Hash, l.size}
	)
	add := func(turn int, b Body) error {
		e, err := l.encode(turn, b, at)
		if err == nil && len(lines)+len(e.Line)+1 > l.opts.maxEntry() {
			err = fmt.Errorf("%w: %d bytes with what is committed with it, at most %d", ErrTooLarge, len(lines)+len(e.Line)+1, l.opts.maxEntry())
		}
		if err != nil {
			return fmt.Errorf("%s: entry %s: %w", l.path, b.Kind(), err)
		}
		e.Line = bytes.Clone(e.Line)
		lines = append(append(lines, e.Line...), '\n')
		tree.Add(e.Hash)
		at = place{e.Seq + 1, e.Hash, at.offset + int64(len(e.Line)) + 1}
		c.Entries = append(c.Entries, e)
		return nil
	}
	for _, b := range bodies {
		if err := add(turn, b); err != nil {
			return Commitment{}, err
		}
	}
	if l.opts.Key == nil {
		return Commitment{}, fmt.Errorf("%s: there is no key to sign its seal with", l.path)
	}
	c.Checkpoint = Checkpoint{Origin: l.opts.Origin, Size: tree.Size(), Root: tree.Root()}
	if err := c.Checkpoint.Sign(l.opts.Key); err != nil {
		return Commitment{}, fmt.Errorf("%s: %w", l.path, err)
	}
	seal := Seal{Size: c.Checkpoint.Size, Root: c.Checkpoint.Root, PrevSize: seals.size, Sig: c.Checkpoint.Signatures[0].Value, Final: final || seals.final}
	if err := add(turn, seal); err != nil {
		return Commitment{}, err
	}
	if err := l.write(lines); err != nil {
		return Commitment{}, err
	}
	if l.owed = later; !later {
		if err := l.sync(); err != nil {
			return Commitment{}, err
		}
	}
	l.tree = tree
	for i := range c.Entries {
		l.add(c.Entries[i])
		c.Entries[i].Line = nil
	}
	seals.wrote(l.last, seal, c.Checkpoint)
	l.seals = seals
	c.Entries = c.Entries[:len(bodies)]
	return c, nil
}

// Sealed returns the checkpoint of the last seal, and whether there is one. Of a
// seal that [Open] found it is zero if there were no Options.Keys.
func (l *Log) Sealed() (Checkpoint, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seals.checkpoint, l.seals.any
}

// Sign sets the key of the seals that are written from here on, and the origin
// of the ledger: for one whose origin stands in its entries.
func (l *Log) Sign(k *Key, origin string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opts.Key, l.opts.Origin = k, origin
}
