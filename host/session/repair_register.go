package session

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/ledger"
)

// RegisterDamage is what is wrong with the register of a plane, and what became of
// the sessions.
type RegisterDamage struct {
	Fault error        // nil: nothing is wrong
	Files []string     // that hold what was set aside, in the register's folder
	Taken []string     // ledgers that the register has as they are now
	Left  map[ID]error // sessions that are not whole: it knows of them what it knew
	Gone  []string     // that it named, and that are not there
}

// A Standing is where a ledger that is no session's stands.
type Standing struct {
	Name string // in the register
	Head register.Head
}

// RepairRegister makes the register of a plane one that can be gone on with, for an
// operator who accepts that it is not known what it said: what is proven is kept, the
// rest set aside. Then it takes each session of the plane, and each of others, as it
// is; that it was repaired stands there from then on. Without accept it says what is
// wrong and changes nothing. A session that is not whole is left as it is, and
// hinders no other. Errors are those of [register.Register.Repair].
func (r *Root) RepairRegister(ctx context.Context, plane string, others []Standing, accept bool) (RegisterDamage, error) {
	d := RegisterDamage{Left: map[ID]error{}}
	if err := checkPlane(plane); err != nil {
		return d, err
	}
	if r.Folder() == nil {
		return d, nil
	}
	var err error
	if d.Fault, err = r.registerFault(plane); err != nil || d.Fault == nil || !accept {
		return d, err
	}
	reg := register.New(r.dir, r.path, plane, register.Options{Now: r.opts.Now, Random: r.opts.Random, Key: r.key, Hosts: r.Hosts, Step: r.opts.Step})
	loss, err := reg.Repair(ctx)
	if err == nil {
		d.Files = loss.Files
		err = r.retake(ctx, reg, plane, others, loss, &d)
	}
	return d, errors.Join(err, reg.Close())
}

// registerFault says what is wrong with the register of a plane by itself, or that
// there is none and must be one.
func (r *Root) registerFault(plane string) (fault, err error) {
	report, err := register.Verify(r.dir, r.path, plane)
	var bad *ledger.IntegrityError
	switch {
	case errors.As(err, &bad):
		return err, nil
	case err != nil:
		return nil, err
	}
	hosts, err := r.Hosts()
	if err != nil {
		return nil, err
	}
	if err := record.CheckHosts("the register of "+plane, report.Hosts, hosts); err != nil || report.Segments > 0 {
		return nil, err
	}
	places, err := r.places()
	for _, p := range places {
		if p.plane == plane {
			return &ledger.IntegrityError{File: record.RegisterFile, Reason: fmt.Sprintf("it is gone, and %s is there", p.id)}, nil
		}
	}
	return nil, err
}

// retake has the register know all ledgers as they are.
func (r *Root) retake(ctx context.Context, reg *register.Register, plane string, others []Standing, loss register.Loss, d *RegisterDamage) error {
	there := map[string]bool{}
	take := func(name string, now register.Head) error {
		known, found, err := reg.Find(ctx, name)
		if err != nil || found && known.Head == now {
			return err
		}
		c := register.Change{Kind: record.KindSessionRepair, Session: name, Is: now}
		if found {
			c.Was = &known.Head
		}
		if err = reg.Record(ctx, c); err == nil {
			d.Taken = append(d.Taken, name)
		}
		return err
	}
	places, err := r.places()
	if err != nil {
		return err
	}
	for _, p := range places {
		if p.plane != plane {
			continue
		}
		there[string(p.id)] = true
		now, err := r.standing(p)
		if err != nil {
			d.Left[p.id] = err
			continue
		}
		if err := take(string(p.id), now); err != nil {
			return err
		}
	}
	for _, o := range others {
		there[o.Name] = true
		if err := take(o.Name, o.Head); err != nil {
			return err
		}
	}
	for _, name := range loss.Sessions {
		if !there[name] {
			d.Gone = append(d.Gone, name)
		}
	}
	return nil
}

// standing is where a session stands whose record is whole.
func (r *Root) standing(p place) (register.Head, error) {
	report, err := record.VerifySession(filepath.Dir(r.LedgerPath(p.plane, p.id, record.ExecFile)))
	if err != nil {
		return register.Head{}, err
	}
	hosts, err := r.Hosts()
	if err == nil {
		err = record.CheckHosts("the session", report.Hosts, hosts)
	}
	if err == nil && (report.Session != string(p.id) || report.Plane != p.plane) {
		err = fmt.Errorf("it is the ledger of %s in %s", report.Session, report.Plane)
	}
	c := report.Exec.Checkpoint
	return register.Head{Size: c.Size, Root: c.Root}, err
}
