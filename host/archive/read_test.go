package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/agenthost/agenthost/ledger"
)

// part is one entry of a tar that is made by hand.
type part struct {
	name, data string
}

// manifestFor lists files as pack would.
func manifestFor(files ...part) string {
	m := Manifest{Schema: ManifestSchema, ID: "PKG-A", Version: "0.1.0"}
	for _, f := range files {
		m.Files = append(m.Files, File{Path: f.name, SHA256: ledger.Sum([]byte(f.data)), Size: int64(len(f.data))})
	}
	b, err := m.Encode()
	if err != nil {
		panic(err)
	}
	return string(b)
}

// rawTar writes the entries in their one form, whatever their names.
func rawTar(parts ...part) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		if err := writeEntry(&b, p.name, []byte(p.data)); err != nil {
			panic(err)
		}
	}
	if err := writeEnd(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// good is a tar whose manifest lists the files.
func good(files ...part) []byte {
	return rawTar(append([]part{{ManifestName, manifestFor(files...)}}, files...)...)
}

func zip(tar []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(tar)
	z.Close()
	return b.Bytes()
}

// alter changes a header of a tar and makes its checksum right again.
func alter(tar []byte, at, offset int, value string) []byte {
	tar = bytes.Clone(tar)
	copy(tar[at+offset:], value)
	var b [blockSize]byte
	copy(b[:], tar[at:])
	copy(tar[at+148:], fmt.Sprintf("%06o\x00 ", checksum(b)))
	return tar
}

func TestReadRefusals(t *testing.T) {
	const again = "; pack the folder with `agenthost package pack`"
	a := part{"a", "content"}
	ok := good(a)
	second := len(ok) - 2*blockSize - 2*blockSize // the header of a
	long := strings.Repeat("x", 101)
	header := func(b [blockSize]byte) []byte { return b[:] }
	// insert puts bytes before the header of a.
	insert := func(b []byte) []byte { return bytes.Join([][]byte{ok[:second], b, ok[second:]}, nil) }
	for _, test := range []struct {
		name, want string
		tar        []byte
	}{
		{"empty", "package: entry 1: the archive is cut short; fetch it again", nil},
		{"no entries", "package: the archive is empty" + again, rawTar()},
		{"no manifest", `package: entry "a": a package begins with manifest.json` + again, rawTar(a)},
		{"manifest second", `package: entry "a": a package begins with manifest.json` + again, rawTar(a, part{ManifestName, manifestFor(a)})},
		{"manifest too large", `package: entry "manifest.json": 8388609 bytes, at most 8388608 are read`, alter(good(), 0, 124, "00040000001\x00")},
		{"mistake in the manifest", "manifest.json: schema: unknown schema \"x\"; this program reads \"agenthost/package/v1\"", rawTar(part{ManifestName, `{"schema":"x"}`})},

		{"twice", `package: entry "a": the name is there twice` + again, rawTar(part{ManifestName, manifestFor(a)}, a, a)},
		{"manifest twice", `package: entry "manifest.json": the name is there twice` + again, rawTar(part{ManifestName, manifestFor()}, part{ManifestName, ""})},
		{"unlisted", `package: entry "b": the file is not listed in the manifest` + again, rawTar(part{ManifestName, manifestFor(a)}, a, part{"b", ""})},
		{"missing", `package: file "a": listed in the manifest but not there` + again, rawTar(part{ManifestName, manifestFor(a)})},
		{"size", `package: entry "a": 6 bytes, but 7 in the manifest` + again, rawTar(part{ManifestName, manifestFor(a)}, part{"a", "conten"})},
		{"digest", `package: entry "a": its digest is ` + ledger.Sum([]byte("Content")).String() + ", but " + ledger.Sum([]byte("content")).String() +
			" in the manifest; the package was changed after it was packed", rawTar(part{ManifestName, manifestFor(a)}, part{"a", "Content"})},
		{"order", `package: entry "a": out of order; names are sorted by bytes` + again, rawTar(part{ManifestName, manifestFor(a, part{"b", ""})}, part{"b", ""}, a)},

		{"hard link", `package: entry "a": a hard link; a package holds regular files only` + again, alter(ok, second, 156, "1")},
		{"symbolic link", `package: entry "a": a symbolic link; a package holds regular files only` + again, alter(ok, second, 156, "2")},
		{"character device", `package: entry "a": a device; a package holds regular files only` + again, alter(ok, second, 156, "3")},
		{"block device", `package: entry "a": a device; a package holds regular files only` + again, alter(ok, second, 156, "4")},
		{"folder", `package: entry "a": a folder; a package holds regular files only` + again, alter(ok, second, 156, "5")},
		{"FIFO", `package: entry "a": a FIFO; a package holds regular files only` + again, alter(ok, second, 156, "6")},
		{"contiguous", `package: entry "a": of the unknown type '7'; a package holds regular files only` + again, alter(ok, second, 156, "7")},
		{"old regular", `package: entry "a": of the unknown type '\x00'; a package holds regular files only` + again, alter(ok, second, 156, "\x00")},
		{"global PAX", `package: entry "a": a global PAX header; a package holds regular files only` + again, alter(ok, second, 156, "g")},
		{"GNU long name", `package: entry "a": a GNU long name; a package holds regular files only` + again, alter(ok, second, 156, "L")},
		{"GNU long link", `package: entry "a": a GNU long name; a package holds regular files only` + again, alter(ok, second, 156, "K")},
		{"GNU sparse", `package: entry "a": a GNU sparse file; a package holds regular files only` + again, alter(ok, second, 156, "S")},

		{"mode", `package: entry "a": its mode is not as packages have it: "0000755" instead of "0000644"` + again, alter(ok, second, 100, "0000755\x00")},
		{"set-uid", `package: entry "a": its mode is not as packages have it: "0004755" instead of "0000644"` + again, alter(ok, second, 100, "0004755\x00")},
		{"owner", `package: entry "a": its owner is not as packages have it: "0001750" instead of "0000000"` + again, alter(ok, second, 108, "0001750\x00")},
		{"group", `package: entry "a": its group is not as packages have it: "0001750" instead of "0000000"` + again, alter(ok, second, 116, "0001750\x00")},
		{"time", `package: entry "a": its time is not as packages have it: "14717165532" instead of "00000000000"` + again, alter(ok, second, 136, "14717165532\x00")},
		{"owner's name", `package: entry "a": its owner's name is not as packages have it: "root" instead of ""` + again, alter(ok, second, 265, "root")},
		{"group's name", `package: entry "a": its group's name is not as packages have it: "root" instead of ""` + again, alter(ok, second, 297, "root")},
		{"link name", `package: entry "a": its link name is not as packages have it: "/etc/passwd" instead of ""` + again, alter(ok, second, 157, "/etc/passwd")},
		{"device number", `package: entry "a": its device is not as packages have it: "0000001\x000000000" instead of "0000000\x000000000"` + again, alter(ok, second, 329, "0000001\x00")},
		{"GNU format", `package: entry "a": its format is not as packages have it: "ustar  " instead of "ustar\x0000"` + again, alter(ok, second, 257, "ustar  \x00")},
		{"prefix", `package: entry "b/a": its name is not as packages have it: "a" instead of "b/a"` + again, alter(ok, second, 345, "b")},
		{"hidden after NUL", `package: entry "a": its name is not as packages have it: "a\x00b" instead of "a"` + again, alter(ok, second, 0, "a\x00b")},
		{"filling", `package: entry "a": its filling is not as packages have it: "x" instead of ""` + again, alter(ok, second, 500, "x")},
		{"size in spaces", `package: entry "a": its size is not as packages have it: "          7" instead of "00000000007"` + again, alter(ok, second, 124, "          7\x00")},
		{"size in base 256", `package: entry "a": its size is not an octal number` + again, alter(ok, second, 124, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07")},
		{"size negative", `package: entry "a": its size is not an octal number` + again, alter(ok, second, 124, "-0000000007\x00")},
		{"size beyond the end", `package: entry "a": 8589934591 bytes, but 7 in the manifest` + again, alter(ok, second, 124, "77777777777\x00")},
		{"checksum", "package: entry 2: this is not a tar header, its checksum is wrong" + again, func() []byte { b := bytes.Clone(ok); b[second+1]++; return b }()},
		{
			"checksum spelled otherwise", `package: entry "a": its checksum is not written as packages have it` + again,
			func() []byte { b := bytes.Clone(ok); b[second+154], b[second+155] = ' ', 0; return b }(),
		},
		{"content's filling", `package: entry "a": something other than zeros follows its content` + again, func() []byte { b := bytes.Clone(ok); b[second+blockSize+7] = 1; return b }()},

		{
			"PAX that is not needed", `package: entry "PaxHeader": a PAX header holds the path of a long name and nothing else` + again,
			insert(append(header(newHeader(paxName, 10, typePAX)), pad("10 path=a\n")...)),
		},
		{
			"PAX with more", `package: entry "PaxHeader": a PAX header holds the path of a long name and nothing else` + again,
			insert(append(header(newHeader(paxName, int64(len(paxRecord(long)))+11, typePAX)), pad(paxRecord(long)+"11 uid=100\n")...)),
		},
		{
			"PAX with a size", `package: entry "PaxHeader": a PAX header holds the path of a long name and nothing else` + again,
			insert(append(header(newHeader(paxName, 13, typePAX)), pad("13 size=9999\n")...)),
		},
		{
			"PAX of wrong length", `package: entry "PaxHeader": a PAX header holds the path of a long name and nothing else` + again,
			insert(append(header(newHeader(paxName, 110, typePAX)), pad("112 path="+long)...)),
		},
		{
			"PAX empty", `package: entry "PaxHeader": a PAX header holds the path of a long name and nothing else` + again,
			insert(header(newHeader(paxName, 0, typePAX))),
		},
		{
			"PAX large", `package: entry "PaxHeader": a PAX header of 1041 bytes, at most 1040 are read` + again,
			insert(header(newHeader(paxName, 1041, typePAX))),
		},
		{
			"PAX huge", `package: entry "PaxHeader": a PAX header of 8589934591 bytes, at most 1040 are read` + again,
			insert(header(newHeader(paxName, 1<<33-1, typePAX))),
		},
		{
			"PAX under another name", `package: entry "PaxHeaders.1/x": its name is not as packages have it: "PaxHeaders.1/x" instead of "PaxHeader"` + again,
			insert(header(newHeader("PaxHeaders.1/x", 10, typePAX))),
		},
		{"no PAX for a name beyond ASCII", `package: entry "ä": a name beyond ASCII stands in a PAX header` + again, alter(ok, second, 0, "ä")},
		{
			"PAX twice", `package: entry "` + long + `": a PAX header follows a PAX header` + again,
			insert(append(append(header(newHeader(paxName, int64(len(paxRecord(long))), typePAX)), pad(paxRecord(long))...), header(newHeader(paxName, 0, typePAX))...)),
		},
		{
			"PAX before another name", `package: entry "` + long + `": its name is not as packages have it: "a" instead of "LongName"` + again,
			insert(append(header(newHeader(paxName, int64(len(paxRecord(long))), typePAX)), pad(paxRecord(long))...)),
		},

		{"something between the empty blocks", "package: something follows the end of the tar" + again, append(bytes.Clone(ok[:len(ok)-blockSize]), ok[:blockSize]...)},
		{"one empty block", "package: the archive is cut short; fetch it again", ok[:len(ok)-blockSize]},
		{"no empty block", "package: entry 3: the archive is cut short; fetch it again", ok[:len(ok)-2*blockSize]},
		{"third empty block", "package: something follows the end of the tar" + again, append(bytes.Clone(ok), make([]byte, blockSize)...)},
		{"one byte more", "package: something follows the end of the tar" + again, append(bytes.Clone(ok), 0)},
		{"another tar", "package: something follows the end of the tar" + again, append(bytes.Clone(ok), ok...)},
		{"cut in a header", "package: entry 2: the archive is cut short; fetch it again", ok[:second+100]},
		{"cut in content", `package: entry "a": the archive is cut short; fetch it again`, ok[:second+blockSize+3]},
		{"cut after content", `package: entry "a": the archive is cut short; fetch it again`, ok[:second+blockSize+7]},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(zip(test.tar)))
			wantError(t, "read", err, test.want)
			if !errors.As(err, new(*PackageError)) && !errors.As(err, new(*ManifestError)) {
				t.Errorf("the error is a %T", err)
			}
		})
	}
}

func newHeader(name string, size int64, kind byte) [blockSize]byte { return header(name, size, kind) }

// pad fills content up to whole blocks.
func pad(s string) []byte { return append([]byte(s), make([]byte, padding(int64(len(s))))...) }

// TestReadNames: the manifest is where a name is seen first, and refused.
func TestReadNames(t *testing.T) {
	for _, test := range []struct {
		names []string
		want  string
	}{
		{[]string{""}, `files[0].path: missing`},
		{[]string{"/etc/passwd"}, `files[0].path: "/etc/passwd": the name is absolute`},
		{[]string{"../x"}, `files[0].path: "../x": the name holds ".."`},
		{[]string{"a/../../x"}, `files[0].path: "a/../../x": the name holds ".."`},
		{[]string{"a/.."}, `files[0].path: "a/..": the name holds ".."`},
		{[]string{"./a"}, `files[0].path: "./a": the name holds "."`},
		{[]string{"a//b"}, `files[0].path: "a//b": the name has an empty part`},
		{[]string{"a/"}, `files[0].path: "a/": the name has an empty part`},
		{[]string{`a\b`}, `files[0].path: "a\\b": the name holds a backslash`},
		{[]string{`..\x`}, `files[0].path: "..\\x": the name holds a backslash`},
		{[]string{"a\x00b"}, `files[0].path: "a\x00b": the name holds the invisible character U+0000`},
		{[]string{"a\nb"}, `files[0].path: "a\nb": the name holds the invisible character U+000A`},
		{[]string{"a\x1b[2J"}, `files[0].path: "a\x1b[2J": the name holds the invisible character U+001B`},
		{[]string{"a\u0085"}, `files[0].path: "a\u0085": the name holds the invisible character U+0085`},
		{[]string{"a\u202egnp.exe"}, `files[0].path: "a\u202egnp.exe": the name holds the invisible character U+202E`},
		{[]string{"a\u200bb"}, `files[0].path: "a\u200bb": the name holds the invisible character U+200B`},
		{[]string{"a\ufeff"}, `files[0].path: "a\ufeff": the name holds the invisible character U+FEFF`},
		{[]string{"e\u0301"}, "files[0].path: \"e\u0301\": the name holds U+0301, which has a second spelling; use composed characters (NFC)"},
		{[]string{"\u1112\u1161\u11ab"}, "files[0].path: \"\u1112\u1161\u11ab\": the name holds U+1112, which has a second spelling; use composed characters (NFC)"},
		{[]string{strings.Repeat("a", 256)}, `files[0].path: "` + strings.Repeat("a", 256) + `": a part of the name has more than 255 bytes`},
		{[]string{strings.Repeat("a/", 512) + "a"}, `files[0].path: "` + strings.Repeat("a/", 512) + `a": a name has at most 1024 bytes`},
		{[]string{strings.Repeat("a/", 65) + "a"}, `files[0].path: "` + strings.Repeat("a/", 65) + `a": the name goes deeper than 64 folders`},
		{[]string{"a", "a"}, `files[1].path: "a": the name is there twice`},
		{[]string{"b", "a"}, `files[1].path: "a": out of order; names are sorted by bytes`},
		{[]string{"README", "readme"}, `files[1].path: "readme": the name differs from "README" only in case`},
		{[]string{"A/x", "a/y"}, `files[1].path: "a/y": the name differs from "A" only in case`},
		{[]string{"K", "\u212a"}, "files[1].path: \"\u212a\": the name differs from \"K\" only in case"},
		{[]string{"\u00c5", "\u212b"}, "files[1].path: \"\u212b\": the name differs from \"\u00c5\" only in case"},
		{[]string{"\u03a3", "\u03c2"}, "files[1].path: \"\u03c2\": the name differs from \"\u03a3\" only in case"},
		{[]string{"a", "a/b"}, `files[1].path: "a/b": "a" is a file's name and a folder's`},
		{[]string{"a/b", "a/b/c/d"}, `files[1].path: "a/b/c/d": "a/b" is a file's name and a folder's`},
		{[]string{"manifest.json"}, `files[0].path: "manifest.json": the name is there twice`},
		{[]string{"MANIFEST.json"}, `files[0].path: "MANIFEST.json": the name differs from "manifest.json" only in case`},
	} {
		var parts []part
		for _, name := range test.names {
			parts = append(parts, part{name, ""})
		}
		_, err := Read(bytes.NewReader(zip(good(parts...))))
		wantError(t, fmt.Sprintf("%q", test.names), err, "manifest.json: "+test.want)
	}
	_, err := Read(bytes.NewReader(zip(good(part{"a\xff", ""}))))
	wantError(t, "not UTF-8", err, `manifest.json: files[0].path: the text holds U+FFFD or half a surrogate pair`)
	// A name in the tar that the manifest does not have, because none could.
	for name, want := range map[string]string{
		"../x":  `package: entry "../x": the name holds ".."`,
		"/x":    `package: entry "/x": the name is absolute`,
		"a\xff": `package: entry "a\xff": the name is not UTF-8`,
		"A":     `package: entry "A": the name differs from "a" only in case`,
	} {
		raw := rawTar(part{ManifestName, manifestFor(part{"a", ""})}, part{"a", ""}, part{name, ""})
		_, err := Read(bytes.NewReader(zip(raw)))
		wantError(t, name, err, want+"; "+packAgain)
	}
	p, err := Read(bytes.NewReader(zip(good(part{"Ärger/Größe", "x"}, part{"日本/語", ""}))))
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

func TestReadGzipRefusals(t *testing.T) {
	packed := zip(good(part{"a", "content"}))
	changed := func(i int) []byte {
		b := bytes.Clone(packed)
		b[i] ^= 0xff
		return b
	}
	for _, test := range []struct {
		name, want string
		data       []byte
	}{
		{"empty", "package: the archive is cut short; fetch it again", nil},
		{"one byte", "package: the archive is cut short; fetch it again", packed[:1]},
		{"plain tar", "package: not compressed with gzip; " + packAgain, good()},
		{"trailing byte", "package: something follows the end of the gzip stream; " + packAgain, append(bytes.Clone(packed), 0)},
		{"second member", "package: something follows the end of the gzip stream; " + packAgain, append(bytes.Clone(packed), zip(nil)...)},
		{"checksum", "package: the checksum of the gzip stream is wrong; fetch it again", changed(len(packed) - 8)},
		{"length", "package: the checksum of the gzip stream is wrong; fetch it again", changed(len(packed) - 1)},
		{"no trailer", "package: the archive is cut short; fetch it again", packed[:len(packed)-8]},
		{"damaged", "package: entry 1: the gzip stream is damaged; fetch it again", changed(10)},
	} {
		_, err := Read(bytes.NewReader(test.data))
		wantError(t, test.name, err, test.want)
	}
}

// TestReadEveryCut: no part of an archive is a package.
func TestReadEveryCut(t *testing.T) {
	packed := zip(good(part{"a", "content"}))
	for i := range packed {
		if _, err := Read(bytes.NewReader(packed[:i])); !errors.As(err, new(*PackageError)) {
			t.Errorf("%d of %d bytes: %v", i, len(packed), err)
		}
	}
	if p, err := Read(iotest.OneByteReader(bytes.NewReader(packed))); err != nil {
		t.Error(err)
	} else {
		p.Close()
	}
}

func TestReadFailingSource(t *testing.T) {
	packed := zip(good(part{"a", "content"}))
	failed := errors.New("connection lost")
	for i := range packed {
		_, err := Read(io.MultiReader(bytes.NewReader(packed[:i]), iotest.ErrReader(failed)))
		if !errors.Is(err, failed) || errors.As(err, new(*PackageError)) {
			t.Errorf("after %d bytes: %v", i, err)
		}
	}
}

// zeros gives n zero bytes.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	n := min(int64(len(p)), z.n)
	if n == 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	z.n -= n
	return int(n), nil
}

// TestReadBombs: what unpacks to more than the limits is given up in time.
func TestReadBombs(t *testing.T) {
	bomb := func(size, really int64) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		m := Manifest{Schema: ManifestSchema, ID: "PKG-A", Version: "0.1.0", Files: []File{{Path: "a", Size: size}}}
		encoded, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		z.Write(headers(ManifestName, int64(len(encoded))))
		z.Write(pad(string(encoded)))
		z.Write(headers("a", size))
		if _, err := io.Copy(z, &zeros{really}); err != nil {
			t.Fatal(err)
		}
		z.Close()
		return b.Bytes()
	}
	source := bytes.NewReader(bomb(64<<20, 64<<20))
	_, err := Read(source)
	wantError(t, "ratio", err, `package: entry "a": the archive unpacks to more than 200 times its size`)
	// No more was unpacked than the ratio allows for what was read ahead.
	if used := source.Size() - int64(source.Len()); used > 65<<10 {
		t.Errorf("%d of %d packed bytes were read", used, source.Size())
	}
	_, err = read(bytes.NewReader(bomb(900<<10, 900<<10)), bounds{unpacked: 512 << 10, memory: maxMemory})
	wantError(t, "unpacked", err, `package: entry "a": the archive unpacks to more than 512KiB`)
	_, err = Read(bytes.NewReader(bomb(maxUnpacked+1, 0)))
	wantError(t, "announced", err, `manifest.json: files: together more than 1GiB`)

	var many []part
	for i := range maxFiles + 1 {
		many = append(many, part{fmt.Sprintf("%05d", i), ""})
	}
	_, err = Read(bytes.NewReader(zip(good(many...))))
	wantError(t, "many files", err, `manifest.json: files: 20001 items, at most 20000 are allowed`)
	p, err := Read(bytes.NewReader(zip(good(many[1:]...))))
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

// TestReadSpills: content beyond the limit of memory lies in a file without a
// name and reads the same.
func TestReadSpills(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for _, limit := range []int64{0, 1, 100, 5000, 1 << 20} {
		p, err := read(bytes.NewReader(zip(good(part{"a", strings.Repeat("a", 5000)}, part{"b", "bb"}))), bounds{maxUnpacked, limit})
		if err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(tmp + "/*"); len(left) > 0 {
			t.Errorf("the file has the name %s", left)
		}
		if spilled := p.content.file != nil; spilled != (limit < 5002) {
			t.Errorf("limit %d: in a file is %v", limit, spilled)
		}
		for name, want := range map[string]string{"a": strings.Repeat("a", 5000), "b": "bb", ManifestName: manifestFor(part{"a", strings.Repeat("a", 5000)}, part{"b", "bb"})} {
			r, err := p.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != want {
				t.Errorf("limit %d: %s is %q, %v", limit, name, got, err)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Setenv("TMPDIR", filepath.Join(tmp, "missing"))
	if _, err := read(bytes.NewReader(zip(good(part{"a", "x"}))), bounds{maxUnpacked, 0}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a folder for temporary files: %v", err)
	}
}

// TestReadForeignTar: what other tools write by default is no package.
func TestReadForeignTar(t *testing.T) {
	for format, want := range map[tar.Format]string{
		tar.FormatUSTAR: `package: entry "manifest.json": its mode is not as packages have it: "0000600" instead of "0000644"`,
		tar.FormatGNU:   `package: entry "manifest.json": its mode is not as packages have it: "0000600" instead of "0000644"`,
		tar.FormatPAX:   `package: entry "manifest.json": its mode is not as packages have it: "0000600" instead of "0000644"`,
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		m := manifestFor()
		if err := w.WriteHeader(&tar.Header{Name: ManifestName, Size: int64(len(m)), Mode: 0o600, Format: format}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, m)
		w.Close()
		_, err := Read(bytes.NewReader(zip(b.Bytes())))
		wantError(t, format.String(), err, want+"; "+packAgain)
	}
}
