//go:build unix

package cache

import (
	"io/fs"
	"os"
	"syscall"
)

// openFlags keep an open from following a link, and from waiting at a FIFO.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// errLink is what an open that meets a link fails with.
const errLink = syscall.ELOOP

func ownedByUser(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
