//go:build unix

package host

import (
	"os"
	"syscall"

	"github.com/tetratelabs/wazero/experimental"
)

// A memory is the linear memory of one instance: one mapping of the most it may
// grow to. Pages that were never touched cost nothing, and the garbage collector
// does not count them.
type memory struct {
	limit   uint64 // bytes
	mapped  []byte
	peak    uint64
	refused bool // a guest asked for more than it may have
}

// Allocate implements [experimental.MemoryAllocator]. The caller has checked
// that the module's minimum is within the limit. Where memory cannot be had it
// panics: wazero has no other way to be told.
func (m *memory) Allocate(_, most uint64) experimental.LinearMemory {
	size := min(m.limit, most)
	if size == 0 {
		return m
	}
	mapped, err := syscall.Mmap(-1, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		panic(os.NewSyscallError("mmap", err))
	}
	m.mapped = mapped
	return m
}

// Reallocate implements [experimental.LinearMemory].
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.mapped)) {
		m.refused = true
		return nil
	}
	m.peak = max(m.peak, size)
	return m.mapped[:size:size]
}

// Free implements [experimental.LinearMemory].
func (m *memory) Free() {
	if m.mapped != nil {
		syscall.Munmap(m.mapped)
		m.mapped = nil
	}
}
