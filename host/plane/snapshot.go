package plane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Where snapshots and the ledger of them are, from the root.
const (
	snapshotFolder = "planes/ho2/context"
	snapshotLedger = "planes/ho2/ledger/" + record.ContextFile
)

// maxSnapshot bounds a snapshot, in bytes.
const maxSnapshot = 64 << 20

// Snapshots are the contexts of sessions that plane ho2 keeps so that they are
// rebuilt faster: planes/ho2/context/SESSION/SIZE.json, and for each an entry of
// planes/ho2/ledger/context.jsonl. What is in one is not known here. Nothing
// depends on them: without them it takes longer. They are safe for concurrent
// use, among processes too.
type Snapshots struct {
	root *session.Root
	now  func() time.Time
}

// NewSnapshots returns the snapshots of a root, control plane or not, which must
// stay open as long as they are used. Now is the clock of their ledger; nil is
// [time.Now].
func NewSnapshots(root *session.Root, now func() time.Time) *Snapshots {
	if now == nil {
		now = time.Now
	}
	return &Snapshots{root, now}
}

// Keep keeps a snapshot whose content is data, and records it: both are on the
// disk when it returns. One that is kept already, and whole, is left as it is, and
// added is false. The error wraps an [*ledger.IntegrityError] if the ledger of
// snapshots was changed.
func (s *Snapshots) Keep(ctx context.Context, of record.ContextSnapshot, data []byte) (added bool, err error) {
	if len(data) > maxSnapshot {
		return false, fmt.Errorf("snapshot of %s: it has %d bytes, at most %d are kept", of.SessionID, len(data), maxSnapshot)
	}
	if of.SHA256 != ledger.Sum(data) || of.Bytes != int64(len(data)) {
		return false, fmt.Errorf("snapshot of %s: its record is of something else", of.SessionID)
	}
	if err := s.keep(ctx, of, data, &added); err != nil {
		return false, fmt.Errorf("snapshot of %s: %w", of.SessionID, err)
	}
	return added, nil
}

func (s *Snapshots) keep(ctx context.Context, of record.ContextSnapshot, data []byte, added *bool) (err error) {
	if _, err := session.ParseID(of.SessionID); err != nil {
		return err
	}
	dir := s.root.Folder()
	if dir == nil {
		return errors.New("there is no root yet")
	}
	for _, folder := range []string{"planes/ho2/ledger", snapshotFolder + "/" + of.SessionID} {
		if err := durable.MakeAll(dir, folder, 0o700); err != nil {
			return err
		}
	}
	lock, err := lockFolder(ctx, dir, snapshotFolder)
	if err != nil {
		return err
	}
	defer lock.Close()
	log, known, err := s.open(of.SessionID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	for _, k := range known {
		if _, err := s.Read(k); k == of && err == nil {
			return nil
		}
	}
	// The file is there before the entry: one without the other is a file that a
	// crash left, and counts for nothing.
	if err := durable.Replace(dir, snapshotName(of), data, 0o600); err != nil {
		return err
	}
	*added = true
	return log.commit(of)
}

// open opens the ledger for the next entry, and reads what it has of a session.
func (s *Snapshots) open(id string) (*sealedLog, []record.ContextSnapshot, error) {
	there, err := isPlain(s.root.Folder(), snapshotLedger)
	if err != nil {
		return nil, nil, err
	}
	if !there {
		log, err := s.book().create()
		return log, nil, err
	}
	r := snapshotReader{session: id}
	log, err := s.book().open(r.add)
	if err == nil && r.err != nil {
		err = errors.Join(r.err, log.Close())
	}
	return log, r.known, err
}

// Of returns what is on record of a session's snapshots, the latest entry of each
// size. The error wraps an [*ledger.IntegrityError] if any entry, of this session
// or another, is not what was written, or is an *[record.UnknownHostError].
func (s *Snapshots) Of(id string) ([]record.ContextSnapshot, error) {
	dir := s.root.Folder()
	if dir == nil {
		return nil, nil
	}
	there, err := isPlain(dir, snapshotLedger)
	if err == nil && !there {
		err = s.book().absent()
	}
	if err != nil || !there {
		return nil, err
	}
	r := snapshotReader{session: id}
	// Without what is being written, or a crash left of it.
	if _, err := s.book().read(r.add); err != nil {
		return nil, err
	}
	return r.known, r.err
}

// Read returns the content of a snapshot if it is the one that was recorded.
func (s *Snapshots) Read(of record.ContextSnapshot) ([]byte, error) {
	dir := s.root.Folder()
	if _, err := session.ParseID(of.SessionID); err != nil {
		return nil, err
	}
	if dir == nil || of.Bytes > maxSnapshot {
		return nil, errors.New("there is none")
	}
	data, err := durable.Read(dir, snapshotName(of), maxSnapshot)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("its file is gone")
	case err != nil:
		return nil, err
	case ledger.Sum(data) != of.SHA256:
		return nil, errors.New("its file was changed after it was recorded")
	}
	return data, nil
}

// Forget removes the snapshots of a session that is no longer there. Their
// entries stay.
func (s *Snapshots) Forget(id string) error {
	dir := s.root.Folder()
	if _, err := session.ParseID(id); err != nil || dir == nil {
		return err
	}
	if err := dir.RemoveAll(snapshotFolder + "/" + id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("snapshots of %s: %w", id, err)
	}
	return nil
}

func (s *Snapshots) book() book {
	b := snapshotBook(s.root)
	b.options.Now = s.now
	return b
}

func snapshotName(of record.ContextSnapshot) string {
	return snapshotFolder + "/" + of.SessionID + "/" + strconv.FormatUint(of.Size, 10) + ".json"
}

// snapshotReader collects the entries of one session.
type snapshotReader struct {
	session string
	known   []record.ContextSnapshot
	at      map[uint64]int // in known, by size
	err     error          // of the first entry that does not belong there
}

func (r *snapshotReader) add(e ledger.Entry) {
	body, err := record.DecodeContext(e)
	if err != nil && r.err == nil {
		r.err = badEntry(record.ContextFile, e, err)
	}
	s, ok := body.(record.ContextSnapshot)
	if !ok || s.SessionID != r.session {
		return
	}
	if i, again := r.at[s.Size]; again {
		r.known[i] = s
		return
	}
	if r.at == nil {
		r.at = map[uint64]int{}
	}
	r.at[s.Size] = len(r.known)
	r.known = append(r.known, s)
}
