//go:build linux

package gate

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// consistent compares the three accounts of what is staged: the gate's, the
// disk's, and what evidence computes from the entries once the digests are
// recorded as the runner records them.
func (w *world) consistent() error {
	w.t.Helper()
	w.End()
	writes, _, err := w.Finish()
	if err != nil {
		return err
	}
	disk := w.onDisk()
	if len(writes) != len(disk) {
		return fmt.Errorf("the gate lists %d files, on disk are %d", len(writes), len(disk))
	}
	unrecorded := slices.IndexFunc(writes, func(r Realized) bool { return !r.Known })
	if unrecorded >= 0 && w.limited {
		delete(disk, writes[unrecorded].Path) // it was made when the limit was reached
		writes = slices.Delete(writes, unrecorded, unrecorded+1)
	}
	size, files := int64(0), 0
	for _, r := range writes {
		content, ok := disk[r.Path]
		if !ok || !r.Known || !r.Regular {
			return fmt.Errorf("%+v is not on disk, or not known", r)
		}
		size += int64(len(content))
		if err := w.Digest(r.Path, r.Of, ledger.Sum([]byte(content)), int64(len(content))); err != nil {
			return err
		}
	}
	for _, n := range w.staged {
		if !n.folder {
			files++
		}
	}
	if got := w.staging.bytes + w.scratch.bytes; got != size && len(w.files) == 0 || files != len(disk) {
		return fmt.Errorf("the gate counts %d bytes in %d files, on disk are %d in %d", got, files, size, len(disk))
	}
	evidence, err := w.evidence()
	if err != nil {
		return err
	}
	proved := map[string]record.File{}
	for _, f := range append(evidence.RealizedWrites, evidence.Discarded...) {
		proved[f.Path] = f
	}
	for name, content := range disk {
		want := record.File{Path: name, SHA256: ledger.Sum([]byte(content)), Size: int64(len(content))}
		if proved[name] != want {
			return fmt.Errorf("evidence has %+v, want %+v", proved[name], want)
		}
	}
	if len(proved) != len(disk) {
		return fmt.Errorf("evidence has %d writes, on disk are %d", len(proved), len(disk))
	}
	return nil
}

// evidence is that of the entries on disk, which must be what was collected while
// they were appended.
func (w *world) evidence() (record.TurnEvidence, error) {
	var failed error
	evidence, err := record.Evidence(w.sequence(&failed))
	if err != nil || failed != nil {
		return evidence, fmt.Errorf("evidence: %w %w", err, failed)
	}
	collected, ok := w.collected.Evidence(w.cfg.Exec.Head())
	if !ok {
		return evidence, errors.New("the evidence was not collected")
	}
	a, errA := ledger.Encode(evidence)
	b, errB := ledger.Encode(collected)
	if err := errors.Join(errA, errB); err != nil || !bytes.Equal(a, b) {
		return evidence, fmt.Errorf("collected\n%s\nof the file\n%s\n%w", b, a, err)
	}
	return evidence, nil
}

func (w *world) sequence(failed *error) iter.Seq[ledger.Entry] {
	return func(yield func(ledger.Entry) bool) {
		for e, err := range w.cfg.Exec.Since(w.begin) {
			if err != nil {
				*failed = err
				return
			}
			if !yield(e) {
				return
			}
		}
	}
}
