package archive

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/agenthost/agenthost/host/internal/strict"
)

// document collects the mistakes of one document, in its order.
type document struct {
	root     strict.Value
	problems []*ManifestError
}

// maxProblems bounds what a hostile document can make us say, and look for.
const maxProblems = 100

// full reports whether enough mistakes were found.
func (d *document) full() bool { return len(d.problems) >= maxProblems }

func (d *document) fault(where, hint, format string, args ...any) {
	if !d.full() {
		what := fmt.Sprintf(format, args...)
		d.problems = append(d.problems, &ManifestError{Where: where, What: oneLine(what), Hint: oneLine(hint)})
	}
}

// oneLine keeps what a document chose from breaking a message's line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// faulted reports whether a mistake was found at where, around or within it.
func (d *document) faulted(where string) bool {
	return slices.ContainsFunc(d.problems, func(p *ManifestError) bool {
		return within(where, p.Where) || within(p.Where, where)
	})
}

// within reports whether the value at inner is the one at outer or part of it.
func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

// err gives all mistakes as one error, the first in the document first.
func (d *document) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	places := make(map[*ManifestError]int64, len(d.problems))
	for _, p := range d.problems {
		places[p] = endOf(d.root, p.Where)
	}
	slices.SortStableFunc(d.problems, func(a, b *ManifestError) int {
		return cmp.Compare(places[a], places[b])
	})
	first := *d.problems[0]
	first.Also = d.problems[1:]
	return &first
}

// endOf is where the value at path ends in the document, or where the innermost
// value ends in which it is missing.
func endOf(n strict.Value, path string) int64 {
	if path == "" {
		return n.End
	}
	for _, m := range n.Members {
		name := strict.Join("", m.Name)
		if within(path, name) {
			return endOf(m.Value, strings.TrimPrefix(path[len(name):], "."))
		}
	}
	if index, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]"); ok && n.Kind == strict.List {
		if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(n.Items) {
			return endOf(n.Items[i], strings.TrimPrefix(rest, "."))
		}
	}
	return n.End
}

// parse reads strict JSON. It gives false where the document cannot be read on.
func (d *document) parse(data []byte) (strict.Value, bool) {
	// A manifest nests four deep, and 20,000 files need 80,000 values.
	bounds := strict.Bounds{Bytes: maxManifest, Depth: 16, Key: 256, Values: 200_000, Faults: maxProblems}
	root, ok := strict.Parse(data, bounds, func(where, what, hint string) { d.fault(where, hint, "%s", what) })
	d.root = root
	return root, ok
}

// field is a member an object may have, and what takes its value.
type field struct {
	name string
	take func(d *document, path string, n strict.Value)
}

// reserved names what is kept for later versions.
func reserved(name string) bool {
	return name == "network" || name == "model" || name == "secrets"
}

// object hands each member of n to its field.
func (d *document) object(path string, n strict.Value, fields ...field) {
	if !d.want(path, n, strict.Object, "") {
		return
	}
	for _, m := range n.Members {
		if d.full() {
			return
		}
		at := strict.Join(path, m.Name)
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == m.Name })
		switch {
		case i >= 0:
			fields[i].take(d, at, m.Value)
		case reserved(m.Name):
			d.fault(at, "leave it out", "not in this version")
		default:
			d.fault(at, suggest(m.Name, fields), "unknown key")
		}
	}
}

// want reports whether n has the kind, and notes a mistake where it has not.
func (d *document) want(path string, n strict.Value, kind strict.Kind, hint string) bool {
	if n.Kind == kind {
		return true
	}
	if n.Kind == strict.Null {
		hint = "leave the key out instead"
	}
	d.fault(path, hint, "want %s, got %s", kind, n.Kind)
	return false
}

func text(into *string) func(*document, string, strict.Value) {
	return func(d *document, path string, n strict.Value) {
		if d.want(path, n, strict.Text, "") {
			*into = n.Text
		}
	}
}

func truth(into *bool) func(*document, string, strict.Value) {
	return func(d *document, path string, n strict.Value) {
		if d.want(path, n, strict.Bool, "") {
			*into = n.Truth
		}
	}
}

func texts(into *[]string) func(*document, string, strict.Value) {
	return list(into, func(d *document, path string, n strict.Value, into *string) { text(into)(d, path, n) })
}

// list reads a list of anything; an empty one is nil, so that absent and empty
// are the same.
func list[T any](into *[]T, take func(d *document, path string, n strict.Value, into *T)) func(*document, string, strict.Value) {
	return func(d *document, path string, n strict.Value) {
		hint := ""
		if n.Kind == strict.Text || n.Kind == strict.Object {
			hint = "put it in [ ]"
		}
		if !d.want(path, n, strict.List, hint) || len(n.Items) == 0 {
			return
		}
		*into = make([]T, len(n.Items))
		for i, item := range n.Items {
			if d.full() {
				return
			}
			take(d, strict.Item(path, i), item, &(*into)[i])
		}
	}
}

// suggest names the nearest of the known keys, or all of them.
func suggest(name string, fields []field) string {
	best, distance := "", 3
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
		if n := editDistance(strings.ToLower(name), f.name); n < distance && n < len(f.name) {
			best, distance = f.name, n
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known here are " + strings.Join(names, ", ")
}

// editDistance counts the insertions, deletions, substitutions and swaps of
// neighbours between two words; words longer than 64 bytes are simply far apart.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var older, old []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		older, old, row = old, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
