package plane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

const lockFile = "control/lock"

// A Change is the right to change a control plane, held until Close: nobody else
// changes it meanwhile. It is for one goroutine.
//
// Each method is one change, and happens or does not: it happens when its entry
// of governance.jsonl is on the disk. One that is against the rules is recorded
// as change.refused and is a *[RefusedError], or a *[MismatchError] where the disk
// is not what governance.jsonl says. Any other error means that nothing changed,
// but an *[UnfinishedError], and one that wraps [ledger.ErrPoisoned]: then the
// next command that opens the plane finds out whether it did, and finishes it or
// takes back what was made for it. After such an error the Change is of no more
// use.
type Change struct {
	plane *Plane
	by    record.Actor
	lock  *os.File
	log   *sealedLog
	now   State
	fault error // an entry that cannot be where it is
	sick  error // why no more can be done
	seen  []seen
}

// Change waits for the right to change the plane, until ctx is done, finishes what
// a crash left, and checks the admin token. The kind of the entry there would be,
// and what it is about, are for the record, should the token be wrong: that is a
// *[RefusedError], and recorded without the token. Errors else: a *[MismatchError]
// where control/token is not what governance.jsonl says, an
// *[ledger.IntegrityError], those of the file system.
func (p *Plane) Change(ctx context.Context, token string, by record.Actor, kind, subject string) (*Change, error) {
	c, err := p.enter(ctx, by)
	if err != nil {
		return nil, err
	}
	row, err := readTokenRow(p.dir, c.now.Token)
	if err == nil && !matches(row, token) {
		err = &RefusedError{CodeNotTrusted, "the admin token is wrong", "agenthost control init, or control token rotate, showed the one that counts"}
	}
	if err != nil {
		err = c.refused(kind, subject, ledger.Hash{}, err)
		if closed := c.Close(); closed != nil {
			err = errors.Join(err, closed)
		}
		return nil, err
	}
	return c, nil
}

// enter is Change without a token.
func (p *Plane) enter(ctx context.Context, by record.Actor) (*Change, error) {
	lock, err := p.dir.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("root %s: %w", p.path, err)
	}
	if err := beneath.Lock(ctx, lock); err != nil {
		who := "another process"
		if b, err := durable.Read(p.dir, lockFile, maxHolder); err == nil {
			if h := session.ReadHolder(b); h != nil {
				who = h.String()
			}
		}
		return nil, errors.Join(fmt.Errorf("waiting for %s, which changes the control plane: %w", who, err), lock.Close())
	}
	return p.entered(lock, by)
}

// maxHolder bounds what is read of control/lock, in bytes.
const maxHolder = 4096

// announce says in the lock who holds it, for those who wait. Nothing depends on
// it, so nothing fails for it and nothing is synced.
func (c *Change) announce() {
	if b := session.Announcement(c.plane.opts.Now()); b != nil && c.lock.Truncate(0) == nil {
		c.lock.WriteAt(b, 0) //nolint:errcheck // who it is is for people
	}
}

// withdraw takes back what announce said.
func (c *Change) withdraw() {
	c.lock.Truncate(0) //nolint:errcheck // what it says is checked by who reads it
}

// entered takes the plane up under its lock, which it closes if it fails.
func (p *Plane) entered(lock *os.File, by record.Actor) (_ *Change, err error) {
	c := &Change{plane: p, by: by, lock: lock}
	c.announce()
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	m, found, err := readMarker(p.dir)
	if err != nil {
		return nil, err
	}
	var before State
	committed := false
	c.log, err = p.log.open(func(e ledger.Entry) {
		if found && e.Seq == m.Size {
			before = c.now.clone()
		}
		if found && e.Seq >= m.Size && isChange(e) {
			committed = true
		}
		if err := c.now.add(e); err != nil && c.fault == nil {
			c.fault = badEntry(p.log.path, e, err)
		}
	})
	if err != nil {
		return nil, err
	}
	if c.fault != nil {
		return nil, c.fault
	}
	if !found {
		return c, nil
	}
	switch size := c.now.Head.Size; {
	case size < m.Size:
		return nil, &ledger.IntegrityError{File: p.log.path, Reason: fmt.Sprintf("%d entries, but %s was written after %d", size, markerFile, m.Size)}
	case !committed:
		before = c.now.clone()
	}
	if committed {
		// What was read may be in memory only.
		p.opts.Step("sync " + governancePath)
		if err := c.sync(); err != nil {
			return nil, err
		}
		if err := c.complete(m); err != nil {
			return nil, err
		}
	}
	if err := c.settle(m, before, committed); err != nil {
		return nil, err
	}
	return c, nil
}

// isChange reports whether an entry of governance.jsonl is about what it is of, and
// not about itself.
func isChange(e ledger.Entry) bool {
	return e.Kind != record.KindRecovered && e.Kind != record.KindHostKey && e.Kind != ledger.KindSeal
}

// sync makes governance.jsonl durable as it was found.
func (c *Change) sync() error {
	f, err := c.plane.dir.OpenFile(governancePath, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// State is what governance.jsonl says now. It is not to be changed, and stands
// until the next change.
func (c *Change) State() State { return c.now }

// Close gives the right to change the plane up. A second call does nothing.
func (c *Change) Close() error {
	var errs []error
	if c.log != nil {
		errs = append(errs, c.log.Close())
	}
	if c.lock != nil {
		c.withdraw()
		errs = append(errs, c.lock.Close())
	}
	c.log, c.lock = nil, nil
	c.sick = errors.New("the change was closed")
	return errors.Join(errs...)
}

// append makes an entry durable, sealed.
func (c *Change) append(b ledger.Body) error {
	if c.sick != nil {
		return c.sick
	}
	c.plane.opts.Step("append " + b.Kind())
	err := c.log.commit(b)
	if errors.Is(err, errUnregistered) {
		err = &UnfinishedError{err}
		c.sick = err
	} else if errors.Is(err, ledger.ErrPoisoned) {
		err = fmt.Errorf("whether it was recorded is not known, the next command finds out: %w", err)
		c.sick = err
	}
	if err == nil {
		err = c.fault
	}
	return err
}

// Refuse records that a change was refused for a reason the caller found, and
// returns it as a *[RefusedError]. Kind is that of the entry there would be,
// digest that of the package it is about, if it is about one.
func (c *Change) Refuse(kind, subject string, digest ledger.Hash, code, message string) error {
	return c.refused(kind, subject, digest, &RefusedError{Code: code, What: message})
}

// refused records why a change is refused, if that is a rule or a finding, and
// returns it.
func (c *Change) refused(kind, subject string, digest ledger.Hash, why error) error {
	if strings.Contains(subject, TokenPrefix) || strings.Contains(subject, "PRIVATE+KEY") {
		subject = "" // a secret, given in the wrong place
	}
	r := record.ChangeRefused{By: c.by, Change: kind, Subject: clip(subject), SHA256: digest}
	var rule *RefusedError
	var found *MismatchError
	switch {
	case errors.As(why, &rule):
		r.Code, r.Message = rule.Code, clip(rule.What)
	case errors.As(why, &found):
		r.Code, r.Message = CodeIntegrity, clip(found.Error())
	default:
		return why
	}
	if err := c.append(r); err != nil {
		return errors.Join(why, fmt.Errorf("this could not be recorded: %w", err))
	}
	return why
}

// maxText bounds a text of change.refused, in bytes.
const maxText = 2048

// clip makes a text fit for the ledger.
func clip(s string) string {
	clean := string(bytes.ToValidUTF8([]byte(s), []byte("\ufffd")))
	if len(clean) <= maxText {
		return clean
	}
	return string(bytes.ToValidUTF8([]byte(clean[:maxText]), nil)) + "…"
}

// ready says why no change can be made now.
func (c *Change) ready() error {
	if c.sick != nil {
		return c.sick
	}
	return c.checkViews()
}

// A draft is a change that is about to be made.
type draft struct {
	marker  marker
	prepare func() error // makes what the change needs beside what is there
	entry   func() (ledger.Body, error)
}

// make makes a change: the marker, what it needs, its entry, and then all that
// follows from that.
func (c *Change) make(d draft) error {
	before := c.now.clone()
	d.marker.V, d.marker.Size, d.marker.By = 1, before.Head.Size, c.by
	c.plane.opts.Step("write " + markerFile)
	err := writeMarker(c.plane.dir, d.marker)
	if err == nil && d.prepare != nil {
		err = d.prepare()
	}
	var entry ledger.Body
	if err == nil {
		entry, err = d.entry()
	}
	if err == nil {
		err = c.append(entry)
	}
	if err != nil {
		if c.sick != nil {
			return err // whether the entry is there is found out by the next
		}
		if undone := c.settle(d.marker, before, false); undone != nil {
			c.sick = undone
			return errors.Join(err, undone)
		}
		return err
	}
	err = c.complete(d.marker)
	if err == nil {
		err = c.settle(d.marker, before, true)
	}
	if err != nil {
		c.sick = err
		return &UnfinishedError{err}
	}
	return nil
}

// RotateToken makes another admin token and gives it to show before it counts: if
// show fails the one before stays.
func (c *Change) RotateToken(show func(token string) error) error {
	if err := c.ready(); err != nil {
		return c.refused(record.KindTokenRotate, "", ledger.Hash{}, err)
	}
	return c.rotateToken(show, false)
}

// ReplaceToken is RotateToken for somebody who lost the token: it asks for none,
// and works where control/token was damaged. Who calls it has made sure that it is
// what the owner of the root wants.
func (p *Plane) ReplaceToken(ctx context.Context, by record.Actor, show func(token string) error) error {
	c, err := p.enter(ctx, by)
	if err != nil {
		return err
	}
	return errors.Join(c.rotateToken(show, true), c.Close())
}

func (c *Change) rotateToken(show func(token string) error, lost bool) error {
	token, err := newToken(c.plane.opts.Random)
	if err != nil {
		return err
	}
	secret := tokenRow(token)
	return c.make(draft{
		marker: marker{Token: true},
		prepare: func() error {
			c.plane.opts.Step("write new token")
			if err := durable.Write(c.plane.dir, durable.Temp(tokenFile), secret, 0o600); err != nil {
				return err
			}
			if err := durable.SyncFolder(c.plane.dir, "control"); err != nil {
				return err
			}
			c.plane.opts.Step("show token")
			if err := show(token); err != nil {
				return fmt.Errorf("showing the token: %w", err)
			}
			return nil
		},
		entry: func() (ledger.Body, error) {
			return record.TokenRotate{By: c.by, Token: ledger.Sum(secret), Lost: lost}, nil
		},
	})
}

// Trust adds a verifier key to those whose signatures count. It reports whether it
// was not among them.
func (c *Change) Trust(key string) (bool, error) {
	if err := c.trust(key); err != nil {
		return false, c.refused(record.KindSignerTrust, key, ledger.Hash{}, err)
	}
	if slices.Contains(c.now.Trusted, key) {
		return false, nil
	}
	return true, c.make(draft{entry: func() (ledger.Body, error) { return record.SignerTrust{By: c.by, Key: key}, nil }})
}

func (c *Change) trust(key string) error {
	if err := c.ready(); err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	for _, k := range c.now.Trusted {
		if k != key && archive.KeyName(k) == archive.KeyName(key) {
			return &RefusedError{CodeNotTrusted, "another key is trusted that has the same name and hash, " + archive.KeyName(key), "find out whose this one is: nobody makes two such keys by chance"}
		}
	}
	return nil
}

// Distrust takes a verifier key away again, given whole or as NAME+HASH: packages
// signed with it neither are installed nor run. It reports whether it was there.
func (c *Change) Distrust(key string) (bool, error) {
	if err := c.ready(); err != nil {
		return false, c.refused(record.KindSignerDistrust, key, ledger.Hash{}, err)
	}
	n := slices.IndexFunc(c.now.Trusted, func(k string) bool { return k == key || archive.KeyName(k) == key })
	if n < 0 {
		return false, nil
	}
	key = c.now.Trusted[n]
	return true, c.make(draft{entry: func() (ledger.Body, error) { return record.SignerDistrust{By: c.by, Key: key}, nil }})
}

// RebuildRegistry writes the registry and the list of trusted keys anew, if they
// are not what governance.jsonl says. It reports whether one was not.
func (c *Change) RebuildRegistry() (bool, error) {
	if c.sick != nil {
		return false, c.sick
	}
	var wrong *MismatchError
	switch err := c.checkViews(); {
	case err == nil:
		return false, nil
	case !errors.As(err, &wrong):
		return false, err
	}
	b := record.RegistryRebuild{By: c.by, SHA256: ledger.Sum(c.view(0, c.now))}
	if was, err := durable.Read(c.plane.dir, registryFile, maxView); err == nil {
		b.Was = ledger.Sum(was)
	}
	return true, c.make(draft{marker: marker{Rebuild: true}, entry: func() (ledger.Body, error) { return b, nil }})
}

// Prune records that the record of a session is about to be removed, which its
// caller does afterwards: the entry is on the disk by then. By of the entry is set
// here.
func (c *Change) Prune(s record.SessionPrune) error {
	if err := c.ready(); err != nil {
		return c.refused(record.KindSessionPrune, s.SessionID, ledger.Hash{}, err)
	}
	s.By = c.by
	return c.append(s)
}

// Erase records that blobs of a session are about to be deleted, as [Change.Prune]
// does of a whole session.
func (c *Change) Erase(s record.SessionErase) error {
	if err := c.ready(); err != nil {
		return c.refused(record.KindSessionErase, s.SessionID, ledger.Hash{}, err)
	}
	s.By = c.by
	return c.append(s)
}

// Store puts a packed package into packages_store, in the place of one with the
// same id. The package was read from the file at path, which is copied. It
// reports whether it was not there yet.
func (c *Change) Store(pkg *archive.Package, path string) (bool, error) {
	id := pkg.Manifest.ID
	if err := c.ready(); err != nil {
		return false, c.refused(record.KindPackageStore, id, pkg.Digest, err)
	}
	var stored Stored
	same := errors.New("the same")
	err := c.make(draft{
		marker: marker{ID: id, Store: true, DropSignature: c.now.Stored[id].Package.SHA256 != pkg.Digest},
		prepare: func() (err error) {
			if stored, err = c.keep(pkg, path); err == nil && c.kept(stored) {
				err = same
			}
			return err
		},
		entry: func() (ledger.Body, error) {
			return record.PackageStore{By: c.by, Package: stored.Package, Archive: stored.Archive, Size: stored.Size}, nil
		},
	})
	if errors.Is(err, same) {
		return false, nil
	}
	return err == nil, err
}
