// Package audittest makes sessions for tests of the read side, with the ledgers,
// blobs and published files that a host would leave. It runs nothing.
package audittest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// A File is a name as ledgers spell it, and a content.
type File struct{ Path, Content string }

// A Turn reads files, runs commands, then writes files, which are published unless Code says why
// the turn was blocked.
type Turn struct {
	Reads, Writes []File
	Code          string
	WorkOrder     string
	Runs          []string // words of commands that it ran, which saw nothing and made nothing
}

// A Session is what one is to be.
type Session struct {
	ID      session.ID
	Plane   string
	Package record.Package
	Turns   []Turn
	Open    bool // it is not closed
}

// Make makes a session in a root. Files that are read need not be there; what is
// there in the place of one that is published is replaced.
func Make(ctx context.Context, root *session.Root, s Session) error {
	made, err := root.Create(ctx, session.Opening{
		ID: s.ID, Plane: s.Plane, Seed: []byte("seed of " + s.ID),
		Open: record.SessionOpen{Agenthost: "test", Package: s.Package, ModuleSHA256: hashOf("module"), Engine: "none", Arch: "none"},
	})
	if err != nil {
		return err
	}
	for n, t := range s.Turns {
		m := maker{s: made, root: root, turn: n + 1}
		if err := m.make(ctx, t); err != nil {
			return errors.Join(fmt.Errorf("turn %d: %w", n+1, err), made.Leave())
		}
	}
	if s.Open {
		return made.Leave()
	}
	return made.Close()
}

// ID is the id of the nth session that [Many] makes.
func ID(n int) session.ID {
	return session.ID("SES-20260101T000000000Z-" + fmt.Sprintf("%07d", n))
}

// Many makes n closed sessions of one turn each, in parallel. The nth is of
// package PKG-T3-MANY-00(n%10), reads docs/(n%100).md and what session n-1
// published, and publishes output/SID/report.md, and every tenth one
// reports/n.md.
func Many(ctx context.Context, root *session.Root, n int) error {
	const workers = 8
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				errs[w] = Make(ctx, root, Nth(i))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Nth is the nth session of [Many].
func Nth(n int) Session {
	report := func(n int) File {
		return File{fmt.Sprintf("output/%s/report.md", ID(n)), fmt.Sprintf("the report of session %d\n", n)}
	}
	t := Turn{
		Reads:  []File{{fmt.Sprintf("docs/%d.md", n%100), fmt.Sprintf("document %d\n", n%100)}},
		Writes: []File{report(n)},
	}
	if n > 0 {
		t.Reads = append(t.Reads, report(n-1))
	}
	if n%10 == 0 {
		t.Writes = append(t.Writes, File{fmt.Sprintf("reports/%d.md", n), fmt.Sprintf("a copy of report %d\n", n)})
	}
	pkg := record.Package{ID: fmt.Sprintf("PKG-T3-MANY-00%d", n%10), Version: "1.0.0", SHA256: hashOf(fmt.Sprint("package ", n%10))}
	return Session{ID: ID(n), Plane: "ho1", Package: pkg, Turns: []Turn{t}}
}

// maker makes one turn.
type maker struct {
	s     *session.Session
	root  *session.Root
	turn  int
	begun ledger.Entry
}

func (m *maker) make(ctx context.Context, t Turn) error {
	staging, err := m.s.Begin(m.turn)
	if err != nil {
		return err
	}
	if err := m.begin(t); err != nil {
		return err
	}
	realized, err := m.stage(staging, t.Writes)
	if err != nil {
		return err
	}
	proof, err := m.evidence()
	if err != nil {
		return err
	}
	if err := m.s.Prove(&proof); err != nil {
		return err
	}
	result, err := m.s.Blob([]byte("done\n"))
	if err != nil {
		return err
	}
	if t.Code != "" {
		_, err := m.s.End(record.TurnEnd{Status: record.StatusBlocked, Code: t.Code, Result: &result})
		if err == nil {
			_, err = staging.Block()
		}
		return err
	}
	publications, problems, err := staging.Copy(ctx, realized)
	if err != nil || problems != nil {
		return fmt.Errorf("copying: %v %w", problems, err)
	}
	commit, err := staging.Lock(ctx, publications)
	if err != nil {
		return err
	}
	defer commit.Release() //nolint:errcheck // after Commit it does nothing
	if problems, err := commit.Check(ctx); err != nil || problems != nil {
		return fmt.Errorf("checking: %v %w", problems, err)
	}
	if err := commit.Prepare(ctx); err != nil {
		return err
	}
	_, findings, err := commit.Commit(ctx, record.TurnEnd{Status: record.StatusOK, Result: &result, Fuel: 1000, MemoryBytes: 1 << 20, WallNS: int64(time.Millisecond)})
	if err == nil && findings != nil {
		err = fmt.Errorf("committing: %v", findings)
	}
	return err
}

// begin appends turn.begin and the reads.
func (m *maker) begin(t Turn) (err error) {
	query, err := m.s.Blob([]byte("{}"))
	if err != nil {
		return err
	}
	m.begun, err = m.s.Exec.Append(m.turn, record.TurnBegin{
		RightsSHA256: hashOf("rights"), PolicySHA256: hashOf("policy"), WorkOrder: t.WorkOrder,
		AsOf: "2026-01-01T00:00:00.000Z", Query: &query, Limits: record.Limits{Memory: 1 << 20},
	})
	for _, f := range t.Reads {
		size, sum := int64(len(f.Content)), hashOf(f.Content)
		if err == nil {
			_, err = m.op(record.Op{Path: f.Path, Flags: "read", Decision: record.Granted, Rule: "**", Size: &size, SHA256: &sum})
		}
	}
	for _, words := range t.Runs {
		if err == nil {
			err = m.run(words)
		}
	}
	return err
}

// run appends the entries of a command.
func (m *maker) run(words string) error {
	var blobs [4]record.Blob
	for i, content := range []string{`["` + words + `"]`, "", "said " + words, "warned of " + words} {
		var err error
		if blobs[i], err = m.s.Blob([]byte(content)); err != nil {
			return err
		}
	}
	if _, err := m.s.Exec.Append(m.turn, record.Op{Op: record.OpExec, Via: record.ViaABI, Path: words, Decision: record.Granted, Rule: words, Errno: record.ErrnoSuccess}); err != nil {
		return err
	}
	fence := record.Fence{Tier: record.FenceFull, Kernel: "test", Namespaces: []string{"user"}, NoNewPrivileges: 1, Seccomp: 2, Processes: "pid_max", Memory: "polled"}
	fence.Limits = record.CommandLimits{TimeMS: 1, CPUMS: 1, Memory: 1, Processes: 1, OpenFiles: 1, FileSize: 1, Files: 1, Bytes: 1, Output: 1}
	start, err := m.s.Exec.Append(m.turn, record.ExecStart{
		Argv: blobs[0], Dir: ".", Program: record.File{Path: "/usr/bin/" + words, SHA256: hashOf(words), Size: 1},
		Stdin: record.Content{SHA256: hashOf("")}, View: record.View{Blob: blobs[1]}, Fence: fence,
	})
	if err == nil {
		_, err = m.s.Exec.Append(m.turn, record.ExecEnd{Of: start.Seq, Stdout: &blobs[2], Stderr: &blobs[3], Usage: &record.Usage{}, Fence: &fence})
	}
	return err
}

func (m *maker) op(o record.Op) (ledger.Entry, error) {
	o.Op, o.Via, o.Errno = record.OpOpen, record.ViaWASI, record.ErrnoSuccess
	return m.s.Exec.Append(m.turn, o)
}

// stage stages files, with the entries that speak of them.
func (m *maker) stage(staging *session.Staging, files []File) ([]session.Realized, error) {
	var list []session.Realized
	for _, f := range files {
		r := session.Realized{Path: f.Path, Area: session.AreaWorkspace, Staged: f.Path, Role: "report"}
		dir := staging.Workspace
		if rest, own := strings.CutPrefix(f.Path, m.s.OutputName()+"/"); own {
			r.Area, r.Staged, dir = session.AreaOut, rest, staging.Out
		}
		if there, err := m.root.There(m.s.ID, f.Path); err == nil {
			sum, err := ledgerSum(there)
			if err != nil {
				return nil, err
			}
			r.Base = &sum
		}
		if folder := path.Dir(r.Staged); folder != "." {
			if _, err := dir.MkdirAll(folder, 0o700); err != nil {
				return nil, err
			}
		}
		staged, err := dir.OpenFile(r.Staged, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		_, err = staged.WriteString(f.Content)
		if err := errors.Join(err, staged.Close()); err != nil {
			return nil, err
		}
		e, err := m.op(record.Op{Path: f.Path, Flags: "write,create,trunc", Decision: record.Granted, Rule: "**"})
		if err != nil {
			return nil, err
		}
		if _, err := m.s.Exec.Append(m.turn, record.Digest{Of: e.Seq, SHA256: hashOf(f.Content), Size: int64(len(f.Content))}); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// ledgerSum is the digest of a small file, which it closes.
func ledgerSum(f *os.File) (ledger.Hash, error) {
	info, err := f.Stat()
	b := make([]byte, 0)
	if err == nil {
		b = make([]byte, info.Size())
		_, err = f.ReadAt(b, 0)
	}
	return ledger.Sum(b), errors.Join(err, f.Close())
}

// evidence computes what the turn's entries prove.
func (m *maker) evidence() (record.TurnEvidence, error) {
	var failed error
	proof, err := record.Evidence(func(yield func(ledger.Entry) bool) {
		for e, err := range m.s.Exec.Since(m.begun) {
			if failed = err; err != nil || !yield(e) {
				return
			}
		}
	})
	return proof, errors.Join(failed, err)
}

func hashOf(s string) ledger.Hash { return ledger.Sum([]byte(s)) }
