package agent

import (
	"sync"
	"unsafe"
)

//go:wasmimport agenthost_v1 call
func hostCall(req *byte, reqLen uint32, out *byte, outCap uint32) int32

//go:wasmimport agenthost_v1 more
func hostMore(off uint32, out *byte, outCap uint32) int32

var (
	agenthost = host{
		call: func(request, out []byte) int32 {
			return hostCall(unsafe.SliceData(request), uint32(len(request)), unsafe.SliceData(out), uint32(len(out)))
		},
		more: func(off int, out []byte) int32 {
			return hostMore(uint32(off), unsafe.SliceData(out), uint32(len(out)))
		},
	}
	// An answer lives until the next call: one goroutine at a time.
	oneAtATime sync.Mutex
)

func send(message []byte) ([]byte, error) {
	oneAtATime.Lock()
	defer oneAtATime.Unlock()
	return agenthost.exchange(message)
}
