package archive

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/ledger"
)

// Difference is what differs between two manifests, in most cases of two versions
// of one package. Like those of Describe its words are not escaped.
type Difference struct {
	Gained  []string     `json:"gained"`  // what the new one may do and the old one might not, a line each; not nil
	Lost    []string     `json:"lost"`    // the other way round; not nil
	Changes []Change     `json:"changes"` // what else a manifest says, in its order; not nil
	Files   []FileChange `json:"files"`   // sorted by path; not nil
}

// Grows reports whether the new manifest may do what the old one might not.
func (d Difference) Grows() bool { return len(d.Gained) > 0 }

// Same reports whether nothing differs.
func (d Difference) Same() bool {
	return len(d.Gained)+len(d.Lost)+len(d.Changes)+len(d.Files) == 0
}

// Change is a value of a manifest that is another one. One that is not there is
// empty.
type Change struct {
	Where string `json:"where"` // as limits.memory
	Old   string `json:"old,omitempty"`
	New   string `json:"new,omitempty"`
}

// FileChange is a file that is new, is gone, or is another one. What is not there
// is zero.
type FileChange struct {
	Path    string      `json:"path"`
	Old     ledger.Hash `json:"old,omitzero"`
	OldSize int64       `json:"old_size,omitempty"` // bytes
	New     ledger.Hash `json:"new,omitzero"`
	NewSize int64       `json:"new_size,omitempty"`
}

// Compare finds out what differs between two manifests.
//
// It is conservative about rights: what the new manifest asks is gained unless it
// is certain that the old one allowed all of it. A pattern is certain if it is
// spelled as in the old manifest, is a name the old one permits, or is within one
// of its patterns, as docs/a/** is within docs/**; with classes or escapes it is
// not looked into. A command is certain if it is spelled as in the old manifest, or
// leaves nothing to fill in and was permitted. Gained are also: to be kept from
// less by forbidden; all of a package that was a library; a limit that is higher
// or gone; an output beyond the session's own folder that no output of old covers,
// and any that is executable now; a dependency; a plane above the old one; a tier
// below the old one.
//
// No right is what a manifest declares as input, how the guest is started, and
// which version of a dependency it wants; it is among the changes. So is what it
// publishes in its session's own folder, where every package may write. The content
// of files is not looked at: what a package does with its rights may change with
// each of them.
func Compare(old, new Manifest) Difference {
	gained, lost := grows(old, new, "before"), grows(new, old, "now")
	return Difference{Gained: gained, Lost: lost, Changes: changes(old, new), Files: files(old.Files, new.Files)}
}

// grows says what one manifest allows beyond another. When says of the other's
// values when they hold.
func grows(from, to Manifest, when string) []string {
	lines := []string{}
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	was := rightsOf(from)
	is := rightsOf(to)
	if from.Entry == nil && to.Entry != nil {
		say("runs (%s: a library, which does not)", when)
	}
	var beyond capability.Grants
	if to.Entry != nil {
		beyond = is.beyond(was)
	}
	for _, p := range beyond.Read {
		say("%s", mayRead(p))
	}
	for _, p := range beyond.Write {
		say("%s", mayWrite(p))
	}
	for _, c := range beyond.Execute {
		say("%s", mayRun(c))
	}
	for _, p := range beyond.Forbidden {
		say("is not kept from %s (%s: may never touch it)", p, when)
	}
	for _, o := range outputsBeyond(was.outputs, is.outputs) {
		say("%s", publishes(o))
	}
	for _, d := range to.Dependencies {
		if !slices.ContainsFunc(from.Dependencies, func(o Dependency) bool { return o.ID == d.ID }) {
			say("%s", sees(d))
		}
	}
	if from.Entry != nil && to.Entry != nil {
		lines = append(lines, limitsBeyond(from.Limits, to.Limits, when)...)
	}
	if a, b := cmp.Or(from.Plane, Planes()[0]), cmp.Or(to.Plane, Planes()[0]); b > a {
		say("belongs to plane %s (%s: %s)", b, when, a)
	}
	if a, b := cmp.Or(from.Tier, "none"), cmp.Or(to.Tier, "none"); tierRank(b) < tierRank(a) {
		say("is of tier %s (%s: %s)", b, when, a)
	}
	return lines
}

// tierRank orders tiers: T0, on which all stands, is 0, and none is behind T3.
func tierRank(tier string) int {
	return slices.Index([]string{"T0", "T1", "T2", "T3", "none"}, tier)
}

// rights is what a manifest allows.
type rights struct {
	capability.Grants
	enforcer *capability.Enforcer // nil if the grants are not valid
	outputs  []Output
}

// rightsOf are the rights of a manifest. A library, which does not run, has none,
// and is kept from nothing.
func rightsOf(m Manifest) rights {
	if m.Entry == nil {
		return rights{}
	}
	r := rights{Grants: m.Capabilities, outputs: m.Outputs}
	if e, err := capability.New(m.Capabilities); err == nil {
		r.enforcer = e
	}
	return r
}

// beyond are the rules by which r allows, or may allow, more than was. Forbidden
// are those of was that keep r from less.
func (r rights) beyond(was rights) (more capability.Grants) {
	if was.enforcer == nil { // of grants that are not valid nothing was permitted
		was.Grants = capability.Grants{}
	}
	pr := &prover{maxSteps}
	without := func(g *grants, patterns []string) (list []string) {
		for _, p := range patterns {
			if !g.cover(pr, p) {
				list = append(list, p)
			}
		}
		return list
	}
	more.Read = without(newGrants(capability.Read, was.Read, was.enforcer), r.Read)
	more.Write = without(newGrants(capability.Write, was.Write, was.enforcer), r.Write)
	for _, c := range r.Execute {
		if !runs(was.Execute, was.enforcer, c) {
			more.Execute = append(more.Execute, c)
		}
	}
	more.Forbidden = without(newGrants("", r.Forbidden, nil), was.Forbidden)
	return more
}

// outputsBeyond are the outputs that may publish what those of was might not.
func outputsBeyond(was, is []Output) []Output {
	var plain, executable []string
	for _, o := range was {
		plain = append(plain, o.Path)
		if o.Executable {
			executable = append(executable, o.Path)
		}
	}
	pr := &prover{maxSteps}
	all, run := newGrants(capability.Write, plain, nil), newGrants(capability.Write, executable, nil)
	return slices.DeleteFunc(slices.Clone(is), func(o Output) bool {
		if o.Executable {
			return run.cover(pr, o.Path)
		}
		return o.Path == "out" || strings.HasPrefix(o.Path, "out/") || all.cover(pr, o.Path)
	})
}

// limitsBeyond says which limits are higher than they were.
func limitsBeyond(was, is Limits, when string) []string {
	var lines []string
	after := limitsOf(is)
	for i, before := range limitsOf(was) {
		switch l := after[i]; {
		case before.n == 0 || l.n != 0 && l.n <= before.n:
		case l.n == 0:
			lines = append(lines, fmt.Sprintf("sets no limit to its %s (%s: %s)", l.noun, when, before.words))
		default:
			lines = append(lines, fmt.Sprintf("wants no more than %s (%s: %s)", l.words, when, before.words))
		}
	}
	return lines
}

// changes are the values that differ, but for rights and files.
func changes(old, new Manifest) []Change {
	list := []Change{}
	add := func(where, a, b string) {
		if a != b {
			list = append(list, Change{where, a, b})
		}
	}
	add("$schema", old.SchemaURL, new.SchemaURL)
	add("id", old.ID, new.ID)
	add("version", old.Version, new.Version)
	add("name", old.Name, new.Name)
	add("description", old.Description, new.Description)
	add("license", old.License, new.License)
	add("tier", old.Tier, new.Tier)
	add("plane", old.Plane, new.Plane)
	add("spec_id", old.SpecID, new.SpecID)
	addAll := func(part string, a, b map[string]string) {
		for _, key := range keys(a, b) {
			add(part+" "+key, a[key], b[key])
		}
	}
	a, b := entryValues(old.Entry), entryValues(new.Entry)
	for _, key := range keys(a, b) {
		add(key, a[key], b[key])
	}
	addAll("inputs", inputValues(old), inputValues(new))
	addAll("outputs", outputValues(old), outputValues(new))
	after := limitsOf(new.Limits)
	for i, before := range limitsOf(old.Limits) {
		add("limits."+before.key, before.text, after[i].text)
	}
	addAll("dependencies", dependencyValues(old), dependencyValues(new))
	return list
}

// entryValues are the values of an entry by their places in the manifest.
func entryValues(e *Entry) map[string]string {
	if e == nil {
		return nil
	}
	values := map[string]string{"entry": "runs", "entry.module": e.Module, "entry.stdin": e.StdinMode(), "entry.unknown_imports": e.UnknownImports}
	if len(e.Args) > 0 {
		values["entry.args"] = fmt.Sprintf("%q", e.Args)
	}
	for name, value := range e.Env {
		values["entry.env "+name] = fmt.Sprintf("%q", value)
	}
	return values
}

func inputValues(m Manifest) map[string]string {
	values := map[string]string{}
	for _, p := range m.Inputs {
		values[p] = "declared"
	}
	return values
}

func outputValues(m Manifest) map[string]string {
	values := map[string]string{}
	for _, o := range m.Outputs {
		values[o.Path] += publishes(o) + "; "
	}
	for path, v := range values {
		values[path] = strings.TrimSuffix(v, "; ")
	}
	return values
}

func dependencyValues(m Manifest) map[string]string {
	values := map[string]string{}
	for _, d := range m.Dependencies {
		values[d.ID] = cmp.Or(d.Version, "any version")
	}
	return values
}

// keys are those of both maps, sorted.
func keys(a, b map[string]string) []string {
	all := map[string]string{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// files are the files that are new, gone, or others.
func files(old, new []File) []FileChange {
	byPath := map[string]*FileChange{}
	for _, f := range old {
		byPath[f.Path] = &FileChange{Path: f.Path, Old: f.SHA256, OldSize: f.Size}
	}
	for _, f := range new {
		c := byPath[f.Path]
		if c == nil {
			c = &FileChange{Path: f.Path}
			byPath[f.Path] = c
		}
		c.New, c.NewSize = f.SHA256, f.Size
	}
	list := []FileChange{}
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		if c := byPath[path]; c.Old != c.New {
			list = append(list, *c)
		}
	}
	return list
}
