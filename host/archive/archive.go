// Package archive is the package: a folder with a manifest, packed into one file
// that always comes out the same, and read back without trusting a byte of it.
//
// It knows what a package says, not what is installed and not what is permitted:
// nothing here looks at a workspace, a policy or a control plane. Nothing is
// unpacked: the content of a package that was read stays in memory, or in one
// temporary file that has no name.
package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Limits of a package, held both when packing and when reading.
const (
	maxUnpacked = 1 << 30  // bytes of the whole tar
	maxFiles    = 20_000   // besides the manifest
	maxRatio    = 200      // unpacked to packed, once freeRatio bytes are exceeded
	freeRatio   = 1 << 20  // bytes
	maxManifest = 8 << 20  // bytes: room for 20,000 files and their digests
	maxMemory   = 64 << 20 // bytes of content kept in memory; more go to a file
)

// PackageError says why something is not a package, or not one that can run.
type PackageError struct {
	Where string // as: entry "docs/a.md"; empty for the whole
	What  string // what is wrong
	Hint  string // the way out; may be empty
}

// Error is one line.
func (e *PackageError) Error() string {
	line := "package: "
	if e.Where != "" {
		line += e.Where + ": "
	}
	line += e.What
	if e.Hint != "" {
		line += "; " + e.Hint
	}
	return line
}

// OpenPath opens whatever runs: a packed package, a folder with a manifest, or a
// single WebAssembly module. Content decides, never the name's ending. What is
// none of these is a *PackageError that says what it is instead.
func OpenPath(path string) (*Package, error) { return openPath(path, nil) }

// openPath is OpenPath; cached may be nil.
func openPath(path string, cached *Cache) (*Package, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return fromFolder(path, cached)
	}
	if !info.Mode().IsRegular() {
		return nil, &PackageError{What: path + " is neither a file nor a folder", Hint: "name a package, its folder, or a WebAssembly module"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	start := make([]byte, blockSize)
	n, err := io.ReadFull(f, start)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, err
	}
	start = start[:n]
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(start, []byte("\x1f\x8b")):
		return readFile(f, cached)
	case bytes.HasPrefix(start, []byte("\x00asm")):
		return fromModule(f, cached)
	}
	what, hint := recognize(start)
	return nil, &PackageError{What: filepath.Base(path) + " is " + what, Hint: hint}
}

// recognize says what the beginning of a file looks like, and the way from there
// to a package.
func recognize(start []byte) (what, hint string) {
	const pack = "put what belongs to the agent in a folder with a manifest.json, then `agenthost package pack`"
	begins := func(s string) bool { return bytes.HasPrefix(start, []byte(s)) }
	switch {
	case len(start) == 0:
		return "an empty file", pack
	case len(start) >= 262 && string(start[257:262]) == "ustar":
		return "a tar that is not compressed", "unpack it and pack the folder with `agenthost package pack`"
	case begins("PK\x03\x04"):
		return "a zip file", "unpack it; " + pack
	case begins("\x28\xb5\x2f\xfd"), begins("\xfd7zXZ\x00"), begins("BZh"):
		return "compressed, but not with gzip", "unpack it; " + pack
	case begins("\x7fELF"), begins("MZ"), begins("\xcf\xfa\xed\xfe"):
		return "a program for this kind of machine, which agenthost does not run", "build it for WebAssembly: GOOS=wasip1 GOARCH=wasm, or --target wasm32-wasip1"
	case begins("(module"), begins("(component"):
		return "WebAssembly as text", "assemble it first, as with wat2wasm"
	case begins("#!"):
		return "a script", "an agent is a WebAssembly program; " + pack
	case begins("{"):
		return "JSON, perhaps a manifest", "give its folder instead"
	}
	return "not a package", pack
}

// errClosed is what a package answers once it is closed.
var errClosed = errors.New("the package is closed")

// notFound names a file that a package does not have.
func notFound(what string, name string) error {
	return fmt.Errorf("package: no %s %q: %w", what, name, os.ErrNotExist)
}
