package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/redact"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/ledger"
)

// A Session is a sequence of turns with one pair of ledgers, held by this
// process until Close or Leave. Its methods are for one goroutine; its ledgers
// and blobs may be written by several.
type Session struct {
	ID    ID
	Plane string
	// Exec and Evidence are the session's ledgers. Turn.end and session.close
	// are appended by the methods of this package alone.
	Exec, Evidence *ledger.Log

	root    *Root
	dir     *beneath.Dir // the session's folder
	state   state
	process *ledger.Key // of this process, for this session
	// resume introduces that key, if an earlier process opened the session and this
	// one has not written to it yet.
	resume  *record.ProcessKey
	staging *Staging // of the turn in progress
	// registered is the head that the register has of the session, nil if it knows
	// none.
	registered *register.Head
	// The last turn was committed, but not all of its files are in their places.
	unsettled bool
	announced bool // the folder says that this process holds it
	last      bool // the session is closed with the next turn that ends
	repairs   bool // the register is told what is there, whatever it knew
	redact    *redact.Values
}

// An Opening says what session to create.
type Opening struct {
	ID    ID
	Plane string
	// Open becomes the first entry; Seed in it is set from Seed below.
	Open record.SessionOpen
	// Seed is the randomness of the session, kept as a blob.
	Seed []byte
}

// Create makes a session: its folder, its ledgers, its seed, and session.open,
// all durable. It appears under its id whole or not at all. If there is one of
// that id in any plane the error wraps [ErrExists].
func (r *Root) Create(ctx context.Context, o Opening) (*Session, error) {
	s, err := r.create(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("opening session %s: %w", o.ID, err)
	}
	return s, nil
}

func (r *Root) create(ctx context.Context, o Opening) (*Session, error) {
	if _, err := ParseID(string(o.ID)); err != nil {
		return nil, err
	}
	if err := checkPlane(o.Plane); err != nil {
		return nil, err
	}
	if err := r.Ensure(); err != nil {
		return nil, err
	}
	dir, sessions := r.Folder(), sessionsOf(o.Plane)
	if err := durable.MakeAll(dir, sessions, 0o700); err != nil {
		return nil, r.unwritable(err)
	}
	// The lock keeps two processes from making one id, and recovery from taking
	// the half-made folder for one that a crash left.
	gate, err := r.lockPublish(ctx)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	if _, _, err := r.Register(o.Plane).Find(ctx, string(o.ID)); err != nil {
		return nil, err // nothing could be registered
	}
	for _, plane := range Planes() {
		if _, err := dir.Stat(sessionsOf(plane) + "/" + string(o.ID)); err == nil {
			return nil, ErrExists
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	temp := sessions + "/" + durable.Prefix + string(o.ID)
	if err := dir.RemoveAll(temp); err != nil {
		return nil, r.unwritable(err)
	}
	s := &Session{ID: o.ID, Plane: o.Plane, root: r}
	if s.process, o.Open.ProcessKey, err = r.processKey(o.Plane, o.ID); err != nil {
		return nil, err
	}
	if err := r.fill(temp, o, s.process); err != nil {
		return nil, errors.Join(r.unwritable(err), dir.RemoveAll(temp))
	}
	name := sessions + "/" + string(o.ID)
	if err := beneath.Rename(dir, temp, dir, name); err != nil {
		return nil, errors.Join(r.unwritable(err), dir.RemoveAll(temp))
	}
	if err := durable.SyncFolder(dir, sessions); err != nil {
		return nil, r.unwritable(err)
	}
	if err := s.hold(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// fill makes the content of a new session's folder. Each file and each folder is
// synced once, when all is in it: the name under which they are found is given
// afterwards.
func (r *Root) fill(temp string, o Opening, key *ledger.Key) error {
	dir := r.Folder()
	blobs := temp + "/ledger/" + record.BlobFolder
	for _, name := range []string{temp, temp + "/ledger", blobs} {
		if err := dir.Mkdir(name, 0o700); err != nil {
			return err
		}
	}
	nonce, err := r.nonce()
	if err != nil {
		return err
	}
	if o.Open.Seed, err = ledger.PutBlob(r.join(blobs), o.Seed, nonce); err != nil {
		return err
	}
	o.Open.Plane = o.Plane
	opts := record.EvidenceOptions(string(o.ID))
	opts.SyncLater = true
	evidence, err := ledger.Create(r.join(temp+"/ledger/"+record.EvidenceFile), opts)
	if err != nil {
		return err
	}
	if err := evidence.Close(); err != nil {
		return err
	}
	opts = record.ExecOptions(string(o.ID))
	opts.Now, opts.SyncLater = r.opts.Now, true
	opts.Key, opts.Origin = key, record.ExecOrigin(o.Plane, string(o.ID))
	opts.Observe = r.opts.Observe
	exec, err := ledger.Create(r.join(temp+"/ledger/"+record.ExecFile), opts)
	if err != nil {
		return err
	}
	_, err = exec.Commit(0, o.Open)
	if closed := exec.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err := durable.SyncFolder(dir, temp+"/ledger"); err != nil {
		return err
	}
	return durable.SyncFolder(dir, temp)
}

func (r *Root) join(name string) string { return filepath.Join(r.path, filepath.FromSlash(name)) }

func (r *Root) nonce() (nonce [ledger.NonceSize]byte, err error) {
	if _, err := io.ReadFull(r.opts.Random, nonce[:]); err != nil {
		return nonce, fmt.Errorf("making a nonce: %w", err)
	}
	return nonce, nil
}

// Open takes up a session to continue it, in any plane, after recovering it
// ([Root.Recover]). Errors wrap [ErrNotFound], [ErrInUse] as an [*InUseError],
// [ErrClosed] or an [*ledger.IntegrityError].
func (r *Root) Open(ctx context.Context, id ID) (*Session, []Finding, error) {
	s, findings, err := r.open(ctx, id)
	if err == nil && s.state.progress.Closed {
		err = errors.Join(ErrClosed, s.Leave())
	}
	if err != nil {
		return nil, findings, fmt.Errorf("session %s: %w", id, err)
	}
	return s, findings, nil
}

func (r *Root) open(ctx context.Context, id ID) (*Session, []Finding, error) {
	plane, err := r.planeOf(id)
	if err != nil {
		return nil, nil, err
	}
	if err := r.Ensure(); err != nil {
		return nil, nil, err
	}
	s := &Session{ID: id, Plane: plane, root: r, resume: new(record.ProcessKey)}
	if s.process, *s.resume, err = r.processKey(plane, id); err != nil {
		return nil, nil, err
	}
	if err := s.hold(ctx); err != nil {
		return nil, nil, err
	}
	findings, err := s.recover(ctx)
	if err != nil {
		return nil, findings, errors.Join(err, s.Leave())
	}
	return s, findings, nil
}

// planeOf finds the plane a session is in.
func (r *Root) planeOf(id ID) (string, error) {
	if _, err := ParseID(string(id)); err != nil {
		return "", err
	}
	if dir := r.Folder(); dir != nil {
		for _, plane := range Planes() {
			info, err := dir.Stat(sessionsOf(plane) + "/" + string(id))
			if err == nil && info.Mode.IsDir() {
				return plane, nil
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
	}
	return "", ErrNotFound
}

func (s *Session) name() string { return sessionsOf(s.Plane) + "/" + string(s.ID) }

// hold opens the session's ledgers, and has the register agree with them. Who
// holds exec.jsonl's lock may change anything in the session's folder.
func (s *Session) hold(ctx context.Context) error {
	for {
		known, found, err := s.find(ctx)
		if err != nil {
			return err
		}
		if err := s.holdAt(known, found); err != nil {
			return err
		}
		// Before the lock was held another process may have gone on.
		again, found, err := s.find(ctx)
		if err != nil {
			return errors.Join(err, s.Leave())
		}
		if found && again != known {
			if err := s.Leave(); err != nil {
				return err
			}
			s.state = state{}
			continue
		}
		if err := s.agree(ctx, known, found); err != nil {
			return errors.Join(err, s.Leave())
		}
		return nil
	}
}

// holdAt is hold with what the register knows.
func (s *Session) holdAt(known register.Head, found bool) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Leave())
		}
	}()
	if s.dir, err = s.root.Folder().Sub(s.name()); err != nil {
		return err
	}
	open := func(file string, o ledger.Options, saw func(ledger.Entry)) (*ledger.Log, error) {
		o.Now, o.Key = s.root.opts.Now, s.process
		o.Observe = func(e ledger.Entry) {
			saw(e)
			if s.state.live && s.root.opts.Observe != nil {
				s.root.opts.Observe(e)
			}
		}
		l, err := ledger.Open(s.root.join(s.name()+"/ledger/"+file), o)
		if errors.Is(err, ledger.ErrLocked) {
			return nil, s.inUse()
		}
		return l, err
	}
	s.state.behind = known.Size
	var keys record.SessionKeys
	o := record.ExecOptions(string(s.ID))
	o.Keys, o.Origin = keys.Exec(), record.ExecOrigin(s.Plane, string(s.ID))
	if found {
		o.Anchors = []ledger.Anchor{{Size: known.Size, Root: known.Root, Source: record.RegisterSource}}
	}
	if s.Exec, err = open(record.ExecFile, o, s.state.sawExec); err != nil {
		return err
	}
	o = record.EvidenceOptions(string(s.ID))
	o.Keys, o.Origin = keys.Evidence(), record.EvidenceOrigin(s.Plane, string(s.ID))
	if o.Anchors, err = s.proven(); err != nil {
		return err
	}
	if s.Evidence, err = open(record.EvidenceFile, o, s.state.sawEvidence); err != nil {
		return err
	}
	if err := s.trust(&keys); err != nil {
		return err
	}
	s.state.live = true
	s.announce()
	if s.state.err == nil && s.state.progress.Session == "" {
		return &ledger.IntegrityError{File: s.root.join(s.name() + "/ledger/" + record.ExecFile), Reason: "there is no session.open"}
	}
	return s.state.err
}

// Opened returns the session's first entry and its time.
func (s *Session) Opened() (record.SessionOpen, time.Time) { return s.state.open, s.state.opened }

// Workspace is the folder that the session publishes to. It belongs to the root.
func (s *Session) Workspace() *beneath.Dir { return s.root.workspace }

// Turns is the number of turns that have ended.
func (s *Session) Turns() int { return s.state.ended }

// Seed is the randomness the session was opened with.
func (s *Session) Seed() ([]byte, error) { return ledger.GetBlob(s.BlobDir(), s.state.open.Seed) }

// BlobDir is the path of the folder of the session's blobs.
func (s *Session) BlobDir() string {
	return s.root.join(s.name() + "/ledger/" + record.BlobFolder)
}

// WithoutPaths is a text in which the places of root and workspace on this
// machine are left out: what errors say goes on record, and records say the same
// wherever they lie.
func (s *Session) WithoutPaths(text string) string {
	type place struct{ path, name string }
	places := []place{{s.root.path, "the root"}, {s.root.workspacePath, "the workspace"}}
	if abs, err := filepath.Abs(s.root.opts.Workspace); err == nil { // through a link, maybe
		places = append(places, place{abs, "the workspace"})
	}
	slices.SortStableFunc(places, func(a, b place) int { return len(b.path) - len(a.path) }) // the inner first
	for _, p := range places {
		if p.path == "/" {
			continue
		}
		text = strings.ReplaceAll(text, p.path+"/", "")
		text = strings.ReplaceAll(text, p.path, p.name)
	}
	return text
}

// OutputName is the folder of the session's published files, as ledgers spell
// it.
func (s *Session) OutputName() string { return "output/" + string(s.ID) }

// OutputPath is where that folder lies, as an absolute path.
func (s *Session) OutputPath() string { return s.root.join(s.OutputName()) }

// Output opens the folder of the files that earlier turns published. The error
// wraps fs.ErrNotExist if there is none yet. The caller closes it.
func (s *Session) Output() (*beneath.Dir, error) { return s.root.Folder().Sub(s.OutputName()) }

// Prove records the evidence of the turn in progress in evidence.jsonl and seals
// it. It comes before End, or [Commit.Commit]. Where values are redacted that is
// not what is recorded, but what the entries of the turn say.
func (s *Session) Prove(evidence *record.TurnEvidence) error {
	if s.redact != nil {
		written, err := s.prove()
		if err != nil {
			return fmt.Errorf("compute the evidence: %w", err)
		}
		evidence = &written
	}
	s.root.opts.Step("seal evidence")
	seal := s.Evidence.Commit
	if s.last {
		seal = s.Evidence.Finish
	}
	_, err := seal(s.state.progress.Turns, evidence)
	return err
}

// CloseWithTurn makes the next turn that ends the last one: its end and that of
// the session are committed together, and Close only gives the session up.
func (s *Session) CloseWithTurn() { s.last = true }

// End ends the turn in progress without publishing anything: turn.end is
// committed to exec.jsonl. Evidence and Publish of the entry are set here. After
// an error that wraps [ledger.ErrPoisoned] it is not known whether the turn has
// ended; recovery finds out.
func (s *Session) End(end record.TurnEnd) (ledger.Entry, error) {
	end.Publish = nil
	return s.end(end)
}

func (s *Session) end(end record.TurnEnd) (ledger.Entry, error) {
	if !s.state.progress.InTurn {
		return ledger.Entry{}, errors.New("no turn has begun")
	}
	if s.state.err != nil {
		return ledger.Entry{}, s.state.err // what was appended would not be read again
	}
	turn := s.state.progress.Turns
	proof, ok := s.Evidence.Sealed()
	if !ok || s.state.proof.Turn != turn {
		return ledger.Entry{}, fmt.Errorf("turn %d: its evidence was not recorded", turn)
	}
	end.Evidence = record.EvidenceHead{Size: proof.Size, Root: proof.Root}
	s.root.opts.Step("commit turn.end")
	bodies := []ledger.Body{end}
	if s.last {
		bodies = append(bodies, record.SessionClose{Turns: int64(turn)})
	}
	c, err := s.commit(turn, bodies...)
	if err != nil {
		return ledger.Entry{}, err
	}
	return c.Entries[0], nil
}

// Close ends the session for good: it commits session.close, with seals that say
// that nothing is to follow, and gives the session up.
func (s *Session) Close() error {
	if s.staging != nil || s.state.progress.InTurn {
		return fmt.Errorf("session %s: turn %d has not ended", s.ID, s.state.progress.Turns)
	}
	return errors.Join(s.close(), s.Leave())
}

func (s *Session) close() error {
	if s.state.progress.Closed {
		return nil
	}
	if err := s.introduce(); err != nil {
		return err
	}
	if _, err := s.Evidence.Finish(0); err != nil {
		return err
	}
	_, err := s.commit(0, record.SessionClose{Turns: int64(s.state.ended)})
	return err
}

// Leave gives the session up without closing it: it can be continued. A turn in
// progress is left to recovery.
func (s *Session) Leave() error {
	var errs []error
	if s.staging != nil {
		s.staging.closeDirs()
		s.staging = nil
	}
	s.withdraw()
	if s.Evidence != nil {
		errs = append(errs, s.Evidence.Close())
	}
	if s.Exec != nil {
		errs = append(errs, s.Exec.Close())
	}
	if s.dir != nil {
		errs = append(errs, s.dir.Close())
	}
	s.Evidence, s.Exec, s.dir = nil, nil, nil
	return errors.Join(errs...)
}

// turnDir names the folder of a turn in staging/ or blocked/.
func turnDir(kind string, turn int) string { return kind + "/" + strconv.Itoa(turn) }
