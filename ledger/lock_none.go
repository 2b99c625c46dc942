//go:build !linux && !darwin

package ledger

import (
	"errors"
	"fmt"
	"runtime"
)

const openFlags = 0

// lock refuses: without a lock that dies with its process two writers could
// fork a ledger. Reading and verifying need none.
func lock(f file) error {
	return fmt.Errorf("%s: writing a ledger on %s: %w", f.Name(), runtime.GOOS, errors.ErrUnsupported)
}

func unlock(file) error { return nil }

func release(f file) error { return f.Close() }
