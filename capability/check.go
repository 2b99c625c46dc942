package capability

import (
	"slices"
	"strings"
)

// Check says whether op, Read or Write, is permitted on name, and by which
// grant of the manifest. The error is always a *Violation, for execute and
// unknown operations too. What Check permits it permits without allocating.
func (e *Enforcer) Check(op Op, name string) (Grant, error) {
	if fault := nameFault(name); fault != "" {
		return Grant{}, &Violation{Op: op, Subject: name, Rule: fault}
	}
	v := e.names.at(name, e.session)
	if v.forbidden != 0 {
		return Grant{}, &Violation{Op: op, Subject: name, Rule: e.names.rule(v.forbidden).rule, Forbidden: true}
	}
	if rule := reserved(op, name, e.session); rule != "" {
		return Grant{}, &Violation{Op: op, Subject: name, Rule: rule, Forbidden: op == Write}
	}
	if v.withheld != 0 {
		return Grant{}, &Violation{Op: op, Subject: name, Rule: e.names.rule(v.withheld).rule}
	}
	if e.closed() || op != Read && op != Write {
		return Grant{}, &Violation{Op: op, Subject: name, Rule: noGrant(op)}
	}
	if layer := v.refuses(op); layer != 0 {
		return Grant{}, &Violation{Op: op, Subject: name, Rule: noGrant(op) + e.layers[layer].by()}
	}
	if grant := v.granting(op, name); grant != 0 {
		return Grant{op, e.names.rule(grant).text}, nil
	}
	return Grant{}, &Violation{Op: op, Subject: name, Rule: noGrant(op), SmallestGrant: e.smallest(op, name)}
}

// Cost is what judging name takes at most, in steps: for each of its characters,
// one, and one for each place in the patterns that the name may have come to. It
// follows from the rights and the name alone: what it really takes depends on
// what was judged before, and is the length of the name where that was similar.
func (e *Enforcer) Cost(name string) int64 {
	if nameFault(name) != "" {
		return int64(len(name))
	}
	return e.names.cost(name, e.session)
}

// CheckExec says whether the command argv is permitted, and by which rule of
// the manifest. Operands that look like paths (with a slash or a dot, or left
// to the guest by a pattern) are refused if the name they mean is forbidden, or a
// part of them is that stands between =, : or commas. The error is always a
// *Violation.
func (e *Enforcer) CheckExec(argv []string) (Grant, error) {
	refuse := func(rule string, forbidden bool, smallest string) (Grant, error) {
		return Grant{}, &Violation{
			Op: Execute, Subject: Command(argv).String(), Argv: append([]string{}, argv...),
			Rule: rule, Forbidden: forbidden, SmallestGrant: smallest,
		}
	}
	if len(argv) == 0 || e.closed() || slices.ContainsFunc(argv, tooLong) {
		return refuse(noGrant(Execute), false, "")
	}
	for _, arg := range argv[1:] {
		if rule, ok := e.forbidsOperand(arg, false); ok {
			return refuse(rule, true, "")
		}
	}
	for _, l := range e.layers[1:] {
		if !l.rights.AllowExecute && l.command(argv) == nil {
			return refuse(noGrant(Execute)+l.by(), false, "")
		}
	}
	c := e.layers[0].command(argv)
	if c == nil {
		return refuse(noGrant(Execute), false, smallestCommand(argv))
	}
	for i, arg := range argv {
		if i > 0 && c.chosen(i) {
			if rule, ok := e.forbidsOperand(arg, true); ok {
				return refuse(rule, true, "")
			}
		}
	}
	return Grant{Execute, c.text}, nil
}

// CostExec is what judging the command argv takes at most, in the steps of Cost:
// its words are matched with the rules, and the names that they may mean with the
// forbidden patterns.
func (e *Enforcer) CostExec(argv []string) int64 {
	var cost int64
	for i, arg := range argv {
		cost += int64(len(arg)) + 1
		if tooLong(arg) {
			continue
		}
		for _, l := range e.layers {
			for k := range l.execute {
				cost += l.execute[k].cost(i, arg)
			}
		}
		if i > 0 && e.HasForbidden() {
			cost += int64(len(arg)) * int64(dividers(arg))
			eachOperandName(arg, true, func(name string) bool {
				cost += 2 * e.Cost(name)
				return true
			})
		}
	}
	return cost
}

// Reaches says whether folder ("." is the top) is visible for op: it is not
// forbidden, and it, or some name beneath it, could be granted. It is true of
// every folder above a name that Check permits, if not forbidden itself. It may
// be true of a folder with nothing to be granted in it: where layers, forbidden
// and withheld patterns, or reserved names together leave nothing.
func (e *Enforcer) Reaches(op Op, folder string) bool {
	if e.closed() || op != Read && op != Write {
		return false
	}
	if folder != "." {
		if nameFault(folder) != "" {
			return false
		}
	}
	here, beneath := e.names.around(folder, e.session)
	if here.forbidden != 0 {
		return false
	}
	if folder == "output" { // of which only the session's own is granted
		folder = "output/" + e.session
		here, beneath = e.names.around(folder, e.session)
	}
	if folder != "." && reserved(op, folder, e.session) != "" {
		return false
	}
	self := folder != "." && here.withheld == 0 && here.refuses(op) == 0 && here.granting(op, folder) != 0
	return self || beneath.reaches(op, folder)
}

// Forbids says whether a forbidden pattern of any layer matches name, and which,
// as in "forbidden docs/private/**". Grants do not matter, nor the operation.
func (e *Enforcer) Forbids(name string) (rule string, ok bool) {
	if nameFault(name) != "" {
		return "", false
	}
	return e.forbids(name)
}

func (e *Enforcer) forbids(name string) (rule string, ok bool) {
	if v := e.names.at(name, e.session); v.forbidden != 0 {
		return e.names.rule(v.forbidden).rule, true
	}
	return "", false
}

// HasForbidden says whether any layer has a forbidden pattern.
func (e *Enforcer) HasForbidden() bool {
	for _, l := range e.layers {
		if len(l.forbidden) > 0 {
			return true
		}
	}
	return false
}

// ForbidsBeneath says whether a forbidden pattern of any layer matches folder, or
// some name beneath it. Grants do not matter, nor what is withheld or reserved. It
// is true of what is no canonical name.
func (e *Enforcer) ForbidsBeneath(folder string) bool {
	if folder != "." && nameFault(folder) != "" {
		return true
	}
	here, beneath := e.names.around(folder, e.session)
	return here.forbidden != 0 || beneath.forbidsMore
}

// GrantsBeneath says whether op, Read or Write, is granted on all names beneath
// folder that are neither forbidden nor withheld: none is reserved, and each layer
// has a pattern such as folder/**. It may be false where only several patterns
// together grant them all. It is false of what is no canonical name.
func (e *Enforcer) GrantsBeneath(op Op, folder string) bool {
	if e.closed() || folder != "." && nameFault(folder) != "" || reservedBeneath(op, folder, e.session) {
		return false
	}
	_, beneath := e.names.around(folder, e.session)
	return op == Read && beneath.readsAll || op == Write && beneath.writesAll
}

// Wants returns the first grant of the manifest that reaches folder, or a name
// beneath it, by its pattern alone, reserved or not. It is for warnings: the
// guest's own /tmp and /out stand in front of the workspace's, so that a grant
// that wants "tmp" or "out" gives less there than it seems to.
func (e *Enforcer) Wants(folder string) (Grant, bool) {
	if e.closed() || folder != "." && nameFault(folder) != "" {
		return Grant{}, false
	}
	here, beneath := e.names.around(folder, e.session)
	for _, grant := range [2]Grant{
		{Read, e.names.first(here.read, beneath.moreRead)},
		{Write, e.names.first(here.write, beneath.moreWrite)},
	} {
		if grant.Pattern != "" {
			return grant, true
		}
	}
	return Grant{}, false
}

// by says in rules who did not grant it.
func (l *layer) by() string {
	if l.rights.By == "" {
		return " by the operator"
	}
	return " by " + l.rights.By
}

func noGrant(op Op) string {
	switch op { // so that the usual ones need no memory
	case Read:
		return "no grant of read"
	case Write:
		return "no grant of write"
	}
	return "no grant of " + string(op)
}

// closed says that nothing is permitted, whatever the layers grant.
func (e *Enforcer) closed() bool { return e.void || len(e.layers) == 0 }

// smallest is the grant that would permit op on name, which is not reserved, if
// the manifest had it.
func (e *Enforcer) smallest(op Op, name string) string {
	text := quoteMeta(name)
	if own := "output/" + e.session; isOwnOutput(name, e.session) {
		text = "out" + quoteMeta(strings.TrimPrefix(name, own))
	} else if e.session == placeholder {
		text = strings.ReplaceAll(text, `\`+placeholder, placeholder)
	}
	if len(text) > maxPattern {
		return ""
	}
	if isPlain(text) {
		return string(op) + `: ["` + text + `"]`
	}
	return string(op) + ": " + encode([]string{text})
}

// isPlain says that text in JSON is text between quotes.
func isPlain(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func smallestCommand(argv []string) string {
	c := quoteCommand(argv)
	if _, f := newCommand(c); f != nil {
		return "" // such as a program with a path
	}
	return string(Execute) + ": " + encode([]Command{c})
}

func (e *Enforcer) forbidsOperand(arg string, every bool) (rule string, ok bool) {
	if !e.HasForbidden() {
		return "", false
	}
	eachOperandName(arg, every, func(name string) bool {
		rule, ok = e.forbids(name)
		return !ok
	})
	return rule, ok
}

// command returns the first rule that permits argv.
func (l *layer) command(argv []string) *command {
	for i := range l.execute {
		if l.execute[i].match(argv) {
			return &l.execute[i]
		}
	}
	return nil
}
