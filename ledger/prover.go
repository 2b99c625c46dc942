package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

// A Prover makes proofs over one ledger, as far as its newest seal covers it. It
// is for one goroutine, needs no lock, and may be used while the ledger grows.
type Prover struct {
	path string
	opts Options
	f    file

	cache  string // path of the index, "" for none
	x      index
	stored *os.File   // that x lies in, or nil
	size   int64      // of the ledger, when x was made to fit it
	newest Checkpoint // the last seal of x
}

// OpenProver opens the ledger at path. Options.Keys must be set: it says the
// origin, and the name of the keys, which is the same for all of a ledger.
//
// What comes before the first seal is read each time.
//
// Folder, if it is not "", is where a ledger of 10,000 entries or more has an
// index, of 72 bytes for each; it is made if it is absent. Everything in it may be
// removed at any time. Without it the index of a ledger is in memory.
//
// Errors are an [*IntegrityError] if the ledger is not what was written, or those
// of the file system.
func OpenProver(path, folder string, o Options) (*Prover, error) {
	if o.Keys == nil {
		return nil, fmt.Errorf("proofs over %s: whose seals count was not said", path)
	}
	p := &Prover{path: path, opts: o}
	if folder != "" {
		cache, err := indexPath(folder, path)
		if err != nil {
			return nil, err
		}
		p.cache = cache
	}
	f, err := o.disk().openFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	p.f = f
	if err = p.signer(); err == nil {
		p.load()
		err = p.refresh()
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Close closes the files.
func (p *Prover) Close() error {
	err := p.f.Close()
	p.drop()
	return err
}

// drop closes the index.
func (p *Prover) drop() {
	if p.stored != nil {
		p.stored.Close()
	}
	p.stored, p.x = nil, index{}
}

// Newest is the checkpoint that proofs are made for: that of the newest seal when
// the last proof was made. Its root is that of the ledger only if a proof for it
// could be made.
func (p *Prover) Newest() Checkpoint { return p.newest }

// Prove makes the proof of an entry, which it gives, too. The proof is right: it
// leads to the root that the newest seal has. Whether its signature is, CheckProof
// says. An entry behind the newest seal is an error, and so is all that
// [OpenProver] says of the ledger.
func (p *Prover) Prove(seq uint64) (Proof, Entry, error) {
	var (
		proof Proof
		e     Entry
	)
	err := p.attempt(func() (err error) {
		if seq >= p.newest.Size {
			return &unsealedError{p.path, seq, p.newest.Size}
		}
		if e, err = p.entry(seq); err != nil {
			return err
		}
		if proof, err = prove(&p.x, seq, p.newest); err != nil {
			return err
		}
		return proof.includes(e)
	})
	if err != nil {
		return Proof{}, Entry{}, err
	}
	return proof, e, nil
}

// Prove makes the proof of an entry of the ledger at path, all of which it reads:
// [OpenProver] is for who has a place for an index.
func Prove(path string, seq uint64, o Options) (Proof, error) {
	p, err := OpenProver(path, "", o)
	if err != nil {
		return Proof{}, err
	}
	defer p.Close()
	proof, _, err := p.Prove(seq)
	return proof, err
}

// ProveConsistency makes the proof that the ledger, up to its newest seal, begins
// with its first old entries. Errors are those of Prove.
func (p *Prover) ProveConsistency(old uint64) (Consistency, error) {
	var c Consistency
	err := p.attempt(func() (err error) {
		if old > p.newest.Size {
			return &unsealedError{p.path, old - 1, p.newest.Size}
		}
		if c, err = proveConsistency(&p.x, old, p.newest); err != nil {
			return err
		}
		root, err := tlog.TreeHash(int64(old), &p.x) //nolint:gosec // at most newest.Size
		if err != nil {
			return err
		}
		return c.consistent(Hash(root))
	})
	if err != nil {
		return Consistency{}, err
	}
	return c, nil
}

// unsealedError is about an entry that no seal covers.
type unsealedError struct {
	path         string
	seq, entries uint64
}

func (e *unsealedError) Error() string {
	return fmt.Sprintf("%s: entry %d is not sealed: the newest seal covers %d entries", e.path, e.seq, e.entries)
}

// attempt does what it is given with an index that fits the ledger as it is now,
// and once more with one made anew if that fails.
func (p *Prover) attempt(prove func() error) error {
	if err := p.refresh(); err != nil {
		return err
	}
	err := prove()
	var unsealed *unsealedError
	if err == nil || errors.As(err, &unsealed) {
		return err
	}
	if err := p.rebuild(); err != nil {
		return err
	}
	if err = prove(); err == nil || errors.As(err, &unsealed) {
		return err
	}
	seal, failed := p.lastSeal()
	if failed != nil {
		return fmt.Errorf("%s: %w", p.path, failed)
	}
	return &IntegrityError{
		File: p.path, Line: int(seal.Seq) + 1, Seq: seal.Seq, Offset: seal.Offset, //nolint:gosec // a line number
		Reason: fmt.Sprintf("the seal signs the root %v, and the entries before it have another: they were written anew", p.newest.Root),
	}
}

// signer reads up to the first seal, and learns from it how to write the
// checkpoint of each: what else there is of one is in its line.
func (p *Prover) signer() error {
	info, err := p.f.Stat()
	if err != nil {
		return err
	}
	o := p.opts
	o.Anchors = nil
	v := newVerifier(p.path, &o)
	v.workers = 1 // it is near
	for e, err := range v.entries(p.f, 0, info.Size()) {
		var bad *IntegrityError
		if errors.As(err, &bad) && bad.Torn {
			break
		}
		if err != nil {
			return err
		}
		if e.Kind != KindSeal {
			continue
		}
		if err := v.verifySeals(); err != nil {
			return err
		}
		p.newest = v.seals.checkpoint
		// Keys was for this reading.
		p.opts.Keys, p.opts.Anchors = nil, nil
		return nil
	}
	return fmt.Errorf("%s: it has no seal, and so nothing of it can be proved", p.path)
}

// load opens the index, if there is one.
func (p *Prover) load() {
	if p.cache == "" {
		return
	}
	f, err := os.OpenFile(p.cache, os.O_RDWR|openFlags, 0)
	if err != nil {
		return
	}
	p.stored, p.x.image = f, f
	if p.x.load() != nil {
		p.drop()
	}
}

// refresh makes the index fit the ledger as it is now.
func (p *Prover) refresh() error {
	info, err := p.f.Stat()
	if err != nil {
		return err
	}
	if p.x.image != nil {
		if info.Size() == p.size || p.extend(info.Size()) == nil {
			return nil
		}
	}
	return p.rebuild()
}

// extend adds what the ledger has grown by, up to its newest seal.
func (p *Prover) extend(size int64) error {
	last, err := p.lastSeal()
	if err != nil {
		return err
	}
	w, err := p.x.indexer()
	if err != nil {
		return err
	}
	v := newVerifier(p.path, &p.opts)
	v.seq, v.prev, v.session, v.seals = last.Seq+1, last.Hash, last.Session, nil
	if err := w.addAll(v, p.f, last.Offset+int64(len(last.Line))+1, size); err != nil {
		return err
	}
	if w.sealed > p.x.entries {
		if err := w.commit(); err != nil {
			return err
		}
	}
	return p.fits(size)
}

// rebuild makes the index anew, from all of the ledger.
func (p *Prover) rebuild() error {
	p.drop()
	info, err := p.f.Stat()
	if err != nil {
		return err
	}
	err = p.build(info.Size())
	var bad *IntegrityError
	if err != nil && p.cache != "" && !errors.As(err, &bad) {
		// Where nothing can be kept, it is in memory.
		p.drop()
		p.cache = ""
		err = p.build(info.Size())
	}
	if err == nil {
		err = p.fits(info.Size())
	}
	if errors.Is(err, errIndex) { // it changed while it was read
		err = fmt.Errorf("%s: %w", p.path, err)
	}
	return err
}

func (p *Prover) build(size int64) error {
	p.x = index{image: &memory{}}
	if err := p.x.commit(0); err != nil {
		return err
	}
	w, err := p.x.indexer()
	if err != nil {
		return err
	}
	if p.cache != "" {
		w.full = func() (err error) {
			p.stored, err = p.x.toFile(p.cache)
			return err
		}
	}
	err = w.addAll(newVerifier(p.path, &p.opts), p.f, 0, size)
	if err == nil {
		err = w.commit()
	}
	if p.stored == nil {
		return err
	}
	if err == nil {
		err = os.Rename(p.stored.Name(), p.cache)
	}
	if err != nil {
		return errors.Join(err, os.Remove(p.stored.Name()))
	}
	return nil
}

// fits notes the newest seal of an index that is as far as a ledger of that size.
func (p *Prover) fits(size int64) error {
	last, err := p.lastSeal()
	if err != nil {
		return err
	}
	var b Seal
	if err := last.Decode(&b); err != nil {
		return err
	}
	if b.Size != last.Seq {
		return errIndex
	}
	p.newest.Size, p.newest.Root = b.Size, b.Root
	p.newest.Signatures = []Signature{{p.newest.Signatures[0].Name, b.Sig}}
	p.size = size
	return nil
}

// maxSeal is more than the line of a seal has, in bytes.
const maxSeal = 1 << 10

// lastSeal reads the seal that the index ends with.
func (p *Prover) lastSeal() (Entry, error) {
	if p.x.entries == 0 {
		return Entry{}, errIndex
	}
	last := p.x.entries - 1
	at, err := p.x.offset(last)
	if err != nil {
		return Entry{}, err
	}
	line := make([]byte, maxSeal)
	n, err := p.f.ReadAt(line, at)
	if err != nil && err != io.EOF {
		return Entry{}, err
	}
	end := bytes.IndexByte(line[:n], '\n')
	if end < 0 {
		return Entry{}, errIndex
	}
	e, err := p.stands(line[:end], last, at)
	if err != nil || e.Kind != KindSeal {
		return Entry{}, errIndex
	}
	return e, nil
}

// entry reads an entry that is not the last of the index.
func (p *Prover) entry(seq uint64) (Entry, error) {
	at, err := p.x.offset(seq)
	if err != nil {
		return Entry{}, err
	}
	next, err := p.x.offset(seq + 1)
	if err != nil || next-at < 2 || next-at > int64(p.opts.maxEntry()) {
		return Entry{}, errIndex
	}
	line := make([]byte, next-at)
	if _, err := p.f.ReadAt(line, at); err != nil {
		return Entry{}, errIndex
	}
	return p.stands(line, seq, at)
}

// stands checks that line is the entry seq, with the hash that the index has.
func (p *Prover) stands(line []byte, seq uint64, at int64) (Entry, error) {
	e, err := parseStored(line)
	if err != nil || e.Seq != seq {
		return Entry{}, errIndex
	}
	h, err := p.x.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(seq))}) //nolint:gosec // below 2^53
	if err != nil || Hash(h[0]) != e.Hash {
		return Entry{}, errIndex
	}
	e.Offset = at
	return e, nil
}
