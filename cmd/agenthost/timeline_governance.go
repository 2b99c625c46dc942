package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// change is the line of an entry of governance.jsonl: when, what, by whom, on what.
func change(e ledger.Entry) string {
	by, what := record.Actor{UID: -1}, ""
	body, err := record.DecodeGovernance(e)
	switch b := body.(type) {
	case nil:
		what = "cannot be read: " + err.Error()
	case record.ControlInit:
		by, what = b.By, "agenthost "+b.Agenthost
	case record.TokenRotate:
		by = b.By
		if b.Lost {
			what = "the one before was lost"
		}
	case record.SignerTrust:
		by, what = b.By, b.Key
	case record.SignerDistrust:
		by, what = b.By, b.Key
	case record.PackageStore:
		by, what = b.By, packageText(b.Package)+", "+bytesText(b.Size)
	case record.PackageInstall:
		by, what = b.By, installText(b)
	case record.PackageUninstall:
		by, what = b.By, packageText(b.Package)+" from "+b.Plane
		if b.Stored {
			what += ", its archive stays"
		}
	case record.RegistryRebuild:
		by, what = b.By, short(b.SHA256)
	case record.SessionPrune:
		by, what = b.By, b.SessionID+" of "+b.Plane
		if b.Published {
			what += ", with what it published"
		}
	case record.SessionErase:
		by, what = b.By, fmt.Sprintf("%s of %s of %s: %s", count(len(b.Blobs), "blob"), b.SessionID, b.Plane, b.Why)
	case record.ChangeRefused:
		by, what = b.By, strings.TrimSpace(b.Change+" "+b.Subject)+": "+b.Code+": "+b.Message
	case record.Recovered:
		what = fmt.Sprintf("%s set aside from byte %d, kept as %s", bytesText(b.Length), b.Offset, b.File)
	}
	who := ""
	if by.UID >= 0 {
		who = actor(by)
	}
	return strings.TrimRight(fmt.Sprintf("%s  %-17s  %-8s  %s", e.Time.UTC().Format(time.RFC3339), e.Kind, who, what), " ")
}

func packageText(p record.Package) string {
	return fmt.Sprintf("%s %s %s", p.ID, p.Version, short(p.SHA256))
}

func installText(b record.PackageInstall) string {
	text := packageText(b.Package) + " in " + b.Plane
	if b.Replaces != nil {
		text += replacing(*b.Replaces, b.Package)
	}
	if len(b.Gained) > 0 {
		text += ", " + count(len(b.Gained), "right") + " gained"
	}
	if b.Forced {
		text += ", an earlier version by force"
	}
	if b.Signer != "" {
		text += ", " + signerText(b.Signer)
	}
	if b.Rotated {
		text += ", another signer than before"
	}
	return text
}
