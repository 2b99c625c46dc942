package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// errIndex says that the index is whole and holds what this program cannot read:
// another version wrote it.
var errIndex = errors.New("the index of sessions cannot be read")

// session decodes a line, once.
func (ix *index) session(n int) (*Session, error) {
	if s, ok := ix.decoded[n]; ok {
		return s, nil
	}
	s := &Session{}
	if err := json.Unmarshal(ix.lines[n].facts, s); err != nil {
		return nil, fmt.Errorf("%w: session %s: %w", errIndex, ix.lines[n].id, err)
	}
	ix.decoded[n] = s
	return s, nil
}

// mention gives the sessions in whose line a member has that value, or another of
// its spelling has: who asks looks again. A name in quotes cannot stand within
// another, in which each quote has a backslash in front.
func (ix *index) mention(member, value string) ([]*Session, error) {
	return ix.search(member, value, true)
}

// beginning is mention of all values that begin so.
func (ix *index) beginning(member, lead string) ([]*Session, error) {
	return ix.search(member, lead, false)
}

func (ix *index) search(member, value string, whole bool) ([]*Session, error) {
	text, err := encode(value)
	if err != nil {
		return nil, err
	}
	if !whole {
		text = bytes.TrimSuffix(text, []byte(`"`))
	}
	needle := append([]byte(`"`+member+`":`), text...)
	var found []*Session
	for n, l := range ix.lines {
		if bytes.Contains(l.facts, needle) {
			s, err := ix.session(n)
			if err != nil {
				return nil, err
			}
			found = append(found, s)
		}
	}
	return found, nil
}

const (
	hashLead   = `"sha256:`
	hashDigits = 2 * len(ledger.Hash{})
)

// digests calls found with each digest that stands in a line.
func (ix *index) digests(found func(n int, digits []byte)) {
	for n, l := range ix.lines {
		rest := l.facts
		for {
			at := bytes.Index(rest, []byte(hashLead))
			if at < 0 || len(rest) < at+len(hashLead)+hashDigits {
				break
			}
			rest = rest[at+len(hashLead):]
			found(n, rest[:hashDigits])
		}
	}
}

// starting are the digests in the lines that begin with these digits, sorted.
func (ix *index) starting(digits string) []ledger.Hash {
	var all []ledger.Hash
	ix.digests(func(_ int, d []byte) {
		var h ledger.Hash
		if !bytes.HasPrefix(d, []byte(digits)) {
			return
		}
		if _, err := hex.Decode(h[:], d); err == nil && !slices.Contains(all, h) {
			all = append(all, h)
		}
	})
	slices.SortFunc(all, func(a, b ledger.Hash) int { return bytes.Compare(a[:], b[:]) })
	return all
}

// A use is one place of a digest in a session.
type use struct {
	session *Session
	turn    int // its index; of a module or package, which all turns have, -1
	as      useKind
	at      int // index in Reads, Writes or Commands
}

type useKind int

const (
	asRead useKind = iota
	asWrite
	asBase // what a write replaced
	asModule
	asPackage
	asProgram // of a command
	asInterpreter
	asView // the list of what a command could see
)

// uses are all places of a digest, by session and turn.
func (ix *index) uses(h ledger.Hash) ([]use, error) {
	if ix.byHash == nil {
		ix.byHash = map[ledger.Hash][]int{}
		ix.digests(func(n int, d []byte) {
			var h ledger.Hash
			if _, err := hex.Decode(h[:], d); err != nil {
				return
			}
			if in := ix.byHash[h]; len(in) == 0 || in[len(in)-1] != n {
				ix.byHash[h] = append(in, n)
			}
		})
	}
	var all []use
	for _, n := range ix.byHash[h] {
		s, err := ix.session(n)
		if err != nil {
			return nil, err
		}
		all = append(all, s.usesOf(h)...)
	}
	return all, nil
}

// usesOf are the places of a digest in the session.
func (s *Session) usesOf(h ledger.Hash) []use {
	if s.uses == nil {
		s.uses = map[ledger.Hash][]use{}
		add := func(h ledger.Hash, turn int, as useKind, at int) {
			if !h.IsZero() {
				s.uses[h] = append(s.uses[h], use{s, turn, as, at})
			}
		}
		add(s.Package.SHA256, -1, asPackage, 0)
		add(s.Module, -1, asModule, 0)
		for i, t := range s.Turns {
			for at, f := range t.Reads {
				add(f.SHA256, i, asRead, at)
			}
			for at, w := range t.Writes {
				add(w.SHA256, i, asWrite, at)
				if w.Base != nil {
					add(*w.Base, i, asBase, at)
				}
			}
			t.programs(func(at int, as useKind, f *record.File) { add(f.SHA256, i, as, at) })
			views := map[ledger.Hash]bool{}
			for at, c := range t.Commands {
				if list := c.View.Blob.Blob; !views[list] {
					views[list] = true
					add(list, i, asView, at)
				}
			}
		}
	}
	return s.uses[h]
}

// programs calls found with each file that a command of the turn ran, as its
// program or the interpreter of that: each once, with the first of the commands.
func (t *Turn) programs(found func(at int, as useKind, f *record.File)) {
	type key struct {
		file record.File
		as   useKind
	}
	seen := map[key]bool{}
	for at := range t.Commands {
		c := &t.Commands[at]
		for _, ran := range []struct {
			file *record.File
			as   useKind
		}{{&c.Program, asProgram}, {c.Interpreter, asInterpreter}} {
			if ran.file != nil && !seen[key{*ran.file, ran.as}] {
				seen[key{*ran.file, ran.as}] = true
				found(at, ran.as, ran.file)
			}
		}
	}
}

// ranCommands counts the turns that did.
func (ix *index) ranCommands() (int, error) {
	some, n := []byte(`"commands":[{`), 0
	for i, l := range ix.lines {
		if !bytes.Contains(l.facts, some) {
			continue
		}
		s, err := ix.session(i)
		if err != nil {
			return 0, err
		}
		for _, t := range s.Turns {
			if len(t.Commands) > 0 {
				n++
			}
		}
	}
	return n, nil
}
