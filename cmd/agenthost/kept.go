package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// States of a file that is kept of a turn: the ledger says what the turn wrote,
// the disk may hold something else by now.
const (
	keptRecorded   = "recorded"   // it is what the ledger says
	keptUnrecorded = "unrecorded" // the turn's process died before it was recorded
	keptChanged    = "changed"    // it is something else
	keptForeign    = "foreign"    // the ledger does not know it
	keptMissing    = "missing"    // the ledger knows it, and it is gone
	keptUnfit      = "unreadable" // it is no file that can be read
)

// keptFile is a file that a turn wrote and that was not published.
type keptFile struct {
	Path     string       `json:"path"` // as ledgers spell it
	Role     string       `json:"role,omitempty"`
	State    string       `json:"state"`
	Size     int64        `json:"size"`
	SHA256   *ledger.Hash `json:"sha256,omitempty"`          // of what is kept
	Recorded *ledger.Hash `json:"recorded_sha256,omitempty"` // of what the turn wrote
	Why      []string     `json:"why"`                       // codes: what was wrong with this file
	Is       string       `json:"is,omitempty"`              // what it is, if it cannot be read

	name string // as the agent spells it
	file session.KeptFile
	size int64 // as recorded
}

// keptTurn is a turn and what is kept of it.
type keptTurn struct {
	Session string     `json:"session_id"`
	Plane   string     `json:"plane"`
	Turn    int        `json:"turn_number"`
	Status  string     `json:"status,omitempty"` // empty: it has not ended
	Code    string     `json:"code,omitempty"`
	Ended   time.Time  `json:"ended,omitzero"`
	Message string     `json:"message,omitempty"`
	Refused []string   `json:"refused"` // what ended the turn or kept it from publishing
	Kept    bool       `json:"kept"`    // false: it left nothing, or that was discarded
	More    bool       `json:"more,omitempty"`
	Files   []keptFile `json:"files"`
}

// changedByOthers is what is known where a turn's files are not as turns leave
// them.
const changedByOthers = "no turn leaves it so: somebody else changed it"

// writes is what the ledger says of the files of one turn.
type writes struct {
	end      *record.TurnEnd
	ended    time.Time
	evidence record.TurnEvidence
	refused  []string
	why      map[string][]string // by path
}

// readWrites reads one turn of exec.jsonl.
func readWrites(path, id string, turn int) (writes, error) {
	w := writes{refused: []string{}, why: map[string][]string{}}
	var failed error
	found := false
	evidence, err := record.Evidence(func(yield func(ledger.Entry) bool) {
		for e, err := range ledger.Scan(path, record.ExecOptions(id)) {
			var at *ledger.IntegrityError
			switch {
			case errors.As(err, &at) && at.Torn:
				return // a line that is being written, or debris
			case err != nil:
				failed = err
				return
			case e.Kind == record.KindTurnBegin && e.Turn == turn:
				found = true
			case !found:
				continue
			}
			if failed = w.add(e); failed != nil || w.end != nil || !yield(e) {
				return
			}
		}
	})
	switch {
	case failed != nil:
		return w, failed
	case !found:
		return w, usageError(fmt.Sprintf("session %s has no turn %d", id, turn), fmt.Sprintf("agenthost session show %s tells which it has", id))
	}
	w.evidence = evidence
	return w, err
}

func (w *writes) add(e ledger.Entry) error {
	switch e.Kind {
	case record.KindTurnEnd:
		w.end, w.ended = new(record.TurnEnd), e.Time
		return e.Decode(w.end)
	case record.KindOp:
		var op record.Op
		if err := e.Decode(&op); err != nil {
			return err
		}
		if op.Decision == record.Violated {
			w.refused = append(w.refused, refusal(e.Session, op))
			w.why[op.Path] = append(w.why[op.Path], op.Rule)
		}
	}
	return nil
}

// recorded is what the turn wrote, by path. Of a turn that was committed only the
// files in kept were not published.
func (w *writes) recorded(kept []session.KeptFile) map[string]record.File {
	files := map[string]record.File{}
	if w.end == nil || len(w.end.Publish) == 0 {
		for _, f := range w.evidence.RealizedWrites {
			files[f.Path] = f
		}
		return files
	}
	for _, p := range w.end.Publish {
		if slices.ContainsFunc(kept, func(f session.KeptFile) bool { return f.Path == p.Path }) {
			files[p.Path] = record.File{Path: p.Path, SHA256: p.SHA256, Size: p.Size}
			w.why[p.Path] = append(w.why[p.Path], record.CodeConflict)
		}
	}
	return files
}

// roles finds the role that the turn declared for a path, "" for none.
func (w *writes) roles(id string) func(path string) string {
	role := map[string]string{}
	var patterns []string
	for _, o := range w.evidence.DeclaredWrites {
		pattern := o.Path
		if rest, own := strings.CutPrefix(pattern, "output/"+id+"/"); own {
			pattern = "out/" + rest
		}
		if _, dup := role[pattern]; !dup {
			role[pattern] = o.Role
		}
		patterns = append(patterns, pattern)
	}
	declared, err := capability.New(capability.Grants{Write: patterns})
	if err != nil {
		return func(string) string { return "" }
	}
	declared = declared.Bind(id)
	return func(path string) string {
		grant, err := declared.Check(capability.Write, path)
		if err != nil {
			return ""
		}
		return role[grant.Pattern]
	}
}

// readKept puts together what the ledger says of a turn and what is kept of it.
// The caller closes what it returns, unless that is nil: then nothing is kept.
func readKept(ctx context.Context, root *session.Root, t target, hashing bool) (keptTurn, *session.Kept, error) {
	k := keptTurn{Session: string(t.id), Plane: t.plane, Turn: t.turn, Files: []keptFile{}}
	w, err := readWrites(root.LedgerPath(t.plane, t.id, record.ExecFile), string(t.id), t.turn)
	if err != nil {
		return k, nil, fmt.Errorf("%s: %w", t.id, err)
	}
	k.Refused = w.refused
	if w.end != nil {
		k.Status, k.Code, k.Message, k.Ended = w.end.Status, w.end.Code, w.end.Message, w.ended
	}
	kept, err := root.Kept(t.plane, t.id, t.turn)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil, nil
	}
	if err != nil {
		return k, nil, &failure{
			message: fmt.Sprintf("what is kept of turn %d of session %s cannot be read: %v", t.turn, t.id, err),
			hint:    changedByOthers, code: exitIntegrity, err: err,
		}
	}
	k.Kept, k.More = true, kept.More
	recorded, roleOf := w.recorded(kept.Files), w.roles(string(t.id))
	for _, f := range kept.Files {
		file := keptFile{Path: f.Path, Size: f.Size, Is: f.Unfit, Role: roleOf(f.Path), Why: w.why[f.Path], file: f}
		if r, ok := recordedAs(recorded, f.Path); ok {
			file.Recorded, file.size = &r.SHA256, r.Size
			delete(recorded, r.Path)
		}
		if hashing && f.Unfit == "" {
			if err := file.hash(ctx, kept); err != nil {
				if ctx.Err() != nil {
					return k, nil, errors.Join(ctx.Err(), kept.Close())
				}
				file.Is = err.Error()
			}
		}
		file.judge(k.Code)
		k.Files = append(k.Files, file)
	}
	for _, r := range recorded {
		if !kept.More {
			k.Files = append(k.Files, keptFile{Path: r.Path, Size: r.Size, Role: roleOf(r.Path), State: keptMissing, Recorded: &r.SHA256, Why: w.why[r.Path]})
		}
	}
	slices.SortFunc(k.Files, func(a, b keptFile) int { return strings.Compare(a.Path, b.Path) })
	for i := range k.Files {
		f := &k.Files[i]
		f.name = host.GuestName(k.Session, f.Path)
		if f.Why == nil {
			f.Why = []string{}
		}
	}
	return k, kept, nil
}

// hash computes the digest of what is kept.
func (f *keptFile) hash(ctx context.Context, kept *session.Kept) error {
	file, err := kept.Open(f.file)
	if err != nil {
		return err
	}
	defer file.Close()
	f.SHA256, f.Size, err = digestOf(ctx, file)
	return err
}

func digestOf(ctx context.Context, file io.Reader) (*ledger.Hash, int64, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, readerOf(ctx, file))
	h := ledger.Hash(sum.Sum(nil))
	return &h, n, err
}

// judge says what the file is. Code is the turn's.
func (f *keptFile) judge(code string) {
	switch {
	case f.Is != "":
		f.State = keptUnfit
	case f.Recorded == nil && code == record.CodeCrash:
		f.State = keptUnrecorded
	case f.Recorded == nil:
		f.State = keptForeign
	case f.SHA256 != nil && *f.SHA256 != *f.Recorded, f.Size != f.size:
		f.State = keptChanged
	default:
		f.State = keptRecorded
	}
}

// tampered tells files that are not what the turn left.
func (f *keptFile) tampered() bool { return f.State != keptRecorded && f.State != keptUnrecorded }

// tampered is the failure of a command that met such files; nil for none.
func tampered(t target, files []keptFile) error {
	n, first := 0, ""
	for _, f := range files {
		if f.tampered() {
			if n++; n == 1 {
				first = f.name
			}
		}
	}
	if n == 0 {
		return nil
	}
	which := first + " is"
	if n > 1 {
		which = fmt.Sprintf("%s and %d more are", first, n-1)
	}
	return &failure{
		message: fmt.Sprintf("%s not what turn %d of session %s left", which, t.turn, t.id),
		hint:    "what the ledger records is what the turn wrote; what lies there was put there by somebody else", code: exitIntegrity,
	}
}

// target names a turn of a session.
type target struct {
	id    session.ID
	plane string
	turn  int // 0: none was named
}

func (t target) String() string { return fmt.Sprintf("%s:%d", t.id, t.turn) }

// findTarget reads SESSION or SESSION:TURN.
func findTarget(root *session.Root, operand string) (target, error) {
	name, number, numbered := strings.Cut(operand, ":")
	var t target
	if numbered {
		turn, err := strconv.Atoi(number)
		if err != nil || turn < 1 {
			return t, usageError(fmt.Sprintf("%q is no turn of a session", operand), "write SESSION:TURN, as @last:2")
		}
		t.turn = turn
	}
	id, plane, err := found(root.FindKept(name))
	t.id, t.plane = id, plane
	return t, err
}

// lastKept is findTarget, but SESSION alone is its last turn of which something is
// kept.
func lastKept(root *session.Root, operand string) (target, error) {
	t, err := findTarget(root, operand)
	if err != nil || t.turn != 0 {
		return t, err
	}
	turns, err := root.KeptTurns(t.plane, t.id)
	if err != nil {
		return t, unreadable(t.id, err, changedByOthers)
	}
	if len(turns) == 0 {
		return t, usageError(fmt.Sprintf("nothing is kept of session %s", t.id), fmt.Sprintf("agenthost session show %s tells what its turns did", t.id))
	}
	t.turn = turns[len(turns)-1]
	return t, nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// readerOf is a reader that ends with ctx.
func readerOf(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
