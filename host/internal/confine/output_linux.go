package confine

import (
	"io"
	"sync"
)

// output is where stdout and stderr of a command meet.
type output struct {
	mu      sync.Mutex
	written int64
	limit   int64
	full    func()
}

// A sink is one of the two.
type sink struct {
	*output
	to io.Writer
}

// Write passes on what is within the limit, and swallows the rest: the command is
// stopped, and what it wrote is not a fault of the reader.
func (w *sink) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	keep := min(int64(len(p)), w.limit-w.written)
	w.written += keep
	if keep < int64(len(p)) {
		w.full()
	}
	if keep == 0 {
		return len(p), nil
	}
	if _, err := w.to.Write(p[:keep]); err != nil {
		return 0, err
	}
	return len(p), nil
}
