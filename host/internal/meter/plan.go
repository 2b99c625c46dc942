package meter

// planned is what planning knows of a label.
type planned struct {
	need     int64 // what a branch to its end must have paid: the cost from there to the next payment
	run      int64 // units paid from its end on before a check, at most
	elseNeed int64 // what must have been paid where the arm of else begins
	elseRun  int64
	elseAt   int32 // the instruction
	after    int64 // of a loop: what is paid before it for the code behind it
}

// plan decides where a function pays and checks: it sets pay and check of the instructions, and returns what the entry
// must pay. The entry checks by itself.
//
// It goes backwards. need is the cost from the current place to the next payment on the way, run the units paid from
// here to the next check or the end of the function, without a payment directly in front of that check. Payment is always
// in advance, so that nothing runs that was not paid for; where two ways part, the dearer one pays the difference when it
// is more than the slack, else both pay the dearer price. A loop's header pays for each turn, and checks. So do joins pay,
// where what follows is dear or where a branch leaves an inner loop: otherwise each turn of that loop would pay for what
// happens once.
func (c *code) plan() (entry int64) {
	p := planner{code: c, maxRun: maxRunShallow}
	if c.m.flow[c.fn-c.m.importedFuncs].counted {
		p.maxRun = maxRun
	}
	for i := len(c.instrs) - 1; i >= 0; i-- {
		p.step(i)
	}
	return p.need
}

type planner struct {
	*code
	need, run, maxRun int64
}

// pay makes the place after instruction i pay what is needed from there on.
func (p *planner) pay(i int, units int64) {
	in := &p.instrs[i]
	in.pay = int32(units)
	p.spend(i, units)
}

// spend notes that units are paid after instruction i, and puts a check there when that would be too much unchecked.
func (p *planner) spend(i int, units int64) {
	if p.run += units; p.run > p.maxRun {
		p.instrs[i].check = true
		p.run = 0
	}
}

func (p *planner) step(i int) {
	in := &p.instrs[i]
	l := &p.labels[in.label]
	switch in.kind {
	case kindEnd:
		p.end(i, in, l)
	case kindElse:
		l.elseNeed, l.elseRun, l.elseAt = p.need, p.run, int32(i)
		p.need, p.run = l.need, l.run
	case kindIf:
		p.fork(i, in, l)
	case kindLoop:
		if l.repeats {
			in.pay, in.check = int32(p.need), true
			p.need, p.run = l.after, 0
		}
	case kindBr:
		p.need, p.run = 0, 0
		p.meet(in.label)
		p.need += int64(in.cost)
	case kindBrIf:
		p.branch(i, in, l)
	case kindBrTable:
		p.need, p.run = 0, 0
		for _, t := range p.targets[in.b : in.b+in.a+1] {
			p.meet(t)
		}
		p.need += int64(in.cost)
	case kindReturn, kindStop:
		p.need, p.run = int64(in.cost), 0
	case kindTailCall, kindTailIndirect:
		p.need, p.run = p.m.callCost(in), 0
	case kindCall, kindCallIndirect:
		p.need += p.m.callCost(in)
	case kindBlock:
	default:
		p.need += int64(in.cost)
	}
	p.split(i, in)
}

// split pays after an instruction when the sum grows too large to pay at once. It need not be done at branches, whose
// price is small.
func (p *planner) split(i int, in *instr) {
	if p.need <= maxPay || in.pay != 0 {
		return
	}
	own := int64(in.cost)
	switch in.kind {
	case kindCall, kindCallIndirect:
		own = p.m.callCost(in)
	case plain, kindTry, kindRefFunc, kindByBytes, kindByElements, kindByPages, kindFill, kindCopy:
	default:
		return
	}
	p.pay(i, p.need-own)
	p.need = own
}

// meet takes over, as far as it is dearer, what a branch to a label must have paid. A loop's header pays for itself.
func (p *planner) meet(n int32) {
	if l := &p.labels[n]; l.kind != kindLoop {
		p.need, p.run = max(p.need, l.need), max(p.run, l.run)
	}
}

func (p *planner) end(i int, in *instr, l *label) {
	join := func() { // the join pays itself
		p.pay(i, p.need)
		l.need, l.run = 0, p.run
		p.need = 0
	}
	switch {
	case in.label == 0: // of the function
		p.need, p.run, l.need, l.run = 0, 0, 0, 0
	case l.repeats:
		// What comes after the loop is paid before it, unless the loop may be left to elsewhere.
		if l.escapes {
			p.pay(i, p.need)
			p.need = 0
		}
		l.after, p.need = p.need, 0
	case l.joined && (l.deep || p.need > slack):
		join()
	case l.kind == kindIf && !l.hasElse && l.escapes && p.need > exitSlack:
		join() // else the arm that goes elsewhere would pay for what it never reaches
	default:
		l.need, l.run = p.need, p.run
	}
}

// fork is an if. When it has no else the other way begins behind its end.
func (p *planner) fork(i int, in *instr, l *label) {
	then, other, otherRun := p.need, l.need, l.run
	if l.hasElse {
		other, otherRun = l.elseNeed, l.elseRun
	}
	switch {
	case then-other > slack:
		p.pay(i, then-other)
		p.need = other
	case other-then > slack && l.hasElse:
		thenRun := p.run
		p.run = otherRun
		p.pay(int(l.elseAt), other-then)
		otherRun, p.run = p.run, thenRun
	default:
		p.need = max(then, other)
	}
	p.run = max(p.run, otherRun)
	p.need += int64(in.cost)
}

// branch is a br_if.
func (p *planner) branch(i int, in *instr, l *label) {
	limit := int64(slack)
	if l.kind != kindLoop && l.deep {
		limit = exitSlack
	}
	var taken int64
	if l.kind != kindLoop {
		taken = l.need
	}
	switch {
	case p.need < taken:
		p.need = taken
	case p.need-taken > limit:
		p.pay(i, p.need-taken)
		p.need = taken
	}
	need := p.need
	p.meet(in.label)
	p.need = need + int64(in.cost)
}
