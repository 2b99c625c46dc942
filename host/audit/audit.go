// Package audit is the read side of a root: it explains what its records say of a
// package, a session, a work order, a path or a digest, and checks them. It
// changes nothing in the root, waits for no lock, and believes no line of a ledger
// that it has not verified.
//
// # Index
//
// What sessions read and wrote is looked up in an index, so that a question need
// not read every ledger. It is a cache in a folder of the user's: an answer is the
// same without it, and whatever is wrong with it. A ledger is read again, and
// verified, when stat(2) says anything else of it than when it was read: size,
// mtime, inode, or ctime, which who changes a file cannot set back.
package audit

import (
	"time"

	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/session"
)

// An Audit answers questions about one root, as it is on disk when it is asked.
// It is safe for concurrent use.
type Audit struct {
	root  *session.Root
	plane *plane.Plane // nil in a root that is no control plane
	cache string       // the folder for the index of sessions; "": there is none
	now   func() time.Time
}

// New audits a root, which must stay open as long as the Audit is used. The plane
// is that of the root, nil if it is no control plane. In the folder cache, the
// user's own, lies an index of what sessions did: it is made and mended as it is
// needed, and no answer depends on it. With "" every question reads every ledger.
func New(root *session.Root, p *plane.Plane, cache string) *Audit {
	return &Audit{root, p, cache, time.Now}
}
