package meter

import (
	"errors"
	"fmt"
)

// ErrNotWasm says that the bytes are no WebAssembly binary at all: they do not begin with "\0asm".
var ErrNotWasm = errors.New("not a WebAssembly binary")

// ErrComponent says that the bytes are a WebAssembly component (as WASI preview 2 uses them), not a core module.
var ErrComponent = errors.New("a WebAssembly component, not a core module")

// A MalformedError is a binary that breaks the format: truncated, a number out of its range, an index that names
// nothing. Inspect and Inject find what they read on their way; only a full validator finds everything.
type MalformedError struct {
	Offset int    // of the byte at or before which it went wrong
	Reason string // lower case, no position
}

func (e *MalformedError) Error() string {
	return fmt.Sprintf("malformed at offset %d: %s", e.Offset, e.Reason)
}

// An UnsupportedError is a module that uses a part of WebAssembly, or a size, that is not metered.
type UnsupportedError struct {
	Offset  int
	Feature string // what it uses, by its name: "threads (memory.atomic.wait32)"
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("not supported at offset %d: %s", e.Offset, e.Feature)
}
