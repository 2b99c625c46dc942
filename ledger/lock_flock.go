//go:build linux || darwin

package ledger

import (
	"errors"
	"fmt"
	"syscall"
)

// openFlags keep an open from following a link and from waiting for the other
// end of a pipe.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// lock takes the one writer's lock of a ledger, flock(2), which the system
// drops when the process ends.
func lock(f file) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("%s: %w", f.Name(), ErrLocked)
		case err != nil:
			return fmt.Errorf("%s: flock: %w", f.Name(), err)
		}
		return nil
	}
}

// unlock drops the lock of a file that stays open.
func unlock(f file) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_UN); err != nil {
		return fmt.Errorf("%s: flock: %w", f.Name(), err)
	}
	return nil
}

// release drops the lock and closes the file. Closing alone would not do: a child of
// this process that was just started, and has not executed its program yet, holds a
// copy of every descriptor, and with it the lock.
func release(f file) error {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // what fails here closing does
	return f.Close()
}
