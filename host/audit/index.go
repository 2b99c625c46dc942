package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/cache"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// The index of a root is a file
//
//	agenthost audit index v2 ROOT
//	SID PLANE SIZE MTIME CTIME INO JSON
//	…
//	sha256:HEX
//
// with a line for each session: what stat(2) said of its exec.jsonl, times in
// nanoseconds since 1970, and the [Session] that was read from it. ROOT is the
// digest of the root's path, HEX that of all before it. A line counts as long as
// stat says the same. A file that is not so does not count at all.
const (
	indexFolder = "audit"
	indexHead   = "agenthost audit index v2 "
	indexSuffix = ".index"
)

// settled is how long a ledger must not have changed before it is kept in the
// index. Two changes within the grain of the file system's clock have the same
// times; no file system has a coarser one than this.
const settled = 2 * time.Second

// A stamp is what stat says of a ledger. Size and mtime can be made to agree by
// who changes a file; ctime cannot.
type stamp struct {
	size, mtime, ctime int64
	ino                uint64
}

func stampOf(i beneath.Info) stamp {
	return stamp{i.Size, i.Mtime.UnixNano(), i.Ctime.UnixNano(), i.Ino}
}

// line is a session in the index.
type line struct {
	id    session.ID
	plane string
	stamp stamp
	facts []byte // the Session as JSON, of one line
}

// index is what all sessions of a root did. It is for one goroutine.
type index struct {
	lines      []line // sorted by id
	unreadable []Unreadable

	decoded map[int]*Session
	byHash  map[ledger.Hash][]int // the lines that mention a digest; nil: not looked for
	opened  int                   // ledgers that were read for it
}

// Unreadable is a session whose ledgers could not be read or do not verify: no
// answer says what it did.
type Unreadable struct {
	Session string `json:"session_id"`
	Plane   string `json:"plane"`
	Error   string `json:"error"`
}

// index says what all sessions did: from the file as far as that counts, else
// from their ledgers. Reading is called now and then with how many of them are
// read of how many; it may be nil.
func (a *Audit) index(ctx context.Context, reading func(done, of int)) (*index, error) {
	places, err := a.root.All()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(places, func(a, b session.Summary) int {
		return cmp.Or(strings.Compare(string(a.ID), string(b.ID)), strings.Compare(a.Plane, b.Plane))
	})
	ix := &index{decoded: map[int]*Session{}}
	kept := a.load()
	stats := a.stat(places)
	now := a.now()
	lines := make([]line, len(places))
	faults := make([]error, len(places))
	var stale []int
	reused := make([]bool, len(places))
	for i, p := range places {
		lines[i] = line{id: p.ID, plane: p.Plane, stamp: stats[i].stamp}
		if was, ok := kept[p.ID]; ok && stats[i].err == nil && was.plane == p.Plane && was.stamp == stats[i].stamp {
			lines[i].facts, reused[i] = was.facts, true
		} else if faults[i] = stats[i].err; faults[i] == nil {
			stale = append(stale, i)
		}
	}
	if err := a.read(ctx, lines, faults, stale, reading); err != nil {
		return nil, err
	}
	ix.opened = len(stale)
	var keep []line
	for i, l := range lines {
		if faults[i] != nil {
			if !a.removed(l) {
				ix.unreadable = append(ix.unreadable, Unreadable{string(l.id), l.plane, faults[i].Error()})
			}
			continue
		}
		ix.lines = append(ix.lines, l)
		if reused[i] || now.Sub(time.Unix(0, l.stamp.ctime)) > settled {
			keep = append(keep, l)
		}
	}
	changed := len(keep) != len(kept)
	if !changed {
		changed = slices.ContainsFunc(keep, func(l line) bool { return kept[l.id].stamp != l.stamp || kept[l.id].plane != l.plane })
	}
	if changed {
		_ = a.store(keep)
	}
	return ix, nil
}

// read fills in the lines that are to be read anew.
func (a *Audit) read(ctx context.Context, lines []line, faults []error, stale []int, reading func(done, of int)) error {
	var (
		next, done atomic.Int64
		wait       sync.WaitGroup
		tell       sync.Mutex
	)
	for range min(runtime.GOMAXPROCS(0), len(stale)) {
		wait.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(stale) {
					return
				}
				i := stale[n]
				lines[i], faults[i] = a.readLine(lines[i])
				if n := int(done.Add(1)); reading != nil && n%256 == 0 {
					tell.Lock()
					reading(n, len(stale))
					tell.Unlock()
				}
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}

// readLine reads the ledger of a session. One that changed meanwhile has a stamp
// that does not count the next time.
func (a *Audit) readLine(l line) (line, error) {
	s, err := readSession(a.root.LedgerPath(l.plane, l.id, record.ExecFile), l.id)
	if err != nil {
		return l, err
	}
	s.ID, s.Plane = l.id, l.plane
	if l.facts, err = encode(s); err != nil {
		return l, err
	}
	if after := a.stat([]session.Summary{{ID: l.id, Plane: l.plane}})[0]; after.err != nil || after.stamp != l.stamp {
		l.stamp = stamp{ctime: a.now().UnixNano()}
	}
	return l, nil
}

// removed reports whether a session is no longer there: somebody pruned it.
func (a *Audit) removed(l line) bool {
	_, err := a.root.Folder().Stat(place{l.plane, l.id}.path())
	return errors.Is(err, fs.ErrNotExist)
}

// seen is what stat said of a session.
type seen struct {
	stamp stamp
	err   error // why it is not a session that can be read
}

// stat looks at the ledgers of sessions.
func (a *Audit) stat(places []session.Summary) []seen {
	found := make([]seen, len(places))
	if len(places) == 0 {
		return found
	}
	names := make([]string, 0, 2*len(places))
	for _, p := range places {
		folder := place{p.Plane, p.ID}.path() + "/ledger/"
		names = append(names, folder+record.ExecFile, folder+record.EvidenceFile)
	}
	a.root.Folder().StatEach(names, func(n int, info beneath.Info, err error) {
		at := &found[n/2]
		switch {
		case at.err != nil:
		case errors.Is(err, fs.ErrNotExist):
			at.err = fmt.Errorf("%s is missing: a session without both ledgers is invalid", filepath.Base(names[n]))
		case err != nil:
			at.err = err
		case !info.Mode.IsRegular():
			at.err = fmt.Errorf("%s is no regular file", filepath.Base(names[n]))
		case n%2 == 0:
			at.stamp = stampOf(info)
		}
	})
	return found
}

// encode writes a session as a line of the index has it. All that is searched for
// as text is written by it, too: both have the same spelling.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// indexPath is where the index of the root lies.
func (a *Audit) indexPath() (path, root string) {
	sum := sha256.Sum256([]byte(a.root.Path()))
	root = hex.EncodeToString(sum[:])
	return filepath.Join(a.cache, indexFolder, root[:32]+indexSuffix), root
}

// load reads the index: nil if there is none that counts.
func (a *Audit) load() map[session.ID]line {
	if a.cache == "" || cache.Open(a.cache, indexFolder) != nil {
		return nil
	}
	path, root := a.indexPath()
	f, err := cache.OpenEntry(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		cache.Used(path, info, a.now())
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil
	}
	return parseIndex(data, root)
}

// parseIndex takes an index apart: nil if it is not one of that root, whole.
func parseIndex(data []byte, root string) map[session.ID]line {
	const tail = len("sha256:") + 2*sha256.Size + 1
	if len(data) < tail {
		return nil
	}
	body, end := data[:len(data)-tail], data[len(data)-tail:]
	if string(end) != ledger.Sum(body).String()+"\n" {
		return nil
	}
	body, ok := bytes.CutPrefix(body, []byte(indexHead+root+"\n"))
	if !ok {
		return nil
	}
	lines := map[session.ID]line{}
	for text := range bytes.Lines(body) {
		head, facts, ok := cutHead(text)
		if !ok {
			return nil
		}
		l, ok := parseHead(head)
		if !ok {
			return nil
		}
		l.facts = facts
		lines[l.id] = l
	}
	return lines
}

// cutHead separates the six fields in front of the JSON of a line from it.
func cutHead(text []byte) (head string, facts []byte, ok bool) {
	facts = bytes.TrimSuffix(text, []byte("\n"))
	at := bytes.Index(facts, []byte(" {"))
	if at < 0 {
		return "", nil, false
	}
	return string(facts[:at]), facts[at+1:], true
}

func parseHead(head string) (l line, ok bool) {
	f := strings.Split(head, " ")
	if len(f) != 6 {
		return l, false
	}
	var errs [4]error
	l.id, l.plane = session.ID(f[0]), f[1]
	l.stamp.size, errs[0] = strconv.ParseInt(f[2], 10, 64)
	l.stamp.mtime, errs[1] = strconv.ParseInt(f[3], 10, 64)
	l.stamp.ctime, errs[2] = strconv.ParseInt(f[4], 10, 64)
	l.stamp.ino, errs[3] = strconv.ParseUint(f[5], 10, 64)
	return l, errors.Join(errs[:]...) == nil
}

// store keeps the index for the next time. It is written beside the old one and
// renamed, so processes that do so at once leave one of theirs. Where it cannot
// be kept the next question takes longer, and that is all.
func (a *Audit) store(lines []line) error {
	if a.cache == "" {
		return nil
	}
	if err := cache.Open(a.cache, indexFolder); err != nil {
		return err
	}
	path, root := a.indexPath()
	_, _ = cache.Sweep(filepath.Dir(path), a.now())
	return cache.Store(path, func(w io.Writer) error {
		sum := sha256.New()
		out := io.MultiWriter(w, sum)
		var b bytes.Buffer
		b.WriteString(indexHead + root + "\n")
		for _, l := range lines {
			fmt.Fprintf(&b, "%s %s %d %d %d %d %s\n", l.id, l.plane, l.stamp.size, l.stamp.mtime, l.stamp.ctime, l.stamp.ino, l.facts)
			if b.Len() > 1<<20 {
				if _, err := b.WriteTo(out); err != nil {
					return err
				}
			}
		}
		if _, err := b.WriteTo(out); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "%v\n", ledger.Hash(sum.Sum(nil)))
		return err
	})
}

// Forget takes out of the index what it holds of sessions that are no longer
// there, so that nothing of them is left. No ledger is read.
func (a *Audit) Forget() error {
	kept := a.load()
	places, err := a.root.All()
	if err != nil || len(kept) == 0 {
		return err
	}
	var there []line
	for _, p := range places {
		if l, ok := kept[p.ID]; ok {
			there = append(there, l)
		}
	}
	if len(there) == len(kept) {
		return nil
	}
	if err := a.store(there); err != nil {
		return a.drop()
	}
	return nil
}

// drop removes the index.
func (a *Audit) drop() error {
	path, _ := a.indexPath()
	return os.Remove(path)
}

// CleanIndexes removes from a cache the indexes that drop says by the time they
// were last of use, to the hour, and returns how many bytes that freed. They are made again
// as they are needed. That there is no cache is no error.
func CleanIndexes(folder string, drop func(used time.Time) bool) (freed int64, err error) {
	dir := filepath.Join(folder, indexFolder)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), indexSuffix) || !drop(info.ModTime()) {
			continue // gone meanwhile, or not ours
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, err
		}
		freed += info.Size()
	}
	return freed, err
}
