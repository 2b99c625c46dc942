package record

import "github.com/agenthost/agenthost/ledger"

// Kinds of entries of governance.jsonl: each is one change of a control plane,
// or one that was refused.
const (
	KindControlInit      = "control.init"
	KindTokenRotate      = "token.rotate"
	KindSignerTrust      = "signer.trust"
	KindSignerDistrust   = "signer.distrust"
	KindPackageStore     = "package.store"
	KindPackageInstall   = "package.install"
	KindPackageUninstall = "package.uninstall"
	KindRegistryRebuild  = "registry.rebuild"
	KindSessionPrune     = "session.prune"
	KindSessionErase     = "session.erase"
	KindLedgerRepair     = "ledger.repair"
	KindChangeRefused    = "change.refused"
)

// GovernanceFile is the ledger of a control plane, in the folder ledger of its
// root, and GovernanceSession what stands in its lines for a session.
const (
	GovernanceFile    = "governance.jsonl"
	GovernanceSession = "governance"
)

// GovernanceOptions are the options under which governance.jsonl is written and
// read: each of its entries is on disk before anything follows from it.
func GovernanceOptions() ledger.Options {
	return hostedOptions(GovernanceSession)
}

// DecodeGovernance returns the body of an entry of governance.jsonl, as [Decode]
// does of a session's.
func DecodeGovernance(e ledger.Entry) (ledger.Body, error) {
	switch e.Kind {
	case KindControlInit:
		return decode[ControlInit](e)
	case KindTokenRotate:
		return decode[TokenRotate](e)
	case KindSignerTrust:
		return decode[SignerTrust](e)
	case KindSignerDistrust:
		return decode[SignerDistrust](e)
	case KindPackageStore:
		return decode[PackageStore](e)
	case KindPackageInstall:
		return decode[PackageInstall](e)
	case KindPackageUninstall:
		return decode[PackageUninstall](e)
	case KindRegistryRebuild:
		return decode[RegistryRebuild](e)
	case KindSessionPrune:
		return decode[SessionPrune](e)
	case KindSessionErase:
		return decode[SessionErase](e)
	case KindLedgerRepair:
		return decode[LedgerRepair](e)
	case KindChangeRefused:
		return decode[ChangeRefused](e)
	}
	return decodeHosted(e, "this version does not know the kind")
}

// Actor is the user of the operating system who asked for a change. It says who
// ran the program; that they held the token is what made it a change.
type Actor struct {
	UID  int64  `json:"uid"`
	User string `json:"user,omitempty"` // the name, where the system knows one
}

func (a Actor) appendMembers(m *ledger.Members) {
	m.Int("uid", a.UID)
	text(m, "user", a.User)
}

// ControlInit is the first entry of governance.jsonl.
type ControlInit struct {
	By        Actor       `json:"by"`
	Agenthost string      `json:"agenthost"` // version of the program
	Token     ledger.Hash `json:"token"`     // of the file that keeps the token's hash, not the token's
}

// Kind implements [ledger.Body].
func (ControlInit) Kind() string { return KindControlInit }

// AppendMembers implements [ledger.Body].
func (c ControlInit) AppendMembers(m *ledger.Members) {
	m.Object("by", c.By.appendMembers)
	m.Str("agenthost", c.Agenthost)
	m.Hash("token", c.Token)
}

// TokenRotate replaces the admin token.
type TokenRotate struct {
	By    Actor       `json:"by"`
	Token ledger.Hash `json:"token"`          // as in ControlInit
	Lost  bool        `json:"lost,omitempty"` // the old one was not shown: somebody at a terminal said that it is lost
}

// Kind implements [ledger.Body].
func (TokenRotate) Kind() string { return KindTokenRotate }

// AppendMembers implements [ledger.Body].
func (t TokenRotate) AppendMembers(m *ledger.Members) {
	m.Object("by", t.By.appendMembers)
	m.Hash("token", t.Token)
	isTrue(m, "lost", t.Lost)
}

// SignerTrust adds a key to those whose signatures count here.
type SignerTrust struct {
	By  Actor  `json:"by"`
	Key string `json:"key"` // a verifier key, NAME+HASH+KEY
}

// Kind implements [ledger.Body].
func (SignerTrust) Kind() string { return KindSignerTrust }

// AppendMembers implements [ledger.Body].
func (s SignerTrust) AppendMembers(m *ledger.Members) {
	m.Object("by", s.By.appendMembers)
	m.Str("key", s.Key)
}

// SignerDistrust takes a key away again.
type SignerDistrust struct {
	By  Actor  `json:"by"`
	Key string `json:"key"`
}

// Kind implements [ledger.Body].
func (SignerDistrust) Kind() string { return KindSignerDistrust }

// AppendMembers implements [ledger.Body].
func (s SignerDistrust) AppendMembers(m *ledger.Members) {
	m.Object("by", s.By.appendMembers)
	m.Str("key", s.Key)
}

// PackageStore puts a packed package into packages_store. One that was there
// under the same id is replaced.
type PackageStore struct {
	By      Actor       `json:"by"`
	Package Package     `json:"package"`
	Archive ledger.Hash `json:"archive"` // SHA-256 of the file
	Size    int64       `json:"size"`    // of the file, in bytes
}

// Kind implements [ledger.Body].
func (PackageStore) Kind() string { return KindPackageStore }

// AppendMembers implements [ledger.Body].
func (p PackageStore) AppendMembers(m *ledger.Members) {
	m.Object("by", p.By.appendMembers)
	m.Object("package", p.Package.appendMembers)
	m.Hash("archive", p.Archive)
	m.Int("size", p.Size)
}

// Dependency is a package another one needs, with the range of versions that
// will do.
type Dependency struct {
	ID      string `json:"id"`
	Version string `json:"version,omitempty"`
}

func (d Dependency) appendMembers(m *ledger.Members) {
	m.Str("id", d.ID)
	text(m, "version", d.Version)
}

// PackageInstall makes a package active in a plane, in the place of the version
// that was there.
type PackageInstall struct {
	By           Actor        `json:"by"`
	Package      Package      `json:"package"`
	Plane        string       `json:"plane"`
	Name         string       `json:"name,omitempty"`
	SpecID       string       `json:"spec_id,omitempty"`
	Tier         string       `json:"tier,omitempty"`
	Dependencies []Dependency `json:"dependencies"`
	Files        int64        `json:"files"`   // the manifest counted
	Archive      ledger.Hash  `json:"archive"` // SHA-256 of the file in packages_store
	Size         int64        `json:"size"`    // of that file, in bytes
	Signer       string       `json:"signer,omitempty"`
	Signature    string       `json:"signature,omitempty"` // the signed note
	Replaces     *Package     `json:"replaces,omitempty"`
	Gained       []string     `json:"gained,omitempty"`  // rights it has and the version before had not, accepted by its digest
	Forced       bool         `json:"forced,omitempty"`  // an earlier version than the one before
	Rotated      bool         `json:"rotated,omitempty"` // another signer than the one before
}

// Kind implements [ledger.Body].
func (PackageInstall) Kind() string { return KindPackageInstall }

// AppendMembers implements [ledger.Body].
func (p PackageInstall) AppendMembers(m *ledger.Members) {
	m.Object("by", p.By.appendMembers)
	m.Object("package", p.Package.appendMembers)
	m.Str("plane", p.Plane)
	text(m, "name", p.Name)
	text(m, "spec_id", p.SpecID)
	text(m, "tier", p.Tier)
	list(m, "dependencies", p.Dependencies)
	m.Int("files", p.Files)
	m.Hash("archive", p.Archive)
	m.Int("size", p.Size)
	text(m, "signer", p.Signer)
	text(m, "signature", p.Signature)
	if p.Replaces != nil {
		m.Object("replaces", p.Replaces.appendMembers)
	}
	if len(p.Gained) > 0 {
		words(m, "gained", p.Gained)
	}
	isTrue(m, "forced", p.Forced)
	isTrue(m, "rotated", p.Rotated)
}

// PackageUninstall takes a package out of a plane.
type PackageUninstall struct {
	By      Actor   `json:"by"`
	Package Package `json:"package"`
	Plane   string  `json:"plane"`
	Stored  bool    `json:"stored,omitempty"` // its archive stays in packages_store
}

// Kind implements [ledger.Body].
func (PackageUninstall) Kind() string { return KindPackageUninstall }

// AppendMembers implements [ledger.Body].
func (p PackageUninstall) AppendMembers(m *ledger.Members) {
	m.Object("by", p.By.appendMembers)
	m.Object("package", p.Package.appendMembers)
	m.Str("plane", p.Plane)
	isTrue(m, "stored", p.Stored)
}

// RegistryRebuild writes the registry anew from this ledger.
type RegistryRebuild struct {
	By     Actor       `json:"by"`
	Was    ledger.Hash `json:"was,omitzero"` // what the file was; zero if there was none
	SHA256 ledger.Hash `json:"sha256"`       // what it is now
}

// Kind implements [ledger.Body].
func (RegistryRebuild) Kind() string { return KindRegistryRebuild }

// AppendMembers implements [ledger.Body].
func (r RegistryRebuild) AppendMembers(m *ledger.Members) {
	m.Object("by", r.By.appendMembers)
	if !r.Was.IsZero() {
		m.Hash("was", r.Was)
	}
	m.Hash("sha256", r.SHA256)
}

// SessionPrune says that the record of a session is removed, and how it ended:
// it is there before the record goes.
type SessionPrune struct {
	By        Actor        `json:"by"`
	SessionID string       `json:"session_id"`
	Plane     string       `json:"plane"`
	Exec      EvidenceHead `json:"exec"` // heads of both ledgers
	Evidence  EvidenceHead `json:"evidence"`
	Published bool         `json:"published,omitempty"` // what it published under output/ goes too
}

// Kind implements [ledger.Body].
func (SessionPrune) Kind() string { return KindSessionPrune }

// AppendMembers implements [ledger.Body].
func (s SessionPrune) AppendMembers(m *ledger.Members) {
	m.Object("by", s.By.appendMembers)
	m.Str("session_id", s.SessionID)
	m.Str("plane", s.Plane)
	m.Object("exec", s.Exec.appendMembers)
	m.Object("evidence", s.Evidence.appendMembers)
	isTrue(m, "published", s.Published)
}

// SessionErase says who had blobs of a session deleted. It is there before the
// session's own record says so, and so before they go.
type SessionErase struct {
	By        Actor         `json:"by"`
	SessionID string        `json:"session_id"`
	Plane     string        `json:"plane"`
	Blobs     []ledger.Hash `json:"blobs"`
	Why       string        `json:"why"`
}

// Kind implements [ledger.Body].
func (SessionErase) Kind() string { return KindSessionErase }

// AppendMembers implements [ledger.Body].
func (s SessionErase) AppendMembers(m *ledger.Members) {
	m.Object("by", s.By.appendMembers)
	m.Str("session_id", s.SessionID)
	m.Str("plane", s.Plane)
	m.Array("blobs", func(m *ledger.Members) {
		for _, h := range s.Blobs {
			m.Hash("", h)
		}
	})
	m.Str("why", s.Why)
}

// LedgerRepair says who accepted what was lost of a session or of a register. It is
// there before anything is set aside.
type LedgerRepair struct {
	By     Actor  `json:"by"`
	Ledger string `json:"ledger"` // a session's id, or the name of a file from the root
	Plane  string `json:"plane"`
	Fault  string `json:"fault"` // what was wrong
}

// Kind implements [ledger.Body].
func (LedgerRepair) Kind() string { return KindLedgerRepair }

// AppendMembers implements [ledger.Body].
func (r LedgerRepair) AppendMembers(m *ledger.Members) {
	m.Object("by", r.By.appendMembers)
	m.Str("ledger", r.Ledger)
	m.Str("plane", r.Plane)
	m.Str("fault", r.Fault)
}

// ChangeRefused is a change that was asked for and did not happen.
type ChangeRefused struct {
	By      Actor       `json:"by"`
	Change  string      `json:"change"` // the kind of the entry there would be
	Subject string      `json:"subject,omitempty"`
	SHA256  ledger.Hash `json:"sha256,omitzero"` // of the package it was about
	Code    string      `json:"code"`
	Message string      `json:"message"`
}

// Kind implements [ledger.Body].
func (ChangeRefused) Kind() string { return KindChangeRefused }

// AppendMembers implements [ledger.Body].
func (c ChangeRefused) AppendMembers(m *ledger.Members) {
	m.Object("by", c.By.appendMembers)
	m.Str("change", c.Change)
	text(m, "subject", c.Subject)
	if !c.SHA256.IsZero() {
		m.Hash("sha256", c.SHA256)
	}
	m.Str("code", c.Code)
	m.Str("message", c.Message)
}
