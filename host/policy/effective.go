package policy

import (
	"errors"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
)

// Narrow is what one run takes away from what manifest and policy allow. The
// zero value takes nothing, and accepts nothing.
type Narrow struct {
	Forbid   []string        // patterns nothing may touch (--forbid)
	Without  []capability.Op // operations that are not granted at all (--without)
	Accepted bool            // this very package was accepted for what leaves the root

	// WorkOrder is the work order the run belongs to, which grants at most what
	// it says; nil: there is none. Whether it is for the package, and still good,
	// is [WorkOrder.Check].
	WorkOrder *WorkOrder
}

// ErrNotAccepted is why a package that asks to execute commands gets no rights:
// nobody accepted its digest, and the run does not do without.
var ErrNotAccepted = errors.New("the package asks to execute commands and was not accepted")

// Scope is what a session is, and so cannot be granted.
type Scope struct {
	Session string   // its id; empty while there is none
	Never   []string // patterns of names no session sees here, as control/** where the root is the workspace
}

// Effective makes the rights of a turn: what the manifest asks, within what the
// policy grants, without what the run takes away and what is out of the session's
// scope. Nothing can be had that one of them does not allow.
//
// Granted are the grants in force, in the manifest's spelling; withheld says
// what was taken away: a pattern that is hidden, "execute" and a command,
// "read" or "write" alone or with "but" and what is left of it. Both are recorded
// as the scope of the turn. What a work order takes away is told with its name.
//
// The error is [ErrNotAccepted], an [*Error] about a pattern of policy, narrow or
// scope, or a [*capability.GrantError] about the manifest.
func Effective(m archive.Manifest, p *Policy, narrow Narrow, s Scope) (enforcer *capability.Enforcer, granted capability.Grants, withheld []string, err error) {
	if !narrow.Accepted && AsksAcceptance(m, p, narrow) {
		return nil, capability.Grants{}, nil, ErrNotAccepted
	}
	if enforcer, err = capability.New(m.Capabilities); err != nil {
		return nil, capability.Grants{}, nil, err
	}
	for _, l := range layers(p, narrow, s) {
		if enforcer, err = enforcer.Attenuate(l.rights); err != nil {
			return nil, capability.Grants{}, nil, grantError(l.source, l.prefix, err)
		}
	}
	if s.Session != "" {
		enforcer = enforcer.Bind(s.Session)
	}
	granted, withheld = outline(m.Capabilities, p, narrow, s)
	return enforcer, granted, withheld, nil
}

// layer is one narrowing, and who is to blame for a mistake in it.
type layer struct {
	rights         capability.Rights
	source, prefix string
}

// flagForbid is the source of patterns that a run forbids.
const flagForbid = "--forbid"

func layers(p *Policy, narrow Narrow, s Scope) []layer {
	var list []layer
	if p.Capabilities != nil {
		list = append(list, layer{capability.Rights{Grants: *p.Capabilities}, p.Source, "capabilities."})
	}
	if w := narrow.WorkOrder; w != nil && w.Capabilities != nil {
		list = append(list, layer{capability.Rights{Grants: *w.Capabilities, By: w.by()}, w.Source, "capabilities."})
	}
	withhold := capability.AsAsked()
	withhold.Withhold = p.Withhold
	list = append(list, layer{withhold, p.Source, ""})
	if len(narrow.Forbid) > 0 || len(narrow.Without) > 0 {
		run := capability.AsAsked()
		run.Forbidden = narrow.Forbid
		for _, op := range narrow.Without {
			switch op {
			case capability.Read:
				run.Read = nil
			case capability.Write:
				run.Write = nil
			case capability.Execute:
				run.AllowExecute = false
			}
		}
		list = append(list, layer{run, flagForbid, ""})
	}
	if len(s.Never) > 0 {
		never := capability.AsAsked()
		never.Withhold = s.Never
		list = append(list, layer{never, "scope", ""})
	}
	return list
}

// AsksAcceptance reports whether a turn of the package needs its digest accepted:
// it asks for something that leaves the root, and neither the policy nor the run
// with its work order takes that away.
func AsksAcceptance(m archive.Manifest, p *Policy, narrow Narrow) bool {
	for _, most := range mosts(p, narrow) {
		if len(most.grants.Execute) == 0 {
			return false
		}
	}
	return len(m.Capabilities.Execute) > 0 && !slices.Contains(narrow.Without, capability.Execute)
}

// most is the most that somebody grants.
type most struct {
	grants capability.Grants
	by     string // as " by work order WO-7"; empty: the operator
}

func mosts(p *Policy, narrow Narrow) []most {
	var list []most
	if p.Capabilities != nil {
		list = append(list, most{*p.Capabilities, ""})
	}
	if w := narrow.WorkOrder; w != nil && w.Capabilities != nil {
		list = append(list, most{*w.Capabilities, " by " + w.by()})
	}
	return list
}

// outline says what of the manifest's grants is in force, and what is not.
func outline(asked capability.Grants, p *Policy, narrow Narrow, s Scope) (granted capability.Grants, withheld []string) {
	granted = capability.Grants{
		Read:      asked.Read,
		Write:     asked.Write,
		Execute:   asked.Execute,
		Forbidden: slices.Concat(asked.Forbidden, narrow.Forbid),
	}
	by := mosts(p, narrow)
	for _, m := range by {
		granted.Read = within(granted.Read, capability.Read, m.grants.Read, m.by, &withheld)
		granted.Write = within(granted.Write, capability.Write, m.grants.Write, m.by, &withheld)
		granted.Execute = slices.DeleteFunc(slices.Clone(granted.Execute), func(cmd capability.Command) bool {
			return !allows(m.grants.Execute, cmd)
		})
		granted.Forbidden = slices.Concat(granted.Forbidden, m.grants.Forbidden)
	}
	for _, op := range narrow.Without {
		switch op {
		case capability.Read:
			granted.Read = within(granted.Read, op, nil, "", &withheld)
		case capability.Write:
			granted.Write = within(granted.Write, op, nil, "", &withheld)
		case capability.Execute:
			granted.Execute = nil
		}
	}
	for _, cmd := range asked.Execute {
		if !allows(granted.Execute, cmd) {
			withheld = append(withheld, string(capability.Execute)+" "+cmd.String()+takenBy(by, cmd))
		}
	}
	return granted, slices.Concat(withheld, p.Withhold, s.Never)
}

// takenBy is who does not grant a command, as most.by has it.
func takenBy(list []most, cmd capability.Command) string {
	for _, m := range list {
		if !allows(m.grants.Execute, cmd) {
			return m.by
		}
	}
	return ""
}

// within notes how one kind of grant is narrowed to what is allowed. Two sets of
// patterns have no third one that is their intersection; so what is asked stays,
// and what narrows it is said beside it.
func within(asked []string, op capability.Op, allowed []string, by string, withheld *[]string) []string {
	switch {
	case len(asked) == 0 || slices.Contains(allowed, "**"):
		return asked
	case len(allowed) == 0:
		*withheld = append(*withheld, string(op)+by)
		return nil
	}
	*withheld = append(*withheld, string(op)+" but "+strings.Join(allowed, " ")+by)
	return asked
}

// allows reports whether one of the rules is cmd, or permits it as it stands.
func allows(rules []capability.Command, cmd capability.Command) bool {
	if slices.ContainsFunc(rules, func(c capability.Command) bool { return slices.Equal(c, cmd) }) {
		return true
	}
	e, err := capability.New(capability.Grants{Execute: rules})
	if err == nil {
		_, err = e.CheckExec(cmd)
	}
	return err == nil
}
