// Package capability decides what a guest may do: it compiles the grants of a
// manifest and answers whether an operation on a name, or a command, is within
// them. It does no I/O: it knows names, not files, and neither resolves links
// nor looks whether a name exists.
//
// Three rules, in this order: what a forbidden pattern matches is refused; what
// a grant of the operation matches is permitted, and the answer names the first
// such grant; all else is refused. An operator narrows an Enforcer with
// Attenuate, which never widens it.
//
// Names are canonical: slash paths relative to the workspace, of at most 4,096
// bytes of UTF-8, without NUL and without empty, . or .. segments. A session's
// own outputs are output/SESSION/…, which patterns may spell out/…. No other
// spelling of a file is granted.
//
// Whatever is granted, nothing beneath .agenthost/, tmp/, out/ and other
// sessions' output/ is, nor is writing beneath planes/, ledger/, registries/,
// packages_store/ and control/, nor reading the session's own folder beneath
// planes/, or any session's blobs, staging and blocked. What agenthost keeps of
// another session is read only by a pattern that spells out that session's id.
// Reading control/ is granted like any folder: an embedder whose root is the
// workspace withholds it with Attenuate.
package capability

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Op is an operation that capabilities grant.
type Op string

// The operations.
const (
	Read    Op = "read"
	Write   Op = "write"
	Execute Op = "execute"
)

// Grants is the capabilities object of a manifest. Read, Write and Forbidden
// hold doublestar patterns over canonical names; Execute holds commands. The
// zero value grants nothing.
type Grants struct {
	Read      []string  `json:"read,omitempty"`
	Write     []string  `json:"write,omitempty"`
	Execute   []Command `json:"execute,omitempty"`
	Forbidden []string  `json:"forbidden,omitempty"`
}

// Rights is one layer that narrows what was granted before: what it does not
// grant is not granted, what it forbids is forbidden. The zero value grants
// nothing.
type Rights struct {
	Grants

	// Withhold holds patterns of names that this layer does not grant, whatever
	// its Read and Write match. Such names are hidden, not forbidden.
	Withhold []string `json:"withhold,omitempty"`

	// AllowExecute leaves the commands as the layers before granted them.
	// Execute must then be empty.
	AllowExecute bool `json:"allow_execute,omitempty"`

	// By is who narrows, as rules name it: "work order WO-7" makes them read "no
	// grant of write by work order WO-7" and "forbidden a/** by work order WO-7".
	// Empty is the operator, of whom only what is not granted is told.
	By string `json:"by,omitempty"`
}

func (r Rights) clone() Rights {
	r.Read = slices.Clone(r.Read)
	r.Write = slices.Clone(r.Write)
	r.Forbidden = slices.Clone(r.Forbidden)
	r.Withhold = slices.Clone(r.Withhold)
	r.Execute = slices.Clone(r.Execute)
	for i, c := range r.Execute {
		r.Execute[i] = slices.Clone(c)
	}
	return r
}

// AsAsked is the layer that narrows nothing. To forbid more in one run, add to
// its Forbidden; to take the right to execute, clear AllowExecute.
func AsAsked() Rights {
	return Rights{Grants: Grants{Read: []string{"**"}, Write: []string{"**"}}, AllowExecute: true}
}

// SecretNames returns patterns of the names that usually hold secrets, in the
// order in which they are shown.
func SecretNames() []string {
	return []string{
		"**/.env*",
		"**/*.pem",
		"**/*.key",
		"**/id_rsa*",
		"**/id_ed25519*",
		"**/.ssh/**",
		"**/.aws/**",
		"**/.gnupg/**",
		"**/.netrc",
		"**/.npmrc",
		"**/.pypirc",
		"**/.git/config",
		"**/.git/modules/**/config",
		"**/.git/**/config.worktree",
		"**/.git-credentials",
		"**/.docker/config.json",
		"**/.kube/**",
		"**/credentials*",
	}
}

// Grant is the rule that permitted an operation, as the manifest spells it.
type Grant struct {
	Op      Op     `json:"op"`
	Pattern string `json:"pattern"`
}

// Violation is a refused operation. Check and CheckExec return no other error.
// It serves callers by errors.As, and guests and ledgers as JSON.
type Violation struct {
	Op      Op       `json:"operation"`
	Subject string   `json:"subject"`        // the name, or the command in the form of Command.String
	Argv    []string `json:"argv,omitempty"` // of a command

	// Rule says what refused, as in "forbidden docs/private/**", "reserved
	// control/**", "withheld **/.env*", "no grant of read", "no grant of read
	// by the operator", or "names are UTF-8". What narrowed in somebody's name
	// ([Rights].By) is followed by that.
	Rule string `json:"rule"`

	// Forbidden says that it may not be, as opposed to: nobody granted it. For
	// reading, what is merely not granted does not exist for the guest.
	Forbidden bool `json:"-"`

	// SmallestGrant is the line of a manifest that would have allowed just this,
	// as in `read: ["docs/a.md"]`. Empty where no grant would have.
	SmallestGrant string `json:"smallest_grant,omitempty"`

	// Turn is filled in by who runs the turn. Zero means unknown.
	Turn int `json:"turn,omitempty"`
}

func (v *Violation) Error() string {
	return string(v.Op) + " " + strconv.Quote(v.Subject) + " refused: " + v.Rule
}

// GrantError is a rule that cannot be compiled.
type GrantError struct {
	Field   string // as in "read[2]": which list, and the index in it
	Pattern string // the rule as it was written
	Reason  string // what is wrong with it, continuing "the pattern …"
	Hint    string // what to write instead
}

func (e *GrantError) Error() string {
	return e.Field + " " + strconv.Quote(e.Pattern) + ": " + e.Reason
}

// encode writes a string, or arrays of them, as JSON that a person reads.
func encode(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // strings always encode
	return strings.TrimSuffix(b.String(), "\n")
}

// quoteMeta returns the pattern that matches text only.
func quoteMeta(text string) string {
	if !strings.ContainsAny(text, `*?[]{}\<`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if strings.IndexByte(`*?[]{}\`, text[i]) >= 0 || strings.HasPrefix(text[i:], placeholder) {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
