package register

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// segmentLimit is the size in bytes from which on a segment is finished.
const segmentLimit = 1 << 20

// current is the segment that is written, and what is known of those before. Its
// methods are called by who holds the folder's lock.
type current struct {
	register *Register
	log      *ledger.Log // nil: not open, or there is no file
	book     *book       // nil: not looked at
	left     beneath.Info
	notes    []ledger.Recovery // what is to be noted with the next commit
	key      *ledger.Key
	older    *older
	floor    *floor
	// unsure is set while what was read of the file may be in memory only: its
	// writer may have died before the sync.
	unsure bool
}

// floor is how far the register went when it was last looked at, in the segment of
// that number. It never is less.
type floor struct {
	number int
	Head
}

func (c *current) path() string { return c.register.path(record.RegisterFile) }

func (c *current) close() error {
	if c.log == nil {
		return nil
	}
	err := c.log.Close()
	c.log, c.book = nil, nil
	return err
}

// sync makes what was read durable, for who goes on from it: else a crash could
// leave a session further ahead than one commit.
func (c *current) sync() error {
	if c.log == nil {
		return nil
	}
	if c.unsure {
		c.register.opts.Step("sync what was found")
		f, err := c.register.dir.OpenFile(c.register.in(record.RegisterFile), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		c.unsure = false
	}
	return c.log.Sync()
}

func (c *current) pause() error {
	if c.log == nil {
		return nil
	}
	return c.log.Pause()
}

// drop forgets what was read, so that the next update reads it anew.
func (c *current) drop(err error) error { return errors.Join(err, c.close()) }

// keep remembers how far the register goes.
func (c *current) keep() error {
	if c.log == nil {
		return nil
	}
	h := c.log.Head()
	if h.Size > 0 {
		c.floor = &floor{c.book.number, Head{h.Size, h.Root}}
	}
	var err error
	c.left, err = c.register.dir.Stat(c.register.in(record.RegisterFile))
	return err
}

// enter brings what is known up to date.
func (c *current) enter(exists bool) error {
	if !exists {
		if c.floor != nil {
			return &ledger.IntegrityError{File: c.path(), Reason: "its folder was removed"}
		}
		c.book, c.older = newBook(c.register.plane, c.path()), newOlder(c.register, 1, nil)
		return nil
	}
	if c.log == nil {
		return c.open()
	}
	grown, err := c.log.Resume()
	if errors.Is(err, ledger.ErrReplaced) || err == nil && len(c.log.Recovered()) > 0 {
		// Of debris the keys may have seen what does not count.
		if err := c.close(); err != nil {
			return err
		}
		return c.open()
	}
	if err == nil && !grown {
		err = c.same()
	}
	if err == nil && grown {
		err = c.judge()
	}
	if err != nil {
		return c.drop(err)
	}
	return c.keep()
}

// same makes sure that a file that did not grow is what was left.
func (c *current) same() error {
	info, err := c.register.dir.Stat(c.register.in(record.RegisterFile))
	if err != nil || c.floor == nil || info.Same(c.left) {
		return err
	}
	return c.contains(c.book.number, c.floor.Head)
}

// contains checks that the current segment, of that number, has a head.
func (c *current) contains(number int, h Head) error {
	b := newBook(c.register.plane, c.path())
	o := b.options()
	o.Anchors = []ledger.Anchor{{Size: h.Size, Root: h.Root, Source: "who wrote before"}}
	if _, err := ledger.Verify(c.path(), o); err != nil {
		return err
	}
	if b.number != number {
		return &ledger.IntegrityError{File: c.path(), Reason: fmt.Sprintf("it is segment %d, and was %d", b.number, number)}
	}
	return nil
}

// judge checks what was read beyond its form: its entries, and who sealed it.
func (c *current) judge() error {
	if c.book.fault != nil {
		return c.book.fault
	}
	return c.register.trust(c.book, c.key)
}

// trust checks that known hosts sealed a segment.
func (r *Register) trust(b *book, own *ledger.Key) error {
	trusted, err := r.opts.Hosts()
	if err != nil {
		return err
	}
	if own != nil {
		trusted = append(trusted[:len(trusted):len(trusted)], own.Verifier())
	}
	return record.CheckHosts("the register of "+r.plane, b.keys.Hosts(), trusted)
}

// open reads the current segment. If there is none, or an empty one, the last of
// those before is read: it was being followed.
func (c *current) open() error {
	r := c.register
	count, err := r.segments()
	if err != nil {
		return err
	}
	if err := c.load(); err != nil {
		return err
	}
	if len(c.notes) > 0 {
		// Of what was just set aside the keys have seen what does not count.
		if err := c.close(); err != nil {
			return err
		}
		if err := c.load(); err != nil {
			return err
		}
	}
	if err := c.judge(); err != nil {
		return c.drop(err)
	}
	switch {
	case c.book.entries > 0 && count >= c.book.number:
		err = &ledger.IntegrityError{File: r.path(segmentName(count)), Reason: fmt.Sprintf("%s is segment %d: it was exchanged, or this file was put there", record.RegisterFile, c.book.number)}
	case c.book.entries == 0 && count > 0:
		err = c.resume(count)
	}
	if err == nil {
		c.older = newOlder(r, c.book.number, c.book.before)
		c.older.lose(c.book.lost)
		err = c.reach()
	}
	if err != nil {
		return c.drop(err)
	}
	return c.keep()
}

// load opens the file, if there is one.
func (c *current) load() error {
	c.book, c.notes = newBook(c.register.plane, c.path()), nil
	o := c.book.options()
	o.Now = c.register.opts.Now
	log, err := ledger.Open(c.path(), o)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	c.unsure = true
	if err != nil {
		c.book = nil
		return err
	}
	c.log, c.notes = log, log.Recovered()
	return nil
}

// resume makes an empty segment the one that follows segment n.
func (c *current) resume(n int) error {
	b, report, err := c.register.segment(n, nil)
	if err != nil {
		return err
	}
	c.book.number = n + 1
	c.book.before = &record.RegisterContinue{File: segmentName(b.number), Size: report.Head.Size, Root: report.Head.Root}
	return nil
}

// reach makes sure that what was known when it was last looked at still is.
func (c *current) reach() error {
	f := c.floor
	switch {
	case f == nil:
		return nil
	case c.book.number < f.number || c.book.number == f.number && c.log == nil:
		return &ledger.IntegrityError{File: c.path(), Reason: "it is older than what was there: it was rolled back"}
	case c.book.number == f.number:
		return c.contains(f.number, f.Head)
	}
	return c.older.reach(f)
}

// find returns the state of a session.
func (c *current) find(session string) (State, bool, error) {
	if s, ok := c.book.heads[session]; ok {
		return s, true, nil
	}
	return c.older.find(session)
}

// append writes the bodies, with what must stand before them.
func (c *current) append(bodies []ledger.Body) error {
	r := c.register
	if c.key == nil {
		key, err := r.opts.Key()
		if err != nil {
			return err
		}
		c.key = key
	}
	if c.log != nil && (c.book.final || c.left.Size >= r.limit) {
		if err := c.turn(); err != nil {
			return err
		}
	}
	if c.log == nil {
		o := c.book.options()
		o.Now = r.opts.Now
		r.opts.Step("create")
		log, err := ledger.Create(c.path(), o)
		if err != nil {
			return err
		}
		c.log = log
	}
	head, err := c.introduction()
	if err != nil {
		return err
	}
	r.opts.Step("write")
	c.book.mine = true
	_, err = c.log.CommitLater(0, append(head, bodies...)...)
	c.book.mine = false
	if err != nil {
		return err
	}
	c.notes = nil
	if c.book.fault != nil {
		return c.book.fault
	}
	return c.keep()
}

// introduction is what must stand before what is written next: whose seal follows, where the
// segment does not say it yet, and what was set aside.
func (c *current) introduction() (bodies []ledger.Body, err error) {
	origin := c.book.keys.Origin()
	hosts := c.book.keys.Hosts()
	own := c.key.Verifier().String()
	if origin == "" {
		var id [8]byte
		if _, err := io.ReadFull(c.register.opts.Random, id[:]); err != nil {
			return nil, fmt.Errorf("naming the register of %s: %w", c.register.plane, err)
		}
		origin = originPrefix(c.register.plane) + hex.EncodeToString(id[:])
	}
	if len(hosts) == 0 || hosts[len(hosts)-1].String() != own {
		bodies = append(bodies, record.HostKey{Origin: origin, Key: own})
	}
	if len(hosts) == 0 && c.book.before != nil {
		bodies = append(bodies, *c.book.before)
	}
	for _, n := range c.notes {
		bodies = append(bodies, record.Recovered{File: n.File, Offset: n.Offset, Length: n.Length, SHA256: n.SHA256})
	}
	c.log.Sign(c.key, origin)
	return bodies, nil
}

// turn ends the segment and leaves it behind under its number. Each step may be
// the last that a process does: who comes next finds a final seal, or no file,
// and goes on from there.
func (c *current) turn() error {
	r := c.register
	if !c.book.final {
		head, err := c.introduction()
		if err != nil {
			return err
		}
		r.opts.Step("finish")
		c.book.mine = true
		_, err = c.log.Finish(0, head...)
		c.book.mine = false
		if err != nil {
			return err
		}
		c.notes = nil
	}
	if c.book.fault != nil {
		return c.book.fault
	}
	if err := c.keep(); err != nil {
		return err
	}
	done, before := c.book, c.floor
	if err := c.close(); err != nil {
		return err
	}
	name := segmentName(done.number)
	r.opts.Step("move debris")
	if err := r.moveDebris(name); err != nil {
		return err
	}
	r.opts.Step("move segment")
	if err := beneath.RenameNoReplace(r.dir, r.in(record.RegisterFile), r.dir, r.in(name)); err != nil {
		return err
	}
	if err := durable.SyncFolder(r.dir, r.folder); err != nil {
		return err
	}
	c.older.push(done)
	c.book = newBook(r.plane, c.path())
	c.book.number = done.number + 1
	c.book.before = &record.RegisterContinue{File: name, Size: before.Size, Root: before.Root}
	return nil
}
