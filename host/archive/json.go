package archive

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a document: how deep it nests, where a manifest needs four; how long
// a key is; and how many values there are, where 20,000 files need 80,000.
const (
	maxDepth  = 16
	maxKey    = 256 // bytes
	maxValues = 200_000
)

// node is one JSON value. Members keep the order of the document and the case
// of their names, which encoding/json would give up.
type node struct {
	kind    nodeKind
	text    string // of a text, or the spelling of a number
	truth   bool
	items   []node
	members []member
	end     int64 // offset of the first byte after it
}

type member struct {
	name  string
	value node
}

type nodeKind string

const (
	kindNull   nodeKind = "null"
	kindBool   nodeKind = "true or false"
	kindNumber nodeKind = "a number"
	kindText   nodeKind = "a text"
	kindList   nodeKind = "a list"
	kindObject nodeKind = "an object"
)

// document collects the mistakes of one document, in its order.
type document struct {
	root     node
	values   int // read so far
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
		places[p] = d.root.place(p.Where)
	}
	slices.SortStableFunc(d.problems, func(a, b *ManifestError) int {
		return cmp.Compare(places[a], places[b])
	})
	first := *d.problems[0]
	first.Also = d.problems[1:]
	return &first
}

// place is where the value at path ends in the document, or where the innermost
// value ends in which it is missing.
func (n node) place(path string) int64 {
	if path == "" {
		return n.end
	}
	for _, m := range n.members {
		name := join("", m.name)
		if within(path, name) {
			return m.value.place(strings.TrimPrefix(path[len(name):], "."))
		}
	}
	if index, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]"); ok && n.kind == kindList {
		if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(n.items) {
			return n.items[i].place(strings.TrimPrefix(rest, "."))
		}
	}
	return n.end
}

// parse reads strict JSON. It gives false where the document cannot be read on.
func (d *document) parse(data []byte) (node, bool) {
	switch {
	case int64(len(data)) > maxManifest:
		d.fault("", "", "%d bytes, at most %d are read", len(data), int64(maxManifest))
		return node{}, false
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		d.fault("", "save the file without it", "it begins with a byte order mark")
		return node{}, false
	case !utf8.Valid(data):
		d.fault("", "save the file as UTF-8", "it is not UTF-8")
		return node{}, false
	}
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	if err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			d.fault(lineColumn(data, syntax.Offset), "", "%s", syntax)
		} else {
			d.fault("", "", "%s", err)
		}
		return node{}, false
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	d.root, err = d.value(dec, nil)
	if err != nil {
		d.fault("", "", "%s", err)
		return node{}, false
	}
	return d.root, true
}

func lineColumn(data []byte, offset int64) string {
	before := data[:min(max(offset-1, 0), int64(len(data)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}

// position is a path that is spelled only when there is something to say about
// it: in a hostile document all paths together may be far longer than the text.
type position struct {
	up    *position
	name  string // of a member, or
	index int    // of an item, where it is not negative
}

func (p *position) path() string {
	switch {
	case p == nil:
		return ""
	case p.index >= 0:
		return fmt.Sprintf("%s[%d]", p.up.path(), p.index)
	}
	return join(p.up.path(), p.name)
}

func (p *position) depth() int {
	n := 0
	for ; p != nil; p = p.up {
		n++
	}
	return n
}

// value reads one value of text that is known to be well-formed.
func (d *document) value(dec *json.Decoder, at *position) (node, error) {
	if d.full() {
		return node{}, errors.New("nothing but mistakes")
	}
	if d.values++; d.values > maxValues {
		return node{}, fmt.Errorf("more than %d values", maxValues)
	}
	token, err := dec.Token()
	if err != nil {
		return node{}, err
	}
	var n node
	switch t := token.(type) {
	case nil:
		n.kind = kindNull
	case bool:
		n.kind, n.truth = kindBool, t
	case json.Number:
		n.kind, n.text = kindNumber, t.String()
	case string:
		n.kind, n.text = kindText, t
		d.checkText(at, t)
	case json.Delim:
		if at.depth() == maxDepth {
			return node{}, fmt.Errorf("it nests deeper than %d", maxDepth)
		}
		if t == '[' {
			n.kind = kindList
			n.items, err = d.items(dec, at)
		} else {
			n.kind = kindObject
			n.members, err = d.members(dec, at)
		}
		if err == nil {
			_, err = dec.Token()
		}
	}
	n.end = dec.InputOffset()
	return n, err
}

func (d *document) items(dec *json.Decoder, at *position) ([]node, error) {
	var items []node
	for dec.More() {
		item, err := d.value(dec, &position{up: at, index: len(items)})
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func (d *document) members(dec *json.Decoder, at *position) ([]member, error) {
	var members []member
	seen := make(map[string]bool)
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		here := &position{up: at, name: name, index: -1}
		if len(name) > maxKey {
			return nil, fmt.Errorf("a key of %d bytes, at most %d are read", len(name), maxKey)
		}
		if seen[name] {
			d.fault(here.path(), "keep one of them", "the key is there twice")
		}
		seen[name] = true
		d.checkText(here, name)
		value, err := d.value(dec, here)
		if err != nil {
			return nil, err
		}
		members = append(members, member{name, value})
	}
	return members, nil
}

// checkText refuses U+FFFD, which is also what decoders make of half a
// surrogate pair: two documents that differ must not mean the same.
func (d *document) checkText(at *position, text string) {
	if strings.ContainsRune(text, utf8.RuneError) {
		d.fault(at.path(), "", "the text holds U+FFFD or half a surrogate pair")
	}
}

// join makes the path of a member.
func join(path, name string) string {
	switch {
	case name == "" || strings.Trim(name, "$_-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "":
		return path + "[" + strconv.QuoteToASCII(name) + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

// field is a member an object may have, and what takes its value.
type field struct {
	name string
	take func(d *document, path string, n node)
}

// reserved names what is kept for later versions.
func reserved(name string) bool {
	return name == "network" || name == "model" || name == "secrets"
}

// object hands each member of n to its field.
func (d *document) object(path string, n node, fields ...field) {
	if !d.want(path, n, kindObject, "") {
		return
	}
	for _, m := range n.members {
		if d.full() {
			return
		}
		at := join(path, m.name)
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == m.name })
		switch {
		case i >= 0:
			fields[i].take(d, at, m.value)
		case reserved(m.name):
			d.fault(at, "leave it out", "not in this version")
		default:
			d.fault(at, suggest(m.name, fields), "unknown key")
		}
	}
}

// want reports whether n has the kind, and notes a mistake where it has not.
func (d *document) want(path string, n node, kind nodeKind, hint string) bool {
	if n.kind == kind {
		return true
	}
	if n.kind == kindNull {
		hint = "leave the key out instead"
	}
	d.fault(path, hint, "want %s, got %s", kind, n.kind)
	return false
}

func text(into *string) func(*document, string, node) {
	return func(d *document, path string, n node) {
		if d.want(path, n, kindText, "") {
			*into = n.text
		}
	}
}

func truth(into *bool) func(*document, string, node) {
	return func(d *document, path string, n node) {
		if d.want(path, n, kindBool, "") {
			*into = n.truth
		}
	}
}

func texts(into *[]string) func(*document, string, node) {
	return list(into, func(d *document, path string, n node, into *string) { text(into)(d, path, n) })
}

// list reads a list of anything; an empty one is nil, so that absent and empty
// are the same.
func list[T any](into *[]T, take func(d *document, path string, n node, into *T)) func(*document, string, node) {
	return func(d *document, path string, n node) {
		hint := ""
		if n.kind == kindText || n.kind == kindObject {
			hint = "put it in [ ]"
		}
		if !d.want(path, n, kindList, hint) || len(n.items) == 0 {
			return
		}
		*into = make([]T, len(n.items))
		for i, item := range n.items {
			if d.full() {
				return
			}
			take(d, fmt.Sprintf("%s[%d]", path, i), item, &(*into)[i])
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
