//go:build !unix

package host

import "github.com/tetratelabs/wazero/experimental"

// A memory would be the linear memory of one instance. [NewRunner] refuses
// where this file is built, so no instance is ever made.
type memory struct {
	limit   uint64
	peak    uint64
	refused bool
}

// Allocate implements [experimental.MemoryAllocator].
func (m *memory) Allocate(_, _ uint64) experimental.LinearMemory { return m }

// Reallocate implements [experimental.LinearMemory].
func (m *memory) Reallocate(uint64) []byte {
	m.refused = true
	return nil
}

// Free implements [experimental.LinearMemory].
func (m *memory) Free() {}
