package capability

import "strings"

// Check says whether op, Read or Write, is permitted on name, and by which
// grant of the manifest. The error is always a *Violation, for execute and
// unknown operations too. What Check permits it permits without allocating.
func (e *Enforcer) Check(op Op, name string) (Grant, error) {
	if fault := nameFault(name); fault != "" {
		return Grant{}, &Violation{Op: op, Subject: name, Rule: fault}
	}
	if rule, ok := e.forbids(name); ok {
		return Grant{}, &Violation{Op: op, Subject: name, Rule: rule, Forbidden: true}
	}
	if rule := reserved(op, name, e.session); rule != "" {
		return Grant{}, &Violation{Op: op, Subject: name, Rule: rule, Forbidden: op == Write}
	}
	for _, l := range e.layers {
		if p := first(l.withheld, name); p != nil {
			return Grant{}, &Violation{Op: op, Subject: name, Rule: p.rule}
		}
	}
	if e.closed() || op != Read && op != Write {
		return Grant{}, &Violation{Op: op, Subject: name, Rule: noGrant(op)}
	}
	for _, l := range e.layers[1:] {
		if first(l.granting(op), name) == nil {
			return Grant{}, &Violation{Op: op, Subject: name, Rule: noGrant(op) + byOperator}
		}
	}
	if p := e.layers[0].grants(op, name); p != nil {
		return Grant{op, p.text}, nil
	}
	return Grant{}, &Violation{Op: op, Subject: name, Rule: noGrant(op), SmallestGrant: e.smallest(op, name)}
}

// CheckExec says whether the command argv is permitted, and by which rule of
// the manifest. Operands that look like paths (with a slash or a dot, or left
// to the guest by a pattern) are refused if the name they mean is forbidden. The
// error is always a *Violation.
func (e *Enforcer) CheckExec(argv []string) (Grant, error) {
	refuse := func(rule string, forbidden bool, smallest string) (Grant, error) {
		return Grant{}, &Violation{
			Op: Execute, Subject: Command(argv).String(), Argv: append([]string{}, argv...),
			Rule: rule, Forbidden: forbidden, SmallestGrant: smallest,
		}
	}
	if len(argv) == 0 || e.closed() {
		return refuse(noGrant(Execute), false, "")
	}
	for _, arg := range argv[1:] {
		if rule, ok := e.forbidsOperand(arg, false); ok {
			return refuse(rule, true, "")
		}
	}
	for _, l := range e.layers[1:] {
		if !l.rights.AllowExecute && l.command(argv) == nil {
			return refuse(noGrant(Execute)+byOperator, false, "")
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
		if _, ok := e.forbids(folder); ok {
			return false
		}
	}
	if folder == "output" { // of which only the session's own is granted
		folder = "output/" + e.session
	}
	if folder != "." && reserved(op, folder, e.session) != "" {
		return false
	}
	self, some := folder != ".", true
	for i, l := range e.layers {
		if covers(l.forbidden, folder) || covers(l.withheld, folder) {
			some = false
		}
		if self && (first(l.withheld, folder) != nil || !l.grantsAt(i, op, folder)) {
			self = false
		}
		if some && !l.reaches(i, op, folder) {
			some = false
		}
	}
	return self || some
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
	for _, l := range e.layers {
		if p := first(l.forbidden, name); p != nil {
			return p.rule, true
		}
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

// CanForbidBeneath says whether folder, or some name beneath it, could be
// forbidden, withheld or reserved. Where it is false, and the folder's names are
// all granted by a pattern such as folder/**, the folder may be given as a whole.
// It is true of what is no canonical name.
func (e *Enforcer) CanForbidBeneath(folder string) bool {
	if folder != "." && nameFault(folder) != "" || reservedBeneath(folder, e.session) {
		return true
	}
	for _, l := range e.layers {
		for _, list := range [2][]pattern{l.forbidden, l.withheld} {
			for i := range list {
				if some, _ := list[i].m.beneath(folder); some || folder != "." && list[i].m.match(folder) {
					return true
				}
			}
		}
	}
	return false
}

// Wants returns the first grant of the manifest that reaches folder, or a name
// beneath it, by its pattern alone, reserved or not. It is for warnings: the
// guest's own /tmp and /out stand in front of the workspace's, so that a grant
// that wants "tmp" or "out" gives less there than it seems to.
func (e *Enforcer) Wants(folder string) (Grant, bool) {
	if e.closed() || folder != "." && nameFault(folder) != "" {
		return Grant{}, false
	}
	for _, op := range []Op{Read, Write} {
		for _, p := range e.layers[0].granting(op) {
			if some, _ := p.m.beneath(folder); some || folder != "." && p.m.match(folder) {
				return Grant{op, p.text}, true
			}
		}
	}
	return Grant{}, false
}

const byOperator = " by the operator"

func noGrant(op Op) string { return "no grant of " + string(op) }

// closed says that nothing is permitted, whatever the layers grant.
func (e *Enforcer) closed() bool { return e.void || len(e.layers) == 0 }

// smallest is the grant that would permit op on name, if the manifest had it.
func (e *Enforcer) smallest(op Op, name string) string {
	text := quoteMeta(name)
	if own := "output/" + e.session; isOwnOutput(name, e.session) {
		text = "out" + quoteMeta(strings.TrimPrefix(name, own))
	} else if e.session == placeholder {
		text = strings.ReplaceAll(text, `\`+placeholder, placeholder)
	}
	if _, f := newPattern(op, "", text); f != nil {
		return "" // such as a name too long for a pattern
	}
	return string(op) + ": " + encode([]string{text})
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

func (l *layer) granting(op Op) []pattern {
	if op == Write {
		return l.write
	}
	return l.read
}

// grants returns the first pattern of the manifest's layer that permits op on
// name. What agenthost keeps of another session is read only by a pattern that
// spells out the session.
func (l *layer) grants(op Op, name string) *pattern {
	patterns := l.granting(op)
	if _, _, ok := sessionFolder(name); !ok || op != Read {
		return first(patterns, name)
	}
	for i := range patterns {
		for _, m := range patterns[i].sessions {
			if m.match(name) {
				return &patterns[i]
			}
		}
	}
	return nil
}

// grantsAt is grants for the layer with index i.
func (l *layer) grantsAt(i int, op Op, name string) bool {
	if i == 0 {
		return l.grants(op, name) != nil
	}
	return first(l.granting(op), name) != nil
}

// reaches says whether the layer with index i could grant a name beneath folder.
func (l *layer) reaches(i int, op Op, folder string) bool {
	_, _, inSession := sessionFolder(folder)
	for _, p := range l.granting(op) {
		if i > 0 || !inSession || op != Read {
			if some, _ := p.m.beneath(folder); some {
				return true
			}
			continue
		}
		for _, m := range p.sessions {
			if some, _ := m.beneath(folder); some {
				return true
			}
		}
	}
	return false
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

// first returns the first pattern that matches name.
func first(patterns []pattern, name string) *pattern {
	for i := range patterns {
		if patterns[i].m.match(name) {
			return &patterns[i]
		}
	}
	return nil
}

// covers says whether some pattern is known to match all names beneath folder.
func covers(patterns []pattern, folder string) bool {
	for i := range patterns {
		if _, all := patterns[i].m.beneath(folder); all {
			return true
		}
	}
	return false
}
