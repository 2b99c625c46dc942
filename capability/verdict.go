package capability

// verdict is what all patterns say of a place where a name may end, and of what
// may follow there. Rules are given as their index in the program plus one; 0 is
// none.
type verdict struct {
	// The first rule that matches the name.
	forbidden, withheld  uint32
	read, write, session uint32 // of the manifest; session spells out a session

	// The first rule that matches some name that goes on here.
	moreRead, moreWrite, moreSession uint32

	refusesRead, refusesWrite     int  // the first later layer that does not grant the name; 0: all do
	laterMoreRead, laterMoreWrite bool // all later layers grant some name that goes on here
	forbidsMore                   bool // some forbidden rule matches a name that goes on here
	narrowsAll                    bool // some forbidden or withheld rule matches all names that go on here
	readsAll, writesAll           bool // a rule of each layer grants all names that go on here
}

// judge returns the verdict on a list of places.
func (p *program) judge(list []uint32) verdict {
	var v verdict
	reading, writing, moreReading, moreWriting := tally(1), tally(1), tally(1), tally(1)
	allReading, allWriting := tally(0), tally(0)
	first := func(to *uint32, rule uint32, is bool) {
		if is && *to == 0 {
			*to = rule
		}
	}
	for _, at := range list {
		n, ends := &p.nodes[at>>1], at&1 != 0
		r, id := &p.rules[n.owner], n.owner+1
		switch r.use {
		case forbids, withholds:
			if r.use == forbids {
				first(&v.forbidden, id, ends)
			} else {
				first(&v.withheld, id, ends)
			}
			v.forbidsMore = v.forbidsMore || n.live && r.use == forbids
			v.narrowsAll = v.narrowsAll || n.kind == rest
		case reads:
			first(&v.read, id, ends)
			first(&v.moreRead, id, n.live)
			allReading.count(0, n.kind == rest)
		case writes:
			first(&v.write, id, ends)
			first(&v.moreWrite, id, n.live)
			allWriting.count(0, n.kind == rest)
		case readsSession:
			first(&v.session, id, ends)
			first(&v.moreSession, id, n.live)
		case readsNarrowed:
			reading.count(r.layer, ends)
			moreReading.count(r.layer, n.live)
			allReading.count(r.layer, n.kind == rest)
		case writesNarrowed:
			writing.count(r.layer, ends)
			moreWriting.count(r.layer, n.live)
			allWriting.count(r.layer, n.kind == rest)
		}
	}
	v.refusesRead, v.refusesWrite = reading.missing(p.later), writing.missing(p.later)
	v.laterMoreRead, v.laterMoreWrite = moreReading.missing(p.later) == 0, moreWriting.missing(p.later) == 0
	v.readsAll, v.writesAll = allReading > tally(p.later), allWriting > tally(p.later)
	return v
}

// tally is the first layer of which no rule came, from where it began. Layers come
// in order.
type tally int

func (t *tally) count(layer int, is bool) {
	if is && layer == int(*t) {
		*t++
	}
}

// missing returns the layer that is missing of those up to last, or 0.
func (t tally) missing(last int) int {
	if int(t) > last {
		return 0
	}
	return int(t)
}

// granting returns the first rule of the manifest that grants op on name, by
// the verdict on name.
func (v *verdict) granting(op Op, name string) uint32 {
	if op == Write {
		return v.write
	}
	if _, _, ok := sessionFolder(name); ok {
		return v.session
	}
	return v.read
}

// refuses returns the first later layer that does not grant op on the name, or 0.
func (v *verdict) refuses(op Op) int {
	if op == Write {
		return v.refusesWrite
	}
	return v.refusesRead
}

// reaches says whether some name beneath folder could be granted, by the verdict
// on what is beneath.
func (v *verdict) reaches(op Op, folder string) bool {
	if op == Write {
		return !v.narrowsAll && v.laterMoreWrite && v.moreWrite != 0
	}
	more := v.moreRead
	if _, _, ok := sessionFolder(folder); ok {
		more = v.moreSession
	}
	return !v.narrowsAll && v.laterMoreRead && more != 0
}
