package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The tar of a package has one form only: for each file, sorted by the bytes of
// its name but the manifest first, a ustar header with mode 0644, owner 0, time
// 0, then the content, filled up with zeros to a multiple of 512; two blocks of
// zeros; the end. A name of more than 100 bytes or beyond ASCII stands in a PAX
// header before it. Whatever differs from what this file would write is refused,
// so that equal content is equal bytes, and no two programs read two things.
// https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html

const blockSize = 512

// Fields of a ustar header: where each begins and ends.
type span struct {
	name       string
	start, end int
}

func headerFields() []span {
	return []span{
		{"name", 0, 100},
		{"mode", 100, 108},
		{"owner", 108, 116},
		{"group", 116, 124},
		{"size", 124, 136},
		{"time", 136, 148},
		{"checksum", 148, 156},
		{"type", 156, 157},
		{"link name", 157, 257},
		{"format", 257, 265},
		{"owner's name", 265, 297},
		{"group's name", 297, 329},
		{"device", 329, 345},
		{"name's beginning", 345, 500},
		{"filling", 500, 512},
	}
}

const (
	typeRegular = '0'
	typePAX     = 'x'

	paxName  = "PaxHeader" // name of a PAX header itself
	longName = "LongName"  // in the header after it
)

// header is one header block.
func header(name string, size int64, kind byte) [blockSize]byte {
	var b [blockSize]byte
	copy(b[0:100], name)
	copy(b[100:], "0000644\x00")
	copy(b[108:], "0000000\x00")
	copy(b[116:], "0000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00", size))
	copy(b[136:], "00000000000\x00")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	copy(b[329:], "0000000\x00")
	copy(b[337:], "0000000\x00")
	copy(b[148:], fmt.Sprintf("%06o\x00 ", checksum(b)))
	return b
}

// checksum is the sum of a header's bytes, its own field counted as spaces.
func checksum(b [blockSize]byte) int {
	sum := 8 * int(' ')
	for i, c := range b {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	return sum
}

// headers gives all that precedes the content of a file.
func headers(name string, size int64) []byte {
	if plain(name) {
		b := header(name, size, typeRegular)
		return b[:]
	}
	record := paxRecord(name)
	x := header(paxName, int64(len(record)), typePAX)
	out := append(x[:], record...)
	out = append(out, make([]byte, padding(int64(len(record))))...)
	b := header(longName, size, typeRegular)
	return append(out, b[:]...)
}

func plain(name string) bool {
	for i := range len(name) {
		if name[i] >= 0x80 {
			return false
		}
	}
	return len(name) <= 100
}

// paxRecord is "length path=name\n", where length counts all of it.
func paxRecord(name string) string {
	rest := " path=" + name + "\n"
	for length := len(rest) + 1; ; length++ {
		if s := strconv.Itoa(length) + rest; len(s) == length {
			return s
		}
	}
}

// padding is how many zeros follow n bytes of content.
func padding(n int64) int64 { return -n & (blockSize - 1) }

// tarReader reads the one form of tar. Its errors are *PackageError, except what
// its source failed with.
type tarReader struct {
	r     io.Reader
	entry string // what is being read, for errors
	count int
	left  int64 // content of the entry not yet read
	pad   int64 // zeros after it
}

func (t *tarReader) fault(hint, format string, args ...any) error {
	return &PackageError{Where: t.entry, What: fmt.Sprintf(format, args...), Hint: hint}
}

const packAgain = "pack the folder with `agenthost package pack`"

// next goes to the next entry, whose content Read then gives. At the end, of the
// tar and of the source, it gives io.EOF.
func (t *tarReader) next() (name string, size int64, err error) {
	t.count++
	t.entry = fmt.Sprintf("entry %d", t.count)
	b, err := t.block()
	if err != nil {
		return "", 0, err
	}
	if b == ([blockSize]byte{}) {
		return "", 0, t.end()
	}
	kind, name, size, err := t.header(b, "")
	if err != nil {
		return "", 0, err
	}
	if kind == typePAX {
		return t.pax(b, size)
	}
	if !plain(name) {
		return "", 0, t.fault(packAgain, "a name beyond ASCII stands in a PAX header")
	}
	if err := t.same(b, header(name, size, typeRegular)); err != nil {
		return "", 0, err
	}
	t.left, t.pad = size, padding(size)
	return name, size, nil
}

// block reads 512 bytes.
func (t *tarReader) block() (b [blockSize]byte, err error) {
	if _, err := io.ReadFull(t.r, b[:]); err != nil {
		return b, t.readError(err)
	}
	return b, nil
}

func (t *tarReader) readError(err error) error {
	var p *PackageError
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return t.fault("fetch it again", "the archive is cut short")
	case errors.As(err, &p) && p.Where == "":
		return &PackageError{Where: t.entry, What: p.What, Hint: p.Hint}
	}
	return err
}

// end reads the second empty block and asks for the source's end.
func (t *tarReader) end() error {
	t.entry = ""
	b, err := t.block()
	if err != nil {
		return err
	}
	if b != ([blockSize]byte{}) {
		return t.fault(packAgain, "something follows the end of the tar")
	}
	switch _, err := io.ReadFull(t.r, b[:1]); err {
	case nil:
		return t.fault(packAgain, "something follows the end of the tar")
	case io.EOF:
		return io.EOF
	default:
		return t.readError(err)
	}
}

// header takes apart a header block as far as needed to say what it is. The name
// may be known from a PAX header.
func (t *tarReader) header(b [blockSize]byte, known string) (kind byte, name string, size int64, err error) {
	sum, err := octal(b[148:156])
	if err != nil || sum != int64(checksum(b)) {
		return 0, "", 0, t.fault(packAgain, "this is not a tar header, its checksum is wrong")
	}
	name = cString(b[0:100])
	if prefix := cString(b[345:500]); prefix != "" && string(b[257:263]) == "ustar\x00" {
		name = prefix + "/" + name
	}
	if known != "" {
		name = known
	}
	t.entry = fmt.Sprintf("entry %q", name)
	if what := typeName(b[156]); what != "" {
		return 0, "", 0, t.fault(packAgain, "%s; a package holds regular files only", what)
	}
	size, err = octal(b[124:136])
	if err != nil {
		return 0, "", 0, t.fault(packAgain, "its size is not an octal number")
	}
	return b[156], name, size, nil
}

// typeName names the types of entries that are refused.
func typeName(kind byte) string {
	switch kind {
	case typeRegular, typePAX:
		return ""
	case '1':
		return "a hard link"
	case '2':
		return "a symbolic link"
	case '3', '4':
		return "a device"
	case '5':
		return "a folder"
	case '6':
		return "a FIFO"
	case 'g':
		return "a global PAX header"
	case 'L', 'K':
		return "a GNU long name"
	case 'S':
		return "a GNU sparse file"
	}
	return fmt.Sprintf("of the unknown type %q", kind)
}

// pax reads a PAX header, which holds a path and nothing else, and the header
// after it.
func (t *tarReader) pax(b [blockSize]byte, size int64) (name string, content int64, err error) {
	if err := t.same(b, header(paxName, size, typePAX)); err != nil {
		return "", 0, err
	}
	const most = maxName + 16
	if size > most {
		return "", 0, t.fault(packAgain, "a PAX header of %d bytes, at most %d are read", size, most)
	}
	record := make([]byte, size+padding(size))
	if _, err := io.ReadFull(t.r, record); err != nil {
		return "", 0, t.readError(err)
	}
	_, path, _ := bytes.Cut(record[:size], []byte(" path="))
	name = string(bytes.TrimSuffix(path, []byte("\n")))
	want := append([]byte(paxRecord(name)), make([]byte, padding(size))...)
	if !bytes.Equal(record, want) || plain(name) {
		return "", 0, t.fault(packAgain, "a PAX header holds the path of a long name and nothing else")
	}
	b, err = t.block()
	if err != nil {
		return "", 0, err
	}
	kind, _, content, err := t.header(b, name)
	if err != nil {
		return "", 0, err
	}
	if kind != typeRegular {
		return "", 0, t.fault(packAgain, "a PAX header follows a PAX header")
	}
	if err := t.same(b, header(longName, content, typeRegular)); err != nil {
		return "", 0, err
	}
	t.left, t.pad = content, padding(content)
	return name, content, nil
}

// same compares a header with the one pack would have written and names the
// first field that differs.
func (t *tarReader) same(got, want [blockSize]byte) error {
	if got == want {
		return nil
	}
	for _, f := range headerFields() {
		g, w := got[f.start:f.end], want[f.start:f.end]
		if f.name != "checksum" && !bytes.Equal(g, w) {
			return t.fault(packAgain, "its %s is not as packages have it: %q instead of %q", f.name, bytes.TrimRight(g, "\x00"), bytes.TrimRight(w, "\x00"))
		}
	}
	return t.fault(packAgain, "its checksum is not written as packages have it")
}

// Read gives the content of the entry, and io.EOF after its last byte and the
// zeros that follow.
func (t *tarReader) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, t.skipPadding()
	}
	n, err := t.r.Read(p[:min(int64(len(p)), t.left)])
	t.left -= int64(n)
	if err != nil {
		if err == io.EOF && t.left == 0 {
			return n, nil
		}
		return n, t.readError(err)
	}
	return n, nil
}

func (t *tarReader) skipPadding() error {
	var b [blockSize]byte
	if _, err := io.ReadFull(t.r, b[:t.pad]); err != nil {
		return t.readError(err)
	}
	t.pad = 0
	if b != ([blockSize]byte{}) {
		return t.fault(packAgain, "something other than zeros follows its content")
	}
	return io.EOF
}

// cString is what a field holds before its first NUL.
func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// octal reads a number as ustar has it: octal digits, then NULs or spaces.
func octal(b []byte) (int64, error) {
	n, err := strconv.ParseUint(string(bytes.Trim(b, " \x00")), 8, 63)
	return int64(n), err
}
