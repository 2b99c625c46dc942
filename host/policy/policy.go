// Package policy is the operator's side: what packages may be granted on this
// machine. It reads the policy file and work orders and, with [Effective], turns
// what a manifest asks and what an operator grants into the one enforcer a turn
// gets. It asks nobody, enforces nothing and knows no sessions.
package policy

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/ledger"
)

// Schema is the schema this program reads.
const Schema = "agenthost/policy/v1"

// Policy is what an operator grants. A policy is not changed after it was read.
type Policy struct {
	Source string      `json:"-"` // BuiltIn, or the file it was read from
	SHA256 ledger.Hash `json:"-"` // of the file; of the built-in one, of its JSON

	Schema       string             `json:"schema"`
	Capabilities *capability.Grants `json:"capabilities,omitempty"` // at most this is granted; nil: what packages ask for
	Withhold     []string           `json:"withhold"`               // names that are hidden from every package
	Accept       []Acceptance       `json:"accept,omitempty"`       // packages that may do what leaves the root
	Limits       archive.Limits     `json:"limits,omitzero"`        // ceilings of this machine
	Env          []string           `json:"env,omitempty"`          // names of variables commands may see
	Path         []string           `json:"path,omitempty"`         // folders in which commands are looked up

	// Redact names values that are kept out of every record, as env:NAME and
	// file:PATH: the value of a variable, and each line of a file.
	Redact []string `json:"redact,omitempty"`

	// RequireSignature says of planes that what runs or is installed there must be
	// signed with a key that is trusted.
	RequireSignature map[string]bool `json:"require_signature,omitempty"`
}

// BuiltIn is the source of the built-in policy.
const BuiltIn = "built-in"

// Acceptance says that somebody read what a package asks and agreed. It is lost
// when the package changes. Its text is ID@sha256:HEX.
type Acceptance struct {
	ID     string
	SHA256 ledger.Hash // the package's digest
}

// MarshalText writes ID@sha256:HEX.
func (a Acceptance) MarshalText() ([]byte, error) {
	return []byte(a.ID + "@" + a.SHA256.String()), nil
}

// Default is the built-in policy: reads and writes as packages ask within the
// workspace, except for names that usually hold secrets; commands only for
// packages that were accepted.
func Default() (*Policy, error) {
	p := &Policy{Source: BuiltIn, Schema: Schema, Withhold: capability.SecretNames()}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("built-in policy: %w", err)
	}
	p.SHA256 = ledger.Sum(text)
	return p, nil
}

// Accepts reports whether the policy accepts the package with this id and digest.
func (p *Policy) Accepts(id string, digest ledger.Hash) bool {
	return slices.Contains(p.Accept, Acceptance{id, digest})
}
