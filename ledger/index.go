package ledger

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/bits"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"
)

// An index finds what a proof is made of without reading the whole ledger. It is
// a cache: nothing in it is believed, since what is proved with it must lead to
// the root of a seal, and where it does not the index is made anew.
//
// It is a head of indexMagic and the number of entries, eight bytes, big-endian,
// as all numbers here; then for each entry, up to and with the newest seal, the
// offset of its line, eight bytes, and the hashes that it completes in tlog's
// order of storing them. So the place of each follows from its number, and what a
// growing ledger adds is added at the end. The number is written last.
type index struct {
	image   // what was written
	entries uint64
}

// image is the index as bytes: a file, or memory where a ledger is small.
type image interface {
	io.ReaderAt
	io.WriterAt
}

const (
	indexMagic  = "agenthost tlog index v1\n"
	indexHead   = len(indexMagic) + 8
	indexSuffix = ".tlog"
	offsetSize  = 8
	// No file is made for fewer entries.
	indexedFrom = 10_000
	// The parts in which an index is written.
	indexBlock = 64 << 10
)

// errIndex means that the index does not fit its ledger.
var errIndex = errors.New("the index is not that of the ledger")

// memory is an image without a file.
type memory []byte

func (m *memory) ReadAt(b []byte, at int64) (int, error) { return bytes.NewReader(*m).ReadAt(b, at) }

// WriteAt writes over what is there, and behind it.
func (m *memory) WriteAt(b []byte, at int64) (int, error) {
	if at > int64(len(*m)) {
		return 0, errIndex
	}
	n := copy((*m)[at:], b)
	*m = append(*m, b[n:]...)
	return len(b), nil
}

// recordAt is where the record of an entry begins.
func recordAt(seq uint64) int64 {
	n := int64(seq) //nolint:gosec // below 2^53
	return int64(indexHead) + n*offsetSize + tlog.StoredHashIndex(0, n)*int64(len(Hash{}))
}

// offset is where the line of an entry begins in the ledger, if the index is right.
func (x *index) offset(seq uint64) (int64, error) {
	var b [offsetSize]byte
	if _, err := x.ReadAt(b[:], recordAt(seq)); err != nil {
		return 0, errIndex
	}
	if at := binary.BigEndian.Uint64(b[:]); at <= maxInt {
		return int64(at), nil
	}
	return 0, errIndex
}

// ReadHashes implements [tlog.HashReader].
func (x *index) ReadHashes(stored []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(stored))
	for i, n := range stored {
		level, at := tlog.SplitStoredHashIndex(n)
		last := uint64(at+1)<<level - 1 //nolint:gosec // the entry that completes it
		if _, err := x.ReadAt(hashes[i][:], recordAt(last)+offsetSize+int64(level)*int64(len(Hash{}))); err != nil {
			return nil, errIndex
		}
	}
	return hashes, nil
}

// tree is the tree over all entries of the index.
func (x *index) tree() (*Tree, error) {
	t := &Tree{size: x.entries}
	for level := range bits.Len64(x.entries) {
		if x.entries>>level&1 == 0 {
			continue
		}
		h, err := x.ReadHashes([]int64{tlog.StoredHashIndex(level, int64(x.entries>>level)-1)}) //nolint:gosec // below 2^53
		if err != nil {
			return nil, err
		}
		t.edge[level] = Hash(h[0])
	}
	return t, nil
}

// load reads the head.
func (x *index) load() error {
	head := make([]byte, indexHead)
	if _, err := x.ReadAt(head, 0); err != nil || string(head[:len(indexMagic)]) != indexMagic {
		return errIndex
	}
	x.entries = binary.BigEndian.Uint64(head[len(indexMagic):])
	if x.entries > maxInt {
		return errIndex
	}
	return nil
}

// commit makes the number of entries count.
func (x *index) commit(entries uint64) error {
	if _, err := x.WriteAt(binary.BigEndian.AppendUint64([]byte(indexMagic), entries), 0); err != nil {
		return err
	}
	x.entries = entries
	return nil
}

// indexer adds entries to an index. They count up to the last seal.
type indexer struct {
	x      *index
	tree   *Tree
	block  []byte
	at     int64 // of the block
	sealed uint64
	end    int64        // of what is sealed
	full   func() error // if set, called when the index is large enough for a file
}

func (x *index) indexer() (*indexer, error) {
	t, err := x.tree()
	if err != nil {
		return nil, err
	}
	return &indexer{x: x, tree: t, at: recordAt(x.entries), sealed: x.entries}, nil
}

func (w *indexer) add(e Entry) error {
	w.block = binary.BigEndian.AppendUint64(w.block, uint64(e.Offset)) //nolint:gosec // not negative
	w.block = w.tree.appendStored(w.block, e.Hash)
	if e.Kind == KindSeal {
		w.sealed, w.end = w.tree.Size(), w.at+int64(len(w.block))
	}
	if w.full != nil && w.tree.Size() == indexedFrom {
		if err := w.flush(); err != nil {
			return err
		}
		return w.full()
	}
	if len(w.block) < indexBlock {
		return nil
	}
	return w.flush()
}

func (w *indexer) flush() error {
	_, err := w.x.WriteAt(w.block, w.at)
	w.at += int64(len(w.block))
	w.block = w.block[:0]
	return err
}

// addAll adds the entries of a part of a ledger, up to what a crash may have left.
func (w *indexer) addAll(v *verifier, r io.ReaderAt, from, to int64) error {
	for e, err := range v.entries(r, from, to) {
		var bad *IntegrityError
		switch {
		case errors.As(err, &bad) && bad.Torn:
			return nil
		case err != nil:
			return err
		}
		if err := w.add(e); err != nil {
			return err
		}
	}
	return nil
}

// commit makes what was added count.
func (w *indexer) commit() error {
	if more := w.end - w.at; more > 0 {
		w.block = w.block[:more]
		if err := w.flush(); err != nil {
			return err
		}
	}
	return w.x.commit(w.sealed)
}

// indexPath is where the index of the ledger at path lies in a folder of indexes.
func indexPath(folder, path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(real, filepath.Base(path))
	}
	sum := Sum([]byte(path))
	return filepath.Join(folder, hex.EncodeToString(sum[:16])+indexSuffix), nil
}

// toFile moves an index from memory to a new file beside path.
func (x *index) toFile(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "new-*"+indexSuffix)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(*x.image.(*memory)); err != nil { //nolint:forcetypeassert // it is in memory
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	x.image = f
	return f, nil
}
