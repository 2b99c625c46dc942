//go:build !unix

package cache

import (
	"errors"
	"io/fs"
)

// openFlags and errLink: there is no such flag where no agents run.
const openFlags = 0

var errLink = errors.New("a link")

// ownedByUser is only asked where agents run.
func ownedByUser(fs.FileInfo) bool { return true }
