package ledger

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// A Proof shows, without the ledger, that an entry is part of it: with the line
// and the key of who sealed the ledger, nothing else is needed. As text it is a
// [tlog-proof].
//
// [tlog-proof]: https://c2sp.org/tlog-proof
type Proof struct {
	// Extra is for whoever handles proofs, at most 64 KiB. No signature covers it.
	// nil in what this package makes.
	Extra      []byte
	Index      uint64 // seq of the entry
	Path       []Hash // RFC 6962 audit path, from the sibling of the leaf up
	Checkpoint Checkpoint
}

// A Consistency shows that a ledger of now begins with all of what it was when it
// had fewer entries. As text it is what a witness is asked with in
// [tlog-witness].
//
// [tlog-witness]: https://c2sp.org/tlog-witness
type Consistency struct {
	Old        uint64 // entries it had
	Path       []Hash // RFC 6962 consistency proof; none for an Old of 0
	Checkpoint Checkpoint
}

const (
	proofHead  = "c2sp.org/tlog-proof@v1\n"
	extraMark  = "extra "
	indexMark  = "index "
	oldMark    = "old "
	maxExtra   = 64 << 10
	maxPath    = 63 // hashes
	hashText   = (32 + 2) / 3 * 4
	maxProof   = len(proofHead) + 2*maxExtra + maxPath*(hashText+1) + maxCheckpoint + 64
	maxEntries = maxInt
)

var (
	errNoSigner     = errors.New("whose signature counts was not said")
	errProofLine    = errors.New("the line is not an entry as it is stored")
	errNotIncluded  = errors.New("it does not lead to the root that the checkpoint signs")
	errInconsistent = errors.New("the ledger does not begin with what it was: it was written anew, or the proof is wrong")
)

// String is the proof as text.
func (p Proof) String() string {
	var b strings.Builder
	b.WriteString(proofHead)
	if len(p.Extra) > 0 {
		b.WriteString(extraMark + base64.StdEncoding.EncodeToString(p.Extra) + "\n")
	}
	writePath(&b, indexMark, p.Index, p.Path, p.Checkpoint)
	return b.String()
}

// String is the proof as text.
func (c Consistency) String() string {
	var b strings.Builder
	writePath(&b, oldMark, c.Old, c.Path, c.Checkpoint)
	return b.String()
}

func writePath(b *strings.Builder, mark string, n uint64, path []Hash, c Checkpoint) {
	b.WriteString(mark + strconv.FormatUint(n, 10) + "\n")
	for _, h := range path {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n" + c.String())
}

// ParseProof reads what [Proof.String] writes, and nothing else. Nothing is
// checked but the form.
func ParseProof(text []byte) (Proof, error) {
	p, err := parseProof(text)
	if err != nil {
		return Proof{}, fmt.Errorf("proof: %w", err)
	}
	return p, nil
}

func parseProof(text []byte) (p Proof, err error) {
	if len(text) > maxProof {
		return p, fmt.Errorf("%d bytes, at most %d", len(text), maxProof)
	}
	rest, ok := strings.CutPrefix(string(text), proofHead)
	if !ok {
		return p, fmt.Errorf("the first line is not %s", strings.TrimSpace(proofHead))
	}
	if encoded, ok := strings.CutPrefix(rest, extraMark); ok {
		encoded, rest, _ = strings.Cut(encoded, "\n")
		if p.Extra, err = base64.StdEncoding.Strict().DecodeString(encoded); err != nil || len(p.Extra) > maxExtra {
			return p, fmt.Errorf("line %.80q: want base64 of at most %d bytes", extraMark+encoded, maxExtra)
		}
	}
	if p.Index, p.Path, p.Checkpoint, err = parsePath(rest, indexMark); err != nil {
		return p, err
	}
	if string(text) != p.String() {
		return p, errors.New("it is not written as proofs are")
	}
	return p, nil
}

// ParseConsistency reads what [Consistency.String] writes, and nothing else.
// Nothing is checked but the form.
func ParseConsistency(text []byte) (Consistency, error) {
	c, err := parseConsistency(text)
	if err != nil {
		return Consistency{}, fmt.Errorf("consistency proof: %w", err)
	}
	return c, nil
}

func parseConsistency(text []byte) (c Consistency, err error) {
	if len(text) > maxProof {
		return c, fmt.Errorf("%d bytes, at most %d", len(text), maxProof)
	}
	if c.Old, c.Path, c.Checkpoint, err = parsePath(string(text), oldMark); err != nil {
		return c, err
	}
	if string(text) != c.String() {
		return c, errors.New("it is not written as proofs are")
	}
	return c, nil
}

// parsePath reads a number behind its mark, hashes, an empty line, and a
// checkpoint.
func parsePath(text, mark string) (n uint64, path []Hash, c Checkpoint, err error) {
	line, rest, _ := strings.Cut(text, "\n")
	digits, ok := strings.CutPrefix(line, mark)
	if n, err = strconv.ParseUint(digits, 10, 64); !ok || err != nil || n > maxEntries {
		return 0, nil, c, fmt.Errorf("line %.80q: want %sand a number of entries", line, mark)
	}
	for {
		line, rest, ok = strings.Cut(rest, "\n")
		if !ok {
			return 0, nil, c, errors.New("it ends before its checkpoint")
		}
		if line == "" {
			break
		}
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != len(Hash{}) {
			return 0, nil, c, fmt.Errorf("line %.80q: want base64 of %d bytes", line, len(Hash{}))
		}
		if path = append(path, Hash(h)); len(path) > maxPath {
			return 0, nil, c, fmt.Errorf("more than %d hashes", maxPath)
		}
	}
	if c, err = parseCheckpoint([]byte(rest)); err != nil {
		return 0, nil, c, fmt.Errorf("its checkpoint: %w", err)
	}
	return n, path, c, nil
}

// CheckProof returns an error unless one of the keys signed p's checkpoint, and p
// shows that line is the entry p.Index of that ledger. Line is the entry as it is
// stored, with its newline or without; what its member hash says is not believed.
// Whether p.Checkpoint.Origin is the ledger that was meant is the caller's to
// judge.
func CheckProof(p Proof, line []byte, keys ...Verifier) error {
	if err := p.Includes(line); err != nil {
		return err
	}
	if err := p.Checkpoint.signedBy(keys); err != nil {
		return fmt.Errorf("proof of entry %d: %w", p.Index, err)
	}
	return nil
}

// Includes is [CheckProof] for one who has checked the signatures of
// p.Checkpoint.
func (p Proof) Includes(line []byte) error {
	fail := func(err error) error { return fmt.Errorf("proof of entry %d: %w", p.Index, err) }
	e, err := parseStored(line)
	if err != nil {
		return fail(err)
	}
	return p.includes(e)
}

// includes is Includes for an entry whose hash is right.
func (p Proof) includes(e Entry) error {
	fail := func(err error) error { return fmt.Errorf("proof of entry %d: %w", p.Index, err) }
	switch {
	case e.Seq != p.Index:
		return fail(fmt.Errorf("the line is entry %d", e.Seq))
	case p.Checkpoint.Size > maxEntries || p.Index >= p.Checkpoint.Size:
		return fail(fmt.Errorf("its checkpoint is of %d entries", p.Checkpoint.Size))
	}
	err := tlog.CheckRecord(tlogHashes(p.Path), int64(p.Checkpoint.Size), tlog.Hash(p.Checkpoint.Root), int64(p.Index), tlog.Hash(e.Hash)) //nolint:gosec // both are below 2^53
	if err != nil {
		return fail(errNotIncluded)
	}
	return nil
}

// parseStored reads one line of a ledger by itself, and computes its hash.
func parseStored(line []byte) (Entry, error) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	pad := make(padded, 1+len(line))
	copy(pad[1:], line)
	e, _, err := parseLine(pad.bytes(), nil)
	switch {
	case err != nil || bytes.IndexByte(line, '\n') >= 0:
		return Entry{}, errProofLine
	case pad.leafHash() != e.Hash:
		return Entry{}, errHash
	}
	return e, nil
}

// CheckConsistency returns an error unless one of the keys signed c's checkpoint,
// and c shows that the ledger begins with the entries that old is of. Old is
// what the caller kept; its signatures are not looked at.
func CheckConsistency(c Consistency, old Checkpoint, keys ...Verifier) error {
	fail := func(err error) error {
		return fmt.Errorf("consistency of %d entries with %d: %w", c.Checkpoint.Size, c.Old, err)
	}
	switch {
	case old.Origin != c.Checkpoint.Origin:
		return fail(fmt.Errorf("one is of %s, the other of %s", old.Origin, c.Checkpoint.Origin))
	case old.Size != c.Old:
		return fail(fmt.Errorf("the checkpoint that was kept is of %d", old.Size))
	case c.Checkpoint.Size > maxEntries || c.Old > c.Checkpoint.Size:
		return fail(errors.New("the ledger has become shorter"))
	}
	if err := c.consistent(old.Root); err != nil {
		return fail(err)
	}
	if err := c.Checkpoint.signedBy(keys); err != nil {
		return fail(err)
	}
	return nil
}

// consistent checks the path alone.
func (c Consistency) consistent(old Hash) error {
	if c.Old == 0 { // which tlog leaves to its callers
		if len(c.Path) > 0 || old != new(Tree).Root() {
			return errInconsistent
		}
		return nil
	}
	err := tlog.CheckTree(tlogHashes(c.Path), int64(c.Checkpoint.Size), tlog.Hash(c.Checkpoint.Root), int64(c.Old), tlog.Hash(old)) //nolint:gosec // both are below 2^53
	if err != nil {
		return errInconsistent
	}
	return nil
}

// signedBy returns an error unless one of the keys signed the checkpoint.
func (c Checkpoint) signedBy(keys []Verifier) error {
	err := errNoSigner
	for _, v := range keys {
		if err = c.Check(v); err == nil {
			return nil
		}
	}
	return err
}

// prove makes the proof of an entry in the tree of a checkpoint. The hashes may be
// wrong, and so the proof: it is to be checked.
func prove(hashes tlog.HashReader, seq uint64, c Checkpoint) (Proof, error) {
	if c.Size > maxEntries || seq >= c.Size {
		return Proof{}, fmt.Errorf("there is no proof of entry %d in a checkpoint of %d entries", seq, c.Size)
	}
	path, err := tlog.ProveRecord(int64(c.Size), int64(seq), hashes) //nolint:gosec // both are below 2^53
	if err != nil {
		return Proof{}, err
	}
	return Proof{Index: seq, Path: ourHashes(path), Checkpoint: c}, nil
}

// proveConsistency makes the proof that the tree of a checkpoint begins with that
// of its first old leaves. The hashes may be wrong, and so the proof.
func proveConsistency(hashes tlog.HashReader, old uint64, c Checkpoint) (Consistency, error) {
	switch {
	case c.Size > maxEntries || old > c.Size:
		return Consistency{}, fmt.Errorf("there is no proof that %d entries begin with %d", c.Size, old)
	case old == 0:
		return Consistency{Checkpoint: c}, nil
	}
	path, err := tlog.ProveTree(int64(c.Size), int64(old), hashes) //nolint:gosec // both are below 2^53
	if err != nil {
		return Consistency{}, err
	}
	return Consistency{Old: old, Path: ourHashes(path), Checkpoint: c}, nil
}

func tlogHashes(path []Hash) []tlog.Hash {
	out := make([]tlog.Hash, len(path))
	for i, h := range path {
		out[i] = tlog.Hash(h)
	}
	return out
}

func ourHashes(path []tlog.Hash) []Hash {
	out := make([]Hash, len(path))
	for i, h := range path {
		out[i] = Hash(h)
	}
	return out
}
