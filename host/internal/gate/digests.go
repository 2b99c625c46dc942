package gate

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/ledger"
)

const (
	// maxKept is how many digests are remembered at most, at about 120 bytes each.
	maxKept = 1 << 17

	// settled is how old the last change of a file must be when it is hashed, for its
	// digest to be remembered: a change within one tick of a filesystem's clock shows
	// in no time.
	settled = 2 * time.Second

	hashBuffer = 128 << 10
)

// errMoved says that a file is not the one that was examined, or was changed
// while it was hashed.
var errMoved = errors.New("it was changed while it was looked at")

// Digests remembers what files hold, for as long as their device, inode, size
// and times stand, so that what a thousand commands can see is not hashed a
// thousand times. What is written through a mapping of memory can go unseen until
// the kernel writes it back: no time says that it happened. It is safe for
// concurrent use, and bounded: the files that were asked for longest ago are
// forgotten.
type Digests struct {
	now  func() time.Time
	most int // in each of the two

	mu         sync.Mutex
	young, old map[fileID]content // what is not found in either is not known
	learned    bool               // something new was put in since it was last kept
}

// fileID tells files apart that exist. The mount is one of them: of another image on
// the same device the rest can be the same.
type fileID struct{ mount, dev, ino uint64 }

// content is what a file held when it was as it says.
type content struct {
	size         int64
	mtime, ctime int64 // nanoseconds
	sum          ledger.Hash
}

// NewDigests returns Digests that know nothing yet. now is the clock of the
// filesystems.
func NewDigests(now func() time.Time) *Digests {
	return &Digests{now: now, most: maxKept / 2, young: map[fileID]content{}}
}

// find returns the digest of a file that is as info says.
func (d *Digests) find(info beneath.Info, mount uint64) (ledger.Hash, bool) {
	id := fileID{mount, info.Dev, info.Ino}
	d.mu.Lock()
	defer d.mu.Unlock()
	c, young := d.young[id]
	known := young
	if !young {
		c, known = d.old[id]
	}
	if !known || c.size != info.Size || c.mtime != info.Mtime.UnixNano() || c.ctime != info.Ctime.UnixNano() {
		return ledger.Hash{}, false
	}
	if !young {
		d.put(id, c)
	}
	return c.sum, true
}

// keep remembers a digest that was taken from the time begun on.
func (d *Digests) keep(info beneath.Info, mount uint64, sum ledger.Hash, begun time.Time) {
	if begun.Sub(info.Ctime) < settled || begun.Sub(info.Mtime) < settled {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.learned = true
	d.put(fileID{mount, info.Dev, info.Ino}, content{info.Size, info.Mtime.UnixNano(), info.Ctime.UnixNano(), sum})
}

func (d *Digests) put(id fileID, c content) {
	if len(d.young) >= d.most {
		d.young, d.old = map[fileID]content{}, d.young
	}
	d.young[id] = c
}

// A subject is a file whose digest is asked for.
type subject struct {
	dir  *beneath.Dir
	rel  string
	info beneath.Info // as it was examined

	mount uint64 // it is on, as [beneath.Dir.Mount] says; 0: nobody asked

	sum ledger.Hash
	err error // why there is none: errMoved, one of the system, or the context's
}

// take finds or takes the digests of files. Each has a sum or an err when it
// returns.
func (d *Digests) take(ctx context.Context, files []*subject) {
	var unknown []*subject
	for _, s := range files {
		var known bool
		if s.sum, known = d.find(s.info, s.mount); !known {
			unknown = append(unknown, s)
		}
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(unknown)) {
		workers.Go(func() {
			w := hashing{ctx: ctx, sum: sha256.New(), buf: make([]byte, hashBuffer)}
			for i := next.Add(1) - 1; i < int64(len(unknown)); i = next.Add(1) - 1 {
				s := unknown[i]
				begun := d.now()
				if s.err = w.take(s); s.err == nil {
					d.keep(s.info, s.mount, s.sum, begun)
				}
			}
		})
	}
	workers.Wait()
}

// hashing is what one worker needs.
type hashing struct {
	ctx context.Context
	sum hash.Hash
	buf []byte
}

// take hashes a file, which must be what was examined before and after.
func (h *hashing) take(s *subject) error {
	if err := h.ctx.Err(); err != nil {
		return err
	}
	f, err := s.dir.OpenRead(s.rel)
	if errorsOfAbsence(err) {
		return errMoved
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unmoved(f, s.info); err != nil {
		return err
	}
	h.sum.Reset()
	for left := s.info.Size; left > 0; {
		if err := h.ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(h.buf[:min(left, int64(len(h.buf)))])
		if err == io.EOF {
			return errMoved
		}
		if err != nil {
			return err
		}
		h.sum.Write(h.buf[:n])
		left -= int64(n)
	}
	h.sum.Sum(s.sum[:0])
	return unmoved(f, s.info)
}

// unmoved returns errMoved if an open file is not what was examined.
func unmoved(f *beneath.Handle, info beneath.Info) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if !now.Same(info) || now.Nlink != info.Nlink || now.Mode != info.Mode {
		return errMoved
	}
	return nil
}
