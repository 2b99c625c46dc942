package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Kinds of what can be explained.
const (
	KindPackage   = "package"
	KindSession   = "session"
	KindWorkOrder = "work_order"
	KindPath      = "path"
	KindDigest    = "sha256"
)

// An Explanation is all that a root knows of one thing. One of its members after
// ID is set, that of its Kind; of a session whose record was removed, Pruned. Texts and names in it came from packages and
// guests: whoever shows them escapes them.
type Explanation struct {
	Kind      string              `json:"kind"`
	ID        string              `json:"id"` // in full, however it was asked for
	Package   *ExplainedPackage   `json:"package,omitempty"`
	Session   *ExplainedSession   `json:"session,omitempty"`
	Pruned    *Change             `json:"pruned,omitempty"`
	WorkOrder *ExplainedWorkOrder `json:"work_order,omitempty"`
	Path      *ExplainedPath      `json:"path,omitempty"`
	Digest    *ExplainedDigest    `json:"digest,omitempty"`
	// Unreadable are the sessions of which nothing stands in the answer.
	Unreadable []Unreadable `json:"unreadable"`
}

// A RequestError says that something cannot be asked for so.
type RequestError struct{ What, Hint string }

func (e *RequestError) Error() string { return e.What }

// An UnknownError says that a root knows nothing of something.
type UnknownError struct {
	Kind, What string
	Known      []string     // what it knows of that kind, sorted
	Unreadable []Unreadable // sessions that might have known
}

func (e *UnknownError) Error() string {
	kind := map[string]string{KindWorkOrder: "work order", KindPath: "file", KindDigest: "content"}[e.Kind]
	return fmt.Sprintf("nothing is known here of %s %.200q", cmp.Or(kind, e.Kind), e.What)
}

// Forms are the ways in which something to explain is written, for people.
const Forms = "PKG-… for a package, SES-… or @last for a session, WO-… for a work order, sha256:… for a digest, docs/a.md for a file, /usr/bin/git for a program"

// minDigits is how many digits of a digest are needed at least.
const minDigits = 12

// Explain says what the root knows of a package (PKG-…, PKG-…@version), a session
// (SES-…, the beginning of one, or @last), a work order (WO-…), a digest
// (sha256:HEX or HEX, at least 12 digits), or a file, by the name that ledgers
// have for it: docs/a.md, output/SES-…/x, deps:PKG-…/x, and /usr/bin/git for a
// program that commands ran. What commands could see is not searched: the list of
// it is a blob for each, of as many lines as there were files, and what they read
// of it nobody knows. Reading is called now and
// then while ledgers are read, with how many of how many; it may be nil.
//
// Errors are a *[RequestError], an *[UnknownError], an *[ledger.IntegrityError]
// of governance.jsonl, one of the system, or the cause of ctx. A session whose
// ledger is not what was written is no error: it is named in the answer. That
// whole lines were cut off the end of one is not seen here; what verifies both of
// its ledgers sees it.
func (a *Audit) Explain(ctx context.Context, what string, reading func(done, of int)) (*Explanation, error) {
	e, err := parse(what)
	if err != nil {
		return nil, err
	}
	answer, err := a.answer(ctx, *e, reading)
	if errors.Is(err, errIndex) {
		if err := a.drop(); err != nil {
			a = &Audit{a.root, a.plane, "", a.now}
		}
		answer, err = a.answer(ctx, *e, reading)
	}
	return answer, err
}

// answer fills in what was asked for.
func (a *Audit) answer(ctx context.Context, asked Explanation, reading func(done, of int)) (*Explanation, error) {
	e := &asked
	ix, err := a.index(ctx, reading)
	if err != nil {
		return nil, err
	}
	q := question{audit: a, index: ix, out: e}
	if q.changes, err = a.changes(); err != nil {
		return nil, err
	}
	e.Unreadable = append([]Unreadable{}, ix.unreadable...)
	switch e.Kind {
	case KindPackage:
		err = q.aboutPackage()
	case KindSession:
		err = q.aboutSession()
	case KindWorkOrder:
		err = q.aboutWorkOrder()
	case KindDigest:
		err = q.aboutDigest()
	default:
		err = q.aboutPath()
	}
	var unknown *UnknownError
	if errors.As(err, &unknown) {
		unknown.Unreadable = e.Unreadable
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// question is one answer in the making.
type question struct {
	audit   *Audit
	index   *index
	changes []change // of the control plane
	out     *Explanation
}

// unknown is the error where nothing is known of what was asked for.
func (q *question) unknown(known []string) error {
	slices.Sort(known)
	return &UnknownError{Kind: q.out.Kind, What: q.out.ID, Known: slices.Compact(known)}
}

// parse tells the kind of what is asked for by its form.
func parse(what string) (*Explanation, error) {
	kind := func(k, id string) (*Explanation, error) { return &Explanation{Kind: k, ID: id}, nil }
	digits, prefixed := strings.CutPrefix(what, "sha256:")
	switch {
	case what == session.Last || strings.HasPrefix(what, "SES-"):
		return kind(KindSession, what)
	case strings.HasPrefix(what, "PKG-"):
		id, version, versioned := strings.Cut(what, "@")
		if err := archive.CheckID("PKG", id); err != nil {
			return nil, &RequestError{fmt.Sprintf("%.200q is no id of a package", what), "PKG- and letters, digits and hyphens; a version follows behind @"}
		}
		if versioned && version == "" {
			return nil, &RequestError{fmt.Sprintf("%.200q names no version", what), "write it behind the @, or leave the @ out"}
		}
		return kind(KindPackage, what)
	case strings.HasPrefix(what, "WO-"):
		if err := archive.CheckID("WO", what); err != nil {
			return nil, &RequestError{fmt.Sprintf("%.200q is no id of a work order", what), "WO- and letters, digits and hyphens"}
		}
		return kind(KindWorkOrder, what)
	case prefixed, len(digits) >= minDigits && isHex(strings.ToLower(digits), len(digits)):
		if n := len(digits); n < minDigits || n > 64 || !isHex(strings.ToLower(digits), n) {
			return nil, &RequestError{fmt.Sprintf("%.200q is no digest", what), fmt.Sprintf("sha256: and 64 hexadecimal digits, or the first %d or more of them", minDigits)}
		}
		return kind(KindDigest, "sha256:"+strings.ToLower(digits))
	}
	if path.IsAbs(what) && path.Clean(what) == what && beneath.CheckName(what[1:]) == nil {
		return kind(KindPath, what)
	}
	name := strings.TrimPrefix(what, "./")
	if err := beneath.CheckName(name); err != nil || name == "." {
		return nil, &RequestError{fmt.Sprintf("%.200q is nothing that can be explained", what), Forms + ", relative to the workspace"}
	}
	return kind(KindPath, name)
}

// A Use is what one turn did with a file: of what was published its role, too.
type Use struct {
	Session session.ID  `json:"session_id"`
	Plane   string      `json:"plane"`
	Package string      `json:"package"` // its id
	Version string      `json:"version"`
	Turn    int         `json:"turn_number,omitempty"` // 0: all turns of the session
	Status  string      `json:"status,omitempty"`      // of the turn; empty: it has not ended
	Time    time.Time   `json:"time"`                  // of the last entry of the turn, or of the session
	As      string      `json:"as"`                    // read, written, published, replaced, module, package, program, interpreter, view
	Path    string      `json:"path,omitempty"`
	Role    string      `json:"role,omitempty"`
	SHA256  ledger.Hash `json:"sha256,omitzero"`
	Size    int64       `json:"size,omitempty"`
}

// What a Use is.
const (
	AsRead      = "read"
	AsWritten   = "written" // and not published
	AsPublished = "published"
	AsReplaced  = "replaced" // by a file that the turn published
	AsModule    = "module"   // what ran
	AsPackage   = "package"

	AsProgram     = "program" // of a command
	AsInterpreter = "interpreter"
	AsView        = "view" // the list of what a command could see
)

// say puts a use into words.
func (u use) say() Use {
	s := u.session
	out := Use{Session: s.ID, Plane: s.Plane, Package: s.Package.ID, Version: s.Package.Version, Time: s.Changed}
	switch u.as {
	case asModule:
		out.As, out.SHA256 = AsModule, s.Module
		return out
	case asPackage:
		out.As, out.SHA256 = AsPackage, s.Package.SHA256
		return out
	}
	t := s.Turns[u.turn]
	out.Turn, out.Status, out.Time = t.Number, t.Status, t.Last
	if u.as == asRead {
		f := t.Reads[u.at]
		out.As, out.Path, out.SHA256, out.Size = AsRead, f.Path, f.SHA256, f.Size
		return out
	}
	switch u.as {
	case asProgram, asInterpreter:
		f := &t.Commands[u.at].Program
		if out.As = AsProgram; u.as == asInterpreter {
			out.As, f = AsInterpreter, t.Commands[u.at].Interpreter
		}
		out.Path, out.SHA256, out.Size = f.Path, f.SHA256, f.Size
		return out
	case asView:
		list := t.Commands[u.at].View.Blob
		out.As, out.SHA256, out.Size = AsView, list.Blob, list.Size
		return out
	}
	w := t.Writes[u.at]
	out.As, out.Path, out.Role, out.SHA256, out.Size = AsWritten, w.Path, w.Role, w.SHA256, w.Size
	if w.Published {
		out.As = AsPublished
	}
	if u.as == asBase {
		out.As, out.SHA256, out.Size = AsReplaced, *w.Base, 0
	}
	return out
}

// byTime sorts uses by when they happened, and then by session and turn.
func byTime(a, b Use) int {
	return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Plane, b.Plane), a.Turn-b.Turn, cmp.Compare(a.Path, b.Path))
}
