package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// VerifyFile judges one ledger by itself, wherever it lies: that its chain and its
// seals are whole. What its entries mean is not looked at. Who seals it its first
// entry says; of an evidence.jsonl the exec.jsonl beside it does.
func VerifyFile(path string, trusted []ledger.Verifier, receipts []Receipt) Verdict {
	v := Verdict{File: path, Single: true, Receipts: receipts}
	kind, id, err := firstEntry(path)
	if err != nil {
		v.Err = err
		v.judge(path, trusted)
		return v
	}
	switch kind {
	case record.KindSessionOpen:
		v.exec(path)
	case record.KindHostKey:
		v.host(path)
	default:
		v.evidence(path, id)
	}
	v.Session = v.Ledger.Session
	v.judge(filepath.Base(path), trusted)
	return v
}

// firstEntry tells what the first entry of a ledger is, without its seal.
func firstEntry(path string) (kind, id string, err error) {
	for e, err := range ledger.Scan(path, ledger.Options{MaxEntry: record.MaxEvidence}) {
		return e.Kind, e.Session, err
	}
	return "", "", &ledger.IntegrityError{File: path, Reason: "it has no entries"}
}

func (v *Verdict) exec(path string) {
	var keys record.SessionKeys
	o := record.ExecOptions("")
	o.Keys = keys.Exec()
	for _, r := range v.Receipts {
		o.Anchors = append(o.Anchors, r.anchor())
	}
	closed := false
	o.Observe = func(e ledger.Entry) { closed = closed || e.Kind == record.KindSessionClose }
	v.Ledger, v.Err = ledger.Verify(path, o)
	v.Hosts, v.Plane = keys.Hosts(), keys.Plane()
	if r := v.Ledger; v.Err == nil && closed && (!r.Final || r.Sealed < r.Entries || r.Torn != nil) {
		v.Err = &ledger.IntegrityError{File: path, Reason: fmt.Sprintf("the session was closed, and only %d of %d entries are sealed for good", r.Sealed, r.Entries)}
	}
	if v.Err == nil && v.Ledger.Entries == 0 {
		v.Err = &ledger.IntegrityError{File: path, Reason: "it has no entries that count"}
	}
}

func (v *Verdict) host(path string) {
	var keys record.HostKeys
	o := ledger.Options{Keys: &keys, Sealed: func(ledger.Entry) bool { return true }}
	v.Ledger, v.Err = ledger.Verify(path, o)
	v.Hosts = distinct(keys.Hosts())
	if v.Err == nil && v.Ledger.Entries == 0 {
		v.Err = &ledger.IntegrityError{File: path, Reason: "it has no entries that count"}
	}
}

// ErrNoSigner is the reason why nobody knows who sealed an evidence.jsonl.
var ErrNoSigner = errors.New("who sealed it says the exec.jsonl of its session, which is not beside it")

// ErrNoSeal is the reason why nobody vouches for an evidence.jsonl.
var ErrNoSeal = errors.New("nothing in it is sealed: anybody may have made it")

func (v *Verdict) evidence(path, id string) {
	var keys record.SessionKeys
	beside := filepath.Join(filepath.Dir(path), record.ExecFile)
	o := record.ExecOptions(id)
	o.Keys = keys.Exec()
	_, err := ledger.Verify(beside, o)
	o = record.EvidenceOptions(id)
	if err == nil {
		o.Keys = keys.Evidence()
	}
	v.Ledger, v.Err = ledger.Verify(path, o)
	v.Hosts, v.Plane = keys.Hosts(), keys.Plane()
	switch {
	case v.Err != nil:
	case errors.Is(err, fs.ErrNotExist):
		v.Err = ErrNoSigner
	case err != nil:
		v.Err = fmt.Errorf("who sealed it is not known: %w", err)
	case v.Ledger.Sealed == 0:
		v.Err, v.Hosts = ErrNoSeal, nil
	}
}
