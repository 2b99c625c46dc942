package archive

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/ledger"
)

func FuzzRead(f *testing.F) {
	ok := good(part{"a", "content"}, part{strings.Repeat("x", 120), ""})
	f.Add(ok, false)
	f.Add(zip(ok), true)
	f.Add(rawTar(), false)
	f.Fuzz(func(t *testing.T, data []byte, packed bool) {
		limits := bounds{unpacked: 1 << 20, memory: 1 << 10}
		var p *Package
		var err error
		if packed {
			p, err = read(bytes.NewReader(data), limits)
		} else {
			p, err = readTar(bytes.NewReader(data), limits)
		}
		if err != nil {
			if !errors.As(err, new(*PackageError)) && !errors.As(err, new(*ManifestError)) {
				t.Fatalf("the error is a %T: %v", err, err)
			}
			return
		}
		defer p.Close()
		if packed {
			return
		}
		// There is one tar for one content: the bytes that were read.
		var again bytes.Buffer
		for _, name := range append([]string{ManifestName}, names(p.Manifest.Files)...) {
			r, err := p.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := writeEntry(&again, name, content); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeEnd(&again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), data) || p.Digest != ledger.Sum(data) || p.Size != int64(len(data)) {
			t.Fatal("another tar has the same content")
		}
	})
}

func names(files []File) []string {
	var list []string
	for _, f := range files {
		list = append(list, f.Path)
	}
	return list
}

// TestTarEveryFlip: of each byte of a tar there is one reading at most, and one
// tar that has it, even with the header's checksum made right again.
func TestTarEveryFlip(t *testing.T) {
	whole := rawTar(part{"a", "content"}, part{strings.Repeat("y", 101), "ß"}, part{"z", ""})
	if again, err := readAndWrite(whole); err != nil || !bytes.Equal(again, whole) {
		t.Fatalf("unchanged: %v", err)
	}
	content := 0
	for i := range whole {
		for _, flip := range []byte{0x01, 0x02, 0x10, 0x20, 0x80, 0xff, whole[i], whole[i] ^ ' '} {
			changed := bytes.Clone(whole)
			changed[i] ^= flip
			for _, data := range [][]byte{changed, alter(changed, i-i%blockSize, 0, "")} {
				again, err := readAndWrite(data)
				if err == nil && !bytes.Equal(again, data) {
					t.Errorf("byte %d became %#x and nobody noticed", i, data[i])
				}
				if err == nil && !bytes.Equal(data, whole) {
					content++
				}
			}
		}
	}
	if content == 0 {
		t.Error("not even other content was read")
	}
}

// readAndWrite reads a tar's entries and writes them again.
func readAndWrite(data []byte) ([]byte, error) {
	var parts []part
	r := &tarReader{r: bytes.NewReader(data)}
	for {
		name, _, err := r.next()
		if err == io.EOF {
			return rawTar(parts...), nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{name, string(content)})
	}
}
