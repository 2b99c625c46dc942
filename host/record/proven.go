package record

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/agenthost/agenthost/ledger"
)

// Proven is how far the ledgers of a session prove themselves, each from its first
// entry up to a seal: what can be kept of a session that was damaged.
type Proven struct {
	Exec, Evidence int64          // bytes
	Head           ledger.Head    // of exec.jsonl up to there
	Turns          []ledger.Entry // turn.begin of each turn that has ended there, without its line
	Evident        int            // how many of them, from the first on, have their evidence there
	Rebuilt        int            // of turns up to this one it was computed anew before
	Fault          error          // what is wrong first behind Exec; nil if that is all, or debris
}

// Prove finds out how far the ledgers in a session's folder are what trusted hosts
// had sealed: chain, roots, each signature, what may follow what, and that evidence
// is the one that turn.end names. An evidence.jsonl that is not there has nothing.
// The error is one of the file system, or an *[UnknownHostError] if no host that is
// trusted sealed anything.
func Prove(ledgerDir string, trusted []ledger.Verifier) (Proven, error) {
	p := prover{trusted: trusted}
	if err := p.exec(filepath.Join(ledgerDir, ExecFile)); err != nil {
		return p.proven, err
	}
	err := p.evidence(filepath.Join(ledgerDir, EvidenceFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return p.proven, err
}

type prover struct {
	proven  Proven
	trusted []ledger.Verifier
	keys    SessionKeys
	ends    []EvidenceHead // that the turns name
}

// provable gives the entries of a file up to the first that is not intact, with the
// seals checked by keys. See says whether to go on.
func provable(path string, keys ledger.Keys, see func(e ledger.Entry, seal *ledger.Seal) error) (fault, err error) {
	var (
		tree  ledger.Tree
		size  uint64
		final bool
	)
	for e, err := range ledger.Scan(path, ledger.Options{MaxEntry: MaxEvidence}) {
		var bad *ledger.IntegrityError
		if errors.As(err, &bad) {
			if bad.Torn {
				return nil, nil
			}
			return bad, nil
		}
		if err != nil {
			return nil, err
		}
		var seal *ledger.Seal
		if e.Kind == ledger.KindSeal {
			seal = new(ledger.Seal)
			err = checkSeal(e, seal, keys, &tree, size, final)
			size, final = seal.Size, seal.Final
		} else {
			err = keys.Saw(e)
		}
		if err == nil {
			err = see(e, seal)
		}
		if err != nil {
			return &ledger.IntegrityError{File: path, Line: int(e.Seq) + 1, Seq: e.Seq, Offset: e.Offset, Reason: err.Error()}, nil //nolint:gosec // a line number
		}
		tree.Add(e.Hash)
	}
	return nil, nil
}

// checkSeal checks a seal behind the entries of tree, the one before it of that size.
func checkSeal(e ledger.Entry, s *ledger.Seal, keys ledger.Keys, tree *ledger.Tree, before uint64, final bool) error {
	if err := e.Decode(s); err != nil {
		return err
	}
	if s.Size != tree.Size() || s.PrevSize != before || s.Root != tree.Root() || final && !s.Final {
		return errors.New("the seal is not of the entries before it")
	}
	origin, key, err := keys.Signer(s.Sig)
	if err != nil {
		return err
	}
	c := ledger.Checkpoint{Origin: origin, Size: s.Size, Root: s.Root, Signatures: []ledger.Signature{{Name: key.Name(), Value: s.Sig}}}
	return c.Check(key)
}

func end(e ledger.Entry) int64 { return e.Offset + int64(len(e.Line)) + 1 }

func (p *prover) exec(path string) (err error) {
	var (
		progress Progress
		turns    []ledger.Entry
		ends     []EvidenceHead
		tree     ledger.Tree
		unknown  error
	)
	p.proven.Fault, err = provable(path, p.keys.Exec(), func(e ledger.Entry, seal *ledger.Seal) error {
		if unknown = CheckHosts("the session", p.keys.Hosts(), p.trusted); unknown != nil {
			return unknown
		}
		if err := progress.Add(e); err != nil {
			return err
		}
		body, err := Decode(e)
		if err != nil {
			return err
		}
		if b, ok := body.(TurnEnd); ok {
			turns, ends = append(turns, progress.Begin), append(ends, b.Evidence)
		}
		if seal != nil && seal.Final && !progress.Closed {
			return ErrFinal
		}
		tree.Add(e.Hash)
		if seal != nil {
			p.proven.Exec, p.proven.Turns, p.ends = end(e), turns, ends
			p.proven.Head = ledger.Head{Size: tree.Size(), Hash: e.Hash, Root: tree.Root()}
		}
		return nil
	})
	if err == nil && p.proven.Exec == 0 {
		return unknown
	}
	return err
}

func (p *prover) evidence(path string) error {
	var (
		turn    int  // whose evidence the commit that is read ends with
		pending bool // it has anything of a turn
		gap     bool // behind what is kept
	)
	_, err := provable(path, p.keys.Evidence(), func(e ledger.Entry, seal *ledger.Seal) error {
		body, err := Decode(e)
		if err != nil {
			return err
		}
		switch b := body.(type) {
		case TurnEvidence:
			turn, pending = e.Turn, true
		case Violation:
			turn, pending = 0, true
		case Recovered:
			p.proven.Rebuilt = max(p.proven.Rebuilt, int(b.Turns))
		case ledger.Seal:
			next := p.proven.Evident + 1
			switch {
			case turn == next && next <= len(p.ends) && (next <= p.proven.Rebuilt || p.ends[next-1] == EvidenceHead{Size: seal.Size, Root: seal.Root}):
				p.proven.Evident, p.proven.Evidence, gap = next, end(e), false
			case pending:
				gap = true
			case !gap:
				p.proven.Evidence = end(e)
			}
			turn, pending = 0, false
		}
		return nil
	})
	return err
}

// ProveHosted finds out how many bytes of a ledger that hosts seal are what trusted
// hosts had sealed, from its first entry on. Check refuses an entry. The error is one
// of the file system, or an *[UnknownHostError] if that is none of it.
func ProveHosted(path string, trusted []ledger.Verifier, check func(ledger.Entry) error) (proven int64, err error) {
	var (
		keys    HostKeys
		unknown error
	)
	_, err = provable(path, &keys, func(e ledger.Entry, seal *ledger.Seal) error {
		if unknown = CheckHosts(filepath.Base(path), keys.Hosts(), trusted); unknown != nil {
			return unknown
		}
		if err := check(e); err != nil {
			return err
		}
		if seal != nil {
			proven = end(e)
		}
		return nil
	})
	if err == nil && proven == 0 {
		err = unknown
	}
	return proven, err
}
