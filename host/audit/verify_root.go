package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// RootOptions say what of a root is verified, and by what.
type RootOptions struct {
	// Session is the only one that is looked at; "" is all, and all other ledgers
	// of the root.
	Session session.ID
	// Receipts are of sessions that must be there.
	Receipts []Receipt
	// Progress, if set, is called as sessions are done: how many of how many. Never
	// by two goroutines at once.
	Progress func(done, of int)
}

// VerifyRoot judges the sessions of a root, its registers, and the ledgers that
// hosts seal in it, in this order, sessions by id. Hosts that are trusted are those of
// [session.Root.Hosts]. What is wrong with one hinders no other; what is not there
// and should be has a verdict, too. It writes nothing, waits for no lock, and can run
// beside turns. The error is that of ctx, of the list of trusted hosts, or of a
// folder that cannot be listed.
func VerifyRoot(ctx context.Context, root *session.Root, o RootOptions) ([]Verdict, error) {
	trusted, err := root.Hosts()
	if err != nil {
		return nil, err
	}
	r := &rootVisit{registers: readRegisters(root, trusted), opts: o}
	places, err := r.places()
	if err != nil {
		return nil, err
	}
	verdicts := append(r.sessions(ctx, places), r.absent(places)...)
	slices.SortStableFunc(verdicts, func(a, b Verdict) int {
		return cmp.Or(strings.Compare(a.Session, b.Session), strings.Compare(a.Plane, b.Plane))
	})
	for _, plane := range session.Planes() {
		verdicts = append(verdicts, r.register(plane)...)
	}
	if o.Session == "" {
		more, err := r.hostLedgers()
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, more...)
	}
	return verdicts, ctx.Err()
}

// rootVisit is one run of VerifyRoot.
type rootVisit struct {
	*registers
	opts RootOptions
}

// places are where the sessions lie.
func (r *rootVisit) places() (all []place, err error) {
	dir := r.root.Folder()
	if dir == nil {
		return nil, nil
	}
	for _, plane := range session.Planes() {
		entries, err := dir.ReadDir("planes/" + plane + "/sessions")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			id, err := session.ParseID(e.Name)
			if err == nil && e.Type.IsDir() && (r.opts.Session == "" || id == r.opts.Session) {
				all = append(all, place{plane, id})
			}
		}
	}
	return all, nil
}

// sessions judges those that are there, several at once.
func (r *rootVisit) sessions(ctx context.Context, places []place) []Verdict {
	verdicts := make([]Verdict, len(places))
	var next, done atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(len(places), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(places) || ctx.Err() != nil {
					return
				}
				verdicts[i] = r.session(places[i])
				if r.opts.Progress != nil {
					mu.Lock()
					r.opts.Progress(int(done.Add(1)), len(places))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(verdicts, func(v Verdict) bool { return v.Word == "" }) // removed meanwhile
}

func (r *rootVisit) session(p place) Verdict {
	v, _ := r.registers.session(p, func() Known {
		return Known{Session: string(p.id), Plane: p.plane, Receipts: r.receipts(p)}
	})
	return v
}

func (r *rootVisit) receipts(p place) (of []Receipt) {
	for _, receipt := range r.opts.Receipts {
		if receipt.Plane == p.plane && receipt.Session == string(p.id) {
			of = append(of, receipt)
		}
	}
	return of
}

// absent are the sessions that are not there, and should be.
func (r *rootVisit) absent(there []place) (verdicts []Verdict) {
	gone := map[place]bool{}
	for _, plane := range session.Planes() {
		verdicts = append(verdicts, r.lost(plane, there, gone)...)
	}
	for _, receipt := range r.opts.Receipts {
		p := place{receipt.Plane, session.ID(receipt.Session)}
		if slices.Contains(there, p) || gone[p] || r.opts.Session != "" && p.id != r.opts.Session {
			continue
		}
		gone[p] = true
		if r.pruned(p) {
			verdicts = append(verdicts, Verdict{Word: Pruned, Session: string(p.id), Plane: p.plane})
			continue
		}
		verdicts = append(verdicts, deleted(p, fmt.Sprintf("the receipt %s has %d entries of it, and it is not here: it was deleted", receipt.Name, receipt.Checkpoint.Size)))
	}
	return verdicts
}

func deleted(p place, why string) Verdict {
	return Verdict{Word: Broken, Session: string(p.id), Plane: p.plane, Err: &ledger.IntegrityError{File: p.path() + "/ledger/" + record.ExecFile, Reason: why}}
}

// hostLedgers judges the ledgers that hosts seal.
func (r *rootVisit) hostLedgers() (verdicts []Verdict, err error) {
	dir := r.root.Folder()
	if dir == nil {
		return nil, nil
	}
	if r.root.Control() || r.knows("ho3", record.GovernanceSession) {
		verdicts = append(verdicts, r.hostLedger(governancePath, func(see func(ledger.Entry, ledger.Body) error) (ledger.Report, error) {
			_, report, err := plane.Look(r.root, func(e ledger.Entry, body ledger.Body) {
				see(e, body) //nolint:errcheck // it is nil
			})
			return report, err
		}))
	}
	heads, _ := plane.ReadHeads(r.root) //nolint:errcheck // the register has a verdict of its own
	for _, bad := range heads.Missing(r.root) {
		verdicts = append(verdicts, Verdict{Word: Broken, File: bad.File, Single: true, Err: bad})
	}
	entries, err := dir.ReadDir(claimsTop)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		id, isLedger := strings.CutSuffix(e.Name, ".jsonl")
		if isLedger && archive.CheckID("WO", id) == nil {
			verdicts = append(verdicts, r.hostLedger(claimsTop+"/"+e.Name, func(see func(ledger.Entry, ledger.Body) error) (ledger.Report, error) {
				return plane.LookAtClaims(r.root, heads, id, see)
			}))
		}
	}
	context := ledgersTop + "/" + record.ContextFile
	if _, err := dir.Stat(context); !errors.Is(err, fs.ErrNotExist) {
		verdicts = append(verdicts, r.hostLedger(context, func(see func(ledger.Entry, ledger.Body) error) (ledger.Report, error) {
			return plane.LookAtSnapshots(r.root, heads, see)
		}))
	}
	return verdicts, nil
}

func (r *rootVisit) hostLedger(path string, look func(func(ledger.Entry, ledger.Body) error) (ledger.Report, error)) Verdict {
	v := Verdict{File: path, Single: true}
	var hosts record.HostKeys
	v.Ledger, v.Err = look(func(e ledger.Entry, _ ledger.Body) error {
		if e.Kind == record.KindHostKey {
			return hosts.Saw(e)
		}
		return nil
	})
	v.Hosts = distinct(hosts.Hosts())
	if errors.Is(v.Err, fs.ErrNotExist) {
		v.Err = &ledger.IntegrityError{File: path, Reason: "it is missing"}
	}
	v.judge(path, r.trusted)
	return v
}

func distinct(hosts []ledger.Verifier) (each []ledger.Verifier) {
	for _, h := range hosts {
		if !slices.ContainsFunc(each, func(o ledger.Verifier) bool { return o.Equal(h) }) {
			each = append(each, h)
		}
	}
	return each
}
