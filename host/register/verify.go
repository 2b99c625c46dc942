package register

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Report is what [Verify] found.
type Report struct {
	Segments   int // with the current one; 0 if there is no register
	Entries    uint64
	Sessions   map[string]State
	Hosts      []ledger.Verifier      // who sealed it, each once; whether they are trusted is for the caller
	Checkpoint ledger.Checkpoint      // of the current segment, with its signature; zero if that is empty
	Torn       *ledger.IntegrityError // debris of a crash at the end, or nil
	Recovered  int                    // pieces of debris that were set aside
	Noted      map[string]bool        // names of files that hold them
	Lost       []record.RegisterLost  // segments whose loss was accepted
}

// attempts bounds how often Verify looks for the current segment where it is left
// behind meanwhile.
const attempts = 100

// Verify reads the register of a plane in the root that dir is, whose absolute
// path is rootPath: all its segments, from the first on, and memory for one state
// of each session. It needs no lock, and nothing is changed. A torn tail is
// reported, not an error; it may be what a live writer is about to finish.
//
// The error is a *[ledger.IntegrityError], with what was found before it, or one
// of the file system.
func Verify(dir *beneath.Dir, rootPath, plane string) (Report, error) {
	r := New(dir, rootPath, plane, Options{})
	report := Report{Sessions: map[string]State{}, Noted: map[string]bool{}}
	count, err := r.segments()
	if err != nil {
		return report, err
	}
	lost, err := r.lost(count)
	if err != nil {
		return report, err
	}
	var before *record.RegisterContinue
	n := lost
	for try := 1; ; try++ {
		for n < count {
			n++
			b := r.chapter(segmentName(n), &report, before, lost)
			found, err := b.read(nil, n)
			if err != nil {
				return report, err
			}
			report.take(b, found)
			before = &record.RegisterContinue{File: segmentName(n), Size: found.Head.Size, Root: found.Head.Root}
		}
		there, err := r.last(&report, before, max(count, lost), lost)
		if err == nil && there {
			break
		}
		// A writer may have left it behind meanwhile.
		now, listed := r.segments()
		if listed != nil || now <= count || try == attempts {
			if err := errors.Join(err, listed); err != nil {
				return report, err
			}
			break
		}
		count = now
	}
	for _, l := range report.Lost {
		if numberOf(l.File) == lost {
			lost = 0
		}
	}
	if lost > 0 {
		return report, &ledger.IntegrityError{File: r.path(segmentName(lost)), Reason: "its loss was never accepted"}
	}
	return report, nil
}

// last reads the current segment, which follows so many others, and reports
// whether there is one.
func (r *Register) last(report *Report, before *record.RegisterContinue, count, lost int) (bool, error) {
	b := r.chapter(record.RegisterFile, report, before, lost)
	found, err := ledger.Verify(b.file, b.options())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return true, err
	case b.fault != nil:
		return true, b.fault
	case b.entries == 0:
		report.Torn = found.Torn
		return false, nil
	case b.number != count+1:
		return true, &ledger.IntegrityError{File: b.file, Reason: fmt.Sprintf("it is segment %d, and there are %d before it", b.number, count)}
	}
	report.take(b, found)
	report.Torn, report.Checkpoint = found.Torn, found.Checkpoint
	return true, nil
}

// chapter is a book that goes on from those before, of which the first is the one
// behind those that are lost.
func (r *Register) chapter(file string, report *Report, before *record.RegisterContinue, lost int) *book {
	b := newBook(r.plane, r.path(file))
	b.heads, b.whole = report.Sessions, lost == 0
	b.prior, b.joined = before, lost == 0 || before != nil
	return b
}

func (r *Report) take(b *book, found ledger.Report) {
	r.Segments++
	r.Entries += found.Entries
	r.Recovered += len(b.noted)
	for _, name := range b.noted {
		// It was set aside from a current segment, and may have the name of an older one by now.
		r.Noted[name] = true
		if rest, ok := strings.CutPrefix(name, record.RegisterFile+debrisMark); ok {
			r.Noted[segmentName(b.number)+debrisMark+rest] = true
		}
	}
	r.Lost = append(r.Lost, b.lost...)
	for _, h := range b.keys.Hosts() {
		known := false
		for _, k := range r.Hosts {
			known = known || k.Equal(h)
		}
		if !known {
			r.Hosts = append(r.Hosts, h)
		}
	}
}

// lost returns the number of the last segment whose loss is said to have been
// accepted, as nobody has verified.
func (r *Register) lost(count int) (int, error) {
	lost := 0
	look := func(file string) error {
		text, err := r.raw(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		lost = max(lost, lostIn(text))
		return err
	}
	if err := look(record.RegisterFile); err != nil {
		return 0, err
	}
	for n := count; n > lost; n-- {
		if err := look(segmentName(n)); err != nil {
			return 0, err
		}
	}
	return lost, nil
}
