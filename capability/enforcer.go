package capability

import (
	"fmt"
	"strings"
)

// Enforcer answers what a guest may do. It is immutable and safe for concurrent
// use. The zero value permits nothing.
//
// Its patterns are compiled when it is first asked for a name. What it learns of
// them then, at most 4 MiB, makes later answers fast and never changes one; all
// that Bind makes of it share that.
type Enforcer struct {
	layers  []*layer   // layers[0] is the manifest's
	names   *automaton // of their patterns; nil of the zero value
	session string     // in place of the placeholder
	void    bool       // bound to what is no session: permits nothing
}

// layer is one compiled Rights.
type layer struct {
	rights                           Rights // as written, and never changed
	read, write, forbidden, withheld []pattern
	execute                          []command
}

// New compiles the capabilities of a manifest. The error is a *GrantError for
// the first rule that is none.
func New(g Grants) (*Enforcer, error) {
	l, err := newLayer(Rights{Grants: g})
	if err != nil {
		return nil, err
	}
	layers := []*layer{l}
	return &Enforcer{layers: layers, names: &automaton{layers: layers}, session: placeholder}, nil
}

// Attenuate returns an Enforcer that permits what both e and r do: a name or a
// command must be granted by every layer, and may be forbidden by none. The
// grants that Check names stay those of the manifest. The error is a
// *GrantError for the first rule of r that is none.
func (e *Enforcer) Attenuate(r Rights) (*Enforcer, error) {
	l, err := newLayer(r)
	if err != nil {
		return nil, err
	}
	out := *e
	if len(e.layers) == 0 {
		out.void, out.session = true, placeholder
	}
	out.layers = append(e.layers[:len(e.layers):len(e.layers)], l)
	out.names = &automaton{layers: out.layers}
	return &out, nil
}

// Bind returns an Enforcer for one session: its id, SES- followed by 1 to 100
// letters, digits and dashes, stands for <session_id> in every layer. With any
// other id the result permits nothing.
//
// An Enforcer that was never bound takes <session_id> for the id, so that a
// manifest can be judged without a session.
func (e *Enforcer) Bind(session string) *Enforcer {
	out := *e
	if out.session = session; e.void || !isSession(session) {
		out.void, out.session = true, placeholder
	}
	return &out
}

func isSession(id string) bool {
	random, ok := strings.CutPrefix(id, "SES-")
	if !ok || random == "" || len(id) > maxSession {
		return false
	}
	for i := 0; i < len(random); i++ {
		c := random[i]
		if c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func newLayer(r Rights) (*layer, error) {
	r = r.clone()
	l := &layer{rights: r}
	size, by := 0, ""
	if r.By != "" {
		by = l.by()
	}
	for _, list := range []struct {
		field, rule string
		op          Op
		from        []string
		to          *[]pattern
	}{
		{"read", "read ", Read, r.Read, &l.read},
		{"write", "write ", Write, r.Write, &l.write},
		{"forbidden", "forbidden ", "", r.Forbidden, &l.forbidden},
		{"withhold", "withheld ", "", r.Withhold, &l.withheld},
	} {
		for i, text := range list.from {
			size += len(text)
			p, f := newPattern(list.op, list.rule+text+by, text)
			if size > maxPatterns {
				f = &fault{fmt.Sprintf("is beyond %d bytes of patterns in all", maxPatterns), "name folders instead of files, as in docs/**"}
			}
			if f != nil {
				return nil, f.at(list.field, i, text)
			}
			*list.to = append(*list.to, p)
		}
	}
	for i, c := range r.Execute {
		for _, w := range c {
			size += len(w)
		}
		cmd, f := newCommand(c)
		if f == nil && size > maxPatterns {
			f = &fault{fmt.Sprintf("is beyond %d bytes of patterns in all", maxPatterns), "end rules with ** for any further operands"}
		}
		if f == nil && r.AllowExecute {
			f = &fault{"narrows what allow_execute leaves as it is", "leave out one of the two"}
		}
		if f != nil {
			return nil, f.at("execute", i, c.String())
		}
		l.execute = append(l.execute, cmd)
	}
	return l, nil
}

func (f *fault) at(field string, i int, text string) *GrantError {
	return &GrantError{Field: fmt.Sprintf("%s[%d]", field, i), Pattern: text, Reason: f.reason, Hint: f.hint}
}
