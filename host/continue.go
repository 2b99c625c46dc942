package host

import (
	"fmt"
	"runtime"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
)

// Continues returns a *[RequestError] unless a turn of pkg on this host can
// follow in the session id, whose first entry is open: the package must be the
// same to the bit, and what executes it too, for the entry speaks for all turns.
// [Prepared.Run] asks the same; who wants to know before anything is prepared
// asks here.
func Continues(id string, open record.SessionOpen, pkg *archive.Package) error {
	const hint = "run that package in it, or open a new session: leave --session out, and say --open to continue that one later"
	m := pkg.Manifest
	switch was := open.Package; {
	case was.ID != m.ID:
		return &RequestError{fmt.Sprintf("session %s runs %s, not %s", id, was.ID, m.ID), hint}
	case was.Version != m.Version:
		return &RequestError{fmt.Sprintf("session %s runs %s %s, not %s", id, was.ID, was.Version, m.Version), hint}
	case was.SHA256 != pkg.Digest:
		return &RequestError{
			fmt.Sprintf("session %s runs another %s %s: it was opened with %v, and this is %v", id, was.ID, was.Version, was.SHA256, pkg.Digest),
			hint,
		}
	case open.Engine != Engine || open.Arch != runtime.GOARCH:
		return &RequestError{
			fmt.Sprintf("session %s runs on %s on %s, and this is %s on %s", id, open.Engine, open.Arch, Engine, runtime.GOARCH),
			"continue it where it was opened, or open a new session",
		}
	}
	return nil
}
