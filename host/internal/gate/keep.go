package gate

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/ledger"
)

const (
	// keptHeader begins the form in which digests are kept. It is followed by the
	// SHA-256 of the rest, which is records: mount, device, inode, size, time of content
	// and of the inode in nanoseconds, each of 8 bytes, the lowest first, and the digest.
	keptHeader = "agenthost digests 1\n"

	keptNumbers = 6
	keptRecord  = keptNumbers*8 + sha256.Size
)

// Changed reports whether there is more to keep than what was decoded or encoded
// last.
func (d *Digests) Changed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.learned
}

// Encode writes what is remembered, for Decode: of files on mounts that can be told
// from all others that the machine has had since it was started, which is as long as
// it may be decoded.
func (d *Digests) Encode(w io.Writer) error {
	d.mu.Lock()
	records := make([]byte, 0, (len(d.young)+len(d.old))*keptRecord)
	for id, c := range d.young {
		records = appendKept(records, id, c)
	}
	for id, c := range d.old {
		if _, again := d.young[id]; !again {
			records = appendKept(records, id, c)
		}
	}
	d.learned = false
	d.mu.Unlock()
	sum := sha256.Sum256(records)
	for _, part := range [][]byte{[]byte(keptHeader), sum[:], records} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

func appendKept(b []byte, id fileID, c content) []byte {
	if !beneath.Unique(id.mount) {
		return b
	}
	for _, n := range [keptNumbers]uint64{id.mount, id.dev, id.ino, uint64(c.size), uint64(c.mtime), uint64(c.ctime)} { //nolint:gosec // as it is read back
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return append(b, c.sum[:]...)
}

// Decode remembers, as what was asked for longest ago, what Encode wrote. It
// reports whether data is that, whole.
func (d *Digests) Decode(data []byte) bool {
	rest, ok := bytes.CutPrefix(data, []byte(keptHeader))
	if !ok || len(rest) < sha256.Size {
		return false
	}
	sum, records := [sha256.Size]byte(rest), rest[sha256.Size:]
	if len(records)%keptRecord != 0 || sha256.Sum256(records) != sum {
		return false
	}
	n := min(len(records)/keptRecord, 2*d.most)
	old := make(map[fileID]content, n)
	for ; n > 0; n-- {
		at := func(i int) uint64 { return binary.LittleEndian.Uint64(records[8*i:]) }
		old[fileID{at(0), at(1), at(2)}] = content{int64(at(3)), int64(at(4)), int64(at(5)), ledger.Hash(records[keptNumbers*8 : keptRecord])} //nolint:gosec // as it was written
		records = records[keptRecord:]
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.old = old
	return true
}
