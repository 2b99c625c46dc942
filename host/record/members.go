package record

import (
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/ledger"
)

// list writes an array of objects, empty ones too.
func list[T interface{ appendMembers(*ledger.Members) }](m *ledger.Members, name string, items []T) {
	m.Array(name, func(m *ledger.Members) {
		for i := range items {
			m.Object("", items[i].appendMembers)
		}
	})
}

func words[S ~[]string](m *ledger.Members, name string, items S) {
	m.Array(name, func(m *ledger.Members) {
		for _, s := range items {
			m.Str("", s)
		}
	})
}

// grants writes rights as a manifest does, every command as an array of words.
func grants(m *ledger.Members, name string, g capability.Grants) {
	m.Object(name, func(m *ledger.Members) {
		if len(g.Read) > 0 {
			words(m, "read", g.Read)
		}
		if len(g.Write) > 0 {
			words(m, "write", g.Write)
		}
		if len(g.Execute) > 0 {
			m.Array("execute", func(m *ledger.Members) {
				for _, c := range g.Execute {
					words(m, "", c)
				}
			})
		}
		if len(g.Forbidden) > 0 {
			words(m, "forbidden", g.Forbidden)
		}
	})
}

func blob(m *ledger.Members, name string, b *Blob) {
	if b != nil {
		m.Object(name, b.appendMembers)
	}
}

func text(m *ledger.Members, name, value string) {
	if value != "" {
		m.Str(name, value)
	}
}

// word is text that is never redacted.
func word(m *ledger.Members, name, value string) {
	if value != "" {
		m.Word(name, value)
	}
}

// name is path, where there is one.
func name(m *ledger.Members, name, value string) {
	if value != "" {
		path(m, name, value)
	}
}

// path writes the name of a file. What says where the file lies stays as it is.
func path(m *ledger.Members, name, value string) { m.Name(name, value, placeOf(value)) }

// placeOf is how many bytes of the name of a file say in which of the places that
// are not the workspace it lies.
func placeOf(name string) int {
	switch first, rest, _ := strings.Cut(name, "/"); {
	case first == "tmp":
		return min(len("tmp/"), len(name))
	case strings.HasPrefix(name, "pkg:"):
		return len("pkg:")
	case strings.HasPrefix(name, "deps:"):
		return min(len(first)+1, len(name))
	case first == "output" && strings.HasPrefix(rest, "SES-"):
		session, _, _ := strings.Cut(rest, "/")
		return min(len(first)+1+len(session)+1, len(name))
	}
	return 0
}

func isTrue(m *ledger.Members, name string, value bool) {
	if value {
		m.Bool(name, true)
	}
}
