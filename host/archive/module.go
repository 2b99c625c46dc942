package archive

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/agenthost/agenthost/ledger"
)

// FromModule makes a package of a single WebAssembly module. It may read and run
// nothing; what it writes to /out is published. Its id is PKG-LOCAL- and the
// file's name without its ending, in capitals, its version 0.0.0.
func FromModule(path string) (*Package, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return fromModule(f, nil)
}

// fromModule is FromModule of a file that is open; cached may be nil.
func fromModule(f *os.File, cached *Cache) (*Package, error) {
	wasm, err := io.ReadAll(io.LimitReader(f, maxUnpacked+1))
	if err != nil {
		return nil, err
	}
	base := filepath.Base(f.Name())
	name := strings.TrimSuffix(base, filepath.Ext(base))
	k := newKey("module", localID(name))
	if cached != nil {
		k.Write(wasm)
		if p := cached.find(k.String()); p != nil {
			return p, nil
		}
	}
	p, err := fromWasm(name, wasm)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base, err)
	}
	if cached != nil {
		cached.keep(k.String(), p)
	}
	return p, nil
}

func fromWasm(name string, wasm []byte) (*Package, error) {
	const module = "agent.wasm"
	m := Manifest{
		Schema:  ManifestSchema,
		ID:      localID(name),
		Version: "0.0.0",
		Entry:   &Entry{Module: module},
		Outputs: []Output{{Path: "out/**", Role: "output", Optional: true}},
		Files:   []File{{Path: module, SHA256: ledger.Sum(wasm), Size: int64(len(wasm))}},
	}
	encoded, err := m.Encode()
	if err != nil {
		return nil, err
	}
	var tar bytes.Buffer
	for _, e := range []struct {
		name string
		data []byte
	}{{ManifestName, encoded}, {module, wasm}} {
		if err := writeEntry(&tar, e.name, e.data); err != nil {
			return nil, err
		}
	}
	if err := writeEnd(&tar); err != nil {
		return nil, err
	}
	return readTar(&tar, defaultBounds())
}

// localID makes an id of a file's name.
func localID(name string) string {
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'A' && r <= 'Z':
			return r
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		}
		return '-'
	}, name)
	id = strings.Trim(id, "-")
	if id == "" {
		id = "MODULE"
	}
	return "PKG-LOCAL-" + id[:min(len(id), 90)]
}
