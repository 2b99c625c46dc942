package archive

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/strict"
)

// Bounds of a manifest's lists and texts.
const (
	maxPatterns     = 1024
	maxDependencies = 64
	maxArgs         = 1024
	maxEnv          = 256
	maxStrings      = 128 << 10 // bytes of args and env together
)

// CheckID reports whether id is kind, "PKG", "SES", "WO" or "SPEC", followed by
// a hyphen and 1 to 100 letters, digits and hyphens. Only such an id may become
// part of a path.
func CheckID(kind, id string) error {
	rest, ok := strings.CutPrefix(id, kind+"-")
	if !ok || rest == "" || len(rest) > 100 ||
		strings.Trim(rest, "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		return fmt.Errorf("%q is not an id; say %s- and up to 100 letters, digits and hyphens", id, kind)
	}
	return nil
}

// check notes every mistake in the values of a manifest that decoded, except
// where its type was wrong already.
func (m *Manifest) check(found *document) {
	d := &document{root: found.root}
	if m.Schema == "" {
		d.fault("schema", fmt.Sprintf(`say "schema": %q`, ManifestSchema), "missing")
	} else if m.Schema != ManifestSchema {
		d.fault("schema", fmt.Sprintf("this program reads %q", ManifestSchema), "unknown schema %q", m.Schema)
	}
	if m.ID == "" {
		d.fault("id", `say "id": "PKG-…", or give the id when packing`, "missing")
	} else if err := CheckID("PKG", m.ID); err != nil {
		d.fault("id", "", "%s", err)
	}
	if m.Version == "" {
		d.fault("version", `say "version": "0.1.0"`, "missing")
	} else if _, err := parseVersion(m.Version); err != nil {
		d.fault("version", "", "%s", err)
	}
	d.line("name", m.Name, 200)
	d.line("license", m.License, 200)
	d.line("$schema", m.SchemaURL, 1000)
	d.prose("description", m.Description, 4096)
	d.oneOf("tier", m.Tier, "", "T0", "T1", "T2", "T3")
	d.oneOf("plane", m.Plane, append(Planes(), "")...)
	if m.SpecID != "" {
		if err := CheckID("SPEC", m.SpecID); err != nil {
			d.fault("spec_id", "", "%s", err)
		}
	}
	m.checkEntry(d)
	m.checkRights(d)
	m.checkDependencies(d)
	m.checkFiles(d)
	if m.Limits.Memory > 4<<30 {
		d.fault("limits.memory", "", "%s, but a guest's memory ends at 4GiB", m.Limits.Memory)
	}
	for _, p := range d.problems {
		if !found.full() && !found.faulted(p.Where) {
			found.problems = append(found.problems, p)
		}
	}
}

// line checks a text of one line.
func (d *document) line(path, s string, most int) {
	if strings.ContainsFunc(s, unicode.IsControl) {
		d.fault(path, "", "the text holds control characters")
	}
	d.length(path, s, most)
}

// prose checks a text of several lines.
func (d *document) prose(path, s string, most int) {
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		d.fault(path, "", "the text holds control characters")
	}
	d.length(path, s, most)
}

func (d *document) length(path, s string, most int) {
	if len(s) > most {
		d.fault(path, "", "the text has %d bytes, at most %d are allowed", len(s), most)
	}
}

func (d *document) oneOf(path, s string, words ...string) {
	if slices.Contains(words, s) {
		return
	}
	var quoted []string
	for _, w := range words {
		if w != "" {
			quoted = append(quoted, fmt.Sprintf("%q", w))
		}
	}
	d.fault(path, "say "+strings.Join(quoted, ", "), "unknown value %q", s)
}

func (d *document) atMost(path string, n, most int) {
	if n > most {
		d.fault(path, "", "%d items, at most %d are allowed", n, most)
	}
}

func (m *Manifest) checkEntry(d *document) {
	e := m.Entry
	if e == nil {
		return
	}
	if e.Module == "" {
		d.fault("entry.module", `name a file of the package, as "agent.wasm"`, "missing")
	} else if err := checkName(e.Module); err != nil {
		d.fault("entry.module", "", "%q: %s", e.Module, err)
	} else if e.Module == ManifestName {
		d.fault("entry.module", "", "the manifest is not a module")
	}
	d.oneOf("entry.stdin", e.Stdin, "", StdinRequest, StdinPrompt, StdinNone)
	d.oneOf("entry.unknown_imports", e.UnknownImports, "", UnknownENOSYS)
	d.atMost("entry.args", len(e.Args), maxArgs)
	d.atMost("entry.env", len(e.Env), maxEnv)
	total := 0
	for i, arg := range e.Args {
		total += len(arg)
		if strings.Contains(arg, "\x00") {
			d.fault(fmt.Sprintf("entry.args[%d]", i), "", "an argument cannot hold NUL")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Env)) {
		total += len(name) + len(e.Env[name])
		at := strict.Join("entry.env", name)
		switch {
		case !envName(name):
			d.fault(at, "use letters, digits and _", "not a name for the environment")
		case abi.ReservedEnv(name):
			d.fault(at, "choose another name", "the host sets this name")
		case strings.Contains(e.Env[name], "\x00"):
			d.fault(at, "", "a value cannot hold NUL")
		}
	}
	if total > maxStrings {
		d.fault("entry", "", "args and env have %d bytes, at most %d are allowed", total, maxStrings)
	}
}

func envName(s string) bool {
	return s != "" && (s[0] < '0' || s[0] > '9') &&
		strings.Trim(s, "_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

// someSession stands for the session a turn will have: what a manifest says of
// its own output folder holds in each.
const someSession = "SES-0"

// checkRights checks capabilities, and inputs and outputs against them.
func (m *Manifest) checkRights(d *document) {
	c := m.Capabilities
	d.atMost("capabilities.read", len(c.Read), maxPatterns)
	d.atMost("capabilities.write", len(c.Write), maxPatterns)
	d.atMost("capabilities.execute", len(c.Execute), maxPatterns)
	d.atMost("capabilities.forbidden", len(c.Forbidden), maxPatterns)
	d.atMost("inputs", len(m.Inputs), maxPatterns)
	d.atMost("outputs", len(m.Outputs), maxPatterns)
	if len(d.problems) > 0 && slices.ContainsFunc(d.problems, func(p *ManifestError) bool {
		return strings.HasSuffix(p.What, "are allowed")
	}) {
		return
	}
	enforcer, err := capability.New(c)
	if err != nil {
		d.grantFaults(c, err)
		enforcer = nil
	}
	for i, pattern := range m.Inputs {
		at := fmt.Sprintf("inputs[%d]", i)
		if _, err := capability.New(capability.Grants{Read: []string{pattern}}); err != nil {
			d.grantFault(at, err)
		} else if enforcer != nil {
			d.granted(at, enforcer, capability.Read, pattern)
		}
	}
	seen := make(map[string]bool)
	for i, output := range m.Outputs {
		at := fmt.Sprintf("outputs[%d]", i)
		if !IsRole(output.Role) {
			if output.Role == "" {
				d.fault(at+".role", `say what the file is, as "report"`, "missing")
			} else {
				d.fault(at+".role", "use up to 64 letters, digits, and _ . -", "%q is not a role", output.Role)
			}
		}
		at += ".path"
		if output.Path == "" {
			d.fault(at, `say "out/…", or a path that capabilities.write grants`, "missing")
			continue
		}
		if seen[output.Path] {
			d.fault(at, "keep one of them", "%q is there twice", output.Path)
			continue
		}
		seen[output.Path] = true
		if _, err := capability.New(capability.Grants{Write: []string{output.Path}}); err != nil {
			d.grantFault(at, err)
		} else if enforcer != nil {
			d.granted(at, enforcer, capability.Write, output.Path)
		}
	}
}

// grantFaults notes what is wrong with capabilities: the first mistake of each
// rule, or else the one they make together.
func (d *document) grantFaults(c capability.Grants, all error) {
	before := len(d.problems)
	try := func(at string, g capability.Grants) {
		if _, err := capability.New(g); err != nil {
			d.grantFault(at, err)
		}
	}
	for i, p := range c.Read {
		try(fmt.Sprintf("capabilities.read[%d]", i), capability.Grants{Read: []string{p}})
	}
	for i, p := range c.Write {
		try(fmt.Sprintf("capabilities.write[%d]", i), capability.Grants{Write: []string{p}})
	}
	for i, r := range c.Execute {
		try(fmt.Sprintf("capabilities.execute[%d]", i), capability.Grants{Execute: []capability.Command{r}})
	}
	for i, p := range c.Forbidden {
		try(fmt.Sprintf("capabilities.forbidden[%d]", i), capability.Grants{Forbidden: []string{p}})
	}
	if len(d.problems) > before {
		return
	}
	at := "capabilities"
	var g *capability.GrantError
	if errors.As(all, &g) && g.Field != "" {
		at += "." + g.Field
	}
	d.grantFault(at, all)
}

// granted checks an input or output that is a plain path: what the rules refuse
// now they would refuse in every turn.
func (d *document) granted(at string, e *capability.Enforcer, op capability.Op, pattern string) {
	if strings.ContainsAny(pattern, `*?[{\`) {
		return
	}
	name := strings.ReplaceAll(pattern, "<session_id>", someSession)
	if rest, ok := strings.CutPrefix(name, "out/"); ok {
		name = "output/" + someSession + "/" + rest
	}
	bound := e.Bind(someSession)
	if rule, ok := bound.Forbids(name); ok {
		d.refused(at, pattern, rule)
		return
	}
	if strings.HasPrefix(name, "output/"+someSession+"/") {
		return
	}
	_, err := bound.Check(op, name)
	var v *capability.Violation
	switch {
	case !errors.As(err, &v):
	case strings.HasPrefix(v.Rule, "no grant"):
		d.fault(at, fmt.Sprintf("add it to capabilities.%s", op), "no pattern of capabilities.%s grants %q", op, pattern)
	default:
		d.refused(at, pattern, v.Rule)
	}
}

func (d *document) refused(at, pattern, rule string) {
	d.fault(at, "take it out, or change the rule", "%q is refused by the rule %q", pattern, rule)
}

// IsRole reports whether s can be the role of an output: up to 64 letters,
// digits, and _ . -
func IsRole(s string) bool {
	return s != "" && len(s) <= 64 &&
		strings.Trim(s, "_.-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

func (m *Manifest) checkDependencies(d *document) {
	d.atMost("dependencies", len(m.Dependencies), maxDependencies)
	seen := make(map[string]bool)
	for i, dep := range m.Dependencies {
		at := fmt.Sprintf("dependencies[%d]", i)
		switch {
		case dep.ID == "":
			d.fault(at+".id", `say "id": "PKG-…"`, "missing")
		case dep.ID == m.ID:
			d.fault(at+".id", "", "a package cannot depend on itself")
		case seen[dep.ID]:
			d.fault(at+".id", "keep one of them", "%q is there twice", dep.ID)
		default:
			if err := CheckID("PKG", dep.ID); err != nil {
				d.fault(at+".id", "", "%s", err)
			}
		}
		seen[dep.ID] = true
		if dep.Version != "" {
			if _, err := parseRange(dep.Version); err != nil {
				d.fault(at+".version", "", "%s", err)
			}
		}
	}
}

// checkFiles checks the list that pack wrote: sorted by bytes, each name once,
// within the limits of an archive.
func (m *Manifest) checkFiles(d *document) {
	d.atMost("files", len(m.Files), maxFiles)
	names := newNameSet()
	var total int64
	for i, f := range m.Files {
		at := fmt.Sprintf("files[%d].path", i)
		switch err := names.add(f.Path); {
		case f.Path == "":
			d.fault(at, "", "missing")
		case err != nil:
			d.fault(at, "", "%q: %s", f.Path, err)
		case i > 0 && m.Files[i-1].Path > f.Path:
			d.fault(at, "", "%q: out of order; names are sorted by bytes", f.Path)
		}
		if total += f.Size; total > maxUnpacked {
			d.fault("files", "", "together more than 1GiB")
			return
		}
	}
}
