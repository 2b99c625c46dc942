package plane

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// A book is a ledger that hosts seal: of a control plane, of the turns of a work
// order, of snapshots. The register of a plane knows how far it goes.
type book struct {
	path    string // absolute
	name    string // from the root
	origin  string // what that of its checkpoints begins with; 16 hexadecimal digits follow
	whole   bool   // it is never without an entry, and never unknown to the register
	options ledger.Options

	random io.Reader
	sealer func() (*ledger.Key, error)
	hosts  func() ([]ledger.Verifier, error)
	step   func(string)

	root  *beneath.Dir // nil: nothing is there yet
	top   string       // its absolute path
	plane string       // whose register knows it, by Options.Session
}

const governanceOrigin = "agenthost/control/governance/"

// governanceBook is the ledger of a control plane.
func governanceBook(root *session.Root) book {
	b := bookIn(root, "ho3", governancePath, governanceOrigin, record.GovernanceOptions())
	b.whole = true
	return b
}

// claimsBook is the ledger of the turns of a work order.
func claimsBook(root *session.Root, id string) book {
	return bookIn(root, "ho2", claimFolder+"/"+id+".jsonl", "agenthost/ho2/workorders/"+id+"/", record.WorkOrderOptions(id))
}

// snapshotBook is the ledger of the snapshots of contexts.
func snapshotBook(root *session.Root) book {
	return bookIn(root, "ho2", snapshotLedger, "agenthost/ho2/context/", record.ContextOptions())
}

func bookIn(root *session.Root, plane, name, origin string, o ledger.Options) book {
	with := root.Options()
	o.Now = with.Now
	return book{
		path: filepath.Join(root.Path(), filepath.FromSlash(name)), name: name, origin: origin, options: o,
		random: with.Random, sealer: with.Key, hosts: root.Hosts, step: with.Step,
		root: root.Folder(), top: root.Path(), plane: plane,
	}
}

// errNoKey says that nothing can be sealed.
var errNoKey = errors.New("no host key was given")

// A reading follows a ledger from its first entry on.
type reading struct {
	record.HostKeys
	book       book
	see        func(ledger.Entry) // may be nil
	introduced []ledger.Verifier  // by entries that were sealed
	seal       *ledger.Seal       // the last; nil if there is none
}

// reading returns a reading, and the options that feed it. Known is what the
// register knows, nil if nothing.
func (b book) reading(see func(ledger.Entry), known *register.Head) (*reading, ledger.Options) {
	r := &reading{book: b, see: see}
	o := b.options
	o.Keys, o.Observe = r, r.observe
	if known != nil {
		o.Anchors = []ledger.Anchor{{Size: known.Size, Root: known.Root, Source: b.registerName()}}
	}
	return r, o
}

// Saw implements [ledger.Keys].
func (r *reading) Saw(e ledger.Entry) error {
	if err := r.HostKeys.Saw(e); err != nil {
		return err
	}
	return r.book.checkOrigin(r.Origin())
}

// idSize is that of what tells one ledger from another of its kind, in bytes.
const idSize = 8

// checkOrigin refuses the origin of another ledger than this one.
func (b book) checkOrigin(origin string) error {
	id, ok := strings.CutPrefix(origin, b.origin)
	if _, err := hex.DecodeString(id); !ok || err != nil || len(id) != hex.EncodedLen(idSize) {
		return fmt.Errorf("%s: the origin is %.200q, want %s and %d hexadecimal digits", record.KindHostKey, origin, b.origin, hex.EncodedLen(idSize))
	}
	return nil
}

// observe sees an entry once its seal was read, or written.
func (r *reading) observe(e ledger.Entry) {
	switch e.Kind {
	case record.KindHostKey:
		var b record.HostKey
		if e.Decode(&b) == nil {
			v, _ := ledger.ParseVerifier(b.Key) // the zero value is nobody's
			r.introduced = append(r.introduced, v)
		}
	case ledger.KindSeal:
		r.seal = new(ledger.Seal)
		e.Decode(r.seal) //nolint:errcheck // it was decoded to be checked
	}
	if r.see != nil {
		r.see(e)
	}
}

// trusted reports whether the seals of all count who sealed.
func (r *reading) trusted() error {
	hosts, err := r.book.hosts()
	if err != nil {
		return err
	}
	return record.CheckHosts(r.book.name, r.introduced, hosts)
}

// read verifies the ledger and gives see each entry that was sealed, which counts
// for nothing until read returned nil: what is wrong may be found behind it. A
// torn end is no error. Errors: an *[ledger.IntegrityError], an
// *[record.UnknownHostError], those of the file system and of the register.
func (b book) read(see func(ledger.Entry)) (ledger.Report, error) {
	known, err := b.find()
	if err != nil {
		return ledger.Report{}, err
	}
	return b.readFrom(known, b.find, see)
}

// readFrom is read with what the register knew before, and again to ask it once
// more.
func (b book) readFrom(known *register.Head, again func() (*register.Head, error), see func(ledger.Entry)) (ledger.Report, error) {
	r, report, err := b.readAlone(known, see)
	if err != nil || r.follows(known) == nil {
		return report, err
	}
	// Somebody may have written to both since. Who writes to the ledger waits for
	// the register first.
	if known, err = again(); err == nil && (known == nil || known.Size < r.seal.PrevSize) {
		err = r.follows(known)
	}
	return report, err
}

// readAlone is read without the register, but that what is known must be there.
func (b book) readAlone(known *register.Head, see func(ledger.Entry)) (*reading, ledger.Report, error) {
	r, o := b.reading(see, known)
	report, err := ledger.Verify(b.path, o)
	if err == nil {
		err = r.trusted()
	}
	return r, report, err
}

// A sealedLog is a book open for writing.
type sealedLog struct {
	*ledger.Log
	book      book
	register  *register.Register
	known     *register.Head  // to the register
	repairs   bool            // the register takes what is there, whatever it knew
	introduce *record.HostKey // goes before what is committed first; nil if this host sealed last
}

// errUnregistered says that entries are on the disk, and the register does not know
// of them. Who opens the ledger next tells it.
var errUnregistered = errors.New("it is recorded, but the register does not know of it yet")

// commit writes entries with their seal, and then has the register know it. Errors
// are those of [ledger.Log.Commit], after which the register was not touched, and
// one that wraps errUnregistered, after which nothing more is to be committed.
func (l *sealedLog) commit(bodies ...ledger.Body) error {
	// What the ledger is ahead of the register on the disk is one commit at most.
	if err := l.register.Wait(context.Background(), l.book.options.Session); err != nil {
		return err
	}
	if l.introduce != nil {
		bodies = append([]ledger.Body{*l.introduce}, bodies...)
	}
	c, err := l.Commit(0, bodies...)
	if err != nil {
		return err
	}
	l.introduce = nil
	l.book.step("register " + l.book.name)
	return l.advance(c.Checkpoint)
}

// advance has the register know how far the ledger goes.
func (l *sealedLog) advance(c ledger.Checkpoint) error {
	change := register.Change{Kind: record.KindSessionHead, Session: l.book.options.Session, Was: l.known, Is: register.Head{Size: c.Size, Root: c.Root}}
	if l.known == nil {
		change.Kind = record.KindSessionOpen
	}
	if l.repairs {
		change.Kind = record.KindSessionRepair
	}
	if err := l.register.Record(context.Background(), change); err != nil {
		return fmt.Errorf("%w: %w", errUnregistered, err)
	}
	l.known = &change.Is
	return nil
}

// Close closes the ledger, once the register's own is on the disk.
func (l *sealedLog) Close() error { return errors.Join(l.Log.Close(), l.register.Close()) }

// key is this host's.
func (b book) key() (*ledger.Key, error) {
	if b.sealer == nil {
		return nil, errNoKey
	}
	k, err := b.sealer()
	if err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	return k, nil
}

// newOrigin is one that no other ledger has.
func (b book) newOrigin() (string, error) {
	id := make([]byte, idSize)
	if _, err := io.ReadFull(b.random, id); err != nil {
		return "", err
	}
	return b.origin + hex.EncodeToString(id), nil
}

// create begins the ledger; nothing is in it until something is committed. It is an
// *[ledger.IntegrityError] if the register knows of one.
func (b book) create() (*sealedLog, error) {
	key, err := b.key()
	if err != nil {
		return nil, err
	}
	origin, err := b.newOrigin()
	if err == nil {
		err = b.absent()
	}
	if err != nil {
		return nil, err
	}
	o := b.options
	o.Key, o.Origin = key, origin
	log, err := ledger.Create(b.path, o)
	if err != nil {
		return nil, err
	}
	return &sealedLog{Log: log, book: b, register: b.register(), introduce: &record.HostKey{Origin: origin, Key: key.Verifier().String()}}, nil
}

// open opens the ledger for appending, verified as read does, and notes in it what
// a crash left and was set aside. One in which nothing was sealed begins anew, or is
// a *[MismatchError] if there must be something. Whoever opens it holds the lock of
// those who do.
func (b book) open(see func(ledger.Entry)) (_ *sealedLog, err error) {
	key, err := b.key()
	if err != nil {
		return nil, err
	}
	l := &sealedLog{book: b, register: b.register()}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.register.Close())
		}
	}()
	if l.known, err = b.ask(l.register); err != nil {
		return nil, err
	}
	origin, err := b.begun()
	switch {
	case err != nil:
	case origin == "" && b.whole:
		err = &MismatchError{b.name, "is empty", lostHint}
	case origin == "":
		origin, err = b.newOrigin()
	}
	if err != nil {
		return nil, err
	}
	r, o := b.reading(see, l.known)
	o.Key, o.Origin = key, origin
	if l.Log, err = ledger.Open(b.path, o); err != nil {
		return nil, err
	}
	own := key.Verifier().String()
	if n := len(r.introduced); n == 0 || r.introduced[n-1].String() != own {
		l.introduce = &record.HostKey{Origin: origin, Key: own}
	}
	if err = l.ready(r); err != nil {
		return nil, errors.Join(err, l.Log.Close())
	}
	return l, nil
}

// ready makes what was opened fit for the next commit.
func (l *sealedLog) ready(r *reading) error {
	if err := r.trusted(); err != nil {
		return err
	}
	if err := r.follows(l.known); err != nil {
		return err
	}
	if c, sealed := l.Sealed(); sealed && (l.known == nil || l.known.Size != c.Size) {
		// A crash came between the two.
		if err := l.advance(c); err != nil {
			return err
		}
	}
	debris := l.Recovered()
	if debris == nil {
		return nil
	}
	bodies := make([]ledger.Body, len(debris))
	for i, d := range debris {
		bodies[i] = record.Recovered{File: d.File, Offset: d.Offset, Length: d.Length, SHA256: d.SHA256}
	}
	return l.commit(bodies...)
}

// begun is the origin that the first entry names, "" if that was not sealed. What
// is wrong with it is found by who reads the ledger whole.
func (b book) begun() (string, error) {
	for e, err := range ledger.Scan(b.path, b.options) {
		var bad *ledger.IntegrityError
		if errors.As(err, &bad) && bad.Torn {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		var k record.HostKey
		if e.Kind == record.KindHostKey {
			err = e.Decode(&k)
		}
		return k.Origin, err
	}
	return "", nil
}
