package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// authorization is the line of an entry of one of plane ho2's ledgers: a turn of a
// work order, or a snapshot of a context.
func authorization(e ledger.Entry) string {
	var what string
	var err error
	switch e.Kind {
	case record.KindWorkOrderTurn:
		var b record.WorkOrderTurn
		err = e.Decode(&b)
		what = fmt.Sprintf("%s (%s)  turn %d of session %s by %s", b.WorkOrder, short(b.SHA256), b.TurnNumber, b.SessionID, packageText(b.Package))
	case record.KindContextSnapshot:
		var b record.ContextSnapshot
		err = e.Decode(&b)
		what = fmt.Sprintf("session %s of %s after %s, %s  %s", b.SessionID, b.Plane, entries(b.Size), short(b.SHA256), bytesText(b.Bytes))
	case record.KindRecovered:
		var b record.Recovered
		err = e.Decode(&b)
		what = fmt.Sprintf("%s set aside from byte %d, kept as %s", bytesText(b.Length), b.Offset, b.File)
	}
	if err != nil {
		what = "cannot be read: " + err.Error()
	}
	return strings.TrimRight(fmt.Sprintf("%s  %-16s  %s", e.Time.UTC().Format(time.RFC3339), e.Kind, what), " ")
}
