package record

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// commands is what a turn's entries tell of the commands it ran.
type commands struct {
	output  string // of the session, with a slash: what a command can write besides tmp/
	granted bool   // an op granted one that was not started yet
	running uint64 // seq of exec.start, as long as there is no exec.end; 0: none
	ended   uint64 // seq of the last exec.end; 0: there is none

	// doubts are reads, by path, that may be of what the turn staged: a command
	// has ended since that was known of the name. Those of a path are in order.
	doubts map[string][]doubt
}

type doubt struct {
	at  int // in reads
	seq uint64
}

// commandWrites reports whether a name is one that a command can write.
func (c *commands) commandWrites(name string) bool {
	rest, ok := strings.CutPrefix(name, "tmp/")
	if !ok {
		rest, ok = strings.CutPrefix(name, c.output)
	}
	return ok && rest != ""
}

func (t *turn) start(s *ExecStart) error {
	switch {
	case t.running != 0:
		return fmt.Errorf("a command is started while that of seq %d runs", t.running)
	case !t.granted:
		return errors.New("a command is started that no op in front granted")
	case !slices.Contains(tiers, s.Fence.Tier):
		return fmt.Errorf("a command is started in the fence %q: want one of %s", s.Fence.Tier, strings.Join(tiers, ", "))
	}
	t.granted, t.running = false, t.out.To
	t.out.ExternalCalls = append(t.out.ExternalCalls, ExternalCall{t.out.To})
	t.out.Fence = WeakerFence(t.out.Fence, s.Fence.Tier)
	return nil
}

func (t *turn) end(e *ExecEnd) error {
	switch {
	case t.running == 0:
		return fmt.Errorf("the command of seq %d ends, and none runs", e.Of)
	case e.Of != t.running:
		return fmt.Errorf("the command of seq %d ends, and that of seq %d runs", e.Of, t.running)
	}
	t.running = 0
	if e.Fence != nil {
		if !slices.Contains(tiers, e.Fence.Tier) {
			return fmt.Errorf("a command ran in the fence %q: want one of %s", e.Fence.Tier, strings.Join(tiers, ", "))
		}
		t.out.Fence = WeakerFence(t.out.Fence, e.Fence.Tier)
	}
	// Also of one that never ran: the file that was to get its output is there.
	t.ended = t.out.To
	t.name("", byCommand)
	return nil
}

// owns reports whether what lies under a name is known to be staged. Behind a
// command it is not where that could have removed it.
func (t *turn) owns(name string) bool {
	f, ok := t.staged[name]
	return ok && (f.since > t.ended || !t.commandWrites(name))
}

// doubt keeps in mind that the read that is added next may be of what the turn
// staged.
func (t *turn) doubt(name string) {
	if t.ended == 0 || !t.commandWrites(name) {
		return
	}
	if t.doubts == nil {
		t.doubts = map[string][]doubt{}
	}
	t.doubts[name] = append(t.doubts[name], doubt{len(t.reads), t.out.To})
}

// wasStaged says that a name held a staged file until the entry that was added
// last. It did since the last command ended, or since it was staged later.
func (t *turn) wasStaged(name string) { t.wasOwn(name, max(t.ended, t.staged[name].since)) }

// wasOwn says that a name has held what the turn staged since after that entry.
func (t *turn) wasOwn(name string, after uint64) {
	list := t.doubts[name]
	if len(list) == 0 {
		return
	}
	for n := len(list); n > 0 && list[n-1].seq > after; n-- {
		t.reads[list[n-1].at].own = true
		list = list[:n-1]
	}
	t.doubts[name] = list
}
