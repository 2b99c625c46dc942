package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Recovery is debris that [Open] took off the end of a ledger and kept as a
// file beside it.
type Recovery struct {
	File   string // its name, in the ledger's folder
	Offset int64  // where it lay
	Length int64
	SHA256 Hash
}

// Recovered tells what was set aside and is not noted in the ledger yet; the
// caller appends an entry that says so before any other. A crash before that
// entry is durable makes the next Open tell it again.
func (l *Log) Recovered() []Recovery { return l.recovered }

// recover sets everything from l.size to size aside, if there is anything, and
// finds what earlier recoveries at this place left unnoted.
//
// The order makes it safe to be cut short anywhere: the debris is a durable
// file of its own before it leaves the ledger, and an entry written afterwards
// moves the end away from the offset in that file's name.
func (l *Log) recover(size int64) error {
	var (
		found  *Recovery
		k      = 1
		length = size - l.size
	)
	for ; ; k++ {
		r, err := l.aside(k)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		l.recovered = append(l.recovered, r)
	}
	if length == 0 {
		return nil
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, io.NewSectionReader(l.f, l.size, length)); err != nil {
		return fmt.Errorf("reading %s: %w", l.path, err)
	}
	for i, r := range l.recovered {
		if r.Length == length && bytes.Equal(r.SHA256[:], digest.Sum(nil)) {
			found = &l.recovered[i]
		}
	}
	if found == nil {
		r := Recovery{Offset: l.size, Length: length, SHA256: Hash(digest.Sum(nil))}
		if err := l.setAside(&r, tornName(l.path, l.size, k)); err != nil {
			return fmt.Errorf("setting aside the end of %s: %w", l.path, err)
		}
		l.recovered = append(l.recovered, r)
	}
	if err := l.f.Truncate(l.size); err != nil {
		return err
	}
	return l.f.Sync()
}

// aside describes the k-th file that holds debris from the end of the ledger.
func (l *Log) aside(k int) (Recovery, error) {
	name := tornName(l.path, l.size, k)
	f, err := l.disk.openFile(name, os.O_RDONLY, 0)
	if err != nil {
		return Recovery{}, err
	}
	defer f.Close()
	digest := sha256.New()
	n, err := io.Copy(digest, f)
	if err != nil {
		return Recovery{}, fmt.Errorf("reading %s: %w", name, err)
	}
	return Recovery{File: filepath.Base(name), Offset: l.size, Length: n, SHA256: Hash(digest.Sum(nil))}, nil
}

// setAside copies the debris that r describes to a durable file called name.
func (l *Log) setAside(r *Recovery, name string) error {
	r.File = filepath.Base(name)
	return write(l.disk, name, 0o400, io.NewSectionReader(l.f, r.Offset, r.Length))
}

const sectorSize = 512

// classify looks at what begins with a bad line at offset at and ends at size.
// A crash while entries were written leaves either the beginning of a line, or
// sectors that never reached the disk and read as zeros. Anything else is
// damage, and so is either of them in front of an intact entry that was durable.
// If why is not "" it says more than what the line's check said.
func (v *verifier) classify(r io.ReaderAt, at, size int64) (why string, torn bool, err error) {
	zero, next, err := zeroSector(r, at, size)
	switch {
	case err != nil:
		return "", false, err
	case !zero && next < 0:
		return v.classifyEnd(r, at, size)
	case !zero:
		return "", false, nil
	case next < 0:
		next = size
	}
	// Later lines must not show that the writer had waited for what lies here.
	waited := ""
	for lines := newLines(r, next, size, v.max); ; {
		line, _, err := lines.next()
		switch {
		case err == io.EOF, errors.Is(err, errNoEnd):
			return "sectors of zeros: a crash came before they were written", true, nil
		case errors.Is(err, errTooLong):
			return "", false, nil
		case err != nil:
			return "", false, err
		}
		e, err := intact(line, nil)
		switch {
		case err != nil:
		case waited != "":
			return "sectors of zeros before " + waited + ", which was on disk: the file was damaged", false, nil
		case v.opts.durable(e):
			waited = fmt.Sprintf("seq %d", e.Seq)
		}
	}
}

// classifyEnd judges a last line without newline and without zeros.
func (v *verifier) classifyEnd(r io.ReaderAt, at, size int64) (why string, torn bool, err error) {
	if size-at >= int64(v.max) {
		return errTooLong.Error(), false, nil
	}
	tail := make(padded, 1+size-at)
	if _, err := r.ReadAt(tail[1:], at); err != nil {
		return "", false, err
	}
	if i := bytes.Index(tail, []byte(hashName)); i >= 0 {
		// A crash leaves nothing but a newline behind a whole entry.
		end := i + len(hashName) + hexSize + len(lineTail)
		if end < len(tail) {
			if _, err := intact(tail[:end], nil); err == nil {
				return "the newline behind the entry was changed", false, nil
			}
		}
	}
	return errNoEnd.Error(), true, nil
}

// zeroSector reports whether the line at offset at holds a sector of zeros, and
// where the next line begins, -1 if it has no newline. A sector counts from at on, or up to size, where
// it lies across them: what is before was durable, what is behind does not
// exist.
func zeroSector(r io.ReaderAt, at, size int64) (zero bool, next int64, err error) {
	buf := make([]byte, 128*sectorSize)
	for next := at; next < size; {
		b := buf[:min(int64(len(buf))-next%sectorSize, size-next)]
		if _, err := r.ReadAt(b, next); err != nil {
			return false, 0, err
		}
		for len(b) > 0 {
			sector := b[:min(sectorSize-next%sectorSize, int64(len(b)))]
			if i := bytes.IndexByte(sector, '\n'); i >= 0 {
				return zero, next + int64(i) + 1, nil
			}
			zero = zero || len(bytes.TrimLeft(sector, "\x00")) == 0
			next += int64(len(sector))
			b = b[len(sector):]
		}
	}
	return zero, -1, nil
}
