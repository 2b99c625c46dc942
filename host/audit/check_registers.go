package audit

import (
	"errors"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

func ledgersOf(plane string) string { return "planes/" + plane + "/ledger" }

// registered looks at the registers and at what lies beside them. What else ho2 has
// in that folder has its own check.
func (c *check) registered(s *scope) {
	for _, plane := range session.Planes() {
		if info, err := c.dir.Stat("planes/" + plane); err != nil || !info.Mode.IsDir() {
			continue // found there
		}
		folder := ledgersOf(plane)
		entries, _ := c.folder(s, folder, ours)
		var debris []beneath.Entry
		fit := true
		for _, e := range entries {
			switch segment, torn := register.Owns(e.Name); {
			case segment:
				_, ok := c.file(s, folder+"/"+e.Name, private)
				fit = fit && ok
			case torn && e.Type.IsRegular():
				debris = append(debris, e)
			case plane == "ho2" && !torn:
			default:
				c.unexpected(s, folder, folder, e, record.RegisterFile)
			}
		}
		if fit {
			c.register(s, plane, debris)
		}
	}
}

// register tells what is wrong with the register of a plane.
func (c *check) register(s *scope, plane string, debris []beneath.Entry) {
	of, folder := c.registers.read(plane), ledgersOf(plane)
	err, path := of.verdict.Err, registerPath(plane)
	var bad *ledger.IntegrityError
	if errors.As(err, &bad) {
		path = folder + "/" + base(bad.File)
	}
	s.checked.Accepted += len(of.report.Lost)
	if of.report.Segments > 0 || err != nil {
		c.verified(s, path, CodeRegisterBroken, folder, of.verdict.Ledger, err)
	}
	for _, e := range debris {
		if of.speaks() && !of.report.Noted[e.Name] && !c.locked(folder) {
			s.add(CodeLeftover, folder+"/"+e.Name, "debris of a crash that no entry notes")
		}
	}
}

// lost finds what the registers know and is not there.
func (c *check) lost(s *scope, all []*sessionCheck) {
	there := make(map[place]bool, len(all))
	for _, one := range all {
		there[one.place] = true
	}
	for _, plane := range session.Planes() {
		for _, l := range c.registers.lost(plane, func(id session.ID) bool { return there[place{plane, id}] }) {
			s.add(CodeSessionDeleted, l.path(), "%s", l)
		}
	}
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
