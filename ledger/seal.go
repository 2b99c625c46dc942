package ledger

import (
	"errors"
	"fmt"
)

// KindSeal is the kind of the entries that [Log.Commit] writes behind others.
const KindSeal = "seal"

// A Seal is the body of an entry that signs all before it: with the origin of the
// ledger it is a [Checkpoint]. Each names the one before, so that none can be
// taken out.
type Seal struct {
	Size     uint64 `json:"size"`      // entries before this one
	Root     Hash   `json:"root"`      // over them
	PrevSize uint64 `json:"prev_size"` // of the seal before; 0 in the first
	Sig      string `json:"sig"`       // end of the signature line over the checkpoint
	Final    bool   `json:"final,omitempty"`
}

// Kind implements [Body].
func (Seal) Kind() string { return KindSeal }

// AppendMembers implements [Body].
func (s Seal) AppendMembers(m *Members) {
	m.Uint("size", s.Size)
	m.Hash("root", s.Root)
	m.Uint("prev_size", s.PrevSize)
	m.Word("sig", s.Sig)
	if s.Final {
		m.Bool("final", true)
	}
}

// Keys tells who must have signed the seals of a ledger.
type Keys interface {
	// Saw takes each entry that is no seal and counts, in order, before the seal
	// behind it is asked about: it may introduce a key. An error is one of the entry.
	Saw(e Entry) error
	// Signer returns the origin of the ledger's checkpoints, and the key by which
	// a seal in this place must be signed. Sig is what the seal has. An error is
	// one of the seal.
	Signer(sig string) (origin string, key Verifier, err error)
}

// An Anchor is a head of a ledger that was kept outside of it: what lay before
// it was on disk then, and must lie there now.
type Anchor struct {
	Size   uint64
	Root   Hash
	Source string // who says so, for people: "the register"
}

// seals follows the seals of a ledger from its first entry on. Each is checked to
// be where it says, with the root of all before it. Of those by one key the last
// is checked for its signature: what is right about the ledger up to there is
// right about every earlier seal.
type seals struct {
	keys  Keys // nil: neither roots nor signatures are checked
	size  uint64
	any   bool
	final bool
	end   uint64 // seq behind the last seal

	checkpoint Checkpoint // of the last seal, if there are keys
	key        Verifier   // that must have signed it
	at         Entry      // the last seal, without its line
	signed     bool       // its signature was checked
}

var errUnsealed = errors.New("the write that commits it was cut short: it has no seal")

// commit takes a seal, after the entries that it commits.
func (s *seals) commit(held []Entry, seal Entry, tree *Tree) error {
	for _, e := range held {
		if s.keys == nil {
			break
		}
		if err := s.keys.Saw(e); err != nil {
			return &earlierError{e, err}
		}
	}
	return s.take(seal, tree)
}

// take checks a seal; tree is over the entries before it.
func (s *seals) take(e Entry, tree *Tree) error {
	var b Seal
	if err := e.Decode(&b); err != nil {
		return err
	}
	switch {
	case b.Size != e.Seq:
		return fmt.Errorf("the seal is of %d entries, and stands behind %d", b.Size, e.Seq)
	case b.PrevSize != s.size:
		return fmt.Errorf("the seal follows one of %d entries, and the last one is of %d: a seal was removed", b.PrevSize, s.size)
	case s.final && !b.Final:
		return errors.New("a seal that is not final follows one that is")
	}
	if s.keys != nil {
		if root := tree.Root(); root != b.Root {
			return fmt.Errorf("the seal signs the root %v, and that of the entries before it is %v: they were written anew", b.Root, root)
		}
		origin, key, err := s.keys.Signer(b.Sig)
		if err != nil {
			return fmt.Errorf("seal: %w", err)
		}
		if !key.Equal(s.key) {
			if err := s.verify(); err != nil {
				return err
			}
		}
		s.checkpoint = Checkpoint{Origin: origin, Size: b.Size, Root: b.Root, Signatures: []Signature{{key.Name(), b.Sig}}}
		s.key, s.signed = key, false
	}
	s.size, s.any, s.final, s.end = b.Size, true, b.Final, e.Seq+1
	s.at = e
	s.at.Line = nil
	return nil
}

// wrote takes a seal over that was just written.
func (s *seals) wrote(e Entry, b Seal, c Checkpoint) {
	s.size, s.any, s.final, s.end = b.Size, true, b.Final, e.Seq+1
	s.checkpoint, s.signed, s.at = c, true, e
}

// verify checks the signature of the last seal. The error is about the entry
// s.at.
func (s *seals) verify() error {
	if s.keys == nil || !s.any || s.signed {
		return nil
	}
	if err := s.key.Check(s.checkpoint.Text(), s.checkpoint.Signatures[0].Value); err != nil {
		return &earlierError{s.at, fmt.Errorf("the seal does not count: %w", err)}
	}
	s.signed = true
	return nil
}

// earlierError is about an earlier entry than the one that was just read.
type earlierError struct {
	at  Entry
	err error
}

func (e *earlierError) Error() string { return e.err.Error() }
