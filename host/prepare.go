package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/redact"
	"github.com/agenthost/agenthost/ledger"
)

// A Turn is a request: what the agent is asked, and within what bounds.
type Turn struct {
	Workspace string // the folder the guest sees as /

	Query  json.RawMessage // any JSON value; nil with a Prompt or without a question
	Prompt string          // a text as the query
	Args   []string        // follow the manifest's

	Inputs  []string         // patterns of declared inputs; nil means the manifest's
	Outputs []archive.Output // declared in addition to the manifest's

	Libraries []*archive.Package // the packages this one depends on, and those they do

	Policy    *policy.Policy // nil means the built-in one
	Narrow    policy.Narrow  // what this run takes away, and its work order
	Accepted  string         // how the package was accepted, for the ledger
	Protected []string       // folders of the host no guest may see, such as its own root

	// Claim makes a turn of Narrow.WorkOrder count, for good, or says why it may
	// not begin. It is called when nothing else stands in the turn's way, right
	// before it begins, with its session and number; a turn that then does not
	// begin has counted all the same. It must be set where there is a work order.
	Claim func(ctx context.Context, session string, turn int) error

	// Redact is what is kept out of the record of the turn, in texts and in blobs.
	// The guest and the Result have everything as it is. No output may be called by
	// one of the values.
	Redact *redact.Values

	AsOf   time.Time // zero means the time of the turn, cut to milliseconds
	Strict bool      // hidden opens and undeclared reads are violations
	DryRun bool      // publish nothing

	Stderr io.Writer // shows what the guest writes there, as it comes; may be nil
}

// A RequestError is a mistake in a turn that was found before anything was
// created.
type RequestError struct{ What, Hint string }

func (e *RequestError) Error() string { return e.What }

// A Prepared turn was checked and can run. It holds the workspace open: Run or
// Close it.
type Prepared struct {
	runner *Runner
	pkg    *archive.Package
	turn   Turn

	guest     *guest
	module    ledger.Hash
	workspace *beneath.Dir
	enforcer  *capability.Enforcer
	granted   capability.Grants
	withheld  []string
	limits    archive.Limits
	inputs    []gate.Input
	outputs   []archive.Output
	libraries map[string]*archive.Package // by id

	programs    []string // folders in which commands are looked up
	environment []string // NAME=VALUE, that commands get from the operator's
}

// Prepare checks a turn of pkg: the rights, the declared inputs and outputs, the
// limits, the module, which it compiles if it must. Nothing of a session exists
// before. Errors are a *[RequestError], a *[gate.InputError] as one, a
// *[policy.Error], [policy.ErrNotAccepted], a *[policy.WorkOrderError], a *[capability.GrantError], a
// *[archive.PackageError], a *[ModuleError], or an error of the host.
func (r *Runner) Prepare(ctx context.Context, pkg *archive.Package, turn Turn) (*Prepared, error) {
	if pkg.Manifest.Entry == nil {
		return nil, &RequestError{pkg.Manifest.ID + " is a library: it has no entry, so there is nothing to run", "run a package that depends on it"}
	}
	if err := checkRequest(&turn); err != nil {
		return nil, err
	}
	if turn.Policy == nil {
		builtin, err := policy.Default()
		if err != nil {
			return nil, err
		}
		turn.Policy = builtin
	}
	if order := turn.Narrow.WorkOrder; order != nil {
		if err := order.Check(pkg.Manifest.ID, pkg.Digest, r.cfg.Now()); err != nil {
			return nil, err
		}
	}
	p := &Prepared{runner: r, pkg: pkg, turn: turn}
	if err := p.prepare(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close releases what a turn that does not run holds.
func (p *Prepared) Close() {
	if p.workspace != nil {
		p.workspace.Close()
		p.workspace = nil
	}
}

// Warnings says what of this turn may not be what its operator expects: a grant
// that would reach the workspace's own tmp or out, which the guest's stand in
// front of.
func (p *Prepared) Warnings() []string {
	var warnings []string
	for _, folder := range []string{"tmp", "out"} {
		grant, wants := p.enforcer.Wants(folder)
		if !wants || grant.Pattern == folder || strings.HasPrefix(grant.Pattern, folder+"/") {
			continue
		}
		if info, err := p.workspace.Stat(folder); err == nil && info.Mode.IsDir() {
			warnings = append(warnings, fmt.Sprintf(
				"%s %s does not reach the workspace's own %s: the agent sees its own /%s there", grant.Op, grant.Pattern, folder, folder))
		}
	}
	return warnings
}

func checkRequest(t *Turn) error {
	if t.Query != nil {
		if t.Prompt != "" {
			return &RequestError{"a query and a prompt were given", "give one of them"}
		}
		if len(bytes.TrimSpace(t.Query)) == 0 {
			return &RequestError{"the query is empty", "give one JSON value, or use --prompt for plain text"}
		}
		if !json.Valid(t.Query) || !utf8.Valid(t.Query) {
			return &RequestError{"the query is not JSON: " + jsonFault(t.Query), `write it as JSON, such as '{"topic":"docs"}', or use --prompt for plain text`}
		}
	}
	if !utf8.ValidString(t.Prompt) {
		return &RequestError{"the prompt is not UTF-8", "write it as UTF-8 text"}
	}
	for _, a := range t.Args {
		if strings.IndexByte(a, 0) >= 0 || !utf8.ValidString(a) {
			return &RequestError{fmt.Sprintf("argument %q cannot be passed to a guest", a), "arguments are UTF-8 without NUL"}
		}
	}
	if y := t.AsOf.UTC().Year(); !t.AsOf.IsZero() && (y < 1970 || y > 2261) {
		return &RequestError{fmt.Sprintf("no guest has a clock that shows the year %d", y), "name a time from 1970 to 2261"}
	}
	if order := t.Narrow.WorkOrder; order != nil {
		if err := archive.CheckID("WO", order.ID); err != nil {
			return &RequestError{fmt.Sprintf("the work order %.120q is not an id", order.ID), "say WO- and up to 100 letters, digits and hyphens"}
		}
		if t.Claim == nil {
			return &RequestError{"nothing counts the turns of work order " + order.ID, "set Turn.Claim"}
		}
	}
	return nil
}

// jsonFault says where JSON ends to be JSON.
func jsonFault(data []byte) string {
	var syntax *json.SyntaxError
	if err := json.Unmarshal(data, new(any)); errors.As(err, &syntax) {
		return fmt.Sprintf("%v at byte %d", syntax, syntax.Offset)
	}
	return "it is not UTF-8"
}

func (p *Prepared) prepare(ctx context.Context) error {
	m := p.pkg.Manifest
	never, err := p.runner.cfg.Never(p.turn.Workspace, p.turn.Policy, p.turn.Protected)
	if err != nil {
		return err
	}
	p.enforcer, p.granted, p.withheld, err = policy.Effective(m, p.turn.Policy, p.turn.Narrow, policy.Scope{Never: never})
	if err != nil {
		return err
	}
	p.limits = lower(lower(fill(m.Limits, defaultLimits()), fill(p.turn.Policy.Limits, p.runner.limits)), p.runner.limits)
	p.workspace, err = openWorkspace(p.turn.Workspace)
	if err != nil {
		return err
	}
	if err := p.findLibraries(); err != nil {
		return err
	}
	if err := p.checkPlaces(); err != nil {
		return err
	}
	if p.programs, err = commandFolders(p.turn.Policy, append([]string{p.turn.Workspace}, p.turn.Protected...)); err != nil {
		return err
	}
	p.environment = environmentOf(p.turn.Policy)
	if err := p.declareOutputs(); err != nil {
		return err
	}
	if err := p.declareInputs(ctx); err != nil {
		return err
	}
	missing, err := p.checkModule()
	if err != nil {
		return err
	}
	p.guest, p.module, err = p.runner.guest(ctx, p.pkg, missing)
	return err
}

// checkModule finds what of the module, as the package's reading found it, does
// not fit the limits or this host, before it is compiled, and returns the functions of WASI that will answer
// ENOSYS.
func (p *Prepared) checkModule() (missing map[string]signature, err error) {
	guest := p.pkg.Guest
	if guest.Memory > p.limits.Memory {
		return nil, &RequestError{
			fmt.Sprintf("the module needs %s of memory and the limit is %s", guest.Memory, p.limits.Memory),
			"raise limits.memory in the manifest, or the host's ceiling in the policy",
		}
	}
	missing = map[string]signature{}
	for _, imp := range guest.Imports {
		if _, known := abi.Lookup(imp.Module, imp.Name); known {
			continue
		}
		s, ok := parseSignature(imp.Type)
		if other, twice := missing[imp.Name]; twice && !other.equal(s) {
			ok = false
		}
		if !ok {
			return nil, &RequestError{
				fmt.Sprintf("the module imports %s as %s, which no function that answers ENOSYS can be", imp.Name, imp.Type),
				"build it for plain WASI preview 1",
			}
		}
		missing[imp.Name] = s
	}
	return missing, nil
}

// declareOutputs joins the manifest's outputs and the request's. A literal must
// be a name the turn may write.
func (p *Prepared) declareOutputs() error {
	p.outputs = slices.Concat(p.pkg.Manifest.Outputs, p.turn.Outputs)
	for i, o := range p.outputs {
		var fault *capability.GrantError
		if _, err := capability.New(capability.Grants{Write: []string{o.Path}}); errors.As(err, &fault) {
			return &RequestError{fmt.Sprintf("output %q %s", o.Path, fault.Reason), fault.Hint}
		}
		if !archive.IsRole(o.Role) {
			return &RequestError{fmt.Sprintf("output %q cannot have the role %q", o.Path, o.Role), "say what it is for, with up to 64 letters, digits, and _ . -"}
		}
		if n := cmp.Or(p.turn.Redact.Number(o.Path), p.turn.Redact.Number(o.Role)); n != 0 {
			return &RequestError{fmt.Sprintf("value %d to redact stands in what an output is called", n), "give the output another name or role: what is published must be found by it"}
		}
		if name, literal := capability.Literal(o.Path); literal && !own(o.Path) {
			if _, err := p.enforcer.Check(capability.Write, name); err != nil {
				return outputError(o.Path, err)
			}
		}
		if slices.ContainsFunc(p.outputs[:i], func(other archive.Output) bool { return other.Path == o.Path }) {
			return &RequestError{fmt.Sprintf("output %q is declared twice", o.Path), "declare it once"}
		}
	}
	return nil
}

// outputError says why an output that was declared can never be written.
func outputError(path string, err error) error {
	var v *capability.Violation
	switch {
	case !errors.As(err, &v):
		return err
	case v.SmallestGrant != "":
		return &RequestError{fmt.Sprintf("output %q may not be written (%s)", path, v.Rule), "grant it: " + v.SmallestGrant + "; or let the agent write to out/"}
	}
	return &RequestError{fmt.Sprintf("output %q may not be written (%s)", path, v.Rule), "declare only what the package may write, or let the agent write to out/"}
}

// findLibraries gives the guest the packages its own depends on, and no others.
func (p *Prepared) findLibraries() error {
	given := map[string]*archive.Package{}
	for _, l := range p.turn.Libraries {
		if given[l.Manifest.ID] != nil {
			return &RequestError{l.Manifest.ID + " was given twice", "give one version of each library"}
		}
		given[l.Manifest.ID] = l
	}
	p.libraries = map[string]*archive.Package{}
	todo := []*archive.Package{p.pkg}
	for len(todo) > 0 {
		of := todo[0]
		todo = todo[1:]
		for _, d := range of.Manifest.Dependencies {
			lib := given[d.ID]
			switch {
			case lib == nil:
				return &RequestError{
					strings.TrimSpace(fmt.Sprintf("%s depends on %s %s", of.Manifest.ID, d.ID, d.Version)) + ", which was not given",
					"name its package with --library FILE",
				}
			case !d.Accepts(lib.Manifest.Version):
				return &RequestError{
					fmt.Sprintf("%s depends on %s %s and %s was given", of.Manifest.ID, d.ID, d.Version, lib.Manifest.Version),
					"give a version in that range with --library FILE",
				}
			case p.libraries[d.ID] == nil:
				p.libraries[d.ID] = lib
				todo = append(todo, lib)
			}
		}
	}
	for id := range given {
		if p.libraries[id] == nil {
			return &RequestError{fmt.Sprintf("nothing depends on %s", id), "leave it out"}
		}
	}
	return nil
}

// own reports whether a declared path lies in the session's output folder.
func own(path string) bool { return path == "out" || strings.HasPrefix(path, "out/") }

func (p *Prepared) declareInputs(ctx context.Context) error {
	patterns := p.turn.Inputs
	if patterns == nil {
		patterns = p.pkg.Manifest.Inputs
	}
	var err error
	p.inputs, err = gate.Expand(ctx, p.workspace, p.enforcer, patterns)
	var wrong *gate.InputError
	if errors.As(err, &wrong) {
		return &RequestError{wrong.Error(), wrong.Hint}
	}
	return err
}

func openWorkspace(path string) (*beneath.Dir, error) {
	dir, err := beneath.Open(path)
	if err != nil {
		return nil, &RequestError{fmt.Sprintf("the workspace %s cannot be opened: %v", path, err), "name a folder that exists with --workspace"}
	}
	if fault := governable(dir); fault != nil {
		dir.Close()
		return nil, &RequestError{fmt.Sprintf("the workspace %s cannot be governed: %v", path, fault), "use a folder on a filesystem of a disk that tells names apart by case"}
	}
	return dir, nil
}

// standardInput is what the guest finds on stdin.
func (p *Prepared) standardInput(header []byte) []byte {
	switch p.pkg.Manifest.Entry.StdinMode() {
	case archive.StdinNone:
		return nil
	case archive.StdinPrompt:
		if p.turn.Query != nil {
			var text string
			if json.Unmarshal(p.turn.Query, &text) == nil {
				return []byte(text)
			}
			return p.query()
		}
		return []byte(p.turn.Prompt)
	}
	return header
}

// request is the header of the turn.
func (p *Prepared) request(session string, turn int, asOf time.Time) abi.Request {
	h := abi.Request{
		ABI: abi.Version, SessionID: session, TurnNumber: turn, WorkOrderID: p.workOrder(),
		ContextAsOf: asOf.UTC().Format(abi.TimeFormat), Query: p.query(),
	}
	for _, in := range p.inputs {
		h.DeclaredInputs = append(h.DeclaredInputs, abi.Input{Path: in.Path, SHA256: in.SHA256.String(), Size: in.Size})
	}
	for _, o := range p.outputs {
		h.DeclaredOutputs = append(h.DeclaredOutputs, abi.Output{Path: o.Path, Role: o.Role})
	}
	return h
}

// workOrder is the id of the work order, empty if there is none.
func (p *Prepared) workOrder() string {
	if order := p.turn.Narrow.WorkOrder; order != nil {
		return order.ID
	}
	return ""
}

// guestRights are the rights of the turn as the guest is told.
func (p *Prepared) guestRights() abi.Rights {
	r := abi.Rights{Read: p.granted.Read, Write: p.granted.Write, Forbidden: p.granted.Forbidden}
	for _, c := range p.granted.Execute {
		r.Execute = append(r.Execute, c)
	}
	return r
}

// query is the query as one JSON value: a prompt is a string.
func (p *Prepared) query() json.RawMessage {
	if p.turn.Query != nil {
		return bytes.TrimSpace(p.turn.Query)
	}
	if p.turn.Prompt == "" {
		return nil
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(p.turn.Prompt); err != nil {
		return nil // a string always encodes
	}
	return bytes.TrimSpace(text.Bytes())
}

// recordInputs and recordOutputs give what is declared as the ledger has it.
func (p *Prepared) recordInputs() []record.File {
	files := make([]record.File, len(p.inputs))
	for i, in := range p.inputs {
		files[i] = in.File
	}
	return files
}

func (p *Prepared) recordOutputs(session string) []record.Output {
	outputs := make([]record.Output, len(p.outputs))
	for i, o := range p.outputs {
		path := o.Path
		if own(path) {
			path = "output/" + session + strings.TrimPrefix(path, "out")
		}
		path = strings.ReplaceAll(path, "<session_id>", session)
		outputs[i] = record.Output{Path: path, Role: o.Role, Optional: o.Optional, Executable: o.Executable}
	}
	return outputs
}
