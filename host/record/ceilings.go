package record

// Names of the host's own ceilings: like the limits a manifest can lower, they
// end the turn with CodeLimit.
const (
	LimitOpenFiles = "open_files" // descriptors open at once
	LimitListing   = "listing"    // names in one folder
	LimitScratch   = "scratch"    // bytes or files in /tmp
	LimitStderr    = "stderr"     // bytes the guest wrote there
)

// Refused is the decision on what version 1 does not have, such as links: it is
// answered with an errno, and the turn goes on.
const Refused = "refused"

// OpCall is the call of an imported function that the host does not have.
const OpCall = "call"
