package archive

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/capability"
)

// Describe puts into words what a manifest asks for, one right or promise a
// line, for the person who decides. The words hold texts of the manifest as they
// are: whoever shows them on a terminal escapes them.
func Describe(m Manifest) []string {
	if m.Entry == nil {
		return append([]string{"is a library: it does not run, other packages see its files read-only"}, dependencies(m)...)
	}
	c := m.Capabilities
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, p := range c.Read {
		say("%s", mayRead(p))
	}
	if len(c.Read) == 0 {
		say("may read nothing but its own files")
	}
	for _, p := range c.Write {
		say("%s", mayWrite(p))
	}
	if len(c.Write) == 0 {
		say("may write nothing but its scratch and its output folder")
	}
	for _, r := range c.Execute {
		say("%s", mayRun(r))
	}
	if len(c.Execute) == 0 {
		say("may run no commands")
	}
	for _, p := range c.Forbidden {
		say("may never touch %s", p)
	}
	for _, p := range m.Inputs {
		say("declares as input %s", p)
	}
	for _, o := range m.Outputs {
		say("%s", publishes(o))
	}
	lines = append(lines, dependencies(m)...)
	for _, name := range slices.Sorted(maps.Keys(m.Entry.Env)) {
		say("is started with %s=%s in its environment", name, m.Entry.Env[name])
	}
	if len(m.Entry.Args) > 0 {
		say("is started with the arguments %q", m.Entry.Args)
	}
	if m.Entry.UnknownImports == UnknownENOSYS {
		say("is answered ENOSYS by functions that WASI preview 1 does not know")
	}
	return append(lines, limits(m.Limits)...)
}

func dependencies(m Manifest) []string {
	var lines []string
	for _, d := range m.Dependencies {
		lines = append(lines, sees(d))
	}
	return lines
}

// The words for one right or promise each.

func mayRead(p string) string            { return fmt.Sprintf("may read %s (%s)", p, place(p)) }
func mayWrite(p string) string           { return fmt.Sprintf("may write %s (%s)", p, place(p)) }
func mayRun(r capability.Command) string { return fmt.Sprintf("may run %s", r) }

func publishes(o Output) string {
	verb := "must publish"
	if o.Optional || pattern(o.Path) {
		verb = "may publish"
	}
	executable := ""
	if o.Executable {
		executable = ", executable"
	}
	return fmt.Sprintf("%s %s as %s%s", verb, o.Path, o.Role, executable)
}

func sees(d Dependency) string {
	version := d.Version
	if version == "" {
		version = "of any version"
	}
	return fmt.Sprintf("sees the files of %s %s, read-only", d.ID, version)
}

func limits(l Limits) []string {
	var lines []string
	for _, v := range limitsOf(l) {
		if v.n != 0 {
			lines = append(lines, "wants no more than "+v.words)
		}
	}
	return lines
}

// limit is one of Limits.
type limit struct {
	key, noun string
	n         int64
	text      string // of the value in a manifest; empty if it is none
	words     string // of the value with what it is of
}

// limitsOf are all of Limits, in their order.
func limitsOf(l Limits) []limit {
	size := func(key, noun string, s Size) limit {
		unit := ""
		if !strings.HasSuffix(s.String(), "B") {
			unit = " bytes"
		}
		return limit{key, noun, int64(s), shown(int64(s), s), s.String() + unit + " of " + noun}
	}
	number := func(key, noun string, n int64, words string) limit {
		return limit{key, noun, n, shown(n, n), fmt.Sprint(n) + words}
	}
	return []limit{
		size("memory", "memory", l.Memory),
		{"time", "time", int64(l.Time), shown(int64(l.Time), l.Time), l.Time.String() + " a turn"},
		number("fuel", "instructions", l.Fuel, " instructions a turn"),
		size("output_bytes", "output", l.OutputBytes),
		number("output_files", "files of output", l.OutputFiles, " files of output"),
		size("result_bytes", "result", l.ResultBytes),
		number("entries", "entries in the ledger", l.Entries, " entries in the ledger"),
		number("call_depth", "depth of calls", l.CallDepth, " calls deep"),
	}
}

// shown is a value of a limit as text, empty if there is none.
func shown(n int64, value any) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(value)
}

// place says whose files a pattern means.
func place(p string) string {
	first, _, _ := strings.Cut(p, "/")
	switch first {
	case "out", "output":
		return "its session's output"
	case "planes":
		return "records of sessions"
	case "ledger", "registries", "packages_store":
		return "files of the control plane"
	}
	return "files of the workspace"
}

// pattern reports whether p stands for more than one name.
func pattern(p string) bool { return strings.ContainsAny(p, `*?[{\`) }

// Warnings says what in a manifest, though legal, is likely not what its author
// or operator expects, one thing a line. Like Describe it does not escape.
func Warnings(m Manifest) []string {
	c := m.Capabilities
	var lines []string
	if m.Entry == nil && len(c.Read)+len(c.Write)+len(c.Execute)+len(m.Inputs)+len(m.Outputs) > 0 {
		lines = append(lines, "a package without entry does not run: its capabilities, inputs and outputs mean nothing")
	}
	for _, g := range []struct {
		op       capability.Op
		patterns []string
	}{{capability.Read, c.Read}, {capability.Write, c.Write}} {
		for _, p := range g.patterns {
			if p == "**" {
				lines = append(lines, fmt.Sprintf("%s %s: this is the whole workspace; name the folders it needs", g.op, p))
			}
			for _, folder := range []string{"tmp", "out"} {
				if reachesBeneath(p, folder) {
					lines = append(lines, fmt.Sprintf("%s %s: does not reach the workspace's own %s/, because the guest's /%s stands in front of it", g.op, p, folder, folder))
				}
			}
		}
	}
	if len(c.Write) > 0 && len(m.Outputs) == 0 {
		lines = append(lines, "write: no output is declared, so a write is refused unless the run declares it")
	}
	for _, r := range c.Execute {
		if choice := Choice(r); choice != "" {
			lines = append(lines, fmt.Sprintf("execute %s: %s; only the fence around it holds that", r, choice))
		}
		for _, word := range r {
			if name, ok := inPackage(word); ok && len(m.Files) > 0 && !m.holds(name) {
				lines = append(lines, fmt.Sprintf("execute %s: the package has no %s, so it is not found", r, name))
			}
		}
	}
	return lines
}

// inPackage returns the name that a word of a rule says of a file of the package,
// if it is one name.
func inPackage(word string) (name string, ok bool) {
	if word, ok = capability.Literal(word); !ok {
		return "", false
	}
	return strings.CutPrefix(word, "pkg:")
}

// holds reports whether the package has a file or folder of that name.
func (m Manifest) holds(name string) bool {
	return slices.ContainsFunc(m.Files, func(f File) bool { return f.Path == name || strings.HasPrefix(f.Path, name+"/") })
}

// reachesBeneath reports whether names beneath a folder at the top match p.
func reachesBeneath(p, folder string) bool {
	for _, p := range alternatives(p) {
		first, _, deeper := strings.Cut(p, "/")
		if first == "**" {
			return true
		}
		if ok, err := path.Match(first, folder); deeper && pattern(first) && ok && err == nil {
			return true
		}
	}
	return false
}

// alternatives writes out the braces of a pattern, of which a valid one has few.
func alternatives(p string) []string {
	open := strings.IndexByte(p, '{')
	if open < 0 || open > 0 && p[open-1] == '\\' {
		return []string{p}
	}
	var all []string
	depth, from := 0, open+1
	var middles []string
	for i := open; i < len(p); i++ {
		switch {
		case p[i] == '\\':
			i++
		case p[i] == '{':
			depth++
		case p[i] == ',' && depth == 1:
			middles = append(middles, p[from:i])
			from = i + 1
		case p[i] == '}' && depth > 1:
			depth--
		case p[i] == '}':
			for _, middle := range append(middles, p[from:i]) {
				all = append(all, alternatives(p[:open]+middle+p[i+1:])...)
			}
			return all
		}
	}
	return []string{p}
}
