package session

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Bounds of an erasure.
const (
	minDigits = 12   // of a digest, to name a blob by
	maxErased = 1000 // blobs at once
	maxWhy    = 1000 // bytes
)

// A BlobError says that a blob cannot be erased as it was asked for. Nothing was.
type BlobError struct {
	Blob string // as it was named; empty: it is about all of them
	What string
	Hint string
}

// Error is one line without the hint.
func (e *BlobError) Error() string {
	if e.Blob == "" {
		return e.What
	}
	return fmt.Sprintf("%.80s %s", e.Blob, e.What)
}

// An Erasure says which blobs of a session are to be deleted for good, and why.
type Erasure struct {
	Blobs []string // digests, or 12 and more of their first digits, with or without "sha256:"
	Why   string   // for the record
	Seed  bool     // the session's seed may be among them, if it is closed
	Dry   bool     // delete nothing; say what would be
	// Before, if set, is called when it is clear what is deleted, before anything
	// is: an error of it ends the erasure.
	Before func(Erased) error
}

// Erased is what was deleted, or would be.
type Erased struct {
	Plane   string
	Blobs   []ledger.Hash // in the order in which they were named
	Already []ledger.Hash // that were recorded as erased before
	Freed   Freed
}

// Fresh are those of Blobs that were not erased before.
func (e Erased) Fresh() []ledger.Hash {
	return slices.DeleteFunc(slices.Clone(e.Blobs), func(h ledger.Hash) bool { return slices.Contains(e.Already, h) })
}

// Erase deletes blobs of a session, which may be closed, with their nonces, so
// that nobody can find out what they were. That they were erased, and why, is
// committed before: the chain, its seals and all proofs stay as they are, and the
// record still says which digests there were. After a crash in between
// [Root.Recover] deletes them, or a second Erase does.
//
// Errors wrap [ErrNotFound], [ErrInUse], a *[BlobError] or an
// [*ledger.IntegrityError]; then nothing was erased.
func (r *Root) Erase(ctx context.Context, id ID, e Erasure) (Erased, error) {
	done, err := r.eraseBlobs(ctx, id, e)
	if err != nil {
		return done, fmt.Errorf("session %s: %w", id, err)
	}
	return done, nil
}

func (r *Root) eraseBlobs(ctx context.Context, id ID, e Erasure) (Erased, error) {
	if err := e.check(); err != nil {
		return Erased{}, err
	}
	s, _, err := r.open(ctx, id)
	if err != nil {
		return Erased{}, err
	}
	done, err := s.eraseBlobs(e)
	return done, errors.Join(err, s.Leave())
}

// check looks at what can be said without the session.
func (e *Erasure) check() error {
	switch {
	case len(e.Blobs) == 0 || len(e.Blobs) > maxErased:
		return &BlobError{What: fmt.Sprintf("%d blobs were named", len(e.Blobs)), Hint: fmt.Sprintf("name 1 to %d", maxErased)}
	case strings.TrimSpace(e.Why) == "" || len(e.Why) > maxWhy || !utf8.ValidString(e.Why):
		return &BlobError{What: "why they are erased goes on record", Hint: fmt.Sprintf("say it in 1 to %d bytes of UTF-8", maxWhy)}
	}
	return nil
}

func (s *Session) eraseBlobs(e Erasure) (Erased, error) {
	done := Erased{Plane: s.Plane}
	named, err := s.blobs()
	if err != nil {
		return done, err
	}
	if done.Blobs, err = e.find(named); err != nil {
		return done, err
	}
	if slices.Contains(done.Blobs, s.state.open.Seed) {
		switch {
		case !s.state.progress.Closed:
			return done, &BlobError{s.state.open.Seed.String(), "is the seed of the session, which is open: it could take no more turns", "close it first, with session close"}
		case !e.Seed:
			return done, &BlobError{s.state.open.Seed.String(), "is the seed of the session: without it none of its turns can be run again", "say --force if that is what is wanted"}
		}
	}
	var bodies []ledger.Body
	for _, h := range done.Blobs {
		if slices.Contains(s.state.erased, h) {
			done.Already = append(done.Already, h)
			continue
		}
		bodies = append(bodies, record.Erased{Blob: h, Why: e.Why})
		digits := hex.EncodeToString(h[:])
		if info, err := os.Lstat(filepath.Join(s.BlobDir(), digits[:2], digits[2:])); err == nil {
			done.Freed.Files++
			done.Freed.Bytes += info.Size()
		}
	}
	if e.Dry || len(bodies) == 0 { // what was erased before, opening the session has deleted
		return done, nil
	}
	if e.Before != nil {
		if err := e.Before(done); err != nil {
			return done, err
		}
	}
	return done, s.delete(bodies, done.Blobs)
}

// delete commits bodies, and deletes the blobs that they speak of. Until that is
// done there is a folder for staging, by which recovery finds the session.
func (s *Session) delete(bodies []ledger.Body, blobs []ledger.Hash) error {
	step := s.root.opts.Step
	step("mark")
	if err := durable.MakeAll(s.dir, stagingDir, 0o700); err != nil {
		return s.root.unwritable(err)
	}
	step("commit erased")
	if err := s.introduce(bodies...); err != nil {
		return err
	}
	step("erase")
	if err := ledger.EraseBlobs(s.BlobDir(), blobs...); err != nil {
		return s.root.unwritable(err)
	}
	step("unmark")
	if err := s.tidy(); err != nil {
		return s.root.unwritable(err)
	}
	step("done")
	return nil
}

// blobs are those that the entries of the session name, each once, in order.
func (s *Session) blobs() ([]ledger.Hash, error) {
	var all []ledger.Hash
	seen := map[ledger.Hash]bool{}
	for e, err := range ledger.Scan(s.root.join(s.name()+"/ledger/"+record.ExecFile), record.ExecOptions(string(s.ID))) {
		if err != nil {
			return nil, err
		}
		switch e.Kind {
		case record.KindSessionOpen, record.KindTurnBegin, record.KindExecStart, record.KindExecEnd, record.KindStderr, record.KindTurnEnd:
		default:
			continue
		}
		body, err := record.Decode(e)
		if err != nil {
			return nil, &ledger.IntegrityError{File: record.ExecFile, Line: int(e.Seq) + 1, Seq: e.Seq, Offset: e.Offset, Reason: err.Error()} //nolint:gosec // a line number
		}
		for _, h := range record.BlobsOf(body) {
			if !seen[h] {
				seen[h] = true
				all = append(all, h)
			}
		}
	}
	return all, nil
}

// find returns the blobs that were named, each once.
func (e *Erasure) find(blobs []ledger.Hash) ([]ledger.Hash, error) {
	var found []ledger.Hash
	for _, name := range e.Blobs {
		digits := strings.TrimPrefix(name, "sha256:")
		if len(digits) < minDigits || len(digits) > 2*len(ledger.Hash{}) || strings.Trim(digits, "0123456789abcdef") != "" {
			return nil, &BlobError{name, "is no digest of a blob", fmt.Sprintf("give sha256: and at least %d of its digits, as agenthost ledger erase SESSION lists them", minDigits)}
		}
		var fit []ledger.Hash
		for _, h := range blobs {
			if strings.HasPrefix(hex.EncodeToString(h[:]), digits) {
				fit = append(fit, h)
			}
		}
		switch {
		case len(fit) == 0:
			return nil, &BlobError{name, "is no blob of this session", "agenthost ledger erase SESSION lists those that it has; the digest of a file is none"}
		case len(fit) > 1:
			return nil, &BlobError{name, fmt.Sprintf("begins the digests of %d blobs", len(fit)), "give more digits"}
		case !slices.Contains(found, fit[0]):
			found = append(found, fit[0])
		}
	}
	return found, nil
}
