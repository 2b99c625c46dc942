package record

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/ledger"
)

// AppendSeen appends a file to the list that is a [View]'s blob:
//
//	sha256:HEX SIZE NAME
//
// and a newline. A name that holds a byte below 0x21, 0x7f, a quote or a
// backslash is written as [strconv.Quote] does.
func AppendSeen(list []byte, f File) []byte {
	list = append(list, f.SHA256.String()...)
	list = strconv.AppendInt(append(list, ' '), f.Size, 10)
	list = append(list, ' ')
	if strings.ContainsFunc(f.Path, func(r rune) bool { return r < 0x21 || r == 0x7f || r == '"' || r == '\\' }) {
		list = strconv.AppendQuote(list, f.Path)
	} else {
		list = append(list, f.Path...)
	}
	return append(list, '\n')
}

// parseSeen reads a line that AppendSeen wrote.
func parseSeen(line []byte) (File, error) {
	fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), " ", 3)
	if len(fields) != 3 || fields[2] == "" {
		return File{}, errors.New("it has no digest, size and name")
	}
	f := File{Path: fields[2]}
	var err error
	if f.SHA256, err = ledger.ParseHash(fields[0]); err != nil {
		return File{}, err
	}
	if f.Size, err = strconv.ParseInt(fields[1], 10, 64); err != nil || f.Size < 0 {
		return File{}, fmt.Errorf("%.40q is no size", fields[1])
	}
	if f.Path[0] == '"' {
		if f.Path, err = strconv.Unquote(fields[2]); err != nil {
			return File{}, fmt.Errorf("%.100q is no name", fields[2])
		}
	}
	if f.SHA256.IsZero() || !bytes.Equal(AppendSeen(nil, f), line) {
		return File{}, errors.New("it is not written as this format writes it")
	}
	return f, nil
}

// RedactSeen is a list with each name as redact has it, sorted again. A list that
// is not one is given back as redact has it whole.
func RedactSeen(list []byte, redact func(string) string) []byte {
	var files []File
	for line := range bytes.Lines(list) {
		f, err := parseSeen(line)
		if err != nil {
			return []byte(redact(string(list)))
		}
		f.Path = redact(f.Path)
		files = append(files, f)
	}
	slices.SortStableFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	redacted := make([]byte, 0, len(list))
	for _, f := range files {
		redacted = AppendSeen(redacted, f)
	}
	return redacted
}

// check compares what a view comes to with the list in its blob.
func (v View) check(list []byte) error {
	var files, size int64
	last := ""
	for line := range bytes.Lines(list) {
		f, err := parseSeen(line)
		switch {
		case err != nil:
			return fmt.Errorf("line %d of what the command could see: %w", files+1, err)
		case files > 0 && (f.Path < last || f.Path == last && !strings.Contains(f.Path, "[redacted ")):
			return fmt.Errorf("line %d of what the command could see: %.100q does not come behind %.100q", files+1, f.Path, last)
		case f.Size > math.MaxInt64-size:
			return fmt.Errorf("line %d of what the command could see: so many bytes cannot be", files+1)
		}
		files, size, last = files+1, size+f.Size, f.Path
	}
	if files != v.Files || size != v.Bytes {
		return fmt.Errorf("the command could see %d files of %d bytes, its entry says %d of %d", files, size, v.Files, v.Bytes)
	}
	return nil
}
