package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/ledger"
)

// WorkOrderSchema is the schema of a work order that this program reads.
const WorkOrderSchema = "agenthost/work_order/v1"

// Bounds of a work order.
const (
	maxNamed       = 1024     // packages
	maxDescription = 16 << 10 // bytes
)

// WorkOrder says for which packages turns may be run in its name, and what these
// turns may do at most. It gives no right that a package has not asked for, and
// accepts none. A work order is not changed after it was read.
type WorkOrder struct {
	Source string      `json:"-"` // the file it was read from
	SHA256 ledger.Hash `json:"-"` // of the file

	Schema       string             `json:"schema"`
	ID           string             `json:"id"`
	Description  string             `json:"description,omitempty"`
	Packages     []Named            `json:"packages"`               // that may run under it
	Capabilities *capability.Grants `json:"capabilities,omitempty"` // at most this is granted; nil: what packages ask for
	Expires      time.Time          `json:"expires,omitzero"`       // no turn begins then, and none runs longer; zero: never
	Turns        int64              `json:"turns,omitempty"`        // how many may begin, ever; 0: any number
}

// Named is a package that a work order names: by its id, or as ID@sha256:HEX.
type Named struct {
	ID     string
	SHA256 ledger.Hash // the package's digest; zero: every version
}

// String writes a Named as a work order does.
func (n Named) String() string {
	if n.SHA256.IsZero() {
		return n.ID
	}
	return n.ID + "@" + n.SHA256.String()
}

// MarshalText is String.
func (n Named) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// A WorkOrderError is why a turn may not run under a work order that is in order.
type WorkOrderError struct {
	ID   string // of the work order
	What string // as "expired at 2026-01-02T15:04:05Z"
	Hint string // the way out
}

func (e *WorkOrderError) Error() string { return "work order " + e.ID + " " + e.What }

// ParseWorkOrder reads a work order, all of it or nothing. Every error is an
// [*Error] about the first mistake. Source says in it where data came from.
func ParseWorkOrder(source string, data []byte) (*WorkOrder, error) {
	w := &WorkOrder{Source: source, SHA256: ledger.Sum(data), Schema: WorkOrderSchema}
	var packages []string
	var expires string
	err := archive.DecodeDocument(data, WorkOrderSchema,
		archive.TextKey("id", &w.ID),
		archive.TextKey("description", &w.Description),
		archive.TextsKey("packages", &packages),
		archive.GrantsKey("capabilities", &w.Capabilities),
		archive.TextKey("expires", &expires),
		archive.CountKey("turns", &w.Turns),
	)
	var mistake *archive.ManifestError
	if errors.As(err, &mistake) {
		return nil, &Error{source, mistake.Where, mistake.What, mistake.Hint}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	if err := archive.CheckID("WO", w.ID); err != nil {
		return nil, &Error{source, "id", err.Error(), "the id is the name of the file, without .json"}
	}
	if len(w.Description) > maxDescription {
		return nil, &Error{source, "description", fmt.Sprintf("more than %d bytes", maxDescription), "keep long texts elsewhere, and say where"}
	}
	if w.Packages, err = parseNamed(source, packages); err != nil {
		return nil, err
	}
	if expires != "" {
		if w.Expires, err = time.Parse(time.RFC3339Nano, expires); err != nil || w.Expires.IsZero() {
			return nil, &Error{source, "expires", fmt.Sprintf("%q is not a time", expires), "as 2026-12-31T23:59:59Z"}
		}
	}
	if w.Capabilities != nil {
		if _, err := capability.New(*w.Capabilities); err != nil {
			return nil, grantError(source, "capabilities.", err)
		}
	}
	return w, nil
}

func parseNamed(source string, texts []string) ([]Named, error) {
	const hint = "say the id of a package, or ID@sha256: and 64 hex digits for one version of it"
	switch {
	case len(texts) == 0:
		return nil, &Error{source, "packages", "none is named, so nothing may run", hint}
	case len(texts) > maxNamed:
		return nil, &Error{source, "packages", fmt.Sprintf("%d items, at most %d are allowed", len(texts), maxNamed), ""}
	}
	packages := make([]Named, len(texts))
	for i, text := range texts {
		where := fmt.Sprintf("packages[%d]", i)
		if !strings.Contains(text, "@") {
			if err := archive.CheckID("PKG", text); err != nil {
				return nil, &Error{source, where, fmt.Sprintf("%q is not the id of a package", text), hint}
			}
			packages[i].ID = text
			continue
		}
		a, err := parseAcceptance(text)
		if err != nil {
			return nil, &Error{source, where, err.Error(), hint}
		}
		packages[i] = Named(a)
	}
	return packages, nil
}

// Check reports whether a turn of the package with this id and digest may begin
// now under the work order, as far as that itself tells: how many turns there
// were is [WorkOrder.CheckTurns]. The error is a [*WorkOrderError].
func (w *WorkOrder) Check(id string, digest ledger.Hash, now time.Time) error {
	if left, ends := w.Left(now); ends && left <= 0 {
		return w.refuse("expired at "+w.Expires.Format(time.RFC3339Nano), "ask whoever gives work orders for a new one")
	}
	var names []string
	other := false
	for _, n := range w.Packages {
		if n.ID == id && (n.SHA256.IsZero() || n.SHA256 == digest) {
			return nil
		}
		other = other || n.ID == id
		names = append(names, n.String())
	}
	if other {
		return w.refuse(fmt.Sprintf("does not name this %s, whose digest is %s", id, digest), "run the version that it names: "+few(names))
	}
	return w.refuse("does not name "+id, "it is for "+few(names))
}

// few lists what is named, up to four.
func few(names []string) string {
	if len(names) > 4 {
		names = append(names[:3:3], fmt.Sprintf("%d more", len(names)-3))
	}
	return strings.Join(names, ", ")
}

// CheckTurns reports whether one more turn may begin where claimed ones have. The
// error is a [*WorkOrderError].
func (w *WorkOrder) CheckTurns(claimed int64) error {
	if w.Turns == 0 || claimed < w.Turns {
		return nil
	}
	return w.refuse(fmt.Sprintf("has no turn left: %d of %d were claimed", claimed, w.Turns), "ask whoever gives work orders for a new one")
}

// CheckSame reports whether a work order that was read again is still this one.
// The error is a [*WorkOrderError].
func (w *WorkOrder) CheckSame(now *WorkOrder) error {
	if now.SHA256 == w.SHA256 {
		return nil
	}
	return w.refuse("was changed while the turn was prepared", "run it again: what it says now will count")
}

func (w *WorkOrder) refuse(what, hint string) error { return &WorkOrderError{w.ID, what, hint} }

// Left is the time until the work order expires, and whether it does.
func (w *WorkOrder) Left(now time.Time) (left time.Duration, ends bool) {
	return w.Expires.Sub(now), !w.Expires.IsZero()
}

// by is how rules name the work order.
func (w *WorkOrder) by() string { return "work order " + w.ID }
