package plane

import (
	"errors"
	"fmt"
)

// Codes of changes that are refused, beside those of package record: they stand
// in change.refused and in a [RefusedError].
const (
	CodePackage       = "package"        // it is not one that can be installed here
	CodeDependency    = "dependency"     // it needs one that is not there, or that needs it
	CodeDependents    = "dependents"     // others need it as it is
	CodeTier          = "tier"           // tiers T0 to T2 are in ho3 before they are in a lower plane
	CodeDowngrade     = "downgrade"      // an earlier version
	CodeNotInstalled  = "not_installed"  // there is nothing to take out
	CodeNotTrusted    = "not_trusted"    // the token, the signature or its absence
	CodeSignerUnknown = "signer_unknown" // signed, but by nobody whose signature counts here
	CodeNotAccepted   = "not_accepted"   // rights that grow
	CodeIntegrity     = "integrity"      // the disk is not what governance.jsonl says
)

// A RefusedError says that a change is against the rules and did not happen. It
// is recorded as change.refused.
type RefusedError struct {
	Code string // one of the codes above
	What string // what is wrong
	Hint string // the way out; may be empty
}

// Error is one line without the hint.
func (e *RefusedError) Error() string { return e.What }

// A MismatchError says that something on the disk is not what governance.jsonl
// says it is.
type MismatchError struct {
	Path string // from the root
	What string // what is wrong; continues the path
	Hint string // the way out; may be empty
}

// Error is one line without the hint.
func (e *MismatchError) Error() string { return e.Path + " " + e.What }

// An UnfinishedError says that a change happened, its entry is on the disk, but
// not all files are in their places, or the register does not know of it. The next
// command that opens the plane finishes it.
type UnfinishedError struct{ Err error }

// Error is one line.
func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("the change is recorded, but its files are not in their places: %v", e.Err)
}

// Unwrap returns what kept the files from their places.
func (e *UnfinishedError) Unwrap() error { return e.Err }

// ErrChanged says that a package was replaced or taken out while it was read.
var ErrChanged = errors.New("the package was changed while it was read")
