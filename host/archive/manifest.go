package archive

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/ledger"
)

// ManifestName is the file every package begins with.
const ManifestName = "manifest.json"

// ManifestSchema is the schema this program writes and reads. A schema vM.N is
// understood by agenthost M.N and later.
const ManifestSchema = "agenthost/package/v1"

// Manifest says what a package is and what it asks for. What a turn may really
// do is decided by the operator, never by a manifest.
//
// [ParseManifest] is the only way from JSON to a manifest: encoding/json would
// ignore case and unknown keys. The way back is [Manifest.Encode].
type Manifest struct {
	SchemaURL    string            `json:"$schema,omitempty"` // for editors; not looked at
	Schema       string            `json:"schema"`            // ManifestSchema
	ID           string            `json:"id"`                // PKG-…
	Version      string            `json:"version"`           // semantic version, as 1.2.3
	Name         string            `json:"name,omitempty"`
	Description  string            `json:"description,omitempty"`
	License      string            `json:"license,omitempty"`
	Tier         string            `json:"tier,omitempty"`    // T0, T1, T2 or T3
	Plane        string            `json:"plane,omitempty"`   // ho1, ho2 or ho3
	SpecID       string            `json:"spec_id,omitempty"` // SPEC-…
	Entry        *Entry            `json:"entry,omitempty"`   // nil for a library
	Capabilities capability.Grants `json:"capabilities,omitzero"`
	Inputs       []string          `json:"inputs,omitempty"`  // patterns, expanded when a turn begins
	Outputs      []Output          `json:"outputs,omitempty"` // what a turn may publish
	Limits       Limits            `json:"limits,omitzero"`
	Dependencies []Dependency      `json:"dependencies,omitempty"`
	Files        []File            `json:"files,omitempty"` // written by pack: all but the manifest, sorted by bytes
}

// Planes are the planes a package may be for, each above the one before.
func Planes() []string { return []string{"ho1", "ho2", "ho3"} }

// Entry says how the guest of a package starts. Its values are public.
type Entry struct {
	Module         string            `json:"module"`                    // a file of the package
	Args           []string          `json:"args,omitempty"`            // follow the program name
	Env            map[string]string `json:"env,omitempty"`             // added to the host's own names
	Stdin          string            `json:"stdin,omitempty"`           // StdinRequest, StdinPrompt or StdinNone; empty is StdinRequest
	UnknownImports string            `json:"unknown_imports,omitempty"` // empty, or UnknownENOSYS
}

// What a guest finds on stdin.
const (
	StdinRequest = "request" // the request header
	StdinPrompt  = "prompt"  // the text or value of the query alone
	StdinNone    = "none"    // nothing
)

// UnknownENOSYS has functions that WASI preview 1 does not know, imported from
// its module, answer ENOSYS. Without it such a guest is refused.
const UnknownENOSYS = "enosys"

// StdinMode is Stdin with its default filled in.
func (e *Entry) StdinMode() string {
	if e.Stdin == "" {
		return StdinRequest
	}
	return e.Stdin
}

// Output is one file, or by a pattern several, that a turn may publish.
type Output struct {
	Path       string `json:"path"` // relative to the workspace; out/… is the session's own folder
	Role       string `json:"role"`
	Optional   bool   `json:"optional,omitempty"`   // may be unrealized; patterns always may
	Executable bool   `json:"executable,omitempty"` // published 0755 instead of 0644
}

// Limits only lower the host's ceilings. Zero is: as the host says.
type Limits struct {
	Memory      Size     `json:"memory,omitempty"` // of the guest's linear memory
	Time        Duration `json:"time,omitempty"`   // on the clock, waiting for effects not counted
	Fuel        int64    `json:"fuel,omitempty"`   // instructions
	OutputBytes Size     `json:"output_bytes,omitempty"`
	OutputFiles int64    `json:"output_files,omitempty"`
	ResultBytes Size     `json:"result_bytes,omitempty"`
	Entries     int64    `json:"entries,omitempty"`    // of the ledger
	CallDepth   int64    `json:"call_depth,omitempty"` // frames
}

// Dependency is a library package that is shown to the guest, read-only.
type Dependency struct {
	ID      string `json:"id"`                // PKG-…
	Version string `json:"version,omitempty"` // a range, see Accepts; empty accepts every version
}

// File is one file of a package.
type File struct {
	Path   string      `json:"path"` // slash path from the package's top
	SHA256 ledger.Hash `json:"sha256"`
	Size   int64       `json:"size"` // bytes
}

// Encode writes the manifest as pack stores it: indented JSON, members in the
// order of the struct, absent ones left out. Equal manifests give equal bytes.
func (m Manifest) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return b.Bytes(), nil
}

// ManifestError is one mistake in a manifest, with those that came after it.
type ManifestError struct {
	Where string           // path of the value, as outputs[0].role; empty for the whole
	What  string           // what is wrong
	Hint  string           // the way out; may be empty
	Also  []*ManifestError // the other mistakes, in the order of the document
}

// Error is one line about the first mistake.
func (e *ManifestError) Error() string {
	line := ManifestName + ": "
	if e.Where != "" {
		line += e.Where + ": "
	}
	line += e.What
	if e.Hint != "" {
		line += "; " + e.Hint
	}
	switch len(e.Also) {
	case 0:
	case 1:
		line += " (and 1 more mistake)"
	default:
		line += fmt.Sprintf(" (and %d more mistakes)", len(e.Also))
	}
	return line
}
