package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// registered is the line of an entry of a register: which session has which head.
func registered(e ledger.Entry) string {
	var what string
	body, err := record.DecodeRegister(e)
	switch b := body.(type) {
	case nil:
		what = "cannot be read: " + err.Error()
	case record.RegisterOpen:
		what = registeredHead(b.Registered)
	case record.RegisterHead:
		what = registeredHead(b.Registered)
	case record.RegisterClose:
		what = registeredHead(b.Registered)
	case record.RegisterPrune:
		what = registeredHead(b.Registered)
	case record.RegisterRepair:
		what = registeredHead(b.Registered)
	case record.RegisterContinue:
		what = fmt.Sprintf("%s, %s  %s", b.File, entries(b.Size), short(b.Root))
	case record.RegisterLost:
		what = b.File + ": " + b.Reason
	case record.Recovered:
		what = fmt.Sprintf("%s set aside from byte %d, kept as %s", bytesText(b.Length), b.Offset, b.File)
	}
	return strings.TrimRight(fmt.Sprintf("%s  %-17s  %s", e.Time.UTC().Format(time.RFC3339), e.Kind, what), " ")
}

func registeredHead(b record.Registered) string {
	text := fmt.Sprintf("%s, %s  %s", b.Session, entries(b.Size), short(b.Root))
	if b.Repaired {
		text += ", repaired before"
	}
	return text
}
