package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/hostkey"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// evidenceFlag asks for the other ledger of a session.
func evidenceFlag() cli.Flag {
	return &cli.BoolFlag{Name: "evidence", Usage: "the session's " + record.EvidenceFile + ", what can be proved of each turn, instead of " + record.ExecFile}
}

// ledgerPath is the ledger that was named: by a session, a file, or the folder of a
// session or of its ledgers.
func (p *program) ledgerPath(c *cli.Context, given string) (string, error) {
	name := record.ExecFile
	if c.Bool("evidence") {
		name = record.EvidenceFile
	}
	if !isPath(given) {
		root, err := p.openRoot()
		if err != nil {
			return "", err
		}
		defer root.Close()
		id, plane, err := findSession(root, given)
		if err != nil {
			return "", err
		}
		return root.LedgerPath(plane, id, name), nil
	}
	info, err := os.Stat(given)
	switch {
	case err != nil:
		return "", openError(given, err)
	case info.IsDir():
		path := filepath.Join(ledgerFolder(given), name)
		if _, err := os.Lstat(path); err != nil {
			return "", usageError(given+": there is no "+name+" in it", "name the folder of a session, or a ledger")
		}
		return path, nil
	case c.Bool("evidence") && filepath.Base(given) != name:
		return "", usageError(fmt.Sprintf("--evidence and the file %s", given), "--evidence is for a session or a folder: name the file "+name+" itself")
	}
	return given, nil
}

// source is a ledger with the keys that its seals are by.
type source struct {
	path    string
	options ledger.Options // with Keys, for one reading; nil if they are not known
	session *sessionKeys   // of a session's
	hosts   *record.HostKeys
}

// openSource finds out what the ledger at path is, by its first entry.
func openSource(path string) (*source, error) {
	var first ledger.Entry
	for e, err := range ledger.Scan(path, ledger.Options{MaxEntry: record.MaxEvidence}) {
		if err != nil {
			return nil, openError(path, err)
		}
		first = e
		first.Line = nil
		break
	}
	s := &source{path: path}
	switch {
	case first.Kind == "":
		return nil, &ledger.IntegrityError{File: path, Reason: "it has no entries"}
	case first.Kind == record.KindSessionOpen && strings.HasPrefix(first.Session, "SES-"):
		s.session = &sessionKeys{exec: path}
		s.options = record.ExecOptions("")
		s.options.Keys = s.session.known.Exec()
	case strings.HasPrefix(first.Session, "SES-"):
		s.options = record.EvidenceOptions("")
		exec := filepath.Join(filepath.Dir(path), record.ExecFile)
		if _, err := os.Lstat(exec); err != nil {
			return s, nil
		}
		s.session = &sessionKeys{exec: exec}
		if err := s.session.read(); err != nil {
			return nil, err
		}
		s.options.Keys = s.session
	default:
		s.hosts = &record.HostKeys{}
		s.options = ledger.Options{Durable: always, Sealed: always}
		if first.Session == record.RegisterSession {
			s.options = record.RegisterOptions()
		}
		s.options.Keys = s.hosts
	}
	return s, nil
}

// always is of ledgers in which every entry is committed.
func always(ledger.Entry) bool { return true }

// sealedSource is openSource for who needs to know whose the seals are.
func sealedSource(path string) (*source, error) {
	s, err := openSource(path)
	if err == nil && s.options.Keys == nil {
		err = usageError(fmt.Sprintf("%s does not say whose its seals are: %s does, and is not beside it", path, record.ExecFile), "name it where it lies beside "+record.ExecFile)
	}
	return s, err
}

// host returns the host that answers for a checkpoint of the ledger: who signed the
// key of the process that signed it, or who signed it. It is false if none did that
// the ledger, as far as it was read, introduces.
func (s *source) host(c ledger.Checkpoint) (ledger.Verifier, bool) {
	if s.session != nil {
		_, host, ok := s.session.known.SignedBy(c)
		return host, ok
	}
	for _, host := range s.hosts.Hosts() {
		if c.Check(host) == nil {
			return host, true
		}
	}
	return ledger.Verifier{}, false
}

// cosign adds the signature of this host to a checkpoint that host answers for, if
// that is this one: who has its verifier key then needs nothing else.
func cosign(c *ledger.Checkpoint, host ledger.Verifier) (own bool, err error) {
	dir, err := configFolder()
	if err != nil {
		return false, nil // no key of this host
	}
	key, err := hostkey.Existing(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, keyError(err)
	case key.String() != host.String():
		return false, nil
	}
	return true, c.Sign(key)
}

// sessionKeys are the keys of a session as exec.jsonl introduces them. For the
// reading of evidence.jsonl they are [ledger.Keys] that look there again where a
// process seals that continued the session meanwhile.
type sessionKeys struct {
	exec  string
	known record.SessionKeys
	size  int64  // of exec.jsonl, when it was read
	last  string // signature of the seal before
}

// read learns the keys.
func (k *sessionKeys) read() error {
	info, err := os.Stat(k.exec)
	if err != nil {
		return err
	}
	k.size, k.known = info.Size(), record.SessionKeys{}
	o := record.ExecOptions("")
	o.Keys = k.known.Exec()
	for _, err := range ledger.Scan(k.exec, o) {
		var bad *ledger.IntegrityError
		if errors.As(err, &bad) && bad.Torn {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Saw implements [ledger.Keys].
func (k *sessionKeys) Saw(ledger.Entry) error { return nil }

// Signer implements [ledger.Keys].
func (k *sessionKeys) Signer(sig string) (string, ledger.Verifier, error) {
	origin, key, err := k.known.Evidence().Signer(sig)
	if err != nil {
		info, serr := os.Stat(k.exec)
		if serr != nil || info.Size() == k.size || k.read() != nil {
			return origin, key, err
		}
		if k.last != "" { // behind which it must be
			if origin, key, err := k.known.Evidence().Signer(k.last); err != nil {
				return origin, key, err
			}
		}
		origin, key, err = k.known.Evidence().Signer(sig)
	}
	if err == nil {
		k.last = sig
	}
	return origin, key, err
}
