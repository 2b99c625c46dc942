package host

import (
	"fmt"
	"time"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
)

// bounds are the limits of a turn, and those it asked for.
type bounds struct {
	limits, asked archive.Limits
	expires       string // the work order that expires at the limit of time; may be empty
}

// hint says how a limit is raised.
func (b bounds) hint(name string) string {
	has, asked, ok := b.of(name)
	switch {
	case !ok:
		return "nothing was published; this is a ceiling of the host: the agent must do with less"
	case name == record.LimitTime && b.expires != "":
		return fmt.Sprintf("nothing was published; work order %s expired, and no turn of it runs longer", b.expires)
	case has < asked:
		return fmt.Sprintf("nothing was published; the operator's policy or the host's ceiling holds limits.%s there, the package asks for more", name)
	}
	return fmt.Sprintf("nothing was published; raise limits.%s in the manifest", name)
}

// of returns a limit that a manifest can lower, and what was asked for it.
func (b bounds) of(name string) (has, asked int64, ok bool) {
	pick := func(l archive.Limits) int64 {
		switch name {
		case record.LimitMemory:
			return int64(l.Memory)
		case record.LimitTime:
			return int64(l.Time)
		case record.LimitFuel:
			return l.Fuel
		case record.LimitOutputBytes:
			return int64(l.OutputBytes)
		case record.LimitOutputFiles:
			return l.OutputFiles
		case record.LimitResultBytes:
			return int64(l.ResultBytes)
		case record.LimitEntries:
			return l.Entries
		case record.LimitCallDepth:
			return l.CallDepth
		}
		return 0
	}
	has, asked = pick(b.limits), pick(b.asked)
	return has, asked, has != 0
}

// limitInWords says what a turn did that a limit stopped. Most is in bytes,
// milliseconds, units of fuel, or a count.
func limitInWords(name string, most int64) string {
	size := archive.Size(most)
	switch name {
	case record.LimitTime:
		return fmt.Sprintf("the agent took longer than its limit of %s", archive.Duration(time.Duration(most)*time.Millisecond))
	case record.LimitMemory:
		return fmt.Sprintf("the agent failed when it was refused more memory than its limit of %s", size)
	case record.LimitFuel:
		return fmt.Sprintf("the agent used up its limit of %d units of fuel", most)
	case record.LimitOutputBytes:
		return fmt.Sprintf("the agent wrote more output than its limit of %s", size)
	case record.LimitOutputFiles:
		return fmt.Sprintf("the agent made more files than its limit of %d", most)
	case record.LimitResultBytes:
		return fmt.Sprintf("the agent's result is longer than its limit of %s", size)
	case record.LimitEntries:
		return fmt.Sprintf("the agent did more than its limit of %d entries in the ledger holds", most)
	case record.LimitCallDepth:
		return fmt.Sprintf("the agent nested calls deeper than its limit of %d", most)
	case record.LimitOpenFiles:
		return fmt.Sprintf("the agent held more than %d files open at once", most)
	case record.LimitListing:
		return "the agent listed a folder of more names than one turn may hold"
	case record.LimitScratch:
		return "the agent put more into /tmp than one turn may"
	case record.LimitEvidence:
		return fmt.Sprintf("the agent did so much with names so long that its evidence would have more than %s", size)
	case record.LimitMessages:
		return fmt.Sprintf("the agent held messages to the host of more than %s, unfinished or unread", size)
	case record.LimitStderr:
		return fmt.Sprintf("the agent wrote more than %s of messages", size)
	}
	return fmt.Sprintf("the agent reached the limit on %s (%d)", name, most)
}
