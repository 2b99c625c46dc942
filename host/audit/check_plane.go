package audit

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Bounds of files that are read whole, in bytes.
const (
	maxToken     = 4 << 10
	maxPolicy    = 1 << 20
	maxView      = 256 << 20
	maxSignature = 64 << 10
)

const (
	governancePath = "ledger/" + record.GovernanceFile
	registryPath   = "registries/packages_registry.csv"
)

// governed is what governance.jsonl says.
type governed struct {
	whole  bool // it was read to its end; else nothing is to be compared with it
	state  plane.State
	pruned map[session.ID]*record.SessionPrune
	policy *policy.Policy // that holds for the root; nil if it cannot be read

	lastPrune time.Time
}

// governance verifies the ledger of a control plane.
func (c *check) governance(s *scope) *governed {
	g := &governed{pruned: map[session.ID]*record.SessionPrune{}}
	if !c.root.Control() {
		return g
	}
	entries, ok := c.folder(s, "ledger", ours)
	there := false
	var debris []string
	for _, e := range entries {
		switch {
		case e.Name == record.GovernanceFile:
			_, there = c.file(s, governancePath, ours)
			ok = ok && there
		case strings.HasPrefix(e.Name, record.GovernanceFile+".torn-") && e.Type.IsRegular():
			debris = append(debris, e.Name)
		default:
			c.unexpected(s, "ledger", changeLock, e, record.GovernanceFile)
		}
	}
	if !there {
		if ok || entries == nil {
			s.add(CodeGovernanceMissing, governancePath, "it is missing: nothing says what is installed and who may change it")
		}
		return g
	}
	noted := map[string]bool{}
	state, report, err := plane.Look(c.root, func(e ledger.Entry, body ledger.Body) {
		switch b := body.(type) {
		case record.SessionPrune:
			g.pruned[session.ID(b.SessionID)], g.lastPrune = &b, e.Time
		case record.Recovered:
			noted[b.File] = true
		}
	})
	g.state = state
	s.changes = int(report.Entries) //nolint:gosec // entries of a file
	g.whole = c.verified(s, governancePath, CodeGovernanceBroken, changeLock, report, err)
	if g.whole && report.Sealed == 0 {
		s.put(Finding{Code: CodeGovernanceBroken, Path: governancePath, Message: "it has no entries: a control plane begins with control.init"})
		g.whole = false
	}
	for _, name := range debris {
		if !noted[name] && g.whole && !c.locked(changeLock) {
			s.add(CodeLeftover, "ledger/"+name, "debris of a crash that no entry notes")
		}
	}
	return g
}

// control looks at control/ and at what follows from the ledger alone.
func (c *check) control(s *scope, g *governed) {
	not := ours
	names := []string{"policy.json"}
	if c.root.Control() {
		not, names = private, []string{"token", "trusted_keys", "policy.json", "lock"}
	}
	entries, _ := c.folder(s, "control", not)
	there := map[string]bool{}
	for _, e := range entries {
		path := "control/" + e.Name
		switch {
		case slices.Contains(names, e.Name):
			_, there[e.Name] = c.file(s, path, not)
		case c.root.Control():
			c.unexpected(s, "control", changeLock, e, names...)
		default:
			c.orphan(s, path, e.Type, names...)
		}
	}
	if there["policy.json"] {
		if b, ok := c.read(s, "control/policy.json", maxPolicy); ok {
			p, err := policy.Parse("control/policy.json", b)
			if err != nil {
				s.add(CodePolicy, "control/policy.json", "%s", strings.TrimPrefix(err.Error(), "control/policy.json: "))
			} else {
				g.policy = p
			}
		}
	} else if p, err := policy.Default(); err == nil {
		g.policy = p
	}
	if !g.whole {
		return
	}
	c.token(s, g, there["token"])
	c.views(s, g, there["trusted_keys"])
}

func (c *check) token(s *scope, g *governed, there bool) {
	const path = "control/token"
	if !there {
		s.add(CodeTokenMissing, path, "it is missing: nobody can change the control plane")
		return
	}
	if b, ok := c.read(s, path, maxToken); ok && ledger.Sum(b) != g.state.Token {
		s.add(CodeTokenChanged, path, "it is not the file that the ledger speaks of: another token may count")
	}
}

// views compares what follows from governance.jsonl with it.
func (c *check) views(s *scope, g *governed, trusted bool) {
	var keys strings.Builder
	for _, key := range g.state.Trusted {
		keys.WriteString(key + "\n")
	}
	const path = "control/trusted_keys"
	if !trusted {
		s.add(CodeTrustedKeys, path, "it is missing")
	} else if b, ok := c.read(s, path, maxView); ok && string(b) != keys.String() {
		s.add(CodeTrustedKeys, path, "it is not what the ledger says: it was changed by hand")
	}
	entries, _ := c.folder(s, "registries", ours)
	there := false
	for _, e := range entries {
		if name := strings.TrimPrefix(registryPath, "registries/"); e.Name != name {
			c.unexpected(s, "registries", changeLock, e, name)
		} else if _, there = c.file(s, registryPath, ours); !there {
			return
		}
	}
	if !there {
		s.add(CodeRegistryMissing, registryPath, "it is missing")
		return
	}
	b, ok := c.read(s, registryPath, maxView)
	if want := plane.RegistryCSV(g.state); ok && !bytes.Equal(b, want) {
		s.put(Finding{Code: CodeRegistryChanged, Path: registryPath, Line: differs(b, want), Message: "it is not what the ledger says: it was changed by hand"})
	}
}

// differs is the first line, from 1, in which two texts differ.
func differs(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return 1 + bytes.Count(a[:n], []byte("\n"))
}

// store compares packages_store with the ledger.
func (c *check) store(s *scope, g *governed) {
	if !g.whole {
		return
	}
	entries, _ := c.folder(s, storeTop, ours)
	there := map[string]bool{}
	var archives []string
	for _, e := range entries {
		path := storeTop + "/" + e.Name
		name, signature := strings.CutSuffix(e.Name, archive.SignatureSuffix)
		id, isArchive := strings.CutSuffix(name, ".tar.gz")
		if _, stored := g.state.Stored[id]; !isArchive || !stored {
			c.unexpected(s, storeTop, changeLock, e)
			continue
		}
		if _, ok := c.file(s, path, ours); !ok {
			there[e.Name] = true // and is found
			continue
		}
		there[e.Name] = true
		if !signature {
			archives = append(archives, id)
		} else if b, ok := c.read(s, path, maxSignature); ok {
			c.signature(s, path, g.state.Stored[id].Package, b, g.state.Trusted)
		}
	}
	for id := range g.state.Stored {
		if name := id + ".tar.gz"; !there[name] {
			s.add(CodeArchiveMissing, storeTop+"/"+name, "the archive of %s %s is missing", id, g.state.Stored[id].Package.Version)
		}
	}
	c.each(s, "archives", len(archives), func(i int, s *scope) {
		id := archives[i]
		path, stored := storeTop+"/"+id+".tar.gz", g.state.Stored[id]
		switch same, err := c.same(path, stored.Archive, stored.Size); {
		case err != nil:
			s.add(CodeUnreadable, path, "it cannot be read: %s", plain(err))
		case !same:
			s.add(CodeArchiveChanged, path, "it is not the archive of %s %s that the ledger speaks of", id, stored.Package.Version)
		}
		s.checked.Files++
	})
}

// signature finds a signature that is none of a package, or that one of keys gave
// and that does not verify.
func (c *check) signature(s *scope, path string, p record.Package, signature []byte, keys []string) {
	named := &archive.Package{Manifest: archive.Manifest{ID: p.ID, Version: p.Version}, Digest: p.SHA256}
	_, err := archive.CheckSignature(named, signature, keys)
	var bad *archive.SignatureError
	if errors.As(err, &bad) && bad.Signers != nil {
		return // somebody's whom nobody here trusts
	}
	if err != nil {
		s.add(CodeSignatureInvalid, path, "%s", err)
	}
}

// whole is the key of what was found to be as it should.
type whole struct {
	path   string
	digest ledger.Hash
}

// same reports whether a file has that content. What had it in an earlier round
// and was not touched since has it.
func (c *check) same(path string, want ledger.Hash, size int64) (bool, error) {
	f, info, err := c.open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if info.Size != size {
		return false, nil
	}
	return c.sameOpen(f, whole{path, want})
}

// abs is the path of something in the root.
func (c *check) abs(path string) string {
	return filepath.Join(c.root.Path(), filepath.FromSlash(path))
}
