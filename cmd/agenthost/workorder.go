package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// workOrderFlag is --work-order of a command that does something with it.
func workOrderFlag(does string) cli.Flag {
	return &cli.StringFlag{Name: "work-order", Usage: does + " the work order `ID`, WO-…, of planes/ho2/work_orders in the root"}
}

// workOrder reads the work order that --work-order names, if it does, and looks
// whether a turn of pkg may begin under it. Claim makes one count.
func (p *program) workOrder(root *session.Root, id string, pkg *archive.Package) (
	order *policy.WorkOrder, claim func(ctx context.Context, session string, turn int) error, err error,
) {
	if id == "" {
		return nil, nil, nil
	}
	orders := plane.NewWorkOrders(root, time.Now)
	of := record.Package{ID: pkg.Manifest.ID, Version: pkg.Manifest.Version, SHA256: pkg.Digest}
	if order, err = orders.Read(id); err == nil {
		err = orders.Check(order, of)
	}
	if err != nil {
		return nil, nil, workOrderError(root, err)
	}
	return order, func(ctx context.Context, session string, turn int) error {
		return orders.Claim(ctx, order, record.WorkOrderTurn{Package: of, SessionID: session, TurnNumber: int64(turn)})
	}, nil
}

// workOrderOf is workOrder for who runs nothing.
func (p *program) workOrderOf(c *cli.Context, pkg *archive.Package) (*policy.WorkOrder, error) {
	root, err := p.openRoot()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	order, _, err := p.workOrder(root, c.String("work-order"), pkg)
	return order, err
}

// workOrderError gives the user a way out where a work order cannot be used, and
// the place of its file where that is what is wrong.
func workOrderError(root *session.Root, err error) error {
	var refused *policy.WorkOrderError
	var broken *ledger.IntegrityError
	var wrong *policy.Error
	switch {
	case errors.As(err, &refused), errors.As(err, &broken):
		return err
	case errors.As(err, &wrong):
		there := *wrong
		if strings.HasPrefix(there.Source, "planes/") {
			there.Source = forPeople(filepath.Join(root.Path(), filepath.FromSlash(there.Source)))
		}
		return &there
	}
	return rootError(err, notRun)
}

// notOrdered is an error of a run, told as an envelope too where it is that the
// work order does not allow it.
func (p *program) notOrdered(err error) error {
	var refused *policy.WorkOrderError
	if errors.As(err, &refused) {
		return p.refuse(record.CodeWorkOrder, refused.Error(), refused.Hint)
	}
	return err
}
